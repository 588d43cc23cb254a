//! NLM: locks of several clients, callbacks to their lock managers, and all that can go wrong with them.

mod common;

use common::locking::*;
use common::*;
use keelson_nfs_server::NLM_PROGRAM;

const EXPORT: &str = "/ *(rw,no_root_squash)";

/// A server, a file, and three hosts.
struct Scene {
    world: World,
    file: Vec<u8>,
}

const A: &str = "10.0.0.2:900";
const B: &str = "10.0.0.3:900";
const C: &str = "10.0.0.4:900";

impl Scene {
    fn new() -> Scene {
        let world = World::new(EXPORT);
        let file = world.client(0).file("file");
        Scene { world, file }
    }

    fn client(&self, from: &str) -> Client<'_> {
        self.world.client_at(from, 0)
    }

    fn host(&self, address: &str, lockd: Lockd) -> Host {
        Host::new(&self.world, address, lockd)
    }

    fn want(&self, svid: u32) -> Want {
        Want::of(&self.file, svid)
    }

    fn now(&self) -> u64 {
        self.world.executor.handle().now().as_millis()
    }

    /// A has the file and B waits for it.
    fn contended(&self) {
        assert_eq!(self.client(A).lock(&self.want(1)), GRANTED);
        assert_eq!(self.client(B).lock(&self.want(2).blocking()), BLOCKED);
    }

    fn holder(&self) -> Option<u32> {
        self.client("10.0.0.9:900").test(4, &self.want(99)).expect("tested").map(|holder| holder.svid)
    }
}

#[test]
fn a_waiter_is_called_back_with_its_own_bytes() {
    let scene = Scene::new();
    let host = scene.host("10.0.0.3", Lockd::Takes);
    scene.contended();
    scene.world.pass(5);
    assert_eq!(host.callbacks(), []);
    let freed = scene.now();
    assert_eq!(scene.client(A).unlock(&scene.want(1)), GRANTED);
    assert_eq!(scene.holder(), Some(2), "before the callback was sent");
    scene.world.pass(300);
    let callbacks = host.callbacks();
    assert_eq!(callbacks.len(), 1, "{callbacks:?}");
    let call = &callbacks[0];
    assert_eq!((call.version, call.from.ip(), call.at), (4, server_at(0).ip(), freed));
    assert!(call.from.port() < 1024, "{}", call.from);
    // Everything behind the cookie is the request's.
    let wanted = scene.want(2).lock(4, Args::default().u32(1)).0;
    assert!(call.args.ends_with(&wanted) && call.args.len() == wanted.len() + 12, "{:?}", call.args);
    let counters = scene.world.server.counters();
    assert_eq!((counters.nlm.callbacks.get(), counters.nlm.accepted.get()), (1, 1));
    assert_eq!((counters.locks.locks, counters.locks.waiters, counters.locks.grants), (1, 0, 0));
    assert_eq!(scene.client(B).unlock(&scene.want(2)), GRANTED);
    assert_eq!(scene.holder(), None);
}

#[test]
fn a_callback_leaves_from_the_address_that_was_called() {
    let scene = Scene::new();
    let other = "10.0.1.1".parse().expect("an address");
    scene.world.network.alias(other, server_at(0).ip());
    let host = scene.host("10.0.0.3", Lockd::Takes);
    assert_eq!(scene.client(A).lock(&scene.want(1)), GRANTED);
    let want = scene.want(2).blocking();
    let status = locking_at(&scene.world, "10.0.1.1:32803", &want);
    assert_eq!(status, BLOCKED);
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(5);
    let from: Vec<_> = host.callbacks().iter().map(|call| call.from.ip()).collect();
    assert_eq!(from, [other]);
}

/// LOCK of version 4 over UDP from 10.0.0.3 to any address.
fn locking_at(world: &World, server: &str, want: &Want) -> u32 {
    use keelson_oncrpc::client::{DatagramClient, Target};
    use keelson_oncrpc::{AuthSys, Credential};
    let socket = world.network.bind("10.0.0.3:901".parse().expect("an address"));
    let server = server.parse().expect("an address");
    let mut client = DatagramClient::new(world.executor.handle(), socket, server, 4096, 5);
    let args = want.args(4, 2);
    let results = world.run(async move {
        let credential = Credential::Sys(AuthSys::new(b"client", 0, 0, &[]));
        let target = Target { program: NLM_PROGRAM, version: 4, procedure: 2, credential };
        let patience = std::time::Duration::from_secs(5);
        client.call(target, patience, |out| out.fixed(&args.0)).await.expect("results").remaining().to_vec()
    });
    *results.last().expect("a status") as u32
}

#[test]
fn a_callback_that_fails_is_repeated_until_it_arrives() {
    let scene = Scene::new();
    let host = scene.host("10.0.0.3", Lockd::Silent);
    scene.contended();
    let freed = scene.now();
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(45);
    // One try is sent at 0, 1, 3 and 7 s and given up at 10; the next one goes over TCP.
    assert_eq!(host.called_at(freed), [0, 1, 3, 7, 20, 40, 41, 43]);
    scene.world.pass(600);
    assert_eq!(scene.holder(), Some(2), "it may have seen the callback");
    host.lockd(Lockd::Takes);
    scene.world.pass(300);
    let counters = scene.world.server.counters().nlm;
    assert_eq!((counters.accepted.get(), counters.withdrawn.get()), (1, 0));
    let calls = host.callbacks().len();
    scene.world.pass(300);
    assert_eq!(host.callbacks().len(), calls, "and then no more");
}

#[test]
fn a_callback_without_result_is_repeated_after_a_minute() {
    let scene = Scene::new();
    let host = scene.host("10.0.0.3", Lockd::Forgets);
    scene.contended();
    let freed = scene.now();
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(150);
    assert_eq!(host.called_at(freed), [0, 60, 120]);
    assert_eq!(scene.holder(), Some(2));
}

#[test]
fn a_host_in_its_own_grace_period_is_asked_again_soon() {
    let scene = Scene::new();
    let host = scene.host("10.0.0.3", Lockd::Answers(DENIED_GRACE_PERIOD));
    scene.contended();
    let freed = scene.now();
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(25);
    host.lockd(Lockd::Takes);
    scene.world.pass(100);
    assert_eq!(host.called_at(freed), [0, 10, 20, 30]);
}

#[test]
fn what_a_host_does_not_want_goes_to_the_next() {
    let scene = Scene::new();
    let _declines = scene.host("10.0.0.3", Lockd::Answers(DENIED));
    let next = scene.host("10.0.0.4", Lockd::Takes);
    scene.contended();
    assert_eq!(scene.client(C).lock(&scene.want(3).blocking()), BLOCKED);
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(2);
    assert_eq!(scene.holder(), Some(3));
    assert_eq!(next.callbacks().len(), 1);
    let counters = scene.world.server.counters().nlm;
    assert_eq!((counters.accepted.get(), counters.declined.get()), (1, 1));
}

#[test]
fn a_lock_for_a_host_that_is_not_there_goes_to_the_next_after_a_minute() {
    for gone in [true, false] {
        let scene = Scene::new();
        let host = scene.host("10.0.0.3", Lockd::Takes);
        if gone {
            host.unplug();
        } else {
            host.unregister(NLM_PROGRAM, 17);
            host.unregister(NLM_PROGRAM, 6);
        }
        let next = scene.host("10.0.0.4", Lockd::Takes);
        scene.contended();
        assert_eq!(scene.client(C).lock(&scene.want(3).blocking()), BLOCKED);
        scene.client(A).unlock(&scene.want(1));
        scene.world.pass(59);
        assert_eq!(scene.holder(), Some(2), "it may ask again by itself");
        scene.world.pass(31);
        assert_eq!((scene.holder(), next.callbacks().len()), (Some(3), 1));
        assert_eq!(host.callbacks(), []);
        assert_eq!(scene.world.server.counters().nlm.withdrawn.get(), 1);
    }
}

#[test]
fn who_asks_again_has_its_answer_and_is_not_called_any_more() {
    let scene = Scene::new();
    let host = scene.host("10.0.0.3", Lockd::Silent);
    scene.contended();
    assert_eq!(scene.client(B).lock(&scene.want(2).blocking()), BLOCKED, "found, not added");
    assert_eq!(scene.world.server.counters().locks.waiters, 1);
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(12);
    let calls = host.callbacks().len();
    assert_eq!(scene.client(B).lock(&scene.want(2).blocking()), GRANTED);
    scene.world.pass(200);
    assert_eq!(host.callbacks().len(), calls);
    assert_eq!(scene.holder(), Some(2));
}

#[test]
fn a_cancelled_wait_is_over() {
    let scene = Scene::new();
    let host = scene.host("10.0.0.3", Lockd::Takes);
    scene.contended();
    // Another range, another kind: not that wait.
    assert_eq!(scene.client(B).cancel(&scene.want(2).range(0, 11)), DENIED);
    assert_eq!(scene.client(B).cancel(&scene.want(2).shared()), DENIED);
    assert_eq!(scene.client(C).cancel(&scene.want(2)), DENIED, "another host");
    assert_eq!(scene.client(B).cancel(&scene.want(2)), GRANTED);
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(100);
    assert_eq!((scene.holder(), host.callbacks()), (None, vec![]));
}

#[test]
fn a_wait_cancelled_after_its_grant_gives_the_lock_back() {
    let scene = Scene::new();
    let host = scene.host("10.0.0.3", Lockd::Silent);
    let next = scene.host("10.0.0.4", Lockd::Takes);
    scene.contended();
    assert_eq!(scene.client(C).lock(&scene.want(3).blocking()), BLOCKED);
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(1);
    assert_eq!(scene.holder(), Some(2));
    assert_eq!(scene.client(B).cancel(&scene.want(2)), GRANTED);
    scene.world.pass(1);
    assert_eq!((scene.holder(), next.callbacks().len()), (Some(3), 1));
    let calls = host.callbacks().len();
    // The answer of a host that saw the callback all the same changes nothing.
    scene.world.pass(100);
    assert!(host.callbacks().len() <= calls + 2, "the try under way ends");
    assert_eq!(scene.holder(), Some(3));
}

#[test]
fn an_unlock_ends_the_callback() {
    let scene = Scene::new();
    let host = scene.host("10.0.0.3", Lockd::Forgets);
    scene.contended();
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(1);
    assert_eq!(scene.client(B).unlock(&scene.want(2)), GRANTED);
    assert_eq!(scene.client(A).lock(&scene.want(1)), GRANTED);
    scene.world.pass(200);
    assert_eq!((host.callbacks().len(), scene.holder()), (1, Some(1)));
}

#[test]
fn a_host_without_message_form_answers_in_its_reply() {
    let scene = Scene::new();
    let host = scene.host("10.0.0.3", Lockd::SynchronousOnly);
    scene.contended();
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(200);
    assert_eq!((host.callbacks().len(), host.heard(NLM_PROGRAM, 5).len()), (1, 1));
    assert_eq!(scene.world.server.counters().nlm.accepted.get(), 1);
}

#[test]
fn a_host_with_tcp_only_is_called_there() {
    let scene = Scene::new();
    let host = scene.host("10.0.0.3", Lockd::Takes);
    host.unregister(NLM_PROGRAM, 17);
    scene.contended();
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(2);
    assert_eq!(host.callbacks().len(), 1);
    assert_eq!(scene.world.server.counters().nlm.accepted.get(), 1);
}

#[test]
fn a_host_with_ipv6_is_found_by_rpcbind_version_4() {
    for tcp_only in [false, true] {
        let scene = Scene::new();
        let host = scene.host("fd00::3", Lockd::Takes);
        if tcp_only {
            host.unregister(NLM_PROGRAM, 17);
        }
        assert_eq!(scene.client(A).lock(&scene.want(1)), GRANTED);
        assert_eq!(scene.client("[fd00::3]:900").lock(&scene.want(2).blocking()), BLOCKED);
        scene.client(A).unlock(&scene.want(1));
        scene.world.pass(2);
        assert_eq!(host.callbacks().len(), 1);
        assert_eq!(scene.world.server.counters().nlm.accepted.get(), 1);
    }
}

#[test]
fn a_silent_host_delays_no_other() {
    let scene = Scene::new();
    let _silent = scene.host("10.0.0.3", Lockd::Silent);
    let quick = scene.host("10.0.0.4", Lockd::Takes);
    let all = |svid| scene.want(svid).shared();
    assert_eq!(scene.client(A).lock(&scene.want(1)), GRANTED);
    for svid in 10..20 {
        assert_eq!(scene.client(B).lock(&all(svid).blocking()), BLOCKED);
    }
    for svid in 20..30 {
        assert_eq!(scene.client(C).lock(&all(svid).blocking()), BLOCKED);
    }
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(1);
    assert_eq!(quick.callbacks().len(), 10);
    assert_eq!(scene.world.server.counters().nlm.accepted.get(), 10);
}

#[test]
fn a_forged_result_changes_nothing() {
    let scene = Scene::new();
    let host = scene.host("10.0.0.3", Lockd::Forgets);
    scene.contended();
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(1);
    let cookie = host.callbacks()[0].args[4..12].to_vec();
    let deny = |from: &str, cookie: &[u8]| {
        let args = Args::default().opaque(cookie).u32(DENIED);
        scene.client(from).nlm_call(4, 15, args).expect("results").end();
    };
    deny(C, &cookie);
    deny(B, b"");
    deny(B, &[0; 8]);
    deny(B, &[0; 1024]);
    assert_eq!(scene.holder(), Some(2));
    assert_eq!(scene.world.server.counters().nlm.stray_results.get(), 4);
    deny(B, &cookie);
    assert_eq!(scene.holder(), None);
}

#[test]
fn message_forms_are_answered_by_calls() {
    for version in [1, 3, 4] {
        let scene = Scene::new();
        let host = scene.host("10.0.0.3", Lockd::Takes);
        let client = scene.client(B);
        let send = |procedure, want: &Want| {
            client.nlm_call(version, procedure, want.args(version, procedure)).expect("results").end();
            scene.world.pass(1);
            let answers = host.heard(NLM_PROGRAM, procedure + 5);
            let last = answers.last().expect("an answer");
            assert_eq!((last.version, last.from.ip()), (version, server_at(0).ip()));
            let mut results = Results::of(&last.args);
            assert_eq!(results.opaque(), want.cookie);
            results
        };
        let status = |procedure, want: &Want| send(procedure, want).u32();
        assert_eq!(status(7, &scene.want(2)), GRANTED);
        assert_eq!(status(7, &scene.want(3)), DENIED);
        assert_eq!(status(7, &scene.want(3).blocking()), BLOCKED);
        assert_eq!(status(8, &scene.want(3)), GRANTED);
        let mut results = send(6, &scene.want(3));
        let holder = test_result(version, &mut results).expect("tested").expect("a holder");
        assert_eq!((holder.svid, holder.owner, holder.length), (2, b"2@client".to_vec(), 10));
        assert_eq!(status(9, &scene.want(2)), GRANTED);
        assert_eq!(status(6, &scene.want(3)), GRANTED);
        // We wait for nothing, so a callback to us finds nobody.
        assert_eq!(status(10, &scene.want(3)), DENIED);
        let mut results = client.nlm_call(version, 5, scene.want(3).args(version, 5)).expect("results");
        assert_eq!((results.opaque(), results.u32()), (scene.want(3).cookie, DENIED));
        for procedure in 11..15 {
            client.nlm_call(version, procedure, Args::default().u32(0).u32(0)).expect("results").end();
        }
    }
}

#[test]
fn every_version_locks_the_same_bytes() {
    let scene = Scene::new();
    for (version, host) in [(1, A), (3, B), (4, C)] {
        let client = scene.client(host);
        let want = scene.want(1).range(100, 50);
        assert_eq!(client.nlm(version, 2, &want), GRANTED);
        for other in [1, 3, 4] {
            let blocked = scene.client("10.0.0.9:900").test(other, &scene.want(2).range(149, 1));
            let holder = blocked.expect("tested").expect("a holder");
            assert_eq!((holder.offset, holder.length, holder.svid), (100, 50, 1), "{version} {other}");
            assert_eq!(scene.client("10.0.0.9:900").test(other, &scene.want(2).range(150, 1)), Ok(None));
            assert_eq!(scene.client("10.0.0.9:900").nlm(other, 2, &want), DENIED);
        }
        assert_eq!(client.nlm(version, 4, &want), GRANTED);
    }
}

#[test]
fn ranges_beyond_32_bits_are_told_as_far_as_they_go() {
    let scene = Scene::new();
    let four_gib = 1 << 32;
    assert_eq!(scene.client(A).lock(&scene.want(1).range(four_gib - 10, 20)), GRANTED);
    let holder =
        scene.client(B).test(1, &scene.want(2).range(four_gib - 1, 1)).expect("tested").expect("one");
    assert_eq!((holder.offset, holder.length), (four_gib - 10, 20));
    assert_eq!(scene.client(A).unlock(&scene.want(1).range(0, 0)), GRANTED);
    assert_eq!(scene.client(A).lock(&scene.want(1).range(four_gib * 2, 0)), GRANTED);
    // To the end, from there on.
    let holder = scene.client(B).test(3, &scene.want(2).range(5, 0)).expect("tested").expect("one");
    assert_eq!((holder.offset, holder.length), (u32::MAX.into(), 0));
    // The largest range of 32 bits reaches into bytes beyond them.
    assert_eq!(scene.client(A).unlock(&scene.want(1).range(0, 0)), GRANTED);
    let largest = scene.want(2).range(u64::from(u32::MAX), u64::from(u32::MAX));
    assert_eq!(scene.client(B).nlm(3, 2, &largest), GRANTED);
    let holder = scene.client(A).test(4, &scene.want(1).range(0, 0)).expect("tested").expect("one");
    assert_eq!((holder.offset, holder.length), (u32::MAX.into(), u32::MAX.into()));
    // Bytes to the end, and ranges that wrap.
    assert_eq!(scene.client(A).lock(&scene.want(1).range(u64::MAX, 2)), NLM_FBIG);
    assert_eq!(scene.client(A).unlock(&scene.want(1).range(2, u64::MAX)), NLM_FBIG);
    assert_eq!(scene.client(A).test(4, &scene.want(1).range(2, u64::MAX)), Err(NLM_FBIG));
}

#[test]
fn a_waiter_of_version_3_is_called_back_in_version_3() {
    let scene = Scene::new();
    let host = scene.host("10.0.0.3", Lockd::Takes);
    assert_eq!(scene.client(A).lock(&scene.want(1)), GRANTED);
    let want = scene.want(2).blocking().range(5, 0);
    assert_eq!(scene.client(B).nlm(3, 2, &want), BLOCKED);
    scene.client(A).unlock(&scene.want(1));
    scene.world.pass(1);
    let callbacks = host.callbacks();
    assert_eq!((callbacks.len(), callbacks[0].version), (1, 3));
    assert!(callbacks[0].args.ends_with(&want.lock(3, Args::default().u32(1)).0));
    assert_eq!(scene.world.server.counters().nlm.accepted.get(), 1);
}

#[test]
fn older_versions_hear_statuses_they_know() {
    let scene = Scene::new();
    let client = scene.client(A);
    let stale = Want { file: vec![0; 32], ..scene.want(1) };
    assert_eq!((client.lock(&stale), client.nlm(3, 2, &stale)), (STALE_FH, DENIED_NOLOCKS));
    // Each waits for the other.
    let second = |svid| scene.want(svid).range(100, 10);
    assert_eq!(client.lock(&scene.want(1)), GRANTED);
    assert_eq!(client.lock(&second(2)), GRANTED);
    assert_eq!(client.lock(&second(1).blocking()), BLOCKED);
    assert_eq!(client.lock(&scene.want(2).blocking()), DEADLCK);
    assert_eq!(client.nlm(1, 2, &scene.want(2).blocking()), DENIED);
}

#[test]
fn shares_keep_out_what_they_deny() {
    let scene = Scene::new();
    let (a, b) = (scene.client(A), scene.client(B));
    let share = |client: &Client<'_>, deny, access| client.share(20, &scene.file, "o", deny, access);
    assert_eq!(share(&a, 2, 1), GRANTED, "reads, and nobody else may write");
    assert_eq!(share(&b, 0, 2), DENIED);
    assert_eq!(share(&b, 1, 1), DENIED, "A reads already");
    assert_eq!(share(&b, 0, 1), GRANTED);
    assert_eq!(share(&a, 3, 1), DENIED, "B reads");
    assert_eq!(a.share(21, &scene.file, "o", 2, 1), GRANTED);
    assert_eq!(share(&b, 0, 2), GRANTED);
    assert_eq!(b.share(21, &scene.file, "never", 0, 0), GRANTED, "nothing to give up");
    assert_eq!(scene.world.server.counters().locks.shares, 1);
    // They are of version 3; locks do not look at them.
    let args = Args::default().opaque("c").opaque("pc").opaque(&scene.file).opaque("o").u32(0).u32(0).u32(0);
    assert!(b.nlm_call(1, 20, args.clone()).is_err());
    assert!(b.nlm_call(4, 20, args).is_ok());
    assert_eq!(a.lock(&scene.want(1)), GRANTED);
}

#[test]
fn free_all_frees_all_of_the_caller_and_nothing_else() {
    let scene = Scene::new();
    let waits = scene.host("10.0.0.3", Lockd::Takes);
    scene.contended();
    assert_eq!(scene.client(B).lock(&scene.want(7).range(50, 1)), GRANTED);
    assert_eq!(scene.client(A).share(20, &scene.file, "o", 0, 1), GRANTED);
    scene.client("10.0.0.2:5000").free_all();
    assert_eq!(scene.holder(), Some(1), "any user of that host could send this");
    scene.client(C).free_all();
    assert_eq!(scene.holder(), Some(1));
    scene.client(A).free_all();
    assert_eq!(scene.holder(), Some(2));
    scene.world.pass(1);
    assert_eq!(waits.callbacks().len(), 1);
    let counts = scene.world.server.counters().locks;
    assert_eq!((counts.locks, counts.shares), (2, 0));
}

#[test]
fn only_who_may_use_the_file_may_lock_it() {
    let exports = "/ 10.0.0.0/29(rw,no_root_squash) 10.0.0.64/29(rw,insecure,all_squash)";
    let world = World::new(exports);
    let root = world.client(0);
    let file = root.file("file");
    let dir = root.mount("/").expect("mounted");
    let secret = root.create(&dir, "secret").expect("made");
    root.setattr(&secret, Args::default().sattr(Some(0o600), None), None);
    let lock = |from: &str, uid, file: &[u8]| world.client_at(from, uid).lock(&Want::of(file, 1));
    assert_eq!(lock("10.0.0.2:5000", 0, &file), FAILED, "illegal port");
    assert_eq!(lock("10.0.0.99:900", 0, &file), FAILED, "not exported to it");
    assert_eq!(lock("10.0.0.2:900", 0, &dir), FAILED, "a directory");
    assert_eq!(lock("10.0.0.2:900", 1000, &secret), FAILED, "neither reads nor writes it");
    assert_eq!(lock("10.0.0.66:5000", 0, &secret), FAILED, "squashed");
    assert_eq!(lock("10.0.0.2:900", 0, &secret), GRANTED);
    assert_eq!(lock("10.0.0.66:5000", 0, &file), GRANTED);
    assert_eq!(world.client_at("10.0.0.2:900", 0).lock(&Want::of(b"short", 1)), STALE_FH);
    let mut forged = file.clone();
    forged[13] ^= 1;
    assert_eq!(lock("10.0.0.2:900", 0, &forged), STALE_FH);
    // What is held can be given up when the rights are gone.
    root.setattr(&file, Args::default().sattr(Some(0o600), None), None);
    assert_eq!(world.client_at("10.0.0.66:5000", 0).unlock(&Want::of(&file, 1)), GRANTED);
    assert_eq!(lock("10.0.0.66:5000", 0, &file), FAILED);
    // A removed file has no locks.
    assert_eq!(root.remove(12, &dir, "secret"), OK);
    assert_eq!(lock("10.0.0.2:900", 0, &secret), STALE_FH);
    assert_eq!(world.server.counters().locks.locks, 0);
    assert_eq!(root.unlock(&Want::of(&secret, 1)), GRANTED);
}

#[test]
fn owners_are_told_apart_by_host_process_and_bytes() {
    let scene = Scene::new();
    assert_eq!(scene.client(A).lock(&scene.want(1)), GRANTED);
    assert_eq!(scene.client(A).lock(&scene.want(1)), GRANTED, "its own");
    let other = Want { svid: 2, ..scene.want(1) };
    assert_eq!(scene.client(A).lock(&other), DENIED);
    let other = Want { owner: b"other".to_vec(), ..scene.want(1) };
    assert_eq!(scene.client(A).lock(&other), DENIED);
    assert_eq!(scene.client(B).lock(&scene.want(1)), DENIED);
    assert_eq!(scene.client(B).unlock(&scene.want(1)), GRANTED, "never fails");
    assert_eq!(scene.holder(), Some(1));
    // Another port of the same host is the same host.
    assert_eq!(scene.client("10.0.0.2:800").unlock(&scene.want(1)), GRANTED);
    assert_eq!(scene.holder(), None);
}

#[test]
fn limits_of_names_hold() {
    let scene = Scene::new();
    let want =
        Want { owner: vec![7; 1024], caller: vec![b'x'; 1024], cookie: vec![9; 1024], ..scene.want(1) };
    let host = scene.host("10.0.0.3", Lockd::Takes);
    assert_eq!(scene.client(A).lock(&want), GRANTED);
    let waiting = Want { svid: 2, ..want.clone() }.blocking();
    assert_eq!(scene.client(B).lock(&waiting), BLOCKED);
    let holder = scene.client(B).test(4, &waiting).expect("tested").expect("a holder");
    assert_eq!(holder.owner, vec![7; 1024]);
    scene.client(A).unlock(&want);
    scene.world.pass(1);
    assert!(host.callbacks()[0].args.ends_with(&waiting.lock(4, Args::default().u32(1)).0));
    let long = Want { owner: vec![7; 1025], ..want };
    assert!(scene.client(A).nlm_call(4, 2, long.args(4, 2)).is_err());
}

#[test]
fn the_operator_sees_locks_and_can_take_them() {
    let scene = Scene::new();
    let _host = scene.host("10.0.0.3", Lockd::Takes);
    scene.contended();
    let text = scene.world.server.locks();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("1: POSIX  ADVISORY  WRITE 1 "), "{text}");
    assert!(lines[0].ends_with(" 0 9 1@client 10.0.0.2 (client)"), "{text}");
    assert!(lines[1].starts_with("1: -> POSIX  ADVISORY  WRITE 2 "), "{text}");
    assert!(lines[2].starts_with("1 locks, 1 waiting"), "{text}");
    assert!(scene.world.server.lock_hosts().contains("10.0.0.2 client state 1 at 10.0.0.1"));
    assert!(scene.world.server.unlock_host("10.0.0.77").contains("has no locks here"));
    assert!(scene.world.server.unlock_host("10.0.0.2").contains("1 locks"));
    scene.world.pass(1);
    assert_eq!(scene.holder(), Some(2));
}

#[test]
fn the_programs_are_announced() {
    let scene = Scene::new();
    let client = Client { port: 111, ..scene.client(A) };
    let mut results = client.call([100_000, 2, 4], Args::default()).expect("results");
    let mut found = Vec::new();
    while results.bool() {
        found.push((results.u32(), results.u32(), results.u32(), results.u32()));
    }
    for protocol in [6, 17] {
        for version in [1, 3, 4] {
            assert!(found.contains(&(NLM_PROGRAM, version, protocol, NLM_PORT.into())));
        }
        assert!(found.contains(&(100_024, 1, protocol, STATD_PORT.into())));
    }
}
