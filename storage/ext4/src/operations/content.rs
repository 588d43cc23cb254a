//! Operations around file content: letting data in, and access times.

use super::attributes::max_file_size;
use super::{Context, check_regular, names, stamp, touch_content};
use crate::data::Piece;
use crate::engine::Engine;
use crate::halt::Halt;
use crate::layout::inode::Inode;
use alloc::vec::Vec;
use core::ops::Range;
use keelson_volume::{Change, ClearSetid, FileId, FileType, VolumeError};

/// Access times are kept up at least this often (Linux mount option relatime).
const ACCESS_AGE: i64 = 24 * 60 * 60;

/// What letting data in came to.
pub enum Let {
    /// This block must be in memory first.
    Load(Inode, Piece),
    /// The data is in, as soon as it is in the cache.
    In {
        /// The file around it.
        change: Change,
        /// Blocks that got a reservation.
        homeless: Vec<Range<u32>>,
    },
}

impl Context {
    /// Operation: a regular file to be read.
    pub fn readable(&self, engine: &mut Engine, id: FileId) -> Result<Inode, Halt> {
        let inode = self.resolve(engine, id)?;
        check_regular(&inode)?;
        Ok(inode)
    }

    /// Operation: target of a symbolic link.
    pub fn read_link(&self, engine: &mut Engine, id: FileId) -> Result<Vec<u8>, Halt> {
        let inode = self.resolve(engine, id)?;
        if inode.file_type() != Some(FileType::Symlink) {
            return Err(Halt::Fail(VolumeError::Invalid));
        }
        names::target(engine, &inode)
    }

    /// Operation: lets data of `length` bytes into a file.
    pub fn let_in(
        &self,
        engine: &mut Engine,
        id: FileId,
        offset: u64,
        length: usize,
        clear_setid: ClearSetid,
    ) -> Result<Let, Halt> {
        let mut inode = self.readable(engine, id)?;
        if length == 0 {
            let before = self.describe(engine, &inode)?;
            return Ok(Let::In { change: Change { before, after: before }, homeless: Vec::new() });
        }
        let end = offset.checked_add(length as u64).filter(|&end| end <= max_file_size(engine));
        let end = end.ok_or(Halt::Fail(VolumeError::TooBig))?;
        let homeless = match self.prepare(engine, &inode, offset..end)? {
            Prepared::Load(piece) => return Ok(Let::Load(inode, piece)),
            Prepared::Homeless(homeless, count) => (homeless, count),
        };
        let before = self.describe(engine, &inode)?;
        inode.size = inode.size.max(end);
        // Below the file type, which is no matter of this.
        inode.mode = clear_setid.left_of(inode.mode.into()) as u16;
        touch_content(engine, &mut inode);
        engine.put_inode(&inode)?;
        let mut change = self.change(engine, before, &inode)?;
        let (homeless, count) = homeless;
        change.after.allocated += count * engine.geometry.block_size as u64;
        engine.reserve(inode.uid, inode.gid, count)?;
        Ok(Let::In { change, homeless })
    }

    pub(crate) fn prepare(
        &self,
        engine: &mut Engine,
        inode: &Inode,
        bytes: Range<u64>,
    ) -> Result<Prepared, Halt> {
        self.check_whole(inode)?;
        if inode.flags & crate::layout::inode::EXTENTS == 0 {
            log::warn!(target: "ext4", "inode {} maps its blocks in the way of ext3: it can only be read by others", inode.ino);
            return Err(Halt::Fail(VolumeError::NotPermitted));
        }
        if let Some(piece) = self.data.needed(engine, inode, bytes.clone())? {
            return Ok(Prepared::Load(piece));
        }
        let (homeless, count) = self.data.homeless(engine, inode, bytes)?;
        Ok(Prepared::Homeless(homeless, count))
    }

    /// Operation: the file was read.
    pub fn note_access(&self, engine: &mut Engine, id: FileId) -> Result<(), Halt> {
        let mut inode = self.resolve(engine, id)?;
        inode.atime = stamp_access(engine, &inode);
        engine.put_inode(&inode)
    }

    /// True when reading should be noted: access times tell whether a file was read since it changed, and about when.
    pub fn is_access_due(engine: &Engine, now: i64, inode: &Inode) -> bool {
        !engine.read_only
            && (inode.atime <= inode.mtime
                || inode.atime <= inode.ctime
                || inode.atime.seconds.saturating_add(ACCESS_AGE) <= now)
    }
}

/// What the blocks under a range need.
pub(crate) enum Prepared {
    /// This must be in memory first.
    Load(Piece),
    /// These need a reservation, and so many they are.
    Homeless(Vec<Range<u32>>, u64),
}

/// Later than the last change, so that the next read finds it noted.
fn stamp_access(engine: &Engine, inode: &Inode) -> keelson_volume::Time {
    stamp(engine, inode)
}
