//! Links: what a node sends frames through. A NIC, the IP binding, a tap of a host, a wire of a simulation.

use core::fmt;
use core::net::Ipv4Addr;
use keelson_qnet_wire::Mac;
use keelson_qnet_wire::l4::Header;

/// A link of this node, numbered as it was bound.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u8);

/// Where frames of a link come from and go to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LinkAddress {
    /// Of an Ethernet station.
    Mac([u8; 6]),
    /// Of a host of the IP binding.
    Ipv4(Ipv4Addr),
}

impl fmt::Display for LinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkAddress::Mac(mac) => Mac(*mac).fmt(f),
            LinkAddress::Ipv4(address) => address.fmt(f),
        }
    }
}

/// Which of the frames that wait for room goes first (section 7.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Opening and closing connections, names.
    Control,
    /// ACK and NACK.
    Ack,
    /// What is sent again.
    Again,
    /// Messages, by the priority of the thread that sends, 63 at most.
    Data(u8),
}

/// One link, as frames are sent through it.
pub trait LinkPort {
    /// Name as `bind=` has it: `en0`.
    fn name(&self) -> &str;

    /// Our address on it.
    fn address(&self) -> LinkAddress;

    /// Largest frame in bytes: behind the Ethernet header, or the whole IP packet.
    fn mtu(&self) -> usize;

    /// Frames can be sent and received.
    fn is_up(&self) -> bool;

    /// Frames that it takes now.
    fn room(&self) -> usize;

    /// Sends one frame: padding and link header come from the link, `payload` in pieces. To everybody without `to`, which
    /// only Ethernet can. False when it was not taken: there was no room, or nobody can be reached that way.
    fn send(&self, to: Option<LinkAddress>, head: &[u8; Header::LEN], payload: &[&[u8]]) -> bool;

    /// What was sent since the last call goes out: one doorbell.
    fn flush(&self);
}
