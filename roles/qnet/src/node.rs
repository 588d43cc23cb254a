//! A whole node: kernel, names, and the network while Qnet is mounted.
//!
//! ```text
//!   links             frames in by Node::input, out by LinkPorts               whoever has NICs, taps, wires
//!     |
//!   Network           connections, names of nodes, numbers                      while mounted
//!     |
//!   Kernel            processes, channels, connections                          always
//!     |
//!   Dispatcher        process 1, channel 1: files of the Namespace, and whoever serves processes
//! ```
//!
//! 1. **It does not know what its links are**, nor where files come from: an appliance and a program on a host build the
//!    same node.
//! 2. **Mounting and unmounting Qnet leaves the rest alone** (section 20): files, processes and local connections stay.
//! 3. **Input is cheap and calls nobody back**: one task does what follows from a batch of frames, and rings doorbells.
//!
//! Not here: options as text (`options`), NICs (`binding`), processes (`procs`).

mod config;
mod directory;
mod stats;

pub use config::NodeConfig;

use crate::api::{Credentials, Kernel, NameScope, PROCESS_MANAGER};
use crate::client::Files;
use crate::io::{
    Dispatcher, MountId, MountList, NameDirectory, Namespace, NetDirectory, Netmgr, NodeDirectory, Null,
    Order, ResourceManager, TextFile, Zero,
};
use crate::l4::Transport;
use crate::link::{LinkAddress, LinkId, LinkPort};
use crate::nodes::{Identity, ResolveId, Resolver};
use crate::sessions::Network;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, Ref, RefCell};
use core::net::Ipv4Addr;
use core::time::Duration;
use directory::Directory;
use keelson_exec::{Handle, TaskHandle, select, yield_now};
use keelson_hal::{Clock, Entropy, Instant};
use keelson_qnet_wire::Errno;

/// Links that a node may have.
pub const MAX_LINKS: usize = crate::l4::links::MAX_LINKS;

/// How long farewells may wait for room on their links.
const FAREWELL_TRIES: u32 = 20;
const FAREWELL_PAUSE: Duration = Duration::from_millis(1);

/// A node. Clones are the same one.
#[derive(Clone)]
pub struct Node(Rc<Shared>);

struct Shared {
    handle: Handle,
    clock: Rc<dyn Clock>,
    entropy: Rc<dyn Entropy>,
    config: RefCell<NodeConfig>,
    kernel: Kernel,
    namespace: Rc<Namespace>,
    dispatcher: Rc<Dispatcher>,
    directory: Rc<Directory>,
    links: RefCell<Vec<(LinkId, Rc<dyn LinkPort>)>>,
    resolver: RefCell<Option<Rc<dyn Resolver>>>,
    mounted: RefCell<Option<Mounted>>,
    server: RefCell<Option<TaskHandle>>,
    stopped: Cell<bool>,
}

/// Qnet, while it is there.
struct Mounted {
    network: Rc<Network>,
    task: TaskHandle,
    names: Vec<MountId>,
}

impl Node {
    /// A node whose own files, devices and services can be used; other nodes only once Qnet is mounted.
    pub fn new(handle: &Handle, clock: Rc<dyn Clock>, entropy: Rc<dyn Entropy>, config: NodeConfig) -> Node {
        let kernel = Kernel::new(handle, config.kernel.clone(), &*entropy);
        let namespace = Namespace::new();
        let directory = Rc::new(Directory::new(&config.host, &config.domain));
        let nodes: Rc<dyn NodeDirectory> = directory.clone();
        let dispatcher = Dispatcher::new(&kernel, &namespace, Some(nodes), config.io);
        let shared = Shared {
            handle: handle.clone(),
            clock,
            entropy,
            config: RefCell::new(config),
            kernel,
            namespace,
            dispatcher,
            directory,
            links: RefCell::default(),
            resolver: RefCell::default(),
            mounted: RefCell::default(),
            server: RefCell::default(),
            stopped: Cell::new(false),
        };
        let node = Node(Rc::new(shared));
        node.enter_devices();
        // A new kernel has room for its first channel.
        if let Ok(channel) = node.0.kernel.channel(PROCESS_MANAGER) {
            let task = handle.spawn("proc", node.0.dispatcher.clone().run(channel));
            *node.0.server.borrow_mut() = Some(task);
        }
        node
    }

    /// What every node has, whatever else is mounted.
    fn enter_devices(&self) {
        let Shared { kernel, namespace, .. } = &*self.0;
        let devices: [(&str, Rc<dyn ResourceManager>); 5] = [
            ("/proc/mount", Rc::new(MountList::new(namespace))),
            ("/dev/null", Rc::new(Null)),
            ("/dev/zero", Rc::new(Zero)),
            ("/dev/name/local", Rc::new(NameDirectory::new(kernel, NameScope::Local))),
            ("/dev/name/global", Rc::new(NameDirectory::new(kernel, NameScope::Global))),
        ];
        for (prefix, manager) in devices {
            // There is room for many more in an empty table.
            let entered = namespace.mount(prefix, manager, Order::After);
            debug_assert!(entered.is_ok(), "{prefix}");
        }
    }

    /// Message passing.
    pub fn kernel(&self) -> &Kernel {
        &self.0.kernel
    }

    /// Names of files; an image mounts volumes, archives and devices here.
    pub fn namespace(&self) -> &Rc<Namespace> {
        &self.0.namespace
    }

    /// What serves them.
    pub fn dispatcher(&self) -> &Rc<Dispatcher> {
        &self.0.dispatcher
    }

    /// Tasks and time.
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// The settings in force; transport options are those of the next mount.
    pub fn config(&self) -> Ref<'_, NodeConfig> {
        self.0.config.borrow()
    }

    /// Files of all nodes, as a user of this node sees them.
    pub fn files(&self, who: &Credentials) -> Files {
        // Under another name than /net, paths are resolved by this node's own manager.
        let usual = self.config().mount == crate::io::NET_DIRECTORY;
        let nodes: Option<Rc<dyn NodeDirectory>> = if usual { Some(self.0.directory.clone()) } else { None };
        Files::new(&self.0.kernel, who, nodes)
    }

    /// The nodes that are known, while Qnet is mounted.
    pub fn directory(&self) -> Option<Rc<dyn NodeDirectory>> {
        self.is_mounted().then(|| self.0.directory.clone() as Rc<dyn NodeDirectory>)
    }

    /// Connections and names, while Qnet is mounted.
    pub fn network(&self) -> Option<Rc<Network>> {
        self.0.mounted.borrow().as_ref().map(|mounted| mounted.network.clone())
    }

    /// What this node is called: its host name, or the one made from its adapter's address (section 11.1).
    pub fn name(&self) -> String {
        self.0.directory.own_name().host
    }

    /// The host name, `_CS_HOSTNAME`.
    pub fn host(&self) -> String {
        self.config().host.clone()
    }

    /// Changes the host name. Other nodes are told, unless the option `host=` names this node otherwise.
    pub fn set_host(&self, host: &str) -> Result<(), Errno> {
        let identity = Identity::new(host, "").map_err(|error| {
            log::warn!(target: "qnet", "\"{host}\": {error}");
            Errno::EINVAL
        });
        identity?;
        self.0.config.borrow_mut().host = host.to_string();
        self.rename()
    }

    /// Changes the domain, `_CS_DOMAIN`; empty for none.
    pub fn set_domain(&self, domain: &str) -> Result<(), Errno> {
        Identity::new("", domain).map_err(|error| {
            log::warn!(target: "qnet", "\"{domain}\": {error}");
            Errno::EINVAL
        })?;
        self.0.config.borrow_mut().domain = domain.to_string();
        self.rename()
    }

    fn rename(&self) -> Result<(), Errno> {
        let identity = self.config().identity()?;
        let config = self.config();
        self.0.directory.set_own(&config.host, &config.domain);
        drop(config);
        if let Some(network) = self.network() {
            network.with(|transport, now| {
                if *transport.identity() != identity {
                    transport.set_identity(now, identity);
                }
            });
        }
        Ok(())
    }

    /// Changes settings for the next mount: transport, name, domain, directory, users.
    pub fn configure(&self, change: impl FnOnce(&mut NodeConfig)) {
        change(&mut self.0.config.borrow_mut());
        let config = self.config();
        self.0.directory.set_own(&config.host, &config.domain);
    }

    /// Who finds addresses instead of the LAN, from the next mount on (`bind=ip`).
    pub fn set_resolver(&self, resolver: Option<Rc<dyn Resolver>>) {
        *self.0.resolver.borrow_mut() = resolver;
    }

    /// What the resolver found.
    pub fn resolved(&self, id: ResolveId, result: Result<Ipv4Addr, Errno>) {
        if let Some(network) = self.network() {
            network.with(|transport, now| transport.resolved(now, id, result));
        }
    }

    /// Ends all of the node's tasks without a word to anybody: power off.
    pub fn stop(&self) {
        self.0.stopped.set(true);
        if let Some(mounted) = self.0.mounted.take() {
            mounted.task.abort();
        }
        self.0.directory.detach();
        self.0.kernel.stop();
        if let Some(server) = self.0.server.take() {
            server.abort();
        }
    }
}

/// Qnet comes and goes.
impl Node {
    /// Whether Qnet is mounted.
    pub fn is_mounted(&self) -> bool {
        self.0.mounted.borrow().is_some()
    }

    /// Starts Qnet on the links that there are: its directory, `/dev/netmgr` and `/proc/qnetstats` appear, and the node
    /// announces itself. `EBUSY` when it runs already, `EINVAL` for a name that no node can have.
    pub fn mount(&self) -> Result<(), Errno> {
        if self.is_mounted() {
            return Err(Errno::EBUSY);
        }
        if self.0.stopped.get() {
            return Err(Errno::ENOREMOTE);
        }
        let config = self.config();
        let identity = config.identity()?;
        let resolver = self.0.resolver.borrow().clone();
        let (options, now) = (config.transport.clone(), self.0.clock.now());
        let transport = Transport::new(options, identity, &*self.0.entropy, resolver, now);
        let network = Network::new(self.0.clock.clone(), transport);
        for (id, port) in self.0.links.borrow().iter() {
            network.with(|transport, now| transport.add_link(now, *id, port.clone()));
        }
        self.0.kernel.set_credential_rules(config.kernel.credentials.clone());
        self.0.kernel.mount(network.clone())?;
        self.0.directory.attach(network.clone());
        let names = self.enter_names(&config.mount);
        let task = self.0.handle.spawn("qnet", drive(network.clone(), self.0.handle.clone()));
        *self.0.mounted.borrow_mut() = Some(Mounted { network, task, names });
        drop(config);
        log::info!(target: "qnet", "mounted as {} on {}", self.config().mount, self.name());
        Ok(())
    }

    fn enter_names(&self, net: &str) -> Vec<MountId> {
        let nodes = || self.0.directory.clone() as Rc<dyn NodeDirectory>;
        let node = Rc::downgrade(&self.0);
        let stats = move || node.upgrade().map(|node| stats::text(&Node(node))).unwrap_or_default();
        let managers: [(&str, Rc<dyn ResourceManager>); 3] = [
            (net, Rc::new(NetDirectory::new(nodes()))),
            ("/dev/netmgr", Rc::new(Netmgr::at(nodes(), net))),
            ("/proc/qnetstats", Rc::new(TextFile::new(stats))),
        ];
        let entered = managers.into_iter().filter_map(|(prefix, manager)| {
            let entered = self.0.namespace.mount(prefix, manager, Order::Before);
            if let Err(errno) = entered {
                log::error!(target: "qnet", "{prefix} is missing: {errno}; remove other names");
            }
            entered.ok()
        });
        entered.collect()
    }

    /// Ends Qnet (section 20): local clients of other nodes get `ENOREMOTE`, peers are told, names go. `ENOENT` when it
    /// does not run.
    pub async fn umount(&self) -> Result<(), Errno> {
        let mounted = self.0.mounted.borrow_mut().take();
        let Mounted { network, task, names } = mounted.ok_or(Errno::ENOENT)?;
        for id in names {
            let _ = self.0.namespace.unmount(id);
        }
        self.0.directory.detach();
        self.0.kernel.unmount();
        task.abort();
        network.with(|transport, now| transport.shutdown(now));
        for _ in 0..FAREWELL_TRIES {
            if !network.look(Transport::is_waiting_for_room) {
                break;
            }
            self.0.handle.sleep(FAREWELL_PAUSE).await;
            network.poll();
        }
        log::info!(target: "qnet", "unmounted");
        Ok(())
    }
}

/// Links.
impl Node {
    /// Adds a link, now and for later mounts. `EEXIST` for a name that another one has, `EAGAIN` when there are eight.
    pub fn add_link(&self, port: Rc<dyn LinkPort>) -> Result<LinkId, Errno> {
        let mut links = self.0.links.borrow_mut();
        if links.iter().any(|(_, link)| link.name() == port.name()) {
            return Err(Errno::EEXIST);
        }
        let is_free = |id: &LinkId| links.iter().all(|(taken, _)| taken != id);
        let id = (0..MAX_LINKS as u8).map(LinkId).find(is_free).ok_or(Errno::EAGAIN)?;
        links.push((id, port.clone()));
        drop(links);
        if let Some(network) = self.network() {
            network.with(|transport, now| transport.add_link(now, id, port));
        }
        Ok(id)
    }

    /// Removes a link. Connections that have no other end with `ENETDOWN`.
    pub fn remove_link(&self, id: LinkId) {
        if let Some(network) = self.network() {
            network.with(|transport, now| transport.remove_link(now, id));
        }
        // Last, as it may own what the node is called from.
        let removed = {
            let mut links = self.0.links.borrow_mut();
            let place = links.iter().position(|(known, _)| *known == id);
            place.map(|place| links.remove(place))
        };
        drop(removed);
    }

    /// The links.
    pub fn links(&self) -> Vec<(LinkId, Rc<dyn LinkPort>)> {
        self.0.links.borrow().clone()
    }

    /// Takes in a frame: what lies behind link header and padding. May be called where ports cannot send, as long as they
    /// say that they have no room: what follows from a batch of frames is done by the node's task.
    pub fn input(&self, link: LinkId, from: LinkAddress, was_broadcast: bool, lwl4: &[u8]) {
        let Some(network) = self.network() else { return };
        network.input(link, from, was_broadcast, lwl4);
        network.wanted().notify();
    }

    /// Counts a frame that was too short, or otherwise not fit to be taken in.
    pub fn refused_frame(&self) {
        if let Some(network) = self.network() {
            network.refused_frame();
        }
    }

    /// Links came up or went down, or have room again.
    pub fn links_changed(&self) {
        if let Some(network) = self.network() {
            network.with(|transport, now| transport.link_changed(now));
        }
    }
}

/// Turns of all other tasks between a message's arrival and its reply by a server that has it at hand: the kernel's, the
/// server's, and the one that answers.
const TURNS: usize = 3;

/// The task of a network: polls after each batch of frames and requests, and when something is due.
///
/// Those who were woken by the same frames run first: what they send goes out together with the acknowledgements of what
/// they were sent, with one doorbell, and wakes the peer once.
async fn drive(network: Rc<Network>, handle: Handle) {
    let wanted = network.wanted();
    loop {
        let woken = wanted.notified();
        let next = network.poll();
        select(woken, handle.sleep_until(next.unwrap_or(Instant::FAR_FUTURE))).await;
        for _ in 0..TURNS {
            yield_now().await;
        }
    }
}
