//! Credits, and those who wait for them in the order in which they came.

use super::show::CreditStatus;
use crate::buffers::SMALL;
use alloc::collections::VecDeque;
use core::cell::{Cell, RefCell};
use core::task::Waker;

/// Small and bulk messages have budgets of their own everywhere, so that none of the former ever waits for one
/// of the latter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// What fits a tiny or small router buffer.
    Small,
    /// The rest.
    Bulk,
}

impl Class {
    pub const fn of(payload_length: u32) -> Class {
        if payload_length as usize <= SMALL { Class::Small } else { Class::Bulk }
    }

    /// Send credits where `configured` is the number for bulk. Small messages have eight times as many: they are
    /// gone as soon as they are written, and writing many at once is cheaper.
    pub const fn send_credits(self, configured: u32) -> u32 {
        match self {
            Class::Small => configured.saturating_mul(8),
            Class::Bulk => configured,
        }
    }

    /// Router credits where `configured` is the number for bulk. A small message that waits holds up pings that
    /// come on the same connection; so that it seldom has to, a sender may have most of what the share of its
    /// next hop ([`super::pools`]) allows.
    pub const fn router_credits(self, configured: u32) -> u32 {
        match self {
            Class::Small => configured.saturating_mul(64),
            Class::Bulk => configured,
        }
    }
}

/// A number of credits with its low-water mark.
pub(crate) struct Credits {
    max: Cell<i64>,
    used: Cell<i64>,
    min: Cell<i64>,
}

impl Credits {
    pub fn new(max: u32) -> Credits {
        Credits { max: Cell::new(max.into()), used: Cell::new(0), min: Cell::new(max.into()) }
    }

    pub fn take(&self) {
        self.used.set(self.used.get() + 1);
        self.min.set(self.min.get().min(self.available()));
    }

    pub fn give(&self) {
        debug_assert!(self.used.get() > 0, "a credit came back that was never taken");
        self.used.set(self.used.get() - 1);
    }

    /// Below zero: so many wait.
    pub fn available(&self) -> i64 {
        self.max.get() - self.used.get()
    }

    pub fn max(&self) -> i64 {
        self.max.get()
    }

    pub fn status(&self) -> CreditStatus {
        CreditStatus { max: self.max.get(), available: self.available(), min: self.min.get() }
    }

    pub fn reset_min(&self) {
        self.min.set(self.available());
    }
}

/// What is shown of the budgets of both classes: the numbers of bulk, or those of small messages when they are
/// worse.
pub(crate) fn worse(bulk: CreditStatus, small: CreditStatus) -> CreditStatus {
    CreditStatus {
        max: bulk.max,
        available: bulk.available.min(small.available),
        min: bulk.min.min(small.min),
    }
}

struct Waiter {
    /// Set when first polled.
    waker: Option<Waker>,
    weight: u32,
    gone: bool,
}

/// Those who wait, first come first served. A place in it is a ticket: tickets count up, and all below
/// `served` have been served or are gone.
#[derive(Default)]
pub(crate) struct Queue {
    waiters: RefCell<VecDeque<Waiter>>,
    served: Cell<u64>,
    live: Cell<usize>,
}

impl Queue {
    pub fn join(&self, weight: u32) -> u64 {
        let mut waiters = self.waiters.borrow_mut();
        let ticket = self.served.get() + waiters.len() as u64;
        waiters.push_back(Waiter { waker: None, weight, gone: false });
        self.live.set(self.live.get() + 1);
        ticket
    }

    pub fn is_served(&self, ticket: u64) -> bool {
        ticket < self.served.get()
    }

    /// Who waits in the place of `ticket` from now on.
    pub fn watch(&self, ticket: u64, waker: &Waker) {
        let Some(index) = ticket.checked_sub(self.served.get()) else { return };
        if let Some(waiter) = self.waiters.borrow_mut().get_mut(index as usize) {
            match &mut waiter.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    /// Gives the place up.
    pub fn leave(&self, ticket: u64) {
        let Some(index) = ticket.checked_sub(self.served.get()) else { return };
        if let Some(waiter) = self.waiters.borrow_mut().get_mut(index as usize)
            && !waiter.gone
        {
            waiter.gone = true;
            waiter.waker = None;
            self.live.set(self.live.get() - 1);
        }
    }

    /// Those who wait.
    pub fn len(&self) -> usize {
        self.live.get()
    }

    pub fn is_empty(&self) -> bool {
        self.live.get() == 0
    }

    /// The weight of the first who waits.
    pub fn first(&self) -> Option<u32> {
        let mut waiters = self.waiters.borrow_mut();
        while waiters.front().is_some_and(|waiter| waiter.gone) {
            waiters.pop_front();
            self.served.set(self.served.get() + 1);
        }
        waiters.front().map(|waiter| waiter.weight)
    }

    /// Serves the first who waits. What it waited for is its own from now on.
    pub fn serve(&self) {
        if self.first().is_none() {
            return;
        }
        let waiter = self.waiters.borrow_mut().pop_front();
        self.served.set(self.served.get() + 1);
        self.live.set(self.live.get() - 1);
        if let Some(waker) = waiter.and_then(|waiter| waiter.waker) {
            waker.wake();
        }
    }

    /// Lets all who wait look round, in their places.
    pub fn stir(&self) {
        for waiter in self.waiters.borrow().iter() {
            if let Some(waker) = &waiter.waker {
                waker.wake_by_ref();
            }
        }
    }
}

/// Credits that are waited for.
pub(crate) struct Gate {
    pub credits: Credits,
    pub queue: Queue,
}

impl Gate {
    pub fn new(max: u32) -> Gate {
        Gate { credits: Credits::new(max), queue: Queue::default() }
    }

    /// Takes a credit if one is free and nobody waits.
    pub fn try_take(&self) -> bool {
        let free = self.credits.available() > 0 && self.queue.is_empty();
        if free {
            self.credits.take();
        }
        free
    }

    /// Waits: the credit is taken already, below zero.
    pub fn join(&self) -> u64 {
        self.credits.take();
        self.queue.join(1)
    }

    /// Gives a credit back: to the first who waits, if anyone does.
    pub fn give(&self) {
        self.credits.give();
        if self.credits.available() + self.queue.len() as i64 > 0 {
            self.queue.serve();
        }
    }

    /// The end of a wait without a credit.
    pub fn leave(&self, ticket: u64) {
        if self.queue.is_served(ticket) {
            self.give();
        } else {
            self.queue.leave(ticket);
            self.credits.give();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served() {
        let gate = Gate::new(2);
        assert!(gate.try_take() && gate.try_take() && !gate.try_take());
        let (a, b, c) = (gate.join(), gate.join(), gate.join());
        assert_eq!(gate.credits.available(), -3);
        gate.leave(b);
        assert!(!gate.try_take());
        gate.give();
        assert!(gate.queue.is_served(a) && !gate.queue.is_served(c));
        gate.give();
        assert!(gate.queue.is_served(c), "who left is passed over");
        gate.give();
        gate.leave(c);
        assert_eq!(gate.credits.available(), 2);
        assert_eq!(gate.credits.status(), CreditStatus { max: 2, available: 2, min: -3 });
        assert!(gate.queue.is_empty());
    }
}
