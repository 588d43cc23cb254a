//! The Linux boot protocol's `boot_params` ("zero page"). Offsets: Documentation/arch/x86/zero-page and boot.

use super::efi;
use super::info::{BootInfo, Framebuffer, Protocol, RegionKind, u16_at, u32_at, u64_at};
use crate::acpi::PhysicalMemory;
use core::ops::Range;

const BOOT_PARAMS_LEN: usize = 4096;
/// Fields of screen_info, at the beginning.
const SCREEN_LFB_WIDTH: usize = 0x12;
const SCREEN_LFB_HEIGHT: usize = 0x14;
const SCREEN_LFB_DEPTH: usize = 0x16;
const SCREEN_LFB_BASE: usize = 0x18;
const SCREEN_LFB_LINE_LEN: usize = 0x24;
const SCREEN_EXT_LFB_BASE: usize = 0x3a;
const SCREEN_KIND: usize = 0x0f;
/// Kinds with a linear framebuffer: VESA's, EFI's.
const SCREEN_VESA: u8 = 0x23;
const SCREEN_EFI: u8 = 0x70;
const ACPI_RSDP_ADDR: usize = 0x070;
const EXT_RAMDISK_IMAGE: usize = 0x0c0;
const EXT_RAMDISK_SIZE: usize = 0x0c4;
const EXT_CMD_LINE_PTR: usize = 0x0c8;
const EFI_INFO: usize = 0x1c0;
const E820_ENTRIES: usize = 0x1e8;
const HDR_TYPE_OF_LOADER: usize = 0x210;
const HDR_RAMDISK_IMAGE: usize = 0x218;
const HDR_RAMDISK_SIZE: usize = 0x21c;
const HDR_CMD_LINE_PTR: usize = 0x228;
const HDR_SETUP_DATA: usize = 0x250;
const E820_TABLE: usize = 0x2d0;
const E820_TABLE_MAX: usize = 128;
const E820_ENTRY_LEN: usize = 20;
/// `setup_data` of this type carries the E820 entries beyond the 128th.
const SETUP_E820_EXT: u32 = 1;
/// More links than any loader makes; ends a cycle.
const SETUP_DATA_MAX: usize = 32;

/// Reads the boot_params at `address`; `None` when they are not readable.
pub fn parse(memory: &dyn PhysicalMemory, address: u64, image: Range<u64>) -> Option<BootInfo> {
    let params = memory.bytes(address, BOOT_PARAMS_LEN)?;
    let mut info = BootInfo::new(Protocol::Linux, image);
    let wide = |low: usize, high: usize| {
        Some(u64::from(u32_at(params, low)?) | u64::from(u32_at(params, high)?) << 32)
    };
    info.loader = params[HDR_TYPE_OF_LOADER];
    let cmdline = wide(HDR_CMD_LINE_PTR, EXT_CMD_LINE_PTR)?;
    if cmdline != 0 {
        info.set_cmdline(memory, cmdline);
    }
    let blob = wide(HDR_RAMDISK_IMAGE, EXT_RAMDISK_IMAGE)?;
    let blob_len = wide(HDR_RAMDISK_SIZE, EXT_RAMDISK_SIZE)?;
    if blob != 0 && blob_len != 0 {
        info.blob = blob.checked_add(blob_len).map(|end| blob..end);
    }
    info.rsdp = u64_at(params, ACPI_RSDP_ADDR).filter(|address| *address != 0);
    if &params[EFI_INFO..EFI_INFO + 4] == b"EL64" {
        info.efi_system_table = wide(EFI_INFO + 4, EFI_INFO + 0x18).filter(|address| *address != 0);
        // GRUB enters so on UEFI, and leaves it to us to find the tables.
        info.rsdp = info.rsdp.or_else(|| efi::find_rsdp(memory, info.efi_system_table?));
    }
    info.framebuffer = framebuffer(params);
    let entries = usize::from(params[E820_ENTRIES]).min(E820_TABLE_MAX);
    add_e820(&mut info, &params[E820_TABLE..][..entries * E820_ENTRY_LEN]);
    add_extended_e820(&mut info, memory, u64_at(params, HDR_SETUP_DATA)?);
    Some(info)
}

/// The framebuffer of screen_info; text modes are left to who asks the hardware.
fn framebuffer(params: &[u8]) -> Option<Framebuffer> {
    if ![SCREEN_VESA, SCREEN_EFI].contains(params.get(SCREEN_KIND)?) {
        return None;
    }
    let low = u32_at(params, SCREEN_LFB_BASE)?;
    // Beyond what the protocol knew at first, and zero in its time.
    let high = u32_at(params, SCREEN_EXT_LFB_BASE)?;
    let number = |offset| u16_at(params, offset).map(u32::from);
    let buffer = Framebuffer {
        address: u64::from(low) | u64::from(high) << 32,
        width: number(SCREEN_LFB_WIDTH)?,
        height: number(SCREEN_LFB_HEIGHT)?,
        pitch: number(SCREEN_LFB_LINE_LEN)?,
        bits: number(SCREEN_LFB_DEPTH)?,
    };
    (buffer.address != 0).then_some(buffer)
}

fn add_e820(info: &mut BootInfo, table: &[u8]) {
    for entry in table.chunks_exact(E820_ENTRY_LEN) {
        let (Some(start), Some(len), Some(kind)) = (u64_at(entry, 0), u64_at(entry, 8), u32_at(entry, 16))
        else {
            return;
        };
        info.add_region(start, len, RegionKind::from_e820(kind));
    }
}

/// Walks the chain of `setup_data { next u64, type u32, len u32, data }`.
fn add_extended_e820(info: &mut BootInfo, memory: &dyn PhysicalMemory, mut address: u64) {
    for _ in 0..SETUP_DATA_MAX {
        if address == 0 {
            return;
        }
        let Some(header) = memory.bytes(address, 16) else { return };
        let (Some(next), Some(kind), Some(len)) = (u64_at(header, 0), u32_at(header, 8), u32_at(header, 12))
        else {
            return;
        };
        if kind == SETUP_E820_EXT
            && let Some(data) = address.checked_add(16).and_then(|data| memory.bytes(data, len as usize))
        {
            add_e820(info, data);
        }
        address = next;
    }
}

#[cfg(test)]
mod tests {
    use super::super::info::fake::FakeMemory;
    use super::*;

    fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
        bytes[offset..offset + value.len()].copy_from_slice(value);
    }

    fn e820(start: u64, len: u64, kind: u32) -> Vec<u8> {
        [&start.to_le_bytes()[..], &len.to_le_bytes(), &kind.to_le_bytes()].concat()
    }

    fn params() -> Vec<u8> {
        let mut p = vec![0; 4096];
        p[0x210] = 0xb0;
        put(&mut p, 0x228, &0x2_0000u32.to_le_bytes());
        put(&mut p, 0x218, &0x700_0000u32.to_le_bytes());
        put(&mut p, 0x21c, &100u32.to_le_bytes());
        p[0x1e8] = 3;
        put(&mut p, 0x2d0, &e820(0, 0x9fc00, 1));
        put(&mut p, 0x2d0 + 20, &e820(0x10_0000, 0xff0_0000, 1));
        put(&mut p, 0x2d0 + 40, &e820(u64::MAX, 2, 1));
        p
    }

    #[test]
    fn reads_what_qemu_passes() {
        let memory = FakeMemory(vec![(0x1_0000, params()), (0x2_0000, b"log=debug panic=-1\0junk".to_vec())]);
        let info = parse(&memory, 0x1_0000, 0x10_0000..0x20_0000).unwrap();
        assert_eq!((info.loader, info.cmdline()), (0xb0, "log=debug panic=-1"));
        assert_eq!(info.blob, Some(0x700_0000..0x700_0064));
        assert_eq!(info.memory.len(), 2, "the region that wraps is dropped");
        assert_eq!(info.ram(), 0x9fc00 + 0xff0_0000);
        assert_eq!((info.rsdp, info.efi_system_table), (None, None));
    }

    #[test]
    fn follows_setup_data_but_not_for_ever() {
        let mut p = params();
        put(&mut p, 0x250, &0x3_0000u64.to_le_bytes());
        let mut node = [&0x3_0000u64.to_le_bytes()[..], &1u32.to_le_bytes(), &20u32.to_le_bytes()].concat();
        node.extend(e820(0x1_0000_0000, 0x1000, 1));
        let memory = FakeMemory(vec![(0x1_0000, p), (0x3_0000, node)]);
        let info = parse(&memory, 0x1_0000, 0..0).unwrap();
        assert_eq!(info.memory.len(), 2 + SETUP_DATA_MAX);
    }

    #[test]
    fn cuts_the_command_line_at_bad_utf8_and_at_the_end_of_memory() {
        let memory = FakeMemory(vec![(0x1_0000, params()), (0x2_0000, b"ok \xff".to_vec())]);
        assert_eq!(parse(&memory, 0x1_0000, 0..0).unwrap().cmdline(), "ok ");
    }

    #[test]
    fn a_framebuffer_is_found() {
        let mut p = params();
        for (offset, value) in [(0x12, 1024u16), (0x14, 768), (0x16, 32), (0x24, 4096)] {
            put(&mut p, offset, &value.to_le_bytes());
        }
        put(&mut p, 0x18, &0xc000_0000u32.to_le_bytes());
        put(&mut p, 0x3a, &1u32.to_le_bytes());
        let found = |kind: u8| {
            let mut p = p.clone();
            p[0x0f] = kind;
            parse(&FakeMemory(vec![(0x1_0000, p)]), 0x1_0000, 0..0).unwrap().framebuffer
        };
        let expected =
            Framebuffer { address: 0x1_c000_0000, width: 1024, height: 768, pitch: 4096, bits: 32 };
        assert_eq!((found(0x70), found(0x23)), (Some(expected), Some(expected)));
        assert_eq!((found(0), found(1)), (None, None), "text");
        assert_eq!(expected.bytes(), Some(3 << 20));
        assert_eq!(Framebuffer { pitch: u32::MAX, height: u32::MAX, ..expected }.bytes(), None);
    }

    #[test]
    fn efi_information_is_found() {
        let mut p = params();
        put(&mut p, 0x1c0, b"EL64");
        put(&mut p, 0x1c4, &0x7f00_0000u32.to_le_bytes());
        put(&mut p, 0x1d8, &1u32.to_le_bytes());
        let memory = FakeMemory(vec![(0x1_0000, p)]);
        assert_eq!(parse(&memory, 0x1_0000, 0..0).unwrap().efi_system_table, Some(0x1_7f00_0000));
    }
}
