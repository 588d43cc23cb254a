//! mremap(2).

use super::area::{Area, Pages};
use super::flags::remap;
use super::map::fixed_range;
use super::{Mm, PAGE, State, layout, whole_pages};
use crate::Errno;
use core::ops::Range;
use keelson_hal::user::{Flush, MapFault};

impl Mm {
    /// mremap(2): where the mapping is afterwards.
    pub fn mremap(
        &self,
        old: u64,
        old_len: u64,
        new_len: u64,
        flags: u64,
        to: u64,
        node: usize,
    ) -> Result<u64, Errno> {
        let has = |flag| flags & flag != 0;
        let known = remap::MAYMOVE | remap::FIXED | remap::DONTUNMAP;
        let moves = has(remap::FIXED) || has(remap::DONTUNMAP);
        if flags & !known != 0 || !old.is_multiple_of(PAGE) || (moves && !has(remap::MAYMOVE)) {
            return Err(Errno::EINVAL);
        }
        let (old_len, new_len) = (whole_pages(old_len), whole_pages(new_len));
        let (old_len, new_len) = (old_len.ok_or(Errno::EINVAL)?, new_len.ok_or(Errno::EINVAL)?);
        if new_len == 0 || (has(remap::DONTUNMAP) && old_len != new_len) {
            return Err(Errno::EINVAL);
        }
        if has(remap::FIXED) {
            // A place that is none fails before the memory is looked at, as on Linux.
            fixed_range(to, new_len)
                .map_err(|error| if error == Errno::ENOMEM { Errno::EINVAL } else { error })?;
        }
        let mut state = self.lock();
        self.has_room(&state)?;
        let area = state.areas.find(old).cloned().ok_or(Errno::EFAULT)?;
        let (old_len, new_len) = match area.pages {
            // Lengths are rounded up to whole pages of the kind, as on Linux since 5.16; places have to be multiples.
            Pages::Only(size)
                if (old | if has(remap::FIXED) { to } else { 0 }).is_multiple_of(size.bytes()) =>
            {
                let whole = |len: u64| len.checked_next_multiple_of(size.bytes()).ok_or(Errno::EINVAL);
                (whole(old_len)?, whole(new_len)?)
            }
            Pages::Only(_) => return Err(Errno::EINVAL),
            _ => (old_len, new_len),
        };
        // What is cut off may be of other areas.
        let end = old.checked_add(old_len).filter(|end| *end <= layout::TOP).ok_or(Errno::EFAULT)?;
        if area.end < old + old_len.min(new_len) {
            return Err(Errno::EFAULT);
        }
        if has(remap::DONTUNMAP) && !area.is_private_anonymous() {
            return Err(Errno::EINVAL);
        }
        if area.flags.locked && new_len > old_len {
            let more = new_len - old_len;
            if state.areas.sums().locked.saturating_add(more) > state.limits.locked {
                return Err(Errno::EAGAIN);
            }
        }
        if !moves && old_len != 0 {
            if new_len <= old_len {
                let tail = old + new_len..end;
                if !tail.is_empty() {
                    self.unmap_range(&mut state, &tail, Flush::Now)?;
                }
                return Ok(old);
            }
            if end == area.end && self.grow_in_place(&mut state, &area, end..old + new_len, node)? {
                return Ok(old);
            }
        }
        if !has(remap::MAYMOVE) {
            return Err(Errno::ENOMEM);
        }
        if old_len == 0 && !area.shared {
            return Err(Errno::EINVAL);
        }
        let to = if has(remap::FIXED) {
            let range = fixed_range(to, new_len)?;
            if range.start < end && old < range.end {
                return Err(Errno::EINVAL);
            }
            Some(range)
        } else {
            None
        };
        self.relocate(&mut state, &area, old..end, new_len, to, has(remap::DONTUNMAP), node)
    }

    /// remap_file_pages(2): shows another part of the shared object that a range is mapped to.
    pub fn remap_file_pages(
        &self,
        at: u64,
        len: u64,
        protection: u64,
        page: u64,
        node: usize,
    ) -> Result<(), Errno> {
        let at = super::page_of(at);
        let len = super::page_of(len);
        let offset = page.checked_mul(PAGE).filter(|offset| offset.checked_add(len).is_some());
        let end = at.checked_add(len).filter(|end| *end > at);
        let (Some(offset), Some(end), 0) = (offset, end, protection) else { return Err(Errno::EINVAL) };
        let mut state = self.lock();
        self.has_room(&state)?;
        let area = state.areas.find(at).cloned().filter(|area| area.shared && area.end >= end);
        let mut area = area.ok_or(Errno::EINVAL)?;
        let again = area.attachment.take().map(|attachment| attachment.again());
        self.unmap_range(&mut state, &(at..end), Flush::Now)?;
        // A segment that was removed may have gone with this attach, the last one: there is nothing to be shown any more.
        area.attachment = again.map(|again| again.attach()).transpose()?;
        area.offset = offset;
        self.place(&mut state, area, at..end, node, false)
    }

    /// Lets an area go on behind its end, when there is room.
    fn grow_in_place(
        &self,
        state: &mut State,
        area: &Area,
        more: Range<u64>,
        node: usize,
    ) -> Result<bool, Errno> {
        if fixed_range(more.start, more.end - more.start).is_err()
            || state.areas.overlapping(more.clone()).next().is_some()
        {
            return Ok(false);
        }
        check_limits(state, area, more.end - more.start)?;
        self.extend(state, area, more, node);
        Ok(true)
    }

    /// Adds a range that continues an area.
    fn extend(&self, state: &mut State, area: &Area, more: Range<u64>, node: usize) {
        self.forget_stale(state, &more);
        let mut next = area.clone();
        next.offset = area.offset_of(more.start);
        (next.start, next.end) = (more.start, more.end);
        if let Some(object) = next.object()
            && area.shared
            && !object.is_file()
        {
            // Shared anonymous memory grows with its mapping.
            object.grow_for(area, next.offset.saturating_add(next.len()));
        }
        if next.is_private_anonymous() && self.fills_at_once(state, &next) {
            // What cannot be filled now is filled when it is touched.
            let _ = self.populate(state, &next, more, node);
        }
        state.areas.insert(next);
    }

    #[allow(clippy::too_many_arguments)]
    fn relocate(
        &self,
        state: &mut State,
        area: &Area,
        from: Range<u64>,
        new_len: u64,
        to: Option<Range<u64>>,
        keeps: bool,
        node: usize,
    ) -> Result<u64, Errno> {
        let old_len = from.end - from.start;
        let added = if keeps || old_len == 0 { new_len } else { new_len.saturating_sub(old_len) };
        check_limits(state, area, added)?;
        let moved_len = old_len.min(new_len);
        let start = match &to {
            Some(range) => {
                self.unmap_range(state, range, Flush::Now)?;
                range.start
            }
            None => self.choose(state, 0, new_len, area)?,
        };
        self.forget_stale(state, &(start..start + new_len));
        // Pages keep their size where that is possible.
        self.split_edges(&(from.start..from.start + moved_len))?;
        if let Err(error) = self.copy_tables(from.start..from.start + moved_len, start) {
            self.drop_pages(&(start..start + moved_len));
            self.space.flush(Flush::Now);
            return Err(error);
        }
        let mut moved = area.clone();
        moved.offset = area.offset_of(from.start);
        (moved.start, moved.end) = (start, start + if old_len == 0 { new_len } else { moved_len });
        if let Some(object) = moved.object() {
            object.mapped_by(&self.this);
        }
        if keeps {
            self.drop_pages(&from);
            self.space.flush(Flush::Now);
        } else if old_len > 0 {
            // Dirty flags stay behind with the old entries.
            self.unmap_range(state, &from, Flush::Now)?;
        }
        let end = moved.end;
        state.areas.insert(moved);
        if new_len > end - start
            && let Some(moved) = state.areas.find(start).cloned()
        {
            self.extend(state, &moved, end..start + new_len, node);
        }
        Ok(start)
    }

    /// Enters the pages of a range at another place as well.
    fn copy_tables(&self, from: Range<u64>, to: u64) -> Result<(), Errno> {
        let mut at = from.start;
        while let Some(page) = self.next_page(at, from.end) {
            let target = to + (page.at - from.start);
            if !target.is_multiple_of(page.size.bytes()) {
                self.space.split(page.at).map_err(|_| Errno::ENOMEM)?;
                continue;
            }
            let frame = self.space.share(page.at).ok_or(Errno::ENOMEM)?;
            match self.enter(target, frame, page.protection) {
                Ok(()) => {}
                Err((MapFault::OutOfMemory, _)) => return Err(Errno::ENOMEM),
                Err(_) => return Err(Errno::EFAULT),
            }
            at = page.at + page.size.bytes();
        }
        Ok(())
    }
}

fn check_limits(state: &State, area: &Area, more: u64) -> Result<(), Errno> {
    let total = state.areas.sums().total.saturating_add(more);
    let data = if area.is_data() { state.areas.sums().data.saturating_add(more) } else { 0 };
    if total > state.limits.address_space || data > state.limits.data {
        return Err(Errno::ENOMEM);
    }
    Ok(())
}
