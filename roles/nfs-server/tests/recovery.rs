//! NSM and the grace period: what survives restarts, who is told, and who loses what.

mod common;

use common::locking::*;
use common::*;
use keelson_nfs_server::{NSM_PROGRAM, ServerConfig, SimulatedCrash};
use keelson_oncrpc::client::CallError;
use keelson_oncrpc::{AcceptStat, ReplyError};
use keelson_volume::memory::{MemoryOptions, Operation};
use keelson_volume::{Volume, VolumeError};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const A: &str = "10.0.0.2:900";
const B: &str = "10.0.0.3:900";
const C: &str = "10.0.0.4:900";

fn config() -> ServerConfig {
    ServerConfig { exports: "/ *(rw,no_root_squash)".into(), ..ServerConfig::default() }
}

fn world() -> (World, Vec<u8>) {
    let world = World::with(config(), MemoryOptions::default());
    let file = world.client(0).file("file");
    // A file that survives a power cut.
    world.client(0).commit(&file).expect("committed");
    (world, file)
}

fn lock(world: &World, from: &str, want: &Want) -> u32 {
    world.client_at(from, 0).lock(want)
}

/// The process that has the first byte; probed as a host that has nothing.
fn holder(world: &World, file: &[u8]) -> Option<u32> {
    let found = world.client_at("10.0.0.9:900", 0).test(4, &Want::of(file, 99));
    found.expect("tested").map(|holder| holder.svid)
}

#[test]
fn the_state_number_is_odd_and_rises_over_stops_and_crashes() {
    let (mut world, _) = world();
    for expected in [1, 3, 5, 7] {
        assert_eq!(world.client(0).server_state(), expected);
        world = if expected % 4 == 1 { world.crash(config()) } else { world.restart(&config().exports) };
    }
}

#[test]
fn there_is_no_grace_period_when_nobody_had_locks() {
    let (world, file) = world();
    assert_eq!(holder(&world, &file), None);
    let world = world.crash(config());
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
}

#[test]
fn a_restart_gives_locks_back_to_who_had_them_and_to_nobody_else() {
    let (world, file) = world();
    let want = |svid| Want::of(&file, svid);
    assert_eq!(lock(&world, A, &want(1)), GRANTED);
    assert_eq!(lock(&world, B, &want(2).range(50, 5)), GRANTED);
    let world = world.crash(config());
    let (a, b) = (Host::new(&world, "10.0.0.2", Lockd::Takes), Host::new(&world, "10.0.0.3", Lockd::Takes));
    // The first notice came before these hosts listened.
    world.pass(3);
    for host in [&a, &b] {
        let notices = host.heard(NSM_PROGRAM, 6);
        assert_eq!(notices.len(), 1);
        assert_eq!(notices[0].from.ip(), server_at(0).ip());
        assert!(notices[0].from.port() < 1024);
        // Without a name of its own the server is known by its address.
        assert_eq!(notices[0].args, Args::default().opaque("10.0.0.1").u32(3).0);
    }
    // Nothing new, not even for those who had something; and nothing for those who had nothing.
    assert_eq!(lock(&world, C, &want(3)), DENIED_GRACE_PERIOD);
    assert_eq!(lock(&world, C, &want(3).reclaim()), DENIED_GRACE_PERIOD);
    assert_eq!(lock(&world, A, &want(1)), DENIED_GRACE_PERIOD);
    assert_eq!(world.client_at(A, 0).nlm(4, 22, &want(1)), DENIED_GRACE_PERIOD, "NM_LOCK");
    assert_eq!(world.client_at(C, 0).test(4, &want(3)), Err(DENIED_GRACE_PERIOD));
    assert_eq!(world.client_at(C, 0).share(20, &file, "o", 0, 1), DENIED_GRACE_PERIOD);
    assert_eq!(world.client_at(A, 0).unlock(&want(1)), DENIED_GRACE_PERIOD, "not reclaimed yet");
    assert_eq!(world.client_at(A, 0).cancel(&want(1)), DENIED);
    // Reclaims, in any version, also repeated, but not over each other.
    assert_eq!(world.client_at(A, 0).nlm(4, 2, &want(1).reclaim()), GRANTED);
    assert_eq!(lock(&world, A, &want(1).reclaim()), GRANTED);
    assert_eq!(lock(&world, B, &want(2).reclaim().blocking()), DENIED, "nothing to wait for");
    assert_eq!(world.client_at(B, 0).nlm(3, 2, &want(2).range(50, 5).reclaim()), GRANTED);
    assert_eq!(world.client_at(A, 0).unlock(&want(1).range(9, 1)), GRANTED, "its own");
    world.pass(85);
    assert_eq!(lock(&world, C, &want(3).range(200, 1)), DENIED_GRACE_PERIOD);
    world.pass(3);
    assert_eq!(lock(&world, C, &want(3).range(200, 1)), GRANTED);
    assert_eq!(lock(&world, C, &want(3)), DENIED, "it was reclaimed");
    assert_eq!(lock(&world, C, &want(3).range(9, 1)), GRANTED);
    assert_eq!(lock(&world, B, &want(2).range(60, 5).reclaim()), DENIED_GRACE_PERIOD, "too late");
}

#[test]
fn the_grace_period_is_as_long_as_configured() {
    for seconds in [0, 20] {
        let (world, file) = world();
        assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
        let config = ServerConfig { grace: Duration::from_secs(seconds), ..config() };
        let world = world.crash(config);
        if seconds > 0 {
            assert_eq!(lock(&world, B, &Want::of(&file, 2)), DENIED_GRACE_PERIOD);
            world.pass(seconds);
        }
        assert_eq!(lock(&world, B, &Want::of(&file, 2)), GRANTED);
    }
}

#[test]
fn the_grace_period_ends_when_nobody_is_left_who_may_reclaim() {
    let (world, file) = world();
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
    assert_eq!(lock(&world, B, &Want::of(&file, 2).range(50, 1)), GRANTED);
    let world = world.crash(config());
    // Both restarted while we were down.
    world.client_at(A, 0).notify("client", 3);
    assert_eq!(lock(&world, C, &Want::of(&file, 3)), DENIED_GRACE_PERIOD);
    assert_eq!(lock(&world, A, &Want::of(&file, 1).reclaim()), DENIED_GRACE_PERIOD);
    world.client_at(B, 0).free_all();
    world.pass(1);
    assert_eq!(lock(&world, C, &Want::of(&file, 3)), GRANTED);
    let world = world.crash(config());
    assert!(world.server.locks().contains("1 hosts may reclaim"), "{}", world.server.locks());
    assert!(world.server.end_grace().contains("ends"));
    world.pass(1);
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
}

#[test]
fn a_second_crash_gives_no_lock_to_who_missed_the_first_grace_period() {
    let (world, file) = world();
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
    // Crashes within the grace period take nothing from A.
    let world = world.crash(config()).crash(config());
    world.pass(80);
    let world = world.crash(config());
    assert_eq!(lock(&world, A, &Want::of(&file, 1).reclaim()), GRANTED);
    // Now A misses one, and B gets the lock.
    let world = world.crash(config());
    world.pass(91);
    assert_eq!(lock(&world, B, &Want::of(&file, 2)), GRANTED);
    let world = world.crash(config());
    assert_eq!(lock(&world, A, &Want::of(&file, 1).reclaim()), DENIED_GRACE_PERIOD);
    assert_eq!(lock(&world, B, &Want::of(&file, 2).reclaim()), GRANTED);
    // It is still told: it must know that its lock is gone.
    assert!(world.server.lock_hosts().contains("10.0.0.2 client state 1 at 10.0.0.1"));
}

#[test]
fn a_host_that_does_not_answer_is_told_again_and_again_for_a_quarter_of_an_hour() {
    let (world, file) = world();
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
    let world = world.crash(config());
    let started = world.executor.handle().now().as_millis();
    let host = Host::new(&world, "10.0.0.2", Lockd::Takes);
    host.unplug();
    world.pass(1000);
    let asked: Vec<_> =
        host.heard(100_000, 3).iter().map(|call| (call.at - started).div_euclid(1000)).collect();
    // Nobody listened yet at 0.
    assert_eq!(asked, [2, 6, 14, 30, 62, 126, 246, 366, 486, 606, 726, 846]);
    let counters = world.server.counters().nsm;
    assert_eq!((counters.told.get(), counters.given_up.get()), (0, 1));
    // It has nothing any more, and is forgotten.
    assert_eq!(world.server.lock_hosts(), "state 3\n");
    let world = world.crash(config());
    assert_eq!(lock(&world, B, &Want::of(&file, 2)), GRANTED);
}

#[test]
fn a_host_that_comes_up_later_is_told_then() {
    let (world, file) = world();
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
    let config = ServerConfig { name: Some("nfs1.example.org".into()), ..config() };
    let world = world.crash(config);
    world.pass(20);
    let host = Host::new(&world, "10.0.0.2", Lockd::Takes);
    assert!(world.server.lock_hosts().contains("not told of the restart yet (4 tries)"));
    world.pass(60);
    let notices: Vec<_> = host.heard(NSM_PROGRAM, 6).into_iter().map(|call| call.args).collect();
    let notice = |name: &str| Args::default().opaque(name).u32(3).0;
    assert_eq!(notices, [notice("nfs1.example.org"), notice("nfs1")]);
    assert!(!world.server.lock_hosts().contains("not told"));
}

#[test]
fn a_notice_leaves_from_the_address_that_the_host_knows() {
    let (world, file) = world();
    let other: std::net::IpAddr = "10.0.1.1".parse().expect("an address");
    world.network.alias(other, server_at(0).ip());
    let stream = world.network.connect(A.parse().expect("an address"), (other, NLM_PORT).into());
    let args = Want::of(&file, 1).args(4, 2);
    use keelson_oncrpc::client::{StreamClient, Target};
    use keelson_oncrpc::{AuthSys, Credential, RpcStream};
    let (reader, writer) = stream.expect("connected").split();
    world.run(async move {
        let credential = Credential::Sys(AuthSys::new(b"client", 0, 0, &[]));
        let target = Target { program: 100_021, version: 4, procedure: 2, credential };
        let mut client = StreamClient::new(reader, writer, 4096, 1);
        client.call(target, |out| out.fixed(&args.0)).await.expect("results");
    });
    let world = world.crash(config());
    world.network.alias(other, server_at(0).ip());
    let host = Host::new(&world, "10.0.0.2", Lockd::Takes);
    world.pass(3);
    let notices = host.heard(NSM_PROGRAM, 6);
    assert_eq!(notices[0].from.ip(), other);
    assert_eq!(notices[0].args, Args::default().opaque("10.0.1.1").u32(3).0);
}

#[test]
fn a_host_s_restart_releases_its_locks_and_wakes_waiters() {
    let (world, file) = world();
    let want = |svid| Want::of(&file, svid);
    let c = Host::new(&world, "10.0.0.4", Lockd::Takes);
    assert_eq!(lock(&world, A, &want(1)), GRANTED);
    assert_eq!(lock(&world, A, &want(7).range(20, 5)), GRANTED);
    assert_eq!(world.client_at(A, 0).share(20, &file, "o", 3, 1), GRANTED);
    assert_eq!(lock(&world, B, &want(2).range(100, 5)), GRANTED);
    assert_eq!(lock(&world, A, &want(1).range(100, 5).blocking()), BLOCKED);
    assert_eq!(lock(&world, C, &want(3).blocking()), BLOCKED);
    world.client_at(A, 0).notify("client", 3);
    world.pass(1);
    assert_eq!((holder(&world, &file), c.callbacks().len()), (Some(3), 1));
    let counts = world.server.counters().locks;
    assert_eq!((counts.locks, counts.waiters, counts.shares), (2, 0, 0), "C's and B's");
    assert_eq!(lock(&world, B, &want(3).range(20, 5)), GRANTED);
    // The same news again, as sm-notify sends it under another name, releases nothing.
    assert_eq!(lock(&world, A, &want(1).range(40, 5).state(3)), GRANTED);
    world.client_at(A, 0).notify("client.example.org", 3);
    assert_eq!(lock(&world, B, &want(2).range(40, 5)), DENIED);
    // Also after our own restart.
    let world = world.crash(config());
    assert_eq!(lock(&world, A, &want(1).range(40, 5).state(3).reclaim()), GRANTED);
    world.client_at(A, 0).notify("client", 3);
    assert_eq!(lock(&world, B, &want(2).range(40, 5).reclaim()), DENIED);
    world.client_at(A, 0).notify("client", 5);
    assert_eq!(lock(&world, B, &want(2).range(40, 5).reclaim()), GRANTED);
}

#[test]
fn a_restart_that_a_lock_request_tells_of_counts_too() {
    let (world, file) = world();
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
    // The host is up again, and its notice is late.
    assert_eq!(lock(&world, A, &Want::of(&file, 2).range(50, 1).state(3)), GRANTED);
    assert_eq!(holder(&world, &file), None);
    world.client_at(A, 0).notify("client", 3);
    assert_eq!(world.server.counters().locks.locks, 1, "it is no news");
    // Behind an address translator several hosts have numbers of their own: no conclusions.
    let other = Want { caller: b"other".to_vec(), ..Want::of(&file, 3).range(60, 1).state(9) };
    assert_eq!(lock(&world, A, &other), GRANTED);
    assert_eq!(world.server.counters().locks.locks, 2);
    // Nor from an older number, or none.
    assert_eq!(lock(&world, A, &Want::of(&file, 2).range(70, 1).state(1)), GRANTED);
    assert_eq!(lock(&world, A, &Want::of(&file, 2).range(80, 1).state(0)), GRANTED);
    assert_eq!(world.server.counters().locks.locks, 4);
}

#[test]
fn a_notice_about_somebody_else_is_ignored() {
    let hosts = "10.0.0.2=client,10.0.5.2=client".to_string();
    let config =
        ServerConfig { hosts: keelson_nfs_server::HostTable::parse(&hosts).expect("a table"), ..config() };
    let world = World::with(config, MemoryOptions::default());
    let file = world.client(0).file("file");
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
    for name in ["client", "10.0.0.2", "nobody", "", "\u{1b}[2J"] {
        world.client_at("10.0.0.66:900", 0).notify(name, 3);
        world.client_at(B, 0).notify(name, 3);
    }
    assert_eq!(holder(&world, &file), Some(1));
    let counters = world.server.counters().nsm;
    assert_eq!((counters.ignored.get(), counters.restarts.get()), (10, 0));
    // Another address of the same host, as the table of hosts says.
    world.client_at("10.0.5.2:900", 0).notify("client", 3);
    assert_eq!(holder(&world, &file), None);
}

#[test]
fn nothing_is_granted_before_the_host_s_record_is_stable() {
    let (world, file) = world();
    world.volume.hold_states();
    // Two requests of one new host at once, and one of another host.
    let replies: Rc<RefCell<Vec<u32>>> = Rc::default();
    let ask = |from: &str, want: Want| {
        use keelson_oncrpc::client::{StreamClient, Target};
        use keelson_oncrpc::{AuthSys, Credential, RpcStream};
        let stream = world.network.connect(from.parse().expect("an address"), server_at(NLM_PORT));
        let (reader, writer) = stream.expect("connected").split();
        let (replies, args) = (replies.clone(), want.args(4, 2));
        world.executor.handle().spawn("client", async move {
            let credential = Credential::Sys(AuthSys::new(b"client", 0, 0, &[]));
            let target = Target { program: 100_021, version: 4, procedure: 2, credential };
            let mut client = StreamClient::new(reader, writer, 4096, 1);
            let results = client.call(target, |out| out.fixed(&args.0)).await.expect("results");
            replies.borrow_mut().push((*results.remaining().last().expect("a status")).into());
        });
    };
    ask(A, Want::of(&file, 1));
    world.pass(1);
    ask("10.0.0.2:901", Want::of(&file, 1).range(50, 1));
    ask(B, Want::of(&file, 2).range(60, 1));
    world.pass(30);
    assert_eq!(*replies.borrow(), []);
    assert_eq!(world.server.counters().locks.locks, 0);
    // The power goes: nobody has anything, and nobody was told otherwise.
    world.volume.release_states();
    world.pass(1);
    assert_eq!(*replies.borrow(), [GRANTED, GRANTED, GRANTED]);
    // A known host waits for nothing.
    world.volume.hold_states();
    assert_eq!(lock(&world, A, &Want::of(&file, 1).range(70, 1)), GRANTED);
    world.volume.release_states();
    let world = world.crash(config());
    assert!(world.server.locks().contains("2 hosts may reclaim"), "{}", world.server.locks());
}

#[test]
fn a_power_cut_before_the_record_is_stable_leaves_no_grace_period() {
    let (world, file) = world();
    world.volume.hold_states();
    let stream = world.network.connect(A.parse().expect("an address"), server_at(NLM_PORT));
    let args = Want::of(&file, 1).args(4, 2);
    world.executor.handle().spawn("client", async move {
        use keelson_oncrpc::client::{StreamClient, Target};
        use keelson_oncrpc::{Credential, RpcStream};
        let (reader, writer) = stream.expect("connected").split();
        let target = Target { program: 100_021, version: 4, procedure: 2, credential: Credential::None };
        let mut client = StreamClient::new(reader, writer, 4096, 1);
        let _ = client.call(target, |out| out.fixed(&args.0)).await;
    });
    world.pass(1);
    world.executor.abort_all();
    world.volume.release_states();
    let world = world.crash(config());
    assert_eq!(lock(&world, B, &Want::of(&file, 2)), GRANTED);
}

#[test]
fn a_host_that_cannot_be_remembered_gets_no_locks() {
    let (world, file) = world();
    let failing = Rc::new(std::cell::Cell::new(VolumeError::Io));
    for error in [VolumeError::Io, VolumeError::NoSpace, VolumeError::ReadOnly] {
        failing.set(error);
        let failing = failing.clone();
        world.volume.set_fault(move |operation| (operation == Operation::State).then(|| failing.get()));
        assert_eq!(lock(&world, A, &Want::of(&file, 1)), DENIED_NOLOCKS);
        assert_eq!(lock(&world, A, &Want::of(&file, 1)), DENIED_NOLOCKS, "still not");
        assert_eq!(world.client_at(A, 0).nlm(4, 22, &Want::of(&file, 9)), GRANTED, "NM_LOCK is not recorded");
        assert_eq!(world.client_at(A, 0).unlock(&Want::of(&file, 9)), GRANTED);
    }
    world.volume.clear_fault();
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
    assert_eq!(world.server.counters().nlm.not_remembered.get(), 6);
    let world = world.crash(config());
    assert_eq!(lock(&world, A, &Want::of(&file, 1).reclaim()), GRANTED);
}

#[test]
fn hosts_without_locks_are_forgotten_after_a_while() {
    let (world, file) = world();
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
    assert_eq!(lock(&world, B, &Want::of(&file, 2).range(50, 1)), GRANTED);
    assert_eq!(world.client_at(A, 0).unlock(&Want::of(&file, 1)), GRANTED);
    world.pass(200);
    assert_eq!(world.server.lock_hosts().lines().count(), 3);
    world.pass(200);
    let hosts = world.server.lock_hosts();
    assert!(hosts.contains("10.0.0.3") && !hosts.contains("10.0.0.2"), "{hosts}");
    assert_eq!(world.server.counters().locks.clients, 2, "B, and the one that owns nothing");
    // What is forgotten comes back with its first lock.
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
    let world = world.crash(config());
    assert_eq!(lock(&world, A, &Want::of(&file, 1).reclaim()), GRANTED);
}

#[test]
fn a_host_without_monitoring_leaves_nothing_behind() {
    let (world, file) = world();
    assert_eq!(world.client_at(A, 0).nlm(3, 22, &Want::of(&file, 1)), GRANTED);
    assert!(world.server.lock_hosts().contains("10.0.0.2 client not monitored"));
    let world = world.crash(config());
    assert_eq!(lock(&world, B, &Want::of(&file, 2)), GRANTED);
}

#[test]
fn many_hosts_survive() {
    let (world, file) = world();
    let address = |n: u32| format!("10.7.{}.{}:900", n / 200, n % 200 + 1);
    for n in 0..600 {
        assert_eq!(lock(&world, &address(n), &Want::of(&file, n).range(u64::from(n) * 10, 10)), GRANTED);
    }
    let world = world.crash(config());
    assert!(world.server.locks().contains("600 hosts may reclaim"));
    for n in (0..600).rev() {
        let want = Want::of(&file, n).range(u64::from(n) * 10, 10).reclaim();
        assert_eq!(lock(&world, &address(n), &want), GRANTED);
    }
}

#[test]
fn a_damaged_list_of_hosts_does_not_keep_the_server_down() {
    let (world, file) = world();
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
    let volume = world.volume.clone();
    world.run(async move {
        for bucket in 0..64 {
            volume
                .write_state(&format!("nfs-sm-{bucket:02x}"), b"NSP1\0\0\0\x01garbage")
                .await
                .expect("stored");
        }
        volume.write_state("nfs-sm-state", b"short").await.expect("stored");
    });
    let world = world.crash(config());
    assert_eq!(world.client(0).server_state() % 2, 1);
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
}

#[test]
fn what_only_a_host_s_own_programs_may_ask_for_is_refused() {
    let (world, file) = world();
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
    let client = world.client_at(B, 0);
    let watcher = |args: Args| args.opaque("me").u32(100_021).u32(4).u32(16);
    let mut results =
        client.statd(2, watcher(Args::default().opaque("10.0.0.2")).fixed(&[0; 16])).expect("results");
    assert_eq!((results.u32(), results.u32()), (1, 1), "STAT_FAIL, state");
    let mut results = client.statd(3, watcher(Args::default().opaque("10.0.0.2"))).expect("results");
    assert_eq!(results.u32(), 1);
    let mut results = client.statd(4, watcher(Args::default())).expect("results");
    assert_eq!(results.u32(), 1);
    let unavailable = Some(CallError::Refused(ReplyError::Accepted(AcceptStat::ProcedureUnavailable)));
    assert_eq!(client.statd(5, Args::default()).err(), unavailable, "SIMU_CRASH");
    assert_eq!(client.statd(7, Args::default()).err(), unavailable);
    assert_eq!(world.server.counters().nsm.refused.get(), 5);
    assert_eq!(holder(&world, &file), Some(1));
    // STAT: whom we would watch.
    for (name, known) in [("10.0.0.77", 0), ("client", 0), ("nobody", 1), ("", 1)] {
        let mut results = client.statd(1, Args::default().opaque(name)).expect("results");
        assert_eq!((results.u32(), results.u32()), (known, 1), "{name}");
    }
}

#[test]
fn a_simulated_crash_is_one() {
    let config = ServerConfig { simulated_crash: SimulatedCrash::Allowed, ..config() };
    let world = World::with(config, MemoryOptions::default());
    let file = world.client(0).file("file");
    let host = Host::new(&world, "10.0.0.2", Lockd::Takes);
    assert_eq!(lock(&world, A, &Want::of(&file, 1)), GRANTED);
    world.client_at(C, 0).statd(5, Args::default()).expect("results").end();
    world.pass(1);
    assert_eq!(world.client(0).server_state(), 3);
    assert_eq!(world.server.counters().locks.locks, 0);
    assert_eq!(host.heard(NSM_PROGRAM, 6).len(), 1);
    assert_eq!(lock(&world, B, &Want::of(&file, 2)), DENIED_GRACE_PERIOD);
    assert_eq!(lock(&world, A, &Want::of(&file, 1).reclaim()), GRANTED);
    world.pass(90);
    assert_eq!(lock(&world, B, &Want::of(&file, 2)), DENIED);
}
