//! The benchmark of the LWK node: what a program sees of its kernel, beside a Linux guest with as many CPUs that runs the same
//! binary, in one run.
//!
//! Calls that the host does for the node stand beside as many bytes over TCP on the same cable.

use super::report::{Report, median};
use super::servers::{LONG, failed};
use super::{Plan, profile};
use crate::lwk::{Link, LwkNode, Shape, program};
use keelson_qemu::{Bench, Error, LinuxGuest, LinuxSpec, Result};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;
use std::{env, fs};

/// CPUs of each machine; one of the node's serves network and timers.
const CPUS: u32 = 3;
const MEMORY: u32 = 1024;

/// Rounds within one run of a program, of which the fastest counts.
const INNER: &str = "2";

/// What is done without the host: `bench.c`'s name for it, ours, and what it may take of Linux's time.
const LOCAL: [(&str, &str, f64); 6] = [
    ("getpid", "getpid", 1.0),
    ("clock_gettime", "clock_gettime (vDSO)", 1.0),
    ("mmap64M", "mmap, touch, munmap 64 MiB", 1.0 / 3.0),
    ("futex", "futex ping-pong, a turn", 1.0),
    ("thread", "thread create and join", 1.0),
    ("triad", "OpenMP triad, 3 x 8 MiB", 1.0),
];

/// Calls that are the host's, and the bytes they carry.
const DELEGATED: [(&str, &str, usize); 6] = [
    ("write64", "delegated write of 64 bytes", 64),
    ("read64", "delegated read of 64 bytes", 64),
    ("write4K", "delegated write of 4 KiB", 4 << 10),
    ("read4K", "delegated read of 4 KiB", 4 << 10),
    ("write1M", "delegated write of 1 MiB", 1 << 20),
    ("read1M", "delegated read of 1 MiB", 1 << 20),
];

/// Runs the plan and prints as it goes.
pub fn run(plan: &Plan) -> Result<()> {
    let mut report = Report::new("node", "linux");
    let programs = Programs::compile()?;
    let node = LwkNode::start("bench-lwk", &lwkctl(), Shape { cpus: CPUS, memory: MEMORY, line: "lwk.echo" });
    if plan.profile {
        let rows = LOCAL.iter().map(|(key, name, _)| (key, name));
        for (key, name) in rows.chain(DELEGATED.iter().map(|(key, name, _)| (key, name))) {
            if plan.wants(name) {
                let sampled = profile::Plan::new("lwk-compute", name);
                sampled.during(&node.machine, || on_node(&node, &programs, &[], key))?;
            }
        }
        return Ok(());
    }
    let bench = Bench::new("bench-lwk-linux");
    let spec = LinuxSpec::new("linux").cpus(CPUS).memory_mib(MEMORY);
    let linux =
        LinuxGuest::boot(&bench, spec.file(&programs.bench, "/bench").file(&programs.hello, "/hello"))?;
    println!();
    report.quantities();
    for (key, name, target) in LOCAL.iter().filter(|(_, name, _)| plan.wants(name)) {
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..plan.rounds {
            ours.push(on_node(&node, &programs, &[], key)?);
            theirs.push(on_linux(&linux, key)?);
        }
        report.quantity(name, "us", median(ours) / 1e3, median(theirs) / 1e3, *target);
    }
    if DELEGATED.iter().any(|(_, name, _)| plan.wants(name)) {
        delegated(plan, &node, &programs, &mut report)?;
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

/// Linux has nothing like it: what stands beside it is what the wire takes for as many bytes, half of them each way. Nobody proves
/// anything there, and encryption is slow under emulation: what a node does that knows no keys stands there, too.
fn delegated(plan: &Plan, node: &LwkNode, programs: &Programs, report: &mut Report) -> Result<()> {
    let unencrypted = node.unencrypted_key().to_string_lossy().into_owned();
    let open =
        LwkNode::start_open("bench-lwk-open", &lwkctl(), Shape { cpus: CPUS, memory: MEMORY, line: "" });
    for (key, name, bytes) in DELEGATED.iter().filter(|(_, name, _)| plan.wants(name)) {
        let (mut ours, mut proven, mut bare, mut wire) = (vec![], vec![], vec![], vec![]);
        for _ in 0..plan.rounds {
            ours.push(on_node(node, programs, &[], key)?);
            proven.push(on_node(node, programs, &["--key", &unencrypted], key)?);
            bare.push(on_node(&open, programs, &[], key)?);
            wire.push(node.round_trip(*bytes)? * 1e9);
        }
        // Half as much again for the work at both ends.
        let wire = median(wire) / 1e3;
        report.quantity(&format!("{name} : TCP"), "us", median(ours) / 1e3, wire, 1.5);
        report.quantity("  without encryption : TCP", "us", median(proven) / 1e3, wire, 1.5);
        report.quantity("  without any key : TCP", "us", median(bare) / 1e3, wire, 1.5);
    }
    Ok(())
}

/// As many threads as the node has processors for them.
const THREADS: u32 = CPUS - 1;

/// Nanoseconds that a measurement gives on the node, with these options of mcexec.
fn on_node(node: &LwkNode, programs: &Programs, options: &[&str], key: &str) -> Result<f64> {
    let mut command = node.mcexec(options, &programs.bench, &[key, INNER]);
    command.env("OMP_NUM_THREADS", THREADS.to_string());
    number(&printed(command.output().map_err(failed("run mcexec"))?)?)
}

/// And in the guest.
fn on_linux(linux: &LinuxGuest, key: &str) -> Result<f64> {
    number(&linux.ok(&format!("cd /tmp; OMP_NUM_THREADS={THREADS} /bench {key} {INNER}"), LONG)?)
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
