//! Memory objects: what several mappings can show, be it a file's pages or shared memory.
//!
//! An object has the frames; page tables hold further references to them. Pages of shared memory appear when they are touched
//! first and may be large; pages of files are small and are fetched from the host.

use super::area::Area;
use super::fetch::Fetching;
use super::node::NodeMemory;
use super::policy::Policy;
use super::shm_limits::Room;
use super::source::{FileId, PageSource};
use super::{Mm, PAGE, next_id, page_of, whole_pages};
use crate::Errno;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use keelson_hal::user::{Frame, PageSize, UserMachine};
use spin::{Mutex, MutexGuard};

/// Most bytes of an object: offsets and ends are computed without overflow (`loff_t`).
pub(super) const SIZE_MOST: u64 = 1 << 62;

/// A memory object.
pub struct Object {
    id: u64,
    machine: Arc<dyn UserMachine>,
    /// A file of the host, not memory of this node.
    is_file: bool,
    /// The largest pages that its memory may have.
    largest: PageSize,
    state: Mutex<ObjectState>,
}

pub(super) struct ObjectState {
    pub size: u64,
    /// Policy of its pages (mbind(2) on shared memory).
    pub policy: Option<Policy>,
    /// By offset in bytes.
    pub pages: BTreeMap<u64, Frame>,
    /// Offsets of pages that must be written back.
    pub dirty: BTreeSet<u64>,
    pub fetching: Fetching,
    /// The file as it was opened for reading, and for writing.
    pub reader: Option<Arc<dyn PageSource>>,
    /// Other ways to the file, for the time when the process whose way `reader` is has ended.
    pub spare: Vec<Arc<dyn PageSource>>,
    pub writer: Option<Arc<dyn PageSource>>,
    /// Address spaces that map it.
    pub mms: Vec<Weak<Mm>>,
    /// How much it may have, where that is limited.
    room: Option<Room>,
}

/// A page of an object: a reference to its frame, and where in the object the frame begins.
pub struct Page {
    /// The frame.
    pub frame: Frame,
    /// Offset of its first byte.
    pub start: u64,
}

/// Why there is no page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPage {
    /// Beyond the end.
    Beyond,
    /// No memory.
    OutOfMemory,
    /// Files may have no more of it.
    Full,
    /// It must be fetched.
    Missing,
}

impl Object {
    /// Shared memory of `size` bytes, with pages up to `largest`.
    pub fn memory(machine: Arc<dyn UserMachine>, size: u64, largest: PageSize) -> Arc<Object> {
        Object::new(machine, size, largest, None, None)
    }

    /// The memory of a file in /dev/shm.
    pub fn lasting(machine: Arc<dyn UserMachine>, memory: &NodeMemory) -> Arc<Object> {
        let room = memory.lasting.room(&*machine);
        Object::new(machine, 0, PageSize::Large, None, Some(room))
    }

    /// The pages of a file.
    pub(super) fn file(machine: Arc<dyn UserMachine>, source: Arc<dyn PageSource>) -> Arc<Object> {
        Object::new(machine, source.version().size, PageSize::Small, Some(source), None)
    }

    fn new(
        machine: Arc<dyn UserMachine>,
        size: u64,
        largest: PageSize,
        reader: Option<Arc<dyn PageSource>>,
        room: Option<Room>,
    ) -> Arc<Object> {
        let state = ObjectState {
            size: size.min(SIZE_MOST),
            policy: None,
            pages: BTreeMap::new(),
            dirty: BTreeSet::new(),
            fetching: Fetching::default(),
            reader: reader.clone(),
            spare: Vec::new(),
            writer: None,
            mms: Vec::new(),
            room,
        };
        let is_file = reader.is_some();
        Arc::new(Object { id: next_id(), machine, is_file, largest, state: Mutex::new(state) })
    }

    /// A number that no other object or address space of the node has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// True for a file of the host.
    pub fn is_file(&self) -> bool {
        self.is_file
    }

    /// Which file of the host it is, as long as there is a way to it.
    pub fn file_id(&self) -> Option<FileId> {
        let state = self.state.lock();
        state.reader.as_ref().or(state.writer.as_ref()).map(|source| source.id())
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.state.lock().size
    }

    /// Bytes of memory that it has.
    pub fn resident(&self) -> u64 {
        self.state.lock().pages.values().map(|frame| frame.size().bytes()).sum()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ObjectState> {
        self.state.lock()
    }

    pub(super) fn machine(&self) -> &Arc<dyn UserMachine> {
        &self.machine
    }

    /// The page at `offset`, not larger than `most`. Shared memory gets one when it has none, on a node that the policy (the
    /// object's own goes first) says for a thread on node `local`.
    pub fn page(&self, offset: u64, most: PageSize, policy: &Policy, local: usize) -> Result<Page, NoPage> {
        let mut state = self.state.lock();
        if offset >= whole_pages(state.size).unwrap_or(u64::MAX) {
            return Err(NoPage::Beyond);
        }
        if let Some(page) = state.find(offset, most, &*self.machine)? {
            return Ok(page);
        }
        if self.is_file {
            return Err(NoPage::Missing);
        }
        let policy = state.policy.unwrap_or(*policy);
        let start = self.fill(&mut state, offset, most, &policy, local)?;
        let frame = state.pages.get(&start).cloned().ok_or(NoPage::OutOfMemory)?;
        Ok(Page { frame, start })
    }

    /// Adds a page of zeros around `offset`, the largest that fits and that there is room for: its first offset.
    fn fill(
        &self,
        state: &mut ObjectState,
        offset: u64,
        most: PageSize,
        policy: &Policy,
        local: usize,
    ) -> Result<u64, NoPage> {
        let end = whole_pages(state.size).ok_or(NoPage::OutOfMemory)?;
        let start = |size: PageSize| offset - offset % size.bytes();
        let fits = |size: &PageSize| {
            let (start, after) = (start(*size), start(*size) + size.bytes());
            after <= end && self.machine.has_pages(*size) && state.is_empty(start, after)
        };
        let index = |size: PageSize| start(size) / size.bytes();
        let mut largest = most.min(self.largest);
        loop {
            let sizes = core::iter::successors(Some(largest), |size| size.smaller()).filter(fits);
            let frame = super::populate::allocate_largest(&*self.machine, sizes, policy, index, local);
            let frame = frame.ok_or(NoPage::OutOfMemory)?;
            let (size, start) = (frame.size(), start(frame.size()));
            if state.room.as_ref().is_none_or(|room| room.take(size.bytes())) {
                state.pages.insert(start, frame);
                return Ok(start);
            }
            largest = size.smaller().ok_or(NoPage::Full)?;
        }
    }

    /// Copies bytes out; what was never written is zeros. Returns how many there are before the end.
    /// For a file of the host only what is here is read: the rest is EAGAIN.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let state = self.state.lock();
        let len = (state.size.saturating_sub(offset)).min(into.len() as u64) as usize;
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let rest = &mut into[done..len];
            match state.containing(at) {
                Some((start, frame)) => {
                    let part = rest.len().min((start + frame.size().bytes() - at) as usize);
                    frame.read(at - start, &mut rest[..part]);
                    done += part;
                }
                None if self.is_file => return Err(Errno::EAGAIN),
                None => {
                    let part = rest.len().min((page_of(at) + PAGE - at) as usize);
                    rest[..part].fill(0);
                    done += part;
                }
            }
        }
        Ok(len)
    }

    /// Copies bytes in; shared memory only. Does not change the size: EFBIG beyond it.
    pub fn write(&self, offset: u64, from: &[u8], local: usize) -> Result<(), Errno> {
        let end = offset.checked_add(from.len() as u64).ok_or(Errno::EFBIG)?;
        if self.is_file || end > self.size() {
            return Err(Errno::EFBIG);
        }
        let mut done = 0;
        while done < from.len() {
            let at = offset + done as u64;
            let page = self.page(at, PageSize::Huge, &Policy::default(), local).map_err(|_| Errno::ENOSPC)?;
            let part = (from.len() - done).min((page.start + page.frame.size().bytes() - at) as usize);
            page.frame.write(at - page.start, &from[done..done + part]);
            done += part;
        }
        Ok(())
    }

    /// Changes the size (ftruncate(2)). Memory beyond the new end is gone, also from the address spaces that map it.
    pub fn set_size(&self, size: u64) {
        let gone = {
            let mut state = self.state.lock();
            let shrinks = size < state.size;
            state.size = size.min(SIZE_MOST);
            shrinks && state.drop_from(size, &*self.machine)
        };
        if gone {
            for mm in self.mms() {
                mm.forget(self, size);
            }
        }
    }

    /// A further way to the file.
    pub(super) fn add_way(&self, source: Arc<dyn PageSource>) {
        const SPARE_MOST: usize = 16;
        let mut state = self.state.lock();
        state.spare.retain(|source| source.is_alive());
        if state.spare.len() < SPARE_MOST {
            state.spare.push(source);
        }
    }

    /// Gives up the open files: nobody maps it any more.
    pub(super) fn rest(&self) -> Vec<Arc<dyn PageSource>> {
        let mut state = self.state.lock();
        let mut open = core::mem::take(&mut state.spare);
        open.extend(state.reader.take());
        open.extend(state.writer.take());
        open
    }

    /// Shared anonymous memory grows with the mapping that made it; files and segments have their own size.
    pub(super) fn grow_for(&self, area: &super::Area, end: u64) {
        let anonymous = area.path.is_none() && area.attachment.is_none();
        let mut state = self.state.lock();
        if anonymous && end > state.size {
            state.size = end.min(SIZE_MOST);
        }
    }

    /// Removes the pages that lie wholly in a range, and zeros the rest of it (`MADV_REMOVE`, fallocate(2)); shared memory only.
    pub fn punch(&self, start: u64, end: u64) {
        if self.is_file {
            return;
        }
        {
            let mut state = self.state.lock();
            let end = end.min(whole_pages(state.size).unwrap_or(u64::MAX));
            state.clear(start, end, &*self.machine);
        }
        for mm in self.mms() {
            mm.forget_range(self, start..end);
        }
    }

    /// Frames in this object are told to whom: an address space that maps it.
    pub(super) fn mapped_by(&self, mm: &Weak<Mm>) {
        let mut state = self.state.lock();
        state.mms.retain(|other| other.strong_count() > 0);
        if !state.mms.iter().any(|other| other.ptr_eq(mm)) {
            state.mms.push(mm.clone());
        }
    }

    /// True when somebody shares it and may write there, now or after mprotect(2).
    pub fn is_mapped_to_be_written(self: &Arc<Self>) -> bool {
        let is_this = |area: &Area| area.object().is_some_and(|object| Arc::ptr_eq(object, self));
        self.mms().iter().any(|mm| {
            let state = mm.lock();
            state.areas.iter().any(|area| area.shared && area.may_write && is_this(area))
        })
    }

    /// The address spaces that may map it.
    pub(super) fn mms(&self) -> Vec<Arc<Mm>> {
        self.state.lock().mms.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for ObjectState {
    fn drop(&mut self) {
        if let Some(room) = &self.room {
            room.give_back(self.pages.values().map(|frame| frame.size().bytes()).sum());
        }
    }
}

impl ObjectState {
    /// It is written through mappings, and somebody still has it open at its host.
    pub fn is_written(&self) -> bool {
        let mut ways = self.reader.iter().chain(&self.spare).chain(&self.writer);
        self.writer.is_some() && ways.any(|way| way.is_alive())
    }

    /// A way to the file that works.
    pub fn way(&mut self) -> Option<Arc<dyn PageSource>> {
        if self.reader.as_ref().is_none_or(|reader| !reader.is_alive()) {
            self.spare.retain(|source| source.is_alive());
            self.reader = self.spare.pop().or(self.reader.take());
        }
        self.reader.clone()
    }

    /// The way back.
    pub fn way_back(&mut self) -> Option<Arc<dyn PageSource>> {
        if self.writer.as_ref().is_some_and(|writer| !writer.is_alive()) {
            // A child's descriptors allow what its parent's did.
            self.spare.retain(|source| source.is_alive());
            self.writer = self.spare.last().cloned().or(self.writer.take());
        }
        self.writer.clone()
    }

    /// The page that contains `offset`.
    pub fn containing(&self, offset: u64) -> Option<(u64, &Frame)> {
        let (start, frame) = self.pages.range(..=offset).next_back()?;
        (offset < start + frame.size().bytes()).then_some((*start, frame))
    }

    /// The first page of a range: it may begin before the range.
    pub fn next(&self, from: u64, end: u64) -> Option<(u64, &Frame)> {
        if from >= end {
            return None;
        }
        let above = || self.pages.range(from..end).next().map(|(start, frame)| (*start, frame));
        self.containing(from).or_else(above)
    }

    /// A reference to the page that contains `offset`, after it was split to be not larger than `most`. That takes memory of the
    /// kernel for what programs have already.
    fn find(
        &mut self,
        offset: u64,
        most: PageSize,
        machine: &dyn UserMachine,
    ) -> Result<Option<Page>, NoPage> {
        while let Some((start, frame)) = self.containing(offset) {
            if frame.size() <= most {
                return Ok(Some(Page { frame: frame.clone(), start }));
            }
            if machine.is_short() {
                return Err(NoPage::OutOfMemory);
            }
            self.split(start);
        }
        Ok(None)
    }

    fn split(&mut self, start: u64) {
        let Some(frame) = self.pages.remove(&start) else { return };
        let mut at = start;
        for part in frame.split() {
            let bytes = part.size().bytes();
            self.pages.insert(at, part);
            at += bytes;
        }
    }

    fn is_empty(&self, start: u64, end: u64) -> bool {
        self.containing(start).is_none() && self.pages.range(start..end).next().is_none()
    }

    /// Drops all pages beyond an end, and zeros what is left of the last one; false when there was nothing.
    fn drop_from(&mut self, end: u64, machine: &dyn UserMachine) -> bool {
        let limit = self.pages.last_key_value().map_or(end, |(start, frame)| start + frame.size().bytes());
        self.dirty.retain(|offset| *offset < end);
        self.clear(end, limit.max(end), machine)
    }

    /// Drops the pages that lie wholly in a range, and zeros the rest of it; false when there was nothing. Address spaces that map
    /// them have references of their own.
    fn clear(&mut self, start: u64, end: u64, machine: &dyn UserMachine) -> bool {
        let mut at = start;
        let mut found = false;
        while let Some((first, frame)) = self.next(at, end) {
            let (size, last) = (frame.size(), first + frame.size().bytes());
            if first >= start && last <= end {
                self.pages.remove(&first);
                self.room.iter().for_each(|room| room.give_back(size.bytes()));
            } else if size != PageSize::Small && !machine.is_short() {
                self.split(first);
                continue;
            } else {
                // Also of a large page that there is no memory to split.
                let from = first.max(start);
                frame.zero(from - first, last.min(end) - from);
            }
            found = true;
            at = last;
        }
        found
    }
}
