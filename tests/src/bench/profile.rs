//! Where an appliance spends its time: its program counter, sampled from outside and resolved with the ELF file.
//!
//! QEMU stops the machine for each sample, since the program counter of a running emulated CPU lags behind.
//! That makes the run slow and the shares right, give or take what the device emulation does meanwhile.

use crate::Appliance;
use keelson_qemu::{Machine, Result};
use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Time between samples; the machine gets little done in shorter spans.
const INTERVAL: Duration = Duration::from_millis(2);

/// Lines printed.
const SHOWN: usize = 60;

/// Callers followed (images are built with frame pointers).
const DEPTH: usize = 12;

/// Return addresses from the program counter outwards.
type Stack = Vec<u64>;

/// A profile to be taken.
pub struct Plan {
    title: String,
    role: &'static str,
}

impl Plan {
    /// A profile of an appliance of `role` with this title.
    pub fn new(role: &'static str, title: &str) -> Plan {
        Plan { title: title.into(), role }
    }

    /// Takes samples while `work` runs and prints them.
    pub fn during<T>(&self, machine: &Machine, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let over = AtomicBool::new(false);
        let (result, stacks) = thread::scope(|scope| {
            let sampler = scope.spawn(|| {
                let mut stacks = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    stacks.extend(sample(machine));
                    thread::sleep(INTERVAL);
                }
                stacks
            });
            let result = work();
            over.store(true, Ordering::Relaxed);
            (result, sampler.join().unwrap_or_default())
        });
        self.print(&stacks);
        result
    }

    /// Two lists: the functions themselves, and everything with what it calls.
    fn print(&self, stacks: &[Stack]) {
        let names = resolve(self.role, stacks);
        let unknown = Vec::new();
        let (mut own, mut total) = (HashMap::new(), HashMap::new());
        for stack in stacks {
            let frames = stack.iter().flat_map(|address| names.get(address).unwrap_or(&unknown));
            let mut frames: Vec<&String> = frames.collect();
            // The standard library's inlined pieces say nothing; whose they are does.
            let telling =
                |name: &&&String| !["core::", "alloc::", "<"].iter().any(|start| name.starts_with(start));
            if let Some(innermost) = frames.iter().find(telling) {
                *own.entry(*innermost).or_insert(0) += 1;
            }
            frames.sort();
            frames.dedup();
            frames.into_iter().for_each(|frame| *total.entry(frame).or_insert(0) += 1);
        }
        for (title, counts) in [("itself", own), ("with callees", total)] {
            println!("---- {}, {title}: {} samples", self.title, stacks.len());
            let mut counts: Vec<_> = counts.into_iter().collect();
            counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            for (name, count) in counts.iter().take(SHOWN) {
                println!("{:>6.2} %  {name}", f64::from(*count) * 100.0 / stacks.len().max(1) as f64);
            }
        }
    }
}

/// Where the CPU is; `None` while it halts.
fn sample(machine: &Machine) -> Option<Stack> {
    machine.pause().ok()?;
    let stack = read_stack(machine);
    machine.resume().ok()?;
    stack
}

fn read_stack(machine: &Machine) -> Option<Stack> {
    let text = monitor(machine, "info registers")?;
    let register = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        u64::from_str_radix(rest.get(..16)?, 16).ok()
    };
    if text.contains("HLT=1") {
        return None;
    }
    let mut stack = vec![register("RIP=")?];
    let mut frame = register("RBP=")?;
    while frame != 0 && stack.len() < DEPTH {
        // The caller's frame and the return address.
        let Some(text) = monitor(machine, &format!("x /2gx {frame:#x}")) else { break };
        let mut words = text.split("0x").skip(1).map(|word| word.get(..16));
        let mut word = || u64::from_str_radix(words.next()??, 16).ok();
        let (Some(caller), Some(address)) = (word(), word()) else { break };
        if address == 0 {
            break;
        }
        // The call, not what follows it.
        stack.push(address - 1);
        frame = caller;
    }
    Some(stack)
}

fn monitor(machine: &Machine, command: &str) -> Option<String> {
    machine.qmp("human-monitor-command", &format!("{{\"command-line\":\"{command}\"}}")).ok()
}

/// Functions of each address, innermost inlined one first, from `addr2line` of binutils.
fn resolve(role: &str, stacks: &[Stack]) -> HashMap<u64, Vec<String>> {
    let mut addresses: Vec<u64> = stacks.iter().flatten().copied().collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut names = HashMap::new();
    for addresses in addresses.chunks(1000) {
        let mut command = Command::new("addr2line");
        command.args(["-f", "-i", "-C", "-a", "-e"]).arg(Appliance::elf(role));
        command.args(addresses.iter().map(|address| format!("{address:x}")));
        let Ok(output) = command.output() else {
            eprintln!("addr2line is missing: apt-get install binutils");
            break;
        };
        // With -a each address is printed before its frames, which take two lines each: function, place.
        let text = String::from_utf8_lossy(&output.stdout);
        let (mut address, mut function) = (0, true);
        for line in text.lines() {
            if let Some(digits) = line.strip_prefix("0x") {
                address = u64::from_str_radix(digits, 16).unwrap_or(0);
                function = true;
                continue;
            }
            if function {
                names.entry(address).or_insert_with(Vec::new).push(short(line));
            }
            function = !function;
        }
    }
    names
}

/// A path of Rust without its hash and generic arguments.
fn short(name: &str) -> String {
    let name = name.rsplit_once("::h").map_or(name, |(name, _)| name);
    let mut depth = 0;
    let mut text = String::new();
    for (at, c) in name.char_indices() {
        // A leading `<` belongs to `<Type as Trait>::method`, which says more than it costs.
        let opens = c == '<' && at > 0;
        depth += i32::from(opens);
        if depth == 0 {
            text.push(c);
        }
        depth -= i32::from(c == '>' && depth > 0);
    }
    text
}
