//! I/O ports.

use x86_64::instructions::port::Port;

/// Reads a byte.
///
/// # Safety
/// Reading a port can change a device's state; the caller owns the device.
pub unsafe fn read8(port: u16) -> u8 {
    // SAFETY: the caller's promise.
    unsafe { Port::new(port).read() }
}

/// Writes a byte.
///
/// # Safety
/// The caller owns the device, and the write does not make it touch memory that is in use.
pub unsafe fn write8(port: u16, value: u8) {
    // SAFETY: the caller's promise.
    unsafe { Port::new(port).write(value) };
}

/// Reads two bytes.
///
/// # Safety
/// As [`read8`].
pub unsafe fn read16(port: u16) -> u16 {
    // SAFETY: the caller's promise.
    unsafe { Port::new(port).read() }
}

/// Writes two bytes.
///
/// # Safety
/// As [`write8`].
pub unsafe fn write16(port: u16, value: u16) {
    // SAFETY: the caller's promise.
    unsafe { Port::new(port).write(value) };
}

/// Reads four bytes.
///
/// # Safety
/// As [`read8`].
pub unsafe fn read32(port: u16) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { Port::new(port).read() }
}

/// Writes four bytes.
///
/// # Safety
/// As [`write8`].
pub unsafe fn write32(port: u16, value: u32) {
    // SAFETY: the caller's promise.
    unsafe { Port::new(port).write(value) };
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
    fn read16(&self, port: u16) -> u16 {
        // SAFETY: as above.
        unsafe { read16(port) }
    }
    fn write16(&self, port: u16, value: u16) {
        // SAFETY: as above.
        unsafe { write16(port, value) }
    }
}
