//! Turning the machine off and starting it again.

use crate::acpi::{AddressSpace, GenericAddress};
use crate::arch::{cpu, port};
use crate::mm::{self, Mmio};
use crate::platform::Platform;
use crate::sync::SpinLock;
use crate::{time, watchdog};
use core::time::Duration;
use keelson_hal::Registers;

/// Exit code register of QEMU's isa-debug-exit device.
const DEBUG_EXIT: u16 = 0xf4;
/// QEMU ends with status 2 * value + 1: 33 for success.
pub const EXIT_SUCCESS: u32 = 0x10;
/// Status 35.
pub const EXIT_FAILURE: u32 = 0x11;

/// PM1 control: the processor gets ACPI events (set by firmware on request).
const SCI_ENABLED: u16 = 1 << 0;
/// PM1 control: position of the sleep type, and the bit that acts on it (ACPI 6.5 section 4.8.3.2.1).
const SLEEP_TYPE_SHIFT: u16 = 10;
const SLEEP_ENABLE: u16 = 1 << 13;
/// The same for the sleep control register of hardware-reduced ACPI (section 4.8.3.7).
const REDUCED_SLEEP_TYPE_SHIFT: u8 = 2;
const REDUCED_SLEEP_ENABLE: u8 = 1 << 5;
/// How long each way to switch off or reset may take before the next is tried.
const PATIENCE: Duration = Duration::from_millis(50);
/// Wait for soft off: an emulator acts on it in a thread of its own, which a busy host may keep waiting; going
/// on early would end it with another exit status.
const SOFT_OFF_PATIENCE: Duration = Duration::from_secs(5);

/// A register of the firmware's, ready for use.
enum Register {
    Port(u16),
    Memory(Mmio),
}

impl Register {
    /// Maps it when it is memory; `None` for what we cannot reach.
    fn prepare(address: &GenericAddress) -> Option<Register> {
        match address.space {
            AddressSpace::Port => address.port().map(Register::Port),
            AddressSpace::Memory => mm::map_mmio(address.address, 4).ok().map(Register::Memory),
            _ => None,
        }
    }

    fn write8(&self, value: u8) {
        match self {
            // SAFETY: the firmware names this register for what the caller is about to do.
            Register::Port(number) => unsafe { port::write8(*number, value) },
            Register::Memory(window) => window.write8(0, value),
        }
    }
}

/// What this machine offers.
struct Controls {
    /// PM1a and PM1b control ports with their sleep types for soft off.
    pm1: [Option<(u16, u8)>; 2],
    /// Port and value that make firmware hand over to ACPI.
    enable: Option<(u16, u8)>,
    /// Sleep control register with the sleep type for soft off.
    sleep: Option<(Register, u8)>,
    reset: Option<(Register, u8)>,
}

static CONTROLS: SpinLock<Option<Controls>> = SpinLock::new(None);

/// Notes the machine's power registers.
pub(crate) fn init(platform: &Platform) {
    let Some(fadt) = &platform.fadt else { return };
    let pm1 = |register: &Option<GenericAddress>, kind: Option<u8>| Some((register.as_ref()?.port()?, kind?));
    let off = platform.soft_off;
    let controls = Controls {
        pm1: [pm1(&fadt.pm1a_control, off.map(|s| s.a)), pm1(&fadt.pm1b_control, off.map(|s| s.b))],
        enable: u16::try_from(fadt.smi_command)
            .ok()
            .filter(|port| *port != 0 && fadt.acpi_enable != 0)
            .map(|port| (port, fadt.acpi_enable)),
        sleep: fadt.sleep_control.as_ref().and_then(Register::prepare).zip(off.map(|s| s.a)),
        reset: fadt
            .reset
            .as_ref()
            .filter(|_| fadt.flags.reset_supported() || fadt.flags.hardware_reduced())
            .and_then(|(register, value)| Some((Register::prepare(register)?, *value))),
    };
    *CONTROLS.lock() = Some(controls);
}

/// Ends QEMU through isa-debug-exit; halts where there is none.
pub fn exit_emulator(code: u32) -> ! {
    // SAFETY: the port belongs to isa-debug-exit or to nothing.
    unsafe { port::write32(DEBUG_EXIT, code) };
    halt()
}

/// Switches the machine off: ACPI soft off, else the exit of an emulator, else a halt.
pub fn off() -> ! {
    log::info!(target: "kernel", "power off");
    watchdog::stop();
    if let Some(controls) = CONTROLS.lock().as_ref() {
        controls.soft_off();
    }
    exit_emulator(EXIT_SUCCESS)
}

impl Controls {
    fn soft_off(&self) {
        // SAFETY: the ports are those the FADT names for this purpose.
        unsafe {
            if let (Some((port, value)), Some((control, _))) = (self.enable, self.pm1[0])
                && port::read16(control) & SCI_ENABLED == 0
            {
                port::write8(port, value);
                time::spin(PATIENCE);
            }
            for (control, kind) in self.pm1.into_iter().flatten() {
                port::write16(control, u16::from(kind) << SLEEP_TYPE_SHIFT | SLEEP_ENABLE);
            }
        }
        if let Some((register, kind)) = &self.sleep {
            register.write8(kind << REDUCED_SLEEP_TYPE_SHIFT | REDUCED_SLEEP_ENABLE);
        }
        time::spin(SOFT_OFF_PATIENCE);
    }
}

/// Starts the machine again: the FADT's reset register, the chipset's, the keyboard controller's, and last a
/// triple fault. `-no-reboot` makes QEMU end instead.
pub fn reboot() -> ! {
    watchdog::before_reset();
    // A panic may have happened while the lock was held; the other ways need none.
    if let Some(controls) = CONTROLS.try_lock()
        && let Some((register, value)) = controls.as_ref().and_then(|c| c.reset.as_ref())
    {
        register.write8(*value);
        time::spin(PATIENCE);
    }
    // SAFETY: the reset control register (ICH9 datasheet, CF9h) and the keyboard controller's reset pulse;
    // then an empty IDT, whose first interrupt cannot be delivered.
    unsafe {
        port::write8(0xcf9, 0x06);
        port::write8(0xcf9, 0x0e);
        time::spin(PATIENCE);
        port::write8(0x64, 0xfe);
        time::spin(PATIENCE);
        let nothing = [0u16; 5];
        core::arch::asm!("lidt [{}]", "int3", in(reg) &nothing, options(nostack));
    }
    halt()
}

fn halt() -> ! {
    loop {
        cpu::halt();
    }
}
