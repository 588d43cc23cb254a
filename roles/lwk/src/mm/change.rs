//! mprotect(2).

use super::area::Area;
use super::flags;
use super::{Mm, PAGE, layout, whole_pages};
use crate::Errno;
use core::ops::Range;
use keelson_hal::user::{Flush, Protection};

impl Mm {
    /// mprotect(2). With `down`, from the start of the area that grows down (`PROT_GROWSDOWN`).
    pub fn mprotect(&self, at: u64, len: u64, protection: Protection, down: bool) -> Result<(), Errno> {
        if !at.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let len = whole_pages(len).ok_or(Errno::ENOMEM)?;
        let end = at.checked_add(len).filter(|end| *end <= layout::TOP).ok_or(Errno::ENOMEM)?;
        if len == 0 {
            return Ok(());
        }
        let mut state = self.lock();
        self.has_room(&state)?;
        let mut start = at;
        if down {
            let area = state.areas.find(at).ok_or(Errno::ENOMEM)?;
            start = if area.flags.grows_down { area.start } else { return Err(Errno::EINVAL) };
        }
        // Up to the first gap or the first area that cannot have it, as Linux does.
        let mut failed = Ok(());
        let mut reached = start;
        for area in state.areas.overlapping(start..end) {
            if area.start > reached {
                break;
            }
            if protection.write && !area.may_write {
                failed = Err(Errno::EACCES);
                break;
            }
            reached = area.end.min(end);
        }
        if reached < end && failed.is_ok() {
            failed = Err(Errno::ENOMEM);
        }
        let range = start..reached;
        if range.is_empty() {
            return failed;
        }
        let more = self.data_added(state.areas.overlapping(range.clone()), &range, protection);
        if more > 0 && state.areas.sums().data.saturating_add(more) > state.limits.data {
            return Err(Errno::ENOMEM);
        }
        self.split_edges(&range)?;
        let mut reduced = false;
        for area in state.areas.overlapping(range.clone()) {
            reduced |= self.protect_pages(area, area.within(&range), protection);
        }
        state.areas.change(range, |area| area.protection = protection);
        if reduced {
            self.space.flush(Flush::Now);
        }
        failed
    }

    /// Bytes that `RLIMIT_DATA` will count in addition.
    fn data_added<'a>(
        &self,
        areas: impl Iterator<Item = &'a Area>,
        range: &Range<u64>,
        protection: Protection,
    ) -> u64 {
        let becomes = |area: &&Area| !area.is_data() && Area { protection, ..(*area).clone() }.is_data();
        areas.filter(becomes).map(|area| area.within(range)).map(|part| part.end - part.start).sum()
    }

    /// Changes the pages of a part of an area; true when something was taken away.
    pub(super) fn protect_pages(&self, area: &Area, range: Range<u64>, protection: Protection) -> bool {
        let wanted = flags::effective(protection);
        let mut reduced = false;
        let mut at = range.start;
        while let Some(page) = self.next_page(at, range.end) {
            let had = page.protection;
            // What others may have as well becomes writable at the first write.
            let write = wanted.write && (!area.copy_on_write || had.write);
            let new = Protection { write, ..wanted };
            if new != had {
                self.space.protect(page.at, new);
                let lost = |had: bool, has: bool| had && !has;
                reduced |=
                    lost(had.read, new.read) | lost(had.write, new.write) | lost(had.execute, new.execute);
            }
            at = page.at + page.size.bytes();
        }
        reduced
    }
}
