//! Rows of LNet specification section 4.5, next hops, what is dropped and counted.

use crate::lnd::{LndUpper, SendError};
use crate::lnet::testing::{Behaviour, Bench, ack, nid, ping, process, put};
use core::time::Duration;
use keelson_lnet_wire::message::{Header, Reply, Wmd};
use keelson_lnet_wire::nid::{Nid, ProcessId};

#[test]
fn forwards_header_and_payload_as_they_came() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let client = bench.connect("10.0.0.2@tcp1");
    for (index, len) in [0, 1, 4096, 4097, 65536, 65537, 1 << 20].into_iter().enumerate() {
        let mut header = put("10.0.0.2@tcp1", "10.1.0.2@tcp2", len);
        header.src_pid = 0x8000_0123;
        header.body[39] = 0xaa;
        client.send_filled(header, index as u8);
        bench.settle();
        let (sent, bytes) = bench.last_to("10.1.0.2@tcp2").expect("forwarded");
        assert_eq!(sent, header);
        assert_eq!(bytes, vec![index as u8; len as usize]);
    }
    let statistics = bench.lnet.statistics();
    assert_eq!((statistics.route_count, statistics.drop_count), (7, 0));
    assert_eq!(statistics.route_length, 1 + 4096 + 4097 + 65536 + 65537 + (1 << 20));
    assert_eq!((statistics.send_count, statistics.recv_count), (0, 0), "routed messages are not ours");
    assert_eq!((statistics.msgs_alloc, statistics.msgs_max), (0, 1));
    let nets = bench.lnet.nets();
    assert_eq!((nets[1].nis[0].traffic.received.put, nets[2].nis[0].traffic.sent.put), (7, 7));
    let peers = bench.lnet.peers();
    assert_eq!((peers[0].nis[0].traffic.received.put, peers[1].nis[0].traffic.sent.put), (7, 7));
    bench.assert_idle();
}

/// All four types, in both directions; the router does not look at what they say.
#[test]
fn forwards_every_type() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let (client, server) = (bench.connect("10.0.0.2@tcp1"), bench.connect("10.1.0.2@tcp2"));
    let (a, b) = ("10.0.0.2@tcp1", "10.1.0.2@tcp2");
    let reply = Header::new_reply(process(b), process(a), &Reply { dst_wmd: Wmd::NONE }, 9);
    for header in [put(a, b, 5), ping(a, b, 0), ack(a, b)] {
        client.send(header);
    }
    server.send(reply);
    bench.settle();
    assert_eq!((bench.lnd.count_for(nid(b)), bench.lnd.count_for(nid(a))), (3, 1));
    assert_eq!(bench.last_to(a).expect("forwarded").0, reply);
    bench.assert_idle();
}

/// Expects that a message is skipped, that the stream goes on, and that `reason` counted it.
fn dropped(bench: &Bench, header: Header, reason: impl Fn(&crate::lnet::show::DropReasons) -> u64) {
    let connection = bench.connect("10.0.0.2@tcp1");
    connection.send(header);
    bench.settle();
    assert_eq!((connection.skipped.get(), connection.fatal.get()), (1, 0));
    assert_eq!(reason(&bench.lnet.drops()), 1, "{:?}", bench.lnet.drops());
    let statistics = bench.lnet.statistics();
    assert_eq!((statistics.drop_count, statistics.drop_length), (1, header.payload_length.into()));
    assert_eq!((statistics.route_count, statistics.recv_count), (0, 0));
    assert_eq!(bench.lnet.peers()[0].nis[0].traffic.dropped.total(), 1);
    assert!(bench.lnd.seen.borrow().is_empty());
    bench.assert_idle();
}

#[test]
fn row_2_too_long_a_payload_ends_the_connection() {
    let bench = Bench::router(|_| {});
    let client = bench.connect("10.0.0.2@tcp1");
    client.send(put("10.0.0.2@tcp1", "10.1.0.2@tcp2", (1 << 20) + 1));
    bench.settle();
    assert_eq!(client.fatal.get(), 1);
}

#[test]
fn row_5_what_should_have_been_sent_directly_is_dropped() {
    dropped(&Bench::router(|_| {}), put("10.0.0.2@tcp1", "10.0.0.3@tcp1", 10), |drops| drops.misdirected);
}

/// A user who pings the far side of the router through the router gets an answer.
#[test]
fn row_6_the_nid_of_another_interface_answers() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let client = bench.connect("10.0.0.2@tcp1");
    client.send(ping("10.0.0.2@tcp1", "10.1.0.1@tcp2", 272));
    bench.settle();
    let (header, _) = bench.last_to("10.0.0.2@tcp1").expect("answered");
    assert_eq!(header.src_nid, nid("10.1.0.1@tcp2"));
    bench.assert_idle();
}

#[test]
fn row_7_nothing_is_forwarded_without_forwarding() {
    let bench = Bench::router(|config| config.forwarding = false);
    dropped(&bench, put("10.0.0.2@tcp1", "10.1.0.2@tcp2", 10), |drops| drops.not_routing);
}

#[test]
fn row_10_a_full_table_of_peers_drops_strangers_only() {
    let bench = Bench::router(|config| config.max_peers = 2);
    bench.lnd.default_takes.set(true);
    let client = bench.connect("10.0.0.2@tcp1");
    client.send(put("10.0.0.2@tcp1", "10.1.0.2@tcp2", 10));
    client.send(put("10.0.0.2@tcp1", "10.1.0.3@tcp2", 10));
    client.send(put("10.0.0.2@tcp1", "10.1.0.2@tcp2", 10));
    bench.settle();
    assert_eq!((bench.lnet.statistics().route_count, bench.lnet.drops().no_peer), (2, 1));
    let stranger = nid("10.0.0.9@tcp1");
    assert!(bench.lnet.peer(bench.ni_of(stranger), stranger).is_none(), "no connection either");
    // Those who are not in use are forgotten in time.
    bench.pass(Duration::from_secs(200));
    client.send(put("10.0.0.2@tcp1", "10.1.0.3@tcp2", 10));
    bench.settle();
    assert_eq!(bench.lnet.statistics().route_count, 3);
    bench.assert_idle();
}

#[test]
fn row_11_what_comes_another_way_is_dropped_if_told_so() {
    let answer = |drop_asym_route: bool, with_route: bool| {
        let bench = Bench::router(|config| {
            config.drop_asym_route = drop_asym_route;
            config.alive_router_check_interval = Duration::ZERO;
        });
        if with_route {
            bench.route("tcp9", "10.0.0.2@tcp1", None, 0);
        }
        bench.lnd.default_takes.set(true);
        let router = bench.connect("10.0.0.2@tcp1");
        router.send(ping("10.9.0.9@tcp9", "10.0.0.1@tcp1", 272));
        bench.settle();
        assert_eq!(bench.lnet.drops().asymmetric, router.skipped.get());
        bench.lnd.count_for(nid("10.0.0.2@tcp1"))
    };
    assert_eq!(answer(false, false), 1, "answers go back to where requests came from");
    assert_eq!(answer(true, false), 0);
    assert_eq!(answer(true, true), 1);
}

#[test]
fn row_12_what_nobody_waits_for_is_dropped() {
    let (a, r) = ("10.0.0.2@tcp1", "10.0.0.1@tcp1");
    let reply = Header::new_reply(process(a), process(r), &Reply { dst_wmd: Wmd::new(1, 2) }, 100);
    let mut other_get = ping(a, r, 100);
    other_get.body[24] = 30;
    let mut no_such_portal = ping(a, r, 100);
    no_such_portal.body[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    for header in [ack(a, r), reply, put(a, r, 100), put(a, r, 0), other_get, no_such_portal] {
        dropped(&Bench::router(|_| {}), header, |drops| drops.unmatched);
    }
}

#[test]
fn no_route_is_counted_as_a_drop() {
    let bench = Bench::router(|_| {});
    dropped(&bench, put("10.0.0.2@tcp1", "10.7.0.2@tcp7", 10), |drops| drops.no_route);
    assert_eq!(bench.lnet.statistics().local_no_route_count, 1);
}

#[test]
fn a_wildcard_or_loopback_destination_is_no_destination() {
    for destination in [Nid::ANY, Nid::LOOPBACK] {
        let mut header = put("10.0.0.2@tcp1", "10.1.0.2@tcp2", 10);
        header.dest_nid = destination;
        dropped(&Bench::router(|_| {}), header, |drops| drops.no_route);
    }
}

#[test]
fn a_dead_next_hop_gets_one_message_a_second() {
    let bench = Bench::router(|_| {});
    let to = nid("10.1.0.2@tcp2");
    bench.lnd.behave(to, Behaviour::Fails(SendError::Unreachable));
    let client = bench.connect("10.0.0.2@tcp1");
    client.send(put("10.0.0.2@tcp1", "10.1.0.2@tcp2", 10));
    bench.settle();
    assert_eq!(bench.lnet.drops().send_failed, 1);
    bench.lnet.peer_down(bench.ni_of(to), to, true);
    for _ in 0..10 {
        client.send(put("10.0.0.2@tcp1", "10.1.0.2@tcp2", 10));
    }
    bench.settle();
    assert_eq!((bench.lnet.drops().next_hop_dead, bench.lnd.count_for(to)), (10, 1));
    assert_eq!(bench.lnet.peers()[1].nis[0].state, crate::lnet::show::PeerNiState::Down);
    bench.lnd.behave(to, Behaviour::Takes);
    bench.pass(Duration::from_secs(1));
    for _ in 0..10 {
        client.send(put("10.0.0.2@tcp1", "10.1.0.2@tcp2", 10));
    }
    bench.settle();
    assert_eq!(bench.lnd.count_for(to), 2, "one to see whether it is alive");
    bench.lnet.peer_up(bench.ni_of(to), ProcessId::lustre(to));
    client.send(put("10.0.0.2@tcp1", "10.1.0.2@tcp2", 10));
    bench.settle();
    assert_eq!(bench.lnd.count_for(to), 3);
    bench.assert_idle();
}

#[test]
fn without_a_peer_timeout_nobody_is_taken_for_dead() {
    let bench = Bench::router(|_| {});
    let tunables = crate::lnet::Tunables { peer_timeout: 0, ..Default::default() };
    let config = crate::lnet::NiConfig { nid: nid("10.4.0.1@tcp4"), interface: "eth4".into(), tunables };
    bench.lnet.add_net(config).expect("added");
    bench.lnd.default_takes.set(true);
    let to = nid("10.4.0.2@tcp4");
    bench.connect("10.4.0.2@tcp4");
    bench.lnet.peer_down(bench.ni_of(to), to, true);
    let client = bench.connect("10.0.0.2@tcp1");
    for _ in 0..5 {
        client.send(put("10.0.0.2@tcp1", "10.4.0.2@tcp4", 10));
    }
    bench.settle();
    assert_eq!(bench.lnet.statistics().route_count, 5);
    bench.assert_idle();
}

/// An orderly end says nothing about the peer's health.
#[test]
fn a_closed_connection_is_no_death() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let to = nid("10.1.0.2@tcp2");
    bench.connect("10.1.0.2@tcp2");
    bench.lnet.peer_down(bench.ni_of(to), to, false);
    let client = bench.connect("10.0.0.2@tcp1");
    client.send(put("10.0.0.2@tcp1", "10.1.0.2@tcp2", 10));
    bench.settle();
    assert_eq!(bench.lnet.statistics().route_count, 1);
}

/// Own messages are sent to dead peers all the same, and fail when the driver says so.
#[test]
fn a_nid_that_does_not_fit_is_dropped_and_counted() {
    let bench = Bench::router(|_| {});
    let to = nid("10.1.0.2@tcp2");
    bench.lnd.behave(to, Behaviour::Fails(SendError::NotExpressible));
    let client = bench.connect("10.0.0.2@tcp1");
    let mut header = put("10.0.0.2@tcp1", "10.1.0.2@tcp2", 10);
    header.src_nid = nid("2001:db8::1@tcp1");
    client.send(header);
    bench.settle();
    assert_eq!((bench.lnet.drops().not_expressible, bench.lnet.statistics().drop_count), (1, 1));
    bench.assert_idle();
}

#[test]
fn a_routing_loop_ends_at_the_gateway_it_came_from() {
    let bench = Bench::router(|config| config.alive_router_check_interval = Duration::ZERO);
    bench.route("tcp9", "10.1.0.9@tcp2", Some(2), 0);
    bench.route("tcp9", "10.1.0.8@tcp2", Some(2), 0);
    bench.lnd.default_takes.set(true);
    let client = bench.connect("10.0.0.2@tcp1");
    let router = bench.connect("10.1.0.9@tcp2");
    client.send(put("10.0.0.2@tcp1", "10.9.0.1@tcp9", 10));
    bench.settle();
    assert_eq!(bench.lnet.statistics().route_count, 1);
    router.send(put("10.0.0.2@tcp1", "10.9.0.1@tcp9", 10));
    bench.settle();
    assert_eq!((router.skipped.get(), bench.lnet.drops().loops), (1, 1), "nor through another gateway");
    assert_eq!(bench.lnet.statistics().route_count, 1);
    // What comes back from that network through it is no loop.
    router.send(put("10.9.0.1@tcp9", "10.0.0.2@tcp1", 10));
    bench.settle();
    assert_eq!(bench.lnet.statistics().route_count, 2);
    bench.assert_idle();
}

#[test]
fn strangers_of_other_networks_and_impostors_get_no_connection() {
    let bench = Bench::router(|_| {});
    let ni = bench.ni_of(nid("10.0.0.2@tcp1"));
    for bad in ["10.1.0.2@tcp2", "10.0.0.1@tcp1", "10.1.0.1@tcp2", "0@lo", "<?>"] {
        assert!(bench.lnet.peer(ni, nid(bad)).is_none(), "{bad}");
    }
    assert!(bench.lnet.peer(ni, nid("10.0.0.2@tcp1")).is_some());
}
