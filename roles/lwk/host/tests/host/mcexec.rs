//! The program itself, with a simulated node behind loopback TCP.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::frame::{Flags, FrameType, Header};
use keelson_lwk_wire::handshake::{Modes, Purpose};
use keelson_lwk_wire::messages::{
    Bye, ByeReason, DumpData, DumpHeader, DumpKind, FdKind, Fork, ForkOk, Launch, LaunchAck, Message,
    SideReply, Signal,
};

use crate::sim::*;

struct Job {
    listener: TcpListener,
    scratch: Scratch,
}

impl Job {
    fn new(name: &str) -> Job {
        let job = Job { listener: listen(), scratch: Scratch::new(name) };
        let key = job.scratch.path("key");
        std::fs::write(&key, format!("default {}\n", "5a".repeat(32))).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let address = job.listener.local_addr().unwrap();
        std::fs::write(job.scratch.path("nodes"), format!("0 sim {address} {key}\n")).unwrap();
        job
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lwkctl"));
        command.args(["mcexec", "--allow-root", "--conf", &self.scratch.path("nodes")]).args(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .current_dir(&self.scratch.0);
        command
    }

    /// Starts it and answers LAUNCH.
    fn launch(&self, command: &mut Command) -> (Child, Sim, Launch) {
        let child = command.spawn().unwrap();
        let sim = accept_session(&self.listener);
        assert_eq!(sim.hi.purpose, Purpose::Launch);
        let frame = sim.expect(FrameType::Launch);
        let launch = Launch::decode(&frame.payload).unwrap();
        let ack = LaunchAck::Started { cores: vec![0], memory: 1 << 30 };
        sim.hi.send(&frame.header.reply(FrameType::LaunchAck), &ack);
        (child, sim, launch)
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < PATIENCE, "mcexec does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn stderr(child: Child) -> String {
    String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap()
}

fn fd(launch: &Launch, number: u32) -> u64 {
    launch.fds.iter().find(|fd| fd.number == number).unwrap().handle
}

#[test]
fn a_program_runs() {
    let job = Job::new("runs");
    let mut command = job.command(&["-e", "ONE=1", "-n", "2", "0", "true", "a", "b c"]);
    let (mut child, sim, launch) = job.launch(command.env("LD_PRELOAD", "").env("MARK", "x"));
    assert_eq!(launch.pid, child.id());
    assert_eq!(launch.ppid, std::process::id());
    assert_eq!(launch.argv, [&b"true"[..], b"a", b"b c"]);
    assert!(launch.path.ends_with(b"/true"));
    assert!(launch.envp.contains(&b"ONE=1".to_vec()) && launch.envp.contains(&b"MARK=x".to_vec()));
    assert!(!launch.envp.iter().any(|variable| variable.starts_with(b"LD_PRELOAD=")));
    assert_eq!(launch.rank.processes, 2);
    // And what else whoever runs the tests left open.
    let kinds: Vec<_> = launch.fds.iter().filter(|fd| fd.number < 3).map(|fd| (fd.number, fd.kind)).collect();
    assert_eq!(kinds, [0, 1, 2].map(|number| (number, FdKind::Pipe)));
    let head = sim.call(17, &[N(launch.executable), Out(4), N(4), N(0)]);
    assert_eq!(head.at(1), b"\x7fELF");
    child.stdin.as_ref().unwrap().write_all(b"typed").unwrap();
    assert_eq!(sim.call(0, &[N(fd(&launch, 0)), Out(10), N(10)]).at(1)[..5], *b"typed");
    assert_eq!(sim.call(1, &[N(fd(&launch, 1)), In(b"printed"), N(7)]).ok(), 7);
    // Closing really closes: whoever reads gets the end while mcexec lives.
    sim.call(3, &[N(fd(&launch, 1))]).ok();
    let mut output = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut output).unwrap();
    assert_eq!(output, "printed");
    // The key is not for programs.
    assert_eq!(sim.call(2, &[P(&format!("/proc/{}/maps", child.id())), N(0), N(0)]).error(), "EACCES");
    // Networks and mounts are.
    for path in ["/proc/net/route", "/proc/mounts"] {
        sim.call(2, &[P(path), N(0), N(0)]).ok();
    }
    sim.exit(42 << 8);
    assert_eq!(wait(&mut child).code(), Some(42));
}

#[test]
fn a_program_makes_the_connections_that_it_needs() {
    let job = Job::new("connections");
    std::fs::write(job.scratch.path("data"), vec![7; 300_000]).unwrap();
    let (mut child, sim, _) = job.launch(&mut job.command(&["true"]));
    let file = sim.call(2, &[P("data"), N(2), N(0)]).ok();
    assert_eq!(sim.call(0, &[N(file), Out(1000), N(1000)]).ok(), 1000);
    assert_eq!(sim.call(18, &[N(file), In(&[8; 200_000]), N(200_000), N(0)]).ok(), 200_000);
    assert!(!somebody_comes(&job.listener));
    let read = |sim: &Sim, lane: bool| {
        let read = sim.start(17, &[N(file), Out(300_000), N(300_000), N(0)]);
        if lane {
            let lane = accept_lane(&job.listener);
            assert_eq!(lane.purpose, Purpose::Bulk(GRANT.bulk));
            sim.join(&lane);
        }
        let (read, way) = sim.wait_by(read);
        assert_eq!((read.ok(), way), (300_000, Some(Way::Bulk)));
        assert!(read.at(1) == &[[8; 200_000].as_slice(), &[7; 100_000]].concat()[..]);
    };
    read(&sim, true);
    read(&sim, false);
    // A forked one has none of its parent's.
    sim.hi.send(&Header::new(FrameType::Fork).id(50), &Fork { ticket: [0x77; 16] });
    let forked = accept_session(&job.listener);
    assert!(!somebody_comes(&job.listener));
    read(&forked, true);
    read(&sim, false);
    forked.exit(0);
    sim.exit(0);
    assert_eq!(wait(&mut child).code(), Some(0));
    assert!(!somebody_comes(&job.listener));
    assert_eq!(stderr(child), "");
}

#[test]
fn death_by_signal() {
    for signal in [9, 15, 11, 6, 13, 40] {
        let job = Job::new(&format!("signal{signal}"));
        let (mut child, sim, _) = job.launch(&mut job.command(&["true"]));
        sim.exit(signal | 0x80);
        let status = wait(&mut child);
        assert_eq!((status.signal(), status.core_dumped()), (Some(signal as i32), false));
    }
}

#[test]
fn signals_are_relayed() {
    let job = Job::new("relay");
    let (mut child, sim, _) = job.launch(&mut job.command(&["true"]));
    let pid = rustix::process::Pid::from_child(&child);
    for signal in
        [rustix::process::Signal::INT, rustix::process::Signal::TERM, rustix::process::Signal::WINCH]
    {
        rustix::process::kill_process(pid, signal).unwrap();
        let frame = sim.expect(FrameType::Signal);
        let info = Signal::decode(&frame.payload).unwrap().info;
        assert_eq!((frame.header.code, info.signo), (signal.as_raw() as u32, signal.as_raw()));
        assert_eq!((info.pid, info.code), (std::process::id(), 0));
    }
    sim.exit(0);
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn a_forked_proxy_shares_open_files() {
    let job = Job::new("fork");
    std::fs::write(job.scratch.path("data"), b"0123456789").unwrap();
    let (mut child, sim, launch) = job.launch(&mut job.command(&["true"]));
    let file = sim.call(2, &[P("data"), N(0), N(0)]).ok();
    assert_eq!(sim.call(0, &[N(file), Out(3), N(3)]).ok(), 3);
    let ticket = [0x77; 16];
    sim.hi.send(&Header::new(FrameType::Fork).id(50), &Fork { ticket });
    let forked = ForkOk::decode(&sim.expect(FrameType::ForkOk).payload).unwrap();
    let second = accept_session(&job.listener);
    assert_eq!(second.hi.purpose, Purpose::Fork(ticket));
    // The child of its parent.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", forked.pid)).unwrap();
    assert_eq!(
        stat.rsplit(')').next().unwrap().split_whitespace().nth(1),
        Some(child.id().to_string().as_str())
    );
    // One offset for both, in turns; the same handles; a close of one is not a close of the other.
    assert_eq!(second.call(0, &[N(file), Out(3), N(3)]).at(1), b"345");
    assert_eq!(sim.call(0, &[N(file), Out(2), N(2)]).at(1), b"67");
    second.call(3, &[N(file)]).ok();
    assert_eq!(sim.call(0, &[N(file), Out(2), N(2)]).at(1), b"89");
    assert_eq!(second.call(1, &[N(fd(&launch, 1)), In(b"child"), N(5)]).ok(), 5);
    // Handles of either are its own from now on.
    assert!(second.call(2, &[P("data"), N(0), N(0)]).result > 0);
    assert_eq!(sim.call(79, &[Out(999), N(999)]).memory, second.call(79, &[Out(999), N(999)]).memory);
    second.exit(3 << 8);
    let gone = Instant::now();
    while std::path::Path::new(&format!("/proc/{}", forked.pid)).exists() {
        assert!(gone.elapsed() < PATIENCE, "the forked proxy is not collected");
        std::thread::sleep(Duration::from_millis(5));
    }
    sim.exit(0);
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn a_core_file() {
    let job = Job::new("core");
    let (mut child, sim, launch) = job.launch(&mut job.command(&["--core=dump.%p", "true"]));
    assert_eq!(core_header(&sim), 0);
    for (flags, offset, bytes) in [(Flags::MORE, 0, &b"\x7fELF"[..]), (Flags::LAST, 8000, b"end")] {
        let data = Header::new(FrameType::DumpData).id(9).with(flags);
        sim.hi.send(&data, &DumpData { offset, bytes });
        assert_eq!(side_reply(&sim), 0);
    }
    sim.exit(11 | 0x80);
    assert_eq!(wait(&mut child).signal(), Some(11));
    assert_eq!(stderr(child), format!("mcexec: core dumped, dump.{}\n", launch.pid));
    let core = std::fs::read(job.scratch.path(&format!("dump.{}", launch.pid))).unwrap();
    assert_eq!((core.len(), &core[..4], &core[8000..8003]), (10_000, &b"\x7fELF"[..], &b"end"[..]));
}

fn side_reply(sim: &Sim) -> i64 {
    SideReply::decode(&sim.expect(FrameType::SideReply).payload).unwrap().result
}

fn core_header(sim: &Sim) -> i64 {
    let header = DumpHeader { kind: DumpKind::Core, level: 0, size: 10_000, text: String::new() };
    sim.hi.send(&Header::new(FrameType::DumpHeader).id(9), &header);
    side_reply(sim)
}

#[test]
fn no_core_file_where_none_is_wanted_or_can_be() {
    for (option, errno) in [("--core=off", Errno::ECANCELED), ("--core=nowhere/core", Errno::ENOENT)] {
        let job = Job::new("no-core");
        let (mut child, sim, _) = job.launch(&mut job.command(&[option, "true"]));
        assert_eq!(core_header(&sim), errno.as_result());
        sim.exit(11);
        assert_eq!(wait(&mut child).signal(), Some(11));
        assert_eq!(stderr(child), "");
    }
}

#[test]
fn a_lost_node() {
    let job = Job::new("lost");
    let (mut child, sim, _) = job.launch(&mut job.command(&["true"]));
    sim.hi
        .send(&Header::new(FrameType::Bye), &Bye { reason: ByeReason::Shutdown, text: "going down".into() });
    assert_eq!(wait(&mut child).code(), Some(120));
    assert_eq!(stderr(child), "mcexec: node sim lost (going down)\n");

    let (mut child, sim, _) = job.launch(&mut job.command(&["true"]));
    // A violation by the node.
    sim.hi.send(
        &Header { code: 101, ..Header::new(FrameType::Syscall) }.id(1),
        &keelson_lwk_wire::messages::Cancel,
    );
    assert_eq!(wait(&mut child).code(), Some(123));
}

#[test]
fn a_silent_node() {
    let job = Job::new("silent");
    let child = job.command(&["--timeout=1", "true"]).spawn().unwrap();
    let sim = accept_session(&job.listener);
    sim.expect(FrameType::Launch);
    let mut child = child;
    assert_eq!(wait(&mut child).code(), Some(124));
}

#[test]
fn refusals() {
    let job = Job::new("refusals");
    for (error, code) in
        [(Errno::ENOEXEC, 126), (Errno::EBUSY, 122), (Errno::EINVAL, 122), (Errno::EACCES, 121)]
    {
        let mut child = job.command(&["true"]).spawn().unwrap();
        let sim = accept_session(&job.listener);
        let frame = sim.expect(FrameType::Launch);
        let refused = LaunchAck::Refused { error, text: "no".into() };
        sim.hi.send(&frame.header.reply(FrameType::LaunchAck), &refused);
        assert_eq!(wait(&mut child).code(), Some(code), "{error:?}");
    }
    let status = |args: &[&str]| job.command(args).output().unwrap().status.code();
    assert_eq!(status(&["no-such-program-anywhere"]), Some(127));
    assert_eq!(status(&["./key"]), Some(126));
    assert_eq!(status(&["-n", "0", "true"]), Some(122));
    assert_eq!(status(&["--nonsense", "true"]), Some(125));
    assert_eq!(status(&["7", "true"]), Some(125));
}

#[test]
fn another_pid_when_it_is_taken() {
    let job = Job::new("taken");
    let mut child = job.command(&["true"]).spawn().unwrap();
    let first = accept_session(&job.listener);
    let frame = first.expect(FrameType::Launch);
    let refused = LaunchAck::Refused { error: Errno::EAGAIN, text: "pid is taken".into() };
    first.hi.send(&frame.header.reply(FrameType::LaunchAck), &refused);
    let second = accept_session(&job.listener);
    let frame = second.expect(FrameType::Launch);
    let launch = Launch::decode(&frame.payload).unwrap();
    assert_ne!(launch.pid, child.id());
    second
        .hi
        .send(&frame.header.reply(FrameType::LaunchAck), &LaunchAck::Started { cores: vec![0], memory: 1 });
    assert_eq!(second.call(1, &[N(fd(&launch, 1)), In(b"again"), N(5)]).ok(), 5);
    second.exit(15);
    assert_eq!(wait(&mut child).signal(), Some(15));
    assert_eq!(child.wait_with_output().unwrap().stdout, b"again");
}

#[test]
fn a_wrong_key() {
    let job = Job::new("key");
    std::fs::write(job.scratch.path("key"), format!("default {}\n", "00".repeat(32))).unwrap();
    let mut child = job.command(&["true"]).spawn().unwrap();
    let socket = accept(&job.listener);
    assert!(NodeLane::accept(Box::new(socket), Modes::AEAD).is_none());
    assert_eq!(wait(&mut child).code(), Some(121));
    assert_eq!(stderr(child).lines().count(), 1);
    std::fs::set_permissions(job.scratch.path("key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(job.command(&["true"]).output().unwrap().status.code(), Some(125));
}

#[test]
fn scripts() {
    let job = Job::new("scripts");
    let script = job.scratch.path("script");
    std::fs::write(&script, "#!/bin/sh -x\necho\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (mut child, sim, launch) = job.launch(&mut job.command(&[&script, "arg"]));
    assert_eq!(launch.argv, [&b"/bin/sh"[..], b"-x", script.as_bytes(), b"arg"]);
    assert_eq!(launch.path, b"/bin/sh");
    sim.exit(0);
    wait(&mut child);
}
