//! Inodes and names.

use super::content::{BLOCK, Content};
use super::{MemoryOptions, fresh};
use crate::{Attributes, Change, FileId, FileType, Time, VolumeError};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;

/// The root's inode number, as in ext4.
const ROOT: u64 = 2;

/// Cookies of `.` and `..`; other entries count up from there.
pub(super) const DOT_COOKIE: u64 = 1;
pub(super) const DOT_DOT_COOKIE: u64 = 2;

/// Longest name.
const MAX_NAME: usize = 255;

#[derive(Clone)]
pub(super) struct Node {
    pub attributes: Attributes,
    pub body: Body,
}

#[derive(Clone)]
pub(super) enum Body {
    File(Content),
    Directory(Directory),
    Symlink(Vec<u8>),
    Special,
}

#[derive(Clone)]
pub(super) struct Directory {
    pub parent: u64,
    /// Inode and cookie by name.
    names: BTreeMap<Vec<u8>, (u64, u64)>,
    /// Name by cookie: the order of reading.
    pub order: BTreeMap<u64, Vec<u8>>,
    next_cookie: u64,
}

impl Directory {
    pub fn new(parent: u64) -> Directory {
        Directory { parent, names: BTreeMap::new(), order: BTreeMap::new(), next_cookie: DOT_DOT_COOKIE + 1 }
    }

    pub fn get(&self, name: &[u8]) -> Option<u64> {
        self.names.get(name).map(|(inode, _)| *inode)
    }

    pub fn insert(&mut self, name: &[u8], inode: u64) {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        self.names.insert(name.to_vec(), (inode, cookie));
        self.order.insert(cookie, name.to_vec());
    }

    /// Lets an existing name stand for another inode, at the same place.
    pub fn replace(&mut self, name: &[u8], inode: u64) {
        if let Some(entry) = self.names.get_mut(name) {
            entry.0 = inode;
        }
    }

    pub fn remove(&mut self, name: &[u8]) {
        if let Some((_, cookie)) = self.names.remove(name) {
            self.order.remove(&cookie);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Everything that a power cut may take back. Nodes are shared until changed, so that a copy is cheap.
#[derive(Clone)]
pub(super) struct Tree {
    nodes: BTreeMap<u64, Rc<Node>>,
    free: Vec<u64>,
    next_inode: u64,
    next_generation: u64,
    used_blocks: u64,
    options: MemoryOptions,
}

impl Tree {
    pub fn new(time: Time, options: MemoryOptions) -> Tree {
        let root = FileId { inode: ROOT, discriminator: 1 };
        let attributes = Attributes {
            mode: 0o755,
            links: 2,
            size: BLOCK,
            allocated: BLOCK,
            ..fresh(root, FileType::Directory, time)
        };
        let node = Node { attributes, body: Body::Directory(Directory::new(ROOT)) };
        Tree {
            nodes: BTreeMap::from([(ROOT, Rc::new(node))]),
            free: Vec::new(),
            next_inode: 11,
            next_generation: 2,
            used_blocks: 1,
            options,
        }
    }

    pub fn root(&self) -> FileId {
        FileId { inode: ROOT, discriminator: 1 }
    }

    pub fn used_bytes(&self) -> u64 {
        self.used_blocks * BLOCK
    }

    pub fn used_inodes(&self) -> u64 {
        self.nodes.len() as u64
    }

    /// Everything there is.
    pub fn objects(&self) -> impl Iterator<Item = &Attributes> {
        self.nodes.values().map(|node| &node.attributes)
    }

    pub fn node(&self, id: FileId) -> Result<&Node, VolumeError> {
        self.nodes
            .get(&id.inode)
            .filter(|node| node.attributes.id == id)
            .map(|node| &**node)
            .ok_or(VolumeError::Stale)
    }

    pub fn node_mut(&mut self, id: FileId) -> Result<&mut Node, VolumeError> {
        self.nodes
            .get_mut(&id.inode)
            .filter(|node| node.attributes.id == id)
            .map(Rc::make_mut)
            .ok_or(VolumeError::Stale)
    }

    /// The id of an inode that a directory entry names.
    pub fn id_of(&self, inode: u64) -> Result<FileId, VolumeError> {
        self.nodes.get(&inode).map(|node| node.attributes.id).ok_or(VolumeError::Io)
    }

    pub fn directory(&self, id: FileId) -> Result<&Directory, VolumeError> {
        match &self.node(id)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(VolumeError::NotDirectory),
        }
    }

    fn directory_mut(&mut self, id: FileId) -> Result<&mut Directory, VolumeError> {
        match &mut self.node_mut(id)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(VolumeError::NotDirectory),
        }
    }

    /// Finds a name, `.` and `..` too.
    pub fn find(&self, dir: FileId, name: &[u8]) -> Result<FileId, VolumeError> {
        let directory = self.directory(dir)?;
        check_name(name)?;
        match name {
            b"." => Ok(dir),
            b".." => self.id_of(directory.parent),
            _ => self.id_of(directory.get(name).ok_or(VolumeError::NotFound)?),
        }
    }

    /// A name that is to be made: must be proper, and free.
    pub fn check_free(&self, dir: FileId, name: &[u8]) -> Result<(), VolumeError> {
        match self.find(dir, name) {
            Ok(_) => Err(VolumeError::Exists),
            Err(VolumeError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Enters a new object into the table of inodes.
    pub fn allocate(&mut self, file_type: FileType, time: Time) -> Result<FileId, VolumeError> {
        let blocks = u64::from(file_type == FileType::Directory);
        if self.used_inodes() >= self.options.inodes {
            return Err(VolumeError::NoSpace);
        }
        self.take_blocks(blocks)?;
        let inode = self.free.pop().unwrap_or_else(|| {
            self.next_inode += 1;
            self.next_inode - 1
        });
        let id = FileId { inode, discriminator: self.next_generation };
        self.next_generation += 1;
        let node = Node { attributes: fresh(id, file_type, time), body: Body::Special };
        self.nodes.insert(inode, Rc::new(node));
        Ok(id)
    }

    pub fn take_blocks(&mut self, blocks: u64) -> Result<(), VolumeError> {
        let used = self.used_blocks + blocks;
        if blocks > 0 && used.saturating_mul(BLOCK) > self.options.capacity {
            return Err(VolumeError::NoSpace);
        }
        self.used_blocks = used;
        Ok(())
    }

    pub fn release_blocks(&mut self, blocks: u64) {
        self.used_blocks -= blocks;
    }

    /// Takes one link away; the object goes with its last one.
    pub fn unlink(&mut self, id: FileId, links: u32, now: Time) -> Result<(), VolumeError> {
        let node = self.node_mut(id)?;
        node.attributes.links = node.attributes.links.saturating_sub(links);
        touch(&mut node.attributes, now);
        if node.attributes.links == 0 {
            let blocks = node.attributes.allocated / BLOCK;
            self.nodes.remove(&id.inode);
            self.free.push(id.inode);
            self.release_blocks(blocks);
        }
        Ok(())
    }

    /// Changes the names and links of a directory, and its times.
    pub fn change_directory(
        &mut self,
        dir: FileId,
        now: Time,
        links: i32,
        change: impl FnOnce(&mut Directory),
    ) -> Result<Change, VolumeError> {
        let before = self.node(dir)?.attributes;
        change(self.directory_mut(dir)?);
        let attributes = &mut self.node_mut(dir)?.attributes;
        attributes.links = attributes.links.saturating_add_signed(links);
        touch_content(attributes, now);
        Ok(Change { before, after: *attributes })
    }

    /// True when `dir` is `ancestor` or below it.
    pub fn is_below(&self, dir: FileId, ancestor: FileId) -> Result<bool, VolumeError> {
        let mut at = dir;
        while at != ancestor {
            let parent = self.id_of(self.directory(at)?.parent)?;
            if parent == at {
                return Ok(false);
            }
            at = parent;
        }
        Ok(true)
    }

    /// Gives a file the content it has in another tree, or none if it is not there.
    pub fn take_content(&mut self, other: &Tree, inode: u64) {
        let Some(node) = self.nodes.get_mut(&inode) else { return };
        let node = Rc::make_mut(node);
        let Body::File(content) = &mut node.body else { return };
        let old = other.nodes.get(&inode).filter(|old| old.attributes.id == node.attributes.id);
        let (size, old_content) = match old.map(|old| (&old.body, old.attributes.size)) {
            Some((Body::File(content), size)) => (size, content.clone()),
            _ => (0, Content::default()),
        };
        self.used_blocks = self.used_blocks - content.blocks() + old_content.blocks();
        node.attributes.size = size;
        node.attributes.allocated = old_content.blocks() * BLOCK;
        *content = old_content;
    }
}

/// The metadata of an object changed.
pub(super) fn touch(attributes: &mut Attributes, now: Time) {
    attributes.ctime = now.max(after(attributes.ctime));
}

/// The content of an object changed.
pub(super) fn touch_content(attributes: &mut Attributes, now: Time) {
    touch(attributes, now);
    attributes.mtime = attributes.ctime;
}

/// The least later time.
fn after(time: Time) -> Time {
    if time.nanos < 999_999_999 {
        Time { nanos: time.nanos + 1, ..time }
    } else {
        Time { seconds: time.seconds + 1, nanos: 0 }
    }
}

fn check_name(name: &[u8]) -> Result<(), VolumeError> {
    if name.len() > MAX_NAME {
        return Err(VolumeError::NameTooLong);
    }
    if name.is_empty() || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
        return Err(VolumeError::Invalid);
    }
    Ok(())
}
