//! Frames that no honest node sends: nothing panics, memory stays bounded, others do not suffer.

use crate::l4::Options;
use crate::l4::testing::{Rng, World, mac, seeds};
use crate::link::LinkAddress;
use crate::sessions::{Qos, SessionEvent};
use core::time::Duration;
use keelson_qnet_wire::Endian;
use keelson_qnet_wire::l4::{Flags, Header, Kind, Layer};
use keelson_qnet_wire::tcs::Init;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What lies behind link header and padding in frames T00 to T37.
fn vectors() -> Vec<Vec<u8>> {
    let lines = include_str!("../../../wire/tests/vectors.txt").lines().filter(|line| line.starts_with('T'));
    let hex = lines.map(|line| line.split_once(' ').unwrap().1.trim());
    hex.map(|hex| {
        let bytes = (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap());
        bytes.skip(16).collect()
    })
    .collect()
}

/// Alpha and beta talk; the attacker is somebody else, or claims to be gamma, who is known.
fn scene(seed: u64) -> World {
    let mut world = World::connected(seed, 1, Options::default());
    let gamma = world.add("gamma", "", Options::default());
    world.announce();
    world.run(Duration::from_millis(10));
    let alpha = world.nr(gamma, "alpha");
    world.send(gamma, alpha, Qos::default(), 50).unwrap();
    assert!(world.drain(Duration::from_secs(1)));
    world
}

/// A frame that starts as a published one, is bent to real ids now and then, and is damaged.
fn bend(rng: &Rng, vectors: &[Vec<u8>], ids: &[u32]) -> Vec<u8> {
    let mut bytes = vectors[rng.below(vectors.len() as u64) as usize].clone();
    bytes.resize(bytes.len().max(36), 0);
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let id = |rng: &Rng| ids[rng.below(ids.len() as u64) as usize];
    if rng.permille(800) {
        put(8, id(rng));
        put(12, id(rng));
    }
    if rng.permille(700) {
        put(16, rng.below(80) as u32);
    }
    if rng.permille(300) {
        put(24, rng.below(140_000) as u32);
    }
    if rng.permille(200) {
        put(28, rng.below(3000) as u32);
    }
    if rng.permille(300) {
        bytes[2] = rng.below(4) as u8;
    }
    for _ in 0..rng.below(4) {
        let at = rng.below(bytes.len() as u64) as usize;
        bytes[at] = rng.next() as u8;
    }
    bytes.truncate(bytes.len() - rng.below(4) as usize * usize::from(rng.permille(100)));
    bytes
}

#[test]
fn mutated_vectors() {
    let frames = if cfg!(debug_assertions) { 5000 } else { 20_000 };
    for seed in seeds(8) {
        mutate_vectors(seed, frames);
    }
}

/// R21 with its number, on all cores.
#[test]
#[ignore = "long: make soak"]
fn ten_million_mutated_vectors() {
    // Few enough that the connection under attack lives for a good part of them.
    const OF_A_WORLD: u64 = 4_000;
    const ALL: u64 = 10_000_000;
    if std::env::var_os("KEELSON_SOAK").is_none() {
        return;
    }
    let (start, next, done) = (std::time::Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= ALL / OF_A_WORLD {
                return;
            }
            // Other worlds than those of the short form.
            mutate_vectors(1000 + seed, OF_A_WORLD);
            done.fetch_add(OF_A_WORLD, Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    println!("{} mutated vectors in {:?}", done.load(Relaxed), start.elapsed());
    assert_eq!(done.into_inner(), ALL);
}

/// So many frames from an attacker at the address of a node that is known.
fn mutate_vectors(seed: u64, frames: u64) {
    let vectors = vectors();
    assert_eq!(vectors.len(), 38);
    let mut world = scene(seed);
    // The attacker sends from gamma's address, so that what it sends is taken for gamma's.
    world.kill(2);
    let from = mac(2, 0);
    let (alpha, beta) = (world.nr(1, "alpha"), world.nr(0, "beta"));
    let transport = &world.nodes[0].transport;
    let of_gamma =
        |node: u16| transport.node(crate::sessions::NodeNr(node)).unwrap().name.as_ref() == "gamma";
    let mut ids: Vec<u32> = vec![0, 1, 0x21, 0x31];
    ids.extend(
        transport.tx.iter().filter(|(_, tx)| of_gamma(tx.node.0)).flat_map(|(id, tx)| [id, tx.remote]),
    );
    ids.extend(
        transport.rx.iter().filter(|(_, rx)| of_gamma(rx.node.0)).flat_map(|(id, rx)| [id, rx.remote]),
    );
    let rng = Rng::new(seed);
    for n in 0..frames {
        let bytes = bend(&rng, &vectors, &ids);
        let source = if rng.permille(800) { from } else { mac(rng.below(250) as u8 + 3, 0) };
        // What gamma is said to send is no message of this test's.
        let now = world.now;
        let transport = &mut world.nodes[0].transport;
        transport.input(now, crate::link::LinkId(0), source, rng.permille(200), &bytes);
        while transport.take_event().is_some() {}
        if n % 100 == 0 {
            let occupancy = world.nodes[0].transport.occupancy();
            assert!(occupancy.buffers <= 3 * (256 << 10) && occupancy.nodes <= 256);
            assert!(occupancy.outbound_messages < 600, "{occupancy:?}");
            world.run(Duration::from_millis(1));
        }
    }
    // The others noticed nothing.
    for _ in 0..10 {
        world.send(0, beta, Qos::default(), 5000).unwrap();
        world.send(1, alpha, Qos::default(), 5000).unwrap();
    }
    world.run(Duration::from_secs(40));
    assert!(world.drain(Duration::from_secs(10)));
    let is_other =
        |event: &crate::l4::Event| matches!(event, SessionEvent::TxDown { node, .. } if *node == beta);
    assert!(!world.nodes[0].events.iter().any(is_other));
    world.finish();
}

fn user(id: u32, remote: u32, seq: u32, flags: u8, offset: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        src_conn_id: remote,
        dst_conn_id: id,
        seq,
        flags: Flags(flags),
        layer: Layer::Kif,
        offset,
        length: payload.len() as u32,
        ..Header::new(Kind::User)
    };
    [&header.encode()[..], payload].concat()
}

/// A peer that begins many messages and ends none, with all the holes it can make.
#[test]
fn unfinished_messages() {
    let mut world = scene(1);
    world.kill(2);
    let gamma = world.nr(0, "gamma");
    let id = world.nodes[0].transport.node(gamma).unwrap().rx[0];
    let (remote, first) = world.nodes[0].transport.rx.get(id).map(|rx| (rx.remote, rx.expected)).unwrap();
    for round in 0..40_000u32 {
        let offset = 8 + round / 64 * 1480 % 130_000;
        let bytes = user(id, remote, first.wrapping_add(round % 64), 0, offset, &[1; 1000]);
        world.inject(0, 0, mac(2, 0), false, &bytes);
    }
    let occupancy = world.nodes[0].transport.occupancy();
    assert!(occupancy.buffers <= 256 << 10, "{occupancy:?}");
    assert!(world.nodes[0].transport.counters().rx_no_memory > 0);
    // Beta's share is its own.
    let beta = world.nr(0, "beta");
    let alpha = world.nr(1, "alpha");
    for _ in 0..8 {
        world.send(1, alpha, Qos::default(), 60_000).unwrap();
        world.send(0, beta, Qos::default(), 60_000).unwrap();
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.ledger.delivered, world.ledger.total());
    // It falls silent, and what it held is given back.
    world.run(Duration::from_secs(40));
    world.finish();
}

#[test]
fn contradictions() {
    let mut world = scene(2);
    world.kill(2);
    let gamma = world.nr(0, "gamma");
    let id = world.nodes[0].transport.node(gamma).unwrap().rx[0];
    let (remote, seq) = world.nodes[0].transport.rx.get(id).map(|rx| (rx.remote, rx.expected)).unwrap();
    let from = mac(2, 0);
    let mut send = |bytes: Vec<u8>| {
        let before = world.nodes[0].transport.counters();
        world.inject(0, 0, from, false, &bytes);
        let after = world.nodes[0].transport.counters();
        (
            after.rxd_bad_l4 - before.rxd_bad_l4,
            after.rx_window - before.rx_window,
            after.rx_too_big - before.rx_too_big,
        )
    };
    assert_eq!(send(user(id, remote, seq, 2, 100, &[1; 50])), (0, 0, 0), "the end, at 150");
    assert_eq!(send(user(id, remote, seq, 2, 100, &[1; 60])), (1, 0, 0), "the end does not move");
    assert_eq!(send(user(id, remote, seq, 0, 120, &[1; 60])), (1, 0, 0), "nothing lies behind it");
    assert_eq!(send(user(id, remote, seq, 1, 8, &[1; 60])), (1, 0, 0), "first means offset 0");
    assert_eq!(send(user(id, remote, seq, 0, 0, &[1; 60])), (1, 0, 0), "offset 0 means first");
    assert_eq!(send(user(id, remote, seq + 64, 3, 0, &[1; 60])), (0, 1, 0), "beyond the window");
    assert_eq!(send(user(id, remote, seq + 1, 0, 131_000, &[1; 73])), (0, 0, 1), "larger than allowed");
    assert!(world.nodes[0].transport.rx.get(id).is_none(), "that ended the connection");
    assert_eq!(world.nodes[0].transport.occupancy().buffers, 0);
}

/// Ids alone prove nothing: they are valid from their peer's address only.
#[test]
fn foreign_addresses() {
    let mut world = scene(3);
    let beta = world.nr(0, "beta");
    let (rx, tx) = {
        let entry = world.nodes[0].transport.node(beta).unwrap();
        (entry.rx[0], entry.tx[0])
    };
    let transport = &world.nodes[0].transport;
    let (rx_remote, seq) = transport.rx.get(rx).map(|rx| (rx.remote, rx.expected)).unwrap();
    let tx_remote = transport.tx.get(tx).unwrap().remote;
    let stranger = mac(99, 0);
    let port = world.nodes[0].ports[0].clone();
    let before = world.nodes[0].transport.counters().pkts_rxd_no_l4;
    let now = world.now;
    let mut answers = Vec::new();
    for kind in
        [Kind::User, Kind::Ack, Kind::Nack, Kind::TcsRemUp, Kind::TcsUp, Kind::TcsDown, Kind::TcsRemDown]
    {
        for (id, remote) in [(rx, rx_remote), (tx, tx_remote), (tx, 0)] {
            let header = Header { src_conn_id: remote, dst_conn_id: id, seq, ..Header::new(kind) };
            let transport = &mut world.nodes[0].transport;
            transport.input(now, crate::link::LinkId(0), stranger, false, &header.encode());
            answers.extend(std::iter::from_fn(|| port.take()));
        }
    }
    assert_eq!(world.nodes[0].transport.counters().pkts_rxd_no_l4 - before, 21);
    // Only data is answered, to whoever sent it.
    assert_eq!(answers.len(), 3);
    assert!(
        answers.iter().all(|(to, bytes)| *to == Some(stranger) && bytes[1] == Kind::TcsRemDown.to_wire())
    );
    assert!(world.nodes[0].transport.rx.get(rx).is_some() && world.nodes[0].transport.tx.get(tx).is_some());
}

/// Whoever claims the name of a node that is connected does not get its connection.
#[test]
fn stolen_names() {
    let mut world = scene(4);
    let beta = world.nr(0, "beta");
    let mut payload = [0; 100];
    let init =
        Init { src_name: "beta", src_domain: "", dst_name: "alpha", dst_domain: "", shares_acks: false };
    let len = init.emit(&mut payload, Endian::Little).unwrap();
    let header = Header { src_conn_id: 5, length: len as u32, ..Header::new(Kind::TcsInit) };
    let bytes = [&header.encode()[..], &payload[..len]].concat();
    world.inject(0, 0, mac(99, 0), false, &bytes);
    assert!(world.nodes[0].transport.node(beta).unwrap().dup);
    world.send(0, beta, Qos::default(), 10).unwrap();
    assert!(world.drain(Duration::from_secs(1)));
    // Beta was asked, and has answered.
    world.run(Duration::from_secs(1));
    let counters = world.nodes[0].transport.counters();
    assert_eq!((counters.lr_claims, counters.lr_claims_won), (1, 0));
    assert_eq!(world.ledger.downs(), 0);
    world.finish();
}

/// Many strangers open connections and never use them.
#[test]
fn half_open_connections() {
    let mut world = World::connected(5, 1, Options { eager_reverse: false, ..Options::default() });
    for n in 0..1000u32 {
        let name = format!("n{n}");
        let mut payload = [0; 100];
        let init =
            Init { src_name: &name, src_domain: "", dst_name: "alpha", dst_domain: "", shares_acks: false };
        let len = init.emit(&mut payload, Endian::Little).unwrap();
        let header = Header { src_conn_id: n + 1, length: len as u32, ..Header::new(Kind::TcsInit) };
        let bytes = [&header.encode()[..], &payload[..len]].concat();
        let [_, _, high, low] = n.to_be_bytes();
        world.inject(0, 0, LinkAddress::Mac([2, 0, 7, 7, high, low]), false, &bytes);
    }
    let occupancy = world.nodes[0].transport.occupancy();
    assert_eq!((occupancy.rx, occupancy.nodes), (64, 256));
    let alpha = world.nr(1, "alpha");
    world.send(1, alpha, Qos::default(), 10).unwrap();
    world.run(Duration::from_millis(1100));
    assert_eq!(world.nodes[0].transport.occupancy().rx, 1, "only beta's is left");
    world.finish();
}

#[test]
fn refusals_are_limited() {
    let mut world = scene(6);
    let before = world.frames;
    for seq in 0..500 {
        world.inject(0, 0, mac(99, 0), false, &user(77, 88, seq, 3, 0, &[0; 20]));
    }
    assert_eq!(world.frames - before, 10);
    assert_eq!(world.nodes[0].transport.counters().rate_limited, 490);
}
