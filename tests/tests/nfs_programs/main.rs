//! Programs on a Linux client over NFS version 3: the basic, general and special tests of `guest/files`, a fuzzer that
//! compares a file with an image of it in memory after every operation, and every question of [`posix`]. All of them at once,
//! on one client. `KEELSON_SOAK=1` repeats programs and fuzzers with ever new seeds for an hour; the first difference ends
//! it and shows the operations that led to it. `KEELSON_SEED=N` begins with the seed that was printed.
//!
//! The `reference_` variants run against Linux's own server.

mod differences;
mod posix;

use std::thread;
use std::time::{Duration, Instant};

use keelson_qemu::{Bench, Job, Lan, LinuxGuest, LinuxSpec, Output};
use keelson_tests::guest::program;
use keelson_tests::server::{ADDRESS, Maker, Server};
use keelson_tests::soak;

/// For whatever takes a minute on a quiet host.
const LONG: Duration = Duration::from_secs(600);
/// For what takes a second there.
const SOON: Duration = Duration::from_secs(120);
/// How long a fuzzer works on a file; an error is seen again after as long at most.
const FUZZ: u64 = 15;
const FUZZ_SOAK: u64 = 60;
/// The files that are fuzzed; the second over a mount with small transfers.
const FUZZED: [&str; 2] = ["/mnt/large", "/small/small"];

struct World {
    client: LinuxGuest,
    server: Server,
    _lan: Lan,
    _bench: Bench,
}

impl World {
    fn new(maker: Maker) -> World {
        let bench = Bench::new("nfs-programs");
        let lan = bench.lan("lan").unwrap();
        let programs = ["files", "posix"].map(|name| (name, program(env!("CARGO_TARGET_TMPDIR"), name)));
        let spec = LinuxSpec::new("client").on(&lan, "10.0.0.2/24");
        let spec =
            programs.iter().fold(spec, |spec, (name, from)| spec.file(from, &format!("/usr/bin/{name}")));
        let (server, client) = thread::scope(|scope| {
            let client = scope.spawn(|| LinuxGuest::boot(&bench, spec).unwrap());
            (Server::start(maker, &bench, &lan), client.join().unwrap())
        });
        let mount = format!("mount -t nfs -o vers=3,proto=tcp,nolock {ADDRESS}:/ /mnt");
        let small = "mount -t nfs -o vers=3,nolock,nosharecache,rsize=4096,wsize=4096";
        client.ok(&format!("{mount} && mkdir /small && {small} {ADDRESS}:/ /small"), SOON).unwrap();
        World { client, server, _lan: lan, _bench: bench }
    }

    fn finish(self) {
        self.client.ok("umount /small /mnt", SOON).unwrap();
        self.server.finish();
    }

    fn start(&self, what: &'static str, script: &str) -> Running {
        Running { what, job: self.client.spawn(script).unwrap(), start: Instant::now() }
    }

    /// The programs in turn, each in a folder of its own.
    fn programs(&self) -> Running {
        let script = "for part in basic general special; do\n\
                      mkdir /mnt/$part && files $part /mnt/$part && rmdir /mnt/$part || exit 1\ndone";
        self.start("programs", script)
    }

    /// A fuzzer on each file.
    fn fuzzers(&self, seed: u64, seconds: u64) -> [Running; 2] {
        let mut seeds = seed..;
        FUZZED.map(|file| {
            let seed = seeds.next().unwrap_or(seed);
            self.start(file, &format!("files fuzz {file} {seed} {seconds}"))
        })
    }

    /// What was fuzzed is the same over either mount.
    fn compare_mounts(&self) {
        let sums = "cat /mnt/large /mnt/small | md5sum; cat /small/large /small/small | md5sum";
        let sums = self.client.ok(sums, LONG).unwrap();
        assert_eq!(sums.lines().next(), sums.lines().last(), "{sums}");
    }
}

/// Something that is under way on the client.
struct Running {
    what: &'static str,
    job: Job,
    start: Instant,
}

/// Waits until all have succeeded; panics as soon as one has not.
fn all_succeed(mut running: Vec<Running>) -> Vec<(&'static str, Output)> {
    let mut ended = vec![];
    while !running.is_empty() {
        thread::sleep(Duration::from_millis(50));
        let is_over = |one: &Running| one.job.is_done() || one.start.elapsed() > LONG;
        while let Some(place) = running.iter().position(is_over) {
            let Running { what, job, start } = running.swap_remove(place);
            let output = job.wait(Duration::ZERO).unwrap();
            assert_eq!(output.status, 0, "{what}: {}{}", output.stdout, output.stderr);
            eprintln!("{:6.1} s  {what}", start.elapsed().as_secs_f64());
            ended.push((what, output));
        }
    }
    ended
}

/// Everything once, and what the client was told about POSIX.
fn everything(maker: Maker) -> (World, String) {
    let world = World::new(maker);
    // Nobody else may take space meanwhile.
    all_succeed(vec![world.start("space", "mkdir /mnt/space && files space /mnt/space && rmdir /mnt/space")]);
    let seed = if maker == Maker::Appliance { soak::seed(1) } else { 1 };
    let mut running = vec![world.programs(), world.start("posix", posix::SCRIPT)];
    running.extend(world.fuzzers(seed, FUZZ));
    let ended = all_succeed(running);
    let mut said = String::new();
    for (what, output) in ended {
        match what {
            "posix" => said = output.stdout,
            _ => eprint!("{what}:\n{}", output.stdout),
        }
    }
    world.compare_mounts();
    (world, said)
}

#[test]
fn programs_work_as_on_a_local_file_system_and_posix_as_on_linux() {
    let (world, said) = everything(Maker::Appliance);
    posix::compare(&said);
    if let Some(time) = soak::time() {
        let start = Instant::now();
        while start.elapsed() < time {
            let seed = soak::seed(1);
            let mut running = vec![world.programs()];
            running.extend(world.fuzzers(seed, FUZZ_SOAK));
            all_succeed(running);
            world.compare_mounts();
        }
    }
    world.finish();
}

#[test]
#[ignore = "the reference: what Linux's server does in the same test"]
fn reference_programs_work_and_posix_is_as_recorded() {
    let (world, said) = everything(Maker::Linux);
    posix::compare_with_record(&said);
    world.finish();
}
