//! What a server is sent, from MSGSEND to MSGREPLY or MSGERROR.

use super::{Server, scoid};
use crate::kif::channel::{self, Item, Pulse};
use crate::kif::client::{TRANSFER, set_waker, wake};
use crate::kif::outbox::{Epoch, Route, Unsent};
use crate::kif::state::{Arrival, State};
use crate::kif::table::Key;
use crate::sessions::{Body, NodeNr, Qos, RxId};
use core::task::{Context, Poll, Waker};
use keelson_hal::Instant;
use keelson_qnet_wire::io::MsgInfo;
use keelson_qnet_wire::kif::{Cred, Event, FIRST_SEND, KifMessage, MsgSend, Sigevent, Transfer, Unblock};
use keelson_qnet_wire::{Errno, Nd};

/// Longest message that is held as it came: with its first bytes, as we ask for, and more than any structure. Others
/// give back the memory that they do not need.
const MOST_HELD: usize = FIRST_SEND as usize + 1024;

/// A transaction.
pub(crate) struct Transaction {
    server: Key,
    pub(super) node: NodeNr,
    pub(super) rx: RxId,
    handle: u32,
    priority: u8,
    /// Size of the client's reply buffer.
    dst_len: usize,
    info: MsgInfo,
    stage: Stage,
    /// The client wants to stop waiting.
    unblock: bool,
    /// When the client is answered whether or not the server has done so.
    deadline: Option<Instant>,
    /// Waits for `unblock` or the end.
    waker: Option<Waker>,
}

enum Stage {
    /// The server has not received it.
    Queued(Arrival),
    /// The server has it.
    Received,
    /// The server has it, but the client does not wait any more.
    Over,
}

/// Something that a server receives.
pub(crate) enum Delivery {
    Message { key: Key, arrival: Arrival, info: MsgInfo, cred: Cred },
    Pulse(Pulse),
    Unblock { key: Key, scoid: u32 },
    Disconnect { scoid: u32 },
}

impl Transaction {
    fn route(&self) -> Route {
        Route { node: self.node, qos: Qos::default(), priority: self.priority }
    }

    pub(super) fn client_handle(&self) -> u32 {
        self.handle
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }
}

/// What clients do.
impl State {
    pub(in crate::kif) fn on_send(&mut self, send: MsgSend, cred: Option<Cred>, mut arrival: Arrival) {
        let node = arrival.from;
        self.counters.server_msgs += u64::from(node != NodeNr::LOCAL);
        let refusal = match self.server_of(send.server_id, &arrival) {
            None => Errno::ESRCH,
            Some(key) => {
                if cred.is_some() {
                    let cred = self.mapped(cred, node);
                    self.servers.get_mut(key).into_iter().for_each(|server| server.cred = cred);
                }
                if self.transaction_of(key, send.client_handle).is_some() {
                    // A thread does one thing at a time: there is nobody to answer.
                    self.counters.malformed += 1;
                    return self.discard(arrival);
                }
                let limit = self.config.limits.transactions;
                let remote = self.counters.server_transactions.now;
                let used = if node == NodeNr::LOCAL {
                    self.transactions.len().saturating_sub(remote)
                } else {
                    remote
                };
                if used < limit {
                    // What does not travel with the first send is asked for when it is wanted.
                    let first = arrival.data.start.saturating_add(FIRST_SEND as usize);
                    arrival.data.end = arrival.data.end.min(first);
                    if arrival.message.bytes().len() > MOST_HELD {
                        arrival.message.truncate(arrival.data.end);
                    }
                    return self.queue_transaction(key, &send, arrival);
                }
                self.counters.refused += 1;
                Errno::EAGAIN
            }
        };
        let priority = channel::priority(send.vinfo.priority);
        let route = Route { node, qos: Qos::default(), priority };
        self.send_error(route, Epoch::Rx(arrival.rx), send.client_handle, refusal);
        self.discard(arrival);
    }

    fn queue_transaction(&mut self, server: Key, send: &MsgSend, arrival: Arrival) {
        let (node, rx) = (arrival.from, arrival.rx);
        let Some(owner) = self.servers.get(server) else { return self.discard(arrival) };
        let channel = owner.channel;
        let priority = channel::priority(send.vinfo.priority);
        let msglen = arrival.data.len() as i32;
        let info = MsgInfo {
            nd: Nd::new(node.0, 0),
            srcnd: send.vinfo.srcnd,
            pid: owner.client_pid,
            tid: send.vinfo.tid,
            chid: owner.chid as i32,
            scoid: scoid(server) as i32,
            coid: send.vinfo.coid,
            msglen,
            srcmsglen: send.vinfo.srcmsglen.max(msglen),
            dstmsglen: send.vinfo.dstmsglen.max(0),
            priority: priority.into(),
            flags: 0,
        };
        let transaction = Transaction {
            server,
            node,
            rx,
            handle: send.client_handle,
            priority,
            dst_len: usize::try_from(info.dstmsglen).unwrap_or(0),
            info,
            stage: Stage::Queued(arrival),
            unblock: false,
            deadline: None,
            waker: None,
        };
        // The caller has looked: there is room.
        let Some(key) = self.transactions.insert(transaction) else { return };
        if let Some(owner) = self.servers.get_mut(server) {
            owner.transactions.push(key);
        }
        if node != NodeNr::LOCAL {
            self.counters.server_transactions.add();
        }
        self.queue(channel, priority, Item::Message(key));
    }

    fn transaction_of(&self, server: Key, handle: u32) -> Option<Key> {
        let keys = &self.servers.get(server)?.transactions;
        let is_it = |key: &&Key| self.transactions.get(**key).is_some_and(|found| found.handle == handle);
        keys.iter().find(is_it).copied()
    }

    pub(in crate::kif) fn on_unblock(&mut self, unblock: Unblock, arrival: &Arrival) {
        self.counters.server_unblock += u64::from(arrival.from != NodeNr::LOCAL);
        let Some(server) = self.server_of(unblock.server_id, arrival) else { return };
        // Without a transaction it has crossed the reply.
        let Some(key) = self.transaction_of(server, unblock.client_handle) else { return };
        let channel = self.servers.get(server).map(|server| server.channel);
        let deadline = self.now() + self.config.unblock_grace;
        let Some(transaction) = self.transactions.get_mut(key) else { return };
        match transaction.stage {
            Stage::Queued(_) => {
                let (route, epoch, handle) =
                    (transaction.route(), Epoch::Rx(transaction.rx), transaction.handle);
                self.end_transaction(key);
                self.send_error(route, epoch, handle, Errno::EINTR);
            }
            Stage::Received if !transaction.unblock => {
                transaction.unblock = true;
                transaction.deadline = Some(deadline);
                let (priority, waker) = (transaction.priority, transaction.waker.take());
                self.deadlines += 1;
                self.wake.notify();
                if let Some(channel) = channel {
                    self.queue(channel, priority, Item::Unblock(key));
                }
                wake(waker);
            }
            Stage::Received | Stage::Over => {}
        }
    }
}

/// What servers do.
impl State {
    /// Takes what is next for a channel.
    pub fn receive(&mut self, channel: Key) -> Option<Delivery> {
        loop {
            match self.channels.get_mut(channel)?.pop()? {
                Item::Pulse(pulse) => return Some(Delivery::Pulse(pulse)),
                Item::Unblock(key) => {
                    if let Some(transaction) = self.transactions.get(key) {
                        return Some(Delivery::Unblock { key, scoid: scoid(transaction.server) });
                    }
                }
                Item::Disconnect(key) => {
                    self.forget_server(key);
                    return Some(Delivery::Disconnect { scoid: scoid(key) });
                }
                Item::Message(key) => {
                    let Some(transaction) = self.transactions.get_mut(key) else { continue };
                    let Some(server) = self.servers.get(transaction.server) else { continue };
                    let (info, cred) = (transaction.info, server.cred);
                    match core::mem::replace(&mut transaction.stage, Stage::Received) {
                        Stage::Queued(arrival) => {
                            return Some(Delivery::Message { key, arrival, info, cred });
                        }
                        other => transaction.stage = other,
                    }
                }
            }
        }
    }

    /// MSGREPLY. A longer reply than travels at once goes ahead of it in MSGWRITEs.
    pub fn reply(&mut self, key: Key, status: i32, parts: &[&[u8]]) {
        let Some(transaction) = self.transactions.get(key) else { return };
        if !transaction.is_over() {
            let (route, epoch) = (transaction.route(), Epoch::Rx(transaction.rx));
            let handle = transaction.handle;
            let all = Body::range(parts, 0, transaction.dst_len);
            self.counters.send_acks += u64::from(route.node != NodeNr::LOCAL);
            let mut sent = true;
            let mut offset = TRANSFER;
            while sent && offset < all.len() {
                let body = Body::range(parts, offset, TRANSFER.min(all.len() - offset));
                let write = transfer(0, handle, offset, body.len());
                sent = self.transmit_surely(route, epoch, &KifMessage::MsgWrite(write), body);
                offset += TRANSFER;
            }
            let first = Body::range(parts, 0, all.len().min(TRANSFER));
            let reply = transfer(status as u32, handle, 0, first.len());
            let sent = sent && self.transmit_surely(route, epoch, &KifMessage::MsgReply(reply), first);
            if !sent {
                // The client must not wait for ever: it gets an answer that takes no room.
                self.send_error(route, epoch, handle, Errno::EAGAIN);
            }
        }
        self.let_go(key);
    }

    /// MSGERROR. Without an error number: what fits best when a server just let go of the message.
    pub fn fail(&mut self, key: Key, errno: Option<Errno>) {
        let Some(transaction) = self.transactions.get(key) else { return };
        if !transaction.is_over() {
            let gone = if transaction.unblock { Errno::EINTR } else { Errno::ESRCH };
            let (route, epoch) = (transaction.route(), Epoch::Rx(transaction.rx));
            let errno = errno.filter(|errno| errno.0 > 0).unwrap_or(gone);
            self.send_error(route, epoch, transaction.handle, errno);
        }
        self.let_go(key);
    }

    /// MSGWRITE. The bytes that the client has room for.
    pub fn write_reply(&mut self, key: Key, offset: usize, data: &[u8]) -> Result<usize, Unsent> {
        let over = Unsent::Failed(Errno::ESRCH);
        let transaction = self.transactions.get(key).filter(|found| !found.is_over()).ok_or(over)?;
        let room = transaction.dst_len.saturating_sub(offset).min(TRANSFER);
        let parts = [data];
        let body = Body::range(&parts, 0, room);
        if !body.is_empty() {
            let write = transfer(0, transaction.handle, offset, body.len());
            self.transmit(transaction.route(), &KifMessage::MsgWrite(write), body)?;
        }
        Ok(body.len())
    }

    /// Whether the client wants to stop waiting, or has.
    pub fn poll_unblocked(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<()> {
        match self.transactions.get_mut(key) {
            Some(transaction) if !transaction.is_over() && !transaction.unblock => {
                set_waker(&mut transaction.waker, cx);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Whether the client wants to stop waiting, or has.
    pub fn is_unblocked(&self, key: Key) -> bool {
        self.transactions.get(key).is_none_or(|found| found.is_over() || found.unblock)
    }

    /// EVENT, to the thread that sent a message once.
    pub fn deliver(&mut self, server: Key, handle: u32, event: Sigevent) -> Result<(), Errno> {
        let owner = self.servers.get(server).filter(|server| !server.closing).ok_or(Errno::ESRCH)?;
        let route = owner.route(channel::priority(event.priority.into()));
        let message = KifMessage::Event(Event { client_handle: handle, sigevent: event });
        if self.transmit(route, &message, Body::EMPTY).is_err() {
            // Best effort: the server is done with it (section 12.5).
            self.counters.event_lost += 1;
        }
        Ok(())
    }

    /// Where events for the sender of a message go.
    pub fn event_target(&self, key: Key) -> Option<(Key, u32)> {
        let transaction = self.transactions.get(key)?;
        Some((transaction.server, transaction.handle))
    }
}

/// The end of transactions.
impl State {
    fn send_error(&mut self, route: Route, epoch: Epoch, handle: u32, errno: Errno) {
        self.counters.send_acks += u64::from(route.node != NodeNr::LOCAL);
        let error = KifMessage::MsgError(transfer(errno.0 as u32, handle, 0, 0));
        self.transmit_surely(route, epoch, &error, Body::EMPTY);
    }

    /// The server has no more to do with it.
    fn let_go(&mut self, key: Key) {
        self.end_transaction(key);
        let Some(transaction) = self.transactions.remove(key) else { return };
        if transaction.node != NodeNr::LOCAL {
            self.counters.server_transactions.sub();
        }
    }

    /// The client no longer waits. What the server has not received it will not.
    fn end_transaction(&mut self, key: Key) {
        let Some(transaction) = self.transactions.get_mut(key) else { return };
        let owner = transaction.server;
        let (was_due, unblock) = (transaction.deadline.take().is_some(), transaction.unblock);
        let waker = transaction.waker.take();
        let stage = core::mem::replace(&mut transaction.stage, Stage::Over);
        self.deadlines -= usize::from(was_due);
        let mut channel = None;
        if let Some(server) = self.servers.get_mut(owner) {
            server.transactions.retain(|other| *other != key);
            channel = Some(server.channel);
        }
        let channel = channel.and_then(|channel| self.channels.get_mut(channel));
        match stage {
            Stage::Queued(arrival) => {
                if let Some(channel) = channel {
                    channel.withdraw(Item::Message(key));
                }
                self.discard(arrival);
                self.let_go(key);
            }
            Stage::Received => {
                if let Some(channel) = channel.filter(|_| unblock) {
                    channel.withdraw(Item::Unblock(key));
                }
                self.end_pulls(key);
            }
            Stage::Over => {}
        }
        wake(waker);
    }

    /// All transactions of a connection end, without an answer.
    pub(super) fn end_transactions(&mut self, server: Key) {
        while let Some(key) = self.servers.get(server).and_then(|server| server.transactions.last().copied())
        {
            self.end_transaction(key);
        }
    }

    /// All transactions of a connection end with an error.
    pub(super) fn fail_transactions(&mut self, server: Key, errno: Errno) {
        let first = |server: &Server| server.transactions.first().copied();
        while let Some(key) = self.servers.get(server).and_then(first) {
            if let Some(transaction) = self.transactions.get(key) {
                let (route, epoch) = (transaction.route(), Epoch::Rx(transaction.rx));
                self.send_error(route, epoch, transaction.handle, errno);
            }
            self.end_transaction(key);
        }
    }

    /// Answers for servers that have not done so in time, and tells when to look again.
    pub fn expire(&mut self) -> Option<Instant> {
        if self.deadlines == 0 {
            return None;
        }
        let (now, mut from) = (self.now(), 0);
        let is_due = |found: &Transaction| found.deadline.is_some_and(|deadline| deadline <= now);
        while let Some(key) = self.transactions.next(&mut from, is_due) {
            if let Some(transaction) = self.transactions.get(key) {
                let (route, epoch) = (transaction.route(), Epoch::Rx(transaction.rx));
                self.send_error(route, epoch, transaction.handle, Errno::EINTR);
            }
            self.end_transaction(key);
        }
        self.transactions.iter().filter_map(|(_, transaction)| transaction.deadline).min()
    }
}

fn transfer(status: u32, handle: u32, offset: usize, len: usize) -> Transfer {
    let offset = u32::try_from(offset).unwrap_or(u32::MAX);
    Transfer { status, handle, offset, nbytes: len as u32 }
}
