//! Nodes that serve files: a volume and an archive at the root, devices, `/net`.

use crate::world::{World, root};
use keelson_exec::sync::Notify;
use keelson_qnet::api::{Credentials, KernelConfig, NameScope};
use keelson_qnet::client::Files;
use keelson_qnet::io::{
    Archive, Console, Dispatcher, Io, IoConfig, MountList, NameDirectory, Namespace, NetDirectory, Netmgr,
    NodeDirectory, NodeEntry, NodeName, Null, Order, Terminal, TextFile, VolumeFiles, Zero,
};
use keelson_qnet::sessions::memory::{Network, NetworkSettings};
use keelson_qnet_wire::{Errno, Nd};
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::rc::Rc;

/// Names of the nodes of a test, by index.
const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

pub struct Lab {
    pub world: World,
    pub nodes: Vec<Node>,
}

pub struct Node {
    pub dispatcher: Rc<Dispatcher>,
    pub directory: Rc<Directory>,
    pub terminal: Rc<TestTerminal>,
    server: keelson_exec::TaskHandle,
}

impl Lab {
    pub fn new() -> Lab {
        Lab::with(NetworkSettings::default(), KernelConfig::default(), IoConfig::default())
    }

    pub fn with(settings: NetworkSettings, kernel: KernelConfig, io: IoConfig) -> Lab {
        let world = World::with(3, settings, kernel);
        let nodes = (0..3).map(|index| boot(&world, index, io)).collect();
        Lab { world, nodes }
    }

    /// Files as a user of one node sees them.
    pub fn files(&self, node: usize, who: &Credentials) -> Files {
        let nodes: Rc<dyn NodeDirectory> = self.nodes[node].directory.clone();
        Files::new(&self.world.kernel(node), who, Some(nodes))
    }

    /// Runs something with root's files of the first node.
    pub fn run<T: 'static, F: Future<Output = T> + 'static>(&self, what: impl FnOnce(Files) -> F) -> T {
        self.world.run(what(self.files(0, &root())))
    }

    /// Nothing is open, connected or under way anywhere.
    pub fn assert_baseline(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            assert_eq!(node.dispatcher.open_files(), 0, "open files of node {index}");
        }
        self.world.assert_baseline();
    }
}

fn boot(world: &World, index: usize, config: IoConfig) -> Node {
    let kernel = world.kernel(index);
    let clock = world.executor.handle().clock();
    let volume = Rc::new(MemoryVolume::new(clock, MemoryOptions::default()));
    let archive = Archive::new([
        ("etc/TIMEZONE", 0o644, Rc::from(&b"UTC0\n"[..])),
        ("bin/date", 0o755, Rc::from(&b"#"[..])),
    ]);
    let directory = Rc::new(Directory::new(world.network.clone(), index));
    let terminal = Rc::new(TestTerminal::default());
    let namespace = Namespace::new();
    let name = NAMES[index];
    let archive = Rc::new(archive.unwrap());
    let mount = |prefix, manager| namespace.mount(prefix, manager, Order::After).unwrap();
    mount("/", Rc::new(VolumeFiles::new(volume)));
    mount("/", archive.clone());
    mount("/proc/boot", archive);
    mount("/proc/qnetstats", Rc::new(TextFile::new(move || format!("**** running on {name}\n"))));
    mount("/proc/mount", Rc::new(MountList::new(&namespace)));
    mount("/dev/null", Rc::new(Null));
    mount("/dev/zero", Rc::new(Zero));
    mount("/dev/con", Rc::new(Console::new(terminal.clone(), 0o666)));
    mount("/net", Rc::new(NetDirectory::new(directory.clone())));
    mount("/dev/netmgr", Rc::new(Netmgr::new(directory.clone())));
    mount("/dev/name/local", Rc::new(NameDirectory::new(&kernel, NameScope::Local)));
    let dispatcher = Dispatcher::new(&kernel, &namespace, Some(directory.clone()), config);
    let channel = kernel.channel(1).unwrap();
    assert_eq!(channel.chid(), 1);
    let server = world.spawn(dispatcher.clone().run(channel));
    Node { dispatcher, directory, terminal, server }
}

impl Node {
    /// Ends the server, and with it its channel.
    pub fn stop(&self) {
        self.server.abort();
    }
}

/// Nodes of a network in memory; which of them are listed is up to the test.
pub struct Directory {
    network: Network,
    index: usize,
    pub known: RefCell<BTreeSet<usize>>,
    /// Nodes that do not answer.
    pub down: RefCell<BTreeSet<usize>>,
    pub flushes: Cell<usize>,
}

impl Directory {
    fn new(network: Network, index: usize) -> Directory {
        let known = RefCell::new((0..3).filter(|other| *other != index).collect());
        Directory { network, index, known, down: RefCell::default(), flushes: Cell::new(0) }
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        let host = name.split(['.', '~']).next().unwrap();
        NAMES.iter().position(|other| *other == host)
    }

    fn of_nd(&self, nd: Nd) -> Option<usize> {
        (0..3).find(|other| self.network.nd(*other, self.index).same_node(nd))
    }
}

impl NodeDirectory for Directory {
    fn own_name(&self) -> NodeName {
        NodeName { host: NAMES[self.index].into(), domain: "lab.test".into(), qos: String::new() }
    }

    fn list(&self) -> Vec<NodeEntry> {
        let entry =
            |other: &usize| NodeEntry { name: NAMES[*other].into(), nd: self.network.nd(*other, self.index) };
        self.known.borrow().iter().map(entry).collect()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> Io<'a, Nd> {
        Box::pin(async move {
            let other = self.index_of(name).ok_or(Errno::ENOENT)?;
            if other != self.index {
                self.known.borrow_mut().insert(other);
            }
            Ok(self.network.nd(other, self.index))
        })
    }

    fn verify<'a>(&'a self, name: &'a str) -> Io<'a, Nd> {
        Box::pin(async move {
            let nd = self.resolve(name).await?;
            let other = self.index_of(name).unwrap();
            if self.down.borrow().contains(&other) {
                self.known.borrow_mut().remove(&other);
                return Err(Errno::EHOSTDOWN);
            }
            Ok(nd)
        })
    }

    fn remove(&self, name: &str) -> Result<(), Errno> {
        let other = self.index_of(name).ok_or(Errno::ENOENT)?;
        if other == self.index {
            return Err(Errno::EBUSY);
        }
        if self.known.borrow_mut().remove(&other) { Ok(()) } else { Err(Errno::ENOENT) }
    }

    fn remote_nd(&self, remote: Nd, local: Nd) -> Io<'_, Nd> {
        Box::pin(async move {
            let remote = self.of_nd(remote).ok_or(Errno::ESRCH)?;
            let local = self.of_nd(local).ok_or(Errno::ESRCH)?;
            Ok(self.network.nd(local, remote))
        })
    }

    fn name_of(&self, nd: Nd) -> Option<NodeName> {
        let host = NAMES[self.of_nd(nd)?].into();
        Some(NodeName { host, domain: "other.test".into(), qos: String::new() })
    }

    fn flush(&self) {
        self.flushes.set(self.flushes.get() + 1);
    }
}

#[derive(Default)]
pub struct TestTerminal {
    pub shown: RefCell<Vec<u8>>,
    typed: RefCell<VecDeque<u8>>,
    changed: Rc<Notify>,
}

impl TestTerminal {
    pub fn type_in(&self, text: &str) {
        self.typed.borrow_mut().extend(text.bytes());
        self.changed.notify();
    }
}

impl Terminal for TestTerminal {
    fn write(&self, text: &[u8]) -> usize {
        self.shown.borrow_mut().extend_from_slice(text);
        text.len()
    }

    fn read(&self, room: &mut [u8]) -> usize {
        let mut typed = self.typed.borrow_mut();
        let len = typed.len().min(room.len());
        room.iter_mut().zip(typed.drain(..len)).for_each(|(to, from)| *to = from);
        len
    }

    fn has_input(&self) -> bool {
        !self.typed.borrow().is_empty()
    }

    fn has_room(&self) -> bool {
        true
    }

    fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }
}
