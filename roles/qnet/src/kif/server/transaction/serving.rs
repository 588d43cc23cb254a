//! What servers here do: receive, reply, refuse, write, deliver.

use super::{Delivery, Stage, scoid, transfer};
use crate::kif::channel::{self, Item};
use crate::kif::client::{TRANSFER, set_waker};
use crate::kif::outbox::{Epoch, Unsent};
use crate::kif::state::State;
use crate::kif::table::Key;
use crate::sessions::{Body, NodeNr};
use core::task::{Context, Poll};
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::kif::{Event, KifMessage, Sigevent};

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
