//! What a call looks at, counted: entries and seeks, not time.

use super::deadlock::{Circle, MAX_STEPS, NEW, Through, circle};
use super::*;
use core::cell::Cell;

std::thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

/// An entry or a place between entries was looked at.
pub(super) fn count() {
    COUNT.set(COUNT.get() + 1);
}

/// How many were, in a call.
fn cost<T>(call: impl FnOnce() -> T) -> (usize, T) {
    COUNT.set(0);
    let result = call();
    (COUNT.get(), result)
}

const FILE: FileId = FileId { inode: 3, discriminator: 3 };

fn bytes(first: u64, last: u64) -> ByteRange {
    ByteRange { first, last }
}

struct Crowd {
    table: LockTable,
    client: ClientId,
}

impl Crowd {
    fn new() -> Crowd {
        let limits = Limits { locks: 1 << 20, waiters: 1 << 12, ..Limits::default() };
        let mut table = LockTable::new(limits);
        let client = table.client().expect("a client");
        Crowd { table, client }
    }

    fn lock(&mut self, file: FileId, number: u32, kind: Kind, range: ByteRange, wait: Wait) -> Outcome {
        let owner = self.table.owner(self.client, &number.to_be_bytes()).expect("owner");
        self.table.lock(file, owner, kind, range, wait)
    }

    fn unlock(&mut self, file: FileId, number: u32, range: ByteRange) {
        self.table.unlock(file, self.client, &number.to_be_bytes(), range).expect("room");
    }
}

#[test]
fn a_thousand_owners_in_one_file_do_not_meet() {
    let mut crowd = Crowd::new();
    for owner in 0..1000 {
        let at = u64::from(owner) * 100;
        let (cost, outcome) = cost(|| crowd.lock(FILE, owner, Kind::Exclusive, bytes(at, at + 63), Wait::No));
        assert_eq!(outcome, Outcome::Granted);
        assert!(cost < 12, "lock number {owner} looked at {cost}");
    }
    let (denied, outcome) = cost(|| crowd.lock(FILE, 5000, Kind::Shared, bytes(50_030, 50_070), Wait::No));
    assert_eq!(outcome, Outcome::Denied);
    let (all, outcome) = cost(|| crowd.lock(FILE, 5000, Kind::Exclusive, ByteRange::ALL, Wait::No));
    assert_eq!(outcome, Outcome::Denied);
    let (unlocked, ()) = cost(|| crowd.unlock(FILE, 500, bytes(50_010, 50_019)));
    assert!(denied < 12 && all < 12 && unlocked < 12, "{denied} {all} {unlocked}");
}

#[test]
fn a_thousand_readers_of_one_file_do_not_meet() {
    let mut crowd = Crowd::new();
    for owner in 0..1000 {
        let range = bytes(u64::from(owner % 7), 1000 + u64::from(owner));
        let (cost, outcome) = cost(|| crowd.lock(FILE, owner, Kind::Shared, range, Wait::Yes));
        assert_eq!(outcome, Outcome::Granted);
        assert!(cost < 12, "reader number {owner} looked at {cost}");
    }
    let (cost, outcome) = cost(|| crowd.lock(FILE, 5000, Kind::Exclusive, bytes(5, 5), Wait::No));
    assert_eq!((outcome, cost < 12), (Outcome::Denied, true), "a writer finds the first reader: {cost}");
}

#[test]
fn a_thousand_waiters_are_looked_at_once_each() {
    let mut crowd = Crowd::new();
    crowd.lock(FILE, 0, Kind::Exclusive, bytes(0, 9), Wait::No);
    for owner in 1..=1000 {
        let (cost, outcome) = cost(|| crowd.lock(FILE, owner, Kind::Exclusive, bytes(0, 9), Wait::Yes));
        assert!(matches!(outcome, Outcome::Blocked(_)));
        assert!(cost < 12, "waiter number {owner} looked at {cost}");
    }
    let (cheap, outcome) = cost(|| crowd.lock(FILE, 0, Kind::Exclusive, bytes(3, 3), Wait::Yes));
    assert_eq!(
        (outcome, cheap < 12),
        (Outcome::Granted, true),
        "what it has needs no look at the others: {cheap}"
    );
    let (cost, ()) = cost(|| crowd.unlock(FILE, 0, bytes(0, 9)));
    assert_eq!(crowd.table.counts().waiters, 999);
    assert!(cost < 6000, "finding the next one of a thousand looked at {cost}");
}

#[test]
fn a_hundred_thousand_locks_elsewhere_cost_nothing() {
    let mut crowd = Crowd::new();
    let file = |number: u32| FileId { inode: u64::from(number), discriminator: 9 };
    let mut highest = 0;
    for number in 0..100_000u32 {
        // Ten owners to a file, ten files to an owner.
        let (at, owner) = (u64::from(number % 10) * 10, number / 10 % 10_000);
        let range = bytes(at, at + 9);
        let file = file(number % 10_000);
        let (cost, outcome) =
            cost(|| crowd.lock(file, owner * 10 + number % 10, Kind::Exclusive, range, Wait::No));
        assert!(matches!(outcome, Outcome::Granted | Outcome::Denied));
        highest = highest.max(cost);
    }
    assert!(highest < 24, "{highest}");
    let counts = crowd.table.counts();
    assert!(counts.files == 10_000 && counts.locks > 9_000, "{counts:?}");
    for number in 0..100_000u32 {
        let at = u64::from(number) * 2;
        let (cost, outcome) = cost(|| crowd.lock(FILE, 7, Kind::Shared, bytes(at, at), Wait::No));
        assert_eq!(outcome, Outcome::Granted);
        highest = highest.max(cost);
    }
    assert!(highest < 24, "{highest}");
    assert!(crowd.table.counts().locks > 100_000);
    let (elsewhere, outcome) =
        cost(|| crowd.lock(file(77), 70_000, Kind::Shared, bytes(500, 600), Wait::Yes));
    assert_eq!((outcome, elsewhere < 12), (Outcome::Granted, true), "{elsewhere}");
}

#[test]
fn looking_for_a_deadlock_among_a_thousand_is_bounded() {
    let mut crowd = Crowd::new();
    let own = |owner: u32| FileId { inode: 1 << 40 | u64::from(owner), discriminator: 0 };
    for owner in 1..=1000 {
        // Each holds something, so that somebody might wait for it.
        crowd.lock(own(owner), owner, Kind::Exclusive, bytes(0, 0), Wait::No);
        crowd.lock(FILE, owner, Kind::Shared, bytes(u64::from(owner), u64::from(owner)), Wait::No);
    }
    crowd.lock(FILE, 0, Kind::Exclusive, bytes(5000, 5000), Wait::No);
    let mut outcomes = Vec::new();
    for owner in 1..=1000 {
        outcomes.push(crowd.lock(FILE, owner, Kind::Exclusive, bytes(5000, 5000), Wait::Yes));
    }
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Blocked(_))));

    let owner = crowd.table.owner(crowd.client, &1000u32.to_be_bytes()).expect("owner");
    let last = Request { file: FILE, owner, kind: Kind::Exclusive, range: bytes(5000, 5000) };
    let waiter = crowd.table.queue.find(last).expect("it waits");
    for through in [Through::Locks, Through::LocksAndQueue] {
        let mut steps = MAX_STEPS;
        let found = circle(&crowd.table.held, &crowd.table.queue, (waiter, last), through, &mut steps);
        assert_eq!(found, None);
        assert!(MAX_STEPS - steps < 10_000, "{through:?}: {} steps", MAX_STEPS - steps);
    }
    // The chain of a thousand is followed to its end.
    assert_eq!(crowd.lock(own(1000), 0, Kind::Shared, bytes(0, 0), Wait::Yes), Outcome::Deadlock);
}

#[test]
fn the_walk_ends_when_it_is_told_to() {
    let mut crowd = Crowd::new();
    let file = |number: u32| FileId { inode: u64::from(number), discriminator: 0 };
    for owner in 0..100 {
        crowd.lock(file(owner), owner, Kind::Exclusive, bytes(0, 0), Wait::No);
    }
    for owner in 0..99 {
        crowd.lock(file(owner + 1), owner, Kind::Exclusive, bytes(0, 0), Wait::Yes);
    }
    let owner = crowd.table.owner(crowd.client, &99u32.to_be_bytes()).expect("owner");
    let closing = Request { file: file(0), owner, kind: Kind::Shared, range: bytes(0, 9) };
    let walk = |mut steps: usize| {
        let found = circle(&crowd.table.held, &crowd.table.queue, (NEW, closing), Through::Locks, &mut steps);
        (found, steps)
    };
    // Two for each of 99 waiters, one for the last lock.
    assert_eq!(walk(199), (Some(Circle::Locks), 0));
    assert_eq!(walk(198), (None, 0));
    assert_eq!(walk(0), (None, 0));
}
