//! Sockets that wait for a receiver of datagrams to have room.
//!
//! Whoever polls a socket waits in its own queue, but the room is that of the one it is connected to, which need not know it. So the
//! socket itself waits there as a task does, from when somebody finds no room, once each time.

use super::{SocketKind, UnixSocket};
use crate::files::{Events, File};
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use core::task::{Context, Waker};

/// The task of a socket.
struct Sender(Weak<UnixSocket>);

impl Wake for Sender {
    fn wake(self: Arc<Self>) {
        // To look is to wait again, if there is none yet.
        if let Some(socket) = self.0.upgrade()
            && socket.events().intersects(Events::OUT)
        {
            socket.queue.notify(Events::WRITABLE | Events::ROOM);
        }
    }
}

impl UnixSocket {
    /// Whether its peer has room; if not, whoever waits for that hears of it.
    pub(super) fn finds_room(&self, peer: &UnixSocket) -> bool {
        let is_roomy = || peer.state.lock().inbox.is_roomy();
        if is_roomy() {
            return true;
        }
        if self.kind != SocketKind::Datagram {
            return false;
        }
        self.join_senders_of(peer);
        let found = is_roomy();
        if found && let Some(room) = self.room.get() {
            peer.queue.forget(room);
        }
        found
    }

    /// The next time that something is received from `peer`, those who poll this socket hear of it.
    pub(super) fn join_senders_of(&self, peer: &UnixSocket) {
        // Two that are connected to each other tell each other anyway.
        if peer.state.lock().peer.as_ref().is_some_and(|other| other.ptr_eq(&self.this)) {
            return;
        }
        let room = self.room.call_once(|| Waker::from(Arc::new(Sender(self.this.clone()))));
        peer.queue.register(&Context::from_waker(room));
    }

    /// It is connected to `peer` no more.
    pub(super) fn leave_senders_of(&self, peer: Option<Weak<UnixSocket>>) {
        if let (Some(room), Some(peer)) = (self.room.get(), peer.and_then(|peer| peer.upgrade())) {
            peer.queue.forget(room);
        }
    }
}
