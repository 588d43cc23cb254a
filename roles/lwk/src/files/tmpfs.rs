//! Files that are kept in memory: /dev/shm (tmpfs(5), shm_overview(7)).
//!
//! One lock for the shape of the tree. Files that are open live on when their names are gone.
//!
//! What is here stays when its makers end. So all names together may take so much memory and no more, as the inodes of a tmpfs are
//! limited on Linux (nr_inodes of tmpfs(5)); what the files hold is memory of programs.

use super::memory::{Attributes, Content, MemoryFile};
use super::{Budget, FileType, Stat};
use crate::system::System;
use crate::{Errno, room};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use keelson_lwk_wire::layout::makedev;
use spin::Mutex;

/// `st_dev` of what lies in it.
pub const DEVICE: u64 = makedev(0, 24);

/// Longest name (NAME_MAX).
const NAME_MAX: usize = 255;

/// Bytes that the kernel keeps for a name and what it stands for, besides those of the name.
const NODE_BYTES: u64 = 1024;

/// RENAME_NOREPLACE and RENAME_EXCHANGE (rename(2)).
const NOREPLACE: u32 = 1;
const EXCHANGE: u32 = 2;

/// Something in the tree.
#[derive(Clone)]
pub enum Node {
    /// A directory.
    Directory(Arc<Directory>),
    /// A regular file and its links.
    File(Arc<Content>, Arc<AtomicU32>),
    /// A symbolic link.
    Link(Arc<Link>),
}

/// A symbolic link.
pub struct Link {
    inode: u64,
    /// Where it leads to.
    pub target: Vec<u8>,
}

/// A directory. Its entries belong to the lock of the tree.
pub struct Directory {
    inode: u64,
    attributes: Mutex<Attributes>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    /// By name, with the place in the order of reading.
    by_name: BTreeMap<Vec<u8>, (u64, Node)>,
    by_place: BTreeMap<u64, Vec<u8>>,
    next: u64,
    /// It has no name any more: nothing can be added.
    removed: bool,
}

/// Who makes something, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Maker {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions, after the umask.
    pub permissions: u32,
}

/// The tree.
pub struct Tmpfs {
    root: Arc<Directory>,
    shape: Mutex<()>,
    /// Bytes of all names, and of what they stand for.
    budget: Budget,
}

impl Default for Tmpfs {
    fn default() -> Tmpfs {
        Tmpfs::of(u64::MAX)
    }
}

/// A name, as often as it is kept.
struct Name {
    by_name: Vec<u8>,
    by_place: Vec<u8>,
}

impl Name {
    /// ENOMEM.
    fn of(name: &[u8]) -> Result<Name, Errno> {
        Ok(Name { by_name: room::copy_of(name)?, by_place: room::copy_of(name)? })
    }

    /// Bytes of one.
    fn bytes(name: &[u8]) -> u64 {
        2 * name.len() as u64
    }
}

impl Directory {
    fn new(maker: Maker, times: Attributes) -> Arc<Directory> {
        let Maker { uid, gid, permissions } = maker;
        Arc::new(Directory {
            inode: super::next_inode(),
            attributes: Mutex::new(Attributes { uid, gid, permissions, ..times }),
            entries: Mutex::default(),
        })
    }

    /// Entries from place `from` on: place of the next one, number, type, name. Stops when `each` says so.
    pub fn read(&self, from: u64, mut each: impl FnMut(u64, u64, FileType, &[u8]) -> bool) {
        let entries = self.entries.lock();
        for (place, name) in entries.by_place.range(from..) {
            let Some((_, node)) = entries.by_name.get(name) else { continue };
            let stat = node.stat_alone();
            let kind = FileType::of(stat.mode).unwrap_or(FileType::Regular);
            if !each(place + 1, stat.inode, kind, name) {
                return;
            }
        }
    }
}

impl Entries {
    fn insert(&mut self, name: Name, node: Node) -> Option<Node> {
        let place = self.next;
        self.next += 1;
        self.by_place.insert(place, name.by_place);
        let before = self.by_name.insert(name.by_name, (place, node));
        before.map(|(place, node)| {
            self.by_place.remove(&place);
            node
        })
    }

    fn remove(&mut self, name: &[u8]) -> Option<Node> {
        let (place, node) = self.by_name.remove(name)?;
        self.by_place.remove(&place);
        Some(node)
    }
}

impl Node {
    fn stat_alone(&self) -> Stat {
        match self {
            Node::Directory(directory) => {
                let Attributes { permissions, uid, gid, accessed, modified, changed } =
                    *directory.attributes.lock();
                let mode = FileType::Directory as u32 | permissions;
                let inode = directory.inode;
                let common = Stat { inode, mode, uid, gid, accessed, modified, changed, ..Stat::default() };
                Stat { device: DEVICE, links: 2, block_size: 4096, ..common }
            }
            Node::File(content, links) => content.stat(links.load(Ordering::Acquire)),
            Node::Link(link) => Stat {
                device: DEVICE,
                inode: link.inode,
                mode: FileType::Link as u32 | 0o777,
                links: 1,
                size: link.target.len() as u64,
                block_size: 4096,
                ..Stat::default()
            },
        }
    }

    /// What stat(2) tells.
    pub fn stat(&self) -> Stat {
        let mut stat = self.stat_alone();
        if let Node::Directory(directory) = self {
            let entries = directory.entries.lock();
            let inner = entries.by_name.values().filter(|(_, node)| matches!(node, Node::Directory(_)));
            stat.links += inner.count() as u32;
            stat.size = entries.by_name.len() as u64 * 20 + 40;
        }
        stat
    }

    /// Changes owner, permissions and times.
    pub fn with_attributes<T>(&self, act: impl FnOnce(&mut Attributes) -> T) -> Option<T> {
        match self {
            Node::Directory(directory) => Some(act(&mut directory.attributes.lock())),
            Node::File(content, _) => Some(content.with_attributes(act)),
            Node::Link(_) => None,
        }
    }

    fn is_directory(&self) -> bool {
        matches!(self, Node::Directory(_))
    }

    fn inode(&self) -> u64 {
        self.stat_alone().inode
    }

    /// Bytes that the kernel keeps for it under a name.
    fn cost(&self, name: &[u8]) -> u64 {
        let target = if let Node::Link(link) = self { link.target.len() as u64 } else { 0 };
        NODE_BYTES + Name::bytes(name) + target
    }
}

impl Tmpfs {
    /// An empty one whose names may take so many bytes.
    pub fn of(bytes: u64) -> Tmpfs {
        let maker = Maker { permissions: 0o1777, ..Maker::default() };
        let root = Directory::new(maker, Attributes::default());
        Tmpfs { root, shape: Mutex::new(()), budget: Budget::new(bytes) }
    }

    /// About how many files, links and folders there can be, and how many more.
    pub fn inodes(&self) -> (u64, u64) {
        (self.budget.all() / NODE_BYTES, self.budget.left() / NODE_BYTES)
    }

    /// The node at a path below the root, without following a link at its end or on the way.
    pub fn find(&self, path: &[u8]) -> Result<Node, Errno> {
        let mut here = Node::Directory(self.root.clone());
        for part in super::paths::parts(path) {
            let Node::Directory(directory) = here else { return Err(Errno::ENOTDIR) };
            if part.len() > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            let next = directory.entries.lock().by_name.get(part).map(|(_, node)| node.clone());
            here = next.ok_or(Errno::ENOENT)?;
        }
        Ok(here)
    }

    /// Directory and name of what is to be made or removed.
    fn place<'p>(&self, path: &'p [u8]) -> Result<(Arc<Directory>, &'p [u8]), Errno> {
        let (directory, name) = super::paths::split(path);
        if name.is_empty() {
            return Err(Errno::EBUSY);
        }
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        match self.find(directory)? {
            Node::Directory(directory) => Ok((directory, name)),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn add(&self, path: &[u8], make: impl FnOnce() -> Node) -> Result<Node, Errno> {
        let _shape = self.shape.lock();
        let (directory, name) = self.place(path).map_err(|error| match error {
            Errno::EBUSY => Errno::EEXIST,
            error => error,
        })?;
        let mut entries = directory.entries.lock();
        if entries.by_name.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        if entries.removed {
            return Err(Errno::ENOENT);
        }
        let kept = Name::of(name)?;
        let node = make();
        if !self.budget.take(node.cost(name)) {
            return Err(Errno::ENOSPC);
        }
        entries.insert(kept, node.clone());
        Ok(node)
    }

    /// Makes a regular file.
    pub fn create(&self, system: &System, path: &[u8], maker: Maker) -> Result<Node, Errno> {
        self.add(path, || {
            // What lies in a tree cannot be sealed (fcntl(2)).
            let content = Content::lasting(system, DEVICE, maker.permissions, super::seal::SEAL);
            content.with_attributes(|attributes| (attributes.uid, attributes.gid) = (maker.uid, maker.gid));
            Node::File(content, Arc::new(AtomicU32::new(1)))
        })
    }

    /// Makes a directory.
    pub fn make_directory(&self, system: &System, path: &[u8], maker: Maker) -> Result<(), Errno> {
        let now = system.clock.wall();
        let times = Attributes { accessed: now, modified: now, changed: now, ..Attributes::default() };
        self.add(path, || Node::Directory(Directory::new(maker, times))).map(drop)
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, target: &[u8], path: &[u8]) -> Result<(), Errno> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        let target = room::copy_of(target)?;
        let make = || Node::Link(Arc::new(Link { inode: super::next_inode(), target }));
        self.add(path, make).map(drop)
    }

    /// Makes another name of a file.
    pub fn link(&self, from: &[u8], to: &[u8]) -> Result<(), Errno> {
        let node = self.find(from)?;
        let Node::File(_, links) = &node else { return Err(Errno::EPERM) };
        let links = links.clone();
        self.add(to, move || node)?;
        links.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Makes a name of an open file.
    pub fn link_open(&self, file: &MemoryFile, to: &[u8]) -> Result<(), Errno> {
        let links = file.links()?;
        self.add(to, || Node::File(file.content.clone(), links.clone()))?;
        links.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// unlink(2).
    pub fn unlink(&self, path: &[u8]) -> Result<(), Errno> {
        let _shape = self.shape.lock();
        let (directory, name) = self.place(path).map_err(|error| match error {
            Errno::EBUSY => Errno::EISDIR,
            error => error,
        })?;
        let mut entries = directory.entries.lock();
        match entries.by_name.get(name) {
            None => return Err(Errno::ENOENT),
            Some((_, Node::Directory(_))) => return Err(Errno::EISDIR),
            Some(_) => {}
        }
        let gone = entries.remove(name);
        drop(entries);
        if let Some(gone) = gone {
            self.unlinked(name, &gone);
        }
        Ok(())
    }

    /// rmdir(2).
    pub fn remove_directory(&self, path: &[u8]) -> Result<(), Errno> {
        let _shape = self.shape.lock();
        let (directory, name) = self.place(path)?;
        let node = directory.entries.lock().by_name.get(name).map(|(_, node)| node.clone());
        let Node::Directory(gone) = node.ok_or(Errno::ENOENT)? else { return Err(Errno::ENOTDIR) };
        {
            let mut inner = gone.entries.lock();
            if !inner.by_name.is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
            inner.removed = true;
        }
        if let Some(gone) = directory.entries.lock().remove(name) {
            self.unlinked(name, &gone);
        }
        Ok(())
    }

    /// renameat2(2) within the tree.
    pub fn rename(&self, from: &[u8], to: &[u8], flags: u32) -> Result<(), Errno> {
        if flags & !(NOREPLACE | EXCHANGE) != 0 || flags == NOREPLACE | EXCHANGE {
            return Err(Errno::EINVAL);
        }
        let _shape = self.shape.lock();
        let (from_directory, from_name) = self.place(from)?;
        let (to_directory, to_name) = self.place(to)?;
        let find = |directory: &Directory, name: &[u8]| {
            directory.entries.lock().by_name.get(name).map(|(_, node)| node.clone())
        };
        let node = find(&from_directory, from_name).ok_or(Errno::ENOENT)?;
        let target = find(&to_directory, to_name);
        if to_directory.entries.lock().removed {
            return Err(Errno::ENOENT);
        }
        // A directory does not go into itself.
        if node.is_directory() && to != from && super::paths::is_in(to, from) {
            return Err(Errno::EINVAL);
        }
        match (&target, flags) {
            (Some(_), NOREPLACE) => return Err(Errno::EEXIST),
            (None, EXCHANGE) => return Err(Errno::ENOENT),
            (Some(target), EXCHANGE) => {
                if target.is_directory() && super::paths::is_in(from, to) && from != to {
                    return Err(Errno::EINVAL);
                }
                let (first, second) = (Name::of(from_name)?, Name::of(to_name)?);
                from_directory.entries.lock().insert(first, target.clone());
                to_directory.entries.lock().insert(second, node);
                return Ok(());
            }
            (Some(target), _) if target.inode() == node.inode() => return Ok(()),
            (Some(Node::Directory(target)), _) => {
                if !node.is_directory() {
                    return Err(Errno::EISDIR);
                }
                if !target.entries.lock().by_name.is_empty() {
                    return Err(Errno::ENOTEMPTY);
                }
            }
            (Some(_), _) if node.is_directory() => return Err(Errno::ENOTDIR),
            _ => {}
        }
        let kept = Name::of(to_name)?;
        // It only costs what the name is longer.
        let (before, after) = (Name::bytes(from_name), Name::bytes(to_name));
        if !self.budget.take(after.saturating_sub(before)) {
            return Err(Errno::ENOSPC);
        }
        self.budget.give_back(before.saturating_sub(after));
        if let Some(Node::Directory(target)) = &target {
            target.entries.lock().removed = true;
        }
        from_directory.entries.lock().remove(from_name);
        let replaced = to_directory.entries.lock().insert(kept, node);
        if let Some(replaced) = replaced {
            self.unlinked(to_name, &replaced);
        }
        Ok(())
    }

    /// A name is gone.
    fn unlinked(&self, name: &[u8], node: &Node) {
        self.budget.give_back(node.cost(name));
        if let Node::File(_, links) = node {
            links.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests;
