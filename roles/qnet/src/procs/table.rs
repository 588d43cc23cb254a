//! All processes of a node: how they start, end, and are waited for.

use super::entry::{Action, End, Entry, Phase, Service, Signals, Spawner, Thread};
use super::process::Process;
use super::program::{self, Loaded, Program, Wanted};
use super::stream::Stream;
use super::system::System;
use crate::api::{Credentials, Kernel, PROCESS_MANAGER, SignalDelivery, SignalHandler};
use crate::client::Files;
use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use keelson_exec::sync::{Notify, Semaphore};
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::proc::ThreadState;

/// Files as a user has them.
pub type FilesFactory = Rc<dyn Fn(&Credentials) -> Files>;

/// Descriptors by number.
pub type Descriptors = BTreeMap<i32, Rc<dyn Stream>>;

/// How long the servers of a process's descriptors may take to notice its end.
const CLOSING: Duration = Duration::from_secs(2);

/// Name of the process that has the network.
const NETWORK: &str = "sbin/io-pkt-v4-hc";

/// Limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcsConfig {
    /// Processes that run.
    pub processes: usize,
    /// Processes that have ended, and that nobody has waited for. Of more, the oldest are forgotten.
    pub zombies: usize,
    /// Descriptors of a process.
    pub descriptors: usize,
    /// Bytes of arguments and environment of a process.
    pub arguments: usize,
    /// Spawns of other nodes at once.
    pub spawns: usize,
}

impl Default for ProcsConfig {
    fn default() -> ProcsConfig {
        ProcsConfig { processes: 64, zombies: 32, descriptors: 64, arguments: 65_536, spawns: 16 }
    }
}

/// Process group of a new process.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Group {
    /// That of its parent.
    #[default]
    Parents,
    /// One of its own.
    Own,
    /// This one.
    Of(u32),
}

/// What a process starts with.
pub struct Start<'a> {
    /// The program: a path, or a name to be looked for in `search`.
    pub path: &'a str,
    /// Directories, separated by colons; see [`super::SEARCH_PATH`].
    pub search: Option<&'a str>,
    /// Arguments, the name of the program first.
    pub args: Vec<String>,
    /// Environment: `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// Mask for new files.
    pub umask: u32,
    /// Its user.
    pub who: Credentials,
    /// Its parent.
    pub parent: u32,
    /// Its group.
    pub group: Group,
    /// Its descriptors.
    pub fds: Descriptors,
}

/// What a process that another node asked for starts with besides.
pub(super) struct Extra {
    pub spawner: Option<Spawner>,
    pub nozombie: bool,
    pub ignored: u64,
    pub priority: Option<u8>,
}

/// All processes of a node. Clones are the same table.
#[derive(Clone)]
pub struct Processes(Rc<Shared>);

struct Shared {
    kernel: Kernel,
    files: FilesFactory,
    system: Rc<dyn System>,
    programs: &'static [Program],
    config: ProcsConfig,
    list: RefCell<BTreeMap<u32, Rc<Entry>>>,
    /// Places for processes that are being started.
    starting: Cell<usize>,
    network: Cell<u32>,
    spawns: Rc<Semaphore>,
}

struct Signalling(Weak<Shared>);

impl SignalHandler for Signalling {
    fn signal(&self, signal: &SignalDelivery) {
        if let Some(shared) = self.0.upgrade() {
            Processes(shared).arrived(signal.pid, signal.signo);
        }
    }
}

impl Processes {
    /// The table of a node, which has the process manager, the network and the console.
    pub fn new(
        kernel: &Kernel,
        files: FilesFactory,
        system: Rc<dyn System>,
        programs: &'static [Program],
        config: ProcsConfig,
    ) -> Result<Processes, Errno> {
        let shared = Rc::new(Shared {
            kernel: kernel.clone(),
            files,
            system,
            programs,
            config,
            list: RefCell::new(BTreeMap::new()),
            starting: Cell::new(0),
            network: Cell::new(PROCESS_MANAGER),
            spawns: Semaphore::new(config.spawns),
        });
        kernel.set_signal_handler(Rc::new(Signalling(Rc::downgrade(&shared))));
        let processes = Processes(shared);
        processes.add_service(PROCESS_MANAGER, "procnto", &PROCNTO_THREADS, |_| Vec::new());
        let network = kernel.create_process(&Credentials::default())?;
        processes.add_service(network, NETWORK, &NETWORK_THREADS, network_objects);
        processes.0.network.set(network);
        let console = kernel.create_process(&Credentials::default())?;
        processes.add_service(console, "sbin/devc-con", &CONSOLE_THREADS, |_| ["libc.so.3".into()].into());
        Ok(processes)
    }

    /// A process that is not a program of the table, but a part of the image that acts for a user: a shell on the
    /// console, a tool. It ends when this is dropped.
    pub fn register(&self, path: &str, who: &Credentials) -> Result<Registered, Errno> {
        let pid = self.0.kernel.create_process(who)?;
        self.add_service(pid, path, &SHELL_THREADS, |_| Vec::from(["libc.so.3".to_string()]));
        Ok(Registered { processes: self.clone(), pid })
    }

    fn add_service(
        &self,
        pid: u32,
        path: &str,
        threads: &'static [Thread],
        objects: fn(&Processes) -> Vec<String>,
    ) {
        let who = self.0.kernel.credentials(pid).unwrap_or_default();
        let args = Vec::from([path.to_string()]);
        let service = Some(Service { objects, threads });
        let start = Entry {
            pid,
            parent: Cell::new(if pid == PROCESS_MANAGER { 0 } else { PROCESS_MANAGER }),
            path: path.into(),
            args,
            env: Vec::new(),
            cwd: RefCell::new("/".into()),
            umask: 0,
            who,
            started: self.0.system.boot_time(),
            spawner: None,
            nozombie: Cell::new(true),
            fds: RefCell::default(),
            signals: Signals::new(0),
            thread: Cell::new(threads.first().copied().unwrap_or(Thread::READY)),
            phase: Cell::new(Phase::Running),
            changed: Notify::new(),
            task: RefCell::new(None),
            service,
        };
        self.0.list.borrow_mut().insert(pid, Rc::new(start));
    }

    /// Where messages go through.
    pub fn kernel(&self) -> &Kernel {
        &self.0.kernel
    }

    /// The machine.
    pub fn system(&self) -> &Rc<dyn System> {
        &self.0.system
    }

    /// Files as a user has them.
    pub fn files(&self, who: &Credentials) -> Files {
        (self.0.files)(who)
    }

    /// Programs of the image.
    pub fn programs(&self) -> &'static [Program] {
        self.0.programs
    }

    /// Limits.
    pub fn config(&self) -> ProcsConfig {
        self.0.config
    }

    /// The process that has the network: the parent of what other nodes start.
    pub fn network(&self) -> u32 {
        self.0.network.get()
    }

    pub(super) fn spawns(&self) -> &Rc<Semaphore> {
        &self.0.spawns
    }

    /// Processes that run, without those that are part of the system.
    pub fn running(&self) -> usize {
        let list = self.0.list.borrow();
        list.values().filter(|entry| entry.service.is_none() && entry.ended().is_none()).count()
    }

    /// Processes that have ended, and that nobody has waited for.
    pub fn zombies(&self) -> usize {
        self.0.list.borrow().values().filter(|entry| entry.ended().is_some()).count()
    }

    pub(super) fn all(&self) -> Vec<Rc<Entry>> {
        self.0.list.borrow().values().cloned().collect()
    }

    pub(super) fn entry(&self, pid: u32) -> Option<Rc<Entry>> {
        self.0.list.borrow().get(&pid).cloned()
    }

    /// Finds a program and starts a process of it; its id.
    pub async fn spawn(&self, start: Start<'_>) -> Result<u32, Errno> {
        let loaded = self.load(&start, true).await?;
        let extra = Extra { spawner: None, nozombie: false, ignored: 0, priority: None };
        self.start(start, loaded, extra, |_| ())
    }

    pub(super) async fn load(&self, start: &Start<'_>, scripts: bool) -> Result<Loaded, Errno> {
        let files = (&self.files(&start.who), &self.files(&Credentials::default()));
        let wanted = Wanted { path: start.path, cwd: &start.cwd, search: start.search, scripts };
        program::find(self.0.programs, files, wanted).await
    }

    /// A process of the kernel's for one that is to be started, with a place in the table.
    pub(super) fn reserve(&self, who: &Credentials) -> Result<Reserved, Errno> {
        let starting = self.0.starting.get();
        if self.running() + starting >= self.0.config.processes {
            return Err(Errno::EAGAIN);
        }
        let pid = self.0.kernel.create_process(who)?;
        self.0.starting.set(starting + 1);
        Ok(Reserved { processes: self.clone(), pid, is_used: false })
    }

    fn start(
        &self,
        start: Start<'_>,
        loaded: Loaded,
        extra: Extra,
        before: impl FnOnce(u32),
    ) -> Result<u32, Errno> {
        let reserved = self.reserve(&start.who)?;
        before(reserved.pid);
        self.start_reserved(reserved, start, loaded, extra)
    }

    pub(super) fn start_reserved(
        &self,
        mut reserved: Reserved,
        start: Start<'_>,
        loaded: Loaded,
        extra: Extra,
    ) -> Result<u32, Errno> {
        let config = self.0.config;
        let strings = start.args.iter().chain(&start.env).fold(0_usize, |sum, text| sum + text.len() + 1);
        if strings > config.arguments {
            return Err(Errno::E2BIG);
        }
        if start.fds.len() > config.descriptors {
            return Err(Errno::EMFILE);
        }
        let pid = reserved.pid;
        let kernel = &self.0.kernel;
        match start.group {
            Group::Own => {}
            Group::Parents => kernel.set_process_group(pid, kernel.process_group(start.parent)?)?,
            Group::Of(group) => kernel.set_process_group(pid, group)?,
        }
        let args = match loaded.script {
            Some(script) => script.into_iter().chain(start.args.into_iter().skip(1)).collect(),
            None => start.args,
        };
        let priority = extra.priority.unwrap_or(Thread::READY.priority);
        let entry = Rc::new(Entry {
            pid,
            parent: Cell::new(start.parent),
            path: loaded.path,
            args,
            env: start.env,
            cwd: RefCell::new(start.cwd),
            umask: start.umask,
            who: kernel.credentials(pid)?,
            started: self.0.system.wall_time(),
            spawner: extra.spawner,
            nozombie: Cell::new(extra.nozombie),
            fds: RefCell::new(start.fds),
            signals: Signals::new(extra.ignored),
            thread: Cell::new(Thread { priority, ..Thread::READY }),
            phase: Cell::new(Phase::Running),
            changed: Notify::new(),
            task: RefCell::new(None),
            service: None,
        });
        self.0.list.borrow_mut().insert(pid, entry.clone());
        reserved.is_used = true;
        let process = Process::new(self, &entry);
        let (processes, of_task) = (self.clone(), entry.clone());
        let main = (loaded.program.main)(process);
        let task = kernel.executor().spawn(loaded.program.name, async move {
            let status = main.await;
            processes.end(&of_task, End::Exited(status & 0xff));
        });
        *entry.task.borrow_mut() = Some(task);
        Ok(pid)
    }

    /// Waits for the end of a process, and takes it out of the table. `ECHILD` when there is none.
    pub async fn wait(&self, pid: u32) -> Result<End, Errno> {
        let entry = self.entry(pid).filter(|entry| entry.service.is_none()).ok_or(Errno::ECHILD)?;
        loop {
            let changed = entry.changed.notified();
            if let Some(end) = entry.ended() {
                self.0.list.borrow_mut().remove(&pid);
                return Ok(end);
            }
            changed.await;
        }
    }

    /// How a process ended, if it has; then it is taken out of the table.
    pub fn try_wait(&self, pid: u32) -> Option<End> {
        let end = self.entry(pid)?.ended()?;
        self.0.list.borrow_mut().remove(&pid);
        Some(end)
    }

    /// Whether there is such a process.
    pub fn is_known(&self, pid: u32) -> bool {
        self.entry(pid).is_some()
    }

    /// Nobody will wait for a process.
    pub fn detach(&self, pid: u32) {
        let Some(entry) = self.entry(pid) else { return };
        entry.nozombie.set(true);
        if entry.ended().is_some() {
            self.0.list.borrow_mut().remove(&pid);
        }
    }

    /// A signal, from the system itself.
    pub fn signal(&self, pid: u32, signo: i32) -> Result<(), Errno> {
        self.entry(pid).ok_or(Errno::ESRCH)?;
        self.arrived(pid, signo);
        Ok(())
    }

    fn arrived(&self, pid: u32, signo: i32) {
        let Some(entry) = self.entry(pid) else { return };
        // What is part of the system does not end.
        if entry.service.is_none() && entry.signals.arrive(signo) == Action::End {
            self.end(&entry, End::Killed(signo));
        }
    }

    /// Ends a process: its task now, its descriptors as soon as their servers know.
    fn end(&self, entry: &Rc<Entry>, end: End) {
        if !entry.is_running() {
            return;
        }
        entry.set_phase(Phase::Ending);
        let task = entry.task.borrow_mut().take();
        if let Some(task) = task {
            task.abort();
        }
        let fds = core::mem::take(&mut *entry.fds.borrow_mut());
        self.0.kernel.executor().spawn("exit", self.clone().close(entry.clone(), fds, end));
    }

    async fn close(self, entry: Rc<Entry>, fds: Descriptors, end: End) {
        let executor = self.0.kernel.executor().clone();
        let closing = async {
            for stream in fds.into_values() {
                if Rc::strong_count(&stream) == 1 {
                    // A server that is gone does not need to be told.
                    let _ = stream.close().await;
                }
            }
        };
        let _ = executor.timeout(CLOSING, closing).await;
        self.0.kernel.end_process(entry.pid);
        self.orphan(entry.pid);
        entry.set_phase(Phase::Ended(end));
        if entry.nozombie.get() {
            self.0.list.borrow_mut().remove(&entry.pid);
        }
        self.forget_oldest();
    }

    /// The children of a process that has ended become those of the process manager, which waits for none.
    fn orphan(&self, parent: u32) {
        let children: Vec<Rc<Entry>> =
            self.all().into_iter().filter(|entry| entry.parent.get() == parent).collect();
        for child in children {
            child.parent.set(PROCESS_MANAGER);
            self.detach(child.pid);
        }
    }

    fn forget_oldest(&self) {
        while self.zombies() > self.0.config.zombies {
            let oldest = self.all().into_iter().filter(|entry| entry.ended().is_some());
            let Some(oldest) = oldest.min_by_key(|entry| entry.started) else { return };
            self.0.list.borrow_mut().remove(&oldest.pid);
        }
    }

    /// Ends all processes that are not part of the system.
    pub fn end_all(&self) {
        for entry in self.all() {
            if entry.service.is_none() {
                self.end(&entry, End::Killed(super::signal::KILL));
            }
        }
    }
}

/// A process of the kernel's that has no task yet.
pub(super) struct Reserved {
    processes: Processes,
    pub pid: u32,
    is_used: bool,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let shared = &self.processes.0;
        shared.starting.set(shared.starting.get().saturating_sub(1));
        if !self.is_used {
            shared.kernel.end_process(self.pid);
        }
    }
}

/// A process that ends when this is dropped.
pub struct Registered {
    processes: Processes,
    pid: u32,
}

impl Registered {
    /// Its id.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let shared = &self.processes.0;
        let removed = shared.list.borrow_mut().remove(&self.pid);
        drop(removed);
        shared.kernel.end_process(self.pid);
        self.processes.orphan(self.pid);
    }
}

static SHELL_THREADS: [Thread; 1] = [Thread::new(ThreadState::SIGWAITINFO, crate::api::DEFAULT_PRIORITY)];

static PROCNTO_THREADS: [Thread; 2] = [
    Thread { policy: 1, ..Thread::new(ThreadState::READY, 0) },
    Thread::receiving(1, crate::api::DEFAULT_PRIORITY),
];

static NETWORK_THREADS: [Thread; 2] = [Thread::new(ThreadState::SIGWAITINFO, 21), Thread::receiving(1, 21)];

static CONSOLE_THREADS: [Thread; 1] = [Thread::receiving(1, crate::api::DEFAULT_PRIORITY)];

/// By `lsm-qnet.so` users see that Qnet runs (section 14.2).
fn network_objects(processes: &Processes) -> Vec<String> {
    let mut objects = Vec::from(["libc.so.3".to_string()]);
    objects.extend(processes.system().network_objects());
    if processes.kernel().is_mounted() {
        objects.push("lsm-qnet.so".into());
    }
    objects
}
