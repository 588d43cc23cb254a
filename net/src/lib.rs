//! The network: interfaces, IP, TCP, UDP, names; async sockets on top, [`NetDevice`] below.
//!
//! Principles:
//!
//! 1. **The cost of a packet does not grow with the number of connections.** Frames are demultiplexed here,
//!    by hash; every TCP connection owns an engine (a smoltcp interface with a single socket) and is polled
//!    only for its own packets, deadlines and writes.
//! 2. **One task for each interface**, in turns with a budget: receive, serve, flush once, arm, rest.
//! 3. **No allocation on the established data path**; a frame is copied once, between ring and socket.
//! 4. **Nothing from the wire is trusted**: every queue and table is bounded, every drop has a counter
//!    ([`StackCounters`]), answers to strangers are rate-limited, hash keys and sequence numbers are random.
//! 5. **Time, randomness, devices and the executor are passed in**: all of this runs in host tests.
//!
//! ```text
//!   NetDevice -> input (Ethernet) -> ip -> tcp: flow hash -> connection -> TcpStream
//!        ^           |-> arp            |-> udp: port hash -> UdpSocket
//!        |           `-> raw: EtherType |-> icmp, ndisc, reassembly
//!        |                              `-> raw: protocol
//!      link <- neighbour <- route <- whoever sends
//! ```
//!
//! Not here: forwarding between interfaces, delivery to ourselves (loopback), path MTU discovery, duplicate
//! address detection, VLANs, IGMP and MLD reports (a switch that snoops MLD may withhold neighbour
//! solicitations), segmentation offload for IPv6 (the engine cannot), a connection's move to an interface
//! with other offloads.
//!
//! [`NetDevice`]: keelson_hal::NetDevice

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod addr;
mod addresses;
mod arp;
mod capture;
mod config;
mod counters;
mod dhcp;
mod dns;
pub mod hash;
mod icmp;
mod input;
mod interface;
mod ip;
mod link;
mod ndisc;
mod neighbour;
mod rate;
mod raw;
mod reach;
mod registry;
mod stack;
mod task;
mod tcp;
mod udp;

pub use addr::{Cidr, CidrParseError};
pub use capture::{Capture, CaptureOptions, Captured, Direction, Filter, FilterError};
pub use config::{Autoconf, ConfigError, InterfaceConfig, IpOption, NetworkConfig, OPTIONS};
pub use counters::StackCounters;
pub use dhcp::Lease;
pub use dns::ResolveError;
pub use ip::{Route, Way};
pub use raw::{EtherFrame, EtherHandler, IpHandler, IpPacket, RegisterError};
pub use reach::Reach;
pub use registry::{Change, EVENT_QUEUE, Event, Events, InterfaceId, InterfaceStatus};
pub use stack::{BindError, ConnectError, InterfaceError, ListenError, SendError, Stack};
pub use tcp::{
    ConnectOptions, LocalPort, ReadHalf, TcpError, TcpListener, TcpOptions, TcpStatus, TcpStream, WriteHalf,
};
pub use udp::{Datagram, MAX_DATAGRAM, UdpOptions, UdpSocket};
