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
use keelson_lnet_wire::nid::Nid;
use keelson_net::InterfaceConfig;
use keelson_net_sim::{Faults, NicModel, World};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
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

/// A router that sends back what it gets, and one box that is `count` peers.
struct Load {
    world: World,
    router: Router,
    router_tasks: Handle,
    peers: Rc<Socklnd<Fake>>,
    upper: Rc<Fake>,
    _boxes: [Rc<keelson_net_sim::Node>; 2],
}

fn peer_nid(n: usize) -> Nid {
    nid(&format!("10.1.{}.{}@tcp", 1 + n / 200, 1 + n % 200))
}

fn config() -> SocklndConfig {
    SocklndConfig {
        receive_buffer: 16 << 10,
        send_buffer: 16 << 10,
        keepalive: Duration::ZERO,
        ..SocklndConfig::default()
    }
}

fn open(count: usize) -> Load {
    let world = World::new(count as u64);
    let wire = world.wire(Faults::default());
    let boxes = [world.node(), world.node()];
    boxes[0].plug("eth0", &wire, "10.1.0.1/16", NicModel::default());
    let addresses =
        (0..count).map(|n| format!("{}/16", peer_nid(n).ip().unwrap()).parse().unwrap()).collect();
    boxes[1].plug_with(
        "eth0",
        &wire,
        InterfaceConfig { addresses, ..InterfaceConfig::default() },
        NicModel::default(),
    );
    let (router_tasks, stack) = boxes[0].boot();
    let router = Router::start(router_tasks.clone(), stack, "10.1.0.1@tcp", LIFE, config());
    router.upper.keeps.set(false);
    router.upper.checks.set(false);
    let (handle, stack) = boxes[1].boot();
    let upper = Fake::new(handle.clone());
    upper.keeps.set(false);
    upper.checks.set(false);
    let peers = Socklnd::new(stack, handle, upper.clone(), config());
    for n in 0..count {
        peers.add_ni(LndNi { id: NiId(n as u32), nid: peer_nid(n), incarnation: 1, conns_per_peer: 1 });
    }
    let load = Load { world, router, router_tasks, peers, upper, _boxes: boxes };
    for n in 0..count {
        load.send(n, 10);
        load.world.run_for(Duration::from_millis(3));
    }
    load.world.run_for(secs(5));
    assert_eq!(load.router.lnd.connections().len(), 3 * count);
    *load.router.upper.echo.borrow_mut() = Some(load.router.lnd.clone());
    load
}

impl Load {
    fn send(&self, peer: usize, len: usize) {
        let header = put(peer as u64, peer_nid(peer), self.router.nid, len);
        let message = Message::new(header, self.upper.pieces.payload(len));
        self.peers.send(NiId(peer as u32), self.router.nid, message);
    }

    /// Exchanges so many messages of peer 0, in groups of eight.
    fn exchange(&self, groups: usize, len: usize) {
        for _ in 0..groups {
            let sent = self.router.upper.sent.get();
            (0..8).for_each(|_| self.send(0, len));
            assert!(self.world.run_until(secs(1), || self.router.upper.sent.get() == sent + 8));
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
    for len in [0, 200, 900, 4096, 100_000] {
        load.exchange(100, len);
        let measure = |groups| {
            let before = ALLOCATIONS.with(Cell::get);
            load.exchange(groups, len);
            ALLOCATIONS.with(Cell::get) - before
        };
        let frames = load.world.now();
        let (few, many) = (measure(10), measure(110));
        let per_message = many.saturating_sub(few) as f64 / 800.0;
        println!("{len} bytes: {few} then {many} allocations, {per_message:.3} a message (from {frames:?})");
        ALLOCATED.with(|all| all.borrow_mut().push((len, per_message)));
    }
    ALLOCATED.with(|all| {
        // The wire's sorted map takes a node now and then for frames in flight; the LND takes nothing.
        assert!(
            all.borrow().iter().all(|(len, each)| *each < 0.02 + *len as f64 / 1500.0 * 0.02),
            "{:?}",
            all.borrow()
        );
    });
}

thread_local! {
    static ALLOCATED: std::cell::RefCell<Vec<(usize, f64)>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[test]
fn a_message_costs_the_same_with_a_thousand_peers() {
    let mut costs = Vec::new();
    for count in [1, 100, 1000] {
        let load = open(count);
        load.exchange(50, 200);
        let (polls, began) = (load.polls(), std::time::Instant::now());
        load.exchange(200, 200);
        let took = began.elapsed() / 1600;
        let polls = (load.polls() - polls) as f64 / 1600.0;
        println!("{count} peers: {polls:.2} polls and {took:?} for a message (both sides and the wire)");
        costs.push(polls);
    }
    assert!(costs[2] < costs[0] * 1.2 + 0.1, "{costs:?}");
}
