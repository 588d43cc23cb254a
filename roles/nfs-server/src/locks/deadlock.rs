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
use super::range::{ByteRange, Kind, Request};
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

/// What of a file no request on the walk has been blocked by so far.
struct Rest {
    locks: Vec<(Kind, ByteRange, OwnerId)>,
    waiters: Vec<WaiterId>,
}

struct Walk<'a> {
    held: &'a Held,
    queue: &'a Queue,
    through: Through,
    steps: &'a mut usize,
    nodes: Vec<Node>,
    owners: BTreeSet<OwnerId>,
    waiters: BTreeSet<WaiterId>,
    /// Most files are come by once, and asked by range. From the second time on what was seen is crossed off,
    /// so that a thousand waiters for one range are not compared pair by pair.
    files: BTreeMap<FileId, Option<Rest>>,
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
        files: BTreeMap::new(),
    };
    walk.run(request.owner)
}

impl Walk<'_> {
    fn run(mut self, start: OwnerId) -> Option<Circle> {
        while let Some(node) = self.nodes.pop() {
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

    /// The owners and the waiters that are in the way of a request and were not seen on its file before.
    fn blockers(&mut self, node: &Node) -> (Vec<OwnerId>, Vec<WaiterId>) {
        let queued = self.through == Through::LocksAndQueue && !node.passes;
        let Node { id, request, .. } = *node;
        let (held, queue) = (self.held, self.queue);
        let Some(rest) = self.files.get_mut(&request.file) else {
            self.files.insert(request.file, None);
            let owners: Vec<_> = held.conflicts(request).take(*self.steps).map(|(owner, ..)| owner).collect();
            let asked = if queued { *self.steps - owners.len() } else { 0 };
            let waiters: Vec<_> = queue.conflicts(request).take(asked).collect();
            *self.steps -= owners.len() + waiters.len();
            return (owners, waiters.into_iter().filter(|earlier| *earlier < id).collect());
        };
        let rest = rest.get_or_insert_with(|| Rest {
            locks: held.of_file(request.file).take(*self.steps).collect(),
            waiters: queue.of_file(request.file).take(*self.steps).collect(),
        });
        let looked_at = rest.locks.len() + if queued { rest.waiters.len() } else { 0 };
        let Some(left) = self.steps.checked_sub(looked_at) else {
            *self.steps = 0;
            return (Vec::new(), Vec::new());
        };
        *self.steps = left;
        let is_in_the_way = |owner: OwnerId, kind: Kind, range: ByteRange| {
            owner != request.owner && kind.conflicts(request.kind) && range.overlaps(request.range)
        };
        let (owners, locks) = core::mem::take(&mut rest.locks)
            .into_iter()
            .partition::<Vec<_>, _>(|(kind, range, owner)| is_in_the_way(*owner, *kind, *range));
        rest.locks = locks;
        let mut waiters = Vec::new();
        if queued {
            rest.waiters.retain(|earlier| {
                let blocks = *earlier < id
                    && queue.get(*earlier).is_some_and(|Waiter { request: other, .. }| {
                        is_in_the_way(other.owner, other.kind, other.range)
                    });
                waiters.extend(blocks.then_some(*earlier));
                !blocks
            });
        }
        (owners.into_iter().map(|(_, _, owner)| owner).collect(), waiters)
    }
}
