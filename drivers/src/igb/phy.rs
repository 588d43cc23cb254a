//! The chip's own PHY, as far as a driver has to do with it: it is told to negotiate, whatever was done to it before.
//!
//! A PHY keeps its settings through a reset of the chip: whoever drove it before may have switched it off. Management
//! firmware speaks to it, too, so that both take turns (82576 datasheet section 4.7; I350 and I210 likewise).

use super::regs::*;
use super::wait;
use keelson_hal::{Clock, Registers};

/// Has the PHY negotiate the link anew. The error says what did not answer.
pub(super) fn negotiate(registers: &dyn Registers, clock: &dyn Clock) -> Result<(), &'static str> {
    let ours = owned(registers);
    let result = acquire(registers, clock, ours).and_then(|()| {
        let result = access(registers, clock, MDIC_READ | BMCR << MDIC_REGISTER_SHIFT).and_then(|control| {
            let on = control & MDIC_DATA & !(BMCR_POWER_DOWN | BMCR_ISOLATE | BMCR_RESET);
            let value = on | BMCR_NEGOTIATE | BMCR_RESTART;
            access(registers, clock, MDIC_WRITE | BMCR << MDIC_REGISTER_SHIFT | value)
        });
        // Others wait for it, so that it is given back in any case.
        let returned = locked(registers, clock, || {
            registers.write32(SW_FW_SYNC, registers.read32(SW_FW_SYNC) & !ours);
        });
        result.and(returned)
    });
    result.map(|_| ())
}

/// The bit that says that a driver uses the PHY of this port.
fn owned(registers: &dyn Registers) -> u32 {
    match registers.read32(STATUS) >> STATUS_PORT_SHIFT & 3 {
        0 => 1 << 1,
        1 => 1 << 2,
        2 => 1 << 5,
        _ => 1 << 6,
    }
}

/// Waits until firmware does not use the PHY, and claims it.
fn acquire(registers: &dyn Registers, clock: &dyn Clock, ours: u32) -> Result<(), &'static str> {
    let deadline = clock.now() + super::PATIENCE;
    loop {
        let mut claimed = false;
        locked(registers, clock, || {
            let owners = registers.read32(SW_FW_SYNC);
            claimed = owners & (ours | ours << SW_FW_FIRMWARE_SHIFT) == 0;
            if claimed {
                registers.write32(SW_FW_SYNC, owners | ours);
            }
        })?;
        if claimed {
            return Ok(());
        }
        if clock.now() > deadline {
            return Err("firmware keeps the PHY");
        }
    }
}

/// Does something while nobody else changes SW_FW_SYNC.
fn locked(registers: &dyn Registers, clock: &dyn Clock, work: impl FnOnce()) -> Result<(), &'static str> {
    // Reading takes the first semaphore, between drivers; the second, against firmware, is set if it stays set.
    if !wait(clock, || registers.read32(SWSM) & SWSM_DRIVERS == 0) {
        // Only this kernel has drivers: somebody before it went without giving it back.
        log::debug!(target: "igb", "the semaphore of drivers was never given back");
    }
    let taken = || {
        registers.write32(SWSM, registers.read32(SWSM) | SWSM_FIRMWARE);
        registers.read32(SWSM) & SWSM_FIRMWARE != 0
    };
    let locked = wait(clock, taken);
    if locked {
        work();
    }
    registers.write32(SWSM, registers.read32(SWSM) & !(SWSM_DRIVERS | SWSM_FIRMWARE));
    if locked { Ok(()) } else { Err("firmware keeps the semaphore") }
}

/// Carries out one access; what MDIC holds then.
fn access(registers: &dyn Registers, clock: &dyn Clock, command: u32) -> Result<u32, &'static str> {
    registers.write32(MDIC, command | MDIC_PHY);
    if !wait(clock, || registers.read32(MDIC) & MDIC_READY != 0) {
        return Err("no answer to MDIC");
    }
    let value = registers.read32(MDIC);
    if value & MDIC_ERROR != 0 { Err("the PHY does not answer") } else { Ok(value) }
}
