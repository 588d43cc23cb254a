//! Transactions of clients here: a send, and what the server does with the message until it replies.
//!
//! The bytes to send and the room for the reply belong to whoever waits, so it is its future that moves them: what
//! the server asks for or brings is kept with the [`Thread`] until the future is polled.

use super::{Client, Phase, set_waker};
use crate::kif::channel;
use crate::kif::outbox::{Epoch, Route, Unsent};
use crate::kif::state::{Arrival, State};
use crate::kif::table::Key;
use crate::sessions::{Body, NodeNr};
use alloc::collections::VecDeque;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use keelson_qnet_wire::kif::{self, FIRST_SEND, KifMessage, MsgRead, MsgSend, Transfer, Unblock, VtidInfo};
use keelson_qnet_wire::proc::BlockedOn;
use keelson_qnet_wire::{Errno, Nd};

mod served;

/// Most bytes of a message or a reply that travel at once (section 12.5).
pub(crate) const TRANSFER: usize = 65_536;

/// A handle: one thread of a client on one connection (section 12.5). It stays when a transaction ends, for events
/// and for the next one.
pub(crate) struct Thread {
    client: Key,
    tid: i32,
    progress: Progress,
    /// Bytes of the reply so far.
    replied: usize,
    waker: Option<Waker>,
    /// Parts of the reply to be copied, with their places.
    pieces: VecDeque<(u32, Arrival)>,
    piece_bytes: usize,
    /// Parts of the message to be sent.
    reads: VecDeque<MsgRead>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    Idle,
    Waiting,
    /// Nobody waits any more, but the server has not answered yet.
    Abandoned,
    Done(Result<i32, Errno>),
}

/// A message, and the room for its reply.
pub(crate) struct Sending<'a> {
    pub parts: &'a [&'a [u8]],
    pub reply_len: usize,
}

impl Sending<'_> {
    fn total(&self) -> Option<usize> {
        let total = self.parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(part.len()))?;
        i32::try_from(total).ok().map(|_| total)
    }
}

/// What a caller of the API does.
impl State {
    /// What a process waits for a reply of: the first of its sends that has not ended.
    pub fn waits_for(&self, pid: i32) -> Option<BlockedOn> {
        let waiting = self.threads.iter().filter(|(_, thread)| thread.progress == Progress::Waiting);
        let mut clients = waiting.filter_map(|(_, thread)| self.clients.get(thread.client));
        let client = clients.find(|client| client.cred.pid == pid)?;
        let scoid = match client.phase {
            Phase::Up { scoid, .. } => scoid as i32,
            _ => 0,
        };
        let (server, chid) = (client.server_pid as i32, client.server_chid as i32);
        Some(BlockedOn::Connect { nd: client.nd, pid: server, coid: client.coid, chid, scoid })
    }

    /// Sends a message; the handle tells what becomes of it.
    pub fn begin_send(&mut self, key: Key, sending: &Sending<'_>) -> Result<Key, Unsent> {
        let server_id = self.ready(key)?;
        let thread = self.take_thread(key)?;
        match self.send_first(key, thread, server_id, sending) {
            Ok(()) => Ok(thread),
            Err(unsent) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.idle.push(thread);
                }
                Err(unsent)
            }
        }
    }

    fn send_first(
        &mut self,
        key: Key,
        thread: Key,
        server_id: u32,
        sending: &Sending<'_>,
    ) -> Result<(), Unsent> {
        let gone = Unsent::Failed(Errno::EBADF);
        let client = self.clients.get(key).ok_or(gone)?;
        let Phase::Up { nbytes, .. } = client.phase else { return Err(gone) };
        let (route, tx) = (client.route(), client.tx);
        let (send, body) = self.first_message(key, thread, sending, nbytes)?;
        let send = MsgSend { server_id, ..send };
        let sent = self.transmit(route, &KifMessage::MsgSend(send, None), body)?;
        self.begin_waiting(thread);
        if sent != tx {
            // The connection has been replaced since, and the server knows nothing of what was before.
            self.client_dies(key, Errno::ESRCH);
        }
        Ok(())
    }

    /// MSGSEND with as many bytes as travel at once.
    fn first_message<'a>(
        &self,
        key: Key,
        thread: Key,
        sending: &Sending<'a>,
        limit: u32,
    ) -> Result<(MsgSend, Body<'a>), Unsent> {
        let too_long = Unsent::Failed(Errno::EMSGSIZE);
        let gone = Unsent::Failed(Errno::EBADF);
        let total = sending.total().ok_or(too_long)?;
        let client = self.clients.get(key).ok_or(gone)?;
        let tid = self.threads.get(thread).ok_or(gone)?.tid;
        let vinfo = client.vinfo(tid, total, sending.reply_len);
        let body = Body::range(sending.parts, 0, limit.min(FIRST_SEND) as usize);
        let nbytes = body.len() as u32;
        Ok((MsgSend { server_id: 0, client_handle: thread.number(), vinfo, nbytes }, body))
    }

    /// Attaches and sends in one message. The handle waits for both answers.
    pub fn attach_and_send(
        &mut self,
        target: super::Target<'_>,
        sending: &Sending<'_>,
    ) -> Result<(Key, Key), Unsent> {
        let key = self.new_client(target)?;
        let started = self.start_combined(key, sending);
        if started.is_err()
            && let Some(client) = self.clients.remove(key)
        {
            client.threads.into_iter().for_each(|thread| self.forget_thread(thread));
        }
        started.map(|thread| (key, thread))
    }

    fn start_combined(&mut self, key: Key, sending: &Sending<'_>) -> Result<Key, Unsent> {
        let gone = Unsent::Failed(Errno::EBADF);
        let thread = self.take_thread(key)?;
        let (send, body) = self.first_message(key, thread, sending, FIRST_SEND)?;
        let (connect, cred) = self.connect_message(key).ok_or(gone)?;
        let route = self.clients.get(key).ok_or(gone)?.route();
        let message = KifMessage::ConnectMsgSend(connect, Some(cred), send, None);
        let tx = self.transmit(route, &message, body)?;
        let client = self.clients.get_mut(key).ok_or(gone)?;
        (client.tx, client.combined, client.unanswered) = (tx, true, 1);
        self.count_client(key);
        self.begin_waiting(thread);
        Ok(thread)
    }

    /// Whether to attach and send in one message: to nodes that do so themselves (section 28, row 13).
    pub fn combines(&self, nd: Nd) -> bool {
        self.peers.get(&NodeNr(nd.node())).is_some_and(|peer| peer.profile.combined)
    }

    /// Moves what there is to move, and tells the result: the status and the bytes of the reply.
    pub fn poll_send(
        &mut self,
        thread: Key,
        parts: &[&[u8]],
        reply: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<(i32, usize), Errno>> {
        self.answer_reads(thread, parts, cx);
        loop {
            let Some(state) = self.threads.get_mut(thread) else { return Poll::Ready(Err(Errno::EBADF)) };
            let Some((offset, piece)) = state.pieces.pop_front() else { break };
            state.piece_bytes -= piece.data.len();
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(reply.len());
            let room = reply.get_mut(start..).unwrap_or_default();
            let len = room.len().min(piece.data().len());
            if let (Some(to), Some(from)) = (room.get_mut(..len), piece.data().get(..len)) {
                to.copy_from_slice(from);
                state.replied = state.replied.max(start + len);
            }
            self.discard(piece);
        }
        let Some(state) = self.threads.get_mut(thread) else { return Poll::Ready(Err(Errno::EBADF)) };
        let Progress::Done(result) = state.progress else {
            set_waker(&mut state.waker, cx);
            return Poll::Pending;
        };
        let replied = state.replied;
        self.rest_thread(thread);
        Poll::Ready(result.map(|status| (status, replied)))
    }

    /// Sends what the server has asked for.
    fn answer_reads(&mut self, thread: Key, parts: &[&[u8]], cx: &mut Context<'_>) {
        loop {
            let Some(state) = self.threads.get_mut(thread) else { return };
            let Some(read) = state.reads.front().copied() else { return };
            let Some(route) = self.clients.get(state.client).map(Client::route) else { return };
            let wanted = usize::try_from(read.nbytes).unwrap_or(usize::MAX).min(TRANSFER);
            let body = Body::range(parts, usize::try_from(read.offset).unwrap_or(usize::MAX), wanted);
            let nbytes = body.len() as u32;
            let xfer = Transfer { status: 0, handle: read.client_handle, offset: read.offset, nbytes };
            let sent = self.transmit(route, &KifMessage::MsgReadXfer(xfer), body);
            if sent == Err(Unsent::Full) {
                // Polling once is enough to be woken when there may be room.
                let room = self.room.clone();
                let _ = pin!(room.notified()).poll(cx);
                return;
            }
            if let Some(state) = self.threads.get_mut(thread) {
                state.reads.pop_front();
            }
        }
    }

    /// The client wants to stop waiting: the server is asked to answer soon.
    pub fn unblock(&mut self, thread: Key) {
        let Some(state) = self.threads.get(thread) else { return };
        let Some(client) = self.clients.get(state.client) else { return };
        let Phase::Up { server_id, .. } = client.phase else { return };
        let (route, epoch, tid) = (client.route(), Epoch::Tx(client.tx), state.tid);
        let message = KifMessage::Unblock(Unblock { server_id, client_handle: thread.number(), tid });
        self.transmit_surely(route, epoch, &message, Body::EMPTY);
    }

    /// Nobody waits for the transaction any more. The handle is used again when the server has answered.
    pub fn abandon_send(&mut self, thread: Key) {
        let Some(state) = self.threads.get_mut(thread) else { return };
        match state.progress {
            Progress::Waiting => {
                state.progress = Progress::Abandoned;
                state.waker = None;
                self.refuse_reads(thread);
                self.drop_pieces(thread);
                self.unblock(thread);
            }
            Progress::Done(_) => self.rest_thread(thread),
            Progress::Idle | Progress::Abandoned => {}
        }
    }

    /// Sends a pulse.
    pub fn send_pulse(&mut self, key: Key, priority: u8, code: i8, value: i32) -> Result<(), Unsent> {
        let server_id = self.ready(key)?;
        let gone = Unsent::Failed(Errno::EBADF);
        let client = self.clients.get(key).ok_or(gone)?;
        let priority = priority.min(channel::MAX_PRIORITY);
        let pulse = kif::Pulse {
            server_id,
            vinfo: VtidInfo { priority: priority.into(), ..client.vinfo(1, 0, 0) },
            code,
            value: value as u32,
            priority: priority.into(),
            ..kif::Pulse::default()
        };
        let (route, tx) = (Route { priority, ..client.route() }, client.tx);
        let node = client.node;
        let sent = self.transmit(route, &KifMessage::Pulse(pulse, None), Body::EMPTY)?;
        self.counters.client_kercalls += u64::from(node != NodeNr::LOCAL);
        if sent != tx {
            self.client_dies(key, Errno::ESRCH);
            return Err(Unsent::Failed(Errno::ESRCH));
        }
        Ok(())
    }

    /// The server's handle of a connection that can be used, after telling it of changed credentials.
    fn ready(&mut self, key: Key) -> Result<u32, Unsent> {
        let gone = Unsent::Failed(Errno::EBADF);
        let client = self.clients.get(key).ok_or(gone)?;
        let Phase::Up { server_id, .. } = client.phase else { return Err(gone) };
        if client.cred_changed {
            self.send_connect(key)?;
            if let Some(client) = self.clients.get_mut(key) {
                client.cred_changed = false;
            }
        }
        Ok(server_id)
    }

    fn take_thread(&mut self, key: Key) -> Result<Key, Unsent> {
        let client = self.clients.get_mut(key).ok_or(Unsent::Failed(Errno::EBADF))?;
        if let Some(thread) = client.idle.pop() {
            return Ok(thread);
        }
        let state = Thread {
            client: key,
            tid: i32::try_from(client.threads.len() + 1).unwrap_or(i32::MAX),
            progress: Progress::Idle,
            replied: 0,
            waker: None,
            pieces: VecDeque::new(),
            piece_bytes: 0,
            reads: VecDeque::new(),
        };
        let Some(thread) = self.threads.insert(state) else {
            self.counters.refused += 1;
            return Err(Unsent::Failed(Errno::EAGAIN));
        };
        client.threads.push(thread);
        self.counters.vtid.set(self.threads.len());
        Ok(thread)
    }

    fn begin_waiting(&mut self, thread: Key) {
        let Some(state) = self.threads.get_mut(thread) else { return };
        (state.progress, state.replied) = (Progress::Waiting, 0);
        let Some(node) = self.clients.get(state.client).map(|client| client.node) else { return };
        if node != NodeNr::LOCAL {
            self.counters.waiting.add();
            self.counters.client_kercalls += 1;
        }
        self.with_peer(node, |peer| peer.waiting += 1);
    }
}

impl Client {
    /// About a thread and its message.
    fn vinfo(&self, tid: i32, total: usize, reply_len: usize) -> VtidInfo {
        VtidInfo {
            tid,
            coid: self.coid,
            priority: self.priority.into(),
            srcmsglen: total as i32,
            keydata: total as u32,
            srcnd: self.nd,
            dstmsglen: i32::try_from(reply_len).unwrap_or(i32::MAX),
            zero: 0,
        }
    }
}
