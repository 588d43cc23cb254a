//! Nodes with kernels, virtual time, and a server that does what messages say.

use keelson_exec::Executor;
use keelson_exec::sim::SimClock;
use keelson_hal::Entropy;
use keelson_qnet::api::{Channel, Connection, Credentials, Kernel, KernelConfig, Message, Received};
use keelson_qnet::sessions::memory::{Network, NetworkSettings};
use keelson_qnet_wire::{Errno, Nd};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

pub struct World {
    pub clock: Rc<SimClock>,
    pub executor: Executor,
    pub network: Network,
    pub kernels: RefCell<Vec<Kernel>>,
    config: KernelConfig,
    seed: Cell<u64>,
}

struct Random(Cell<u64>);

impl Entropy for Random {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0.set(self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            *byte = (self.0.get() >> 56) as u8;
        }
    }
}

pub fn delayed(seed: u64) -> NetworkSettings {
    let delay = (Duration::from_micros(50), Duration::from_micros(900));
    NetworkSettings { delay, detection: Duration::from_millis(300), window: 8, seed }
}

impl World {
    pub fn new(nodes: usize) -> World {
        World::with(nodes, NetworkSettings::default(), KernelConfig::default())
    }

    pub fn with(nodes: usize, settings: NetworkSettings, config: KernelConfig) -> World {
        let clock = SimClock::new();
        let executor = Executor::new(clock.clone(), None);
        let network = Network::new(&executor.handle(), nodes, settings);
        let kernels = RefCell::new(Vec::new());
        let world = World { clock, executor, network, kernels, config, seed: Cell::new(settings.seed) };
        for node in 0..nodes {
            let kernel = world.new_kernel();
            kernel.mount(world.network.sessions(node)).unwrap();
            world.kernels.borrow_mut().push(kernel);
        }
        world
    }

    fn new_kernel(&self) -> Kernel {
        self.seed.set(self.seed.get() + 1);
        Kernel::new(&self.executor.handle(), self.config.clone(), &Random(Cell::new(self.seed.get())))
    }

    pub fn kernel(&self, node: usize) -> Kernel {
        self.kernels.borrow()[node].clone()
    }

    /// Power off: the kernel is gone without a word.
    pub fn crash(&self, node: usize) {
        self.network.crash(node);
        self.kernel(node).stop();
    }

    /// Power on with a new kernel.
    pub fn boot(&self, node: usize) {
        let sessions = self.network.reboot(node);
        let kernel = self.new_kernel();
        kernel.mount(sessions).unwrap();
        self.kernels.borrow_mut()[node] = kernel;
    }

    pub fn nd(&self, of: usize, on: usize) -> Nd {
        self.network.nd(of, on)
    }

    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.executor.block_on(&*self.clock, future)
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let handle = self.executor.handle();
        self.run(async move { handle.sleep(time).await });
    }

    /// Lets everything happen that can, within a second.
    pub fn settle(&self) {
        self.pass(Duration::from_secs(1));
    }

    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> keelson_exec::TaskHandle {
        self.executor.handle().spawn("test", future)
    }

    /// A server on process 1, channel 1 of a node.
    pub fn serve(&self, node: usize) -> Rc<Seen> {
        let seen = Rc::new(Seen::default());
        let kernel = self.kernel(node);
        let channel = kernel.channel(1).unwrap();
        seen.chid.set(channel.chid());
        let task = self.executor.handle().spawn("server", serve(kernel, channel, seen.clone()));
        *seen.task.borrow_mut() = Some(task);
        seen
    }

    /// A connection from one node to process 1, channel 1 of another.
    pub fn connect(&self, from: usize, to: usize) -> Connection {
        self.try_connect(from, to, &root()).unwrap()
    }

    pub fn try_connect(&self, from: usize, to: usize, who: &Credentials) -> Result<Connection, Errno> {
        let (kernel, nd, who) = (self.kernel(from), self.nd(to, from), *who);
        self.run(async move { kernel.connect(nd, 1, 1, &who).await })
    }

    /// One send, to its end.
    pub fn send(
        &self,
        connection: &Rc<Connection>,
        message: &[u8],
        room: usize,
    ) -> Result<(i32, Vec<u8>), Errno> {
        let (connection, message) = (connection.clone(), message.to_vec());
        self.run(async move { send(&connection, &message, room).await })
    }

    /// Nothing is left of connections and transactions on any node, and in no session.
    pub fn assert_baseline(&self) {
        for (node, kernel) in self.kernels.borrow().iter().enumerate() {
            let counters = kernel.counters();
            let left = [
                ("connections", kernel.connections()),
                ("server connections", kernel.server_connections()),
                ("transactions", kernel.transactions()),
                ("net_server", counters.net_server.now),
                ("net_client", counters.net_client.now),
                ("waiting", counters.waiting.now),
                ("vtid", counters.vtid.now),
                ("server_transactions", counters.server_transactions.now),
                ("buffer", counters.buffer.now),
                ("outbound", counters.outbound_msgs.now),
            ];
            for (what, count) in left {
                assert_eq!(count, 0, "{what} of node {node}: {counters:?}");
            }
        }
        assert_eq!(self.network.outstanding(), 0, "messages that nobody has released");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.executor.abort_all();
    }
}

pub async fn send(connection: &Connection, message: &[u8], room: usize) -> Result<(i32, Vec<u8>), Errno> {
    let mut reply = vec![0; room];
    let (status, len) = connection.send(&[message], &mut reply).await?;
    reply.truncate(len);
    Ok((status, reply))
}

pub fn root() -> Credentials {
    Credentials { pid: 1, ..Credentials::default() }
}

pub fn user(uid: u32) -> Credentials {
    let (gid, pid) = (uid, 100 + uid as i32);
    let ids = Credentials { ruid: uid, euid: uid, suid: uid, rgid: gid, egid: gid, sgid: gid, ..root() };
    Credentials { pid, ..ids }
}

/// What a server has seen.
#[derive(Default)]
pub struct Seen {
    pub chid: Cell<u32>,
    pub messages: Cell<usize>,
    pub disconnects: RefCell<Vec<u32>>,
    pub unblocks: Cell<usize>,
    pub pulses: RefCell<Vec<(i8, i32, u8)>>,
    /// Effective users of messages.
    pub users: RefCell<Vec<u32>>,
    /// Blocked requests that ended.
    pub ended: Cell<usize>,
    task: RefCell<Option<keelson_exec::TaskHandle>>,
}

impl Seen {
    /// Ends the server, and with it its channel.
    pub fn abort(&self) {
        self.task.borrow_mut().take().unwrap().abort();
    }
}

async fn serve(kernel: Kernel, channel: Channel, seen: Rc<Seen>) {
    loop {
        match channel.receive().await {
            Received::Message(message) => {
                seen.messages.set(seen.messages.get() + 1);
                seen.users.borrow_mut().push(message.credentials().euid);
                kernel.executor().spawn("request", handle(kernel.clone(), message, seen.clone()));
            }
            Received::Pulse(pulse) => {
                seen.pulses.borrow_mut().push((pulse.code, pulse.value, pulse.priority));
            }
            Received::Unblock { .. } => seen.unblocks.set(seen.unblocks.get() + 1),
            Received::Disconnect { scoid } => seen.disconnects.borrow_mut().push(scoid),
        }
    }
}

/// Does what the first byte says.
async fn handle(kernel: Kernel, message: Message, seen: Rc<Seen>) {
    match message.data().first() {
        // Echo: the whole message comes back.
        Some(b'e') => {
            let mut bytes = vec![0; message.len()];
            match message.read(0, &mut bytes).await {
                Ok(len) => message.reply(len as i32, &bytes[..len]),
                Err(errno) => message.error(errno),
            }
        }
        // The same, back in pieces that were written ahead of the reply, the last first.
        Some(b'w') => {
            let mut bytes = vec![0; message.len()];
            let Ok(len) = message.read(0, &mut bytes).await else { return };
            let mut end = len;
            while end > 0 {
                let start = end.saturating_sub(50_000);
                let _ = message.write(start, &bytes[start..end]).await;
                end = start;
            }
            message.reply(len as i32, &[]);
        }
        // Waits until the client does not want to any more.
        Some(b'b') => {
            message.unblocked().await;
            seen.ended.set(seen.ended.get() + 1);
        }
        // Takes its time whatever the client wants.
        Some(b's') => {
            kernel.executor().sleep(Duration::from_secs(60)).await;
            message.reply(0, &[]);
        }
        // Takes a moment.
        Some(b'm') => {
            kernel.executor().sleep(Duration::from_millis(20)).await;
            message.reply(7, b"moment");
        }
        Some(b'x') => message.error(Errno::EACCES),
        // Lets go.
        Some(b'd') => {}
        _ => message.reply(-1, &[]),
    }
}
