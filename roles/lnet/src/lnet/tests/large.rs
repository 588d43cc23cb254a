//! IPv6 NIDs: which of our NIs, which messages, and what pings say (LNet specification sections 4.8 and 5.6).

use super::super::testing::*;
use super::super::{AddRouteError, LnetConfig, RequestError, RouteConfig};
use crate::lnd::LndUpper;
use core::time::Duration;
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_lnet_wire::ping::{Entry, Features, PingInfo, Status};

const V4: &str = "10.0.0.2@tcp1";
const V6: &str = "2001:db8:3::2@tcp3";

/// Networks tcp1 (IPv4), tcp3 and tcp4 (IPv6).
fn mixed() -> Bench {
    let config = LnetConfig { forwarding: true, ..LnetConfig::default() };
    let bench = Bench::bare(config);
    for nid in ["10.0.0.1@tcp1", "2001:db8:3::1@tcp3", "2001:db8:4::1@tcp4"] {
        bench.add_net(nid);
    }
    bench.lnd.default_takes.set(true);
    bench
}

/// The 96-byte header is needed between IPv6 NIDs, and may lead to a connection that has the 72-byte one only as
/// long as no NID in it needs more.
#[test]
fn what_passes_between_networks_of_both_kinds() {
    let bench = mixed();
    let (four, six) = (bench.connect(V4), bench.connect(V6));
    let far = "2001:db8:4::9@tcp4";
    // Between two networks with IPv6.
    six.send(put(V6, far, 100));
    bench.settle();
    assert_eq!(bench.last_to(far).unwrap().0, put(V6, far, 100));
    // From behind an IPv6 gateway, but with IPv4 NIDs, and back.
    six.send(put("10.9.0.9@tcp9", V4, 100));
    bench.settle();
    assert_eq!(bench.last_to(V4).unwrap().0, put("10.9.0.9@tcp9", V4, 100));
    bench.route("tcp9", V6, None, 0);
    four.send(put(V4, "10.9.0.9@tcp9", 100));
    bench.settle();
    assert_eq!(bench.last_to(V6).unwrap().0, put(V4, "10.9.0.9@tcp9", 100));
    // An IPv4 node can address an IPv6 one; what comes back could not.
    let before = bench.lnet.statistics().route_count;
    assert_eq!(bench.lnet.drops().not_expressible, 0);
    six.send(put(V6, V4, 1 << 20));
    bench.settle();
    let drops = bench.lnet.drops();
    assert_eq!((six.skipped.get(), drops.not_expressible), (1, 1));
    assert_eq!(bench.lnet.statistics().route_count, before);
    bench.assert_idle();
}

/// Of the NIs on a network, the one that can connect.
#[test]
fn a_network_may_have_both_kinds() {
    let bench = Bench::router(|_| {});
    bench.add_net("2001:db8:1::1@tcp1");
    bench.lnd.default_takes.set(true);
    let (four, six) = (bench.lnd.nis.borrow()[0].id, bench.lnd.nis.borrow()[2].id);
    let sender = bench.connect("10.1.0.2@tcp2");
    let hop = |to: &str| {
        sender.send(put("10.1.0.2@tcp2", to, 10));
        bench.settle();
        let peer = bench.lnet.peers.borrow().find(&nid(to)).cloned();
        peer.map(|peer| peer.ni.id.unwrap())
    };
    assert_eq!(hop("10.0.0.2@tcp1"), Some(four));
    assert_eq!(hop("2001:db8:1::2@tcp1"), Some(six));
    // One that has come to the NI of the other kind is answered there, and reached by its own kind later.
    let odd = nid("10.0.0.7@tcp1");
    bench.lnet.peer(six, odd).unwrap();
    bench.lnet.peer_up(six, ProcessId::lustre(odd));
    assert_eq!(hop("10.0.0.7@tcp1"), Some(six));
    bench.lnet.peer_down(six, odd, false);
    hop("10.0.0.7@tcp1");
    assert!(bench.lnet.peers.borrow().find_at(&bench.lnet.nis.borrow()[0], &odd).is_some());
    // Where there is none of its kind, there is no way.
    let none = "2001:db8:2::2@tcp2";
    let client = bench.connect("10.0.0.2@tcp1");
    client.send(put("10.0.0.2@tcp1", none, 10));
    bench.settle();
    assert_eq!(bench.lnet.drops().no_route, 1);
    let route = RouteConfig { net: "tcp9".parse().unwrap(), gateway: nid(none), hops: None, priority: 0 };
    let error = bench.lnet.add_route(route).unwrap_err();
    assert_eq!(error, AddRouteError::GatewayFamily(nid(none)));
    assert!(error.to_string().contains("no NI of this node on tcp2 has an IPv6 NID"), "{error}");
    bench.assert_idle();
}

fn info(bench: &Bench) -> PingInfo {
    let bytes = bench.lnet.own_info(0, u32::MAX);
    PingInfo::decode(bytes.as_slice().unwrap(), 200).unwrap()
}

#[test]
fn pings_list_ipv6_nids_behind_the_others_and_say_which_is_the_first() {
    let bench = mixed();
    let names = |info: &PingInfo| info.entries.iter().map(|entry| entry.nid.to_string()).collect::<Vec<_>>();
    let told = info(&bench);
    assert_eq!(names(&told), ["10.0.0.1@tcp1", "2001:db8:3::1@tcp3", "2001:db8:4::1@tcp4"]);
    assert_eq!(told.features, Features::ROUTER | Features::LARGE_ADDR);
    assert_eq!(told.primary(), Some(nid("10.0.0.1@tcp1")));
    // The first NI goes: now the first one has an IPv6 NID.
    bench.lnet.del_ni(nid("10.0.0.1@tcp1"));
    bench.add_net("10.0.0.1@tcp1");
    let told = info(&bench);
    assert_eq!(names(&told), ["10.0.0.1@tcp1", "2001:db8:3::1@tcp3", "2001:db8:4::1@tcp4"]);
    assert!(told.features.contains(Features::PRIMARY_LARGE | Features::LARGE_ADDR));
    assert_eq!((told.primary(), told.sequence), (Some(nid("2001:db8:3::1@tcp3")), 2));
    // With IPv4 NIDs alone nothing is said that older peers do not know.
    bench.lnet.del_net("tcp3".parse().unwrap());
    bench.lnet.del_net("tcp4".parse().unwrap());
    assert_eq!(info(&bench).features, Features::ROUTER);
}

/// Whoever cannot take it all at once asks again with more room.
#[test]
fn a_ping_that_is_cut_short_says_how_long_it_is() {
    let bench = mixed();
    let connection = bench.connect(V6);
    connection.send(ping(V6, "2001:db8:3::1@tcp3", 40));
    bench.settle();
    let (header, bytes) = bench.last_to(V6).unwrap();
    assert_eq!((header.payload_length, bytes.len()), (40, 40));
    assert!(format!("{:?}", PingInfo::decode(&bytes, 200)).contains("needed: 96"));
}

/// The NID in an own request must be one that the answer can come back to.
#[test]
fn own_requests_name_a_sender_that_can_be_answered() {
    let bench = mixed();
    bench.route("tcp9", V6, None, 0);
    let ask = |to: &str| {
        let (lnet, to) = (bench.lnet.clone(), process(to));
        bench.wait(async move { lnet.ping(to, Duration::from_millis(1)).await.unwrap_err() })
    };
    ask("2001:db8:3::7@tcp3");
    assert_eq!(bench.last_to("2001:db8:3::7@tcp3").unwrap().0.src_nid, nid("2001:db8:3::1@tcp3"));
    ask("2001:db8:9::7@tcp9");
    assert_eq!(bench.last_to(V6).unwrap().0.src_nid, nid("2001:db8:3::1@tcp3"));
    ask("10.9.0.7@tcp9");
    let header = bench.last_to(V6).unwrap().0;
    assert_eq!((header.src_nid, header.dest_nid), (nid("10.0.0.1@tcp1"), nid("10.9.0.7@tcp9")));
    // Through an IPv4 gateway nothing can be said to an IPv6 NID.
    bench.route("tcp8", V4, None, 0);
    assert_eq!(ask("2001:db8:8::7@tcp8"), RequestError::NoRoute);
}

/// A peer is known by all that it says of itself, whatever the kind.
#[test]
fn a_peer_with_nids_of_both_kinds_is_one_peer() {
    let bench = mixed();
    let (four, six) = (bench.connect(V4), bench.connect(V6));
    let entries = [V4, V6].map(|text| Entry { nid: nid(text), status: Status::Up }).to_vec();
    let told = PingInfo::new(Features::END_NODE | Features::PRIMARY_LARGE, 1, entries);
    bench.lnet.learn(nid(V4), &told).unwrap();
    let nodes = bench.lnet.nodes.borrow();
    let node = nodes.find(&nid(V4)).unwrap();
    assert_eq!(node.primary.get(), nid(V6));
    assert!(node.has(&nid(V4)) && Nid::is_large(&node.primary.get()));
    drop((four, six));
}
