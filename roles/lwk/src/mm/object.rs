//! Memory objects: what several mappings can show.

use crate::Errno;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use keelson_hal::user::{Frame, PageSize, UserMachine};
use spin::Mutex;

const PAGE: u64 = 4096;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Shared memory, which has the pages that were touched.
pub struct Object {
    id: u64,
    machine: Arc<dyn UserMachine>,
    state: Mutex<(u64, BTreeMap<u64, Frame>)>,
}

impl Object {
    /// Shared memory of `size` bytes, with pages up to `largest`.
    pub fn memory(machine: Arc<dyn UserMachine>, size: u64, _largest: PageSize) -> Arc<Object> {
        let state = Mutex::new((size, BTreeMap::new()));
        Arc::new(Object { id: NEXT.fetch_add(1, Ordering::Relaxed), machine, state })
    }

    /// A number that no other object has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.state.lock().0
    }

    /// Bytes of memory that it has.
    pub fn resident(&self) -> u64 {
        self.state.lock().1.len() as u64 * PAGE
    }

    /// Copies bytes out; what was never written is zeros. Returns how many there are before the end.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let state = self.state.lock();
        let len = state.0.saturating_sub(offset).min(into.len() as u64) as usize;
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let part = ((PAGE - at % PAGE) as usize).min(len - done);
            match state.1.get(&(at - at % PAGE)) {
                Some(frame) => frame.read(at % PAGE, &mut into[done..done + part]),
                None => into[done..done + part].fill(0),
            }
            done += part;
        }
        Ok(len)
    }

    /// Copies bytes in. Does not change the size: EFBIG beyond it.
    pub fn write(&self, offset: u64, from: &[u8], local: usize) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let end = offset.checked_add(from.len() as u64).ok_or(Errno::EFBIG)?;
        if end > state.0 {
            return Err(Errno::EFBIG);
        }
        let mut done = 0;
        while done < from.len() {
            let at = offset + done as u64;
            let part = ((PAGE - at % PAGE) as usize).min(from.len() - done);
            let start = at - at % PAGE;
            if !state.1.contains_key(&start) {
                let frame = self.machine.allocate(PageSize::Small, local).ok_or(Errno::ENOSPC)?;
                state.1.insert(start, frame);
            }
            if let Some(frame) = state.1.get(&start) {
                frame.write(at % PAGE, &from[done..done + part]);
            }
            done += part;
        }
        Ok(())
    }

    /// Changes the size (ftruncate(2)).
    pub fn set_size(&self, size: u64) {
        let mut state = self.state.lock();
        let _gone =
            if size < state.0 { state.1.split_off(&size.next_multiple_of(PAGE)) } else { BTreeMap::new() };
        if size < state.0
            && let Some(frame) = state.1.get(&(size - size % PAGE))
            && !size.is_multiple_of(PAGE)
        {
            frame.zero(size % PAGE, PAGE - size % PAGE);
        }
        state.0 = size;
    }

    /// Removes the pages that lie wholly in a range, and zeros the rest of it.
    pub fn punch(&self, start: u64, end: u64) {
        let mut state = self.state.lock();
        let touched: alloc::vec::Vec<u64> =
            state.1.range(start - start % PAGE..end).map(|(at, _)| *at).collect();
        for at in touched {
            let (from, to) = (at.max(start), (at + PAGE).min(end));
            if to - from == PAGE {
                state.1.remove(&at);
            } else if let Some(frame) = state.1.get(&at) {
                frame.zero(from - at, to - from);
            }
        }
    }
}
