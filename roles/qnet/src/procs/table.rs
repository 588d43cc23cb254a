//! All processes of a node.

mod life;
mod start;

pub use start::{Descriptors, Group, Start};

pub(super) use start::Extra;

use super::entry::{Entry, Phase, Service, Signals, Thread};
use super::program::Program;
use super::system::System;
use crate::api::{Credentials, Kernel, PROCESS_MANAGER};
use crate::client::Files;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use keelson_exec::sync::{Notify, Semaphore};
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::proc::ThreadState;
use life::Signalling;

/// Files as a user has them.
pub type FilesFactory = Rc<dyn Fn(&Credentials) -> Files>;

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
