//! What /proc and /sys need to know of the node.

use crate::Errno;
use crate::files::FdTable;
use crate::mm::{Mm, SegmentView};
use crate::process::Program;
use crate::sched::Policy;
use crate::sysv::{Permission, QueueStat};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_hal::user::CoreEntries;

/// Is shown one after the other of what there may be many of, as long as it succeeds.
pub type Each<'a, T> = &'a mut dyn FnMut(&T) -> Result<(), Errno>;

/// The node as programs may see it: its partition, never what lies outside.
pub trait NodeView: Send + Sync {
    /// What does not change while the node runs.
    fn facts(&self) -> NodeFacts;

    /// The kernel has hardly any memory left: what stays is not made.
    fn is_short(&self) -> bool;

    /// Compute cores in the order of their logical numbers; ENOMEM.
    fn cpus(&self) -> Result<Vec<CpuView>, Errno>;

    /// How many there are.
    fn cpu_count(&self) -> usize;

    /// NUMA nodes.
    fn memory(&self) -> Vec<NumaView>;

    /// What interrupted each logical CPU.
    fn interrupts(&self) -> Vec<CoreEntries>;

    /// Time since boot, and in which the logical CPUs together had nothing to do.
    fn uptime(&self) -> (Duration, Duration);

    /// What happened since boot.
    fn counts(&self) -> NodeCounts;

    /// System V shared memory.
    fn segments(&self, each: Each<'_, SegmentView>) -> Result<(), Errno>;

    /// System V semaphores.
    fn semaphores(&self, each: Each<'_, SetView>) -> Result<(), Errno>;

    /// System V queues of messages.
    fn queues(&self, each: Each<'_, QueueView>) -> Result<(), Errno>;

    /// Processes, in order; ENOMEM.
    fn processes(&self) -> Result<Vec<u32>, Errno>;

    /// A process.
    fn process(&self, pid: u32) -> Option<ProcessView>;

    /// A thread of a process.
    fn thread(&self, pid: u32, tid: u32) -> Option<ThreadView>;

    /// Areas of the memory of a process, by address.
    fn areas(&self, pid: u32, each: Each<'_, AreaView>) -> Result<(), Errno>;

    /// Bytes in memory of files, and of shared memory, that a process has mapped.
    fn of_objects(&self, pid: u32) -> (u64, u64);

    /// The memory of a process.
    fn mm(&self, pid: u32) -> Option<Arc<Mm>>;

    /// A process or thread writes to one of its files: `comm`, `oom_score_adj`.
    fn write(&self, pid: u32, tid: u32, file: &str, text: &[u8]) -> Result<(), Errno>;

    /// Random bytes for /proc/sys/kernel/random/uuid.
    fn random(&self) -> [u8; 16];
}

/// What does not change.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    /// `uname -n`.
    pub name: String,
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// Command line of the kernel.
    pub command_line: String,
    /// Another one at each boot, and on each node.
    pub boot_id: [u8; 16],
    /// Number of the namespaces of this node: distinguishes nodes.
    pub namespace: u32,
    /// Time of boot, since 1970.
    pub booted: Duration,
    /// Cycles of the time stamp counter per second.
    pub tsc_hertz: u64,
    /// Sizes of large pages that can be had, in bytes.
    pub large_pages: Vec<u64>,
    /// Highest process id.
    pub pid_max: u32,
    /// Most threads.
    pub threads_max: u32,
    /// Most pages of System V segments.
    pub shm_pages: u64,
    /// Those that nobody has attached any more go by themselves.
    pub shm_rmid_forced: bool,
}

/// What happened since boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeCounts {
    /// Threads left a core.
    pub switches: u64,
    /// Threads began, first ones of processes too.
    pub forks: u64,
}

/// A set of semaphores.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetView {
    /// Its identifier.
    pub id: u32,
    /// Its permissions.
    pub permission: Permission,
    /// Semaphores.
    pub count: usize,
    /// Last operation and last change, in seconds since 1970.
    pub times: (i64, i64),
}

/// A queue of messages.
#[derive(Clone, Copy, Debug)]
pub struct QueueView {
    /// Its identifier.
    pub id: u32,
    /// Its permissions.
    pub permission: Permission,
    /// What `IPC_STAT` tells.
    pub stat: QueueStat,
}

/// A logical CPU.
#[derive(Clone, Debug, Default)]
pub struct CpuView {
    /// NUMA node, as numbered in [`NodeView::memory`].
    pub numa: usize,
    /// Package, die and core (physical numbers).
    pub package: u32,
    /// Die in the package.
    pub die: u32,
    /// Core in the package.
    pub core: u32,
    /// APIC id.
    pub apic: u32,
    /// CPUID leaf 0: vendor.
    pub vendor: String,
    /// Family, model, stepping.
    pub family: (u32, u32, u32),
    /// Brand string.
    pub model_name: String,
    /// Names of features, as /proc/cpuinfo has them.
    pub flags: Arc<[String]>,
    /// Address bits: physical and virtual.
    pub address_bits: (u32, u32),
    /// Caches from the first level on.
    pub caches: Vec<CacheView>,
    /// Time in programs, in the kernel, at rest.
    pub times: (Duration, Duration, Duration),
}

/// A cache.
#[derive(Clone, Debug, Default)]
pub struct CacheView {
    /// 1, 2, 3.
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    pub kind: &'static str,
    /// Bytes.
    pub size: u64,
    /// Bytes of a line.
    pub line: u32,
    /// Lines in a set.
    pub ways: u32,
    /// Sets.
    pub sets: u32,
    /// Its number among those of its level.
    pub id: u32,
    /// Logical CPUs that share it.
    pub shared: Vec<usize>,
}

/// A NUMA node.
#[derive(Clone, Debug, Default)]
pub struct NumaView {
    /// Bytes.
    pub total: u64,
    /// Bytes that nobody uses.
    pub free: u64,
    /// Bytes of files.
    pub cached: u64,
    /// Bytes of anonymous memory.
    pub anonymous: u64,
    /// Bytes of shared memory.
    pub shared: u64,
    /// Distance to each node, 10 to itself.
    pub distances: Vec<u32>,
}

/// How much memory a process uses, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryUse {
    /// Addresses.
    pub size: u64,
    /// Most addresses so far.
    pub peak_size: u64,
    /// Memory.
    pub resident: u64,
    /// Most memory so far.
    pub peak_resident: u64,
    /// Addresses of text, of data, and of the stack.
    pub text: u64,
    /// Data.
    pub data: u64,
    /// Stack.
    pub stack: u64,
    /// Page tables.
    pub tables: u64,
    /// Addresses of locked memory.
    pub locked: u64,
}

/// A process.
#[derive(Clone, Default)]
pub struct ProcessView {
    /// Process id.
    pub pid: u32,
    /// Parent, group, session.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// Real, effective, saved and filesystem user.
    pub uids: [u32; 4],
    /// The same of groups.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: Arc<Vec<u32>>,
    /// The program.
    pub program: Arc<Program>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// Threads, the first one first.
    pub threads: Vec<u32>,
    /// Time since boot when it started.
    pub started: Duration,
    /// Time in programs and in the kernel of children that were waited for.
    pub children_times: (Duration, Duration),
    /// Memory.
    pub memory: MemoryUse,
    /// Signals that wait for the process, are ignored, are caught.
    pub pending: u64,
    /// Ignored.
    pub ignored: u64,
    /// Caught.
    pub caught: u64,
    /// Soft and hard limits in the order of the numbers of RLIMIT_*.
    pub limits: [(u64, u64); 16],
    /// umask(2).
    pub umask: u32,
    /// Page faults, and those that had to wait.
    pub faults: (u64, u64),
    /// Bytes read and written, calls of read and write.
    pub io: [u64; 4],
    /// Its files.
    pub files: Option<Arc<FdTable>>,
    /// oom_score_adj.
    pub oom_adjust: i32,
    /// No setuid any more (PR_SET_NO_NEW_PRIVS).
    pub no_new_privileges: bool,
}

/// A thread.
#[derive(Clone, Debug, Default)]
pub struct ThreadView {
    /// Name, at most 15 bytes.
    pub name: Vec<u8>,
    /// R, S, D, T, Z.
    pub state: char,
    /// Logical CPU.
    pub cpu: usize,
    /// Time in programs and in the kernel.
    pub times: (Duration, Duration),
    /// Signals that wait for it, and that it blocks.
    pub pending: u64,
    /// Blocked.
    pub blocked: u64,
    /// Logical CPUs where it may run.
    pub cpus: Vec<usize>,
    /// Scheduling policy, priority, nice value.
    pub policy: Policy,
    /// NUMA nodes of which it may have memory.
    pub memory_nodes: Vec<usize>,
    /// Waits, and times that it was interrupted.
    pub switches: (u64, u64),
}

/// An area of memory.
#[derive(Clone, Debug, Default)]
pub struct AreaView {
    /// First address.
    pub start: u64,
    /// Address behind the last one.
    pub end: u64,
    /// Readable, writable, executable.
    pub protection: (bool, bool, bool),
    /// Shared with others (MAP_SHARED).
    pub shared: bool,
    /// Offset in the file.
    pub offset: u64,
    /// `st_dev` of the file.
    pub device: u64,
    /// `st_ino` of the file.
    pub inode: u64,
    /// Path, or `[heap]` and the like.
    pub name: Vec<u8>,
    /// Bytes of memory.
    pub resident: u64,
    /// Of it written.
    pub dirty: u64,
    /// Of it locked (mlock(2)).
    pub locked: u64,
    /// Of it anonymous.
    pub anonymous: u64,
    /// Of it in pages of 2 MiB and more.
    pub large: u64,
    /// Bytes of the pages that it mostly has.
    pub page_size: u64,
    /// Pages on each NUMA node.
    pub pages_on: Vec<u64>,
    /// Memory policy, as /proc/[pid]/numa_maps has it.
    pub policy: String,
}
