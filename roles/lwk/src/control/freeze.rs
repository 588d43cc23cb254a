//! `freeze` and `thaw` (feature F25).

use super::report::Report;
use super::{Control, Refusal};
use crate::Errno;
use alloc::format;
use alloc::string::ToString;
use core::time::Duration;

/// How long threads may take to stop. They stop at once, but for those that the kernel does something long for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(5);

impl Control {
    /// Stops the threads of all programs, and waits until they have stopped.
    pub(super) async fn freeze(&self) -> Result<Report, Refusal> {
        if self.node.is_closed() {
            return Err((Errno::EBUSY, "freeze: the node is going down".to_string()));
        }
        if self.node.freeze() {
            log::info!(target: "lwk", "all programs are being frozen");
        }
        let deadline = self.timers().now() + PATIENCE;
        // Who is held in a program does not run either.
        while self.node.is_frozen() && self.node.still_running() > 0 && !self.is_held() {
            if self.timers().now() >= deadline {
                let running = self.node.still_running();
                let text = format!(
                    "freeze: {running} threads have not stopped within {PATIENCE:?}; it goes on, see get status"
                );
                return Err((Errno::ETIMEDOUT, text));
            }
            self.timers().at(self.timers().now() + LOOK).await;
        }
        Ok(Report::Done)
    }

    /// Lets them go on.
    pub(super) fn thaw(&self) -> Result<Report, Refusal> {
        if self.is_dumping() {
            return Err((
                Errno::EBUSY,
                "thaw: a dump is being made; everything goes on when it is done".to_string(),
            ));
        }
        let held = self.let_go();
        if !self.node.thaw() && !held {
            return Err((Errno::EBUSY, "thaw: the node is not frozen".to_string()));
        }
        log::info!(target: "lwk", "all programs go on");
        Ok(Report::Done)
    }
}
