//! What shared mappings of files changed, on its way back to the host; memory that goes when a file gets shorter.

use super::area::Area;
use super::node::NodeMemory;
use super::object::{Object, SIZE_MOST};
use super::source::PIECE;
use super::{Mm, PAGE, layout, whole_pages};
use crate::delegate::Delegate;
use crate::files::File;
use crate::timers::Timers;
use crate::{Errno, room};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;
use keelson_hal::user::Flush;

/// Most bytes of one write.
const WRITE_MOST: u64 = 512 << 10;
/// Files that are listed at once.
const FILES_AT_ONCE: usize = 256;

/// `MS_*` of msync(2).
mod ms {
    pub const ASYNC: u64 = 1;
    pub const INVALIDATE: u64 = 2;
    pub const SYNC: u64 = 4;
}

impl Mm {
    /// msync(2), first part: the files of a range, which [`Object::write_back`] then writes. ENOMEM with a gap.
    pub fn msync(&self, at: u64, len: u64, flags: u64) -> Result<impl Iterator<Item = Arc<Object>>, Errno> {
        let unknown = flags & !(ms::ASYNC | ms::INVALIDATE | ms::SYNC) != 0;
        let both = flags & ms::ASYNC != 0 && flags & ms::SYNC != 0;
        if unknown || both || !at.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let len = whole_pages(len).ok_or(Errno::ENOMEM)?;
        let end = at.checked_add(len).filter(|end| *end <= layout::TOP).ok_or(Errno::ENOMEM)?;
        let state = self.lock();
        if flags & ms::INVALIDATE != 0 && state.areas.overlapping(at..end).any(|area| area.flags.locked) {
            return Err(Errno::EBUSY);
        }
        if !state.areas.cover(at..end) {
            return Err(Errno::ENOMEM);
        }
        drop(state);
        Ok(self.files(at..end, written_file))
    }

    /// munmap(2), after which what was written through shared mappings is with the host: part by part where many files are mapped.
    pub async fn munmap_and_write_back(&self, at: u64, len: u64) -> Result<(), Errno> {
        let range = super::map::unmapped_range(at, len)?;
        let mut at = range.start;
        while at < range.end {
            let (files, next) = self.some_files(at..range.end, written_file);
            self.munmap(at, next - at)?;
            for file in files {
                // The memory is gone whatever comes of it: an error is told by msync(2) only.
                file.write_back_and_log().await;
            }
            at = next;
        }
        Ok(())
    }

    /// The files of a range: each comes once, or again where there are so many that they are not listed at once.
    fn files(
        &self,
        range: Range<u64>,
        which: fn(&Area) -> Option<&Arc<Object>>,
    ) -> impl Iterator<Item = Arc<Object>> {
        let (mut listed, mut at) = (Vec::new().into_iter(), range.start);
        core::iter::from_fn(move || {
            if listed.len() == 0 && at < range.end {
                let (files, next) = self.some_files(at..range.end, which);
                (listed, at) = (files.into_iter(), next);
            }
            listed.next()
        })
    }

    /// The first files of a range, and where the others begin.
    fn some_files(
        &self,
        range: Range<u64>,
        which: fn(&Area) -> Option<&Arc<Object>>,
    ) -> (Vec<Arc<Object>>, u64) {
        let mut files: Vec<Arc<Object>> = Vec::new();
        for area in self.lock().areas.overlapping(range.clone()) {
            let new = which(area).filter(|object| !files.iter().any(|known| Arc::ptr_eq(known, object)));
            match new {
                Some(_) if files.len() == FILES_AT_ONCE => return (files, area.start),
                Some(object) => files.push(object.clone()),
                None => {}
            }
        }
        (files, range.end)
    }

    /// Writes back what shared mappings changed: before the address space goes at exit or exec.
    pub async fn close(&self) {
        for object in self.files(0..layout::TOP, written_file) {
            object.write_back_and_log().await;
        }
        self.system.memory.rest();
    }

    /// After fork(2): the files that are mapped can be reached through the child's proxy as well, should the parent's end.
    /// `open` are those that the child has descriptors for.
    pub fn follow(
        &self,
        parent: &Arc<dyn Delegate>,
        child: &Arc<dyn Delegate>,
        mut open: Vec<Arc<dyn File>>,
    ) {
        for object in self.files(0..layout::TOP, host_file) {
            let ways: Vec<_> = {
                let state = object.lock();
                // One that can be written through can be read through as well.
                state.writer.iter().chain(&state.reader).chain(&state.spare).cloned().collect()
            };
            if let Some(source) = ways.iter().find_map(|way| way.forked(parent, child, &mut open)) {
                object.add_way(source);
            }
        }
    }

    /// Remembers what a part of an area changed in a file.
    pub(super) fn collect_dirty(&self, area: &Area, range: &Range<u64>) {
        let Some(object) = written_file(area) else { return };
        let mut at = range.start;
        while let Some(page) = self.next_page(at, range.end) {
            if self.space.take_dirty(page.at) {
                object.lock().dirty.insert(area.offset_of(page.at));
            }
            at = page.at + page.size.bytes();
        }
    }

    pub(super) fn collect_all_dirty(&self) {
        for area in self.lock().areas.iter() {
            self.collect_dirty(area, &(area.start..area.end));
        }
    }

    /// Remembers what this address space changed in one file; what it writes from now on counts again.
    fn collect_dirty_of(&self, object: &Arc<Object>) {
        let state = self.lock();
        let areas =
            || state.areas.iter().filter(|area| area.object().is_some_and(|its| Arc::ptr_eq(its, object)));
        for area in areas() {
            self.collect_dirty(area, &(area.start..area.end));
        }
        if areas().next().is_some() {
            self.space.flush(Flush::Now);
        }
    }

    /// An object became shorter: its pages beyond `size` are no longer seen.
    pub(super) fn forget(&self, object: &Object, size: u64) {
        self.forget_pages(object, whole_pages(size).unwrap_or(u64::MAX)..u64::MAX, true);
    }

    /// An object has no memory any more in a range; private copies stay.
    pub(super) fn forget_range(&self, object: &Object, range: Range<u64>) {
        self.forget_pages(object, range, false);
    }

    fn forget_pages(&self, object: &Object, gone: Range<u64>, copies_too: bool) {
        let state = self.lock();
        let mut changed = false;
        for area in state.areas.iter() {
            if area.object().is_none_or(|its| its.id() != object.id()) {
                continue;
            }
            // Where the range lies in the area.
            let place =
                |offset: u64| area.start.saturating_add(offset.saturating_sub(area.offset)).min(area.end);
            let range = place(gone.start)..place(gone.end);
            // Without memory for a table the page stays as it is, which the program cannot tell from being early.
            if range.is_empty() || self.split_edges(&range).is_err() {
                continue;
            }
            let mut at = range.start;
            while let Some(page) = self.next_page(at, range.end) {
                if copies_too || area.shared || !page.protection.write {
                    self.leave(page.at);
                    changed = true;
                }
                at = page.at + page.size.bytes();
            }
        }
        if changed {
            self.space.flush(Flush::Now);
        }
    }
}

fn host_file(area: &Area) -> Option<&Arc<Object>> {
    area.object().filter(|object| object.is_file())
}

fn written_file(area: &Area) -> Option<&Arc<Object>> {
    host_file(area).filter(|_| area.shared && area.may_write)
}

impl Object {
    /// Writes back whatever any process changed in the file.
    pub async fn write_back(self: &Arc<Self>) -> Result<(), Errno> {
        for mm in self.mms() {
            mm.collect_dirty_of(self);
        }
        loop {
            let Some((offset, bytes, writer)) = self.take_dirty_run()? else { return Ok(()) };
            let len = bytes.len() as u64;
            if let Err(error) = writer.write_back(offset, bytes).await {
                let mut state = self.lock();
                state.dirty.extend((offset..offset + len).step_by(PAGE as usize));
                return Err(error);
            }
        }
    }

    async fn write_back_and_log(self: &Arc<Self>) {
        if let Err(error) = self.write_back().await {
            log::warn!("lwk: writing back a mapped file: {error}");
        }
    }

    /// The first changed pages that follow each other, as bytes; they count as unchanged from now on.
    #[allow(clippy::type_complexity)]
    fn take_dirty_run(&self) -> Result<Option<(u64, Vec<u8>, Arc<dyn super::PageSource>)>, Errno> {
        let mut state = self.lock();
        let size = state.size;
        state.dirty.retain(|offset| *offset < size);
        let Some(start) = state.dirty.first().copied() else { return Ok(None) };
        let writer = state.way_back().ok_or(Errno::EBADF)?;
        let mut end = start;
        while end - start < WRITE_MOST && state.dirty.contains(&end) {
            end += PAGE;
        }
        let room = |end: u64| room::zeros((end.min(size) - start) as usize);
        let mut bytes = match room(end) {
            Ok(bytes) => bytes,
            // Page by page it takes longer.
            Err(_) => {
                end = start + PAGE;
                room(end)?
            }
        };
        for offset in (start..end).step_by(PAGE as usize) {
            state.dirty.remove(&offset);
        }
        for (index, part) in bytes.chunks_mut(PAGE as usize).enumerate() {
            if let Some(frame) = state.pages.get(&(start + index as u64 * PAGE)) {
                frame.read(0, part);
            }
        }
        Ok(Some((start, bytes, writer)))
    }
}

impl Object {
    /// Some address space may show it.
    pub fn is_mapped(&self) -> bool {
        self.lock().mms.iter().any(|mm| mm.strong_count() > 0)
    }

    /// A mapping may have changed it since it was written back.
    pub fn may_be_dirty(&self) -> bool {
        let state = self.lock();
        state.writer.is_some() || !state.dirty.is_empty()
    }

    /// A system call wrote these bytes to the file: the pages that are here show it, and those that are on their way will.
    pub async fn written(&self, offset: u64, bytes: &[u8]) {
        let end = offset.saturating_add(bytes.len() as u64);
        self.settled(offset, end).await;
        let mut state = self.lock();
        state.size = state.size.max(end).min(SIZE_MOST);
        let mut at = offset;
        while at < end {
            let part = (PAGE - at % PAGE).min(end - at);
            if let Some((start, frame)) = state.containing(at) {
                let from = (at - offset) as usize;
                frame.write(at - start, &bytes[from..from + part as usize]);
            }
            at += part;
        }
    }

    /// The file has `size` bytes, and the host changed any of them: the pages that are here are fetched again.
    pub async fn reload(&self, size: u64) -> Result<(), Errno> {
        self.set_size(size);
        self.settled(0, u64::MAX).await;
        let mut next = 0;
        loop {
            let (run, source) = {
                let mut state = self.lock();
                let Some(start) = state.pages.range(next..).next().map(|(start, _)| *start) else {
                    return Ok(());
                };
                let mut end = start;
                while end - start < PIECE && state.pages.contains_key(&end) {
                    end += PAGE;
                }
                (start..end, state.way().ok_or(Errno::EIO)?)
            };
            let bytes = source.fetch(run.start, (run.end - run.start) as u32).await?;
            let state = self.lock();
            for (at, part) in run.clone().step_by(PAGE as usize).zip(bytes.chunks(PAGE as usize)) {
                if let Some((start, frame)) = state.containing(at) {
                    frame.write(at - start, part);
                }
            }
            next = run.end;
        }
    }
}

impl NodeMemory {
    /// Writes back every `interval`, for ever: a task of the service core.
    pub async fn serve(&self, timers: Timers, interval: Duration) {
        loop {
            timers.at(timers.now() + interval).await;
            self.write_back_all().await;
        }
    }

    /// Writes back all files, and forgets those that nobody maps any more.
    pub async fn write_back_all(&self) {
        let mut from = 0;
        let next = |from| self.written.lock().range(from..).next().map(|(_, object)| object.clone());
        while let Some(object) = next(from) {
            from = object.id() + 1;
            let written = object.write_back().await;
            if let Err(error) = &written {
                log::warn!("lwk: writing back a mapped file: {error}");
            }
            // A host that does not take it now never will once nobody maps the file: the loss was told. Memory comes again.
            if !object.is_mapped() && written != Err(Errno::ENOMEM) {
                object.lock().dirty.clear();
                self.written.lock().remove(&object.id());
            }
        }
        self.cache.lock().shrink_to_cap();
        self.rest();
    }

    /// Lets go of the open files behind pages that nobody maps.
    pub fn rest(&self) {
        loop {
            let open = self.cache.lock().rest();
            if open.is_empty() {
                return;
            }
            // Closing them is not done under the lock.
            drop(open);
        }
    }

    /// The way to a host file that is mapped already through the same open file.
    pub fn known(
        &self,
        id: &super::FileId,
        file: &Arc<dyn crate::files::File>,
    ) -> Option<Arc<dyn super::PageSource>> {
        let object = self.cache.lock().find(id)?;
        let reader = object.lock().reader.clone()?;
        reader.file().is_some_and(|its| Arc::ptr_eq(its, file)).then_some(reader)
    }

    /// The object of a file that is mapped or was: for reads that are to show what mappings changed, and for truncation.
    pub fn find(&self, id: &super::FileId) -> Option<Arc<Object>> {
        self.cache.lock().find(id)
    }
}
