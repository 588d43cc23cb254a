//! Nobody takes the LWK node down, and nothing hangs: programs that call at random, hosts without the key, hosts and nodes that
//! disappear.

use keelson_qemu::{Bench, Exit};
use keelson_tests::Appliance;
use keelson_tests::lwk::{Link, LwkNode, Shape, output, program};
use keelson_tests::soak;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const LWKCTL: &str = env!("CARGO_BIN_EXE_keelson-lwkctl");
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
/// Exit codes of mcexec (section 6.1 of the specification).
const NODE_LOST: i32 = 120;
const AUTH_REFUSED: i32 = 121;
/// What nothing here should need.
const SOON: Duration = Duration::from_secs(30);

fn compiled(name: &str) -> PathBuf {
    program(FOLDER, name, Link::Static, &[])
}

fn assert_alive(node: &LwkNode) {
    assert_eq!(node.run(&compiled("hello.c"), &[], b"").status.code(), Some(42));
}

fn computing(node: &LwkNode) -> Child {
    node.computing(&compiled("fwq.c"))
}

#[test]
fn system_calls_at_random() {
    let node = LwkNode::start(
        "lwk-random",
        LWKCTL,
        Shape { cpus: 3, line: "allow_oversubscribe=8", ..Shape::default() },
    );
    let seconds = soak::time().map_or(10, |time| time.as_secs());
    let seed = soak::seed(1).to_string();
    let ended = node.run(&compiled("random.c"), &[&seconds.to_string(), &seed], b"");
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{:?} {errors}", ended.status);
    eprintln!("{}", String::from_utf8_lossy(&ended.stdout).trim_end());
    assert_alive(&node);
}

#[test]
fn timers_of_a_nanosecond() {
    let node = LwkNode::start("lwk-ticks", LWKCTL, Shape { cpus: 3, ..Shape::default() });
    let mut command = node.mcexec(&[], &compiled("ticks.c"), &[]);
    let running = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The service core has other work, and does it.
    assert_alive(&node);
    let ended = running.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "alarms came, ticks came, expirations counted\n");
    assert!(ended.status.success(), "{:?}", ended.status);
}

/// Threads beyond the processors are on the service core, beside network and hosts.
#[test]
fn helpers_that_never_wait() {
    let node = LwkNode::start("lwk-spin", LWKCTL, Shape { cpus: 3, ..Shape::default() });
    let begun = Instant::now();
    let ended = output(node.mcexec(&["--helper-auto"], &compiled("spin.c"), &[]), b"");
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "all of them\nenough\n", "{errors}");
    assert!(ended.status.success(), "{:?} {errors}", ended.status);
    assert!(begun.elapsed() < SOON, "the node was there all the time");
    assert_alive(&node);
}

#[test]
fn strangers_are_refused() {
    let node = LwkNode::start("lwk-strangers", LWKCTL, Shape { cpus: 2, ..Shape::default() });
    let key = node.dir().join("key");
    let right = fs::read(&key).unwrap();
    fs::write(&key, format!("default {}\n", "7".repeat(64))).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let ended = node.run(&compiled("hello.c"), &[], b"");
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(AUTH_REFUSED), "{errors}");
    assert!(errors.starts_with("mcexec: "), "{errors}");
    node.machine.expect("did not prove that it knows the key", SOON).unwrap();
    fs::write(&key, right).unwrap();
    assert_alive(&node);
}

#[test]
fn encryption_is_given_up_by_both_or_not_at_all() {
    let node = LwkNode::start("lwk-mac", LWKCTL, Shape { cpus: 2, ..Shape::default() });
    let program = compiled("hello.c");
    let run = |key: &Path| output(node.mcexec(&["--key", &key.to_string_lossy()], &program, &[]), b"");
    let ended = run(&node.unencrypted_key());
    assert_eq!(ended.status.code(), Some(42), "{}", String::from_utf8_lossy(&ended.stderr));
    // The right key, and a host that would do without encryption where the node would not.
    let talkative = node.dir().join("talkative");
    let key = fs::read_to_string(node.dir().join("key")).unwrap();
    fs::write(&talkative, format!("{} mac\n", key.trim())).unwrap();
    fs::set_permissions(&talkative, fs::Permissions::from_mode(0o600)).unwrap();
    let ended = run(&talkative);
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(AUTH_REFUSED), "{errors}");
    assert!(errors.contains("mac behind it"), "{errors}");
    node.machine.expect("was refused: no common protection", SOON).unwrap();
    assert_alive(&node);
}

#[test]
fn who_kills_mcexec_kills_the_program() {
    let node = LwkNode::start("lwk-killed", LWKCTL, Shape { cpus: 2, ..Shape::default() });
    let mut running = computing(&node);
    // The only processor is taken.
    let refused = node.run(&compiled("hello.c"), &[], b"");
    assert_eq!(refused.status.code(), Some(122), "{}", String::from_utf8_lossy(&refused.stderr));
    running.kill().unwrap();
    running.wait().unwrap();
    node.machine.expect("its host is gone", SOON).unwrap();
    let deadline = Instant::now() + SOON;
    while node.run(&compiled("hello.c"), &[], b"").status.code() != Some(42) {
        assert!(Instant::now() < deadline, "the processor is free again");
    }
    // And by a signal that it passes on: the program's end is mcexec's.
    let mut running = computing(&node);
    let pid = rustix::process::Pid::from_child(&running);
    let asked = Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(running.wait().unwrap().signal(), Some(2));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_alive(&node);
}

#[test]
fn a_cut_cable_ends_both_sides() {
    let node = LwkNode::start("lwk-cut", LWKCTL, Shape { cpus: 2, ..Shape::default() });
    let running = computing(&node);
    node.plug(false);
    let cut = Instant::now();
    let ended = running.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(NODE_LOST), "{errors}");
    assert!(errors.contains("no answer for 5 seconds"), "{errors}");
    node.machine.expect("its host is gone", SOON).unwrap();
    assert!(cut.elapsed() < SOON, "{:?}", cut.elapsed());
    // Nobody has the processor any more.
    node.plug(true);
    assert_alive(&node);
}

#[test]
fn a_stopped_mcexec_stops_nothing() {
    let node = LwkNode::start("lwk-stopped", LWKCTL, Shape { cpus: 3, ..Shape::default() });
    let mut command = node.mcexec(&[], &compiled("sums.c"), &[]);
    let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begin");
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    // Longer than a host may be silent on the wire; this one's kernel still answers for it.
    let stop = Duration::from_secs(8);
    thread::sleep(stop);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    drop(running.stdin.take());
    let said = lines.next().unwrap().unwrap();
    assert!(running.wait().unwrap().success());
    let [longest, whole] = said.split(' ').map(|ms| ms.parse().unwrap()).collect::<Vec<u64>>()[..] else {
        panic!("{said}")
    };
    assert!(whole >= stop.as_millis() as u64 && longest < whole / 2, "{said}");
}

#[test]
fn user_mode_proves_itself() {
    let bench = Bench::new("lwk-selftest");
    let machine = Appliance::lwk(&bench, "node", "lwk.selftest=user").cpus(4).start().unwrap();
    machine.expect("self-test of user mode: 58 passed, 0 failed", SOON).unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
}

#[test]
fn who_kills_the_node_ends_mcexec() {
    let node = LwkNode::start("lwk-lost", LWKCTL, Shape { cpus: 2, ..Shape::default() });
    let running = computing(&node);
    node.machine.kill();
    let killed = Instant::now();
    let ended = running.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(NODE_LOST), "{errors}");
    assert!(errors.contains("lost"), "{errors}");
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    // And who comes then is told.
    let late = output(node.mcexec(&[], &compiled("hello.c"), &[]), b"");
    assert!(!late.status.success() && late.status.code() != Some(42), "{:?}", late.status);
}
