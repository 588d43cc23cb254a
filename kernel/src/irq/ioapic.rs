//! I/O APICs: wires of devices to vectors (Intel 82093AA datasheet).

use crate::mm::{self, Mmio};
use crate::sync::SpinLock;
use keelson_hal::Registers;

const SELECT: usize = 0x00;
const WINDOW: usize = 0x10;
const VERSION: u32 = 1;
const REDIRECTION: u32 = 0x10;

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

/// Most I/O APICs of a machine that we use.
const MAX: usize = 8;

/// How a wire signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wire {
    /// Level-triggered; else edge-triggered.
    pub level: bool,
    /// Active low; else active high.
    pub active_low: bool,
}

impl Wire {
    /// Edge-triggered, active high: ISA.
    pub const ISA: Wire = Wire { level: false, active_low: false };
    /// Level-triggered, active low: PCI INTx.
    pub const PCI: Wire = Wire { level: true, active_low: true };
    /// Level-triggered, active high.
    pub const LEVEL_HIGH: Wire = Wire { level: true, active_low: false };

    fn bits(self) -> u32 {
        (if self.level { LEVEL } else { 0 }) | (if self.active_low { ACTIVE_LOW } else { 0 })
    }
}

struct IoApic {
    window: Mmio,
    first_gsi: u32,
    wires: u32,
}

static IOAPICS: SpinLock<heapless::Vec<IoApic, MAX>> = SpinLock::new(heapless::Vec::new());

/// Takes the I/O APIC at `phys` into use, all its wires masked. `first_gsi` is the number of its first wire.
pub fn add(phys: u64, first_gsi: u32) {
    let window = match mm::map_mmio(phys, 0x20) {
        Ok(window) => window,
        Err(error) => {
            log::error!(target: "irq", "cannot map the I/O APIC at {phys:#x}: {error:?}");
            return;
        }
    };
    let mut ioapic = IoApic { window, first_gsi, wires: 0 };
    let version = ioapic.read(VERSION);
    if version == u32::MAX {
        log::warn!(target: "irq", "no I/O APIC at {phys:#x}");
        return;
    }
    ioapic.wires = (version >> 16 & 0xff) + 1;
    for wire in 0..ioapic.wires {
        ioapic.write(REDIRECTION + 2 * wire, MASKED);
    }
    log::debug!(target: "irq", "I/O APIC at {phys:#x}: GSI {first_gsi} to {}", first_gsi + ioapic.wires - 1);
    if IOAPICS.lock().push(ioapic).is_err() {
        log::warn!(target: "irq", "more than {MAX} I/O APICs: the one at {phys:#x} is not used");
    }
}

/// Routes wire `gsi` to `vector` on the core with APIC number `target`, unmasked; false when there is no such
/// wire.
pub fn route(gsi: u32, wire: Wire, vector: u8, target: u32) -> bool {
    with(gsi, |ioapic, index| {
        ioapic.write(REDIRECTION + 2 * index + 1, target << 24);
        ioapic.write(REDIRECTION + 2 * index, u32::from(vector) | wire.bits());
    })
}

/// Masks or unmasks wire `gsi`.
pub fn set_masked(gsi: u32, masked: bool) {
    with(gsi, |ioapic, index| {
        let old = ioapic.read(REDIRECTION + 2 * index);
        let new = if masked { old | MASKED } else { old & !MASKED };
        if new != old {
            ioapic.write(REDIRECTION + 2 * index, new);
        }
    });
}

fn with(gsi: u32, act: impl FnOnce(&IoApic, u32)) -> bool {
    let ioapics = IOAPICS.lock();
    let found = ioapics.iter().find(|a| a.first_gsi <= gsi && gsi - a.first_gsi < a.wires);
    if let Some(ioapic) = found {
        act(ioapic, gsi - ioapic.first_gsi);
    }
    found.is_some()
}

impl IoApic {
    fn read(&self, register: u32) -> u32 {
        self.window.write32(SELECT, register);
        self.window.read32(WINDOW)
    }
    fn write(&self, register: u32, value: u32) {
        self.window.write32(SELECT, register);
        self.window.write32(WINDOW, value);
    }
}
