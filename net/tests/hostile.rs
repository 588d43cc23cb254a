//! Frames from people who do not wish us well.

use keelson_hal::NetFeatures;
use keelson_net::{Stack, TcpOptions, UdpOptions};
use keelson_net_sim::frames::sum;
use keelson_net_sim::{Faults, Lab};
use proptest::prelude::*;
use std::time::Duration;

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn victim(lab: &Lab) -> (Stack, impl Sized) {
    let (stack, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let (_other, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let listener = stack.listen(2049, TcpOptions { backlog: 16, ..TcpOptions::default() }).unwrap();
    let udp = stack.bind_udp(2049, UdpOptions::default()).unwrap();
    lab.run_for(Duration::from_millis(1));
    (stack, (listener, udp))
}

/// An IPv4 frame to the victim with a right header checksum.
fn ipv4(src: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&OURS[..], &[2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0]].concat();
    frame.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 1, 0, 0, 64, protocol, 0, 0]);
    frame.extend_from_slice(&src);
    frame.extend_from_slice(&[10, 0, 0, 1]);
    let checksum = !sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A TCP segment with a right checksum.
fn tcp(src: [u8; 4], ports: (u16, u16), seq: u32, ack: u32, flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend_from_slice(&ports.0.to_be_bytes());
    segment.extend_from_slice(&ports.1.to_be_bytes());
    segment.extend_from_slice(&seq.to_be_bytes());
    segment.extend_from_slice(&ack.to_be_bytes());
    segment.extend_from_slice(&[0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    segment.extend_from_slice(rest);
    let mut pseudo = [&src[..], &[10, 0, 0, 1, 0, 6]].concat();
    pseudo.extend_from_slice(&(segment.len() as u16).to_be_bytes());
    pseudo.extend_from_slice(&segment);
    let checksum = !sum(&pseudo);
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    ipv4(src, 6, &segment)
}

#[test]
fn a_flood_of_syns_is_bounded_and_honest_clients_get_through() {
    let lab = Lab::new(1, Faults::default());
    let (stack, held) = victim(&lab);
    let (client, _) = lab.host("10.0.0.3/24", NetFeatures::empty());
    for n in 0..5000u32 {
        let src = [10, 0, 0, 20 + (n % 200) as u8];
        lab.wire.inject(1, &tcp(src, (1024 + n as u16, 2049), n, 0, 2, &[]));
        lab.run_for(Duration::from_millis(2));
        assert!(stack.connections() <= 16, "{}", stack.connections());
    }
    assert!(stack.counters().tcp_syn_dropped > 4000 && stack.counters().tcp_half_open_evicted > 0);
    let wire = lab.wire.clone();
    let handle = lab.handle();
    let clock = handle.clone();
    handle.spawn("flood", async move {
        for n in 0..u32::MAX {
            wire.inject(1, &tcp([10, 0, 0, 20 + (n % 200) as u8], (n as u16 | 1, 2049), n, 0, 2, &[]));
            clock.sleep(Duration::from_millis(40)).await;
        }
    });
    let options = keelson_net::ConnectOptions { timeout: Duration::from_secs(60), ..Default::default() };
    let done =
        lab.run(async move { client.connect("10.0.0.1:2049".parse().unwrap(), options).await.map(drop) });
    assert_eq!(done, Ok(()), "an honest client must get through");
    drop(held);
}

#[test]
fn impossible_sources_and_wrong_checksums_are_counted_and_dropped() {
    let lab = Lab::new(2, Faults::default());
    let (stack, _held) = victim(&lab);
    let sources = [[224, 0, 0, 5], [255; 4], [10, 0, 0, 255], [127, 0, 0, 1], [0; 4], [10, 0, 0, 1]];
    for src in sources {
        lab.wire.inject(1, &tcp(src, (9, 2049), 1, 0, 2, &[]));
    }
    lab.run_for(Duration::from_millis(5));
    assert_eq!(stack.counters().ip_bad_source, sources.len() as u64);
    let mut bad = tcp([10, 0, 0, 2], (9, 2049), 1, 0, 2, &[]);
    bad[40] ^= 1;
    lab.wire.inject(1, &bad);
    lab.wire.inject(1, &tcp([10, 0, 0, 2], (9, 80), 1, 0, 2, &[]));
    lab.run_for(Duration::from_millis(5));
    assert_eq!((stack.counters().tcp_bad_checksum, stack.counters().tcp_resets_sent), (1, 1));
    assert_eq!(stack.connections(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Random bytes behind an Ethernet header of each kind that we read.
    #[test]
    fn any_frame_is_survived(frames in prop::collection::vec(
        (0usize..4, prop::collection::vec(any::<u8>(), 0..200)), 1..40)) {
        let lab = Lab::new(3, Faults::default());
        let (_stack, _held) = victim(&lab);
        for (kind, bytes) in frames {
            let ethertype = [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]][kind];
            let mut frame = [&OURS[..], &[2, 0, 0, 0, 0, 9], &ethertype].concat();
            frame.extend_from_slice(&bytes);
            lab.wire.inject(1, &frame);
        }
        lab.run_for(Duration::from_secs(2));
    }

    /// Random transport payloads in packets whose headers are right.
    #[test]
    fn any_payload_is_survived(packets in prop::collection::vec(
        (prop::sample::select(vec![1u8, 6, 17, 58, 47]), prop::collection::vec(any::<u8>(), 0..120)), 1..40)) {
        let lab = Lab::new(4, Faults::default());
        let (_stack, _held) = victim(&lab);
        for (protocol, bytes) in packets {
            lab.wire.inject(1, &ipv4([10, 0, 0, 2], protocol, &bytes));
        }
        lab.run_for(Duration::from_secs(2));
    }

    /// Random ICMPv6 with right checksum and hop limit: neighbour discovery and its options.
    #[test]
    fn any_icmpv6_is_survived(messages in prop::collection::vec(
        (128u8..138, prop::collection::vec(any::<u8>(), 7..120)), 1..40)) {
        let lab = Lab::new(6, Faults::default());
        let (_stack, _held) = victim(&lab);
        let (src, dst) = ([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], "ff02::1");
        let dst = dst.parse::<std::net::Ipv6Addr>().unwrap().octets();
        for (kind, bytes) in messages {
            let mut message = [&[kind, 0, 0, 0], &bytes[..]].concat();
            let mut pseudo = [&src[..], &dst, &[0, 0, 0, message.len() as u8, 0, 0, 0, 58]].concat();
            pseudo.extend_from_slice(&message);
            let checksum = !sum(&pseudo);
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
            let mut frame = vec![0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0];
            frame.extend_from_slice(&[message.len() as u8, 58, 255]);
            frame.extend_from_slice(&[&src[..], &dst, &message].concat());
            lab.wire.inject(1, &frame);
            lab.run_for(Duration::from_micros(200));
        }
        lab.run_for(Duration::from_secs(3));
    }

    /// Random segments, checksums right, on few flows: every state of a connection sees every segment.
    #[test]
    fn any_segment_is_survived(segments in prop::collection::vec(
        (0u16..3, 0u32..5, any::<u32>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 1..80)) {
        let lab = Lab::new(5, Faults::default());
        let (stack, _held) = victim(&lab);
        for (port, seq, ack, flags, rest) in segments {
            let frame = tcp([10, 0, 0, 2], (1000 + port, 2049), seq, ack, flags & 0x3f, &rest);
            lab.wire.inject(1, &frame);
            lab.run_for(Duration::from_millis(1));
        }
        prop_assert!(stack.connections() <= 16);
    }
}
