//! Neighbours that make contact are told what this router is.

use crate::lnd::{LndUpper, SendError};
use crate::lnet::show::{ContactStatus, RoutingState};
use crate::lnet::testing::{Behaviour, Bench, Connection, nid, process};
use crate::lnet::{Life, Stop};
use core::time::Duration;
use keelson_lnet_wire::message::{Ack, Header, Kind, Put, Reply};
use keelson_lnet_wire::nid::{ProcessId, USERSPACE_FLAG};
use keelson_lnet_wire::ping::{Entry, Features, PingInfo, Status};
use std::rc::Rc;

const CLIENT: &str = "10.0.0.2@tcp1";
/// Time for a neighbour to settle, and for its turn to come.
const SOON: Duration = Duration::from_millis(300);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn contacts(bench: &Bench) -> ContactStatus {
    bench.lnet.contacts()
}

/// What was sent, by kind, since this was asked last.
fn sent(bench: &Bench) -> Vec<(Header, Vec<u8>)> {
    let seen = core::mem::take(&mut *bench.lnd.seen.borrow_mut());
    seen.into_iter().map(|(_, header, bytes)| (header, bytes)).collect()
}

/// The client answers a ping with these features. The bench fills payloads evenly, so this goes around its connection.
fn answers(bench: &Bench, client: &str, ping: &Header, features: Features) {
    use crate::lnd::Disposition;
    assert!(ping.kind == Kind::Get && ping.get().is_ping(), "{ping:?}");
    let info = PingInfo::new(features, 1, [Entry { nid: nid(client), status: Status::Up }].to_vec()).encode();
    let reply = Reply { dst_wmd: ping.get().return_wmd };
    let header = Header::new_reply(process(client), ping.source(), &reply, info.len() as u32);
    let (lnet, from) = (bench.lnet.clone(), nid(client));
    let peer = lnet.peer(bench.ni_of(from), from).expect("admitted");
    bench.wait(async move {
        if let Disposition::Take(mut message) = lnet.arrived(&peer, &header).await {
            message.payload.from_mut(0)[..info.len()].copy_from_slice(&info);
            lnet.received(&peer, message);
        }
    });
    bench.settle();
}

fn acknowledges(bench: &Bench, connection: &Connection, client: &str, push: &Header) {
    let Put { ack_wmd: dst_wmd, match_bits, .. } = push.put();
    let ack = Ack { dst_wmd, match_bits, mlength: push.payload_length };
    connection.send(Header::new_ack(process(client), push.source(), &ack));
    bench.settle();
}

fn router() -> Bench {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    bench.tells.set(true);
    bench
}

/// Makes contact, waits, and returns the ping that comes.
fn contact(bench: &Bench) -> (Rc<Connection>, Header) {
    let connection = bench.connect(CLIENT);
    bench.settle();
    assert!(sent(bench).is_empty(), "not at once: it may speak first");
    bench.pass(SOON);
    let [(ping, _)] = &sent(bench)[..] else { panic!("one ping") };
    (connection, *ping)
}

#[test]
fn a_stranger_is_asked_and_told() {
    let bench = router();
    let (connection, ping) = contact(&bench);
    assert_eq!((ping.src_nid, ping.dest_nid), (nid("10.0.0.1@tcp1"), nid(CLIENT)));
    answers(&bench, CLIENT, &ping, Features::END_NODE);
    let pushes = sent(&bench);
    let [(push, bytes)] = &pushes[..] else { panic!("one push: {pushes:?}") };
    assert!(push.put().is_push() && !push.put().ack_wmd.is_none());
    assert_eq!(PingInfo::decode(bytes, 200).expect("valid").features, Features::ROUTER);
    acknowledges(&bench, &connection, CLIENT, push);
    assert_eq!(contacts(&bench), ContactStatus { made: 1, told: 1, ..ContactStatus::default() });
    // Once, whatever comes on these connections.
    bench.pass(Duration::from_secs(60));
    assert!(sent(&bench).is_empty());
    bench.assert_idle();
}

#[test]
fn each_life_of_the_connections_counts() {
    let bench = router();
    for round in 1..4 {
        let (connection, ping) = contact(&bench);
        answers(&bench, CLIENT, &ping, Features::END_NODE);
        let [(push, _)] = &sent(&bench)[..] else { panic!("one push") };
        acknowledges(&bench, &connection, CLIENT, push);
        assert_eq!(contacts(&bench).told, round);
        connection.cut();
        bench.lnet.peer_down(bench.ni_of(nid(CLIENT)), nid(CLIENT), false);
    }
}

/// As Linux nodes do when they check a router: a ping, then a push.
#[test]
fn who_speaks_first_is_not_asked() {
    let bench = router();
    bench.connect(CLIENT);
    bench.pass(ms(100));
    let client = nid(CLIENT);
    let info = PingInfo::new(Features::END_NODE, 1, [Entry { nid: client, status: Status::Up }].to_vec());
    bench.lnet.learn(client, &info);
    bench.settle();
    let pushes = sent(&bench);
    assert!(pushes.len() == 1 && pushes[0].0.put().is_push(), "the answer to its push");
    bench.pass(SOON);
    assert!(sent(&bench).is_empty());
    assert_eq!(contacts(&bench), ContactStatus { made: 1, spoke_first: 1, ..ContactStatus::default() });
}

/// Lustre 2.10, and whoever has discovery switched off.
#[test]
fn who_takes_no_part_in_discovery_is_left_alone() {
    for features in [Features(0x06), Features::NI_STATUS | Features::MULTI_RAIL] {
        let bench = router();
        let (_connection, ping) = contact(&bench);
        answers(&bench, CLIENT, &ping, features);
        bench.pass(Duration::from_secs(60));
        assert!(sent(&bench).is_empty());
        let expected = ContactStatus { made: 1, without_discovery: 1, ..ContactStatus::default() };
        assert_eq!(contacts(&bench), expected);
        bench.assert_idle();
    }
}

#[test]
fn silence_is_counted_and_no_more() {
    let bench = router();
    let (_connection, _) = contact(&bench);
    bench.pass(Duration::from_secs(60));
    assert!(sent(&bench).is_empty());
    assert_eq!(contacts(&bench), ContactStatus { made: 1, failed: 1, ..ContactStatus::default() });
    bench.lnd.behave(nid("10.0.0.3@tcp1"), Behaviour::Fails(SendError::Broken));
    bench.connect("10.0.0.3@tcp1");
    bench.pass(SOON);
    assert_eq!(contacts(&bench).failed, 2);
    bench.assert_idle();
}

#[test]
fn who_has_gone_is_not_called_back() {
    let bench = router();
    bench.connect(CLIENT).cut();
    bench.lnet.peer_down(bench.ni_of(nid(CLIENT)), nid(CLIENT), false);
    bench.pass(SOON);
    assert!(sent(&bench).is_empty());
    assert_eq!(contacts(&bench), ContactStatus { made: 1, gone: 1, ..ContactStatus::default() });
}

/// Nobody can connect to them.
#[test]
fn userspace_processes_are_left_alone() {
    let bench = router();
    let (ni, client) = (bench.ni_of(nid(CLIENT)), nid(CLIENT));
    bench.lnet.peer(ni, client).expect("admitted");
    bench.lnet.peer_up(ni, ProcessId { nid: client, pid: USERSPACE_FLAG | 4711 });
    bench.pass(SOON);
    assert!(sent(&bench).is_empty());
    assert_eq!(contacts(&bench), ContactStatus::default());
}

#[test]
fn only_routers_with_discovery_tell() {
    for (forwarding, discovery) in [(false, true), (true, false)] {
        let bench = Bench::router(|config| {
            config.forwarding = forwarding;
            config.discovery = discovery;
        });
        bench.lnd.default_takes.set(true);
        bench.tells.set(true);
        bench.connect(CLIENT);
        bench.pass(Duration::from_secs(1));
        assert!(sent(&bench).is_empty());
        assert_eq!(contacts(&bench), ContactStatus::default());
        // Once it does, those who were there before are told as well.
        if forwarding {
            bench.lnet.reconfigure(|config| config.discovery = true);
        } else {
            bench.lnet.set_routing(true);
            bench.pass(Duration::from_secs(100));
            assert!(sent(&bench).is_empty(), "it says that it routes when all peers have had time to ask");
            bench.pass(Duration::from_secs(10));
        }
        assert_eq!(bench.lnet.routing_state(), RoutingState::Enabled);
        bench.pass(SOON);
        let [(ping, _)] = &sent(&bench)[..] else { panic!("one ping") };
        answers(&bench, CLIENT, ping, Features::END_NODE);
        let [(push, bytes)] = &sent(&bench)[..] else { panic!("one push") };
        assert!(push.put().is_push());
        assert_eq!(PingInfo::decode(bytes, 200).expect("valid").features, Features::ROUTER);
    }
}

/// A router that is being drained does not start telling that it routes.
#[test]
fn a_drain_ends_it() {
    let bench = router();
    bench.connect(CLIENT);
    bench.lnet.set_routing(false);
    bench.connect("10.0.0.3@tcp1");
    bench.pass(SOON);
    assert!(sent(&bench).is_empty());
    bench.lnet.set_routing(true);
    bench.pass(SOON);
    assert_eq!(sent(&bench).len(), 2, "overtaken by the change of mind");
}

/// Two thousand come at once: paced, few at a time, and each is told in the end. Those who do not answer hold the
/// others up, but do not stop them.
#[test]
fn a_crowd_is_told_in_turn() {
    let bench = Bench::router(|config| config.max_peers = 8192);
    bench.lnd.default_takes.set(true);
    bench.tells.set(true);
    let name = |index: usize| format!("10.0.{}.{}@tcp1", 1 + index / 200, 2 + index % 200);
    for index in 0..2000 {
        let client = nid(&name(index));
        bench.lnet.peer(bench.ni_of(client), client).expect("admitted");
        // Again and again: it waits once.
        for _ in 0..3 {
            bench.lnet.peer_up(bench.ni_of(client), ProcessId::lustre(client));
        }
    }
    assert_eq!((contacts(&bench).made, bench.lnet.contacts.len()), (6000, 2000));
    bench.pass(ms(250));
    let mut told = 0;
    let mut steps = 0;
    while contacts(&bench).told < 1995 && steps < 5000 {
        bench.pass(ms(10));
        steps += 1;
        let new = sent(&bench);
        assert!(new.len() <= 32, "{} at once", new.len());
        for (ping, _) in new.iter().filter(|(header, _)| header.kind == Kind::Get) {
            let client = ping.dest_nid.to_string();
            // One in 400 is silent.
            let index = (0..2000).find(|index| name(*index) == client).expect("one of them");
            if index % 400 == 7 {
                continue;
            }
            answers(&bench, &client, ping, Features::END_NODE);
            let [(push, _)] = &sent(&bench)[..] else { panic!("one push") };
            let (ack, from) = (push.put().ack_wmd, nid(&client));
            let ack = Ack { dst_wmd: ack, match_bits: push.put().match_bits, mlength: push.payload_length };
            let header = Header::new_ack(process(&client), push.source(), &ack);
            let (lnet, peer) = (bench.lnet.clone(), bench.lnet.peer(bench.ni_of(from), from).expect("known"));
            bench.wait(async move {
                if let crate::lnd::Disposition::Take(message) = lnet.arrived(&peer, &header).await {
                    lnet.received(&peer, message);
                }
            });
            bench.settle();
            told += 1;
        }
    }
    assert_eq!((told, contacts(&bench).told), (1995, 1995));
    // 500 a second.
    assert!((380..450).contains(&steps), "{steps} steps of 10 ms");
    bench.pass(Duration::from_secs(10));
    assert_eq!(contacts(&bench).failed, 5);
    bench.assert_idle();
}

#[test]
fn nothing_is_left_of_it_when_the_node_goes_down() {
    let bench = router();
    bench.connect(CLIENT);
    let lnet = bench.lnet.clone();
    bench.wait(async move { lnet.stop(Stop::Now).await }).expect("not refused");
    assert_eq!((bench.lnet.contacts.len(), bench.lnet.life.get()), (0, Life::Stopped));
    bench.lnet.start();
    bench.pass(SOON);
    assert!(sent(&bench).is_empty());
}
