//! Whether a packet would go out at once, for who would rather wait than lose one.

use crate::ip::Path;
use crate::stack::Stack;
use core::net::IpAddr;

/// How a host is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// No interface that runs leads there, or none has an address to use.
    NoRoute,
    /// The next host on the way, the peer itself or a router, is being asked for.
    Asking,
    /// A packet goes out at once, from this address of ours.
    Known(IpAddr),
}

impl Stack {
    /// How `peer` is reached now. Asks for the next host on the way if nobody has yet, so that asking again finds out.
    pub fn reach(&self, peer: IpAddr) -> Reach {
        let now = self.shared.handle.now();
        let state = &mut *self.shared.state.borrow_mut();
        let Some((path, source)) = state.net.path_and_source(peer, None) else { return Reach::NoRoute };
        let nic = &state.net.nics[path.nic];
        let to_all = match peer {
            IpAddr::V4(v4) => nic.is_broadcast(v4) || v4.is_multicast(),
            IpAddr::V6(v6) => v6.is_multicast(),
        };
        if to_all || nic.neighbours.knows(path.next_hop) {
            return Reach::Known(source);
        }
        let Path { nic, .. } = path;
        state.net.look_for(now, path);
        state.net.nics[nic].kick();
        Reach::Asking
    }
}
