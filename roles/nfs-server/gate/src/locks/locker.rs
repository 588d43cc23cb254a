//! A process that locks ranges of files which all machines share.

use super::beliefs::{FileNumber, Kind, PLACES, Run};
use super::lockd::{GRACE_RETRY, Lockd, Wait};
use super::nlm::{Lock, Nlm, Said, status};
use crate::ledger::Ledger;
use crate::watch::Watch;
use keelson_exec::{Either, Handle, select};
use keelson_ext4_gate::random::Random;
use keelson_hal::Instant;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// Linux asks again for what it waits for (`NLMCLNT_POLL_TIMEOUT`).
const POLL: Duration = Duration::from_secs(30);

/// The process; it begins anew when its machine does.
pub struct Locker {
    owner: u32,
    /// It asks again from time to time, as Linux does; otherwise it trusts in callbacks.
    polls: bool,
    random: RefCell<Random>,
    ledger: Rc<Ledger>,
    watch: Rc<Watch>,
    left: Cell<usize>,
    is_done: Cell<bool>,
}

/// What a process has while its machine runs.
struct Hands {
    handle: Handle,
    lockd: Rc<Lockd>,
    nlm: Nlm,
}

/// Why a wait ended.
enum Ended {
    CalledBack,
    AskAgain,
    GivenUp,
}

impl Locker {
    /// One that is to take `steps` steps.
    pub fn new(
        owner: u32,
        polls: bool,
        steps: usize,
        random: Random,
        ledger: &Rc<Ledger>,
        watch: &Rc<Watch>,
    ) -> Locker {
        Locker {
            owner,
            polls,
            random: RefCell::new(random),
            ledger: ledger.clone(),
            watch: watch.clone(),
            left: Cell::new(steps),
            is_done: Cell::new(false),
        }
    }

    /// It took all its steps and gave everything up.
    pub fn is_done(&self) -> bool {
        self.is_done.get()
    }

    /// Its number.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// Works to the end, or until its machine loses power.
    pub async fn run(self: Rc<Self>, handle: Handle, lockd: Rc<Lockd>, nlm: Nlm) {
        let mut hands = Hands { handle, lockd, nlm };
        while self.left.get() > 0 {
            let micros = match self.below(6) {
                0 => self.below(4_000_000),
                1 | 2 => self.below(50_000),
                _ => 0,
            };
            hands.handle.sleep(Duration::from_micros(micros)).await;
            self.step(&mut hands).await;
            if self.below(6) == 0 {
                hands.lockd.beliefs.compare();
            }
            self.left.set(self.left.get() - 1);
            self.ledger.count();
        }
        for file in 0..self.watch.lock_files() {
            self.unlock_held(&mut hands, file, 0..PLACES).await;
        }
        self.ledger.note(|| format!("owner {} is done", self.owner));
        self.is_done.set(true);
    }

    fn below(&self, limit: u64) -> u64 {
        self.random.borrow_mut().below(limit)
    }

    fn any_range(&self) -> Range<usize> {
        // Few places, so that there is something in the way.
        let start = self.below(5) as usize;
        match self.below(8) {
            0 => start..PLACES,
            1 => 0..PLACES,
            _ => start..start + 1 + self.below(3) as usize,
        }
    }

    fn lock(&self, file: FileNumber, range: Range<usize>, kind: Kind) -> Lock {
        Lock { handle: self.watch.handle_of(file), run: Run { file, owner: self.owner, range, kind } }
    }

    async fn step(&self, hands: &mut Hands) {
        let file = self.below(self.watch.lock_files() as u64) as usize;
        let range = self.any_range();
        let kind = if self.below(3) == 0 { Kind::Shared } else { Kind::Exclusive };
        match self.below(10) {
            0 => self.test(hands, self.lock(file, range, kind)).await,
            1..4 => self.unlock_held(hands, file, range).await,
            4..6 => self.unlock_held(hands, file, 0..PLACES).await,
            6 | 7 => self.try_to_take(hands, self.lock(file, range, kind)).await,
            _ => self.take(hands, self.lock(file, range, kind)).await,
        }
    }

    /// Gives up a range, if it has something of it.
    async fn unlock_held(&self, hands: &mut Hands, file: FileNumber, range: Range<usize>) {
        hands.lockd.settled().await;
        if !hands.lockd.beliefs.holds_any(file, self.owner, range.clone()) {
            return;
        }
        let lock = self.lock(file, range.clone(), Kind::Exclusive);
        hands.lockd.beliefs.give_up(file, self.owner, range);
        self.ledger.note(|| format!("UNLOCK {:?} ...", lock.run));
        loop {
            let said = hands.nlm.unlock(&lock).await;
            self.ledger.note(|| format!("UNLOCK {:?}: {}", lock.run, said.status));
            match said.status {
                status::GRANTED => return,
                status::DENIED_GRACE_PERIOD => hands.handle.sleep(GRACE_RETRY).await,
                other => return self.ledger.fail(format!("UNLOCK {:?}: status {other}", lock.run)),
            }
        }
    }

    async fn test(&self, hands: &mut Hands, lock: Lock) {
        let (said, holder) = hands.nlm.test(&lock).await;
        match (said.status, holder) {
            (status::GRANTED | status::DENIED_GRACE_PERIOD, _) => {}
            (status::DENIED, Some(holder)) if holder != self.owner && self.watch.is_owner(holder) => {}
            (status, holder) => {
                self.ledger.fail(format!("TEST {:?}: status {status}, holder {holder:?}", lock.run));
            }
        }
    }

    /// Before it asks: what it holds is less from now on if it asks for less.
    async fn prepare(&self, hands: &Hands, run: &Run) {
        hands.lockd.settled().await;
        if run.kind == Kind::Shared {
            hands.lockd.beliefs.weaken(run.file, self.owner, run.range.clone());
        }
        self.ledger.note(|| format!("LOCK {run:?} ..."));
    }

    /// Without waiting.
    async fn try_to_take(&self, hands: &mut Hands, lock: Lock) {
        loop {
            self.prepare(hands, &lock.run).await;
            let said = hands.nlm.lock(&lock, false, false).await;
            self.ledger.note(|| format!("LOCK {:?}: {}", lock.run, said.status));
            match said.status {
                status::GRANTED => return self.granted(hands, &lock.run, &said),
                status::DENIED => return,
                status::DENIED_GRACE_PERIOD => hands.handle.sleep(GRACE_RETRY).await,
                other => return self.ledger.fail(format!("LOCK {:?}: status {other}", lock.run)),
            }
        }
    }

    /// Waits for it, perhaps not to the end.
    async fn take(&self, hands: &mut Hands, lock: Lock) {
        let Run { file, range, .. } = lock.run.clone();
        // Who gives up an upgrade may lose what it had: the server takes back all of a lock that is not wanted.
        let upgrades = hands.lockd.beliefs.holds_any(file, self.owner, range);
        let patience = (self.below(3) == 0 && !upgrades).then(|| Duration::from_millis(self.below(20_000)));
        let give_up = patience.map_or(Instant::FAR_FUTURE, |patience| hands.handle.now() + patience);
        let wait = hands.lockd.wait(&lock);
        loop {
            self.prepare(hands, &lock.run).await;
            let heard = hands.lockd.restarts.get();
            let said = hands.nlm.lock(&lock, true, false).await;
            self.ledger.note(|| format!("LOCK {:?} and wait: {}", lock.run, said.status));
            if wait.granted.get() {
                // The callback was faster than the answer.
                return;
            }
            match said.status {
                status::GRANTED => {
                    hands.lockd.stop_waiting(&wait);
                    return self.granted(hands, &lock.run, &said);
                }
                status::DEADLCK => return hands.lockd.stop_waiting(&wait),
                status::BLOCKED => {}
                status::DENIED_GRACE_PERIOD => {
                    hands.handle.sleep(GRACE_RETRY).await;
                    continue;
                }
                other => return self.ledger.fail(format!("LOCK {:?}: status {other}", lock.run)),
            }
            match self.wait(hands, &wait, heard, give_up).await {
                Ended::CalledBack => return,
                Ended::GivenUp => return self.cancel(hands, &wait).await,
                Ended::AskAgain => {}
            }
        }
    }

    async fn wait(&self, hands: &Hands, wait: &Wait, heard: u32, give_up: Instant) -> Ended {
        let poll = if self.polls { hands.handle.now() + POLL } else { Instant::FAR_FUTURE };
        loop {
            let changed = hands.lockd.changed.notified();
            let now = hands.handle.now();
            if wait.granted.get() {
                return Ended::CalledBack;
            } else if hands.lockd.restarts.get() != heard || now >= poll {
                return Ended::AskAgain;
            } else if now >= give_up {
                return Ended::GivenUp;
            }
            let _: Either<(), ()> = select(changed, hands.handle.sleep_until(poll.min(give_up))).await;
        }
    }

    fn granted(&self, hands: &Hands, run: &Run, said: &Said) {
        if said.cuts.is_some() && self.watch.is_grace() {
            self.ledger.fail(format!("LOCK {run:?}: granted in the grace period"));
        }
        hands.lockd.beliefs.grant(hands.lockd.machine, run.clone(), self.ledger.sender());
    }

    async fn cancel(&self, hands: &mut Hands, wait: &Rc<Wait>) {
        hands.lockd.stop_waiting(wait);
        let said = hands.nlm.cancel(&wait.lock).await;
        self.ledger.note(|| format!("CANCEL {:?}: {}", wait.lock.run, said.status));
        if !matches!(said.status, status::GRANTED | status::DENIED | status::DENIED_GRACE_PERIOD) {
            self.ledger.fail(format!("CANCEL {:?}: status {}", wait.lock.run, said.status));
        }
    }
}
