//! Nothing interrupts a program that computes: told by the node's own counters, and by the emulator's log of interrupts, which
//! shows what a Linux guest does with the same program.

use keelson_qemu::{Bench, LinuxGuest, LinuxSpec};
use keelson_tests::lwk::{Link, LwkNode, Shape, program};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

const LWKCTL: &str = env!("CARGO_BIN_EXE_keelson-lwkctl");
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// From the line with which the program begins until it surely computes, and how long it is watched then.
const SETTLED: Duration = Duration::from_millis(300);
const WATCHED: Duration = Duration::from_secs(2);
/// Longer than both together, on any host.
const QUANTA: &str = "20000";

/// One file for each virtual CPU, with a line for each interrupt.
fn log_interrupts(dir: &Path, name: &str) -> [String; 4] {
    let file = dir.join(format!("{name}.%d.int"));
    ["-d".into(), "int,tid".into(), "-D".into(), file.display().to_string()]
}

/// Hardware interrupts in each of the logs.
fn interrupts(dir: &Path, name: &str) -> Vec<(String, usize)> {
    let mut counts = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        if file.starts_with(name) && file.ends_with(".int") {
            let log = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            counts.push((file, log.matches("Servicing hardware INT").count()));
        }
    }
    counts.sort();
    counts
}

/// What came in each log between two looks.
fn growth(before: &[(String, usize)], after: &[(String, usize)]) -> Vec<usize> {
    let start = |name: &str| before.iter().find(|(other, _)| other == name).map_or(0, |(_, count)| *count);
    after.iter().map(|(name, count)| count - start(name)).collect()
}

#[test]
fn a_program_that_computes_is_not_interrupted() {
    let bench = Bench::new("lwk-noise-logs");
    let fwq = program(FOLDER, "fwq.c", Link::Static, &[]);
    let words = log_interrupts(bench.dir(), "node");
    let node = LwkNode::start_with("lwk-noise", LWKCTL, Shape { cpus: 2, ..Shape::default() }, &words);
    let mut command = node.mcexec(&["--noise-audit"], &fwq, &[QUANTA]);
    let mut running =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "begin\n");
    thread::sleep(SETTLED);
    let before = interrupts(bench.dir(), "node");
    thread::sleep(WATCHED);
    let after = interrupts(bench.dir(), "node");
    assert!(running.try_wait().unwrap().is_none(), "the program was still computing");
    let grown = growth(&before, &after);
    eprintln!("interrupts of the node's processors while the program computed: {grown:?}");
    // The service core sleeps by a timer; the other one is the program's.
    assert_eq!(grown.iter().filter(|count| **count == 0).count(), grown.len() - 1, "{before:?} {after:?}");
    assert!(grown.len() >= 2);
    let ended = running.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    let audit = errors
        .lines()
        .find(|line| line.starts_with("core 0:"))
        .unwrap_or_else(|| panic!("no audit: {errors}"));
    eprintln!("{audit}");
    assert!(audit.contains(" timer 0 device 0 "), "{audit}");
    assert!(audit.contains(" nmi 0 spurious 0 "), "{audit}");

    // The negative control: the same program, the same log, Linux.
    let words = log_interrupts(bench.dir(), "linux");
    let spec = LinuxSpec::new("linux").cpus(2).file(&fwq, "/fwq").args(&words);
    let linux = LinuxGuest::boot(&bench, spec).unwrap();
    let job = linux.spawn(&format!("/fwq {QUANTA}")).unwrap();
    thread::sleep(SETTLED + Duration::from_secs(1));
    let before = interrupts(bench.dir(), "linux");
    thread::sleep(WATCHED);
    let grown = growth(&before, &interrupts(bench.dir(), "linux"));
    eprintln!("... of a Linux guest's: {grown:?}");
    linux.kill(&job).unwrap();
    assert!(grown.iter().filter(|count| **count > 100).count() >= 1, "the log shows nothing: {grown:?}");
}

/// Nothing but a store tells a core that looks for work, or has its processor look; one that halts is interrupted for each answer
/// of its host.
#[test]
fn a_core_is_rung_as_it_rests() {
    /// Calls of `bench.c` that the host answers, in four rounds.
    const CALLS: u64 = 200;
    let bench = program(FOLDER, "bench.c", Link::Static, &["-fopenmp"]);
    let (never, always) = (0..CALLS / 10, CALLS * 9 / 10..CALLS * 2);
    for (idle, expected) in [("idle=poll", never.clone()), ("idle=mwait", never), ("idle=halt", always)] {
        let shape = Shape { cpus: 2, line: idle, ..Shape::default() };
        let node = LwkNode::start("lwk-idle", LWKCTL, shape);
        let ended = node.mcexec(&["--noise-audit"], &bench, &["write4K", "4"]).output().unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{errors}");
        let words = errors.lines().find(|line| line.starts_with("core 0:")).unwrap_or_default();
        let mut words = words.split_whitespace().skip_while(|word| *word != "doorbell").skip(1);
        let rung: u64 = words.next().unwrap_or_else(|| panic!("no audit: {errors}")).parse().unwrap();
        eprintln!("{idle}: {rung} interrupts by the other core in {CALLS} calls");
        assert!(expected.contains(&rung), "{idle}: {rung}, not {expected:?}");
    }
}
