//! Back-pressure: a message waits for credits and buffers, and with it the connection it comes on.

use super::credits::{Class, Gate, Queue};
use super::peer::{Charge, PeerNi};
use super::pools::Pools;
use super::tag::Tag;
use super::{Life, Lnet};
use alloc::rc::Rc;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;
use keelson_hal::Instant;

/// A message that waits for a buffer asks for one of the reserve this often, once it has waited long enough.
const RESCUE_INTERVAL: Duration = Duration::from_millis(250);

/// The end of a wait.
enum Turn {
    /// What was waited for is there.
    Served,
    /// It takes long.
    Overdue,
    /// It will not come.
    Refused,
}

impl Lnet {
    /// Takes the credit and the buffer that a message needs, waiting for them if need be. While this waits, the
    /// connection is not read. `None` when there is no more use in waiting.
    pub(super) async fn hold(
        &self,
        from: &Rc<PeerNi>,
        to: &Rc<PeerNi>,
        charge: Option<Charge>,
        len: u32,
    ) -> Option<Tag> {
        let mut tag = Tag::incoming(&self.books, from);
        let pools = &self.books.pools;
        let mut overdue = Instant::ZERO;
        if let Some(charge) = charge {
            let gate = from.gate(charge);
            if !gate.try_take() {
                let mut place = AtGate { gate, ticket: gate.join(), served: false };
                overdue = self.overdue(len);
                loop {
                    match self.turn(&gate.queue, place.ticket, overdue, to).await {
                        Turn::Served => break,
                        Turn::Refused => return None,
                        Turn::Overdue => {
                            if let Some(buffer) = pools.rescue(to, len) {
                                tag.hold_buffer(to, buffer);
                                return Some(tag);
                            }
                            overdue = self.handle.now() + RESCUE_INTERVAL;
                        }
                    }
                }
                place.served = true;
            }
            tag.hold_credit(charge);
        }
        // What is for this node and has no payload needs no memory either.
        if len == 0 && Rc::ptr_eq(to, &self.this_node) {
            tag.to = Some(to.clone());
            return Some(tag);
        }
        if let Some(buffer) = pools.try_take(to, len) {
            tag.hold_buffer(to, buffer);
            return Some(tag);
        }
        if overdue == Instant::ZERO {
            overdue = self.overdue(len);
        }
        let mut place = AtPool { pools, hop: to, ticket: pools.join(to, len), len, served: false };
        let queue = &pools.lane(to, len).queue;
        let buffer = loop {
            match self.turn(queue, place.ticket, overdue, to).await {
                Turn::Served => break pools.served(to, place.ticket, len)?,
                Turn::Refused => return None,
                Turn::Overdue => {
                    if let Some(buffer) = pools.rescue(to, len) {
                        tag.hold_buffer(to, buffer);
                        return Some(tag);
                    }
                    overdue = self.handle.now() + RESCUE_INTERVAL;
                }
            }
        };
        place.served = true;
        tag.hold_buffer(to, buffer);
        Some(tag)
    }

    /// When a message that waits from now on has waited for too long. For a small one, that is a tenth of the
    /// time: what stands behind it may be a ping.
    fn overdue(&self, len: u32) -> Instant {
        let patience = self.config.borrow().rescue_after;
        self.handle.now() + if Class::of(len) == Class::Small { patience / 10 } else { patience }
    }

    /// Waits for a turn in a queue, at most until `overdue`, and only while the next hop is worth waiting for.
    async fn turn(&self, queue: &Queue, ticket: u64, overdue: Instant, to: &Rc<PeerNi>) -> Turn {
        let mut sleep = self.handle.sleep_until(overdue);
        poll_fn(|cx| {
            if queue.is_served(ticket) {
                return Poll::Ready(Turn::Served);
            }
            if self.gave_up(to) {
                return Poll::Ready(Turn::Refused);
            }
            if Pin::new(&mut sleep).poll(cx).is_ready() {
                return Poll::Ready(Turn::Overdue);
            }
            queue.watch(ticket, cx.waker());
            Poll::Pending
        })
        .await
    }

    fn gave_up(&self, to: &Rc<PeerNi>) -> bool {
        let local = Rc::ptr_eq(to, &self.this_node);
        self.life.get() == Life::Stopped || (!local && (!self.forwards() || to.is_given_up()))
    }
}

/// A place in the queue for a sender's credits. Given up when dropped.
struct AtGate<'a> {
    gate: &'a Gate,
    ticket: u64,
    served: bool,
}

impl Drop for AtGate<'_> {
    fn drop(&mut self) {
        if !self.served {
            self.gate.leave(self.ticket);
        }
    }
}

/// A place in the queue for a next hop's buffers. Given up when dropped.
struct AtPool<'a> {
    pools: &'a Pools,
    hop: &'a Rc<PeerNi>,
    ticket: u64,
    len: u32,
    served: bool,
}

impl Drop for AtPool<'_> {
    fn drop(&mut self) {
        if !self.served {
            self.pools.leave(self.hop, self.ticket, self.len);
        }
    }
}
