//! Share reservations.

use super::*;
use keelson_nfs_server::locks::{Access, Deny, ShareOutcome};

fn share(world: &mut World, name: &str, access: Access, deny: Deny) -> ShareOutcome {
    let Owner { client, name } = world.owner(name);
    let owner = world.table.owner(client, name.as_bytes()).expect("owner");
    world.table.share(FILE, owner, access, deny)
}

fn unshare(world: &mut World, name: &str) {
    let Owner { client, name } = world.owner(name);
    world.table.unshare(FILE, client, name.as_bytes());
}

#[test]
fn access_and_denial_exclude_each_other() {
    for pattern in 0..256u32 {
        let part = |shift: u32| pattern >> shift & 3;
        let access = |shift| Access::from_number(part(shift)).expect("0 to 3");
        let deny = |shift| Deny::from_number(part(shift)).expect("0 to 3");
        let mut world = World::new();
        assert_eq!(share(&mut world, "a", access(0), deny(2)), ShareOutcome::Granted);
        let conflict = part(4) & part(2) != 0 || part(6) & part(0) != 0;
        let expected = if conflict { ShareOutcome::Denied } else { ShareOutcome::Granted };
        assert_eq!(share(&mut world, "b", access(4), deny(6)), expected, "{pattern:08b}");
        unshare(&mut world, "a");
        assert_eq!(share(&mut world, "b", access(4), deny(6)), ShareOutcome::Granted);
        assert_eq!(world.table.counts().shares, 1);
    }
    assert_eq!((Access::from_number(4), Deny::from_number(u32::MAX)), (None, None));
}

#[test]
fn an_owner_has_one_reservation_and_may_change_it() {
    let mut world = World::new();
    assert_eq!(share(&mut world, "a", Access::Read, Deny::None), ShareOutcome::Granted);
    assert_eq!(share(&mut world, "b", Access::Read, Deny::None), ShareOutcome::Granted);
    assert_eq!(share(&mut world, "a", Access::Both, Deny::Read), ShareOutcome::Denied, "b reads");
    assert_eq!(
        share(&mut world, "b", Access::Read, Deny::Write),
        ShareOutcome::Granted,
        "a still only reads"
    );
    assert_eq!(share(&mut world, "a", Access::Read, Deny::Write), ShareOutcome::Granted);
    assert_eq!(share(&mut world, "c", Access::Write, Deny::None), ShareOutcome::Denied);
    assert_eq!((world.table.counts().shares, world.table.counts().files), (2, 1));
    assert_eq!(world.table.refused().denied, 2);
    unshare(&mut world, "a");
    unshare(&mut world, "b");
    unshare(&mut world, "b");
    assert_eq!((world.table.counts().shares, world.table.counts().files), (0, 0));
    assert_eq!(world.table.counts().owners, 0);
}

#[test]
fn reservations_and_byte_ranges_are_apart() {
    let mut world = World::new();
    assert_eq!(share(&mut world, "a", Access::Both, Deny::Both), ShareOutcome::Granted);
    assert_eq!(world.lock("b", X, 0, u64::MAX), Outcome::Granted);
    assert!(world.table.holds_anything(world.owner("a").client));
}

#[test]
fn reservations_have_a_limit() {
    let mut world = World::with(Limits { shares: 2, ..Limits::default() });
    for name in ["a", "b"] {
        assert_eq!(share(&mut world, name, Access::Read, Deny::None), ShareOutcome::Granted);
    }
    assert_eq!(share(&mut world, "c", Access::Read, Deny::None), ShareOutcome::Full);
    assert_eq!(
        share(&mut world, "a", Access::Read, Deny::Write),
        ShareOutcome::Granted,
        "in place of its own"
    );
    assert_eq!(world.table.refused().shares, 1);
}
