//! R7 to R9: nodes that die, and come back; connections that nobody needs.

use crate::l4::Options;
use crate::l4::testing::World;
use crate::nodes::{NodeState, Usage};
use crate::sessions::{NodeNr, Qos, SessionEvent};
use core::time::Duration;
use keelson_qnet_wire::Errno;

fn is_listed(world: &World, of: usize, nr: NodeNr) -> bool {
    world.nodes[of].transport.nodes().any(|entry| entry.nr == nr.0)
}

fn downs(world: &World, of: usize) -> Vec<Errno> {
    let errno = |event: &crate::l4::Event| match event {
        SessionEvent::TxDown { errno, .. } => Some(*errno),
        _ => None,
    };
    world.nodes[of].events.iter().filter_map(errno).collect()
}

#[test]
fn r7_death_during_a_transfer() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    for _ in 0..16 {
        world.send(0, beta, Qos::default(), 60_000).unwrap();
    }
    world.run(Duration::from_micros(70));
    world.kill(1);
    world.run(Duration::from_secs(7));
    assert_eq!(downs(&world, 0), [Errno::ESRCH]);
    assert!(!is_listed(&world, 0, beta));
    assert_eq!(world.nodes[0].transport.counters().nd_down, 1);
    world.finish();
    // Its number stays valid, but nobody answers.
    world.send(0, beta, Qos::default(), 10).unwrap();
    world.run(Duration::from_secs(1));
    assert_eq!(downs(&world, 0), [Errno::ESRCH, Errno::EHOSTDOWN]);
    assert_eq!(world.look_up(0, "beta"), Err(Errno::ENOENT));
    world.finish();
}

#[test]
fn r8_death_of_an_idle_node() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    world.kill(1);
    // An entry alone proves nothing; a session finds out.
    let third = world.add("gamma", "", Options::default());
    world.announce();
    world.run(Duration::from_secs(1));
    let gamma = world.nr(0, "gamma");
    world.kill(third);
    world.run(Duration::from_secs(17));
    assert_eq!(downs(&world, 0), [Errno::ESRCH]);
    assert!(!is_listed(&world, 0, beta) && is_listed(&world, 0, gamma));
    // `ls -l /net`.
    assert_eq!(world.verify(0, gamma), Err(Errno::EHOSTDOWN));
    assert!(!is_listed(&world, 0, gamma));
    world.finish();
}

/// While somebody waits for it, a dead node is noticed sooner.
#[test]
fn busy_connections_are_watched() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    world.with(0, |transport, now| {
        transport.set_usage(now, beta, Usage { connections: 1, waiting: 1 });
    });
    world.kill(1);
    world.run(Duration::from_millis(6400));
    assert_eq!(downs(&world, 0), [Errno::ESRCH]);
}

#[test]
fn r9_reboot_within_a_second() {
    for after in [10, 300, 900] {
        let mut world = World::connected(after, 1, Options::default());
        let beta = world.nr(0, "beta");
        world.run(Duration::from_secs(1));
        world.kill(1);
        world.run(Duration::from_millis(after));
        world.boot(1);
        let first = world.send(0, beta, Qos::default(), 100);
        world.run(Duration::from_secs(1));
        // What was sent to the old life failed, and the new one takes what comes now.
        assert_eq!(downs(&world, 0), [Errno::ESRCH], "{first:?}");
        world.send(0, beta, Qos::default(), 100).unwrap();
        let alpha = world.look_up(1, "alpha").unwrap();
        world.send(1, NodeNr(alpha.node()), Qos::default(), 100).unwrap();
        assert!(world.drain(Duration::from_secs(1)));
        world.finish();
        for node in &world.nodes {
            assert_eq!((node.transport.occupancy().tx, node.transport.occupancy().rx), (1, 1));
        }
        assert_eq!(world.nr(0, "beta"), beta);
        assert!(is_listed(&world, 0, beta));
    }
}

/// The other side of a reboot: what the old life had here ends when the new one opens its connection.
#[test]
fn a_new_life_ends_the_old_one() {
    let mut world = World::connected(3, 1, Options::default());
    world.kill(1);
    world.boot(1);
    let epoch = world.nodes[0].transport.node(NodeNr(1)).unwrap().epoch;
    let alpha = world.look_up(1, "alpha").unwrap();
    world.send(1, NodeNr(alpha.node()), Qos::default(), 100).unwrap();
    world.run(Duration::from_millis(100));
    let events = &world.nodes[0].events;
    assert!(events.iter().any(|event| matches!(event, SessionEvent::RxDown { .. })));
    assert_eq!(downs(&world, 0), [Errno::ESRCH], "its knowledge of our connection is gone too");
    assert_ne!(world.nodes[0].transport.node(NodeNr(1)).unwrap().epoch, epoch);
    assert!(world.drain(Duration::from_secs(1)));
    world.finish();
}

/// The kernel interfaces of both nodes have something to do with the other.
fn keep(world: &mut World) {
    for (number, peer) in [(0, world.nr(0, "beta")), (1, world.nr(1, "alpha"))] {
        let usage = Usage { connections: 1, waiting: 0 };
        world.with(number, |transport, now| transport.set_usage(now, peer, usage));
    }
}

/// An eager reverse connection is one that nobody may ever have asked for (section 7.7).
#[test]
fn connections_that_nobody_ever_used_are_closed() {
    let mut world = World::connected(1, 1, Options::default());
    world.run(Duration::from_secs(50));
    assert_eq!(world.nodes[0].transport.occupancy().tx, 1);
    world.run(Duration::from_secs(15));
    for node in &world.nodes {
        let occupancy = node.transport.occupancy();
        assert_eq!((occupancy.tx, occupancy.rx), (0, 0));
    }
    world.finish();
}

/// Being asked whether one is there is no use of a connection.
#[test]
fn signs_of_life_do_not_keep_connections() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    world.run(Duration::from_secs(50));
    assert_eq!(world.verify(0, beta), Ok(beta.0.into()));
    world.run(Duration::from_secs(15));
    for node in &world.nodes {
        let occupancy = node.transport.occupancy();
        assert_eq!((occupancy.tx, occupancy.rx), (0, 0));
    }
    world.finish();
}

#[test]
fn unused_connections_are_closed() {
    let mut world = World::connected(1, 1, Options::default());
    let peers = [world.nr(0, "beta"), world.nr(1, "alpha")];
    keep(&mut world);
    world.run(Duration::from_secs(120));
    assert_eq!(world.nodes[0].transport.occupancy().tx, 1, "KIF needs it");
    for (number, peer) in peers.into_iter().enumerate() {
        world.with(number, |transport, now| transport.set_usage(now, peer, Usage::default()));
    }
    world.run(Duration::from_secs(50));
    assert_eq!(world.nodes[0].transport.occupancy().tx, 1);
    world.run(Duration::from_secs(12));
    for (number, peer) in peers.into_iter().enumerate() {
        let occupancy = world.nodes[number].transport.occupancy();
        assert_eq!((occupancy.tx, occupancy.rx), (0, 0));
        assert_eq!(downs(&world, number), [Errno::EOK]);
        assert!(is_listed(&world, number, peer));
        assert_eq!(world.nodes[number].transport.node(peer).unwrap().state, NodeState::Learned);
    }
    world.send(0, peers[0], Qos::default(), 10).unwrap();
    assert!(world.drain(Duration::from_secs(1)));
    world.finish();
}

/// Idle connections stay, at the price of a few small frames.
#[test]
fn heartbeats() {
    let mut world = World::connected(1, 1, Options { auto_add: 1_000_000, ..Options::default() });
    keep(&mut world);
    let before = world.frames;
    world.run(Duration::from_secs(100));
    let frames = world.frames - before;
    assert!((30..60).contains(&frames), "{frames}");
    assert_eq!(world.ledger.downs(), 0);
    assert!(world.nodes.iter().all(|node| node.transport.counters().nr_ping_tx == 0));
}

#[test]
fn shutdown_is_noticed_at_once() {
    let mut world = World::connected(1, 1, Options::default());
    let alpha = world.nr(1, "alpha");
    world.nodes[1].events.clear();
    world.with(0, |transport, now| transport.shutdown(now));
    world.run(Duration::from_millis(10));
    assert_eq!(downs(&world, 1), [Errno::ESRCH]);
    assert!(world.nodes[1].events.iter().any(|event| matches!(event, SessionEvent::RxDown { .. })));
    let occupancy = world.nodes[1].transport.occupancy();
    assert_eq!((occupancy.tx, occupancy.rx), (0, 0));
    assert!(is_listed(&world, 1, alpha), "stale, until it is used");
    assert_eq!(world.nodes[0].transport.occupancy().tx, 0);
}

/// A peer that refuses, and one that is not there.
#[test]
fn refusals() {
    let mut world = World::pair(1);
    let beta = world.nr(0, "beta");
    // The address of beta belongs to a node of another name by now.
    world.kill(1);
    world.nodes[1].options_name("other");
    world.boot(1);
    world.run(Duration::from_millis(1));
    world.send(0, beta, Qos::default(), 10).unwrap();
    world.run(Duration::from_millis(10));
    assert_eq!(downs(&world, 0), [Errno::EHOSTDOWN], "at once");
    assert_eq!(world.send(0, beta, Qos::default(), 10), Err(Errno::EHOSTDOWN), "held down for a tick");
    assert_eq!(world.send(0, NodeNr(77), Qos::default(), 10), Err(Errno::ESRCH));
    world.finish();
}
