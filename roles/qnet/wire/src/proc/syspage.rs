//! The system page: what `pidin info` and `pidin net` say of a machine (section 14.3).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | length of this table, 156 |
//! | 2 | 2 | length of everything |
//! | 4 | 2 | processor family |
//! | 6 | 2 | number of CPUs |
//! | 8 | 4 x 15 | sections: offset and size |
//! | 156 | | the sections |

use crate::endian::Endian;
use crate::layout::layout;
use crate::out::{NoRoom, Out, len16};

layout! {
    pub(super) struct Section: 4, "system page section" {
        0 offset: u16,
        2 size: u16,
    }
}

layout! {
    pub(super) struct Table: 156, "system page" {
        0 size: u16,
        2 total_size: u16,
        4 machine: u16,
        6 num_cpu: u16,
        8 sections: [Section; 15],
    }
}

/// Places of the sections that we fill, in the order of the table.
pub(super) mod section {
    pub const ASINFO: usize = 1;
    pub const CPUINFO: usize = 4;
    pub const QTIME: usize = 6;
    pub const STRINGS: usize = 10;
}

layout! {
    pub(super) struct AsInfo: 32, "address space record" {
        0 start: u64,
        8 end: u64,
        16 owner: u16,
        18 name: u16,
        20 attr: u16,
        22 priority: u16,
    }
}

layout! {
    pub(super) struct CpuRecord: 32, "CPU record" {
        0 cpu: u32,
        4 speed: u32,
        8 flags: u32,
        28 name: u16,
        30 ins_cache: u8,
        31 data_cache: u8,
    }
}

layout! {
    pub(super) struct Qtime: 96, "time record" {
        0 cycles_per_sec: u64,
        28 boot_time: u32,
    }
}

/// Nothing owns the range.
const NO_OWNER: u16 = 0xffff;
/// Readable, writable, cachable, visible.
const RAM_ATTR: u16 = 0x000f;
/// Priority of a range (`AS_PRIORITY_DEFAULT`).
const DEFAULT_PRIORITY: u16 = 100;
/// No description of caches.
const NO_CACHE: u8 = 0xff;
/// Name of the ranges that count as memory.
pub(super) const RAM: &[u8] = b"ram";

/// Processor family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MachineType(pub u16);

impl MachineType {
    /// x86, 64-bit ones too.
    pub const X86: MachineType = MachineType(0);
    /// PowerPC.
    pub const PPC: MachineType = MachineType(1);
    /// MIPS.
    pub const MIPS: MachineType = MachineType(2);
    /// ARM, 64-bit ones too.
    pub const ARM: MachineType = MachineType(4);
    /// SuperH.
    pub const SH: MachineType = MachineType(5);

    /// The name that `pidin` prints.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "X86",
            1 => "PPC",
            2 => "MIPS",
            4 => "ARM",
            5 => "SH",
            _ => return None,
        })
    }
}

/// A CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuInfo<'a> {
    /// Number of the processor, as its maker has it.
    pub cpu: u32,
    /// Clock in MHz.
    pub speed_mhz: u32,
    /// [`CpuInfo::FPU`], [`CpuInfo::MMU`].
    pub flags: u32,
    /// Name of the processor.
    pub name: &'a [u8],
}

impl CpuInfo<'_> {
    /// It has floating point.
    pub const FPU: u32 = 1 << 31;
    /// Its memory management is on.
    pub const MMU: u32 = 1 << 30;
}

/// A range of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// First address.
    pub start: u64,
    /// Last address.
    pub end: u64,
}

/// What our system page says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Syspage<'a> {
    /// Processor family.
    pub machine: MachineType,
    /// CPUs.
    pub cpus: &'a [CpuInfo<'a>],
    /// Memory.
    pub memory: &'a [Memory],
    /// When the machine started, in seconds since 1970.
    pub boot_time: u32,
    /// Cycles of the clock in a second.
    pub cycles_per_sec: u64,
}

impl Syspage<'_> {
    /// Writes the page and returns its length: the `ret_val` of the devctl. Lengths are 16-bit numbers: some
    /// hundreds of CPUs and ranges fit.
    pub fn emit(&self, room: &mut [u8], endian: Endian) -> Result<usize, NoRoom> {
        let asinfo = Table::LEN;
        let cpuinfo = asinfo + AsInfo::LEN * self.memory.len();
        let qtime = cpuinfo + CpuRecord::LEN * self.cpus.len();
        let strings = qtime + Qtime::LEN;
        let names = self.cpus.iter().map(|cpu| cpu.name.len() + 1).sum::<usize>();
        let strings_len = (RAM.len() + 1 + names).next_multiple_of(4);
        let end = strings + strings_len;
        let mut sections = [Section::default(); 15];
        for (place, start, end) in [
            (section::ASINFO, asinfo, cpuinfo),
            (section::CPUINFO, cpuinfo, qtime),
            (section::QTIME, qtime, strings),
            (section::STRINGS, strings, end),
        ] {
            if let Some(section) = sections.get_mut(place) {
                *section = Section { offset: len16(start), size: len16(end - start) };
            }
        }
        let table = Table {
            size: len16(Table::LEN),
            total_size: len16(end),
            machine: self.machine.0,
            num_cpu: len16(self.cpus.len()),
            sections,
        };
        let mut out = Out::new(room, endian);
        out.put(&table);
        for memory in self.memory {
            out.put(&AsInfo {
                start: memory.start,
                end: memory.end,
                owner: NO_OWNER,
                // "ram" is the first string.
                name: 0,
                attr: RAM_ATTR,
                priority: DEFAULT_PRIORITY,
            });
        }
        let mut name = RAM.len() + 1;
        for cpu in self.cpus {
            out.put(&CpuRecord {
                cpu: cpu.cpu,
                speed: cpu.speed_mhz,
                flags: cpu.flags,
                name: len16(name),
                ins_cache: NO_CACHE,
                data_cache: NO_CACHE,
            });
            name += cpu.name.len() + 1;
        }
        out.put(&Qtime { cycles_per_sec: self.cycles_per_sec, boot_time: self.boot_time });
        out.string(RAM);
        for cpu in self.cpus {
            out.string(cpu.name);
        }
        out.zero_to(end).finish()
    }
}
