//! Processors and interrupt controllers (MADT, signature `APIC`, section 5.2.12).

use super::bytes::{u16_at, u32_at, u64_at};
use super::tables::Table;

/// Offset of the first entry: header, local APIC address, flags.
const ENTRIES: usize = 44;
/// Most entries that are looked at.
const MAX_ENTRIES: usize = 4096;

/// The table's content.
#[derive(Clone, Copy, Debug)]
pub struct Madt<'a> {
    table: Table<'a>,
    /// Physical address of every processor's local APIC, overridden by an entry of type 5 if there is one.
    pub local_apic: u64,
    /// The machine also has a pair of 8259 interrupt controllers, which must be masked.
    pub has_8259: bool,
}

/// A processor that can be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Processor {
    /// Firmware's number for it.
    pub uid: u32,
    /// Its local APIC's ID.
    pub apic_id: u32,
    /// Present and ready; without it the processor is [`Processor::can_be_onlined`] later, or not there.
    pub enabled: bool,
    /// Can be added while the system runs.
    pub can_be_onlined: bool,
}

/// One entry, of the types that matter here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MadtEntry {
    /// Types 0 (local APIC) and 9 (local x2APIC).
    Processor(Processor),
    /// Type 1.
    IoApic {
        /// Its ID.
        id: u8,
        /// Physical address of its registers.
        address: u32,
        /// Number of its first input among the global system interrupts.
        gsi_base: u32,
    },
    /// Type 2: an ISA interrupt that is not identity-mapped or not edge-triggered and active high.
    Override {
        /// ISA interrupt.
        source: u8,
        /// Where it arrives.
        gsi: u32,
        /// Polarity in bits 1:0, trigger mode in bits 3:2 (1 high or edge, 3 low or level, 0 as the bus has it).
        flags: u16,
    },
    /// Type 4 (and 10): which local interrupt pin is the NMI.
    LocalNmi {
        /// Processor UID; `None` for all.
        uid: Option<u32>,
        /// As for [`MadtEntry::Override`].
        flags: u16,
        /// LINT0 or LINT1.
        lint: u8,
    },
    /// Type 5: the 64-bit address of the local APICs.
    LocalApicAddress(u64),
    /// Type 16: processors are started through a mailbox at this physical address instead of by INIT.
    WakeupMailbox(u64),
    /// Any other type, or one whose length is wrong.
    Other(u8),
}

impl<'a> Madt<'a> {
    /// Reads the fixed part of a table with the signature `APIC`.
    pub fn parse(table: Table<'a>) -> Option<Madt<'a>> {
        let mut madt = Madt {
            table,
            local_apic: u32_at(table.bytes, 36)?.into(),
            has_8259: u32_at(table.bytes, 40)? & 1 != 0,
        };
        for entry in madt.entries() {
            if let MadtEntry::LocalApicAddress(address) = entry {
                madt.local_apic = address;
            }
        }
        Some(madt)
    }

    /// All entries up to the first whose length makes no sense, at most 4096.
    pub fn entries(&self) -> impl Iterator<Item = MadtEntry> + use<'a> {
        let mut rest = self.table.bytes.get(ENTRIES..).unwrap_or_default();
        core::iter::from_fn(move || {
            let (&kind, &len) = (rest.first()?, rest.get(1)?);
            if len < 2 {
                return None;
            }
            let (entry, tail) = rest.split_at_checked(len.into())?;
            rest = tail;
            Some(parse_entry(kind, entry).unwrap_or(MadtEntry::Other(kind)))
        })
        .take(MAX_ENTRIES)
    }

    /// The processors that are enabled, boot processor included, in the order of the table. Firmware lists a
    /// processor twice (as local APIC and as x2APIC) only by mistake; the first entry counts.
    pub fn processors(&self) -> impl Iterator<Item = Processor> + use<'a> {
        let madt = *self;
        let enabled = move || {
            madt.entries().filter_map(|entry| match entry {
                MadtEntry::Processor(processor) if processor.enabled => Some(processor),
                _ => None,
            })
        };
        enabled()
            .enumerate()
            .filter(move |(index, processor)| {
                !enabled().take(*index).any(|earlier| earlier.apic_id == processor.apic_id)
            })
            .map(|(_, processor)| processor)
    }
}

fn parse_entry(kind: u8, entry: &[u8]) -> Option<MadtEntry> {
    let u8_at = |offset: usize| entry.get(offset).copied();
    let processor = |uid, apic_id, flags: u32| {
        MadtEntry::Processor(Processor {
            uid,
            apic_id,
            enabled: flags & 1 != 0,
            can_be_onlined: flags & 2 != 0,
        })
    };
    Some(match kind {
        0 => processor(u8_at(2)?.into(), u8_at(3)?.into(), u32_at(entry, 4)?),
        1 => MadtEntry::IoApic { id: u8_at(2)?, address: u32_at(entry, 4)?, gsi_base: u32_at(entry, 8)? },
        2 => MadtEntry::Override { source: u8_at(3)?, gsi: u32_at(entry, 4)?, flags: u16_at(entry, 8)? },
        4 => {
            let uid = u8_at(2)?;
            let uid = (uid != 0xff).then_some(uid.into());
            MadtEntry::LocalNmi { uid, flags: u16_at(entry, 3)?, lint: u8_at(5)? }
        }
        5 => MadtEntry::LocalApicAddress(u64_at(entry, 4)?),
        9 => processor(u32_at(entry, 12)?, u32_at(entry, 4)?, u32_at(entry, 8)?),
        10 => {
            let uid = u32_at(entry, 4)?;
            let uid = (uid != u32::MAX).then_some(uid);
            MadtEntry::LocalNmi { uid, flags: u16_at(entry, 2)?, lint: u8_at(8)? }
        }
        16 => MadtEntry::WakeupMailbox(u64_at(entry, 8)?),
        _ => return None,
    })
}
