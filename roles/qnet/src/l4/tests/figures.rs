//! The table of section 7.8 with our own figures.

use crate::l4::Options;
use crate::l4::testing::{Impair, World, seeds};
use crate::sessions::Qos;
use core::time::Duration;
use std::fmt::Write;

const MESSAGES: usize = 1500;

struct Row {
    loss: u32,
    duplicate: u32,
    most_delay_us: u64,
    /// Frames in both directions that must be enough, in the mean.
    frames: u64,
}

const ROWS: [Row; 6] = [
    Row { loss: 0, duplicate: 0, most_delay_us: 1000, frames: 12_700 },
    Row { loss: 10, duplicate: 0, most_delay_us: 1000, frames: 12_900 },
    Row { loss: 50, duplicate: 50, most_delay_us: 1000, frames: 14_000 },
    Row { loss: 100, duplicate: 50, most_delay_us: 3200, frames: 15_500 },
    Row { loss: 200, duplicate: 100, most_delay_us: 3200, frames: 19_500 },
    Row { loss: 300, duplicate: 100, most_delay_us: 3200, frames: 25_000 },
];

/// One run: whether everything arrived, and the frames that it took.
fn run(seed: u64, row: &Row) -> (bool, u64) {
    let mut world = World::connected(seed, 1, Options { eager_reverse: false, ..Options::default() });
    world.keep_events = false;
    let beta = world.nr(0, "beta");
    world.wires[0] = Impair {
        loss: row.loss,
        duplicate: row.duplicate,
        delay_us: (200, row.most_delay_us),
        ..Impair::default()
    };
    let (before, mut sent) = (world.frames, 0);
    while sent < MESSAGES {
        let len = 1 + world.rng.below(20_000) as usize;
        match world.send(0, beta, Qos::default(), len) {
            Ok(_) => sent += 1,
            Err(_) => world.run(Duration::from_millis(1)),
        }
        assert!(
            world.now.as_millis() < 600_000,
            "stalled at {sent}: {:?} {:?}",
            world.nodes[0].transport.counters(),
            world.nodes[1].transport.counters()
        );
        if world.ledger.downs() > 0 {
            return (false, world.frames - before);
        }
    }
    let all = world.drain(Duration::from_secs(60)) && world.ledger.downs() == 0;
    if all {
        world.finish();
    }
    (all, world.frames - before)
}

#[test]
fn table() {
    let mut table = String::from("| loss | duplication | success | frames |\n");
    let seeds = seeds(2);
    for row in ROWS {
        let (mut successes, mut frames) = (0, 0);
        let runs = seeds.end;
        for seed in seeds.clone() {
            let (success, taken) = run(seed, &row);
            successes += u64::from(success);
            frames += taken;
        }
        let (loss, duplicate) = (row.loss / 10, row.duplicate / 10);
        writeln!(table, "| {loss} % | {duplicate} % | {successes}/{runs} | {} |", frames / runs).unwrap();
        let enough = if row.loss >= 300 { successes * 10 >= runs * 9 } else { successes == runs };
        assert!(enough && frames / runs <= row.frames, "{table}");
    }
    println!("{table}");
}

/// A peer that dies is known to be dead 4.26 s after the first transmission.
#[test]
fn time_of_death() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    // Without a measured round trip the times are those of the specification.
    let id = world.nodes[0].transport.node(beta).unwrap().tx[0];
    world.nodes[0].transport.tx.get_mut(id).unwrap().srtt = None;
    world.kill(1);
    world.send(0, beta, Qos::default(), 100).unwrap();
    world.run(Duration::from_millis(4255));
    assert_eq!(world.ledger.downs(), 0);
    world.run(Duration::from_millis(10));
    assert_eq!(world.ledger.downs(), 1);
}
