//! The benchmark of the LWK node: what a program sees of its kernel, beside a Linux guest with as many CPUs that runs the same
//! binary, in one run.
//!
//! Calls that the node has done by the host stand beside as many bytes over TCP on the same cable, half of them each way.

use super::Plan;
use super::report::Report;
use super::servers::{LONG, failed};
use crate::lwk::{Link, LwkNode, Shape, program};
use keelson_qemu::{Bench, Error, LinuxGuest, LinuxSpec, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;
use std::{env, fs};

/// CPUs of each machine; one of the node's serves network and timers.
const CPUS: u32 = 3;
const MEMORY: u32 = 1024;

/// Rows: what `bench.c` calls it, what it is, and what ours may take of Linux's time.
const LOCAL: [(&str, &str, f64); 6] = [
    ("getpid", "getpid", 1.0),
    ("clock_gettime", "clock_gettime (vDSO)", 1.0),
    ("mmap64M", "mmap, touch, munmap 64 MiB", 1.0 / 3.0),
    ("futex", "futex ping-pong, a turn", 1.0),
    ("thread", "thread create and join", 1.0),
    ("triad", "OpenMP triad, 3 x 8 MiB", 1.0),
];

/// Delegated calls; there is nothing of Linux's to compare them with but its own files.
const DELEGATED: [(&str, &str); 4] = [
    ("write4096", "delegated write of 4 KiB"),
    ("read4096", "delegated read of 4 KiB"),
    ("write1048576", "delegated write of 1 MiB"),
    ("read1048576", "delegated read of 1 MiB"),
];

/// Nanoseconds by name.
type Times = BTreeMap<String, Vec<f64>>;

/// Runs the plan and prints as it goes.
pub fn run(plan: &Plan) -> Result<()> {
    let mut report = Report::new("node", "linux");
    let programs = Programs::compile()?;
    let node = LwkNode::start("bench-lwk", &lwkctl(), Shape { cpus: CPUS, memory: MEMORY, line: "lwk.echo" });
    let bench = Bench::new("bench-lwk-linux");
    let spec = LinuxSpec::new("linux").cpus(CPUS).memory_mib(MEMORY);
    let spec = spec.file(&programs.bench, "/bench").file(&programs.hello, "/hello");
    let linux = LinuxGuest::boot(&bench, spec)?;
    let mut times: [Times; 2] = Default::default();
    for _ in 0..plan.rounds {
        for part in ["local", "triad", "files"] {
            // As many threads as the node has processors for them.
            let threads = CPUS - 1;
            let mut command = node.mcexec(&[], &programs.bench, &[part]);
            command.env("OMP_NUM_THREADS", threads.to_string());
            note(&mut times[0], &printed(command.output().map_err(failed("run mcexec"))?)?);
            let script = format!("cd /tmp 2>/dev/null || cd /; OMP_NUM_THREADS={threads} /bench {part}");
            note(&mut times[1], &linux.ok(&script, LONG)?);
        }
    }
    println!();
    report.quantities();
    for (key, name, target) in LOCAL.iter().filter(|(_, name, _)| plan.wants(name)) {
        let [ours, theirs] = [median(&times[0], key)?, median(&times[1], key)?];
        report.quantity(name, "us", ours / 1e3, theirs / 1e3, *target);
    }
    for (key, name) in DELEGATED.iter().filter(|(_, name)| plan.wants(name)) {
        let bytes: usize = key.trim_start_matches(char::is_alphabetic).parse().unwrap_or(0);
        let round_trip = node.round_trip(bytes)?;
        // The wire is what limits it: half as much again for the work at both ends.
        report.quantity(&format!("{name} : TCP"), "us", median(&times[0], key)? / 1e3, round_trip * 1e6, 1.5);
    }
    if plan.wants("boot") {
        let ours = boot_keelson(&programs.hello)?;
        let theirs = boot_linux(&programs.hello)?;
        report.quantity("boot to first program's exit", "ms", ours * 1e3, theirs * 1e3, 0.1);
    }
    report.end();
    Ok(())
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

/// Reads lines "NAME NANOSECONDS COUNT".
fn note(times: &mut Times, lines: &str) {
    for line in lines.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(Ok(time))) = (words.next(), words.next().map(str::parse)) {
            times.entry(name.into()).or_default().push(time);
        }
    }
}

fn median(times: &Times, key: &str) -> Result<f64> {
    let mut sorted = times.get(key).cloned().unwrap_or_default();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.get(sorted.len() / 2).copied();
    middle.ok_or_else(|| Error::Missing {
        what: format!("a measurement of {key}"),
        remedy: "see its output".into(),
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
