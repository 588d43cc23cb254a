//! The operations.

use super::content::{BLOCK, Content};
use super::tree::{DOT_COOKIE, DOT_DOT_COOKIE, touch, touch_content};
use super::{Body, MemoryVolume, Operation, Tree};
use crate::{
    Attributes, Change, ClearSetid, Created, DirEntry, DirPage, FileId, FileType, Limits, NewObject,
    ObjectKind, Owner, OwnerUsage, Removed, Renamed, SetAttributes, SetTime, SpaceUsage, Time, Volume,
    VolumeError, VolumeId,
};
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::future::Future;

/// 16 TiB less a block: ext4's limit with blocks of 4 KiB.
const MAX_FILE_SIZE: u64 = (1 << 44) - BLOCK;

/// Longest symbolic link target.
const MAX_TARGET: usize = 4095;

/// Largest state file.
const MAX_STATE: usize = 64 * 1024;

/// What [`Volume::read_dir`] counts for an entry besides its name.
const ENTRY_OVERHEAD: usize = 24;

impl Volume for MemoryVolume {
    fn id(&self) -> VolumeId {
        self.options.id
    }

    fn root(&self) -> FileId {
        self.tree.borrow().root()
    }

    fn max_file_size(&self) -> u64 {
        MAX_FILE_SIZE
    }

    fn max_links(&self) -> u32 {
        self.options.max_links
    }

    fn is_read_only(&self) -> bool {
        self.read_only.get()
    }

    fn write_verifier(&self) -> [u8; 8] {
        self.verifier.get().to_be_bytes()
    }

    async fn attributes(&self, id: FileId) -> Result<Attributes, VolumeError> {
        self.check(Operation::Lookup)?;
        Ok(self.tree.borrow().node(id)?.attributes)
    }

    async fn set_attributes(
        &self,
        id: FileId,
        changes: SetAttributes,
        guard: Option<Time>,
    ) -> Result<Change, VolumeError> {
        self.check(Operation::Change)?;
        let mut tree = self.tree.borrow_mut();
        let before = tree.node(id)?.attributes;
        if guard.is_some_and(|guard| guard != before.ctime) {
            return Err(VolumeError::GuardMismatch);
        }
        self.check_gift(&tree, &before, changes.uid, changes.gid)?;
        let now = self.now();
        if let Some(size) = changes.size {
            resize(&mut tree, id, size)?;
            touch_content(&mut tree.node_mut(id)?.attributes, now);
            self.dirty.borrow_mut().insert(id.inode);
        } else {
            touch(&mut tree.node_mut(id)?.attributes, now);
        }
        let attributes = &mut tree.node_mut(id)?.attributes;
        attributes.mode = changes.mode.map_or(attributes.mode, |mode| mode & 0o7777);
        attributes.uid = changes.uid.unwrap_or(attributes.uid);
        attributes.gid = changes.gid.unwrap_or(attributes.gid);
        set_time(&mut attributes.atime, changes.atime, attributes.ctime);
        set_time(&mut attributes.mtime, changes.mtime, attributes.ctime);
        Ok(Change { before, after: *attributes })
    }

    async fn lookup(&self, dir: FileId, name: &[u8]) -> Result<Attributes, VolumeError> {
        self.check(Operation::Lookup)?;
        let tree = self.tree.borrow();
        let id = tree.find(dir, name)?;
        Ok(tree.node(id)?.attributes)
    }

    async fn read_link(&self, id: FileId) -> Result<Vec<u8>, VolumeError> {
        self.check(Operation::Lookup)?;
        match &self.tree.borrow().node(id)?.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(VolumeError::Invalid),
        }
    }

    async fn read(&self, id: FileId, offset: u64, buffer: &mut [u8]) -> Result<usize, VolumeError> {
        self.check(Operation::Read)?;
        let tree = self.tree.borrow();
        let node = tree.node(id)?;
        let content = match &node.body {
            Body::File(content) => content,
            Body::Directory(_) => return Err(VolumeError::IsDirectory),
            _ => return Err(VolumeError::Invalid),
        };
        let left = node.attributes.size.saturating_sub(offset);
        let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        content.read(offset, &mut buffer[..count]);
        Ok(count)
    }

    async fn write(
        &self,
        id: FileId,
        offset: u64,
        data: &[u8],
        clear_setid: ClearSetid,
    ) -> Result<Change, VolumeError> {
        self.check(Operation::Write)?;
        let mut tree = self.tree.borrow_mut();
        let node = tree.node(id)?;
        let before = node.attributes;
        let content = match &node.body {
            Body::File(content) => content,
            Body::Directory(_) => return Err(VolumeError::IsDirectory),
            _ => return Err(VolumeError::Invalid),
        };
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= MAX_FILE_SIZE);
        let end = end.ok_or(VolumeError::TooBig)?;
        if data.is_empty() {
            return Ok(Change { before, after: before });
        }
        let missing = content.missing(offset, data.len());
        let more = OwnerUsage { bytes: missing * BLOCK, inodes: 0 };
        self.check_limits(&tree, [Owner::User(before.uid), Owner::Group(before.gid)], more)?;
        tree.take_blocks(missing)?;
        let node = tree.node_mut(id)?;
        if let Body::File(content) = &mut node.body {
            content.write(offset, data);
        }
        let attributes = &mut node.attributes;
        attributes.size = attributes.size.max(end);
        attributes.allocated += missing * BLOCK;
        attributes.mode = clear_setid.left_of(attributes.mode);
        touch_content(attributes, self.now());
        self.dirty.borrow_mut().insert(id.inode);
        Ok(Change { before, after: *attributes })
    }

    async fn commit(&self, id: FileId) -> Result<(), VolumeError> {
        self.check(Operation::Commit)?;
        self.make_stable(Some(id));
        if self.failed_writes.borrow_mut().remove(&id.inode) {
            return Err(VolumeError::Io);
        }
        Ok(())
    }

    async fn create(&self, dir: FileId, name: &[u8], new: NewObject<'_>) -> Result<Created, VolumeError> {
        self.check(Operation::Change)?;
        let mut tree = self.tree.borrow_mut();
        tree.check_free(dir, name)?;
        let (file_type, body, links, size) = match new.kind {
            ObjectKind::Regular => (FileType::Regular, Body::File(Content::default()), 1, 0),
            ObjectKind::Directory => {
                if tree.node(dir)?.attributes.links >= self.options.max_links {
                    return Err(VolumeError::TooManyLinks);
                }
                let directory = super::tree::Directory::new(dir.inode);
                (FileType::Directory, Body::Directory(directory), 2, BLOCK)
            }
            ObjectKind::Symlink([]) => return Err(VolumeError::Invalid),
            ObjectKind::Symlink(target) if target.len() > MAX_TARGET => return Err(VolumeError::NameTooLong),
            ObjectKind::Symlink(target) => {
                (FileType::Symlink, Body::Symlink(target.to_vec()), 1, target.len() as u64)
            }
            ObjectKind::BlockDevice(_) => (FileType::BlockDevice, Body::Special, 1, 0),
            ObjectKind::CharDevice(_) => (FileType::CharDevice, Body::Special, 1, 0),
            ObjectKind::Fifo => (FileType::Fifo, Body::Special, 1, 0),
            ObjectKind::Socket => (FileType::Socket, Body::Special, 1, 0),
        };
        let bytes = if file_type == FileType::Directory { BLOCK } else { 0 };
        let more = OwnerUsage { bytes, inodes: 1 };
        self.check_limits(&tree, [Owner::User(new.uid), Owner::Group(new.gid)], more)?;
        let now = self.now();
        let id = tree.allocate(file_type, now)?;
        let node = tree.node_mut(id)?;
        node.body = body;
        let attributes = &mut node.attributes;
        attributes.mode = new.mode & 0o7777;
        attributes.uid = new.uid;
        attributes.gid = new.gid;
        attributes.links = links;
        attributes.size = size;
        attributes.allocated = bytes;
        if let ObjectKind::BlockDevice(device) | ObjectKind::CharDevice(device) = new.kind {
            attributes.device = device;
        }
        set_time(&mut attributes.atime, new.atime, now);
        set_time(&mut attributes.mtime, new.mtime, now);
        let object = *attributes;
        let more_links = i32::from(file_type == FileType::Directory);
        let dir = tree.change_directory(dir, now, more_links, |dir| dir.insert(name, id.inode))?;
        Ok(Created { object, dir })
    }

    async fn link(&self, id: FileId, dir: FileId, name: &[u8]) -> Result<Created, VolumeError> {
        self.check(Operation::Change)?;
        let mut tree = self.tree.borrow_mut();
        let attributes = tree.node(id)?.attributes;
        if attributes.file_type == FileType::Directory {
            return Err(VolumeError::NotPermitted);
        }
        tree.check_free(dir, name)?;
        if attributes.links >= self.options.max_links {
            return Err(VolumeError::TooManyLinks);
        }
        let now = self.now();
        let attributes = &mut tree.node_mut(id)?.attributes;
        attributes.links += 1;
        touch(attributes, now);
        let object = *attributes;
        let dir = tree.change_directory(dir, now, 0, |dir| dir.insert(name, id.inode))?;
        Ok(Created { object, dir })
    }

    async fn remove(&self, dir: FileId, name: &[u8]) -> Result<Removed, VolumeError> {
        self.check(Operation::Change)?;
        let mut tree = self.tree.borrow_mut();
        let object = tree.find(dir, name)?;
        if tree.node(object)?.attributes.file_type == FileType::Directory {
            return Err(VolumeError::IsDirectory);
        }
        let now = self.now();
        tree.unlink(object, 1, now)?;
        let dir = tree.change_directory(dir, now, 0, |dir| dir.remove(name))?;
        Ok(Removed { object, dir })
    }

    async fn remove_dir(&self, dir: FileId, name: &[u8]) -> Result<Removed, VolumeError> {
        self.check(Operation::Change)?;
        let mut tree = self.tree.borrow_mut();
        match name {
            b"." => return Err(VolumeError::Invalid),
            b".." => return Err(VolumeError::NotEmpty),
            _ => {}
        }
        let object = tree.find(dir, name)?;
        if !tree.directory(object)?.is_empty() {
            return Err(VolumeError::NotEmpty);
        }
        let now = self.now();
        tree.unlink(object, 2, now)?;
        let dir = tree.change_directory(dir, now, -1, |dir| dir.remove(name))?;
        Ok(Removed { object, dir })
    }

    async fn rename(
        &self,
        from_dir: FileId,
        from_name: &[u8],
        to_dir: FileId,
        to_name: &[u8],
    ) -> Result<Renamed, VolumeError> {
        self.check(Operation::Change)?;
        rename(&mut self.tree.borrow_mut(), self.now(), (from_dir, from_name), (to_dir, to_name))
    }

    async fn read_dir(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Result<DirPage, VolumeError> {
        self.check(Operation::Lookup)?;
        let tree = self.tree.borrow();
        let directory = tree.directory(dir)?;
        let dots = [(DOT_COOKIE, &b"."[..], dir.inode), (DOT_DOT_COOKIE, b"..", directory.parent)];
        let named = directory.order.range(cookie.saturating_add(1)..);
        let named = named.filter_map(|(cookie, name)| Some((*cookie, &name[..], directory.get(name)?)));
        let mut rest = dots.into_iter().filter(|entry| entry.0 > cookie).chain(named).peekable();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some((cookie, name, inode)) = rest.peek() {
            bytes += name.len() + ENTRY_OVERHEAD;
            if bytes > max_bytes && !entries.is_empty() {
                return Ok(DirPage { entries, end: false });
            }
            entries.push(DirEntry { name: name.to_vec(), inode: *inode, cookie: *cookie, attributes: None });
            rest.next();
        }
        Ok(DirPage { entries, end: true })
    }

    async fn usage(&self) -> Result<SpaceUsage, VolumeError> {
        self.check(Operation::Lookup)?;
        let tree = self.tree.borrow();
        let total_bytes = self.options.capacity / BLOCK * BLOCK;
        let free_bytes = total_bytes.saturating_sub(tree.used_bytes());
        Ok(SpaceUsage {
            total_bytes,
            free_bytes,
            available_bytes: free_bytes,
            total_inodes: self.options.inodes,
            free_inodes: self.options.inodes.saturating_sub(tree.used_inodes()),
        })
    }

    fn usage_of(&self, owner: Owner) -> Option<OwnerUsage> {
        Some(self.tree.borrow().usage_of(owner))
    }

    fn set_limits(&self, limits: Limits) {
        *self.limits.borrow_mut() = Rc::new(limits);
    }

    fn limits(&self) -> Rc<Limits> {
        self.limits.borrow().clone()
    }

    async fn limited<T>(
        &self,
        operation: impl Future<Output = Result<T, VolumeError>>,
    ) -> Result<T, VolumeError> {
        self.limited.run(operation).await
    }

    async fn read_state(&self, name: &str) -> Result<Option<Vec<u8>>, VolumeError> {
        self.check(Operation::State)?;
        Ok(self.states.borrow().get(name).cloned())
    }

    async fn write_state(&self, name: &str, content: &[u8]) -> Result<(), VolumeError> {
        self.state_turn().await;
        self.check(Operation::State)?;
        if content.len() > MAX_STATE {
            return Err(VolumeError::TooBig);
        }
        self.states.borrow_mut().insert(name.to_string(), content.to_vec());
        Ok(())
    }

    async fn unmount(&self) -> Result<(), VolumeError> {
        self.check(Operation::Commit)?;
        self.make_stable(None);
        Ok(())
    }
}

fn set_time(place: &mut Time, how: SetTime, now: Time) {
    match how {
        SetTime::Keep => {}
        SetTime::Now => *place = now,
        SetTime::To(time) => *place = time,
    }
}

fn resize(tree: &mut Tree, id: FileId, size: u64) -> Result<(), VolumeError> {
    let node = tree.node_mut(id)?;
    let content = match &mut node.body {
        Body::File(content) => content,
        Body::Directory(_) => return Err(VolumeError::IsDirectory),
        _ => return Err(VolumeError::Invalid),
    };
    if size > MAX_FILE_SIZE {
        return Err(VolumeError::TooBig);
    }
    let blocks = content.blocks();
    content.truncate(size);
    let released = blocks - content.blocks();
    node.attributes.size = size;
    node.attributes.allocated -= released * BLOCK;
    tree.release_blocks(released);
    Ok(())
}

fn rename(
    tree: &mut Tree,
    now: Time,
    (from_dir, from_name): (FileId, &[u8]),
    (to_dir, to_name): (FileId, &[u8]),
) -> Result<Renamed, VolumeError> {
    let dots = |name: &[u8]| matches!(name, b"." | b"..");
    let moved = tree.find(from_dir, from_name)?;
    let replaced = match tree.find(to_dir, to_name) {
        Ok(id) => Some(id),
        Err(VolumeError::NotFound) => None,
        Err(error) => return Err(error),
    };
    if dots(from_name) || dots(to_name) {
        return Err(VolumeError::Invalid);
    }
    let unchanged =
        |dir| tree.node(dir).map(|node| Change { before: node.attributes, after: node.attributes });
    if replaced == Some(moved) {
        return Ok(Renamed { from_dir: unchanged(from_dir)?, to_dir: unchanged(to_dir)? });
    }
    let is_directory = |id| tree.node(id).map(|node| node.attributes.file_type == FileType::Directory);
    let moves_directory = is_directory(moved)?;
    if moves_directory && tree.is_below(to_dir, moved)? {
        return Err(VolumeError::Invalid);
    }
    if let Some(replaced) = replaced {
        match (moves_directory, is_directory(replaced)?) {
            (true, false) => return Err(VolumeError::NotDirectory),
            (false, true) => return Err(VolumeError::IsDirectory),
            (true, true) if !tree.directory(replaced)?.is_empty() => return Err(VolumeError::NotEmpty),
            _ => {}
        }
        tree.unlink(replaced, if moves_directory { 2 } else { 1 }, now)?;
    }
    touch(&mut tree.node_mut(moved)?.attributes, now);
    // A directory counts in its parent's links by its `..`.
    let leaves = -i32::from(moves_directory);
    let arrives = i32::from(moves_directory) - i32::from(moves_directory && replaced.is_some());
    let put = |dir: &mut super::tree::Directory| match replaced {
        Some(_) => dir.replace(to_name, moved.inode),
        None => dir.insert(to_name, moved.inode),
    };
    if from_dir == to_dir {
        let change = tree.change_directory(from_dir, now, leaves + arrives, |dir| {
            dir.remove(from_name);
            put(dir);
        })?;
        return Ok(Renamed { from_dir: change, to_dir: change });
    }
    let from_change = tree.change_directory(from_dir, now, leaves, |dir| dir.remove(from_name))?;
    let to_change = tree.change_directory(to_dir, now, arrives, put)?;
    if let Body::Directory(directory) = &mut tree.node_mut(moved)?.body {
        directory.parent = to_dir.inode;
    }
    Ok(Renamed { from_dir: from_change, to_dir: to_change })
}
