//! The TCO timer of Intel's ICH9 (datasheet 316972) and of the chipsets after it, up to the 9 series: what most boards have, and
//! QEMU's `q35`.
//!
//! It counts down twice: the end of the first count is a mere status that feeding clears, that of the second resets the machine, if
//! nothing forbids that: a strap of the board can. Its registers are ports beside those of ACPI's power management, which the
//! function of the LPC bridge tells.

use super::Watchdog;
use crate::InitError;
use alloc::rc::Rc;
use core::time::Duration;
use keelson_hal::{PortIo, Registers};

/// Registers of the bridge's configuration space (section 13.1): where ACPI's ports are, whether they answer, and where the
/// chipset's configuration registers are, whose lowest bit says whether they answer.
const PMBASE: u16 = 0x40;
const ACPI_CNTL: u16 = 0x44;
const RCBA: u16 = 0xf0;
const PMBASE_MASK: u32 = 0xff80;
const ACPI_ENABLED: u32 = 1 << 7;
const RCBA_MASK: u32 = 0xffff_c000;
const RCBA_ENABLED: u32 = 1 << 0;

/// The TCO registers' place in ACPI's ports (section 13.9). Those here are of 16 bits.
const TCOBASE: u16 = 0x60;
const RELOAD: u16 = 0x00;
const STATUS_1: u16 = 0x04;
const STATUS_2: u16 = 0x06;
const CONTROL_1: u16 = 0x08;
const TIMER: u16 = 0x12;

/// STATUS_1: it counted down once; forgotten when written.
const TIMEOUT: u16 = 1 << 3;
/// STATUS_2: it counted down twice, and that was the reason of this boot. The second is forgotten after the first only.
const SECOND_TIMEOUT: u16 = 1 << 1;
const BOOT: u16 = 1 << 2;
/// CONTROL_1: does not count; an NMI is sent, which is forgotten when written.
const HALT: u16 = 1 << 11;
const NMI_NOW: u16 = 1 << 8;

/// General control and status among the chipset's configuration registers (section 10.1), and its bit that keeps the second
/// count from resetting. It stays set when the board wants that.
const GCS: u64 = 0x3410;
const NO_REBOOT: u32 = 1 << 5;

/// Milliseconds of a count. The time to feed it in is two of them for each that the timer begins with.
const COUNT: u64 = 600;
/// What the timer can begin with (TCO_TMR, section 13.9).
const COUNTS: core::ops::RangeInclusive<u64> = 2..=0x3ff;

/// Where its registers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The first of the TCO ports.
    pub ports: u16,
    /// Address of GCS, four bytes.
    pub gcs: u64,
}

impl Place {
    /// Reads it from the configuration space of the LPC bridge, by offset.
    ///
    /// # Errors
    ///
    /// The firmware gave the registers no place.
    pub fn find(read32: &dyn Fn(u16) -> u32) -> Result<Place, InitError> {
        let (base, control, chipset) = (read32(PMBASE), read32(ACPI_CNTL), read32(RCBA));
        if base & PMBASE_MASK == 0 || control & ACPI_ENABLED == 0 {
            return Err(InitError::BadConfig { field: "PMBASE, off", value: base.into() });
        }
        if chipset & RCBA_MASK == 0 || chipset & RCBA_ENABLED == 0 {
            return Err(InitError::BadConfig { field: "RCBA, off", value: chipset.into() });
        }
        // Both fit: the lower bits of each are clear.
        Ok(Place { ports: (base & PMBASE_MASK) as u16 + TCOBASE, gcs: u64::from(chipset & RCBA_MASK) + GCS })
    }
}

/// How it is stopped and started without the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switch {
    /// The port of two bytes.
    pub control: u16,
    /// What stops it there.
    pub stopped: u16,
    /// What has it count.
    pub running: u16,
    /// The port of two bytes where any number has it count from the beginning.
    pub reload: u16,
}

/// A TCO timer.
pub struct Tco {
    ports: Rc<dyn PortIo>,
    base: u16,
    has_reset: bool,
}

impl Tco {
    /// Has the timer whose ports begin at `base` reset the machine when it is not fed for `timeout`; with `None` it is stopped, as
    /// the firmware may have started it. `gcs` are the four bytes at [`Place::gcs`].
    ///
    /// # Errors
    ///
    /// The registers are not there, the board's strap keeps the timer from resetting, or `timeout` is longer than it can count.
    pub fn new(
        ports: Rc<dyn PortIo>,
        base: u16,
        gcs: &dyn Registers,
        timeout: Option<Duration>,
    ) -> Result<Tco, InitError> {
        let status = ports.read16(base + STATUS_2);
        if status == u16::MAX {
            return Err(InitError::NotADevice { what: "TCO2_STS", found: status.into() });
        }
        let tco = Tco { ports, base, has_reset: status & SECOND_TIMEOUT != 0 };
        let switch = tco.switch();
        tco.ports.write16(switch.control, switch.stopped);
        tco.ports.write16(base + STATUS_1, TIMEOUT);
        tco.ports.write16(base + STATUS_2, SECOND_TIMEOUT);
        tco.ports.write16(base + STATUS_2, BOOT);
        let Some(timeout) = timeout else { return Ok(tco) };
        let counts = (timeout.as_millis() as u64).div_ceil(2 * COUNT).max(*COUNTS.start());
        if !COUNTS.contains(&counts) {
            return Err(InitError::BadConfig { field: "seconds of the watchdog", value: timeout.as_secs() });
        }
        gcs.write32(0, gcs.read32(0) & !NO_REBOOT);
        if gcs.read32(0) & NO_REBOOT != 0 {
            return Err(InitError::Strapped("NO_REBOOT"));
        }
        // The range has ten bits.
        tco.ports.write16(base + TIMER, counts as u16);
        tco.feed();
        tco.ports.write16(switch.control, switch.running);
        tco.feed();
        Ok(tco)
    }

    /// How it is stopped and started without the driver.
    pub fn switch(&self) -> Switch {
        let control = self.base + CONTROL_1;
        let others = self.ports.read16(control) & !(HALT | NMI_NOW);
        Switch { control, stopped: others | HALT, running: others, reload: self.base + RELOAD }
    }
}

impl Watchdog for Tco {
    fn has_reset(&self) -> bool {
        self.has_reset
    }

    fn feed(&self) {
        self.ports.write16(self.base + RELOAD, 1);
        self.ports.write16(self.base + STATUS_1, TIMEOUT);
    }
}
