//! Whole nodes, LNet on the socket LND on TCP, in simulated networks.

use keelson_exec::Handle;
use keelson_hal::Entropy;
use keelson_lnet::buffers::Payload;
use keelson_lnet::lnet::{Lnet, LnetConfig, NiConfig, PutArgs, RequestError, RouteConfig, Tunables};
use keelson_lnet::portal::{Delivery, Portal};
use keelson_lnet::socklnd::{Socklnd, SocklndConfig};
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_lnet_wire::ping::Status;
use keelson_net::Stack;
use keelson_net_sim::{Faults, NicModel, Node, World};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const SERVICE: u32 = 9;

struct Numbers(Cell<u64>);

impl Entropy for Numbers {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let mut x = self.0.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            self.0.set(x);
            *byte = x as u8;
        }
    }
}

/// Byte `at` of what has these match bits.
fn byte(match_bits: u64, at: usize) -> u8 {
    (match_bits as usize ^ at ^ (at >> 8)).wrapping_mul(31) as u8
}

fn content(match_bits: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| byte(match_bits, at)).collect()
}

fn bytes_of(payload: &Payload) -> Vec<u8> {
    payload.slices().collect::<Vec<_>>().concat()
}

/// Takes what is as it should be, and gives what is asked for.
#[derive(Default)]
struct Service {
    good: Cell<u64>,
    bad: Cell<u64>,
}

impl Portal for Service {
    fn admits(&self, _: &Delivery) -> bool {
        true
    }

    fn put(&self, delivery: Delivery, payload: Payload) {
        let right = bytes_of(&payload) == content(delivery.match_bits, delivery.len as usize);
        let count = if right { &self.good } else { &self.bad };
        count.set(count.get() + 1);
    }

    fn get(&self, delivery: &Delivery) -> Option<Payload> {
        Some(Payload::from_bytes(&content(delivery.match_bits, delivery.len as usize)))
    }
}

/// A node that runs.
#[derive(Clone)]
struct Running {
    lnet: Rc<Lnet>,
    service: Rc<Service>,
}

fn nid(text: &str) -> Nid {
    text.parse().unwrap()
}

fn process(text: &str) -> ProcessId {
    ProcessId::lustre(nid(text))
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn start(boot: (Handle, Stack), nids: &[&str], routes: &[(&str, &str)], config: LnetConfig) -> Running {
    let (handle, stack) = boot;
    let seed = handle.now().as_nanos() ^ nids.iter().flat_map(|nid| nid.bytes()).map(u64::from).sum::<u64>();
    let entropy = Rc::new(Numbers(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)));
    let lnet = Lnet::new(handle.clone(), handle.clock(), entropy, config);
    let lnd = Socklnd::new(stack, handle, lnet.clone(), SocklndConfig::default());
    lnet.attach(lnd);
    lnet.start();
    for text in nids {
        let interface = "eth0".into();
        lnet.add_net(NiConfig { nid: nid(text), interface, tunables: Tunables::default() }).unwrap();
    }
    for (net, gateway) in routes {
        let (net, gateway) = (net.parse().unwrap(), nid(gateway));
        lnet.add_route(RouteConfig { net, gateway, hops: None, priority: 0 }).unwrap();
    }
    let service = Rc::new(Service::default());
    lnet.register(SERVICE, service.clone());
    Running { lnet, service }
}

fn end_node() -> LnetConfig {
    LnetConfig::default()
}

fn router() -> LnetConfig {
    LnetConfig { forwarding: true, memory: 32 << 20, ..LnetConfig::default() }
}

/// 10.1.0.2 and so on @tcp, a router, 10.2.0.2 and so on @tcp1.
struct Site {
    world: World,
    near: Vec<(Rc<Node>, Running)>,
    router_node: Rc<Node>,
    router: Running,
    far: Vec<(Rc<Node>, Running)>,
}

const ROUTER: [&str; 2] = ["10.1.0.1@tcp", "10.2.0.1@tcp1"];

impl Site {
    fn new(clients: usize, servers: usize, faults: Faults) -> Site {
        let world = World::new(7);
        let wires = [world.wire(faults), world.wire(faults)];
        let router_node = world.node();
        router_node.plug("eth0", &wires[0], "10.1.0.1/24", NicModel::default());
        router_node.plug("eth1", &wires[1], "10.2.0.1/24", NicModel::default());
        let running = start(router_node.boot(), &ROUTER, &[], router());
        let mut site = Site { world, near: Vec::new(), router_node, router: running, far: Vec::new() };
        for index in 2..clients + 2 {
            let node = site.world.node();
            node.plug("eth0", &wires[0], &format!("10.1.0.{index}/24"), NicModel::default());
            let name = format!("10.1.0.{index}@tcp");
            let running = start(node.boot(), &[&name], &[("tcp1", ROUTER[0])], end_node());
            site.near.push((node, running));
        }
        for index in 2..servers + 2 {
            let node = site.world.node();
            node.plug("eth0", &wires[1], &format!("10.2.0.{index}/24"), NicModel::default());
            let name = format!("10.2.0.{index}@tcp1");
            let running = start(node.boot(), &[&name], &[("tcp", ROUTER[1])], end_node());
            site.far.push((node, running));
        }
        site
    }

    fn client(&self, index: usize) -> Running {
        self.near[index].1.clone()
    }

    fn ping(&self, from: &Running, to: &str) -> bool {
        let (lnet, to) = (from.lnet.clone(), process(to));
        self.world.run(async move { lnet.ping(to, secs(10)).await }).is_ok()
    }
}

/// Puts and gets of all sizes, so many at once; how many succeeded.
fn load(site: &Site, from: &Running, to: ProcessId, rounds: u64, at_once: u64) -> Rc<Cell<u64>> {
    let done = Rc::new(Cell::new(0));
    for worker in 0..at_once {
        let (lnet, done) = (from.lnet.clone(), done.clone());
        site.world.handle().spawn("load", async move {
            for round in 0..rounds {
                let match_bits = worker * 1000 + round;
                let len = [1, 160, 4096, 4097, 65536, 70_000, 1 << 20][(match_bits % 7) as usize];
                let args = PutArgs { portal: SERVICE, match_bits, hdr_data: 0, offset: 0 };
                let payload = Payload::from_bytes(&content(match_bits, len));
                if lnet.put_acked(None, to, args, payload, secs(60)).await == Ok(len as u32) {
                    done.set(done.get() + 1);
                }
                if let Ok((payload, from)) =
                    lnet.get(None, to, SERVICE, match_bits, len as u32, secs(60)).await
                {
                    assert_eq!((bytes_of(&payload), from), (content(match_bits, len), to.nid));
                    done.set(done.get() + 1);
                }
            }
        });
    }
    done
}

#[test]
fn nodes_talk_through_the_router() {
    let site = Site::new(2, 2, Faults::default());
    assert!(site.ping(&site.client(0), ROUTER[0]));
    assert!(site.ping(&site.client(0), ROUTER[1]), "its far side, too");
    assert!(site.ping(&site.client(0), "10.2.0.2@tcp1"));
    assert!(site.ping(&site.far[1].1, "10.1.0.3@tcp"));
    let done = [
        load(&site, &site.client(0), process("10.2.0.2@tcp1"), 7, 4),
        load(&site, &site.far[1].1, process("10.1.0.3@tcp"), 7, 4),
    ];
    assert!(site.world.run_until(secs(60), || done.iter().all(|done| done.get() == 56)));
    let statistics = site.router.lnet.statistics();
    assert_eq!(statistics.drop_count, 0);
    // Per PUT its ACK, per GET its REPLY, and the pings.
    assert_eq!(statistics.route_count, 2 * 28 * 4 + 4);
    let bad: u64 = site.near.iter().chain(&site.far).map(|(_, running)| running.service.bad.get()).sum();
    assert_eq!(bad, 0);
}

#[test]
fn a_lossy_network_loses_no_message() {
    let site = Site::new(2, 1, Faults { loss: 2, ..Faults::default() });
    let done = [0, 1].map(|index| load(&site, &site.client(index), process("10.2.0.2@tcp1"), 7, 2));
    assert!(site.world.run_until(secs(300), || done.iter().all(|done| done.get() == 28)));
    assert_eq!(site.router.lnet.statistics().drop_count, 0);
}

#[test]
fn discovery_tells_both_sides() {
    let site = Site::new(1, 1, Faults::default());
    // The clients check their gateway on their own: that is a ping and a push.
    site.world.run_for(secs(5));
    let peers = site.router.lnet.peers();
    assert!(peers.iter().all(|peer| peer.multi_rail) && peers.len() == 2, "{peers:?}");
    let route = site.client(0).lnet.routes().remove(0);
    assert!(route.up && route.single_hop);
    let lnet = site.client(0).lnet;
    let info = site.world.run(async move { lnet.discover(process("10.2.0.2@tcp1"), secs(10)).await });
    assert_eq!(info.unwrap().primary(), Some(nid("10.2.0.2@tcp1")));
    // The link of the router's far side goes down: the client's route follows at once.
    let far = site.router.lnet.nets()[2].nis[0].id.unwrap();
    site.router.lnet.link_changed(far, false);
    site.world.run_for(Duration::from_millis(100));
    assert!(!site.client(0).lnet.routes()[0].up);
    assert!(!site.router.lnet.nets()[2].nis[0].up);
    site.router.lnet.link_changed(far, true);
    site.world.run_for(Duration::from_millis(100));
    assert!(site.client(0).lnet.routes()[0].up);
    site.router.lnet.set_routing(false);
    site.world.run_for(Duration::from_millis(100));
    assert!(!site.client(0).lnet.routes()[0].up, "peers turn away before the router stops");
    let lnet = site.client(0).lnet;
    let info = site.world.run(async move { lnet.ping(process(ROUTER[0]), secs(1)).await }).unwrap();
    assert!(info.entries.iter().all(|entry| entry.status == Status::Up));
}

#[test]
fn a_router_that_boots_again_routes_again() {
    let mut site = Site::new(2, 2, Faults::default());
    assert!(site.ping(&site.client(0), "10.2.0.2@tcp1"));
    site.router_node.kill();
    site.world.run_for(secs(3));
    site.router = start(site.router_node.boot(), &ROUTER, &[], router());
    // Both sides notice by themselves, within their check interval and the time connections take to fail.
    let back = |site: &Site| {
        [0, 1]
            .iter()
            .all(|index| site.near[*index].1.lnet.routes()[0].up && site.far[*index].1.lnet.routes()[0].up)
    };
    site.world.run_for(secs(120));
    assert!(back(&site));
    assert!(site.ping(&site.client(0), "10.2.0.2@tcp1"));
    assert!(site.ping(&site.far[1].1, "10.1.0.3@tcp"));
}

#[test]
fn a_dead_server_costs_nobody_else() {
    let site = Site::new(4, 3, Faults::default());
    for index in 0..4 {
        assert!(site.ping(&site.client(index), "10.2.0.2@tcp1"));
    }
    site.far[0].0.kill();
    // Everyone writes to the dead one, and everyone works with the others.
    let lost: Vec<_> =
        (0..4).map(|index| load(&site, &site.client(index), process("10.2.0.2@tcp1"), 2, 7)).collect();
    site.world.run_for(secs(1));
    let done: Vec<_> = (0..4)
        .map(|index| {
            load(&site, &site.client(index), process(["10.2.0.3@tcp1", "10.2.0.4@tcp1"][index % 2]), 7, 1)
        })
        .collect();
    let all = site.world.run_until(secs(30), || done.iter().all(|done| done.get() == 14));
    let counts: Vec<u64> = done.iter().map(|done| done.get()).collect();
    assert!(all, "{counts:?} {:?}", site.router.lnet.routing().pools);
    assert!(lost.iter().all(|lost| lost.get() == 0));
    for index in 0..4 {
        assert!(site.ping(&site.client(index), ROUTER[0]));
    }
}

#[test]
fn two_routers_in_a_row() {
    let world = World::new(3);
    let wires: Vec<_> = (0..3).map(|_| world.wire(Faults::default())).collect();
    let nodes: Vec<_> = (0..4).map(|_| world.node()).collect();
    let plug = |node: usize, name, wire: usize, address: &str| {
        nodes[node].plug(name, &wires[wire], address, NicModel::default());
    };
    plug(0, "eth0", 0, "10.1.0.2/24");
    plug(1, "eth0", 0, "10.1.0.1/24");
    plug(1, "eth1", 1, "10.2.0.1/24");
    plug(2, "eth0", 1, "10.2.0.2/24");
    plug(2, "eth1", 2, "10.3.0.1/24");
    plug(3, "eth0", 2, "10.3.0.2/24");
    let a = start(nodes[0].boot(), &["10.1.0.2@tcp"], &[("tcp3", "10.1.0.1@tcp")], end_node());
    let first =
        start(nodes[1].boot(), &["10.1.0.1@tcp", "10.2.0.1@tcp2"], &[("tcp3", "10.2.0.2@tcp2")], router());
    start(nodes[2].boot(), &["10.2.0.2@tcp2", "10.3.0.1@tcp3"], &[("tcp", "10.2.0.1@tcp2")], router());
    start(nodes[3].boot(), &["10.3.0.2@tcp3"], &[("tcp", "10.3.0.1@tcp3")], end_node());
    let lnet = a.lnet.clone();
    let info = world.run(async move { lnet.ping(process("10.3.0.2@tcp3"), secs(10)).await });
    assert_eq!(info.unwrap().primary(), Some(nid("10.3.0.2@tcp3")));
    assert!(!a.lnet.routes()[0].single_hop && first.lnet.routes()[0].single_hop);
    // Nobody is there: the request fails, the routers live.
    let lnet = a.lnet.clone();
    let none = world.run(async move { lnet.ping(process("10.3.0.77@tcp3"), secs(10)).await });
    assert_eq!(none, Err(RequestError::TimedOut));
    let lnet = a.lnet.clone();
    assert!(world.run(async move { lnet.ping(process("10.3.0.2@tcp3"), secs(10)).await }).is_ok());
}
