//! Several links (section 8): R18, R24, the four policies, links that die and come back.

use crate::l4::testing::{Fate, World};
use crate::l4::{Options, Transport};
use crate::link::{LinkId, LinkPort};
use crate::sessions::{NodeNr, Qos, SessionEvent};
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::l4::Kind;
use std::cell::Cell;
use std::rc::Rc;

fn downs(world: &World, of: usize) -> Vec<Errno> {
    let errno = |event: &crate::l4::Event| match event {
        SessionEvent::TxDown { errno, .. } => Some(*errno),
        _ => None,
    };
    world.nodes[of].events.iter().filter_map(errno).collect()
}

/// Counts data frames of alpha on each wire.
fn count_data(world: &mut World) -> Rc<[Cell<u64>; 2]> {
    let counts: Rc<[Cell<u64>; 2]> = Rc::default();
    let counting = counts.clone();
    world.judge = Some(Box::new(move |seen| {
        if seen.from == 0 && seen.packet.as_ref().is_some_and(|packet| packet.header.kind == Kind::User) {
            let count = &counting[seen.wire];
            count.set(count.get() + 1);
        }
        Fate::Pass
    }));
    counts
}

fn qos(world: &mut World, path: &str) -> (NodeNr, Qos) {
    let nd = world.look_up(0, path).unwrap();
    world.nodes[0].transport.reach(nd).unwrap()
}

fn send_all(world: &mut World, to: NodeNr, qos: Qos, count: usize) {
    let mut left = count;
    for _ in 0..100_000 {
        while left > 0 && world.send(0, to, qos, 3000).is_ok() {
            left -= 1;
        }
        if left == 0 {
            return;
        }
        world.run(Duration::from_micros(100));
    }
    panic!("{left} messages could not be sent");
}

#[test]
fn traffic_is_shared() {
    let mut world = World::connected(1, 2, Options::default());
    world.run(Duration::from_secs(2));
    let counts = count_data(&mut world);
    let beta = world.nr(0, "beta");
    send_all(&mut world, beta, Qos::default(), 400);
    assert!(world.drain(Duration::from_secs(1)));
    world.finish();
    let (one, other) = (counts[0].get(), counts[1].get());
    assert!(one.abs_diff(other) <= 60, "{one} and {other}");
    assert_eq!(world.nodes[0].transport.counters().retransmits, 0);
}

#[test]
fn policies_choose() {
    for (policy, expected) in [
        ("exclusive:en1", [0, 300]),
        ("preferred:en1", [0, 300]),
        ("exclusive:en0", [300, 0]),
        ("redundant", [300, 300]),
    ] {
        let mut world = World::connected(1, 2, Options::default());
        let (beta, qos) = qos(&mut world, &format!("beta~{policy}"));
        assert!(qos.index > 0);
        world.send(0, beta, qos, 10).unwrap();
        world.run(Duration::from_secs(1));
        let counts = count_data(&mut world);
        send_all(&mut world, beta, qos, 100);
        assert!(world.drain(Duration::from_secs(1)));
        world.finish();
        assert_eq!([counts[0].get(), counts[1].get()], expected, "{policy}");
        let duplicates = world.nodes[1].transport.counters().dup_rx;
        assert_eq!(duplicates >= 100, policy == "redundant", "{duplicates}");
    }
}

/// A cut that nobody reports: frames vanish on one wire.
#[test]
fn a_dead_link_is_left_and_taken_back() {
    for policy in ["loadbalance", "preferred:en0", "redundant"] {
        let mut world = World::connected(1, 2, Options::default());
        let (beta, qos) = qos(&mut world, &format!("beta~{policy}"));
        world.send(0, beta, qos, 10).unwrap();
        world.run(Duration::from_secs(2));
        world.wires[0].loss = 1000;
        send_all(&mut world, beta, qos, 200);
        assert!(world.drain(Duration::from_secs(3)), "{policy}");
        // A redundant connection loses nothing and so has no timeouts.
        let expected = u64::from(policy != "redundant");
        let counters = world.nodes[0].transport.counters();
        assert_eq!((counters.link_down.min(1), downs(&world, 0).len()), (expected, 0), "{policy}");
        world.wires[0].loss = 0;
        world.run(Duration::from_millis(1500));
        let counts = count_data(&mut world);
        send_all(&mut world, beta, qos, 200);
        assert!(world.drain(Duration::from_secs(1)));
        world.finish();
        assert!(counts[0].get() > 100, "{policy}: {} frames on the link that is back", counts[0].get());
        assert_eq!(world.nodes[0].transport.counters().link_up.min(1), expected);
    }
}

#[test]
fn an_exclusive_link_is_never_left() {
    let mut world = World::connected(1, 2, Options::default());
    let (beta, qos) = qos(&mut world, "beta~exclusive:en0");
    world.send(0, beta, qos, 10).unwrap();
    world.run(Duration::from_secs(1));
    let counts = count_data(&mut world);
    world.wires[0].loss = 1000;
    world.send(0, beta, qos, 10).unwrap();
    world.run(Duration::from_secs(6));
    assert_eq!(downs(&world, 0), [Errno::ESRCH]);
    assert_eq!(counts[1].get(), 0);
    assert_eq!(world.nodes[0].transport.occupancy().tx, 1, "the other connection stays");
}

#[test]
fn r18_interface_removed_during_a_transfer() {
    for wires in [1, 2] {
        let mut world = World::connected(1, wires, Options::default());
        world.run(Duration::from_secs(2));
        let beta = world.nr(0, "beta");
        for _ in 0..15 {
            world.send(0, beta, Qos::default(), 60_000).unwrap();
        }
        world.run(Duration::from_micros(60));
        world.with(0, |transport, now| transport.remove_link(now, LinkId(0)));
        world.nodes[0].ports[0].up.set(false);
        let done = world.drain(Duration::from_secs(10));
        world.finish();
        match wires {
            1 => {
                assert_eq!(downs(&world, 0), [Errno::ENETDOWN]);
                assert_eq!(world.send(0, beta, Qos::default(), 10), Err(Errno::ENETDOWN));
            }
            _ => {
                assert!(done && downs(&world, 0).is_empty());
                assert_eq!(world.ledger.delivered, world.ledger.total());
            }
        }
    }
}

/// The carrier is gone and comes back: the other link takes over without a timeout.
#[test]
fn carrier_lost() {
    let mut world = World::connected(1, 2, Options::default());
    world.run(Duration::from_secs(2));
    let beta = world.nr(0, "beta");
    let port = world.nodes[0].ports[0].clone();
    port.up.set(false);
    send_all(&mut world, beta, Qos::default(), 100);
    assert!(world.drain(Duration::from_millis(100)));
    assert_eq!(world.nodes[0].transport.counters().retransmits, 0);
    port.up.set(true);
    world.run(Duration::from_secs(2));
    let counts = count_data(&mut world);
    send_all(&mut world, beta, Qos::default(), 100);
    assert!(world.drain(Duration::from_millis(100)) && counts[0].get() > 50);
    world.finish();
}

/// No link for longer than a peer may be silent.
#[test]
fn no_link_for_long() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    world.nodes[0].ports[0].up.set(false);
    world.run(Duration::from_millis(300));
    world.send(0, beta, Qos::default(), 10).unwrap();
    world.run(Duration::from_secs(4));
    assert_eq!(downs(&world, 0), []);
    world.run(Duration::from_millis(500));
    assert_eq!(downs(&world, 0), [Errno::ENETDOWN]);
    assert_eq!(world.send(0, beta, Qos::default(), 10), Err(Errno::ENETDOWN));
}

#[test]
fn r24_flush_after_the_cable_is_back() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    world.wires[0].loss = 1000;
    let wait = Duration::from_millis(2300);
    world.send(0, beta, Qos::default(), 10_000).unwrap();
    world.run(wait);
    world.wires[0].loss = 0;
    // The next retransmission would be due only later.
    world.run(Duration::from_millis(2));
    assert_eq!(world.ledger.delivered, 2);
    world.with(0, Transport::flush_qos_at);
    world.run(Duration::from_millis(10));
    assert_eq!(world.ledger.delivered, 3);
    world.finish();
}

impl Transport {
    fn flush_qos_at(&mut self, now: Instant) {
        self.flush_qos(now);
    }
}

/// A peer with two adapters on the wire where we have one.
#[test]
fn two_adapters_on_one_wire() {
    let mut world = World::connected(1, 1, Options::default());
    let extra = Rc::new(crate::l4::testing::SimPort::new("en1", crate::l4::testing::mac(1, 9)));
    let now = world.now;
    // Beta's second adapter is on the same wire: what it sends there reaches alpha's only link.
    assert!(world.nodes[1].transport.add_link(now, LinkId(1), extra.clone()));
    let alpha = world.nr(1, "alpha");
    world.nodes[1]
        .transport
        .nodes
        .get_mut(alpha.0)
        .unwrap()
        .set_address(LinkId(1), crate::l4::testing::mac(0, 0));
    let frames =
        |extra: &crate::l4::testing::SimPort| std::iter::from_fn(|| extra.take()).collect::<Vec<_>>();
    for round in 0..40 {
        world.send(1, alpha, Qos::default(), 100 + round).unwrap();
        for (to, bytes) in frames(&extra) {
            world.inject(0, 0, extra.address(), to.is_none(), &bytes);
        }
        world.run(Duration::from_millis(100));
    }
    world.run(Duration::from_secs(1));
    assert_eq!(downs(&world, 1), []);
    assert_eq!(world.ledger.delivered, world.ledger.total());
}
