//! The lock manager: requests of hosts, decided on the one table of locks.
//!
//! The order of things in a LOCK is what recovery stands on: the host's record is on the volume before the
//! table is asked, and nothing waits between the table's answer and the reply. After a restart every host
//! that ever had an answer is told, and no other may reclaim.

use super::callbacks::Callbacks;
use super::hosts::{Host, Hosts};
use super::wire::{CancelArgs, LockArgs, ShareArgs, Status, TestArgs, UnlockArgs, Version, owner_name};
use super::{Caller, Monitor, NlmCounters};
use crate::grace::Grace;
use crate::locks::{Access, ByteRange, ClientId, Deny, Holder, Kind, LockTable, Outcome, ShareOutcome, Wait};
use crate::nsm::PeerStore;
use crate::peer_calls::PeerCalls;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::IpAddr;
use core::time::Duration;
use keelson_exec::Handle;
use keelson_volume::{FileId, Volume};

/// Decides on requests.
pub(crate) struct LockManager<V> {
    pub(super) handle: Handle,
    pub(super) table: Rc<RefCell<LockTable>>,
    pub(super) grace: Rc<Grace>,
    pub(super) store: Rc<PeerStore<V>>,
    pub(super) hosts: RefCell<Hosts>,
    pub(super) callbacks: Rc<Callbacks>,
    pub(super) counters: Rc<NlmCounters>,
    pub(super) grace_period: Duration,
    /// Owns nothing: tests of hosts that have nothing are this client's.
    nobody: Option<ClientId>,
}

impl<V: Volume + 'static> LockManager<V> {
    /// A manager. `cookie_base` should be random.
    pub fn new(
        handle: Handle,
        table: Rc<RefCell<LockTable>>,
        grace: Rc<Grace>,
        store: Rc<PeerStore<V>>,
        calls: Rc<dyn PeerCalls>,
        grace_period: Duration,
        cookie_base: u64,
    ) -> LockManager<V> {
        let nobody = table.borrow_mut().client();
        let counters = Rc::new(NlmCounters::default());
        let callbacks = Callbacks::new(handle.clone(), table.clone(), calls, counters.clone(), cookie_base);
        LockManager {
            handle,
            table,
            grace,
            store,
            hosts: RefCell::default(),
            callbacks: Rc::new(callbacks),
            counters,
            grace_period,
            nobody,
        }
    }

    /// Only reclaims are granted.
    pub fn is_in_grace(&self) -> bool {
        self.grace.is_active()
    }

    /// What happened to requests.
    pub fn counters(&self) -> NlmCounters {
        (*self.counters).clone()
    }

    /// Calls nobody any more.
    pub fn stop(&self) {
        self.callbacks.stop();
    }

    /// Our NSM state number.
    pub fn state(&self) -> u32 {
        self.store.state()
    }

    fn range(offset: u64, length: u64) -> Result<ByteRange, Status> {
        ByteRange::new(offset, length).ok_or(Status::FBIG)
    }

    /// Who is in the way of a lock.
    pub fn test<R>(
        &self,
        caller: &Caller,
        file: FileId,
        args: &TestArgs<'_>,
        answer: impl FnOnce(Result<Option<Holder<'_>>, Status>) -> R,
    ) -> R {
        if self.grace.is_active() {
            return answer(Err(Status::DENIED_GRACE_PERIOD));
        }
        let range = match Self::range(args.lock.offset, args.lock.length) {
            Ok(range) => range,
            Err(status) => return answer(Err(status)),
        };
        let Some(client) = self.hosts.borrow().client(caller.host()).or(self.nobody) else {
            return answer(Err(Status::DENIED_NOLOCKS));
        };
        let table = self.table.borrow();
        answer(Ok(table.test(file, client, &args.lock.owner_name(), kind(args.exclusive), range)))
    }

    /// A lock, now or later.
    pub async fn lock(
        &self,
        caller: &Caller,
        version: Version,
        file: FileId,
        args: &LockArgs<'_>,
        monitor: Monitor,
    ) -> Result<Status, Status> {
        let host = caller.host();
        self.in_grace(host, args.reclaim)?;
        let range = Self::range(args.lock.offset, args.lock.length)?;
        if monitor == Monitor::Yes {
            self.notice_restart(host, args.lock.caller_name, args.state).await;
            self.remember(caller, args.lock.caller_name, args.state).await?;
            self.in_grace(host, args.reclaim)?;
        }
        // From here on nothing waits.
        let client = self.client(caller, args.lock.caller_name, monitor)?;
        // A lock that was held before the restart is there or lost; it is nothing to wait for.
        let wait = if args.block && !args.reclaim { Wait::Yes } else { Wait::No };
        let outcome = {
            let mut table = self.table.borrow_mut();
            let owner = table.owner(client, &args.lock.owner_name()).ok_or(Status::DENIED_NOLOCKS)?;
            table.lock(file, owner, kind(args.exclusive), range, wait)
        };
        if let Outcome::Blocked(waiter) = outcome {
            self.callbacks.wait(waiter, caller, version, args);
        }
        // A downgrade lets others in.
        self.callbacks.drain();
        Ok(match outcome {
            Outcome::Granted => Status::GRANTED,
            Outcome::Denied => Status::DENIED,
            Outcome::Blocked(_) => Status::BLOCKED,
            Outcome::Deadlock => Status::DEADLCK,
            Outcome::Full => Status::DENIED_NOLOCKS,
        })
    }

    /// Whether the request is of the kind that is granted now.
    fn in_grace(&self, host: IpAddr, reclaim: bool) -> Result<(), Status> {
        let granted = match (self.grace.is_active(), reclaim) {
            (true, true) => self.grace.may_reclaim(host),
            (active, reclaim) => !active && !reclaim,
        };
        if granted {
            return Ok(());
        }
        NlmCounters::count(&self.counters.grace);
        Err(Status::DENIED_GRACE_PERIOD)
    }

    /// A request that waits is withdrawn.
    pub fn cancel(&self, caller: &Caller, file: FileId, args: &CancelArgs<'_>) -> Result<Status, Status> {
        let range = Self::range(args.lock.offset, args.lock.length)?;
        let client = self.hosts.borrow().client(caller.host()).ok_or(Status::DENIED)?;
        let name = args.lock.owner_name();
        let cancelled = self.table.borrow_mut().cancel(file, client, &name, kind(args.exclusive), range);
        let waiter = cancelled.ok_or(Status::DENIED)?;
        self.callbacks.forget(waiter);
        self.callbacks.drain();
        Ok(Status::GRANTED)
    }

    /// A range is given up.
    pub fn unlock(&self, caller: &Caller, file: FileId, args: &UnlockArgs<'_>) -> Result<Status, Status> {
        let range = Self::range(args.lock.offset, args.lock.length)?;
        let client = self.hosts.borrow_mut().used(caller.host(), self.handle.now());
        let name = args.lock.owner_name();
        if self.grace.is_active()
            && !client.is_some_and(|client| self.table.borrow().owner_holds_anything(client, &name))
        {
            // It may hold what it has not reclaimed yet.
            NlmCounters::count(&self.counters.grace);
            return Err(Status::DENIED_GRACE_PERIOD);
        }
        let Some(client) = client else { return Ok(Status::GRANTED) };
        let unlocked = self.table.borrow_mut().unlock(file, client, &name, range);
        self.callbacks.drain();
        unlocked.map(|()| Status::GRANTED).map_err(|_| Status::DENIED_NOLOCKS)
    }

    /// A share reservation.
    pub async fn share(&self, caller: &Caller, file: FileId, args: &ShareArgs<'_>) -> Result<Status, Status> {
        self.in_grace(caller.host(), args.reclaim)?;
        self.remember(caller, args.caller_name, 0).await?;
        self.in_grace(caller.host(), args.reclaim)?;
        let client = self.client(caller, args.caller_name, Monitor::Yes)?;
        let access = Access::from_number(args.access).ok_or(Status::FAILED)?;
        let deny = Deny::from_number(args.deny).ok_or(Status::FAILED)?;
        let mut table = self.table.borrow_mut();
        let owner = table.owner(client, &share_owner(args)).ok_or(Status::DENIED_NOLOCKS)?;
        Ok(match table.share(file, owner, access, deny) {
            ShareOutcome::Granted => Status::GRANTED,
            ShareOutcome::Denied => Status::DENIED,
            ShareOutcome::Full => Status::DENIED_NOLOCKS,
        })
    }

    /// A share reservation is given up.
    pub fn unshare(&self, caller: &Caller, file: FileId, args: &ShareArgs<'_>) -> Status {
        if let Some(client) = self.hosts.borrow_mut().used(caller.host(), self.handle.now()) {
            self.table.borrow_mut().unshare(file, client, &share_owner(args));
        }
        Status::GRANTED
    }

    /// The file is gone, and its locks with it.
    pub fn file_is_gone(&self, file: FileId) {
        self.table.borrow_mut().release_file(file);
    }

    /// The host as a client of the table.
    fn client(&self, caller: &Caller, name: &[u8], monitor: Monitor) -> Result<ClientId, Status> {
        let mut hosts = self.hosts.borrow_mut();
        let host = match hosts.get_mut(caller.host()) {
            Some(host) => host,
            None => {
                let client = self.table.borrow_mut().client().ok_or(Status::DENIED_NOLOCKS)?;
                hosts.insert(caller.host(), Host::new(client, name))
            }
        };
        host.used = self.handle.now();
        host.privileged &= caller.is_privileged();
        host.monitored |= monitor == Monitor::Yes;
        Ok(host.client)
    }
}

fn kind(exclusive: bool) -> Kind {
    if exclusive { Kind::Exclusive } else { Kind::Shared }
}

/// Shares have no process: the owner is the opaque one alone.
fn share_owner(args: &ShareArgs<'_>) -> Vec<u8> {
    owner_name(0, args.owner)
}
