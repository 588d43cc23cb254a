//! Who is who: clients, and the owners they name.

use super::overlap::Tag;
use super::{ClientId, Limits, OwnerId};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;

/// Owners that were named and did not lock anything yet: this many are kept, the oldest is forgotten.
pub(super) const FRESH_OWNERS: usize = 64;

impl Tag for OwnerId {
    const LEAST: OwnerId = OwnerId(0);
}

#[derive(Debug)]
struct Owner {
    client: ClientId,
    name: Rc<[u8]>,
}

/// Clients and owners. Numbers go up, and are used again only after they went round.
#[derive(Debug)]
pub(super) struct Owners {
    clients: BTreeMap<ClientId, BTreeMap<Rc<[u8]>, OwnerId>>,
    owners: BTreeMap<OwnerId, Owner>,
    fresh: VecDeque<OwnerId>,
    last_client: u32,
    last_owner: u32,
    name_bytes: usize,
}

impl Owners {
    pub fn new() -> Owners {
        Owners {
            clients: BTreeMap::new(),
            owners: BTreeMap::new(),
            fresh: VecDeque::new(),
            last_client: 0,
            last_owner: 0,
            name_bytes: 0,
        }
    }

    pub fn add_client(&mut self, limits: &Limits) -> Option<ClientId> {
        if self.clients.len() >= limits.clients {
            return None;
        }
        self.last_client = next(self.last_client, |number| self.clients.contains_key(&ClientId(number)));
        let id = ClientId(self.last_client);
        self.clients.insert(id, BTreeMap::new());
        Some(id)
    }

    /// The client's owner of that name, if there is one.
    pub fn find(&self, client: ClientId, name: &[u8]) -> Option<OwnerId> {
        self.clients.get(&client)?.get(name).copied()
    }

    /// Adds an owner that is not there yet.
    pub fn add(&mut self, client: ClientId, name: &[u8], limits: &Limits) -> Option<OwnerId> {
        if name.len() > limits.owner_bytes || self.name_bytes + name.len() > limits.name_bytes {
            return None;
        }
        let names = self.clients.get_mut(&client)?;
        self.last_owner = next(self.last_owner, |number| self.owners.contains_key(&OwnerId(number)));
        let id = OwnerId(self.last_owner);
        let name: Rc<[u8]> = Rc::from(name);
        self.name_bytes += name.len();
        names.insert(name.clone(), id);
        self.owners.insert(id, Owner { client, name });
        self.fresh.push_back(id);
        Some(id)
    }

    /// An owner that was named long ago and may still have nothing.
    pub fn stale(&mut self) -> Option<OwnerId> {
        if self.fresh.len() > FRESH_OWNERS { self.fresh.pop_front() } else { None }
    }

    pub fn knows(&self, owner: OwnerId) -> bool {
        self.owners.contains_key(&owner)
    }

    /// The client of an owner and the name it has there.
    pub fn name(&self, owner: OwnerId) -> Option<(ClientId, &[u8])> {
        self.owners.get(&owner).map(|owner| (owner.client, &*owner.name))
    }

    pub fn of_client(&self, client: ClientId) -> impl Iterator<Item = OwnerId> + '_ {
        self.clients.get(&client).into_iter().flat_map(|names| names.values().copied())
    }

    pub fn forget(&mut self, owner: OwnerId) {
        let Some(gone) = self.owners.remove(&owner) else { return };
        self.name_bytes -= gone.name.len();
        if let Some(names) = self.clients.get_mut(&gone.client) {
            names.remove(&gone.name);
        }
    }

    pub fn forget_client(&mut self, client: ClientId) {
        for owner in self.clients.remove(&client).into_iter().flat_map(BTreeMap::into_values) {
            if let Some(gone) = self.owners.remove(&owner) {
                self.name_bytes -= gone.name.len();
            }
        }
    }

    /// Clients and owners.
    pub fn len(&self) -> (usize, usize) {
        (self.clients.len(), self.owners.len())
    }
}

/// The number after `last` that is not taken; never 0. Ends: there are fewer things than numbers.
fn next(last: u32, is_taken: impl Fn(u32) -> bool) -> u32 {
    let mut number = last;
    loop {
        number = number.wrapping_add(1).max(1);
        if !is_taken(number) {
            return number;
        }
    }
}
