//! One run: random operations, each checked against the model.

use super::bytewise::{Ask, BYTES, Model, Range};
use keelson_net_sim::Rng;
use keelson_nfs_server::locks::{
    ByteRange, ClientId, Granted, Kind, Limits, LockTable, Outcome, Wait, WaiterId,
};
use keelson_volume::FileId;
use std::collections::BTreeMap;

const CLIENTS: usize = 3;
const OWNERS: usize = 9;
const FILES: usize = 3;

/// What owners do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Habits {
    /// Wait for one thing at a time, and only when they hold nothing.
    Orderly,
    /// Wait for one thing at a time.
    OneThread,
    /// Wait for several things, and do others meanwhile.
    ManyThreads,
}

/// What happened in all runs, so that a test can tell that it tested something.
#[derive(Default, Debug)]
pub struct Seen {
    pub granted: usize,
    pub queued_behind_waiters: usize,
    /// Grants that went to somebody behind another one that waits for it.
    pub passed: usize,
    pub deadlocks: usize,
    pub refused: usize,
    pub full: usize,
    /// Circles that closed by a grant.
    pub stuck: usize,
}

/// An open grant: what was asked, and whether the owner changed its locks there since.
type OpenGrants = BTreeMap<WaiterId, (Ask, bool)>;

pub struct Run<'a> {
    rng: Rng,
    habits: Habits,
    limits: Limits,
    table: LockTable,
    clients: Vec<ClientId>,
    model: Model,
    grants: OpenGrants,
    /// Offset of the first byte in each file; the last file reaches the last byte of all.
    base: [u64; FILES],
    seen: &'a mut Seen,
}

impl<'a> Run<'a> {
    pub fn new(seed: u64, habits: Habits, limits: Limits, seen: &'a mut Seen) -> Run<'a> {
        let mut table = LockTable::new(limits);
        let clients = (0..CLIENTS).map(|_| table.client().expect("a client")).collect();
        let (model, grants) = (Model::default(), OpenGrants::new());
        let base = [0, 1 << 32, u64::MAX - (BYTES as u64 - 1)];
        Run { rng: Rng::new(seed), habits, limits, table, clients, model, grants, base, seen }
    }

    pub fn go(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            self.check();
        }
        self.drain();
    }

    fn below(&self, limit: usize) -> usize {
        (self.rng.next() % limit as u64) as usize
    }

    fn file(&self, file: usize) -> FileId {
        FileId { inode: 7, discriminator: file as u64 }
    }

    fn name(owner: usize) -> [u8; 1] {
        [(owner / CLIENTS) as u8]
    }

    fn client(&self, owner: usize) -> ClientId {
        self.clients[owner % CLIENTS]
    }

    fn range(&self, ask: &Ask) -> ByteRange {
        let base = self.base[ask.file];
        ByteRange { first: base + ask.first as u64, last: base + ask.last as u64 }
    }

    fn random_ask(&self) -> Ask {
        let (a, b) = (self.below(BYTES), self.below(BYTES));
        let b = if self.rng.percent(60) { (a + self.below(4)).min(BYTES - 1) } else { b };
        let kind = if self.rng.percent(50) { Kind::Shared } else { Kind::Exclusive };
        let (owner, file) = (self.below(OWNERS), self.below(FILES));
        Ask { file, owner, kind, first: a.min(b), last: a.max(b) }
    }

    fn step(&mut self) {
        let ask = self.random_ask();
        let waiting: Vec<_> = self.model.waiters.values().copied().collect();
        let open: Vec<_> = self.grants.keys().copied().collect();
        match self.below(100) {
            0..20 if self.habits != Habits::Orderly => self.lock(ask, Wait::No),
            0..55 => {
                // Often for something that somebody asked for before.
                let again = self.rng.percent(15) && !waiting.is_empty();
                let ask = if again { waiting[self.below(waiting.len())] } else { self.by_a_free_owner(ask) };
                self.lock(ask, self.wait(&ask));
            }
            55..80 => {
                let holders: Vec<_> = (0..OWNERS).filter(|owner| self.model.holds_anything(*owner)).collect();
                let owner = if holders.is_empty() { ask.owner } else { holders[self.below(holders.len())] };
                let all = self.habits == Habits::Orderly || self.rng.percent(40);
                let ask = Ask { owner, ..ask };
                self.unlock(if all { Ask { first: 0, last: BYTES - 1, ..ask } } else { ask });
            }
            80..88 if !waiting.is_empty() => self.cancel(waiting[self.below(waiting.len())]),
            80..88 => self.cancel(ask),
            88..97 if !open.is_empty() => {
                let waiter = open[self.below(open.len())];
                if self.rng.percent(50) { self.refuse(waiter) } else { self.accept(waiter) }
            }
            88..98 => self.test(ask),
            98 => self.release_client(ask.owner % CLIENTS),
            _ => self.release_file(ask.file),
        }
    }

    /// The same, asked by somebody who may wait, if there is anybody.
    fn by_a_free_owner(&self, ask: Ask) -> Ask {
        let mut asks = (0..OWNERS).map(|turn| Ask { owner: (ask.owner + turn) % OWNERS, ..ask });
        asks.find(|ask| self.wait(ask) == Wait::Yes).unwrap_or(ask)
    }

    fn wait(&self, ask: &Ask) -> Wait {
        let waits = self.model.waiters.values().any(|waiter| waiter.owner == ask.owner && waiter != ask);
        let may = match self.habits {
            Habits::Orderly => !waits && !self.model.holds_anything(ask.owner),
            Habits::OneThread => !waits,
            Habits::ManyThreads => true,
        };
        if may { Wait::Yes } else { Wait::No }
    }

    fn lock(&mut self, ask: Ask, wait: Wait) {
        let is_busy = self.model.waiters.values().any(|waiter| waiter.owner == ask.owner && *waiter != ask);
        if self.habits != Habits::ManyThreads && is_busy {
            return;
        }
        let owner = self.table.owner(self.client(ask.owner), &Self::name(ask.owner)).expect("an owner");
        let outcome = self.table.lock(self.file(ask.file), owner, ask.kind, self.range(&ask), wait);
        let held = !self.model.holders(&ask).is_empty();
        let queued = self.model.waiters.iter().find(|(_, waiter)| **waiter == ask).map(|(id, _)| *id);
        match outcome {
            Outcome::Granted => {
                assert!(!held, "{ask:?} is granted and conflicts");
                let behind = !self.model.earlier(&ask, None).is_empty();
                assert!(queued.is_none() || wait == Wait::No, "{ask:?} was grantable before");
                assert!(wait == Wait::No || !behind || self.model.is_knotted(&ask, None), "{ask:?} jumps");
                self.model.waiters.retain(|_, waiter| *waiter != ask);
                self.grants.retain(|_, (granted, _)| *granted != ask);
                self.change(&ask, Some(ask.kind));
            }
            Outcome::Denied => assert!(held && wait == Wait::No, "{ask:?} is denied for nothing"),
            Outcome::Deadlock => {
                assert!(
                    held && wait == Wait::Yes && self.model.waits_for_itself(&ask),
                    "{ask:?} is no deadlock"
                );
                self.model.waiters.retain(|_, waiter| *waiter != ask);
                self.seen.deadlocks += 1;
            }
            Outcome::Blocked(id) => {
                assert_eq!(wait, Wait::Yes);
                assert!(!held || !self.model.waits_for_itself(&ask), "{ask:?} is a deadlock");
                match queued {
                    Some(queued) => assert_eq!(queued, id, "{ask:?} waits twice"),
                    None => self.enqueue(id, ask),
                }
            }
            Outcome::Full => {
                self.seen.full += 1;
                let waits = wait == Wait::Yes && (held || !self.model.earlier(&ask, None).is_empty());
                let no_waiter = self.model.waiters.len() >= self.limits.waiters || self.room() < 3;
                let no_lock = self.growth(&ask, Some(ask.kind)) > self.room();
                assert!(if waits { no_waiter || no_lock && !held } else { no_lock }, "{ask:?} had room");
            }
        }
        self.take_granted();
    }

    fn enqueue(&mut self, id: WaiterId, ask: Ask) {
        let behind = !self.model.earlier(&ask, None).is_empty();
        let held = !self.model.holders(&ask).is_empty();
        assert!(behind || held, "{ask:?} waits for nothing");
        assert!(self.model.waiters.keys().all(|earlier| *earlier < id));
        if !held {
            // Who passes waits for fewer than the model thinks.
            let passes = self.model.waiters.keys().any(|waiter| self.model.may_pass.contains(waiter));
            assert!(passes || !self.model.is_knotted(&ask, None), "{ask:?} waits for who waits for it");
            self.seen.queued_behind_waiters += 1;
        }
        self.model.waiters.insert(id, ask);
    }

    /// More locks there will be after the change than before.
    fn growth(&self, ask: &Ask, kind: Option<Kind>) -> usize {
        let mut after = self.model.clone();
        after.set(ask, kind);
        let ranges = |model: &Model| model.ranges(ask.owner, ask.file).len();
        ranges(&after).saturating_sub(ranges(&self.model))
    }

    fn room(&self) -> usize {
        let used = self.model.locks() + 3 * self.model.waiters.len() + self.grants.len();
        assert!(used <= self.limits.locks, "more was promised than there is");
        self.limits.locks - used
    }

    /// The owner's locks become so, and its open grants there count as changed or done.
    fn change(&mut self, ask: &Ask, kind: Option<Kind>) {
        self.model.set(ask, kind);
        let concerned = |granted: &Ask| granted.owner == ask.owner && granted.overlaps(ask);
        self.grants.values_mut().filter(|(granted, _)| concerned(granted)).for_each(|grant| grant.1 = true);
        let model = &self.model;
        self.grants.retain(|_, (granted, _)| !concerned(granted) || model.holds_some(granted));
    }

    fn unlock(&mut self, ask: Ask) {
        let (client, name) = (self.client(ask.owner), Self::name(ask.owner));
        let done = self.table.unlock(self.file(ask.file), client, &name, self.range(&ask)).is_ok();
        assert_eq!(done, self.growth(&ask, None) <= self.room());
        if done {
            self.change(&ask, None);
        }
        self.take_granted();
    }

    fn cancel(&mut self, ask: Ask) {
        let (client, name) = (self.client(ask.owner), Self::name(ask.owner));
        let gone = self.table.cancel(self.file(ask.file), client, &name, ask.kind, self.range(&ask));
        let waiting = self.model.waiters.iter().find(|(_, waiter)| **waiter == ask).map(|(id, _)| *id);
        let granted = self.grants.iter().find(|(_, grant)| grant.0 == ask).map(|(id, _)| *id);
        assert_eq!(gone, waiting.or(granted));
        match (waiting, granted) {
            (Some(waiter), _) => drop(self.model.waiters.remove(&waiter)),
            (None, Some(waiter)) => self.close_refused(waiter),
            (None, None) => {}
        }
        self.take_granted();
    }

    fn refuse(&mut self, waiter: WaiterId) {
        self.seen.refused += 1;
        self.table.refuse(waiter);
        self.close_refused(waiter);
        self.take_granted();
    }

    fn close_refused(&mut self, waiter: WaiterId) {
        let (ask, changed) = self.grants.remove(&waiter).expect("open");
        if !changed {
            self.change(&ask, None);
        }
    }

    fn accept(&mut self, waiter: WaiterId) {
        self.table.accept(waiter);
        self.grants.remove(&waiter);
    }

    fn test(&mut self, ask: Ask) {
        let (client, name) = (self.client(ask.owner), Self::name(ask.owner));
        let holder = self.table.test(self.file(ask.file), client, &name, ask.kind, self.range(&ask));
        let holders = self.model.holders(&ask);
        assert_eq!(holder.is_some(), !holders.is_empty());
        if let Some(holder) = holder {
            let owner = (0..OWNERS)
                .find(|owner| (self.client(*owner), &Self::name(*owner)[..]) == (holder.client, holder.name));
            assert!(holders.contains(&owner.expect("an owner")));
            assert!(holder.range.overlaps(self.range(&ask)) && holder.kind.conflicts(ask.kind));
        }
    }

    fn release_client(&mut self, client: usize) {
        self.table.release_client(self.clients[client]);
        self.model.held.retain(|key, _| key.0 % CLIENTS != client);
        self.model.waiters.retain(|_, waiter| waiter.owner % CLIENTS != client);
        self.grants.retain(|_, (granted, _)| granted.owner % CLIENTS != client);
        assert!(!self.table.holds_anything(self.clients[client]));
        self.take_granted();
    }

    fn release_file(&mut self, file: usize) {
        self.table.release_file(self.file(file));
        self.model.held.retain(|key, _| key.1 != file);
        self.model.waiters.retain(|_, waiter| waiter.file != file);
        self.grants.retain(|_, (granted, _)| granted.file != file);
        self.take_granted();
    }

    /// Each grant must be one that POSIX allows, in the order of the queue but for knots.
    fn take_granted(&mut self) {
        self.model.note_knots();
        while let Some(Granted { waiter, file, kind, range, .. }) = self.table.take_granted() {
            let ask = *self.model.waiters.get(&waiter).expect("it waits");
            assert_eq!((file, kind, range), (self.file(ask.file), ask.kind, self.range(&ask)));
            assert!(self.model.holders(&ask).is_empty(), "{ask:?} is granted and conflicts");
            if !self.model.earlier(&ask, Some(waiter)).is_empty() {
                assert!(self.model.may_pass.contains(&waiter), "{ask:?} passes for no reason");
                self.seen.passed += 1;
            }
            self.model.waiters.remove(&waiter);
            self.change(&ask, Some(ask.kind));
            self.grants.insert(waiter, (ask, false));
            while self.grants.len() > self.limits.waiters {
                self.grants.pop_first();
            }
            self.seen.granted += 1;
            self.model.note_knots();
        }
    }

    /// The table and the model hold the same, and every waiter is blocked by something.
    fn check(&self) {
        let mut listed: BTreeMap<(usize, usize), Vec<Range>> = BTreeMap::new();
        let mut waiting = BTreeMap::new();
        for view in self.table.locks() {
            let client = self.clients.iter().position(|client| *client == view.client).expect("a client");
            let (owner, file) =
                (usize::from(view.name[0]) * CLIENTS + client, view.file.discriminator as usize);
            let first = (view.range.first - self.base[file]) as usize;
            let last = (view.range.last - self.base[file]) as usize;
            match view.waiter {
                None => listed.entry((owner, file)).or_default().push((view.kind, first, last)),
                Some(id) => drop(waiting.insert(id, Ask { file, owner, kind: view.kind, first, last })),
            }
        }
        for owner in 0..OWNERS {
            for file in 0..FILES {
                let mut ranges = listed.remove(&(owner, file)).unwrap_or_default();
                ranges.sort_by_key(|(_, first, _)| *first);
                assert_eq!(ranges, self.model.ranges(owner, file));
            }
        }
        assert_eq!(waiting, self.model.waiters);
        for waiter in self.model.waiters.keys() {
            assert!(self.model.is_blocked(*waiter), "{:?} waits for nothing", self.model.waiters[waiter]);
        }
        let counts = self.table.counts();
        let is_used = |owner: usize| {
            self.model.holds_anything(owner) || self.model.waiters.values().any(|ask| ask.owner == owner)
        };
        let files = (0..FILES).filter(|file| {
            let waits = self.model.waiters.values().any(|ask| ask.file == *file);
            waits || (0..OWNERS).any(|owner| !self.model.ranges(owner, *file).is_empty())
        });
        let owners = (0..OWNERS).filter(|owner| is_used(*owner)).count();
        assert_eq!((counts.locks, counts.waiters), (self.model.locks(), self.model.waiters.len()));
        assert_eq!((counts.owners, counts.files), (owners, files.count()));
        assert_eq!(counts.grants, self.grants.len());
        for waiter in self.grants.keys() {
            assert!(self.table.open_grant(*waiter).is_some());
        }
    }

    /// Owners that do not wait give up what they have until nobody waits: no order of the queue may keep
    /// anybody waiting for ever. Circles of held locks that closed by a grant show when asked again.
    fn drain(&mut self) {
        while !self.model.waiters.is_empty() {
            let waits = |owner| self.model.waiters.values().any(|ask| ask.owner == owner);
            let free = (0..OWNERS).find(|owner| !waits(*owner) && self.model.holds_anything(*owner));
            if let Some(owner) = free {
                (0..FILES).for_each(|file| {
                    self.unlock(Ask { file, owner, kind: Kind::Shared, first: 0, last: BYTES - 1 });
                });
            } else {
                self.seen.stuck += 1;
                let asks: Vec<_> = self.model.waiters.values().copied().collect();
                asks.iter().for_each(|ask| self.lock(*ask, Wait::Yes));
                assert!(self.model.waiters.len() < asks.len(), "stuck, and nobody is told: {asks:?}");
            }
            self.check();
        }
    }
}
