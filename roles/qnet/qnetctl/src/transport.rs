//! Transports: where frames of the host's node go to and come from (section 24).
//!
//! ```text
//!   packet        --if            AF_PACKET on a network interface, bridge or tap
//!   stream        --qemu-stream   QEMU's `-netdev stream`: frames with their length in front
//!   datagram      --qemu-dgram    QEMU's `-netdev dgram`: a frame is a datagram
//!   ip            --ip            IPv4 protocol 106
//!   replay        --replay        a pcap file
//!
//!   impaired      --loss, --dup, --reorder, --corrupt, --delay    around any of them
//!   captured      --write                                         around any of them
//! ```
//!
//! A transport carries whole frames: Ethernet without its check sequence, or IPv4 packets with their header. It never waits.

mod captured;
mod datagram;
mod error;
mod impaired;
mod interface;
mod ip;
mod packet;
mod replay;
mod stream;

pub use captured::{Capture, Captured};
pub use datagram::{Datagrams, Ends};
pub use error::TransportError;
pub use impaired::{Impaired, Impairment, Judged};
pub use ip::Ip;
pub use packet::Packet;
pub use replay::Replay;
pub use stream::{Peer, Stream};

use keelson_exec::sync::Notify;
use keelson_hal::Instant;
use keelson_qnet::link::LinkAddress;
use std::rc::Rc;

/// Largest MTU of an Ethernet link that is known to be of no other size.
pub const DEFAULT_MTU: usize = 1500;

/// Most bytes of a frame.
pub const MAX_FRAME: usize = 65_536;

/// Frames in and out.
pub trait Transport {
    /// What messages to people call it.
    fn name(&self) -> &str;

    /// The address it sends from.
    fn address(&self) -> LinkAddress;

    /// Bytes behind the Ethernet header, or of the IP packet.
    fn mtu(&self) -> usize;

    /// Whether somebody is at the other end, as far as can be known.
    fn is_up(&self) -> bool;

    /// Frames that it takes now.
    fn room(&self) -> usize;

    /// Sends a frame. False when there is no room: it is to be tried again.
    fn send(&self, frame: &[u8]) -> bool;

    /// What was sent since the last call goes out.
    fn flush(&self) {}

    /// Hands received frames to `sink`, `budget` at most. How many there were.
    fn receive(&self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize;

    /// Notified when there may be frames, or room again.
    fn changed(&self) -> Rc<Notify>;

    /// When [`Transport::receive`] is to be called although nothing has changed.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Nothing will come any more.
    fn has_ended(&self) -> bool {
        false
    }
}
