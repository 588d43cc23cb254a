//! A process.

use crate::Errno;
use crate::account::Usage;
use crate::delegate::Delegate;
use crate::event::Event;
use crate::files::FdTable;
use crate::identity::Ids;
use crate::limits::{self, Limits};
use crate::load::Loader;
use crate::mm::{self, Mm, MmSettings};
use crate::node::Node;
use crate::sched::{CpuSet, HelperRules, Scheduling, Slice};
use crate::signals::ProcessSignals;
use crate::system::System;
use crate::thread::{Attention, Thread};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use spin::Mutex;

/// A process: what its threads share.
pub struct Process {
    /// Process id: that of its proxy on the host.
    pub pid: u32,
    /// The machine.
    pub system: Arc<System>,
    /// The node.
    pub node: Arc<Node>,
    /// Its address space; another one after exec.
    mm: Mutex<Arc<Mm>>,
    /// Settings of its address spaces.
    pub memory: MmSettings,
    /// Its open files; shared with others after clone(CLONE_FILES).
    files: Mutex<Arc<FdTable>>,
    /// The host that launched it.
    pub delegate: Arc<dyn Delegate>,
    /// Signals for any of its threads, and what it does with each.
    pub signals: ProcessSignals,
    /// Resource limits.
    pub limits: Mutex<Limits>,
    /// User and groups.
    pub ids: Mutex<Ids>,
    /// `umask`, as last set.
    pub umask: AtomicU32,
    /// The process that waits for it; 1 when there is none on this node. For the first process of a launch the host's parent.
    pub parent: AtomicU32,
    /// The program it runs.
    pub program: Mutex<Arc<Program>>,
    /// The cores of the launch.
    pub slice: Arc<Slice>,
    /// Which of its threads become helpers.
    pub helper_rules: HelperRules,
    /// Loads what it executes.
    pub loader: Arc<dyn Loader>,
    /// Small facts that prctl(2) keeps.
    pub facts: Facts,
    /// When it started, in nanoseconds since boot.
    pub started: u64,
    /// Notified when a child changed, a thread ended, or a stopped process goes on.
    pub(crate) changed: Event,
    pub(crate) helpers: Arc<AtomicUsize>,
    pub(crate) clones: AtomicU32,
    /// Released when the child of a vfork no longer uses its parent's memory.
    pub(crate) borrowed: Mutex<Option<Arc<Latch>>>,
    /// The thread that calls exec, while the others end; 0 for none.
    pub(crate) executing: AtomicU32,
    /// Timers that send signals.
    pub(crate) timers: crate::ptimers::ProcessTimers,
    /// Threads that stopped for a core file, while one is being made.
    pub(crate) dump: Mutex<Option<Vec<crate::core_file::Stopped>>>,
    threads: Mutex<Vec<Arc<Thread>>>,
    /// Use of threads that ended.
    ended: Mutex<Usage>,
    /// Use of children that were waited for.
    children: Mutex<Usage>,
    /// Wait status and [`ENDING`], once it ends.
    ending: AtomicU64,
    /// The scheduling of the first thread once it has ended.
    pub(crate) first_left: Mutex<Option<Scheduling>>,
    /// The signal that stopped it; 0 when it runs.
    stopped: AtomicU32,
    /// The code with which its first thread called exit(2).
    pub(crate) first_exit: AtomicU32,
    /// Most memory that was resident, in bytes, when last looked at.
    pub(crate) peak: AtomicU64,
    /// Why the node ends it, for its user.
    pub(crate) reason: Mutex<String>,
}

const ENDING: u64 = 1 << 32;

/// The program a process runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Program {
    /// Its path as it was executed, for AT_EXECFN.
    pub path: Vec<u8>,
    /// Its file, as `/proc/self/exe` has it.
    pub executable: Vec<u8>,
    /// Arguments.
    pub arguments: Vec<Vec<u8>>,
    /// Environment.
    pub environment: Vec<Vec<u8>>,
    /// The auxiliary vector, as the program got it.
    pub auxiliary: Vec<(u64, u64)>,
}

impl Program {
    /// Makes up for a host that does not know where the file is.
    pub(crate) fn place(&mut self, fs: &crate::files::FsContext) {
        if self.executable.is_empty() {
            self.executable = fs.absolute(&self.path);
        }
    }

    /// The last part of its path: `comm` after exec.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or(&self.path)
    }
}

/// What prctl(2) and personality(2) keep for a process.
pub struct Facts {
    /// `PR_SET_DUMPABLE`.
    pub dumpable: AtomicBool,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub subreaper: AtomicBool,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: AtomicBool,
    /// `PR_SET_THP_DISABLE`.
    pub small_pages: AtomicBool,
    /// `PR_SET_PDEATHSIG`.
    pub parent_death: AtomicU32,
    /// `personality`.
    pub personality: AtomicU32,
    /// It called exec since it was forked.
    pub executed: AtomicBool,
    /// It said that it will call membarrier(2) with `MEMBARRIER_CMD_PRIVATE_EXPEDITED`.
    pub barriers: AtomicBool,
    /// `/proc/[pid]/oom_score_adj`; without effect.
    pub oom_adjust: AtomicI32,
}

impl Facts {
    /// What a child has of its parent's.
    pub(crate) fn inherit(&self, parent: &Facts) {
        let copy = |to: &AtomicBool, from: &AtomicBool| {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        };
        copy(&self.dumpable, &parent.dumpable);
        copy(&self.no_new_privileges, &parent.no_new_privileges);
        copy(&self.small_pages, &parent.small_pages);
        copy(&self.barriers, &parent.barriers);
        self.personality.store(parent.personality.load(Ordering::Relaxed), Ordering::Relaxed);
        self.oom_adjust.store(parent.oom_adjust.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Another program runs.
    pub(crate) fn executed(&self) {
        self.dumpable.store(true, Ordering::Relaxed);
        self.executed.store(true, Ordering::Relaxed);
        self.barriers.store(false, Ordering::Relaxed);
    }
}

impl Default for Facts {
    fn default() -> Facts {
        Facts {
            dumpable: AtomicBool::new(true),
            subreaper: AtomicBool::default(),
            no_new_privileges: AtomicBool::default(),
            small_pages: AtomicBool::default(),
            parent_death: AtomicU32::default(),
            personality: AtomicU32::default(),
            executed: AtomicBool::default(),
            barriers: AtomicBool::default(),
            oom_adjust: AtomicI32::default(),
        }
    }
}

/// A door that opens once.
#[derive(Default)]
pub struct Latch {
    open: AtomicBool,
    event: Event,
}

impl Latch {
    /// Opens it.
    pub fn release(&self) {
        self.open.store(true, Ordering::Release);
        self.event.notify();
    }

    /// Waits until it is open.
    pub async fn wait(&self) {
        loop {
            let changed = self.event.changed();
            if self.open.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }
}

/// What a process is made of.
pub(crate) struct Parts {
    pub pid: u32,
    pub node: Arc<Node>,
    pub mm: Arc<Mm>,
    pub memory: MmSettings,
    pub files: Arc<FdTable>,
    pub delegate: Arc<dyn Delegate>,
    pub signals: ProcessSignals,
    pub limits: Limits,
    pub ids: Ids,
    pub umask: u32,
    pub parent: u32,
    pub program: Arc<Program>,
    pub slice: Arc<Slice>,
    pub helper_rules: HelperRules,
    pub loader: Arc<dyn Loader>,
}

impl Process {
    /// A process without threads, on a node of its own with the first core as its only one.
    pub fn new(
        pid: u32,
        system: Arc<System>,
        mm: Arc<Mm>,
        files: Arc<FdTable>,
        delegate: Arc<dyn Delegate>,
    ) -> Process {
        let node = Node::new(system, crate::node::NodeSettings::default());
        Process::of(Parts {
            pid,
            node,
            mm,
            memory: MmSettings::default(),
            files,
            delegate,
            signals: ProcessSignals::default(),
            limits: Limits::default(),
            ids: Ids::default(),
            umask: 0o022,
            parent: 1,
            program: Arc::default(),
            slice: Arc::new(Slice::new(CpuSet::ALL, 1)),
            helper_rules: HelperRules::default(),
            loader: Arc::new(crate::load::NoLoader),
        })
    }

    pub(crate) fn of(parts: Parts) -> Process {
        Process {
            pid: parts.pid,
            system: parts.node.system.clone(),
            started: parts.node.system.clock.now().as_nanos(),
            node: parts.node,
            mm: Mutex::new(parts.mm),
            memory: parts.memory,
            files: Mutex::new(parts.files),
            delegate: parts.delegate,
            signals: parts.signals,
            limits: Mutex::new(parts.limits),
            ids: Mutex::new(parts.ids),
            umask: AtomicU32::new(parts.umask),
            parent: AtomicU32::new(parts.parent),
            program: Mutex::new(parts.program),
            slice: parts.slice,
            helper_rules: parts.helper_rules,
            loader: parts.loader,
            facts: Facts::default(),
            changed: Event::default(),
            helpers: Arc::default(),
            clones: AtomicU32::new(0),
            borrowed: Mutex::new(None),
            executing: AtomicU32::new(0),
            timers: crate::ptimers::ProcessTimers::default(),
            dump: Mutex::default(),
            threads: Mutex::default(),
            ended: Mutex::default(),
            children: Mutex::default(),
            ending: AtomicU64::new(0),
            first_left: Mutex::new(None),
            stopped: AtomicU32::new(0),
            first_exit: AtomicU32::new(0),
            peak: AtomicU64::new(0),
            reason: Mutex::default(),
        }
    }

    /// Effective user and group.
    pub fn effective_ids(&self) -> (u32, u32) {
        let ids = self.ids.lock();
        (ids.user.effective, ids.group.effective)
    }

    /// The memory of another process, for process_vm_readv(2): ESRCH when there is none, EPERM when it is another user's.
    pub fn memory_of(&self, pid: u32) -> Result<Arc<Mm>, Errno> {
        let other = self.node.process(pid).ok_or(Errno::ESRCH)?;
        let (mine, its) = (self.ids.lock().clone(), other.ids.lock().clone());
        if mine.may_signal(&its) { Ok(other.mm()) } else { Err(Errno::EPERM) }
    }

    /// The address space.
    pub fn mm(&self) -> Arc<Mm> {
        self.mm.lock().clone()
    }

    /// Tells the kernel below which address space and name the process has, for dumps.
    pub(crate) fn announce(&self, name: &[u8]) {
        self.system.machine.process_began(self.pid, &**self.mm().space(), name);
    }

    /// Another address space, after exec; the one before is returned.
    pub(crate) fn replace_mm(&self, mm: Arc<Mm>) -> Arc<Mm> {
        core::mem::replace(&mut self.mm.lock(), mm)
    }

    /// The open files.
    pub fn files(&self) -> Arc<FdTable> {
        self.files.lock().clone()
    }

    /// Another table of open files.
    pub(crate) fn replace_files(&self, files: Arc<FdTable>) -> Arc<FdTable> {
        core::mem::replace(&mut self.files.lock(), files)
    }

    /// Watches the limit of CPU time, when there is one.
    pub(crate) fn watch_cpu(self: &Arc<Self>) {
        let limit = self.limits.lock().get(limits::CPU).unwrap_or(limits::Limit::both(limits::INFINITY));
        // Fails for a process that is gone only.
        let _ = self.timers.limit_cpu(self, limit);
    }

    /// Limits that others keep too.
    pub(crate) fn limits_changed(self: &Arc<Self>, limits: &Limits) {
        let files = limits.soft(crate::limits::NOFILE);
        self.files().set_limit(u32::try_from(files).unwrap_or(u32::MAX));
        self.mm().set_limits(memory_limits(limits, self.is_root()));
    }

    /// The superuser's (credentials(7)).
    pub(crate) fn is_root(&self) -> bool {
        self.ids.lock().user.effective == 0
    }

    /// What of the limits concerns memory.
    pub(crate) fn memory_limits(&self) -> mm::Limits {
        memory_limits(&self.limits.lock(), self.is_root())
    }

    /// Most memory that was resident so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.peak.load(Ordering::Relaxed).max(self.mm().resident_most())
    }

    /// Closes all files, whoever may still hold the process.
    pub(crate) fn release_files(&self) {
        let files = self.replace_files(Arc::default());
        files.closed_by(self.pid);
        let flight = files.vfs().flight.clone();
        drop(files);
        flight.collect();
    }

    /// Gives memory back, whoever may still hold the process; lets the parent of a vfork go on.
    pub(crate) fn release_memory(&self) {
        self.timers.clear();
        if let Ok(empty) = Mm::new(&self.system, MmSettings::default()) {
            drop(self.replace_mm(empty));
        }
        self.return_loan();
    }

    /// The child of a vfork no longer uses its parent's memory.
    pub(crate) fn return_loan(&self) {
        let latch = self.borrowed.lock().take();
        if let Some(latch) = latch {
            latch.release();
        }
    }

    /// Its threads, the first one first.
    pub fn threads(&self) -> Vec<Arc<Thread>> {
        self.threads.lock().clone()
    }

    /// How many threads it has.
    pub fn thread_count(&self) -> usize {
        self.threads.lock().len()
    }

    /// Adds a thread; false when the process ends.
    pub(crate) fn add_thread(&self, thread: Arc<Thread>) -> bool {
        let mut threads = self.threads.lock();
        // Under the lock: whoever ends the process afterwards finds the thread.
        let open = self.end().is_none() && self.executing.load(Ordering::Acquire) == 0;
        if open {
            threads.push(thread);
        }
        open
    }

    /// Puts a thread in the place of another, which called exec.
    pub(crate) fn replace_thread(&self, old: &Thread, with: Arc<Thread>) {
        let now = self.system.clock.now().as_nanos();
        let mut threads = self.threads.lock();
        self.ended.lock().add(&old.times.usage(now));
        *threads = alloc::vec![with];
    }

    /// Removes a thread that ended; how many are left.
    pub(crate) fn remove_thread(&self, thread: &Thread, now: u64) -> usize {
        let mut threads = self.threads.lock();
        threads.retain(|other| other.tid != thread.tid);
        self.ended.lock().add(&thread.times.usage(now));
        threads.len()
    }

    /// What its threads used, those that ended too.
    pub fn usage(&self) -> Usage {
        let now = self.system.clock.now().as_nanos();
        let threads = self.threads.lock();
        let mut sum = *self.ended.lock();
        threads.iter().for_each(|thread| sum.add(&thread.times.usage(now)));
        sum
    }

    /// What children used that were waited for.
    pub fn children_usage(&self) -> Usage {
        *self.children.lock()
    }

    pub(crate) fn add_child_usage(&self, usage: &Usage) {
        self.children.lock().add(usage);
    }

    /// The wait status it ends with, once it ends.
    pub fn end(&self) -> Option<u32> {
        let ending = self.ending.load(Ordering::Acquire);
        (ending & ENDING != 0).then_some(ending as u32)
    }

    /// Ends the process with a wait status (wait(2)): a signal, or an exit code in bits 8 to 15. The first one counts; true for
    /// that one.
    pub fn begin_end(&self, status: u32) -> bool {
        let status = ENDING | u64::from(status);
        let first = self.ending.compare_exchange(0, status, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if first {
            self.end_threads();
        }
        first
    }

    /// Adds to the status that it left a core file.
    pub(crate) fn mark_dumped(&self) {
        self.ending.fetch_or(0x80, Ordering::AcqRel);
    }

    pub(crate) fn end_threads(&self) {
        for thread in self.threads() {
            thread.demand(Attention::END);
        }
        self.changed.notify();
    }

    /// The signal that stopped it.
    pub fn stopped(&self) -> Option<u32> {
        match self.stopped.load(Ordering::Acquire) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Stops all threads before they return to ring 3, and tells the parent.
    pub fn stop(&self, signal: u32) {
        if self.stopped.compare_exchange(0, signal, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        for thread in self.threads() {
            thread.demand(Attention::STOP);
        }
        self.node.child_stopped(self, signal);
    }

    /// Lets a stopped process go on.
    pub fn resume(&self) {
        if self.stopped.swap(0, Ordering::AcqRel) != 0 {
            self.changed.notify();
            self.node.child_continued(self);
        }
    }
}

/// What of the limits concerns memory.
pub(crate) fn memory_limits(limits: &Limits, root: bool) -> mm::Limits {
    mm::Limits {
        address_space: limits.soft(limits::AS),
        data: limits.soft(limits::DATA),
        stack: limits.soft(limits::STACK),
        // Root may lock all there is (mlock(2)).
        locked: if root { limits::INFINITY } else { limits.soft(limits::MEMLOCK) },
    }
}
