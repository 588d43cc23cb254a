//! What one owner's requests do to its own locks, and to whom they are denied.

use super::*;

const END: u64 = u64::MAX;

/// Applies requests of one owner, written as `S0-9`, `X5-` or `U3-4`, and returns what it holds then.
fn after(requests: &str) -> String {
    let mut world = World::new();
    for request in requests.split(' ') {
        let (first, last) = request[1..].split_once('-').expect("a range");
        let first = first.parse().expect("a number");
        let last = if last.is_empty() { END } else { last.parse().expect("a number") };
        match &request[..1] {
            "S" => assert_eq!(world.lock("a", S, first, last), Outcome::Granted),
            "X" => assert_eq!(world.lock("a", X, first, last), Outcome::Granted),
            _ => world.unlock("a", first, last),
        }
    }
    world.held("a")
}

#[test]
fn locks_of_one_kind_merge_when_they_touch() {
    assert_eq!(after("S0-9 S10-19"), "S0-19");
    assert_eq!(after("S10-19 S0-9"), "S0-19");
    assert_eq!(after("S0-9 S11-19"), "S0-9 S11-19");
    assert_eq!(after("S0-9 S11-19 S10-10"), "S0-19");
    assert_eq!(after("X0-9 X5-14"), "X0-14");
    assert_eq!(after("X0-99 X5-14"), "X0-99");
    assert_eq!(after("S5-6 S8-9 S11-12 S0-20"), "S0-20");
    assert_eq!(after("S0-9 X10-19"), "S0-9 X10-19");
    assert_eq!(after("X0-9 X10-"), "X0-");
}

#[test]
fn a_lock_replaces_the_other_kind_and_splits_it() {
    assert_eq!(after("S0-9 X3-4"), "S0-2 X3-4 S5-9");
    assert_eq!(after("X0- S10-19"), "X0-9 S10-19 X20-");
    assert_eq!(after("S0-9 X5-14"), "S0-4 X5-14");
    assert_eq!(after("S10-19 X5-14"), "X5-14 S15-19");
    assert_eq!(after("S0-9 X0-9"), "X0-9");
    assert_eq!(after("S0-2 X3-4 S5-9 S3-4"), "S0-9");
    assert_eq!(after("X0-4 S5-9 X10-14 S15- X3-12"), "X0-14 S15-");
}

#[test]
fn unlocking_splits_and_trims() {
    assert_eq!(after("X0-9 U3-4"), "X0-2 X5-9");
    assert_eq!(after("X0-9 U0-4"), "X5-9");
    assert_eq!(after("X0-9 U5-"), "X0-4");
    assert_eq!(after("S0-9 X20-29 S40- U5-44"), "S0-4 S45-");
    assert_eq!(after("S0- U0-"), "");
    assert_eq!(after("S5-6 U0-4 U7-"), "S5-6");
    assert_eq!(after("U0-"), "");
}

#[test]
fn ranges_have_64_bits() {
    assert_eq!(after(&format!("X{}-", END)), format!("X{END}-"));
    assert_eq!(after(&format!("X{}- X{}-{}", END, END - 1, END - 1)), format!("X{}-", END - 1));
    assert_eq!(after(&format!("S0- U{END}-")), format!("S0-{}", END - 1));
    assert_eq!(after(&format!("S0-{} X{END}-", END - 1)), format!("S0-{} X{END}-", END - 1));
    assert_eq!(after(&format!("S0- X{0}-{0}", 1u64 << 63)), {
        format!("S0-{} X{1}-{1} S{2}-", (1u64 << 63) - 1, 1u64 << 63, (1u64 << 63) + 1)
    });
}

#[test]
fn readers_share_and_writers_do_not() {
    let mut world = World::new();
    assert_eq!(world.lock("a", S, 0, 9), Outcome::Granted);
    assert_eq!(world.lock("b", S, 5, 14), Outcome::Granted);
    assert_eq!(world.lock("c", X, 9, 9), Outcome::Denied);
    assert_eq!(world.lock("c", X, 15, 19), Outcome::Granted);
    assert_eq!(world.lock("a", S, 10, 15), Outcome::Denied);
    assert_eq!(world.lock("a", S, 10, 14), Outcome::Granted);
    assert_eq!((world.held("a"), world.held("b"), world.held("c")), {
        ("S0-14".into(), "S5-14".into(), "X15-19".into())
    });
    assert_eq!(world.table.refused().denied, 2);
}

#[test]
fn files_and_owners_are_told_apart() {
    let mut world = World::new();
    let client = world.owner("a").client;
    assert_eq!(world.lock("a", X, 0, END), Outcome::Granted);
    assert!(matches!(world.wait(OTHER, "b", X, 0, END), Outcome::Granted));
    let second = world.table.owner(client, b"another process").expect("owner");
    assert_eq!(world.table.lock(FILE, second, S, bytes(0, 0), Wait::No), Outcome::Denied);
    let second = world.table.owner(client, b"another process").expect("it had nothing and was forgotten");
    assert_eq!(world.table.lock(OTHER, second, S, bytes(0, 0), Wait::No), Outcome::Denied);
    // The same name at another client is another owner.
    let same_name = world.table.owner(world.owner("b").client, b"a").expect("owner");
    assert_eq!(world.table.lock(FILE, same_name, S, bytes(0, 0), Wait::No), Outcome::Denied);
    let other_client = world.owner("b").client;
    world.table.unlock(FILE, other_client, b"a", ByteRange::ALL).expect("nothing to unlock");
    assert_eq!(world.held("a"), "X0-");
}

#[test]
fn an_upgrade_that_fails_leaves_the_old_lock() {
    let mut world = World::new();
    world.lock("a", S, 0, 9);
    world.lock("b", S, 5, 5);
    assert_eq!(world.lock("a", X, 0, 9), Outcome::Denied);
    assert_eq!(world.held("a"), "S0-9");
    let waiter = world.blocked("a", X, 0, 9);
    assert_eq!(world.held("a"), "S0-9");
    // Nobody gets in between: the old lock is there until the new one is.
    assert_eq!(world.lock("c", X, 0, 4), Outcome::Denied);
    world.unlock("b", 5, 5);
    assert_eq!(world.table.take_granted().map(|granted| granted.waiter), Some(waiter));
    assert_eq!(world.held("a"), "X0-9");
}

#[test]
fn a_downgrade_never_waits_and_lets_readers_in() {
    let mut world = World::new();
    world.lock("a", X, 0, 9);
    world.blocked("b", X, 0, 9);
    world.blocked("c", S, 3, 3);
    assert_eq!(world.wait(FILE, "a", S, 0, 9), Outcome::Granted);
    assert_eq!(world.held("a"), "S0-9");
    assert_eq!(world.granted(), "", "the reader came after the writer");
    world.cancel("b", X, 0, 9);
    assert_eq!(world.granted(), "c");
}

#[test]
fn test_names_who_is_in_the_way() {
    let mut world = World::new();
    world.lock("a", S, 0, 9);
    world.lock("a", S, 10, 19);
    let Owner { client, .. } = world.owner("a");
    let holder = Holder { client, name: b"a", kind: S, range: bytes(0, 19) };
    assert_eq!(world.test("b", X, 15, 30), Some(holder));
    assert_eq!(world.test("b", S, 15, 30), None);
    assert_eq!(world.test("b", X, 20, 30), None);
    assert_eq!(world.test("a", X, 0, END), None, "one's own locks are not in the way");
    assert_eq!(world.table.counts().owners, 1, "asking makes no owners");
}

#[test]
fn a_range_the_wrong_way_round_is_refused() {
    let mut world = World::new();
    world.lock("a", S, 5, 5);
    assert_eq!(world.lock("a", X, 9, 3), Outcome::Full);
    world.unlock("a", 9, 3);
    assert_eq!(world.test("b", X, 9, 3), None);
    assert_eq!(world.held("a"), "S5-5");
}
