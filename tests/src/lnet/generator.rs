//! A switch port with LNet nodes behind it.

use std::rc::Rc;
use std::time::Duration;

use keelson_exec::Handle;
use keelson_exec::sync::Notify;
use keelson_lnet::lnd::Lnd;
use keelson_lnet::lnet::{Lnet, LnetConfig, NiConfig, RouteConfig, Tunables};
use keelson_lnet::selftest::{
    Console, Load, Probe, RAW_PORTAL, RawCounters, Report, Selftest, SelftestConfig, Statistics, TestSpec,
};
use keelson_lnet::socklnd::{Socklnd, SocklndConfig};
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_lnet_wire::srpc::{BrwDirection, Check};
use keelson_net::Stack;
use keelson_qemu::{Address, HostContext, Pending, Port, StackHost, SystemEntropy};

use super::crowd::Crowd;
use super::nid;

/// The batch that [`Generator::enlist`] uses.
const BATCH: u64 = 1;
/// How long a request of a console or a single ping may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a generator consists of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The nodes; each has one NID or several.
    pub nodes: Vec<Vec<Nid>>,
    /// Bits of an IPv4 NID's address that the nodes of its network have in common; of an IPv6 one they are 64.
    pub prefix: u8,
    /// Routes that all nodes have.
    pub routes: Vec<RouteConfig>,
    /// Settings of all nodes.
    pub lnet: LnetConfig,
    /// Tunables of all NIs.
    pub tunables: Tunables,
    /// Settings of the socket LND.
    pub socklnd: SocklndConfig,
}

impl Spec {
    /// One node with this NID.
    ///
    /// # Panics
    ///
    /// When it is none, as in the rest of this.
    pub fn node(text: &str) -> Spec {
        Spec::nodes([nid(text)])
    }

    /// A node for each NID.
    pub fn nodes(nids: impl IntoIterator<Item = Nid>) -> Spec {
        Spec {
            nodes: nids.into_iter().map(|nid| vec![nid]).collect(),
            prefix: 24,
            routes: Vec::new(),
            lnet: LnetConfig {
                memory: 256 << 20,
                // A node learns by its checks alone that a router is back: 60 s on Linux, too long for a test.
                alive_router_check_interval: Duration::from_secs(2),
                router_ping_timeout: Duration::from_secs(5),
                ..LnetConfig::default()
            },
            tunables: Tunables { conns_per_peer: 1, ..Tunables::default() },
            // One LND serves all nodes, so that its bounds are for all of them together.
            socklnd: SocklndConfig {
                accept_backlog: 1024,
                max_handshakes: 4096,
                max_handshakes_from_one: 4096,
                ..SocklndConfig::default()
            },
        }
    }

    /// `count` nodes whose addresses count up from that of `first`.
    pub fn crowd(first: &str, count: u32) -> Spec {
        let first = nid(first).nid4().expect("an IPv4 NID");
        let nids = (0..u64::from(count)).map(|n| Nid::from_nid4(first + n));
        let mut spec = Spec::nodes(nids);
        // Three connections of each node, and all of them on one host.
        (spec.socklnd.receive_buffer, spec.socklnd.send_buffer) = (64 << 10, 64 << 10);
        spec.lnet.memory = 8 << 20;
        spec.prefix = 16;
        spec
    }

    /// A router: one node with all these NIDs that forwards between them.
    pub fn router(nids: &[&str]) -> Spec {
        let mut spec = Spec::nodes([]);
        spec.nodes.push(nids.iter().map(|text| nid(text)).collect());
        spec.lnet.forwarding = true;
        spec
    }

    /// Adds a route to all nodes.
    pub fn route(mut self, net: &str, gateway: &str) -> Spec {
        let net = net.parse().unwrap_or_else(|error| panic!("{net}: {error}"));
        self.routes.push(RouteConfig { net, gateway: nid(gateway), hops: None, priority: 0 });
        self
    }

    fn addresses(&self) -> Vec<Address> {
        let ips = self.nodes.iter().flatten().map(|nid| nid.ip().expect("a NID with an IP address"));
        ips.map(|ip| Address { ip, prefix: if ip.is_ipv4() { self.prefix } else { 64 } }).collect()
    }
}

/// A node of a generator, as closures in its thread see it.
pub struct Node {
    /// Its LNet.
    pub lnet: Rc<Lnet>,
    /// Its selftest, with all portals served.
    pub selftest: Selftest<Lnet>,
    /// Its first NID.
    pub nid: Nid,
}

/// Everything in the thread of a generator.
pub struct Nodes {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Their connections.
    pub lnd: Rc<Socklnd<Crowd>>,
}

/// LNet nodes behind a switch port. Dropping it takes them away without a word, as [`Generator::kill`] does.
pub struct Generator {
    host: StackHost<Nodes>,
    port: Port,
    spec: Spec,
}

/// A generator that was killed.
pub struct Dead {
    port: Port,
    spec: Spec,
}

impl Generator {
    /// Starts the nodes on `port`. They connect to nobody until there is something to send.
    pub fn start(port: &Port, spec: Spec) -> keelson_qemu::Result<Generator> {
        let started = spec.clone();
        let host = StackHost::start(port, &spec.addresses(), async move |handle, stack| {
            start_nodes(&handle, stack, &started)
        })?;
        Ok(Generator { host, port: port.clone(), spec })
    }

    /// First NID of each node.
    pub fn nids(&self) -> Vec<Nid> {
        self.spec.nodes.iter().filter_map(|nids| nids.first().copied()).collect()
    }

    /// The thread with the nodes, for what is not provided here.
    pub fn host(&self) -> &StackHost<Nodes> {
        &self.host
    }

    /// LNet ping by the first node: the NIDs of the node that answered.
    ///
    /// # Errors
    ///
    /// What went wrong, as text.
    pub fn ping(&self, to: Nid) -> Result<Vec<Nid>, String> {
        self.ping_within(to, TIMEOUT)
    }

    /// The same with a time limit.
    ///
    /// # Errors
    ///
    /// What went wrong, as text.
    pub fn ping_within(&self, to: Nid, timeout: Duration) -> Result<Vec<Nid>, String> {
        self.host.run(async move |host: HostContext<Nodes>| {
            let info = host.state.nodes[0].lnet.ping(ProcessId::lustre(to), timeout).await;
            let info = info.map_err(|error| error.to_string())?;
            Ok(info.entries.iter().map(|entry| entry.nid).collect())
        })
    }

    /// Sends a load from all nodes at once and waits for its end.
    pub fn run(&self, load: Load) -> Report {
        self.begin(load).wait(Duration::MAX).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Begins to send a load from all nodes.
    pub fn begin(&self, load: Load) -> Pending<Report> {
        self.host.begin(async move |host: HostContext<Nodes>| {
            let left = Rc::new((std::cell::Cell::new(host.state.nodes.len()), Notify::new()));
            let merged = Rc::new(std::cell::RefCell::new(Report::default()));
            for index in 0..host.state.nodes.len() {
                let (state, load, left, merged) =
                    (host.state.clone(), load.clone(), left.clone(), merged.clone());
                host.handle.spawn("load of a node", async move {
                    let report = load.run(&state.nodes[index].selftest).await;
                    merged.borrow_mut().merge(&report);
                    left.0.set(left.0.get() - 1);
                    left.1.notify();
                });
            }
            while left.0.get() > 0 {
                left.1.notified().await;
            }
            merged.take()
        })
    }

    /// What all nodes have received of loads without RPCs.
    pub fn received(&self) -> RawCounters {
        self.host.run(async |host: HostContext<Nodes>| {
            let mut sum = RawCounters::default();
            for seen in host.state.nodes.iter().map(|node| node.selftest.raw.counters()) {
                sum.puts += seen.puts;
                sum.put_bytes += seen.put_bytes;
                sum.gets += seen.gets;
                sum.corrupted += seen.corrupted;
            }
            sum
        })
    }

    /// Connections of all nodes.
    pub fn connections(&self) -> usize {
        self.host.run(async |host: HostContext<Nodes>| host.state.lnd.connections().len())
    }

    /// Makes `servers` answer both tests: a session of the first node's, and a server test of each kind.
    ///
    /// # Errors
    ///
    /// Who refused, and why.
    pub fn enlist(&self, servers: &[Nid]) -> Result<(), String> {
        let servers = servers.to_vec();
        self.host.run(async move |host: HostContext<Nodes>| {
            let console = console(&host.state.nodes[0]);
            let brw = Probe::Brw { direction: BrwDirection::Read, len: 4096, check: Check::None };
            for server in servers {
                let failed = |error| format!("{server}: {error}");
                let to = ProcessId::lustre(server);
                console.make_session(to, true).await.map_err(failed)?;
                for probe in [Probe::Ping, brw] {
                    let spec = TestSpec { probe, iterations: 1, concurrency: 1, stop_on_error: false };
                    console.add_server(to, BATCH, &spec).await.map_err(failed)?;
                }
            }
            Ok(())
        })
    }

    /// Lets other nodes run a test for `span`: every client against every server, told to by a console at the first
    /// node. Returns what each client and then each server has counted.
    ///
    /// # Errors
    ///
    /// Who refused, and why.
    pub fn conduct(
        &self,
        clients: &[Nid],
        servers: &[Nid],
        test: TestSpec,
        span: Duration,
    ) -> Result<Vec<Statistics>, String> {
        let (clients, servers) = (clients.to_vec(), servers.to_vec());
        self.host.run(async move |host: HostContext<Nodes>| {
            let console = console(&host.state.nodes[0]);
            let destinations: Vec<_> = servers.iter().copied().map(ProcessId::lustre).collect();
            let failed = |nid: Nid| move |error| format!("{nid}: {error}");
            for &nid in servers.iter().chain(&clients) {
                console.make_session(ProcessId::lustre(nid), true).await.map_err(failed(nid))?;
            }
            for &nid in &servers {
                console.add_server(ProcessId::lustre(nid), BATCH, &test).await.map_err(failed(nid))?;
            }
            for &nid in &clients {
                let to = ProcessId::lustre(nid);
                console.add_client(to, BATCH, &test, &destinations).await.map_err(failed(nid))?;
                console.run(to, BATCH).await.map_err(failed(nid))?;
            }
            host.handle.sleep(span).await;
            let mut counted = Vec::new();
            for &nid in &clients {
                console.stop(ProcessId::lustre(nid), BATCH, false).await.map_err(failed(nid))?;
            }
            for &nid in clients.iter().chain(&servers) {
                counted.push(console.statistics(ProcessId::lustre(nid)).await.map_err(failed(nid))?);
            }
            for &nid in clients.iter().chain(&servers) {
                console.remove_session(ProcessId::lustre(nid)).await.map_err(failed(nid))?;
            }
            Ok(counted)
        })
    }

    /// Takes the nodes away without a word: no FIN, no reset.
    pub fn kill(self) -> Dead {
        let Generator { host, port, spec } = self;
        host.kill();
        Dead { port, spec }
    }
}

impl Dead {
    /// Starts the nodes again: same NIDs, same MAC address, new incarnations.
    pub fn restart(self) -> keelson_qemu::Result<Generator> {
        Generator::start(&self.port, self.spec)
    }
}

fn console(node: &Node) -> Console<Lnet> {
    Console::new(node.selftest.rpcs.clone(), node.nid, "keelson")
}

/// In the thread of the nodes.
fn start_nodes(handle: &Handle, stack: Stack, spec: &Spec) -> Nodes {
    let entropy = Rc::new(SystemEntropy::default());
    let crowd = Rc::new(Crowd::default());
    let lnd = Socklnd::new(stack, handle.clone(), crowd.clone(), spec.socklnd.clone());
    let start = |nids: &Vec<Nid>| {
        let lnet = Lnet::new(handle.clone(), handle.clock(), entropy.clone(), spec.lnet.clone());
        crowd.add(&lnet, &lnd);
        lnet.start();
        for &nid in nids {
            let ni = NiConfig { nid, interface: "eth0".into(), tunables: spec.tunables };
            lnet.add_net(ni).unwrap_or_else(|error| panic!("{nid}: {error}"));
        }
        for &route in &spec.routes {
            lnet.add_route(route).unwrap_or_else(|error| panic!("{route:?}: {error:?}"));
        }
        let selftest = Selftest::new(handle, lnet.clone(), &SelftestConfig::default());
        for (portal, service) in selftest.portals() {
            lnet.register(portal, service);
        }
        lnet.register(RAW_PORTAL, selftest.raw.clone());
        Node { lnet, selftest, nid: nids[0] }
    };
    let nodes = spec.nodes.iter().map(start).collect();
    Nodes { nodes, lnd }
}
