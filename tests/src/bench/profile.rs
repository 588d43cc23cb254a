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
const SHOWN: usize = 45;

/// A profile to be taken.
pub struct Plan {
    title: &'static str,
}

impl Plan {
    /// A profile with this title.
    pub fn new(title: &'static str) -> Plan {
        Plan { title }
    }

    /// Takes samples while `work` runs and prints them.
    pub fn during<T>(&self, machine: &Machine, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let over = AtomicBool::new(false);
        let (result, samples) = thread::scope(|scope| {
            let sampler = scope.spawn(|| {
                let mut samples: HashMap<u64, usize> = HashMap::new();
                while !over.load(Ordering::Relaxed) {
                    if let Some(address) = sample(machine) {
                        *samples.entry(address).or_default() += 1;
                    }
                    thread::sleep(INTERVAL);
                }
                samples
            });
            let result = work();
            over.store(true, Ordering::Relaxed);
            (result, sampler.join().unwrap_or_default())
        });
        self.print(&samples);
        result
    }

    fn print(&self, samples: &HashMap<u64, usize>) {
        let total: usize = samples.values().sum();
        let mut functions: HashMap<String, usize> = HashMap::new();
        for (name, count) in resolve(samples) {
            *functions.entry(name).or_default() += count;
        }
        let mut functions: Vec<_> = functions.into_iter().collect();
        functions.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        println!("---- {}: {total} samples", self.title);
        for (name, count) in functions.iter().take(SHOWN) {
            println!("{:>6.2} %  {name}", *count as f64 * 100.0 / total.max(1) as f64);
        }
    }
}

/// The program counter; `None` while the CPU halts.
fn sample(machine: &Machine) -> Option<u64> {
    machine.pause().ok()?;
    let text = machine.qmp("human-monitor-command", "{\"command-line\":\"info registers\"}");
    let resumed = machine.resume();
    let text = text.ok()?;
    resumed.ok()?;
    let after = |key: &str| text.split_once(key).map(|(_, rest)| rest);
    if after("HLT=").is_some_and(|rest| rest.starts_with('1')) {
        return None;
    }
    u64::from_str_radix(after("RIP=")?.get(..16)?, 16).ok()
}

/// Function names (innermost inlined one first) by address, from `addr2line` of binutils.
fn resolve(samples: &HashMap<u64, usize>) -> Vec<(String, usize)> {
    let (addresses, counts): (Vec<&u64>, Vec<&usize>) = samples.iter().unzip();
    let mut command = Command::new("addr2line");
    command.args(["-f", "-i", "-C", "-a", "-e"]).arg(Appliance::elf("nfs-server"));
    command.args(addresses.iter().map(|address| format!("{address:x}")));
    let Ok(output) = command.output() else { return vec![("addr2line is missing".into(), 1)] };
    let text = String::from_utf8_lossy(&output.stdout);
    // With -a each address is printed before its frames, which take two lines each: function, place.
    let mut named = Vec::new();
    for (block, count) in text.split("0x").skip(1).zip(counts) {
        let frames: Vec<&str> = block.lines().skip(1).step_by(2).map(short).collect();
        named.push((frames[..frames.len().min(3)].join(" < "), *count));
    }
    named
}

/// A path of Rust without its hash and generic arguments.
fn short(name: &str) -> &str {
    let name = name.rsplit_once("::h").map_or(name, |(name, _)| name);
    name.split_once(">>").map_or(name, |(name, _)| name)
}
