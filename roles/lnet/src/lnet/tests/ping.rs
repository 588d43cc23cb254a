//! Ping information: ours as others see it, pushes of others (LNet specification sections 5.6 to 5.8).

use crate::lnet::testing::{Bench, nid, ping, process};
use keelson_lnet_wire::message::{Ack, Header, Kind, Put, Wmd};
use keelson_lnet_wire::nid::Nid;
use keelson_lnet_wire::ping::{Entry, Features, PingInfo, Status};

/// LNet specification appendix B.5, without the 24 bytes of the socket header.
const B5: [u8; 136] = [
    0x02, 0x00, 0x00, 0x0a, 0x01, 0x00, 0x02, 0x00, 0x01, 0x00, 0x00, 0x0a, 0x01, 0x00, 0x02, 0x00, //
    0x39, 0x30, 0x00, 0x00, 0x39, 0x30, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, //
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0xa0, 0x17, 0x15, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, //
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, //
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x67, 0x6e, 0x69, 0x70, 0x1a, 0x00, 0x00, 0x00, //
    0x39, 0x30, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x00, //
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x0a, 0x01, 0x00, 0x02, 0x00, //
    0xde, 0xc0, 0xaa, 0x15, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x01, 0x0a, 0x02, 0x00, 0x02, 0x00, //
    0xde, 0xc0, 0xaa, 0x15, 0x00, 0x00, 0x00, 0x00,
];

fn asked(bench: &Bench, to: &str, room: u32) -> (Header, Vec<u8>) {
    bench.lnd.default_takes.set(true);
    let client = bench.connect("10.0.0.2@tcp1");
    client.send(ping("10.0.0.2@tcp1", to, room));
    bench.settle();
    bench.last_to("10.0.0.2@tcp1").expect("answered")
}

fn info(bench: &Bench) -> PingInfo {
    PingInfo::decode(&asked(bench, "10.0.0.1@tcp1", 272).1, 200).expect("valid")
}

#[test]
fn the_answer_is_that_of_appendix_b5() {
    let bench = Bench::router(|_| {});
    let (header, bytes) = asked(&bench, "10.0.0.1@tcp1", 272);
    let mut wire = [0; Header::SMALL];
    header.encode_small(&mut wire).expect("small");
    assert_eq!([&wire[..], &bytes[..]].concat(), B5);
    let statistics = bench.lnet.statistics();
    assert_eq!((statistics.recv_count, statistics.send_count), (1, 1));
    assert_eq!((statistics.recv_length, statistics.send_length), (0, 64), "as a GET that was answered");
    assert_eq!(statistics.route_count, 0);
    bench.assert_idle();
}

#[test]
fn every_sink_length_and_offset_is_honoured() {
    for room in [0, 1, 15, 16, 40, 63, 64, 65, 272, 1 << 20, u32::MAX] {
        let bench = Bench::router(|_| {});
        let (header, bytes) = asked(&bench, "10.0.0.1@tcp1", room);
        let len = room.min(64) as usize;
        assert_eq!(header.kind, Kind::Reply);
        assert_eq!((header.payload_length as usize, &bytes[..]), (len, &B5[72..72 + len]));
    }
    for offset in [0, 16, 64, 65, u32::MAX] {
        let bench = Bench::router(|_| {});
        bench.lnd.default_takes.set(true);
        let client = bench.connect("10.0.0.2@tcp1");
        let mut header = ping("10.0.0.2@tcp1", "10.0.0.1@tcp1", 272);
        header.body[28..32].copy_from_slice(&u32::to_le_bytes(offset));
        client.send(header);
        bench.settle();
        let (_, bytes) = bench.last_to("10.0.0.2@tcp1").expect("answered");
        assert_eq!(bytes, B5[72..].get(offset as usize..).unwrap_or_default());
    }
}

/// The same primary NID, whichever NID is asked.
#[test]
fn all_interfaces_say_the_same() {
    let bench = Bench::router(|_| {});
    let (_, here) = asked(&bench, "10.0.0.1@tcp1", 272);
    let (_, there) = asked(&bench, "10.1.0.1@tcp2", 272);
    assert_eq!(here, there);
}

#[test]
fn features_tell_what_the_node_does() {
    assert_eq!(info(&Bench::router(|_| {})).features, Features::ROUTER);
    assert_eq!(info(&Bench::router(|config| config.discovery = false)).features, Features(0x0a));
    assert_eq!(info(&Bench::router(|config| config.forwarding = false)).features, Features::END_NODE);
}

#[test]
fn the_sequence_number_counts_changes_that_somebody_saw() {
    let bench = Bench::router(|_| {});
    assert_eq!(info(&bench).sequence, 1, "start-up is one change");
    bench.add_net("10.2.0.1@tcp3");
    bench.add_net("10.3.0.1@tcp4");
    assert_eq!((info(&bench).sequence, info(&bench).entries.len()), (2, 4));
    assert_eq!(bench.lnet.del_net("tcp4".parse().unwrap()), 1);
    assert_eq!((info(&bench).sequence, info(&bench).entries.len()), (3, 3));
    bench.lnet.link_changed(bench.ni_of(nid("10.1.0.9@tcp2")), false);
    let down = info(&bench);
    assert_eq!(down.sequence, 3, "as a Linux router does, see the recording of a link going down");
    assert_eq!(down.entries[1], Entry { nid: nid("10.1.0.1@tcp2"), status: Status::Down });
    bench.lnet.link_changed(bench.ni_of(nid("10.1.0.9@tcp2")), true);
    assert_eq!(info(&bench).entries[1].status, Status::Up);
}

#[test]
fn a_router_with_many_networks_is_asked_twice() {
    let bench = Bench::router(|_| {});
    for index in 3..40 {
        bench.add_net(&format!("10.{index}.0.1@tcp{index}"));
    }
    let (header, bytes) = asked(&bench, "10.0.0.1@tcp1", 272);
    assert_eq!(header.payload_length, 272);
    assert!(matches!(
        PingInfo::decode(&bytes, 200),
        Err(keelson_lnet_wire::ping::PingError::Truncated { .. })
    ));
    let (_, bytes) = asked(&bench, "10.0.0.1@tcp1", 16 + 16 * 40);
    assert_eq!(PingInfo::decode(&bytes, 200).expect("whole").entries.len(), 39);
}

fn push(from: &str, to: &str, len: usize, ack_wmd: Wmd) -> Header {
    Header::new_put(process(from), process(to), &Put::push(ack_wmd), len as u32)
}

/// Sends a push whose payload is `bytes`, bypassing the connection of the bench, which fills payloads evenly.
fn pushed(bench: &Bench, from: &str, source: &str, bytes: &[u8], ack_wmd: Wmd) {
    use crate::lnd::{Disposition, LndUpper};
    let header = push(source, "10.0.0.1@tcp1", bytes.len(), ack_wmd);
    let (lnet, bytes) = (bench.lnet.clone(), bytes.to_vec());
    let peer = lnet.peer(bench.ni_of(nid(from)), nid(from)).expect("admitted");
    bench.wait(async move {
        if let Disposition::Take(mut message) = lnet.arrived(&peer, &header).await {
            let mut at = 0;
            while at < bytes.len() {
                let place = message.payload.from_mut(at);
                let len = place.len();
                place.copy_from_slice(&bytes[at..at + len]);
                at += len;
            }
            lnet.received(&peer, message);
        }
    });
    bench.settle();
}

fn up(nids: &[&str]) -> Vec<Entry> {
    nids.iter().map(|text| Entry { nid: nid(text), status: Status::Up }).collect()
}

#[test]
fn a_push_is_acknowledged_taken_up_and_answered_with_ours() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    bench.connect("10.0.0.2@tcp1");
    let theirs = PingInfo::new(Features::END_NODE, 1, up(&["10.0.0.2@tcp1", "10.5.0.2@tcp5"]));
    pushed(&bench, "10.0.0.2@tcp1", "10.0.0.2@tcp1", &theirs.encode(), Wmd::new(5, 6));
    let seen = bench.lnd.seen.borrow();
    let (to, header, bytes) = &seen[0];
    assert_eq!((*to, header.kind, header.src_nid), (nid("10.0.0.2@tcp1"), Kind::Ack, nid("10.0.0.1@tcp1")));
    let ack = header.ack();
    assert_eq!((ack.dst_wmd, ack.match_bits, ack.mlength), (Wmd::new(5, 6), 1 << 63, 64));
    assert!(bytes.is_empty());
    let (_, header, bytes) = &seen[1];
    assert!(header.kind == Kind::Put && header.put().is_push() && !header.put().ack_wmd.is_none());
    assert_eq!(bytes[..], B5[72..]);
    let peers = bench.lnet.peers();
    assert_eq!((peers[0].primary, peers[0].multi_rail, peers[0].nis.len()), (nid("10.0.0.2@tcp1"), true, 2));
}

#[test]
fn a_push_without_ack_is_not_acknowledged() {
    let bench = Bench::router(|config| config.discovery = false);
    bench.lnd.default_takes.set(true);
    bench.connect("10.0.0.2@tcp1");
    let theirs = PingInfo::new(Features::END_NODE, 1, up(&["10.0.0.2@tcp1"]));
    pushed(&bench, "10.0.0.2@tcp1", "10.0.0.2@tcp1", &theirs.encode(), Wmd::NONE);
    assert!(bench.lnd.seen.borrow().is_empty());
    assert!(!bench.lnet.peers()[0].multi_rail, "discovery is off");
    bench.assert_idle();
}

#[test]
fn hostile_pushes_are_acknowledged_and_ignored() {
    let good = PingInfo::new(Features::END_NODE, 1, up(&["10.0.0.2@tcp1"])).encode();
    let mut wrong_magic = good.clone();
    wrong_magic[0] ^= 1;
    let mut endless = good.clone();
    endless[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut no_loopback = good.clone();
    no_loopback[22] = 0;
    for bytes in
        [&[][..], &good[..16], &good[..40], &wrong_magic, &endless, &no_loopback, &[0xff; 5000], &[0; 70_000]]
    {
        let bench = Bench::router(|_| {});
        bench.lnd.default_takes.set(true);
        bench.connect("10.0.0.2@tcp1");
        pushed(&bench, "10.0.0.2@tcp1", "10.0.0.2@tcp1", bytes, Wmd::new(5, 6));
        let (header, _) = bench.last_to("10.0.0.2@tcp1").expect("acknowledged");
        assert_eq!((header.kind, header.ack().mlength as usize), (Kind::Ack, bytes.len()));
        assert_eq!(bench.lnet.peers()[0].state, 0);
        bench.assert_idle();
    }
    let bench = Bench::router(|_| {});
    bench.connect("10.0.0.2@tcp1");
    pushed(&bench, "10.0.0.2@tcp1", "10.0.0.2@tcp1", &[0; 200_000], Wmd::new(5, 6));
    assert_eq!(bench.lnet.drops().unmatched, 1, "longer than any ping information");
}

/// Nobody speaks for others: not for our NIDs, not for those of other nodes, not under a neighbour's name.
#[test]
fn a_push_cannot_claim_what_is_not_the_sender_s() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    for client in ["10.0.0.2@tcp1", "10.0.0.3@tcp1"] {
        bench.connect(client);
    }
    let victim = PingInfo::new(Features::END_NODE, 1, up(&["10.0.0.3@tcp1", "10.5.0.3@tcp5"])).encode();
    pushed(&bench, "10.0.0.3@tcp1", "10.0.0.3@tcp1", &victim, Wmd::new(5, 6));
    let greedy =
        ["10.0.0.2@tcp1", "10.0.0.1@tcp1", "10.0.0.3@tcp1", "10.5.0.3@tcp5", "0@lo", "<?>", "10.5.0.2@tcp5"];
    let greedy = PingInfo::new(Features::END_NODE, 1, up(&greedy)).encode();
    pushed(&bench, "10.0.0.2@tcp1", "10.0.0.2@tcp1", &greedy, Wmd::new(5, 6));
    let spoofed = PingInfo::new(Features::END_NODE, 9, up(&["10.0.0.3@tcp1", "10.6.0.6@tcp6"])).encode();
    pushed(&bench, "10.0.0.2@tcp1", "10.0.0.3@tcp1", &spoofed, Wmd::new(5, 6));
    let nids = |index: usize| -> Vec<Nid> { bench.lnet.peers()[index].nis.iter().map(|ni| ni.nid).collect() };
    assert_eq!(bench.lnet.peers().len(), 2);
    assert_eq!(nids(0), [nid("10.0.0.2@tcp1"), nid("10.5.0.2@tcp5")]);
    assert_eq!(nids(1), [nid("10.0.0.3@tcp1"), nid("10.5.0.3@tcp5")]);
}

#[test]
fn changes_are_pushed_to_those_who_want_to_know() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    for index in 2..40 {
        let client = format!("10.0.0.{index}@tcp1");
        bench.connect(&client);
        if index < 30 {
            let theirs = PingInfo::new(Features::END_NODE, 1, up(&[&client])).encode();
            pushed(&bench, &client, &client, &theirs, Wmd::NONE);
        }
    }
    // Nobody acknowledges, so that a few are asked at once and the others when these have had their time.
    bench.pass(core::time::Duration::from_secs(60));
    bench.lnd.seen.borrow_mut().clear();
    bench.lnet.link_changed(bench.ni_of(nid("10.1.0.9@tcp2")), false);
    bench.settle();
    let first = bench.lnd.seen.borrow().len();
    assert_eq!(first, 16, "paced");
    bench.pass(core::time::Duration::from_secs(60));
    let seen = bench.lnd.seen.borrow();
    assert_eq!(seen.len(), 28, "each multi-rail peer once");
    for (_, header, bytes) in seen.iter() {
        assert!(header.put().is_push());
        assert_eq!(PingInfo::decode(bytes, 200).expect("valid").entries[1].status, Status::Down);
    }
    bench.assert_idle();
}

/// A Linux peer may mix up two pushes that come together.
#[test]
fn a_peer_is_pushed_one_change_after_the_other() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let client = bench.connect("10.0.0.2@tcp1");
    let theirs = PingInfo::new(Features::END_NODE, 1, up(&["10.0.0.2@tcp1"])).encode();
    pushed(&bench, "10.0.0.2@tcp1", "10.0.0.2@tcp1", &theirs, Wmd::NONE);
    // What the client was pushed since it last looked, and how it acknowledges that.
    let told = || -> Vec<(Header, Status)> {
        let seen = core::mem::take(&mut *bench.lnd.seen.borrow_mut());
        let pushes = seen.iter().filter(|(_, header, _)| header.kind == Kind::Put);
        pushes
            .map(|(_, header, bytes)| (*header, PingInfo::decode(bytes, 200).unwrap().entries[1].status))
            .collect()
    };
    let acknowledge = |push: &Header| {
        let Put { ack_wmd: dst_wmd, match_bits, .. } = push.put();
        let ack = Ack { dst_wmd, match_bits, mlength: push.payload_length };
        client.send(Header::new_ack(process("10.0.0.2@tcp1"), process("10.0.0.1@tcp1"), &ack));
        bench.settle();
    };
    acknowledge(&told()[0].0);
    let far = bench.ni_of(nid("10.1.0.9@tcp2"));
    bench.lnet.link_changed(far, false);
    bench.settle();
    bench.lnet.link_changed(far, true);
    bench.settle();
    let first = told();
    assert_eq!(first.iter().map(|(_, status)| *status).collect::<Vec<_>>(), [Status::Down]);
    acknowledge(&first[0].0);
    let second = told();
    assert_eq!(second.iter().map(|(_, status)| *status).collect::<Vec<_>>(), [Status::Up]);
    acknowledge(&second[0].0);
    assert!(told().is_empty());
    bench.assert_idle();
}

/// It would arrive when the link is back, and tell that it is down.
#[test]
fn nothing_is_pushed_through_a_link_that_is_down() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    bench.connect("10.0.0.2@tcp1");
    let theirs = PingInfo::new(Features::END_NODE, 1, up(&["10.0.0.2@tcp1"])).encode();
    pushed(&bench, "10.0.0.2@tcp1", "10.0.0.2@tcp1", &theirs, Wmd::NONE);
    bench.pass(core::time::Duration::from_secs(60));
    bench.lnd.seen.borrow_mut().clear();
    let near = bench.ni_of(nid("10.0.0.2@tcp1"));
    bench.lnet.link_changed(near, false);
    bench.settle();
    assert!(bench.lnd.seen.borrow().is_empty());
    bench.lnet.link_changed(near, true);
    bench.settle();
    let seen = bench.lnd.seen.borrow();
    assert_eq!(seen.len(), 1);
    assert_eq!(PingInfo::decode(&seen[0].2, 200).unwrap().entries[0].status, Status::Up);
}
