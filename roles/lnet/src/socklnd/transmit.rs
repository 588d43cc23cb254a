//! The writer of a connection: takes from its peer's queues what its type carries, and fills the send ring.

use super::Socklnd;
use super::connection::{Connection, Ending, lost};
use super::counters::{add, count};
use super::frame::LONGEST;
use crate::lnd::{LndUpper, SendError};
use crate::message::Message;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use keelson_lnet_wire::hello::{ConnType, Hello, Version};
use keelson_lnet_wire::ksock::{KsockHeader, ZcAcks};
use keelson_lnet_wire::message::Header;

/// Writes until the connection ends.
pub(super) async fn run<U: LndUpper>(lnd: Rc<Socklnd<U>>, conn: Rc<Connection<U>>) {
    loop {
        while conn.has_work() {
            let written =
                conn.write.write_with(|space| (conn.tx.borrow_mut().fill(&lnd, &conn, space), ())).await;
            if written.is_err() {
                lnd.close(&conn, Ending::Failed(SendError::Broken), &lnd.counters.closed_reset);
                return;
            }
            report(&lnd, &conn);
        }
        conn.wake.wait().await;
    }
}

/// Returns the messages that are done with.
fn report<U: LndUpper>(lnd: &Socklnd<U>, conn: &Connection<U>) {
    let key = conn.peer.key;
    loop {
        let done = conn.tx.borrow_mut().done.pop_front();
        let Some((message, result)) = done else { return };
        match result {
            Ok(()) => {
                count(&lnd.counters.tx_messages);
                add(&lnd.counters.tx_bytes, message.payload.len() as u64);
            }
            Err(error) => count(lost(&lnd.counters, error)),
        }
        lnd.upper.finished(key.ni, key.nid, message, result);
    }
}

impl<U: LndUpper> Connection<U> {
    /// Whether [`Outgoing::fill`] would write anything.
    fn has_work(&self) -> bool {
        let census = self.peer.census.get();
        self.tx.borrow().at < self.tx.borrow().len
            || (census.acknowledges(self.kind) && !self.peer.acks.borrow().is_empty())
            || self.peer.queues.borrow().has_for(&census, self.kind, self.version)
            || self.may_probe()
    }

    fn may_probe(&self) -> bool {
        self.peer.keepalive.get() && self.kind == ConnType::BulkIn && self.version >= Version::V3
    }
}

/// What is being written.
pub(super) struct Outgoing {
    /// Headers, or a HELLO.
    head: [u8; LONGEST],
    head_len: usize,
    /// Bytes of all of it, and how many are written.
    len: usize,
    at: usize,
    message: Option<Message>,
    /// Messages done with, to be returned when the stack is not busy.
    done: VecDeque<(Message, Result<(), SendError>)>,
    /// Bytes written to the connection so far.
    pub written: u64,
}

impl Outgoing {
    /// Begins with a HELLO, or with nothing.
    pub fn new(greeting: Option<&Hello>) -> Outgoing {
        let (head_len, message, done) = (0, None, VecDeque::new());
        let mut outgoing =
            Outgoing { head: [0; LONGEST], head_len, len: 0, at: 0, message, done, written: 0 };
        let mut room = [0; Hello::MAX_LEN];
        if let Some(Ok(bytes)) = greeting.map(|hello| hello.encode(&mut room)) {
            outgoing.begin(bytes, None);
        }
        outgoing
    }

    /// True while a part of a message is written, but not all of it.
    pub fn has_message(&self) -> bool {
        self.message.is_some()
    }

    /// Gives up; returns the message that was being written.
    pub fn abandon(&mut self) -> Option<Message> {
        self.at = self.len;
        self.message.take()
    }

    /// Writes as much as there is and fits.
    fn fill<U: LndUpper>(&mut self, lnd: &Socklnd<U>, conn: &Connection<U>, space: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < space.len() && (self.at < self.len || self.next(lnd, conn)) {
            filled += self.copy(&mut space[filled..]);
            if self.at >= self.len
                && let Some(message) = self.message.take()
            {
                self.done.push_back((message, Ok(())));
            }
        }
        self.written += filled as u64;
        filled
    }

    fn copy(&mut self, space: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < space.len() && self.at < self.len {
            let source = match self.at.checked_sub(self.head_len) {
                None => self.head.get(self.at..self.head_len).unwrap_or_default(),
                Some(offset) => self.message.as_ref().map_or(&[][..], |message| message.payload.from(offset)),
            };
            let len = source.len().min(space.len() - filled);
            if len == 0 {
                // Nothing left although the length says so: `next` saw to it that this cannot be.
                self.at = self.len;
                break;
            }
            space[filled..filled + len].copy_from_slice(&source[..len]);
            filled += len;
            self.at += len;
        }
        filled
    }

    /// Decides what to write next; false when there is nothing for this connection.
    fn next<U: LndUpper>(&mut self, lnd: &Socklnd<U>, conn: &Connection<U>) -> bool {
        let (peer, counters) = (&conn.peer, &lnd.counters);
        let (kind, version, census) = (conn.kind, conn.version, conn.peer.census.get());
        let (mut queues, mut acks) = (peer.queues.borrow_mut(), peer.acks.borrow_mut());
        let rides = acks.is_single() && queues.has_for(&census, kind, version);
        if census.acknowledges(kind)
            && !rides
            && let Some(noop) = acks.take_noop(version)
        {
            count(&counters.tx_noops);
            add(&counters.tx_acks, noop.count());
            self.begin(&KsockHeader::noop(noop).encode(), None);
            return true;
        }
        while let Some(message) = queues.pull(&census, kind, version) {
            let mut small = [0; Header::SMALL];
            let mut large = [0; Header::LARGE];
            let header: Option<&[u8]> = if version == Version::V4 {
                message.header.encode_large(&mut large);
                Some(&large)
            } else {
                message.header.encode_small(&mut small).ok().map(|()| &small[..])
            };
            // A header that lies about its payload would be the end of the stream.
            let honest = message.payload.len() == message.header.payload_length as usize;
            debug_assert!(
                honest,
                "{} bytes announced, {} there",
                message.header.payload_length,
                message.payload.len()
            );
            let Some(header) = header.filter(|_| honest) else {
                self.done.push_back((message, Err(SendError::NotExpressible)));
                continue;
            };
            if version == Version::V1 {
                self.begin(header, Some(message));
                return true;
            }
            let ksock = match acks.take_one() {
                Some(cookie) => {
                    count(&counters.tx_acks);
                    KsockHeader::lnet_with_ack(cookie)
                }
                None => KsockHeader::lnet(),
            };
            let mut both = [0; LONGEST];
            let (first, second) = both.split_at_mut(KsockHeader::LEN);
            first.copy_from_slice(&ksock.encode());
            second[..header.len()].copy_from_slice(header);
            self.begin(&both[..KsockHeader::LEN + header.len()], Some(message));
            return true;
        }
        if conn.may_probe() {
            peer.keepalive.set(false);
            count(&counters.tx_noops);
            count(&counters.tx_keepalives);
            self.begin(&KsockHeader::noop(ZcAcks::Keepalive).encode(), None);
            return true;
        }
        false
    }

    fn begin(&mut self, head: &[u8], message: Option<Message>) {
        if let Some(room) = self.head.get_mut(..head.len()) {
            room.copy_from_slice(head);
        }
        self.head_len = head.len();
        self.len = head.len() + message.as_ref().map_or(0, |message| message.payload.len());
        self.at = 0;
        self.message = message;
    }
}
