//! Anything at any time, by seed: losses, cuts, reboots, policies, several links and nodes. Whatever happens, every
//! message comes once and in order or its connection is reported down, and all memory is given back.

use crate::l4::Options;
use crate::l4::testing::{Impair, World, seeds};
use crate::nodes::Usage;
use crate::sessions::{NodeNr, Qos};
use core::time::Duration;
use keelson_qnet_wire::Nd;

const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];
const POLICIES: [&str; 5] = ["", "~loadbalance", "~redundant", "~preferred:en0", "~exclusive:en1"];

fn impair(world: &mut World) {
    for wire in 0..world.wires.len() {
        let rng = &world.rng;
        let harsh = rng.below(3) == 0;
        world.wires[wire] = Impair {
            loss: rng.below(if harsh { 300 } else { 30 }) as u32,
            duplicate: rng.below(100) as u32,
            corrupt: rng.below(20) as u32,
            delay_us: (rng.below(300), 300 + rng.below(3000)),
        };
    }
}

fn chaos(seed: u64) {
    let wires = 1 + (seed % 2) as usize;
    let count = 2 + (seed / 2 % 2) as usize;
    let mut world = World::new(seed, wires);
    world.keep_events = false;
    for name in NAMES.into_iter().take(count) {
        let options = Options {
            do_crc: true,
            enforce_crc: true,
            eager_reverse: !seed.is_multiple_of(3),
            max_connections: 32,
            queue_messages: 40,
            rx_bytes: if seed.is_multiple_of(5) { 140 << 10 } else { 256 << 10 },
            ..Options::default()
        };
        world.add(name, "", options);
    }
    world.announce();
    impair(&mut world);
    let steps = 120;
    for step in 0..steps {
        let who = world.rng.below(count as u64) as usize;
        match world.rng.below(40) {
            0 => impair(&mut world),
            1 => {
                // A cut, or its end.
                let wire = world.rng.below(wires as u64) as usize;
                world.wires[wire].loss = if world.rng.permille(500) { 1000 } else { 10 };
            }
            2 => {
                let wire = world.rng.below(wires as u64) as usize;
                let up = world.rng.permille(700);
                world.nodes[who].ports[wire].up.set(up);
                world.with(who, |transport, now| transport.link_changed(now));
            }
            3 if step % 3 == 0 => {
                world.kill(who);
                let pause = world.rng.below(1500);
                world.run(Duration::from_millis(pause));
                world.boot(who);
            }
            4 => world.with(who, |transport, now| transport.flush_qos(now)),
            5 => {
                let node = NodeNr(1 + world.rng.below(2) as u16);
                let usage = Usage { connections: 0, waiting: world.rng.below(2) as usize };
                world.with(who, |transport, now| transport.set_usage(now, node, usage));
            }
            6 => {
                let room = if world.rng.permille(300) { 3 } else { usize::MAX };
                world.nodes[who].ports.iter().for_each(|port| port.capacity.set(room));
            }
            7 => world.run(Duration::from_secs(3)),
            _ => {
                let to = world.rng.below(count as u64) as usize;
                let policy = POLICIES[world.rng.below(POLICIES.len() as u64) as usize];
                // Up to as much as one message may have, mostly little.
                let len = 8 + world.rng.below(1 << (4 + world.rng.below(13))) as usize;
                if let Ok(Nd(nd)) = world.look_up(who, &format!("{}{policy}", NAMES[to])) {
                    let burst = 1 + world.rng.below(12);
                    for _ in 0..burst {
                        let Some((node, qos)) = world.nodes[who].transport.reach(Nd(nd)) else { break };
                        let _ = world.send(who, node, qos, len);
                    }
                }
            }
        }
        let pause = world.rng.below(20_000);
        world.run(Duration::from_micros(pause));
    }
    for wire in &mut world.wires {
        *wire = Impair { loss: 5, ..Impair::default() };
    }
    for node in &world.nodes {
        for port in &node.ports {
            port.up.set(true);
            port.capacity.set(usize::MAX);
        }
    }
    assert!(world.drain(Duration::from_secs(120)), "seed {seed}: still busy");
    world.run(Duration::from_secs(12));
    world.drain(Duration::from_secs(10));
    world.finish();
    // After all that, a message gets through.
    let before = world.ledger.delivered;
    let nd = world.look_up(0, "beta").unwrap_or_else(|errno| panic!("seed {seed}: {errno}"));
    for _ in 0..20 {
        let _ = world.send(0, NodeNr(nd.node()), Qos::default(), 100);
        world.run(Duration::from_millis(600));
        if world.ledger.delivered > before {
            return;
        }
    }
    panic!("seed {seed}: nothing gets through");
}

#[test]
fn anything_may_happen() {
    for seed in seeds(200) {
        let run = std::panic::catch_unwind(|| chaos(seed));
        assert!(run.is_ok(), "seed {seed}");
    }
}
