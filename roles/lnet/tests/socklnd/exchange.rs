//! Two LNDs that exchange messages over wires that lose, repeat, reorder and break.

use crate::common::*;
use keelson_lnet::lnd::{Lnd, SendError};
use keelson_lnet::socklnd::SocklndConfig;
use keelson_net::Stack;
use keelson_net_sim::{Faults, NicModel, Node, World};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const A: &str = "10.1.0.1@tcp";
const B: &str = "10.1.0.2@tcp";

struct Pair {
    world: World,
    wire: Rc<keelson_net_sim::Wire>,
    boxes: [Rc<Node>; 2],
    lives: RefCell<[u64; 2]>,
}

impl Pair {
    fn new(seed: u64, faults: Faults) -> Pair {
        let world = World::new(seed);
        let wire = world.wire(faults);
        let boxes = [world.node(), world.node()];
        boxes[0].plug("eth0", &wire, "10.1.0.1/24", NicModel::default());
        boxes[1].plug("eth0", &wire, "10.1.0.2/24", NicModel::default());
        Pair { world, wire, boxes, lives: RefCell::new([100, 200]) }
    }

    fn boot(&self, n: usize) -> Router {
        self.boot_with(n, SocklndConfig::default())
    }

    fn boot_with(&self, n: usize, config: SocklndConfig) -> Router {
        let (handle, stack): (_, Stack) = self.boxes[n].boot();
        self.lives.borrow_mut()[n] += 1;
        Router::start(handle, stack, [A, B][n], self.lives.borrow()[n], config)
    }

    /// Runs until both have got so many messages.
    fn exchange(&self, a: &Router, b: &Router, at_a: usize, at_b: usize, limit: Duration) {
        let done = self.world.run_until(limit, || a.upper.total() >= at_a && b.upper.total() >= at_b);
        let (got, events) = ((a.upper.total(), b.upper.total()), (a.upper.events(), b.upper.events()));
        assert!(done, "{got:?} of {:?} after {:?}: {:?}", (at_a, at_b), self.world.now(), events);
    }
}

fn len(n: u64) -> usize {
    match n % 8 {
        0 => 1 << 20,
        1 => 0,
        2 => 4096,
        3 => 70_000,
        n => 100 * n as usize,
    }
}

#[test]
fn thousands_of_messages_arrive_once_and_whole_on_a_bad_wire() {
    for seed in 1..=3 {
        let faults = Faults { loss: (seed % 3) as u32, duplicate: 1, reorder: 5, ..Faults::default() };
        let pair = Pair::new(seed, faults);
        let (a, b) = (pair.boot(0), pair.boot(1));
        let (large, small) = (16, 2000);
        for n in 0..large * 8 {
            a.send(n, b.nid, len(n));
            b.send(n, a.nid, len(n));
        }
        for n in 0..small {
            a.send(10_000 + n, b.nid, 200);
            b.send(10_000 + n, a.nid, 200);
        }
        let all = (large * 8 + small) as usize;
        pair.exchange(&a, &b, all, all, secs(600));
        for router in [&a, &b] {
            assert_eq!((router.upper.damaged.get(), router.upper.lost.get()), (0, 0));
            assert!(router.upper.received.borrow().values().all(|times| *times == 1));
            assert_eq!(router.upper.sent.get() as usize, all);
            let order = router.upper.order.borrow();
            let small: Vec<_> = order.iter().filter(|n| **n >= 10_000).collect();
            assert!(small.is_sorted(), "small messages keep their order");
            assert_eq!(router.kinds(), "CIO", "whoever connected first");
        }
    }
}

#[test]
fn a_small_message_does_not_wait_behind_bulk() {
    let faults = Faults { bandwidth: Some(125_000_000), ..Faults::default() };
    let pair = Pair::new(9, faults);
    let (a, b) = (pair.boot(0), pair.boot(1));
    a.send(0, b.nid, 10);
    pair.exchange(&a, &b, 0, 1, secs(5));
    pair.world.run_for(Duration::from_millis(10));
    (1..33).for_each(|n| a.send(n, b.nid, 1 << 20));
    pair.world.run_for(Duration::from_millis(20));
    a.send(100, b.nid, 10);
    let begun = pair.world.now();
    assert!(pair.world.run_until(secs(10), || b.upper.received.borrow().contains_key(&100)));
    let took = pair.world.now() - begun;
    assert!(took < Duration::from_millis(20), "{took:?}");
    assert!(b.upper.total() < 30, "bulk was under way");
    pair.exchange(&a, &b, 0, 34, secs(60));
}

#[test]
fn both_connecting_at_once_end_up_with_one_set() {
    for seed in 1..=200 {
        let pair = Pair::new(seed, Faults { reorder: 30, loss: (seed % 4) as u32, ..Faults::default() });
        let (a, b) = (pair.boot(0), pair.boot(1));
        pair.world.run_for(Duration::from_millis(5));
        // From exactly together to well apart.
        a.send(1, b.nid, 100);
        pair.world.run_for(Duration::from_micros(20 * ((seed - 1) % 20)));
        b.send(2, a.nid, 100);
        pair.exchange(&a, &b, 1, 1, secs(20));
        pair.world.run_for(secs(20));
        assert_eq!((a.kinds(), b.kinds()), ("CIO".into(), "CIO".into()), "seed {seed}");
        assert_eq!((a.upper.lost.get(), b.upper.lost.get()), (0, 0));
    }
}

#[test]
fn a_peer_that_was_killed_and_booted_is_found_again() {
    for who_sends in [0, 1] {
        let pair = Pair::new(3, Faults::default());
        let (a, b) = (pair.boot(0), pair.boot(1));
        a.send(1, b.nid, 100);
        pair.exchange(&a, &b, 0, 1, secs(5));
        pair.world.run_for(secs(1));
        pair.boxes[1].kill();
        pair.world.run_for(secs(2));
        let b = pair.boot(1);
        pair.world.run_for(secs(1));
        if who_sends == 0 {
            // Into the old connection, which is answered with a reset; then on a new one.
            a.send(2, b.nid, 100);
            pair.world.run_for(secs(2));
            a.send(3, b.nid, 100);
            pair.exchange(&a, &b, 0, 1, secs(5));
        } else {
            b.send(2, a.nid, 100);
            pair.exchange(&a, &b, 2 - 1, 0, secs(5));
            let mut stale = 0;
            a.lnd.counters().each(|name, _, value| stale += if name == "hello_stale" { value } else { 0 });
            assert_eq!(stale, 1);
            a.send(3, b.nid, 100);
            pair.exchange(&a, &b, 1, 1, secs(5));
        }
        pair.world.run_for(secs(3));
        assert_eq!(a.upper.events().iter().filter(|told| **told == Told::Up(b.nid)).count(), 2);
        assert_eq!((a.kinds(), b.kinds()), ("CIO".into(), "CIO".into()));
    }
}

#[test]
fn a_peer_that_is_dead_for_good_is_given_up() {
    let pair = Pair::new(4, Faults::default());
    let (a, b) = (pair.boot(0), pair.boot(1));
    a.send(1, b.nid, 100);
    pair.exchange(&a, &b, 0, 1, secs(5));
    pair.world.run_for(secs(1));
    pair.boxes[1].kill();
    (2..40).for_each(|n| a.send(n, b.nid, 1 << 20));
    pair.world.run_for(secs(70));
    assert_eq!(a.kinds(), "");
    assert_eq!(a.upper.sent.get() + a.upper.lost.get(), 39);
    assert!(a.upper.lost.get() > 30);
    assert_eq!(a.upper.events().last(), Some(&Told::Down(b.nid, true)));
    a.send(50, b.nid, 10);
    pair.world.run_for(secs(60));
    assert!(matches!(a.upper.result(50), Some(Err(SendError::TimedOut | SendError::Unreachable))));
}

#[test]
fn what_breaks_again_and_again_loses_no_message_without_saying_so() {
    for seed in 1..=3 {
        let pair = Pair::new(seed, Faults { loss: 1, ..Faults::default() });
        let (a, b) = (pair.boot(0), pair.boot(1));
        for round in 0..10u64 {
            for n in 0..10 {
                a.send(100 * round + n, b.nid, len(n));
                b.send(100 * round + n, a.nid, len(n));
            }
            pair.world.run_for(Duration::from_millis(7 * (seed + round)));
            let breaker = if round % 2 == 0 { &a } else { &b };
            let other = if round % 2 == 0 { b.nid } else { a.nid };
            breaker.lnd.disconnect(NI, other);
            pair.world.run_for(secs(2));
        }
        pair.world.run_for(secs(120));
        for (from, to) in [(&a, &b), (&b, &a)] {
            assert_eq!(from.upper.sent.get() + from.upper.lost.get(), 100, "every message was returned");
            assert!(from.upper.sent.get() > 20, "{}", from.upper.sent.get());
            assert_eq!(to.upper.damaged.get(), 0);
            let received = to.upper.received.borrow();
            assert!(received.values().all(|times| *times == 1));
            for round in 0..10 {
                for n in (0..10).map(|n| 100 * round + n) {
                    assert!(from.upper.result(n).is_some(), "{n}");
                }
            }
        }
    }
}

#[test]
fn a_parked_receiver_holds_the_sender_back_and_loses_nothing() {
    let pair = Pair::new(5, Faults { loss: 1, ..Faults::default() });
    let (a, b) = (pair.boot(0), pair.boot(1));
    a.send(0, b.nid, 10);
    pair.exchange(&a, &b, 0, 1, secs(5));
    pair.world.run_for(secs(1));
    // Large messages have to wait, small ones get in.
    b.upper.closed.set(Some(2000));
    (1..21).for_each(|n| a.send(n, b.nid, 1 << 20));
    pair.world.run_for(secs(5));
    assert_eq!(b.upper.total(), 1);
    assert!(a.upper.sent.get() < 4, "only what fits the rings has gone: {}", a.upper.sent.get());
    assert!(b.upper.pieces.allocated() < 200_000, "no memory is taken for what waits");
    (100..200).for_each(|n| a.send(n, b.nid, 200));
    (100..200).for_each(|n| b.send(n, a.nid, 5000));
    pair.exchange(&a, &b, 100, 101, secs(5));
    pair.world.run_for(secs(30));
    b.upper.open();
    pair.exchange(&a, &b, 100, 121, secs(60));
    assert_eq!((a.upper.lost.get(), b.upper.damaged.get()), (0, 0));
}

#[test]
fn a_receiver_that_is_parked_for_too_long_costs_the_connection() {
    let pair = Pair::new(6, Faults::default());
    let (a, b) = (pair.boot(0), pair.boot(1));
    b.upper.closed.set(Some(0));
    (0..20).for_each(|n| a.send(n, b.nid, 1 << 20));
    pair.world.run_for(secs(70));
    assert_eq!(b.upper.total(), 0);
    assert!(a.upper.lost.get() >= 19);
    b.upper.open();
    a.send(100, b.nid, 10);
    pair.exchange(&a, &b, 0, 1, secs(30));
}

#[test]
fn a_cable_that_is_pulled_for_a_while_costs_time_only() {
    let pair = Pair::new(7, Faults::default());
    let (a, b) = (pair.boot(0), pair.boot(1));
    (0..40).for_each(|n| a.send(n, b.nid, 1 << 20));
    pair.world.run_for(Duration::from_millis(3));
    pair.boxes[1].set_cut("eth0", true);
    pair.world.run_for(secs(20));
    pair.boxes[1].set_cut("eth0", false);
    pair.exchange(&a, &b, 0, 40, secs(60));
    assert_eq!(a.upper.lost.get(), 0);
    assert!(pair.wire.frames.get() > 0);
}

#[test]
fn several_connections_for_bulk_are_used() {
    let pair = Pair::new(8, Faults { bandwidth: Some(125_000_000), ..Faults::default() });
    let (a, b) = (pair.boot(0), pair.boot(1));
    a.lnd.remove_ni(NI);
    let ni = keelson_lnet::lnd::LndNi { id: NI, nid: a.nid, incarnation: 101, conns_per_peer: 3 };
    a.lnd.add_ni(ni);
    (0..24).for_each(|n| a.send(n, b.nid, 1 << 20));
    (100..124).for_each(|n| b.send(n, a.nid, 1 << 20));
    pair.exchange(&a, &b, 24, 24, secs(60));
    pair.world.run_for(secs(5));
    assert_eq!(a.kinds(), "CIIIOOO");
    assert_eq!(b.kinds(), "CIIIOOO");
    assert_eq!((a.upper.damaged.get(), b.upper.damaged.get()), (0, 0));
}

#[test]
fn nodes_that_lose_power_at_any_time_come_back_to_each_other() {
    for seed in 1..=6u64 {
        let pair = Pair::new(seed, Faults { loss: (seed % 3) as u32, reorder: 5, ..Faults::default() });
        let mut routers = [pair.boot(0), pair.boot(1)];
        for round in 0..8u64 {
            for n in 0..16 {
                routers[0].send(100 * round + n, routers[1].nid, len(n));
                routers[1].send(100 * round + n, routers[0].nid, len(n));
            }
            pair.world.run_for(Duration::from_millis(3 + 5 * ((seed * 7 + round * 3) % 11)));
            let victim = (seed + round) as usize % 2;
            pair.boxes[victim].kill();
            // From a blink, in which nobody notices, to longer than the first pauses.
            pair.world.run_for(Duration::from_millis([1, 400, 3000, 12_000][(round % 4) as usize]));
            for router in &routers {
                assert_eq!(router.upper.damaged.get(), 0, "seed {seed}");
                assert!(router.upper.received.borrow().values().all(|times| *times == 1), "seed {seed}");
            }
            let survivor = &routers[1 - victim];
            survivor.upper.received.borrow_mut().clear();
            routers[victim] = pair.boot(victim);
        }
        // Whatever was lost: a minute later they talk, both ways.
        pair.world.run_for(secs(65));
        let [a, b] = &routers;
        a.send(9000, b.nid, 1 << 20);
        b.send(9001, a.nid, 1 << 20);
        let done = pair.world.run_until(secs(10), || {
            b.upper.received.borrow().contains_key(&9000) && a.upper.received.borrow().contains_key(&9001)
        });
        assert!(done, "seed {seed}: {:?} {:?}", a.upper.events(), b.upper.events());
        pair.world.run_for(secs(3));
        assert_eq!((a.kinds(), b.kinds()), ("CIO".into(), "CIO".into()), "seed {seed}");
    }
}
