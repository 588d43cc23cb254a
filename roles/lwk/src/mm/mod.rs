//! Memory of a process.
//!
//! Principles:
//!
//! 1. **Areas say what a program should see, page tables what it sees already.** Everything is under one lock that is held for
//!    short times; copies from and to a program take it only when something has to be resolved.
//! 2. **The largest page first.** 1 GiB, 2 MiB, 4 KiB; what cuts a large page later splits it at the edge only.
//! 3. **A page that others may have too is not writable**, whatever the area says; the first write copies it unless the others
//!    are gone.
//! 4. **Nothing waits here.** What must come from the host is a [`PageRequest`] that the thread waits for without any lock.

mod advice;
mod area;
mod brk;
mod cache;
mod change;
mod copy;
mod fault;
mod fetch;
pub mod flags;
mod fork;
mod host_pages;
pub mod layout;
mod map;
mod node;
mod object;
mod placement;
mod policy;
mod populate;
mod remap;
mod report;
mod settings;
mod shm;
mod shm_limits;
mod source;
mod write_back;

#[cfg(test)]
mod tests;

pub use advice::{Fill, madv};
pub use area::{Area, Backing, Flags, Pages, Role};
pub use copy::{FutexKey, IOVECS_MOST, Stop};
pub use fault::Fault;
pub use fetch::PageRequest;
pub use flags::{PAGE, page_of, whole_pages};
pub use host_pages::{HostPages, mapping_of};
pub use map::Map;
pub use node::NodeMemory;
pub use object::{NoPage, Object, Page};
pub use placement::{PolicyAnswer, mpol};
pub use policy::{Choice, Mode, NODES_MOST, Policy, RELATIVE_NODES, STATIC_NODES, nodes_with_memory};
pub use report::{AreaUsage, BySize, Usage};
pub use settings::{Duplicate, Limits, MmSettings, Prefault};
pub use shm::{Attachment, SEGMENT_MOST, SEGMENTS_MOST, SegmentView, ShmInfo, ShmStat};
pub use shm_limits::ShmSettings;
pub use source::{Bytes, Fetch, FileId, FileMapping, FileVersion, PageSource, Written};

use crate::Errno;
use crate::system::System;
use alloc::sync::{Arc, Weak};
use area::Areas;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use keelson_hal::user::{AddressSpace, Flush, Frame, MapFault, Mapped, Protection};
use spin::{Mutex, MutexGuard};

/// The next number of an object or an address space.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The address space of a process.
pub struct Mm {
    id: u64,
    this: Weak<Mm>,
    system: Arc<System>,
    space: Arc<dyn AddressSpace>,
    settings: MmSettings,
    state: Mutex<State>,
    /// Bytes that the page tables show, now and at most.
    resident: AtomicU64,
    resident_most: AtomicU64,
}

/// What the lock protects.
pub(crate) struct State {
    areas: Areas,
    brk: brk::Brk,
    limits: Limits,
    /// Policy of the process (set_mempolicy(2)).
    policy: Policy,
    /// Large pages only where they are asked for (`PR_SET_THP_DISABLE`).
    small_pages: bool,
    /// mlockall(2) with `MCL_FUTURE`.
    lock_future: bool,
    /// Addresses whose translations other cores may still have: they forget them before anything else appears there.
    stale: Range<u64>,
}

impl Mm {
    /// An empty address space.
    pub fn new(system: &Arc<System>, settings: MmSettings) -> Result<Arc<Mm>, Errno> {
        let state = State {
            areas: Areas::default(),
            brk: brk::Brk::default(),
            limits: settings.limits,
            policy: settings.policy,
            small_pages: !settings.automatic,
            lock_future: false,
            stale: 0..0,
        };
        Mm::with_state(system, settings, state)
    }

    fn with_state(system: &Arc<System>, settings: MmSettings, state: State) -> Result<Arc<Mm>, Errno> {
        let space = system.machine.new_space().ok_or(Errno::ENOMEM)?;
        Ok(Arc::new_cyclic(|this| Mm {
            id: next_id(),
            this: this.clone(),
            system: system.clone(),
            space,
            settings,
            state: Mutex::new(state),
            resident: AtomicU64::new(0),
            resident_most: AtomicU64::new(0),
        }))
    }

    /// A number that no other address space or object of the node has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The page tables.
    pub fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    /// The machine that it is on.
    pub fn system(&self) -> &Arc<System> {
        &self.system
    }

    /// How it was set up.
    pub fn settings(&self) -> &MmSettings {
        &self.settings
    }

    /// The limits that hold now.
    pub fn limits(&self) -> Limits {
        self.state.lock().limits
    }

    /// Changes the limits (setrlimit(2)).
    pub fn set_limits(&self, limits: Limits) {
        self.state.lock().limits = limits;
    }

    /// Large pages only where they are asked for (`PR_SET_THP_DISABLE`).
    pub fn set_small_pages(&self, small: bool) {
        self.state.lock().small_pages = small;
    }

    /// The answer to `PR_GET_THP_DISABLE`.
    pub fn small_pages(&self) -> bool {
        self.state.lock().small_pages
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Enters a page; the frame comes back when that is not possible.
    fn enter(&self, at: u64, frame: Frame, protection: Protection) -> Result<(), (MapFault, Frame)> {
        let bytes = frame.size().bytes();
        self.space.map(at, frame, flags::effective(protection))?;
        let now = self.resident.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.resident_most.fetch_max(now, Ordering::Relaxed);
        Ok(())
    }

    /// Removes the page that contains `at`.
    fn leave(&self, at: u64) -> Option<Frame> {
        let frame = self.space.unmap(at)?;
        self.resident.fetch_sub(frame.size().bytes(), Ordering::Relaxed);
        Some(frame)
    }

    /// The first page of a range: it may begin before the range.
    fn next_page(&self, from: u64, end: u64) -> Option<Mapped> {
        if from < end { self.space.next(from, end) } else { None }
    }

    /// Splits the pages that reach over an edge of a range.
    fn split_edges(&self, range: &Range<u64>) -> Result<(), Errno> {
        for edge in [range.start, range.end] {
            while self.space.find(edge).is_some_and(|page| page.at < edge) {
                self.space.split(edge).map_err(|_| Errno::ENOMEM)?;
            }
        }
        Ok(())
    }

    /// Notes that other cores may still have translations of a range.
    fn mark_stale(&self, state: &mut State, range: &Range<u64>) {
        if state.stale.is_empty() {
            state.stale = range.clone();
        } else {
            state.stale = state.stale.start.min(range.start)..state.stale.end.max(range.end);
        }
    }

    /// Makes other cores forget what they may remember of a range before something else appears there.
    fn forget_stale(&self, state: &mut State, range: &Range<u64>) {
        if state.stale.start < range.end && range.start < state.stale.end {
            self.space.flush(Flush::Now);
            state.stale = 0..0;
        }
    }
}

impl Drop for Mm {
    fn drop(&mut self) {
        self.collect_all_dirty();
    }
}
