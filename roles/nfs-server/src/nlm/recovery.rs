//! What restarts do to locks: hosts are remembered, release what they had, reclaim it, or are forgotten.

use super::wire::Status;
use super::{Caller, LockManager, NlmCounters};
use crate::locks::LockTable;
use crate::nsm::{PeerRecord, StoreError};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_volume::{Volume, VolumeError};

/// A host that has had nothing for this long is forgotten.
const IDLE: Duration = Duration::from_secs(300);
/// How often a host's record is written for one request: each time it may be overtaken once.
const MAX_TRIES: u32 = 4;
/// How often hosts are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

impl<V: Volume + 'static> LockManager<V> {
    /// Remembers the host durably, if it is not already.
    pub(super) async fn remember(&self, caller: &Caller, name: &[u8], state: u32) -> Result<(), Status> {
        let host = caller.host();
        // It may be forgotten, or a crash be simulated, while the volume writes.
        for _ in 0..MAX_TRIES {
            if self.store.is_stable(host) {
                return Ok(());
            }
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
        if self.store.is_stable(host) { Ok(()) } else { Err(Status::DENIED_NOLOCKS) }
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

    /// A host whose state number in a request is newer than the one we know restarted, and its notice is
    /// late or lost. Only if it still has its name: behind an address translator several hosts have one
    /// address, each with a number of its own.
    pub(super) async fn notice_restart(&self, host: IpAddr, name: &[u8], state: u32) {
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
