//! Batches: tests that a console has added, and the loops that run those of which this node is the client.

use super::Transport;
use super::probe::{Probe, ProbeError};
use super::rpc::Rpcs;
use super::session::Session;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use keelson_exec::TaskHandle;
use keelson_lnet_wire::nid::ProcessId;
use keelson_lnet_wire::srpc::Service;

/// Tests of a batch.
const MOST_TESTS: usize = 256;
/// Number of iterations that means no end.
const ENDLESS: u32 = u32::MAX;
/// How long a loop waits after a failure.
const RETRY: Duration = Duration::from_millis(10);

/// A numbered list of tests.
pub(super) struct Batch {
    pub id: u64,
    tests: RefCell<Vec<Rc<TestInstance>>>,
}

/// A test, as this node takes part in it.
pub(super) struct TestInstance {
    pub service: Service,
    /// Without one this node is the server.
    pub client: Option<ClientPart>,
    /// Loops that are running.
    running: Cell<usize>,
    /// No loop starts another request.
    stopping: Cell<bool>,
    /// Next number of a ping.
    sequence: Cell<u32>,
    tasks: RefCell<Vec<TaskHandle>>,
}

/// What a client of a test does.
pub(super) struct ClientPart {
    pub probe: Probe,
    pub features: u32,
    /// Requests of each loop, or [`ENDLESS`].
    pub iterations: u32,
    /// Loops for each destination.
    pub concurrency: u32,
    pub stop_on_error: bool,
    pub destinations: Vec<ProcessId>,
}

impl Batch {
    pub fn new(id: u64) -> Batch {
        Batch { id, tests: RefCell::default() }
    }

    /// Adds a test; false where there are too many.
    pub fn add(&self, service: Service, client: Option<ClientPart>) -> bool {
        let mut tests = self.tests.borrow_mut();
        if tests.len() >= MOST_TESTS {
            return false;
        }
        tests.push(Rc::new(TestInstance {
            service,
            client,
            running: Cell::new(0),
            stopping: Cell::new(false),
            sequence: Cell::new(0),
            tasks: RefCell::default(),
        }));
        true
    }

    pub fn serves(&self, service: Service) -> bool {
        self.tests.borrow().iter().any(|test| test.client.is_none() && test.service == service)
    }

    pub fn planned_loops(&self) -> usize {
        self.tests.borrow().iter().filter_map(|test| test.client.as_ref()).map(ClientPart::loops).sum()
    }

    /// Tests that are running.
    pub fn active_tests(&self) -> usize {
        self.tests.borrow().iter().filter(|test| test.running.get() > 0).count()
    }

    /// Loops of the test number `index`, counted from 1, that are running.
    pub fn active_loops(&self, index: u32) -> Option<usize> {
        let index = usize::try_from(index).ok()?.checked_sub(1)?;
        self.tests.borrow().get(index).map(|test| test.running.get())
    }

    /// Starts the tests, unless some are running.
    pub fn run<T: Transport>(&self, session: &Rc<Session>, rpcs: &Rc<Rpcs<T>>) {
        if self.active_tests() > 0 {
            return;
        }
        for test in &*self.tests.borrow() {
            test.start(session, rpcs);
        }
    }

    /// Ends the tests: loops finish the request they are at, or are cut off where they stand.
    pub fn stop(&self, at_once: bool) {
        for test in &*self.tests.borrow() {
            test.stopping.set(true);
            if at_once {
                test.tasks.borrow_mut().drain(..).for_each(|task| task.abort());
            }
        }
    }
}

impl ClientPart {
    /// Loops of the test.
    pub fn loops(&self) -> usize {
        self.destinations.len().saturating_mul(self.concurrency as usize)
    }
}

impl TestInstance {
    fn start<T: Transport>(self: &Rc<Self>, session: &Rc<Session>, rpcs: &Rc<Rpcs<T>>) {
        let Some(client) = &self.client else { return };
        self.stopping.set(false);
        let mut tasks = self.tasks.borrow_mut();
        tasks.clear();
        for destination in &client.destinations {
            for _ in 0..client.concurrency {
                let place = Running::new(self.clone(), session.clone());
                let (own_rpcs, destination) = (rpcs.clone(), *destination);
                tasks.push(rpcs.handle().spawn("lst loop", async move {
                    place.run(&own_rpcs, destination).await;
                }));
            }
        }
    }
}

/// A loop that runs; counted as long as it exists, however it ends.
struct Running {
    test: Rc<TestInstance>,
    session: Rc<Session>,
}
impl Running {
    fn new(test: Rc<TestInstance>, session: Rc<Session>) -> Running {
        test.running.set(test.running.get() + 1);
        Running { test, session }
    }

    async fn run<T: Transport>(self, rpcs: &Rpcs<T>, to: ProcessId) {
        let Some(client) = &self.test.client else { return };
        let mut left = client.iterations;
        while left > 0 && !self.test.stopping.get() {
            let sequence = self.test.sequence.get();
            self.test.sequence.set(sequence.wrapping_add(1));
            let result = client.probe.run(rpcs, None, to, client.features, sequence, rpcs.timeout()).await;
            if let Err(error) = result {
                self.failed(to, error);
                if client.stop_on_error {
                    return;
                }
                // What fails at once must not become a busy loop.
                rpcs.handle().sleep(RETRY).await;
            }
            if left != ENDLESS {
                left -= 1;
            }
        }
    }

    fn failed(&self, to: ProcessId, error: ProbeError) {
        log::debug!(target: "lnet", "selftest: {:?} test with {to}: {error}", self.test.service);
        self.session.count_error(self.test.service);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.test.running.set(self.test.running.get() - 1);
    }
}
