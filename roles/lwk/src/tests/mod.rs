//! Programs on a node: several cores driven in turn, in virtual time.

mod clone;
mod control;
mod core_file;
mod cpu;
mod exec;
mod filelocks;
mod futex;
mod processes;
mod queue;
mod rseq;
mod service;
mod signals;
mod threads;
mod time;
mod view;

use crate::Errno;
use crate::delegate::*;
use crate::exit::Exit;
use crate::identity::{Id, Ids};
use crate::limits::Limits;
use crate::load::{Executable, Load, Loaded, Loader, Loading};
use crate::mm::{Mm, MmSettings};
use crate::node::{LaunchRequest, Node, NodeSettings};
use crate::process::Process;
use crate::sched::HelperRules;
use crate::signals::SigSet;
use crate::system::{Core, CoreWork, System};
use crate::testing::{self, TestClock};
use cpu::{Code, Cpu, Script};
use keelson_exec::Executor;
use keelson_hal::{Clock, Instant};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Memory that programs of tests may use.
pub const DATA: u64 = 0x1000_0000;
const DATA_SIZE: u64 = 0x10_0000;
const STACK: u64 = 0x2000_0000;
const STACK_SIZE: u64 = 0x10_0000;

/// What threads are made with (glibc's flags).
pub const THREAD: u64 = 0x3d0f00;

thread_local! {
    static WORK: RefCell<VecDeque<(usize, CoreWork)>> = const { RefCell::new(VecDeque::new()) };
}

/// A node with its host.
pub struct World {
    pub node: Arc<Node>,
    pub clock: Arc<TestClock>,
    pub machine: Arc<testing::Machine>,
    pub host: Arc<Host>,
    code: Arc<Code>,
    loader: Arc<Images>,
    cores: Vec<(Executor, Core)>,
}

struct Shared(Arc<TestClock>);

impl Clock for Shared {
    fn now(&self) -> Instant {
        self.0.now()
    }
    fn wall(&self) -> Duration {
        self.0.wall()
    }
}

/// The host: every proxy of it.
#[derive(Default)]
pub struct Host {
    pub exits: Mutex<Vec<Exit>>,
    pub calls: Mutex<Vec<Call>>,
    pub core: Mutex<Vec<u8>>,
    /// Its parts: offset, bytes, the last one.
    pub core_parts: Mutex<Vec<(usize, usize, bool)>>,
    pub forks: Mutex<u32>,
    /// It takes calls and does not answer.
    pub silent: AtomicBool,
    /// Answers to fork.
    pub fork_fails: Mutex<Option<Errno>>,
}

struct Proxy {
    host: Arc<Host>,
}

impl Delegate for Proxy {
    fn host(&self) -> u64 {
        1
    }

    fn call(&self, call: Call) -> Pending {
        self.host.calls.lock().unwrap().push(call);
        if self.host.silent.load(Ordering::Relaxed) {
            return Box::pin(core::future::pending());
        }
        Box::pin(ready(Reply::default()))
    }
    fn has_call_of(&self, tid: u32) -> bool {
        self.host.silent.load(Ordering::Relaxed)
            && self.host.calls.lock().unwrap().iter().any(|call| call.tid == tid)
    }
    fn cancel(&self, _tid: u32) {}
    fn close(&self, _handles: &[Handle]) {}
    fn subscribe(&self, _handle: Handle, _events: u32, _ready: Arc<dyn Readiness>) -> Result<(), Errno> {
        Ok(())
    }
    fn page_in(&self, _handle: Handle, _offset: u64, _len: u32) -> Bytes {
        Box::pin(ready(Ok(Vec::new())))
    }
    fn page_out(&self, _handle: Handle, _offset: u64, _bytes: Vec<u8>) -> Done {
        Box::pin(ready(Ok(())))
    }
    fn is_alive(&self) -> bool {
        true
    }
    fn exited(&self, exit: &Exit) {
        self.host.exits.lock().unwrap().push(exit.clone());
    }
    fn fork(&self, _tid: u32) -> Pin<Box<dyn Future<Output = Result<Forked, Errno>>>> {
        let host = self.host.clone();
        let result = match *host.fork_fails.lock().unwrap() {
            Some(errno) => Err(errno),
            None => {
                let mut forks = host.forks.lock().unwrap();
                *forks += 1;
                Ok(Forked { pid: 2000 + *forks, delegate: Arc::new(Proxy { host: host.clone() }) })
            }
        };
        Box::pin(ready(result))
    }
    fn core_file(&self, part: CorePart) -> Pin<Box<dyn Future<Output = bool>>> {
        let (mut core, begin) = (self.host.core.lock().unwrap(), part.offset as usize);
        assert!(core.is_empty() && begin == 0 || core.len() == part.size as usize);
        core.resize(part.size as usize, 0);
        core[begin..begin + part.bytes.len()].copy_from_slice(&part.bytes);
        self.host.core_parts.lock().unwrap().push((begin, part.bytes.len(), part.is_last()));
        Box::pin(ready(true))
    }
}

/// Programs by path.
#[derive(Default)]
struct Images(Mutex<BTreeMap<Vec<u8>, u64>>);

impl Loader for Images {
    fn load<'a>(&'a self, mm: &'a Arc<Mm>, load: Load) -> Loading<'a> {
        let path = match &load.executable {
            Executable::Handle(_) => load.program.path.clone(),
            Executable::Path { path, .. } => path.clone(),
        };
        let entry = self.0.lock().unwrap().get(&path).copied().ok_or(Errno::ENOENT);
        for (at, size) in [(DATA, DATA_SIZE), (STACK, STACK_SIZE)] {
            testing::map_anonymous(mm, at, size);
        }
        let loaded = entry.map(|entry| Loaded { entry, stack: STACK + STACK_SIZE, program: load.program });
        Box::pin(ready(loaded))
    }
}

impl World {
    /// A node with `cores` compute cores beside the service core.
    pub fn new(cores: usize) -> World {
        World::with(NodeSettings {
            compute: (1..=cores).collect(),
            service: vec![0],
            ..NodeSettings::default()
        })
    }

    /// A node with these settings.
    pub fn with(settings: NodeSettings) -> World {
        let (system, machine, clock) = testing::system();
        let system = Arc::new(System {
            machine: system.machine.clone(),
            clock: system.clock.clone(),
            entropy: system.entropy.clone(),
            timers: system.timers.clone(),
            memory: system.memory.clone(),
            run_on: |core, work| {
                WORK.with_borrow_mut(|queue| queue.push_back((core, work)));
                true
            },
        });
        let code = Arc::new(Code::default());
        let script = Rc::new(Script::new(code.clone(), clock.clone()));
        let cores: Vec<_> = (0..5)
            .map(|number| {
                let executor = Executor::new(Rc::new(Shared(clock.clone())), None);
                let core = Core { number, executor: executor.handle(), user: script.clone() };
                (executor, core)
            })
            .collect();
        let (first, core) = &cores[0];
        first.handle().spawn("timers", system.timers.clone().serve(core.executor.clone()));
        let node = Node::new(system, settings);
        World { node, clock, machine, host: Arc::default(), code, loader: Arc::default(), cores }
    }

    /// Adds a program.
    pub fn program(&self, path: &str, body: impl Fn(&mut Cpu) + Send + Sync + 'static) {
        let entry = self.code.image(body);
        self.loader.0.lock().unwrap().insert(path.into(), entry);
    }

    /// What launches `path` as process `pid`.
    pub fn request(&self, pid: u32, path: &str) -> LaunchRequest {
        LaunchRequest {
            pid,
            parent: 77,
            group: pid,
            session: pid,
            executable: Handle(1),
            path: path.into(),
            arguments: vec![path.into()],
            environment: Vec::new(),
            ids: Ids { user: Id::all(1000), group: Id::all(100), groups: Arc::new(vec![100, 4]) },
            limits: Limits::default(),
            umask: 0o22,
            blocked: SigSet::EMPTY,
            ignored: SigSet::EMPTY,
            slices: 0,
            slice: Some(0),
            cpu: None,
            small_pages: false,
            keeps: false,
            helpers: HelperRules::default(),
            memory: MmSettings::default(),
            files: Arc::default(),
            delegate: Arc::new(Proxy { host: self.host.clone() }),
            loader: self.loader.clone(),
        }
    }

    /// Launches a program.
    pub fn launch(&self, request: LaunchRequest) -> Result<Arc<Process>, Errno> {
        let mut launch = pin!(self.node.launch(request));
        loop {
            if let Poll::Ready(launched) = launch.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return launched.map(|launched| launched.process);
            }
            // The core that it is for loads it.
            let Some(core) = self.hand_out() else { panic!("the launch waits") };
            self.cores[core].0.turn();
        }
    }

    /// Gives the cores what was put on them; the last that had something.
    fn hand_out(&self) -> Option<usize> {
        let mut last = None;
        while let Some((number, work)) = WORK.with_borrow_mut(VecDeque::pop_front) {
            work(&self.cores[number].1);
            last = Some(number);
        }
        last
    }

    /// One round of all cores; false when there was nothing to do.
    pub fn round(&self) -> bool {
        let mut busy = self.hand_out().is_some();
        for (executor, _) in &self.cores {
            busy |= executor.turn();
        }
        busy
    }

    /// Runs until nobody has anything to do any more; time passes while everybody waits.
    pub fn run(&self) {
        for _ in 0..100_000 {
            if self.round() {
                continue;
            }
            let next = self.cores[0].0.rest_until();
            if next == Instant::FAR_FUTURE {
                return;
            }
            self.clock.advance(next.saturating_since(self.clock.now()));
        }
        panic!("the programs run for ever");
    }

    /// Runs until nobody is ready, without letting time pass.
    pub fn settle(&self) {
        for _ in 0..10_000 {
            if !self.round() {
                return;
            }
        }
        panic!("the programs run for ever");
    }

    /// Runs one program as process 1000 and returns its wait status.
    pub fn run_program(&self, body: impl Fn(&mut Cpu) + Send + Sync + 'static) -> u32 {
        self.program("/bin/test", body);
        self.launch(self.request(1000, "/bin/test")).expect("launched");
        self.run();
        self.status(1000)
    }

    /// How a process ended.
    pub fn status(&self, pid: u32) -> u32 {
        let exits = self.host.exits.lock().unwrap();
        exits.iter().find(|exit| exit.pid == pid).expect("the process ended").status
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (executor, _) in &self.cores {
            executor.abort_all();
        }
        WORK.with_borrow_mut(VecDeque::clear);
    }
}

/// A place where programs of a test leave what they saw.
pub fn notes<T: Send + 'static>() -> (Arc<Mutex<Vec<T>>>, impl Fn(T) + Clone + Send + Sync + 'static) {
    let list = Arc::new(Mutex::new(Vec::new()));
    let writer = list.clone();
    (list, move |note| writer.lock().unwrap().push(note))
}
