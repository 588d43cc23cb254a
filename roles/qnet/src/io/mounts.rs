//! `/proc/mount`, and the directories above prefixes that no manager has.

use super::manager::{Found, Io, Lookup, OpenFile, Opening, ResourceManager, now};
use super::namespace::{Mount, Namespace};
use super::path::name_id;
use super::text::plain;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use keelson_qnet_wire::Errno;
use keelson_volume::{Attributes, DirEntry, DirPage, FileId, FileType};

/// `/proc/mount`: a directory for each component of a prefix; in it, each manager as a file
/// `nd,pid,chid,handle,ftype` (section 14.1).
pub struct MountList {
    namespace: Weak<Namespace>,
}

impl MountList {
    /// Lists a table of prefixes.
    pub fn new(namespace: &Rc<Namespace>) -> MountList {
        MountList { namespace: Rc::downgrade(namespace) }
    }
}

/// The directories that prefixes need: with `/proc/boot` there is a `/proc`.
pub(crate) struct PrefixDirectories {
    namespace: Weak<Namespace>,
}

impl PrefixDirectories {
    pub fn new(namespace: &Rc<Namespace>) -> PrefixDirectories {
        PrefixDirectories { namespace: Rc::downgrade(namespace) }
    }
}

/// A tree that is made of nothing but paths.
trait PathTree {
    /// All leaves, as components.
    fn leaves(&self) -> Vec<Vec<Vec<u8>>>;

    /// Whether a leaf is a file.
    fn has_files(&self) -> bool;

    /// What a leaf's or directory's id stands for.
    fn kind_of(&self, id: FileId) -> Option<FileType> {
        if id == self.root_id() {
            return Some(FileType::Directory);
        }
        for leaf in self.leaves() {
            // A prefix itself is what its manager says it is.
            let depths = if self.has_files() { leaf.len() } else { leaf.len().saturating_sub(1) };
            for depth in 1..=depths {
                if id_of(leaf.get(..depth).unwrap_or_default()) == id {
                    let is_file = depth == leaf.len() && self.has_files();
                    return Some(if is_file { FileType::Regular } else { FileType::Directory });
                }
            }
        }
        None
    }

    fn root_id(&self) -> FileId {
        id_of(&[])
    }

    /// Names in a directory, in order.
    fn names(&self, dir: FileId) -> BTreeMap<Vec<u8>, FileId> {
        let mut names = BTreeMap::new();
        for leaf in self.leaves() {
            for depth in 0..leaf.len() {
                if id_of(leaf.get(..depth).unwrap_or_default()) == dir
                    && let Some(name) = leaf.get(depth)
                {
                    names.insert(name.clone(), id_of(leaf.get(..=depth).unwrap_or_default()));
                }
            }
        }
        names
    }

    fn describe(&self, id: FileId) -> Result<Attributes, Errno> {
        match self.kind_of(id).ok_or(Errno::ENOENT)? {
            FileType::Directory => Ok(with_id(plain(0, FileType::Directory, 0o555), id)),
            file_type => Ok(with_id(plain(0, file_type, 0o444), id)),
        }
    }

    fn find(&self, lookup: Lookup<'_>) -> Result<Found, Errno> {
        let id = *self.names(lookup.dir).get(lookup.name).ok_or(Errno::ENOENT)?;
        self.describe(id).map(Found::Object)
    }

    fn page(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Result<DirPage, Errno> {
        if self.kind_of(dir) != Some(FileType::Directory) {
            return Err(Errno::ENOTDIR);
        }
        let names = self.names(dir);
        Ok(page(names.into_iter().map(|(name, id)| (name, id.inode)), cookie, max_bytes))
    }
}

/// A page of a directory whose entries are numbered from 1.
pub(crate) fn page(entries: impl Iterator<Item = (Vec<u8>, u64)>, cookie: u64, max_bytes: usize) -> DirPage {
    let skip = usize::try_from(cookie).unwrap_or(usize::MAX);
    let (mut list, mut bytes) = (Vec::new(), 0_usize);
    for (number, (name, inode)) in (cookie.saturating_add(1)..).zip(entries.skip(skip)) {
        bytes = bytes.saturating_add(name.len() + 24);
        if bytes > max_bytes && !list.is_empty() {
            return DirPage { entries: list, end: false };
        }
        list.push(DirEntry { name, inode, cookie: number, attributes: None });
    }
    DirPage { entries: list, end: true }
}

fn id_of(parts: &[Vec<u8>]) -> FileId {
    name_id(parts.iter().map(Vec::as_slice))
}

fn with_id(attributes: Attributes, id: FileId) -> Attributes {
    Attributes { id, ..attributes }
}

fn mounts(namespace: &Weak<Namespace>) -> Vec<Mount> {
    namespace.upgrade().map(|namespace| namespace.mounts()).unwrap_or_default()
}

impl PathTree for MountList {
    fn leaves(&self) -> Vec<Vec<Vec<u8>>> {
        let leaf = |mount: Mount| {
            let mut leaf = mount.prefix.parts().to_vec();
            // The type as a number with its sign: -1 is any.
            let file_type = mount.file_type as i32;
            leaf.push(format!("0,1,1,{},{file_type}", mount.id.0).into_bytes());
            leaf
        };
        mounts(&self.namespace).into_iter().map(leaf).collect()
    }

    fn has_files(&self) -> bool {
        true
    }
}

impl PathTree for PrefixDirectories {
    fn leaves(&self) -> Vec<Vec<Vec<u8>>> {
        mounts(&self.namespace).into_iter().map(|mount| mount.prefix.parts().to_vec()).collect()
    }

    fn has_files(&self) -> bool {
        false
    }
}

macro_rules! manager {
    ($name:ident) => {
        impl ResourceManager for $name {
            fn root(&self) -> FileId {
                self.root_id()
            }

            fn attributes(&self, id: FileId) -> Io<'_, Attributes> {
                now(self.describe(id))
            }

            /// The entries are there for their names.
            fn open<'a>(&'a self, _: FileId, _: Opening<'a>) -> Io<'a, Rc<dyn OpenFile>> {
                now(Err(Errno::ENOSYS))
            }

            fn lookup<'a>(&'a self, lookup: Lookup<'a>) -> Io<'a, Found> {
                now(self.find(lookup))
            }

            fn read_dir(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Io<'_, DirPage> {
                now(self.page(dir, cookie, max_bytes))
            }
        }
    };
}

manager!(MountList);
manager!(PrefixDirectories);
