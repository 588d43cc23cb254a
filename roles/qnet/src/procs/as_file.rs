//! `/proc/<pid>/as`: what `pidin` asks of a process (section 14.2), and the part of its memory where its arguments are.

use super::entry::{Entry, Phase, Thread};
use super::table::Processes;
use crate::api::PROCESS_MANAGER;
use crate::io::{Caller, DevctlAnswer, Io, OpenFile, now, unknown_devctl};
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::io::Dcmd;
use keelson_qnet_wire::proc::{
    BlockedOn, CpuInfo, MapDebug, MapInfo, Memory, ProcInfo, Siginfo, Syspage, ThreadState, ThreadStatus,
};
use keelson_qnet_wire::{Endian, Errno};

/// Class and command of the system page.
const SYSINFO: u16 = Dcmd::PROC_SYSINFO.low16();
const INFO: u16 = Dcmd::PROC_INFO.low16();
const TIDSTATUS: u16 = Dcmd::PROC_TIDSTATUS.low16();

/// The process has ended, and nobody has waited for it (`_NTO_PF_ZOMBIE`, openqnx sys/debug.h).
pub(crate) const ZOMBIE: u32 = 0x8;
/// Nobody will (`_NTO_PF_NOZOMBIE`).
const NOZOMBIE: u32 = 0x10;

/// Where programs are: nothing is there to be read.
const PROGRAM: u64 = 0x0804_8000;
/// Where arguments and environment are.
const ARGUMENTS: u64 = 0x0800_0000;
/// Where shared objects are, and how far apart.
const OBJECTS: u64 = 0xb030_0000;
const STEP: u64 = 0x10_0000;
/// A page.
const PAGE: u64 = 4096;

/// Readable and executable, shared (openqnx sys/mman.h).
const CODE: u32 = 0x100 | 0x400 | 0x1;
/// Readable and writable, private.
const DATA: u32 = 0x100 | 0x200 | 0x2;

/// Bytes of a thread's stack; nothing is known of the real one, as a task has none.
const STACK: u32 = 8192;

/// The file.
pub(super) struct AddressSpace {
    pub processes: Processes,
    pub pid: u32,
    /// Whether the reader may see the environment.
    pub is_owner: bool,
}

impl AddressSpace {
    fn entry(&self) -> Result<Rc<Entry>, Errno> {
        self.processes.entry(self.pid).ok_or(Errno::ESRCH)
    }

    fn answer(&self, dcmd: Dcmd, data: &[u8], room: usize) -> Result<DevctlAnswer, Errno> {
        let entry = self.entry()?;
        let plain = |data: Vec<u8>| DevctlAnswer { ret_val: 0, data };
        match dcmd.low16() {
            SYSINFO => system_page(&self.processes, room),
            INFO => Ok(plain(info(&self.processes, &entry).encode(Endian::Little).to_vec())),
            Dcmd::PROC_MAPDEBUG => {
                // Without an address it is the program's own name that is asked for.
                let vaddr = match dcmd.to_device() {
                    true => MapDebug::decode(data, Endian::Little).map_err(|_| Errno::EINVAL)?.vaddr,
                    false => PROGRAM,
                };
                let maps = mappings(&self.processes, &entry);
                let found = maps.into_iter().find(|(map, _)| map.vaddr == vaddr || vaddr == 0);
                let (map, name) = found.ok_or(Errno::EINVAL)?;
                let mut bytes = MapDebug { vaddr: map.vaddr }.encode(Endian::Little).to_vec();
                bytes.extend_from_slice(name.as_bytes());
                bytes.push(0);
                Ok(plain(bytes))
            }
            TIDSTATUS => {
                let asked = data.get(4..8).and_then(|tid| tid.first_chunk()).ok_or(Errno::EINVAL)?;
                let status = status(&self.processes, &entry, i32::from_le_bytes(*asked))?;
                Ok(plain(status.encode(Endian::Little).to_vec()))
            }
            Dcmd::PROC_MAPINFO | Dcmd::PROC_PAGEDATA => {
                let maps = mappings(&self.processes, &entry);
                let records: Vec<u8> = maps.iter().flat_map(|(map, _)| map.encode(Endian::Little)).collect();
                let whole = room / MapInfo::LEN * MapInfo::LEN;
                let data = records.get(..whole.min(records.len())).unwrap_or_default().to_vec();
                Ok(DevctlAnswer { ret_val: maps.len() as i32, data })
            }
            // None: no timers, no interrupts, no channels of its own to be described.
            Dcmd::PROC_TIMERS | Dcmd::PROC_IRQS | Dcmd::PROC_CHANNELS => Ok(DevctlAnswer::default()),
            _ => Err(unknown_devctl(dcmd)),
        }
    }
}

impl OpenFile for AddressSpace {
    fn read<'a>(&'a self, offset: u64, room: &'a mut [u8]) -> Io<'a, usize> {
        now(self.entry().and_then(|entry| {
            let image = arguments(&entry, self.is_owner);
            // Nothing else is mapped.
            let start = offset.checked_sub(ARGUMENTS).and_then(|start| usize::try_from(start).ok());
            let rest = start.and_then(|start| image.get(start..)).ok_or(Errno::EFAULT)?;
            let len = rest.len().min(room.len());
            room.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            Ok(len)
        }))
    }

    fn devctl<'a>(&'a self, dcmd: Dcmd, data: &'a [u8], room: usize, _: &'a Caller) -> Io<'a, DevctlAnswer> {
        now(self.answer(dcmd, data, room))
    }
}

/// The system page. Its size is returned whether or not there is room for it.
pub(super) fn system_page(processes: &Processes, room: usize) -> Result<DevctlAnswer, Errno> {
    let system = processes.system();
    let cpus = system.cpus();
    let list: Vec<CpuInfo<'_>> = cpus
        .iter()
        .take(256)
        .map(|cpu| CpuInfo {
            cpu: cpu.model,
            speed_mhz: cpu.mhz,
            flags: CpuInfo::FPU | CpuInfo::MMU,
            name: cpu.name.as_bytes(),
        })
        .collect();
    let total = system.memory().total;
    let page = Syspage {
        machine: system.machine(),
        cpus: &list,
        memory: &[Memory { start: 0, end: total.saturating_sub(1) }],
        boot_time: u32::try_from(system.boot_time().as_secs()).unwrap_or(u32::MAX),
        // The clock counts nanoseconds.
        cycles_per_sec: 1_000_000_000,
    };
    let mut bytes = vec![0; 65_535];
    let len = page.emit(&mut bytes, Endian::Little).map_err(|_| Errno::EOVERFLOW)?;
    bytes.truncate(len);
    let ret_val = len as i32;
    bytes.truncate(room);
    Ok(DevctlAnswer { ret_val, data: bytes })
}

fn info(processes: &Processes, entry: &Entry) -> ProcInfo {
    let who = &entry.who;
    let kernel = processes.kernel();
    let relatives = relatives(processes, entry);
    let zombie = if matches!(entry.phase.get(), Phase::Ended(_)) { ZOMBIE } else { 0 };
    let nozombie = if entry.nozombie.get() { NOZOMBIE } else { 0 };
    let words = |set: u64| [set as u32, (set >> 32) as u32];
    ProcInfo {
        pid: entry.pid as i32,
        parent: entry.parent.get() as i32,
        flags: zombie | nozombie,
        umask: entry.umask,
        child: relatives.0,
        sibling: relatives.1,
        pgrp: kernel.process_group(entry.pid).unwrap_or(entry.pid) as i32,
        sid: if who.sid == 0 { 1 } else { who.sid },
        base_address: PROGRAM,
        initial_stack: ARGUMENTS,
        uid: who.ruid,
        gid: who.rgid,
        euid: who.euid,
        egid: who.egid,
        suid: who.suid,
        sgid: who.sgid,
        sig_ignore: words(entry.signals.ignored()),
        sig_pending: words(entry.signals.pending()),
        num_chancons: 0,
        num_fdcons: entry.fds.borrow().len() as u32,
        num_threads: if zombie != 0 { 0 } else { threads(entry).len() as u32 },
        start_time: u64::try_from(entry.started.as_nanos()).unwrap_or(u64::MAX),
        priority: entry.thread.get().priority,
        ..ProcInfo::default()
    }
}

/// First child, next sibling.
fn relatives(processes: &Processes, entry: &Entry) -> (i32, i32) {
    let (mut child, mut sibling) = (0, 0);
    for other in processes.all() {
        if other.parent.get() == entry.pid && child == 0 {
            child = other.pid as i32;
        }
        let is_sibling = other.parent.get() == entry.parent.get() && other.pid > entry.pid;
        if is_sibling && sibling == 0 && entry.pid != PROCESS_MANAGER {
            sibling = other.pid as i32;
        }
    }
    (child, sibling)
}

fn threads(entry: &Entry) -> Vec<Thread> {
    match &entry.service {
        Some(service) => service.threads.to_vec(),
        None => vec![entry.thread.get()],
    }
}

/// Status of the first thread whose id is at least `tid`.
fn status(processes: &Processes, entry: &Entry, tid: i32) -> Result<ThreadStatus, Errno> {
    if matches!(entry.phase.get(), Phase::Ended(_)) {
        return Err(Errno::ESRCH);
    }
    let index = usize::try_from(tid.max(1) - 1).map_err(|_| Errno::EINVAL)?;
    let mut thread = *threads(entry).get(index).ok_or(Errno::EINVAL)?;
    // Whoever waits for a reply does nothing else, whatever it is about.
    if entry.service.is_none()
        && let Some(on) = processes.kernel().waits_for(entry.pid)
    {
        thread = Thread { state: ThreadState::REPLY, on, ..thread };
    }
    let start_time = u64::try_from(entry.started.as_nanos()).unwrap_or(u64::MAX);
    let status = ThreadStatus {
        pid: entry.pid as i32,
        tid: index as i32 + 1,
        stksize: STACK,
        priority: thread.priority,
        real_priority: thread.priority,
        policy: thread.policy,
        state: thread.state,
        last_chid: if let BlockedOn::Channel(chid) = thread.on { chid } else { 0 },
        info: Siginfo::default(),
        start_time,
        ..ThreadStatus::default()
    };
    Ok(status.with_blocked_on(thread.on))
}

/// The program and its shared objects, with their names.
fn mappings(processes: &Processes, entry: &Entry) -> Vec<(MapInfo, String)> {
    let name = entry.path.trim_start_matches('/').to_string();
    let map = |vaddr, size, flags, ino| MapInfo { vaddr, size, flags, dev: 1, ino, ..MapInfo::default() };
    let mut maps =
        vec![(map(PROGRAM, PAGE, CODE, 1), name.clone()), (map(PROGRAM + PAGE, PAGE, DATA, 1), name.clone())];
    let objects = match &entry.service {
        Some(service) => (service.objects)(processes),
        None => vec!["libc.so.3".to_string()],
    };
    for (index, object) in objects.into_iter().take(64).enumerate() {
        let base = OBJECTS + STEP * index as u64;
        let ino = index as u64 + 2;
        maps.push((map(base, 16 * PAGE, CODE, ino), object.clone()));
        maps.push((map(base + 16 * PAGE, PAGE, DATA, ino), object));
    }
    maps
}

/// What a 32-bit program finds at its start: the number of arguments, pointers to them, 0, pointers to the
/// environment, 0, and the strings.
fn arguments(entry: &Entry, with_environment: bool) -> Vec<u8> {
    let environment: &[String] = if with_environment { &entry.env } else { &[] };
    let words = 3 + entry.args.len() + environment.len();
    let mut image = (entry.args.len() as u32).to_le_bytes().to_vec();
    let mut at = ARGUMENTS + 4 * words as u64;
    let mut strings = Vec::new();
    for list in [&entry.args[..], environment] {
        for text in list {
            image.extend_from_slice(&(at as u32).to_le_bytes());
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at += text.len() as u64 + 1;
        }
        image.extend_from_slice(&[0; 4]);
    }
    image.extend_from_slice(&strings);
    image
}
