//! `intr`: an interrupt on purpose. It is counted like any other, so that `noise` shows whether it arrived.

use super::report::Report;
use super::{Control, Refusal};
use crate::Errno;
use alloc::format;

impl Control {
    /// Interrupts a core by a vector; one that runs programs and has some only by `force`, because they would notice.
    pub(super) fn interrupt(&self, core: usize, vector: u8, force: bool) -> Result<Report, Refusal> {
        let busy = self.node.cores().any(|there| there.number == core && there.threads() > 0);
        if busy && self.node.settings.compute.contains(&core) && !force {
            let text = format!("intr: core {core} runs a program, which --force would disturb");
            return Err((Errno::EBUSY, text));
        }
        self.kernel.interrupt(core, vector).map_err(|why| (Errno::EINVAL, format!("intr: {why}")))?;
        Ok(Report::Done)
    }
}
