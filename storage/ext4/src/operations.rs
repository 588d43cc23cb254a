//! What the operations of the [`Volume`](keelson_volume::Volume) have in common: finding objects, describing them,
//! stamping their times.
//!
//! Every operation is a function on the [`Engine`] that never waits: between the attributes "before" and "after" there
//! is nothing. What must happen beside the metadata (cached content, lists in memory) follows right after it, before
//! anybody else gets a turn.

mod attributes;
mod content;
mod create;
mod device;
mod listing;
mod names;
mod rename;

pub use attributes::{Set, max_file_size};
pub use content::Let;
pub(crate) use content::Prepared;
pub use names::{Gone, STEP, bury};

use crate::data::Data;
use crate::engine::{Engine, Ino, ROOT};
use crate::halt::Halt;
use crate::layout::inode::Inode;
use crate::orphans::{Orphans, Reaper};
use crate::shared::Shared;
use crate::state::STATE_DIR;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use keelson_exec::sync::Semaphore;
use keelson_volume::{Attributes, Change, DeviceNumber, FileId, FileType, SetTime, Time, VolumeError};

/// Most links of an object (Linux `EXT4_LINK_MAX`).
pub const MAX_LINKS: u16 = 65_000;
/// Longest target of a symbolic link (Linux `PATH_MAX` without its end).
pub const MAX_TARGET: usize = 4095;
/// Longest name (Linux `EXT4_NAME_LEN`).
const MAX_NAME: usize = 255;
/// Inodes kept back, for state files.
const RESERVE_INODES: u64 = 8;
/// Most of a symbolic link's target that fits into the inode, with an end that Linux wants
/// (`Documentation/filesystems/ext4/ifork.rst`).
const SHORT_TARGET: usize = 59;

/// The parts of a mounted filesystem that operations work on.
pub struct Context {
    /// Metadata, device, clock.
    pub shared: Rc<Shared>,
    /// Content of files.
    pub data: Rc<Data>,
    /// Inodes to be freed or cut.
    pub orphans: RefCell<Orphans>,
    /// The task that frees them.
    pub reaper: Rc<Reaper>,
    /// Inode of the state directory, once there is one.
    pub state_dir: Cell<Option<Ino>>,
    /// Whoever writes a state file.
    pub state_turn: Rc<Semaphore>,
}

/// Checks a name that is to be looked up or made.
fn check_name(name: &[u8]) -> Result<(), Halt> {
    if name.len() > MAX_NAME {
        return Err(Halt::Fail(VolumeError::NameTooLong));
    }
    if name.is_empty() || name.iter().any(|&byte| byte == b'/' || byte == 0) {
        return Err(Halt::Fail(VolumeError::Invalid));
    }
    Ok(())
}

fn is_dot(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

/// True for a name that clients do not get to see.
fn is_hidden(dir: Ino, name: &[u8]) -> bool {
    dir == ROOT && name == STATE_DIR
}

/// `det_file_type` of a directory entry (Linux `Documentation/filesystems/ext4/directory.rst`).
fn type_code(inode: &Inode) -> u8 {
    match inode.file_type() {
        None => 0,
        Some(FileType::Regular) => 1,
        Some(FileType::Directory) => 2,
        Some(FileType::CharDevice) => 3,
        Some(FileType::BlockDevice) => 4,
        Some(FileType::Fifo) => 5,
        Some(FileType::Socket) => 6,
        Some(FileType::Symlink) => 7,
    }
}

fn check_regular(inode: &Inode) -> Result<(), Halt> {
    match inode.file_type() {
        Some(FileType::Regular) => Ok(()),
        Some(FileType::Directory) => Err(Halt::Fail(VolumeError::IsDirectory)),
        _ => Err(Halt::Fail(VolumeError::Invalid)),
    }
}

/// The time of a change of an object: the operation's, but later than its last change, whatever the clock did while the
/// filesystem was not mounted.
fn stamp(engine: &Engine, inode: &Inode) -> Time {
    let last = inode.ctime;
    let next = match last.nanos {
        999_999_999 => Time { seconds: last.seconds.saturating_add(1), nanos: 0 },
        nanos => Time { nanos: nanos + 1, ..last },
    };
    engine.now.max(next)
}

/// The object changed.
fn touch(engine: &Engine, inode: &mut Inode) {
    inode.ctime = stamp(engine, inode);
    inode.version = inode.version.wrapping_add(1);
}

/// Its content changed.
fn touch_content(engine: &Engine, inode: &mut Inode) {
    touch(engine, inode);
    inode.mtime = inode.ctime;
}

/// The time to set, `None` to keep. What the disk cannot hold is brought as near as it can.
fn chosen(set: SetTime, now: Time) -> Option<Time> {
    match set {
        SetTime::Keep => None,
        SetTime::Now => Some(now),
        SetTime::To(time) => {
            Some(Time { seconds: time.seconds.clamp(-(1 << 31), (1 << 34) - (1 << 31) - 1), ..time })
        }
    }
}

/// The number of subdirectories is not known any more: more than links can count (feature dir_nlink).
const MANY: u16 = 1;

/// A directory gets a subdirectory.
fn add_subdirectory(engine: &Engine, dir: &mut Inode) -> Result<(), Halt> {
    if dir.links == MANY {
        return Ok(());
    }
    dir.links = match dir.links {
        links if links < MAX_LINKS => links + 1,
        _ if engine.geometry.many_subdirectories => MANY,
        _ => return Err(Halt::Fail(VolumeError::TooManyLinks)),
    };
    Ok(())
}

/// A directory loses a subdirectory.
fn drop_subdirectory(dir: &mut Inode) {
    if dir.links > 2 {
        dir.links -= 1;
    }
}

impl Context {
    /// The object a handle names, if it is still that object. Reserved inodes (the journal, the resize inode) and the
    /// state directory are nobody's business.
    pub fn resolve(&self, engine: &mut Engine, id: FileId) -> Result<Inode, Halt> {
        let found = self.find(engine, id);
        if found == Err(Halt::Fail(VolumeError::Stale)) {
            engine.counters.stale += 1;
        }
        found
    }

    fn find(&self, engine: &mut Engine, id: FileId) -> Result<Inode, Halt> {
        let stale = Halt::Fail(VolumeError::Stale);
        let ino = u32::try_from(id.inode).map_err(|_| stale)?;
        let client_may = ino == ROOT || ino >= engine.geometry.first_inode;
        let Some((group, index)) = engine.geometry.locate_inode(ino).filter(|_| client_may) else {
            return Err(stale);
        };
        // Records that were never used need not even be zero.
        let unused = engine.descriptor(group)?.unused_inodes;
        if index >= engine.geometry.inodes_per_group - unused || self.state_dir.get() == Some(ino) {
            return Err(stale);
        }
        let inode = engine.inode(ino)?;
        let is_it = inode.links != 0 && u64::from(inode.generation) == id.discriminator;
        if is_it { Ok(inode) } else { Err(stale) }
    }

    /// As [`Context::resolve`], for a directory.
    fn resolve_dir(&self, engine: &mut Engine, id: FileId) -> Result<Inode, Halt> {
        let inode = self.resolve(engine, id)?;
        if inode.is_directory() { Ok(inode) } else { Err(Halt::Fail(VolumeError::NotDirectory)) }
    }

    /// An inode that a directory names.
    fn named(&self, engine: &mut Engine, ino: Ino) -> Result<Inode, Halt> {
        let inode = engine.inode(ino)?;
        if inode.links == 0 || inode.file_type().is_none() {
            return Err(engine.damaged(format_args!("inode {ino} has a name but is not in use")));
        }
        Ok(inode)
    }

    /// What stat(2) tells of an inode.
    pub fn describe(&self, engine: &Engine, inode: &Inode) -> Result<Attributes, Halt> {
        let Some(file_type) = inode.file_type() else { return Err(Halt::Fail(VolumeError::Io)) };
        let reserved = match file_type {
            FileType::Regular => self.data.reserved_blocks(inode.ino) * engine.geometry.block_size as u64,
            _ => 0,
        };
        let device = match file_type {
            FileType::CharDevice | FileType::BlockDevice => device::decode(&inode.map),
            _ => DeviceNumber::default(),
        };
        Ok(Attributes {
            id: FileId { inode: u64::from(inode.ino), discriminator: u64::from(inode.generation) },
            file_type,
            mode: u32::from(inode.mode) & 0o7777,
            links: u32::from(inode.links),
            uid: inode.uid,
            gid: inode.gid,
            size: inode.size,
            allocated: inode.sectors.saturating_mul(512).saturating_add(reserved),
            device,
            atime: inode.atime,
            mtime: inode.mtime,
            ctime: inode.ctime,
        })
    }

    /// Attributes around a change that is complete.
    fn change(&self, engine: &Engine, before: Attributes, inode: &Inode) -> Result<Change, Halt> {
        Ok(Change { before, after: self.describe(engine, inode)? })
    }

    /// Changes something of an object, which counts as a change.
    pub fn change_object(
        &self,
        engine: &mut Engine,
        id: FileId,
        change: impl FnOnce(&mut Engine, &mut Inode) -> Result<(), Halt>,
    ) -> Result<Change, Halt> {
        let mut inode = self.resolve(engine, id)?;
        let before = self.describe(engine, &inode)?;
        change(engine, &mut inode)?;
        touch(engine, &mut inode);
        engine.put_inode(&inode)?;
        self.change(engine, before, &inode)
    }

    /// Operation: attributes of an object.
    pub fn attributes(&self, engine: &mut Engine, id: FileId) -> Result<Attributes, Halt> {
        let inode = self.resolve(engine, id)?;
        self.describe(engine, &inode)
    }

    /// Operation: finds a name as clients see it.
    pub fn lookup(&self, engine: &mut Engine, dir: FileId, name: &[u8]) -> Result<Attributes, Halt> {
        let dir = self.resolve_dir(engine, dir)?;
        let found = match name {
            b"." => dir,
            b".." => {
                let parent = parent(engine, &dir)?;
                self.named(engine, parent)?
            }
            _ => {
                check_name(name)?;
                if is_hidden(dir.ino, name) {
                    return Err(Halt::Fail(VolumeError::NotFound));
                }
                let (ino, _) = engine.dir_lookup(&dir, name)?.ok_or(Halt::Fail(VolumeError::NotFound))?;
                self.named(engine, ino)?
            }
        };
        self.describe(engine, &found)
    }
}

/// The directory that holds `dir`; the root holds itself.
fn parent(engine: &mut Engine, dir: &Inode) -> Result<Ino, Halt> {
    if dir.ino == ROOT {
        return Ok(ROOT);
    }
    match engine.dir_lookup(dir, b"..")? {
        Some((ino, _)) => Ok(ino),
        None => Err(engine.damaged(format_args!("directory {} has no parent", dir.ino))),
    }
}
