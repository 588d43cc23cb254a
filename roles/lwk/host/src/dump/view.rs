//! What is in a dump, for people: the node's own reports where it made some, and else what its memory says.

use std::fmt::Write;

use keelson_lwk_wire::dump::{Core, CoreState, Process, register};

use super::memory::Memory;
use super::notes::{Description, Source};
use super::space::{self, Space};
use super::tables::{self, Half, Walk};
use crate::problem::Problem;
use crate::tools::time;

/// A log is not larger than this.
const MAX_LOG: u64 = 64 << 20;
/// Bytes that `x` shows at most.
const MAX_SHOWN: u64 = 1 << 20;

/// A dump, or a node that waits.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// What is said of it.
    pub description: &'a Description,
    /// Its memory.
    pub memory: &'a dyn Memory,
}

impl View<'_> {
    /// What it is a dump of.
    pub fn info(&self) -> String {
        let info = &self.description.info;
        let since = |nanos: u64| std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanos);
        let boot = if info.booted == 0 { "unknown".into() } else { time::timestamp(since(info.booted)) };
        let mut text = format!(
            "build     {}\nbooted    {boot}\nkargs     {}\nlevel     {}\nsource    {}\nkernel    {:#x} at {:#x}\nroot      {:#x}\n",
            info.build,
            info.kargs,
            self.description.level as u8,
            self.description.source.word(),
            info.image,
            info.image_physical,
            info.root
        );
        if info.stopped != 0 {
            add(&mut text, format_args!("stopped   {:.6} s after it booted\n", info.stopped as f64 / 1e9));
        }
        if !info.panic.is_empty() {
            add(&mut text, format_args!("panic     {}\n", info.panic));
        }
        if let Some(remarks) = self.description.report("remarks") {
            add(&mut text, format_args!("remarks   {}\n", remarks.trim_end()));
        }
        text
    }

    /// Programs and threads.
    pub fn ps(&self) -> String {
        if let Some(report) = self.description.report("ps") {
            return report.to_owned();
        }
        processes(&self.description.info.processes, &self.description.info.cores)
    }

    /// What runs where.
    pub fn threads(&self) -> String {
        let mut text = String::from("    TID     PID CORE STATE     COMMAND\n");
        for (number, core) in self.cores() {
            let name = self.process(core.pid).map_or(what(core), |process| process.name.as_str());
            let row = format_args!("{:>7} {:>7} {number:>4} {:<9} {name}\n", core.tid, core.pid, state(core));
            add(&mut text, row);
        }
        text
    }

    /// Cores with their registers.
    pub fn cpus(&self) -> String {
        let mut text = String::new();
        if !self.description.info.panic.is_empty() {
            add(&mut text, format_args!("{}\n", self.description.info.panic));
        }
        for (number, core) in self.cores() {
            add(&mut text, format_args!("core {number}: {}, {}\n", state(core), what(core)));
            if core.state == CoreState::None {
                continue;
            }
            for row in REGISTERS.chunks(4) {
                for (name, at) in row {
                    let value = core.registers.get(*at).copied().unwrap_or_default();
                    add(&mut text, format_args!("  {name:<7} {value:016x}"));
                }
                text.push('\n');
            }
            let (cr2, cr3, own) = (core.cr2, core.cr3, core.per_cpu);
            add(&mut text, format_args!("  cr2     {cr2:016x}  cr3     {cr3:016x}  percpu  {own:016x}\n"));
        }
        text
    }

    /// The log.
    pub fn kmsg(&self) -> Result<String, Problem> {
        if let Some(report) = self.description.report("kmsg") {
            return Ok(report.to_owned());
        }
        let info = &self.description.info;
        let problem = |reason: String| Problem::failed("kmsg", reason);
        if info.log_len == 0 || info.log_len > MAX_LOG {
            return Err(problem(format!("a ring of {} bytes; accepted are 1 to {MAX_LOG}", info.log_len)));
        }
        let space = Space::kernel(info, self.memory);
        let (mut position, mut ring) = ([0; 8], vec![0; info.log_len as usize]);
        space.read(info.log_position, &mut position).map_err(|error| problem(error.to_string()))?;
        space.read(info.log, &mut ring).map_err(|error| problem(error.to_string()))?;
        Ok(log(&ring, u64::from_le_bytes(position)))
    }

    /// A report that only the node can make.
    pub fn report(&self, name: &str) -> Result<String, Problem> {
        self.description.report(name).map(str::to_owned).ok_or_else(|| {
            let reason = "not in this dump: the node did not answer when it was made";
            Problem::failed(name, reason)
        })
    }

    /// What a program has mapped.
    pub fn maps(&self, pid: u32) -> Result<String, Problem> {
        if let Some(report) = self.description.report(&format!("maps.{pid}")) {
            return Ok(report.to_owned());
        }
        let process = self.known(pid)?;
        let mut rows: Vec<(u64, u64, tables::Access)> = Vec::new();
        for found in tables::mappings(self.memory, process.root, Half::Lower, &|_, _| false) {
            match rows.last_mut() {
                Some((from, len, access)) if *from + *len == found.address && *access == found.access => {
                    *len += found.len;
                }
                _ => rows.push((found.address, found.len, found.access)),
            }
        }
        let mut text = String::new();
        for (from, len, access) in rows {
            add(&mut text, format_args!("{from:012x}-{:012x} {access} {} KiB\n", from + len, len >> 10));
        }
        Ok(text)
    }

    /// Where an address of a program, or of the kernel with pid 0, is in RAM, and how one gets there.
    pub fn vtop(&self, pid: u32, address: u64) -> Result<String, Problem> {
        let root = if pid == 0 { self.description.info.root } else { self.known(pid)?.root };
        let here = |reason: String| Problem::failed(format!("{address:#x}"), reason);
        let walk = tables::walk(self.memory, root, address).map_err(|unread| here(unread.to_string()))?;
        Ok(way(pid, root, address, &walk))
    }

    /// 64-bit numbers at an address of the kernel, or of the program on a core.
    pub fn words(&self, address: u64, count: u64) -> Result<String, Problem> {
        if count > MAX_SHOWN / 8 {
            let reason = format!("{count}: accepted are at most {} numbers of 8 bytes", MAX_SHOWN / 8);
            return Err(Problem::usage("x", reason));
        }
        let mut bytes = vec![0; count as usize * 8];
        let space = Space::kernel(&self.description.info, self.memory);
        let read = space.read(address, &mut bytes);
        read.map_err(|error| Problem::failed(format!("{address:#x}"), error))?;
        let mut text = String::new();
        for (row, pair) in (0u64..).zip(bytes.chunks(16)) {
            add(&mut text, format_args!("{:016x}:", address.wrapping_add(row * 16)));
            for word in pair.as_chunks::<8>().0 {
                add(&mut text, format_args!(" {:016x}", u64::from_le_bytes(*word)));
            }
            text.push('\n');
        }
        Ok(text)
    }

    /// A program that must be there.
    fn known(&self, pid: u32) -> Result<&Process, Problem> {
        self.process(pid).ok_or_else(|| {
            let all: Vec<String> =
                self.description.info.processes.iter().map(|process| process.pid.to_string()).collect();
            let there = if all.is_empty() { "none".into() } else { all.join(", ") };
            Problem::usage(format!("process {pid}"), format!("not there; there are: {there}"))
        })
    }

    /// A program.
    pub fn process(&self, pid: u32) -> Option<&Process> {
        self.description.info.processes.iter().find(|process| process.pid == pid)
    }

    /// Cores with their numbers.
    pub fn cores(&self) -> impl Iterator<Item = (u32, &Core)> {
        (0..).zip(&self.description.info.cores)
    }

    /// Whether its memory is still in the node.
    pub fn waits(&self) -> bool {
        self.description.source == Source::Waiting
    }
}

const REGISTERS: [(&str, usize); 20] = [
    ("rip", register::RIP),
    ("rsp", register::RSP),
    ("rbp", register::RBP),
    ("eflags", register::EFLAGS),
    ("rax", register::RAX),
    ("rbx", register::RBX),
    ("rcx", register::RCX),
    ("rdx", register::RDX),
    ("rsi", register::RSI),
    ("rdi", register::RDI),
    ("r8", register::R8),
    ("r9", register::R9),
    ("r10", register::R10),
    ("r11", register::R11),
    ("r12", register::R12),
    ("r13", register::R13),
    ("r14", register::R14),
    ("r15", register::R15),
    ("fs_base", register::FS_BASE),
    ("gs_base", register::GS_BASE),
];

/// The table of processes in the kernel's block.
pub fn processes(processes: &[Process], cores: &[Core]) -> String {
    let mut text = String::from("    PID CORES ROOT             COMMAND\n");
    for process in processes {
        let on: Vec<usize> =
            (0..).zip(cores).filter(|(_, core)| core.pid == process.pid).map(|(at, _)| at).collect();
        let on = if on.is_empty() { "-".into() } else { keelson_lwk::options::cpulist::format(&on) };
        add(&mut text, format_args!("{:>7} {on:>5} {:016x} {}\n", process.pid, process.root, process.name));
    }
    text
}

/// A way through tables, a line for each.
pub fn way(pid: u32, root: u64, address: u64, walk: &Walk) -> String {
    let whose = if pid == 0 { "kernel".into() } else { format!("process {pid}") };
    let mut text = format!("{whose}, root table {root:#x}\n");
    for step in &walk.steps {
        add(&mut text, format_args!("  {:<4} [{:>3}] {:016x}\n", step.level, step.index, step.entry));
    }
    match (walk.page, walk.physical(address)) {
        (Some(page), Some(physical)) => {
            let size = crate::boot::memory::size(page.len);
            add(&mut text, format_args!("{address:#x} -> {physical:#x}   page of {size}, {}\n", page.access));
        }
        _ => add(&mut text, format_args!("{address:#x} is not mapped\n")),
    }
    text
}

fn state(core: &Core) -> &'static str {
    match core.state {
        CoreState::None => "not seen",
        CoreState::Live => "stopped",
        CoreState::Panicked => "panicked",
    }
}

fn what(core: &Core) -> &'static str {
    match (core.state, space::in_kernel(core), core.tid) {
        (CoreState::None, ..) => "no registers",
        (_, false, _) => "in a program",
        (_, true, 0) => "in the kernel",
        (_, true, _) => "in the kernel for a program",
    }
}

/// A ring from its oldest byte on. Half a line at the beginning is left out.
fn log(ring: &[u8], written: u64) -> String {
    let len = ring.len() as u64;
    if written <= len {
        let kept = ring.get(..written as usize).unwrap_or(ring);
        return String::from_utf8_lossy(kept).into_owned();
    }
    let at = (written % len) as usize;
    let (new, old) = ring.split_at(at);
    let text = String::from_utf8_lossy(&[old, new].concat()).into_owned();
    text.split_once('\n').map_or(text.clone(), |(_, whole)| whole.to_owned())
}

/// Writing to a string does not fail.
fn add(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}
