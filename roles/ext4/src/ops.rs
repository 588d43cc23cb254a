//! The operations of the [`Volume`] trait.

use crate::directory::{check_name, inode_number, is_dot};
use crate::inode::Times;
use crate::volume::{Ext4Volume, Inner, ROOT};
use alloc::vec;
use alloc::vec::Vec;
use keelson_volume::{
    Attributes, Change, ClearSetid, Created, DirPage, FileId, FileType, NewObject, ObjectKind, Removed,
    Renamed, SetAttributes, SetTime, SpaceUsage, Time, Volume, VolumeError, VolumeId,
};
use rsext4::{
    DeviceNumber, Ext4Error, Ext4ErrorKind, Ext4Timestamp, FileName, FilePermissions, InodeInfo,
    InodeMetadataUpdate, MutationContext, RenameOptions, SpecialInodeKind,
};

/// Most links of an object (Linux `EXT4_LINK_MAX`).
const MAX_LINKS: u32 = 65_000;
/// Longest target of a symbolic link (Linux `PATH_MAX` without its end).
const MAX_TARGET: usize = 4095;
const SETID: u32 = 0o6000;
/// Blocks that neither data nor names may take: the engine leaks blocks when it finds the disk full in the
/// middle of an operation, so it must never get there.
const RESERVE_BLOCKS: u64 = 64;
/// Blocks an operation may need beside its data: extent nodes, directory blocks and their index.
const METADATA_BLOCKS: u64 = 16;
/// Inodes kept back, for state files.
const RESERVE_INODES: u64 = 8;

impl Volume for Ext4Volume {
    fn id(&self) -> VolumeId {
        VolumeId(self.inner.borrow().superblock.uuid)
    }

    fn root(&self) -> FileId {
        let times = self.inner.borrow_mut().times_of(ROOT).unwrap_or_default();
        FileId { inode: u64::from(ROOT), discriminator: times.discriminator() }
    }

    fn max_file_size(&self) -> u64 {
        self.inner.borrow().max_file_size()
    }

    fn max_links(&self) -> u32 {
        MAX_LINKS
    }

    fn is_read_only(&self) -> bool {
        self.inner.borrow().read_only
    }

    fn write_verifier(&self) -> [u8; 8] {
        self.inner.borrow().verifier
    }

    async fn attributes(&self, id: FileId) -> Result<Attributes, VolumeError> {
        self.inner.borrow_mut().resolve(id)
    }

    async fn set_attributes(
        &self,
        id: FileId,
        changes: SetAttributes,
        guard: Option<Time>,
    ) -> Result<Change, VolumeError> {
        let change = self.inner.borrow_mut().set_attributes(id, changes, guard)?;
        self.changed();
        if change.after.size < change.before.size {
            // Blocks were freed; see `Inner::bury` for why nobody may have them before this is committed.
            self.sync_now()?;
        }
        Ok(change)
    }

    async fn lookup(&self, dir: FileId, name: &[u8]) -> Result<Attributes, VolumeError> {
        self.inner.borrow_mut().lookup(dir, name)
    }

    async fn read_link(&self, id: FileId) -> Result<Vec<u8>, VolumeError> {
        let mut inner = self.inner.borrow_mut();
        let attributes = inner.resolve(id)?;
        if attributes.file_type != FileType::Symlink {
            return Err(VolumeError::Invalid);
        }
        let mut target = vec![0; (attributes.size as usize).min(MAX_TARGET)];
        let length = inner.read(&attributes, 0, &mut target)?;
        target.truncate(length);
        Ok(target)
    }

    async fn read(&self, id: FileId, offset: u64, buffer: &mut [u8]) -> Result<usize, VolumeError> {
        let mut inner = self.inner.borrow_mut();
        let attributes = inner.resolve(id)?;
        check_regular(&attributes)?;
        inner.read(&attributes, offset, buffer)
    }

    async fn write(
        &self,
        id: FileId,
        offset: u64,
        data: &[u8],
        clear_setid: ClearSetid,
    ) -> Result<Change, VolumeError> {
        let change = self.inner.borrow_mut().write(id, offset, data, clear_setid)?;
        self.changed();
        Ok(change)
    }

    async fn commit(&self, id: FileId) -> Result<(), VolumeError> {
        let inode = id.inode as u32;
        {
            let mut inner = self.inner.borrow_mut();
            inner.counters.commits += 1;
            if inner.lost.remove(&inode) {
                return Err(VolumeError::Io);
            }
        }
        let result = self.sync().await;
        if self.inner.borrow_mut().lost.remove(&inode) {
            return Err(VolumeError::Io);
        }
        result
    }

    async fn create(&self, dir: FileId, name: &[u8], new: NewObject<'_>) -> Result<Created, VolumeError> {
        let created = self.inner.borrow_mut().create(dir, name, new)?;
        self.changed();
        Ok(created)
    }

    async fn link(&self, id: FileId, dir: FileId, name: &[u8]) -> Result<Created, VolumeError> {
        let created = self.inner.borrow_mut().link(id, dir, name)?;
        self.changed();
        Ok(created)
    }

    async fn remove(&self, dir: FileId, name: &[u8]) -> Result<Removed, VolumeError> {
        let removed = self.inner.borrow_mut().remove(dir, name)?;
        self.changed();
        Ok(removed)
    }

    async fn remove_dir(&self, dir: FileId, name: &[u8]) -> Result<Removed, VolumeError> {
        let removed = self.inner.borrow_mut().remove_dir(dir, name)?;
        self.changed();
        Ok(removed)
    }

    async fn rename(
        &self,
        from_dir: FileId,
        from_name: &[u8],
        to_dir: FileId,
        to_name: &[u8],
    ) -> Result<Renamed, VolumeError> {
        let renamed = self.inner.borrow_mut().rename(from_dir, from_name, to_dir, to_name)?;
        self.changed();
        Ok(renamed)
    }

    async fn read_dir(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Result<DirPage, VolumeError> {
        self.inner.borrow_mut().read_dir(dir, cookie, max_bytes)
    }

    async fn read_dir_plus(
        &self,
        dir: FileId,
        cookie: u64,
        max_bytes: usize,
    ) -> Result<DirPage, VolumeError> {
        self.inner.borrow_mut().read_dir_plus(dir, cookie, max_bytes)
    }

    async fn usage(&self) -> Result<SpaceUsage, VolumeError> {
        self.inner.borrow_mut().usage()
    }

    async fn read_state(&self, name: &str) -> Result<Option<Vec<u8>>, VolumeError> {
        self.inner.borrow_mut().read_state(name)
    }

    async fn write_state(&self, name: &str, content: &[u8]) -> Result<(), VolumeError> {
        self.inner.borrow_mut().write_state(name, content)?;
        self.changed();
        self.sync().await
    }

    async fn unmount(&self) -> Result<(), VolumeError> {
        self.inner.borrow_mut().unmount()
    }
}

fn check_regular(attributes: &Attributes) -> Result<(), VolumeError> {
    match attributes.file_type {
        FileType::Regular => Ok(()),
        FileType::Directory => Err(VolumeError::IsDirectory),
        _ => Err(VolumeError::Invalid),
    }
}

fn timestamp(time: Time) -> Ext4Timestamp {
    // What 34 bits of seconds can hold; the engine would wrap.
    Ext4Timestamp::new(time.seconds.clamp(-(1 << 31), (1 << 34) - (1 << 31) - 1), time.nanos)
}

fn permissions(mode: u32) -> Result<FilePermissions, VolumeError> {
    FilePermissions::new((mode & 0o7777) as u16).map_err(|_| VolumeError::Invalid)
}

/// The time to set, `None` to keep.
fn chosen(set: SetTime, now: Time) -> Option<Time> {
    match set {
        SetTime::Keep => None,
        SetTime::Now => Some(now),
        SetTime::To(time) => {
            let stored = timestamp(time);
            Some(Time { seconds: stored.sec, nanos: stored.nsec })
        }
    }
}

impl Inner {
    fn max_file_size(&self) -> u64 {
        self.superblock.block_size * u64::from(u32::MAX)
    }

    fn usage(&mut self) -> Result<SpaceUsage, VolumeError> {
        let stats = self.engine()?.statfs();
        let kept = self.superblock.reserved_blocks.max(RESERVE_BLOCKS + METADATA_BLOCKS);
        Ok(SpaceUsage {
            total_bytes: stats.total_blocks * stats.block_size,
            free_bytes: stats.free_blocks * stats.block_size,
            available_bytes: stats.free_blocks.saturating_sub(kept) * stats.block_size,
            total_inodes: u64::from(stats.total_inodes),
            free_inodes: u64::from(stats.free_inodes),
        })
    }

    /// Fails unless `blocks` and what it takes to map them fit into what may be used.
    fn check_space(&mut self, blocks: u64) -> Result<(), VolumeError> {
        let wanted = blocks + METADATA_BLOCKS + RESERVE_BLOCKS;
        if self.engine()?.statfs().free_blocks >= wanted
            || (self.free_dead_early()? && self.engine()?.statfs().free_blocks >= wanted)
        {
            return Ok(());
        }
        self.counters.no_space += 1;
        Err(VolumeError::NoSpace)
    }

    fn check_inodes(&mut self) -> Result<(), VolumeError> {
        if u64::from(self.engine()?.statfs().free_inodes) > RESERVE_INODES
            || (self.free_dead_early()? && u64::from(self.engine()?.statfs().free_inodes) > RESERVE_INODES)
        {
            return Ok(());
        }
        self.counters.no_space += 1;
        Err(VolumeError::NoSpace)
    }

    fn change(&mut self, before: Attributes) -> Result<Change, VolumeError> {
        let after = self.attributes(before.id.inode as u32)?;
        if after.file_type == FileType::Directory && after.size > before.size {
            self.grown.insert(before.id.inode as u32);
        }
        Ok(Change { before, after })
    }

    fn update(&mut self, inode: u32, update: InodeMetadataUpdate) -> Result<(), VolumeError> {
        let number = inode_number(inode)?;
        self.call(|engine| engine.update_inode_metadata(number, update)).map(|_| ())
    }

    fn set_mode(&mut self, inode: u32, mode: u32) -> Result<(), VolumeError> {
        let permissions = Some(permissions(mode)?);
        self.update(inode, InodeMetadataUpdate { permissions, ..InodeMetadataUpdate::default() })
    }

    fn set_attributes(
        &mut self,
        id: FileId,
        changes: SetAttributes,
        guard: Option<Time>,
    ) -> Result<Change, VolumeError> {
        self.check_writable()?;
        let before = self.resolve(id)?;
        if guard.is_some_and(|guard| guard != before.ctime) {
            return Err(VolumeError::GuardMismatch);
        }
        let inode = id.inode as u32;
        let number = inode_number(inode)?;
        let now = self.begin(&[&before])?;
        if let Some(size) = changes.size {
            check_regular(&before)?;
            if size > self.max_file_size() {
                return Err(VolumeError::TooBig);
            }
            self.call(|engine| engine.truncate_inode(number, size))?;
            self.touch(inode, |times| times.modified = now)?;
            self.written.insert(inode);
        }
        if changes.uid.is_some() || changes.gid.is_some() {
            let owner = Some((changes.uid.unwrap_or(before.uid), changes.gid.unwrap_or(before.gid)));
            self.update(inode, InodeMetadataUpdate { owner, ..InodeMetadataUpdate::default() })?;
        }
        let (accessed, modified) = (chosen(changes.atime, now), chosen(changes.mtime, now));
        // The mode always: changing the size or the owner made the engine clear the set-ID bits.
        let update = InodeMetadataUpdate {
            permissions: Some(permissions(changes.mode.unwrap_or(before.mode))?),
            atime: accessed.map(timestamp),
            mtime: modified.map(timestamp),
            ..InodeMetadataUpdate::default()
        };
        self.update(inode, update)?;
        self.touch(inode, |times| {
            times.changed = now;
            times.accessed = accessed.unwrap_or(times.accessed);
            times.modified = modified.unwrap_or(times.modified);
        })?;
        self.change(before)
    }

    /// Reads a regular file or a symbolic link; sets the access time as the engine does.
    fn read(&mut self, from: &Attributes, offset: u64, buffer: &mut [u8]) -> Result<usize, VolumeError> {
        let number = inode_number(from.id.inode as u32)?;
        let now = self.begin(&[])?;
        let length = self.call(|engine| engine.read_inode(number, offset, buffer))?;
        if length > 0 && !self.read_only {
            self.touch_access(from, now)?;
        }
        Ok(length)
    }

    fn write(
        &mut self,
        id: FileId,
        offset: u64,
        data: &[u8],
        clear_setid: ClearSetid,
    ) -> Result<Change, VolumeError> {
        self.check_writable()?;
        let before = self.resolve(id)?;
        check_regular(&before)?;
        if data.is_empty() {
            return Ok(Change { before, after: before });
        }
        let end = offset.checked_add(data.len() as u64).filter(|&end| end <= self.max_file_size());
        let end = end.ok_or(VolumeError::TooBig)?;
        self.check_write_space(&before, offset, end)?;
        let number = inode_number(id.inode as u32)?;
        let now = self.begin(&[&before])?;
        self.written.insert(number.raw());
        self.call(|engine| engine.write_inode(number, offset, data))?;
        self.touch(number.raw(), |times| (times.modified, times.changed) = (now, now))?;
        if before.mode & SETID != 0 {
            // The engine has its own idea of which bits to clear.
            let mode = if clear_setid == ClearSetid::Yes { before.mode & !SETID } else { before.mode };
            self.set_mode(number.raw(), mode)?;
        }
        self.change(before)
    }

    /// Space for writing `offset..end`, counted as if nothing there were allocated; an overwrite of a file
    /// without holes needs none.
    fn check_write_space(&mut self, file: &Attributes, offset: u64, end: u64) -> Result<(), VolumeError> {
        let block = self.superblock.block_size;
        let dense = file.allocated >= file.size.div_ceil(block) * block;
        if end <= file.size && dense {
            return Ok(());
        }
        self.check_space(end.div_ceil(block) - offset / block)
    }

    /// The checked name and the directory that is to hold it, if it is free.
    fn free_name<'n>(
        &mut self,
        dir: FileId,
        name: &'n [u8],
    ) -> Result<(Attributes, FileName<'n>), VolumeError> {
        self.check_writable()?;
        let attributes = self.resolve_dir(dir)?;
        if is_dot(name) {
            return Err(VolumeError::Exists);
        }
        let checked = check_name(name)?;
        let inode = dir.inode as u32;
        if self.is_hidden(inode, name) || self.child(inode, checked)?.is_some() {
            return Err(VolumeError::Exists);
        }
        Ok((attributes, checked))
    }

    /// The checked name and what it names, for taking it away.
    fn taken_name<'n>(
        &mut self,
        dir: FileId,
        name: &'n [u8],
    ) -> Result<(Attributes, FileName<'n>, InodeInfo), VolumeError> {
        self.check_writable()?;
        let attributes = self.resolve_dir(dir)?;
        if is_dot(name) {
            return Err(VolumeError::Invalid);
        }
        let checked = check_name(name)?;
        let inode = dir.inode as u32;
        if self.is_hidden(inode, name) {
            return Err(VolumeError::NotPermitted);
        }
        let info = self.child(inode, checked)?.ok_or(VolumeError::NotFound)?;
        Ok((attributes, checked, info))
    }

    fn create(&mut self, dir: FileId, name: &[u8], new: NewObject<'_>) -> Result<Created, VolumeError> {
        let (before, name) = self.free_name(dir, name)?;
        check_kind(&new.kind, before.links)?;
        self.check_inodes()?;
        self.check_space(2)?;
        let now = self.begin_create(&[&before])?;
        let info = self.create_inode(dir.inode as u32, name, &new)?;
        let inode = info.number.raw();
        self.lagging.change(inode, Times::all(now));
        let (accessed, modified) = (chosen(new.atime, now), chosen(new.mtime, now));
        if matches!(new.atime, SetTime::To(_)) || matches!(new.mtime, SetTime::To(_)) {
            let (atime, mtime) = (accessed.map(timestamp), modified.map(timestamp));
            self.update(inode, InodeMetadataUpdate { atime, mtime, ..InodeMetadataUpdate::default() })?;
            self.touch(inode, |times| {
                times.accessed = accessed.unwrap_or(now);
                times.modified = modified.unwrap_or(now);
            })?;
        }
        self.touch(dir.inode as u32, |times| (times.modified, times.changed) = (now, now))?;
        let object = self.attributes(inode)?;
        Ok(Created { object, dir: self.change(before)? })
    }

    fn create_inode(
        &mut self,
        dir: u32,
        name: FileName<'_>,
        new: &NewObject<'_>,
    ) -> Result<InodeInfo, VolumeError> {
        let dir = inode_number(dir)?;
        let owner = MutationContext::new(new.uid, new.gid, 0, 0);
        let mode = permissions(new.mode)?;
        let device = |number: keelson_volume::DeviceNumber| {
            DeviceNumber::new(number.major, number.minor).map_err(|_| VolumeError::Invalid)
        };
        let special = match new.kind {
            ObjectKind::Regular => {
                return self.call(|engine| engine.create_regular_file(owner, dir, name, mode));
            }
            ObjectKind::Directory => {
                return self.call(|engine| engine.create_directory(owner, dir, name, mode));
            }
            ObjectKind::Symlink(target) => {
                return self.call(|engine| engine.create_symlink(owner, dir, name, target));
            }
            ObjectKind::BlockDevice(number) => SpecialInodeKind::BlockDevice(device(number)?),
            ObjectKind::CharDevice(number) => SpecialInodeKind::CharacterDevice(device(number)?),
            ObjectKind::Fifo => SpecialInodeKind::Fifo,
            ObjectKind::Socket => SpecialInodeKind::Socket,
        };
        self.call(|engine| engine.create_special_inode(owner, dir, name, mode, special))
    }

    fn link(&mut self, id: FileId, dir: FileId, name: &[u8]) -> Result<Created, VolumeError> {
        let target = self.resolve(id)?;
        if target.file_type == FileType::Directory {
            return Err(VolumeError::NotPermitted);
        }
        let (before, name) = self.free_name(dir, name)?;
        if target.links >= MAX_LINKS {
            return Err(VolumeError::TooManyLinks);
        }
        self.check_space(1)?;
        let now = self.begin(&[&before, &target])?;
        let (number, parent) = (inode_number(id.inode as u32)?, inode_number(dir.inode as u32)?);
        self.call(|engine| engine.hard_link(number, parent, name))?;
        self.touch(number.raw(), |times| times.changed = now)?;
        self.touch(parent.raw(), |times| (times.modified, times.changed) = (now, now))?;
        let object = self.attributes(number.raw())?;
        Ok(Created { object, dir: self.change(before)? })
    }

    fn remove(&mut self, dir: FileId, name: &[u8]) -> Result<Removed, VolumeError> {
        let (before, name, info) = self.taken_name(dir, name)?;
        if info.is_directory() {
            return Err(VolumeError::IsDirectory);
        }
        let object = self.describe(&info)?;
        let now = self.begin(&[&before, &object])?;
        self.disarm_device(&info)?;
        let inode = self.discard(dir.inode as u32, name)?;
        if object.links > 1 {
            self.touch(inode, |times| times.changed = now)?;
        }
        self.touch(dir.inode as u32, |times| (times.modified, times.changed) = (now, now))?;
        Ok(Removed { object: object.id, dir: self.change(before)? })
    }

    fn remove_dir(&mut self, dir: FileId, name: &[u8]) -> Result<Removed, VolumeError> {
        let (before, name, info) = self.taken_name(dir, name)?;
        if !info.is_directory() {
            return Err(VolumeError::NotDirectory);
        }
        let object = self.describe(&info)?;
        let now = self.begin(&[&before, &object])?;
        let parent = inode_number(dir.inode as u32)?;
        let outcome = self.call(|engine| engine.remove_empty_directory(parent, name))?;
        if outcome.requires_reap() {
            self.bury(outcome.inode);
        }
        self.lagging.forget(outcome.inode.raw());
        self.touch(parent.raw(), |times| (times.modified, times.changed) = (now, now))?;
        Ok(Removed { object: object.id, dir: self.change(before)? })
    }

    fn rename(
        &mut self,
        from_dir: FileId,
        from_name: &[u8],
        to_dir: FileId,
        to_name: &[u8],
    ) -> Result<Renamed, VolumeError> {
        let (from_before, from, source) = self.taken_name(from_dir, from_name)?;
        let to_before = self.resolve_dir(to_dir)?;
        if is_dot(to_name) {
            return Err(VolumeError::Invalid);
        }
        let to = check_name(to_name)?;
        let to_inode = to_dir.inode as u32;
        if self.is_hidden(to_inode, to_name) {
            return Err(VolumeError::NotPermitted);
        }
        let target = self.child(to_inode, to)?;
        if target.is_some_and(|target| target.number == source.number) {
            let unchanged = |before| Change { before, after: before };
            return Ok(Renamed { from_dir: unchanged(from_before), to_dir: unchanged(to_before) });
        }
        self.check_rename(from_dir.inode as u32, to_inode, &source, target.as_ref(), to_before.links)?;

        let moved = self.describe(&source)?;
        let replaced = target.map(|target| self.describe(&target)).transpose()?;
        let now = self.begin(&[&from_before, &to_before, &moved, replaced.as_ref().unwrap_or(&moved)])?;
        self.move_name(from_dir.inode as u32, from, to_inode, to, &source, target.as_ref())?;
        if let Some(target) = target {
            if target.is_directory() || target.links <= 1 {
                self.lagging.forget(target.number.raw());
                self.written.remove(&target.number.raw());
            } else {
                self.touch(target.number.raw(), |times| times.changed = now)?;
            }
        }
        self.touch(source.number.raw(), |times| times.changed = now)?;
        for dir in [from_dir.inode as u32, to_inode] {
            self.touch(dir, |times| (times.modified, times.changed) = (now, now))?;
        }
        Ok(Renamed { from_dir: self.change(from_before)?, to_dir: self.change(to_before)? })
    }

    /// What POSIX forbids: types that do not match, a directory into itself, too many subdirectories.
    fn check_rename(
        &mut self,
        from_dir: u32,
        to_dir: u32,
        source: &InodeInfo,
        target: Option<&InodeInfo>,
        to_links: u32,
    ) -> Result<(), VolumeError> {
        match target {
            Some(target) if source.is_directory() && !target.is_directory() => {
                return Err(VolumeError::NotDirectory);
            }
            Some(target) if !source.is_directory() && target.is_directory() => {
                return Err(VolumeError::IsDirectory);
            }
            Some(_) => {}
            None => self.check_space(1)?,
        }
        if !source.is_directory() || from_dir == to_dir {
            return Ok(());
        }
        if target.is_none() && to_links >= MAX_LINKS {
            return Err(VolumeError::TooManyLinks);
        }
        let mut ancestor = to_dir;
        // A chain longer than there are inodes is a loop on a damaged disk.
        for _ in 0..self.superblock.inodes {
            if ancestor == source.number.raw() {
                return Err(VolumeError::Invalid);
            }
            if ancestor == ROOT {
                return Ok(());
            }
            ancestor = self.parent(ancestor)?;
        }
        Err(VolumeError::Io)
    }

    fn move_name(
        &mut self,
        from_dir: u32,
        from: FileName<'_>,
        to_dir: u32,
        to: FileName<'_>,
        source: &InodeInfo,
        target: Option<&InodeInfo>,
    ) -> Result<(), VolumeError> {
        let (from_number, to_number) = (inode_number(from_dir)?, inode_number(to_dir)?);
        let options = RenameOptions::REPLACE;
        if let Some(target) = target {
            self.disarm_device(target)?;
        }
        let first = self.engine()?.rename(from_number, from, to_number, to, options);
        let outcome = match first {
            Err(error) if target.is_none() && lost_in_split(error) => {
                // Inserting the new name split the directory block under the old one, and the engine lost
                // it; nothing was changed. With the new name in place there is nothing to insert.
                self.place_holder(to_dir, to, source.is_directory())?;
                self.call(|engine| engine.rename(from_number, from, to_number, to, options))?
            }
            other => self.call(|_| other)?,
        };
        if let Some(replaced) = outcome.replaced
            && replaced.requires_reap()
        {
            self.bury(replaced.inode);
        }
        Ok(())
    }

    /// The engine takes the device number of a device node for block addresses and frees those blocks with
    /// the inode; so a node that is about to lose its last name becomes device 0:0, which addresses none.
    fn disarm_device(&mut self, info: &InodeInfo) -> Result<(), VolumeError> {
        if info.links > 1 || info.device_number.is_none() {
            return Ok(());
        }
        let device_number = Some(DeviceNumber::ZERO);
        self.update(
            info.number.raw(),
            InodeMetadataUpdate { device_number, ..InodeMetadataUpdate::default() },
        )
    }

    fn place_holder(&mut self, dir: u32, name: FileName<'_>, directory: bool) -> Result<(), VolumeError> {
        let nobody = MutationContext::new(0, 0, 0, 0);
        let (dir, mode) = (inode_number(dir)?, permissions(0)?);
        self.call(|engine| match directory {
            true => engine.create_directory(nobody, dir, name, mode),
            false => engine.create_regular_file(nobody, dir, name, mode),
        })
        .map(|_| ())
    }
}

/// What the engine reports when the old name of a rename, which is known to exist, moved to another block.
fn lost_in_split(error: Ext4Error) -> bool {
    error.is_corruption() || error.kind() == Ext4ErrorKind::NotFound
}

fn check_kind(kind: &ObjectKind<'_>, parent_links: u32) -> Result<(), VolumeError> {
    match kind {
        ObjectKind::Symlink([]) => Err(VolumeError::Invalid),
        ObjectKind::Symlink(target) if target.len() > MAX_TARGET => Err(VolumeError::NameTooLong),
        ObjectKind::Directory if parent_links >= MAX_LINKS => Err(VolumeError::TooManyLinks),
        _ => Ok(()),
    }
}
