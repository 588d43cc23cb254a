//! What threads that wait for the host do meanwhile: they make a part of what the next records are encrypted with.

use alloc::sync::Arc;
use core::task::Waker;
use keelson_lwk_wire::channel::{Ahead, Receiver, Sender};
use spin::Once;

/// The records of a session's connections, as far as they are protected.
#[derive(Default)]
pub struct Records {
    out: Once<Arc<Ahead>>,
    into: Once<Arc<Ahead>>,
    /// Long answers have a connection of their own.
    bulk: Once<Arc<Ahead>>,
}

impl Records {
    /// The session has its connection.
    pub fn first(&self, sender: &Sender, receiver: &Receiver) {
        keep(&self.out, sender.ahead());
        keep(&self.into, receiver.ahead());
    }

    /// And the one for long answers.
    pub fn bulk(&self, receiver: &Receiver) {
        keep(&self.bulk, receiver.ahead());
    }

    /// The number of the record behind the next one to the host, where that will be the request of who asks.
    pub fn behind_next(&self) -> u64 {
        self.out.get().map_or(0, |out| out.next() + 1)
    }

    /// Makes a part for an answer of so many bytes, then for record `next` to the host: the request that a thread waits for is sealed
    /// by then. True when there is more to do; `waker` is told when there is again.
    pub fn prepare(&self, next: u64, answer: &Expected, waker: &Waker) -> bool {
        let into = match answer.streams {
            true => self.bulk.get().or(self.into.get()),
            false => self.into.get(),
        };
        into.is_some_and(|into| into.prepare(0, answer.bytes, waker))
            || self.out.get().is_some_and(|out| out.prepare(next, 0, waker))
    }
}

/// What a thread waits for.
pub struct Expected {
    /// About as many bytes.
    pub bytes: usize,
    /// It comes in pieces.
    pub streams: bool,
}

fn keep(place: &Once<Arc<Ahead>>, ahead: Option<Arc<Ahead>>) {
    if let Some(ahead) = ahead {
        place.call_once(|| ahead);
    }
}
