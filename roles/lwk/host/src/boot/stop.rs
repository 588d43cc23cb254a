//! A node's end: it is asked first, and ended when it does not go.

use std::process::{Command, Stdio};
use std::time::Duration;

use std::os::unix::process::CommandExt;

use keelson_lwk_wire::handshake::Roles;

use super::ipmi::{self, Order};
use super::link::{self, Answer};
use super::monitor;
use super::parameters::{self, Boot, Ipmi};
use super::place::{Place, remove_file, write_file};
use super::ports;
use super::problem::Problem;
use super::process::Process;
use super::qemu::Files;
use super::qmp::Qmp;
use super::status::{self, Status};
use crate::nodes::{Address, Node};

/// How long the node may take to say that it will go: its programs have 10 seconds to end.
const ANSWER: Duration = Duration::from_secs(15);
/// How long it may take to go (section 6.5).
const GOING: Duration = Duration::from_secs(10);
/// How long QEMU may take to end, asked by its control socket.
const QUIT: Duration = Duration::from_secs(3);
/// How long Linux may take to end QEMU.
const KILL: Duration = Duration::from_secs(5);

/// How a node is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Programs are asked, files are written.
    Orderly,
    /// At once.
    Forced,
}

/// Ends a node and waits for it. It may be INACTIVE already. Its record stays.
pub fn stop(place: &Place, node: &Node, manner: Manner) -> Result<(), Problem> {
    let files = Files::of(&place.directory(node.index));
    let status = status::of(place, node)?;
    // What does not run yet cannot be asked.
    let runs = matches!(status, Status::Running | Status::Shutdown);
    let manner = if runs { manner } else { Manner::Forced };
    let ended = match parameters::read(node)? {
        _ if status == Status::Inactive => Ok(()),
        Boot::Manual => {
            let reason = "boot=manual: it is switched off by hand";
            Err(Problem::state(format!("node {}", node.name), reason))
        }
        Boot::Qemu(_) => {
            write_file(&files.stopping, b"", 0o644)?;
            machine(node, &files, manner).inspect(|()| remove_ports(node))
        }
        Boot::Ipmi(bmc) => {
            write_file(&files.stopping, b"", 0o644)?;
            power_off(node, &bmc, manner)
        }
    };
    if ended.is_ok() {
        for file in [&files.pid, &files.qmp, &files.key, &files.running] {
            remove_file(file);
        }
    }
    remove_file(&files.stopping);
    ended
}

/// Ends a virtual machine: the node, then QEMU, then its process.
fn machine(node: &Node, files: &Files, manner: Manner) -> Result<(), Problem> {
    let Some(process) = Process::of(&files.pid, &files.pid) else { return Ok(()) };
    let qmp = |command: &str| Qmp::connect(&files.qmp).and_then(|mut qmp| qmp.command(command));
    if manner == Manner::Orderly {
        let asked = matches!(link::ask(node, "shutdown", &[], Roles::ADMIN, ANSWER), Answer::Text(_));
        // A node without that verb has a power button.
        if (asked || qmp("system_powerdown").is_ok()) && process.ends_within(GOING) {
            return Ok(());
        }
    }
    if qmp("quit").is_ok() && process.ends_within(QUIT) {
        return Ok(());
    }
    process.kill();
    if process.ends_within(KILL) {
        return Ok(());
    }
    Err(Problem::failed(
        format!("node {}", node.name),
        format!("QEMU, process {}, does not end", process.pid),
    ))
}

/// What a machine leaves that did not end by itself.
fn remove_ports(node: &Node) {
    if let Address::Unix(directory) = &node.address {
        ports::remove(directory);
    }
}

fn power_off(node: &Node, bmc: &Ipmi, manner: Manner) -> Result<(), Problem> {
    if manner == Manner::Orderly {
        if !matches!(link::ask(node, "shutdown", &[], Roles::ADMIN, ANSWER), Answer::Text(_)) {
            ipmi::give(bmc, Order::Soft)?;
        }
        if ipmi::off_within(bmc, GOING)? {
            return Ok(());
        }
    }
    ipmi::give(bmc, Order::Off)?;
    match ipmi::off_within(bmc, GOING)? {
        true => Ok(()),
        false => Err(Problem::failed(format!("node {}", node.name), "its power does not go off")),
    }
}

/// Ends a node without waiting for it: another process of this program does that.
pub fn stop_behind(place: &Place, node: &Node, manner: Manner) -> Result<(), Problem> {
    let files = Files::of(&place.directory(node.index));
    let here = |error: std::io::Error| Problem::failed(format!("node {}", node.name), error);
    write_file(&files.stopping, b"", 0o644)?;
    let mut command = Command::new(std::env::current_exe().map_err(here)?);
    command.arg0("lwkctl").args(["ihkosctl", "--conf"]).arg(&place.conf).env("LWK_STATE", &place.state);
    command.args([&node.index.to_string(), "shutdown", "--wait"]);
    if manner == Manner::Forced {
        command.arg("-f");
    }
    // Ctrl-C on the terminal is not meant for it.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop).map_err(here)
}

/// Ends a node with its ihkmond and all that is recorded of it; mcreboot's own line of the table goes too.
pub fn release(place: &Place, node: &Node, manner: Manner) -> Result<(), Problem> {
    if !place.directory(node.index).exists() {
        return Ok(());
    }
    let lock = place.lock(node)?;
    stop(place, node, manner)?;
    monitor::stop(&Files::of(&place.directory(node.index)))?;
    let record = super::record::Record::load(&place.directory(node.index))?;
    if record.made {
        place.remove(node.index)?;
        if let Some(key) = node.key_file.as_ref().filter(|key| key.starts_with(&place.state)) {
            remove_file(key);
        }
    }
    place.forget(node.index)?;
    drop(lock);
    Ok(())
}
