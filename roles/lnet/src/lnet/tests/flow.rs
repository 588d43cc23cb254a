//! Flow control: credits, shares of the buffers, back-pressure, the reserve.

use crate::lnd::SendError;
use crate::lnet::testing::{Behaviour, Bench, Connection, nid, ping, put};
use core::time::Duration;
use std::rc::Rc;

const MIB: u32 = 1 << 20;

/// Sixteen large buffers, two of them in reserve.
fn router() -> Bench {
    Bench::router(|config| config.large_router_buffers = 16)
}

fn client(index: usize) -> String {
    format!("10.0.{}.{}@tcp1", index / 200, index % 200 + 2)
}

fn server(index: usize) -> String {
    format!("10.1.{}.{}@tcp2", index / 200, index % 200 + 2)
}

fn flood(connection: &Connection, from: &str, to: &str, len: u32, count: usize) {
    for _ in 0..count {
        connection.send(put(from, to, len));
    }
}

#[test]
fn a_sender_has_its_router_credits_and_no_more() {
    let bench = Bench::router(|_| {});
    let connection = bench.connect(&client(0));
    flood(&connection, &client(0), &server(0), MIB, 20);
    bench.settle();
    assert_eq!((connection.taken.get(), connection.waiting()), (8, 12));
    let peer = &bench.lnet.peers()[0].nis[0];
    assert_eq!(
        (peer.rtr.max, peer.rtr.available, peer.rtr.min),
        (8, -1, -1),
        "one waits, and with it the rest"
    );
    bench.lnd.finish(nid(&server(0)), Ok(()));
    bench.settle();
    assert_eq!(connection.taken.get(), 9);
    while bench.lnd.finish(nid(&server(0)), Ok(())) {
        bench.settle();
    }
    assert_eq!((connection.taken.get(), bench.lnet.statistics().drop_count), (20, 0));
    bench.assert_idle();
}

#[test]
fn peer_buffer_credits_follow_linux_s_order_of_precedence() {
    let credits = |node: u32, ni: u32| {
        let bench = Bench::router(|config| config.peer_buffer_credits = node);
        let tunables =
            crate::lnet::Tunables { peer_buffer_credits: ni, peer_credits: 5, ..Default::default() };
        let config = crate::lnet::NiConfig { nid: nid("10.4.0.1@tcp4"), interface: "eth4".into(), tunables };
        bench.lnet.add_net(config).unwrap();
        bench.connect("10.4.0.2@tcp4");
        let peer = &bench.lnet.peers()[0].nis[0];
        (peer.rtr.max, peer.tx.max)
    };
    assert_eq!(
        [credits(0, 0), credits(7, 0), credits(7, 9), credits(0, 9)],
        [(5, 5), (7, 5), (9, 5), (9, 5)]
    );
}

#[test]
fn the_driver_gets_peer_credits_messages_and_the_rest_waits_in_order() {
    let bench = Bench::router(|config| config.peer_buffer_credits = 100);
    let connection = bench.connect(&client(0));
    for len in 0..20 {
        connection.send(put(&client(0), &server(0), 5000 + len));
    }
    bench.settle();
    assert_eq!(bench.lnd.kept_for(nid(&server(0))), 8);
    let peer = &bench.lnet.peers()[1].nis[0];
    assert_eq!((peer.tx.available, peer.tx.min), (-12, -12));
    assert_eq!(peer.tx_queued_bytes, (8..20).map(|len| 5072 + len).sum::<u64>());
    while bench.lnd.finish(nid(&server(0)), Ok(())) {
        bench.settle();
    }
    let lengths: Vec<u32> = bench.lnd.seen.borrow().iter().map(|seen| seen.1.payload_length).collect();
    assert_eq!(lengths, (5000..5020).collect::<Vec<u32>>());
    bench.assert_idle();
}

/// The one that takes nothing gets at most what it leaves for all others.
#[test]
fn a_dead_slow_destination_does_not_stop_the_others() {
    let bench = router();
    let stuck = server(0);
    for index in 1..8 {
        bench.lnd.behave(nid(&server(index)), Behaviour::Takes);
    }
    let mut slow = Vec::new();
    for index in 0..8 {
        let connection = bench.connect(&client(index));
        flood(&connection, &client(index), &stuck, MIB, 8);
        slow.push(connection);
    }
    bench.settle();
    let held: u64 = slow.iter().map(|connection| connection.taken.get()).sum();
    assert_eq!(held, 7, "half of what is not in reserve");
    for index in 0..8 {
        let connection = bench.connect(&client(100 + index));
        flood(&connection, &client(100 + index), &server(1 + index % 7), MIB, 50);
        bench.settle();
        assert_eq!(connection.taken.get(), 50);
    }
    assert_eq!(bench.lnet.statistics().route_count, 400);
    assert_eq!(bench.lnet.statistics().drop_count, 0);
    // Senders who have waited for too long get in through the reserve.
    bench.pass(Duration::from_millis(3100));
    let held: u64 = slow.iter().map(|connection| connection.taken.get()).sum();
    assert_eq!(held, 8, "half of the reserve");
    assert_eq!(bench.lnet.routing().pools[2].rescued, 1);
    while bench.lnd.finish(nid(&stuck), Ok(())) {
        bench.settle();
    }
    assert_eq!(bench.lnet.statistics().route_count, 464, "and nothing was dropped");
    bench.assert_idle();
}

#[test]
fn every_congested_destination_keeps_its_share() {
    let bench = Bench::router(|config| {
        config.large_router_buffers = 64;
        config.peer_buffer_credits = 100;
    });
    let mut connections = Vec::new();
    for index in 0..3 {
        let connection = bench.connect(&client(index));
        flood(&connection, &client(index), &server(index), MIB, 100);
        bench.settle();
        connections.push(connection);
    }
    // 56 buffers outside the reserve: 28 for the first, 14 and 7 for those who came while these were taken.
    let taken: Vec<u64> = connections.iter().map(|connection| connection.taken.get()).collect();
    assert_eq!(taken, [28, 14, 7]);
    // As the first drains, it does not get back what the others now have a right to.
    for _ in 0..28 {
        bench.lnd.finish(nid(&server(0)), Ok(()));
        bench.settle();
    }
    let used: Vec<usize> =
        (0..3).map(|i| connections[i].taken.get() as usize - if i == 0 { 28 } else { 0 }).collect();
    assert!(used.iter().all(|used| (12..=16).contains(used)), "{used:?}");
}

/// While a bulk message waits, small messages and pings of the same peers go through.
#[test]
fn small_messages_do_not_wait_behind_bulk() {
    let bench = router();
    let stuck = server(0);
    let mut bulk = Vec::new();
    for index in 0..8 {
        let connection = bench.connect(&client(index));
        flood(&connection, &client(index), &stuck, MIB, 20);
        bulk.push(connection);
    }
    bench.settle();
    let before = bench.lnd.kept_for(nid(&stuck));
    let control = bench.connect(&client(0));
    flood(&control, &client(0), &stuck, 300, 20);
    control.send(ping(&client(0), "10.0.0.1@tcp1", 272));
    flood(&control, &client(0), &stuck, 0, 20);
    bench.settle();
    assert_eq!(control.waiting(), 0);
    assert_eq!(bench.lnd.kept_for(nid(&stuck)), before + 40, "even to the same destination");
    assert_eq!(bench.lnd.count_for(nid(&client(0))), 1, "the ping is answered");
}

/// Pings come on the connection that small messages come on: a destination that takes nothing must not stop them.
#[test]
fn small_messages_for_a_stalled_destination_do_not_stop_pings() {
    let bench = Bench::router(|_| {});
    let control = bench.connect(&client(0));
    flood(&control, &client(0), &server(0), 300, 512);
    control.send(ping(&client(0), "10.0.0.1@tcp1", 272));
    bench.settle();
    assert_eq!((control.waiting(), bench.lnd.count_for(nid(&client(0)))), (0, 1));
    // Even beyond that they are not stopped for long.
    flood(&control, &client(0), &server(0), 300, 5);
    control.send(ping(&client(0), "10.0.0.1@tcp1", 272));
    bench.settle();
    assert_eq!(control.waiting(), 6);
    bench.pass(Duration::from_secs(3));
    assert_eq!((control.waiting(), bench.lnd.count_for(nid(&client(0)))), (0, 2));
    bench.lnd.finish_all(nid(&client(0)), Ok(()));
    while bench.lnd.finish(nid(&server(0)), Ok(())) {}
    bench.settle();
    bench.assert_idle();
}

/// A neighbour that asks and does not listen to the answers is not read any more.
#[test]
fn pings_that_nobody_reads_the_answers_of_are_bounded() {
    let bench = Bench::router(|_| {});
    let connection = bench.connect(&client(0));
    for _ in 0..1000 {
        connection.send(ping(&client(0), "10.0.0.1@tcp1", 272));
    }
    bench.settle();
    assert_eq!(connection.taken.get(), 64);
    assert!(bench.lnet.statistics().msgs_alloc <= 128);
    while bench.lnd.finish(nid(&client(0)), Ok(())) {
        bench.settle();
    }
    assert_eq!(connection.taken.get(), 1000);
    bench.assert_idle();
}

#[test]
fn waiting_messages_are_served_in_turn() {
    let bench = router();
    let mut connections = Vec::new();
    for index in 0..10 {
        let connection = bench.connect(&client(index));
        flood(&connection, &client(index), &server(0), MIB, 30);
        connections.push(connection);
    }
    bench.settle();
    for _ in 0..100 {
        bench.lnd.finish(nid(&server(0)), Ok(()));
        bench.settle();
    }
    let taken: Vec<u64> = connections.iter().map(|connection| connection.taken.get()).collect();
    let (least, most) = (taken.iter().min().unwrap(), taken.iter().max().unwrap());
    assert!(most - least <= 7, "those who came first had the first seven buffers: {taken:?}");
    assert!(*least >= 9, "{taken:?}");
}

#[test]
fn the_death_of_a_destination_releases_all_who_wait_for_it() {
    let bench = router();
    bench.connect(&server(0));
    let mut connections = Vec::new();
    for index in 0..8 {
        let connection = bench.connect(&client(index));
        flood(&connection, &client(index), &server(0), MIB, 20);
        connections.push(connection);
    }
    bench.settle();
    assert!(bench.lnet.routing().pools[2].parked > 0);
    bench.kill(&server(0));
    bench.settle();
    assert!(connections.iter().all(|connection| connection.waiting() == 0));
    let drops = bench.lnet.drops();
    assert_eq!(drops.next_hop_dead + drops.send_failed, 160);
    assert_eq!(bench.lnet.statistics().drop_length, 160 << 20);
    bench.assert_idle();
}

#[test]
fn the_end_of_a_connection_gives_up_its_place() {
    let bench = router();
    let connections: Vec<Rc<Connection>> = (0..8).map(|index| bench.connect(&client(index))).collect();
    for (index, connection) in connections.iter().enumerate() {
        flood(connection, &client(index), &server(0), MIB, 20);
    }
    bench.settle();
    connections.iter().for_each(|connection| connection.cut());
    assert_eq!(bench.lnet.routing().pools[2].parked, 0);
    let late = bench.connect(&client(9));
    flood(&late, &client(9), &server(0), MIB, 1);
    bench.lnd.finish(nid(&server(0)), Ok(()));
    bench.settle();
    assert_eq!(late.taken.get(), 1, "nobody stands before it");
    bench.lnd.finish_all(nid(&server(0)), Ok(()));
    bench.assert_idle();
}

/// Who waits for much does not stand in the way of who waits for little once it has left.
#[test]
fn whoever_stands_behind_one_that_leaves_moves_up() {
    let bench = router();
    let first = bench.connect(&client(0));
    flood(&first, &client(0), &server(0), MIB, 6);
    flood(&first, &client(0), &server(0), 12 * 65536, 1);
    bench.settle();
    assert_eq!(first.waiting(), 0);
    let (large, small) = (bench.connect(&client(1)), bench.connect(&client(2)));
    flood(&large, &client(1), &server(0), MIB, 1);
    bench.settle();
    flood(&small, &client(2), &server(0), 5000, 1);
    bench.settle();
    assert_eq!((large.waiting(), small.waiting()), (1, 1), "in their order");
    large.cut();
    bench.settle();
    assert_eq!(small.waiting(), 0);
    bench.lnd.finish_all(nid(&server(0)), Ok(()));
    bench.assert_idle();
}

/// An NI's credits are for many; one message to each peer goes out whatever the others do.
#[test]
fn exhausted_ni_credits_do_not_stop_a_new_peer() {
    let bench = Bench::router(|config| {
        config.large_router_buffers = 1024;
        config.peer_buffer_credits = 1000;
    });
    let connection = bench.connect(&client(0));
    for index in 0..40 {
        flood(&connection, &client(0), &server(index), 5000, 10);
    }
    bench.settle();
    let kept = bench.lnd.kept.borrow().len();
    assert!((256..=264).contains(&kept), "{kept}");
    assert!(bench.lnet.nets()[2].nis[0].tx.available < 0);
    assert!((0..40).all(|index| bench.lnd.kept_for(nid(&server(index))) >= 1));
    loop {
        let next = bench.lnd.kept.borrow().front().map(|kept| kept.1);
        let Some(next) = next else { break };
        bench.lnd.finish(next, Ok(()));
        bench.settle();
    }
    assert_eq!(bench.lnet.statistics().route_count, 400);
    bench.assert_idle();
}

#[test]
fn pools_are_counted_with_linux_s_names() {
    let bench = Bench::router(|config| {
        config.memory = 64 << 20;
        config.tiny_router_buffers = 100;
    });
    let pools = bench.lnet.routing().pools;
    assert_eq!(
        pools.map(|pool| (pool.name, pool.pages, pool.buffers)),
        [("tiny", 0, 100), ("small", 1, 1024), ("large", 256, 60)]
    );
    let connection = bench.connect(&client(0));
    for len in [0, 1, 4096, 4097, MIB] {
        connection.send(put(&client(0), &server(0), len));
    }
    bench.settle();
    let credits = bench.lnet.routing().pools.map(|pool| (pool.credits, pool.min_credits));
    // 4097 bytes take a sixteenth of a large buffer.
    assert_eq!(credits, [(99, 99), (1022, 1022), (58, 58)]);
    bench.lnd.finish_all(nid(&server(0)), Ok(()));
    let credits = bench.lnet.routing().pools.map(|pool| (pool.credits, pool.min_credits));
    assert_eq!(credits, [(100, 99), (1024, 1022), (60, 58)]);
    let linux = Bench::router(|config| config.memory = 4 << 30).lnet.routing().pools;
    assert_eq!(linux.map(|pool| pool.buffers), [2048, 16384, 1024], "never more than Linux");
}

#[test]
fn pools_can_be_resized_under_load() {
    let bench = router();
    let connection = bench.connect(&client(0));
    flood(&connection, &client(0), &server(0), MIB, 8);
    bench.settle();
    assert_eq!(connection.taken.get(), 7);
    bench.lnet.reconfigure(|config| config.large_router_buffers = 64);
    bench.settle();
    assert_eq!(connection.taken.get(), 8, "who waited has room now");
    bench.lnet.reconfigure(|config| config.large_router_buffers = 1);
    assert!(bench.lnet.routing().pools[2].credits < 0);
    bench.lnd.finish_all(nid(&server(0)), Ok(()));
    bench.settle();
    assert_eq!(bench.lnet.routing().pools[2].credits, 1);
    bench.assert_idle();
}

/// What fails on its way gives back as much as what arrives.
#[test]
fn failures_give_everything_back() {
    for error in [SendError::Unreachable, SendError::TimedOut, SendError::Broken, SendError::Down] {
        let bench = router();
        bench.lnd.behave(nid(&server(0)), Behaviour::Fails(error));
        let connection = bench.connect(&client(0));
        flood(&connection, &client(0), &server(0), MIB, 30);
        bench.settle();
        assert_eq!(bench.lnet.drops().send_failed, 30);
        let statistics = bench.lnet.statistics();
        let losses = [
            statistics.remote_dropped_count,
            statistics.network_timeout_count,
            statistics.remote_error_count,
            statistics.local_dropped_count,
        ];
        assert_eq!(losses.iter().sum::<u64>(), 30);
        bench.assert_idle();
    }
}
