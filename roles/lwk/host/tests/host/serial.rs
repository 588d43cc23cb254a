//! A node behind serial ports: sockets, each for one host at a time, that has to meet the node first.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use keelson_lwk_host::nodes::Address;
use keelson_lwk_host::proxy::Outcome;
use keelson_lwk_host::proxy::confine::Rules;
use keelson_lwk_wire::Errno;
use keelson_lwk_wire::frame::{FrameType, Header};
use keelson_lwk_wire::handshake::{Modes, Purpose};
use keelson_lwk_wire::messages::{Fork, ForkErr, ForkOk, Launch, LaunchAck, Message};
use keelson_lwk_wire::serial::{Mark, Search};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sim::*;

/// The node's end of a port.
struct Port(UnixListener);

impl Port {
    /// Who comes next, met.
    fn accept(&self) -> UnixStream {
        assert!(self.somebody_comes(PATIENCE), "mcexec does not connect");
        meet(self.0.accept().unwrap().0)
    }

    fn lane(&self) -> NodeLane {
        NodeLane::accept(Box::new(self.accept()), Modes::AEAD).unwrap()
    }

    fn somebody_comes(&self, time: std::time::Duration) -> bool {
        let time = Timespec::try_from(time).unwrap();
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time)) != Ok(0)
    }
}

/// The node's half of the meeting, behind what it had said to somebody else.
fn meet(mut stream: UnixStream) -> UnixStream {
    stream.write_all(b"what nobody fetched LWKC").unwrap();
    let (mut search, mut called) = (Search::default(), None);
    loop {
        let got = stream.read(search.space()).unwrap();
        assert!(got > 0, "the host goes");
        match search.filled(got) {
            Some(Mark::Call(token)) => {
                called = Some(token);
                stream.write_all(&Mark::Call(token).bytes()).unwrap();
            }
            Some(Mark::Go(token)) if called == Some(token) => {
                stream.write_all(&Mark::Go(token).bytes()).unwrap();
                return stream;
            }
            _ => {}
        }
    }
}

/// A directory of ports, a key and a table.
struct Machine {
    scratch: Scratch,
}

impl Machine {
    fn new(name: &str) -> Machine {
        let scratch = Scratch::new(name);
        std::fs::create_dir(scratch.path("ports")).unwrap();
        let (key, ports) = (scratch.path("key"), scratch.path("ports"));
        std::fs::write(&key, format!("default {}\n", "5a".repeat(32))).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(scratch.path("nodes"), format!("0 sim unix:{ports} {key}\n")).unwrap();
        Machine { scratch }
    }

    fn port(&self, name: &str) -> Port {
        Port(UnixListener::bind(self.scratch.path(&format!("ports/{name}"))).unwrap())
    }

    fn address(&self) -> Address {
        Address::Unix(self.scratch.path("ports").into())
    }

    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lwkctl"));
        command.args(["mcexec", "--allow-root", "--conf", &self.scratch.path("nodes"), "true"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.current_dir(&self.scratch.0).spawn().unwrap()
    }
}

/// Takes a session and its LAUNCH.
fn launch(port: &Port) -> (Sim, Launch) {
    let (sim, header, launch) = asked(port);
    sim.hi.send(&header.reply(FrameType::LaunchAck), &LaunchAck::Started { cores: vec![0], memory: 1 << 30 });
    (sim, launch)
}

fn asked(port: &Port) -> (Sim, Header, Launch) {
    let sim = Sim::new(port.lane());
    assert_eq!(sim.hi.purpose, Purpose::Launch);
    let frame = sim.expect(FrameType::Launch);
    (sim, frame.header, Launch::decode(&frame.payload).unwrap())
}

/// Its exit code, and what it said.
fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_program_runs_and_streams() {
    let machine = Machine::new("serial-runs");
    let (hi, bulk) = (machine.port("lwk.hi.0"), machine.port("lwk.bulk.0"));
    std::fs::write(machine.scratch.path("data"), vec![7; 300_000]).unwrap();
    let child = machine.start();
    let (sim, _) = launch(&hi);
    let file = sim.call(2, &[P("data"), N(0), N(0)]).ok();
    let read = sim.start(17, &[N(file), Out(300_000), N(300_000), N(0)]);
    let lane = bulk.lane();
    assert_eq!(lane.purpose, Purpose::Bulk(GRANT.bulk));
    sim.join(&lane);
    let (read, way) = sim.wait_by(read);
    assert_eq!((read.ok(), way), (300_000, Some(Way::Bulk)));
    assert!(read.at(1) == [7; 300_000]);
    sim.exit(42 << 8);
    assert_eq!(end(child), (Some(42), String::new()));
}

/// Reads more than fits into one frame where the machine has no bulk port to be had. Returns what the proxy complained about.
fn reads_without_bulk(machine: &Machine) -> String {
    let bench = bench_to(Rules::default(), machine.address());
    let complaints = Complaints::of(&bench);
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(machine.scratch.path("data"), &bytes).unwrap();
    let file = bench.handle(std::fs::File::open(machine.scratch.path("data")).unwrap());
    for _ in 0..2 {
        let read = bench.sim.start(17, &[N(file), Out(bytes.len()), N(bytes.len() as u64), N(0)]);
        let (read, way) = bench.sim.wait_by(read);
        assert_eq!((read.ok(), way), (bytes.len() as u64, Some(Way::Hi)));
        assert!(read.at(1) == &bytes[..]);
    }
    bench.sim.exit(0);
    assert!(matches!(bench.events.outcomes.recv_timeout(PATIENCE), Ok(Outcome::Exited(_))));
    complaints.all(&bench)
}

#[test]
fn without_bulk_ports_all_goes_by_the_first() {
    let machine = Machine::new("serial-no-bulk");
    let hi = machine.port("lwk.hi.0");
    assert_eq!(reads_without_bulk(&machine), "");
    // Ports for sessions are not for that.
    assert!(!hi.somebody_comes(std::time::Duration::ZERO));
    // Another session has the only one.
    let bulk = machine.port("lwk.bulk.0");
    let other = bench_to(Rules::default(), machine.address());
    let zero = other.handle(std::fs::File::open("/dev/zero").unwrap());
    let read = other.sim.start(0, &[N(zero), Out(200_000), N(200_000)]);
    other.sim.join(&bulk.lane());
    assert_eq!(other.sim.wait_by(read).1, Some(Way::Bulk));
    assert_eq!(reads_without_bulk(&machine), "");
    // That it cannot be reached is another matter.
    other.sim.exit(0);
    drop((other, bulk));
    let machine = Machine::new("serial-stale-bulk");
    drop(machine.port("lwk.bulk.0"));
    assert!(reads_without_bulk(&machine).starts_with("mcexec: no second connection to the node ("));
}

#[test]
fn each_process_has_a_port() {
    let machine = Machine::new("serial-fork");
    let (first, second) = (machine.port("lwk.hi.0"), machine.port("lwk.hi.1"));
    let parent = machine.start();
    let (sim, _) = launch(&first);
    let fork = |id: u64| sim.hi.send(&Header::new(FrameType::Fork).id(id), &Fork { ticket: [0x77; 16] });
    fork(50);
    ForkOk::decode(&sim.expect(FrameType::ForkOk).payload).unwrap();
    let forked = Sim::new(second.lane());
    assert_eq!(forked.hi.purpose, Purpose::Fork([0x77; 16]));
    // No more processes for now, and no more programs.
    fork(51);
    let error = ForkErr::decode(&sim.expect(FrameType::ForkErr).payload).unwrap().error;
    assert_eq!(error, Errno::EAGAIN);
    let (code, text) = end(machine.start());
    let ports = machine.scratch.path("ports");
    let expected = format!(
        "mcexec: node sim: all 2 ports in {ports} are in use; give the node more (virtserialport, or ports= in the node table)\n"
    );
    assert_eq!((code, text), (Some(120), expected));
    // The child outlives its parent, and has nothing of its connection.
    sim.exit(0);
    assert_eq!(sim_end(parent), Some(0));
    let next = machine.start();
    let (sim, _) = launch(&first);
    assert!(forked.call(79, &[Out(999), N(999)]).ok() > 0);
    forked.exit(0);
    sim.exit(3 << 8);
    assert_eq!(end(next), (Some(3), String::new()));
}

/// The exit code of a program whose child has its standard error still.
fn sim_end(mut child: Child) -> Option<i32> {
    child.wait().unwrap().code()
}

#[test]
fn another_attempt_has_the_port_of_the_first() {
    let machine = Machine::new("serial-taken");
    let port = machine.port("lwk");
    let child = machine.start();
    let (sim, header, one) = asked(&port);
    let refused = LaunchAck::Refused { error: Errno::EAGAIN, text: "pid is taken".into() };
    sim.hi.send(&header.reply(FrameType::LaunchAck), &refused);
    let (sim, two) = launch(&port);
    assert_ne!(one.pid, two.pid);
    sim.exit(5 << 8);
    assert_eq!(end(child), (Some(5), String::new()));
}

#[test]
fn a_machine_that_is_gone() {
    let machine = Machine::new("serial-gone");
    let (code, text) = end(machine.start());
    assert_eq!(code, Some(120));
    assert!(text.starts_with("mcexec: node sim: no ports in "), "{text}");
    drop(machine.port("lwk"));
    let (code, text) = end(machine.start());
    assert_eq!(code, Some(120));
    assert!(text.contains("/ports/lwk: Connection refused"), "{text}");
}
