//! The text of `pidin`, column by column.

use super::Form;
use super::ask::{CpuView, MachineView, ProcessView};
use crate::client::file::DirItem;
use crate::client::zone::Zone;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use keelson_qnet_wire::proc::{BlockedOn, CpuInfo, MachineType, ThreadState, ThreadStatus};
use keelson_qnet_wire::{Errno, Nd};

/// Bytes of a name that are shown: the last ones.
const NAME: usize = 18;
/// Bytes of a node's name that are shown.
const NODE: usize = 15;
/// The mapping can be executed (`PROT_EXEC`).
const EXECUTABLE: u32 = 0x400;

pub(super) fn heading(form: Form) -> &'static str {
    match form {
        Form::Arguments => "     pid Arguments\n",
        Form::Memory => "     pid tid name               prio STATE            code  data        stack\n",
        _ => "     pid tid name               prio STATE       Blocked\n",
    }
}

/// The last bytes, from the start of a character on.
fn tail(text: &str, most: usize) -> &str {
    let mut start = text.len().saturating_sub(most);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).unwrap_or_default()
}

fn state_name(state: u8) -> String {
    let name = match state {
        0 => "DEAD",
        ThreadState::RUNNING => "RUNNING",
        ThreadState::READY => "READY",
        ThreadState::STOPPED => "STOPPED",
        ThreadState::SEND => "SEND",
        ThreadState::RECEIVE => "RECEIVE",
        ThreadState::REPLY => "REPLY",
        7 => "STACK",
        8 => "WAITTHREAD",
        9 => "WAITPAGE",
        ThreadState::SIGSUSPEND => "SIGSUSPEND",
        ThreadState::SIGWAITINFO => "SIGWAITINFO",
        ThreadState::NANOSLEEP => "NANOSLEEP",
        ThreadState::MUTEX => "MUTEX",
        ThreadState::CONDVAR => "CONDVAR",
        ThreadState::JOIN => "JOIN",
        ThreadState::INTR => "INTR",
        ThreadState::SEM => "SEM",
        18 => "WAITCTX",
        ThreadState::NET_SEND => "NET_SEND",
        ThreadState::NET_REPLY => "NET_REPLY",
        other => return other.to_string(),
    };
    name.to_string()
}

/// Process, thread, name, priority, state.
fn front(view: &ProcessView, thread: &ThreadStatus) -> String {
    let name = tail(&view.name, NAME);
    let policy = match thread.policy {
        1 => 'f',
        2 => 'r',
        4 => 's',
        _ => 'o',
    };
    let (pid, tid, priority) = (view.info.pid, thread.tid, thread.priority);
    format!("{pid:>8} {tid:>3} {name:<18} {priority:>3}{policy} {:<11}", state_name(thread.state))
}

pub(super) fn thread_lines(view: &ProcessView, nodes: &[DirItem]) -> String {
    if view.is_zombie() {
        let (pid, name) = (view.info.pid, tail(&view.name, NAME));
        return format!("{pid:>8}   1 {name:<18}      (Zombie)\n");
    }
    let line = |thread: &ThreadStatus| {
        let blocked = match thread.blocked_on() {
            BlockedOn::Channel(chid) => chid.to_string(),
            BlockedOn::Connect { nd, pid, .. } => match node_name(nd, nodes) {
                Some(node) => format!("{pid}@{node}"),
                None => pid.to_string(),
            },
            BlockedOn::Other => String::new(),
        };
        let line = format!("{} {blocked}", front(view, thread));
        format!("{}\n", line.trim_end())
    };
    view.threads.iter().map(line).collect()
}

/// By the serial numbers of `/net`, of which the low 16 bits count; the number itself where it is not listed.
fn node_name(nd: Nd, nodes: &[DirItem]) -> Option<String> {
    if nd.node() == 0 {
        return None;
    }
    let known = nodes.iter().find(|item| item.ino & 0xffff == u64::from(nd.node()));
    Some(known.map_or_else(|| nd.node().to_string(), |item| item.name.clone()))
}

pub(super) fn memory_lines(view: &ProcessView) -> String {
    let (mut code, mut data) = (0, 0);
    // Objects by address of their code, with the size of their data.
    let mut objects: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for (map, name) in &view.maps {
        let is_code = map.flags & EXECUTABLE != 0;
        if *name == view.name {
            *(if is_code { &mut code } else { &mut data }) += map.size;
            continue;
        }
        let object = objects.entry(name).or_insert((map.vaddr, 0, 0));
        object.0 = object.0.min(map.vaddr);
        *(if is_code { &mut object.1 } else { &mut object.2 }) += map.size;
    }
    let mut text = String::new();
    for thread in &view.threads {
        let stack = format!("{}({})", size(thread.stksize.into()), size(thread.stksize.into()));
        let (front, code, data) = (front(view, thread), size(code), size(data));
        text.push_str(&format!("{front} {code:>9} {data:>5} {stack:>11}\n"));
    }
    let mut objects: alloc::vec::Vec<_> = objects.into_iter().collect();
    objects.sort_by_key(|(_, (address, ..))| *address);
    for (name, (address, code, data)) in objects {
        let name = tail(name.rsplit('/').next().unwrap_or_default(), NAME);
        text.push_str(&format!(
            "            {name:<18} @{address:<8x} {:>16} {:>5}\n",
            size(code),
            size(data)
        ));
    }
    text
}

/// A size of at most four digits: bytes, K, M, ...
fn size(bytes: u64) -> String {
    let (number, unit) = scaled(bytes);
    format!("{number}{unit}")
}

fn scaled(bytes: u64) -> (u64, &'static str) {
    let mut number = bytes;
    for unit in ["", "K", "M", "G", "T"] {
        if number < 10_000 {
            return (number, unit);
        }
        number /= 1024;
    }
    (number, "P")
}

fn memory(machine: &MachineView) -> String {
    let part = |bytes| {
        let (number, unit) = scaled(bytes);
        format!("{number}{unit}b")
    };
    format!("{}/{}", part(machine.free), part(machine.total))
}

fn family(machine: MachineType) -> String {
    machine.name().map_or_else(|| format!("Unknown({})", machine.0), ToString::to_string)
}

fn boot_time(machine: &MachineView, zone: &Zone) -> String {
    match machine.boot_time {
        0 => "------------------------".to_string(),
        time => zone.local(time.into()).format("%b %d %T %Z %Y"),
    }
}

pub(super) fn info_lines(machine: &MachineView, zone: &Zone) -> String {
    let mut text = format!(
        "CPU:{} Release:{:<7}FreeMem:{} BootTime:{}\n{}",
        family(machine.machine),
        machine.release,
        memory(machine),
        boot_time(machine, zone),
        counts(machine),
    );
    for (index, cpu) in machine.cpus.iter().enumerate() {
        let line =
            format!("Processor{}: {} {} {}MHz {}", index + 1, cpu.number, cpu.name, cpu.mhz, features(cpu));
        text.push_str(&format!("{}\n", line.trim_end()));
    }
    text
}

fn features(cpu: &CpuView) -> String {
    let fpu = if cpu.flags & CpuInfo::FPU != 0 { "FPU " } else { "" };
    let physical = if cpu.flags & CpuInfo::MMU == 0 { "Physical " } else { "" };
    format!("{fpu}{physical}")
}

pub(super) fn counts(machine: &MachineView) -> String {
    format!("Processes: {}, Threads: {}\n", machine.processes, machine.threads)
}

pub(super) fn cpu_line((index, cpu): (usize, &CpuView)) -> String {
    let line = format!(
        "           CPU {}: {:>10} {:<20} {:>6}MHz {}",
        index + 1,
        cpu.number,
        cpu.name,
        cpu.mhz,
        features(cpu)
    );
    format!("{}\n", line.trim_end())
}

pub(super) fn net_heading() -> String {
    format!(" {:<4}  {:<15} {:<10}{:<8}{:<14}{}\n", "ND", "Node", "CPU", "Release", "FreeMem", "BootTime")
}

/// The line of a node: about its machine, or why nothing is known of that.
pub(super) fn net_line(node: &DirItem, machine: Result<(&MachineView, &Zone), Errno>) -> String {
    let mut end = node.name.len().min(NODE);
    while !node.name.is_char_boundary(end) {
        end -= 1;
    }
    let name = node.name.get(..end).unwrap_or_default();
    let front = format!(" {:<4}  {name:<15} ", node.ino);
    match machine {
        Ok((machine, zone)) => {
            let cpu = format!("{:>2} {} ", machine.cpus.len(), family(machine.machine));
            let (release, memory) = (&machine.release, memory(machine));
            format!("{front}{cpu}   {release:<8}{memory:<14}{}\n", boot_time(machine, zone))
        }
        Err(errno) => format!("{front}{}\n", errno.message().unwrap_or("unknown error")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(
            [size(0), size(8192), size(9_999), size(10_000), size(452 << 10)],
            ["0", "8192", "9999", "9K", "452K"]
        );
        assert_eq!(size(256 << 20), "256M");
        assert_eq!(size(u64::MAX), "16383P");
    }

    #[test]
    fn names_are_cut_at_the_front() {
        assert_eq!(tail("proc/boot/devc-ser8250", 18), "/boot/devc-ser8250");
        assert_eq!(tail("häää", 4), "ää");
    }

    #[test]
    fn columns_are_under_their_headings() {
        let thread = ThreadStatus { tid: 1, priority: 10, policy: 2, ..ThreadStatus::default() };
        let on = BlockedOn::Connect { nd: Nd(1 << 16 | 4), pid: 1, coid: 0, chid: 1, scoid: 0 };
        let thread = ThreadStatus { state: ThreadState::REPLY, ..thread }.with_blocked_on(on);
        let view = ProcessView { name: "bin/cat".into(), threads: [thread].into(), ..ProcessView::default() };
        let nodes = [DirItem { name: "beta".into(), ino: 4, offset: 1 }];
        let text = thread_lines(&view, &nodes);
        assert_eq!(text, "       0   1 bin/cat             10r REPLY       1@beta\n");
        let head = heading(Form::Threads);
        for (column, value) in [("name", "bin/cat"), ("STATE", "REPLY"), ("Blocked", "1@beta")] {
            assert_eq!(head.find(column), text.find(value), "{column}");
        }
    }
}
