//! The test that lets hosts in: a core for programs computes a connection with a known outcome, while the first core goes on
//! booting. A processor that computes wrongly would let nobody in anyway, and nobody would know why.

use super::cores;
use alloc::boxed::Box;
use alloc::sync::Arc;
use keelson_kernel::sync::SpinLock;
use keelson_lwk::event::Event;
use keelson_lwk_wire::selftest::{self, Wrong};

/// The test's outcome, once there is one.
pub struct Test {
    outcome: SpinLock<Option<Result<(), Wrong>>>,
    ended: Event,
}

impl Test {
    /// Has `core` do the test; one without an executor counts as tested.
    pub fn start(core: usize) -> Arc<Test> {
        let test = Arc::new(Test { outcome: SpinLock::new(None), ended: Event::default() });
        let there = test.clone();
        if !cores::run_on(core, Box::new(move |_| there.end(selftest::run()))) {
            test.end(Ok(()));
        }
        test
    }

    fn end(&self, outcome: Result<(), Wrong>) {
        *self.outcome.lock() = Some(outcome);
        self.ended.notify();
    }

    /// Waits for the outcome.
    pub async fn outcome(&self) -> Result<(), Wrong> {
        loop {
            let ended = self.ended.changed();
            if let Some(outcome) = self.outcome.lock().clone() {
                return outcome;
            }
            ended.await;
        }
    }
}
