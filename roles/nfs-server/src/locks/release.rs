//! Giving up many locks at once: a client that restarted or left, a file that is gone.

use super::range::{ByteRange, Kind, Request};
use super::settle::Unsettled;
use super::{ClientId, LockTable, OwnerId};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use keelson_volume::FileId;

impl LockTable {
    /// The client has nothing any more: no locks, waiters, grants, shares. Its number stays until
    /// [`forget_client`](Self::forget_client). Waiters of others get what they waited for.
    pub fn release_client(&mut self, client: ClientId) {
        let owners: Vec<_> = self.owners.of_client(client).collect();
        let mut files = BTreeSet::new();
        // All of it goes before anything is granted: none of it to an owner whose turn is still to come.
        for owner in &owners {
            self.release_owner(*owner, &mut files);
        }
        let freed = files.into_iter().map(|file| (file, ByteRange::ALL)).collect();
        self.settle(Unsettled { freed, suspects: Vec::new() });
        owners.into_iter().for_each(|owner| self.forget_idle(owner));
    }

    /// Releases the client and gives up its number.
    pub fn forget_client(&mut self, client: ClientId) {
        self.release_client(client);
        self.owners.forget_client(client);
    }

    /// The file is gone: so is everything on it. Its waiters are not told; they are answered when they ask
    /// again.
    pub fn release_file(&mut self, file: FileId) {
        let mut owners = BTreeSet::new();
        let waiters: Vec<_> = self.queue.of_file(file).collect();
        owners.extend(waiters.into_iter().filter_map(|waiter| self.dequeue(waiter)).map(|gone| gone.owner));
        owners.extend(self.held.of_file(file).map(|(_, _, owner)| owner));
        let shares: Vec<_> = self.shares.of_file(file).map(|(owner, _)| owner).collect();
        for owner in shares {
            self.remove_share(file, owner);
            owners.insert(owner);
        }
        for owner in owners {
            self.give_back(everything(file, owner));
            self.forget_idle(owner);
        }
    }

    fn release_owner(&mut self, owner: OwnerId, files: &mut BTreeSet<FileId>) {
        let waiters: Vec<_> = self.queue.of_owner(owner).collect();
        files.extend(waiters.into_iter().filter_map(|waiter| self.dequeue(waiter)).map(|gone| gone.file));
        let held: BTreeSet<_> = self.held.of_owner(owner).map(|(file, ..)| file).collect();
        for file in &held {
            self.give_back(everything(*file, owner));
        }
        files.extend(held);
        let shares: Vec<_> = self.shares.of_owner(owner).collect();
        shares.into_iter().for_each(|file| self.remove_share(file, owner));
    }
}

fn everything(file: FileId, owner: OwnerId) -> Request {
    Request { file, owner, kind: Kind::Exclusive, range: ByteRange::ALL }
}
