//! A disk that takes its time and does things in another order.

use super::{Seed, SimDisk};
use keelson_exec::Handle;
use keelson_hal::{BlockCompletion, BlockDevice, BlockGeometry, BlockOp, BlockRequest, Entropy, Ticket};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Requests that may be in flight.
const QUEUE: usize = 32;

/// A [`SimDisk`] whose requests end after seeded times, in whatever order that gives. A write reaches the medium in
/// the moment it ends; a flush covers what had ended when it was asked for.
pub struct SlowDisk {
    disk: Rc<SimDisk>,
    handle: Handle,
    random: Rc<Seed>,
    slowest: Duration,
    next: Cell<u32>,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    in_flight: Cell<usize>,
    done: RefCell<HashMap<u32, BlockCompletion>>,
    abandoned: RefCell<Vec<u32>>,
    wakers: RefCell<Vec<Waker>>,
}

impl SlowDisk {
    /// Requests take up to `slowest`.
    pub fn new(disk: Rc<SimDisk>, handle: Handle, seed: u64, slowest: Duration) -> Rc<SlowDisk> {
        Rc::new(SlowDisk {
            disk,
            handle,
            random: Seed::new(seed),
            slowest,
            next: Cell::new(0),
            state: Rc::default(),
        })
    }
}

impl State {
    fn end(&self, ticket: u32, completion: BlockCompletion) {
        self.in_flight.set(self.in_flight.get() - 1);
        let mut abandoned = self.abandoned.borrow_mut();
        match abandoned.iter().position(|&other| other == ticket) {
            Some(index) => drop(abandoned.swap_remove(index)),
            None => drop(self.done.borrow_mut().insert(ticket, completion)),
        }
        self.wakers.borrow_mut().drain(..).for_each(Waker::wake);
    }

    fn wait<T>(&self, cx: &mut Context<'_>) -> Poll<T> {
        self.wakers.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }
}

impl BlockDevice for SlowDisk {
    fn name(&self) -> &str {
        self.disk.name()
    }

    fn geometry(&self) -> BlockGeometry {
        BlockGeometry { queue_depth: QUEUE, ..self.disk.geometry() }
    }

    fn submit(&self, request: BlockRequest) -> Result<Ticket, BlockRequest> {
        if self.state.in_flight.get() >= QUEUE {
            return Err(request);
        }
        self.state.in_flight.set(self.state.in_flight.get() + 1);
        let ticket = self.next.get();
        self.next.set(ticket.wrapping_add(1));
        let nanos = self.random.next_u64() % (self.slowest.as_nanos() as u64 + 1);
        let (disk, state, handle) = (self.disk.clone(), self.state.clone(), self.handle.clone());
        let flushed = (request.op == BlockOp::Flush)
            .then(|| disk.execute(BlockRequest { op: BlockOp::Flush, sector: 0, buffer: Vec::new() }));
        self.handle.spawn("disk", async move {
            handle.sleep(Duration::from_nanos(nanos)).await;
            let (result, buffer) = flushed.unwrap_or_else(|| disk.execute(request));
            state.end(ticket, BlockCompletion { result, buffer });
        });
        Ok(Ticket(ticket))
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.in_flight.get() < QUEUE { Poll::Ready(()) } else { self.state.wait(cx) }
    }

    fn poll_done(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<BlockCompletion> {
        let done = self.state.done.borrow_mut().remove(&ticket.0);
        match done {
            Some(completion) => Poll::Ready(completion),
            None => self.state.wait(cx),
        }
    }

    fn abandon(&self, ticket: Ticket) {
        if self.state.done.borrow_mut().remove(&ticket.0).is_none() {
            self.state.abandoned.borrow_mut().push(ticket.0);
        }
    }
}
