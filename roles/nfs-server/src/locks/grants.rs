//! Waiters that got their lock: to be told, and perhaps to be taken back.

use super::range::Request;
use super::{Granted, OwnerId, WaiterId};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

#[derive(Clone, Copy, Debug)]
struct Grant {
    granted: Granted,
    /// The owner has changed its locks there since: refusing must not take away what it got later.
    replaced: bool,
}

/// Grants that the client has neither accepted nor refused.
#[derive(Debug)]
pub(super) struct Grants {
    open: BTreeMap<WaiterId, Grant>,
    by_owner: BTreeSet<(OwnerId, WaiterId)>,
    /// Nobody has been told of these. May name grants that are gone.
    untold: VecDeque<WaiterId>,
    /// How many are kept open.
    limit: usize,
}

impl Grants {
    pub fn new(limit: usize) -> Grants {
        Grants { open: BTreeMap::new(), by_owner: BTreeSet::new(), untold: VecDeque::new(), limit }
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Adds one. The oldest counts as accepted when there are too many: who takes grants and answers neither
    /// way must not fill the memory. Returns whether that happened.
    pub fn push(&mut self, waiter: WaiterId, request: Request) -> bool {
        let Request { file, owner, kind, range } = request;
        let granted = Granted { waiter, file, owner, kind, range };
        self.open.insert(waiter, Grant { granted, replaced: false });
        self.by_owner.insert((owner, waiter));
        let oldest = self.open.first_key_value().map(|(waiter, _)| *waiter);
        let dropped = oldest.filter(|_| self.open.len() > self.limit).and_then(|oldest| self.remove(oldest));
        if self.untold.len() > self.limit {
            let open = &self.open;
            self.untold.retain(|waiter| open.contains_key(waiter));
        }
        self.untold.push_back(waiter);
        dropped.is_some()
    }

    /// The next one to tell the client of.
    pub fn take(&mut self) -> Option<Granted> {
        loop {
            let waiter = self.untold.pop_front()?;
            if let Some(grant) = self.open.get(&waiter) {
                return Some(grant.granted);
            }
        }
    }

    pub fn get(&self, waiter: WaiterId) -> Option<Granted> {
        self.open.get(&waiter).map(|grant| grant.granted)
    }

    /// Closes a grant. Returns it, and whether the owner changed its locks there since.
    pub fn remove(&mut self, waiter: WaiterId) -> Option<(Granted, bool)> {
        let grant = self.open.remove(&waiter)?;
        self.by_owner.remove(&(grant.granted.owner, waiter));
        Some((grant.granted, grant.replaced))
    }

    /// The grant of what the request asks for.
    pub fn find(&self, request: Request) -> Option<WaiterId> {
        self.of_owner(request.owner).find(|waiter| {
            self.get(*waiter).is_some_and(|granted| {
                (granted.file, granted.kind, granted.range) == (request.file, request.kind, request.range)
            })
        })
    }

    /// The owner's locks change on the range of the request, whatever its kind. Returns the grants concerned.
    pub fn replace(&mut self, request: Request) -> Vec<Granted> {
        let concerned: Vec<_> = self
            .of_owner(request.owner)
            .filter_map(|waiter| self.get(waiter))
            .filter(|granted| granted.file == request.file && granted.range.overlaps(request.range))
            .collect();
        for granted in &concerned {
            if let Some(grant) = self.open.get_mut(&granted.waiter) {
                grant.replaced = true;
            }
        }
        concerned
    }

    pub fn of_owner(&self, owner: OwnerId) -> impl Iterator<Item = WaiterId> + '_ {
        self.by_owner
            .range((owner, WaiterId(0))..)
            .take_while(move |(other, _)| *other == owner)
            .map(|(_, waiter)| *waiter)
            .inspect(|_| {
                #[cfg(test)]
                super::cost::count();
            })
    }
}
