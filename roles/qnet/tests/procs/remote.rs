//! Programs that another node starts: descriptors, signals, ends (sections 14.4 and 14.5).

use crate::lab::{Lab, Sink, Source, descriptors};
use crate::world::{delayed, user};
use keelson_qnet::api::{CredentialRules, KernelConfig, User};
use keelson_qnet::procs::{End, ProcsConfig, signal};
use std::time::Duration;

fn delayed_lab(seed: u64) -> Lab {
    Lab::with(delayed(seed), KernelConfig::default(), ProcsConfig::default())
}

#[test]
fn output_input_and_status() {
    let lab = delayed_lab(1);
    assert_eq!(lab.output(0, &["on", "-f", "beta", "hostname"]), "beta\n");
    assert_eq!(lab.output(0, &["on", "-n", "/net/gamma/", "hostname"]), "gamma\n");
    assert_eq!(lab.output(0, &["on", "hostname"]), "alpha\n");
    assert_eq!(
        lab.output(0, &["on", "-f", "beta", "date", "-u"]).len(),
        "Fri Jan 02 03:04:05 UTC 2026\n".len()
    );
    assert_eq!(lab.run(0, &["on", "-f", "beta", "sh", "-c", "exit 9"], "").0, 9);
    assert_eq!(lab.run(0, &["on", "-f", "beta", "cat"], "typed here").1, "typed here");
    let (status, output, errors) = lab.run(0, &["on", "-f", "beta", "cat", "/nowhere"], "");
    assert_eq!((status, output.as_str()), (1, ""));
    assert_eq!(errors, "cat: /nowhere: No such file or directory\n");
    // Paths are that node's, and so is /net.
    lab.put(1, "/f", b"of beta\n");
    lab.put(2, "/f", b"of gamma\n");
    let line = "cat f | cat - /net/gamma/f > /net/alpha/g; cat /net/alpha/g";
    assert_eq!(lab.output(0, &["on", "-f", "beta", "sh", "-c", line]), "of beta\nof gamma\n");
    assert_eq!(lab.get(0, "/g").unwrap(), "of beta\nof gamma\n");
    // From one to the next, with the descriptors of the first.
    assert_eq!(lab.output(0, &["on", "-f", "beta", "on", "-f", "gamma", "hostname"]), "gamma\n");
    // To itself it is a program like others.
    assert_eq!(lab.output(0, &["on", "-f", "alpha", "hostname"]), "alpha\n");
    lab.settle();
    lab.assert_baseline();
}

/// A terminal is one on the other node too: `less` pages, `ls` makes columns.
#[test]
fn terminals() {
    let lab = delayed_lab(2);
    let (keys, shown) = (Source::terminal(), Sink::terminal());
    let args = ["on", "-f", "beta", "ls", "/net"];
    let pid = lab.start(0, &args, descriptors(keys.clone(), shown.clone(), shown.clone())).unwrap();
    lab.wait(0, pid).unwrap();
    assert_eq!(shown.take(), "alpha  beta   gamma\n");
    let lines: String = (1..=40).map(|line| format!("line {line}\n")).collect();
    lab.put(1, "/long", lines.as_bytes());
    let args = ["on", "-f", "beta", "less", "/long"];
    let pid = lab.start(0, &args, descriptors(keys.clone(), shown.clone(), shown.clone())).unwrap();
    lab.settle();
    assert!(shown.take().ends_with("line 23\n--More--"));
    keys.give("q");
    assert_eq!(lab.wait(0, pid), Ok(End::Exited(0)));
    lab.settle();
    lab.assert_baseline();
}

#[test]
fn what_cannot_be_started() {
    let lab = delayed_lab(3);
    let on = |args: &[&str]| {
        let (status, output, errors) = lab.run_as(0, &user(100), &[&["on", "-f", "beta"], args].concat(), "");
        assert_eq!((status, output.as_str()), (1, ""));
        errors
    };
    assert_eq!(on(&["nothing"]), "on: nothing: No such file or directory\n");
    assert_eq!(on(&["/bin/nothing"]), "on: /bin/nothing: No such file or directory\n");
    assert_eq!(on(&["/etc/TIMEZONE"]), "on: /etc/TIMEZONE: Permission denied\n");
    assert_eq!(on(&["/etc/elf"]), "on: /etc/elf: Exec format error\n");
    let long = format!("/bin/{}", "x".repeat(300));
    assert_eq!(on(&[&long]), format!("on: {long}: Name too long\n"));
    let (status, _, errors) = lab.run(0, &["on", "-f", "delta", "date"], "");
    assert_eq!((status, errors.as_str()), (1, "on: date: No such file or directory\n"));
    lab.settle();
    lab.assert_baseline();
}

/// Root of another node is whoever `maproot` says, for files and for signals.
#[test]
fn users_are_mapped() {
    let credentials = CredentialRules {
        maproot: Some(100),
        users: vec![User { uid: 100, gid: 100 }],
        ..CredentialRules::default()
    };
    let config = KernelConfig { credentials, ..KernelConfig::default() };
    let lab = Lab::with(delayed(4), config, ProcsConfig::default());
    let (status, output, errors) = lab.run(0, &["on", "-f", "beta", "cat", "/etc/secret"], "");
    assert_eq!((status, output.as_str()), (1, ""));
    assert_eq!(errors, "cat: /etc/secret: Permission denied\n");
    assert_eq!(lab.output(1, &["cat", "/etc/secret"]), "secret\n");
    let quiet = descriptors(Source::new(), Sink::new(), Sink::new());
    let pid = lab.start(1, &["sleep", "1000"], quiet).unwrap();
    lab.run(0, &["slay", "-n", "beta", "sleep"], "");
    lab.settle();
    assert_eq!(lab.processes[1].running(), 1, "it belongs to root there");
    lab.processes[1].signal(pid, signal::KILL).unwrap();
    lab.wait(1, pid).unwrap();
}

/// R23: ten megabytes of output, then Ctrl-C. Everything has come, the program is gone, and who waits knows.
#[test]
fn ten_megabytes_then_an_interrupt() {
    const SIZE: usize = 10 << 20;
    let lab = delayed_lab(5);
    let bytes: Vec<u8> = (0..SIZE).map(|index| (index / 1000 % 95) as u8 + b' ').collect();
    lab.put(1, "/large", &bytes);
    let (output, errors) = (Sink::new(), Sink::new());
    let fds = descriptors(Source::new(), output.clone(), errors.clone());
    let pid = lab.start(0, &["on", "-f", "beta", "sh", "-c", "cat /large; sleep 1000"], fds).unwrap();
    while output.bytes.borrow().len() < SIZE {
        lab.settle();
    }
    lab.settle();
    assert_eq!(lab.processes[1].running(), 2, "the shell and what it waits for");
    lab.processes[0].signal(pid, signal::INT).unwrap();
    assert_eq!(lab.wait(0, pid), Ok(End::Exited(128 + signal::INT)));
    assert!(*output.bytes.borrow() == bytes, "the output is not what was written");
    lab.settle();
    assert_eq!(errors.text(), "");
    lab.assert_baseline();
}

/// An interrupt in the middle: what was written before it has come.
#[test]
fn an_interrupt_while_writing() {
    let lab = delayed_lab(6);
    let (output, errors) = (Sink::new(), Sink::new());
    let fds = descriptors(Source::new(), output.clone(), errors);
    let pid = lab.start(0, &["on", "-f", "beta", "cat", "/dev/zero"], fds).unwrap();
    lab.files.world.pass(Duration::from_millis(200));
    lab.processes[0].signal(pid, signal::INT).unwrap();
    assert_eq!(lab.wait(0, pid), Ok(End::Exited(128 + signal::INT)));
    let written = output.bytes.borrow().len();
    assert!(written > 0);
    lab.settle();
    assert_eq!(output.bytes.borrow().len(), written);
    lab.assert_baseline();
}

/// When `on` is killed, the program's descriptors are gone: what writes or reads fails; what does neither goes on.
#[test]
fn death_of_the_caller() {
    let lab = delayed_lab(7);
    for (line, survives) in [("sleep 1000", true), ("cat", false), ("cat /dev/zero", false)] {
        let args: Vec<&str> = ["on", "-f", "beta"].into_iter().chain(line.split(' ')).collect();
        let fds = descriptors(Source::new(), Sink::new(), Sink::new());
        let pid = lab.start(0, &args, fds).unwrap();
        lab.files.world.pass(Duration::from_millis(300));
        assert_eq!(lab.processes[1].running(), 1, "{line}");
        lab.processes[0].signal(pid, signal::KILL).unwrap();
        assert_eq!(lab.wait(0, pid), Ok(End::Killed(signal::KILL)));
        lab.settle();
        assert_eq!(lab.processes[1].running(), usize::from(survives), "{line}");
        lab.run(1, &["slay", "-s", "KILL", "sleep"], "");
        lab.settle();
    }
    lab.assert_baseline();
}

/// The same when its whole node goes, without a word.
#[test]
fn death_of_the_callers_node() {
    let lab = delayed_lab(8);
    for line in ["sleep 1000", "cat", "cat /dev/zero"] {
        let args: Vec<&str> = ["on", "-f", "beta"].into_iter().chain(line.split(' ')).collect();
        lab.start(0, &args, descriptors(Source::new(), Sink::new(), Sink::new())).unwrap();
    }
    lab.files.world.pass(Duration::from_millis(300));
    assert_eq!(lab.processes[1].running(), 3);
    lab.files.world.crash(0);
    lab.files.world.pass(Duration::from_secs(5));
    assert_eq!(lab.processes[1].running(), 1, "what neither reads nor writes");
    let kernel = lab.files.world.kernel(1);
    // Its descriptors are dead, but they are still its own.
    assert_eq!((kernel.connections(), kernel.server_connections()), (3, 0));
    assert_eq!(lab.run(1, &["slay", "sleep"], "").0, 1);
    lab.settle();
    assert_eq!((kernel.connections(), kernel.server_connections()), (0, 0));
}

/// When the program's node goes, whoever waits for it is told.
#[test]
fn death_of_the_programs_node() {
    let lab = delayed_lab(9);
    let errors = Sink::new();
    let fds = descriptors(Source::new(), Sink::new(), errors.clone());
    let pid = lab.start(0, &["on", "-f", "beta", "sleep", "1000"], fds).unwrap();
    lab.files.world.pass(Duration::from_millis(300));
    lab.files.world.crash(1);
    assert_eq!(lab.wait(0, pid), Ok(End::Exited(1)));
    assert_eq!(errors.text(), "on: sleep: No such process\n");
    let kernel = lab.files.world.kernel(0);
    lab.settle();
    assert_eq!((kernel.connections(), kernel.server_connections()), (0, 0));
}

/// A program runs at the priority that it is given.
#[test]
fn priorities() {
    let lab = delayed_lab(12);
    let fds = descriptors(Source::new(), Sink::new(), Sink::new());
    let pid = lab.start(0, &["on", "-f", "beta", "-p", "21", "sleep", "1000"], fds).unwrap();
    lab.settle();
    let text = lab.output(1, &["pidin", "-p", "sleep"]);
    assert!(text.ends_with("1 bin/sleep           21r NANOSLEEP\n"), "{text}");
    lab.processes[0].signal(pid, signal::TERM).unwrap();
    lab.wait(0, pid).unwrap();
    assert_eq!(lab.run(0, &["on", "-f", "beta", "-p", "64", "date"], "").0, 1);
    lab.settle();
    lab.assert_baseline();
}

/// Signals for the program go to its children too, and to nobody else's.
#[test]
fn signals_reach_the_group() {
    let lab = delayed_lab(10);
    let quiet = || descriptors(Source::new(), Sink::new(), Sink::new());
    let other = lab.start(1, &["sleep", "1000"], quiet()).unwrap();
    let pid = lab.start(0, &["on", "-f", "beta", "sh", "-c", "sleep 1000 | cat"], quiet()).unwrap();
    lab.settle();
    assert_eq!(lab.processes[1].running(), 4);
    lab.processes[0].signal(pid, signal::TERM).unwrap();
    assert_eq!(lab.wait(0, pid), Ok(End::Exited(128 + signal::TERM)));
    lab.settle();
    assert_eq!(lab.processes[1].running(), 1);
    lab.processes[1].signal(other, signal::TERM).unwrap();
    assert_eq!(lab.wait(1, other), Ok(End::Killed(signal::TERM)));
    lab.assert_baseline();
}

/// A node starts no more than it has room for, and forgets the oldest of those that nobody waits for.
#[test]
fn limits() {
    let config = ProcsConfig { processes: 3, zombies: 2, ..ProcsConfig::default() };
    let lab = Lab::with(delayed(11), KernelConfig::default(), config);
    let quiet = || descriptors(Source::new(), Sink::new(), Sink::new());
    let pids: Vec<u32> = (0..3).map(|_| lab.start(1, &["sleep", "1000"], quiet()).unwrap()).collect();
    let errors = lab.run(0, &["on", "-f", "beta", "date"], "").2;
    assert_eq!(errors, "on: date: Resource temporarily unavailable\n");
    for pid in &pids {
        lab.processes[1].signal(*pid, signal::KILL).unwrap();
        lab.settle();
    }
    assert_eq!((lab.processes[1].running(), lab.processes[1].zombies()), (0, 2));
    assert_eq!(lab.wait(1, pids[0]), Err(keelson_qnet_wire::Errno::ECHILD), "forgotten");
    assert_eq!(lab.wait(1, pids[2]), Ok(End::Killed(signal::KILL)));
    lab.assert_baseline();
    let long = "x".repeat(70_000);
    assert_eq!(lab.start(1, &["echo", &long], quiet()), Err(keelson_qnet_wire::Errno::E2BIG));
}
