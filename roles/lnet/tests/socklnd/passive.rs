//! Peers that connect: every row of section 8.1 that a handshake can have, every case of the captured
//! negotiations with a Linux router.

use crate::common::*;
use ConnType::{Any, BulkIn, BulkOut, Control};
use keelson_lnet::lnd::{Lnd, LndNi, NiId};
use keelson_lnet::socklnd::{Accept, SocklndConfig};
use keelson_lnet_wire::acceptor::REFUSAL;
use keelson_lnet_wire::hello::{ConnType, Hello, Version};
use keelson_lnet_wire::nid::Nid;
use std::time::Duration;

fn bench() -> Bench {
    Bench::new(SocklndConfig::default())
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// What the router answers, and whether it closes.
fn answer(bench: &Bench, port: u16, bytes: &[u8]) -> (Vec<u8>, bool) {
    let wire = bench.connect(port);
    bench.say(&wire, bytes);
    bench.rest(&wire, Duration::from_millis(500))
}

fn refused(bench: &Bench, port: u16, bytes: &[u8], counter: &str) {
    let before = value(bench, counter);
    assert_eq!(answer(bench, port, bytes), (vec![], true), "{counter}");
    assert_eq!(value(bench, counter), before + 1, "{counter}");
    assert_eq!(bench.router.kinds(), "", "{counter}");
}

pub fn value(bench: &Bench, counter: &str) -> u64 {
    let mut found = None;
    bench.router.lnd.counters().each(|name, _, value| {
        if name == counter {
            found = Some(value);
        }
    });
    found.unwrap_or_else(|| panic!("no counter {counter}"))
}

#[test]
fn a_linux_node_gets_the_answer_that_a_linux_router_gives() {
    // Source port 1023 of the captured negotiation, and the answer to it but for the incarnation.
    let bench = bench();
    let said = hex("0071ceac01000000 0100010a00000200
        63697245030000000900010a000002000100010a00000200 3930000039300000 271ebde6d0600600 0000000000000000 01000000 00000000");
    let expected = hex(
        "63697245030000000100010a000002000900010a00000200 3930000039300000 020000000000b017 0000000000000000 01000000 00000000",
    );
    assert_eq!(answer(&bench, 1023, &said), (expected, false));
    assert_eq!(bench.router.kinds(), "C");
    assert_eq!(bench.router.upper.events(), [Told::Up(nid(THERE))]);
    assert_eq!((value(&bench, "accepted"), value(&bench, "passive")), (1, 1));
}

#[test]
fn every_type_and_version_is_answered_in_kind() {
    for version in [Version::V1, Version::V2, Version::V3, Version::V4] {
        for (theirs, ours) in [(Control, 'C'), (BulkIn, 'O'), (BulkOut, 'I'), (Any, 'A')] {
            let bench = bench();
            let wire = bench.connect(1023);
            bench.say(&wire, &[request(HERE), bytes(&hello(version, theirs))].concat());
            let reply = bench.hello(&wire).unwrap();
            assert_eq!((reply.hello.version, reply.hello.ctype), (version, theirs.inverse()));
            assert_eq!((reply.hello.src_nid, reply.hello.src_incarnation), (nid(HERE), LIFE));
            assert_eq!(reply.hello.src_pid, 12345);
            assert_eq!(bench.router.kinds(), ours.to_string());
            assert!(!bench.is_closed(&wire));
        }
    }
}

#[test]
fn a_sender_of_the_other_byte_order_is_understood() {
    let bench = bench();
    let said = hex("acce710000000001000200000a010001
        4572696300000003000200000a010009000200000a0100010000303900003039000660d0e720b40f00000000000000000000000100000000");
    let wire = bench.connect(1019);
    bench.say(&wire, &said);
    let reply = bench.hello(&wire).unwrap();
    assert!(!reply.swapped, "we answer in our own order");
    assert_eq!((reply.hello.src_nid, reply.hello.dst_nid), (nid(HERE), nid(THERE)));
    assert_eq!(bench.router.lnd.connections()[0].nid, nid(THERE));
    // Its 24-byte headers are swapped, its LNet headers are not.
    let mut message = from_peer(5, 100, 77);
    message[..4].reverse();
    message[8..16].reverse();
    bench.say(&wire, &message);
    let noop = hex("c0000000 00000000 0000000000000000 4d00000000000000");
    assert_eq!(bench.heard(&wire), noop);
    assert_eq!(bench.router.upper.order.borrow()[..], [5]);
}

#[test]
fn requests_of_version_2_are_understood() {
    let bench = bench();
    let said = [
        hex("0071ceac02000000 00 02 0000 0a010001 000000000000000000000000"),
        bytes(&hello(Version::V4, Control)),
    ];
    let (reply, closed) = answer(&bench, 1014, &said.concat());
    assert!(!closed);
    assert_eq!(reply[..8], hex("6369724504000000")[..]);
}

#[test]
fn requests_are_refused_as_by_linux() {
    let bench = bench();
    let nid8 = hex("0100010a00000200");
    for (port, magic, counter) in [
        (1015, "0071ceac 63000000", "refused_version"),
        (1013, "63697245 01000000", "refused_magic"),
        (1007, "45726963 00000001", "refused_magic"),
    ] {
        let before = value(&bench, counter);
        let said = [hex(magic), nid8.clone()].concat();
        assert_eq!(answer(&bench, port, &said), (REFUSAL.to_vec(), true));
        assert_eq!(value(&bench, counter), before + 1);
    }
    refused(&bench, 1012, &[hex("78563412 01000000"), nid8.clone()].concat(), "refused_magic");
    refused(&bench, 1006, &[hex("ed0dbcee 01000000"), nid8].concat(), "refused_magic");
    refused(&bench, 1011, &request("10.1.0.77@tcp"), "refused_nid");
    refused(&bench, 1005, &request("10.1.0.1@tcp1"), "refused_nid");
    refused(&bench, 1004, &request("0@lo"), "refused_nid");
    refused(&bench, 4000, &[], "refused_port");
    refused(&bench, 1024, &[], "refused_port");
}

#[test]
fn the_address_must_belong_to_the_nid() {
    let bench = bench();
    let other = LndNi { id: NiId(2), nid: nid("10.2.0.1@tcp1"), incarnation: LIFE, conns_per_peer: 1 };
    bench.router.lnd.add_ni(other);
    refused(
        &bench,
        1010,
        &[request("10.2.0.1@tcp1"), bytes(&hello(Version::V3, Control))].concat(),
        "refused_address",
    );
}

#[test]
fn hellos_are_refused_as_by_linux() {
    let bench = bench();
    let good = hello(Version::V3, Control);
    let say = |hello: Hello| [request(HERE), bytes(&hello)].concat();
    refused(&bench, 1009, &say(Hello { ctype: ConnType::None, ..good }), "hello_type");
    refused(&bench, 1008, &say(Hello { src_nid: Nid::ANY, ..good }), "hello_source");
    refused(&bench, 1007, &say(Hello { src_nid: nid(HERE), ..good }), "hello_source");
    refused(&bench, 1006, &say(Hello { src_nid: nid("10.1.0.9@tcp1"), ..good }), "hello_source");
    refused(&bench, 1005, &say(Hello { src_pid: 1, ..good }), "hello_source");
    let patched = |offset: usize, bytes: &[u8]| {
        let mut said = say(good);
        said[16 + offset..16 + offset + bytes.len()].copy_from_slice(bytes);
        said
    };
    refused(&bench, 1004, &patched(0, &[1, 2, 3, 4]), "hello_malformed");
    refused(&bench, 1003, &patched(48, &[9]), "hello_type");
    refused(&bench, 1002, &patched(52, &[17]), "hello_malformed");
    refused(&bench, 1001, &[patched(52, &[2]), vec![10, 0, 0, 1, 0, 0, 0, 0]].concat(), "hello_malformed");
    let (reply, closed) = answer(&bench, 1000, &[patched(52, &[2]), vec![10, 0, 0, 1, 10, 0, 0, 2]].concat());
    assert!(reply.len() == 56 && !closed, "a list of addresses is read and forgotten");
}

#[test]
fn an_unknown_version_is_told_ours() {
    let bench = bench();
    let mut said = [request(HERE), bytes(&hello(Version::V3, Control))].concat();
    said[20] = 99;
    let expected = hex(
        "63697245030000000100010a000002000900010a00000200 3930000000000000 020000000000b017 0000000000000000 ffffffff 00000000",
    );
    assert_eq!(answer(&bench, 1021, &said), (expected, true));
    assert_eq!(value(&bench, "hello_version"), 1);
}

#[test]
fn silence_ends_after_five_seconds_at_any_step_and_disturbs_nobody() {
    let bench = bench();
    let whole = [request(HERE), bytes(&hello(Version::V3, Control))].concat();
    let cuts = [0, 1, 4, 7, 8, 15, 16, 20, 24, 71];
    let silent: Vec<_> = (0u16..)
        .zip(cuts)
        .map(|(n, cut)| {
            let wire = bench.connect(700 + n);
            bench.say(&wire, &whole[..cut]);
            wire
        })
        .collect();
    let begun = bench.lab.handle().now();
    bench.establish(1023, Control);
    assert!(bench.lab.handle().now() - begun < Duration::from_millis(10), "others are not kept waiting");
    bench.wait(secs(3));
    assert!(silent.iter().all(|wire| !bench.is_closed(wire)));
    bench.wait(secs(2));
    assert!(silent.iter().all(|wire| bench.rest(wire, Duration::from_millis(1)) == (vec![], true)));
    assert_eq!(value(&bench, "refused_silent"), cuts.len() as u64);
}

#[test]
fn dribbling_does_not_prolong_a_step() {
    let bench = bench();
    let wire = bench.connect(1023);
    for byte in request(HERE) {
        bench.say(&wire, &[byte]);
        bench.wait(secs(2));
    }
    assert_eq!(value(&bench, "refused_silent"), 1);
}

#[test]
fn a_client_that_leaves_is_counted() {
    let bench = bench();
    drop(bench.connect(1023));
    bench.wait(secs(1));
    assert_eq!(value(&bench, "refused_closed"), 1);
}

#[test]
fn unfinished_handshakes_are_bounded() {
    let config =
        SocklndConfig { max_handshakes: 10, max_handshakes_from_one: 20, ..SocklndConfig::default() };
    let bench = Bench::new(config);
    let wires: Vec<_> = (0..15).map(|n| bench.connect(600 + n)).collect();
    bench.wait(Duration::from_millis(10));
    assert_eq!(value(&bench, "refused_evicted"), 5, "the oldest go");
    bench.establish(1023, Control);
    assert!(bench.is_closed(&wires[0]) && !bench.is_closed(&wires[14]));
    let config = SocklndConfig { max_handshakes_from_one: 3, ..SocklndConfig::default() };
    let bench = Bench::new(config);
    let wires: Vec<_> = (0..4).map(|n| bench.connect(600 + n)).collect();
    assert!(!bench.is_closed(&wires[2]) && bench.is_closed(&wires[3]));
    assert_eq!(value(&bench, "refused_flood"), 1);
    bench.wait(secs(6));
    bench.establish(1023, Control);
}

#[test]
fn connections_are_bounded() {
    let bench = Bench::new(SocklndConfig { max_connections: 3, ..SocklndConfig::default() });
    let wires: Vec<_> = (0..3).map(|n| bench.establish(600 + n, Control)).collect();
    let surplus = bench.connect(700);
    assert!(bench.is_closed(&surplus));
    assert_eq!(value(&bench, "refused_full"), 1);
    drop(wires);
    bench.wait(secs(1));
    bench.establish(701, Control);
}

#[test]
fn a_peer_may_have_eight_connections_of_each_type() {
    let bench = bench();
    let mut wires = Vec::new();
    for (n, kind) in (0u16..).zip([Control, BulkIn, BulkOut]) {
        for port in 0..8 {
            wires.push(bench.establish(600 + 10 * n + port, kind));
        }
        let ninth = bench.connect(608 + 10 * n);
        bench.say(&ninth, &[request(HERE), bytes(&hello(Version::V3, kind))].concat());
        assert_eq!(bench.hello(&ninth).unwrap().hello.ctype, ConnType::None);
        assert!(bench.is_closed(&ninth));
    }
    assert_eq!(value(&bench, "hello_duplicate"), 3);
    assert_eq!(bench.router.lnd.connections().len(), 24);
    assert!(wires.iter().all(|wire| !bench.is_closed(wire)));
}

#[test]
fn a_new_life_closes_the_old_one_and_comes_again() {
    for change in
        [Hello { src_incarnation: PEER_LIFE + 1, ..hello(Version::V3, Control) }, hello(Version::V2, Control)]
    {
        let bench = bench();
        let old = [bench.establish(1023, Control), bench.establish(1022, BulkIn)];
        let wire = bench.connect(1021);
        bench.say(&wire, &[request(HERE), bytes(&change)].concat());
        let reply = bench.hello(&wire).unwrap().hello;
        assert_eq!((reply.ctype, reply.version), (ConnType::None, change.version));
        assert!(bench.is_closed(&wire) && old.iter().all(|wire| bench.is_closed(wire)));
        bench.wait(secs(1));
        bench.establish_as(1020, change);
        assert_eq!(value(&bench, "hello_stale"), 1);
        let there = nid(THERE);
        assert_eq!(bench.router.upper.events(), [Told::Up(there), Told::Down(there, true), Told::Up(there)]);
    }
}

#[test]
fn a_new_life_without_old_connections_is_welcome_at_once() {
    let bench = bench();
    drop(bench.establish(1023, Control));
    bench.wait(secs(1));
    assert!(bench.router.lnd.peers().is_empty());
    bench.establish_as(1022, Hello { src_incarnation: 99, ..hello(Version::V3, Control) });
}

#[test]
fn lnet_may_refuse_a_peer() {
    let bench = bench();
    bench.router.upper.refuses_peers.set(true);
    refused(&bench, 1023, &[request(HERE), bytes(&hello(Version::V3, Control))].concat(), "hello_unwanted");
    assert!(bench.router.lnd.peers().is_empty());
}

#[test]
fn a_userspace_process_is_who_its_address_says() {
    let bench = Bench::new(SocklndConfig { accept: Accept::All, ..SocklndConfig::default() });
    let claims = Hello { src_nid: nid("10.1.0.66@tcp"), src_pid: 7, ..hello(Version::V3, Control) };
    let wire = bench.establish_as(4000, claims);
    bench.establish(1023, Control);
    bench.say(&wire, &from_peer(1, 10, 0));
    bench.wait(Duration::from_millis(10));
    let header = bench.router.upper.headers.borrow()[0];
    assert_eq!((header.src_nid, header.src_pid), (nid(THERE), 4000 | 0x8000_0000));
    // The answer finds its way back to the process, not to the Lustre node at the same address.
    let mut answer = message(2, nid(HERE), nid(THERE), 10);
    answer.header.dest_pid = header.src_pid;
    bench.router.lnd.send(NI, nid(THERE), answer);
    assert_eq!(bench.heard(&wire).len(), 24 + 72 + 10);
    drop(wire);
    bench.wait(secs(1));
    // Nobody connects to such a process.
    let mut late = message(3, nid(HERE), nid(THERE), 10);
    late.header.dest_pid = header.src_pid;
    bench.router.lnd.send(NI, nid(THERE), late);
    bench.wait(secs(1));
    assert_eq!(bench.router.upper.result(3), Some(Err(keelson_lnet::lnd::SendError::Unreachable)));
}

#[test]
fn without_interface_or_with_accept_none_nobody_listens() {
    let here = "10.1.0.1".parse().unwrap();
    let bench = Bench::new(SocklndConfig { accept: Accept::None, ..SocklndConfig::default() });
    assert!(bench.connect_to(1023, here).is_none());
    let bench = Bench::new(SocklndConfig::default());
    let wire = bench.establish(1023, Control);
    bench.router.lnd.remove_ni(NI);
    assert!(bench.is_closed(&wire));
    assert!(bench.connect_to(1022, here).is_none());
    assert!(bench.router.lnd.peers().is_empty());
}
