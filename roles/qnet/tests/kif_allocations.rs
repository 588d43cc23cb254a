//! Warm message passing does not allocate.
//!
//! A test program of its own, as it counts what all of its threads allocate.

use keelson_exec::Executor;
use keelson_exec::sim::SimClock;
use keelson_hal::Entropy;
use keelson_qnet::api::{Credentials, Kernel, KernelConfig, Received};
use keelson_qnet::sessions::memory::{Network, NetworkSettings};
use keelson_qnet_wire::Nd;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

async fn serve(kernel: Kernel) {
    let channel = kernel.channel(1).unwrap();
    let mut bytes = vec![0; 200_000];
    loop {
        match channel.receive().await {
            Received::Message(message) => {
                let len = message.read(0, &mut bytes).await.unwrap();
                message.reply(len as i32, &bytes[..len]);
            }
            Received::Pulse(_) => {}
            _ => return,
        }
    }
}

async fn send(kernel: Kernel, nd: Nd, message: Vec<u8>, rounds: Rc<Cell<usize>>) {
    let connection = kernel.connect(nd, 1, 1, &Credentials::default()).await.unwrap();
    let mut reply = vec![0; message.len()];
    loop {
        let (status, len) = connection.send(&[&message], &mut reply).await.unwrap();
        assert_eq!((status as usize, len), (message.len(), message.len()));
        connection.pulse(12, 3, 4).unwrap();
        rounds.set(rounds.get() + 1);
    }
}

#[test]
fn messages_do_not_allocate() {
    // Small ones, one that is pulled, and one whose reply takes two parts; to another node and to this one.
    for (len, from) in [(100, 0), (8192, 0), (65_536, 0), (100_000, 0), (100, 1), (100_000, 1)] {
        let executor = Executor::new(SimClock::new(), None);
        let network = Network::new(&executor.handle(), 2, NetworkSettings::default());
        let kernels: Vec<Kernel> = (0..2)
            .map(|node| {
                let kernel = Kernel::new(&executor.handle(), KernelConfig::default(), &Zeros);
                kernel.mount(network.sessions(node)).unwrap();
                kernel
            })
            .collect();
        executor.handle().spawn("server", serve(kernels[1].clone()));
        executor.turn();
        let rounds = Rc::new(Cell::new(0));
        for _ in 0..4 {
            let client = send(kernels[from].clone(), network.nd(1, from), vec![7; len], rounds.clone());
            executor.handle().spawn("client", client);
        }
        let run = |until: usize| {
            while rounds.get() < until {
                assert!(executor.turn(), "stuck after {} rounds", rounds.get());
            }
        };
        run(200);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        run(1200);
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert_eq!(allocations, 0, "{allocations} allocations in 1000 messages of {len} bytes from {from}");
        executor.abort_all();
    }
}
