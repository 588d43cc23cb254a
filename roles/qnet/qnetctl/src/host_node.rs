//! A node of this host on any transports: in the program, and in the process of a test.
//!
//! A [`HostNode`] lives in one thread. [`NodeThread`] gives it a thread of its own, for tests that are something else
//! meanwhile.
//!
//! ```no_run
//! use keelson_qnetctl::host_node::{HostNode, NodeThread};
//! use keelson_qnetctl::transport::{Datagrams, Ends};
//! use keelson_qnet::node::NodeConfig;
//! use std::rc::Rc;
//!
//! let node = NodeThread::start(|| {
//!     let host = HostNode::new(NodeConfig { host: "tester".into(), ..NodeConfig::default() })?;
//!     let ends = Ends::Unix("/tmp/ours".into(), "/tmp/qemus".into());
//!     let link = Datagrams::open(host.reactor(), &ends, host.random_mac())?;
//!     host.add_transport(Rc::new(link))?;
//!     host.mount()?;
//!     Ok(host)
//! })
//! .unwrap();
//! let listed = node.run(async |host| host.files().read_dir("/net").await);
//! ```

use crate::host_machine::HostMachine;
use crate::link::HostLink;
use crate::reactor::{HostEntropy, Reactor};
use crate::transport::Transport;
use keelson_exec::{Executor, Handle, select, yield_now};
use keelson_hal::{Entropy, Instant};
use keelson_qnet::api::Credentials;
use keelson_qnet::client::Files;
use keelson_qnet::io::{Archive, Order};
use keelson_qnet::link::LinkId;
use keelson_qnet::node::{Node, NodeConfig};
use keelson_qnet::procs::{Processes, ProcsConfig, program_files};
use keelson_qnet::programs::PROGRAMS;
use keelson_qnet_wire::Errno;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Frames taken from a transport before the node gets to work on them.
const BATCH: usize = 64;

/// How long transports may hold frames back when a node ends, and how often it is looked.
const HELD_BACK: Duration = Duration::from_secs(1);
const GLANCE: Duration = Duration::from_millis(1);

/// A node and what it runs on. Clones are the same node; it ends with [`HostNode::end`] or with the thread.
#[derive(Clone)]
pub struct HostNode(Rc<Inner>);

struct Inner {
    reactor: Rc<Reactor>,
    executor: Executor,
    entropy: Rc<HostEntropy>,
    node: Node,
    who: Cell<Credentials>,
    links: RefCell<Vec<Rc<dyn Transport>>>,
    processes: RefCell<Option<(Processes, Rc<HostMachine>)>>,
}

impl HostNode {
    /// A node without links, with Qnet not mounted.
    pub fn new(config: NodeConfig) -> io::Result<HostNode> {
        let reactor = Reactor::new()?;
        let executor = Executor::new(reactor.clock(), None);
        let entropy = Rc::new(HostEntropy::default());
        let node = Node::new(&executor.handle(), reactor.clock(), entropy.clone(), config);
        let (who, links, processes) = Default::default();
        Ok(HostNode(Rc::new(Inner { reactor, executor, entropy, node, who, links, processes })))
    }

    /// Where its thread rests: transports are opened with it.
    pub fn reactor(&self) -> &Rc<Reactor> {
        &self.0.reactor
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// Tasks and time.
    pub fn handle(&self) -> Handle {
        self.0.executor.handle()
    }

    /// Who its programs are; root until told otherwise.
    pub fn set_user(&self, who: Credentials) {
        self.0.who.set(who);
    }

    /// Who its programs are.
    pub fn user(&self) -> Credentials {
        self.0.who.get()
    }

    /// Files of all nodes, as its user sees them.
    pub fn files(&self) -> Files {
        self.0.node.files(&self.user())
    }

    /// An address for a transport that has none.
    pub fn random_mac(&self) -> [u8; 6] {
        let [a, b, c, d, e, ..] = self.0.entropy.next_u64().to_le_bytes();
        // Locally administered, of one station.
        [0x02, a, b, c, d, e]
    }

    /// Adds a transport as the next link: `en0`, `en1`, ...
    pub fn add_transport(&self, transport: Rc<dyn Transport>) -> Result<LinkId, Errno> {
        let number = self.0.links.borrow().len();
        let link = Rc::new(HostLink::new(format!("en{number}"), transport.clone()));
        let id = self.0.node.add_link(link.clone())?;
        self.0.links.borrow_mut().push(transport.clone());
        self.handle().spawn("link", pump(self.0.node.clone(), id, link, transport));
        Ok(id)
    }

    /// The transports, in the order of links.
    pub fn transports(&self) -> Vec<Rc<dyn Transport>> {
        self.0.links.borrow().clone()
    }

    /// Its processes: those of programs that other nodes start here (`/bin`), and `/proc`. Begun with the first call.
    pub fn processes(&self) -> Result<Processes, Errno> {
        if let Some((processes, _)) = &*self.0.processes.borrow() {
            return Ok(processes.clone());
        }
        let node = &self.0.node;
        let machine = Rc::new(HostMachine::new(node));
        let of_node = node.clone();
        let files = Rc::new(move |who: &Credentials| of_node.files(who));
        let config = ProcsConfig::default();
        let processes = Processes::new(node.kernel(), files, machine.clone(), PROGRAMS, config)?;
        let programs: Vec<_> = program_files(PROGRAMS).collect();
        let programs = programs.iter().map(|(name, mode, bytes)| (name.as_str(), *mode, bytes.clone()));
        let archive = Archive::new(programs).map_err(|_| Errno::EINVAL)?;
        node.namespace().mount("/", Rc::new(archive), Order::After)?;
        processes.mount(node.namespace())?;
        node.dispatcher().set_services(Rc::new(processes.clone()));
        *self.0.processes.borrow_mut() = Some((processes.clone(), machine));
        Ok(processes)
    }

    /// Starts Qnet.
    pub fn mount(&self) -> Result<(), Errno> {
        self.0.node.mount()
    }

    /// Runs until `future` is done.
    pub fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.0.executor.block_on(&*self.0.reactor, future)
    }

    /// Takes leave of other nodes, and ends all tasks.
    pub fn end(&self) {
        if self.0.node.is_mounted() {
            let host = self.clone();
            self.block_on(async move {
                // Others notice anyhow, later.
                let _ = host.node().umount().await;
                host.delivered().await;
            });
        }
        self.kill();
    }

    /// Waits for what transports hold back, the farewell among it.
    async fn delivered(&self) {
        let end = self.handle().now() + HELD_BACK;
        while self.transports().iter().any(|transport| transport.deadline().is_some()) {
            if self.handle().now() >= end {
                return;
            }
            self.handle().sleep(GLANCE).await;
        }
    }

    /// Ends all tasks without a word.
    pub fn kill(&self) {
        if let Some((processes, machine)) = self.0.processes.take() {
            processes.end_all();
            machine.detach();
        }
        self.0.node.stop();
        self.0.executor.abort_all();
        for (id, _) in self.0.node.links() {
            self.0.node.remove_link(id);
        }
        self.0.links.borrow_mut().clear();
    }
}

/// Brings frames from a transport to the node.
async fn pump(node: Node, id: LinkId, link: Rc<HostLink>, transport: Rc<dyn Transport>) {
    let changed = transport.changed();
    let handle = node.handle().clone();
    let mut state = (transport.is_up(), true);
    loop {
        let more = changed.notified();
        let count = transport.receive(BATCH, &mut |frame| {
            if let Some(received) = link.strip(frame) {
                node.input(id, received.from, received.was_broadcast, received.lwl4);
            }
        });
        let now = (transport.is_up(), transport.room() > 0);
        if now != state {
            state = now;
            node.links_changed();
        } else if link.has_room_again()
            && let Some(network) = node.network()
        {
            network.wanted().notify();
        }
        if count == BATCH || (count > 0 && transport.deadline().is_some()) {
            yield_now().await;
            continue;
        }
        let deadline = transport.deadline().unwrap_or(Instant::FAR_FUTURE);
        select(more, handle.sleep_until(deadline)).await;
    }
}

type Job = Box<dyn FnOnce(HostNode) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Why a node did not start; other threads can read it.
pub type StartError = Box<dyn Error + Send + Sync>;

/// A node with a thread of its own. Dropping it ends the node, which takes leave of the others.
pub struct NodeThread {
    jobs: Option<mpsc::Sender<Job>>,
    wake: crate::reactor::Wake,
    thread: Option<JoinHandle<()>>,
}

impl NodeThread {
    /// Starts a thread; `make` makes the node there.
    pub fn start<F>(make: F) -> Result<NodeThread, StartError>
    where
        F: FnOnce() -> Result<HostNode, StartError> + Send + 'static,
    {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (started, start) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("qnet-node".into()).spawn(move || {
            let host = match make() {
                Ok(host) => host,
                Err(error) => return drop(started.send(Err(error))),
            };
            let _ = started.send(Ok(host.reactor().wake()));
            let (serving, called) = (host.clone(), host.reactor().called());
            host.block_on(async move {
                loop {
                    let more = called.notified();
                    match inbox.try_recv() {
                        Ok(job) => drop(serving.handle().spawn("job", job(serving.clone()))),
                        Err(mpsc::TryRecvError::Empty) => more.await,
                        Err(mpsc::TryRecvError::Disconnected) => return,
                    }
                }
            });
            host.end();
        })?;
        match start.recv() {
            Ok(Ok(wake)) => Ok(NodeThread { jobs: Some(jobs), wake, thread: Some(thread) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err("the node's thread has panicked".into()),
        }
    }

    /// Does something on the node, and waits for the result.
    ///
    /// # Panics
    /// When the node's thread has panicked.
    pub fn run<T: Send + 'static>(&self, work: impl AsyncFnOnce(HostNode) -> T + Send + 'static) -> T {
        let (sender, result) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |host| {
            Box::pin(async move {
                // Whoever asked waits.
                let _ = sender.send(work(host).await);
            })
        });
        if let Some(jobs) = &self.jobs {
            // With the thread gone, so is `sender`.
            let _ = jobs.send(job);
        }
        self.wake.wake();
        result.recv().unwrap_or_else(|_| panic!("the thread of a node has panicked"))
    }
}

impl Drop for NodeThread {
    fn drop(&mut self) {
        self.jobs = None;
        self.wake.wake();
        let ended = self.thread.take().map(JoinHandle::join);
        if ended.is_some_and(|result| result.is_err()) && !thread::panicking() {
            panic!("the thread of a node has panicked");
        }
    }
}
