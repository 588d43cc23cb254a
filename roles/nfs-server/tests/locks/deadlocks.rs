//! Circles of waiting: the real ones, and those that only the order of the queue would make.

use super::*;

#[test]
fn waiting_for_each_other_is_a_deadlock() {
    let mut world = World::new();
    world.lock("a", X, 0, 9);
    world.lock("b", X, 10, 19);
    world.blocked("a", X, 10, 19);
    assert_eq!(world.wait(FILE, "b", S, 0, 0), Outcome::Deadlock);
    assert_eq!(world.table.refused().deadlocks, 1);
    assert_eq!(world.table.counts().waiters, 1);
    assert_eq!(world.lock("b", S, 0, 0), Outcome::Denied, "who does not wait is in no circle");
    world.unlock("b", 10, 19);
    assert_eq!(world.granted(), "a");
}

#[test]
fn two_upgrades_are_a_deadlock() {
    let mut world = World::new();
    world.lock("a", S, 0, 9);
    world.lock("b", S, 0, 9);
    world.blocked("a", X, 0, 9);
    assert_eq!(world.wait(FILE, "b", X, 0, 9), Outcome::Deadlock);
    assert_eq!((world.held("a"), world.held("b")), ("S0-9".into(), "S0-9".into()));
    world.unlock("b", 0, 9);
    assert_eq!((world.granted(), world.held("a")), ("a".into(), "X0-9".into()));
}

#[test]
fn a_long_circle_over_files_is_found() {
    let mut world = World::new();
    let names = ["a", "b", "c", "d", "e", "f"];
    let file = |at: usize| FileId { inode: at as u64, discriminator: 0 };
    for (at, name) in names.iter().enumerate() {
        assert_eq!(world.wait(file(at), name, X, 0, 0), Outcome::Granted);
    }
    for (at, name) in names.iter().enumerate().take(5) {
        assert!(matches!(world.wait(file(at + 1), name, X, 0, 0), Outcome::Blocked(_)));
    }
    assert_eq!(world.wait(file(0), "f", X, 0, 0), Outcome::Deadlock);
    assert!(matches!(world.wait(file(7), "f", X, 0, 0), Outcome::Granted));
}

#[test]
fn a_chain_is_no_circle() {
    let mut world = World::new();
    world.lock("a", X, 0, 0);
    world.lock("b", X, 1, 1);
    world.lock("c", X, 2, 2);
    world.blocked("b", X, 0, 0);
    world.blocked("c", X, 1, 1);
    world.blocked("d", X, 2, 2);
    assert_eq!(world.table.refused().deadlocks, 0);
    world.unlock("a", 0, 0);
    assert_eq!(world.granted(), "b");
    world.unlock("b", 0, 9);
    assert_eq!(world.granted(), "c");
}

#[test]
fn a_holder_does_not_wait_for_who_waits_for_it() {
    let mut world = World::new();
    world.lock("a", S, 0, 9);
    world.blocked("b", X, 0, 19);
    // In the order of the queue a would wait for b, and b waits for a.
    assert_eq!(world.wait(FILE, "a", S, 5, 15), Outcome::Granted);
    assert_eq!(world.held("a"), "S0-15");
    // Somebody who holds nothing that b waits for takes its turn.
    world.blocked("c", S, 5, 15);
}

#[test]
fn a_waiter_passes_when_the_queue_closes_a_circle() {
    let mut world = World::new();
    assert_eq!(world.wait(OTHER, "c", X, 0, 0), Outcome::Granted);
    world.lock("a", S, 0, 9);
    world.blocked("b", X, 0, 9);
    world.blocked("c", S, 0, 9);
    assert_eq!(world.granted(), "");
    // a waits for c's lock, c for its turn behind b, b for a. POSIX knows no turns: c has to get its lock.
    assert!(matches!(world.wait(OTHER, "a", X, 0, 0), Outcome::Blocked(_)));
    assert_eq!(world.granted(), "c");
    world.unlock_in(OTHER, "c", 0, 0);
    assert_eq!(world.granted(), "a");
    world.unlock("a", 0, 9);
    world.unlock("c", 0, 9);
    assert_eq!(world.granted(), "b");
}

#[test]
fn a_circle_that_closes_later_is_found_when_the_client_asks_again() {
    let mut world = World::new();
    // Two threads of b wait. The second one's turn comes while the first waits for c.
    world.lock("a", X, 0, 0);
    world.lock("c", X, 1, 1);
    world.blocked("b", X, 1, 1);
    world.blocked("b", X, 0, 0);
    world.blocked("c", X, 0, 0);
    assert_eq!(world.wait(FILE, "c", X, 0, 0), world.wait(FILE, "c", X, 0, 0), "no deadlock yet");
    world.unlock("a", 0, 0);
    assert_eq!(world.granted(), "b");
    assert_eq!(world.wait(FILE, "c", X, 0, 0), Outcome::Deadlock);
    assert_eq!(world.table.counts().waiters, 1);
}
