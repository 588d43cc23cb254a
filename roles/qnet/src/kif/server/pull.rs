//! Pulling the rest of a long message: MSGREAD, MSGREAD_XFER, MSGREAD_ERROR.

use crate::kif::channel::MAX_PRIORITY;
use crate::kif::client::{set_waker, wake};
use crate::kif::outbox::{Route, Unsent};
use crate::kif::state::{Arrival, State};
use crate::kif::table::Key;
use crate::sessions::{Body, Qos};
use core::task::{Context, Poll, Waker};
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::kif::{KifMessage, MsgRead, Transfer};

/// A read that waits for its answer.
pub(crate) struct Read {
    transaction: Key,
    offset: u32,
    nbytes: u32,
    answer: Option<Result<Arrival, Errno>>,
    waker: Option<Waker>,
}

impl State {
    /// Asks the client for bytes of its message.
    pub fn begin_pull(&mut self, transaction: Key, offset: u32, nbytes: u32) -> Result<Key, Unsent> {
        let found = self.transactions.get(transaction).filter(|found| !found.is_over());
        let found = found.ok_or(Unsent::Failed(Errno::ESRCH))?;
        // Ahead of other data: a server waits for it.
        let route = Route { node: found.node, qos: Qos::default(), priority: MAX_PRIORITY };
        let msgread_handle = found.client_handle();
        let read = Read { transaction, offset, nbytes, answer: None, waker: None };
        let Some(key) = self.reads.insert(read) else {
            self.counters.refused += 1;
            return Err(Unsent::Failed(Errno::EAGAIN));
        };
        let message = MsgRead { msgread_handle, client_handle: key.number(), offset, nbytes };
        if let Err(unsent) = self.transmit(route, &KifMessage::MsgRead(message), Body::EMPTY) {
            self.reads.remove(key);
            return Err(unsent);
        }
        Ok(key)
    }

    /// Copies the answer, and tells how long it is.
    pub fn poll_pull(&mut self, key: Key, to: &mut [u8], cx: &mut Context<'_>) -> Poll<Result<usize, Errno>> {
        let Some(read) = self.reads.get_mut(key) else { return Poll::Ready(Err(Errno::ESRCH)) };
        let arrival = match read.answer.take() {
            None => {
                set_waker(&mut read.waker, cx);
                return Poll::Pending;
            }
            Some(Err(errno)) => return Poll::Ready(Err(errno)),
            Some(Ok(arrival)) => arrival,
        };
        let len = to.len().min(arrival.data().len());
        if let (Some(to), Some(from)) = (to.get_mut(..len), arrival.data().get(..len)) {
            to.copy_from_slice(from);
        }
        self.discard(arrival);
        Poll::Ready(Ok(len))
    }

    /// Nobody waits for the answer any more.
    pub fn end_pull(&mut self, key: Key) {
        if let Some(Read { answer: Some(Ok(arrival)), .. }) = self.reads.remove(key) {
            self.discard(arrival);
        }
    }

    /// A transaction is over: its reads fail.
    pub(super) fn end_pulls(&mut self, transaction: Key) {
        let mut from = 0;
        while let Some(key) = self.reads.next(&mut from, |read| read.transaction == transaction) {
            self.answer_pull(key, Err(Errno::ESRCH));
        }
    }

    pub(in crate::kif) fn on_read_xfer(&mut self, xfer: Transfer, mut arrival: Arrival) {
        let Some(key) = self.pull_of(xfer, &arrival) else { return self.discard(arrival) };
        let nbytes = self.reads.get(key).map_or(0, |read| read.nbytes);
        let end = arrival.data.start.saturating_add(usize::try_from(nbytes).unwrap_or(usize::MAX));
        arrival.data.end = arrival.data.end.min(end);
        self.answer_pull(key, Ok(arrival));
    }

    pub(in crate::kif) fn on_read_error(&mut self, error: Transfer, arrival: &Arrival) {
        if let Some(key) = self.pull_of(error, arrival) {
            let errno = i32::try_from(error.status).ok().filter(|number| *number > 0);
            self.answer_pull(key, Err(errno.map_or(Errno::ESRVRFAULT, Errno)));
        }
    }

    fn answer_pull(&mut self, key: Key, answer: Result<Arrival, Errno>) {
        let Some(read) = self.reads.get_mut(key) else { return };
        let waker = read.waker.take();
        if let Some(Ok(unread)) = read.answer.replace(answer) {
            self.discard(unread);
        }
        wake(waker);
    }

    /// The read that an answer names, if it is open and the answer comes from its client.
    fn pull_of(&mut self, answer: Transfer, arrival: &Arrival) -> Option<Key> {
        let key = Key::from_number(answer.handle);
        let read = self.reads.get(key).filter(|read| read.answer.is_none() && read.offset == answer.offset);
        let asked = read.and_then(|read| self.transactions.get(read.transaction));
        let found = asked.filter(|asked| (asked.node, asked.rx) == (arrival.from, arrival.rx));
        // A server that does not wait any more leaves an answer behind: that is nobody's fault, but cannot be told
        // from a wrong one.
        self.counters.inval_server_id += u64::from(found.is_none());
        found.map(|_| key)
    }
}
