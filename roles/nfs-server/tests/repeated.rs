//! Clients that did not get a reply and call again: nothing happens twice.

mod common;

use common::locking::*;
use common::*;

const MKDIR: [u32; 3] = [100_003, 3, 9];
const REMOVE: [u32; 3] = [100_003, 3, 12];
const RENAME: [u32; 3] = [100_003, 3, 14];
const LOOKUP: [u32; 3] = [100_003, 3, 3];

/// The status of a call under a number, on a connection of its own.
fn status(client: &Client<'_>, xid: u32, program: [u32; 3], args: &Args) -> u32 {
    client.call_as(xid, program, args.clone()).expect("results").u32()
}

#[test]
fn what_succeeded_succeeds_again_and_happened_once() {
    let world = World::new("/ *(rw,no_root_squash)");
    let client = world.client(0);
    let root = client.mount("/").unwrap();
    let name = |name| Args::default().opaque(&root).opaque(name);
    let made = Args([name("a").0, Args::default().sattr(Some(0o755), None).0].concat());
    assert_eq!([status(&client, 1, MKDIR, &made), status(&client, 1, MKDIR, &made)], [OK, OK]);
    assert_eq!(status(&client, 2, MKDIR, &made), EXIST, "another call");

    let moved = Args([name("a").0, name("b").0].concat());
    assert_eq!([status(&client, 3, RENAME, &moved), status(&client, 3, RENAME, &moved)], [OK, OK]);
    assert_eq!(status(&client, 4, RENAME, &moved), NOENT);

    client.create(&root, "c").unwrap();
    assert_eq!(status(&client, 5, REMOVE, &name("c")), OK);
    // Somebody else takes the name before the repetition comes.
    client.create(&root, "c").unwrap();
    assert_eq!(status(&client, 5, REMOVE, &name("c")), OK);
    assert!(client.lookup(&root, "c").is_ok(), "the new file is there");

    let counters = world.server.counters().reply_cache;
    assert_eq!((counters.hits.get(), counters.nocache.get()), (3, 0));
}

#[test]
fn a_guard_that_the_first_execution_made_stale_does_not_refuse_the_second() {
    let world = World::new("/ *(rw,no_root_squash)");
    let client = world.client(0);
    let root = client.mount("/").unwrap();
    let file = client.create(&root, "a").unwrap();
    let (seconds, nanos) = client.getattr(&file).unwrap().ctime;
    let args = Args::default().opaque(&file);
    let args = Args([args.0, Args::default().sattr(Some(0o600), None).0].concat());
    let args = args.u32(1).u32(seconds).u32(nanos);
    for (xid, expected) in [(1, OK), (1, OK), (2, NOT_SYNC)] {
        assert_eq!(status(&client, xid, [100_003, 3, 2], &args), expected);
    }
}

#[test]
fn others_and_what_only_reads_are_not_answered_from_memory() {
    let world = World::new("/ *(rw,no_root_squash)");
    let (client, other) = (world.client(0), world.client_at("10.0.0.3:900", 0));
    let root = client.mount("/").unwrap();
    client.create(&root, "a").unwrap();
    let args = Args::default().opaque(&root).opaque("a");
    assert_eq!(status(&client, 1, LOOKUP, &args), OK);
    assert_eq!(status(&client, 2, REMOVE, &args), OK);
    assert_eq!(status(&other, 2, REMOVE, &args), NOENT);
    assert_eq!(status(&client, 1, LOOKUP, &args), NOENT);
}

#[test]
fn over_udp_too() {
    let world = World::new("/ *(rw,no_root_squash)");
    let root = world.client(0).mount("/").unwrap();
    world.client(0).create(&root, "a").unwrap();
    let args = Args::default().opaque(&root).opaque("a");
    // The reply to the first call is lost on the way: the client sends it again by itself.
    world.network.lose_next_reply();
    let status = call_datagram(&world, 2049, REMOVE, args).expect("results").u32();
    assert_eq!(status, OK);
    assert_eq!(world.server.counters().reply_cache.hits.get(), 1);
}

#[test]
fn a_late_write_does_not_bring_back_what_was_overwritten() {
    let world = World::new("/ *(rw,no_root_squash)");
    let client = world.client(0);
    let root = client.mount("/").unwrap();
    let file = client.create(&root, "a").unwrap();
    let write = |xid, data: &str| {
        let args = Args::default().opaque(&file).u64(0).u32(data.len() as u32).u32(0).opaque(data);
        status(&client, xid, [100_003, 3, 7], &args)
    };
    let content = || client.read(&file, 0, 100).unwrap().0;
    assert_eq!([write(1, "old"), write(2, "new"), write(1, "old")], [OK, OK, OK]);
    assert_eq!(content(), b"new");
    assert_eq!(write(3, "old"), OK, "another call");
    assert_eq!(content(), b"old");
}

#[test]
fn late_lock_requests_change_nothing() {
    let world = World::new("/ *(rw,no_root_squash)");
    let file = world.client(0).file("a");
    let client = Client { port: NLM_PORT, ..world.client(0) };
    let nlm = |xid, version, procedure, want: &Want| {
        let mut results = client
            .call_as(xid, [100_021, version, procedure], want.args(version, procedure))
            .expect("results");
        assert_eq!(results.opaque(), want.cookie);
        results.u32()
    };
    let want = Want::of(&file, 1);
    let locks = || world.server.counters().locks.locks;
    for version in [1, 3, 4] {
        let xid = 10 * version;
        // The LOCK comes again after its UNLOCK: nobody would give that one up.
        assert_eq!(nlm(xid, version, 2, &want), GRANTED);
        assert_eq!(nlm(xid + 1, version, 4, &want), GRANTED);
        assert_eq!(nlm(xid, version, 2, &want), GRANTED);
        assert_eq!(locks(), 0, "version {version}");
        // The UNLOCK comes again after another LOCK: somebody else would get that one.
        assert_eq!(nlm(xid + 2, version, 2, &want), GRANTED);
        assert_eq!(nlm(xid + 1, version, 4, &want), GRANTED);
        assert_eq!(locks(), 1, "version {version}");
        assert_eq!(nlm(xid + 3, version, 4, &want), GRANTED);
    }
    let shared = Args::default().opaque("cookie").opaque("pc").opaque(&file).opaque("o").u32(3).u32(1).u32(0);
    for (xid, procedure) in [(51, 20), (52, 21), (51, 20)] {
        client.call_as(xid, [100_021, 3, procedure], shared.clone()).expect("results");
    }
    assert_eq!(world.server.counters().locks.shares, 0);
}
