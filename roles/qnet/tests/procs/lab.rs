//! Nodes with processes.

use crate::node;
use crate::world::root;
use keelson_exec::sync::Notify;
use keelson_hal::Clock;
use keelson_qnet::api::{Credentials, KernelConfig};
use keelson_qnet::client::Files;
use keelson_qnet::io::{Archive, Io, IoConfig, Order};
use keelson_qnet::procs::{
    Cpu, Descriptors, End, Group, MemoryInfo, MountRequest, Processes, ProcsConfig, SEARCH_PATH, Start,
    Stream, System, program_files,
};
use keelson_qnet::programs::PROGRAMS;
use keelson_qnet::sessions::memory::NetworkSettings;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::proc::MachineType;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

pub struct Lab {
    pub files: node::Lab,
    pub processes: Vec<Processes>,
    pub machines: Vec<Rc<Machine>>,
}

impl Lab {
    pub fn new() -> Lab {
        Lab::with(NetworkSettings::default(), KernelConfig::default(), ProcsConfig::default())
    }

    pub fn with(settings: NetworkSettings, kernel: KernelConfig, config: ProcsConfig) -> Lab {
        let lab = node::Lab::with(settings, kernel, IoConfig::default());
        let (mut processes, mut machines) = (Vec::new(), Vec::new());
        for (index, node) in lab.nodes.iter().enumerate() {
            let machine = Rc::new(Machine::new(index, lab.world.executor.handle().clock()));
            let kernel = lab.world.kernel(index);
            let (own, directory) = (kernel.clone(), node.directory.clone());
            let files = Rc::new(move |who: &Credentials| Files::new(&own, who, Some(directory.clone())));
            let table = Processes::new(&kernel, files, machine.clone(), PROGRAMS, config).unwrap();
            let namespace = node.dispatcher.namespace();
            let programs: Vec<_> = program_files(PROGRAMS).collect();
            let mut programs: Vec<_> =
                programs.iter().map(|(name, mode, bytes)| (name.as_str(), *mode, bytes.clone())).collect();
            programs.push(("etc/elf", 0o755, Rc::from(&b"\x7fELF\x01\x01"[..])));
            programs.push(("etc/secret", 0o600, Rc::from(&b"secret\n"[..])));
            let archive = Archive::new(programs).unwrap();
            namespace.mount("/", Rc::new(archive), Order::Before).unwrap();
            table.mount(namespace).unwrap();
            node.dispatcher.set_services(Rc::new(table.clone()));
            processes.push(table);
            machines.push(machine);
        }
        Lab { files: lab, processes, machines }
    }

    /// Starts a program of a node as root.
    pub fn start(&self, node: usize, args: &[&str], fds: Descriptors) -> Result<u32, Errno> {
        self.start_as(node, &root(), args, fds)
    }

    pub fn start_as(
        &self,
        node: usize,
        who: &Credentials,
        args: &[&str],
        fds: Descriptors,
    ) -> Result<u32, Errno> {
        let processes = self.processes[node].clone();
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let who = *who;
        self.files.world.run(async move {
            let path = args[0].clone();
            let start = Start {
                path: &path,
                search: Some(SEARCH_PATH),
                args,
                env: vec!["HOME=/".into()],
                cwd: "/".into(),
                umask: 0o22,
                who,
                parent: 1,
                group: Group::Own,
                fds,
            };
            processes.spawn(start).await
        })
    }

    pub fn wait(&self, node: usize, pid: u32) -> Result<End, Errno> {
        let processes = self.processes[node].clone();
        self.files.world.run(async move { processes.wait(pid).await })
    }

    /// Runs a program of a node as root to its end, with this input: its status, its output, its complaints.
    pub fn run(&self, node: usize, args: &[&str], input: &str) -> (i32, String, String) {
        self.run_as(node, &root(), args, input)
    }

    pub fn run_as(
        &self,
        node: usize,
        who: &Credentials,
        args: &[&str],
        input: &str,
    ) -> (i32, String, String) {
        let (output, errors) = (Sink::new(), Sink::new());
        let fds = descriptors(Source::ended(input), output.clone(), errors.clone());
        let pid = self.start_as(node, who, args, fds).unwrap();
        let end = self.wait(node, pid).unwrap();
        (end.status(), output.text(), errors.text())
    }

    /// The output of a program that has nothing to complain about.
    pub fn output(&self, node: usize, args: &[&str]) -> String {
        let (status, output, errors) = self.run(node, args, "");
        assert_eq!((status, errors.as_str()), (0, ""), "{args:?} said {output}");
        output
    }

    /// A file of a node.
    pub fn put(&self, node: usize, path: &'static str, bytes: &[u8]) {
        let files = self.files.files(node, &root());
        let bytes = bytes.to_vec();
        self.files.world.run(async move {
            let file = files.create(path, 0o644).await.unwrap();
            file.write_all(&bytes).await.unwrap();
            file.close().await.unwrap();
        });
    }

    pub fn get(&self, node: usize, path: &'static str) -> Result<String, Errno> {
        let files = self.files.files(node, &root());
        let bytes = self.files.world.run(async move { files.read_to_end(path, 1 << 25).await });
        bytes.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    pub fn settle(&self) {
        self.files.world.settle();
    }

    /// Nothing runs, is open, connected or under way anywhere.
    pub fn assert_baseline(&self) {
        for (node, processes) in self.processes.iter().enumerate() {
            assert_eq!(processes.running(), 0, "processes of node {node}");
        }
        self.files.assert_baseline();
    }
}

pub fn descriptors(input: Rc<Source>, output: Rc<Sink>, errors: Rc<Sink>) -> Descriptors {
    let list: [(i32, Rc<dyn Stream>); 3] = [(0, input), (1, output), (2, errors)];
    list.into()
}

/// Takes everything, if there is room.
#[derive(Default)]
pub struct Sink {
    pub bytes: RefCell<Vec<u8>>,
    pub is_terminal: Cell<bool>,
    /// Nobody is there any more.
    pub is_broken: Cell<bool>,
}

impl Sink {
    pub fn new() -> Rc<Sink> {
        Rc::default()
    }

    pub fn terminal() -> Rc<Sink> {
        let sink = Sink::new();
        sink.is_terminal.set(true);
        sink
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.bytes.borrow().clone()).unwrap()
    }

    pub fn take(&self) -> String {
        String::from_utf8(self.bytes.take()).unwrap()
    }
}

impl Stream for Sink {
    fn write<'a>(&'a self, data: &'a [u8]) -> Io<'a, usize> {
        Box::pin(async move {
            if self.is_broken.get() {
                return Err(Errno::EIO);
            }
            self.bytes.borrow_mut().extend_from_slice(data);
            Ok(data.len())
        })
    }

    fn is_terminal(&self) -> Io<'_, bool> {
        Box::pin(async move { Ok(self.is_terminal.get()) })
    }
}

/// Has what the test gives it.
#[derive(Default)]
pub struct Source {
    bytes: RefCell<VecDeque<u8>>,
    is_over: Cell<bool>,
    is_terminal: Cell<bool>,
    changed: Notify,
}

impl Source {
    pub fn new() -> Rc<Source> {
        Rc::default()
    }

    pub fn terminal() -> Rc<Source> {
        let source = Source::new();
        source.is_terminal.set(true);
        source
    }

    pub fn ended(text: &str) -> Rc<Source> {
        let source = Source::new();
        source.give(text);
        source.end();
        source
    }

    pub fn give(&self, text: &str) {
        self.bytes.borrow_mut().extend(text.bytes());
        self.changed.notify();
    }

    pub fn end(&self) {
        self.is_over.set(true);
        self.changed.notify();
    }
}

impl Stream for Source {
    fn read<'a>(&'a self, room: &'a mut [u8]) -> Io<'a, usize> {
        Box::pin(async move {
            loop {
                let wait = self.changed.notified();
                {
                    let mut bytes = self.bytes.borrow_mut();
                    let len = bytes.len().min(room.len());
                    room.iter_mut().zip(bytes.drain(..len)).for_each(|(to, from)| *to = from);
                    if len > 0 || self.is_over.get() {
                        return Ok(len);
                    }
                }
                wait.await;
            }
        })
    }

    fn is_terminal(&self) -> Io<'_, bool> {
        Box::pin(async move { Ok(self.is_terminal.get()) })
    }
}

/// The machine of a node.
pub struct Machine {
    clock: Rc<dyn Clock>,
    pub host: RefCell<String>,
    pub objects: RefCell<Vec<String>>,
    pub mounts: RefCell<Vec<MountRequest>>,
}

/// 2026-01-02 03:04:05 UTC.
pub const BOOT: u64 = 1_767_323_045;

impl Machine {
    fn new(index: usize, clock: Rc<dyn Clock>) -> Machine {
        let host = RefCell::new(["alpha", "beta", "gamma"][index].to_string());
        let objects = RefCell::new(vec!["devn-virtio.so".to_string()]);
        Machine { clock, host, objects, mounts: RefCell::default() }
    }
}

impl System for Machine {
    fn memory(&self) -> MemoryInfo {
        MemoryInfo { total: 256 << 20, free: 200 << 20 }
    }

    fn cpus(&self) -> Vec<Cpu> {
        vec![Cpu { name: "Keelson 1".into(), model: 15, mhz: 2400 }; 2]
    }

    fn machine(&self) -> MachineType {
        MachineType::X86
    }

    fn wall_time(&self) -> Duration {
        self.boot_time() + Duration::from_nanos(self.clock.now().as_nanos())
    }

    fn boot_time(&self) -> Duration {
        Duration::from_secs(BOOT)
    }

    fn release(&self) -> String {
        "6.5.0".into()
    }

    fn version(&self) -> String {
        "2026/01/01-00:00:00UTC".into()
    }

    fn host_name(&self) -> String {
        self.host.borrow().clone()
    }

    fn domain(&self) -> String {
        "lab.test".into()
    }

    fn set_host_name(&self, name: &str) -> Result<(), Errno> {
        *self.host.borrow_mut() = name.into();
        Ok(())
    }

    fn network_objects(&self) -> Vec<String> {
        self.objects.borrow().clone()
    }

    fn mount<'a>(&'a self, request: &'a MountRequest) -> Io<'a, ()> {
        Box::pin(async move {
            if request.object == "missing.so" {
                return Err(Errno::ENOENT);
            }
            self.mounts.borrow_mut().push(request.clone());
            Ok(())
        })
    }

    fn umount<'a>(&'a self, path: &'a str) -> Io<'a, ()> {
        Box::pin(async move {
            let mut mounts = self.mounts.borrow_mut();
            let place = mounts.iter().position(|mount| mount.object == path).ok_or(Errno::ENOENT)?;
            mounts.remove(place);
            Ok(())
        })
    }
}
