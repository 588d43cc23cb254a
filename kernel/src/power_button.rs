//! The power button of fixed ACPI hardware, by looking (its interrupt, the SCI, is not used).

use crate::arch::port;
use crate::platform::Platform;

/// PM1 status and enable: the power button (ACPI 6.5 section 4.8.3.1).
const POWER_BUTTON: u16 = 1 << 8;

/// The machine's power button.
#[derive(Clone, Copy)]
pub struct PowerButton {
    status: u16,
}

impl PowerButton {
    /// Finds the button and makes the hardware note when it is pressed. `None` on machines whose button is a
    /// device described in AML (hardware-reduced ACPI), or that have none.
    pub fn find(platform: &Platform) -> Option<PowerButton> {
        let fadt = platform.fadt.as_ref().filter(|fadt| !fadt.flags.hardware_reduced())?;
        let status = fadt.pm1a_event.as_ref()?.port()?;
        let enable = status.checked_add(u16::from(fadt.pm1_event_len / 2)).filter(|port| *port != status)?;
        // SAFETY: the FADT names these ports for this purpose; status bits are cleared by writing them.
        unsafe {
            port::write16(status, POWER_BUTTON);
            port::write16(enable, port::read16(enable) | POWER_BUTTON);
        }
        Some(PowerButton { status })
    }

    /// True once for every time the button was pressed.
    pub fn pressed(&self) -> bool {
        // SAFETY: as in `find`.
        unsafe {
            let pressed = port::read16(self.status) & POWER_BUTTON != 0;
            if pressed {
                port::write16(self.status, POWER_BUTTON);
            }
            pressed
        }
    }
}
