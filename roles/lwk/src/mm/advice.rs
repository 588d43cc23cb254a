//! madvise(2), mincore(2), mlock(2) and their relatives.

use super::area::{Area, Backing, Pages};
use super::{Mm, PAGE, State, layout, whole_pages};
use crate::Errno;
use core::ops::Range;
use keelson_hal::user::{Access, Flush};

/// `MADV_*` of madvise(2).
pub mod madv {
    #![allow(missing_docs)]
    pub const NORMAL: u64 = 0;
    pub const RANDOM: u64 = 1;
    pub const SEQUENTIAL: u64 = 2;
    pub const WILLNEED: u64 = 3;
    pub const DONTNEED: u64 = 4;
    pub const FREE: u64 = 8;
    pub const REMOVE: u64 = 9;
    pub const DONTFORK: u64 = 10;
    pub const DOFORK: u64 = 11;
    pub const HUGEPAGE: u64 = 14;
    pub const NOHUGEPAGE: u64 = 15;
    pub const DONTDUMP: u64 = 16;
    pub const DODUMP: u64 = 17;
    pub const WIPEONFORK: u64 = 18;
    pub const KEEPONFORK: u64 = 19;
    pub const COLD: u64 = 20;
    pub const PAGEOUT: u64 = 21;
    pub const POPULATE_READ: u64 = 22;
    pub const POPULATE_WRITE: u64 = 23;
}

/// `MCL_*` of mlockall(2).
mod mcl {
    pub const CURRENT: u64 = 1;
    pub const FUTURE: u64 = 2;
    pub const ONFAULT: u64 = 4;
}

impl Mm {
    /// madvise(2), but for `MADV_POPULATE_*`, which [`Mm::populate_wait`] does.
    pub fn madvise(&self, at: u64, len: u64, advice: u64) -> Result<(), Errno> {
        let known = (0..=4).chain(8..=11).chain(14..=21).any(|known| known == advice);
        // MADV_HWPOISON and MADV_SOFT_OFFLINE are unknown, as with Linux without CONFIG_MEMORY_FAILURE.
        if !known || !at.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let len = whole_pages(len).ok_or(Errno::EINVAL)?;
        let end = at.checked_add(len).ok_or(Errno::EINVAL)?;
        if len == 0 {
            return Ok(());
        }
        let range = at..end.min(layout::TOP);
        if range.is_empty() {
            return Err(Errno::ENOMEM);
        }
        if advice == madv::REMOVE {
            return self.remove_memory(&range);
        }
        let mut state = self.lock();
        match advice {
            // Whoever has too many areas can give their memory back.
            madv::DONTNEED | madv::FREE => self.discard(&mut state, &range, advice == madv::FREE)?,
            madv::DONTFORK..=madv::KEEPONFORK => {
                self.has_room(&state)?;
                note(&mut state, &range, advice)?;
            }
            // What the program is going to do changes nothing: nothing is ever paged out or read ahead.
            _ => {}
        }
        if state.areas.cover(at..end) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Gives memory back; the next touch finds zeros, or the file as it is.
    fn discard(&self, state: &mut State, range: &Range<u64>, only_anonymous: bool) -> Result<(), Errno> {
        for area in state.areas.overlapping(range.clone()) {
            let part = area.within(range);
            let whole = match area.pages {
                Pages::Only(size) => (part.start | part.end).is_multiple_of(size.bytes()),
                _ => true,
            };
            if area.flags.locked || !whole || (only_anonymous && !area.is_private_anonymous()) {
                return Err(Errno::EINVAL);
            }
        }
        self.split_edges(range)?;
        for area in state.areas.overlapping(range.clone()) {
            let part = area.within(range);
            self.collect_dirty(area, &part);
            self.drop_pages(&part);
        }
        self.space.flush(Flush::Now);
        Ok(())
    }

    /// `MADV_REMOVE`: makes a hole in shared memory.
    fn remove_memory(&self, range: &Range<u64>) -> Result<(), Errno> {
        let mut at = range.start;
        let next = |at: u64| self.lock().areas.overlapping(at..range.end).next().cloned();
        while at < range.end
            && let Some(area) = next(at)
        {
            let object = match &area.backing {
                Backing::Object(object) if area.shared && !area.flags.locked => object,
                _ => return Err(Errno::EINVAL),
            };
            if !area.may_write {
                return Err(Errno::EACCES);
            }
            if object.is_file() {
                return Err(Errno::EOPNOTSUPP);
            }
            let part = area.within(&(at..range.end));
            let start = area.offset_of(part.start);
            object.punch(start, start + length(&part));
            at = part.end;
        }
        if self.lock().areas.cover(range.clone()) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Brings all pages of a range (`MAP_POPULATE`, `MADV_POPULATE_READ` and `_WRITE`), fetching those of files.
    pub async fn populate_wait(&self, at: u64, len: u64, access: Access, node: usize) -> Result<(), Errno> {
        if !at.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let end = whole_pages(len).and_then(|len| at.checked_add(len)).ok_or(Errno::EINVAL)?;
        let mut here = at;
        while here < end {
            let Some(part) = self.lock().areas.find(here).map(|area| here..area.end.min(end)) else {
                return Err(Errno::ENOMEM);
            };
            let object = self.lock().areas.find(here).and_then(|area| {
                let object = area.object().filter(|object| object.is_file())?;
                Some((object.clone(), area.offset_of(here)))
            });
            if let Some((object, offset)) = object {
                object.fetch_all(offset, offset.saturating_add(part.end - here), node).await?;
            }
            self.touch_wait(here, part.end - here, access, node).await?;
            here = part.end;
        }
        Ok(())
    }

    /// mincore(2): 1 for each page from `at` on that is in memory, for so many pages. ENOMEM with a gap.
    pub fn mincore(&self, at: u64, pages: &mut [u8]) -> Result<(), Errno> {
        let end = at.checked_add(pages.len() as u64 * PAGE).filter(|end| *end <= layout::TOP);
        let range = at..end.ok_or(Errno::ENOMEM)?;
        let state = self.lock();
        if !state.areas.cover(range.clone()) {
            return Err(Errno::ENOMEM);
        }
        pages.fill(0);
        let mut note = |here: Range<u64>| {
            let index = |at: u64| ((at.clamp(range.start, range.end) - range.start) / PAGE) as usize;
            pages[index(here.start)..index(here.end)].fill(1);
        };
        for area in state.areas.overlapping(range.clone()) {
            let part = area.within(&range);
            let mut at = part.start;
            while let Some(page) = self.next_page(at, part.end) {
                at = page.at + page.size.bytes();
                note(page.at..at);
            }
            let Some(object) = area.object() else { continue };
            let (object, start) = (object.lock(), area.offset_of(part.start));
            let end = start.saturating_add(length(&part));
            let mut at = start;
            while let Some((first, frame)) = object.next(at, end) {
                at = first + frame.size().bytes();
                let place = |offset: u64| part.start + offset.clamp(start, end) - start;
                note(place(first)..place(at));
            }
        }
        Ok(())
    }

    /// mlock(2): nothing is ever paged out, so this fills and counts.
    pub fn mlock(&self, at: u64, len: u64, fill: Fill, node: usize) -> Result<(), Errno> {
        let range = lock_range(at, len)?;
        if range.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        self.has_room(&state)?;
        let unlocked = |area: &Area| if area.flags.locked { 0 } else { length(&area.within(&range)) };
        let more: u64 = state.areas.overlapping(range.clone()).map(unlocked).sum();
        check_locked(&state, state.areas.sums().locked.saturating_add(more))?;
        if !state.areas.cover(range.clone()) {
            return Err(Errno::ENOMEM);
        }
        state.areas.change(range.clone(), |area| area.flags.locked = true);
        if fill == Fill::Now {
            self.fill_locked(&state, &range, node)?;
        }
        Ok(())
    }

    /// munlock(2).
    pub fn munlock(&self, at: u64, len: u64) -> Result<(), Errno> {
        let range = lock_range(at, len)?;
        let mut state = self.lock();
        self.has_room(&state)?;
        if !state.areas.cover(range.clone()) {
            return Err(Errno::ENOMEM);
        }
        state.areas.change(range, |area| area.flags.locked = false);
        Ok(())
    }

    /// mlockall(2).
    pub fn mlockall(&self, flags: u64, node: usize) -> Result<(), Errno> {
        if flags == 0 || flags & !(mcl::CURRENT | mcl::FUTURE | mcl::ONFAULT) != 0 || flags == mcl::ONFAULT {
            return Err(Errno::EINVAL);
        }
        let mut state = self.lock();
        let whole = 0..layout::TOP;
        let wanted = if flags & mcl::CURRENT != 0 { state.areas.sums().total } else { 0 };
        check_locked(&state, wanted)?;
        state.lock_future = flags & mcl::FUTURE != 0;
        if flags & mcl::CURRENT != 0 {
            state.areas.change(whole.clone(), |area| area.flags.locked = true);
            if flags & mcl::ONFAULT == 0 {
                // As with Linux, what cannot be filled is no error here.
                let _ = self.fill_locked(&state, &whole, node);
            }
        }
        Ok(())
    }

    /// munlockall(2).
    pub fn munlockall(&self) {
        let mut state = self.lock();
        state.lock_future = false;
        state.areas.change(0..layout::TOP, |area| area.flags.locked = false);
    }

    fn fill_locked(&self, state: &State, range: &Range<u64>, node: usize) -> Result<(), Errno> {
        for area in state.areas.overlapping(range.clone()) {
            if area.is_private_anonymous() && area.allows(Access::Read) {
                self.populate(state, area, area.within(range), node)?;
            }
        }
        Ok(())
    }
}

/// When locked memory gets its pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// At once.
    Now,
    /// When it is touched (`MLOCK_ONFAULT`).
    OnFault,
}

/// Notes an advice in the areas that it concerns.
fn note(state: &mut State, range: &Range<u64>, advice: u64) -> Result<(), Errno> {
    if advice == madv::WIPEONFORK && !state.areas.overlapping(range.clone()).all(Area::is_private_anonymous) {
        return Err(Errno::EINVAL);
    }
    state.areas.change(range.clone(), |area| match advice {
        madv::DONTFORK => area.flags.dont_fork = true,
        madv::DOFORK => area.flags.dont_fork = false,
        madv::WIPEONFORK => area.flags.wipe_on_fork = true,
        madv::KEEPONFORK => area.flags.wipe_on_fork = false,
        madv::DONTDUMP => area.flags.dont_dump = true,
        madv::DODUMP => area.flags.dont_dump = false,
        madv::HUGEPAGE | madv::NOHUGEPAGE if matches!(area.pages, Pages::Only(_)) => {}
        madv::HUGEPAGE => area.pages = Pages::Large,
        madv::NOHUGEPAGE => area.pages = Pages::Small,
        _ => {}
    });
    Ok(())
}

fn lock_range(at: u64, len: u64) -> Result<Range<u64>, Errno> {
    let start = super::page_of(at);
    let end = at.checked_add(len).and_then(whole_pages).ok_or(Errno::EINVAL)?;
    if end > layout::TOP { Err(Errno::ENOMEM) } else { Ok(start..end) }
}

fn check_locked(state: &State, locked: u64) -> Result<(), Errno> {
    match state.limits.locked {
        0 if locked > 0 => Err(Errno::EPERM),
        limit if locked > limit => Err(Errno::ENOMEM),
        _ => Ok(()),
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}
