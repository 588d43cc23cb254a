//! A warm router forwards without allocating.
//!
//! A test program of its own, as it counts what all of its threads allocate.

use keelson_exec::Executor;
use keelson_exec::sim::SimClock;
use keelson_hal::Entropy;
use keelson_lnet::lnd::{Disposition, Lnd, LndConnectionStatus, LndNi, LndPeerStatus, LndUpper, NiId};
use keelson_lnet::lnet::{Lnet, LnetConfig, NiConfig, PeerNi, Tunables};
use keelson_lnet::message::Message;
use keelson_lnet_wire::message::{Header, Put, Wmd};
use keelson_lnet_wire::nid::{Nid, ProcessId};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the pointer came from the call above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counter(Cell<u64>);

impl Entropy for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.set(self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        let number = self.0.get().to_le_bytes();
        bytes.iter_mut().zip(number.iter().cycle()).for_each(|(byte, random)| *byte = *random);
    }
}

/// A driver that keeps messages until it is told to finish them.
#[derive(Default)]
struct Queueing {
    upper: OnceCell<Rc<Lnet>>,
    queue: RefCell<VecDeque<(NiId, Nid, Message)>>,
}

impl Queueing {
    fn finish(&self) {
        loop {
            let next = self.queue.borrow_mut().pop_front();
            let Some((ni, to, message)) = next else { return };
            self.upper.get().unwrap().finished(ni, to, message, Ok(()));
        }
    }
}

impl Lnd for Queueing {
    fn add_ni(&self, _ni: LndNi) {}
    fn remove_ni(&self, _ni: NiId) {}
    fn send(&self, ni: NiId, to: Nid, message: Message) {
        self.queue.borrow_mut().push_back((ni, to, message));
    }
    fn disconnect(&self, _ni: NiId, _nid: Nid) {}
    fn peers(&self) -> Vec<LndPeerStatus> {
        Vec::new()
    }
    fn connections(&self) -> Vec<LndConnectionStatus> {
        Vec::new()
    }
}

fn nid(text: &str) -> Nid {
    text.parse().unwrap()
}

fn forward(lnet: &Lnet, peer: &Rc<PeerNi>, header: &Header) -> bool {
    // `arrived` is polled where it stands, as a connection's reader does: no task of its own.
    let arrived = pin!(lnet.arrived(peer, header));
    match arrived.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Disposition::Take(message)) => {
            lnet.received(peer, message);
            true
        }
        _ => false,
    }
}

#[test]
fn forwarding_does_not_allocate() {
    let clock = SimClock::new();
    let executor = Executor::new(clock.clone(), None);
    let config = LnetConfig { forwarding: true, peer_buffer_credits: 32, ..LnetConfig::default() };
    let lnet = Lnet::new(executor.handle(), clock, Rc::new(Counter(Cell::new(1))), config);
    let lnd = Rc::new(Queueing::default());
    assert!(lnd.upper.set(lnet.clone()).is_ok());
    lnet.attach(lnd.clone());
    lnet.start();
    let add = |text: &str| {
        let config = NiConfig { nid: nid(text), interface: "eth".into(), tunables: Tunables::default() };
        lnet.add_net(config).unwrap()
    };
    let near = add("10.0.0.1@tcp1");
    add("10.1.0.1@tcp2");
    while executor.turn() {}
    let clients: Vec<Nid> = (2..66).map(|index| nid(&format!("10.0.0.{index}@tcp1"))).collect();
    let servers: Vec<Nid> = (2..66).map(|index| nid(&format!("10.1.0.{index}@tcp2"))).collect();
    let peers: Vec<Rc<PeerNi>> = clients.iter().map(|nid| lnet.peer(near, *nid).unwrap()).collect();
    let put = Put { ack_wmd: Wmd::NONE, match_bits: 1, hdr_data: 2, portal: 3, offset: 4 };
    let round = || {
        let mut forwarded = 0;
        for (index, peer) in peers.iter().enumerate() {
            // One of each size, and more of them than the next hop has credits for, so that some wait.
            for (len, count) in [(0, 4), (1, 4), (4096, 4), (70_000, 10), (1 << 20, 1)] {
                let to = servers[(index / 8) % servers.len()];
                let (from, to) = (ProcessId::lustre(clients[index]), ProcessId::lustre(to));
                let header = Header::new_put(from, to, &put, len);
                for _ in 0..count {
                    forwarded += usize::from(forward(&lnet, peer, &header));
                }
            }
            if index % 2 == 1 {
                lnd.finish();
            }
        }
        lnd.finish();
        forwarded
    };
    let warm: usize = (0..3).map(|_| round()).sum();
    assert_eq!(warm, 3 * 64 * 23);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let forwarded = round() + round();
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(forwarded, 2 * 64 * 23);
    assert_eq!(allocations, 0, "in {forwarded} messages");
    assert_eq!(lnet.statistics().route_count, 5 * 64 * 23);
}
