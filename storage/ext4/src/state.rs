//! State files: a hidden directory in the root, and what is written there at every mount.

use crate::data::Data;
use crate::engine::{Engine, Ino, ROOT};
use crate::halt::Halt;
use crate::layout::inode::Inode;
use crate::operations::{Context, Gone, Prepared};
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use keelson_volume::{FileType, NewObject, ObjectKind, SetTime, VolumeError};

/// Name of the directory; clients can neither see nor make it.
pub const STATE_DIR: &[u8] = b".keelson";
/// Largest state file.
pub const LIMIT: usize = 64 * 1024;
/// Where a new version is written before it takes the name.
const NEW: &[u8] = b".new";
/// User and group that have them.
const STATE_OWNER: (u32, u32) = (0, 0);
/// Mounts so far.
const BOOTS: &str = "boots";

impl Context {
    /// Finds the state directory.
    pub async fn find_state_dir(&self) -> Result<(), VolumeError> {
        let found = self.shared.look(|engine| {
            let root = engine.inode(ROOT)?;
            match engine.dir_lookup(&root, STATE_DIR)? {
                Some((ino, _)) => Ok(Some(engine.inode(ino)?).filter(|inode| inode.is_directory())),
                None => Ok(None),
            }
        });
        self.state_dir.set(found.await?.map(|inode| inode.ino));
        Ok(())
    }

    /// Counts this mount; its number.
    pub async fn count_boot(&self) -> u32 {
        let boots = match self.read_state(BOOTS).await {
            Ok(Some(content)) => content.try_into().map_or(0, u32::from_le_bytes),
            _ => 0_u32,
        };
        let boots = boots.wrapping_add(1);
        if self.shared.engine.borrow().read_only {
            return boots;
        }
        if let Err(error) = self.write_state(BOOTS, &boots.to_le_bytes()).await {
            // A full disk must not keep the server down; the random half of the verifier still changes.
            log::warn!(target: "ext4", "the boot counter could not be written: {error}");
        }
        boots
    }

    /// A state file's content.
    pub async fn read_state(&self, name: &str) -> Result<Option<Vec<u8>>, VolumeError> {
        check_state_name(name)?;
        let found = self.shared.look(|engine| self.state_file(engine, name.as_bytes()));
        let Some(inode) = found.await? else { return Ok(None) };
        // An administrator may have made it, on Linux.
        if inode.file_type() != Some(FileType::Regular) {
            return Err(VolumeError::Invalid);
        }
        if inode.size > LIMIT as u64 {
            return Err(VolumeError::TooBig);
        }
        let mut content = vec![0; inode.size as usize];
        let length = self.data.read(0, &mut content, |engine| engine.inode(inode.ino)).await?;
        content.truncate(length);
        Ok(Some(content))
    }

    fn state_file(&self, engine: &mut Engine, name: &[u8]) -> Result<Option<Inode>, Halt> {
        let Some(dir) = self.state_dir.get() else { return Ok(None) };
        let dir = engine.inode(dir)?;
        match engine.dir_lookup(&dir, name)? {
            Some((ino, _)) => Ok(Some(engine.inode(ino)?)),
            None => Ok(None),
        }
    }

    /// Writes a new file, waits for it, and gives it the name: stable, and all or nothing.
    pub async fn write_state(&self, name: &str, content: &[u8]) -> Result<(), VolumeError> {
        check_state_name(name)?;
        if content.len() > LIMIT {
            return Err(VolumeError::TooBig);
        }
        let _turn = self.state_turn.acquire().await;
        self.make_state_dir().await?;
        let (gone, ino) = self.shared.change(|engine| self.make_new(engine)).await?;
        self.forget(gone);
        if !content.is_empty() {
            let homeless = self.shared.change(|engine| self.let_state_in(engine, ino, content.len())).await?;
            self.data.write(ino, STATE_OWNER, 0, 0, content, &homeless);
            let data: Rc<Data> = self.data.clone();
            data.write_back(ino).await;
            if data.take_loss(ino) {
                return Err(VolumeError::Io);
            }
        }
        let gone = self.shared.change(|engine| self.name_new(engine, name.as_bytes())).await?;
        self.forget(gone);
        self.reaper.wake();
        let last = self.shared.last_change();
        self.shared.commit_through(last).await
    }

    async fn make_state_dir(&self) -> Result<(), VolumeError> {
        if self.state_dir.get().is_some() {
            return Ok(());
        }
        let made = self.shared.change(|engine| {
            engine.allocator.use_reserve = true;
            let mut root = engine.inode(ROOT)?;
            if engine.dir_lookup(&root, STATE_DIR)?.is_some() {
                log::error!(target: "ext4", "/.keelson is no directory: remove it on Linux, it is the server's");
                return Err(Halt::Fail(VolumeError::Exists));
            }
            let new = new(ObjectKind::Directory, 0o700);
            let inode = self.make(engine, &mut root, STATE_DIR, &new)?;
            engine.put_inode(&root)?;
            Ok(inode.ino)
        });
        self.state_dir.set(Some(made.await?));
        Ok(())
    }

    /// Operation: an empty file with the name of new ones, instead of one that was left there.
    fn make_new(&self, engine: &mut Engine) -> Result<(Gone, Ino), Halt> {
        engine.allocator.use_reserve = true;
        let Some(dir) = self.state_dir.get() else { return Err(Halt::Fail(VolumeError::NotFound)) };
        let mut dir = engine.inode(dir)?;
        let mut gone = Gone::No;
        if let Some((ino, _)) = engine.dir_lookup(&dir, NEW)? {
            engine.dir_remove(&mut dir, NEW)?;
            let mut old = engine.inode(ino)?;
            gone = self.drop_name(engine, &mut old)?;
        }
        let inode = self.make(engine, &mut dir, NEW, &new(ObjectKind::Regular, 0o600))?;
        engine.put_inode(&dir)?;
        Ok((gone, inode.ino))
    }

    /// Operation: lets the content in, also when there is no space for others.
    fn let_state_in(&self, engine: &mut Engine, ino: Ino, length: usize) -> Result<Vec<Range<u32>>, Halt> {
        engine.allocator.use_reserve = true;
        let mut inode = engine.inode(ino)?;
        let Prepared::Homeless(homeless, count) = self.prepare(engine, &inode, 0..length as u64)? else {
            return Err(Halt::Fail(VolumeError::Io));
        };
        inode.size = length as u64;
        engine.put_inode(&inode)?;
        engine.reserve(inode.uid, inode.gid, count)?;
        Ok(homeless)
    }

    /// Operation: the new file takes its name.
    fn name_new(&self, engine: &mut Engine, name: &[u8]) -> Result<Gone, Halt> {
        engine.allocator.use_reserve = true;
        let Some(dir) = self.state_dir.get() else { return Err(Halt::Fail(VolumeError::NotFound)) };
        let mut dir = engine.inode(dir)?;
        let Some((ino, code)) = engine.dir_lookup(&dir, NEW)? else {
            return Err(Halt::Fail(VolumeError::NotFound));
        };
        let mut gone = Gone::No;
        match engine.dir_lookup(&dir, name)? {
            None => engine.dir_insert(&mut dir, name, ino, code)?,
            Some((old, _)) => {
                engine.dir_replace(&dir, name, ino, code)?;
                let mut old = engine.inode(old)?;
                gone = self.drop_name(engine, &mut old)?;
            }
        }
        engine.dir_remove(&mut dir, NEW)?;
        dir.mtime = engine.now;
        dir.ctime = engine.now;
        engine.put_inode(&dir)?;
        Ok(gone)
    }
}

fn new(kind: ObjectKind<'_>, mode: u32) -> NewObject<'_> {
    let (uid, gid) = STATE_OWNER;
    NewObject { kind, mode, uid, gid, atime: SetTime::Now, mtime: SetTime::Now }
}

fn check_state_name(name: &str) -> Result<(), VolumeError> {
    let bytes = name.as_bytes();
    if bytes.len() > 255 {
        return Err(VolumeError::NameTooLong);
    }
    if bytes.is_empty() || bytes[0] == b'.' || bytes.contains(&b'/') || bytes.contains(&0) {
        return Err(VolumeError::Invalid);
    }
    Ok(())
}
