//! Routes through other routers (LNet specification sections 4.7, 5.2, 5.9).

use crate::lnd::{Disposition, LndUpper};
use crate::lnet::testing::{Bench, nid, process, put};
use crate::lnet::{AddRouteError, RouteConfig};
use core::time::Duration;
use keelson_lnet_wire::message::{Ack, Header, Kind, Reply};
use keelson_lnet_wire::nid::ProcessId;
use keelson_lnet_wire::ping::{Entry, Features, PingInfo, Status};

const A: &str = "10.0.0.2@tcp1";
const FAR: &str = "10.9.0.1@tcp9";
const G1: &str = "10.1.0.11@tcp2";
const G2: &str = "10.1.0.12@tcp2";
const G3: &str = "10.1.0.13@tcp2";

/// A router that does not check its gateways.
fn unchecked() -> Bench {
    let bench = Bench::router(|config| config.alive_router_check_interval = Duration::ZERO);
    bench.lnd.default_takes.set(true);
    bench
}

/// Which gateways so many messages take.
fn spread(bench: &Bench, count: usize) -> [usize; 3] {
    let client = bench.connect(A);
    bench.lnd.seen.borrow_mut().clear();
    for _ in 0..count {
        client.send(put(A, FAR, 10));
    }
    bench.settle();
    [G1, G2, G3].map(|gateway| bench.lnd.count_for(nid(gateway)))
}

#[test]
fn routes_that_make_no_sense_are_refused() {
    let bench = unchecked();
    let add = |net: &str, gateway: &str, hops| {
        let net = net.parse().unwrap();
        bench.lnet.add_route(RouteConfig { net, gateway: nid(gateway), hops, priority: 0 })
    };
    assert!(matches!(add("lo", G1, None), Err(AddRouteError::Target(_))));
    assert!(matches!(add("tcp9", "10.9.0.1@tcp9", None), Err(AddRouteError::GatewayOnTarget(_))));
    assert!(matches!(add("tcp1", G1, None), Err(AddRouteError::TargetIsLocal(_))));
    assert!(matches!(add("tcp9", "10.7.0.1@tcp7", None), Err(AddRouteError::GatewayNotLocal(_))));
    assert!(matches!(add("tcp9", "10.1.0.1@tcp2", None), Err(AddRouteError::GatewayIsSelf(_))));
    assert!(matches!(add("tcp9", G1, Some(0)), Err(AddRouteError::Hops)));
    assert_eq!(add("tcp9", G1, Some(255)), Ok(()));
    assert!(matches!(add("tcp9", G1, None), Err(AddRouteError::Duplicate(..))));
    assert_eq!(add("o2ib3", G1, None), Ok(()), "a network of another type is as good");
    assert_eq!(bench.lnet.del_route("tcp9".parse().unwrap(), Some(nid(G2))), 0);
    assert_eq!(bench.lnet.del_route("tcp9".parse().unwrap(), None), 1);
    assert_eq!((bench.lnet.routes().len(), bench.lnet.routers().len()), (1, 1));
}

#[test]
fn equal_routes_take_turns() {
    let bench = unchecked();
    [G1, G2, G3].into_iter().for_each(|gateway| bench.route("tcp9", gateway, None, 0));
    assert_eq!(spread(&bench, 30), [10, 10, 10]);
}

#[test]
fn priority_comes_before_hops_and_hops_before_turns() {
    let bench = unchecked();
    bench.route("tcp9", G1, Some(5), 0);
    bench.route("tcp9", G2, Some(2), 0);
    bench.route("tcp9", G3, Some(1), 1);
    assert_eq!(spread(&bench, 10), [0, 10, 0]);
    bench.lnet.del_route("tcp9".parse().unwrap(), Some(nid(G2)));
    assert_eq!(spread(&bench, 10), [10, 0, 0]);
    bench.kill(G1);
    assert_eq!(spread(&bench, 10), [0, 0, 10]);
    bench.lnet.peer_up(bench.ni_of(nid(G1)), ProcessId::lustre(nid(G1)));
    assert_eq!(spread(&bench, 10), [10, 0, 0]);
    assert_eq!(bench.lnet.routes()[0].hops, Some(5));
}

#[test]
fn undefined_hops_count_as_one() {
    let bench = unchecked();
    bench.route("tcp9", G1, None, 0);
    bench.route("tcp9", G2, Some(1), 0);
    bench.route("tcp9", G3, Some(2), 0);
    assert_eq!(spread(&bench, 10), [5, 5, 0]);
}

#[test]
fn a_busy_gateway_gets_less() {
    let bench = unchecked();
    bench.lnd.default_takes.set(false);
    bench.lnd.behave(nid(G2), crate::lnet::testing::Behaviour::Takes);
    [G1, G2].into_iter().for_each(|gateway| bench.route("tcp9", gateway, None, 0));
    let [slow, fast, _] = spread(&bench, 100);
    assert!(slow <= 2 && fast >= 98, "{slow} {fast}");
}

#[test]
fn what_waits_for_a_dead_gateway_takes_another_one() {
    let bench = unchecked();
    bench.lnd.default_takes.set(false);
    bench.route("tcp9", G1, None, 0);
    let client = bench.connect(A);
    client.send(put(A, FAR, 10));
    bench.settle();
    bench.route("tcp9", G2, None, 1);
    // The header of this one is decided upon while G1 lives, its payload is complete when it is dead.
    let peer = bench.lnet.peer(bench.ni_of(nid(A)), nid(A)).unwrap();
    let lnet = bench.lnet.clone();
    let header = put(A, FAR, 70_000);
    let taken = bench.wait(async move {
        match lnet.arrived(&peer, &header).await {
            Disposition::Take(message) => Some(message),
            _ => None,
        }
    });
    bench.kill(G1);
    let peer = bench.lnet.peer(bench.ni_of(nid(A)), nid(A)).unwrap();
    bench.lnet.received(&peer, taken.unwrap());
    assert_eq!((bench.lnd.count_for(nid(G1)), bench.lnd.count_for(nid(G2))), (1, 1));
    bench.lnd.finish_all(nid(G2), Ok(()));
    bench.assert_idle();
}

/// Answers the checks of a gateway: a GET with this information, a PUT with an ACK.
fn answer(bench: &Bench, gateway: &str, info: Option<&PingInfo>) {
    let requests: Vec<Header> = {
        let mut seen = bench.lnd.seen.borrow_mut();
        let requests = seen.iter().filter(|seen| seen.0 == nid(gateway)).map(|seen| seen.1).collect();
        seen.retain(|seen| seen.0 != nid(gateway));
        requests
    };
    let peer = bench.lnet.peer(bench.ni_of(nid(gateway)), nid(gateway)).unwrap();
    for header in requests {
        let to = header.source();
        let (answer, bytes) = match header.kind {
            Kind::Get => {
                let Some(info) = info else { continue };
                let bytes = info.encode();
                let reply = Reply { dst_wmd: header.get().return_wmd };
                (Header::new_reply(process(gateway), to, &reply, bytes.len() as u32), bytes)
            }
            _ => {
                let put = header.put();
                let (dst_wmd, match_bits) = (put.ack_wmd, put.match_bits);
                let ack = Ack { dst_wmd, match_bits, mlength: header.payload_length };
                (Header::new_ack(process(gateway), to, &ack), Vec::new())
            }
        };
        let (lnet, peer) = (bench.lnet.clone(), peer.clone());
        bench.wait(async move {
            if let Disposition::Take(mut message) = lnet.arrived(&peer, &answer).await {
                message.payload.from_mut(0)[..bytes.len()].copy_from_slice(&bytes);
                lnet.received(&peer, message);
            }
        });
    }
    bench.settle();
}

fn gateway_info(features: Features, entries: &[(&str, Status)]) -> PingInfo {
    let entry = |(text, status): &(&str, Status)| Entry { nid: nid(text), status: *status };
    PingInfo::new(features, 1, entries.iter().map(entry).collect())
}

fn checked(change: impl FnOnce(&mut crate::lnet::LnetConfig)) -> Bench {
    let bench = Bench::router(change);
    bench.lnd.default_takes.set(true);
    bench
}

fn is_up(bench: &Bench) -> bool {
    bench.lnet.routes()[0].up
}

#[test]
fn gateways_are_checked_every_minute() {
    let bench = checked(|_| {});
    bench.route("tcp9", G1, None, 0);
    bench.pass(Duration::from_millis(1500));
    let good = gateway_info(Features::ROUTER, &[(G1, Status::Up), ("10.9.0.11@tcp9", Status::Up)]);
    answer(&bench, G1, Some(&good));
    assert!(is_up(&bench), "up from the start");
    let pushed = bench.last_to(G1).expect("our information follows");
    assert!(pushed.0.put().is_push());
    answer(&bench, G1, None);
    assert!(bench.lnet.routes()[0].single_hop);
    assert!(bench.lnet.peers().iter().any(|peer| peer.primary == nid(G1) && peer.multi_rail));
    for _ in 0..3 {
        bench.pass(Duration::from_secs(60));
        assert_eq!(bench.lnd.count_for(nid(G1)), 1, "one ping a minute");
        answer(&bench, G1, Some(&good));
        answer(&bench, G1, None);
        assert!(is_up(&bench));
    }
    // It falls silent.
    bench.pass(Duration::from_secs(60));
    bench.pass(Duration::from_secs(48));
    assert!(is_up(&bench));
    bench.pass(Duration::from_secs(2));
    assert!(!is_up(&bench) && !bench.lnet.routers()[0].alive);
    assert_eq!(spread(&bench, 3), [0, 0, 0]);
    assert_eq!(bench.lnet.drops().no_route, 3);
    // A message of another network that comes through it shows that it lives.
    bench.connect(G1).send(put(FAR, A, 10));
    bench.settle();
    assert!(is_up(&bench));
}

/// In full mode a gateway that does not acknowledge a push counts as dead, here as with Linux.
#[test]
fn a_gateway_that_does_not_acknowledge_pushes_is_not_used() {
    let bench = checked(|_| {});
    bench.route("tcp9", G1, None, 0);
    bench.pass(Duration::from_millis(1500));
    let good = gateway_info(Features::ROUTER, &[(G1, Status::Up), ("10.9.0.11@tcp9", Status::Up)]);
    answer(&bench, G1, Some(&good));
    bench.pass(Duration::from_secs(51));
    assert!(!is_up(&bench));
    // One that does not take part in discovery is not pushed anything, and used.
    let simple = gateway_info(Features::SIMPLE_ROUTER, &[(G1, Status::Up), ("10.9.0.11@tcp9", Status::Up)]);
    bench.pass(Duration::from_secs(10));
    answer(&bench, G1, Some(&simple));
    assert!(is_up(&bench));
    assert_eq!(bench.lnd.count_for(nid(G1)), 0);
}

#[test]
fn what_a_gateway_says_decides_whether_it_is_used() {
    let after = |hops: Option<u8>, features, entries: &[(&str, Status)], avoid: bool| {
        let bench = checked(|config| config.avoid_asym_router_failure = avoid);
        bench.route("tcp9", G1, hops, 0);
        bench.pass(Duration::from_millis(1500));
        answer(&bench, G1, Some(&gateway_info(features, entries)));
        let route = bench.lnet.routes().remove(0);
        (route.up, route.single_hop)
    };
    let far = "10.9.0.11@tcp9";
    let (up, down) = (Status::Up, Status::Down);
    let router = Features::ROUTER;
    assert_eq!(after(None, router, &[(G1, up), (far, up)], true), (true, true));
    assert_eq!(after(None, router, &[(G1, up), (far, down)], true), (false, true));
    assert_eq!(after(None, router, &[(G1, up), (far, down)], false), (true, true));
    assert_eq!(after(None, router, &[(G1, up)], true), (true, false), "the network is behind another router");
    assert_eq!(after(Some(1), router, &[(G1, up)], true), (false, true), "it should be there");
    assert_eq!(after(Some(2), router, &[(G1, up)], true), (true, false));
    assert_eq!(after(None, router, &[(G1, down), (far, up)], true), (false, true));
    assert_eq!(
        after(None, Features::END_NODE, &[(G1, up), (far, up)], true),
        (false, true),
        "does not forward"
    );
}

#[test]
fn gateways_can_be_checked_before_use() {
    let bench = checked(|config| config.check_routers_before_use = true);
    bench.route("tcp9", G1, None, 0);
    assert!(!is_up(&bench));
    bench.pass(Duration::from_millis(1500));
    answer(
        &bench,
        G1,
        Some(&gateway_info(Features::ROUTER, &[(G1, Status::Up), ("10.9.0.11@tcp9", Status::Up)])),
    );
    assert!(is_up(&bench));
}

/// A gateway that was lost is asked as soon as there is a connection to it again.
#[test]
fn a_gateway_is_checked_when_it_comes_back() {
    let bench = checked(|_| {});
    bench.route("tcp9", G1, None, 0);
    bench.pass(Duration::from_secs(5));
    bench.kill(G1);
    assert!(!is_up(&bench));
    bench.lnd.seen.borrow_mut().clear();
    bench.lnet.peer_up(bench.ni_of(nid(G1)), ProcessId::lustre(nid(G1)));
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.lnd.count_for(nid(G1)), 1);
}

/// Nobody else can speak for a gateway.
#[test]
fn a_hostile_push_does_not_take_a_route_down() {
    let bench = checked(|_| {});
    bench.route("tcp9", G1, None, 0);
    bench.connect(G2);
    let lie = gateway_info(Features::END_NODE, &[(G2, Status::Up), (G1, Status::Down)]).encode();
    let put = keelson_lnet_wire::message::Put::push(keelson_lnet_wire::message::Wmd::NONE);
    for source in [G2, G1] {
        let header = Header::new_put(process(source), process("10.1.0.1@tcp2"), &put, lie.len() as u32);
        let peer = bench.lnet.peer(bench.ni_of(nid(G2)), nid(G2)).unwrap();
        let (lnet, bytes) = (bench.lnet.clone(), lie.clone());
        bench.wait(async move {
            if let Disposition::Take(mut message) = lnet.arrived(&peer, &header).await {
                message.payload.from_mut(0).copy_from_slice(&bytes);
                lnet.received(&peer, message);
            }
        });
        assert!(is_up(&bench));
    }
}
