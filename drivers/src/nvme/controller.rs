//! The controller's registers: reset, enable, doorbells.

use super::queue::Queue;
use crate::InitError;
use alloc::rc::Rc;
use core::time::Duration;
use keelson_hal::{Clock, Registers};

/// Registers (section 3.1).
const CAP: usize = 0x00;
const CC: usize = 0x14;
const CSTS: usize = 0x1c;
const AQA: usize = 0x24;
const ASQ: usize = 0x28;
const ACQ: usize = 0x30;
const DOORBELLS: usize = 0x1000;

/// CC: enabled, NVM command set, pages of 4 KiB, submission entries of 64 bytes and completion entries of 16.
const CC_ENABLED: u32 = 1 | 6 << 16 | 4 << 20;
/// CSTS: ready, and fatally failed.
const READY: u32 = 1;
const FATAL: u32 = 2;
/// What a device that is gone reads.
const GONE: u32 = u32::MAX;

/// Most entries of a queue here: more than there are slots.
const MAX_ENTRIES: u16 = 128;
/// Time for an admin command; none takes long.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A controller.
pub(super) struct Controller {
    registers: Rc<dyn Registers>,
    clock: Rc<dyn Clock>,
    /// Bytes between doorbells.
    stride: usize,
    /// Entries that a queue may have.
    most_entries: u16,
    /// How long enabling and disabling may take.
    patience: Duration,
}

impl Controller {
    /// A controller that does nothing.
    pub(super) fn reset(registers: Rc<dyn Registers>, clock: Rc<dyn Clock>) -> Result<Controller, InitError> {
        if registers.len() < DOORBELLS + 16 {
            return Err(InitError::BadConfig { field: "length of BAR 0", value: registers.len() as u64 });
        }
        let (low, high) = (registers.read32(CAP), registers.read32(CAP + 4));
        if low == GONE {
            return Err(InitError::NotADevice { what: "CAP", found: low });
        }
        let smallest_page = high >> 16 & 0xf;
        let has_commands = high >> 5 & 1 == 1;
        if smallest_page != 0 || !has_commands {
            return Err(InitError::BadConfig { field: "CAP (page size, command set)", value: high.into() });
        }
        let controller = Controller {
            stride: 4 << (high & 0xf),
            most_entries: (low as u16).saturating_add(1).min(MAX_ENTRIES),
            // Half seconds; none at all makes no sense.
            patience: Duration::from_millis(500) * (low >> 24).max(1),
            registers,
            clock,
        };
        // Two pairs of doorbells.
        if controller.most_entries < 2 || controller.registers.len() < DOORBELLS + 4 * controller.stride {
            return Err(InitError::BadConfig { field: "CAP (entries, doorbells)", value: low.into() });
        }
        if controller.stop() { Ok(controller) } else { Err(InitError::ResetTimeout) }
    }

    /// Entries of each queue.
    pub(super) fn entries(&self) -> u16 {
        self.most_entries
    }

    /// Starts it with its admin queue.
    pub(super) fn enable(&self, admin: &Queue) -> Result<(), InitError> {
        let entries = u32::from(admin.entries() - 1);
        self.registers.write32(AQA, entries << 16 | entries);
        self.registers.write64(ASQ, admin.submission());
        self.registers.write64(ACQ, admin.completion());
        self.registers.write32(CC, CC_ENABLED);
        if self.wait(READY) { Ok(()) } else { Err(InitError::ResetTimeout) }
    }

    /// Stops it; false when it does not confirm that.
    pub(super) fn stop(&self) -> bool {
        let enabled = self.registers.read32(CC);
        if enabled != 0 {
            self.registers.write32(CC, 0);
        }
        self.wait(0)
    }

    /// Waits until it is ready, or is not.
    fn wait(&self, ready: u32) -> bool {
        let start = self.clock.now();
        loop {
            let status = self.registers.read32(CSTS);
            if status == GONE || (status & FATAL != 0 && ready == READY) {
                return false;
            }
            if status & READY == ready {
                return true;
            }
            if self.clock.now() - start > self.patience {
                return false;
            }
            core::hint::spin_loop();
        }
    }

    /// Its status when that says that it failed.
    pub(super) fn failure(&self) -> Option<u32> {
        let status = self.registers.read32(CSTS);
        (status == GONE || status & (FATAL | READY) != READY).then_some(status)
    }

    /// Tells it of new commands.
    pub(super) fn ring_submission(&self, queue: &mut Queue) {
        self.registers.write32(self.doorbell(queue, 0), queue.tail().into());
    }

    /// Tells it which completions were taken, if any were since.
    pub(super) fn ring_completion(&self, queue: &mut Queue) {
        if let Some(head) = queue.taken() {
            self.registers.write32(self.doorbell(queue, 1), head.into());
        }
    }

    fn doorbell(&self, queue: &Queue, completion: usize) -> usize {
        DOORBELLS + (2 * usize::from(queue.number()) + completion) * self.stride
    }

    /// Calls `look` until it gives something, for as long as an admin command may take.
    pub(super) fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let start = self.clock.now();
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            if self.clock.now() - start > PATIENCE || self.failure().is_some() {
                return None;
            }
            core::hint::spin_loop();
        }
    }
}
