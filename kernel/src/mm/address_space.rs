//! Building the kernel's address space and adding to it later.

use super::dma::Mmio;
use super::paging::{Access, MapError, PAGE_SIZE, PageTables, TableMemory};
use super::{DIRECT_MAP, MMIO, frames, phys_to_virt, regions};
use crate::arch::cpu;
use crate::boot::{BootInfo, REGIONS_MAX, Region, RegionKind};
use crate::sync::SpinLock;
use crate::{crash, image, numa};
use core::ops::Range;
use heapless::Vec;

/// Reserved regions up to this size are mapped: SeaBIOS keeps ACPI tables in small ones. Large ones are
/// windows of devices.
const RESERVED_MAPPED_MAX: u64 = 16 << 20;
/// Below 1 MiB lie the firmware's data and the page that starts the other cores; none of it is handed out.
const LOW_MEMORY: u64 = 1 << 20;
const LARGE_PAGE: u64 = 2 << 20;
/// Frames set aside for the first tables: 2 MiB pages for 64 GiB take 64, the image 10.
const EARLY_FRAMES: u64 = 128;
const MAX_RANGES: usize = REGIONS_MAX + 6;

type Ranges = Vec<Range<u64>, MAX_RANGES>;

/// Physical ranges that the direct map shows: sorted, apart, multiples of 2 MiB.
static MAPPED: SpinLock<Ranges> = SpinLock::new(Vec::new());
/// Root of the kernel's tables.
static ROOT: SpinLock<u64> = SpinLock::new(0);
/// Next free address of the register window.
static NEXT_MMIO: SpinLock<usize> = SpinLock::new(MMIO);

/// Frees the tables, whoever holds them: to look at.
///
/// # Safety
/// As [`SpinLock::break_lock`].
pub(super) unsafe fn break_lock() {
    // SAFETY: the caller's. Entries are written whole.
    unsafe { ROOT.break_lock() };
}

/// Tables from a fixed range below 4 GiB, reached through the identity map of the boot tables.
struct EarlyTables {
    next: u64,
    end: u64,
}

impl TableMemory for EarlyTables {
    fn allocate(&mut self) -> Option<u64> {
        if self.next == self.end {
            return None;
        }
        let phys = self.next;
        self.next += PAGE_SIZE;
        self.table(phys).fill(0);
        Some(phys)
    }
    fn table(&mut self, phys: u64) -> &mut [u64; 512] {
        // SAFETY: a frame of the early range, which nothing else uses; `&mut self` makes it the only
        // reference.
        unsafe { &mut *(phys as *mut [u64; 512]) }
    }
}

/// Tables from the frame allocator, reached through the direct map.
struct Tables;

impl TableMemory for Tables {
    fn allocate(&mut self) -> Option<u64> {
        let phys = frames::allocate(0)?;
        self.table(phys).fill(0);
        Some(phys)
    }
    fn table(&mut self, phys: u64) -> &mut [u64; 512] {
        // SAFETY: a frame that holds a table; the tables are only touched under the lock of `ROOT`.
        unsafe { &mut *(phys_to_virt(phys) as *mut [u64; 512]) }
    }
}

/// Leaves the boot tables: maps RAM, image and nothing else. Returns the memory that the first tables lie in, for
/// [`init_frames`]. Called once, on the first core, with the boot tables active.
pub fn init(info: &BootInfo) -> Range<u64> {
    let ram = ranges(&info.memory, |kind| kind == RegionKind::Ram);
    let Some(early) = find_free(&ram, &taken(info), EARLY_FRAMES * PAGE_SIZE, 1 << 32) else {
        panic!("the memory map has no {} KiB of free memory below 4 GiB", (EARLY_FRAMES * PAGE_SIZE) >> 10)
    };
    let huge = cpu::cpuid(0x8000_0001, 0).edx & 1 << 26 != 0;
    let memory = EarlyTables { next: early.start, end: early.end };
    let Some(mut tables) = PageTables::new(memory, huge) else { panic!("no memory for page tables") };
    let mapped = direct_map_ranges(&info.memory);
    let mut result = Ok(());
    let layout = image::layout();
    // The direct map is no way around the write protection of code and constants.
    let protected = info.image.start..info.image.start + (layout.rodata.end - image::BASE) as u64;
    for range in &mapped {
        for (start, end, access) in [
            (range.start, protected.start.min(range.end), Access::ReadWrite),
            (protected.start.max(range.start), protected.end.min(range.end), Access::Read),
            (protected.end.max(range.start), range.end, Access::ReadWrite),
        ] {
            if start < end {
                result = result.and(tables.map(DIRECT_MAP as u64 + start, start, end - start, access));
            }
        }
    }
    for (part, access) in [
        (layout.text, Access::Execute),
        (layout.rodata, Access::Read),
        (layout.data, Access::ReadWrite),
        (layout.symbols, Access::Read),
    ] {
        let phys = info.image.start + (part.start - image::BASE) as u64;
        result = result.and(tables.map(part.start as u64, phys, part.len() as u64, access));
    }
    if let Err(error) = result {
        panic!("cannot build the page tables of {} MiB: {error:?}", info.ram() >> 20);
    }
    // SAFETY: the new tables map the image (with the boot stack in its data) where it is now.
    unsafe { cpu::set_cr3(tables.root()) };
    *ROOT.lock() = tables.root();
    *MAPPED.lock() = mapped;
    early
}

/// Hands free memory to the frame allocator. Called once, when the direct map shows all memory and its nodes are known.
pub fn init_frames(info: &BootInfo, early: Range<u64>) {
    let ram = ranges(&info.memory, |kind| kind == RegionKind::Ram);
    let mut taken = taken(info);
    take(&mut taken, early);
    let topology = numa::topology();
    let len = frames::bitmap_len(topology, regions::usable(&ram, &taken));
    let Some(bitmap) = find_free(&ram, &taken, len as u64, u64::MAX) else {
        panic!("the memory map has no {} KiB of free memory for the frame allocator", len >> 10)
    };
    take(&mut taken, bitmap.clone());
    // SAFETY: 1. the bitmap lies in free memory that is set aside for it; 2. the free ranges are RAM by the memory
    // map less everything in use, and the direct map shows them by now.
    unsafe {
        let words = phys_to_virt(bitmap.start) as *mut u64;
        let bitmap = core::slice::from_raw_parts_mut(words, len / 8);
        frames::init(topology, bitmap, regions::usable(&ram, &taken));
    }
}

/// What is no free memory from the beginning.
fn taken(info: &BootInfo) -> Ranges {
    let mut taken = ranges(&info.memory, |kind| kind != RegionKind::Ram);
    take(&mut taken, 0..LOW_MEMORY);
    take(&mut taken, info.image.clone());
    if let Some(blob) = &info.blob {
        take(&mut taken, blob.clone());
    }
    if let Some(record) = crash::reserved(info) {
        take(&mut taken, record);
    }
    taken
}

fn take(taken: &mut Ranges, range: Range<u64>) {
    if taken.push(range).is_err() {
        panic!("the memory map has more than {REGIONS_MAX} entries");
    }
}

/// The regions of some kinds.
fn ranges(memory: &[Region], wanted: impl Fn(RegionKind) -> bool) -> Ranges {
    memory.iter().filter(|r| wanted(r.kind)).map(|r| r.start..r.end).collect()
}

/// `len` bytes (in whole pages) of free memory below `limit`, for the first tables and the allocator's bitmap.
fn find_free(ram: &[Range<u64>], taken: &[Range<u64>], len: u64, limit: u64) -> Option<Range<u64>> {
    let len = len.next_multiple_of(PAGE_SIZE);
    let fits = |range: &Range<u64>| range.end - range.start >= len && range.start + len <= limit;
    regions::usable(ram, taken).find(fits).map(|range| range.start..range.start + len)
}

/// What the direct map covers, in 2 MiB steps, joined where they touch.
fn direct_map_ranges(memory: &[Region]) -> Ranges {
    let mut ranges: Ranges = Vec::new();
    let wanted = memory.iter().filter(|r| match r.kind {
        RegionKind::Ram | RegionKind::AcpiTables | RegionKind::AcpiNvs => true,
        RegionKind::Reserved => r.end - r.start <= RESERVED_MAPPED_MAX && r.end < 1 << 32,
        RegionKind::Bad => false,
    });
    // The first megabyte holds the BIOS's tables, listed or not.
    let all = wanted.map(|r| r.start..r.end).chain(core::iter::once(0..LOW_MEMORY));
    for range in all {
        let mut start = range.start & !(LARGE_PAGE - 1);
        let mut end = range.end.next_multiple_of(LARGE_PAGE);
        ranges.retain(|other| {
            let apart = other.end < start || end < other.start;
            if !apart {
                start = start.min(other.start);
                end = end.max(other.end);
            }
            apart
        });
        if ranges.push(start..end).is_err() {
            break;
        }
    }
    ranges
}

/// True when the direct map shows all of `len` bytes at `phys`.
pub(super) fn is_mapped(phys: u64, len: usize) -> bool {
    let Some(end) = phys.checked_add(len as u64) else { return false };
    MAPPED.lock().iter().any(|range| range.start <= phys && end <= range.end)
}

/// The physical address behind an address of the kernel.
pub(super) fn translate(virt: usize) -> Option<u64> {
    let root = ROOT.lock();
    PageTables::at(Tables, *root, false).walk(virt as u64).map(|(phys, _)| phys)
}

/// Maps `len` bytes of device registers at `phys` (page offset kept), uncached.
pub fn map_mmio(phys: u64, len: usize) -> Result<Mmio, MapError> {
    map_device(phys, len, Access::Device)
}

/// Maps a framebuffer, to be written to.
pub fn map_picture(phys: u64, len: usize) -> Result<Mmio, MapError> {
    map_device(phys, len, Access::Picture)
}

fn map_device(phys: u64, len: usize, access: Access) -> Result<Mmio, MapError> {
    let offset = phys % PAGE_SIZE;
    let pages = (offset + len as u64).next_multiple_of(PAGE_SIZE);
    let mut next = NEXT_MMIO.lock();
    // Large windows (PCI configuration space) line up with their large pages.
    let step = if pages >= LARGE_PAGE { LARGE_PAGE as usize } else { PAGE_SIZE as usize };
    let virt = next.next_multiple_of(step) + (phys - offset) as usize % step;
    map(virt as u64, phys - offset, pages, access)?;
    // One page apart, so that an access beyond a window faults.
    *next = virt + pages as usize + PAGE_SIZE as usize;
    Ok(Mmio { virt: virt + offset as usize, len })
}

/// Maps fresh or device memory into the kernel's address space.
pub(super) fn map(virt: u64, phys: u64, len: u64, access: Access) -> Result<(), MapError> {
    let root = ROOT.lock();
    // Only small and 2 MiB pages: no processor check needed.
    PageTables::at(Tables, *root, false).map(virt, phys, len, access)
}

/// Maps the page at `phys` executable at the same address: for the code that starts other cores.
pub fn map_identity_page(phys: u64) -> Result<(), MapError> {
    map(phys, phys, PAGE_SIZE, Access::Execute)
}

/// Undoes [`map_identity_page`].
pub fn unmap_identity_page(phys: u64) {
    let root = ROOT.lock();
    PageTables::at(Tables, *root, false).unmap_page(phys);
    cpu::invlpg(phys as usize);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram(start: u64, end: u64) -> Region {
        Region { start, end, kind: RegionKind::Ram }
    }

    #[test]
    fn early_memory_is_free_and_as_low_as_it_must_be() {
        let ram = [0..0x9_f000, 0x10_0000..0x40_0000, 1 << 32..1 << 33];
        let taken = [0..LOW_MEMORY, 0x10_0000..0x20_0000];
        assert_eq!(find_free(&ram, &taken, 0x10_0001, 1 << 32), Some(0x20_0000..0x30_1000));
        assert_eq!(find_free(&ram, &taken, 1 << 30, 1 << 32), None);
        assert_eq!(find_free(&ram, &taken, 1 << 30, u64::MAX), Some(1 << 32..5 << 30));
    }

    #[test]
    fn the_direct_map_joins_neighbours_and_leaves_out_device_windows() {
        let reserved = |start, end| Region { start, end, kind: RegionKind::Reserved };
        let memory = [
            ram(0, 0x9_fc00),
            ram(0x10_0000, 0x7ff_0000),
            reserved(0x7ff_0000, 0x800_0000),
            reserved(0xb000_0000, 0xc000_0000),
            ram(1 << 32, (1 << 32) + 0x10_0000),
        ];
        let ranges = direct_map_ranges(&memory);
        let mut sorted: std::vec::Vec<_> = ranges.iter().cloned().collect();
        sorted.sort_by_key(|r| r.start);
        assert_eq!(sorted, [0..0x800_0000, 1 << 32..(1 << 32) + LARGE_PAGE]);
    }
}
