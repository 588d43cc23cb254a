//! What servers do with the messages of clients here, until transactions end.

use super::Progress;
use crate::kif::channel::{self, Pulse};
use crate::kif::client::{error_number, wake};
use crate::kif::outbox::Epoch;
use crate::kif::state::{Arrival, State};
use crate::kif::table::Key;
use crate::sessions::Body;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::kif::{Event, KifMessage, MsgRead, Sigevent, Transfer};

/// What a server may have asked for, or brought, before a future is polled.
const READS: usize = 64;
const PIECES: usize = 256;
const PIECE_BYTES: usize = 512 << 10;

impl State {
    /// The client of a handle that a peer names, if it is that peer's.
    fn handle(&mut self, number: u32, arrival: &Arrival) -> Option<Key> {
        let thread = Key::from_number(number);
        let owner = self.threads.get(thread).and_then(|state| self.clients.get(state.client));
        match owner {
            Some(client) if client.rx.is_some() && client.is_peer(arrival) => Some(thread),
            _ => {
                self.counters.inval_client_id += 1;
                None
            }
        }
    }

    pub(in crate::kif) fn on_read(&mut self, read: MsgRead, arrival: &Arrival) {
        let Some(thread) = self.handle(read.msgread_handle, arrival) else { return };
        let Some(state) = self.threads.get_mut(thread) else { return };
        if state.progress != Progress::Waiting {
            return self.refuse_read(thread, read, Errno::ESRCH);
        }
        if state.reads.len() >= READS {
            self.counters.refused += 1;
            return self.refuse_read(thread, read, Errno::EAGAIN);
        }
        state.reads.push_back(read);
        wake(state.waker.take());
    }

    pub(in crate::kif) fn on_write(&mut self, write: Transfer, arrival: Arrival) {
        match self.handle(write.handle, &arrival) {
            Some(thread) => self.add_piece(thread, write.offset, arrival),
            None => self.discard(arrival),
        }
    }

    pub(in crate::kif) fn on_reply(&mut self, reply: Transfer, arrival: Arrival) {
        let Some(thread) = self.handle(reply.handle, &arrival) else { return self.discard(arrival) };
        self.add_piece(thread, reply.offset, arrival);
        self.finish_thread(thread, Ok(reply.status as i32));
    }

    pub(in crate::kif) fn on_error(&mut self, error: Transfer, arrival: &Arrival) {
        if let Some(thread) = self.handle(error.handle, arrival) {
            self.finish_thread(thread, Err(error_number(error.status)));
        }
    }

    /// Keeps a part of the reply until the future copies it.
    fn add_piece(&mut self, thread: Key, offset: u32, piece: Arrival) {
        let Some(state) = self.threads.get_mut(thread) else { return self.discard(piece) };
        if state.progress != Progress::Waiting || piece.data.is_empty() {
            return self.discard(piece);
        }
        let bytes = state.piece_bytes.saturating_add(piece.data.len());
        if state.pieces.len() >= PIECES || bytes > PIECE_BYTES {
            // More than a session delivers before it is told that there is room again: such a server is not one.
            let client = state.client;
            self.discard(piece);
            self.counters.refused += 1;
            return self.client_dies(client, Errno::ESRVRFAULT);
        }
        state.piece_bytes = bytes;
        state.pieces.push_back((offset, piece));
        wake(state.waker.take());
    }

    /// A server here or elsewhere delivers an event to a client here.
    pub(in crate::kif) fn on_event(&mut self, event: Event, arrival: &Arrival) {
        let Some(thread) = self.handle(event.client_handle, arrival) else { return };
        let client = self.threads.get(thread).and_then(|state| self.clients.get(state.client));
        let Some((pid, inherited)) = client.map(|client| (client.cred.pid, client.priority)) else { return };
        if !self.deliver_event(pid, inherited, event.sigevent) {
            self.counters.event_lost += 1;
        }
    }

    fn deliver_event(&mut self, pid: i32, inherited: u8, event: Sigevent) -> bool {
        match event.notify {
            NOTIFY_PULSE => {
                let Ok(code) = i8::try_from(event.code) else { return false };
                let priority = match event.priority {
                    // SIGEV_PULSE_PRIO_INHERIT
                    ..0 => inherited,
                    given => channel::priority(given.into()),
                };
                let pulse = Pulse { code, value: event.value, scoid: 0, priority };
                self.pulse_own_channel(pid, event.signo_or_coid, pulse)
            }
            NOTIFY_SIGNAL..NOTIFY_PULSE => self.signal_own_process(pid, event),
            _ => false,
        }
    }
}

/// Values of `notify` (section 12.2).
const NOTIFY_SIGNAL: i32 = 1;
const NOTIFY_PULSE: i32 = 4;

/// The end of transactions.
impl State {
    fn finish_thread(&mut self, thread: Key, result: Result<i32, Errno>) {
        let Some(state) = self.threads.get_mut(thread) else { return };
        let abandoned = match state.progress {
            Progress::Waiting => false,
            Progress::Abandoned => true,
            // An answer to something that was answered already: it crossed an UNBLOCK.
            Progress::Idle | Progress::Done(_) => return,
        };
        state.progress = Progress::Done(result);
        let waker = state.waker.take();
        let node = self.clients.get(state.client).map(|client| client.node);
        self.refuse_reads(thread);
        if result.is_err() {
            self.drop_pieces(thread);
        }
        if let Some(node) = node {
            self.attachment_ends(node);
        }
        if abandoned {
            self.rest_thread(thread);
        }
        wake(waker);
    }

    /// Fails all transactions of a connection.
    pub(in crate::kif::client) fn fail_threads(&mut self, key: Key, errno: Errno) {
        let mut index = 0;
        while let Some(thread) = self.clients.get(key).and_then(|client| client.threads.get(index).copied()) {
            self.finish_thread(thread, Err(errno));
            index += 1;
        }
    }

    /// The handle is free for the next transaction of its connection.
    pub(super) fn rest_thread(&mut self, thread: Key) {
        self.refuse_reads(thread);
        self.drop_pieces(thread);
        let Some(state) = self.threads.get_mut(thread) else { return };
        (state.progress, state.waker) = (Progress::Idle, None);
        if let Some(client) = self.clients.get_mut(state.client) {
            client.idle.push(thread);
        }
    }

    pub(in crate::kif::client) fn forget_thread(&mut self, thread: Key) {
        self.drop_pieces(thread);
        if let Some(state) = self.threads.remove(thread) {
            wake(state.waker);
        }
        self.counters.vtid.set(self.threads.len());
    }

    pub(super) fn drop_pieces(&mut self, thread: Key) {
        while let Some(state) = self.threads.get_mut(thread)
            && let Some((_, piece)) = state.pieces.pop_front()
        {
            state.piece_bytes -= piece.data.len();
            self.discard(piece);
        }
    }

    pub(super) fn refuse_reads(&mut self, thread: Key) {
        while let Some(read) = self.threads.get_mut(thread).and_then(|state| state.reads.pop_front()) {
            self.refuse_read(thread, read, Errno::ESRCH);
        }
    }

    fn refuse_read(&mut self, thread: Key, read: MsgRead, errno: Errno) {
        let client = self.threads.get(thread).and_then(|state| self.clients.get(state.client));
        let Some(client) = client.filter(|client| client.is_live()) else { return };
        let (route, epoch) = (client.route(), Epoch::Tx(client.tx));
        let status = errno.0 as u32;
        let error = Transfer { status, handle: read.client_handle, offset: read.offset, nbytes: 0 };
        self.transmit_surely(route, epoch, &KifMessage::MsgReadError(error), Body::EMPTY);
    }
}
