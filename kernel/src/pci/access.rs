//! The two ways to configuration space: memory-mapped (PCIe 7.2.2) and through ports (PCI 3.2.2.3.2).

use core::fmt;

use keelson_hal::Registers;

/// Where a function sits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address {
    /// Segment group; 0 on all but the largest machines.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

impl fmt::Display for Address {
    /// As lspci writes it: `0000:00:1f.2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, self.bus, self.device, self.function)
    }
}

/// Configuration space. Accesses are 32 bits wide, unless said otherwise: fields of 16 bits that share their word with a status
/// register of write-one-to-clear bits are written with zeros there, which changes nothing.
pub trait ConfigAccess {
    /// The word at `offset`, a multiple of 4. All ones when there is nothing at that address.
    fn read32(&self, address: Address, offset: u16) -> u32;
    /// Writes the word at `offset`, a multiple of 4. Nothing happens when there is nothing at that address.
    fn write32(&self, address: Address, offset: u16, value: u32);

    /// Writes the half word at `offset`, a multiple of 2, and nothing beside it: for registers that take no other width.
    fn write16(&self, address: Address, offset: u16, value: u16);
    /// Writes the byte at `offset`, and nothing beside it.
    fn write8(&self, address: Address, offset: u16, value: u8);

    /// The half word at `offset`, a multiple of 2.
    fn read16(&self, address: Address, offset: u16) -> u16 {
        (self.read32(address, offset & !3) >> (8 * (offset & 2))) as u16
    }

    /// The byte at `offset`.
    fn read8(&self, address: Address, offset: u16) -> u8 {
        (self.read32(address, offset & !3) >> (8 * (offset & 3))) as u8
    }
}

impl<A: ConfigAccess + ?Sized> ConfigAccess for &A {
    fn read32(&self, address: Address, offset: u16) -> u32 {
        (**self).read32(address, offset)
    }
    fn write32(&self, address: Address, offset: u16, value: u32) {
        (**self).write32(address, offset, value)
    }
    fn write16(&self, address: Address, offset: u16, value: u16) {
        (**self).write16(address, offset, value)
    }
    fn write8(&self, address: Address, offset: u16, value: u8) {
        (**self).write8(address, offset, value)
    }
}

/// Memory-mapped configuration space: 4 KiB for each function, 1 MiB for each bus.
pub struct Ecam<R> {
    /// From the first byte of `start_bus` on.
    window: R,
    segment: u16,
    start_bus: u8,
}

impl<R: Registers> Ecam<R> {
    /// The buses of `segment` from `start_bus` on, as many as `window` covers; the window starts with the
    /// first byte of `start_bus` (1 MiB times its number behind the base that MCFG gives).
    pub fn new(window: R, segment: u16, start_bus: u8) -> Ecam<R> {
        Ecam { window, segment, start_bus }
    }

    fn offset(&self, at: Address, offset: u16) -> Option<usize> {
        let bus = usize::from(at.bus.checked_sub(self.start_bus)?);
        let function = usize::from(at.device & 31) << 3 | usize::from(at.function & 7);
        let start = bus << 20 | function << 12 | usize::from(offset & 0xffc);
        (at.segment == self.segment && start + 4 <= self.window.len()).then_some(start)
    }
}

impl<R: Registers> ConfigAccess for Ecam<R> {
    fn read32(&self, address: Address, offset: u16) -> u32 {
        self.offset(address, offset).map_or(u32::MAX, |start| self.window.read32(start))
    }
    fn write32(&self, address: Address, offset: u16, value: u32) {
        if let Some(start) = self.offset(address, offset) {
            self.window.write32(start, value);
        }
    }
    fn write16(&self, address: Address, offset: u16, value: u16) {
        if let Some(start) = self.offset(address, offset) {
            self.window.write16(start + usize::from(offset & 2), value);
        }
    }
    fn write8(&self, address: Address, offset: u16, value: u8) {
        if let Some(start) = self.offset(address, offset) {
            self.window.write8(start + usize::from(offset & 3), value);
        }
    }
}

/// Port accesses, for [`PortConfig`].
pub trait ConfigPorts {
    /// Reads four bytes from `port`.
    fn read32(&self, port: u16) -> u32;
    /// Writes four bytes to `port`.
    fn write32(&self, port: u16, value: u32);
    /// Writes two bytes to `port`.
    fn write16(&self, port: u16, value: u16);
    /// Writes one byte to `port`.
    fn write8(&self, port: u16, value: u8);
}

/// Configuration space through the ports CF8 (address) and CFC (data): segment 0, the first 256 bytes of
/// each function. An access takes two port accesses that nothing may come between: use it from one core, or
/// under a lock.
pub struct PortConfig<P>(pub P);

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

impl<P: ConfigPorts> PortConfig<P> {
    fn select(&self, at: Address, offset: u16) -> bool {
        let reachable = at.segment == 0 && offset < 0x100;
        if reachable {
            let function = u32::from(at.device & 31) << 3 | u32::from(at.function & 7);
            let address = u32::from(at.bus) << 16 | function << 8 | u32::from(offset & 0xfc);
            self.0.write32(CONFIG_ADDRESS, ENABLE | address);
        }
        reachable
    }
}

impl<P: ConfigPorts> ConfigAccess for PortConfig<P> {
    fn read32(&self, address: Address, offset: u16) -> u32 {
        if self.select(address, offset) { self.0.read32(CONFIG_DATA) } else { u32::MAX }
    }
    fn write32(&self, address: Address, offset: u16, value: u32) {
        if self.select(address, offset) {
            self.0.write32(CONFIG_DATA, value);
        }
    }
    fn write16(&self, address: Address, offset: u16, value: u16) {
        if self.select(address, offset) {
            self.0.write16(CONFIG_DATA + (offset & 2), value);
        }
    }
    fn write8(&self, address: Address, offset: u16, value: u8) {
        if self.select(address, offset) {
            self.0.write8(CONFIG_DATA + (offset & 3), value);
        }
    }
}
