//! Scenarios step by step, and crowds.

use std::fs;
use std::path::Path;
use std::time::Instant;

use keelson_qemu::LinuxGuest;
use keelson_tests::server::Maker;

use super::world::{CLIENTS, LONG, SCENARIOS, World};

/// Processes of each client in a crowd, and how often each locks and unlocks.
const PROCESSES: u64 = 4;
const ROUNDS: u64 = 40;

pub fn scenarios_and_crowds(maker: Maker) {
    let world = World::new("nfs-locks-contention", maker);
    let [first, second] = &world.clients;
    // The actors of the other client.
    second.spawn("locks serve").unwrap();
    let away = format!("B={0} D={0}", CLIENTS[1]);
    for scenario in SCENARIOS {
        let local = scenario != "nfs-only";
        if local {
            play(first, scenario, "/tmp/local", "");
        }
        if scenario != "nfs-only" {
            play(first, scenario, "/mnt/one-client", "");
        }
        play(first, scenario, "/mnt/two-clients", &away);
    }
    crowd(&world);
    first.ok("rm -f /mnt/*", LONG).unwrap();
    second.ok("kill $(pidof locks)", LONG).unwrap();
    world.finish();
}

/// A scenario file is the transcript of how it should go.
fn play(client: &LinuxGuest, scenario: &str, file: &str, places: &str) {
    let start = Instant::now();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guest/locks/scenarios/{scenario}.txt"));
    let expected = fs::read_to_string(path).unwrap();
    let command = format!("locks play /scenarios/{scenario}.txt {file}.{scenario} {places}");
    let played = client.ok(&command, LONG).unwrap();
    let mut title = "";
    for (played, expected) in played.lines().zip(expected.lines()) {
        if expected.starts_with("==") {
            title = expected;
        }
        assert_eq!(played, expected, "{scenario} {title} on {file} ({places})");
    }
    assert_eq!(played.lines().count(), expected.lines().count(), "{scenario} on {file}");
    eprintln!("{:6.1} s  {scenario} on {file}", start.elapsed().as_secs_f64());
}

/// Processes of both clients count in one file, each in what it has locked.
fn crowd(world: &World) {
    let start = Instant::now();
    let jobs: Vec<_> = (0..)
        .zip(&world.clients)
        .map(|(number, client)| {
            client.spawn(&format!("locks contend /mnt/count {number} {PROCESSES} {ROUNDS}")).unwrap()
        })
        .collect();
    let counted: u64 = jobs
        .into_iter()
        .map(|job| {
            let output = job.wait(LONG).unwrap();
            assert_eq!(output.status, 0, "{}", output.stderr);
            output.stdout.trim().parse::<u64>().unwrap()
        })
        .sum();
    for client in &world.clients {
        let sum = client.ok("echo 3 > /proc/sys/vm/drop_caches; locks sum /mnt/count", LONG).unwrap();
        assert_eq!(sum.trim(), counted.to_string(), "the file, and what the processes say together");
    }
    eprintln!("{:6.1} s  a crowd counted to {counted}", start.elapsed().as_secs_f64());
}
