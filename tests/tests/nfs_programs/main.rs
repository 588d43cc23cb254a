//! Programs on a Linux client over NFS version 3: the basic, general and special tests of `guest/files`, and a fuzzer that
//! compares a file with an image of it in memory after every operation. `KEELSON_SOAK=1` fuzzes for an hour.
//!
//! The `reference_` variants run against Linux's own server.

use std::time::{Duration, Instant};

use keelson_qemu::{Bench, Lan, LinuxGuest, LinuxSpec};
use keelson_tests::guest::program;
use keelson_tests::server::{ADDRESS, Maker, Server};

/// For whatever takes seconds on a quiet host.
const LONG: Duration = Duration::from_secs(300);

struct World {
    client: LinuxGuest,
    server: Server,
    _lan: Lan,
    _bench: Bench,
}

impl World {
    fn new(name: &str, maker: Maker) -> World {
        let bench = Bench::new(name);
        let lan = bench.lan("lan").unwrap();
        let spec = LinuxSpec::new("client").memory_mib(384).on(&lan, "10.0.0.2/24");
        let spec = spec.file(&program(env!("CARGO_TARGET_TMPDIR"), "files"), "/usr/bin/files");
        let (server, client) = std::thread::scope(|scope| {
            let client = scope.spawn(|| LinuxGuest::boot(&bench, spec).unwrap());
            (Server::start(maker, &bench, &lan), client.join().unwrap())
        });
        client.ok(&format!("mount -t nfs -o vers=3,proto=tcp,nolock {ADDRESS}:/ /mnt"), LONG).unwrap();
        World { client, server, _lan: lan, _bench: bench }
    }

    fn finish(self) {
        self.client.ok("umount /mnt", LONG).unwrap();
        self.server.finish();
    }
}

fn basic_general_special(maker: Maker) {
    let world = World::new("nfs-programs", maker);
    for part in ["basic", "general", "special"] {
        let start = Instant::now();
        let output = world.client.run(&format!("mkdir /mnt/{part}; files {part} /mnt/{part}"), LONG).unwrap();
        assert_eq!(output.status, 0, "{part}: {}{}", output.stdout, output.stderr);
        eprintln!("{}{:6.2} s  {part}", output.stdout, start.elapsed().as_secs_f64());
        world.client.ok(&format!("rmdir /mnt/{part}"), LONG).unwrap();
    }
    world.finish();
}

/// Two fuzzers at once, each on its own file; one of them over a mount with small transfers.
fn fuzz(maker: Maker) {
    // Another seed by KEELSON_SEED, to look for rare failures.
    let seed = std::env::var("KEELSON_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let soak = std::env::var_os("KEELSON_SOAK").is_some() && maker == Maker::Appliance;
    let seconds = if soak { 3600 } else { 30 };
    let world = World::new("nfs-fuzz", maker);
    let script = "mkdir /small; mount -t nfs -o vers=3,nolock,nosharecache,rsize=4096,wsize=4096 ";
    world.client.ok(&format!("{script} {ADDRESS}:/ /small"), LONG).unwrap();
    let jobs = [("/mnt/large", seed), ("/small/small", seed + 1)].map(|(file, seed)| {
        (file, world.client.spawn(&format!("files fuzz {file} {seed} {seconds}")).unwrap())
    });
    for (file, job) in jobs {
        let output = job.wait(LONG + Duration::from_secs(seconds)).unwrap();
        assert_eq!(output.status, 0, "{}", output.stderr);
        eprintln!("{} operations on {file}", output.stdout.trim());
    }
    // The other mount sees the same.
    let sums =
        world.client.ok("cat /mnt/large /mnt/small | md5sum; cat /small/large /small/small | md5sum", LONG);
    let sums = sums.unwrap();
    assert_eq!(sums.lines().next(), sums.lines().last(), "{sums}");
    world.client.ok("umount /small", LONG).unwrap();
    world.finish();
}

#[test]
fn programs_work_as_on_a_local_file_system() {
    basic_general_special(Maker::Appliance);
}

#[test]
fn a_file_is_what_the_operations_made_it() {
    fuzz(Maker::Appliance);
}

#[test]
#[ignore = "the reference: what Linux's server does in the same test"]
fn reference_programs_work_as_on_a_local_file_system() {
    basic_general_special(Maker::Linux);
}

#[test]
#[ignore = "the reference: what Linux's server does in the same test"]
fn reference_a_file_is_what_the_operations_made_it() {
    fuzz(Maker::Linux);
}
