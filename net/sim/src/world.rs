//! The world: a clock, and everything that lives by it.

use crate::node::Node;
use crate::rng::Rng;
use crate::wire::{Faults, Wire};
use keelson_exec::sim::SimClock;
use keelson_exec::{Executor, Handle};
use keelson_hal::{Clock, Instant, Park};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Owns the clock and the executors of all nodes, and one of its own for wires and for tasks of the test.
pub struct World {
    shared: Rc<Shared>,
}

pub(crate) struct Shared {
    pub clock: Rc<SimClock>,
    pub rng: Rng,
    own: Executor,
    nodes: RefCell<Vec<Rc<Executor>>>,
    wires: Cell<u8>,
}

impl World {
    /// An empty world at time zero.
    pub fn new(seed: u64) -> World {
        let clock = SimClock::new();
        let own = Executor::new(clock.clone(), None);
        let (nodes, wires) = Default::default();
        World { shared: Rc::new(Shared { clock, rng: Rng::new(seed), own, nodes, wires }) }
    }

    /// A wire. Its frames meet their fates by a seed drawn from the world's.
    pub fn wire(&self, faults: Faults) -> Rc<Wire> {
        let shared = &self.shared;
        let number = shared.wires.replace(shared.wires.get() + 1);
        Wire::new(shared.own.handle(), shared.rng.next(), number, faults)
    }

    /// A box without NICs, switched off.
    pub fn node(&self) -> Rc<Node> {
        Rc::new(Node::new(self.shared.clone()))
    }

    /// The executor of the test itself: its tasks outlive every node.
    pub fn handle(&self) -> Handle {
        self.shared.own.handle()
    }

    /// The clock.
    pub fn clock(&self) -> Rc<SimClock> {
        self.shared.clock.clone()
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// Does something once `span` has passed: change a wire's faults, cut, kill, boot.
    pub fn after(&self, span: Duration, event: impl FnOnce() + 'static) {
        let sleep = self.handle().sleep(span);
        self.handle().spawn("event", async move {
            sleep.await;
            event();
        });
    }

    /// Runs everything until `future` has ended.
    ///
    /// # Panics
    ///
    /// When nothing can happen any more and `future` still waits.
    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let slot = result.clone();
        self.handle().spawn("test", async move {
            let value = future.await;
            *slot.borrow_mut() = Some(value);
        });
        loop {
            if let Some(value) = result.borrow_mut().take() {
                return value;
            }
            self.shared.step(Instant::FAR_FUTURE);
        }
    }

    /// Runs everything for `span`.
    pub fn run_for(&self, span: Duration) {
        self.run_until(span, || false);
    }

    /// Runs everything until `condition` holds, but no longer than `limit`; false when it did not come to
    /// hold. The condition is looked at after every turn.
    pub fn run_until(&self, limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let end = self.now() + limit;
        loop {
            if condition() {
                return true;
            }
            if self.now() >= end && self.shared.is_idle() {
                return false;
            }
            self.shared.step(end);
        }
    }
}

impl Shared {
    pub fn add(&self, executor: Rc<Executor>) {
        self.nodes.borrow_mut().push(executor);
    }

    pub fn remove(&self, executor: &Rc<Executor>) {
        self.nodes.borrow_mut().retain(|other| !Rc::ptr_eq(other, executor));
    }

    /// A turn of every executor; when none had anything to do, time passes to the next deadline, at most to
    /// `end`.
    fn step(&self, end: Instant) {
        let mut polled = self.own.turn();
        let mut n = 0;
        loop {
            // A task may kill its node or another: nothing stays borrowed meanwhile.
            let Some(node) = self.nodes.borrow().get(n).cloned() else { break };
            polled |= node.turn();
            n += 1;
        }
        if !polled {
            self.clock.park(self.rest_until().min(end));
        }
    }

    fn rest_until(&self) -> Instant {
        let nodes = self.nodes.borrow();
        nodes.iter().map(|node| node.rest_until()).fold(self.own.rest_until(), Instant::min)
    }

    /// True when nothing is left to do at this time.
    fn is_idle(&self) -> bool {
        self.rest_until() > self.clock.now()
    }
}

impl Drop for World {
    /// Ends all tasks: they hold their executors, which hold them.
    fn drop(&mut self) {
        for node in self.shared.nodes.take() {
            node.abort_all();
        }
        self.shared.own.abort_all();
    }
}
