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
use crate::nsm::{PeerRecord, PeerStore, StoreError};
use crate::peer_calls::PeerCalls;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::IpAddr;
use core::time::Duration;
use keelson_exec::Handle;
use keelson_hal::Instant;
use keelson_volume::{FileId, Volume, VolumeError};

/// A host that has had nothing for this long is forgotten.
const IDLE: Duration = Duration::from_secs(300);
/// How often hosts are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Decides on requests.
pub(crate) struct LockManager<V> {
    pub(super) handle: Handle,
    pub(super) table: Rc<RefCell<LockTable>>,
    pub(super) grace: Rc<Grace>,
    pub(super) store: Rc<PeerStore<V>>,
    pub(super) hosts: RefCell<Hosts>,
    pub(super) callbacks: Rc<Callbacks>,
    pub(super) counters: Rc<NlmCounters>,
    grace_period: Duration,
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

    /// The host restarted and will not ask for its locks: everything of it goes, its record too.
    pub async fn free_all(&self, caller: &Caller) {
        let host = caller.host();
        let privileged = self.hosts.borrow().get(host).is_some_and(|known| known.privileged);
        if privileged && !caller.is_privileged() {
            // Any user of that host could.
            NlmCounters::count(&self.counters.refused);
            log::warn!(target: "lockd", "{} may not free all locks of its host: illegal port", caller.peer);
            return;
        }
        self.release(host);
        self.grace.disclaim(host);
        if self.store.untold().contains_key(&host) {
            return;
        }
        if let Err(error) = self.store.forget(host).await {
            log::warn!(target: "statd", "{host} could not be forgotten: {error}");
        }
    }

    /// The file is gone, and its locks with it.
    pub fn file_is_gone(&self, file: FileId) {
        self.table.borrow_mut().release_file(file);
    }

    /// Remembers the host durably, if it is not already.
    async fn remember(&self, caller: &Caller, name: &[u8], state: u32) -> Result<(), Status> {
        let host = caller.host();
        // It may be forgotten, or a crash be simulated, while the volume writes.
        while !self.store.is_stable(host) {
            let record = PeerRecord {
                address: host,
                local: caller.local,
                name: name.to_vec(),
                state: if is_up(state) { state } else { 0 },
                life: 0,
                since: self.handle.clock().wall().as_secs(),
            };
            if let Err(error) = self.store.remember(record).await {
                NlmCounters::count(&self.counters.not_remembered);
                match error {
                    StoreError::Full => {
                        log::warn!(target: "statd", "no locks for {host}: too many hosts have some");
                    }
                    StoreError::Volume(error) => {
                        log::error!(target: "statd", "no locks for {host}: its record was not written: {error}");
                    }
                }
                return Err(Status::DENIED_NOLOCKS);
            }
        }
        Ok(())
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

    /// A host whose state number in a request is newer than the one we know restarted, and its notice is
    /// late or lost. Only if it still has its name: behind an address translator several hosts have one
    /// address, each with a number of its own.
    async fn notice_restart(&self, host: IpAddr, name: &[u8], state: u32) {
        let known = self.store.state_of(host).unwrap_or_default();
        if !is_up(state) || known == state {
            return;
        }
        let same = self.hosts.borrow().get(host).is_some_and(|known| known.is_named(name));
        if !same {
            return;
        }
        if known == 0 {
            let _ = self.store.set_state(host, state).await;
        } else if state.wrapping_sub(known) < 1 << 30 {
            self.restarted(host, state).await;
        }
    }

    /// The host says that it is in another state than before: all it had is released. False when that state
    /// is known.
    pub async fn restarted(&self, host: IpAddr, state: u32) -> bool {
        let known = self.store.state_of(host);
        if known == Some(state) {
            return false;
        }
        let had = self.release(host);
        self.grace.disclaim(host);
        log::info!(target: "statd", "{host} restarted (state {state}): {had} locks released");
        if let Err(error) = self.store.set_state(host, state).await {
            log::warn!(target: "statd", "the new state of {host} was not written: {error}");
        }
        true
    }

    /// Releases everything of a host; how many locks and waiters that were.
    pub(super) fn release(&self, host: IpAddr) -> usize {
        let Some(client) = self.hosts.borrow().client(host) else { return 0 };
        let total = |table: &LockTable| table.counts().locks + table.counts().waiters;
        let had = {
            let mut table = self.table.borrow_mut();
            let before = total(&table);
            table.release_client(client);
            before.saturating_sub(total(&table))
        };
        self.callbacks.forget_host(host);
        self.callbacks.drain();
        had
    }

    /// The host has locks here, or had.
    pub fn knows(&self, host: IpAddr) -> bool {
        self.hosts.borrow().client(host).is_some() || self.store.state_of(host).is_some()
    }

    /// A host with locks calls itself so; a name with its domain is the same as one without.
    pub fn knows_name(&self, name: &[u8]) -> bool {
        let short = name.split(|byte| *byte == b'.').next().unwrap_or(name);
        let knows =
            |name: &[u8]| self.hosts.borrow().any_named(name) || self.store.any(|record| record.name == name);
        !name.is_empty() && (knows(name) || knows(short))
    }

    /// Begins the grace period after a restart, if anybody had locks.
    pub fn begin_grace(self: &Rc<Self>) {
        let entitled = self.store.entitled();
        if entitled.is_empty() {
            return;
        }
        let count = entitled.len();
        // Also one of no time ends in a task: its end is written down first.
        self.grace.begin(self.handle.now() + self.grace_period, entitled);
        log::info!(
            target: "lockd",
            "grace period of up to {} s: {count} hosts may reclaim their locks",
            self.grace_period.as_secs()
        );
        let manager = self.clone();
        self.callbacks.keep(self.handle.spawn("nlm-grace", async move {
            manager.grace.over().await;
            if let Err(error) = manager.store.end_reclaiming().await {
                log::error!(target: "lockd", "the end of the grace period was not written: {error}");
            }
            manager.grace.end();
            log::info!(target: "lockd", "grace period over");
        }));
    }

    /// Drops all locks and begins another life, as if we had crashed.
    pub async fn simulate_crash(self: &Rc<Self>) -> Result<(), VolumeError> {
        // Nothing new is granted while the volume writes.
        let everybody = self.store.records().into_iter().map(|record| record.address);
        self.grace.begin(self.handle.now() + self.grace_period, everybody);
        let hosts = self.hosts.borrow().addresses();
        hosts.into_iter().for_each(|host| self.callbacks.forget_host(host));
        let clients: Vec<_> = self.hosts.borrow_mut().take_all();
        for client in clients {
            self.table.borrow_mut().forget_client(client);
        }
        self.callbacks.drain();
        let result = self.store.next_life().await;
        self.grace.end();
        self.begin_grace();
        result
    }

    /// Sweeps for as long as callbacks are made.
    pub fn keep_sweeping(self: &Rc<Self>) {
        let manager = self.clone();
        self.callbacks.keep(self.handle.spawn("nlm-sweep", async move {
            loop {
                manager.handle.sleep(SWEEP_INTERVAL).await;
                manager.sweep().await;
            }
        }));
    }

    /// Forgets hosts that have had nothing for a while, and repairs what failed to be written.
    pub async fn sweep(&self) {
        self.callbacks.sweep();
        if self.grace.is_active() {
            return;
        }
        let now = self.handle.now();
        let hosts = self.hosts.borrow().addresses();
        hosts.into_iter().for_each(|host| self.forget_if_idle(host, now));
        for record in self.store.records() {
            let host = record.address;
            let has_locks = self.hosts.borrow().client(host).is_some();
            if !has_locks && !self.store.untold().contains_key(&host) {
                log::debug!(target: "statd", "{host} has no locks any more: forgotten");
                self.store.drop_record(host);
            }
        }
        self.store.catch_up().await;
    }

    fn forget_if_idle(&self, host: IpAddr, now: Instant) {
        let mut hosts = self.hosts.borrow_mut();
        let Some(known) = hosts.get(host) else { return };
        let mut table = self.table.borrow_mut();
        if now - known.used >= IDLE && !table.holds_anything(known.client) {
            table.forget_client(known.client);
            hosts.remove(host);
        }
    }
}

/// Odd: the host is up (X/Open XNFS chapter 11).
fn is_up(state: u32) -> bool {
    state % 2 == 1
}

fn kind(exclusive: bool) -> Kind {
    if exclusive { Kind::Exclusive } else { Kind::Shared }
}

/// Shares have no process: the owner is the opaque one alone.
fn share_owner(args: &ShareArgs<'_>) -> Vec<u8> {
    owner_name(0, args.owner)
}
