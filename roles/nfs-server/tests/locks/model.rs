//! Random operations against a model that knows bytes only, one by one, and looks at everything each time.

mod bytewise;
mod run;

use keelson_nfs_server::locks::Limits;
use run::{Habits, Run};

const WIDE: Limits =
    Limits { locks: 1 << 16, waiters: 1 << 10, clients: 16, owner_bytes: 8, name_bytes: 1 << 16, shares: 16 };

fn runs(seeds: core::ops::Range<u64>, steps: usize, habits: Habits, limits: Limits) -> run::Seen {
    let mut seen = run::Seen::default();
    for seed in seeds {
        Run::new(seed, habits, limits, &mut seen).go(steps);
    }
    seen
}

/// Nobody waits who holds something, so no circle can be, and the order of the queue is strict.
#[test]
fn the_queue_is_strictly_in_order() {
    let seen = runs(1..61, 400, Habits::Orderly, WIDE);
    assert_eq!((seen.deadlocks, seen.passed), (0, 0));
    assert!(seen.granted > 600 && seen.queued_behind_waiters > 200, "{seen:?}");
}

/// Each owner is one thread, as POSIX thinks of it.
#[test]
fn one_thread_each() {
    let seen = runs(1000..1050, 400, Habits::OneThread, WIDE);
    assert!(seen.deadlocks > 400 && seen.passed > 40, "{seen:?}");
    assert!(seen.granted > 700 && seen.queued_behind_waiters > 250, "{seen:?}");
    assert_eq!(seen.stuck, 0, "{seen:?}");
}

/// Owners wait for several things at a time, so circles may close when a lock is granted.
#[test]
fn many_threads_each() {
    let seen = runs(2000..2020, 400, Habits::ManyThreads, WIDE);
    assert!(seen.deadlocks > 150 && seen.granted > 300 && seen.refused > 80, "{seen:?}");
}

/// No room for anything: what is refused changes nothing, and what was promised is kept.
#[test]
fn in_little_room() {
    let limits = Limits { locks: 24, waiters: 5, ..WIDE };
    let seen = runs(3000..3040, 400, Habits::ManyThreads, limits);
    assert!(seen.full > 1000 && seen.granted > 250, "{seen:?}");
}
