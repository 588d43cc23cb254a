//! The heap of brk(2).
//!
//! It never gives memory back: a smaller break is noted, and what is above it is zeroed when the break grows again.

use super::area::Role;
use super::{Mm, PAGE, State, whole_pages};
use crate::Errno;
use core::ops::Range;
use keelson_hal::user::PageSize;

/// Where the heap is.
#[derive(Clone, Debug, Default)]
pub(super) struct Brk {
    /// First address; 0 before a program is there.
    pub start: u64,
    /// The break that the program knows.
    pub current: u64,
    /// End of what is mapped.
    pub end: u64,
    /// The highest break so far: below are bytes that the program may have written.
    pub most: u64,
}

impl Mm {
    /// Puts the heap behind a program that ends at `end`.
    pub fn set_brk(&self, end: u64) -> Result<(), Errno> {
        let start = if self.grows_in_steps() {
            end.checked_next_multiple_of(PageSize::Large.bytes())
        } else {
            whole_pages(end)
        };
        let start = start.ok_or(Errno::ENOMEM)?;
        self.lock().brk = Brk { start, current: start, end: start, most: start };
        Ok(())
    }

    /// The heap: from its start to the break.
    pub fn heap(&self) -> Range<u64> {
        let state = self.lock();
        state.brk.start..state.brk.current
    }

    /// brk(2): the break afterwards, which is the old one when it cannot be done.
    pub fn brk(&self, wanted: u64, node: usize) -> u64 {
        let mut state = self.lock();
        let brk = state.brk.clone();
        if wanted < brk.start || brk.start == 0 {
            return brk.current;
        }
        if wanted > brk.end && self.extend_heap(&mut state, wanted, node).is_err() {
            return brk.current;
        }
        if wanted > brk.current && brk.current < brk.most {
            self.zero_again(brk.current..brk.most.min(wanted));
        }
        // Also where more was mapped: for malloc(3) the break is where it put it.
        state.brk.current = wanted;
        state.brk.most = state.brk.most.max(wanted);
        wanted
    }

    fn grows_in_steps(&self) -> bool {
        self.settings.extend_heap_by > PAGE
    }

    /// Maps up to `wanted` at least, and fills what it maps.
    fn extend_heap(&self, state: &mut State, wanted: u64, node: usize) -> Result<(), Errno> {
        let old = state.brk.end;
        let end = if self.grows_in_steps() {
            let least = old.checked_add(self.settings.extend_heap_by).ok_or(Errno::ENOMEM)?;
            wanted.max(least).checked_next_multiple_of(PageSize::Large.bytes())
        } else {
            whole_pages(wanted)
        };
        let end = end.filter(|end| *end < super::layout::VVAR).ok_or(Errno::ENOMEM)?;
        let heap = end - state.brk.start;
        if heap > state.limits.data {
            return Err(Errno::ENOMEM);
        }
        self.grow_area(state, old..end, Role::Heap)?;
        state.brk.end = end;
        if let Some(area) = state.areas.find(old).cloned()
            && self.settings.prefault != super::Prefault::None
            && self.fits_in_memory(end - old)
        {
            // What cannot be filled now is filled when it is touched.
            let _ = self.populate(state, &area, old..end, node);
        }
        Ok(())
    }

    /// True when filling `len` bytes leaves something for others.
    fn fits_in_memory(&self, len: u64) -> bool {
        let machine = &self.system.machine;
        let free: u64 = (0..machine.nodes()).map(|node| machine.memory(node).0).fold(0, u64::saturating_add);
        len <= free / 2
    }

    /// Zeros what a smaller break left behind. Only pages that are there: the rest is zeros anyway.
    fn zero_again(&self, range: Range<u64>) {
        let mut at = range.start;
        while at < range.end {
            let Some(page) = self.next_page(super::page_of(at), range.end) else { return };
            let start = at.max(page.at);
            let end = range.end.min(page.at + page.size.bytes());
            if page.protection.write {
                if let Some(frame) = self.space.share(page.at) {
                    frame.zero(start - page.at, end - start);
                }
            } else {
                self.clear_unwritable(page.at, start..end);
            }
            at = end;
        }
    }

    /// A page that may be shared is replaced before it is zeroed.
    fn clear_unwritable(&self, page: u64, range: Range<u64>) {
        let Some(old) = self.space.find(page) else { return };
        let node = self.system.machine.node_of_memory(old.frame).unwrap_or(0);
        let Some(copy) = self.system.machine.allocate(old.size, node) else { return };
        let Some(frame) = self.leave(page) else { return };
        super::fault::copy_frame(&frame, &copy);
        copy.zero(range.start - page, range.end - range.start);
        // Without a page table there is no page, and zeros at the next touch; the table was there a moment ago.
        let _ = self.enter(page, copy, old.protection);
        self.space.flush(keelson_hal::user::Flush::Now);
    }
}
