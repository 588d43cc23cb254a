//! /proc/[pid].

use super::memory_maps::{Rollup, maps, numa_maps, smaps};
use super::proc::{line, number};
use super::status::{list, mask, ticks};
use super::text::Text;
use super::{AreaView, Content, Entries, Entry, Made, NodeView, ProcessView, ThreadView};
use crate::Errno;
use crate::files::FileType;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

type Make = fn(&dyn NodeView, &ProcessView, u32) -> Made;

/// Files of a process: name, permissions, content.
const FILES: &[(&str, u32, Make)] = &[
    ("auxv", 0o400, |_, process, _| auxiliary(process)),
    ("cgroup", 0o444, |_, _, _| line("0::/")),
    ("cmdline", 0o444, |_, process, _| strings(&process.program.arguments)),
    ("comm", 0o644, comm),
    ("cpuset", 0o444, |_, _, _| line("/")),
    ("environ", 0o400, |_, process, _| strings(&process.program.environment)),
    ("io", 0o400, io),
    ("limits", 0o444, limits),
    ("maps", 0o444, |view, process, _| by_area(view, process, maps)),
    ("numa_maps", 0o444, |view, process, _| by_area(view, process, numa_maps)),
    ("oom_score", 0o444, |_, _, _| line("0")),
    ("oom_score_adj", 0o644, |_, process, _| line(process.oom_adjust)),
    ("smaps", 0o444, |view, process, _| by_area(view, process, smaps)),
    ("smaps_rollup", 0o444, smaps_rollup),
    ("stat", 0o444, stat),
    ("statm", 0o444, statm),
    ("status", 0o444, status),
];

/// Files of a thread.
const THREAD_FILES: [&str; 3] = ["comm", "stat", "status"];

/// Namespaces, with the number that follows that of the node.
const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// Names of RLIMIT_* with their units, as /proc/[pid]/limits has them.
const LIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
];

/// What lies below the directory of a process.
pub fn find(view: &dyn NodeView, pid: u32, parts: &[&[u8]]) -> Result<Entry, Errno> {
    let process = view.process(pid).ok_or(Errno::ENOENT)?;
    let file = |name: &[u8], tid: u32| {
        let (_, permissions, make) =
            FILES.iter().find(|(file, ..)| file.as_bytes() == name).ok_or(Errno::ENOENT)?;
        Ok(Entry::File(*permissions, Content::Process(*make, pid, tid)))
    };
    match parts {
        [] => Ok(Entry::Directory(directory())),
        [b"exe"] => Ok(Entry::Link(process.program.executable.clone())),
        [b"cwd"] => Ok(Entry::Link(process.cwd)),
        [b"root"] => Ok(Entry::Link(b"/".to_vec())),
        [b"mem"] => Ok(Entry::File(0o600, Content::Memory(pid))),
        [b"pagemap"] => Ok(Entry::File(0o400, Content::PageMap(pid))),
        [b"ns"] => Ok(Entry::Directory(Entries::named(&NAMESPACES, FileType::Link))),
        [b"ns", name] => {
            let index = NAMESPACES.iter().position(|namespace| namespace.as_bytes() == *name);
            let index = index.ok_or(Errno::ENOENT)?;
            let number = view.facts().namespace.wrapping_add(index as u32);
            Ok(Entry::Link(format!("{}:[{number}]", NAMESPACES[index]).into_bytes()))
        }
        [b"fd" | b"fdinfo", rest @ ..] => descriptors(&process, parts[0], rest),
        [b"task"] => Ok(Entry::Directory(Entries::numbered(process.threads, FileType::Directory))),
        [b"task", tid, rest @ ..] => {
            let tid = number(tid).filter(|tid| process.threads.contains(tid)).ok_or(Errno::ENOENT)?;
            match rest {
                [] => {
                    let mut list = Entries::named(&THREAD_FILES, FileType::Regular);
                    list.named.push(("mem".to_string(), FileType::Regular));
                    Ok(Entry::Directory(list))
                }
                [b"mem"] => Ok(Entry::File(0o600, Content::Memory(pid))),
                [name] if THREAD_FILES.iter().any(|file| file.as_bytes() == *name) => file(name, tid),
                _ => Err(Errno::ENOENT),
            }
        }
        [name] => file(name, pid),
        _ => Err(Errno::ENOENT),
    }
}

fn directory() -> Entries {
    let mut list: Vec<_> = FILES.iter().map(|(name, ..)| (name.to_string(), FileType::Regular)).collect();
    list.extend(["mem", "pagemap"].map(|name| (name.to_string(), FileType::Regular)));
    list.extend(["fd", "fdinfo", "ns", "task"].map(|name| (name.to_string(), FileType::Directory)));
    list.extend(["cwd", "exe", "root"].map(|name| (name.to_string(), FileType::Link)));
    list.sort_by(|(one, _), (other, _)| one.cmp(other));
    Entries::from(list)
}

fn descriptors(process: &ProcessView, which: &[u8], parts: &[&[u8]]) -> Result<Entry, Errno> {
    let files = process.files.as_ref().ok_or(Errno::ENOENT)?;
    let links = which == b"fd";
    match parts {
        [] => {
            let kind = if links { FileType::Link } else { FileType::Regular };
            Ok(Entry::Directory(Entries::numbered(files.numbers()?, kind)))
        }
        [name] => {
            let fd = number(name).filter(|fd| files.get(*fd).is_ok()).ok_or(Errno::ENOENT)?;
            if links {
                return Ok(Entry::Descriptor(process.pid, fd));
            }
            Ok(Entry::File(0o400, Content::Descriptor(process.pid, fd)))
        }
        _ => Err(Errno::ENOENT),
    }
}

/// Strings, each with its zero.
fn strings(list: &[Vec<u8>]) -> Made {
    let mut out = Text::default();
    for text in list {
        out.put(text)?;
        out.put(&[0])?;
    }
    Ok(out)
}

/// The auxiliary vector as in memory.
fn auxiliary(process: &ProcessView) -> Made {
    let mut out = Text::default();
    for word in process.program.auxiliary.iter().flat_map(|(key, value)| [*key, *value]) {
        out.put(&word.to_le_bytes())?;
    }
    Ok(out)
}

/// What is written of each area.
fn by_area(
    view: &dyn NodeView,
    process: &ProcessView,
    write: fn(&mut Text, &AreaView) -> Result<(), Errno>,
) -> Made {
    let mut out = Text::default();
    view.areas(process.pid, &mut |area| write(&mut out, area))?;
    Ok(out)
}

fn smaps_rollup(view: &dyn NodeView, process: &ProcessView, _: u32) -> Made {
    let (mut out, mut sum) = (Text::default(), Rollup::default());
    view.areas(process.pid, &mut |area| {
        sum.add(area);
        Ok(())
    })?;
    sum.write(&mut out)?;
    Ok(out)
}

/// fdinfo of a descriptor (proc(5)), ENOENT when it is closed.
pub fn descriptor(process: &ProcessView, fd: u32) -> Made {
    let files = process.files.as_ref().ok_or(Errno::ENOENT)?;
    let description = files.get(fd).map_err(|_| Errno::ENOENT)?;
    let position = description.with_position(|position| *position);
    let cloexec = if files.flags(fd).map_err(|_| Errno::ENOENT)?.close_on_exec { 0o2000000 } else { 0 };
    let flags = description.flags() | cloexec;
    let inode = description.file().stat().inode;
    line(format_args!("pos:\t{position}\nflags:\t0{flags:o}\nmnt_id:\t1\nino:\t{inode}"))
}

fn thread(view: &dyn NodeView, process: &ProcessView, tid: u32) -> ThreadView {
    view.thread(process.pid, tid).unwrap_or(ThreadView { state: 'Z', ..ThreadView::default() })
}

fn comm(view: &dyn NodeView, process: &ProcessView, tid: u32) -> Made {
    let mut name = thread(view, process, tid).name;
    name.push(b'\n');
    Text::of(&name)
}

fn io(_: &dyn NodeView, process: &ProcessView, _: u32) -> Made {
    let [read, written, reads, writes] = process.io;
    line(format_args!(
        "rchar: {read}\nwchar: {written}\nsyscr: {reads}\nsyscw: {writes}\nread_bytes: 0\nwrite_bytes: 0\n\
         cancelled_write_bytes: 0"
    ))
}

fn limits(_: &dyn NodeView, process: &ProcessView, _: u32) -> Made {
    let value = |limit: u64| if limit == u64::MAX { "unlimited".to_string() } else { limit.to_string() };
    let mut out = Text::default();
    writeln!(out, "{:<25} {:<20} {:<20} {:<10}", "Limit", "Soft Limit", "Hard Limit", "Units")?;
    for ((name, unit), (soft, hard)) in LIMITS.iter().zip(process.limits) {
        writeln!(out, "{name:<25} {:<20} {:<20} {unit:<10}", value(soft), value(hard))?;
    }
    Ok(out)
}

fn stat(view: &dyn NodeView, process: &ProcessView, tid: u32) -> Made {
    let own = thread(view, process, tid);
    let whole = tid == process.pid;
    let times = match whole {
        true => process
            .threads
            .iter()
            .filter_map(|tid| view.thread(process.pid, *tid))
            .fold((core::time::Duration::ZERO, core::time::Duration::ZERO), |(user, system), thread| {
                (user + thread.times.0, system + thread.times.1)
            }),
        false => own.times,
    };
    let mut out = Text::default();
    write!(out, "{tid} (")?;
    out.put(&own.name)?;
    let (children_user, children_system) = process.children_times;
    writeln!(
        out,
        ") {} {} {} {} 0 -1 0 {} 0 {} 0 {} {} {} {} {} {} {} 0 {} {} {} {} 0 0 0 0 0 {} {} {} {} 0 0 0 17 {} {} {} 0 \
         0 0 0 0 0 0 0 0 0 0",
        own.state,
        process.parent,
        process.group,
        process.session,
        process.faults.0,
        process.faults.1,
        ticks(times.0),
        ticks(times.1),
        ticks(children_user),
        ticks(children_system),
        if own.policy.is_real_time() {
            -1 - i64::from(own.policy.priority)
        } else {
            20 + i64::from(own.policy.nice)
        },
        own.policy.nice,
        process.threads.len(),
        ticks(process.started),
        process.memory.size,
        process.memory.resident / 4096,
        process.limits[5].0,
        process.pending as u32 & 0x7fff_ffff,
        own.blocked as u32 & 0x7fff_ffff,
        process.ignored as u32 & 0x7fff_ffff,
        process.caught as u32 & 0x7fff_ffff,
        own.cpu,
        own.policy.priority,
        own.policy.policy,
    )?;
    Ok(out)
}

fn statm(view: &dyn NodeView, process: &ProcessView, _: u32) -> Made {
    let pages = |bytes: u64| bytes / 4096;
    let (files, shared) = view.of_objects(process.pid);
    let memory = &process.memory;
    line(format!(
        "{} {} {} {} 0 {} 0",
        pages(memory.size),
        pages(memory.resident),
        pages(files + shared),
        pages(memory.text),
        pages(memory.data + memory.stack),
    ))
}

fn status(view: &dyn NodeView, process: &ProcessView, tid: u32) -> Made {
    let own = thread(view, process, tid);
    let state = match own.state {
        'R' => "R (running)",
        'D' => "D (disk sleep)",
        'T' => "T (stopped)",
        'Z' => "Z (zombie)",
        _ => "S (sleeping)",
    };
    let row = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join("\t");
    let highest = process.files.as_ref().and_then(|files| files.highest());
    let slots = highest.map_or(64, |last| (last + 1).next_multiple_of(64));
    let mut out = Text::default();
    out.put(b"Name:\t")?;
    out.put(&own.name)?;
    write!(
        out,
        "\nUmask:\t{:04o}\nState:\t{state}\nTgid:\t{}\nNgid:\t0\nPid:\t{tid}\nPPid:\t{}\nTracerPid:\t0\n\
         Uid:\t{}\nGid:\t{}\nFDSize:\t{slots}\nGroups:\t",
        process.umask,
        process.pid,
        process.parent,
        row(&process.uids),
        row(&process.gids),
    )?;
    for group in process.groups.iter() {
        write!(out, "{group} ")?;
    }
    out.put(b"\n")?;
    let memory = &process.memory;
    let (files, shared) = view.of_objects(process.pid);
    let amounts = [
        ("VmPeak", memory.peak_size),
        ("VmSize", memory.size),
        ("VmLck", memory.locked),
        ("VmPin", 0),
        ("VmHWM", memory.peak_resident),
        ("VmRSS", memory.resident),
        ("RssAnon", memory.resident.saturating_sub(files + shared)),
        ("RssFile", files),
        ("RssShmem", shared),
        ("VmData", memory.data),
        ("VmStk", memory.stack),
        ("VmExe", memory.text),
        ("VmLib", 0),
        ("VmPTE", memory.tables),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    ];
    for (name, bytes) in amounts {
        writeln!(out, "{name}:\t{:>8} kB", bytes >> 10)?;
    }
    let (cpus, nodes) = (view.cpu_count(), view.memory().len());
    write!(
        out,
        "CoreDumping:\t0\nTHP_enabled:\t1\nThreads:\t{}\nSigQ:\t0/{}\nSigPnd:\t{:016x}\nShdPnd:\t{:016x}\n\
         SigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}\nCapInh:\t{z}\nCapPrm:\t{z}\nCapEff:\t{z}\n\
         CapBnd:\t{z}\nCapAmb:\t{z}\nNoNewPrivs:\t{}\nSeccomp:\t0\nSeccomp_filters:\t0\n\
         Cpus_allowed:\t{}\nCpus_allowed_list:\t{}\nMems_allowed:\t{}\nMems_allowed_list:\t{}\n\
         voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n",
        process.threads.len(),
        process.limits[11].0.min(i64::MAX as u64),
        own.pending,
        process.pending,
        own.blocked,
        process.ignored,
        process.caught,
        u8::from(process.no_new_privileges),
        mask(&own.cpus, cpus),
        list(&own.cpus),
        mask(&own.memory_nodes, nodes),
        list(&own.memory_nodes),
        own.switches.0,
        own.switches.1,
        z = "0000000000000000",
    )?;
    Ok(out)
}
