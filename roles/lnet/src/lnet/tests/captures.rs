//! The genuine router's answers in the recordings, byte for byte ours.

#[allow(dead_code)] // Shared with the tests of the wire formats, which read more of it.
#[path = "../../../wire/tests/replay/pcap.rs"]
mod pcap;

use crate::lnd::{Disposition, LndUpper};
use crate::lnet::LnetConfig;
use crate::lnet::testing::{Bench, nid};
use keelson_lnet_wire::message::{Header, Kind};
use keelson_lnet_wire::nid::ProcessId;
use std::path::Path;

/// Messages in the order in which they were complete: whether the router sent them, and their bytes.
fn messages(name: &str) -> Vec<(bool, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire/tests/captures").join(name);
    let mut streams = std::collections::HashMap::new();
    let mut messages = Vec::new();
    for segment in pcap::read(&path) {
        if segment.payload.is_empty() && !segment.syn {
            continue;
        }
        let start = segment.sequence.wrapping_add(segment.syn.into());
        let stream: &mut (u32, Vec<u8>) =
            streams.entry((segment.from, segment.to)).or_insert_with(|| (start, Vec::new()));
        if segment.syn {
            stream.0 = start;
        }
        if segment.sequence != stream.0 {
            continue;
        }
        stream.0 = stream.0.wrapping_add(segment.payload.len() as u32);
        stream.1.extend(segment.payload);
        loop {
            let bytes = &stream.1;
            let len = match bytes.first_chunk::<4>().map(|word| u32::from_le_bytes(*word)) {
                Some(0xacce_7100) => 16,
                Some(0x4572_6963) => 56,
                Some(0xc0) => 24,
                Some(0xc1) if bytes.len() >= 56 => {
                    96 + u32::from_le_bytes(bytes[52..56].try_into().unwrap()) as usize
                }
                _ => break,
            };
            if bytes.len() < len {
                break;
            }
            let message: Vec<u8> = stream.1.drain(..len).collect();
            if message[0] == 0xc1 {
                messages.push((segment.from.port() == 988, message[24..].to_vec()));
            }
        }
    }
    messages
}

/// The recorded router: 10.1.0.1@tcp and 10.2.0.1@tcp1.
fn router() -> Bench {
    let bench = Bench::bare(LnetConfig { forwarding: true, ..LnetConfig::default() });
    bench.add_net("10.1.0.1@tcp");
    bench.add_net("10.2.0.1@tcp1");
    bench.lnd.default_takes.set(true);
    bench
}

fn split(message: &[u8]) -> (Header, &[u8]) {
    let (header, payload) = message.split_first_chunk().unwrap();
    (Header::decode_small(header).unwrap(), payload)
}

/// Gives a recorded message to our router.
fn replay(bench: &Bench, from: &str, message: &[u8]) {
    let (header, payload) = split(message);
    let (lnet, payload, from) = (bench.lnet.clone(), payload.to_vec(), nid(from));
    let peer = lnet.peer(bench.ni_of(from), from).unwrap();
    lnet.peer_up(bench.ni_of(from), ProcessId::lustre(from));
    bench.wait(async move {
        if let Disposition::Take(mut message) = lnet.arrived(&peer, &header).await {
            assert!(payload.len() <= 4096);
            message.payload.from_mut(0).copy_from_slice(&payload);
            lnet.received(&peer, message);
        }
    });
    bench.settle();
}

/// Replays what a client said, and compares our REPLYs and ACKs to it with the genuine router's, up to bytes that
/// the specification leaves open.
fn compare(name: &str, client: &str, changes: usize) -> usize {
    let router_nids = [nid("10.1.0.1@tcp"), nid("10.2.0.1@tcp1")];
    let bench = router();
    for _ in 0..changes {
        // The recorded router got another NI and lost it, and told its peers.
        let tell = || {
            let lnet = bench.lnet.clone();
            let myself = crate::lnet::testing::process("0@lo");
            bench.wait(async move { lnet.ping(myself, core::time::Duration::from_secs(1)).await }).unwrap();
        };
        tell();
        bench.add_net("10.1.0.1@tcp9");
        tell();
        bench.lnet.del_net("tcp9".parse().unwrap());
    }
    let mut compared = 0;
    let messages = messages(name);
    let genuine: Vec<&Vec<u8>> = messages
        .iter()
        .filter(|(router, bytes)| {
            let (header, _) = split(bytes);
            *router && matches!(header.kind, Kind::Reply | Kind::Ack) && router_nids.contains(&header.src_nid)
        })
        .map(|(_, bytes)| bytes)
        .collect();
    for (_, message) in messages.iter().filter(|(router, _)| !router) {
        let (header, _) = split(message);
        if !router_nids.contains(&header.dest_nid) || !matches!(header.kind, Kind::Get | Kind::Put) {
            continue;
        }
        bench.lnd.seen.borrow_mut().clear();
        replay(&bench, client, message);
        let seen = bench.lnd.seen.borrow();
        let (_, ours, bytes) = &seen[0];
        let (theirs, payload) = split(genuine[compared]);
        let used = match theirs.kind {
            Kind::Ack => 28,
            _ => 16,
        };
        assert_eq!(ours.body[..used], theirs.body[..used]);
        assert_eq!(Header { body: theirs.body, ..*ours }, theirs);
        assert_eq!(bytes, payload);
        compared += 1;
    }
    assert_eq!(compared, genuine.len());
    compared
}

#[test]
fn answers_are_the_genuine_router_s() {
    assert_eq!(compare("lnet-connect-tcp0.pcap", "10.1.0.2@tcp", 0), 2);
    assert!(compare("lnet-keepalive-tcp0.pcap", "10.1.0.2@tcp", 1) >= 2);
    assert!(compare("lnet-keepalive-tcp1.pcap", "10.2.0.2@tcp1", 1) >= 2);
    assert_eq!(compare("lnet-ping-tcp0.pcap", "10.1.0.2@tcp", 0), 1);
}

/// Our push after the client's, as the genuine router does it.
#[test]
fn the_push_back_is_the_genuine_router_s() {
    let messages = messages("lnet-connect-tcp0.pcap");
    let is_push = |bytes: &[u8]| split(bytes).0.kind == Kind::Put;
    let theirs = messages.iter().find(|(router, bytes)| *router && is_push(bytes)).unwrap();
    let client = messages.iter().find(|(router, bytes)| !router && is_push(bytes)).unwrap();
    let bench = router();
    replay(&bench, "10.1.0.2@tcp", &client.1);
    let (header, payload) = split(&theirs.1);
    let seen = bench.lnd.seen.borrow();
    let (_, ours, bytes) = &seen[1];
    assert_eq!(bytes, payload);
    // All but the handle, which names the memory of whoever pushes.
    assert_eq!(ours.body[16..], header.body[16..]);
    assert_eq!(Header { body: header.body, ..*ours }, header);
}

/// What is forwarded in the recordings leaves our router as it left the genuine one.
#[test]
fn forwarded_messages_are_the_genuine_router_s() {
    let near = messages("lnet-lst-ping-tcp0.pcap");
    let far = messages("lnet-lst-ping-tcp1.pcap");
    let bench = router();
    let routed = |bytes: &[u8]| split(bytes).0.dest_nid == nid("10.2.0.2@tcp1");
    for (_, message) in near.iter().filter(|(router, bytes)| !router && routed(bytes)) {
        replay(&bench, "10.1.0.2@tcp", message);
    }
    let seen = bench.lnd.seen.borrow();
    let expected: Vec<_> = far.iter().filter(|(router, bytes)| *router && routed(bytes)).collect();
    assert!(!expected.is_empty() && expected.len() == seen.len());
    for ((_, header, bytes), (_, message)) in seen.iter().zip(expected) {
        assert_eq!((header, &bytes[..]), (&split(message).0, split(message).1));
    }
}
