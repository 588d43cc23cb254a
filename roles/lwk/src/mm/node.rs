//! What the node as a whole keeps of memory: pages of files, System V shared memory, what must be written back.

use super::cache::Cache;
use super::object::Object;
use super::shm::Segment;
use super::shm_limits::{Lasting, ShmSettings};
use super::source::PageSource;
use crate::Errno;
use crate::sysv::Table;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use keelson_hal::user::UserMachine;
use spin::Mutex;

/// The node's memory objects.
#[derive(Default)]
pub struct NodeMemory {
    pub(super) cache: Mutex<Cache>,
    pub(super) segments: Table<Segment>,
    pub(super) shm: ShmSettings,
    /// What outlives programs.
    pub lasting: Lasting,
    /// Files that are, or were, mapped for shared writing, by number.
    pub(super) written: Mutex<BTreeMap<u64, Arc<Object>>>,
    shortages: AtomicU64,
}

impl NodeMemory {
    /// With room for `cap` bytes of pages of files that nobody maps (`pgcache=`).
    pub fn new(cap: u64) -> NodeMemory {
        NodeMemory { cache: Mutex::new(Cache::new(cap)), ..NodeMemory::default() }
    }

    /// With limits of System V shared memory.
    pub fn with_shm(shm: ShmSettings) -> NodeMemory {
        NodeMemory { shm, ..NodeMemory::default() }
    }

    /// The limits of System V shared memory.
    pub fn shm_settings(&self) -> ShmSettings {
        self.shm
    }

    /// The object of a file that is going to be mapped. It stays: ENOMEM where the kernel is short of memory.
    pub fn object(
        &self,
        machine: &Arc<dyn UserMachine>,
        source: &Arc<dyn PageSource>,
    ) -> Result<Arc<Object>, Errno> {
        if machine.is_short() { Err(Errno::ENOMEM) } else { Ok(self.cache.lock().object(machine, source)) }
    }

    /// Bytes of pages of files that are here.
    pub fn cached(&self) -> u64 {
        self.cache.lock().resident()
    }

    /// How often a page was wanted and there was none.
    pub fn shortages(&self) -> u64 {
        self.shortages.load(Ordering::Relaxed)
    }

    pub(super) fn note_shortage(&self) {
        self.shortages.fetch_add(1, Ordering::Relaxed);
    }

    /// A file is mapped for shared writing.
    pub(super) fn writes(&self, object: &Arc<Object>) {
        self.written.lock().insert(object.id(), object.clone());
    }
}
