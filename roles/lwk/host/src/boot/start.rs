//! A node's beginning: everything is checked first, then the machine is started.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use keelson_lwk_wire::handshake::{Modes, Roles};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::host_nodes::HostNodes;
use super::kargs::{self, Line};
use super::link::{self, Answer};
use super::parameters::{self, Boot, Ipmi, Qemu};
use super::place::{Place, remove_file, write_file};
use super::ports::{self, Ports};
use super::problem::{Problem, code};
use super::process::Process;
use super::qemu::{Files, Machine};
use super::qmp::Qmp;
use super::record::Record;
use super::{image, ipmi, pxe};
use crate::nodes::{self, Address, Node};

/// How often it is looked whether the node runs.
const LOOK: Duration = Duration::from_millis(100);
/// How long a node may take for one answer while it is waited for.
const ANSWER: Duration = Duration::from_secs(3);
/// How long it is not asked when its console says nothing.
const QUIET: Duration = Duration::from_secs(8);
/// Lines of the console that a message shows.
const CONSOLE_LINES: usize = 3;

/// A node that could be started: everything about it has been checked.
pub struct Prepared {
    /// The node.
    pub node: Node,
    /// What runs it.
    pub start: Start,
    /// What the kernel is told.
    pub line: Line,
    files: Files,
    host_cpus: Vec<usize>,
}

/// What starts a node.
pub enum Start {
    /// This command, and the serial ports that it makes.
    Qemu(Vec<String>, Option<Ports>),
    /// Orders to a BMC.
    Ipmi(Ipmi),
}

/// Checks what is recorded of a node, and makes its commands.
pub fn prepare(place: &Place, node: &Node, record: &Record) -> Result<Prepared, Problem> {
    let boot = parameters::read(node)?;
    let line = kargs::line(record, node, &boot)?;
    let files = Files::of(&place.directory(node.index));
    let start = match boot {
        Boot::Manual => {
            let reason =
                "boot=manual: it is switched on by hand; change the table's line to boot it from here";
            return Err(Problem::state(format!("node {}", node.name), reason));
        }
        Boot::Ipmi(ipmi) => {
            if ipmi.pxe.is_none() {
                // Whoever writes that file has to know.
                let given = record.kargs.is_some() || !record.cpus.is_empty() || !record.memory.is_empty();
                if given {
                    let reason =
                        "kernel arguments reach it by pxe=FILE only, which its line of the table lacks";
                    return Err(Problem::usage(format!("node {}", node.name), reason));
                }
            }
            Start::Ipmi(ipmi)
        }
        Boot::Qemu(qemu) => {
            let ports = serial_ports(node, &qemu, &line)?;
            Start::Qemu(machine(node, record, &qemu, &files, &line, ports.as_ref())?, ports)
        }
    };
    Ok(Prepared { node: node.clone(), start, line, files, host_cpus: record.host_cpus.clone() })
}

/// The ports of a node that listens there.
fn serial_ports(node: &Node, qemu: &Qemu, line: &Line) -> Result<Option<Ports>, Problem> {
    let (Address::Unix(directory), Some(name)) = (&node.address, &line.listen.serial) else {
        return Ok(None);
    };
    Ports::new(directory, name, qemu.ports.unwrap_or(ports::DEFAULT)).map(Some)
}

fn machine(
    node: &Node,
    record: &Record,
    qemu: &Qemu,
    files: &Files,
    line: &Line,
    ports: Option<&Ports>,
) -> Result<Vec<String>, Problem> {
    let path: PathBuf = record.image.clone().unwrap_or_else(image::default);
    let (image, _) = image::verify(&path)?;
    if qemu.kvm && fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        let reason = "accel=kvm, but /dev/kvm cannot be opened; load kvm_intel or kvm_amd, or say accel=tcg";
        return Err(Problem::failed(format!("node {}", node.name), reason));
    }
    if let Some(tap) = &qemu.tap
        && !fs::exists(format!("/sys/class/net/{tap}")).unwrap_or(false)
    {
        let reason = format!("net=tap:{tap}: no such interface; ip tuntap add {tap} mode tap");
        return Err(Problem::failed(format!("node {}", node.name), reason));
    }
    Machine {
        node,
        qemu,
        files,
        image: &image,
        line,
        memory: &record.machine_memory(),
        host_nodes: &HostNodes::find(),
        host_cpus: &record.host_cpus,
        ports,
    }
    .command()
}

impl Prepared {
    /// What [`Prepared::start`] runs.
    pub fn commands(&self) -> Vec<Vec<String>> {
        match &self.start {
            Start::Qemu(words, _) => vec![words.clone()],
            Start::Ipmi(ipmi) => ipmi::boot_commands(ipmi),
        }
    }

    /// Starts the machine. The node does not run yet.
    pub fn start(&self) -> Result<(), Problem> {
        let Files { running, stopping, console, .. } = &self.files;
        for left in [running, stopping, console] {
            remove_file(left);
        }
        match &self.start {
            Start::Ipmi(ipmi) => {
                pxe::write(ipmi, &self.line.text)?;
                ipmi::boot(ipmi)
            }
            Start::Qemu(words, ports) => {
                if let Some(ports) = ports {
                    ports.make_directory()?;
                }
                self.write_key()?;
                let started = run(words);
                // QEMU has read it.
                remove_file(&self.files.key);
                started?;
                self.pin()
            }
        }
    }

    fn write_key(&self) -> Result<(), Problem> {
        let Some(file) = &self.node.key_file else { return Ok(()) };
        let key = nodes::load_key(file)
            .map_err(|reason| Problem::new(code::DENIED, format!("node {}", self.node.name), reason))?;
        let digits: String = key.secret.iter().map(|byte| format!("{byte:02x}")).collect();
        // For every host by whatever name, unless something is said of this key.
        let text = if key.modes == Modes::MAC { format!("{} {digits} mac", key.id) } else { digits };
        write_file(&self.files.key, text.as_bytes(), 0o600)
    }

    /// Virtual processors run on the cores that are reserved for the node: each on its own where there are enough.
    fn pin(&self) -> Result<(), Problem> {
        if self.host_cpus.is_empty() {
            return Ok(());
        }
        let here = |error: std::io::Error| Problem::failed("processors of the machine", error);
        let threads = Qmp::connect(&self.files.qmp).and_then(|mut qmp| qmp.threads()).map_err(here)?;
        for (index, thread) in threads.iter().enumerate() {
            let mut set = CpuSet::new();
            match self.host_cpus.get(index).filter(|_| self.host_cpus.len() >= threads.len()) {
                Some(core) => set.set(*core),
                None => self.host_cpus.iter().for_each(|core| set.set(*core)),
            }
            sched_setaffinity(Pid::from_raw(*thread), &set).map_err(|error| {
                let reserved = keelson_lwk::options::cpulist::format(&self.host_cpus);
                let reason = format!("{error}; reserve cores that this host has and that you may use");
                Problem::failed(format!("reserved processors {reserved}"), reason)
            })?;
        }
        Ok(())
    }

    /// Waits until the node runs.
    pub fn await_running(&self, time: Duration, interrupted: &AtomicBool) -> Result<(), Problem> {
        let object = format!("node {}", self.node.name);
        let deadline = Instant::now() + time;
        let mut silence = String::from("not asked yet");
        loop {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Problem::failed(object, "interrupted before it ran"));
            }
            if let Some(problem) = self.failed() {
                return Err(problem);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let reason =
                    format!("does not run after {} seconds ({silence}){}", time.as_secs(), self.said());
                return Err(Problem::new(code::TIMEOUT, object, reason));
            }
            if may_answer(&self.files) {
                match link::ask(&self.node, "get", &["status"], Roles::MONITOR, ANSWER.min(left)) {
                    Answer::Text(_) | Answer::Refused(_) => {
                        return write_file(&self.files.running, b"", 0o644);
                    }
                    Answer::Stranger(reason) => return Err(Problem::new(code::DENIED, object, reason)),
                    Answer::Silent(reason) => silence = reason,
                }
            }
            thread::sleep(LOOK.min(left));
        }
    }

    /// Why the node will never run.
    fn failed(&self) -> Option<Problem> {
        let Start::Qemu(..) = &self.start else { return None };
        let object = format!("node {}", self.node.name);
        if let Some(reason) = console_verdict(&self.files) {
            return Some(Problem::failed(object, reason));
        }
        let running = Process::of(&self.files.pid, &self.files.pid);
        running.is_none().then(|| Problem::failed(object, format!("QEMU ended{}", self.said())))
    }

    /// The last lines of the console.
    fn said(&self) -> String {
        let text = console(&self.files);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.get(lines.len().saturating_sub(CONSOLE_LINES)..).unwrap_or_default();
        if last.is_empty() { String::new() } else { format!("; its console:\n{}", last.join("\n")) }
    }
}

fn console(files: &Files) -> String {
    fs::read(&files.console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Whether it is worth asking a node that boots: it has said so, or it could have by now. A question that comes too early waits
/// in QEMU's network, or at a serial port, for seconds.
pub fn may_answer(files: &Files) -> bool {
    let age = fs::metadata(&files.pid).and_then(|metadata| metadata.modified()).map(|since| since.elapsed());
    let young = matches!(age, Ok(Ok(age)) if age < QUIET);
    !young || console(files).contains("lwk: hosts may connect")
}

/// What the console says of a node that cannot serve: it panicked, or it refused to start the role.
pub fn console_verdict(files: &Files) -> Option<String> {
    let text = console(files);
    let line = text.lines().find(|line| line.starts_with("panic: ") || line.contains("lwk: no programs"))?;
    Some(line.trim().to_owned())
}

/// Runs a command that ends when its work is done.
fn run(words: &[String]) -> Result<(), Problem> {
    let (program, args) = words.split_first().ok_or_else(|| Problem::failed("command", "empty"))?;
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| {
        Problem::failed(
            program,
            format!("{error}; install it (Debian package qemu-system-x86) to boot this node"),
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches(program.as_str()).trim_start_matches(": ");
    Err(Problem::failed(program, if said.is_empty() { "failed" } else { said }))
}
