//! What the table tells about itself.

use super::range::{ByteRange, Kind};
use super::{ClientId, LockTable, OwnerId, WaiterId};
use alloc::collections::BTreeMap;
use keelson_volume::FileId;

/// Whose lock is in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder<'a> {
    /// Client of the owner.
    pub client: ClientId,
    /// Name of the owner at its client.
    pub name: &'a [u8],
    /// Kind of the lock.
    pub kind: Kind,
    /// Range of the lock, after merging with its neighbours.
    pub range: ByteRange,
}

/// One line of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockView<'a> {
    /// Which file.
    pub file: FileId,
    /// Client of the owner.
    pub client: ClientId,
    /// Name of the owner at its client.
    pub name: &'a [u8],
    /// Held or asked for.
    pub kind: Kind,
    /// Held or asked for.
    pub range: ByteRange,
    /// It is a request that waits; `None`: a lock that is held.
    pub waiter: Option<WaiterId>,
}

/// How much there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Held ranges.
    pub locks: usize,
    /// Queued requests.
    pub waiters: usize,
    /// Granted waiters whose client has neither accepted nor refused.
    pub grants: usize,
    /// Clients that were not forgotten.
    pub clients: usize,
    /// Owners with locks, waiters or shares, and a few that were just named.
    pub owners: usize,
    /// Files with locks, waiters or shares.
    pub files: usize,
    /// Share reservations.
    pub shares: usize,
}

/// What was refused since the start, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Refused {
    /// Requests that conflicted with a held lock and did not wait, shares included.
    pub denied: u64,
    /// Requests that would have closed a circle.
    pub deadlocks: u64,
    /// Requests and unlocks for which there was no room in [`Limits::locks`](super::Limits::locks).
    pub locks: u64,
    /// Requests beyond [`Limits::waiters`](super::Limits::waiters).
    pub waiters: u64,
    /// Grants that were kept open too long and count as accepted.
    pub grants: u64,
    /// Clients beyond [`Limits::clients`](super::Limits::clients).
    pub clients: u64,
    /// Owners whose name is too long, too much together with the others, or whose client is unknown.
    pub owners: u64,
    /// Reservations beyond [`Limits::shares`](super::Limits::shares).
    pub shares: u64,
}

/// How many locks, waiters and shares each file has.
#[derive(Debug)]
pub(super) struct Files(BTreeMap<FileId, usize>);

impl Files {
    pub fn new() -> Files {
        Files(BTreeMap::new())
    }

    pub fn add(&mut self, file: FileId, count: usize) {
        if count > 0 {
            *self.0.entry(file).or_default() += count;
        }
    }

    pub fn remove(&mut self, file: FileId, count: usize) {
        if let Some(left) = self.0.get_mut(&file) {
            *left = left.saturating_sub(count);
            if *left == 0 {
                self.0.remove(&file);
            }
        }
    }
}

impl LockTable {
    /// Held locks, file by file, then waiters in the order they came.
    pub fn locks(&self) -> impl Iterator<Item = LockView<'_>> {
        let view = |file, owner: OwnerId, kind, range, waiter| {
            let (client, name) = self.owners.name(owner)?;
            Some(LockView { file, client, name, kind, range, waiter })
        };
        let held = self
            .held
            .iter()
            .filter_map(move |(file, kind, range, owner)| view(file, owner, kind, range, None));
        let waiting = self.queue.iter().filter_map(move |(waiter, request)| {
            view(request.file, request.owner, request.kind, request.range, Some(waiter))
        });
        held.chain(waiting)
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        let (clients, owners) = self.owners.len();
        Counts {
            locks: self.held.len(),
            waiters: self.queue.len(),
            grants: self.grants.len(),
            clients,
            owners,
            files: self.files.0.len(),
            shares: self.shares.len(),
        }
    }

    /// What was refused since the start.
    pub fn refused(&self) -> Refused {
        self.refused
    }
}
