//! PCI on this machine: configuration space through ECAM where the firmware names it, else through ports.

use crate::arch::port;
use crate::mm::{self, Mmio};
use crate::pci::{Address, ConfigAccess, ConfigPorts, Ecam, Function, PortConfig, enumerate};
use crate::platform::Platform;
use alloc::vec::Vec;

/// Bytes of configuration space of one bus.
const BUS_LEN: usize = 1 << 20;

/// Ports CF8 and CFC.
struct Ports;

impl ConfigPorts for Ports {
    fn read32(&self, number: u16) -> u32 {
        // SAFETY: `PortConfig` uses CF8 and CFC only, which belong to the host bridge or to nothing.
        unsafe { port::read32(number) }
    }
    fn write32(&self, number: u16, value: u32) {
        // SAFETY: as above; what a configuration write does to a device is its driver's business.
        unsafe { port::write32(number, value) }
    }
    fn write16(&self, number: u16, value: u16) {
        // SAFETY: as for four bytes.
        unsafe { port::write16(number, value) }
    }
    fn write8(&self, number: u16, value: u8) {
        // SAFETY: as for four bytes.
        unsafe { port::write8(number, value) }
    }
}

/// Access to all functions' configuration space. Belongs to the first core.
pub struct PciHost {
    windows: Vec<(u16, Ecam<Mmio>)>,
    ports: PortConfig<Ports>,
    /// The functions found at boot, in the order of their addresses.
    pub functions: Vec<Function>,
}

impl PciHost {
    /// Maps configuration space and looks for functions.
    pub(crate) fn find(platform: &Platform) -> PciHost {
        let mut host = PciHost { windows: Vec::new(), ports: PortConfig(Ports), functions: Vec::new() };
        let mut segments = Vec::new();
        for region in &platform.ecam {
            let buses = usize::from(region.end_bus.saturating_sub(region.start_bus)) + 1;
            let start = region.base + u64::from(region.start_bus) * BUS_LEN as u64;
            match mm::map_mmio(start, buses * BUS_LEN) {
                Ok(window) => {
                    let ecam = Ecam::new(window, region.segment, region.start_bus);
                    host.windows.push((region.segment, ecam));
                    segments.push((region.segment, region.start_bus..=region.end_bus));
                }
                Err(error) => log::error!(target: "pci", "cannot map ECAM at {start:#x}: {error:?}"),
            }
        }
        if segments.is_empty() {
            segments.push((0, 0..=255));
        }
        for (segment, buses) in segments {
            let found = enumerate(&host, segment, buses);
            host.functions.extend(found);
        }
        host
    }
}

impl ConfigAccess for PciHost {
    fn read32(&self, address: Address, offset: u16) -> u32 {
        match self.windows.iter().find(|(segment, _)| *segment == address.segment) {
            Some((_, ecam)) => ecam.read32(address, offset),
            None => self.ports.read32(address, offset),
        }
    }
    fn write32(&self, address: Address, offset: u16, value: u32) {
        match self.windows.iter().find(|(segment, _)| *segment == address.segment) {
            Some((_, ecam)) => ecam.write32(address, offset, value),
            None => self.ports.write32(address, offset, value),
        }
    }
    fn write16(&self, address: Address, offset: u16, value: u16) {
        match self.windows.iter().find(|(segment, _)| *segment == address.segment) {
            Some((_, ecam)) => ecam.write16(address, offset, value),
            None => self.ports.write16(address, offset, value),
        }
    }
    fn write8(&self, address: Address, offset: u16, value: u8) {
        match self.windows.iter().find(|(segment, _)| *segment == address.segment) {
            Some((_, ecam)) => ecam.write8(address, offset, value),
            None => self.ports.write8(address, offset, value),
        }
    }
}

/// Writes a byte of configuration space from a kernel that may have failed: through the ports, which take no lock and no memory.
pub(crate) fn write8_at_the_end(address: Address, offset: u16, value: u8) {
    PortConfig(Ports).write8(address, offset, value);
}
