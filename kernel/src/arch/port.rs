//! I/O ports.

use core::arch::asm;

/// Reads a byte.
///
/// # Safety
/// Reading a port can change a device's state; the caller owns the device.
pub unsafe fn read8(port: u16) -> u8 {
    let value;
    // SAFETY: `in` touches no memory; the rest is the caller's promise.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes a byte.
///
/// # Safety
/// The caller owns the device, and the write does not make it touch memory that is in use.
pub unsafe fn write8(port: u16, value: u8) {
    // SAFETY: see above.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads two bytes.
///
/// # Safety
/// As [`read8`].
pub unsafe fn read16(port: u16) -> u16 {
    let value;
    // SAFETY: see above.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes two bytes.
///
/// # Safety
/// As [`write8`].
pub unsafe fn write16(port: u16, value: u16) {
    // SAFETY: see above.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads four bytes.
///
/// # Safety
/// As [`read8`].
pub unsafe fn read32(port: u16) -> u32 {
    let value;
    // SAFETY: see above.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes four bytes.
///
/// # Safety
/// As [`write8`].
pub unsafe fn write32(port: u16, value: u32) {
    // SAFETY: see above.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) };
}

/// Port space for drivers.
pub struct Ports;

impl keelson_hal::PortIo for Ports {
    fn read8(&self, port: u16) -> u8 {
        // SAFETY: drivers are handed `Ports` for devices they own; none of ours does DMA by port.
        unsafe { read8(port) }
    }
    fn write8(&self, port: u16, value: u8) {
        // SAFETY: as above.
        unsafe { write8(port, value) }
    }
}
