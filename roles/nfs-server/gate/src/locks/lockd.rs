//! A machine's lock manager: what its processes wait for, callbacks, and reclaiming.

use super::beliefs::{Beliefs, Kind, Run};
use super::nlm::{Lock, Nlm, places_of, status};
use crate::ledger::Ledger;
use crate::watch::Watch;
use keelson_exec::sync::Notify;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// Clients ask again after this long when it is the grace period.
pub const GRACE_RETRY: Duration = Duration::from_secs(5);

/// A process waits for this.
pub struct Wait {
    /// What.
    pub lock: Lock,
    /// Its callback came.
    pub granted: Cell<bool>,
}

/// The lock manager, from one boot to the next loss of power.
pub struct Lockd {
    /// The machine's number.
    pub machine: usize,
    /// Its name.
    pub name: String,
    /// What everybody believes.
    pub beliefs: Rc<Beliefs>,
    /// A process should look: it was called back, or the server restarted.
    pub changed: Notify,
    /// Restarts of the server that were heard of.
    pub restarts: Cell<u32>,
    ledger: Rc<Ledger>,
    watch: Rc<Watch>,
    waiting: RefCell<Vec<Rc<Wait>>>,
    reclaiming: Cell<bool>,
    /// Owners on whose behalf callbacks were declined.
    declined: RefCell<BTreeSet<u32>>,
}

impl Lockd {
    /// One that waits for nothing.
    pub fn new(
        machine: usize,
        name: &str,
        ledger: &Rc<Ledger>,
        beliefs: &Rc<Beliefs>,
        watch: &Rc<Watch>,
    ) -> Lockd {
        Lockd {
            machine,
            name: name.into(),
            beliefs: beliefs.clone(),
            changed: Notify::new(),
            restarts: Cell::new(0),
            ledger: ledger.clone(),
            watch: watch.clone(),
            waiting: RefCell::default(),
            reclaiming: Cell::new(false),
            declined: RefCell::default(),
        }
    }

    /// A process begins to wait, before it asks: the callback may be faster than the answer.
    pub fn wait(&self, lock: &Lock) -> Rc<Wait> {
        let wait = Rc::new(Wait { lock: lock.clone(), granted: Cell::new(false) });
        self.waiting.borrow_mut().push(wait.clone());
        wait
    }

    /// It does not wait any more: a callback that comes now is declined.
    pub fn stop_waiting(&self, wait: &Rc<Wait>) {
        self.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, wait));
    }

    /// Nothing new is asked for while locks are reclaimed.
    pub async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.reclaiming.get() {
                return;
            }
            changed.await;
        }
    }

    /// The server says that a lock is granted: the answer.
    pub fn called_back(
        &self,
        handle: &[u8],
        owner: u32,
        (offset, length): (u64, u64),
        exclusive: bool,
    ) -> u32 {
        let kind = if exclusive { Kind::Exclusive } else { Kind::Shared };
        let (Some(range), Some(file)) = (places_of(offset, length), self.watch.lock_file(handle)) else {
            self.ledger
                .fail(format!("a callback for {length} bytes from {offset} on, that nobody asked for"));
            return status::DENIED;
        };
        let run = Run { file, owner, range, kind };
        let is_meant = |wait: &&Rc<Wait>| {
            let wanted = &wait.lock.run;
            (wanted.file, wanted.owner, &wanted.range) == (run.file, run.owner, &run.range)
        };
        let found = self.waiting.borrow().iter().find(is_meant).cloned();
        let answer = match found {
            Some(wait) if wait.lock.run.kind != kind => {
                self.ledger.fail(format!("a callback for {kind:?} of {:?}", wait.lock));
                status::DENIED
            }
            Some(wait) => {
                self.take(&wait);
                status::GRANTED
            }
            // Told again of what it has.
            None if self.beliefs.holds(&run) => status::GRANTED,
            None => {
                self.declined.borrow_mut().insert(owner);
                status::DENIED
            }
        };
        self.ledger.note(|| format!("{} is called back for {run:?}: {answer}", self.name));
        answer
    }

    fn take(&self, wait: &Rc<Wait>) {
        self.beliefs.grant(self.machine, wait.lock.run.clone(), self.ledger.sender());
        wait.granted.set(true);
        self.stop_waiting(wait);
        self.changed.notify();
    }

    /// A callback for this owner was declined, so that the server takes back what it had.
    pub fn declined(&self, owner: u32) -> bool {
        self.declined.borrow().contains(&owner)
    }

    /// True while a task reclaims.
    pub fn is_reclaiming(&self) -> bool {
        self.reclaiming.get()
    }

    /// The server restarted: asks for everything again that processes here hold, and lets them ask again for what
    /// they wait for. Another restart meanwhile begins it anew.
    pub async fn reclaim(&self, nlm: &mut Nlm) {
        self.reclaiming.set(true);
        loop {
            let heard = self.restarts.get();
            // What the server granted since it restarted is not lost.
            let before = 0..self.beliefs.told_of(self.machine);
            for run in self.beliefs.runs(self.machine, before) {
                // Perhaps given up meanwhile.
                if self.beliefs.holds(&run) {
                    self.reclaim_one(nlm, run).await;
                }
            }
            if self.restarts.get() == heard {
                break;
            }
        }
        self.reclaiming.set(false);
        self.changed.notify();
    }

    async fn reclaim_one(&self, nlm: &mut Nlm, run: Run) {
        let lock = Lock { handle: self.watch.handle_of(run.file), run: run.clone() };
        self.ledger.note(|| format!("{} reclaims {run:?} ...", self.name));
        let said = nlm.lock(&lock, false, true).await;
        self.ledger.note(|| format!("{} reclaims {run:?}: {}", self.name, said.status));
        match (said.status, said.cuts) {
            // One that was given up while the answer was on its way is given up at the server too, by UNLOCK.
            (status::GRANTED, Some(cuts)) if self.beliefs.holds(&run) => {
                self.beliefs.grant(self.machine, run, cuts);
            }
            // From which server that is nobody knows; the last one calls again.
            (_, None) | (status::GRANTED, _) => {}
            (other, Some(_)) => {
                if self.watch.is_grace() {
                    self.ledger
                        .fail(format!("{} reclaims {run:?} in the grace period: status {other}", self.name));
                }
                self.beliefs.forget_lost();
                self.beliefs.give_up(run.file, run.owner, run.range);
            }
        }
    }
}
