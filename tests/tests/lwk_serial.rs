//! Hosts reach the LWK node by serial ports of its machine, without network and key: programs run as over TCP, and whoever
//! disappears at either end of a port leaves it to the next one.

use keelson_tests::lwk::{Link, LwkNode, Shape, output, program};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::time::{Duration, Instant};

const LWKCTL: &str = env!("CARGO_BIN_EXE_keelson-lwkctl");
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
/// Exit code of mcexec (section 6.1 of the specification).
const NODE_LOST: i32 = 120;
/// What nothing here should need.
const SOON: Duration = Duration::from_secs(30);

fn compiled(name: &str) -> PathBuf {
    program(FOLDER, name, Link::Static, &[])
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_alive(node: &LwkNode) {
    let ended = node.run(&compiled("hello.c"), &[], b"");
    assert_eq!(ended.status.code(), Some(42), "{}", errors(&ended));
}

fn computing(node: &LwkNode) -> Child {
    node.computing(&compiled("fwq.c"))
}

/// A tool of the host that does what it is asked.
fn said(node: &LwkNode, tool: &str, words: &[&str]) -> String {
    let mut command = node.tool(tool);
    command.args(words);
    let ended = output(command, b"");
    assert!(ended.status.success(), "{tool} {words:?}: {}", errors(&ended));
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

#[test]
fn programs_run_as_over_tcp() {
    let shape = Shape { line: "allow_oversubscribe=8", ..Shape::default() };
    let hi: Vec<String> = (0..24).map(|port| format!("hi.{port}")).collect();
    let ports: Vec<&str> = hi.iter().map(String::as_str).chain(["bulk.0", "bulk.1", "ctl.0"]).collect();
    let node = LwkNode::start_serial("lwk-serial", LWKCTL, shape, &ports);
    for name in ["processes.c", "files.c", "signals.c", "server.c", "buffers.c", "ends.c"] {
        node.same(&compiled(name), &[], b"");
    }
    // Several MiB in both directions; long answers come by a port of their own.
    let large: Vec<u8> = (0..8u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let copied = node.run(Path::new("/bin/dd"), &["bs=1M", "status=none", "iflag=fullblock"], &large);
    assert!(copied.stdout == large, "{} bytes came back: {}", copied.stdout.len(), errors(&copied));
    for _ in 0..20 {
        assert_alive(&node);
    }
    // No network is missed where none is needed, and no host that has ended as it should.
    let transcript = node.machine.console().transcript();
    assert!(!transcript.contains("ERROR") && !transcript.contains("WARN"), "{transcript}");
}

#[test]
fn who_comes_when_all_ports_are_in_use_is_told() {
    let ports = ["hi.0", "hi.1", "ctl.0"];
    let node = LwkNode::start_serial("lwk-ports", LWKCTL, Shape::default(), &ports);
    let mut first = computing(&node);
    // The second port is this one's, and its child has none.
    let forked = node.run(Path::new("/bin/sh"), &["-c", "/bin/true; echo never"], b"");
    let said_by_shell = errors(&forked);
    assert!(said_by_shell.contains("Cannot fork"), "{said_by_shell}");
    let mut second = computing(&node);
    let third = node.run(&compiled("hello.c"), &[], b"");
    assert_eq!(third.status.code(), Some(NODE_LOST));
    let text = errors(&third);
    assert!(text.starts_with("mcexec: node node: all 2 ports in "), "{text}");
    assert!(
        text.trim_end()
            .ends_with("are in use; give the node more (virtserialport, or ports= in the node table)")
    );
    // Tools have one of their own.
    assert_eq!(said(&node, "ihkosctl", &["0", "get", "status"]), "RUNNING\n");
    assert_eq!(said(&node, "mcps", &[]).matches("fwq").count(), 2);
    for running in [&mut first, &mut second] {
        running.kill().unwrap();
        running.wait().unwrap();
    }
    assert_alive(&node);
}

#[test]
fn a_port_is_the_next_ones_when_somebody_is_killed() {
    let node = LwkNode::start_serial("lwk-next", LWKCTL, Shape { cpus: 2, ..Shape::default() }, &["hi.0"]);
    for _ in 0..20 {
        let mut running = computing(&node);
        running.kill().unwrap();
        running.wait().unwrap();
        let deadline = Instant::now() + SOON;
        // The processor is free as soon as the node has ended the program.
        while node.run(&compiled("hello.c"), &[], b"").status.code() != Some(42) {
            assert!(Instant::now() < deadline, "port and processor are free again");
        }
    }
    // Who knows nothing of the protocol, and says much.
    let socket = node.dir().join("ports/lwk.hi.0");
    for junk in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0x4c; 300_000], b"LWKC and no more"] {
        let mut stranger = UnixStream::connect(&socket).unwrap();
        stranger.write_all(junk).unwrap();
        drop(stranger);
        assert_alive(&node);
    }
}

#[test]
fn who_resets_or_kills_the_machine_ends_mcexec() {
    let ports = ["hi.0", "hi.1"];
    let node = LwkNode::start_serial("lwk-gone", LWKCTL, Shape { cpus: 2, ..Shape::default() }, &ports);
    let running = computing(&node);
    let reset = Instant::now();
    node.machine.reset().unwrap();
    node.machine.expect("lwk: hosts may connect", SOON).unwrap();
    // QEMU holds the connection, and nobody says anything on it any more.
    let ended = running.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(NODE_LOST), "{}", errors(&ended));
    assert!(reset.elapsed() < SOON, "{:?}", reset.elapsed());
    assert_alive(&node);
    let running = computing(&node);
    node.machine.kill();
    let killed = Instant::now();
    let ended = running.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(NODE_LOST), "{}", errors(&ended));
    assert!(errors(&ended).contains("lost"), "{}", errors(&ended));
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    // And who comes then is told.
    let late = node.run(&compiled("hello.c"), &[], b"");
    assert_eq!(late.status.code(), Some(NODE_LOST));
    assert!(fs::exists(node.dir().join("ports/lwk.hi.0")).unwrap_or(false));
}

#[test]
fn a_node_that_was_given_no_port_says_so() {
    let shape = Shape { cpus: 2, ..Shape::default() };
    let bench = keelson_qemu::Bench::new("lwk-noport");
    let spec = keelson_tests::Appliance::lwk(&bench, "node", "listen=serial:lwk").cpus(shape.cpus);
    let machine = spec.channel("other").start().unwrap();
    machine
        .expect("no programs: listen=serial:lwk: no serial port has that name; there are: other", SOON)
        .unwrap();
}
