//! Up, down, drained.

use crate::lnd::LndUpper;
use crate::lnet::show::RoutingState;
use crate::lnet::testing::{Bench, nid, process, put};
use crate::lnet::{AddNiError, NiConfig, Stop, StopError, Tunables};
use core::time::Duration;
use keelson_lnet_wire::nid::ProcessId;

const A: &str = "10.0.0.2@tcp1";
const B: &str = "10.1.0.2@tcp2";
const SECOND: Duration = Duration::from_secs(1);

fn features(bench: &Bench) -> u32 {
    let lnet = bench.lnet.clone();
    bench.wait(async move { lnet.ping(process("0@lo"), SECOND).await }).unwrap().features.0
}

fn forwards(bench: &Bench) -> bool {
    let before = bench.lnet.statistics().route_count;
    bench.connect(A).send(put(A, B, 10));
    bench.settle();
    bench.lnet.statistics().route_count > before
}

#[test]
fn routing_stops_after_peers_have_had_time_to_ask() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    assert_eq!(features(&bench), 0x1a);
    bench.lnet.set_routing(false);
    assert_eq!((features(&bench), bench.lnet.routing_state()), (0x1e, RoutingState::Stopping));
    bench.pass(109 * SECOND);
    assert!(forwards(&bench), "still");
    bench.pass(2 * SECOND);
    assert_eq!((features(&bench), bench.lnet.routing_state()), (0x1e, RoutingState::Disabled));
    assert!(!forwards(&bench));
    assert_eq!(bench.lnet.drops().not_routing, 1);
}

#[test]
fn routing_starts_at_once_and_is_told_when_all_routers_have_it() {
    let bench = Bench::router(|config| config.forwarding = false);
    bench.lnd.default_takes.set(true);
    assert!(!forwards(&bench));
    bench.lnet.set_routing(true);
    assert!(forwards(&bench));
    assert_eq!((features(&bench), bench.lnet.routing_state()), (0x1e, RoutingState::Starting));
    bench.pass(111 * SECOND);
    assert_eq!((features(&bench), bench.lnet.routing_state()), (0x1a, RoutingState::Enabled));
}

#[test]
fn a_change_of_mind_overtakes() {
    let bench = Bench::router(|_| {});
    bench.lnet.set_routing(false);
    bench.pass(50 * SECOND);
    bench.lnet.set_routing(true);
    assert_eq!(bench.lnet.routing_state(), RoutingState::Enabled);
    bench.pass(200 * SECOND);
    assert_eq!(bench.lnet.routing_state(), RoutingState::Enabled);
    bench.lnet.set_routing(true);
    bench.lnet.set_routing(false);
    bench.lnet.set_routing(false);
    bench.pass(111 * SECOND);
    assert_eq!(bench.lnet.routing_state(), RoutingState::Disabled);
}

/// What is in the buffers gets more time, but not for ever.
#[test]
fn a_drain_waits_for_what_is_in_the_buffers() {
    let bench = Bench::router(|_| {});
    let client = bench.connect(A);
    client.send(put(A, B, 10));
    bench.settle();
    bench.lnet.set_routing(false);
    bench.pass(200 * SECOND);
    assert_eq!(bench.lnet.routing_state(), RoutingState::Stopping);
    bench.lnd.finish_all(nid(B), Ok(()));
    bench.pass(2 * SECOND);
    assert_eq!(bench.lnet.routing_state(), RoutingState::Disabled);
    let bench = Bench::router(|_| {});
    bench.connect(A).send(put(A, B, 10));
    bench.settle();
    bench.lnet.set_routing(false);
    bench.pass(332 * SECOND);
    assert_eq!(bench.lnet.routing_state(), RoutingState::Disabled);
}

#[test]
fn whoever_waits_is_let_go_when_routing_ends() {
    let bench = Bench::router(|config| {
        config.large_router_buffers = 2;
        config.drain_at_least = SECOND;
        config.drain_at_most = SECOND;
        config.rescue_after = 1000 * SECOND;
    });
    let client = bench.connect(A);
    for _ in 0..5 {
        client.send(put(A, B, 1 << 20));
    }
    bench.settle();
    assert_eq!(client.waiting(), 4);
    bench.lnet.set_routing(false);
    bench.pass(3 * SECOND);
    assert_eq!((client.waiting(), client.skipped.get(), bench.lnet.drops().not_routing), (0, 4, 4));
    bench.lnd.finish_all(nid(B), Ok(()));
    bench.assert_idle();
}

#[test]
fn a_router_goes_down_only_if_told_so() {
    let bench = Bench::router(|_| {});
    let stop = |how| {
        let lnet = bench.lnet.clone();
        bench.wait(async move { lnet.stop(how).await })
    };
    assert_eq!(stop(Stop::IfNotRouting), Err(StopError::Routing));
    assert_eq!(bench.lnet.nids().len(), 2);
    let before = bench.executor.handle().now();
    assert_eq!(stop(Stop::Drain), Ok(()));
    let took = bench.executor.handle().now() - before;
    assert!((110 * SECOND..113 * SECOND).contains(&took), "{took:?}");
    assert!(bench.lnet.nids().is_empty() && bench.lnd.nis.borrow().is_empty());
    assert_eq!(stop(Stop::IfNotRouting), Ok(()), "already");
    bench.assert_idle();
}

#[test]
fn going_down_at_once_gives_everything_back_and_it_can_come_up_again() {
    let bench = Bench::router(|config| config.large_router_buffers = 2);
    bench.route("tcp9", "10.1.0.9@tcp2", None, 0);
    let client = bench.connect(A);
    for _ in 0..5 {
        client.send(put(A, B, 1 << 20));
        client.send(put(A, B, 10));
    }
    let lnet = bench.lnet.clone();
    bench.executor.handle().spawn("ping", async move {
        assert_eq!(lnet.ping(process(A), 100 * SECOND).await, Err(crate::lnet::RequestError::Down));
    });
    bench.settle();
    let lnet = bench.lnet.clone();
    bench.wait(async move { lnet.stop(Stop::Now).await }).unwrap();
    bench.settle();
    assert_eq!(client.waiting(), 0);
    client.cut();
    bench.assert_idle();
    assert!(bench.lnet.routes().is_empty() && bench.lnet.peers().is_empty());
    bench.lnet.start();
    bench.add_net("10.0.0.1@tcp1");
    bench.add_net("10.1.0.1@tcp2");
    bench.lnd.default_takes.set(true);
    assert!(forwards(&bench));
}

#[test]
fn interfaces_come_and_go() {
    let bench = Bench::router(|config| config.alive_router_check_interval = Duration::ZERO);
    let add = |text: &str| {
        let (interface, tunables) = ("eth0".into(), Tunables::default());
        bench.lnet.add_net(NiConfig { nid: nid(text), interface, tunables })
    };
    assert_eq!(add("10.0.0.1@tcp1"), Err(AddNiError::Exists(nid("10.0.0.1@tcp1"))));
    assert!(matches!(add("10.0.0.1@o2ib"), Err(AddNiError::Kind(_))));
    bench.route("tcp9", "10.1.0.9@tcp2", None, 0);
    assert!(matches!(add("10.9.0.1@tcp9"), Err(AddNiError::Routed(_))));
    let client = bench.connect(A);
    client.send(put(A, B, 10));
    bench.settle();
    assert_eq!(bench.lnet.del_net("tcp2".parse().unwrap()), 1);
    assert!(bench.lnet.routes().is_empty(), "the gateway's network is gone");
    assert_eq!(bench.lnet.statistics().local_dropped_count, 1);
    client.send(put(A, B, 10));
    bench.settle();
    assert_eq!(bench.lnet.drops().no_route, 1);
    assert!(bench.lnet.del_ni(nid("10.0.0.1@tcp1")) && !bench.lnet.del_ni(nid("10.0.0.1@tcp1")));
    bench.assert_idle();
    assert_eq!(bench.lnet.nets().len(), 1, "loopback stays");
}

/// Several NIs on one network are one way each to its peers.
#[test]
fn two_interfaces_on_one_network() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let second = bench.add_net("10.1.0.3@tcp2");
    let first = bench.lnd.nis.borrow()[1].id;
    let client = bench.connect(A);
    bench.lnet.peer(second, nid(B)).unwrap();
    bench.lnet.peer_up(second, ProcessId::lustre(nid(B)));
    client.send(put(A, B, 10));
    bench.settle();
    let sent = |index: usize| bench.lnet.nets()[2].nis[index].traffic.sent.put;
    assert_eq!((sent(0), sent(1)), (0, 1), "where the connection is");
    bench.lnet.peer(first, nid(B)).unwrap();
    bench.lnet.peer_up(first, ProcessId::lustre(nid(B)));
    bench.lnet.peer_down(second, nid(B), true);
    client.send(put(A, B, 10));
    bench.settle();
    assert_eq!((sent(0), sent(1)), (1, 1));
    assert!(bench.lnet.del_ni(nid("10.1.0.3@tcp2")));
    client.send(put(A, B, 10));
    bench.settle();
    assert_eq!(sent(0), 2);
    bench.assert_idle();
}

#[test]
fn the_lines_of_the_administrator() {
    let nets = Bench::router(|_| {}).lnet.nets();
    assert_eq!(nets.iter().map(|net| net.net.to_string()).collect::<Vec<_>>(), ["lo", "tcp1", "tcp2"]);
    let ni = &nets[1].nis[0];
    assert_eq!((ni.up, ni.interface.as_deref(), ni.tx.max), (true, Some("eth0"), 256));
    let globals = Bench::router(|_| {}).lnet.globals();
    assert_eq!((globals.discovery, globals.drop_asym_route, globals.transaction_timeout), (1, 0, 150));
}
