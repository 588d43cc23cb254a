//! The locks that are held: replacing, splitting and merging one owner's ranges as POSIX wants it.

use super::OwnerId;
use super::overlap::Overlaps;
use super::range::{ByteRange, Kind, Request};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use keelson_volume::FileId;

/// Locks of all owners. Ranges of one owner in one file are disjoint, and those of one kind do not touch.
#[derive(Debug)]
pub(super) struct Held {
    /// Owner, file and first byte; last byte and kind.
    by_owner: BTreeMap<(OwnerId, FileId, u64), (u64, Kind)>,
    by_file: Overlaps<OwnerId>,
}

/// What becomes of one owner's ranges in one file.
#[derive(Debug)]
pub(super) struct Plan {
    removed: Vec<(ByteRange, Kind)>,
    /// At most three: what is left on both sides, and the new range between them.
    added: Vec<(ByteRange, Kind)>,
    /// Others may get now what they could not before.
    pub frees: bool,
}

impl Plan {
    /// How many more locks there will be, at most 2.
    pub fn growth(&self) -> usize {
        self.added.len().saturating_sub(self.removed.len())
    }
}

impl Held {
    pub fn new() -> Held {
        Held { by_owner: BTreeMap::new(), by_file: Overlaps::new() }
    }

    pub fn len(&self) -> usize {
        self.by_file.len()
    }

    /// Locks that do not go together with the request, its owner's own among them.
    pub fn opposing(&self, request: Request) -> impl Iterator<Item = (OwnerId, Kind, ByteRange)> + '_ {
        request.kind.opposing().iter().flat_map(move |kind| {
            let found = self.by_file.overlapping(request.file, *kind, request.range);
            found.map(|(range, owner)| (owner, *kind, range))
        })
    }

    /// Those of other owners.
    pub fn conflicts(&self, request: Request) -> impl Iterator<Item = (OwnerId, Kind, ByteRange)> + '_ {
        self.opposing(request).filter(move |(owner, ..)| *owner != request.owner)
    }

    /// The owner has at least this kind on every byte already.
    pub fn covers(&self, request: Request) -> bool {
        let mut from = request.range.first;
        for (range, kind) in self.touching(request.owner, request.file, request.range) {
            if range.first <= from && range.last >= from && kind >= request.kind {
                if range.last >= request.range.last {
                    return true;
                }
                from = range.last + 1;
            }
        }
        false
    }

    /// Kinds of the locks that the owner has in the range.
    pub fn within(&self, owner: OwnerId, file: FileId, range: ByteRange) -> impl Iterator<Item = Kind> + '_ {
        let touching = self.touching(owner, file, range);
        touching.filter(move |(held, _)| held.overlaps(range)).map(|(_, kind)| kind)
    }

    /// What has to change so that the owner has `kind` on the range, or nothing there.
    pub fn plan(&self, owner: OwnerId, file: FileId, range: ByteRange, kind: Option<Kind>) -> Plan {
        let mut plan = Plan { removed: Vec::new(), added: Vec::new(), frees: false };
        let mut merged = range;
        for (old, old_kind) in self.touching(owner, file, range) {
            if Some(old_kind) == kind {
                merged.first = merged.first.min(old.first);
                merged.last = merged.last.max(old.last);
                plan.removed.push((old, old_kind));
            } else if old.overlaps(range) {
                plan.removed.push((old, old_kind));
                plan.frees |= old_kind == Kind::Exclusive || kind.is_none();
                if old.first < range.first {
                    plan.added.push((ByteRange { first: old.first, last: range.first - 1 }, old_kind));
                }
                if old.last > range.last {
                    plan.added.push((ByteRange { first: range.last + 1, last: old.last }, old_kind));
                }
            }
        }
        plan.added.extend(kind.map(|kind| (merged, kind)));
        plan
    }

    /// Does what was planned.
    pub fn apply(&mut self, owner: OwnerId, file: FileId, plan: &Plan) {
        for (range, kind) in &plan.removed {
            self.by_owner.remove(&(owner, file, range.first));
            self.by_file.remove(file, *kind, *range, owner);
        }
        for (range, kind) in &plan.added {
            self.by_owner.insert((owner, file, range.first), (range.last, *kind));
            self.by_file.insert(file, *kind, *range, owner);
        }
    }

    /// All locks of an owner.
    pub fn of_owner(&self, owner: OwnerId) -> impl Iterator<Item = (FileId, ByteRange, Kind)> + '_ {
        let least = FileId { inode: 0, discriminator: 0 };
        self.by_owner
            .range((owner, least, 0)..)
            .take_while(move |(key, _)| key.0 == owner)
            .map(|(key, value)| (key.1, ByteRange { first: key.2, last: value.0 }, value.1))
    }

    /// All locks on a file.
    pub fn of_file(&self, file: FileId) -> impl Iterator<Item = (Kind, ByteRange, OwnerId)> + '_ {
        self.by_file.of_file(file)
    }

    /// All locks, file by file.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, Kind, ByteRange, OwnerId)> + '_ {
        self.by_file.iter()
    }

    /// The owner's ranges that overlap the given one or are next to it, in order.
    fn touching(
        &self,
        owner: OwnerId,
        file: FileId,
        range: ByteRange,
    ) -> impl Iterator<Item = (ByteRange, Kind)> + '_ {
        let is_own = move |key: &(OwnerId, FileId, u64)| (key.0, key.1) == (owner, file);
        let before = self.by_owner.range(..(owner, file, range.first)).next_back();
        let from = before.filter(|(key, _)| is_own(key)).map_or(range.first, |(key, _)| key.2);
        self.by_owner
            .range((owner, file, from)..)
            .take_while(move |(key, _)| is_own(key) && key.2 <= range.last.saturating_add(1))
            .map(|(key, value)| (ByteRange { first: key.2, last: value.0 }, value.1))
            .inspect(|_| {
                #[cfg(test)]
                super::cost::count();
            })
            .filter(move |(held, _)| held.last >= range.first.saturating_sub(1))
    }
}
