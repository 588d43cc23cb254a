//! Function level reset (PCIe 6.6.2): one function back to its power-on state, without its neighbours.

use core::fmt;
use core::time::Duration;

use super::access::ConfigAccess;
use super::bar;
use super::capability::id;
use super::function::{COMMAND, Function};

/// Device capabilities at +4: bit 28 says that the function can be reset.
const CAN_RESET: u32 = 1 << 28;
/// Device control at +8, low half: bit 15 resets.
const RESET: u32 = 1 << 15;
/// Device status at +8, high half: bit 5 says that requests are under way.
const PENDING: u32 = 1 << (16 + 5);
/// The function may take this long before it answers.
const SETTLE: Duration = Duration::from_millis(100);
/// And this often another [`SETTLE`] if it says that it is not ready.
const RETRIES: usize = 10;

/// Why a function was not reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetError {
    /// It cannot be reset alone.
    Unsupported,
    /// It was reset and does not answer any more.
    Gone,
}

impl fmt::Display for ResetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResetError::Unsupported => "function has no function level reset",
            ResetError::Gone => "function does not answer after its reset",
        })
    }
}

impl Function {
    /// Resets the function and gives it back its BARs and command register; bus mastering stays off. `wait`
    /// rests for the time given.
    pub fn reset(
        &self,
        access: &impl ConfigAccess,
        wait: &mut dyn FnMut(Duration),
    ) -> Result<(), ResetError> {
        let at = self.address;
        let express = self.capability(id::EXPRESS).ok_or(ResetError::Unsupported)?.offset;
        if express > 0xf4 || access.read32(at, express + 4) & CAN_RESET == 0 {
            return Err(ResetError::Unsupported);
        }
        let saved: [u32; 6] = core::array::from_fn(|index| access.read32(at, bar::FIRST + 4 * index as u16));
        let line = access.read32(at, 0x3c);
        self.set_bus_master(access, false);
        let command = access.read32(at, COMMAND) & 0xffff;
        // Without decoding and mastering nothing new starts; give what is under way time to end.
        access.write32(at, COMMAND, 0);
        if access.read32(at, express + 8) & PENDING != 0 {
            wait(SETTLE);
        }
        let control = access.read32(at, express + 8) & 0xffff;
        access.write32(at, express + 8, control | RESET);

        let ready = || access.read16(at, 0) == self.vendor;
        let answers = (0..RETRIES).any(|_| {
            wait(SETTLE);
            ready()
        });
        if !answers {
            return Err(ResetError::Gone);
        }
        for (index, value) in saved.into_iter().enumerate() {
            access.write32(at, bar::FIRST + 4 * index as u16, value);
        }
        access.write32(at, 0x3c, line);
        access.write32(at, COMMAND, command);
        Ok(())
    }
}
