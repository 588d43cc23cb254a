//! Which memory is in a dump, and reading it.

use super::hold;
use crate::boot::{BootInfo, REGIONS_MAX, RegionKind};
use crate::mm::{self, PAGE_SIZE, frames, regions};
use crate::user;
use core::ops::Range;
use heapless::Vec;
use spin::Once;

/// Looks at the state of memory in one step of [`next`].
const LOOKS: usize = 512;

/// RAM, in whole pages, rising.
static RAM: Once<Vec<Range<u64>, { 2 * REGIONS_MAX }>> = Once::new();

/// What is wanted of RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selection {
    /// All of it.
    All,
    /// What the kernel uses: nothing that is free or a program's.
    Kernel,
}

/// Adjacent pages that are all wanted, or all not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Physical addresses.
    pub range: Range<u64>,
    /// They belong into the dump.
    pub wanted: bool,
}

/// Notes where RAM is.
pub(super) fn init(boot: &BootInfo) {
    RAM.call_once(|| ram(boot));
}

fn ram(boot: &BootInfo) -> Vec<Range<u64>, { 2 * REGIONS_MAX }> {
    let of = |wanted: fn(RegionKind) -> bool| -> Vec<Range<u64>, REGIONS_MAX> {
        boot.memory.iter().filter(|r| wanted(r.kind)).map(|r| r.start..r.end).collect()
    };
    let (ram, reserved) = (of(|kind| kind == RegionKind::Ram), of(|kind| kind != RegionKind::Ram));
    // A hole splits a range in two: there are at most twice as many as the map has.
    regions::usable(&ram, &reserved).take(2 * REGIONS_MAX).collect()
}

/// First address behind all RAM.
pub(super) fn end() -> u64 {
    RAM.get().and_then(|ram| ram.last()).map_or(0, |range| range.end)
}

/// The first pages of RAM from `from` on, as many as are of one kind, or as can be looked at quickly; `None` behind the last.
pub fn next(from: u64, selection: Selection) -> Option<Piece> {
    next_in(RAM.get()?, from, |at, end| match selection {
        Selection::All => (end, true),
        Selection::Kernel => match frames::free_block(at).or_else(|| user::frame_of_program(at)) {
            Some(unwanted) => (unwanted.end, false),
            None => (at + PAGE_SIZE, true),
        },
    })
}

/// `look` says of an address how far what it finds there goes, and whether that is wanted.
fn next_in(ram: &[Range<u64>], from: u64, look: impl Fn(u64, u64) -> (u64, bool)) -> Option<Piece> {
    let range = ram.iter().find(|range| range.end > from)?;
    let start = from.max(range.start);
    let (mut end, wanted) = look(start, range.end);
    for _ in 0..LOOKS {
        if end >= range.end {
            break;
        }
        let (further, same) = look(end, range.end);
        if same != wanted {
            break;
        }
        end = further;
    }
    Some(Piece { range: start..end.min(range.end), wanted })
}

/// True when all of a range of RAM is zero: most of it is, and need not be copied to find that out. False for what is no RAM.
pub fn is_zero(range: Range<u64>) -> bool {
    let whole = range.start.is_multiple_of(PAGE_SIZE) && range.end.is_multiple_of(PAGE_SIZE);
    if !whole || !is_ram(&range) {
        return false;
    }
    let words = (range.end.saturating_sub(range.start) / 8) as usize;
    let first = mm::phys_to_virt(range.start) as *const u64;
    // SAFETY: RAM, all of which the direct map shows, aligned. Volatile, because others may write at the same time.
    (0..words).all(|word| unsafe { first.add(word).read_volatile() } == 0)
}

fn is_ram(range: &Range<u64>) -> bool {
    let inside = |ram: &Range<u64>| ram.start <= range.start && range.end <= ram.end;
    RAM.get().is_some_and(|ram| ram.iter().any(inside))
}

/// Copies RAM; false when not all of it is RAM. Of the core that holds the others the stack is as it was then.
pub fn read(physical: u64, into: &mut [u8]) -> bool {
    let is_ram = copy(physical, into);
    if is_ram {
        hold::restore_own_stack(physical, into);
    }
    is_ram
}

/// Copies RAM as it is; false when not all of it is RAM.
pub(super) fn copy(physical: u64, into: &mut [u8]) -> bool {
    let Some(end) = physical.checked_add(into.len() as u64) else { return false };
    if !is_ram(&(physical..end)) {
        return false;
    }
    // SAFETY: RAM, all of which the direct map shows. Others may write at the same time: then the bytes are old or new, and mean
    // nothing to us.
    unsafe {
        core::ptr::copy_nonoverlapping(
            mm::phys_to_virt(physical) as *const u8,
            into.as_mut_ptr(),
            into.len(),
        );
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{Protocol, Region};

    #[test]
    fn ram_is_what_nobody_reserved() {
        let mut boot = BootInfo::new(Protocol::Pvh, 0..0);
        for (start, end, kind) in [
            (0x10_0000, 0x40_0000, RegionKind::Ram),
            (0, 0x9_fc00, RegionKind::Ram),
            (0x20_0000, 0x20_1000, RegionKind::AcpiTables),
        ] {
            boot.memory.push(Region { start, end, kind }).unwrap();
        }
        assert_eq!(ram(&boot), [0..0x9_f000, 0x10_0000..0x20_0000, 0x20_1000..0x40_0000]);
    }

    #[test]
    fn pieces_are_of_one_kind_and_inside_ram() {
        let ram = [0x1000..0x5000, 0x8000..0x20_0000_0000];
        // Pages below 0x3000 and from 0x9000 to 0xa000 are wanted; what is free goes far.
        let look = |at: u64, _| match at {
            0..0x3000 | 0x9000 => (at + PAGE_SIZE, true),
            _ if at < 0x9000 => (at + PAGE_SIZE, false),
            _ => (at + (1 << 30), false),
        };
        let mut pieces = std::vec::Vec::new();
        let mut at = 0;
        while let Some(piece) = next_in(&ram, at, look) {
            at = piece.range.end;
            pieces.push((piece.range, piece.wanted));
        }
        assert_eq!(
            pieces,
            [
                (0x1000..0x3000, true),
                (0x3000..0x5000, false),
                (0x8000..0x9000, false),
                (0x9000..0xa000, true),
                (0xa000..0x20_0000_0000, false),
            ]
        );
    }

    #[test]
    fn a_step_has_an_end() {
        let whole = 0..1 << 40;
        let ram = core::slice::from_ref(&whole);
        let piece = next_in(ram, 0, |at, _| (at + PAGE_SIZE, true)).unwrap();
        assert_eq!(piece.range, 0..(LOOKS as u64 + 1) * PAGE_SIZE);
        assert_eq!(next_in(ram, 1 << 40, |_, end| (end, true)), None);
    }
}
