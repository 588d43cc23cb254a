//! Deciding about a request: it is granted, denied, queued, or would wait for itself.

use super::deadlock::{Circle, MAX_STEPS, NEW, Through, circle};
use super::range::{Request, Wait};
use super::settle::Unsettled;
use super::{LockTable, Outcome, WaiterId};

/// Locks that a waiter may need: two more when it splits one of its owner's, and one to take it out again.
const WAITER_ROOM: usize = 3;

impl LockTable {
    pub(super) fn ask(&mut self, request: Request, wait: Wait) -> Outcome {
        let held = self.held.conflicts(request).next().is_some();
        if wait == Wait::No {
            return if held { Outcome::Denied } else { self.take(request) };
        }
        if let Some(waiter) = self.queue.find(request) {
            return self.ask_again(waiter, request);
        }
        if held {
            return if self.is_deadlock(NEW, request) { Outcome::Deadlock } else { self.wait(request) };
        }
        // What the owner has on those bytes, or part of it, is not to wait for.
        let must_wait = self.queue.conflicts(request).next().is_some()
            && !self.held.covers(request)
            && circle(&self.held, &self.queue, (NEW, request), Through::LocksAndQueue, &mut { MAX_STEPS })
                .is_none();
        if must_wait { self.wait(request) } else { self.take(request) }
    }

    /// Every waiter is really blocked, so there is nothing to try. But a circle that was none when it came may
    /// have closed since.
    fn ask_again(&mut self, waiter: WaiterId, request: Request) -> Outcome {
        if !self.is_deadlock(waiter, request) {
            return Outcome::Blocked(waiter);
        }
        self.dequeue(waiter);
        self.settle(Unsettled::freed(request.file, request.range));
        Outcome::Deadlock
    }

    fn is_deadlock(&self, waiter: WaiterId, request: Request) -> bool {
        let asked = (waiter, request);
        circle(&self.held, &self.queue, asked, Through::Locks, &mut { MAX_STEPS }) == Some(Circle::Locks)
    }

    fn take(&mut self, request: Request) -> Outcome {
        let Some(todo) = self.acquire(request) else {
            self.refused.locks += 1;
            return Outcome::Full;
        };
        self.settle(todo);
        Outcome::Granted
    }

    fn wait(&mut self, request: Request) -> Outcome {
        if self.queue.len() >= self.limits.waiters {
            self.refused.waiters += 1;
            return Outcome::Full;
        }
        if self.room() < WAITER_ROOM {
            self.refused.locks += 1;
            return Outcome::Full;
        }
        let waiter = self.queue.push(request);
        self.files.add(request.file, 1);
        self.settle(Unsettled { suspects: [waiter].into(), ..Unsettled::default() });
        Outcome::Blocked(waiter)
    }

    /// What an owner asks for and can have. It stays as it was if there is no room.
    fn acquire(&mut self, request: Request) -> Option<Unsettled> {
        let Request { file, owner, kind, range } = request;
        let plan = self.held.plan(owner, file, range, Some(kind));
        if plan.growth() > self.room() {
            return None;
        }
        self.apply(owner, file, &plan);
        let mut todo = if plan.frees { Unsettled::freed(file, range) } else { Unsettled::default() };
        if let Some(waiter) = self.queue.find(request) {
            self.dequeue(waiter);
            todo.freed.push((file, range));
        }
        // The answer to this request is also the answer to an earlier one for the same.
        if let Some(waiter) = self.grants.find(request) {
            self.grants.remove(waiter);
        }
        self.grants.replace(request);
        todo.suspects.extend(self.queue.of_owner(owner));
        Some(todo)
    }

    /// Locks that can still be added. Each waiter has reserved room for its lock (which may split one in
    /// three) and for giving it back, each grant for giving it back.
    pub(super) fn room(&self) -> usize {
        let reserved = WAITER_ROOM * self.queue.len() + self.grants.len();
        self.limits.locks.saturating_sub(self.held.len() + reserved)
    }
}
