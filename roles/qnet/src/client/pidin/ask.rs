//! What is asked of a node.

use super::Form;
use crate::client::file::File;
use crate::client::files::Files;
use crate::client::open::OpenFlags;
use crate::procs::ZOMBIE;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::io::Dcmd;
use keelson_qnet_wire::proc::{
    BlockedOn, MachineType, MapDebug, MapInfo, ProcInfo, SysConf, SysConfReply, SyspageView, ThreadStatus,
};
use keelson_qnet_wire::{Endian, Errno, Nd};

/// Name of a process, as a 32-bit client asks for it; and of a mapping.
const NAME: Dcmd = Dcmd(0x400c_0803);
const MAP_NAME: Dcmd = Dcmd(0xc00c_0803);
/// All mappings.
const MAPS: Dcmd = Dcmd(0x4030_0802);

/// Longest path, threads of a process, mappings, arguments: what a node may make us keep.
const NAME_MAX: usize = 1024;
const THREADS: usize = 256;
const MAPPINGS: usize = 256;
const ARGUMENTS: usize = 64;
/// Processes of a node.
const PROCESSES: usize = 4096;
/// Bytes of arguments.
const STRINGS: usize = 4096;

/// A process.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ProcessView {
    /// About it.
    pub info: ProcInfo,
    /// Path of its program.
    pub name: String,
    /// Its threads.
    pub threads: Vec<ThreadStatus>,
    /// Its arguments, if they were asked for.
    pub arguments: Vec<String>,
    /// Its mappings and their files, if they were asked for.
    pub maps: Vec<(MapInfo, String)>,
}

impl ProcessView {
    /// The program's name without directories.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it has ended, and nobody has waited for it.
    pub fn is_zombie(&self) -> bool {
        self.info.flags & ZOMBIE != 0
    }

    pub(super) fn waits_for_node(&self) -> bool {
        let remote = |on| matches!(on, BlockedOn::Connect { nd, .. } if nd.node() != Nd::LOCAL.node());
        self.threads.iter().any(|thread| remote(thread.blocked_on()))
    }
}

/// A machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineView {
    /// Family of its processors.
    pub machine: MachineType,
    /// Its processors: number, name, MHz, whether with floating point, whether with memory management.
    pub cpus: Vec<CpuView>,
    /// Memory in bytes.
    pub total: u64,
    /// Of that, not used.
    pub free: u64,
    /// When it started, in seconds since 1970.
    pub boot_time: u32,
    /// Release of its system.
    pub release: String,
    /// Processes.
    pub processes: usize,
    /// Their threads.
    pub threads: usize,
}

/// A processor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpuView {
    /// Its maker's number.
    pub number: u32,
    /// Its maker's name.
    pub name: String,
    /// Clock in MHz.
    pub mhz: u32,
    /// See [`keelson_qnet_wire::proc::CpuInfo`].
    pub flags: u32,
}

/// Ids of the processes of a node, ascending; `root` is empty or `/net/<node>`.
pub async fn process_ids(files: &Files, root: &str) -> Result<Vec<i32>, Errno> {
    let directory = files.open(&format!("{root}/proc/"), OpenFlags::READ).await?;
    let ids = ids_in(&directory).await?;
    directory.close().await?;
    Ok(ids)
}

async fn ids_in(directory: &File) -> Result<Vec<i32>, Errno> {
    let mut ids = Vec::new();
    loop {
        let items = directory.read_dir().await?;
        if items.is_empty() || ids.len() > PROCESSES {
            break;
        }
        ids.extend(items.iter().filter_map(|item| item.name.parse::<i32>().ok()).filter(|pid| *pid > 0));
    }
    ids.truncate(PROCESSES);
    ids.sort_unstable();
    Ok(ids)
}

/// A process of a node, with what a form shows of it.
pub async fn process(files: &Files, root: &str, pid: i32, form: Form) -> Result<ProcessView, Errno> {
    let file = files.open(&format!("{root}/proc/{pid}/as"), OpenFlags::READ).await?;
    let info = info_of(&file).await?;
    let mut view = ProcessView { info, ..ProcessView::default() };
    let mut room = vec![0; MapDebug::LEN + NAME_MAX];
    let (_, len) = file.devctl(NAME, &[], &mut room).await?;
    view.name = name_in(room.get(..len).unwrap_or_default());
    match form {
        Form::Arguments => view.arguments = arguments_of(&file, &view).await?,
        Form::Memory => view.maps = maps_of(&file).await?,
        _ => {}
    }
    if form != Form::Arguments && !view.is_zombie() {
        view.threads = threads_of(&file).await?;
    }
    file.close().await?;
    Ok(view)
}

fn name_in(answer: &[u8]) -> String {
    let name = answer.get(MapDebug::LEN..).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

async fn info_of(file: &File) -> Result<ProcInfo, Errno> {
    let mut room = [0; ProcInfo::LEN];
    let (_, len) = file.devctl(Dcmd::PROC_INFO, &[], &mut room).await?;
    ProcInfo::decode(room.get(..len).unwrap_or_default(), Endian::Little).map_err(|_| Errno::EPROTO)
}

/// Asked for one by one, until there is none, or one that was there before.
async fn threads_of(file: &File) -> Result<Vec<ThreadStatus>, Errno> {
    let mut threads: Vec<ThreadStatus> = Vec::new();
    let mut tid = 1;
    while threads.len() < THREADS {
        let asked = ThreadStatus { tid, ..ThreadStatus::default() }.encode(Endian::Little);
        let mut room = [0; ThreadStatus::LEN];
        let len = match file.devctl(Dcmd::PROC_TIDSTATUS, &asked, &mut room).await {
            Ok((_, len)) => len,
            Err(Errno::ESRCH | Errno::EINVAL) => break,
            Err(errno) => return Err(errno),
        };
        let status = ThreadStatus::decode(room.get(..len).unwrap_or_default(), Endian::Little);
        let status = status.map_err(|_| Errno::EPROTO)?;
        if status.tid < tid {
            break;
        }
        tid = status.tid.saturating_add(1);
        threads.push(status);
    }
    Ok(threads)
}

async fn maps_of(file: &File) -> Result<Vec<(MapInfo, String)>, Errno> {
    let mut room = vec![0; MapInfo::LEN * MAPPINGS];
    let (_, len) = file.devctl(MAPS, &[], &mut room).await?;
    let records = room.get(..len).unwrap_or_default().chunks_exact(MapInfo::LEN);
    let mut maps = Vec::new();
    for record in records {
        let map = MapInfo::decode(record, Endian::Little).map_err(|_| Errno::EPROTO)?;
        let mut room = vec![0; MapDebug::LEN + NAME_MAX];
        let asked = MapDebug { vaddr: map.vaddr }.encode(Endian::Little);
        let name = match file.devctl(MAP_NAME, &asked, &mut room).await {
            Ok((_, len)) => name_in(room.get(..len).unwrap_or_default()),
            // Not the part of a file.
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ESRCH) => continue,
            Err(errno) => return Err(errno),
        };
        maps.push((map, name));
    }
    Ok(maps)
}

/// Read from its memory: a number, pointers, and where they point. What cannot be read leaves the program's name.
async fn arguments_of(file: &File, view: &ProcessView) -> Result<Vec<String>, Errno> {
    let name = || vec![view.name.clone()];
    let mut head = vec![0; 4 * (ARGUMENTS + 1)];
    let Ok(len) = file.read_at(view.info.initial_stack, &mut head).await else { return Ok(name()) };
    let words = head.get(..len).unwrap_or_default().chunks_exact(4);
    let mut words = words.map(|word| word.first_chunk().map_or(0, |word| u32::from_le_bytes(*word)));
    let count = usize::try_from(words.next().unwrap_or(0)).unwrap_or(0).min(ARGUMENTS);
    let pointers: Vec<u32> = words.take(count).collect();
    let Some(first) = pointers.first() else { return Ok(name()) };
    // They are behind each other: one read has most of them.
    let mut strings = vec![0; STRINGS];
    let Ok(len) = file.read_at((*first).into(), &mut strings).await else { return Ok(name()) };
    let strings = strings.get(..len).unwrap_or_default();
    let text = |pointer: &u32| {
        let start = usize::try_from(pointer.checked_sub(*first)?).ok()?;
        let text = strings.get(start..)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    Ok(pointers.iter().filter_map(text).collect())
}

/// The machine of a node: its system page, its free memory, its release, and how much runs on it.
pub async fn machine(files: &Files, root: &str) -> Result<MachineView, Errno> {
    let directory = files.open(&format!("{root}/proc/"), OpenFlags::READ).await?;
    let (size, _) = directory.devctl(Dcmd::PROC_SYSINFO, &[], &mut []).await?;
    let size = usize::try_from(size).map_err(|_| Errno::EPROTO)?;
    let mut page = vec![0; size.min(65_535)];
    let (_, len) = directory.devctl(Dcmd::PROC_SYSINFO, &[], &mut page).await?;
    let page = page.get(..len).unwrap_or_default();
    let view = SyspageView::decode(page, Endian::Little).map_err(|_| Errno::EPROTO)?;
    // Only whether the byte order is another one matters.
    if directory.devctl(Dcmd(u32::MAX), &[], &mut []).await == Err(Errno::EENDIAN) {
        return Err(Errno::EENDIAN);
    }
    let cpus = view.cpus().take(256).map(|cpu| CpuView {
        number: cpu.cpu,
        name: String::from_utf8_lossy(cpu.name).into_owned(),
        mhz: cpu.speed_mhz,
        flags: cpu.flags,
    });
    let mut machine = MachineView {
        machine: view.machine,
        cpus: cpus.collect(),
        total: view.total_memory(),
        free: directory.stat().await?.size,
        boot_time: view.boot_time,
        release: release(&directory).await?,
        processes: 0,
        threads: 0,
    };
    for pid in ids_in(&directory).await? {
        let Ok(file) = files.open(&format!("{root}/proc/{pid}/as"), OpenFlags::READ).await else { continue };
        if let Ok(info) = info_of(&file).await {
            machine.processes += 1;
            machine.threads += usize::try_from(info.num_threads).unwrap_or(0);
        }
        file.close().await?;
    }
    directory.close().await?;
    Ok(machine)
}

async fn release(directory: &File) -> Result<String, Errno> {
    let ask = SysConf { cmd: SysConf::STRING, name: SysConf::RELEASE, value: 256 };
    let mut room = [0; SysConfReply::LEN + 256];
    let (_, len) = directory.connection().send(&[&ask.encode(Endian::Little)], &mut room).await?;
    let reply = room.get(..len).unwrap_or_default();
    let head = SysConfReply::decode(reply, Endian::Little).map_err(|_| Errno::EPROTO)?;
    let text = reply.get(SysConfReply::LEN..).unwrap_or_default();
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if head.matched == 0 { Ok("?".to_string()) } else { Ok(String::from_utf8_lossy(text).into_owned()) }
}
