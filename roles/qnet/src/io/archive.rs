//! Files that are part of the image, and cannot be changed: `/proc/boot`, and what stands in `/etc` until a volume has
//! something else.

use super::manager::{Found, Io, Lookup, OpenFile, Opening, ResourceManager, now};
use super::mounts::page;
use super::path::Path;
use super::text::{Bytes, plain};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use keelson_qnet_wire::Errno;
use keelson_volume::{Attributes, DirPage, FileId, FileType};

/// Why files do not make a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArchiveError {
    /// A name that is empty, too long, or has a NUL.
    Name(String),
    /// A name twice, or a file that others would be in.
    Twice(String),
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchiveError::Name(name) => {
                write!(f, "\"{name}\" is no name for a file; use components of 1 to 255 bytes without NUL")
            }
            ArchiveError::Twice(name) => write!(f, "\"{name}\" is there twice; leave one out"),
        }
    }
}

impl core::error::Error for ArchiveError {}

/// A read-only tree.
pub struct Archive {
    nodes: Vec<Node>,
}

enum Node {
    Directory(BTreeMap<Vec<u8>, usize>),
    File { bytes: Rc<[u8]>, mode: u32 },
}

impl Archive {
    /// A tree of files: path, permission bits, content. Directories are made as needed.
    pub fn new<'a>(
        files: impl IntoIterator<Item = (&'a str, u32, Rc<[u8]>)>,
    ) -> Result<Archive, ArchiveError> {
        let mut archive = Archive { nodes: alloc::vec![Node::Directory(BTreeMap::new())] };
        for (name, mode, bytes) in files {
            let path = Path::parse(name.as_bytes()).map_err(|_| ArchiveError::Name(name.into()))?;
            let (last, dirs) = path.parts().split_last().ok_or_else(|| ArchiveError::Name(name.into()))?;
            let twice = || ArchiveError::Twice(name.into());
            let mut at = 0;
            for dir in dirs {
                at = match archive.child(at, dir) {
                    Some(child) => child,
                    None => archive.add(at, dir, Node::Directory(BTreeMap::new())).ok_or_else(twice)?,
                };
            }
            if archive.child(at, last).is_some() {
                return Err(twice());
            }
            archive.add(at, last, Node::File { bytes, mode: mode & 0o777 }).ok_or_else(twice)?;
        }
        Ok(archive)
    }

    fn child(&self, dir: usize, name: &[u8]) -> Option<usize> {
        match self.nodes.get(dir)? {
            Node::Directory(names) => names.get(name).copied(),
            Node::File { .. } => None,
        }
    }

    /// `None` when what should hold the name is a file.
    fn add(&mut self, dir: usize, name: &[u8], node: Node) -> Option<usize> {
        let index = self.nodes.len();
        match self.nodes.get_mut(dir)? {
            Node::Directory(names) => drop(names.insert(name.to_vec(), index)),
            Node::File { .. } => return None,
        }
        self.nodes.push(node);
        Some(index)
    }

    fn node(&self, id: FileId) -> Result<&Node, Errno> {
        let index = id.inode.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.nodes.get(index)).ok_or(Errno::ENOENT)
    }

    fn describe(&self, index: usize) -> Result<Attributes, Errno> {
        let inode = index as u64 + 1;
        Ok(match self.nodes.get(index).ok_or(Errno::ENOENT)? {
            Node::Directory(_) => plain(inode, FileType::Directory, 0o555),
            Node::File { bytes, mode } => {
                let size = bytes.len() as u64;
                Attributes { size, allocated: size, ..plain(inode, FileType::Regular, *mode) }
            }
        })
    }
}

impl ResourceManager for Archive {
    fn root(&self) -> FileId {
        FileId { inode: 1, discriminator: 0 }
    }

    fn attributes(&self, id: FileId) -> Io<'_, Attributes> {
        now(usize::try_from(id.inode.wrapping_sub(1))
            .map_err(|_| Errno::ENOENT)
            .and_then(|at| self.describe(at)))
    }

    fn open<'a>(&'a self, id: FileId, _: Opening<'a>) -> Io<'a, Rc<dyn OpenFile>> {
        now(self.node(id).and_then(|node| match node {
            Node::File { bytes, .. } => {
                let file: Rc<dyn OpenFile> = Rc::new(Bytes(bytes.clone()));
                Ok(file)
            }
            Node::Directory(_) => Err(Errno::EISDIR),
        }))
    }

    fn lookup<'a>(&'a self, lookup: Lookup<'a>) -> Io<'a, Found> {
        now(self.node(lookup.dir).and_then(|node| match node {
            Node::Directory(names) => {
                let index = *names.get(lookup.name).ok_or(Errno::ENOENT)?;
                self.describe(index).map(Found::Object)
            }
            Node::File { .. } => Err(Errno::ENOTDIR),
        }))
    }

    fn read_dir(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Io<'_, DirPage> {
        now(self.node(dir).and_then(|node| match node {
            Node::Directory(names) => {
                let entries = names.iter().map(|(name, index)| (name.clone(), *index as u64 + 1));
                Ok(page(entries, cookie, max_bytes))
            }
            Node::File { .. } => Err(Errno::ENOTDIR),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(names: &[&str]) -> Result<Archive, ArchiveError> {
        Archive::new(names.iter().map(|name| (*name, 0o644, Rc::from(name.as_bytes()))))
    }

    #[test]
    fn trees() {
        let tree = archive(&["etc/TIMEZONE", "etc/hosts", "bin/date"]).unwrap();
        assert_eq!(tree.nodes.len(), 6);
        let etc = tree.child(0, b"etc").unwrap();
        let zone = tree.describe(tree.child(etc, b"TIMEZONE").unwrap()).unwrap();
        assert_eq!((zone.size, zone.mode, zone.file_type), (12, 0o644, FileType::Regular));
        assert!(tree.child(etc, b"date").is_none());
    }

    #[test]
    fn rejections() {
        assert_eq!(archive(&["a", "a"]).err(), Some(ArchiveError::Twice("a".into())));
        assert_eq!(archive(&["a", "a/b"]).err(), Some(ArchiveError::Twice("a/b".into())));
        assert_eq!(archive(&["a/b", "a"]).err(), Some(ArchiveError::Twice("a".into())));
        assert_eq!(archive(&[""]).err(), Some(ArchiveError::Name("".into())));
    }
}
