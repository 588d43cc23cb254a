//! Serving the queue: who gets what became free.

use super::deadlock::{Circle, MAX_STEPS, Through, circle};
use super::held::Plan;
use super::queue::Waiter;
use super::range::{ByteRange, Request};
use super::{LockTable, OwnerId, WaiterId};
use alloc::vec::Vec;
use keelson_volume::FileId;

/// What is to be looked at after the table changed.
#[derive(Default)]
pub(super) struct Unsettled {
    /// Where something became free: a lock that was in the way, or an earlier waiter.
    pub freed: Vec<(FileId, ByteRange)>,
    /// Who may have closed a circle of waiting.
    pub suspects: Vec<WaiterId>,
}

impl Unsettled {
    pub fn freed(file: FileId, range: ByteRange) -> Unsettled {
        Unsettled { freed: [(file, range)].into(), suspects: Vec::new() }
    }
}

impl LockTable {
    /// Grants what can be granted until each waiter is blocked by a held lock or an earlier waiter, and no
    /// waiter waits for itself through the queue.
    ///
    /// Ends: each round grants a waiter, lets one pass, or takes something from the lists; only the first two
    /// add to them.
    pub(super) fn settle(&mut self, mut todo: Unsettled) {
        let mut steps = MAX_STEPS;
        loop {
            if let Some((file, range)) = todo.freed.pop() {
                for waiter in self.queue.overlapping(file, range) {
                    if let Some(found) = self.queue.get(waiter)
                        && !self.is_blocked(waiter, found)
                    {
                        self.grant(waiter, found.request, &mut todo);
                    }
                }
            } else if let Some(suspect) = todo.suspects.pop() {
                self.unknot(suspect, &mut steps, &mut todo);
            } else {
                return;
            }
        }
    }

    fn is_blocked(&self, id: WaiterId, Waiter { request, passes }: Waiter) -> bool {
        self.held.conflicts(request).next().is_some()
            || !passes && self.queue.conflicts(request).any(|earlier| earlier < id)
    }

    /// The waiter gets its lock and becomes a grant. There is room: each waiter has reserved it.
    fn grant(&mut self, waiter: WaiterId, request: Request, todo: &mut Unsettled) {
        self.dequeue(waiter);
        let plan = self.held.plan(request.owner, request.file, request.range, Some(request.kind));
        self.apply(request.owner, request.file, &plan);
        self.grants.replace(request);
        if self.grants.push(waiter, request) {
            self.refused.grants += 1;
        }
        if plan.frees {
            todo.freed.push((request.file, request.range));
        }
        // Others wait for the owner now. That matters if it waits for something else.
        todo.suspects.extend(self.queue.of_owner(request.owner));
    }

    /// Lets somebody pass if the suspect waits for itself through the queue.
    fn unknot(&mut self, suspect: WaiterId, steps: &mut usize, todo: &mut Unsettled) {
        let Some(waiter) = self.queue.get(suspect) else { return };
        let asked = (suspect, waiter.request);
        let found = circle(&self.held, &self.queue, asked, Through::LocksAndQueue, steps);
        if let Some(Circle::Queue(passing)) = found
            && let Some(request) = self.queue.pass(passing)
        {
            todo.freed.push((request.file, request.range));
            todo.suspects.push(suspect);
        }
    }

    /// Takes a waiter out of the queue, without a grant.
    pub(super) fn dequeue(&mut self, waiter: WaiterId) -> Option<Request> {
        let request = self.queue.remove(waiter)?;
        self.files.remove(request.file, 1);
        Some(request)
    }

    /// Frees the range of an owner. What follows is to be settled.
    pub(super) fn give_back(&mut self, request: Request) -> Unsettled {
        let Request { file, owner, range, .. } = request;
        let plan = self.held.plan(owner, file, range, None);
        self.apply(owner, file, &plan);
        for granted in self.grants.replace(request) {
            if self.held.within(owner, file, granted.range).next().is_none() {
                self.grants.remove(granted.waiter);
            }
        }
        if plan.frees { Unsettled::freed(file, range) } else { Unsettled::default() }
    }

    pub(super) fn apply(&mut self, owner: OwnerId, file: FileId, plan: &Plan) {
        let before = self.held.len();
        self.held.apply(owner, file, plan);
        let after = self.held.len();
        self.files.add(file, after.saturating_sub(before));
        self.files.remove(file, before.saturating_sub(after));
    }
}
