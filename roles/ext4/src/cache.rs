//! Pages between the engine and the device: read-ahead, and writes coalesced up to the next flush.
//!
//! The engine orders its writes by flushes alone, so between two flushes they may reach the device in any
//! order and in larger pieces. A write only changes pages; runs of adjacent dirty pages go out as large
//! requests, many in flight, in the background once enough are dirty and at the latest before the flush.

mod engine;
mod transfer;

pub(crate) use engine::CacheIo;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use keelson_hal::{BlockDevice, BlockError, BlockGeometry, Park, SECTOR_SIZE, Ticket};

/// Bytes of a page; larger than or equal to every supported block.
pub(crate) const PAGE: usize = 4096;
/// Dirty pages that start background writing.
const WRITE_BEHIND: usize = 256;
/// Most pages read ahead of a sequential reader.
const READ_AHEAD: usize = 128;
/// Sequential readers that are told apart.
const STREAMS: usize = 8;
/// Least pages of any cache, whatever the option says: the engine's working set.
const LEAST_PAGES: usize = 512;

/// What went through the cache.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct CacheCounters {
    /// Pages found.
    pub hits: u64,
    /// Pages that had to be read.
    pub misses: u64,
    /// Device requests and bytes for reading.
    pub reads: u64,
    /// Bytes read from the device.
    pub read_bytes: u64,
    /// Device requests for writing.
    pub writes: u64,
    /// Bytes written to the device.
    pub write_bytes: u64,
    /// Flushes of the device.
    pub flushes: u64,
    /// Requests that the device failed.
    pub errors: u64,
    /// Bytes of page memory now in use.
    pub resident_bytes: u64,
}

struct Page {
    data: Box<[u8]>,
    /// Looked at since the last time eviction came by.
    used: bool,
    /// Write requests for this page that the device has not finished.
    writing: u32,
}

/// A write that the device works on.
struct Flight {
    ticket: Ticket,
    first: u64,
    pages: u64,
}

/// The page cache of one device.
pub(crate) struct PageCache {
    device: Rc<dyn BlockDevice>,
    park: Rc<dyn Park>,
    geometry: BlockGeometry,
    pages: BTreeMap<u64, Page>,
    /// Page numbers in the order eviction looks at them.
    order: VecDeque<u64>,
    dirty: BTreeSet<u64>,
    limit: usize,
    flights: VecDeque<Flight>,
    /// Buffers of finished requests, to be used again.
    buffers: Vec<Vec<u8>>,
    /// Where sequential readers are expected next, and how far to read ahead of them.
    streams: [(u64, usize); STREAMS],
    next_stream: usize,
    /// Byte ranges of inode bitmaps behind their last inode: always ones, see [`PageCache::pad_bitmap`].
    padding: BTreeMap<u64, u64>,
    /// The first background write that failed and was not reported yet.
    failed: Option<BlockError>,
    counters: CacheCounters,
    /// Bytes the engine wrote, whether or not they went out yet.
    accepted_bytes: u64,
}

impl PageCache {
    /// A cache of at most `limit_bytes` (at least 2 MiB) that takes memory as it needs it.
    pub fn new(device: Rc<dyn BlockDevice>, park: Rc<dyn Park>, limit_bytes: usize) -> PageCache {
        let geometry = device.geometry();
        PageCache {
            device,
            park,
            geometry,
            pages: BTreeMap::new(),
            order: VecDeque::new(),
            dirty: BTreeSet::new(),
            limit: (limit_bytes / PAGE).max(LEAST_PAGES),
            flights: VecDeque::new(),
            buffers: Vec::new(),
            streams: [(0, 0); STREAMS],
            next_stream: 0,
            padding: BTreeMap::new(),
            failed: None,
            counters: CacheCounters::default(),
            accepted_bytes: 0,
        }
    }

    /// Size of the device in bytes.
    pub fn device_bytes(&self) -> u64 {
        self.geometry.sectors.saturating_mul(SECTOR_SIZE as u64)
    }

    /// True when the device refuses writes.
    pub fn is_read_only(&self) -> bool {
        self.geometry.read_only
    }

    pub fn counters(&self) -> CacheCounters {
        CacheCounters { resident_bytes: (self.pages.len() * PAGE) as u64, ..self.counters }
    }

    /// Bytes the engine has written so far.
    pub fn accepted_bytes(&self) -> u64 {
        self.accepted_bytes
    }

    /// Every write to an inode bitmap at `position` is given ones from `padding_start` to the end of the
    /// block (byte positions on the device). The engine leaves zeros there when it is the first to use a
    /// group whose bitmap mke2fs never wrote, and e2fsck wants ones. The checksum does not cover them.
    pub fn pad_bitmap(&mut self, padding_start: u64, padding_end: u64) {
        self.padding.insert(padding_start, padding_end);
    }

    /// Fills `output` from byte `position`. Errors: beyond the device, or what the device reports.
    pub fn read(&mut self, position: u64, output: &mut [u8]) -> Result<(), BlockError> {
        self.check_range(position, output.len())?;
        let mut done = 0;
        while done < output.len() {
            let (page, within, length) = piece(position + done as u64, output.len() - done);
            if !self.pages.contains_key(&page) {
                let last = (position + output.len() as u64 - 1) / PAGE as u64;
                self.fetch(page, last)?;
            } else {
                self.counters.hits += 1;
            }
            let cached = self.pages.get_mut(&page).ok_or(BlockError::Io)?;
            cached.used = true;
            let source = cached.data.get(within..within + length).ok_or(BlockError::OutOfRange)?;
            output[done..done + length].copy_from_slice(source);
            done += length;
        }
        Ok(())
    }

    /// The `length` bytes from byte `position` on, where they lie. They must not cross a page.
    pub fn view(&mut self, position: u64, length: usize) -> Result<&[u8], BlockError> {
        self.check_range(position, length)?;
        let (page, within, _) = piece(position, length);
        if self.pages.contains_key(&page) {
            self.counters.hits += 1;
        } else {
            self.fetch(page, page)?;
        }
        let cached = self.pages.get_mut(&page).ok_or(BlockError::Io)?;
        cached.used = true;
        cached.data.get(within..within + length).ok_or(BlockError::OutOfRange)
    }

    /// Takes `input` for byte `position`. It is on the device after the next [`PageCache::flush`].
    pub fn write(&mut self, position: u64, input: &[u8]) -> Result<(), BlockError> {
        self.check_range(position, input.len())?;
        if self.geometry.read_only {
            return Err(BlockError::ReadOnly);
        }
        let mut done = 0;
        while done < input.len() {
            let (page, within, length) = piece(position + done as u64, input.len() - done);
            if !self.pages.contains_key(&page) {
                if length == self.page_bytes(page) {
                    self.insert(page, None)?;
                } else {
                    self.fetch(page, page)?;
                }
            }
            let cached = self.pages.get_mut(&page).ok_or(BlockError::Io)?;
            cached.used = true;
            let target = cached.data.get_mut(within..within + length).ok_or(BlockError::OutOfRange)?;
            target.copy_from_slice(&input[done..done + length]);
            self.dirty.insert(page);
            done += length;
        }
        self.apply_padding(position, input.len() as u64);
        self.accepted_bytes += input.len() as u64;
        if self.dirty.len() >= WRITE_BEHIND {
            self.start_writing()?;
        }
        Ok(())
    }

    fn apply_padding(&mut self, position: u64, length: u64) {
        let end = position + length;
        for (&start, &stop) in self.padding.range(position..end) {
            let page = start / PAGE as u64;
            let within = (start % PAGE as u64) as usize;
            let bytes = (stop.min(end) - start) as usize;
            if let Some(cached) = self.pages.get_mut(&page)
                && let Some(padding) = cached.data.get_mut(within..within + bytes)
            {
                padding.fill(0xFF);
            }
        }
    }

    fn check_range(&self, position: u64, length: usize) -> Result<(), BlockError> {
        match position.checked_add(length as u64) {
            Some(end) if end <= self.device_bytes() => Ok(()),
            _ => Err(BlockError::OutOfRange),
        }
    }

    /// Bytes of a page that lie on the device: all but the last page's are [`PAGE`].
    fn page_bytes(&self, page: u64) -> usize {
        let start = page * PAGE as u64;
        self.device_bytes().saturating_sub(start).min(PAGE as u64) as usize
    }

    /// Puts a page in, making room first. Without content it is zero.
    fn insert(&mut self, page: u64, content: Option<&[u8]>) -> Result<(), BlockError> {
        let mut data = self.make_room()?.unwrap_or_else(|| vec![0; PAGE].into_boxed_slice());
        if let Some(content) = content {
            data[..content.len()].copy_from_slice(content);
        }
        self.pages.insert(page, Page { data, used: true, writing: 0 });
        self.order.push_back(page);
        Ok(())
    }

    /// Evicts one page when the cache is full and hands out its memory.
    fn make_room(&mut self) -> Result<Option<Box<[u8]>>, BlockError> {
        if self.pages.len() < self.limit {
            return Ok(None);
        }
        if self.dirty.len() > self.limit / 2 {
            self.write_out()?;
        }
        // Twice around clears every `used` mark; pages still dirty or in flight after that may stay.
        for _ in 0..self.order.len() * 2 {
            let Some(page) = self.order.pop_front() else { break };
            let Some(cached) = self.pages.get_mut(&page) else { continue };
            if cached.used || cached.writing > 0 || self.dirty.contains(&page) {
                cached.used = false;
                self.order.push_back(page);
                continue;
            }
            return Ok(self.pages.remove(&page).map(|evicted| evicted.data));
        }
        self.write_out()?;
        Ok(None)
    }
}

/// The part of a byte range that lies in its first page: page number, offset in it, length.
fn piece(position: u64, length: usize) -> (u64, usize, usize) {
    let within = (position % PAGE as u64) as usize;
    (position / PAGE as u64, within, length.min(PAGE - within))
}

#[cfg(test)]
mod tests;
