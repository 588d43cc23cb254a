//! What the kernel interface knows of each other node: how it speaks (section 28), and what we have to do with it.

use crate::sessions::{Interest, RxId, TxId};
use keelson_qnet_wire::kif::Connect;

/// Where a peer's way of speaking is not certain: what we assume, corrected by what it sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerProfile {
    /// Version of the protocol that it sent last.
    pub version: u32,
    /// Its CONNECT_SUCCESS has the client's handle first (section 12.4).
    pub cs_swapped: bool,
    /// It attaches and sends in one message.
    pub combined: bool,
}

impl Default for PeerProfile {
    fn default() -> PeerProfile {
        PeerProfile { version: Connect::VERSION, cs_swapped: false, combined: false }
    }
}

/// A node.
#[derive(Default)]
pub(crate) struct Peer {
    pub profile: PeerProfile,
    /// Our clients that are connected or connecting.
    pub clients: usize,
    /// Its clients here.
    pub servers: usize,
    /// Our transactions that wait for it.
    pub waiting: usize,
    /// What the sessions were told last.
    pub told: Interest,
    /// The epoch that it was heard in last, until it ended.
    pub epoch: Option<RxId>,
    /// The connection that answers to its clients go by.
    pub answers: Option<TxId>,
    /// An epoch has ended.
    pub had_epoch: bool,
}

impl Peer {
    pub fn interest(&self) -> Interest {
        match (self.waiting, self.clients + self.servers) {
            (0, 0) => Interest::None,
            (0, _) => Interest::Connected,
            _ => Interest::Waiting,
        }
    }
}
