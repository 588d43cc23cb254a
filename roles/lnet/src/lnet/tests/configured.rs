//! Peers that an administrator names.

use super::super::testing::*;
use super::super::{PeerConfig, PeerError, peer_state};
use crate::lnet::show::PeerStatus;
use keelson_lnet_wire::ping::{Entry, Features, PingInfo, Status};

const A: &str = "10.0.0.2@tcp1";
const B: &str = "10.1.0.2@tcp2";
const C: &str = "2001:db8::2@tcp9";

fn add(bench: &Bench, primary: &str, nids: &[&str], multi_rail: bool) -> Result<(), PeerError> {
    let nids = nids.iter().map(|text| nid(text)).collect();
    bench.lnet.add_peer_config(&PeerConfig { primary: nid(primary), nids, multi_rail })
}

fn del(bench: &Bench, primary: &str, nids: &[&str]) -> Result<(), PeerError> {
    let nids: Vec<_> = nids.iter().map(|text| nid(text)).collect();
    bench.lnet.del_peer(nid(primary), &nids)
}

fn shown(bench: &Bench) -> Vec<String> {
    let line = |peer: &PeerStatus| {
        let nids: Vec<_> = peer.nis.iter().map(|ni| ni.nid.to_string()).collect();
        format!("{} {:#x}: {}", peer.primary, peer.state, nids.join(" "))
    };
    bench.lnet.peers().iter().map(line).collect()
}

fn says(features: Features, nids: &[&str]) -> PingInfo {
    let entries = nids.iter().map(|text| Entry { nid: nid(text), status: Status::Up }).collect();
    PingInfo::new(features, 1, entries)
}

#[test]
fn a_peer_is_what_the_administrator_says() {
    let bench = Bench::router(|_| {});
    add(&bench, A, &[B, C], true).unwrap();
    assert_eq!(shown(&bench), [format!("{A} 0x9: {A} {B} {C}")]);
    // It says otherwise: what it can do counts, its NIDs do not.
    bench.lnet.learn(nid(B), &says(Features::ROUTER, &[B, "10.1.0.3@tcp2"]));
    assert_eq!(shown(&bench), [format!("{A} 0x11d: {A} {B} {C}")]);
    // Again, with one NID more.
    add(&bench, A, &[B, "10.0.0.9@tcp1"], true).unwrap();
    assert_eq!(shown(&bench), [format!("{A} 0x11d: {A} {B} {C} 10.0.0.9@tcp1")]);
    del(&bench, A, &[C, B]).unwrap();
    assert_eq!(shown(&bench), [format!("{A} 0x11d: {A} 10.0.0.9@tcp1")]);
    del(&bench, A, &[A]).unwrap();
    assert_eq!(shown(&bench), [""; 0]);
    // What was learnt of its NIDs is forgotten, and learnt again where nobody says otherwise.
    bench.lnet.learn(nid(A), &says(Features::END_NODE, &[A, B]));
    add(&bench, B, &[], false).unwrap();
    assert_eq!(shown(&bench), [format!("{A} 0x111: {A}"), format!("{B} 0x8: {B}")]);
    bench.lnet.learn(nid(A), &says(Features::END_NODE, &[A, B]));
    bench.lnet.learn(nid(B), &says(Features::END_NODE, &[A, B]));
    assert_eq!(
        shown(&bench),
        [format!("{A} 0x111: {A}"), format!("{B} 0x118: {B}")],
        "not multi-rail, as was said"
    );
}

#[test]
fn mistakes_change_nothing() {
    let bench = Bench::router(|config| config.max_peers = 6);
    bench.route("tcp9", "10.1.0.9@tcp2", None, 0);
    add(&bench, A, &[B], true).unwrap();
    add(&bench, "10.0.0.7@tcp1", &["10.1.0.7@tcp2"], false).unwrap();
    let before = shown(&bench);
    let other = "10.0.0.5@tcp1";
    for (result, error) in [
        (add(&bench, "0@lo", &[], true), PeerError::Invalid(nid("0@lo"))),
        (add(&bench, other, &["<?>"], true), PeerError::Invalid(nid("<?>"))),
        (add(&bench, other, &["10.1.0.1@tcp2"], true), PeerError::Own(nid("10.1.0.1@tcp2"))),
        (add(&bench, B, &[], true), PeerError::Taken(nid(B), nid(A))),
        (add(&bench, other, &[B], true), PeerError::Taken(nid(B), nid(A))),
        (add(&bench, A, &[], false), PeerError::OtherKind(nid(A))),
        (add(&bench, "10.0.0.7@tcp1", &[other], false), PeerError::SecondOnNet(nid(other))),
        (add(&bench, A, &[other, C, "10.0.0.6@tcp1"], true), PeerError::TooMany),
        (del(&bench, other, &[]), PeerError::Unknown(nid(other))),
        (del(&bench, A, &[other]), PeerError::Unknown(nid(other))),
        (del(&bench, B, &[]), PeerError::NotPrimary(nid(B), nid(A))),
        (del(&bench, "10.1.0.9@tcp2", &[]), PeerError::Gateway(nid("10.1.0.9@tcp2"))),
    ] {
        assert_eq!(result, Err(error));
        assert_eq!(shown(&bench), before, "{error}");
    }
}

/// A neighbour that is deleted begins anew, whatever is under way.
#[test]
fn a_deleted_peer_loses_its_connections_and_nothing_else_is_lost() {
    let bench = Bench::router(|_| {});
    let sender = bench.connect(A);
    let receiver = bench.connect(B);
    for _ in 0..20 {
        sender.send(put(A, B, 100_000));
    }
    bench.settle();
    let under_way = bench.lnd.kept_for(nid(B));
    assert!((1..20).contains(&under_way), "{under_way}");
    receiver.cut();
    bench.lnd.default_takes.set(true);
    del(&bench, B, &[]).unwrap();
    bench.settle();
    // The driver lost what it had; the others went out over a new connection.
    let statistics = bench.lnet.statistics();
    assert_eq!((statistics.route_count, statistics.drop_count), (20 - under_way as u64, under_way as u64));
    sender.send(put(A, B, 100));
    bench.settle();
    assert_eq!(bench.lnet.statistics().route_count, statistics.route_count + 1);
    assert_eq!(shown(&bench).len(), 2);
    bench.assert_idle();
}

/// A peer that was named is pushed to only once it has said that it listens.
#[test]
fn a_named_peer_is_not_pushed_to_before_it_was_discovered() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    bench.connect(A);
    add(&bench, A, &[], true).unwrap();
    bench.lnet.info_changed(super::super::ping::Change::Contents);
    bench.settle();
    assert_eq!(bench.lnd.count_for(nid(A)), 0);
    assert!(bench.lnet.everybody_knows());
    bench.lnet.learn(nid(A), &says(Features::END_NODE, &[A]));
    bench.settle();
    assert_eq!(bench.lnd.count_for(nid(A)), 1, "the push");
    assert!(!bench.lnet.everybody_knows());
    let node = bench.lnet.nodes.borrow().find(&nid(A)).cloned().unwrap();
    assert!(node.state.get() & peer_state::PUSH_SENT != 0);
}
