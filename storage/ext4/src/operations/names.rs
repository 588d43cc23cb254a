//! Operations that take names away, and objects with their last name.

use super::{Context, check_name, drop_subdirectory, is_dot, is_hidden, touch, touch_content};
use crate::engine::{Engine, Ino, Kind};
use crate::extents::Mapping;
use crate::halt::Halt;
use crate::layout::inode::{EXTENTS, Inode};
use keelson_volume::{Attributes, FileId, FileType, Removed, VolumeError};

/// Metadata blocks that one step of freeing a large file changes, about.
pub const STEP: usize = 16;

/// What became of an object that lost a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// It has others.
    No,
    /// It is gone.
    Freed(Ino),
    /// It is gone, but takes too much space to free at once: it is on the orphan list.
    Orphan(Ino),
}

impl Context {
    /// Operation: removes a name of anything but a directory.
    pub fn remove(&self, engine: &mut Engine, dir: FileId, name: &[u8]) -> Result<(Removed, Gone), Halt> {
        engine.allocator.use_reserve = true;
        let (mut dir, before, mut inode) = self.taken_name(engine, dir, name)?;
        if inode.is_directory() {
            return Err(Halt::Fail(VolumeError::IsDirectory));
        }
        engine.dir_remove(&mut dir, name)?;
        touch_content(engine, &mut dir);
        engine.put_inode(&dir)?;
        let object = self.describe(engine, &inode)?.id;
        let gone = self.drop_name(engine, &mut inode)?;
        Ok((Removed { object, dir: self.change(engine, before, &dir)? }, gone))
    }

    /// Operation: removes an empty directory.
    pub fn remove_dir(&self, engine: &mut Engine, dir: FileId, name: &[u8]) -> Result<(Removed, Gone), Halt> {
        engine.allocator.use_reserve = true;
        let (mut dir, before, mut inode) = self.taken_name(engine, dir, name)?;
        if !inode.is_directory() {
            return Err(Halt::Fail(VolumeError::NotDirectory));
        }
        if !engine.dir_is_empty(&inode)? {
            return Err(Halt::Fail(VolumeError::NotEmpty));
        }
        engine.dir_remove(&mut dir, name)?;
        drop_subdirectory(&mut dir);
        touch_content(engine, &mut dir);
        engine.put_inode(&dir)?;
        let object = self.describe(engine, &inode)?.id;
        let gone = self.discard(engine, &mut inode)?;
        Ok((Removed { object, dir: self.change(engine, before, &dir)? }, gone))
    }

    /// The directory and what the name names, for taking it away.
    pub(super) fn taken_name(
        &self,
        engine: &mut Engine,
        dir: FileId,
        name: &[u8],
    ) -> Result<(Inode, Attributes, Inode), Halt> {
        let dir = self.resolve_dir(engine, dir)?;
        if is_dot(name) {
            return Err(Halt::Fail(VolumeError::Invalid));
        }
        check_name(name)?;
        if is_hidden(dir.ino, name) {
            return Err(Halt::Fail(VolumeError::NotPermitted));
        }
        let (ino, _) = engine.dir_lookup(&dir, name)?.ok_or(Halt::Fail(VolumeError::NotFound))?;
        let inode = self.named(engine, ino)?;
        let before = self.describe(engine, &dir)?;
        Ok((dir, before, inode))
    }

    /// An object that is no directory lost a name.
    pub fn drop_name(&self, engine: &mut Engine, inode: &mut Inode) -> Result<Gone, Halt> {
        if inode.links > 1 {
            inode.links -= 1;
            touch(engine, inode);
            engine.put_inode(inode)?;
            return Ok(Gone::No);
        }
        self.discard(engine, inode)
    }

    /// An object lost its last name: its space is free, or will be.
    pub(super) fn discard(&self, engine: &mut Engine, inode: &mut Inode) -> Result<Gone, Halt> {
        self.data.quiet(inode.ino)?;
        inode.links = 0;
        touch(engine, inode);
        if self.free_step(engine, inode)? {
            if self.orphans.borrow().contains(inode.ino) {
                self.orphans.borrow().unlink(engine, inode)?;
            }
            bury(engine, inode)?;
            return Ok(Gone::Freed(inode.ino));
        }
        if !self.orphans.borrow().contains(inode.ino) {
            crate::orphans::enlist(engine, inode)?;
        }
        engine.put_inode(inode)?;
        Ok(Gone::Orphan(inode.ino))
    }

    /// Frees some of what an inode without a name has; true when it has nothing any more.
    pub fn free_step(&self, engine: &mut Engine, inode: &mut Inode) -> Result<bool, Halt> {
        engine.xattr_free(inode)?;
        free_some(engine, inode)
    }

    /// Right after an operation that dropped a name: what is not metadata goes as well.
    pub fn forget(&self, gone: Gone) {
        match gone {
            Gone::No => {}
            Gone::Freed(ino) => {
                self.data.purge(ino);
                self.orphans.borrow_mut().remove(ino);
            }
            Gone::Orphan(ino) => {
                self.data.purge(ino);
                self.orphans.borrow_mut().add(ino);
                self.reaper.wake();
            }
        }
    }
}

/// Frees some blocks of an inode that has no name; true when it has none any more.
fn free_some(engine: &mut Engine, inode: &mut Inode) -> Result<bool, Halt> {
    if inode.flags & EXTENTS == 0 {
        return match inode.file_type() {
            // Device numbers and short targets are no block addresses.
            Some(FileType::Regular | FileType::Directory) if inode.map.iter().any(|&byte| byte != 0) => {
                log::warn!(target: "ext4", "inode {} maps its blocks in the way of ext3: not supported", inode.ino);
                Err(Halt::Fail(VolumeError::NotPermitted))
            }
            _ => Ok(true),
        };
    }
    engine.remove_from(inode, 0, STEP)
}

/// An inode without names and blocks goes.
pub fn bury(engine: &mut Engine, inode: &mut Inode) -> Result<(), Halt> {
    let is_directory = inode.is_directory();
    inode.size = 0;
    inode.dtime = engine.now.seconds as u32;
    engine.charge(inode.ino, inode.uid, inode.gid, 0, -1);
    engine.put_inode(inode)?;
    engine.free_inode(inode.ino, is_directory)
}

/// Operation's part: a symbolic link's target.
pub fn target(engine: &mut Engine, inode: &Inode) -> Result<alloc::vec::Vec<u8>, Halt> {
    let length = inode.size as usize;
    if inode.flags & EXTENTS == 0 {
        return match inode.map.get(..length) {
            Some(target) => Ok(target.to_vec()),
            None => Err(engine.damaged(format_args!("symbolic link {} is too long", inode.ino))),
        };
    }
    match engine.map(inode, 0)? {
        Mapping::Written { block, .. } if length <= engine.geometry.block_size => {
            Ok(engine.read(block, Kind::Target)?[..length].to_vec())
        }
        _ => Err(engine.damaged(format_args!("symbolic link {} has no target", inode.ino))),
    }
}
