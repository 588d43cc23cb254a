//! R1 to R6: frames that are lost, doubled, late or damaged.

use crate::l4::Options;
use crate::l4::testing::{Fate, Impair, World, seeds};
use crate::sessions::{Qos, SessionEvent};
use core::time::Duration;
use keelson_qnet_wire::l4::Kind;
use std::cell::Cell;
use std::rc::Rc;

/// Both nodes send `count` messages of `len` bytes, as fast as the queues take them. Returns the frames it took.
fn exchange(world: &mut World, count: usize, len: usize) -> u64 {
    let peers = [world.nr(0, "beta"), world.nr(1, "alpha")];
    let (before, delivered) = (world.frames, world.ledger.delivered);
    let mut left = [count; 2];
    for _ in 0..1_000_000 {
        for from in 0..2 {
            while left[from] > 0 && world.send(from, peers[from], Qos::default(), len).is_ok() {
                left[from] -= 1;
            }
        }
        if left == [0; 2] && world.drain(Duration::from_millis(1)) {
            break;
        }
        world.run(Duration::from_micros(200));
    }
    assert!(world.drain(Duration::from_secs(20)));
    assert_eq!(world.ledger.delivered - delivered, 2 * count);
    world.finish();
    world.frames - before
}

#[test]
fn r1_loss() {
    let count = if cfg!(debug_assertions) { 32 } else { 256 };
    for seed in seeds(3) {
        let clean = exchange(&mut World::connected(seed, 1, Options::default()), count, 65_536);
        for loss in [10, 50, 100, 200] {
            let mut world = World::connected(seed, 1, Options::default());
            world.wires[0].loss = loss;
            let frames = exchange(&mut world, count, 65_536);
            assert_eq!(world.ledger.downs(), 0, "loss {loss} seed {seed}");
            assert!(world.nodes[0].transport.counters().retransmits > 0);
            assert!(frames * 2 < clean * 5, "{frames} frames instead of {clean} at loss {loss}");
        }
    }
}

#[test]
fn r2_duplication() {
    for seed in seeds(2) {
        let mut world = World::connected(seed, 1, Options::default());
        world.wires[0].duplicate = 50;
        exchange(&mut world, 10_000, 16);
        assert!(world.nodes[0].transport.counters().dup_rx > 100);
    }
}

#[test]
fn r3_reordering() {
    for seed in seeds(1) {
        let mut world = World::connected(seed, 1, Options::default());
        world.wires[0].delay_us = (200, 3200);
        exchange(&mut world, 1000, 20_000);
        for node in &world.nodes {
            let counters = node.transport.counters();
            assert!(counters.rx_seq_order > 0);
            // Nothing was lost, so every one was spurious.
            assert!(counters.nacks_tx < 100, "{} NACKs seed {seed}", counters.nacks_tx);
        }
    }
}

#[test]
fn r4_no_acks_for_a_second() {
    let mut world = World::pair(1);
    let beta = world.nr(0, "beta");
    let until = world.now + Duration::from_secs(1);
    world.judge = Some(Box::new(move |seen| match &seen.packet {
        Some(packet) if packet.header.kind == Kind::Ack && seen.at < until => Fate::Drop,
        _ => Fate::Pass,
    }));
    world.send(0, beta, Qos::default(), 300).unwrap();
    world.run(Duration::from_millis(900));
    assert_eq!(world.ledger.delivered, 1);
    assert_eq!(world.nodes[0].transport.occupancy().outbound_messages, 1);
    assert!(world.drain(Duration::from_secs(2)));
    world.finish();
    assert!(world.nodes[1].transport.counters().dup_rx > 0);
    assert_eq!((world.ledger.delivered, world.ledger.downs()), (1, 0));
}

/// Drops the first frame of a kind and counts those of another.
fn handshake_without(lost: Kind) -> (World, Rc<Cell<u32>>, Duration) {
    let mut world = World::pair_with(1, 1, Options { eager_reverse: false, ..Options::default() });
    let beta = world.nr(0, "beta");
    let inits = Rc::new(Cell::new(0));
    let (count, dropped) = (inits.clone(), Cell::new(false));
    world.judge = Some(Box::new(move |seen| {
        let kind = seen.packet.as_ref().map(|packet| packet.header.kind);
        count.set(count.get() + u32::from(kind == Some(Kind::TcsInit)));
        if kind == Some(lost) && !dropped.replace(true) { Fate::Drop } else { Fate::Pass }
    }));
    let before = world.now;
    world.send(0, beta, Qos::default(), 300).unwrap();
    assert!(world.drain(Duration::from_secs(2)));
    world.finish();
    assert_eq!(world.ledger.delivered, 1);
    let took = world.now - before;
    (world, inits, took)
}

#[test]
fn r5_lost_handshake_frames() {
    let (_, inits, _) = handshake_without(Kind::TcsRemUp);
    assert_eq!(inits.get(), 2, "repeated once");
    let (_, inits, _) = handshake_without(Kind::TcsInit);
    assert_eq!(inits.get(), 2);
    let (world, inits, took) = handshake_without(Kind::TcsUp);
    assert_eq!(inits.get(), 1, "the data said it");
    assert!(took < Duration::from_millis(20));
    assert!(matches!(world.nodes[0].events[..], [SessionEvent::TxUp { .. }]));
}

#[test]
fn r6_corruption() {
    for seed in seeds(5) {
        let mut world =
            World::connected(seed, 1, Options { do_crc: true, enforce_crc: true, ..Options::default() });
        world.wires[0] = Impair { corrupt: 10, ..Impair::default() };
        exchange(&mut world, 200, 8000);
        assert!(world.nodes.iter().any(|node| node.transport.counters().rxd_bad_crc > 0));
        assert_eq!(world.ledger.downs(), 0);
    }
}
