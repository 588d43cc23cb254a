//! Our engine.

use super::{Blocking, Store};
use crate::world::World;
use keelson_hal::BlockDevice;
use keelson_volume::memory::MemoryVolume as Ext4Volume;
use std::rc::Rc;

/// How our engine is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// As much as it takes by default.
    Ample,
    /// Hardly any, so that everything is evicted and read again.
    Scarce,
}

/// Our engine on a disk.
pub type Own = Blocking<Ext4Volume>;

/// Mounts a disk.
pub fn mount(_world: &Rc<World>, _disk: Rc<dyn BlockDevice>, _memory: Memory) -> Result<Own, String> {
    Err("not built yet".into())
}

/// The filesystem under a backend's calls.
pub type Volume = Ext4Volume;

const _: fn() = || {
    fn is_store<V: Store>() {}
    is_store::<Volume>();
};
