//! Turning the machine off and starting it again.

use crate::arch::{cpu, port};

/// Exit code register of QEMU's isa-debug-exit device.
const DEBUG_EXIT: u16 = 0xf4;
/// QEMU ends with status 2 * value + 1: 33 for success.
pub const EXIT_SUCCESS: u32 = 0x10;
/// Status 35.
pub const EXIT_FAILURE: u32 = 0x11;

/// Ends QEMU through isa-debug-exit; halts where there is none.
pub fn exit_emulator(code: u32) -> ! {
    // SAFETY: the port belongs to isa-debug-exit or to nothing.
    unsafe { port::write32(DEBUG_EXIT, code) };
    loop {
        cpu::halt();
    }
}

/// Starts the machine again.
pub fn reboot() -> ! {
    // SAFETY: the ports of the reset control register (ICH9 datasheet) and of the keyboard controller.
    unsafe {
        port::write8(0xcf9, 0x06);
        port::write8(0xcf9, 0x0e);
        port::write8(0x64, 0xfe);
    }
    loop {
        cpu::halt();
    }
}
