//! Requests that wait, in the order they came.

use super::overlap::{Overlaps, Tag};
use super::range::{ByteRange, Kind, Request};
use super::{OwnerId, WaiterId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use keelson_volume::FileId;

impl Tag for WaiterId {
    const LEAST: WaiterId = WaiterId(0);
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub request: Request,
    /// It does not wait for earlier waiters, because one of them waits for its owner.
    pub passes: bool,
}

/// Waiters of all files. Their numbers go up, so order by number is order of arrival.
#[derive(Debug)]
pub(super) struct Queue {
    waiters: BTreeMap<WaiterId, Waiter>,
    by_owner: BTreeSet<(OwnerId, WaiterId)>,
    by_file: Overlaps<WaiterId>,
    last: u64,
}

impl Queue {
    pub fn new() -> Queue {
        Queue { waiters: BTreeMap::new(), by_owner: BTreeSet::new(), by_file: Overlaps::new(), last: 0 }
    }

    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    pub fn push(&mut self, request: Request) -> WaiterId {
        // 2^64 requests are never made.
        self.last += 1;
        let id = WaiterId(self.last);
        self.waiters.insert(id, Waiter { request, passes: false });
        self.by_owner.insert((request.owner, id));
        self.by_file.insert(request.file, request.kind, request.range, id);
        id
    }

    pub fn remove(&mut self, id: WaiterId) -> Option<Request> {
        let Waiter { request, .. } = self.waiters.remove(&id)?;
        self.by_owner.remove(&(request.owner, id));
        self.by_file.remove(request.file, request.kind, request.range, id);
        Some(request)
    }

    pub fn get(&self, id: WaiterId) -> Option<Waiter> {
        self.waiters.get(&id).copied()
    }

    /// From now on this one does not wait for earlier waiters.
    pub fn pass(&mut self, id: WaiterId) -> Option<Request> {
        let waiter = self.waiters.get_mut(&id)?;
        waiter.passes = true;
        Some(waiter.request)
    }

    /// The waiter that asks for the same.
    pub fn find(&self, request: Request) -> Option<WaiterId> {
        self.of_owner(request.owner)
            .find(|id| self.waiters.get(id).is_some_and(|waiter| waiter.request == request))
    }

    /// Waiters for something that does not go together with the request, its owner's own among them.
    pub fn opposing(&self, request: Request) -> impl Iterator<Item = WaiterId> + '_ {
        request.kind.opposing().iter().flat_map(move |kind| {
            self.by_file.overlapping(request.file, *kind, request.range).map(|(_, id)| id)
        })
    }

    /// Those of other owners.
    pub fn conflicts(&self, request: Request) -> impl Iterator<Item = WaiterId> + '_ {
        let is_other = move |id: &WaiterId| {
            self.waiters.get(id).is_some_and(|other| other.request.owner != request.owner)
        };
        self.opposing(request).filter(is_other)
    }

    /// Who may get something when the range of the file becomes free, in order of arrival.
    pub fn overlapping(&self, file: FileId, range: ByteRange) -> Vec<WaiterId> {
        let shared = self.by_file.overlapping(file, Kind::Shared, range);
        let mut found: Vec<_> =
            shared.chain(self.by_file.overlapping(file, Kind::Exclusive, range)).map(|(_, id)| id).collect();
        found.sort_unstable();
        found
    }

    pub fn of_owner(&self, owner: OwnerId) -> impl Iterator<Item = WaiterId> + '_ {
        self.by_owner
            .range((owner, WaiterId::LEAST)..)
            .take_while(move |(other, _)| *other == owner)
            .map(|(_, id)| *id)
    }

    pub fn of_file(&self, file: FileId) -> impl Iterator<Item = WaiterId> + '_ {
        self.by_file.of_file(file).map(|(_, _, id)| id)
    }

    /// All of them, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (WaiterId, Request)> + '_ {
        self.waiters.iter().map(|(id, waiter)| (*id, waiter.request))
    }
}
