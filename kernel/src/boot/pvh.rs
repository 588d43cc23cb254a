//! Xen PVH's `hvm_start_info` (xen/include/public/arch-x86/hvm/start_info.h, public domain header).

use super::info::{BootInfo, Protocol, RegionKind, u32_at, u64_at};
use crate::acpi::PhysicalMemory;
use core::ops::Range;

const MAGIC: u32 = 0x336e_c578;
const START_INFO_LEN: usize = 56;
const MODULE_LEN: usize = 32;
const REGION_LEN: usize = 24;
/// More than any loader passes; bounds the walk through a damaged structure.
const REGION_COUNT_MAX: u32 = 1024;

/// Reads the start info at `address`; `None` when it is not readable or not one.
pub fn parse(memory: &dyn PhysicalMemory, address: u64, image: Range<u64>) -> Option<BootInfo> {
    let start = memory.bytes(address, START_INFO_LEN)?;
    if u32_at(start, 0)? != MAGIC {
        return None;
    }
    let version = u32_at(start, 4)?;
    let mut info = BootInfo::new(Protocol::Pvh, image);
    let modules = u32_at(start, 0x0c)?;
    if modules > 0
        && let Some(module) = memory.bytes(u64_at(start, 0x10)?, MODULE_LEN)
    {
        let (first, len) = (u64_at(module, 0)?, u64_at(module, 8)?);
        info.blob = first.checked_add(len).filter(|end| *end > first).map(|end| first..end);
    }
    let cmdline = u64_at(start, 0x18)?;
    if cmdline != 0 {
        info.set_cmdline(memory, cmdline);
    }
    info.rsdp = u64_at(start, 0x20).filter(|address| *address != 0);
    if version >= 1 {
        let (table, count) = (u64_at(start, 0x28)?, u32_at(start, 0x30)?.min(REGION_COUNT_MAX));
        for index in 0..u64::from(count) {
            let Some(entry) = memory.bytes(table.checked_add(index * REGION_LEN as u64)?, REGION_LEN) else {
                break;
            };
            info.add_region(u64_at(entry, 0)?, u64_at(entry, 8)?, RegionKind::from_e820(u32_at(entry, 16)?));
        }
    }
    Some(info)
}

#[cfg(test)]
mod tests {
    use super::super::info::fake::FakeMemory;
    use super::*;

    fn start_info() -> Vec<u8> {
        let mut s = vec![0; START_INFO_LEN];
        let mut put = |offset: usize, value: u64, len: usize| {
            s[offset..offset + len].copy_from_slice(&value.to_le_bytes()[..len]);
        };
        put(0, u64::from(MAGIC), 4);
        put(4, 1, 4);
        put(0x0c, 1, 4);
        put(0x10, 0x9000, 8);
        put(0x18, 0xa000, 8);
        put(0x20, 0xf59e0, 8);
        put(0x28, 0xb000, 8);
        put(0x30, 2, 4);
        s
    }

    #[test]
    fn reads_everything() {
        let mut module = vec![0; MODULE_LEN];
        module[..8].copy_from_slice(&0x50_0000u64.to_le_bytes());
        module[8..16].copy_from_slice(&16u64.to_le_bytes());
        let mut map = vec![0; 2 * REGION_LEN];
        map[8..16].copy_from_slice(&0x9_fc00u64.to_le_bytes());
        map[16] = 1;
        map[24..32].copy_from_slice(&0x10_0000u64.to_le_bytes());
        map[32..40].copy_from_slice(&0x100_0000u64.to_le_bytes());
        map[40] = 2;
        let memory = FakeMemory(vec![
            (0x8000, start_info()),
            (0x9000, module),
            (0xa000, b"a=b\0".to_vec()),
            (0xb000, map),
        ]);
        let info = parse(&memory, 0x8000, 0..0).unwrap();
        assert_eq!((info.cmdline(), info.rsdp, info.ram()), ("a=b", Some(0xf59e0), 0x9fc00));
        assert_eq!(info.blob, Some(0x50_0000..0x50_0010));
        assert_eq!(info.memory[1].kind, RegionKind::Reserved);
    }

    #[test]
    fn refuses_another_magic() {
        let mut bytes = start_info();
        bytes[0] ^= 1;
        assert!(parse(&FakeMemory(vec![(0x8000, bytes)]), 0x8000, 0..0).is_none());
    }
}
