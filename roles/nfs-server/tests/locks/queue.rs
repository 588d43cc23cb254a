//! Who waits, and who is served when.

use super::*;

#[test]
fn writers_are_served_in_the_order_they_came() {
    let mut world = World::new();
    world.lock("a", X, 0, 9);
    for name in ["b", "c", "d"] {
        world.blocked(name, X, 0, 9);
    }
    for next in ["b", "c", "d"] {
        assert_eq!(world.granted(), "");
        let holder = world.table.locks().next().map(|view| view.name.to_vec()).expect("a holder");
        world.unlock(std::str::from_utf8(&holder).expect("text"), 0, 9);
        assert_eq!(world.granted(), next);
    }
}

#[test]
fn readers_do_not_starve_a_writer() {
    let mut world = World::new();
    world.lock("a", S, 0, 9);
    world.blocked("b", X, 5, 5);
    world.blocked("c", S, 0, 9);
    assert_eq!(world.wait(FILE, "d", S, 0, 4), Outcome::Granted, "not in the writer's way");
    assert_eq!(world.lock("e", S, 0, 9), Outcome::Granted, "who does not wait is denied for held locks only");
    world.unlock("a", 0, 9);
    assert_eq!(world.granted(), "");
    world.unlock("e", 0, 9);
    assert_eq!(world.granted(), "b");
    world.unlock("b", 5, 5);
    assert_eq!(world.granted(), "c");
}

#[test]
fn readers_behind_a_writer_are_served_together() {
    let mut world = World::new();
    world.lock("a", X, 0, 9);
    for name in ["b", "c", "d"] {
        world.blocked(name, S, 0, 9);
    }
    world.blocked("e", X, 0, 0);
    world.blocked("f", S, 9, 9);
    world.unlock("a", 0, 9);
    assert_eq!(world.granted(), "bcdf", "the last one is not in the way of the writer before it");
}

#[test]
fn a_part_that_becomes_free_is_given_away() {
    let mut world = World::new();
    world.lock("a", X, 0, 99);
    world.blocked("b", X, 50, 149);
    world.blocked("c", X, 10, 19);
    world.blocked("d", S, 15, 60);
    world.unlock("a", 10, 19);
    assert_eq!(world.granted(), "c");
    world.unlock("a", 20, 99);
    assert_eq!(world.granted(), "b");
    world.unlock("c", 10, 19);
    assert_eq!(world.granted(), "");
    world.unlock("b", 0, u64::MAX);
    assert_eq!(world.granted(), "d");
}

#[test]
fn asking_again_finds_the_same_waiter() {
    let mut world = World::new();
    world.lock("a", X, 0, 9);
    let waiter = world.blocked("b", X, 0, 9);
    world.blocked("c", X, 0, 9);
    assert_eq!(world.blocked("b", X, 0, 9), waiter);
    assert_ne!(world.blocked("b", S, 0, 9), waiter, "another kind is another request");
    assert_ne!(world.blocked("b", X, 0, 8), waiter, "another range is another request");
    assert_eq!(world.lock("b", X, 0, 9), Outcome::Denied);
    assert_eq!(world.table.counts().waiters, 4);
    world.unlock("a", 0, 9);
    assert_eq!(world.granted(), "bbb", "one's own requests are not in one's way, and c waits for b anyhow");
}

#[test]
fn a_grant_removes_the_equal_waiter() {
    let mut world = World::new();
    world.lock("a", S, 0, 9);
    world.blocked("b", X, 9, 19);
    world.blocked("c", S, 0, 9);
    assert_eq!(world.lock("c", S, 0, 9), Outcome::Granted);
    assert_eq!(world.table.counts().waiters, 1);
    assert_eq!(world.granted(), "", "it has its answer");
}

#[test]
fn a_waiter_that_leaves_lets_the_next_one_in() {
    let mut world = World::new();
    world.lock("a", S, 0, 9);
    let writer = world.blocked("b", X, 0, 9);
    world.blocked("c", S, 0, 9);
    assert_eq!(world.cancel("b", X, 0, 8), None);
    assert_eq!(world.cancel("c", X, 0, 9), None);
    assert_eq!(world.granted(), "");
    assert_eq!(world.cancel("b", X, 0, 9), Some(writer));
    assert_eq!(world.granted(), "c");
    assert_eq!(world.cancel("b", X, 0, 9), None);
}

#[test]
fn a_grant_that_downgrades_lets_others_in() {
    let mut world = World::new();
    world.lock("a", X, 0, 9);
    world.lock("b", X, 10, 19);
    world.blocked("c", S, 0, 4);
    world.blocked("a", S, 0, 19);
    world.unlock("b", 10, 19);
    assert_eq!(world.held("a"), "S0-19");
    assert_eq!(world.granted(), "ac");
}
