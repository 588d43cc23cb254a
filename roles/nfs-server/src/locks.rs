//! The one place for locks: who holds which bytes of which file, who waits for them, and who reserved a file.
//!
//! Principles:
//!
//! 1. **State only.** No protocol, no input or output, no time. NLM asks here and calls its clients back;
//!    NFSv4 will ask the same table, so that a lock of one keeps out the other.
//! 2. **POSIX.** An owner's new lock replaces what it had on those bytes, splits what sticks out and merges with
//!    its neighbours. Upgrading and downgrading leave no moment without a lock; an upgrade that fails leaves
//!    the old one.
//! 3. **First come, first served.** A request that waits lets no later one pass that it conflicts with, so
//!    that readers do not starve a writer. A request that does not want to wait is only denied for locks
//!    that are held, as POSIX says.
//! 4. **A lock is granted before the client hears of it.** Whoever frees something drains
//!    [`LockTable::take_granted`] and calls back; a client that does not want it any more has it refused.
//! 5. **Everything has a limit**, and what was accepted can always be carried out: a waiter reserves the room
//!    that its lock will take, and what giving it back will take.
//! 6. **The cost of a call does not depend on the number of files and clients**, and finding what is in the way
//!    takes a few seeks however many locks a file has.
//!
//! ```text
//!  lock ---> held: in the way? -- no --> queue: earlier waiter in the way? -- no --> held
//!              | yes                              | yes
//!              +-- would wait for itself? --------+----> queue --- something is freed ---> held, grants
//! ```

mod asking;
#[cfg(test)]
mod cost;
mod deadlock;
mod grants;
mod held;
mod overlap;
mod owners;
mod queue;
mod range;
mod release;
mod settle;
mod shares;
mod types;
mod view;

pub use range::{ByteRange, Kind, Wait};
pub use shares::{Access, Deny, ShareOutcome};
pub use types::{ClientId, Full, Granted, Limits, Outcome, OwnerId, WaiterId};
pub use view::{Counts, Holder, LockView, Refused};

use alloc::vec::Vec;
use grants::Grants;
use held::Held;
use keelson_volume::FileId;
use owners::Owners;
use queue::Queue;
use range::Request;
use settle::Unsettled;
use shares::Shares;
use view::Files;

/// All locks, waiters and reservations.
#[derive(Debug)]
pub struct LockTable {
    limits: Limits,
    owners: Owners,
    held: Held,
    queue: Queue,
    grants: Grants,
    shares: Shares,
    files: Files,
    refused: Refused,
}

impl LockTable {
    /// An empty table.
    pub fn new(limits: Limits) -> LockTable {
        LockTable {
            limits,
            owners: Owners::new(),
            held: Held::new(),
            queue: Queue::new(),
            grants: Grants::new(limits.waiters),
            shares: Shares::new(),
            files: Files::new(),
            refused: Refused::default(),
        }
    }

    /// A new client; `None`: there are too many.
    pub fn client(&mut self) -> Option<ClientId> {
        let client = self.owners.add_client(&self.limits);
        self.refused.clients += u64::from(client.is_none());
        client
    }

    /// The owner of that name, made if it is new. `None`: the client is unknown or the name too long. An
    /// owner is forgotten by itself when it has no locks, waiters and shares, so ask for it again before each
    /// request.
    pub fn owner(&mut self, client: ClientId, name: &[u8]) -> Option<OwnerId> {
        if let Some(owner) = self.owners.find(client, name) {
            return Some(owner);
        }
        let owner = self.owners.add(client, name, &self.limits);
        self.refused.owners += u64::from(owner.is_none());
        if let Some(stale) = self.owners.stale() {
            self.forget_idle(stale);
        }
        owner
    }

    /// The client of an owner and the owner's name there.
    pub fn owner_name(&self, owner: OwnerId) -> Option<(ClientId, &[u8])> {
        self.owners.name(owner)
    }

    /// Who is in the way of a lock of that kind; `None`: it could be had now. The owner need not exist.
    pub fn test(
        &self,
        file: FileId,
        client: ClientId,
        name: &[u8],
        kind: Kind,
        range: ByteRange,
    ) -> Option<Holder<'_>> {
        // No owner has the number 0.
        let owner = self.owners.find(client, name).unwrap_or(OwnerId(0));
        let (owner, kind, range) = self.held.conflicts(Request { file, owner, kind, range }).next()?;
        let (client, name) = self.owners.name(owner)?;
        Some(Holder { client, name, kind, range })
    }

    /// Asks for a lock. If it is granted, an equal request of the owner waits no more.
    pub fn lock(
        &mut self,
        file: FileId,
        owner: OwnerId,
        kind: Kind,
        range: ByteRange,
        wait: Wait,
    ) -> Outcome {
        if !self.owners.knows(owner) || range.is_empty() {
            self.refused.owners += 1;
            return Outcome::Full;
        }
        let outcome = self.ask(Request { file, owner, kind, range }, wait);
        match outcome {
            Outcome::Denied => self.refused.denied += 1,
            Outcome::Deadlock => self.refused.deadlocks += 1,
            Outcome::Granted | Outcome::Blocked(_) | Outcome::Full => {}
        }
        self.forget_idle(owner);
        outcome
    }

    /// Gives up what the owner holds of the range, if anything. Its waiters go on waiting.
    pub fn unlock(
        &mut self,
        file: FileId,
        client: ClientId,
        name: &[u8],
        range: ByteRange,
    ) -> Result<(), Full> {
        let Some(owner) = self.owners.find(client, name) else { return Ok(()) };
        if self.held.plan(owner, file, range, None).growth() > self.room() {
            self.refused.locks += 1;
            return Err(Full);
        }
        let todo = self.give_back(Request { file, owner, kind: Kind::Exclusive, range });
        self.settle(todo);
        self.forget_idle(owner);
        Ok(())
    }

    /// Withdraws a request that waits. One that was granted and whose grant is still open is given back, as
    /// with [`refuse`](Self::refuse).
    pub fn cancel(
        &mut self,
        file: FileId,
        client: ClientId,
        name: &[u8],
        kind: Kind,
        range: ByteRange,
    ) -> Option<WaiterId> {
        let owner = self.owners.find(client, name)?;
        let request = Request { file, owner, kind, range };
        if let Some(waiter) = self.queue.find(request) {
            self.dequeue(waiter);
            self.settle(Unsettled::freed(file, range));
            self.forget_idle(owner);
            return Some(waiter);
        }
        let waiter = self.grants.find(request)?;
        self.refuse(waiter);
        Some(waiter)
    }

    /// The next waiter that got its lock, in the order they were granted. Ask until there is none, after
    /// every call that may free something: `lock` (a downgrade does), `unlock`, `cancel`, `refuse` and
    /// `release_client`.
    pub fn take_granted(&mut self) -> Option<Granted> {
        self.grants.take()
    }

    /// The grant, as long as it is open. It is closed when the client accepts or refuses it, asks again for
    /// the same lock and so has its answer, or unlocks the range: then calling back is pointless.
    pub fn open_grant(&self, waiter: WaiterId) -> Option<Granted> {
        self.grants.get(waiter)
    }

    /// The client has heard of its grant and wants the lock.
    pub fn accept(&mut self, waiter: WaiterId) {
        self.grants.remove(waiter);
    }

    /// The client does not want what it was granted: it is unlocked over its range, and the next waiter is
    /// tried. Nothing happens if the grant is not open, or if the owner has changed its locks there since.
    pub fn refuse(&mut self, waiter: WaiterId) {
        let Some((granted, replaced)) = self.grants.remove(waiter) else { return };
        if !replaced {
            let Granted { file, owner, kind, range, .. } = granted;
            let todo = self.give_back(Request { file, owner, kind, range });
            self.settle(todo);
            self.forget_idle(owner);
        }
    }

    /// Reserves a file, in place of what the owner had reserved of it.
    pub fn share(&mut self, file: FileId, owner: OwnerId, access: Access, deny: Deny) -> ShareOutcome {
        if !self.owners.knows(owner) {
            self.refused.owners += 1;
            return ShareOutcome::Full;
        }
        let before = self.shares.len();
        let outcome = self.shares.set(file, owner, access, deny, self.limits.shares);
        match outcome {
            ShareOutcome::Granted => self.files.add(file, self.shares.len() - before),
            ShareOutcome::Denied => self.refused.denied += 1,
            ShareOutcome::Full => self.refused.shares += 1,
        }
        self.forget_idle(owner);
        outcome
    }

    /// Gives up the owner's reservation of the file, if it has one.
    pub fn unshare(&mut self, file: FileId, client: ClientId, name: &[u8]) {
        if let Some(owner) = self.owners.find(client, name) {
            self.remove_share(file, owner);
            self.forget_idle(owner);
        }
    }

    fn remove_share(&mut self, file: FileId, owner: OwnerId) {
        let before = self.shares.len();
        self.shares.remove(file, owner);
        self.files.remove(file, before - self.shares.len());
    }

    /// The client has locks, waiters or shares.
    pub fn holds_anything(&self, client: ClientId) -> bool {
        self.owners.of_client(client).any(|owner| self.has_anything(owner))
    }

    /// The owner has locks, waiters or shares.
    pub fn owner_holds_anything(&self, client: ClientId, name: &[u8]) -> bool {
        self.owners.find(client, name).is_some_and(|owner| self.has_anything(owner))
    }

    fn has_anything(&self, owner: OwnerId) -> bool {
        self.held.of_owner(owner).next().is_some()
            || self.queue.of_owner(owner).next().is_some()
            || self.shares.of_owner(owner).next().is_some()
    }

    fn forget_idle(&mut self, owner: OwnerId) {
        if !self.has_anything(owner) {
            let open: Vec<_> = self.grants.of_owner(owner).collect();
            for waiter in open {
                self.grants.remove(waiter);
            }
            self.owners.forget(owner);
        }
    }
}
