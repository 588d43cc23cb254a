//! Any `Volume` as a backend, with its own promises watched: what it tells of before and after each change must be
//! what it tells when asked.

use super::{Abilities, Answer, Backend};
use crate::world::World;
use keelson_hal::Clock;
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use keelson_volume::{Attributes, Change, ClearSetid, FileId, NewObject, SetAttributes, Volume, VolumeError};
use std::rc::Rc;
use std::time::Duration;

/// What backends need beside `Volume`.
#[allow(async_fn_in_trait)]
pub trait Store: Volume {
    /// Makes everything stable.
    async fn sync_all(&self) -> Answer<()>;

    /// True when the calls for extended attributes work.
    fn has_xattrs(&self) -> bool {
        false
    }

    /// Names of extended attributes.
    async fn xattr_names(&self, _id: FileId) -> Answer<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// An extended attribute.
    async fn xattr(&self, _id: FileId, _name: &[u8]) -> Answer<Vec<u8>> {
        Err(VolumeError::NotPermitted)
    }

    /// Sets an extended attribute, or removes it.
    async fn put_xattr(&self, _id: FileId, _name: &[u8], _value: Option<&[u8]>) -> Answer<()> {
        Err(VolumeError::NotPermitted)
    }
}

impl Store for MemoryVolume {
    async fn sync_all(&self) -> Answer<()> {
        self.commit(self.root()).await
    }
}

/// A volume that is asked one thing at a time.
pub struct Blocking<V> {
    name: &'static str,
    world: Rc<World>,
    volume: Rc<V>,
    watch: Watch,
    listing_size: usize,
}

/// Whether every change's before and after are compared with what the volume tells when asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// They are.
    Changes,
    /// Nothing is asked that the caller did not ask.
    Nothing,
}

/// A volume in memory, for proofs of the proofs.
pub fn memory(seed: u64) -> Blocking<MemoryVolume> {
    let world = World::new(seed);
    let clock: Rc<dyn Clock> = world.handle().clock();
    let volume = MemoryVolume::new(clock, MemoryOptions::default());
    Blocking::new("memory", world, Rc::new(volume))
}

impl<V: Store> Blocking<V> {
    /// A volume on its machine.
    pub fn new(name: &'static str, world: Rc<World>, volume: Rc<V>) -> Blocking<V> {
        Blocking { name, world, volume, watch: Watch::Changes, listing_size: 4096 }
    }

    /// Without the questions of [`Watch::Changes`], and with large pages of directories.
    pub fn quick(mut self) -> Blocking<V> {
        self.watch = Watch::Nothing;
        self.listing_size = 64 * 1024;
        self
    }

    /// The volume.
    pub fn volume(&self) -> Rc<V> {
        self.volume.clone()
    }

    /// Its machine.
    pub fn world(&self) -> Rc<World> {
        self.world.clone()
    }

    /// Attributes before a change, if anybody looks.
    fn before(&self, id: FileId) -> Option<Attributes> {
        match self.watch {
            Watch::Changes => self.world.run(self.volume.attributes(id)).ok(),
            Watch::Nothing => None,
        }
    }

    /// What a change says must be what the object says.
    fn judge(&self, what: &str, before: Option<Attributes>, change: &Change) {
        if self.watch == Watch::Nothing {
            return;
        }
        let after = self.world.run(self.volume.attributes(change.after.id)).ok();
        // A background write between the two questions may allocate.
        let without = |attributes: Attributes| Attributes { allocated: 0, ..attributes };
        assert_eq!(before.map(without), Some(without(change.before)), "{what}: attributes before");
        assert_eq!(after.map(without), Some(without(change.after)), "{what}: attributes after");
    }
}

impl<V: Store> Backend for Blocking<V> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            generations: true,
            exact_times: true,
            all_attributes: true,
            xattrs: self.volume.has_xattrs(),
        }
    }

    fn root(&self) -> FileId {
        self.volume.root()
    }

    fn attributes(&mut self, id: FileId) -> Answer<Attributes> {
        self.world.run(self.volume.attributes(id))
    }

    fn set_attributes(&mut self, id: FileId, changes: SetAttributes) -> Answer<()> {
        let before = self.before(id);
        let change = self.world.run(self.volume.set_attributes(id, changes, None))?;
        self.judge("set_attributes", before, &change);
        Ok(())
    }

    fn lookup(&mut self, dir: FileId, name: &[u8]) -> Answer<Attributes> {
        self.world.run(self.volume.lookup(dir, name))
    }

    fn create(&mut self, dir: FileId, name: &[u8], new: NewObject<'_>) -> Answer<FileId> {
        let before = self.before(dir);
        let created = self.world.run(self.volume.create(dir, name, new))?;
        self.judge("create", before, &created.dir);
        Ok(created.object.id)
    }

    fn link(&mut self, id: FileId, dir: FileId, name: &[u8]) -> Answer<()> {
        let before = self.before(dir);
        let created = self.world.run(self.volume.link(id, dir, name))?;
        self.judge("link", before, &created.dir);
        assert_eq!(created.object.id, id, "link: the object under its new name");
        Ok(())
    }

    fn remove(&mut self, dir: FileId, name: &[u8]) -> Answer<()> {
        let before = self.before(dir);
        let removed = self.world.run(self.volume.remove(dir, name))?;
        self.judge("remove", before, &removed.dir);
        Ok(())
    }

    fn remove_dir(&mut self, dir: FileId, name: &[u8]) -> Answer<()> {
        let before = self.before(dir);
        let removed = self.world.run(self.volume.remove_dir(dir, name))?;
        self.judge("remove_dir", before, &removed.dir);
        let gone = self.world.run(self.volume.attributes(removed.object)).map(|_| ());
        assert_eq!(gone, Err(VolumeError::Stale), "a directory that was removed");
        Ok(())
    }

    fn rename(&mut self, from: FileId, name: &[u8], to: FileId, new_name: &[u8]) -> Answer<()> {
        let (before_from, before_to) = (self.before(from), self.before(to));
        let renamed = self.world.run(self.volume.rename(from, name, to, new_name))?;
        self.judge("rename, from", before_from, &renamed.from_dir);
        self.judge("rename, to", before_to, &renamed.to_dir);
        Ok(())
    }

    fn read(&mut self, id: FileId, offset: u64, buffer: &mut [u8]) -> Answer<usize> {
        self.world.run(self.volume.read(id, offset, buffer))
    }

    fn write(&mut self, id: FileId, offset: u64, data: &[u8]) -> Answer<()> {
        let before = self.before(id);
        let change = self.world.run(self.volume.write(id, offset, data, ClearSetid::Yes))?;
        self.judge("write", before, &change);
        Ok(())
    }

    fn read_link(&mut self, id: FileId) -> Answer<Vec<u8>> {
        self.world.run(self.volume.read_link(id))
    }

    fn read_dir(&mut self, dir: FileId) -> Answer<Vec<(Vec<u8>, u64)>> {
        self.world.run(async {
            let (mut names, mut cookie, mut dots) = (Vec::new(), 0, 0);
            loop {
                let page = self.volume.read_dir(dir, cookie, self.listing_size).await?;
                assert!(page.end || !page.entries.is_empty(), "an empty page that is not the last");
                for entry in page.entries {
                    assert!(entry.cookie > cookie && entry.cookie < 1 << 63, "cookies must rise");
                    cookie = entry.cookie;
                    match entry.is_dot() {
                        true => dots += 1,
                        false => names.push((entry.name, entry.inode)),
                    }
                }
                if page.end {
                    assert_eq!(dots, 2, ". and .. are listed once");
                    return Ok(names);
                }
            }
        })
    }

    fn xattr_names(&mut self, id: FileId) -> Answer<Vec<Vec<u8>>> {
        self.world.run(self.volume.xattr_names(id))
    }

    fn xattr(&mut self, id: FileId, name: &[u8]) -> Answer<Vec<u8>> {
        self.world.run(self.volume.xattr(id, name))
    }

    fn set_xattr(&mut self, id: FileId, name: &[u8], value: Option<&[u8]>) -> Answer<()> {
        self.world.run(self.volume.put_xattr(id, name, value))
    }

    fn commit(&mut self, id: FileId) -> Answer<()> {
        self.world.run(self.volume.commit(id))
    }

    fn sync(&mut self) -> Answer<()> {
        self.world.run(self.volume.sync_all())
    }

    fn pause(&mut self, span: Duration) {
        self.world.pass(span);
    }

    fn finish(self: Box<Self>) -> Answer<()> {
        self.world.run(self.volume.unmount())
    }
}
