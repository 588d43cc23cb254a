//! Word of a panic for the next boot: a record in memory that is never handed out, at a place that does not change.
//!
//! A warm reset keeps memory, on most boards and in virtual machines. The place is reserved at each boot, before anything is
//! allocated; what the last boot left there is copied, told once in the log, and shown by the shell. Loaders and firmware may use the
//! place in between: a record that is not whole is none.
//!
//! ```text
//!   panic -> report on the console -> record -> reset ... boot -> find -> log: the last boot ended in a panic
//! ```

mod record;

pub use record::Record;

use crate::boot::{BootInfo, RegionKind};
use crate::mm;
use crate::{console, time};
use core::fmt::{Arguments, Write};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use record::{Cut, Writer};
use spin::Once;

/// Where the record is: 64 KiB at 24 MiB. Images lie at 1 MiB or wherever firmware puts them, loaders take the first megabyte and
/// the end of memory, and OVMF unpacks itself between 8 and 23 MiB.
pub const PLACE: Range<u64> = 24 << 20..(24 << 20) + (64 << 10);

/// The place is memory that nobody else uses.
static IS_USABLE: AtomicBool = AtomicBool::new(false);
/// What the last boot left.
static FOUND: Once<Record> = Once::new();
/// Role, version, when it was built.
static IMAGE: Once<(&'static str, &'static str, &'static str)> = Once::new();

/// What is to be kept out of memory's use: the place, unless it is no memory, or the loader put something there.
pub(crate) fn reserved(boot: &BootInfo) -> Option<Range<u64>> {
    let is_ram = boot.memory.iter().any(|region| {
        region.kind == RegionKind::Ram && region.start <= PLACE.start && PLACE.end <= region.end
    });
    let overlaps = |range: &Range<u64>| range.start < PLACE.end && PLACE.start < range.end;
    let other = boot.memory.iter().filter(|region| region.kind != RegionKind::Ram);
    let mut taken =
        other.map(|region| region.start..region.end).chain([boot.image.clone()]).chain(boot.blob.clone());
    (is_ram && !taken.any(|range| overlaps(&range))).then_some(PLACE)
}

/// Looks for what the last boot left; once, when there is a heap and the direct map shows the place.
pub(crate) fn init(boot: &BootInfo) {
    if reserved(boot).is_none() {
        return;
    }
    // SAFETY: reserved, as just seen, and the direct map shows all RAM; the slice is gone before anybody writes there.
    let place = unsafe { place() };
    if let Some(found) = record::read(place) {
        FOUND.call_once(|| found);
    }
    IS_USABLE.store(true, Ordering::Release);
}

/// The place.
///
/// # Safety
/// It is reserved, and the direct map shows it. Nobody else has a reference to it.
unsafe fn place() -> &'static mut [u8] {
    let len = (PLACE.end - PLACE.start) as usize;
    // SAFETY: the caller's.
    unsafe { core::slice::from_raw_parts_mut(mm::phys_to_virt(PLACE.start) as *mut u8, len) }
}

/// Notes what this image is, for a record of its own.
pub fn set_image(role: &'static str, version: &'static str, built: &'static str) {
    IMAGE.call_once(|| (role, version, built));
}

/// What the last panic left, in this boot's memory.
pub fn found() -> Option<&'static Record> {
    FOUND.get()
}

/// Tells of the last boot's panic in the log, unless a boot before did.
pub fn tell() {
    let Some(record) = found().filter(|record| !record.told) else { return };
    let why = record.headline.strip_prefix("panic: ").unwrap_or(&record.headline);
    log::warn!(target: "kernel", "the last boot ended in a panic: {why}");
    log::warn!(target: "kernel", "it was {}", record.image);
    for line in record.backtrace.lines() {
        log::warn!(target: "kernel", "{}", line.trim_start());
    }
    // SAFETY: as in `init`; the first core is the only one that comes here, and a panic of another core does not go on from there.
    record::mark_told(unsafe { place() });
}

/// Writes the record of this kernel's end; for the core that reports, when all others have stopped. `show` writes the backtrace.
pub(crate) fn write(headline: Arguments<'_>, show: impl FnOnce(&mut dyn Write)) {
    if !IS_USABLE.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: reserved and mapped, or it would not be usable; the other cores are stopped, and this one does not go on with what
    // it was doing.
    let mut writer = Writer::new(unsafe { place() });
    let say = |cut: &mut Cut<'_>, text: Arguments<'_>| {
        // Cannot fail: what has no room is left out.
        let _ = cut.write_fmt(text);
    };
    writer.text(|cut| say(cut, headline));
    let (role, version, built) = IMAGE.get().copied().unwrap_or(("an image that had not begun", "", ""));
    let seconds = time::now().as_millis() / 1000;
    writer.text(|cut| say(cut, format_args!("{role} {version}, built {built}, {seconds} s after its start")));
    writer.text(|cut| show(cut));
    console::log::with_last_lines(usize::MAX, |first, second| writer.log(first, second));
    crate::arch::cpu::write_back_caches();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{Protocol, Region};

    #[test]
    fn the_place_is_memory_that_nobody_uses_or_there_is_none() {
        let boot = |regions: &[(u64, u64, RegionKind)], image: Range<u64>, blob: Option<Range<u64>>| {
            let mut boot = BootInfo::new(Protocol::Linux, image);
            for (start, end, kind) in regions {
                assert!(boot.memory.push(Region { start: *start, end: *end, kind: *kind }).is_ok());
            }
            boot.blob = blob;
            reserved(&boot)
        };
        let (ram, image) = ((1 << 20, 32 << 20, RegionKind::Ram), 1 << 20..4 << 20);
        assert_eq!(boot(&[ram], image.clone(), None), Some(PLACE));
        assert_eq!(boot(&[ram], image.clone(), Some(PLACE.end..PLACE.end + 1)), Some(PLACE));
        assert_eq!(boot(&[ram], image.clone(), Some(PLACE.end - 1..PLACE.end + 1)), None);
        assert_eq!(boot(&[ram], 20 << 20..25 << 20, None), None);
        assert_eq!(boot(&[(1 << 20, 24 << 20, RegionKind::Ram)], image.clone(), None), None);
        let hole = (PLACE.start + 4096, PLACE.start + 8192, RegionKind::AcpiNvs);
        assert_eq!(boot(&[ram, hole], image, None), None);
    }
}
