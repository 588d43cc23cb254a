//! The areas of an address space: what is mapped where, and why.

use super::PAGE;
use super::object::Object;
use super::policy::Policy;
use super::shm::Attachment;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::ops::{Bound, Range};
use keelson_hal::user::{Access, PageSize, Protection};

/// What is behind an area.
#[derive(Clone)]
pub enum Backing {
    /// Nothing: zeros.
    Anonymous,
    /// A file or shared memory.
    Object(Arc<Object>),
}

/// What an area is for, beside what is mapped there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Role {
    /// A mapping like any other.
    #[default]
    Mapping,
    /// The heap of brk(2).
    Heap,
    /// The stack of the first thread.
    Stack,
    /// The page of times.
    Vvar,
    /// The code that reads it.
    Vdso,
}

/// Which sizes of pages an area may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pages {
    /// As the node is set.
    #[default]
    Any,
    /// Large ones wherever possible: `MADV_HUGEPAGE`.
    Large,
    /// Small ones: `MADV_NOHUGEPAGE`.
    Small,
    /// Exactly these: `MAP_HUGETLB`.
    Only(PageSize),
}

/// What was asked for or advised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    /// Grows down when memory below it is touched.
    pub grows_down: bool,
    /// No memory is set aside.
    pub no_reserve: bool,
    /// mlock(2).
    pub locked: bool,
    /// A child does not get it.
    pub dont_fork: bool,
    /// A child gets zeros.
    pub wipe_on_fork: bool,
    /// Not in core dumps.
    pub dont_dump: bool,
    /// Too small for the launcher's memory policy (`-M`).
    pub below_threshold: bool,
}

/// A range of addresses of which the same holds.
#[derive(Clone)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What the program may do.
    pub protection: Protection,
    /// Writes are seen by others.
    pub shared: bool,
    /// What is behind it.
    pub backing: Backing,
    /// Where in the object `start` is.
    pub offset: u64,
    /// May be made writable: false when the file is not open for writing.
    pub may_write: bool,
    /// What it is for.
    pub role: Role,
    /// What was advised.
    pub flags: Flags,
    /// Sizes of its pages.
    pub pages: Pages,
    /// Its memory policy, when it has one of its own.
    pub policy: Option<Policy>,
    /// Its pages may be those of others too: they are copied before they are written.
    pub copy_on_write: bool,
    /// Path of the file.
    pub path: Option<Arc<[u8]>>,
    /// The attach of System V shared memory that it is a part of.
    pub attachment: Option<Arc<Attachment>>,
}

impl Area {
    /// Private anonymous memory.
    pub fn anonymous(range: Range<u64>, protection: Protection) -> Area {
        Area {
            start: range.start,
            end: range.end,
            protection,
            shared: false,
            backing: Backing::Anonymous,
            offset: 0,
            may_write: true,
            role: Role::Mapping,
            flags: Flags::default(),
            pages: Pages::Any,
            policy: None,
            copy_on_write: false,
            path: None,
            attachment: None,
        }
    }

    /// Bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Its addresses.
    pub fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// True when an access is allowed.
    pub fn allows(&self, access: Access) -> bool {
        match access {
            Access::Read => self.protection.read || self.protection.write || self.protection.execute,
            Access::Write => self.protection.write,
            Access::Execute => self.protection.execute,
        }
    }

    /// Where in the object an address of the area is.
    pub fn offset_of(&self, at: u64) -> u64 {
        self.offset.wrapping_add(at - self.start)
    }

    /// The object behind it.
    pub fn object(&self) -> Option<&Arc<Object>> {
        match &self.backing {
            Backing::Object(object) => Some(object),
            Backing::Anonymous => None,
        }
    }

    /// True for private memory with nothing behind it.
    pub fn is_private_anonymous(&self) -> bool {
        !self.shared && matches!(self.backing, Backing::Anonymous)
    }

    /// True for the private writable memory that `RLIMIT_DATA` counts.
    pub fn is_data(&self) -> bool {
        !self.shared && self.protection.write && self.role != Role::Stack
    }

    /// The part of the area that lies in a range.
    pub fn within(&self, range: &Range<u64>) -> Range<u64> {
        self.start.max(range.start)..self.end.min(range.end)
    }

    /// The part of the area that begins at `at`.
    pub(super) fn from(mut self, at: u64) -> Area {
        self.offset = self.offset_of(at);
        self.start = at;
        self
    }

    /// True when `next` goes on where the area ends and nothing else differs.
    fn continues(&self, next: &Area) -> bool {
        let same_object = match (&self.backing, &next.backing) {
            (Backing::Anonymous, Backing::Anonymous) => true,
            (Backing::Object(one), Backing::Object(other)) => {
                Arc::ptr_eq(one, other) && self.offset.checked_add(self.len()) == Some(next.offset)
            }
            _ => false,
        };
        self.end == next.start
            && same_object
            && self.protection == next.protection
            && self.shared == next.shared
            && self.may_write == next.may_write
            && self.role == next.role
            && self.flags == next.flags
            && self.attachment.is_none()
            && next.attachment.is_none()
            && self.pages == next.pages
            && self.policy == next.policy
            && self.copy_on_write == next.copy_on_write
            && self.path == next.path
    }
}

/// All areas of an address space, by address; they do not overlap.
#[derive(Default)]
pub(crate) struct Areas {
    by_start: BTreeMap<u64, Area>,
    sums: Sums,
}

/// Bytes of areas.
#[derive(Clone, Copy, Default)]
pub(super) struct Sums {
    /// Of all.
    pub total: u64,
    /// Of those that `RLIMIT_DATA` counts.
    pub data: u64,
    /// Of those that are locked.
    pub locked: u64,
}

impl Sums {
    fn add(&mut self, area: &Area) {
        self.total += area.len();
        self.data += if area.is_data() { area.len() } else { 0 };
        self.locked += if area.flags.locked { area.len() } else { 0 };
    }

    fn remove(&mut self, area: &Area) {
        self.total -= area.len();
        self.data -= if area.is_data() { area.len() } else { 0 };
        self.locked -= if area.flags.locked { area.len() } else { 0 };
    }
}

impl Areas {
    /// The area that contains `at`.
    pub fn find(&self, at: u64) -> Option<&Area> {
        self.by_start.range(..=at).next_back().map(|(_, area)| area).filter(|area| at < area.end)
    }

    /// The first area that ends above `at`.
    pub fn at_or_above(&self, at: u64) -> Option<&Area> {
        self.find(at).or_else(|| self.by_start.range(at..).next().map(|(_, area)| area))
    }

    /// The last area that ends at or below `at`.
    pub fn below(&self, at: u64) -> Option<&Area> {
        let (_, area) = self.by_start.range(..at).next_back()?;
        Some(area)
    }

    /// The areas that have a part in a range, from below.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = &Area> {
        let first = self.find(range.start).map_or(range.start, |area| area.start);
        self.by_start.range(first..range.end.max(first)).map(|(_, area)| area)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Area> {
        self.by_start.values()
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.by_start.len()
    }

    /// True when every address of a range is in an area.
    pub fn cover(&self, range: Range<u64>) -> bool {
        let mut at = range.start;
        for area in self.overlapping(range.clone()) {
            if area.start > at {
                return false;
            }
            at = area.end;
        }
        at >= range.end
    }

    /// Adds an area where there is none, and joins it to its neighbours.
    pub fn insert(&mut self, area: Area) {
        let (start, end) = (area.start, area.end);
        self.put(area);
        self.join(start..end);
    }

    /// Takes the areas of a range out, one after the other; those at its edges are cut.
    pub fn remove(&mut self, range: Range<u64>, mut gone: impl FnMut(Area)) {
        self.cut(range.start);
        self.cut(range.end);
        while let Some(start) = self.by_start.range(range.clone()).next().map(|(start, _)| *start) {
            self.take(start).into_iter().for_each(&mut gone);
        }
    }

    /// Changes the areas of a range, but not where they are; those at its edges are cut before.
    pub fn change(&mut self, range: Range<u64>, mut change: impl FnMut(&mut Area)) {
        self.cut(range.start);
        self.cut(range.end);
        for (_, area) in self.by_start.range_mut(range.clone()) {
            self.sums.remove(area);
            change(area);
            self.sums.add(area);
        }
        self.join(range);
    }

    /// The lowest free range of `len` bytes between `floor` and `ceiling` that is a multiple of `align`.
    pub fn room(&self, len: u64, align: u64, floor: u64, ceiling: u64) -> Option<u64> {
        let mut at = floor.checked_next_multiple_of(align)?;
        loop {
            let end = at.checked_add(len).filter(|end| *end <= ceiling)?;
            match self.overlapping(at..end).last() {
                None => return Some(at),
                Some(area) => at = area.end.checked_next_multiple_of(align)?,
            }
        }
    }

    /// Moves the start of an area down.
    pub fn extend_down(&mut self, start: u64, to: u64) {
        if let Some(mut area) = self.take(start) {
            area.start = to;
            self.put(area);
        }
    }

    /// Bytes of all of them.
    pub fn sums(&self) -> Sums {
        self.sums
    }

    fn put(&mut self, area: Area) {
        self.sums.add(&area);
        self.by_start.insert(area.start, area);
    }

    fn take(&mut self, start: u64) -> Option<Area> {
        let area = self.by_start.remove(&start)?;
        self.sums.remove(&area);
        Some(area)
    }

    /// Makes two areas of the one that reaches over `at`.
    fn cut(&mut self, at: u64) {
        debug_assert!(at.is_multiple_of(PAGE));
        let Some(start) = self.find(at).map(|area| area.start).filter(|start| *start < at) else {
            return;
        };
        if let Some(mut low) = self.take(start) {
            let high = low.clone().from(at);
            low.end = at;
            self.put(low);
            self.put(high);
        }
    }

    /// Joins what belongs together from the neighbour below a range to the one above.
    fn join(&mut self, range: Range<u64>) {
        let first = self.below(range.start).map_or(range.start, |area| area.start);
        let mut joined = first;
        let mut after = Bound::Included(first);
        while let Some((&start, area)) = self.by_start.range((after, Bound::Included(range.end))).next() {
            if start > first && self.by_start.get(&joined).is_some_and(|low| low.continues(area)) {
                let end = area.end;
                self.by_start.remove(&start);
                // Both count in the same sums, so those stay as they are.
                self.by_start.entry(joined).and_modify(|low| low.end = end);
            } else {
                joined = start;
            }
            after = Bound::Excluded(start);
        }
    }
}
