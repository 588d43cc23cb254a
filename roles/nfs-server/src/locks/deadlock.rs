//! Who waits for whom, and whether that goes round in a circle.
//!
//! A waiter waits for the owners of held locks in its way, and those wait as long as one of their own waiters
//! does. It also waits for earlier waiters that want something in its way, which is our rule and not POSIX's:
//! it keeps readers from starving a writer. A circle of the first kind alone is a deadlock. One in which
//! somebody waits for an earlier waiter is none: that waiter may pass.
//!
//! The owner of several waiters (threads of one process) counts as waiting when any of them does.

use super::held::Held;
use super::queue::{Queue, Waiter};
use super::range::Request;
use super::{OwnerId, WaiterId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use keelson_volume::FileId;

/// Locks and waiters looked at for one call; beyond it a circle counts as none. The client that waits in it
/// can still cancel.
pub(super) const MAX_STEPS: usize = 1 << 18;

/// A request that is not queued: every waiter is earlier.
pub(super) const NEW: WaiterId = WaiterId(u64::MAX);

/// What counts as waiting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Through {
    /// Held locks.
    Locks,
    /// Held locks and earlier waiters; circles of held locks alone are passed over.
    LocksAndQueue,
}

/// A circle that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Circle {
    /// Of held locks alone.
    Locks,
    /// Broken when this one does not wait for earlier waiters; [`NEW`] is the request itself.
    Queue(WaiterId),
}

/// A request whose blockers are to be found.
#[derive(Clone, Copy)]
struct Node {
    id: WaiterId,
    request: Request,
    passes: bool,
    /// The first on the way here that waits for an earlier waiter.
    may_pass: Option<WaiterId>,
}

/// A request whose blockers are known. One on the same file for no more bytes, of no stronger kind and not
/// later can only be blocked by the same, and by the owner of this one.
///
/// So a thousand waiters for one range are not compared pair by pair.
struct Known {
    id: WaiterId,
    request: Request,
    queue: bool,
}

/// As many are kept for a file.
const KNOWN: usize = 8;

struct Walk<'a> {
    held: &'a Held,
    queue: &'a Queue,
    through: Through,
    steps: &'a mut usize,
    nodes: Vec<Node>,
    owners: BTreeSet<OwnerId>,
    waiters: BTreeSet<WaiterId>,
    known: BTreeMap<FileId, Vec<Known>>,
}

/// Looks for a circle through the owner of the request. `steps` is what may be spent and what is left of it.
pub(super) fn circle(
    held: &Held,
    queue: &Queue,
    (id, request): (WaiterId, Request),
    through: Through,
    steps: &mut usize,
) -> Option<Circle> {
    // Nobody can wait for who holds nothing.
    held.of_owner(request.owner).next()?;
    let passes = queue.get(id).is_some_and(|waiter| waiter.passes);
    let walk = Walk {
        held,
        queue,
        through,
        steps,
        nodes: [Node { id, request, passes, may_pass: None }].into(),
        owners: BTreeSet::new(),
        waiters: [id].into(),
        known: BTreeMap::new(),
    };
    walk.run(request.owner)
}

impl Walk<'_> {
    fn run(mut self, start: OwnerId) -> Option<Circle> {
        while let Some(node) = self.nodes.pop()
            && *self.steps > 0
        {
            let (owners, waiters) = self.blockers(&node);
            for owner in owners {
                if owner == start {
                    match (node.may_pass, self.through) {
                        (Some(waiter), _) => return Some(Circle::Queue(waiter)),
                        (None, Through::Locks) => return Some(Circle::Locks),
                        (None, Through::LocksAndQueue) => {}
                    }
                } else if self.owners.insert(owner) {
                    let queue = self.queue;
                    queue.of_owner(owner).for_each(|waiter| self.visit(waiter, node.may_pass));
                }
            }
            waiters.into_iter().for_each(|waiter| self.visit(waiter, node.may_pass.or(Some(node.id))));
        }
        None
    }

    fn visit(&mut self, id: WaiterId, may_pass: Option<WaiterId>) {
        if let Some(waiter) = self.queue.get(id)
            && self.waiters.insert(id)
        {
            self.nodes.push(Node { id, request: waiter.request, passes: waiter.passes, may_pass });
        }
    }

    /// The owners and the waiters that are in the way of a request, except such as are known already.
    fn blockers(&mut self, node: &Node) -> (Vec<OwnerId>, Vec<WaiterId>) {
        let Node { id, request, .. } = *node;
        let queue = self.through == Through::LocksAndQueue && !node.passes;
        let known = self.known.entry(request.file).or_default();
        let covers = |known: &&Known| {
            known.request.kind >= request.kind
                && known.request.range.covers(request.range)
                && (!queue || known.queue && known.id >= id)
        };
        if let Some(known) = known.iter().find(covers) {
            let others = known.request.owner;
            return self.blockers_of(node, others, queue);
        }
        if known.len() < KNOWN {
            known.push(Known { id, request, queue });
        }
        let held = self.held.opposing(request).take(*self.steps);
        let owners: Vec<_> = held.map(|(owner, ..)| owner).collect();
        *self.steps -= owners.len();
        let waiting = self.queue.opposing(request).take(if queue { *self.steps } else { 0 });
        let waiters: Vec<_> = waiting.collect();
        *self.steps = self.steps.saturating_sub(waiters.len() + 1);
        let blocks = |earlier: &WaiterId| {
            *earlier < id
                && self.queue.get(*earlier).is_some_and(|earlier| earlier.request.owner != request.owner)
        };
        (
            owners.into_iter().filter(|owner| *owner != request.owner).collect(),
            waiters.into_iter().filter(blocks).collect(),
        )
    }

    /// What of one owner is in the way of a request.
    fn blockers_of(&mut self, node: &Node, owner: OwnerId, queue: bool) -> (Vec<OwnerId>, Vec<WaiterId>) {
        let Node { id, request, .. } = *node;
        if owner == request.owner {
            *self.steps = self.steps.saturating_sub(1);
            return (Vec::new(), Vec::new());
        }
        let mut looked_at = 1;
        let steps = *self.steps;
        let blocks = self
            .held
            .within(owner, request.file, request.range)
            .take(steps)
            .inspect(|_| looked_at += 1)
            .any(|kind| kind.conflicts(request.kind));
        let owners = blocks.then_some(owner).into_iter().collect();
        let waiting =
            self.queue.of_owner(owner).take(if queue { steps.saturating_sub(looked_at) } else { 0 });
        let waiters = waiting
            .inspect(|_| looked_at += 1)
            .filter(|earlier| {
                *earlier < id
                    && self.queue.get(*earlier).is_some_and(|Waiter { request: other, .. }| {
                        other.file == request.file
                            && other.kind.conflicts(request.kind)
                            && other.range.overlaps(request.range)
                    })
            })
            .collect();
        *self.steps = steps.saturating_sub(looked_at);
        (owners, waiters)
    }
}
