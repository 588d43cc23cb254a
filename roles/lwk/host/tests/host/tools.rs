//! The tools that look after nodes, with a simulated node behind loopback TCP.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::frame::{Flags, FrameType, Header};
use keelson_lwk_wire::handshake::{Modes, Purpose, Roles};
use keelson_lwk_wire::messages::{
    Ctrl, CtrlAnswer, CtrlReply, Event, EventKind, Kmsg, KmsgLine, Message, Ping, Pong,
};

use crate::sim::*;

/// What a node was asked, and over connections for what.
type Asked = Arc<Mutex<Vec<(Purpose, String)>>>;

/// A node that knows a few verbs.
struct Node {
    scratch: Scratch,
    asked: Asked,
}

impl Node {
    fn new(name: &str) -> Node {
        let (scratch, listener) = (Scratch::new(name), listen());
        let address = listener.local_addr().unwrap();
        for (file, key) in [("key", "5a".repeat(32)), ("wrong", "77".repeat(32))] {
            std::fs::write(scratch.path(file), format!("default {key}\n")).unwrap();
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(scratch.path(file), private).unwrap();
        }
        // Nobody listens on the last one's port.
        let table = format!(
            "0 sim {address} {key}\n1 other {address} {wrong}\n2 gone 127.0.0.1:1 {key}\n",
            key = scratch.path("key"),
            wrong = scratch.path("wrong")
        );
        std::fs::write(scratch.path("nodes"), table).unwrap();
        let asked = Asked::default();
        let noted = asked.clone();
        // It ends with the test process.
        thread::spawn(move || serve(&listener, &noted));
        Node { scratch, asked }
    }

    fn command(&self, tool: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lwkctl"));
        command.arg(tool).args(args).env("LWK_CONF", self.scratch.path("nodes"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, tool: &str, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(tool, args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }
}

fn serve(listener: &TcpListener, asked: &Asked) {
    loop {
        let Ok((socket, _)) = listener.accept() else { return };
        let asked = asked.clone();
        thread::spawn(move || {
            let Some(lane) = NodeLane::accept(Box::new(socket), Modes::AEAD) else { return };
            for frame in lane.frames() {
                match frame.header.kind {
                    FrameType::Ping => {
                        let pong = Pong { echo: 0, own: Ping::default() };
                        lane.send(&frame.header.reply(FrameType::Pong), &pong);
                    }
                    FrameType::Ctrl => {
                        let ctrl = Ctrl::decode(&frame.payload).unwrap();
                        let line = [&[ctrl.verb][..], &ctrl.args].concat().join(" ");
                        asked.lock().unwrap().push((lane.purpose, line.clone()));
                        if !answer(&lane, &frame.header, &line) {
                            return;
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
    }
}

/// False when the node hangs up.
fn answer(lane: &NodeLane, asked: &Header, line: &str) -> bool {
    let header = asked.reply(FrameType::CtrlReply);
    let text = |text: &str| lane.send(&header, &CtrlReply { answer: CtrlAnswer::Text(text.into()) });
    let failed = |error| {
        let answer = CtrlAnswer::Failed { error, text: format!("{line}: so it is") };
        lane.send(&header, &CtrlReply { answer });
    };
    let lines = |numbers: &[u64]| {
        let line = |sequence: &u64| KmsgLine {
            sequence: *sequence,
            time: 1_500_000_000,
            severity: 4,
            core: 1,
            text: format!("line {sequence}"),
        };
        let header = asked.reply(FrameType::Kmsg).with(Flags::REPLY | Flags::MORE);
        lane.send(&header, &Kmsg { lines: numbers.iter().map(line).collect() });
    };
    match line {
        "get status" => text("RUNNING\n"),
        "get status --json" => text("{\"status\":\"RUNNING\"}\n"),
        "ps" => {
            let part = CtrlReply { answer: CtrlAnswer::Text("HEAD\nfirst\n".into()) };
            lane.send(&header.with(Flags::REPLY | Flags::MORE), &part);
            text("second\n");
        }
        "kmsg" => {
            lines(&[7, 8]);
            text("");
        }
        "kmsg -f" => {
            lines(&[7, 8]);
            return false;
        }
        "kmsg -f --after=8" => lines(&[9]),
        "events -i 600" => {
            let event = Event { kind: EventKind::Hungup, text: "core 3".into() };
            lane.send(&asked.reply(FrameType::Event).with(Flags::REPLY | Flags::MORE), &event);
        }
        "freeze" => failed(Errno::EPERM),
        "thaw" => failed(Errno::EBUSY),
        "noise reset" => failed(Errno::EIO),
        "query x" => failed(Errno::EINVAL),
        "rusage" => text(
            "memory_total 1048576\nmemory_usage 524288\nmemory_max_usage 524288\ncpuacct_stat_system 1\n\
             cpuacct_stat_user 2\nnum_threads 3\nmax_num_threads 4\n",
        ),
        // And no answer to others.
        _ => {}
    }
    true
}

#[test]
fn answers_and_exit_codes() {
    let node = Node::new("verbs");
    for (line, code, out) in [
        ("0 get status", 0, "RUNNING\n"),
        ("--node=sim get status", 0, "RUNNING\n"),
        ("sim get status --json", 0, "{\"status\":\"RUNNING\"}\n"),
        ("0 ps", 0, "HEAD\nfirst\nsecond\n"),
        ("0 kmsg", 0, "[    1.500000] 1 warning line 7\n[    1.500000] 1 warning line 8\n"),
    ] {
        let (status, stdout, stderr) = node.run("ihkosctl", &line.split(' ').collect::<Vec<_>>());
        assert_eq!((status, stdout.as_str(), stderr.as_str()), (code, out, ""), "{line}");
    }
    for (line, code, message) in [
        ("0 noise reset", 1, "ihkosctl: node sim: noise reset: so it is\n"),
        ("0 query x", 2, "ihkosctl: node sim: query x: so it is\n"),
        ("0 freeze", 4, "ihkosctl: node sim: freeze: so it is\n"),
        ("0 thaw", 5, "ihkosctl: node sim: thaw: so it is\n"),
        ("--timeout=1 0 cores", 6, "ihkosctl: node sim: no answer to cores within 1 seconds\n"),
        ("0 reboot", 2, "ihkosctl: reboot: no such verb   (--help says more)\n"),
        ("0", 2, "ihkosctl: 0: which verb?   (--help says more)\n"),
    ] {
        let (status, stdout, stderr) = node.run("ihkosctl", &line.split(' ').collect::<Vec<_>>());
        assert_eq!((status, stdout.as_str(), stderr.as_str()), (code, "", message), "{line}");
    }
    let (status, _, stderr) = node.run("ihkosctl", &["gone", "get", "status"]);
    assert!(
        status == 3 && stderr.starts_with("ihkosctl: node gone: cannot be reached: "),
        "{status} {stderr}"
    );
    let (status, _, stderr) = node.run("ihkosctl", &["other", "get", "status"]);
    assert!(status == 4 && stderr.starts_with("ihkosctl: node other: does not accept the key: "), "{stderr}");
    // A node may still be made by this tool, table and all; others have nothing to look at.
    for (words, table) in
        [(&["7", "get", "status"][..], "/nodes; "), (&["--conf=/none", "7", "boot"], "/none; ")]
    {
        let (status, _, stderr) = node.run("ihkosctl", words);
        assert!(status == 2 && stderr.starts_with("ihkosctl: node 7: not in "), "{status} {stderr}");
        assert!(stderr.contains(table) && stderr.contains("ihkconfig 0 create"), "{stderr}");
    }
    let (status, _, stderr) = node.run("mcps", &["--conf=/none"]);
    assert!(status == 1 && stderr.starts_with("mcps: /none: "), "{status} {stderr}");
    // Who only looks asks for no more.
    let asked = node.asked.lock().unwrap();
    assert!(asked.contains(&(Purpose::Control(Roles::MONITOR), "get status".into())));
    assert!(asked.contains(&(Purpose::Control(Roles::ADMIN), "freeze".into())));
}

#[test]
fn figures_and_programs() {
    let node = Node::new("stat");
    let (status, out, _) = node.run("mcstat", &["1", "2"]);
    assert_eq!((status, out.lines().count()), (0, 4), "{out}");
    assert_eq!(
        out.lines().nth(2).unwrap().split_whitespace().collect::<Vec<_>>().join(" "),
        "1.000 0.500 0.500 1 2 3 4"
    );
    assert_eq!(node.run("mcstat", &["-s"]).1, "RUNNING\n");
    assert_eq!(node.run("mcps", &["--node", "0"]).1, "HEAD\nfirst\nsecond\n");
    // One of three is there.
    let (status, out, errors) = node.run("mcps", &[]);
    assert_eq!((status, out.as_str(), errors.lines().count()), (4, "HEAD\nfirst\nsecond\n", 2), "{errors}");
    for (tool, option) in
        [("mcps", "--help"), ("mcstat", "-h"), ("ihkosctl", "--help"), ("ihkmond", "--help")]
    {
        let (status, out, _) = node.run(tool, &[option]);
        assert!(status == 0 && out.starts_with(&format!("usage: {tool} ")), "{out}");
        assert!(node.run(tool, &["--version"]).1.starts_with(&format!("{tool} ")));
    }
}

/// A process that does not outlive its test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_log_goes_to_syslog_once() {
    let node = Node::new("monitor");
    assert_eq!(node.run("ihkmond", &["-f", "LOG_LOCAL9"]).0, 255);
    assert_eq!(node.run("ihkmond", &["-k", "2"]).0, 2);
    let syslog = UnixDatagram::bind(node.scratch.path("log")).unwrap();
    syslog.set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, pidfile, hook) =
        (node.scratch.path("log"), node.scratch.path("pid"), node.scratch.path("hook"));
    let on_event = format!("echo $LWK_EVENT $LWK_NODE $LWK_INDEX $LWK_TEXT >>{hook}");
    let args = [
        "--foreground",
        "--node=sim",
        "-f",
        "local0",
        "--syslog",
        &socket,
        "--pidfile",
        &pidfile,
        "--on-event",
        &on_event,
    ];
    let mut daemon = Daemon(node.command("ihkmond", &args).spawn().unwrap());
    let mut messages = Vec::new();
    // The connection ends once; the line behind the last one is asked for then.
    while !messages.iter().any(|message: &String| message.ends_with("line 9")) {
        let mut buffer = [0; 1000];
        let len = syslog.recv(&mut buffer).expect("a message");
        messages.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
    }
    let lines: Vec<&String> = messages.iter().filter(|message| message.contains(" kmsg ")).collect();
    assert_eq!(lines.len(), 3, "{messages:?}");
    for (line, number) in lines.iter().zip(7..) {
        assert!(line.starts_with("<132>1 20"), "{line}");
        let end = format!(" sim mckernel - kmsg [mckernel instanceid=\"0\"] [    1.500000] 1 line {number}");
        assert!(line.ends_with(&end), "{line}");
    }
    wait_until("no command at the event", || {
        std::fs::read_to_string(&hook).is_ok_and(|text| text.contains("HUNGUP sim 0 core 3\n"))
    });
    // The process id is of the one that runs, and keeps others away.
    assert_eq!(std::fs::read_to_string(&pidfile).unwrap(), format!("{}\n", daemon.0.id()));
    let (status, _, errors) = node.run("ihkmond", &args);
    assert!(status == 5 && errors.contains("has it already"), "{status} {errors}");
    let (status, _, errors) = node.run("ihkmond", &args[1..]);
    assert!(status == 5 && errors.contains("has it already"), "as a daemon: {status} {errors}");
    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    wait_until("it does not end", || daemon.0.try_wait().unwrap().is_some());
    assert!(!std::path::Path::new(&pidfile).exists());
}

#[test]
fn a_daemon_leaves_its_caller() {
    let node = Node::new("daemon");
    let syslog = UnixDatagram::bind(node.scratch.path("log")).unwrap();
    syslog.set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, pidfile) = (node.scratch.path("log"), node.scratch.path("pid"));
    let args = ["--node=sim", "-i", "-1", "--syslog", &socket, "--pidfile", &pidfile];
    let (status, out, errors) = node.run("ihkmond", &args);
    assert_eq!((status, out.as_str(), errors.as_str()), (0, "", ""));
    let pid: i32 = std::fs::read_to_string(&pidfile).unwrap().trim().parse().unwrap();
    assert!(syslog.recv(&mut [0; 1000]).is_ok());
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    assert_eq!(rustix::process::getsid(Some(pid)), Ok(pid));
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    wait_until("it does not end", || !std::path::Path::new(&pidfile).exists());
}
