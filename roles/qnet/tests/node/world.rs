//! Nodes on wires in memory, in virtual time.

use keelson_exec::sim::SimClock;
use keelson_exec::sync::Notify;
use keelson_exec::{Executor, Handle};
use keelson_hal::Entropy;
use keelson_qnet::api::Credentials;
use keelson_qnet::client::Files;
use keelson_qnet::io::{Archive, Order, VolumeFiles};
use keelson_qnet::link::{LinkAddress, LinkId, LinkPort};
use keelson_qnet::node::{Node, NodeConfig};
use keelson_qnet_wire::l4::Header;
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

/// How long a frame takes.
const DELAY: Duration = Duration::from_micros(50);

pub struct World {
    clock: Rc<SimClock>,
    executor: Executor,
    seed: Cell<u64>,
}

pub struct Random(pub Cell<u64>);

impl Entropy for Random {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0.set(self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            *byte = (self.0.get() >> 56) as u8;
        }
    }
}

pub fn root() -> Credentials {
    Credentials { pid: 77, ..Credentials::default() }
}

/// What `ls /net` shows, in alphabetical order.
pub fn names_of(world: &World, node: &Node) -> Vec<String> {
    let mut names = world.names(node, "/net");
    names.sort();
    names
}

/// What a task ended with.
pub struct Outcome<T>(Rc<RefCell<Option<T>>>);

impl<T> Outcome<T> {
    pub fn take(&self) -> Option<T> {
        self.0.take()
    }
}

/// Settings of a node with a name.
pub fn named(host: &str) -> NodeConfig {
    let built = "Nov 27 2026 at 14:25:36".into();
    NodeConfig { host: host.into(), domain: "lab.test".into(), built, ..NodeConfig::default() }
}

impl World {
    pub fn new() -> World {
        let clock = SimClock::new();
        let executor = Executor::new(clock.clone(), None);
        World { clock, executor, seed: Cell::new(1) }
    }

    pub fn handle(&self) -> Handle {
        self.executor.handle()
    }

    pub fn wire(&self) -> Rc<Wire> {
        let wire = Rc::new(Wire::default());
        self.handle().spawn("wire", wire.clone().run(self.handle()));
        wire
    }

    /// A node that serves a volume and an archive; Qnet is not mounted.
    pub fn node(&self, config: NodeConfig) -> Node {
        self.seed.set(self.seed.get() + 1);
        let entropy = Rc::new(Random(Cell::new(self.seed.get())));
        let clock = self.handle().clock();
        let node = Node::new(&self.handle(), clock.clone(), entropy, config);
        let volume = Rc::new(MemoryVolume::new(clock, MemoryOptions::default()));
        let zone = ("etc/TIMEZONE", 0o644, Rc::from(&b"UTC0\n"[..]));
        let archive = Rc::new(Archive::new([zone]).unwrap());
        node.namespace().mount("/", Rc::new(VolumeFiles::new(volume)), Order::After).unwrap();
        node.namespace().mount("/", archive, Order::After).unwrap();
        node
    }

    /// The same, on one wire, with Qnet.
    pub fn mounted(&self, config: NodeConfig, wire: &Rc<Wire>) -> (Node, Rc<MemoryPort>) {
        let node = self.node(config);
        let port = wire.plug(&node, "en0");
        node.mount().unwrap();
        (node, port)
    }

    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.executor.block_on(&*self.clock, future)
    }

    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.handle().spawn("test", future);
    }

    /// Lets something run beside the test.
    pub fn start<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Outcome<T> {
        let outcome = Rc::new(RefCell::new(None));
        let slot = outcome.clone();
        self.spawn(async move {
            let value = future.await;
            *slot.borrow_mut() = Some(value);
        });
        Outcome(outcome)
    }

    pub fn now(&self) -> keelson_hal::Instant {
        self.handle().now()
    }

    /// Runs something with root's files.
    pub fn with<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        node: &Node,
        what: impl FnOnce(Files) -> F,
    ) -> T {
        self.run(what(node.files(&root())))
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let handle = self.handle();
        self.run(async move { handle.sleep(time).await });
    }

    /// Names and inodes in a directory.
    pub fn names(&self, node: &Node, path: &'static str) -> Vec<String> {
        let items = self.with(node, |files| async move { files.read_dir(path).await.unwrap() });
        items.into_iter().map(|item| item.name).collect()
    }

    pub fn text(&self, node: &Node, path: &'static str) -> String {
        let bytes = self.with(node, |files| async move { files.read_to_end(path, 1 << 20).await.unwrap() });
        String::from_utf8(bytes).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.executor.abort_all();
    }
}

/// A medium that everybody hears.
#[derive(Default)]
pub struct Wire {
    ports: RefCell<Vec<Rc<MemoryPort>>>,
    queue: RefCell<VecDeque<Sent>>,
    changed: Notify,
    /// Every frame: from, to, what lies behind the padding.
    pub seen: RefCell<Vec<Sent>>,
}

#[derive(Clone)]
pub struct Sent {
    pub from: LinkAddress,
    pub to: Option<LinkAddress>,
    pub bytes: Vec<u8>,
}

impl Wire {
    /// Puts a node on the wire.
    pub fn plug(self: &Rc<Wire>, node: &Node, name: &str) -> Rc<MemoryPort> {
        static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
        let last = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.plug_as(node, name, LinkAddress::Mac([2, 0, 0, 0, 0xab, last]))
    }

    pub fn plug_as(self: &Rc<Wire>, node: &Node, name: &str, address: LinkAddress) -> Rc<MemoryPort> {
        let loose = self.loose(node, name);
        let port = Rc::new(MemoryPort { address, ..Rc::into_inner(loose).expect("nobody else has it") });
        self.ports.borrow_mut().push(port.clone());
        port.link.set(Some(node.add_link(port.clone()).unwrap()));
        port
    }

    /// A port that nothing reaches.
    pub fn loose(self: &Rc<Wire>, node: &Node, name: &str) -> Rc<MemoryPort> {
        Rc::new(MemoryPort {
            name: name.into(),
            address: LinkAddress::Mac([2, 0, 0, 0, 0xcd, 0]),
            wire: Rc::downgrade(self),
            node: node.clone(),
            link: Cell::new(None),
            up: Cell::new(true),
            cut: Cell::new(false),
        })
    }

    async fn run(self: Rc<Wire>, handle: Handle) {
        loop {
            let changed = self.changed.notified();
            if self.queue.borrow().is_empty() {
                changed.await;
            }
            handle.sleep(DELAY).await;
            let batch: Vec<Sent> = self.queue.borrow_mut().drain(..).collect();
            for sent in batch {
                self.deliver(&sent);
            }
        }
    }

    fn deliver(&self, sent: &Sent) {
        self.seen.borrow_mut().push(sent.clone());
        let ports = self.ports.borrow().clone();
        for port in ports.iter().filter(|port| port.address != sent.from && port.up.get() && !port.cut.get())
        {
            if sent.to.is_none_or(|to| to == port.address)
                && let Some(link) = port.link.get()
            {
                port.node.input(link, sent.from, sent.to.is_none(), &sent.bytes);
            }
        }
    }
}

/// A node's end of a wire.
pub struct MemoryPort {
    name: String,
    pub address: LinkAddress,
    wire: std::rc::Weak<Wire>,
    node: Node,
    link: Cell<Option<LinkId>>,
    up: Cell<bool>,
    /// Nothing gets through, and nobody is told.
    pub cut: Cell<bool>,
}

impl MemoryPort {
    pub fn link(&self) -> LinkId {
        self.link.get().unwrap()
    }

    pub fn set_up(&self, up: bool) {
        self.up.set(up);
        self.node.links_changed();
    }
}

impl LinkPort for MemoryPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> LinkAddress {
        self.address
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn is_up(&self) -> bool {
        self.up.get()
    }

    fn room(&self) -> usize {
        64
    }

    fn send(&self, to: Option<LinkAddress>, head: &[u8; Header::LEN], payload: &[&[u8]]) -> bool {
        let Some(wire) = self.wire.upgrade() else { return false };
        let bytes = [&head[..], &payload.concat()].concat();
        if !self.cut.get() {
            wire.queue.borrow_mut().push_back(Sent { from: self.address, to, bytes });
        }
        true
    }

    fn flush(&self) {
        if let Some(wire) = self.wire.upgrade() {
            wire.changed.notify();
        }
    }
}
