//! The node: its cores, its processes, and how a program gets onto it.

use crate::Errno;
use crate::cores::{Core, Start};
use crate::delegate::{Delegate, Handle};
use crate::event::Event;
use crate::files::{FdTable, WaitQueue};
use crate::freeze::Freezer;
use crate::futex::Futexes;
use crate::identity::Ids;
use crate::limits::Limits;
use crate::load::{Executable, Load, Loaded, Loader};
use crate::mm::{Mm, MmSettings};
use crate::process::{Parts, Process, Program, memory_limits};
use crate::sched::{HelperRules, Seat};
use crate::signals::{Action, Actions, ProcessSignals, SIG_IGN, SIGCHLD, SigSet};
use crate::syscalls::scarce::Refusals;
use crate::system::{CoreWork, System};
use crate::table::{INIT, Member, Table};
use crate::thread::{Attention, Thread};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use keelson_hal::user::{Registers, UserContext};
use keelson_lwk_wire::dump::Level;
use spin::Mutex;

/// What the command line says of the node (section 2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeSettings {
    /// `uname -n`.
    pub name: String,
    /// `/proc/cmdline`: what programs may know of the command line.
    pub command_line: String,
    /// Compute cores; logical CPU i is the i-th.
    pub compute: Vec<usize>,
    /// Service cores, where helper threads run.
    pub service: Vec<usize>,
    /// Most threads for each compute core: 1, or `allow_oversubscribe`.
    pub oversubscribe: usize,
    /// Helper threads that a process may have when its launcher says nothing.
    pub helpers: usize,
    /// What a dump holds when nobody says.
    pub dump_level: Level,
    /// How long a futex is polled before its waiter gives way.
    pub futex_spin: Duration,
}

impl Default for NodeSettings {
    fn default() -> NodeSettings {
        NodeSettings {
            name: String::from("lwk"),
            command_line: String::new(),
            compute: alloc::vec![0],
            service: Vec::new(),
            oversubscribe: 1,
            helpers: 4,
            dump_level: Level::default(),
            futex_spin: Duration::ZERO,
        }
    }
}

/// How long a program that is to be started waits for memory that others give back.
const PATIENCE: Duration = Duration::from_secs(4);
/// Bytes without which none can run.
const PROGRAM_LEAST: u64 = 256 << 10;

/// The node.
pub struct Node {
    /// The machine.
    pub system: Arc<System>,
    /// What the command line says.
    pub settings: NodeSettings,
    pub(crate) futexes: Futexes,
    pub(crate) sysv: crate::sysv::Sysv,
    pub(crate) table: Mutex<Table>,
    /// Held while a process becomes a zombie and its parent is told: whoever waits finds neither without the other. Before `table`,
    /// which signals may need.
    pub(crate) burial: Mutex<()>,
    pub(crate) freezer: Freezer,
    pub(crate) lock_waits: crate::locks::LockWaits,
    pub(crate) record_waits: crate::files::RecordWaits,
    /// Files whose readers wait for signals, of whatever process.
    pub(crate) signalled: Arc<WaitQueue>,
    /// Calls that were refused because the kernel has no memory for what they would make.
    pub refusals: Refusals,
    closed: AtomicBool,
    /// By number of the machine; `None` for cores that run no threads.
    cores: Vec<Option<Arc<Core>>>,
}

/// A program to start: what LAUNCH carries (section 3.1).
pub struct LaunchRequest {
    /// Process id of the proxy.
    pub pid: u32,
    /// Parent, process group and session of the proxy on its host.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// The program.
    pub executable: Handle,
    /// Its path, for `/proc/self/exe` and AT_EXECFN.
    pub path: Vec<u8>,
    /// Arguments.
    pub arguments: Vec<Vec<u8>>,
    /// Environment.
    pub environment: Vec<Vec<u8>>,
    /// User and groups.
    pub ids: Ids,
    /// Resource limits.
    pub limits: Limits,
    /// `umask`.
    pub umask: u32,
    /// Blocked signals.
    pub blocked: SigSet,
    /// Ignored signals.
    pub ignored: SigSet,
    /// `-n`: equal slices that the partition is cut into; 0 for one.
    pub slices: usize,
    /// Which of them this program gets; `None`: the one with the fewest threads.
    pub slice: Option<usize>,
    /// `-c`: the logical CPU of the first thread.
    pub cpu: Option<usize>,
    /// `PR_SET_THP_DISABLE`, inherited from the launcher.
    pub small_pages: bool,
    /// sched_yield(2) does nothing: `--disable-sched-yield`.
    pub keeps: bool,
    /// Helper threads.
    pub helpers: HelperRules,
    /// Memory options.
    pub memory: MmSettings,
    /// Descriptors that it inherits.
    pub files: Arc<FdTable>,
    /// The way to its host.
    pub delegate: Arc<dyn Delegate>,
    /// Opens executables.
    pub loader: Arc<dyn Loader>,
}

/// A program that was started.
pub struct Launched {
    /// The process.
    pub process: Arc<Process>,
    /// Its logical CPUs.
    pub cpus: Vec<usize>,
}

impl Node {
    /// A node without processes.
    pub fn new(system: Arc<System>, settings: NodeSettings) -> Arc<Node> {
        let runs = |number: &usize| settings.compute.contains(number) || settings.service.contains(number);
        let count = settings.compute.iter().chain(&settings.service).max().map_or(0, |last| last + 1);
        let cores = (0..count).map(|number| runs(&number).then(|| Arc::new(Core::new(number)))).collect();
        Arc::new(Node {
            system,
            futexes: Futexes::default(),
            sysv: crate::sysv::Sysv::default(),
            table: Mutex::default(),
            burial: Mutex::default(),
            freezer: Freezer::default(),
            lock_waits: crate::locks::LockWaits::default(),
            record_waits: crate::files::RecordWaits::default(),
            signalled: Arc::default(),
            refusals: Refusals::default(),
            closed: AtomicBool::new(false),
            cores,
            settings,
        })
    }

    /// A core of the node.
    pub fn core(&self, number: usize) -> Option<&Arc<Core>> {
        self.cores.get(number)?.as_ref()
    }

    /// The cores of the node.
    pub fn cores(&self) -> impl Iterator<Item = &Arc<Core>> {
        self.cores.iter().flatten()
    }

    /// A process that lives.
    pub fn process(&self, pid: u32) -> Option<Arc<Process>> {
        self.table.lock().member(pid)?.process.clone()
    }

    /// A thread.
    pub fn thread(&self, tid: u32) -> Option<Arc<Thread>> {
        self.table.lock().thread(tid).cloned()
    }

    /// Processes that live, lowest number first.
    pub fn processes(&self) -> Vec<Arc<Process>> {
        let mut processes = self.table.lock().processes();
        processes.sort_by_key(|process| process.pid);
        processes
    }

    /// Process group and session of a process.
    pub fn group_and_session(&self, pid: u32) -> Option<(u32, u32)> {
        self.table.lock().member(pid).map(|member| (member.group, member.session))
    }

    /// Starts no programs any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// True when it starts no programs any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits until there is memory for another program and for the kernel's part of it: what one had that has just ended may still be
    /// on its way back.
    async fn spare_memory(&self) -> Result<(), Errno> {
        let (timers, machine) = (&self.system.timers, &self.system.machine);
        let has_room = || (0..machine.nodes()).any(|node| machine.memory(node).0 >= PROGRAM_LEAST);
        let deadline = timers.now() + PATIENCE;
        while machine.is_short() || !has_room() {
            if timers.now() >= deadline {
                return Err(Errno::ENOMEM);
            }
            timers.at(timers.now() + PATIENCE / 100).await;
        }
        Ok(())
    }

    /// Loads a program and starts its first thread. EAGAIN when the process id is taken, EINVAL when the slice does not exist or
    /// has no free core, ENXIO when the CPU that was asked for is in another one, EBUSY when others have it, ESHUTDOWN when the node
    /// is going down, or what kept the program from being loaded.
    pub async fn launch(self: &Arc<Node>, request: LaunchRequest) -> Result<Launched, Errno> {
        if self.is_closed() {
            return Err(Errno::ESHUTDOWN);
        }
        if request.pid <= INIT || self.table.lock().has(request.pid) {
            return Err(Errno::EAGAIN);
        }
        let index = request.slice.unwrap_or_else(|| match request.cpu {
            Some(cpu) => self.slice_of_cpu(request.slices, cpu),
            None => self.idlest_slice(request.slices),
        });
        let slice = self.slice(request.slices, index)?;
        if request.keeps {
            slice.keep();
        }
        let seat = match request.cpu {
            Some(cpu) => self.seat_on(&slice, cpu)?,
            None => self.seat(&slice, slice.cpus)?,
        };
        let settings = MmSettings {
            limits: memory_limits(&request.limits, request.ids.user.effective == 0),
            ..request.memory
        };
        self.spare_memory().await?;
        let mm = Mm::new(&self.system, settings)?;
        if request.small_pages {
            mm.set_small_pages(true);
        }
        let load = Load {
            executable: Executable::Handle(request.executable),
            program: Program {
                path: request.path,
                arguments: request.arguments,
                environment: request.environment,
                ..Program::default()
            },
            ids: request.ids.clone(),
            delegate: request.delegate.clone(),
        };
        let mut loaded = self.load(seat.core(), &request.loader, &mm, load).await?;
        loaded.program.place(request.files.fs());
        let process = Process::of(Parts {
            pid: request.pid,
            node: self.clone(),
            mm,
            memory: request.memory,
            files: request.files,
            delegate: request.delegate,
            signals: ProcessSignals::new(ignoring(request.ignored)),
            limits: request.limits,
            ids: request.ids,
            umask: request.umask,
            parent: request.parent,
            program: Arc::new(loaded.program),
            slice: slice.clone(),
            helper_rules: request.helpers,
            loader: request.loader,
        });
        process.facts.small_pages.store(request.small_pages, Ordering::Relaxed);
        let process = Arc::new(process);
        let thread = Arc::new(Thread::new(request.pid, process.clone(), seat.core().number));
        thread.set_mask(request.blocked);
        thread.set_comm(process.program.lock().name());
        let registers = Registers { rip: loaded.entry, rsp: loaded.stack, ..Registers::default() };
        let extended = self.system.machine.new_extended().ok_or(Errno::ENOMEM)?;
        let member = Member {
            process: Some(process.clone()),
            parent: INIT,
            children: Vec::new(),
            group: request.group,
            session: request.session,
            exit_signal: SIGCHLD,
            uid: process.ids.lock().user.real,
            exit: None,
            report: None,
        };
        {
            let mut table = self.table.lock();
            // The load took its time: the number may be gone, or the node going down.
            if table.has(request.pid) {
                return Err(Errno::EAGAIN);
            }
            if self.is_closed() {
                return Err(Errno::ESHUTDOWN);
            }
            table.insert(request.pid, member, thread.clone());
        }
        process.add_thread(thread.clone());
        process.announce(process.program.lock().name());
        process.watch_cpu();
        self.begin(thread, seat, UserContext { registers, extended });
        let cpus = (0..self.settings.compute.len()).filter(|cpu| slice.cpus.has(*cpu)).collect();
        Ok(Launched { process, cpus })
    }

    /// Loads a program on the core that it is for, which has nothing else to do and prepares what is to come; the service core takes
    /// it meanwhile. Here where others compute there, who would have to end each of their turns for it.
    async fn load(
        &self,
        core: &Core,
        loader: &Arc<dyn Loader>,
        mm: &Arc<Mm>,
        load: Load,
    ) -> Result<Loaded, Errno> {
        if !core.is_alone() {
            return loader.load(mm, load).await;
        }
        let done = Arc::new((Event::default(), Mutex::new(None)));
        let (there, loader, mm) = (done.clone(), loader.clone(), mm.clone());
        let work: CoreWork = Box::new(move |here| {
            here.executor.spawn("load", async move {
                let loaded = loader.load(&mm, load).await;
                let (event, place) = &*there;
                *place.lock() = Some(loaded);
                event.notify();
            });
        });
        if !(self.system.run_on)(core.number, work) {
            return Err(Errno::ESHUTDOWN);
        }
        let (event, place) = &*done;
        loop {
            let changed = event.changed();
            if let Some(loaded) = place.lock().take() {
                return loaded;
            }
            changed.await;
        }
    }

    /// Lets a thread run on the core of its seat.
    pub(crate) fn begin(&self, thread: Arc<Thread>, seat: Seat, context: UserContext) {
        let core = seat.core().clone();
        thread.placement.lock().seat = Some(seat);
        // It is one of its process's threads already: whoever freezes the node now either finds it, or is seen here.
        if self.freezer.is_frozen() {
            thread.demand_self(Attention::FREEZE);
        }
        core.start(Start { thread, context });
    }
}

fn ignoring(set: SigSet) -> Actions {
    let mut actions = Actions::default();
    for signal in (1..=64).filter(|signal| set.has(*signal)) {
        actions.set(signal, Action { handler: SIG_IGN, ..Action::default() });
    }
    actions
}
