//! What a server is sent, from MSGSEND to MSGREPLY or MSGERROR.

use super::{Server, scoid};
use crate::kif::channel::{self, Item, Pulse};
use crate::kif::client::wake;
use crate::kif::outbox::{Epoch, Route};
use crate::kif::state::{Arrival, State};
use crate::kif::table::Key;
use crate::sessions::{Body, NodeNr, Qos, RxId};
use core::task::Waker;
use keelson_hal::Instant;
use keelson_qnet_wire::io::MsgInfo;
use keelson_qnet_wire::kif::{Cred, FIRST_SEND, KifMessage, MsgSend, Transfer, Unblock};
use keelson_qnet_wire::{Errno, Nd};

mod serving;

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
