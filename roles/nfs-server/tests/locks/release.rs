//! Everything of a client or a file goes at once, and owners go by themselves.

use super::*;
use keelson_nfs_server::locks::{Access, Counts, Deny, ShareOutcome};

#[test]
fn a_client_that_restarts_loses_everything_and_others_get_it() {
    let mut world = World::new();
    let client = world.owner("a").client;
    assert!(!world.table.holds_anything(client));
    world.lock("a", X, 0, 9);
    assert_eq!(world.wait(OTHER, "a", X, 0, 9), Outcome::Granted);
    let thread = world.table.owner(client, b"second").expect("owner");
    assert!(matches!(world.table.lock(FILE, thread, X, bytes(0, 9), Wait::Yes), Outcome::Blocked(_)));
    assert_eq!(world.table.share(FILE, thread, Access::Read, Deny::Write), ShareOutcome::Granted);
    world.blocked("b", X, 5, 5);
    assert!(matches!(world.wait(OTHER, "c", S, 0, 0), Outcome::Blocked(_)));
    world.lock("d", S, 20, 20);
    assert!(world.table.holds_anything(client));

    world.table.release_client(client);
    assert!(!world.table.holds_anything(client));
    let granted = world.granted();
    assert!(granted == "bc" || granted == "cb", "never an owner of the client that goes: {granted}");
    let left = Counts { locks: 3, grants: 2, clients: 6, owners: 3, files: 2, ..Counts::default() };
    assert_eq!(world.table.counts(), left);
    assert_eq!(world.lock("a", X, 7, 7), Outcome::Granted, "the client is still known");
}

#[test]
fn a_forgotten_client_is_not_known() {
    let mut world = World::new();
    let client = world.owner("a").client;
    world.lock("a", X, 0, 9);
    let owner = world.table.owner(client, b"a").expect("owner");
    world.table.forget_client(client);
    assert_eq!(world.table.counts(), Counts { clients: 5, ..Counts::default() });
    assert_eq!(world.table.owner(client, b"a"), None);
    assert_eq!(world.table.lock(FILE, owner, S, bytes(0, 0), Wait::Yes), Outcome::Full);
    assert_eq!(world.table.share(FILE, owner, Access::Read, Deny::None), ShareOutcome::Full);
    assert_eq!(world.table.refused().owners, 3);
    let next = world.table.client().expect("a client");
    assert_ne!(next, client, "numbers are not used again at once");
}

#[test]
fn an_open_grant_goes_with_its_client() {
    let mut world = World::new();
    world.lock("a", X, 0, 9);
    let waiter = world.blocked("b", X, 0, 9);
    world.unlock("a", 0, 9);
    let client = world.owner("b").client;
    world.table.release_client(client);
    assert_eq!((world.granted(), world.table.open_grant(waiter)), ("".into(), None));
    assert_eq!(world.table.counts(), Counts { clients: 6, ..Counts::default() });
}

#[test]
fn a_file_that_is_gone_has_no_locks() {
    let mut world = World::new();
    world.lock("a", X, 0, 9);
    world.lock("a", S, 20, 29);
    world.blocked("b", X, 0, 9);
    world.blocked("c", S, 0, 9);
    world.unlock("a", 5, 9);
    let owner = world.table.owner(world.owner("d").client, b"d").expect("owner");
    assert_eq!(world.table.share(FILE, owner, Access::Both, Deny::Both), ShareOutcome::Granted);
    assert_eq!(world.wait(OTHER, "a", X, 3, 3), Outcome::Granted);
    world.table.release_file(FILE);
    assert_eq!(world.granted(), "");
    let left = Counts { locks: 1, clients: 6, owners: 1, files: 1, ..Counts::default() };
    assert_eq!(world.table.counts(), left);
    assert_eq!(world.lock("c", X, 0, u64::MAX), Outcome::Granted);
}

#[test]
fn owners_without_anything_are_forgotten() {
    let mut world = World::new();
    let owners = |world: &World| world.table.counts().owners;
    world.lock("a", X, 0, 9);
    assert_eq!(world.lock("b", X, 0, 9), Outcome::Denied);
    assert_eq!(owners(&world), 1, "denied");
    world.blocked("b", X, 0, 9);
    assert_eq!(owners(&world), 2);
    world.cancel("b", X, 0, 9);
    assert_eq!(owners(&world), 1, "cancelled");
    world.unlock("a", 0, 4);
    assert_eq!(owners(&world), 1);
    world.unlock("a", 5, 9);
    assert_eq!(owners(&world), 0, "unlocked");
    assert_eq!(world.table.counts().files, 0);
    let client = world.owner("a").client;
    for number in 0..10_000u32 {
        world.table.owner(client, &number.to_be_bytes()).expect("owner");
    }
    assert_eq!(owners(&world), 64, "named, and never heard of again");
}

#[test]
fn the_listing_shows_locks_and_waiters() {
    let mut world = World::new();
    world.lock("a", X, 0, 9);
    world.lock("b", S, 20, 29);
    let waiter = world.blocked("b", S, 5, u64::MAX);
    let lines: Vec<_> = world.table.locks().collect();
    assert_eq!(lines.len(), 3);
    let last = lines[2];
    assert_eq!((last.waiter, last.kind, last.range), (Some(waiter), S, bytes(5, u64::MAX)));
    assert_eq!((last.client, last.name, last.file), (world.owner("b").client, &b"b"[..], FILE));
    assert!(lines[..2].iter().all(|line| line.waiter.is_none()));
}
