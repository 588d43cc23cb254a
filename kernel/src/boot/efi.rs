//! Booting as an EFI application (UEFI 2.10): everything that needs boot services, up to their end.
//!
//! The entry code runs this at the image's linked address on the firmware's page tables (copied, with the
//! image's mapping added), stack and interrupts. Nothing here allocates or logs: between the last memory map
//! and the end of boot services nothing may change.

mod initrd;
mod picture;

use super::info::{BootInfo, Protocol, Region, RegionKind, u32_at, u64_at};
use crate::acpi::PhysicalMemory;
use crate::image;
use core::ffi::c_void;
use core::mem::MaybeUninit;

/// Offsets in EFI_SYSTEM_TABLE (section 4.3).
const SYSTEM_BOOT_SERVICES: usize = 0x60;
const SYSTEM_TABLE_ENTRIES: usize = 0x68;
const SYSTEM_CONFIGURATION: usize = 0x70;
/// Length of EFI_CONFIGURATION_TABLE (section 4.6), a GUID and a pointer, and more of them than any firmware has.
const CONFIGURATION_LEN: usize = 24;
const CONFIGURATION_MAX: usize = 1024;
/// Offsets in EFI_BOOT_SERVICES (section 4.4).
const BOOT_GET_MEMORY_MAP: usize = 0x38;
const BOOT_HANDLE_PROTOCOL: usize = 0x98;
const BOOT_EXIT: usize = 0xe8;
/// Offsets in EFI_LOADED_IMAGE_PROTOCOL (section 9.1).
const IMAGE_OPTIONS_SIZE: usize = 0x30;
const IMAGE_OPTIONS: usize = 0x38;

/// EFI_LOADED_IMAGE_PROTOCOL_GUID, as it lies in memory.
const LOADED_IMAGE: [u8; 16] =
    [0xa1, 0x31, 0x1b, 0x5b, 0x62, 0x95, 0xd2, 0x11, 0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b];
/// EFI_ACPI_20_TABLE_GUID.
const ACPI_20: [u8; 16] =
    [0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11, 0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81];

/// Room for the memory map: OVMF has about 120 descriptors of 48 bytes.
const MAP_MAX: usize = 32 * 1024;
/// The map may change under our hands a few times.
const EXIT_ATTEMPTS: usize = 3;

type Status = usize;
type GetMemoryMap = extern "efiapi" fn(*mut usize, *mut u8, *mut usize, *mut usize, *mut u32) -> Status;
type HandleProtocol = extern "efiapi" fn(*mut c_void, *const [u8; 16], *mut *const u8) -> Status;
type ExitBootServices = extern "efiapi" fn(*mut c_void, usize) -> Status;

#[repr(align(16))]
#[allow(dead_code)] // Reached through pointers only.
struct MapBuffer([u8; MAP_MAX]);

static mut MAP: MapBuffer = MapBuffer([0; MAP_MAX]);
static mut INFO: MaybeUninit<BootInfo> = MaybeUninit::uninit();

/// Collects what boot services know and ends them. Returns 0, or the status of what failed, which the entry
/// code hands back to the firmware.
#[cfg_attr(not(keelson_image), allow(dead_code))]
pub(super) extern "C" fn leave_firmware(handle: *mut c_void, system: *const u8, base: u64) -> Status {
    let image = base..base + image::layout().size() as u64;
    let mut info = BootInfo::new(Protocol::Efi, image);
    info.efi_system_table = Some(system as u64);
    // SAFETY: 1. firmware passes its system table and our handle; their layout is the specification's;
    // 2. this runs once, on one core: nothing else touches the two statics.
    unsafe {
        let boot = word(system, SYSTEM_BOOT_SERVICES) as *const u8;
        read_options(boot, handle, &mut info);
        initrd::load(boot, handle, &mut info);
        read_configuration(system, &mut info);
        info.framebuffer = picture::find(boot);
        let get_map: GetMemoryMap = core::mem::transmute(word(boot, BOOT_GET_MEMORY_MAP));
        let exit: ExitBootServices = core::mem::transmute(word(boot, BOOT_EXIT));
        let mut status = 0;
        for _ in 0..EXIT_ATTEMPTS {
            let (mut len, mut key, mut step, mut version) = (MAP_MAX, 0, 0, 0);
            let map = (&raw mut MAP).cast::<u8>();
            status = get_map(&mut len, map, &mut key, &mut step, &mut version);
            if status != 0 {
                break;
            }
            status = exit(handle, key);
            if status == 0 {
                add_memory(&mut info, core::slice::from_raw_parts(map, len.min(MAP_MAX)), step);
                (&raw mut INFO).cast::<BootInfo>().write(info);
                return 0;
            }
        }
        status
    }
}

/// The report of [`leave_firmware`].
///
/// # Safety
/// It succeeded, and this is called once.
pub(super) unsafe fn take() -> BootInfo {
    // SAFETY: the caller's promise.
    unsafe { (&raw const INFO).cast::<BootInfo>().read() }
}

/// # Safety
/// `table` has a word at `offset`.
unsafe fn word(table: *const u8, offset: usize) -> usize {
    // SAFETY: the caller's promise; EFI tables are aligned.
    unsafe { table.add(offset).cast::<usize>().read() }
}

/// The interface of a protocol that a handle has.
///
/// # Safety
/// `boot` is the boot services table, `handle` one of its handles.
unsafe fn protocol_of(boot: *const u8, handle: *mut c_void, protocol: &[u8; 16]) -> Option<*const u8> {
    let mut interface = core::ptr::null();
    // SAFETY: the caller's promise.
    unsafe {
        let handle_protocol: HandleProtocol = core::mem::transmute(word(boot, BOOT_HANDLE_PROTOCOL));
        (handle_protocol(handle, protocol, &mut interface) == 0 && !interface.is_null()).then_some(interface)
    }
}

/// The command line: our load options.
///
/// # Safety
/// `boot` is the boot services table, `handle` our image's.
unsafe fn read_options(boot: *const u8, handle: *mut c_void, info: &mut BootInfo) {
    // SAFETY: the caller's promise; the options are `size` bytes of UTF-16 that stay until boot services end.
    unsafe {
        let Some(image) = protocol_of(boot, handle, &LOADED_IMAGE) else { return };
        let size = image.add(IMAGE_OPTIONS_SIZE).cast::<u32>().read() as usize;
        let options = word(image, IMAGE_OPTIONS) as *const u8;
        if !options.is_null() {
            info.set_cmdline_utf16(core::slice::from_raw_parts(options, size));
        }
    }
}

/// The ACPI root pointer from the configuration table.
///
/// # Safety
/// `system` is the system table.
unsafe fn read_configuration(system: *const u8, info: &mut BootInfo) {
    // SAFETY: the caller's promise; entries are a GUID and a pointer.
    unsafe {
        let entries = word(system, SYSTEM_TABLE_ENTRIES);
        let table = word(system, SYSTEM_CONFIGURATION) as *const u8;
        for index in 0..entries.min(CONFIGURATION_MAX) {
            let entry = table.add(index * CONFIGURATION_LEN);
            if core::slice::from_raw_parts(entry, 16) == ACPI_20 {
                info.rsdp = Some(word(entry, 16) as u64);
            }
        }
    }
}

/// The ACPI root pointer from the configuration table of a system table that a loader passed on after it had ended boot
/// services; `None` without one, or where it does not lie in `memory`.
pub(super) fn find_rsdp(memory: &dyn PhysicalMemory, system: u64) -> Option<u64> {
    let system = memory.bytes(system, SYSTEM_CONFIGURATION + 8)?;
    let entries = u64_at(system, SYSTEM_TABLE_ENTRIES)?.min(CONFIGURATION_MAX as u64);
    let table = memory.bytes(u64_at(system, SYSTEM_CONFIGURATION)?, entries as usize * CONFIGURATION_LEN)?;
    let entry = table.chunks_exact(CONFIGURATION_LEN).find(|entry| entry.starts_with(&ACPI_20))?;
    u64_at(entry, 16).filter(|address| *address != 0)
}

/// Translates EFI memory descriptors (section 7.2.3) of `step` bytes, joining neighbours: there are more than
/// a boot info holds.
fn add_memory(info: &mut BootInfo, map: &[u8], step: usize) {
    for descriptor in map.chunks_exact(step.max(40)) {
        let (Some(kind), Some(start), Some(pages)) =
            (u32_at(descriptor, 0), u64_at(descriptor, 8), u64_at(descriptor, 24))
        else {
            return;
        };
        let kind = match kind {
            // Loader and boot services memory is free after boot services; conventional memory is anyway.
            1..=4 | 7 => RegionKind::Ram,
            8 => RegionKind::Bad,
            9 => RegionKind::AcpiTables,
            10 => RegionKind::AcpiNvs,
            _ => RegionKind::Reserved,
        };
        let Some(len) = pages.checked_mul(4096) else { continue };
        match info.memory.last_mut() {
            Some(Region { end, kind: last, .. }) if *end == start && *last == kind => {
                *end = start.saturating_add(len);
            }
            _ => info.add_region(start, len, kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::info::fake::FakeMemory;
    use super::*;

    fn descriptor(kind: u32, start: u64, pages: u64) -> Vec<u8> {
        let mut d = vec![0; 48];
        d[..4].copy_from_slice(&kind.to_le_bytes());
        d[8..16].copy_from_slice(&start.to_le_bytes());
        d[24..32].copy_from_slice(&pages.to_le_bytes());
        d
    }

    #[test]
    fn neighbours_of_a_kind_become_one_region() {
        let map = [
            descriptor(7, 0, 0xa0),
            descriptor(4, 0x10_0000, 1),
            descriptor(2, 0x10_1000, 1),
            descriptor(9, 0x10_2000, 1),
            descriptor(6, 0x10_3000, 1),
            descriptor(7, u64::MAX - 5, u64::MAX),
        ]
        .concat();
        let mut info = BootInfo::new(Protocol::Efi, 0..0);
        add_memory(&mut info, &map, 48);
        let kinds: Vec<_> = info.memory.iter().map(|r| (r.start, r.end, r.kind)).collect();
        assert_eq!(
            kinds,
            [
                (0, 0xa_0000, RegionKind::Ram),
                (0x10_0000, 0x10_2000, RegionKind::Ram),
                (0x10_2000, 0x10_3000, RegionKind::AcpiTables),
                (0x10_3000, 0x10_4000, RegionKind::Reserved),
            ]
        );
    }

    #[test]
    fn the_root_pointer_is_found_in_the_configuration_table() {
        let system = |table: u64, entries: u64| {
            let mut system = vec![0; 0x78];
            system[0x68..0x70].copy_from_slice(&entries.to_le_bytes());
            system[0x70..].copy_from_slice(&table.to_le_bytes());
            system
        };
        let other = [[7; 16].as_slice(), &1u64.to_le_bytes()].concat();
        let acpi = [ACPI_20.as_slice(), &0xe_1234u64.to_le_bytes()].concat();
        let find = |entries, table: &[&[u8]]| {
            let memory = FakeMemory(vec![(0x1000, system(0x2000, entries)), (0x2000, table.concat())]);
            find_rsdp(&memory, 0x1000)
        };
        assert_eq!(find(2, &[&other, &acpi]), Some(0xe_1234));
        assert_eq!(find(1, &[&other, &acpi]), None, "beyond the table's end");
        assert_eq!(find(3, &[&other, &acpi]), None, "outside of the memory");
        assert_eq!(find(u64::MAX, &[&acpi]), None);
        assert_eq!(find_rsdp(&FakeMemory(vec![]), 0x1000), None);
    }

    #[test]
    fn load_options_become_the_command_line() {
        let mut info = BootInfo::new(Protocol::Efi, 0..0);
        let text: Vec<u8> = "log=debug \u{e9}\0junk".encode_utf16().flat_map(u16::to_le_bytes).collect();
        info.set_cmdline_utf16(&text);
        assert_eq!(info.cmdline(), "log=debug \u{e9}");
    }
}
