//! Message signalled interrupts: MSI (PCI 6.8.1) and MSI-X (PCI 6.8.2).

use keelson_hal::Registers;

use super::access::{Address, ConfigAccess};
use super::bar::Bar;
use super::capability::Capability;

/// The write that is the interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Where to.
    pub address: u64,
    /// What.
    pub data: u32,
}

impl Message {
    /// A fixed, edge-triggered interrupt for one local APIC (Intel SDM volume 3, section 11.11). `None` for
    /// an ID above 255, which such a message cannot address without interrupt remapping.
    pub fn to_local_apic(apic_id: u32, vector: u8) -> Option<Message> {
        let id = u8::try_from(apic_id).ok()?;
        Some(Message { address: 0xfee0_0000 | u64::from(id) << 12, data: vector.into() })
    }
}

/// The MSI-X capability of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsiX {
    address: Address,
    offset: u16,
    /// Entries in the table, 1 to 2048.
    pub vectors: u16,
    /// BAR with the table.
    pub table_bar: usize,
    /// Offset of the table in that BAR.
    pub table_offset: u32,
}

const MSI_X_ENABLE: u32 = 1 << 31;
const MSI_X_MASK_ALL: u32 = 1 << 30;
/// Bytes in a table entry: address (8), data (4), control (4) with the mask bit 0.
const ENTRY: usize = 16;
const MASKED: u32 = 1;

impl MsiX {
    pub(super) fn read(
        access: &impl ConfigAccess,
        at: Address,
        capability: Capability,
        bars: &[Option<Bar>; 6],
    ) -> Option<MsiX> {
        let offset = capability.offset;
        if offset > 0xf4 {
            return None;
        }
        let vectors = (access.read16(at, offset + 2) & 0x7ff) + 1;
        let table = access.read32(at, offset + 4);
        let (table_bar, table_offset) = ((table & 7) as usize, table & !7);
        let Bar::Memory { len, .. } = (*bars.get(table_bar)?)? else { return None };
        let end = u64::from(table_offset) + u64::from(vectors) * ENTRY as u64;
        (end <= len).then_some(MsiX { address: at, offset, vectors, table_bar, table_offset })
    }

    /// Length of the table in bytes.
    pub fn table_len(&self) -> usize {
        usize::from(self.vectors) * ENTRY
    }

    /// Switches the function over to MSI-X, with its entries masked or not as the table says; off, it falls
    /// back to `INTx`.
    pub fn set_enabled(&self, access: &impl ConfigAccess, on: bool) {
        let control = access.read32(self.address, self.offset) & !(MSI_X_ENABLE | MSI_X_MASK_ALL);
        access.write32(self.address, self.offset, if on { control | MSI_X_ENABLE } else { control });
    }
}

/// The MSI-X table in a function's registers.
pub struct MsiXTable<R> {
    registers: R,
    start: usize,
    vectors: u16,
}

impl<R: Registers> MsiXTable<R> {
    /// The table of `vectors` entries at `start` in `registers`; `None` when it does not fit. All entries
    /// become masked, as they are after a reset.
    pub fn new(registers: R, start: usize, vectors: u16) -> Option<MsiXTable<R>> {
        let end = start.checked_add(usize::from(vectors) * ENTRY)?;
        if end > registers.len() || !start.is_multiple_of(8) {
            return None;
        }
        let table = MsiXTable { registers, start, vectors };
        (0..vectors).for_each(|vector| table.mask(vector));
        Some(table)
    }

    /// Number of entries.
    pub fn vectors(&self) -> u16 {
        self.vectors
    }

    /// Points an entry somewhere and unmasks it.
    ///
    /// # Panics
    ///
    /// When there is no entry `vector`; so do the other methods.
    pub fn set(&self, vector: u16, message: Message) {
        let entry = self.entry(vector);
        // Masked while the parts change, or the function may send half of each (PCI 6.8.2).
        self.registers.write32(entry + 12, MASKED);
        self.registers.write32(entry, message.address as u32);
        self.registers.write32(entry + 4, (message.address >> 32) as u32);
        self.registers.write32(entry + 8, message.data);
        self.registers.write32(entry + 12, 0);
    }

    /// Holds an entry's interrupt back.
    pub fn mask(&self, vector: u16) {
        self.registers.write32(self.entry(vector) + 12, MASKED);
    }

    /// Lets it through, at once when it came meanwhile.
    pub fn unmask(&self, vector: u16) {
        self.registers.write32(self.entry(vector) + 12, 0);
    }

    fn entry(&self, vector: u16) -> usize {
        assert!(vector < self.vectors, "MSI-X entry {vector} of {}", self.vectors);
        self.start + usize::from(vector) * ENTRY
    }
}

/// The MSI capability of a function, of which one vector is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Msi {
    address: Address,
    offset: u16,
    /// Has a 64-bit address field.
    pub wide: bool,
}

const MSI_ENABLE: u32 = 1 << 16;
const MSI_MULTIPLE: u32 = 0b111 << (16 + 4);
const MSI_WIDE: u32 = 1 << (16 + 7);

impl Msi {
    /// `None` for a capability that runs over the end of the first 256 bytes.
    pub(super) fn read(access: &impl ConfigAccess, at: Address, capability: Capability) -> Option<Msi> {
        let offset = capability.offset;
        let wide = access.read32(at, offset) & MSI_WIDE != 0;
        let last = offset + if wide { 12 } else { 8 };
        (last < 0x100).then_some(Msi { address: at, offset, wide })
    }

    /// Points the function's first vector somewhere and switches over to MSI; false (and nothing done) for
    /// an address beyond 4 GiB that it has no field for.
    #[must_use]
    pub fn enable(&self, access: &impl ConfigAccess, message: Message) -> bool {
        let high = (message.address >> 32) as u32;
        if high != 0 && !self.wide {
            return false;
        }
        self.disable(access);
        access.write32(self.address, self.offset + 4, message.address as u32);
        if self.wide {
            access.write32(self.address, self.offset + 8, high);
        }
        let data = self.offset + if self.wide { 12 } else { 8 };
        // The upper half of the word is reserved or extended data; both stay zero.
        access.write32(self.address, data, message.data & 0xffff);
        let control = access.read32(self.address, self.offset) & !MSI_MULTIPLE;
        access.write32(self.address, self.offset, control | MSI_ENABLE);
        true
    }

    /// Back to `INTx`.
    pub fn disable(&self, access: &impl ConfigAccess) {
        let control = access.read32(self.address, self.offset);
        access.write32(self.address, self.offset, control & !MSI_ENABLE);
    }
}
