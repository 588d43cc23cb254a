//! Ctrl-C at a terminal, and signals without one: both reach the remote command.

use crate::support::{Directory, Host, QNETCTL, Running, datagrams};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whether a program runs on a node.
fn runs(host: &Host<'_>, node: &str, program: &str) -> bool {
    host.ok(&["pidin", "-n", node, "arg"]).contains(program)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn ctrl_c_at_a_terminal_ends_the_remote_command() {
    let directory = Directory::new();
    let [alpha, beta] = datagrams(&directory, ["alpha", "beta"]);
    let _server = alpha.serve(&directory.tree());
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let terminal = File::options().read(true).write(true).open(name).unwrap();
    let mut command = Command::new(QNETCTL);
    command.args(&beta.transport).args([
        "--name",
        "beta",
        "on",
        "-f",
        "alpha",
        "sh",
        "-c",
        "echo begun; cat; echo no",
    ]);
    command.stdin(terminal).stdout(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    assert_eq!(running.line(), "begun\n");
    let mut keyboard = File::from(controller);
    keyboard.write_all(b"typed\n").unwrap();
    assert_eq!(running.line(), "typed\n");
    // In the middle of a line.
    keyboard.write_all(b"rest\x03").unwrap();
    let mut text = String::new();
    running.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let status = running.0.wait().unwrap();
    assert_eq!((text.as_str(), status.code()), ("", Some(128 + 2)));
}

#[test]
fn a_signal_without_a_terminal_ends_the_remote_command() {
    let directory = Directory::new();
    let [alpha, beta] = datagrams(&directory, ["alpha", "beta"]);
    // Three hosts on one cable: a multicast group would need the network, so alpha is asked by itself.
    let _server = alpha.serve(&directory.tree());
    let mut running = beta.start(&["on", "-f", "alpha", "sh", "-c", "echo begun; sleep 1000"]);
    assert_eq!(running.line(), "begun\n");
    // The shell's own: the program is not on every machine.
    let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", running.0.id())]).status().unwrap();
    assert!(kill.success());
    let status = running.0.wait().unwrap();
    assert_eq!(status.signal(), Some(2), "as with any program");
    // The child that did the work gives its socket back when the remote command has ended.
    wait_until("the child has ended", || !directory.path("beta.sock").exists());
    wait_until("the command has ended", || !runs(&beta, "alpha", "sleep"));
}
