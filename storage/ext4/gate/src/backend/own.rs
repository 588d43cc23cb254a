//! Our engine.

use super::{Answer, Blocking, Store};
use crate::world::World;
use keelson_ext4::{Ext4Volume, Options};
use keelson_hal::BlockDevice;
use keelson_volume::FileId;
use std::rc::Rc;

/// How much memory our engine may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// As much as it takes by default.
    Ample,
    /// Hardly any, so that everything is evicted and read again.
    Scarce,
    /// More than there is to be cached.
    Plenty,
}

/// The directory of state files, which clients of ours do not see and Linux does.
pub const STATE_DIR: &[u8] = b".keelson";

/// Bytes of caches when there is plenty.
const PLENTY: usize = 512 << 20;
/// Bytes of caches when memory is scarce.
const SCARCE: usize = 256 << 10;

/// The filesystem below a backend's calls.
pub type Volume = Ext4Volume;

/// Our engine on a disk.
pub type Own = Blocking<Volume>;

/// Mounts a disk; the error is what the operator would be told.
pub fn mount(world: &Rc<World>, disk: Rc<dyn BlockDevice>, memory: Memory) -> Result<Own, String> {
    let mut options = Options::default();
    match memory {
        Memory::Ample => {}
        Memory::Scarce => options.cache_bytes = SCARCE,
        Memory::Plenty => options.cache_bytes = PLENTY,
    }
    let mounted = world.run(Ext4Volume::mount(disk, world.handle(), world.entropy(), options));
    let volume = mounted.map_err(|error| format!("mount: {error}"))?;
    Ok(Blocking::new("own", world.clone(), Rc::new(volume)))
}

impl Store for Ext4Volume {
    async fn sync_all(&self) -> Answer<()> {
        self.sync().await
    }

    fn has_xattrs(&self) -> bool {
        true
    }

    async fn xattr_names(&self, id: FileId) -> Answer<Vec<Vec<u8>>> {
        self.attribute_names(id).await
    }

    async fn xattr(&self, id: FileId, name: &[u8]) -> Answer<Vec<u8>> {
        self.attribute(id, name).await?.ok_or(keelson_volume::VolumeError::NotFound)
    }

    async fn put_xattr(&self, id: FileId, name: &[u8], value: Option<&[u8]>) -> Answer<()> {
        match value {
            Some(value) => self.set_attribute(id, name, value).await.map(|_| ()),
            None => self.remove_attribute(id, name).await.map(|_| ()),
        }
    }
}
