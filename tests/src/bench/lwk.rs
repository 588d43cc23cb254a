//! The benchmark of the LWK node: what a program sees of its kernel, beside a Linux guest with as many CPUs that runs the same
//! binary, in one run.
//!
//! Calls that the host does for the node stand beside what the guest's program does to have its host do them: it asks over TCP. And
//! beside as many bytes over TCP on the node's own cable.

use super::report::{Cost, Report, median};
use super::servers::{LONG, failed};
use super::{Plan, profile};
use crate::lwk::{Link, LwkNode, Shape, program, serve_file};
use keelson_qemu::{Bench, Error, LinuxGuest, LinuxSpec, Machine, Namespace, Nic, NicModel, Result};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};
use std::{env, fs};

/// CPUs of each machine; one of the node's serves network and timers.
const CPUS: u32 = 3;
const MEMORY: u32 = 1024;

/// Rounds within one run of a program, of which the median counts.
const INNER: u32 = 5;
/// The same of what is over in microseconds, and depends on which processors of the host its machine and its processes happen to be
/// on: the longer, the more of such moments.
const LONGER: u32 = 40;

/// What is done without the host: `bench.c`'s name for it, ours, and what it may take of Linux's time.
const LOCAL: [(&str, &str, f64); 6] = [
    ("getpid", "getpid", 1.0),
    ("clock_gettime", "clock_gettime (vDSO)", 1.0),
    ("mmap64M", "mmap, touch, munmap 64 MiB", 1.0 / 3.0),
    ("futex", "futex ping-pong, a turn", 1.0),
    ("thread", "thread create and join", 1.0),
    ("triad", "OpenMP triad, 3 x 8 MiB", 1.0),
];

/// A call that is the host's.
struct Delegated {
    /// `bench.c`'s name for it.
    key: &'static str,
    /// Ours.
    name: &'static str,
    /// What it carries.
    bytes: usize,
    /// Calls in a round of `bench.c`.
    calls: u32,
}

const DELEGATED: [Delegated; 6] = [
    Delegated { key: "write64", name: "delegated write of 64 bytes", bytes: 64, calls: 50 },
    Delegated { key: "read64", name: "delegated read of 64 bytes", bytes: 64, calls: 50 },
    Delegated { key: "write4K", name: "delegated write of 4 KiB", bytes: 4 << 10, calls: 50 },
    Delegated { key: "read4K", name: "delegated read of 4 KiB", bytes: 4 << 10, calls: 50 },
    Delegated { key: "write1M", name: "delegated write of 1 MiB", bytes: 1 << 20, calls: 5 },
    Delegated { key: "read1M", name: "delegated read of 1 MiB", bytes: 1 << 20, calls: 5 },
];

/// Runs the plan and prints as it goes.
pub fn run(plan: &Plan) -> Result<()> {
    let mut report = Report::new("node", "linux");
    let programs = Programs::compile()?;
    let node = LwkNode::start("bench-lwk", &lwkctl(), Shape { cpus: CPUS, memory: MEMORY, line: "lwk.echo" });
    if plan.profile {
        let rows = LOCAL.iter().map(|(key, name, _)| (key, name));
        for (key, name) in rows.chain(DELEGATED.iter().map(|call| (&call.key, &call.name))) {
            if plan.wants(name) {
                let sampled = profile::Plan::new("lwk-compute", name);
                sampled.during(&node.machine, || on_node(&node, &programs, &[], key, INNER))?;
            }
        }
        return Ok(());
    }
    let linux = Linux::start(&programs)?;
    println!();
    report.quantities();
    for (key, name, target) in LOCAL.iter().filter(|(_, name, _)| plan.wants(name)) {
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..plan.rounds {
            ours.push(on_node(&node, &programs, &[], key, INNER)?);
            theirs.push(linux.measure(key, INNER)?);
        }
        report.quantity(name, "us", median(ours) / 1e3, median(theirs) / 1e3, *target);
    }
    if DELEGATED.iter().any(|call| plan.wants(call.name)) {
        delegated(plan, &node, &linux, &programs, &mut report)?;
    }
    if plan.wants("boot") {
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..plan.rounds {
            ours.push(boot_keelson(&programs.hello)?);
            theirs.push(boot_linux(&programs.hello)?);
        }
        report.quantity("boot to first program's exit", "ms", median(ours) * 1e3, median(theirs) * 1e3, 0.1);
    }
    report.end();
    Ok(())
}

/// What stands beside a call is what Linux takes that asks for the same, and what the wire takes for as many bytes, half of them each
/// way. Nobody proves anything in either, and encryption is slow under emulation: what a node does that knows no keys stands there,
/// too.
fn delegated(
    plan: &Plan,
    node: &LwkNode,
    linux: &Linux,
    programs: &Programs,
    report: &mut Report,
) -> Result<()> {
    let unencrypted = node.unencrypted_key();
    let unencrypted = ["--key", &unencrypted.to_string_lossy()];
    let open =
        LwkNode::start_open("bench-lwk-open", &lwkctl(), Shape { cpus: CPUS, memory: MEMORY, line: "" });
    println!("calls that the host does");
    for call in DELEGATED.iter().filter(|call| plan.wants(call.name)) {
        let (mut ours, mut theirs) = (vec![], vec![]);
        let (mut proven, mut bare, mut wire) = (vec![], vec![], vec![]);
        for _ in 0..plan.rounds {
            let on = |node, options: &[&str], rounds| on_node(node, programs, options, call.key, rounds);
            ours.push(cost(&node.machine, call.calls, |rounds| on(node, &[], rounds))?);
            theirs.push(cost(linux.guest.machine(), call.calls, |rounds| linux.ask(call.key, rounds))?);
            proven.push(on(node, &unencrypted, LONGER)?);
            bare.push(on(&open, &[], LONGER)?);
            wire.push(median(node.round_trip(call.bytes, call.calls, LONGER)?) * 1e9);
        }
        let (ours, theirs) = (Cost::median(&ours), Cost::median(&theirs));
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        let (proven, bare, wire) = (median(proven) / 1e3, median(bare) / 1e3, median(wire) / 1e3);
        let short = call.name.trim_start_matches("delegated ");
        let mut row = |what: &str, ours, theirs, target| {
            report.quantity(&format!("  {short}{what}"), "us", ours, theirs, target);
        };
        row("", us(ours.time), us(theirs.time), 1.0);
        row(", CPU", us(ours.cpu), us(theirs.cpu), 1.0);
        row(", no key", bare, us(theirs.time), 1.0);
        // Half as much again for the work at both ends.
        row(" : TCP", us(ours.time), wire, 1.5);
        row(", mac : TCP", proven, wire, 1.5);
        row(", no key : TCP", bare, wire, 1.5);
    }
    Ok(())
}

/// What a call takes, and the CPU time of the machine for it without that for the start of the program. `measure` runs it for so many
/// rounds of as many calls.
fn cost(machine: &Machine, calls: u32, measure: impl Fn(u32) -> Result<f64>) -> Result<Cost> {
    let before = machine.usage()?.cpu;
    measure(1)?;
    let started = machine.usage()?.cpu;
    let time = Duration::from_secs_f64(measure(1 + LONGER)? / 1e9);
    let spent = (machine.usage()?.cpu - started).saturating_sub(started - before);
    Ok(Cost { time, cpu: spent / (LONGER * calls) })
}

/// As many threads as the node has processors for them.
const THREADS: u32 = CPUS - 1;

/// Nanoseconds that a measurement of so many rounds gives on the node, with these options of mcexec.
fn on_node(node: &LwkNode, programs: &Programs, options: &[&str], key: &str, rounds: u32) -> Result<f64> {
    let mut command = node.mcexec(options, &programs.bench, &[key, &rounds.to_string()]);
    command.env("OMP_NUM_THREADS", THREADS.to_string());
    number(&printed(command.output().map_err(failed("run mcexec"))?)?)
}

/// The guest, and its host.
struct Linux {
    guest: LinuxGuest,
    /// Where the host serves a file.
    port: u16,
    // Below: what the guest lives in.
    _namespace: Namespace,
    _bench: Bench,
}

impl Linux {
    /// The host's address, and the guest's.
    const HOST: &str = "10.0.0.9";
    const OWN: &str = "10.0.0.1/24";

    fn start(programs: &Programs) -> Result<Linux> {
        let bench = Bench::new("bench-lwk-linux");
        let namespace = Namespace::new()?;
        let tap = namespace.tap(&[&format!("{}/24", Linux::HOST)])?;
        let port = serve_file(&namespace, &bench.dir().join("bench.tmp"))?;
        let spec = LinuxSpec::new("linux").cpus(CPUS).memory_mib(MEMORY);
        let spec = spec.nic(Nic::tap(&tap, NicModel::Virtio), &[Linux::OWN]);
        let spec = spec.file(&programs.bench, "/bench").file(&programs.hello, "/hello");
        Ok(Linux { guest: LinuxGuest::boot(&bench, spec)?, port, _namespace: namespace, _bench: bench })
    }

    /// Nanoseconds that a measurement gives in the guest.
    fn measure(&self, key: &str, rounds: u32) -> Result<f64> {
        self.bench(&format!("{key} {rounds}"))
    }

    /// The same where the host reads and writes.
    fn ask(&self, key: &str, rounds: u32) -> Result<f64> {
        self.bench(&format!("{key} {rounds} {} {}", Linux::HOST, self.port))
    }

    fn bench(&self, words: &str) -> Result<f64> {
        number(&self.guest.ok(&format!("cd /tmp; OMP_NUM_THREADS={THREADS} /bench {words}"), LONG)?)
    }
}

struct Programs {
    bench: PathBuf,
    hello: PathBuf,
}

impl Programs {
    fn compile() -> Result<Programs> {
        let folder = env::temp_dir().join(format!("keelson-bench-lwk-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(failed("make a directory"))?;
        let folder = folder.to_string_lossy().into_owned();
        Ok(Programs {
            bench: program(&folder, "bench.c", Link::Static, &["-fopenmp"]),
            hello: program(&folder, "hello.c", Link::Static, &[]),
        })
    }
}

/// The host's tool: beside this program.
fn lwkctl() -> String {
    let here = env::current_exe().unwrap_or_default();
    here.with_file_name("keelson-lwkctl").to_string_lossy().into_owned()
}

fn printed(output: Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Missing {
        what: format!("the end of a program: {} {errors}", output.status),
        remedy: "see above".into(),
    })
}

fn number(line: &str) -> Result<f64> {
    line.trim().parse().map_err(|_| Error::Missing {
        what: format!("a measurement: {line:?}"),
        remedy: "see tests/lwk/bench.c".into(),
    })
}

/// Seconds from the start of QEMU to the end of the first program.
fn boot_keelson(hello: &Path) -> Result<f64> {
    let node = LwkNode::start("bench-lwk-boot", &lwkctl(), Shape { cpus: CPUS, memory: MEMORY, line: "" });
    let ended = node.mcexec(&[], hello, &[]).output().map_err(failed("run mcexec"))?;
    let time = node.machine.started().elapsed().as_secs_f64();
    if ended.status.code() == Some(42) { Ok(time) } else { printed(ended).map(|_| time) }
}

fn boot_linux(hello: &Path) -> Result<f64> {
    let bench = Bench::new("bench-lwk-boot-linux");
    let spec = LinuxSpec::new("linux").cpus(CPUS).memory_mib(MEMORY).file(hello, "/hello");
    let started = Instant::now();
    let guest = LinuxGuest::boot(&bench, spec)?;
    guest.run("/hello", LONG)?;
    // What preparing the guest's files took is not its boot.
    Ok(guest.machine().started().elapsed().as_secs_f64().min(started.elapsed().as_secs_f64()))
}
