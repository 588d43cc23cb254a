//! One function, as its configuration header describes it (PCI 6.1 and 6.2).

use alloc::vec::Vec;
use core::fmt;

use super::access::{Address, ConfigAccess};
use super::bar::{self, Bar};
use super::capability::{self, Capability, id};
use super::msi::{Msi, MsiX};

/// Command (low half) and status (high half).
pub(super) const COMMAND: u16 = 0x04;
const IO_SPACE: u32 = 1 << 0;
const MEMORY_SPACE: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
const INTX_DISABLE: u32 = 1 << 10;
/// Status bit 4: there is a list of capabilities.
const STATUS_CAPABILITIES: u32 = 1 << (16 + 4);

/// What kind of device it is (PCI Code and ID Assignment, section 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class {
    /// Base class: 1 storage, 2 network, 6 bridge.
    pub base: u8,
    /// Class within it.
    pub sub: u8,
    /// Programming interface.
    pub interface: u8,
}

impl Class {
    const HOST_BRIDGE: (u8, u8) = (6, 0);
}

/// A function and everything found in its header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Where it sits.
    pub address: Address,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// What it is.
    pub class: Class,
    /// Subsystem vendor and device ID; zero for bridges.
    pub subsystem: (u16, u16),
    /// `INTx` pin: 1 for INTA to 4 for INTD, 0 for none.
    pub interrupt_pin: u8,
    /// Where firmware routed the pin on the 8259 pair; 255 for nowhere.
    pub interrupt_line: u8,
    /// Its capabilities, in the order of the list.
    pub capabilities: Vec<Capability>,
    /// For a bridge: the first and the last bus behind it.
    pub bridge_to: Option<(u8, u8)>,
    /// Base address registers that the header has room for.
    bar_count: usize,
}

impl Function {
    /// Reads the header at `at`; `None` when there is no function.
    pub fn read(access: &impl ConfigAccess, at: Address) -> Option<Function> {
        let [device, vendor] = halves(access.read32(at, 0));
        // 0001 is what a function says that is not ready after a reset (PCIe 2.3.2).
        if matches!(vendor, 0xffff | 0x0000 | 0x0001) {
            return None;
        }
        let [base, sub, interface, revision] = access.read32(at, 0x08).to_be_bytes();
        let class = Class { base, sub, interface };
        let kind = access.read8(at, 0x0e) & 0x7f;
        let bar_count = match kind {
            _ if (base, sub) == Class::HOST_BRIDGE => 0,
            0 => 6,
            1 => 2,
            _ => 0,
        };
        let [interrupt_pin, interrupt_line] = [access.read8(at, 0x3d), access.read8(at, 0x3c)];
        let [subsystem_device, subsystem_vendor] =
            if kind == 0 { halves(access.read32(at, 0x2c)) } else { [0, 0] };
        let bridge_to = (kind == 1).then(|| {
            let [_, secondary, subordinate, _] = access.read32(at, 0x18).to_le_bytes();
            (secondary, subordinate)
        });
        let has_capabilities = kind <= 1 && access.read32(at, COMMAND) & STATUS_CAPABILITIES != 0;
        Some(Function {
            address: at,
            vendor,
            device,
            revision,
            class,
            subsystem: (subsystem_vendor, subsystem_device),
            interrupt_pin: if interrupt_pin <= 4 { interrupt_pin } else { 0 },
            interrupt_line,
            capabilities: if has_capabilities { capability::list(access, at) } else { Vec::new() },
            bridge_to,
            bar_count,
        })
    }

    /// Where its registers are. The upper half of a 64-bit BAR is `None`, and so are all of a host bridge: turning off its decoding
    /// may cut off memory.
    ///
    /// For the function's driver, before it starts: while the registers are measured the function answers to no address, and a
    /// device that the firmware or another driver uses would not like that.
    pub fn size_bars(&self, access: &impl ConfigAccess) -> [Option<Bar>; 6] {
        match self.bar_count {
            0 => [None; 6],
            count => with_decoding_off(access, self.address, || bar::size_all(access, self.address, count)),
        }
    }

    /// The first capability of this kind.
    pub fn capability(&self, id: u8) -> Option<Capability> {
        self.capabilities.iter().copied().find(|capability| capability.id == id)
    }

    /// Its MSI-X capability, if the tables it points at lie inside its BARs.
    pub fn msi_x(&self, access: &impl ConfigAccess, bars: &[Option<Bar>; 6]) -> Option<MsiX> {
        MsiX::read(access, self.address, self.capability(id::MSI_X)?, bars)
    }

    /// Its MSI capability.
    pub fn msi(&self, access: &impl ConfigAccess) -> Option<Msi> {
        Msi::read(access, self.address, self.capability(id::MSI)?)
    }

    /// Lets it answer to its BARs, those in memory and those in port space.
    pub fn enable_decoding(&self, access: &impl ConfigAccess) {
        self.set_command(access, IO_SPACE | MEMORY_SPACE, true);
    }

    /// Lets it read and write memory on its own, message signalled interrupts included, or forbids it.
    pub fn set_bus_master(&self, access: &impl ConfigAccess, on: bool) {
        self.set_command(access, BUS_MASTER, on);
    }

    /// Forbids it to raise its `INTx` pin.
    pub fn disable_intx(&self, access: &impl ConfigAccess) {
        self.set_command(access, INTX_DISABLE, true);
    }

    fn set_command(&self, access: &impl ConfigAccess, bits: u32, on: bool) {
        let old = access.read32(self.address, COMMAND) & 0xffff;
        access.write32(self.address, COMMAND, if on { old | bits } else { old & !bits });
    }
}

impl fmt::Display for Function {
    /// As `lspci -nn` has it: address, class, IDs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Class { base, sub, .. } = self.class;
        write!(f, "{} [{base:02x}{sub:02x}] {:04x}:{:04x}", self.address, self.vendor, self.device)?;
        if self.revision != 0 { write!(f, " (rev {:02x})", self.revision) } else { Ok(()) }
    }
}

/// Runs `work` while the function answers to no address.
fn with_decoding_off<T>(access: &impl ConfigAccess, at: Address, work: impl FnOnce() -> T) -> T {
    let command = access.read32(at, COMMAND) & 0xffff;
    access.write32(at, COMMAND, command & !(IO_SPACE | MEMORY_SPACE));
    let result = work();
    access.write32(at, COMMAND, command);
    result
}

/// High and low half.
fn halves(word: u32) -> [u16; 2] {
    [(word >> 16) as u16, word as u16]
}
