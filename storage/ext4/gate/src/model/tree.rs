//! Objects by inode number.

use keelson_volume::{Attributes, FileType};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What an object holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// Content of a regular file.
    File(Rc<Vec<u8>>),
    /// Names of a directory.
    Directory {
        /// Inode numbers by name.
        names: BTreeMap<Vec<u8>, u64>,
        /// What `..` names.
        parent: u64,
    },
    /// Target of a symbolic link.
    Symlink(Vec<u8>),
    /// A node of a device, pipe or socket.
    Special,
}

/// An object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its attributes.
    pub attributes: Attributes,
    /// What it holds.
    pub body: Body,
    /// Extended attributes by name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// All objects that the root leads to. Copies share what is the same.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The root's inode number.
    pub root: u64,
    /// Objects by inode number.
    pub objects: BTreeMap<u64, Rc<Object>>,
}

impl Tree {
    /// An object that must be there.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub fn get(&self, inode: u64) -> &Object {
        self.objects.get(&inode).unwrap_or_else(|| panic!("the model has no inode {inode}"))
    }

    /// An object to change.
    ///
    /// # Panics
    ///
    /// When it is not there.
    pub fn get_mut(&mut self, inode: u64) -> &mut Object {
        Rc::make_mut(self.objects.get_mut(&inode).unwrap_or_else(|| panic!("the model has no inode {inode}")))
    }

    /// Names of a directory; `None` when it is something else.
    pub fn names(&self, inode: u64) -> Option<&BTreeMap<Vec<u8>, u64>> {
        match &self.get(inode).body {
            Body::Directory { names, .. } => Some(names),
            _ => None,
        }
    }

    /// Names of a directory, to change.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub fn names_mut(&mut self, inode: u64) -> &mut BTreeMap<Vec<u8>, u64> {
        match &mut self.get_mut(inode).body {
            Body::Directory { names, .. } => names,
            _ => panic!("inode {inode} is not a directory"),
        }
    }

    /// Content of a file, to change.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub fn content_mut(&mut self, inode: u64) -> &mut Vec<u8> {
        match &mut self.get_mut(inode).body {
            Body::File(content) => Rc::make_mut(content),
            _ => panic!("inode {inode} is not a file"),
        }
    }

    /// Content of a file; `None` when it is something else or not there.
    pub fn content(&self, inode: u64) -> Option<&Rc<Vec<u8>>> {
        match &self.objects.get(&inode)?.body {
            Body::File(content) => Some(content),
            _ => None,
        }
    }

    /// True for a directory.
    pub fn is_dir(&self, inode: u64) -> bool {
        self.get(inode).attributes.file_type == FileType::Directory
    }

    /// True when `dir` is `ancestor` or lies below it.
    pub fn is_inside(&self, mut dir: u64, ancestor: u64) -> bool {
        loop {
            if dir == ancestor {
                return true;
            }
            match &self.get(dir).body {
                Body::Directory { parent, .. } if dir != self.root => dir = *parent,
                _ => return false,
            }
        }
    }

    /// Directories, in order of their numbers.
    pub fn directories(&self) -> impl Iterator<Item = u64> {
        self.of_type(|body| matches!(body, Body::Directory { .. }))
    }

    /// Regular files, in order of their numbers.
    pub fn files(&self) -> impl Iterator<Item = u64> {
        self.of_type(|body| matches!(body, Body::File(_)))
    }

    fn of_type(&self, wanted: fn(&Body) -> bool) -> impl Iterator<Item = u64> {
        self.objects.iter().filter(move |(_, object)| wanted(&object.body)).map(|(inode, _)| *inode)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let sizes = self.objects.values().filter_map(|object| match &object.body {
            Body::File(content) => Some(content.len() as u64),
            _ => None,
        });
        sizes.sum()
    }

    /// What a directory leads to, as a tree of its own.
    pub fn below(&self, dir: u64) -> Tree {
        let mut tree = Tree { root: dir, objects: BTreeMap::new() };
        let mut waiting = vec![dir];
        while let Some(inode) = waiting.pop() {
            let Some(object) = self.objects.get(&inode) else { continue };
            if tree.objects.insert(inode, object.clone()).is_none()
                && let Body::Directory { names, .. } = &object.body
            {
                waiting.extend(names.values());
            }
        }
        tree
    }

    /// Takes a name of the root away, and all that only it led to.
    pub fn prune(&mut self, name: &[u8]) {
        if self.names_mut(self.root).remove(name).is_some() {
            let reached = self.below(self.root);
            self.objects = reached.objects;
        }
    }

    /// The first path of an object, for messages.
    pub fn path(&self, inode: u64) -> String {
        if inode == self.root {
            return "/".into();
        }
        for dir in self.directories() {
            let Some(names) = self.names(dir) else { continue };
            if let Some((name, _)) = names.iter().find(|(_, named)| **named == inode) {
                let above = if dir == self.root { String::new() } else { self.path(dir) };
                return format!("{above}/{}", shown(name));
            }
        }
        format!("(inode {inode})")
    }
}

/// A name for messages.
pub fn shown(name: &[u8]) -> String {
    let text = name.escape_ascii().to_string();
    if text.len() > 40 { format!("{}...({} bytes)", &text[..30], name.len()) } else { text }
}
