//! Sockets between programs of this node (unix(7)): pairs, and those with abstract names.
//!
//! Each socket has an inbox; who sends puts messages into the inbox of its peer. No two sockets are locked at a time, but for those
//! who wait to be accepted, after the one that accepts. A socket that turns out to need a path becomes one of the host's: nothing
//! has happened to it yet then.

mod file;
mod flight;
mod inbox;
mod names;
mod rights;
mod senders;
#[cfg(test)]
mod tests;

use super::flags::O_RDWR;
use super::{Description, Events, HostFile, Operation, Source, Target, WaitQueue};
use crate::Errno;
use crate::room;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll, Waker};
use spin::{Mutex, Once};

pub use flight::Flight;
pub use inbox::{Credentials, Outgoing, ReceiveFlags, Received};
use inbox::{Inbox, Message};
pub use names::Names;
use rights::List;
pub use rights::Rights;

/// Kinds of sockets: numbers of SOCK_* (socket(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum SocketKind {
    /// A connection that carries bytes.
    Stream = 1,
    /// Messages, each for itself.
    Datagram = 2,
    /// A connection that carries messages.
    Packets = 5,
}

impl SocketKind {
    /// The kind with this number.
    pub fn of(number: u32) -> Option<SocketKind> {
        let all = [SocketKind::Stream, SocketKind::Datagram, SocketKind::Packets];
        all.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// A socket of the node.
pub struct UnixSocket {
    this: Weak<UnixSocket>,
    kind: SocketKind,
    /// Who made it.
    owner: Credentials,
    inode: u64,
    state: Mutex<State>,
    queue: WaitQueue,
    /// Tells its queue that a receiver has room again.
    room: Once<Waker>,
    /// What it has become, when it needed a path.
    host: Once<HostFile>,
    /// Where the files are counted that are sent.
    flight: Arc<Flight>,
    /// How deep there may be sockets in messages of sockets in its inbox. Changed under the lock of `flight`.
    level: AtomicU32,
    /// Nothing is left in it, and its end need not be told to [`Flight::closed`].
    is_hollow: bool,
}

#[derive(Default)]
struct State {
    inbox: Inbox,
    name: Option<Vec<u8>>,
    /// Where it is entered under its name.
    names: Option<Arc<Names>>,
    peer: Option<Weak<UnixSocket>>,
    peer_owner: Option<Credentials>,
    peer_name: Option<Vec<u8>>,
    /// The other end is closed, or sends no more.
    ended: bool,
    /// The peer closed with something of ours unread.
    reset: bool,
    /// shutdown(2) was called for these directions.
    no_receiving: bool,
    no_sending: bool,
    listening: Option<Listening>,
    pass_credentials: bool,
}

struct Listening {
    backlog: usize,
    pending: VecDeque<Arc<UnixSocket>>,
}

impl UnixSocket {
    /// A socket that is neither bound nor connected.
    pub fn new(kind: SocketKind, owner: Credentials, flight: &Arc<Flight>) -> Arc<UnixSocket> {
        Arc::new_cyclic(|this| UnixSocket {
            this: this.clone(),
            kind,
            owner,
            inode: super::next_inode(),
            state: Mutex::default(),
            queue: WaitQueue::new(),
            room: Once::new(),
            host: Once::new(),
            flight: flight.clone(),
            level: AtomicU32::new(0),
            is_hollow: false,
        })
    }

    /// Two sockets that are connected to each other.
    pub fn pair(
        kind: SocketKind,
        owner: Credentials,
        flight: &Arc<Flight>,
    ) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
        let (one, other) = (UnixSocket::new(kind, owner, flight), UnixSocket::new(kind, owner, flight));
        one.join(&other);
        other.join(&one);
        (one, other)
    }

    fn join(&self, peer: &Arc<UnixSocket>) {
        let name = peer.state.lock().name.clone();
        let mut state = self.state.lock();
        let before = state.peer.replace(Arc::downgrade(peer));
        state.peer_owner = Some(peer.owner);
        state.peer_name = name;
        drop(state);
        self.leave_senders_of(before);
    }

    /// Its kind.
    pub fn kind(&self) -> SocketKind {
        self.kind
    }

    /// Its abstract name, without the zero in front.
    pub fn bound_name(&self) -> Option<Vec<u8>> {
        self.state.lock().name.clone()
    }

    /// Name of what it is connected to; ENOTCONN.
    pub fn peer_name(&self) -> Result<Option<Vec<u8>>, Errno> {
        let state = self.state.lock();
        if state.peer.is_none() { Err(Errno::ENOTCONN) } else { Ok(state.peer_name.clone()) }
    }

    /// Who made what it is connected to (SO_PEERCRED).
    pub fn peer_credentials(&self) -> Option<Credentials> {
        self.state.lock().peer_owner
    }

    /// True after listen(2).
    pub fn is_listening(&self) -> bool {
        self.state.lock().listening.is_some()
    }

    /// Whether it gets the credentials of senders (SO_PASSCRED).
    pub fn pass_credentials(&self) -> bool {
        self.state.lock().pass_credentials
    }

    /// Sets SO_PASSCRED.
    pub fn set_pass_credentials(&self, on: bool) {
        self.state.lock().pass_credentials = on;
    }

    /// True while nothing has happened to it that the host could not be told.
    pub fn is_fresh(&self) -> bool {
        let state = self.state.lock();
        state.name.is_none() && state.peer.is_none() && state.listening.is_none()
    }

    /// It becomes a socket of the host.
    pub fn become_host(&self, file: HostFile) {
        self.host.call_once(|| file);
    }

    /// listen(2).
    pub fn listen(&self, backlog: usize) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if self.kind == SocketKind::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        if state.name.is_none() || state.peer.is_some() {
            return Err(Errno::EINVAL);
        }
        match &mut state.listening {
            Some(listening) => listening.backlog = backlog,
            None => state.listening = Some(Listening { backlog, pending: VecDeque::new() }),
        }
        Ok(())
    }

    /// connect(2) to a socket with a name.
    pub fn poll_connect(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        operation: &Operation,
        to: &Arc<UnixSocket>,
    ) -> Poll<Result<(), Errno>> {
        if self.kind != to.kind {
            return Poll::Ready(Err(Errno::EPROTOTYPE));
        }
        if self.kind == SocketKind::Datagram {
            self.join(to);
            return Poll::Ready(Ok(()));
        }
        let own = self.state.lock();
        if own.listening.is_some() {
            return Poll::Ready(Err(Errno::EINVAL));
        }
        if own.peer.is_some() {
            return Poll::Ready(Err(Errno::EISCONN));
        }
        let own_name = own.name.clone();
        drop(own);
        to.queue.register(cx);
        let mut state = to.state.lock();
        let name = state.name.clone();
        let Some(listening) = &mut state.listening else {
            return Poll::Ready(Err(Errno::ECONNREFUSED));
        };
        // Linux lets one more wait than was asked for.
        if listening.pending.len() > listening.backlog {
            return operation.wait();
        }
        // What waits to be accepted is made for the one who connects.
        if operation.short || listening.pending.try_reserve(1).is_err() {
            return Poll::Ready(Err(Errno::ENOMEM));
        }
        let end = UnixSocket::new(self.kind, to.owner, &to.flight);
        {
            let mut end = end.state.lock();
            end.name = name.clone();
            end.peer = Some(Arc::downgrade(self));
            end.peer_owner = Some(self.owner);
            end.peer_name = own_name;
        }
        let weak = Arc::downgrade(&end);
        listening.pending.push_back(end);
        drop(state);
        {
            let mut own = self.state.lock();
            own.peer = Some(weak);
            own.peer_owner = Some(to.owner);
            own.peer_name = name;
        }
        to.queue.notify(Events::READABLE);
        Poll::Ready(Ok(()))
    }

    /// accept(2).
    pub fn poll_accept(
        &self,
        cx: &mut Context<'_>,
        operation: &Operation,
    ) -> Poll<Result<Arc<UnixSocket>, Errno>> {
        self.queue.register(cx);
        let mut state = self.state.lock();
        let Some(listening) = &mut state.listening else { return Poll::Ready(Err(Errno::EINVAL)) };
        let Some(end) = listening.pending.pop_front() else { return operation.wait() };
        drop(state);
        self.queue.notify(Events::WRITABLE);
        Poll::Ready(Ok(end))
    }

    /// shutdown(2).
    pub fn shutdown(&self, receiving: bool, sending: bool) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.peer.is_none() && self.kind != SocketKind::Datagram {
            return Err(Errno::ENOTCONN);
        }
        state.no_receiving |= receiving;
        state.no_sending |= sending;
        let peer = state.peer.as_ref().and_then(Weak::upgrade);
        drop(state);
        self.queue.notify(Events::ALWAYS | Events::READY | Events::READ_HUP);
        if let Some(peer) = peer.filter(|_| self.kind != SocketKind::Datagram) {
            let mut state = peer.state.lock();
            state.ended |= sending;
            state.no_sending |= receiving;
            drop(state);
            peer.queue.notify(Events::ALWAYS | Events::READY | Events::READ_HUP);
        }
        Ok(())
    }

    /// Sends bytes, and what goes with the first of them. `to` is a receiver other than the peer.
    pub fn poll_send(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        from: &mut dyn Source,
        extra: &mut Outgoing,
        to: Option<&Arc<UnixSocket>>,
    ) -> Poll<Result<usize, Errno>> {
        let result = self.send(cx, operation, from, extra, to);
        match result {
            Err(Errno::EAGAIN) if !operation.nonblocking() => Poll::Pending,
            Err(_) if operation.done > 0 => Poll::Ready(Ok(operation.done)),
            result => Poll::Ready(result),
        }
    }

    fn send(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        from: &mut dyn Source,
        extra: &mut Outgoing,
        to: Option<&Arc<UnixSocket>>,
    ) -> Result<usize, Errno> {
        self.queue.register(cx);
        let receiver = match to {
            Some(to) => to.clone(),
            None => self.receiver()?,
        };
        if self.state.lock().no_sending {
            return Err(Errno::EPIPE);
        }
        if to.is_some() && receiver.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        if self.kind == SocketKind::Datagram {
            receiver.queue.register(cx);
        }
        let mut looked_again = to.is_some() || self.kind != SocketKind::Datagram;
        loop {
            let left = from.left();
            if left == 0 && self.kind == SocketKind::Stream {
                return Ok(operation.done);
            }
            let room = {
                let state = receiver.state.lock();
                if state.no_receiving {
                    return Err(Errno::EPIPE);
                }
                state.inbox.room()
            };
            let len = match self.kind {
                SocketKind::Stream => left.min(room),
                _ if left > inbox::CAPACITY => return Err(Errno::EMSGSIZE),
                _ => left,
            };
            if room < len.max(1) {
                if !core::mem::replace(&mut looked_again, true) {
                    self.join_senders_of(&receiver);
                    continue;
                }
                return Err(Errno::EAGAIN);
            }
            if operation.short {
                return Err(Errno::ENOBUFS);
            }
            let mut bytes = room::zeros(len).map_err(|_| Errno::ENOBUFS)?;
            let got = from.take(&mut bytes);
            if got < len && (got == 0 || self.kind != SocketKind::Stream) {
                return Err(Errno::EFAULT);
            }
            bytes.truncate(got);
            let message = Message {
                bytes: bytes.into(),
                rights: extra.rights.take(),
                credentials: extra.credentials.unwrap_or(self.owner),
                from: self.bound_name(),
            };
            receiver.take(message)?;
            receiver.queue.notify(Events::READABLE);
            operation.done += got;
            if self.kind != SocketKind::Stream || got < len {
                return Ok(operation.done);
            }
        }
    }

    /// A message comes into the inbox. ENOBUFS, or ETOOMANYREFS because of its files.
    fn take(&self, message: Message) -> Result<(), Errno> {
        let stream = self.kind == SocketKind::Stream;
        // A message that is refused goes after the locks: its files may be the last of their kind.
        let mut aboard = message.rights.is_some().then(|| self.flight.lock());
        let mut state = self.state.lock();
        state.inbox.make_room(&message, stream)?;
        if let (Some(aboard), Some(rights)) = (&mut aboard, &message.rights) {
            self.level.fetch_max(aboard.admit(rights)?, Ordering::Relaxed);
            self.flight.board(aboard, rights);
        }
        state.inbox.push(message, stream);
        Ok(())
    }

    /// It goes: from among the names, and its peer is told.
    fn leave(&mut self) {
        let state = self.state.get_mut();
        if let (Some(names), Some(name), true) =
            (&state.names, &state.name, state.peer.is_none() || self.kind == SocketKind::Datagram)
        {
            names.remove(name);
        }
        let unread = !state.inbox.is_empty();
        let peer = state.peer.take();
        self.leave_senders_of(peer.clone());
        // Senders of datagrams wait for nobody any more.
        self.queue.wake();
        let peer = peer.filter(|_| self.kind != SocketKind::Datagram);
        let Some(peer) = peer.and_then(|peer| peer.upgrade()) else { return };
        let mut state = peer.state.lock();
        state.ended = true;
        state.no_sending = true;
        state.reset |= unread;
        drop(state);
        peer.queue.notify(Events::ALWAYS | Events::READY | Events::READ_HUP);
    }

    /// The peer, if it still takes something.
    fn receiver(&self) -> Result<Arc<UnixSocket>, Errno> {
        let state = self.state.lock();
        let peer = state.peer.as_ref().ok_or(match self.kind {
            SocketKind::Datagram => Errno::ENOTCONN,
            _ if state.ended => Errno::EPIPE,
            _ => Errno::ENOTCONN,
        })?;
        let gone = if self.kind == SocketKind::Datagram { Errno::ECONNREFUSED } else { Errno::EPIPE };
        peer.upgrade().ok_or(gone)
    }

    /// Receives what is next.
    pub fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        into: &mut dyn Target,
        flags: ReceiveFlags,
    ) -> Poll<Result<Received, Errno>> {
        self.queue.register(cx);
        // What is received goes after the locks, if it is not wanted.
        let mut received = Received::default();
        let mut aboard = None;
        let mut state = self.state.lock();
        if state.inbox.next_has_rights() {
            drop(state);
            aboard = Some(self.flight.lock());
            state = self.state.lock();
        }
        if self.kind != SocketKind::Datagram && state.peer.is_none() {
            let error = if self.kind == SocketKind::Stream { Errno::EINVAL } else { Errno::ENOTCONN };
            return Poll::Ready(Err(error));
        }
        if state.inbox.is_empty() {
            if core::mem::take(&mut state.reset) {
                return Poll::Ready(Err(Errno::ECONNRESET));
            }
            if state.no_receiving || state.ended {
                return Poll::Ready(Ok(Received { len: operation.done, ..Received::default() }));
            }
            return operation.wait();
        }
        let stream = self.kind == SocketKind::Stream;
        let was_full = !state.inbox.is_roomy();
        let leaving = aboard.as_mut().map(|aboard| (&*self.flight, &mut **aboard));
        let result = state.inbox.receive(into, flags, stream, &mut received, leaving);
        if aboard.is_some() && !state.inbox.has_rights() {
            self.level.store(0, Ordering::Relaxed);
        }
        let room = was_full && state.inbox.is_roomy();
        let peer = state.peer.as_ref().and_then(Weak::upgrade);
        let no_more = state.ended || state.no_receiving;
        drop(state);
        drop(aboard);
        if !flags.peek {
            // Senders of datagrams wait here.
            self.queue.wake();
            if let Some(peer) = peer {
                peer.queue.notify(Events::WRITABLE | Events::ROOM.when(room));
            }
        }
        match result {
            Ok(()) => {}
            // What MSG_WAITALL has moved is not lost.
            Err(_) if operation.done > 0 => received = Received::default(),
            Err(error) => return Poll::Ready(Err(error)),
        }
        operation.done += received.len;
        received.len = operation.done;
        let more = flags.wait_all
            && stream
            && !flags.peek
            && into.left() > 0
            && !into.may_come()
            && received.rights.is_empty();
        if more && !no_more { operation.wait_or(received) } else { Poll::Ready(Ok(received)) }
    }
}

impl Operation {
    /// What MSG_WAITALL came to so far: a call that must not wait takes it.
    fn wait_or<T>(&self, value: T) -> Poll<Result<T, Errno>> {
        if self.nonblocking() { Poll::Ready(Ok(value)) } else { Poll::Pending }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.leave();
        if !self.is_hollow {
            let mut inside = List::default();
            self.hollow(&mut inside);
            self.flight.discard(inside);
            self.flight.closed();
        }
    }
}

/// The descriptions of a pair, with these status flags.
pub fn describe(socket: Arc<UnixSocket>, flags: u32) -> Arc<Description> {
    Description::new(socket, O_RDWR | flags)
}
