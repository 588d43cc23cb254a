//! `shutdown`: no new programs, an end of those that are there, and off.

use super::Control;
use crate::session::Tool;
use crate::signals::{SIGKILL, SIGTERM, SigInfo};
use core::time::Duration;

/// How long programs have between the request to end and the end (section 6.3).
pub const GRACE: Duration = Duration::from_secs(10);
/// How long a killed program may take.
const END: Duration = Duration::from_secs(3);
/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(50);
/// Time for the answer, and for what programs wrote last, to leave.
const FAREWELL: Duration = Duration::from_millis(300);

impl Control {
    /// Answers at once, as IHK does, and sees to the end of the node. With `force` programs are killed without being asked.
    pub(super) async fn shut_down(&self, tool: &Tool, force: bool) {
        if !self.node.is_closed() {
            log::warn!(target: "lwk", "a tool shuts the node down{}", if force { ", by force" } else { "" });
        }
        self.node.close();
        tool.text("");
        // Who is held or frozen cannot end by itself.
        self.let_go();
        self.node.thaw();
        let rounds = [(SIGTERM, GRACE), (SIGKILL, END)];
        for (signal, patience) in rounds.into_iter().skip(usize::from(force)) {
            if self.end_all(signal, patience).await {
                break;
            }
        }
        self.timers().at(self.timers().now() + FAREWELL).await;
        self.kernel.power_off();
    }

    /// True when all programs ended in time.
    async fn end_all(&self, signal: u32, patience: Duration) -> bool {
        for process in self.node.processes() {
            // What ended in between needs no signal.
            let _ = process.signal(SigInfo::kernel(signal));
        }
        let deadline = self.timers().now() + patience;
        while !self.node.processes().is_empty() {
            if self.timers().now() >= deadline {
                return false;
            }
            self.timers().at(self.timers().now() + LOOK).await;
        }
        true
    }
}
