//! The cost of a message: allocations and task polls, with one peer and with a thousand.
//!
//! The one `unsafe impl` of the test counts allocations.

#[path = "socklnd/common.rs"]
mod common;

use common::*;
use keelson_exec::Handle;
use keelson_lnet::lnd::{Lnd, LndNi, NiId};
use keelson_lnet::message::Message;
use keelson_lnet::socklnd::{Socklnd, SocklndConfig};
use keelson_lnet_wire::nid::{NetId, Nid};
use keelson_net::{Cidr, InterfaceConfig};
use keelson_net_sim::{Faults, NicModel, Node, World};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to `System` unchanged; counting touches only a thread-local `Cell` that needs
// neither allocation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A router that sends back what it gets, and boxes of ten peers each.
struct Load {
    world: World,
    router: Router,
    router_tasks: Handle,
    peers: Vec<Rc<Socklnd<Fake>>>,
    upper: Rc<Fake>,
    _boxes: Vec<Rc<Node>>,
}

const PEERS_IN_A_BOX: usize = 10;

fn peer_nid(n: usize) -> Nid {
    Nid::new(NetId::TCP, Ipv4Addr::new(10, 1, 1 + (n / 200) as u8, 1 + (n % 200) as u8).into())
}

fn config() -> SocklndConfig {
    SocklndConfig {
        receive_buffer: 16 << 10,
        send_buffer: 16 << 10,
        keepalive: Duration::ZERO,
        ..SocklndConfig::default()
    }
}

/// With jumbo frames, so that there are few of them: the wire's sorted map takes memory for many.
fn interface(addresses: Vec<Cidr>) -> InterfaceConfig {
    InterfaceConfig { addresses, mtu: Some(9000), ..InterfaceConfig::default() }
}

fn open(count: usize) -> Load {
    let world = World::new(count as u64);
    let wire = world.wire(Faults::default());
    let mut boxes = vec![world.node()];
    boxes[0].plug_with("eth0", &wire, interface(vec!["10.1.0.1/16".parse().unwrap()]), NicModel::default());
    let (router_tasks, stack) = boxes[0].boot();
    let router = Router::start(router_tasks.clone(), stack, "10.1.0.1@tcp", LIFE, config());
    router.upper.keeps.set(false);
    router.upper.checks.set(false);
    let upper = Fake::new(world.handle());
    upper.keeps.set(false);
    upper.checks.set(false);
    let mut peers = Vec::new();
    for first in (0..count).step_by(PEERS_IN_A_BOX) {
        let there = first..count.min(first + PEERS_IN_A_BOX);
        let addresses = there.clone().map(|n| format!("{}/16", peer_nid(n).ip().unwrap()).parse().unwrap());
        let node = world.node();
        node.plug_with("eth0", &wire, interface(addresses.collect()), NicModel::default());
        let (handle, stack) = node.boot();
        let lnd = Socklnd::new(stack, handle, upper.clone(), config());
        for n in there {
            lnd.add_ni(LndNi { id: NiId(n as u32), nid: peer_nid(n), incarnation: 1, conns_per_peer: 1 });
        }
        peers.push(lnd);
        boxes.push(node);
    }
    let load = Load { world, router, router_tasks, peers, upper, _boxes: boxes };
    for n in 0..count {
        load.send(n, 10);
        if n % 50 == 49 {
            load.world.run_for(Duration::from_millis(5));
        }
    }
    load.world.run_for(secs(1));
    assert_eq!(load.router.lnd.connections().len(), 3 * count);
    *load.router.upper.echo.borrow_mut() = Some(load.router.lnd.clone());
    load
}

impl Load {
    fn send(&self, peer: usize, len: usize) {
        let header = put(peer as u64, peer_nid(peer), self.router.nid, len);
        let message = Message::new(header, self.upper.pieces.payload(len));
        self.peers[peer / PEERS_IN_A_BOX].send(NiId(peer as u32), self.router.nid, message);
    }

    /// Exchanges messages of peer 0, in groups.
    fn exchange(&self, groups: usize, group: u64, len: usize) {
        for _ in 0..groups {
            let sent = self.router.upper.sent.get();
            (0..group).for_each(|_| self.send(0, len));
            assert!(self.world.run_until(secs(1), || self.router.upper.sent.get() == sent + group));
        }
        self.world.run_for(Duration::from_millis(1));
    }

    fn polls(&self) -> u64 {
        let mut polls = 0;
        self.router_tasks.for_each_task(|_, count| polls += count);
        polls
    }
}

#[test]
fn an_established_path_does_not_allocate() {
    let load = open(3);
    for (len, group) in [(0, 8), (200, 8), (900, 8), (4096, 4), (100_000, 1), (1 << 20, 1)] {
        load.exchange(100, group, len);
        let before = ALLOCATIONS.with(Cell::get);
        load.exchange(100, group, len);
        let allocations = ALLOCATIONS.with(Cell::get) - before;
        println!("{len} bytes: {allocations} allocations for {} messages there and back", 100 * group);
        assert_eq!(allocations, 0, "{len} bytes");
    }
}

#[test]
fn a_message_costs_the_same_with_a_thousand_peers() {
    let mut costs = Vec::new();
    for count in [1, 100, 1000] {
        let load = open(count);
        load.exchange(50, 8, 200);
        let (polls, began) = (load.polls(), std::time::Instant::now());
        load.exchange(200, 8, 200);
        let took = began.elapsed() / 1600;
        let polls = (load.polls() - polls) as f64 / 1600.0;
        println!("{count} peers: {polls:.2} polls and {took:?} for a message (both sides and the wire)");
        costs.push(polls);
    }
    assert!(costs[2] < costs[0] * 1.2 + 0.1, "{costs:?}");
}
