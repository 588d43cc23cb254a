//! What a filesystem should hold: a tree, steps that change it, and the differences between two trees.

mod apply;
mod compare;
mod course;
mod generate;
mod predict;
mod tree;
mod walk;

pub use apply::{Touch, apply, settle};
pub use compare::{Rules, content_difference, difference};
pub use course::{Course, Stop, changes, new_object};
pub use generate::{Limits, generate};
pub use predict::predict;
pub use tree::{Body, Object, Tree, shown};
pub use walk::walk;

use keelson_volume::{DeviceNumber, Time};

/// What is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Making {
    /// An empty file.
    Regular,
    /// An empty directory.
    Directory,
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A block device node.
    BlockDevice(DeviceNumber),
    /// A character device node.
    CharDevice(DeviceNumber),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Something to do. Objects are named by inode number in the tree the step was made for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Makes an object.
    Create {
        /// Where.
        dir: u64,
        /// Its name.
        name: Vec<u8>,
        /// What.
        what: Making,
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        owner: (u32, u32),
    },
    /// Adds a name.
    Link {
        /// Of what.
        object: u64,
        /// Where.
        dir: u64,
        /// The name.
        name: Vec<u8>,
    },
    /// Removes a name.
    Remove {
        /// Where.
        dir: u64,
        /// The name.
        name: Vec<u8>,
    },
    /// Removes a directory.
    RemoveDir {
        /// Where.
        dir: u64,
        /// Its name.
        name: Vec<u8>,
    },
    /// Renames.
    Rename {
        /// From here.
        from: u64,
        /// Under this name.
        name: Vec<u8>,
        /// To here.
        to: u64,
        /// Under that name.
        new_name: Vec<u8>,
    },
    /// Sets a file's length.
    Truncate {
        /// Which file.
        file: u64,
        /// Length.
        size: u64,
    },
    /// Writes bytes that `fill` determines.
    Write {
        /// Which file.
        file: u64,
        /// Where.
        offset: u64,
        /// How many.
        length: usize,
        /// What.
        fill: u8,
    },
    /// Changes attributes.
    SetAttributes {
        /// Of what.
        object: u64,
        /// Permission bits.
        mode: Option<u32>,
        /// Owner and group.
        owner: Option<(u32, u32)>,
        /// Time of the last change of content.
        mtime: Option<Time>,
    },
    /// Sets or removes an extended attribute.
    SetXattr {
        /// Of what.
        object: u64,
        /// Its name.
        name: Vec<u8>,
        /// The value.
        value: Option<Vec<u8>>,
    },
}

impl Step {
    /// The content that a write writes.
    pub fn content(offset: u64, length: usize, fill: u8) -> Vec<u8> {
        // Different in each block, and never zero, so that a block in another's place is seen.
        (offset..offset + length as u64).map(|at| (fill ^ (at / 1024) as u8) | 1).collect()
    }

    /// In one short line.
    pub fn brief(&self) -> String {
        let mut text = format!("{self:?}");
        if let Step::Create { dir, name, what, .. } = self {
            text = format!("Create {{ dir: {dir}, name: {:?}, what: {what:?} }}", shown(name));
        }
        if text.len() > 200 {
            let end = (0..=200).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            text.truncate(end);
            text.push_str("...");
        }
        text
    }
}
