//! From the loader's hand-over to Rust: entry code, loader structures, one [`BootInfo`].

mod efi;
mod info;
mod linux;
mod pvh;

pub use info::{BlobProblem, BootInfo, Framebuffer, Protocol, REGIONS_MAX, Region, RegionKind};

use crate::acpi::PhysicalMemory;
use crate::image;

#[cfg(keelson_image)]
core::arch::global_asm!(include_str!("entry.s"), boot_main = sym boot_main,
    leave_firmware = sym efi::leave_firmware, options(att_syntax));
#[cfg(keelson_image)]
core::arch::global_asm!(include_str!("setup.s"), options(att_syntax));

/// `protocol` as entry.s passes it.
const LINUX: u32 = 1;
const PVH: u32 = 2;
const EFI: u32 = 3;

/// Physical memory through the boot tables' identity map of the first 4 GiB, before [`crate::mm`] is up.
struct IdentityMap;

impl PhysicalMemory for IdentityMap {
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        let end = address.checked_add(len as u64)?;
        if address < 16 || end > 1 << 32 {
            return None;
        }
        // SAFETY: 1. the boot tables map the first 4 GiB one to one; 2. nothing writes to the loader's
        // structures while they are parsed, and no reference outlives the parsing.
        Some(unsafe { core::slice::from_raw_parts(address as *const u8, len) })
    }
}

/// First Rust code, on the boot stack and the boot tables. `structure` is the physical address of what the
/// loader passes, `base` that of the image.
#[cfg_attr(not(keelson_image), allow(dead_code))]
extern "C" fn boot_main(protocol: u32, structure: u64, base: u64) -> ! {
    crate::time::boot_begins();
    crate::smp::init_this_cpu(0);
    crate::console::early_init();
    crate::arch::idt::load_early();
    let image = base..base + image::layout().size() as u64;
    let info = match protocol {
        LINUX => linux::parse(&IdentityMap, structure, image),
        PVH => pvh::parse(&IdentityMap, structure, image),
        // SAFETY: the entry code passes EFI once, after `leave_firmware` succeeded.
        EFI => Some(unsafe { efi::take() }),
        _ => None,
    };
    let Some(info) = info else {
        panic!("the loader passed no usable boot structure (protocol {protocol}, address {structure:#x})");
    };
    crate::start::start(info)
}
