//! /proc: files of the node. Those of processes are in [`process`].

use super::status::{kilobytes, ticks};
use super::text::Text;
use super::{Content, Entries, Entry, Looker, Made, NodeView, process, sysvipc};
use crate::Errno;
use crate::files::FileType;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{Display, Write};

type Make = fn(&dyn NodeView, Looker) -> Made;

/// Files of /proc itself.
const ROOT: &[(&str, Make)] = &[
    ("cmdline", |view, _| line(view.facts().command_line)),
    ("cpuinfo", cpuinfo),
    ("filesystems", |_, _| line("nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc")),
    ("interrupts", interrupts),
    ("loadavg", loadavg),
    ("mckernel", |_, _| Ok(Text::default())),
    ("meminfo", meminfo),
    ("stat", stat),
    ("uptime", uptime),
    ("version", |view, _| {
        let facts = view.facts();
        line(format!("Linux version {} ({}) {}", facts.release, "keelson", facts.version))
    }),
    ("vmstat", vmstat),
];

/// Files of /proc/sys.
const SYSCTL: &[(&str, Make)] = &[
    ("fs/file-max", |_, _| line("9223372036854775807")),
    ("fs/nr_open", |_, _| line("1048576")),
    ("fs/pipe-max-size", |_, _| line("1048576")),
    // Nobody's pipes are limited.
    ("fs/pipe-user-pages-hard", |_, _| line("0")),
    ("fs/pipe-user-pages-soft", |_, _| line("0")),
    ("kernel/cap_last_cap", |_, _| line("40")),
    // As mcexec names core files.
    ("kernel/core_pattern", |_, _| line("core.%p")),
    ("kernel/core_uses_pid", |_, _| line("1")),
    ("kernel/domainname", |_, _| line("(none)")),
    ("kernel/hostname", |view, _| line(view.facts().name)),
    ("kernel/msgmax", |_, _| line(crate::sysv::MESSAGE_MOST)),
    ("kernel/msgmnb", |_, _| line(crate::sysv::QUEUE_BYTES)),
    ("kernel/msgmni", |_, _| line(crate::sysv::QUEUES_MOST)),
    ("kernel/ngroups_max", |_, _| line("65536")),
    ("kernel/numa_balancing", |_, _| line("0")),
    ("kernel/osrelease", |view, _| line(view.facts().release)),
    ("kernel/ostype", |_, _| line("Linux")),
    ("kernel/pid_max", |view, _| line(view.facts().pid_max)),
    ("kernel/random/boot_id", |view, _| line(uuid(view.facts().boot_id))),
    ("kernel/random/uuid", |view, _| line(uuid(view.random()))),
    ("kernel/randomize_va_space", |_, _| line("0")),
    ("kernel/sem", |_, _| line("32000\t1024000000\t500\t32000")),
    ("kernel/shm_rmid_forced", |view, _| line(u8::from(view.facts().shm_rmid_forced))),
    ("kernel/shmall", |view, _| line(view.facts().shm_pages)),
    ("kernel/shmmax", |_, _| line(crate::mm::SEGMENT_MOST)),
    ("kernel/shmmni", |_, _| line(crate::mm::SEGMENTS_MOST)),
    ("kernel/tainted", |_, _| line("0")),
    ("kernel/threads-max", |view, _| line(view.facts().threads_max)),
    ("kernel/version", |view, _| line(view.facts().version)),
    ("kernel/yama/ptrace_scope", |_, _| line("0")),
    ("vm/max_map_count", |_, _| line("65530")),
    ("vm/mmap_min_addr", |_, _| line("65536")),
    ("vm/nr_hugepages", |_, _| line("0")),
    ("vm/overcommit_memory", |_, _| line("1")),
];

/// Files of /proc/sysvipc.
const SYSVIPC: [(&str, Make); 3] = [
    ("msg", |view, _| sysvipc::queues(view)),
    ("sem", |view, _| sysvipc::semaphores(view)),
    ("shm", |view, _| sysvipc::segments(view)),
];

/// What lies at a path.
pub fn find(view: &dyn NodeView, looker: Looker, parts: &[&[u8]]) -> Result<Entry, Errno> {
    let file = |files: &[(&str, Make)], name: &[u8]| {
        let (_, make) = files.iter().find(|(file, _)| file.as_bytes() == name)?;
        Some(Entry::File(0o444, Content::Node(*make)))
    };
    match parts {
        [] => root(view).map(Entry::Directory),
        [b"self"] => Ok(Entry::Link(looker.pid.to_string().into_bytes())),
        [b"thread-self"] => Ok(Entry::Link(format!("{}/task/{}", looker.pid, looker.tid).into_bytes())),
        [b"sys", rest @ ..] => sysctl(rest).ok_or(Errno::ENOENT),
        [b"sysvipc"] => {
            Ok(Entry::Directory(Entries::named(&SYSVIPC.map(|(name, _)| name), FileType::Regular)))
        }
        [b"sysvipc", name] => file(&SYSVIPC, name).ok_or(Errno::ENOENT),
        [name] if let Some(file) = file(ROOT, name) => Ok(file),
        [pid, rest @ ..] => process::find(view, number(pid).ok_or(Errno::ENOENT)?, rest),
    }
}

fn root(view: &dyn NodeView) -> Result<Entries, Errno> {
    let mut list = Entries::numbered(view.processes()?, FileType::Directory);
    list.named.extend(ROOT.iter().map(|(name, _)| (name.to_string(), FileType::Regular)));
    list.named
        .extend(["mounts", "net", "self", "thread-self"].map(|name| (name.to_string(), FileType::Link)));
    list.named.extend(["sys", "sysvipc"].map(|name| (name.to_string(), FileType::Directory)));
    Ok(list)
}

fn sysctl(parts: &[&[u8]]) -> Option<Entry> {
    let path = String::from_utf8(parts.join(&b'/')).ok()?;
    if let Some((_, make)) = SYSCTL.iter().find(|(file, _)| *file == path) {
        return Some(Entry::File(0o444, Content::Node(*make)));
    }
    let mut list: Vec<(String, FileType)> = Vec::new();
    for (file, _) in SYSCTL {
        let below = match path.is_empty() {
            true => Some(*file),
            false => file.strip_prefix(&path).and_then(|rest| rest.strip_prefix('/')),
        };
        let Some(below) = below else { continue };
        let (name, kind) = match below.split_once('/') {
            Some((name, _)) => (name, FileType::Directory),
            None => (below, FileType::Regular),
        };
        if list.iter().all(|(other, _)| other != name) {
            list.push((name.to_string(), kind));
        }
    }
    (!list.is_empty()).then_some(Entry::Directory(Entries::from(list)))
}

/// A decimal number as the kernel writes it: no sign, no zeros in front.
pub fn number(text: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(text).ok()?;
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Text with its end of line.
pub fn line(text: impl Display) -> Made {
    let mut out = Text::default();
    writeln!(out, "{text}")?;
    Ok(out)
}

fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Version 4, variant 1 (RFC 9562).
        let byte = match index {
            6 => byte & 0x0f | 0x40,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn cpuinfo(view: &dyn NodeView, _: Looker) -> Made {
    let (mut out, cpus, facts) = (Text::default(), view.cpus()?, view.facts());
    for (number, cpu) in cpus.iter().enumerate() {
        let in_package = || cpus.iter().filter(|other| other.package == cpu.package);
        let siblings = in_package().count();
        let mut cores: Vec<u32> = in_package().map(|other| other.core).collect();
        cores.sort_unstable();
        cores.dedup();
        let (family, model, stepping) = cpu.family;
        let megahertz = facts.tsc_hertz / 1_000_000;
        let cache =
            cpu.caches.iter().map(|cache| (cache.level, cache.size)).max().map_or(0, |(_, size)| size);
        let flags = cpu.flags.join(" ");
        let line = cpu.caches.first().map_or(64, |cache| cache.line);
        write!(
            out,
            "processor\t: {number}\nvendor_id\t: {}\ncpu family\t: {family}\nmodel\t\t: {model}\n\
             model name\t: {}\nstepping\t: {stepping}\ncpu MHz\t\t: {megahertz}.{:03}\n\
             cache size\t: {} KB\nphysical id\t: {}\nsiblings\t: {siblings}\ncore id\t\t: {}\n\
             cpu cores\t: {}\napicid\t\t: {}\ninitial apicid\t: {}\nfpu\t\t: yes\nfpu_exception\t: yes\n\
             cpuid level\t: 13\nwp\t\t: yes\nflags\t\t: {flags}\nbugs\t\t:\nbogomips\t: {}.{:02}\n\
             clflush size\t: {line}\ncache_alignment\t: {line}\n\
             address sizes\t: {} bits physical, {} bits virtual\npower management:\n\n",
            cpu.vendor,
            cpu.model_name,
            facts.tsc_hertz / 1000 % 1000,
            cache >> 10,
            cpu.package,
            cpu.core,
            cores.len(),
            cpu.apic,
            cpu.apic,
            facts.tsc_hertz / 500_000,
            facts.tsc_hertz / 5000 % 100,
            cpu.address_bits.0,
            cpu.address_bits.1,
        )?;
    }
    Ok(out)
}

fn meminfo(view: &dyn NodeView, _: Looker) -> Made {
    let memory = view.memory();
    let sum = |of: fn(&super::NumaView) -> u64| memory.iter().map(of).sum::<u64>();
    let (total, free, cached) = (sum(|m| m.total), sum(|m| m.free), sum(|m| m.cached));
    let (anonymous, shared) = (sum(|m| m.anonymous), sum(|m| m.shared));
    let fields: [(&str, u64); 26] = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free + cached),
        ("Buffers", 0),
        ("Cached", cached + shared),
        ("SwapCached", 0),
        ("Active", anonymous),
        ("Inactive", cached),
        ("Active(anon)", anonymous),
        ("Inactive(anon)", 0),
        ("Active(file)", 0),
        ("Inactive(file)", cached),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", anonymous),
        ("Mapped", cached + shared),
        ("Shmem", shared),
        ("Slab", 0),
        ("KernelStack", 0),
        ("PageTables", 0),
        ("CommitLimit", total),
        ("Committed_AS", total - free.min(total)),
    ];
    let mut out = Text::default();
    for (name, bytes) in fields {
        kilobytes(&mut out, name, bytes)?;
    }
    write!(
        out,
        "VmallocTotal:   34359738367 kB\nVmallocUsed:           0 kB\nVmallocChunk:          0 kB\n\
         HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\n\
         HugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n"
    )?;
    Ok(out)
}

fn stat(view: &dyn NodeView, _: Looker) -> Made {
    let (mut out, cpus) = (Text::default(), view.cpus()?);
    let sum =
        |of: fn(&super::CpuView) -> core::time::Duration| cpus.iter().map(|cpu| ticks(of(cpu))).sum::<u64>();
    let (user, system, idle) = (sum(|c| c.times.0), sum(|c| c.times.1), sum(|c| c.times.2));
    writeln!(out, "cpu  {user} 0 {system} {idle} 0 0 0 0 0 0")?;
    for (number, cpu) in cpus.iter().enumerate() {
        let (user, system, idle) = (ticks(cpu.times.0), ticks(cpu.times.1), ticks(cpu.times.2));
        writeln!(out, "cpu{number} {user} 0 {system} {idle} 0 0 0 0 0 0")?;
    }
    let interrupts: u64 = view.interrupts().iter().map(|core| core.timer + core.device + core.doorbell).sum();
    let counts = view.counts();
    let (running, blocked) = (in_state(view, 'R')?, in_state(view, 'D')?);
    write!(
        out,
        "intr {interrupts}\nctxt {}\nbtime {}\nprocesses {}\nprocs_running {running}\nprocs_blocked {blocked}\n\
         softirq 0 0 0 0 0 0 0 0 0 0 0\n",
        counts.switches,
        view.facts().booted.as_secs(),
        counts.forks,
    )?;
    Ok(out)
}

/// What vmstat(8) and its relatives read. Nothing is ever paged: those counters stay at zero.
fn vmstat(view: &dyn NodeView, _: Looker) -> Made {
    let memory = view.memory();
    let pages = |of: fn(&super::NumaView) -> u64| memory.iter().map(of).sum::<u64>() / 4096;
    let faults: u64 = view.interrupts().iter().map(|core| core.page_faults).sum();
    let fields = [
        ("nr_free_pages", pages(|node| node.free)),
        ("nr_anon_pages", pages(|node| node.anonymous)),
        ("nr_mapped", pages(|node| node.cached + node.shared)),
        ("nr_file_pages", pages(|node| node.cached + node.shared)),
        ("nr_dirty", 0),
        ("nr_writeback", 0),
        ("nr_shmem", pages(|node| node.shared)),
        ("pgpgin", 0),
        ("pgpgout", 0),
        ("pswpin", 0),
        ("pswpout", 0),
        ("pgfault", faults),
        ("pgmajfault", 0),
    ];
    let mut out = Text::default();
    for (name, value) in fields {
        writeln!(out, "{name} {value}")?;
    }
    Ok(out)
}

/// Threads in a state.
fn in_state(view: &dyn NodeView, state: char) -> Result<usize, Errno> {
    let threads = view.processes()?.into_iter().filter_map(|pid| view.process(pid));
    let states = threads.flat_map(|process| {
        let pid = process.pid;
        process.threads.into_iter().filter_map(move |tid| view.thread(pid, tid))
    });
    Ok(states.filter(|thread| thread.state == state).count())
}

fn uptime(view: &dyn NodeView, _: Looker) -> Made {
    let (up, idle) = view.uptime();
    let seconds = |span: core::time::Duration| format!("{}.{:02}", span.as_secs(), span.subsec_millis() / 10);
    line(format!("{} {}", seconds(up), seconds(idle)))
}

fn loadavg(view: &dyn NodeView, _: Looker) -> Made {
    // A compute core runs its thread or rests: the load is what runs now.
    let running = in_state(view, 'R')?;
    let processes = view.processes()?;
    let last = processes.last().copied().unwrap_or(0);
    line(format!("{running}.00 {running}.00 {running}.00 {running}/{} {last}", processes.len()))
}

fn interrupts(view: &dyn NodeView, _: Looker) -> Made {
    use keelson_hal::user::CoreEntries;
    type Count = fn(&CoreEntries) -> u64;
    const ROWS: [(&str, Count, &str); 7] = [
        ("NMI", |core| core.nmi, "Non-maskable interrupts"),
        ("LOC", |core| core.timer, "Local timer interrupts"),
        ("SPU", |core| core.spurious, "Spurious interrupts"),
        ("DEV", |core| core.device, "Device interrupts"),
        ("RES", |core| core.doorbell, "Rescheduling interrupts"),
        ("CAL", |core| core.kick, "Function call interrupts"),
        ("TLB", |core| core.shootdown, "TLB shootdowns"),
    ];
    let (mut out, cores) = (Text::default(), view.interrupts());
    out.put(b"     ")?;
    for number in 0..cores.len() {
        write!(out, "{:>11}", format!("CPU{number}"))?;
    }
    out.put(b"\n")?;
    for (name, count, text) in ROWS {
        write!(out, "{name:>4}:")?;
        for core in &cores {
            write!(out, " {:>10}", count(core))?;
        }
        writeln!(out, "   {text}")?;
    }
    Ok(out)
}
