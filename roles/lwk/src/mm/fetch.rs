//! Pages of files that come from the host: concurrent requests for the same pages share one.

use super::PAGE;
use super::object::Object;
use super::source::{Fetch, PIECE};
use crate::Errno;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::{Poll, Waker};
use keelson_hal::user::{Frame, PageSize};

/// Bytes that are asked for around a single fault (section 5.7).
const WINDOW: u64 = 64 << 10;
/// Bytes when one fault follows the other, and for programs.
const WIDE: u64 = 2 << 20;

/// Requests under way.
#[derive(Default)]
pub(super) struct Fetching {
    /// First offset, end, and who waits for it.
    under_way: BTreeMap<u64, (u64, Vec<Waker>)>,
    /// Where the last request ended.
    last_end: u64,
}

/// A page of a file that is not here yet.
#[derive(Clone)]
pub struct PageRequest {
    object: Arc<Object>,
    offset: u64,
    node: usize,
}

impl PageRequest {
    /// The page at `offset`, for a thread on NUMA node `node`.
    pub(super) fn new(object: &Arc<Object>, offset: u64, node: usize) -> PageRequest {
        PageRequest { object: object.clone(), offset: super::page_of(offset), node }
    }

    /// Waits until the page is here, or the file turns out to be shorter: the fault that is tried again tells.
    pub async fn fetch(self) -> Result<(), Errno> {
        let window = {
            let state = self.object.lock();
            if state.fetching.last_end == self.offset && self.offset > 0 { WIDE } else { WINDOW }
        };
        let start = self.offset - self.offset % window;
        self.object.fetch(start, start + window, self.offset, self.node).await
    }
}

impl PartialEq for PageRequest {
    fn eq(&self, other: &PageRequest) -> bool {
        Arc::ptr_eq(&self.object, &other.object) && self.offset == other.offset
    }
}

impl Eq for PageRequest {}

impl core::fmt::Debug for PageRequest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "page {:#x} of object {}", self.offset, self.object.id())
    }
}

/// The end of a request, however it comes.
struct Done<'a> {
    object: &'a Object,
    start: u64,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        let waiting = self.object.lock().fetching.under_way.remove(&self.start);
        for waker in waiting.map(|(_, wakers)| wakers).unwrap_or_default() {
            waker.wake();
        }
    }
}

enum Turn {
    /// All is here, or beyond the end.
    Nothing,
    /// Fetch this range.
    Fetch(u64, u64),
}

impl Object {
    /// Makes a range of a file be here.
    pub async fn fetch_all(&self, start: u64, end: u64, node: usize) -> Result<(), Errno> {
        let mut at = start - start % PAGE;
        while at < end.min(self.size()) {
            let next = (at - at % WIDE).saturating_add(WIDE).min(end.next_multiple_of(PAGE));
            self.fetch(at, next, at, node).await?;
            let state = self.lock();
            // What another request brought may end earlier.
            at = state.first_missing(at, next).unwrap_or(next);
        }
        Ok(())
    }

    /// Waits until nothing of a range is on its way from the host.
    pub(super) async fn settled(&self, start: u64, end: u64) {
        poll_fn(|cx| {
            let mut state = self.lock();
            let mut coming = state.fetching.under_way.range_mut(..end);
            match coming.find(|(_, (to, _))| *to > start) {
                None => Poll::Ready(()),
                Some((_, (_, wakers))) => {
                    wakers.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
    }

    /// Fetches the missing part of a range that begins at or after `wanted`'s page, or waits for whoever does so already.
    async fn fetch(&self, start: u64, end: u64, wanted: u64, node: usize) -> Result<(), Errno> {
        let turn = poll_fn(|cx| {
            let mut state = self.lock();
            let limit = end.min(state.size.next_multiple_of(PAGE));
            if wanted >= limit || state.containing(wanted).is_some() {
                return Poll::Ready(Turn::Nothing);
            }
            for (from, (to, wakers)) in &mut state.fetching.under_way {
                if (*from..*to).contains(&wanted) {
                    wakers.push(cx.waker().clone());
                    return Poll::Pending;
                }
            }
            // Around the wanted page: as far as nothing is here or on its way.
            let mut low = wanted;
            while low > start && state.is_absent(low - PAGE) {
                low -= PAGE;
            }
            let mut high = wanted;
            while high < limit && state.is_absent(high) {
                high += PAGE;
            }
            state.fetching.under_way.insert(low, (high, Vec::new()));
            state.fetching.last_end = high;
            Poll::Ready(Turn::Fetch(low, high))
        })
        .await;
        let Turn::Fetch(low, high) = turn else { return Ok(()) };
        let done = Done { object: self, start: low };
        let Some(source) = self.lock().way() else { return Err(Errno::EIO) };
        // All are asked for at once: the time of one way there and back is enough.
        let ends = |at: u64| (at + PIECE).min(high);
        let pieces: Vec<(u64, Fetch)> = (low..high)
            .step_by(PIECE as usize)
            .map(|at| (at, source.fetch(at, (ends(at) - at) as u32)))
            .collect();
        for (at, piece) in pieces {
            let bytes = piece.await?;
            self.store(at, ends(at), &bytes, node)?;
            if (bytes.len() as u64) < ends(at) - at {
                // The end of the file: nothing follows.
                break;
            }
        }
        drop(done);
        Ok(())
    }

    /// Takes over what was fetched of a piece.
    fn store(&self, low: u64, high: u64, bytes: &[u8], node: usize) -> Result<(), Errno> {
        let mut frames: Vec<(u64, Frame)> = Vec::new();
        for (offset, part) in (low..high).step_by(PAGE as usize).zip(bytes.chunks(PAGE as usize)) {
            let frame = self.machine().allocate(PageSize::Small, node).ok_or(Errno::ENOMEM)?;
            frame.write(0, part);
            frames.push((offset, frame));
        }
        let mut state = self.lock();
        for (offset, frame) in frames {
            state.pages.entry(offset).or_insert(frame);
        }
        let got = low + bytes.len() as u64;
        if got < high.min(state.size) {
            // The file became shorter.
            state.size = got;
        }
        Ok(())
    }
}

impl super::object::ObjectState {
    fn is_absent(&self, offset: u64) -> bool {
        let coming = self.fetching.under_way.range(..=offset).next_back();
        self.containing(offset).is_none() && coming.is_none_or(|(_, (end, _))| offset >= *end)
    }

    fn first_missing(&self, start: u64, end: u64) -> Option<u64> {
        (start..end.min(self.size)).step_by(PAGE as usize).find(|at| self.containing(*at).is_none())
    }
}
