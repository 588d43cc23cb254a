//! Which processors and which memory lie together (SRAT, section 5.2.16).

use super::bytes::{u32_at, u64_at};
use super::tables::Table;
use core::ops::Range;

/// Offset of the first entry: header, and 12 bytes that say nothing.
const ENTRIES: usize = 48;
/// Most entries that are looked at.
const MAX_ENTRIES: usize = 8192;
/// Bit 0 of the flags of every entry.
const ENABLED: u32 = 1;
/// Before this revision a proximity domain has 8 bits, and what stands beside them means nothing.
const WIDE_DOMAINS: u8 = 2;

/// The table's content.
#[derive(Clone, Copy, Debug)]
pub struct Srat<'a> {
    table: Table<'a>,
}

/// One entry that is enabled, of the types that matter here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Affinity {
    /// Types 0 (local APIC) and 2 (local x2APIC).
    Processor {
        /// Its local APIC's ID.
        apic_id: u32,
        /// Its proximity domain.
        domain: u32,
    },
    /// Type 1: a range of physical addresses, with memory in it or not.
    Memory {
        /// The addresses.
        range: Range<u64>,
        /// Their proximity domain.
        domain: u32,
    },
}

impl<'a> Srat<'a> {
    /// A table with the signature `SRAT`.
    pub fn new(table: Table<'a>) -> Srat<'a> {
        Srat { table }
    }

    /// The enabled entries up to the first whose length makes no sense, at most 8192. An empty range of memory, or one beyond the
    /// end of the address space, is left out.
    pub fn entries(&self) -> impl Iterator<Item = Affinity> + use<'a> {
        let wide = self.table.header.revision >= WIDE_DOMAINS;
        let mut rest = self.table.bytes.get(ENTRIES..).unwrap_or_default();
        let entries = core::iter::from_fn(move || {
            let (&kind, &len) = (rest.first()?, rest.get(1)?);
            if len < 2 {
                return None;
            }
            let (entry, tail) = rest.split_at_checked(len.into())?;
            rest = tail;
            Some((kind, entry))
        });
        let mask = if wide { u32::MAX } else { 0xff };
        entries.take(MAX_ENTRIES).filter_map(move |(kind, entry)| parse_entry(kind, entry, mask))
    }
}

impl Affinity {
    /// The proximity domain.
    pub fn domain(&self) -> u32 {
        match self {
            Affinity::Processor { domain, .. } | Affinity::Memory { domain, .. } => *domain,
        }
    }
}

/// `mask` is for the domains of the entries that are older than wide ones.
fn parse_entry(kind: u8, entry: &[u8], mask: u32) -> Option<Affinity> {
    let enabled = |flags: u32| (flags & ENABLED != 0).then_some(());
    match kind {
        0 => {
            enabled(u32_at(entry, 4)?)?;
            // The domain's low byte stands apart from the three others.
            let high = u32_at(entry, 8)? & !0xff;
            let domain = high | u32::from(*entry.get(2)?);
            Some(Affinity::Processor { apic_id: (*entry.get(3)?).into(), domain: domain & mask })
        }
        1 => {
            enabled(u32_at(entry, 28)?)?;
            let start = u64_at(entry, 8)?;
            let end = start.checked_add(u64_at(entry, 16)?)?;
            (start < end).then_some(Affinity::Memory { range: start..end, domain: u32_at(entry, 2)? & mask })
        }
        2 => {
            enabled(u32_at(entry, 12)?)?;
            Some(Affinity::Processor { apic_id: u32_at(entry, 8)?, domain: u32_at(entry, 4)? })
        }
        _ => None,
    }
}
