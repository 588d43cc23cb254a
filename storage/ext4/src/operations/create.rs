//! Operations that make objects and names.

use super::{
    Context, MAX_LINKS, MAX_TARGET, RESERVE_INODES, SHORT_TARGET, add_subdirectory, check_name, chosen,
    device, is_dot, is_hidden, touch, touch_content, type_code,
};
use crate::engine::{Engine, Kind};
use crate::extents;
use crate::halt::Halt;
use crate::layout::inode::Inode;
use keelson_volume::{Attributes, Created, FileId, NewObject, ObjectKind, VolumeError};

impl Context {
    /// Operation: creates an object.
    pub fn create(
        &self,
        engine: &mut Engine,
        dir: FileId,
        name: &[u8],
        new: &NewObject<'_>,
    ) -> Result<Created, Halt> {
        let (mut dir, before) = self.free_name(engine, dir, name)?;
        check_kind(engine, &new.kind)?;
        check_inodes(engine)?;
        let inode = self.make(engine, &mut dir, name, new)?;
        engine.put_inode(&dir)?;
        Ok(Created { object: self.describe(engine, &inode)?, dir: self.change(engine, before, &dir)? })
    }

    /// Makes an object under a name that is free. The caller puts the directory.
    pub fn make(
        &self,
        engine: &mut Engine,
        dir: &mut Inode,
        name: &[u8],
        new: &NewObject<'_>,
    ) -> Result<Inode, Halt> {
        let is_directory = new.kind == ObjectKind::Directory;
        let mut inode = engine.allocate_inode(dir, is_directory)?;
        let now = engine.now;
        inode.mode = type_bits(&new.kind) | (new.mode & 0o7777) as u16;
        (inode.uid, inode.gid, inode.links) = (new.uid, new.gid, 1);
        (inode.ctime, inode.crtime, inode.version) = (now, now, 1);
        inode.atime = chosen(new.atime, now).unwrap_or(now);
        inode.mtime = chosen(new.mtime, now).unwrap_or(now);
        match new.kind {
            ObjectKind::Regular => extents::init(&mut inode),
            ObjectKind::Directory => {
                inode.links = 2;
                engine.dir_init(&mut inode, dir.ino)?;
                add_subdirectory(engine, dir)?;
            }
            ObjectKind::Symlink(target) => put_target(engine, &mut inode, target)?,
            ObjectKind::BlockDevice(number) | ObjectKind::CharDevice(number) => {
                inode.map = device::encode(number).ok_or(Halt::Fail(VolumeError::Invalid))?;
            }
            ObjectKind::Fifo | ObjectKind::Socket => {}
        }
        engine.charge(inode.ino, inode.uid, inode.gid, 0, 1);
        engine.put_new_inode(&inode)?;
        engine.dir_insert(dir, name, inode.ino, type_code(&inode))?;
        touch_content(engine, dir);
        Ok(inode)
    }

    /// Operation: adds a name.
    pub fn link(&self, engine: &mut Engine, id: FileId, dir: FileId, name: &[u8]) -> Result<Created, Halt> {
        let mut inode = self.resolve(engine, id)?;
        if inode.is_directory() {
            return Err(Halt::Fail(VolumeError::NotPermitted));
        }
        let (mut dir, before) = self.free_name(engine, dir, name)?;
        if inode.links >= MAX_LINKS {
            return Err(Halt::Fail(VolumeError::TooManyLinks));
        }
        inode.links += 1;
        touch(engine, &mut inode);
        engine.put_inode(&inode)?;
        engine.dir_insert(&mut dir, name, inode.ino, type_code(&inode))?;
        touch_content(engine, &mut dir);
        engine.put_inode(&dir)?;
        Ok(Created { object: self.describe(engine, &inode)?, dir: self.change(engine, before, &dir)? })
    }

    /// The directory that is to hold a name, if the name is free.
    fn free_name(&self, engine: &mut Engine, dir: FileId, name: &[u8]) -> Result<(Inode, Attributes), Halt> {
        let dir = self.resolve_dir(engine, dir)?;
        let exists = Halt::Fail(VolumeError::Exists);
        if is_dot(name) {
            return Err(exists);
        }
        check_name(name)?;
        if is_hidden(dir.ino, name) || engine.dir_lookup(&dir, name)?.is_some() {
            return Err(exists);
        }
        let before = self.describe(engine, &dir)?;
        Ok((dir, before))
    }
}

fn check_kind(engine: &Engine, kind: &ObjectKind<'_>) -> Result<(), Halt> {
    let ObjectKind::Symlink(target) = kind else { return Ok(()) };
    // Linux wants all of it in one block, with an end.
    let longest = MAX_TARGET.min(engine.geometry.block_size - 1);
    match target.len() {
        0 => Err(Halt::Fail(VolumeError::Invalid)),
        length if length > longest => Err(Halt::Fail(VolumeError::NameTooLong)),
        _ => Ok(()),
    }
}

fn check_inodes(engine: &mut Engine) -> Result<(), Halt> {
    if engine.allocator.free_inodes > RESERVE_INODES {
        return Ok(());
    }
    engine.counters.no_space += 1;
    Err(Halt::Fail(VolumeError::NoSpace))
}

/// `S_IFMT` of the mode.
fn type_bits(kind: &ObjectKind<'_>) -> u16 {
    match kind {
        ObjectKind::Fifo => 0x1000,
        ObjectKind::CharDevice(_) => 0x2000,
        ObjectKind::Directory => 0x4000,
        ObjectKind::BlockDevice(_) => 0x6000,
        ObjectKind::Regular => 0x8000,
        ObjectKind::Symlink(_) => 0xa000,
        ObjectKind::Socket => 0xc000,
    }
}

/// A symbolic link's target: in the inode if it is short, else in a block that goes through the journal, so that there
/// is no link without a target.
fn put_target(engine: &mut Engine, inode: &mut Inode, target: &[u8]) -> Result<(), Halt> {
    inode.size = target.len() as u64;
    if target.len() <= SHORT_TARGET {
        inode.map[..target.len()].copy_from_slice(target);
        return Ok(());
    }
    extents::init(inode);
    let group = engine.geometry.locate_inode(inode.ino).map_or(0, |(group, _)| group);
    let block = engine.allocate_metadata(engine.geometry.group_start(group))?;
    engine.fresh(block, Kind::Target)[..target.len()].copy_from_slice(target);
    engine.insert_extent(inode, 0, block, 1, false)
}
