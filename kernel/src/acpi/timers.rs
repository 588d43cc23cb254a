//! Two small tables: MCFG (PCI Firmware Specification 3.3, section 4.1.2) and HPET (IA-PC HPET 1.0a, 3.2.4).

use super::bytes::{u16_at, u64_at};
use super::tables::Table;

/// Memory-mapped configuration space of a range of PCI buses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EcamRegion {
    /// Physical address where bus 0 would be, also when the region starts at a later bus.
    pub base: u64,
    /// PCI segment group.
    pub segment: u16,
    /// First bus.
    pub start_bus: u8,
    /// Last bus, included.
    pub end_bus: u8,
}

/// The regions of a table with the signature `MCFG`. Regions without a bus or beyond the address space are
/// left out.
pub fn mcfg_regions<'a>(table: Table<'a>) -> impl Iterator<Item = EcamRegion> + use<'a> {
    let entries = table.bytes.get(44..).unwrap_or_default().chunks_exact(16);
    let regions = entries.filter_map(|entry| {
        Some(EcamRegion {
            base: u64_at(entry, 0)?,
            segment: u16_at(entry, 8)?,
            start_bus: *entry.get(10)?,
            end_bus: *entry.get(11)?,
        })
    });
    regions.filter(|region| {
        let end = (u64::from(region.end_bus) + 1) << 20;
        region.base != 0 && region.start_bus <= region.end_bus && region.base.checked_add(end).is_some()
    })
}

/// The high precision event timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hpet {
    /// Physical address of its registers (1 KiB).
    pub base: u64,
    /// Its number.
    pub number: u8,
}

impl Hpet {
    /// Reads a table with the signature `HPET`; `None` for registers that are not in memory.
    pub fn parse(table: Table<'_>) -> Option<Hpet> {
        let in_memory = *table.bytes.get(40)? == 0;
        let base = u64_at(table.bytes, 44)?;
        (in_memory && base != 0).then_some(Hpet { base, number: *table.bytes.get(52)? })
    }
}
