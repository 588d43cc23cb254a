//! A Qnet node that runs programs: volume, archive with all of `/bin`, process manager, on virtual time.

use keelson_exec::sim::SimClock;
use keelson_exec::sync::Notify;
use keelson_exec::{Executor, TaskHandle};
use keelson_hal::Entropy;
use keelson_qnet::api::{Credentials, Kernel, KernelConfig};
use keelson_qnet::client::Files;
use keelson_qnet::io::{
    Archive, Console, Dispatcher, Io, IoConfig, Namespace, Null, Order, Terminal, VolumeFiles,
};
use keelson_qnet::procs::{Cpu, MemoryInfo, MountRequest, Processes, ProcsConfig, System, program_files};
use keelson_qnet::programs::PROGRAMS;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::proc::MachineType;
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// What nobody but root may read or change.
pub const PRECIOUS: &[u8] = b"precious-secret";
/// Bytes of what is written to a terminal or a descriptor that are kept.
const MOST_OUTPUT: usize = 1 << 20;

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x11);
    }
}

/// The node.
pub struct Machine {
    /// Virtual time.
    pub clock: Rc<SimClock>,
    /// What runs the node.
    pub executor: Executor,
    /// Message passing.
    pub kernel: Kernel,
    /// Resource managers.
    pub dispatcher: Rc<Dispatcher>,
    /// Processes.
    pub processes: Processes,
    server: TaskHandle,
}

impl Machine {
    /// A node with a directory for everybody, `/public`, and a file that only root may read, `/precious`.
    pub fn new() -> Machine {
        let clock = SimClock::new();
        let executor = Executor::new(clock.clone(), None);
        let handle = executor.handle();
        let kernel = Kernel::new(&handle, KernelConfig::default(), &Fixed);
        let options = MemoryOptions { capacity: 1 << 20, inodes: 40, ..MemoryOptions::default() };
        let volume = Rc::new(MemoryVolume::new(clock.clone(), options));
        let programs: Vec<_> = program_files(PROGRAMS).collect();
        let archive =
            Archive::new(programs.iter().map(|(name, mode, bytes)| (name.as_str(), *mode, bytes.clone())));
        let namespace = Namespace::new();
        let mount = |prefix, manager| {
            namespace.mount(prefix, manager, Order::After).expect("a prefix");
        };
        mount("/", Rc::new(VolumeFiles::new(volume)));
        mount("/", Rc::new(archive.expect("names that differ")));
        mount("/dev/null", Rc::new(Null));
        mount("/dev/con", Rc::new(Console::new(Rc::new(Teletype::default()), 0o666)));
        let own = kernel.clone();
        let files = Rc::new(move |who: &Credentials| Files::new(&own, who, None));
        // A few: whoever starts more is refused, and finds that out soon.
        let config = ProcsConfig { processes: 24, ..ProcsConfig::default() };
        let system = Rc::new(Constant(RefCell::new("alpha".into())));
        let processes = Processes::new(&kernel, files, system, PROGRAMS, config)
            .unwrap_or_else(|errno| panic!("processes: {errno}"));
        processes.mount(&namespace).unwrap_or_else(|errno| panic!("/proc: {errno}"));
        let dispatcher = Dispatcher::new(&kernel, &namespace, None, IoConfig::default());
        dispatcher.set_services(Rc::new(processes.clone()));
        let channel = kernel.channel(1).expect("a channel");
        let server = handle.spawn("server", dispatcher.clone().run(channel));
        let machine = Machine { clock, executor, kernel, dispatcher, processes, server };
        machine.furnish();
        machine
    }

    fn furnish(&self) {
        let made = self.run(self.as_root(|files| async move {
            files.mkdir("/public", 0o777).await?;
            let precious = files.create("/precious", 0o600).await?;
            precious.write_all(PRECIOUS).await?;
            precious.close().await?;
            files.create("/public/a", 0o666).await?.write_all(b"abc\n").await
        }));
        made.unwrap_or_else(|errno| panic!("files: {errno}"));
    }

    /// Runs something to its end.
    pub fn run<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> T {
        self.executor.block_on(&*self.clock, work)
    }

    /// Work with files as root has them.
    pub fn as_root<T, F: Future<Output = T>>(&self, work: impl FnOnce(Files) -> F) -> F {
        work(Files::new(&self.kernel, &Credentials { pid: 1, ..Credentials::default() }, None))
    }

    /// The end: every process is killed, and then nothing is left of any. The precious file is as it was.
    pub fn finish(self) {
        self.processes.end_all();
        let handle = self.executor.handle();
        self.run(async move { handle.sleep(Duration::from_secs(8)).await });
        assert_eq!(self.processes.running(), 0, "processes that do not end");
        assert_eq!(self.dispatcher.open_files(), 0, "files are open");
        let kernel = &self.kernel;
        assert_eq!((kernel.connections(), kernel.server_connections(), kernel.transactions()), (0, 0, 0));
        let (content, mode) = self
            .run(self.as_root(|files| async move {
                let stat = files.stat("/precious").await?;
                Ok::<_, Errno>((files.read_to_end("/precious", 99).await?, stat.mode))
            }))
            .unwrap_or_else(|errno| panic!("the precious file: {errno}"));
        assert_eq!((content.as_slice(), mode & 0o777), (PRECIOUS, 0o600), "what only root may change");
        self.server.abort();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.executor.abort_all();
    }
}

/// A user that is nobody in particular.
pub fn somebody() -> Credentials {
    let ids = Credentials { pid: 9, ruid: 100, euid: 100, suid: 100, ..Credentials::default() };
    Credentials { rgid: 100, egid: 100, sgid: 100, ..ids }
}

/// A terminal at which nobody types. It keeps what it is given.
#[derive(Default)]
pub struct Teletype {
    written: RefCell<Vec<u8>>,
    changed: Rc<Notify>,
}

impl Teletype {
    /// What was written.
    pub fn written(&self) -> Vec<u8> {
        self.written.borrow().clone()
    }
}

impl Terminal for Teletype {
    fn write(&self, text: &[u8]) -> usize {
        let mut written = self.written.borrow_mut();
        let room = MOST_OUTPUT.saturating_sub(written.len());
        written.extend_from_slice(&text[..text.len().min(room)]);
        text.len()
    }

    fn read(&self, _: &mut [u8]) -> usize {
        0
    }

    fn has_input(&self) -> bool {
        false
    }

    fn has_room(&self) -> bool {
        true
    }

    fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }
}

/// A machine that is always the same, but for its name.
struct Constant(RefCell<String>);

impl System for Constant {
    fn memory(&self) -> MemoryInfo {
        MemoryInfo { total: 256 << 20, free: 200 << 20 }
    }

    fn cpus(&self) -> Vec<Cpu> {
        vec![Cpu { name: "Keelson 1".into(), model: 15, mhz: 2400 }]
    }

    fn machine(&self) -> MachineType {
        MachineType::X86
    }

    fn wall_time(&self) -> Duration {
        self.boot_time()
    }

    fn boot_time(&self) -> Duration {
        Duration::from_secs(1_767_323_045)
    }

    fn release(&self) -> String {
        "6.5.0".into()
    }

    fn version(&self) -> String {
        "2026/01/01-00:00:00UTC".into()
    }

    fn host_name(&self) -> String {
        self.0.borrow().clone()
    }

    fn domain(&self) -> String {
        "lab.test".into()
    }

    fn set_host_name(&self, name: &str) -> Result<(), Errno> {
        *self.0.borrow_mut() = name.into();
        Ok(())
    }

    fn network_objects(&self) -> Vec<String> {
        Vec::new()
    }

    fn mount<'a>(&'a self, _: &'a MountRequest) -> Io<'a, ()> {
        Box::pin(async { Err(Errno::ENOENT) })
    }

    fn umount<'a>(&'a self, _: &'a str) -> Io<'a, ()> {
        Box::pin(async { Err(Errno::ENOENT) })
    }
}
