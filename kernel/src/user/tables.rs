//! The page tables of a program: entries, walks, changes. Where tables lie is behind [`TableMemory`], so that tests
//! run on a host.
//!
//! Other cores follow the tables while they change, in hardware (which also sets bits) and in software: every change
//! of an entry is one atomic operation, and a table that is taken out is handed to the caller, who keeps it until
//! nobody can be in it. Changes themselves come one at a time, under the caller's lock.
//!
//! An entry that points to a table counts the table's entries in its upper bits, which the processor ignores.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};
use keelson_hal::user::{MapFault, Mapped, PageSize, Protection};
use x86_64::structures::paging::PageTableFlags;

const PRESENT: u64 = PageTableFlags::PRESENT.bits();
const WRITABLE: u64 = PageTableFlags::WRITABLE.bits();
const USER: u64 = PageTableFlags::USER_ACCESSIBLE.bits();
const ACCESSED: u64 = PageTableFlags::ACCESSED.bits();
const DIRTY: u64 = PageTableFlags::DIRTY.bits();
const LARGE: u64 = PageTableFlags::HUGE_PAGE.bits();
const NO_EXECUTE: u64 = PageTableFlags::NO_EXECUTE.bits();
/// Ours: an entry for a page, present or not. Such an entry is never zero.
const PAGE: u64 = PageTableFlags::BIT_9.bits();
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// One entry more in the table that an entry points to (bits 61:52).
const ONE_MORE: u64 = 1 << 52;
const COUNT: u64 = 0x3ff << 52;
const TABLE: u64 = PRESENT | WRITABLE | USER;

/// Level of the root; a page's level is 0 (4 KiB), 1 (2 MiB) or 2 (1 GiB).
const ROOT_LEVEL: u32 = 3;
/// First address beyond the user half.
const END: u64 = 1 << 47;

/// One table.
pub type Table = [AtomicU64; 512];

/// Where tables come from and how they are reached.
pub trait TableMemory {
    /// A zeroed frame for a table.
    fn allocate(&self) -> Option<u64>;
    /// The table at `phys`, as handed out by [`TableMemory::allocate`].
    fn table(&self, phys: u64) -> &Table;
}

/// What a program wants to do with an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intent {
    /// Read.
    Read,
    /// Write, or read and write.
    Write,
}

/// The tables under one root.
pub struct Tables<M> {
    memory: M,
    root: u64,
}

/// An entry for a page, and its level.
type Leaf<'a> = (&'a AtomicU64, u64, u32);

fn index(at: u64, level: u32) -> usize {
    (at >> (12 + 9 * level)) as usize & 511
}

fn bytes(level: u32) -> u64 {
    1 << (12 + 9 * level)
}

fn level_of(size: PageSize) -> u32 {
    match size {
        PageSize::Small => 0,
        PageSize::Large => 1,
        PageSize::Huge => 2,
    }
}

fn size_of_level(level: u32) -> PageSize {
    match level {
        0 => PageSize::Small,
        1 => PageSize::Large,
        _ => PageSize::Huge,
    }
}

fn is_page(entry: u64, level: u32) -> bool {
    entry != 0 && (level == 0 || entry & LARGE != 0)
}

/// The frame of a page's entry.
fn frame_of(entry: u64, level: u32) -> u64 {
    entry & ADDRESS & !(bytes(level) - 1)
}

fn protection_bits(protection: Protection) -> u64 {
    let Protection { read, write, execute } = protection;
    let access = match (read || write || execute, write) {
        (false, _) => 0,
        (true, false) => PRESENT | USER,
        (true, true) => PRESENT | USER | WRITABLE,
    };
    access | if execute { 0 } else { NO_EXECUTE }
}

fn protection_of(entry: u64) -> Protection {
    let present = entry & PRESENT != 0;
    Protection {
        read: present,
        write: present && entry & WRITABLE != 0,
        execute: present && entry & NO_EXECUTE == 0,
    }
}

const PROTECTION_BITS: u64 = PRESENT | USER | WRITABLE | NO_EXECUTE;

/// What a change took out of the tables.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Tables, at most one of each level.
    pub tables: [Option<u64>; 3],
}

impl Retired {
    fn add(&mut self, level: u32, table: u64) {
        self.tables[level as usize] = Some(table);
    }
}

impl<M: TableMemory> Tables<M> {
    /// Tables with nothing in them, under the table at `root`.
    pub fn new(memory: M, root: u64) -> Tables<M> {
        Tables { memory, root }
    }

    /// Physical address of the root.
    pub fn root(&self) -> u64 {
        self.root
    }

    fn slot(&self, table: u64, at: u64, level: u32) -> &AtomicU64 {
        &self.memory.table(table)[index(at, level)]
    }

    /// The page that contains `at`, which is in the user half.
    fn leaf(&self, at: u64) -> Option<Leaf<'_>> {
        if at >= END {
            return None;
        }
        let mut table = self.root;
        for level in (0..=ROOT_LEVEL).rev() {
            let slot = self.slot(table, at, level);
            let entry = slot.load(Ordering::Acquire);
            if entry == 0 {
                return None;
            }
            if is_page(entry, level) {
                return Some((slot, entry, level));
            }
            table = entry & ADDRESS;
        }
        None
    }

    /// Enters a page. `retired` gets an empty table that was in the way.
    pub fn map(
        &self,
        at: u64,
        frame: u64,
        size: PageSize,
        protection: Protection,
        retired: &mut Retired,
    ) -> Result<(), MapFault> {
        let level = level_of(size);
        if !(at | frame).is_multiple_of(size.bytes()) || at >= END {
            return Err(MapFault::Unaligned);
        }
        let mut table = self.root;
        let mut parent = None;
        for upper in (level + 1..=ROOT_LEVEL).rev() {
            let slot = self.slot(table, at, upper);
            let entry = slot.load(Ordering::Acquire);
            table = if entry == 0 {
                let fresh = self.memory.allocate().ok_or(MapFault::OutOfMemory)?;
                slot.store(fresh | TABLE, Ordering::Release);
                self.count_up(parent);
                fresh
            } else if is_page(entry, upper) {
                return Err(MapFault::Occupied);
            } else {
                entry & ADDRESS
            };
            parent = Some(slot);
        }
        let slot = self.slot(table, at, level);
        let old = slot.load(Ordering::Acquire);
        let empty_table = level > 0 && old != 0 && old & (LARGE | COUNT) == 0;
        if old != 0 && !empty_table {
            return Err(MapFault::Occupied);
        }
        let large = if level > 0 { LARGE } else { 0 };
        slot.store(frame | PAGE | large | protection_bits(protection), Ordering::Release);
        if empty_table {
            // Left over from a mapping that found no memory.
            retired.add(level - 1, old & ADDRESS);
        } else {
            self.count_up(parent);
        }
        Ok(())
    }

    fn count_up(&self, parent: Option<&AtomicU64>) {
        if let Some(slot) = parent {
            slot.fetch_add(ONE_MORE, Ordering::Relaxed);
        }
    }

    /// Takes the page that contains `at` out: its frame and size. Tables that have become empty go to `retired`.
    pub fn unmap(&self, at: u64, retired: &mut Retired) -> Option<(u64, PageSize)> {
        let (slot, _, level) = self.leaf(at)?;
        let entry = slot.swap(0, Ordering::AcqRel);
        self.prune(at, level, retired);
        Some((frame_of(entry, level), size_of_level(level)))
    }

    /// After an entry of `level` has gone: counts down, and takes empty tables out.
    fn prune(&self, at: u64, level: u32, retired: &mut Retired) {
        for upper in level + 1..=ROOT_LEVEL {
            let Some(slot) = self.table_slot(at, upper) else { return };
            let before = slot.fetch_sub(ONE_MORE, Ordering::Relaxed);
            if before & COUNT != ONE_MORE {
                return;
            }
            slot.store(0, Ordering::Release);
            retired.add(upper - 1, before & ADDRESS);
        }
    }

    /// The entry of `level` on the way to `at`, which points to a table.
    fn table_slot(&self, at: u64, level: u32) -> Option<&AtomicU64> {
        let mut table = self.root;
        for upper in (level + 1..=ROOT_LEVEL).rev() {
            let entry = self.slot(table, at, upper).load(Ordering::Acquire);
            if entry == 0 || is_page(entry, upper) {
                return None;
            }
            table = entry & ADDRESS;
        }
        let slot = self.slot(table, at, level);
        let entry = slot.load(Ordering::Acquire);
        (entry != 0 && !is_page(entry, level)).then_some(slot)
    }

    /// Changes what may be done with the page that contains `at`.
    pub fn protect(&self, at: u64, protection: Protection) -> bool {
        let Some((slot, mut entry, _)) = self.leaf(at) else { return false };
        // The processor sets bits at the same time.
        loop {
            let new = entry & !PROTECTION_BITS | protection_bits(protection);
            match slot.compare_exchange_weak(entry, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => entry = now,
            }
        }
    }

    /// Splits the large page that contains `at`: its frame and size, of which the caller splits the reference.
    pub fn split(&self, at: u64) -> Result<(u64, PageSize), MapFault> {
        let (slot, mut entry, level) = self.leaf(at).ok_or(MapFault::Unaligned)?;
        if level == 0 {
            return Err(MapFault::Unaligned);
        }
        let fresh = self.memory.allocate().ok_or(MapFault::OutOfMemory)?;
        let (frame, part) = (frame_of(entry, level), bytes(level - 1));
        let large = if level > 1 { LARGE } else { 0 };
        loop {
            let bits = entry & !ADDRESS & !LARGE | large;
            for (number, place) in self.memory.table(fresh).iter().enumerate() {
                place.store((frame + number as u64 * part) | bits, Ordering::Relaxed);
            }
            let pointer = fresh | TABLE | (512 * ONE_MORE);
            match slot.compare_exchange(entry, pointer, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok((frame, size_of_level(level))),
                // Written meanwhile: the parts are dirty then.
                Err(now) => entry = now,
            }
        }
    }

    /// The page that contains `at`.
    pub fn find(&self, at: u64) -> Option<Mapped> {
        let (_, entry, level) = self.leaf(at)?;
        Some(mapped(at, entry, level))
    }

    /// The first page that reaches into `from..end`.
    pub fn next(&self, from: u64, end: u64) -> Option<Mapped> {
        let end = end.min(END);
        let mut at = from;
        while at < end {
            let mut table = self.root;
            let mut level = ROOT_LEVEL;
            loop {
                let entry = self.slot(table, at, level).load(Ordering::Acquire);
                if entry == 0 {
                    at = (at | (bytes(level) - 1)) + 1;
                    break;
                }
                if is_page(entry, level) {
                    return Some(mapped(at, entry, level));
                }
                table = entry & ADDRESS;
                level -= 1;
            }
        }
        None
    }

    /// Clears the dirty flag of the page that contains `at`; what it was.
    pub fn take_dirty(&self, at: u64) -> bool {
        self.leaf(at).is_some_and(|(slot, ..)| slot.fetch_and(!DIRTY, Ordering::AcqRel) & DIRTY != 0)
    }

    /// The physical address behind `at` and the bytes from there to the end of the page, if a program may do what
    /// it intends. Marks the page as used like the processor would.
    pub fn translate(&self, at: u64, intent: Intent) -> Option<(u64, u64)> {
        let (slot, entry, level) = self.leaf(at)?;
        let (need, mark) = match intent {
            Intent::Read => (PRESENT | USER, ACCESSED),
            Intent::Write => (PRESENT | USER | WRITABLE, ACCESSED | DIRTY),
        };
        if entry & need != need {
            return None;
        }
        if entry & mark != mark {
            slot.fetch_or(mark, Ordering::AcqRel);
        }
        let offset = at & (bytes(level) - 1);
        Some((frame_of(entry, level) + offset, bytes(level) - offset))
    }

    /// Takes out every page in `from..end` and calls `page` for each; tables stay. For the end of a space.
    pub fn clear(&self, mut page: impl FnMut(u64, PageSize)) {
        let mut at = 0;
        while let Some(found) = self.next(at, END) {
            if let Some((slot, ..)) = self.leaf(found.at) {
                slot.store(0, Ordering::Release);
            }
            page(found.frame, found.size);
            at = found.at + found.size.bytes();
        }
    }

    /// Calls `table` for every table but the root, lower ones first. Only after [`Tables::clear`].
    pub fn for_each_table(&self, mut table: impl FnMut(u64)) {
        self.visit(self.root, ROOT_LEVEL, 256, &mut table);
    }

    fn visit(&self, table: u64, level: u32, entries: usize, act: &mut impl FnMut(u64)) {
        for slot in self.memory.table(table).iter().take(entries) {
            let entry = slot.load(Ordering::Acquire);
            if entry == 0 || is_page(entry, level) {
                continue;
            }
            if level > 1 {
                self.visit(entry & ADDRESS, level - 1, 512, act);
            }
            act(entry & ADDRESS);
        }
    }
}

fn mapped(at: u64, entry: u64, level: u32) -> Mapped {
    Mapped {
        at: at & !(bytes(level) - 1),
        size: size_of_level(level),
        protection: protection_of(entry),
        frame: frame_of(entry, level),
        dirty: entry & DIRTY != 0,
    }
}

#[cfg(test)]
mod tests;
