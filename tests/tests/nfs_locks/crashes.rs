//! Power cuts of a client and of the server while locks are held and waited for.

use std::thread;
use std::time::Duration;

use keelson_tests::nlm::{Claim, Status};
use keelson_tests::server::Maker;

use super::world::{Holder, LONG, World, handle, lock_manager, mount, ready};

/// How often a refused lock is tried again.
const AGAIN: Duration = Duration::from_millis(250);

pub fn power_cuts(maker: Maker) {
    let world = client_loses_power(World::new("nfs-locks-crashes", maker));
    server_loses_power(world).finish();
}

fn client_loses_power(world: World) -> World {
    let World { clients: [first, second], server, host, lan, bench } = world;
    // What the first has ends with it, and with that these holders.
    Holder::holding(&first, "/mnt/held", &["set w 0 100", "set r 200 0"]);
    Holder::holding(&first, "/mnt/whole", &["flock ex"]);
    let other = Holder::holding(&second, "/mnt/other", &["set w 0 10"]);
    Holder::waiting(&first, "/mnt/other", &["wait w 0 10"]);
    let waiters = [
        Holder::waiting(&second, "/mnt/held", &["wait w 50 10"]),
        Holder::waiting(&second, "/mnt/held", &["wait w 300 1"]),
        Holder::waiting(&second, "/mnt/whole", &["flock ex"]),
    ];
    let [held_file, other_file] = ["held", "other"].map(|name| handle(&host, name));
    let mut manager = lock_manager(&host);

    let first = first.restart().unwrap();
    // It is back, but has told nobody that it was away; and locks have no lease.
    assert_eq!(manager.lock(&held_file, (0, 10), Claim::New).unwrap(), Status::Denied);
    assert!(waiters.iter().all(Holder::waits));
    ready(&first);
    waiters.iter().for_each(Holder::until_holding);
    // What nobody waited for is free as well.
    assert_eq!(manager.lock(&held_file, (0, 10), Claim::New).unwrap(), Status::Granted);
    assert_eq!(manager.lock(&held_file, (50, 1), Claim::New).unwrap(), Status::Denied);
    assert_eq!(manager.lock(&held_file, (1000, 0), Claim::New).unwrap(), Status::Granted);
    // What it waited for is not given to it any more.
    assert_eq!(manager.lock(&other_file, (0, 10), Claim::New).unwrap(), Status::Denied);
    other.kill();
    assert_eq!(manager.lock(&other_file, (0, 10), Claim::New).unwrap(), Status::Granted);
    // And it is a client like any other.
    mount(&first);
    let mine = Holder::holding(&first, "/mnt/held", &["set w 20 10"]);
    assert_eq!(manager.lock(&held_file, (20, 1), Claim::New).unwrap(), Status::Denied);
    let next = Holder::waiting(&first, "/mnt/held", &["wait w 50 1"]);
    let [range, end, whole] = waiters;
    range.kill();
    next.until_holding();
    [mine, next, end, whole].into_iter().for_each(Holder::kill);
    for file in [&held_file, &other_file] {
        assert_eq!(manager.unlock(file, (0, 0)).unwrap(), Status::Granted);
    }
    first.ok("rm /mnt/held /mnt/whole /mnt/other", LONG).unwrap();
    World { clients: [first, second], server, host, lan, bench }
}

/// Processes of each client that count, and how often each locks and unlocks.
const PROCESSES: u64 = 3;
const ROUNDS: u64 = 60;

fn server_loses_power(world: World) -> World {
    let World { clients, server, host, lan, bench } = world;
    let [first, second] = &clients;
    let exclusive = Holder::holding(first, "/mnt/held", &["set w 0 100", "set r 1000 10"]);
    let shared = Holder::holding(second, "/mnt/held", &["set r 1000 10", "set w 0x4000000000000000 0"]);
    let whole = Holder::holding(second, "/mnt/whole", &["flock ex"]);
    let waiter = Holder::waiting(second, "/mnt/held", &["wait w 0 10"]);
    let crowds = [first, second].map(|client| {
        let number = if std::ptr::eq(client, first) { 1 } else { 2 };
        client.spawn(&format!("locks contend /mnt/count {number} {PROCESSES} {ROUNDS}")).unwrap()
    });
    let [held_file, whole_file] = ["held", "whole"].map(|name| handle(&host, name));
    // In the middle of it.
    first.ok("until [ $(locks sum /mnt/count) -gt 100 ]; do sleep 0.1; done", LONG).unwrap();
    assert!(crowds.iter().all(|crowd| !crowd.is_done()), "the crowds still count");

    let server = server.restart();
    // A third party tries to steal, in every way, as long as only old locks may be taken, and is refused afterwards.
    let mut manager = lock_manager(&host);
    let stolen =
        [(&held_file, (0, 100)), (&held_file, (99, 1)), (&held_file, (1 << 62, 1)), (&whole_file, (0, 0))];
    let mut open = vec![];
    for (file, range) in stolen {
        let first = manager.lock(file, range, Claim::New).unwrap();
        assert_eq!(first, Status::DeniedGracePeriod, "{range:?}");
        open.push((file, range));
    }
    while let Some((file, range)) = open.pop() {
        match manager.lock(file, range, Claim::New).unwrap() {
            Status::Denied => {}
            Status::DeniedGracePeriod => {
                open.push((file, range));
                thread::sleep(AGAIN);
            }
            status => panic!("{status:?} for {range:?}, which a client held before the power cut"),
        }
    }
    // The grace period is over: what nobody had is free, and nothing can be reclaimed any more.
    assert_eq!(manager.lock(&held_file, (1000, 10), Claim::New).unwrap(), Status::Denied);
    assert_eq!(manager.lock(&held_file, (500, 10), Claim::New).unwrap(), Status::Granted);
    assert_eq!(manager.lock(&held_file, (600, 10), Claim::Reclaim).unwrap(), Status::DeniedGracePeriod);
    assert!(waiter.waits());

    // Who counted did not notice: no lock was lost while others had it, and no write that was done.
    let counted: u64 = crowds
        .into_iter()
        .map(|crowd| {
            let output = crowd.wait(LONG).unwrap();
            assert_eq!((output.status, output.stderr.as_str()), (0, ""));
            output.stdout.trim().parse::<u64>().unwrap()
        })
        .sum();
    for client in &clients {
        let sum = client.ok("echo 3 > /proc/sys/vm/drop_caches; locks sum /mnt/count", LONG).unwrap();
        assert_eq!(sum.trim(), counted.to_string(), "the file, and what the processes say together");
    }

    // Locks that were reclaimed are given up like others, and the one that waited over the power cut gets its turn.
    exclusive.kill();
    waiter.until_holding();
    assert_eq!(manager.lock(&held_file, (5, 1), Claim::New).unwrap(), Status::Denied);
    assert_eq!(manager.lock(&held_file, (10, 90), Claim::New).unwrap(), Status::Granted);
    shared.kill();
    assert_eq!(manager.lock(&held_file, (1000, 10), Claim::New).unwrap(), Status::Granted);
    assert_eq!(manager.lock(&held_file, (1 << 62, 0), Claim::New).unwrap(), Status::Granted);
    [whole, waiter].into_iter().for_each(Holder::kill);
    assert_eq!(manager.lock(&whole_file, (0, 0), Claim::New).unwrap(), Status::Granted);
    World { clients, server, host, lan, bench }
}
