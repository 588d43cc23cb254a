//! Where the answer to a request arrives, and the future of whoever waits for it.

use super::Session;
use super::records::Expected;
use crate::Errno;
use crate::delegate::Reply;
use crate::room::with_room;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use keelson_lwk_wire::frame::MAX_INLINE;
use keelson_lwk_wire::messages::{Desc, Part};
use spin::Mutex;

/// The answer to one request.
#[derive(Debug)]
pub struct Slot {
    /// What the call was sent with.
    descs: Vec<Desc>,
    /// Most bytes that the answer may have for written arguments.
    most: u64,
    state: Mutex<State>,
}

#[derive(Default, Debug)]
struct State {
    reply: Option<Reply>,
    /// What came ahead of the answer, in DATA frames.
    streamed: Vec<u8>,
    waker: Option<Waker>,
}

impl Slot {
    /// Has the memory for an answer that comes in pieces: once the host has read what it is to bring, it is too late to find none.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub(super) fn new(descs: Vec<Desc>, most: u64) -> Result<Slot, Errno> {
        let streamed = descs
            .iter()
            .find(|desc| desc.part == Part::Data && desc.direction.is_out() && desc.len as usize > MAX_INLINE)
            .map_or(Ok(Vec::new()), |desc| with_room(desc.len as usize))?;
        Ok(Slot { descs, most, state: Mutex::new(State { streamed, ..State::default() }) })
    }

    /// Bytes that come ahead of the answer; false when there are more than were asked for, or out of order, or too many.
    pub fn stream(&self, offset: u64, bytes: &[u8]) -> bool {
        let mut state = self.state.lock();
        let end = (state.streamed.len() as u64).checked_add(bytes.len() as u64);
        if offset != state.streamed.len() as u64 || end.is_none_or(|end| end > self.most) {
            return false;
        }
        // There is room, unless the host sends by pieces what would fit into a frame.
        if state.streamed.try_reserve(bytes.len()).is_err() {
            return false;
        }
        state.streamed.extend_from_slice(bytes);
        true
    }

    /// Takes what came ahead.
    pub fn streamed(&self) -> Vec<u8> {
        core::mem::take(&mut self.state.lock().streamed)
    }

    /// The descriptors of the call, in the order of the wire.
    pub fn descs(&self) -> &[Desc] {
        &self.descs
    }

    pub(super) fn fill(&self, reply: Reply) {
        let waker = {
            let mut state = self.state.lock();
            state.reply = Some(reply);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Waits for an answer. Dropped before, it cancels the request.
pub struct Waiting {
    session: Arc<Session>,
    id: u64,
    slot: Arc<Slot>,
    done: bool,
    /// The number of the record behind the request's.
    behind: u64,
    /// To be prepared for.
    answer: Option<Expected>,
}

impl Waiting {
    pub(super) fn new(session: Arc<Session>, id: u64, slot: Arc<Slot>, behind: u64) -> Waiting {
        Waiting { session, id, slot, done: false, behind, answer: None }
    }

    /// Prepares records while it waits. For a thread on a processor that has nothing else to do; whoever else has something there
    /// comes between two parts. `streams`: what does not fit into a frame comes in pieces.
    pub(super) fn preparing(mut self, streams: bool) -> impl Future<Output = Reply> {
        let bytes = usize::try_from(self.slot.most).unwrap_or(usize::MAX);
        self.answer = Some(Expected { bytes, streams: streams && bytes > MAX_INLINE });
        self
    }
}

impl Future for Waiting {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let reply = {
            let mut state = self.slot.state.lock();
            let reply = state.reply.take();
            if reply.is_none() {
                state.waker = Some(cx.waker().clone());
            }
            reply
        };
        match reply {
            Some(reply) => {
                self.done = true;
                Poll::Ready(reply)
            }
            None => {
                if let Some(answer) = &self.answer
                    && self.session.records.prepare(self.behind, answer, cx.waker())
                {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.done {
            self.session.cancel_request(self.id);
        }
    }
}
