//! The disk that every world begins with: made once, then shared.

use keelson_ext4_gate::backend::{Backend, own};
use keelson_ext4_gate::disk::{Pages, SimDisk};
use keelson_ext4_gate::tools::Image;
use keelson_ext4_gate::world::World;
use keelson_volume::{NewObject, ObjectKind, SetTime};
use std::sync::OnceLock;

/// Directories for processes.
pub const DIRS: usize = 12;
/// Files to lock.
pub const LOCK_FILES: usize = 2;
/// Size of the disk: small, for there are many.
const MEBIBYTES: u64 = 16;

/// Sizes of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blocks {
    /// 1024 bytes, and the smallest journal.
    Small,
    /// 4096 bytes.
    Large,
}

/// A disk with a directory for each process, and files to lock.
pub struct Prepared {
    /// Its content.
    pub pages: Pages,
    /// Inode numbers of the files to lock.
    pub lock_inodes: Vec<u64>,
}

/// Name of a process's directory.
pub fn dir_name(number: usize) -> String {
    format!("p{number}")
}

/// Name of a file to lock.
pub fn lock_name(number: usize) -> String {
    format!("locked{number}")
}

/// The disk with blocks of this size.
pub fn prepared(blocks: Blocks) -> &'static Prepared {
    static SMALL: OnceLock<Prepared> = OnceLock::new();
    static LARGE: OnceLock<Prepared> = OnceLock::new();
    match blocks {
        Blocks::Small => SMALL.get_or_init(|| prepare(&["-b", "1024", "-J", "size=1"])),
        Blocks::Large => LARGE.get_or_init(|| prepare(&["-b", "4096", "-J", "size=4"])),
    }
}

fn prepare(arguments: &[&str]) -> Prepared {
    let image = Image::make(MEBIBYTES, arguments);
    let world = World::new(0);
    let disk = SimDisk::new(Pages::load(image.path()));
    let mounted = own::mount(&world, disk.clone(), own::Memory::Ample);
    let mut own = mounted.unwrap_or_else(|said| panic!("a fresh disk: {said}"));
    let mut make = |kind, name: String, mode| {
        let (atime, mtime) = (SetTime::Now, SetTime::Now);
        let new = NewObject { kind, mode, uid: 0, gid: 0, atime, mtime };
        let root = own.root();
        let made = own.create(root, name.as_bytes(), new);
        made.unwrap_or_else(|error| panic!("{name} on a fresh disk: {error}")).inode
    };
    for number in 0..DIRS {
        make(ObjectKind::Directory, dir_name(number), 0o755);
    }
    let lock_inodes =
        (0..LOCK_FILES).map(|number| make(ObjectKind::Regular, lock_name(number), 0o666)).collect();
    Box::new(own).finish().unwrap_or_else(|error| panic!("a fresh disk: {error}"));
    Prepared { pages: disk.content(), lock_inodes }
}
