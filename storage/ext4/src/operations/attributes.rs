//! Operation: set attributes, the size included.

use super::{Context, check_regular, chosen, touch, touch_content};
use crate::data::Piece;
use crate::engine::Engine;
use crate::halt::Halt;
use crate::layout::inode::Inode;
use crate::operations::names::STEP;
use keelson_volume::{Change, FileId, SetAttributes, Time, VolumeError};

/// What setting attributes came to.
pub enum Set {
    /// This block must be in memory first.
    Load(Inode, Piece),
    /// It is done.
    Done(Change, Resized),
}

/// What became of the size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resized {
    /// Nothing.
    No,
    /// The file grew from this.
    Grew(u64),
    /// The file was cut to this. What was behind is freed, or the inode is on the orphan list.
    Cut {
        /// Its new size.
        size: u64,
        /// Blocks are still to be freed.
        is_orphan: bool,
    },
}

impl Context {
    /// Operation: changes attributes.
    pub fn set_attributes(
        &self,
        engine: &mut Engine,
        id: FileId,
        changes: &SetAttributes,
        guard: Option<Time>,
    ) -> Result<Set, Halt> {
        let mut inode = self.resolve(engine, id)?;
        let before = self.describe(engine, &inode)?;
        if guard.is_some_and(|guard| guard != before.ctime) {
            return Err(Halt::Fail(VolumeError::GuardMismatch));
        }
        let mut resized = Resized::No;
        if let Some(size) = changes.size {
            check_regular(&inode)?;
            if size > max_file_size(engine) {
                return Err(Halt::Fail(VolumeError::TooBig));
            }
            if let Some(piece) = self.missing_for_size(engine, &inode, size)? {
                return Ok(Set::Load(inode, piece));
            }
            resized = self.resize(engine, &mut inode, size)?;
            touch_content(engine, &mut inode);
        } else {
            touch(engine, &mut inode);
        }
        let now = inode.ctime;
        if let Some(mode) = changes.mode {
            inode.mode = inode.mode & 0xf000 | (mode & 0o7777) as u16;
        }
        if changes.uid.is_some() || changes.gid.is_some() {
            let sectors = i64::try_from(inode.sectors).unwrap_or(i64::MAX);
            let promised = engine.sectors_of(self.data.reserved_blocks(inode.ino));
            engine.charge(inode.ino, inode.uid, inode.gid, -sectors, -1);
            engine.promise(inode.uid, inode.gid, -promised);
            inode.uid = changes.uid.unwrap_or(inode.uid);
            inode.gid = changes.gid.unwrap_or(inode.gid);
            engine.charge(inode.ino, inode.uid, inode.gid, sectors, 1);
            engine.promise(inode.uid, inode.gid, promised);
        }
        inode.atime = chosen(changes.atime, now).unwrap_or(inode.atime);
        inode.mtime = chosen(changes.mtime, now).unwrap_or(inode.mtime);
        engine.put_inode(&inode)?;
        let mut change = self.change(engine, before, &inode)?;
        if let Resized::Cut { size, .. } = resized {
            // The cache is cut right after this.
            let gone = self.data.reserved_behind(inode.ino, size) * engine.geometry.block_size as u64;
            change.after.allocated -= gone;
        }
        Ok(Set::Done(change, resized))
    }

    /// The block that must be in memory before a file gets another size: the one that will be its last, or was.
    fn missing_for_size(&self, engine: &mut Engine, inode: &Inode, size: u64) -> Result<Option<Piece>, Halt> {
        // What is behind its end is still being freed: another end must wait.
        self.check_whole(inode)?;
        if size < inode.size {
            self.data.quiet(inode.ino)?;
            return self.data.needed_to_cut(engine, inode, size);
        }
        self.data.needed(engine, inode, size..size)
    }

    /// While a file is being cut, its end must stay where it is.
    pub(super) fn check_whole(&self, inode: &Inode) -> Result<(), Halt> {
        if self.orphans.borrow().contains(inode.ino) { Err(Halt::Busy(inode.ino)) } else { Ok(()) }
    }

    fn resize(&self, engine: &mut Engine, inode: &mut Inode, size: u64) -> Result<Resized, Halt> {
        let old = core::mem::replace(&mut inode.size, size);
        if size > old {
            return Ok(Resized::Grew(old));
        }
        if size == old {
            return Ok(Resized::No);
        }
        engine.allocator.use_reserve = true;
        let from = size.div_ceil(engine.geometry.block_size as u64) as u32;
        let is_orphan = !engine.remove_from(inode, from, STEP)?;
        if is_orphan {
            crate::orphans::enlist(engine, inode)?;
        }
        Ok(Resized::Cut { size, is_orphan })
    }

    /// Right after the operation that set the size: cached content follows.
    pub fn resized(&self, ino: crate::engine::Ino, resized: Resized) {
        match resized {
            Resized::No => {}
            Resized::Grew(old) => self.data.grow(ino, old),
            Resized::Cut { size, is_orphan } => {
                self.data.cut(ino, size);
                if is_orphan {
                    self.orphans.borrow_mut().add(ino);
                }
            }
        }
    }
}

/// Largest file: as many blocks as extents can number, and no more space than an inode can count.
pub fn max_file_size(engine: &Engine) -> u64 {
    let size = engine.geometry.block_size as u64;
    let numbered = size * u64::from(u32::MAX);
    // A few blocks less, for the extent tree.
    if engine.geometry.huge_files { numbered } else { numbered.min((1 << 41) - (1 << 30)) }
}
