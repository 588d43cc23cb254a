//! Reading the system page of another node, as `pidin` does.

use super::syspage::{AsInfo, CpuRecord, Qtime, RAM, Section, Table, section};
use super::{CpuInfo, MachineType, Memory};
use crate::endian::Endian;
use crate::layout::{Short, until_nul};
use core::fmt;

/// Why a system page is not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyspageError {
    /// It ends early.
    Short(Short),
    /// A section is not within the page.
    Section {
        /// Which one.
        field: &'static str,
        /// Its offset.
        offset: u16,
        /// Its size.
        size: u16,
        /// Bytes there are.
        have: usize,
    },
}

impl fmt::Display for SyspageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyspageError::Short(short) => short.fmt(f),
            SyspageError::Section { field, offset, size, have } => {
                write!(f, "system page {field} of {size} bytes at {offset} is outside {have} bytes")
            }
        }
    }
}

impl core::error::Error for SyspageError {}

/// A system page as it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyspageView<'a> {
    /// Processor family.
    pub machine: MachineType,
    /// Number of CPUs.
    pub num_cpu: u16,
    /// When the machine started, in seconds since 1970; 0 without a time record.
    pub boot_time: u32,
    /// Cycles of the clock in a second; 0 without a time record.
    pub cycles_per_sec: u64,
    asinfo: &'a [u8],
    cpuinfo: &'a [u8],
    strings: &'a [u8],
    endian: Endian,
}

impl<'a> SyspageView<'a> {
    /// Reads a page.
    pub fn decode(page: &'a [u8], endian: Endian) -> Result<SyspageView<'a>, SyspageError> {
        let table = Table::decode(page, endian).map_err(SyspageError::Short)?;
        let section = |field, place: usize| {
            let Section { offset, size } = table.sections.get(place).copied().unwrap_or_default();
            let start = usize::from(offset);
            let bytes = page.get(start..start + usize::from(size));
            bytes.ok_or(SyspageError::Section { field, offset, size, have: page.len() })
        };
        // Without a time record both numbers are zero.
        let qtime = Qtime::decode(section("qtime", section::QTIME)?, endian).unwrap_or_default();
        Ok(SyspageView {
            machine: MachineType(table.machine),
            num_cpu: table.num_cpu,
            boot_time: qtime.boot_time,
            cycles_per_sec: qtime.cycles_per_sec,
            asinfo: section("asinfo", section::ASINFO)?,
            cpuinfo: section("cpuinfo", section::CPUINFO)?,
            strings: section("strings", section::STRINGS)?,
            endian,
        })
    }

    /// Ranges that are memory.
    pub fn memory(&self) -> impl Iterator<Item = Memory> + 'a {
        let view = *self;
        let (records, _) = view.asinfo.as_chunks::<{ AsInfo::LEN }>();
        let records = records.iter().filter_map(move |record| AsInfo::decode(record, view.endian).ok());
        let ram = records.filter(move |record| view.string(record.name) == RAM);
        ram.map(|record| Memory { start: record.start, end: record.end })
    }

    /// Memory in all, in bytes.
    pub fn total_memory(&self) -> u64 {
        let sizes = self.memory().map(|range| range.end.saturating_sub(range.start).saturating_add(1));
        sizes.fold(0, u64::saturating_add)
    }

    /// CPUs.
    pub fn cpus(&self) -> impl Iterator<Item = CpuInfo<'a>> + 'a {
        let view = *self;
        let (records, _) = view.cpuinfo.as_chunks::<{ CpuRecord::LEN }>();
        let records = records.iter().filter_map(move |record| CpuRecord::decode(record, view.endian).ok());
        records.map(move |record| CpuInfo {
            cpu: record.cpu,
            speed_mhz: record.speed,
            flags: record.flags,
            name: view.string(record.name),
        })
    }

    fn string(&self, offset: u16) -> &'a [u8] {
        until_nul(self.strings.get(usize::from(offset)..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::Syspage;

    #[test]
    fn what_is_written_is_read() {
        let cpu = |name| CpuInfo { cpu: 6, speed_mhz: 2400, flags: CpuInfo::FPU | CpuInfo::MMU, name };
        let page = Syspage {
            machine: MachineType::X86,
            cpus: &[cpu(b"AMD EPYC"), cpu(b"")],
            memory: &[Memory { start: 0, end: 0x9_ffff }, Memory { start: 0x10_0000, end: 0x7ff_ffff }],
            boot_time: 1_700_000_000,
            cycles_per_sec: 2_400_000_000,
        };
        for endian in [Endian::Little, Endian::Big] {
            let mut room = [0; 1024];
            let len = page.emit(&mut room, endian).unwrap();
            let view = SyspageView::decode(&room[..len], endian).unwrap();
            assert_eq!((view.machine.name(), view.num_cpu, view.boot_time), (Some("X86"), 2, 1_700_000_000));
            assert_eq!(view.cycles_per_sec, 2_400_000_000);
            assert_eq!(view.cpus().collect::<Vec<_>>(), page.cpus);
            assert_eq!(view.memory().collect::<Vec<_>>(), page.memory);
            assert_eq!(view.total_memory(), 0xa_0000 + 0x7f0_0000);
            assert_eq!(len, 156 + 64 + 64 + 96 + 16);
            assert!(page.emit(&mut room[..len - 1], endian).is_err());
        }
    }

    #[test]
    fn other_ranges_are_no_memory() {
        let page = Syspage {
            machine: MachineType::ARM,
            cpus: &[],
            memory: &[Memory { start: 0, end: 9 }],
            boot_time: 0,
            cycles_per_sec: 0,
        };
        let mut room = [0; 300];
        let len = page.emit(&mut room, Endian::Little).unwrap();
        room[156 + 18] = 1;
        let view = SyspageView::decode(&room[..len], Endian::Little).unwrap();
        assert_eq!((view.memory().count(), view.total_memory()), (0, 0));
        room[13] = 0xff;
        let error = SyspageView::decode(&room[..len], Endian::Little).unwrap_err();
        assert!(matches!(error, SyspageError::Section { field: "asinfo", .. }));
    }
}
