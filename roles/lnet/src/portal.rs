//! Services of this node behind portals: LNet's own ping (portal 0) and lnet_selftest (50 to 52) are such.

use crate::buffers::Payload;
use keelson_lnet_wire::nid::{Nid, ProcessId};

/// Where a PUT or GET came from and what it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Who sent it, wherever it is: where an answer goes to.
    pub initiator: ProcessId,
    /// The NID of ours it was sent to: where an answer comes from.
    pub target: Nid,
    /// The neighbour it came from; the initiator itself or a router.
    pub from: Nid,
    /// Portal number, 0 to 63.
    pub portal: u32,
    /// Match bits.
    pub match_bits: u64,
    /// 64 bits for the receiver; 0 in a GET.
    pub hdr_data: u64,
    /// Offset into the receiver's memory.
    pub offset: u32,
    /// Bytes of a PUT, or what the initiator of a GET has room for.
    pub len: u32,
}

/// A service on a portal. Its calls never wait: what takes time is a task of its own.
pub trait Portal {
    /// Whether a PUT may come in: asked when its header is here and its payload is not. A refused PUT is dropped
    /// and counted, as Linux drops what nothing matches.
    fn admits(&self, delivery: &Delivery) -> bool;

    /// A PUT. Where the initiator asked for an ACK, LNet sends it when this returns.
    fn put(&self, delivery: Delivery, payload: Payload);

    /// A GET: the bytes to reply with, at most `delivery.len` of them; `None` when nothing matches.
    fn get(&self, delivery: &Delivery) -> Option<Payload>;
}
