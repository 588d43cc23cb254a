//! Operation: rename.

use super::{
    Context, Gone, add_subdirectory, check_name, drop_subdirectory, is_dot, is_hidden, parent, touch,
    touch_content, type_code,
};
use crate::engine::{Engine, ROOT};
use crate::halt::Halt;
use crate::layout::inode::Inode;
use keelson_volume::{Change, FileId, Renamed, VolumeError};

impl Context {
    /// Operation: renames, replacing what has the new name where that is allowed.
    pub fn rename(
        &self,
        engine: &mut Engine,
        (from_dir, from_name): (FileId, &[u8]),
        (to_dir, to_name): (FileId, &[u8]),
    ) -> Result<(Renamed, Gone), Halt> {
        let (mut from, from_before, mut source) = self.taken_name(engine, from_dir, from_name)?;
        let mut to = self.resolve_dir(engine, to_dir)?;
        if is_dot(to_name) {
            return Err(Halt::Fail(VolumeError::Invalid));
        }
        check_name(to_name)?;
        if is_hidden(to.ino, to_name) {
            return Err(Halt::Fail(VolumeError::NotPermitted));
        }
        let to_before = self.describe(engine, &to)?;
        let target = match engine.dir_lookup(&to, to_name)? {
            Some((ino, _)) => Some(self.named(engine, ino)?),
            None => None,
        };
        if target.is_some_and(|target| target.ino == source.ino) {
            let unchanged = |before| Change { before, after: before };
            let renamed = Renamed { from_dir: unchanged(from_before), to_dir: unchanged(to_before) };
            return Ok((renamed, Gone::No));
        }
        check_types(engine, &source, target.as_ref())?;
        let is_moved = from.ino != to.ino;
        if source.is_directory() && is_moved {
            check_ancestors(engine, &source, &to)?;
        }
        if let Some(target) = target.filter(Inode::is_directory)
            && !engine.dir_is_empty(&target)?
        {
            return Err(Halt::Fail(VolumeError::NotEmpty));
        }

        // The new name first: that is what may find no space.
        match target {
            Some(_) => engine.dir_replace(&to, to_name, source.ino, type_code(&source))?,
            None => engine.dir_insert(&mut to, to_name, source.ino, type_code(&source))?,
        }
        if !is_moved {
            from = to;
        }
        engine.dir_remove(&mut from, from_name)?;
        if source.is_directory() {
            // The source leaves, and what it replaces goes.
            drop_subdirectory(&mut from);
            if !is_moved {
                to = from;
            }
            if target.is_none() {
                add_subdirectory(engine, &mut to)?;
            }
            if is_moved {
                engine.dir_replace(&source, b"..", to.ino, 2)?;
            }
            if !is_moved {
                from = to;
            }
        }
        touch(engine, &mut source);
        engine.put_inode(&source)?;
        touch_content(engine, &mut from);
        engine.put_inode(&from)?;
        if is_moved {
            touch_content(engine, &mut to);
            engine.put_inode(&to)?;
        } else {
            to = from;
        }
        let gone = match target {
            None => Gone::No,
            Some(mut target) if target.is_directory() => self.discard(engine, &mut target)?,
            Some(mut target) => self.drop_name(engine, &mut target)?,
        };
        let renamed = Renamed {
            from_dir: self.change(engine, from_before, &from)?,
            to_dir: self.change(engine, to_before, &to)?,
        };
        Ok((renamed, gone))
    }
}

fn check_types(engine: &mut Engine, source: &Inode, target: Option<&Inode>) -> Result<(), Halt> {
    match target {
        Some(target) if source.is_directory() && !target.is_directory() => {
            Err(Halt::Fail(VolumeError::NotDirectory))
        }
        Some(target) if !source.is_directory() && target.is_directory() => {
            Err(Halt::Fail(VolumeError::IsDirectory))
        }
        Some(_) => {
            // What is replaced gives back more than this takes.
            engine.allocator.use_reserve = true;
            Ok(())
        }
        None => Ok(()),
    }
}

/// A directory cannot go below itself. On a damaged disk the way up may go around in circles: a second walker at half
/// the pace is met then.
fn check_ancestors(engine: &mut Engine, source: &Inode, to: &Inode) -> Result<(), Halt> {
    let (mut at, mut slow, mut is_even) = (*to, *to, false);
    loop {
        if at.ino == source.ino {
            return Err(Halt::Fail(VolumeError::Invalid));
        }
        if at.ino == ROOT {
            return Ok(());
        }
        at = above(engine, &at)?;
        is_even = !is_even;
        if is_even {
            continue;
        }
        slow = above(engine, &slow)?;
        if slow.ino == at.ino && at.ino != ROOT && at.ino != source.ino {
            return Err(engine.damaged(format_args!("directory {} is its own ancestor", at.ino)));
        }
    }
}

fn above(engine: &mut Engine, dir: &Inode) -> Result<Inode, Halt> {
    let parent = parent(engine, dir)?;
    let inode = engine.inode(parent)?;
    if !inode.is_directory() {
        return Err(engine.damaged(format_args!("the parent of directory {} is none", dir.ino)));
    }
    Ok(inode)
}
