//! mmap(2) and munmap(2).

use super::area::{Area, Backing, Pages, Role};
use super::flags::{self, map};
use super::object::Object;
use super::source::FileMapping;
use super::{Mm, PAGE, State, layout, page_of, whole_pages};
use crate::Errno;
use core::ops::Range;
use keelson_hal::user::{Flush, PageSize, Protection};

/// What mmap(2) is asked for.
#[derive(Clone, Default)]
pub struct Map {
    /// Where, or a wish.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// What the program may do.
    pub protection: Protection,
    /// `MAP_*`.
    pub flags: u64,
    /// The file, without `MAP_ANONYMOUS`.
    pub file: Option<FileMapping>,
    /// Shared memory that was opened for reading (/dev/zero): mprotect(2) makes nothing else of it.
    pub read_only: bool,
    /// NUMA node of the thread that asks.
    pub node: usize,
}

impl Mm {
    /// mmap(2): the address. A file with `MAP_POPULATE` is filled by [`Mm::populate_wait`] afterwards.
    pub fn mmap(&self, request: &Map) -> Result<u64, Errno> {
        let mut area = self.area_for(request)?;
        let has = |flag| request.flags & flag != 0;
        let fixed = has(map::FIXED) || has(map::FIXED_NOREPLACE);
        let len = area.len();
        let mut state = self.lock();
        self.has_room(&state)?;
        let at = if fixed {
            let range = fixed_range(request.at, len)?;
            if has(map::FIXED_NOREPLACE) && state.areas.overlapping(range.clone()).next().is_some() {
                return Err(Errno::EEXIST);
            }
            range.start
        } else {
            self.choose(&state, request.at, len, &area)?
        };
        let range = at..at + len;
        check_growth(&state, &range, &area, fixed)?;
        if state.lock_future {
            area.flags.locked = true;
        }
        if fixed {
            self.unmap_range(&mut state, &range, Flush::Now)?;
        }
        self.place(&mut state, area, range, request.node, has(map::POPULATE) || has(map::LOCKED))?;
        Ok(at)
    }

    /// Enters an area where there is nothing, and fills it when that is due.
    pub(super) fn place(
        &self,
        state: &mut State,
        mut area: Area,
        range: Range<u64>,
        node: usize,
        fill: bool,
    ) -> Result<(), Errno> {
        self.forget_stale(state, &range);
        (area.start, area.end) = (range.start, range.end);
        if let Some(object) = area.object() {
            object.mapped_by(&self.this);
            if object.is_file() && area.shared && area.may_write {
                self.system.memory.writes(object);
            }
        }
        let demanded = matches!(area.pages, Pages::Only(_));
        if let Backing::Anonymous = area.backing
            && (demanded || fill || self.fills_at_once(state, &area))
        {
            let filled = self.populate(state, &area, range.clone(), node);
            if demanded && let Err(error) = filled {
                self.drop_pages(&range);
                return Err(error);
            }
        }
        let shared_memory = area.shared && area.object().is_some_and(|object| !object.is_file());
        let fill = demanded || fill || (shared_memory && self.fills_at_once(state, &area));
        let probe = area.clone();
        state.areas.insert(area);
        if shared_memory && fill {
            let filled = self.populate_object(state, &probe, range.clone(), node);
            if demanded && let Err(error) = filled {
                self.unmap_range(state, &range, Flush::Now)?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Enters an area at a fixed place for the loader: nothing may be there.
    pub fn place_area(&self, area: Area, node: usize) -> Result<(), Errno> {
        let mut state = self.lock();
        let range = area.start..area.end;
        if state.areas.overlapping(range.clone()).next().is_some() {
            return Err(Errno::EEXIST);
        }
        fixed_range(range.start, area.len())?;
        self.has_room(&state)?;
        self.place(&mut state, area, range, node, false)
    }

    /// Room for `len` bytes at or above `floor`, a multiple of `align`.
    pub fn room(&self, len: u64, align: u64, floor: u64) -> Result<u64, Errno> {
        self.lock().areas.room(len, align, floor, layout::VVAR).ok_or(Errno::ENOMEM)
    }

    /// Checks a request: an area that does not lie anywhere yet.
    fn area_for(&self, request: &Map) -> Result<Area, Errno> {
        let has = |flag| request.flags & flag != 0;
        let shared = match request.flags & map::TYPE {
            map::PRIVATE => false,
            map::SHARED => true,
            map::SHARED_VALIDATE if request.flags & !map::KNOWN != 0 => return Err(Errno::EOPNOTSUPP),
            map::SHARED_VALIDATE => true,
            _ => return Err(Errno::EINVAL),
        };
        if request.len == 0 || has(map::IN_32BIT) {
            return Err(Errno::EINVAL);
        }
        let pages = if has(map::HUGETLB) && request.file.is_none() {
            let size = flags::demanded_size(request.flags).ok_or(Errno::EINVAL)?;
            let usable = self.settings.allows(size) && self.system.machine.has_pages(size);
            usable.then_some(Pages::Only(size)).ok_or(Errno::ENOMEM)?
        } else {
            Pages::Any
        };
        let unit = if let Pages::Only(size) = pages { size.bytes() } else { PAGE };
        let len = request.len.checked_next_multiple_of(unit).filter(|len| *len <= layout::TOP);
        let mut area = Area::anonymous(0..len.ok_or(Errno::ENOMEM)?, request.protection);
        area.shared = shared;
        area.pages = pages;
        area.flags.no_reserve = has(map::NORESERVE);
        area.flags.locked = has(map::LOCKED);
        area.flags.grows_down = has(map::GROWSDOWN);
        area.flags.below_threshold = area.len() < self.settings.policy_threshold;
        match &request.file {
            Some(file) => self.back_with_file(&mut area, file)?,
            None if shared => {
                let most = self.largest(&self.lock(), &area);
                let object = Object::memory(self.system.machine.clone(), area.len(), most);
                area.backing = Backing::Object(object);
                area.may_write = !request.read_only;
            }
            None => {}
        }
        if area.flags.grows_down && !area.is_private_anonymous() {
            return Err(Errno::EINVAL);
        }
        Ok(area)
    }

    fn back_with_file(&self, area: &mut Area, file: &FileMapping) -> Result<(), Errno> {
        if !file.offset.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        file.offset.checked_add(area.len()).filter(|end| *end < 1 << 62).ok_or(Errno::EOVERFLOW)?;
        if !file.readable || (area.shared && area.protection.write && !file.writable) {
            return Err(Errno::EACCES);
        }
        let object = match file.source.local() {
            Some(object) => object,
            None => self.system.memory.object(&self.system.machine, &file.source)?,
        };
        if area.shared && file.writable && object.is_file() {
            object.lock().writer = Some(file.source.clone());
        }
        area.may_write = !area.shared || file.writable;
        area.copy_on_write = !area.shared;
        area.offset = file.offset;
        area.path = file.path.clone();
        area.backing = Backing::Object(object);
        Ok(())
    }

    /// Where a mapping goes that may go anywhere.
    pub(super) fn choose(&self, state: &State, wish: u64, len: u64, area: &Area) -> Result<u64, Errno> {
        let unit = if let Pages::Only(size) = area.pages { size.bytes() } else { PAGE };
        let wish = wish.checked_next_multiple_of(unit).filter(|at| *at >= layout::LOWEST);
        if let Some(range) = wish.and_then(|at| fixed_range(at, len).ok())
            && state.areas.overlapping(range.clone()).next().is_none()
        {
            return Ok(range.start);
        }
        // A large page for a whole number of them, which leaves no part of one. What has other lengths, as malloc(3) asks for,
        // follows its neighbour and has large pages in its middle: arrays that all began at a multiple of a large page would meet
        // in the same sets of caches and TLBs, where a loop over several of them throws its own lines out. A page of 1 GiB is
        // worth that.
        let most = self.largest(state, area);
        let align = match most {
            PageSize::Huge if len >= PageSize::Huge.bytes() => PageSize::Huge.bytes(),
            PageSize::Huge | PageSize::Large if len.is_multiple_of(PageSize::Large.bytes()) => {
                PageSize::Large.bytes()
            }
            _ => unit,
        };
        let room = |align| state.areas.room(len, align, layout::MAPPINGS, layout::PROGRAM);
        let above = || state.areas.room(len, unit, layout::PROGRAM, layout::VVAR);
        let below = || state.areas.room(len, unit, layout::LOWEST, layout::MAPPINGS);
        room(align).or_else(|| room(unit)).or_else(above).or_else(below).ok_or(Errno::ENOMEM)
    }

    /// munmap(2).
    pub fn munmap(&self, at: u64, len: u64) -> Result<(), Errno> {
        let range = unmapped_range(at, len)?;
        let mut state = self.lock();
        // Only a hole in an area makes one more of it: whoever has too many can always give some back.
        if state.areas.overlapping(range.clone()).any(|area| area.start < range.start && range.end < area.end)
        {
            self.has_room(&state)?;
        }
        self.unmap_range(&mut state, &range, Flush::Lazy)
    }

    /// Removes what is in a range. Private anonymous memory can go lazily, everything else is forgotten by all cores now.
    pub(super) fn unmap_range(&self, state: &mut State, range: &Range<u64>, how: Flush) -> Result<(), Errno> {
        if state.areas.overlapping(range.clone()).next().is_none() {
            return Ok(());
        }
        self.split_edges(range)?;
        let mut how = how;
        state.areas.remove(range.clone(), |area| {
            if !area.is_private_anonymous() {
                how = Flush::Now;
            }
            self.collect_dirty(&area, &(area.start..area.end));
            self.drop_pages(&(area.start..area.end));
        });
        match how {
            Flush::Lazy => self.mark_stale(state, range),
            Flush::Now => self.space.flush(Flush::Now),
        }
        Ok(())
    }

    /// Removes the pages of a range; edges were split.
    pub(super) fn drop_pages(&self, range: &Range<u64>) {
        let mut at = range.start;
        while let Some(page) = self.next_page(at, range.end) {
            self.leave(page.at);
            at = page.at + page.size.bytes();
        }
    }

    /// Brings what an area of shared memory has, and what it lacks.
    pub(super) fn populate_object(
        &self,
        state: &State,
        area: &Area,
        range: Range<u64>,
        node: usize,
    ) -> Result<(), Errno> {
        let mut at = range.start;
        while at < range.end {
            match self.space.find(at) {
                Some(page) => at = page.at + page.size.bytes(),
                None => self.resolve_for(state, area, at, node).map_err(|fault| {
                    if fault == super::Fault::Bus { Errno::EFAULT } else { Errno::ENOMEM }
                })?,
            }
        }
        Ok(())
    }

    /// True when a call that may cut two areas and add one is within the limit, and the kernel has memory for them.
    pub(super) fn has_room(&self, state: &State) -> Result<(), Errno> {
        let is_short = self.system.machine.is_short();
        if is_short || state.areas.count() + 3 > layout::AREAS_MOST { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Zeros at a fixed place for the heap or the stack; whatever is there already stays.
    pub(super) fn grow_area(&self, state: &mut State, range: Range<u64>, role: Role) -> Result<(), Errno> {
        if state.areas.overlapping(range.clone()).next().is_some() {
            return Err(Errno::ENOMEM);
        }
        self.has_room(state)?;
        let mut area = Area::anonymous(range.clone(), Protection::READ_WRITE);
        area.role = role;
        area.flags.locked = state.lock_future;
        check_growth(state, &range, &area, false)?;
        self.forget_stale(state, &range);
        state.areas.insert(area);
        Ok(())
    }
}

/// The range that munmap(2) is about.
pub(super) fn unmapped_range(at: u64, len: u64) -> Result<Range<u64>, Errno> {
    if !at.is_multiple_of(PAGE) || len == 0 {
        return Err(Errno::EINVAL);
    }
    let end = whole_pages(len).and_then(|len| at.checked_add(len)).filter(|end| *end <= layout::TOP);
    Ok(at..end.ok_or(Errno::EINVAL)?)
}

/// A range that a program names: aligned, above what is never mapped, below the end.
pub(super) fn fixed_range(at: u64, len: u64) -> Result<Range<u64>, Errno> {
    if at != page_of(at) {
        return Err(Errno::EINVAL);
    }
    if at < layout::LOWEST {
        return Err(Errno::EPERM);
    }
    let end = at.checked_add(len).filter(|end| *end <= layout::TOP).ok_or(Errno::ENOMEM)?;
    Ok(at..end)
}

/// The limits, for an area in a range; with `replaces` what is there now does not count.
pub(super) fn check_growth(
    state: &State,
    range: &Range<u64>,
    area: &Area,
    replaces: bool,
) -> Result<(), Errno> {
    let gone = |counts: &dyn Fn(&Area) -> bool| -> u64 {
        let within = |area: &Area| area.within(range).end - area.within(range).start;
        let areas = state.areas.overlapping(range.clone()).filter(|area| counts(area));
        if replaces { areas.map(within).sum() } else { 0 }
    };
    let len = range.end - range.start;
    if (state.areas.sums().total - gone(&|_| true)).saturating_add(len) > state.limits.address_space {
        return Err(Errno::ENOMEM);
    }
    let data = (state.areas.sums().data - gone(&Area::is_data)).saturating_add(len);
    if area.is_data() && data > state.limits.data {
        return Err(Errno::ENOMEM);
    }
    let locked = state.areas.sums().locked.saturating_add(len);
    if area.flags.locked && locked > state.limits.locked {
        return Err(Errno::EAGAIN);
    }
    Ok(())
}
