//! A node behind a switch port.

use keelson_exec::Handle;
use keelson_net::Stack;
use keelson_qemu::{Address, HostContext, Pending, Port, Result, StackHost, SystemEntropy};
use keelson_qnet::api::Credentials;
use keelson_qnet::binding::Binding;
use keelson_qnet::client::Files;
use keelson_qnet::io::{Order, VolumeFiles};
use keelson_qnet::node::{Node, NodeConfig};
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use std::rc::Rc;
use std::time::Duration;

/// A node of the test. Dropping it takes it away without a word, as a power cut does.
pub struct Peer(StackHost<Binding>);

/// What a test does there: as root, or as somebody else.
#[derive(Clone)]
pub struct User {
    /// The node.
    pub node: Node,
    /// Its NICs, and Qnet on them.
    pub binding: Binding,
    /// Spawns, sleeps, tells the time.
    pub handle: Handle,
    /// Its network stack.
    pub stack: Stack,
}

impl Peer {
    /// Starts a node with a host name, which may have a domain behind it, and options as for `lsm-qnet.so`. Its files
    /// are in memory.
    ///
    /// # Panics
    ///
    /// On its own thread, when Qnet refuses the options.
    pub fn start(port: &Port, name: &str, options: &str) -> Result<Peer> {
        Peer::at(port, &[], name, options)
    }

    /// The same with IP addresses.
    pub fn at(port: &Port, addresses: &[Address], name: &str, options: &str) -> Result<Peer> {
        let (name, options) = (name.to_string(), options.to_string());
        let host = StackHost::start(port, addresses, async move |handle: Handle, stack: Stack| {
            let (host, domain) = name.split_once('.').unwrap_or((&name, ""));
            let (host, domain) = (host.into(), domain.into());
            let config = NodeConfig { host, domain, ..NodeConfig::default() };
            let clock = handle.clock();
            let node = Node::new(&handle, clock.clone(), Rc::new(SystemEntropy::default()), config);
            let files = VolumeFiles::new(Rc::new(MemoryVolume::new(clock, MemoryOptions::default())));
            node.namespace().mount("/", Rc::new(files), Order::After).unwrap();
            let binding = Binding::new(&node, &stack);
            binding.mount(&options).unwrap_or_else(|errno| panic!("{name}, {options}: {errno}"));
            binding
        })?;
        Ok(Peer(host))
    }

    /// Does something on the node and waits for it.
    pub fn run<T: Send + 'static>(&self, work: impl AsyncFnOnce(User) -> T + Send + 'static) -> T {
        self.0.run(async move |host| work(User::new(host)).await)
    }

    /// Begins something on the node.
    pub fn begin<T: Send + 'static>(&self, work: impl AsyncFnOnce(User) -> T + Send + 'static) -> Pending<T> {
        self.0.begin(async move |host| work(User::new(host)).await)
    }

    /// CPU time of its thread.
    pub fn cpu_time(&self) -> Duration {
        self.0.cpu_time()
    }
}

impl User {
    fn new(host: HostContext<Binding>) -> User {
        let binding = (*host.state).clone();
        User { node: binding.node().clone(), binding, handle: host.handle, stack: host.stack }
    }

    /// Files as root sees them.
    pub fn files(&self) -> Files {
        self.files_of(0, 0)
    }

    /// Files as another user sees them.
    pub fn files_of(&self, uid: u32, gid: u32) -> Files {
        let who = Credentials {
            ruid: uid,
            euid: uid,
            suid: uid,
            rgid: gid,
            egid: gid,
            sgid: gid,
            ..Credentials::default()
        };
        self.node.files(&who)
    }
}
