//! Scenarios step by step, and crowds.

use std::fs;
use std::path::Path;
use std::time::Instant;

use keelson_qemu::LinuxGuest;
use keelson_tests::server::Maker;

use super::world::{CLIENTS, LONG, SCENARIOS, World};

/// Processes of each client in a crowd, and how often each locks and unlocks.
const PROCESSES: u64 = 4;
const ROUNDS: u64 = 80;

pub fn scenarios_and_crowds(maker: Maker) {
    let world = World::new("nfs-locks-contention", maker);
    let [first, second] = &world.clients;
    // The actors of the other client.
    second.spawn("locks serve").unwrap();
    let away = format!("B={0} D={0}", CLIENTS[1]);
    for scenario in SCENARIOS {
        let local = scenario != "nfs-only";
        if local {
            play(first, scenario, "/tmp/local", "", str::to_string);
            play(first, scenario, "/mnt/one-client", "", str::to_string);
        }
        let expected = match maker {
            Maker::Appliance => str::to_string,
            Maker::Linux => tested_as_shared,
        };
        play(first, scenario, "/mnt/two-clients", &away, expected);
    }
    let (said, found) = crowd(&world, "/mnt/count");
    assert!(said.is_some() && said == found, "the processes say {said:?}, the file {found:?}");
    // The crowd can fail: these clients do not ask the server for locks.
    for client in &world.clients {
        client
            .ok("mkdir /nolock; mount -t nfs -o vers=3,nolock,nosharecache 10.0.0.1:/ /nolock", LONG)
            .unwrap();
    }
    let (said, found) = crowd(&world, "/nolock/unlocked");
    assert!(said.is_none() || said != found, "without locks {said:?} was counted, and is there");
    world.clients.iter().for_each(|client| drop(client.ok("umount /nolock", LONG).unwrap()));
    first.ok("rm /mnt/*-client* /mnt/count /mnt/unlocked", LONG).unwrap();
    second.ok("kill $(pidof locks)", LONG).unwrap();
    world.finish();
}

/// A scenario file is the transcript of how it should go.
fn play(client: &LinuxGuest, scenario: &str, file: &str, places: &str, known: fn(&str) -> String) {
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
        assert_eq!(played, known(expected), "{scenario} {title} on {file} ({places})");
    }
    assert_eq!(played.lines().count(), expected.lines().count(), "{scenario} on {file}");
    eprintln!("{:6.1} s  {scenario} on {file}", start.elapsed().as_secs_f64());
}

/// Linux 6.1.192 as a server takes every TEST for one of a shared lock, and so finds no shared lock of another client in the
/// way of an exclusive one (LOCK is right).
fn tested_as_shared(step: &str) -> String {
    let other_client =
        step.starts_with(['B', 'D']) && step.contains(" test w ") && step.contains(": held r ");
    match step.split_once(": held r ").filter(|_| other_client) {
        Some((command, _)) => format!("{command}: free"),
        None => step.into(),
    }
}

/// Processes of both clients count in one file, each in what it has locked. Returns what they say together, unless one
/// of them saw a change under its lock, and what both clients find in the file, if they find the same.
fn crowd(world: &World, file: &str) -> (Option<u64>, Option<u64>) {
    let start = Instant::now();
    let jobs: Vec<_> = (0..)
        .zip(&world.clients)
        .map(|(number, client)| {
            client.spawn(&format!("locks contend {file} {number} {PROCESSES} {ROUNDS}")).unwrap()
        })
        .collect();
    let said = jobs.into_iter().map(|job| {
        let output = job.wait(LONG).unwrap();
        eprint!("{}", output.stderr);
        output.stdout.trim().parse::<u64>().ok()
    });
    // All of them end, also if one failed.
    let said: Vec<Option<u64>> = said.collect();
    let found = world.clients.each_ref().map(|client| {
        let sum = client.ok(&format!("echo 3 > /proc/sys/vm/drop_caches; locks sum {file}"), LONG).unwrap();
        sum.trim().parse::<u64>().unwrap()
    });
    let said = said.into_iter().sum();
    let found = (found[0] == found[1]).then_some(found[0]);
    eprintln!("{:6.1} s  a crowd counted to {said:?} in {file}", start.elapsed().as_secs_f64());
    (said, found)
}
