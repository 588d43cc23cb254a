//! The watchdog timer of Intel's 6300ESB (datasheet 300641, section 17), which QEMU has as `-device i6300esb`.
//!
//! It counts down twice: the end of the first count could interrupt, that of the second resets the machine. A register is written
//! behind two words that unlock it. That the last reset was its doing it remembers until told to forget.

use super::Watchdog;
use crate::InitError;
use alloc::rc::Rc;
use core::time::Duration;
use keelson_hal::Registers;

/// Registers of BAR 0: what the two counts begin with, and the register that is written to feed it.
const TIMER_1: usize = 0x00;
const TIMER_2: usize = 0x04;
const RELOAD: usize = 0x0c;
const LEN: usize = 0x10;
/// What unlocks one write.
const UNLOCK: [u16; 2] = [0x80, 0x86];
/// RELOAD: begin again; it ran down, which is forgotten when written.
const FEED: u16 = 1 << 8;
const RAN_DOWN: u16 = 1 << 9;

/// Registers in configuration space: 16 bits, then 8 bits.
const CONFIGURATION: u16 = 0x60;
/// Where it is enabled; see [`ENABLE`].
pub const LOCK: u16 = 0x68;
/// CONFIGURATION: no interrupt after the first count, a clock of about 1 kHz, a reset after the second.
const RESETS: u16 = 3;
/// LOCK: counts. Writing 0 stops it.
pub const ENABLE: u8 = 1 << 1;

/// Counts in a second: 33 MHz / 2^15, as a watchdog. Half of the time goes to each count.
const COUNTS_PER_SECOND: u64 = 1024;
/// The largest number to begin with.
const LARGEST: u64 = (1 << 20) - 1;

/// What the driver needs of the function's configuration space.
pub trait Space {
    /// Writes two bytes, and nothing beside them.
    fn write16(&self, offset: u16, value: u16);
    /// Writes a byte, and nothing beside it.
    fn write8(&self, offset: u16, value: u8);
}

/// A watchdog that counts.
pub struct I6300esb {
    registers: Rc<dyn Registers>,
    has_reset: bool,
}

impl I6300esb {
    /// Has the watchdog behind `registers` (BAR 0) reset the machine when it is not fed for `timeout`; with `None` it is
    /// stopped, as the firmware may have started it.
    ///
    /// # Errors
    ///
    /// Its registers are not there, or `timeout` is longer than it can count.
    pub fn new(
        registers: Rc<dyn Registers>,
        space: &dyn Space,
        timeout: Option<Duration>,
    ) -> Result<I6300esb, InitError> {
        if registers.len() < LEN {
            return Err(InitError::BadConfig { field: "length of BAR 0", value: registers.len() as u64 });
        }
        let status = registers.read16(RELOAD);
        if status == u16::MAX {
            return Err(InitError::NotADevice { what: "RELOAD", found: status.into() });
        }
        let watchdog = I6300esb { registers, has_reset: status & RAN_DOWN != 0 };
        space.write8(LOCK, 0);
        watchdog.unlock();
        watchdog.registers.write16(RELOAD, RAN_DOWN);
        if let Some(timeout) = timeout {
            let count = timeout.as_secs() * COUNTS_PER_SECOND / 2;
            if !(1..=LARGEST).contains(&count) {
                return Err(InitError::BadConfig {
                    field: "seconds of the watchdog",
                    value: timeout.as_secs(),
                });
            }
            space.write16(CONFIGURATION, RESETS);
            for timer in [TIMER_1, TIMER_2] {
                watchdog.unlock();
                watchdog.registers.write32(timer, count as u32);
            }
            watchdog.feed();
            space.write8(LOCK, ENABLE);
            watchdog.feed();
        }
        Ok(watchdog)
    }

    fn unlock(&self) {
        for word in UNLOCK {
            self.registers.write16(RELOAD, word);
        }
    }
}

impl Watchdog for I6300esb {
    fn has_reset(&self) -> bool {
        self.has_reset
    }

    fn feed(&self) {
        self.unlock();
        self.registers.write16(RELOAD, FEED);
    }
}
