//! Grants between the table and the client: taken, accepted, refused, overtaken.

use super::*;
use keelson_nfs_server::locks::Granted;

/// `a` holds bytes 0 to 9, `b` and then `c` wait for them. `b` is granted and was told.
fn granted_to_b() -> (World, WaiterId) {
    let mut world = World::new();
    world.lock("a", X, 0, 9);
    let waiter = world.blocked("b", X, 0, 9);
    world.blocked("c", X, 0, 9);
    world.unlock("a", 0, 9);
    assert_eq!(world.granted(), "b");
    (world, waiter)
}

#[test]
fn a_grant_repeats_the_request() {
    let mut world = World::new();
    world.lock("a", X, 5, 9);
    world.lock("b", X, 0, 4);
    let waiter = world.blocked("b", X, 5, u64::MAX);
    world.unlock("a", 5, 9);
    let Granted { file, kind, range, owner, .. } = world.table.take_granted().expect("granted");
    assert_eq!((file, kind, range), (FILE, X, bytes(5, u64::MAX)), "not the merged range");
    assert_eq!(world.table.owner_name(owner), Some((world.owner("b").client, &b"b"[..])));
    assert_eq!(world.held("b"), "X0-");
    assert_eq!(world.table.open_grant(waiter).map(|granted| granted.range), Some(range));
    assert_eq!(world.table.counts().grants, 1);
}

#[test]
fn a_refused_grant_goes_to_the_next_waiter() {
    let (mut world, waiter) = granted_to_b();
    world.table.refuse(waiter);
    assert_eq!((world.granted(), world.held("b")), ("c".into(), "".into()));
    world.table.refuse(waiter);
    world.table.refuse(WaiterId::from_number(77));
    assert_eq!(world.held("c"), "X0-9");
}

#[test]
fn an_accepted_grant_cannot_be_refused_any_more() {
    let (mut world, waiter) = granted_to_b();
    world.table.accept(waiter);
    assert_eq!(world.table.open_grant(waiter), None);
    world.table.refuse(waiter);
    assert_eq!((world.granted(), world.held("b")), ("".into(), "X0-9".into()));
}

#[test]
fn refusing_unlocks_the_range_of_the_request_only() {
    let mut world = World::new();
    world.lock("a", X, 5, 9);
    world.lock("b", X, 0, 4);
    world.lock("b", X, 10, 14);
    let waiter = world.blocked("b", X, 4, 10);
    world.unlock("a", 5, 9);
    assert_eq!((world.granted(), world.held("b")), ("b".into(), "X0-14".into()));
    world.table.refuse(waiter);
    assert_eq!(world.held("b"), "X0-3 X11-14", "as Linux lockd does");
}

#[test]
fn cancelling_what_was_just_granted_gives_it_back() {
    let (mut world, waiter) = granted_to_b();
    assert_eq!(world.cancel("b", X, 0, 9), Some(waiter));
    assert_eq!((world.granted(), world.held("b")), ("c".into(), "".into()));
}

#[test]
fn a_client_that_asked_again_has_its_answer() {
    let (mut world, waiter) = granted_to_b();
    // Its request crossed our callback, and its lock manager will refuse the callback: nothing waits there.
    assert_eq!(world.wait(FILE, "b", X, 0, 9), Outcome::Granted);
    assert_eq!(world.table.open_grant(waiter), None);
    world.table.refuse(waiter);
    assert_eq!(world.held("b"), "X0-9");
}

#[test]
fn an_unlock_wins_over_the_grant() {
    let (mut world, waiter) = granted_to_b();
    world.unlock("b", 0, 4);
    assert!(world.table.open_grant(waiter).is_some(), "some of it is held");
    world.unlock("b", 5, 9);
    assert_eq!(world.table.open_grant(waiter), None);
    assert_eq!(world.granted(), "c");
    world.table.refuse(waiter);
    assert_eq!(world.held("c"), "X0-9");
}

#[test]
fn refusing_does_not_take_what_the_owner_locked_since() {
    let (mut world, waiter) = granted_to_b();
    assert_eq!(world.lock("b", S, 5, 14), Outcome::Granted);
    assert!(world.table.open_grant(waiter).is_some(), "the waiting thread still has to be told");
    world.table.refuse(waiter);
    assert_eq!(world.held("b"), "X0-4 S5-14");
}

#[test]
fn what_was_withdrawn_before_it_was_taken_is_not_told() {
    let mut world = World::new();
    world.lock("a", X, 0, 9);
    world.blocked("b", X, 0, 9);
    world.blocked("c", X, 0, 9);
    world.unlock("a", 0, 9);
    world.unlock("b", 0, 9);
    assert_eq!(world.granted(), "c");
}

#[test]
fn grants_come_in_order_over_files() {
    let mut world = World::new();
    world.lock("a", X, 0, 9);
    assert_eq!(world.wait(OTHER, "a", X, 0, 9), Outcome::Granted);
    assert!(matches!(world.wait(OTHER, "b", X, 0, 9), Outcome::Blocked(_)));
    world.blocked("c", X, 0, 9);
    world.unlock("a", 0, 9);
    world.unlock_in(OTHER, "a", 0, 9);
    assert_eq!(world.granted(), "cb");
}
