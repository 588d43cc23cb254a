//! POSIX locks, byte by byte.

use keelson_nfs_server::locks::{Kind, WaiterId};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a file in the model. The last one stands for the last byte of all.
pub const BYTES: usize = 14;

/// Kind, first and last byte.
pub type Range = (Kind, usize, usize);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    pub file: usize,
    pub owner: usize,
    pub kind: Kind,
    pub first: usize,
    pub last: usize,
}

impl Ask {
    pub fn overlaps(&self, other: &Ask) -> bool {
        self.file == other.file && self.first <= other.last && other.first <= self.last
    }

    fn conflicts(&self, other: &Ask) -> bool {
        self.owner != other.owner && self.overlaps(other) && self.kind.conflicts(other.kind)
    }
}

/// What is held, by whom and on which byte, and who waits.
#[derive(Clone, Default)]
pub struct Model {
    pub held: BTreeMap<(usize, usize), [Option<Kind>; BYTES]>,
    pub waiters: BTreeMap<WaiterId, Ask>,
    /// Could not be let wait for earlier waiters at some time.
    pub may_pass: BTreeSet<WaiterId>,
}

impl Model {
    pub fn set(&mut self, ask: &Ask, kind: Option<Kind>) {
        let bytes = self.held.entry((ask.owner, ask.file)).or_default();
        bytes[ask.first..=ask.last].fill(kind);
    }

    pub fn holds_some(&self, ask: &Ask) -> bool {
        let bytes = self.held.get(&(ask.owner, ask.file));
        bytes.is_some_and(|bytes| bytes[ask.first..=ask.last].iter().any(Option::is_some))
    }

    pub fn holds_anything(&self, owner: usize) -> bool {
        self.held.iter().any(|(key, bytes)| key.0 == owner && bytes.iter().any(Option::is_some))
    }

    /// Owners whose held locks are in the way.
    pub fn holders(&self, ask: &Ask) -> BTreeSet<usize> {
        let blocks = |bytes: &[Option<Kind>; BYTES]| {
            bytes[ask.first..=ask.last].iter().flatten().any(|kind| kind.conflicts(ask.kind))
        };
        let others = self.held.iter().filter(|(key, _)| key.1 == ask.file && key.0 != ask.owner);
        others.filter(|(_, bytes)| blocks(bytes)).map(|(key, _)| key.0).collect()
    }

    /// Waiters that came before and are in the way.
    pub fn earlier(&self, ask: &Ask, id: Option<WaiterId>) -> Vec<WaiterId> {
        let came_before = |other: WaiterId| id.is_none_or(|id| other < id);
        let waiters = self.waiters.iter().filter(|(other, _)| came_before(**other));
        waiters.filter(|(_, other)| other.conflicts(ask)).map(|(other, _)| *other).collect()
    }

    /// Maximal ranges of one kind that an owner has in a file.
    pub fn ranges(&self, owner: usize, file: usize) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        for (at, kind) in self.held.get(&(owner, file)).into_iter().flatten().enumerate() {
            match (kind, ranges.last_mut()) {
                (Some(kind), Some((before, _, last))) if before == kind && *last + 1 == at => *last = at,
                (Some(kind), _) => ranges.push((*kind, at, at)),
                (None, _) => {}
            }
        }
        ranges
    }

    pub fn locks(&self) -> usize {
        self.held.keys().map(|(owner, file)| self.ranges(*owner, *file).len()).sum()
    }

    /// Owners that a request would wait for, directly and by what they wait for: held locks only.
    pub fn waits_for_itself(&self, ask: &Ask) -> bool {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<_> = self.holders(ask).into_iter().collect();
        while let Some(owner) = todo.pop() {
            if seen.insert(owner) {
                let waiters = self.waiters.values().filter(|waiter| waiter.owner == owner);
                todo.extend(waiters.flat_map(|waiter| self.holders(waiter)));
            }
        }
        seen.contains(&ask.owner)
    }

    /// The request comes by way of `through` to a lock of its own owner.
    fn leads_back(&self, through: &[WaiterId], owner: usize) -> bool {
        let mut seen = BTreeSet::new();
        let mut todo = through.to_vec();
        while let Some(id) = todo.pop() {
            if !seen.insert(id) {
                continue;
            }
            let waiter = &self.waiters[&id];
            let holders = self.holders(waiter);
            if holders.contains(&owner) {
                return true;
            }
            let theirs = self.waiters.iter().filter(|(_, other)| holders.contains(&other.owner));
            todo.extend(theirs.map(|(id, _)| *id));
            todo.extend(self.earlier(waiter, Some(id)));
        }
        false
    }

    /// The queue makes this request wait for itself.
    pub fn is_knotted(&self, ask: &Ask, id: Option<WaiterId>) -> bool {
        self.leads_back(&self.earlier(ask, id), ask.owner)
    }

    /// Remembers who may be let pass: whoever waits behind somebody and so, at last, for itself, or stands on
    /// the way of another that does.
    pub fn note_knots(&mut self) {
        let knotted: Vec<_> =
            self.waiters.iter().filter(|(id, ask)| self.is_knotted(ask, Some(**id))).collect();
        let knotted: Vec<_> = knotted.into_iter().map(|(id, _)| *id).collect();
        self.may_pass.extend(knotted);
    }

    pub fn is_blocked(&self, id: WaiterId) -> bool {
        let ask = &self.waiters[&id];
        !self.holders(ask).is_empty() || !self.earlier(ask, Some(id)).is_empty()
    }
}
