//! Where it ends, and that what was promised fits.

use super::*;

fn tight(locks: usize) -> World {
    World::with(Limits { locks, waiters: 2, clients: 7, owner_bytes: 8, name_bytes: 20, shares: 1 })
}

#[test]
fn locks_end_and_begin_again() {
    let mut world = tight(3);
    for at in [0, 10, 20] {
        assert_eq!(world.lock("a", X, at, at), Outcome::Granted);
    }
    assert_eq!(world.lock("a", X, 30, 30), Outcome::Full);
    assert_eq!(world.lock("b", S, 30, 30), Outcome::Full);
    assert_eq!(world.table.counts().owners, 1, "b has nothing");
    assert_eq!(world.lock("a", X, 1, 1), Outcome::Granted, "merges: no more than before");
    assert_eq!(world.lock("a", S, 0, 1), Outcome::Granted, "replaces: no more than before");
    assert_eq!(world.lock("a", X, 0, 0), Outcome::Full, "would split");
    assert_eq!(world.held("a"), "S0-1 X10-10 X20-20");
    assert_eq!(world.table.refused().locks, 3);
    world.unlock("a", 20, 20);
    assert_eq!(world.lock("a", X, 0, 0), Outcome::Granted);
}

#[test]
fn unlocking_the_middle_needs_room() {
    let mut world = tight(1);
    world.lock("a", X, 0, 9);
    let client = world.owner("a").client;
    assert!(world.table.unlock(FILE, client, b"a", bytes(5, 5)).is_err());
    assert_eq!(world.held("a"), "X0-9");
    assert!(world.table.unlock(FILE, client, b"a", bytes(5, 9)).is_ok());
    assert_eq!(world.held("a"), "X0-4");
}

#[test]
fn a_waiter_has_room_for_its_lock_and_for_giving_it_back() {
    // One S lock and one that is in the way; the waiter will split the first in three.
    let mut world = tight(5);
    world.lock("a", S, 0, 9);
    world.lock("b", S, 5, 5);
    let waiter = world.blocked("a", X, 5, 5);
    assert_eq!(world.lock("c", S, 20, 20), Outcome::Full, "the room is reserved");
    assert_eq!(world.wait(FILE, "c", X, 5, 5), Outcome::Full);
    world.unlock("b", 5, 5);
    assert_eq!(world.held("a"), "S0-4 X5-5 S6-9");
    assert_eq!(world.lock("c", S, 20, 20), Outcome::Granted);
    assert_eq!(world.lock("c", S, 30, 30), Outcome::Full, "refusing may need it");
    world.table.refuse(waiter);
    assert_eq!(world.held("a"), "S0-4 S6-9");
    assert_eq!(world.lock("c", S, 30, 30), Outcome::Granted);
}

#[test]
fn refusing_can_always_split() {
    let mut world = tight(5);
    world.lock("a", X, 0, 4);
    world.lock("b", X, 5, 5);
    let waiter = world.blocked("a", X, 3, 9);
    world.unlock("b", 5, 5);
    assert_eq!(world.lock("a", X, 10, 20), Outcome::Granted);
    for at in [100, 102, 104] {
        assert_eq!(world.lock("a", X, at, at), Outcome::Granted);
    }
    assert_eq!(world.lock("a", X, 106, 106), Outcome::Full);
    world.table.refuse(waiter);
    assert_eq!(world.held("a"), "X0-2 X10-20 X100-100 X102-102 X104-104");
}

#[test]
fn waiters_end_and_begin_again() {
    let mut world = tight(100);
    world.lock("a", X, 0, 9);
    world.blocked("b", X, 0, 0);
    let waiter = world.blocked("b", X, 1, 1);
    assert_eq!(world.wait(FILE, "b", X, 2, 2), Outcome::Full);
    assert_eq!(world.blocked("b", X, 1, 1), waiter, "no new one");
    assert_eq!(world.table.refused().waiters, 1);
    world.cancel("b", X, 0, 0);
    world.blocked("b", X, 2, 2);
}

#[test]
fn grants_that_nobody_answers_end_as_accepted() {
    let mut world = tight(100);
    let mut waiters = Vec::new();
    for at in 0..5 {
        world.lock("a", X, at, at);
        waiters.push(world.blocked("b", X, at, at));
        world.unlock("a", at, at);
    }
    assert_eq!((world.table.counts().grants, world.table.refused().grants), (2, 3));
    assert_eq!(world.granted(), "bb");
    assert_eq!(world.table.open_grant(waiters[2]), None);
    world.table.refuse(waiters[2]);
    assert_eq!(world.held("b"), "X0-4");
    world.table.refuse(waiters[3]);
    assert_eq!(world.held("b"), "X0-2 X4-4");
}

#[test]
fn clients_and_names_end() {
    let mut world = tight(100);
    let seventh = world.table.client().expect("seven clients");
    assert_eq!(world.table.client(), None);
    assert_eq!(world.table.refused().clients, 1);
    world.table.forget_client(seventh);
    let client = world.table.client().expect("there is room again");

    assert_eq!(world.table.owner(client, b"123456789"), None, "nine bytes");
    assert!(world.table.owner(client, b"12345678").is_some());
    assert!(world.table.owner(client, b"1234567").is_some());
    assert_eq!(world.table.owner(client, b"123456"), None, "21 bytes together");
    assert!(world.table.owner(client, b"1234567").is_some(), "it is there already");
    assert!(world.table.owner(client, b"").is_some(), "an empty name is one");
    assert_eq!(world.table.refused().owners, 2);
    world.table.release_client(client);
    assert!(world.table.owner(client, b"123456").is_some());
}
