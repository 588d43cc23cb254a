//! What a resource manager is: objects below a root, and files that are open.
//!
//! Objects are named by [`FileId`] and described by [`Attributes`], the vocabulary of volumes. A manager whose root is
//! not a directory is a single file, such as a device.

use super::access::Caller;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::future::{Future, ready};
use core::pin::Pin;
use keelson_exec::sync::Notify;
use keelson_qnet_wire::io::{Dcmd, IoMsg, notify};
use keelson_qnet_wire::{Errno, Nd};
use keelson_volume::{Attributes, DirPage, FileId, NewObject, SetAttributes};

/// What an operation of a manager returns.
pub type Io<'a, T> = Pin<Box<dyn Future<Output = Result<T, Errno>> + 'a>>;

/// A result that is there at once.
pub(crate) fn now<'a, T: 'a>(result: Result<T, Errno>) -> Io<'a, T> {
    Box::pin(ready(result))
}

/// Why a name is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The path goes on behind it, or it is opened.
    Use,
    /// Its attributes are wanted.
    Stat,
    /// It is to be removed or renamed.
    Change,
    /// Whether it is listed. Nothing that takes long is done.
    List,
}

/// A name to be looked up.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// The directory.
    pub dir: FileId,
    /// The name, neither empty nor dots.
    pub name: &'a [u8],
    /// What follows it in the path.
    pub rest: &'a [Vec<u8>],
    /// Why this name is: what leads on is used.
    pub purpose: Purpose,
    /// Why the whole path is.
    pub goal: Purpose,
}

/// What a name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// An object of the manager.
    Object(Attributes),
    /// It is served on another channel. `taken` components of the rest belong to the name.
    Elsewhere {
        /// The channel.
        server: Server,
        /// Components of the rest that belong to the name.
        taken: usize,
    },
}

/// A channel that serves paths.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Server {
    /// Its node, as this node knows it.
    pub nd: Nd,
    /// Its process.
    pub pid: u32,
    /// Its channel.
    pub chid: u32,
    /// Where the rest of the path starts.
    pub handle: u32,
}

/// How an object is opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// See [`keelson_qnet_wire::io::ioflag`].
    pub ioflag: u32,
    /// By whom.
    pub caller: &'a Caller,
}

/// What to remove.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removal {
    /// Anything but a directory.
    File,
    /// An empty directory.
    Directory,
}

/// A resource manager. What it does not implement is refused as a read-only directory tree would.
pub trait ResourceManager {
    /// The object at its prefix.
    fn root(&self) -> FileId;

    /// Attributes of an object.
    fn attributes(&self, id: FileId) -> Io<'_, Attributes>;

    /// Opens an object that is no directory. That the caller may is checked already.
    fn open<'a>(&'a self, id: FileId, how: Opening<'a>) -> Io<'a, Rc<dyn OpenFile>>;

    /// Finds a name in a directory.
    fn lookup<'a>(&'a self, _: Lookup<'a>) -> Io<'a, Found> {
        now(Err(Errno::ENOENT))
    }

    /// Whether anything below it can be made, changed or removed.
    fn is_writable(&self) -> bool {
        false
    }

    /// Whether names can be made. Where not, the next manager is asked.
    fn may_create(&self) -> bool {
        self.is_writable()
    }

    /// Whether what it does not have below its prefix is not anywhere.
    fn is_opaque(&self) -> bool {
        false
    }

    /// Entries of a directory behind `cookie`, as [`keelson_volume::Volume::read_dir`] returns them.
    fn read_dir(&self, _dir: FileId, _cookie: u64, _max_bytes: usize) -> Io<'_, DirPage> {
        now(Err(Errno::ENOTDIR))
    }

    /// Text of a symbolic link.
    fn read_link(&self, _: FileId) -> Io<'_, Vec<u8>> {
        now(Err(Errno::EINVAL))
    }

    /// Makes an object.
    fn create<'a>(&'a self, _dir: FileId, _name: &'a [u8], _new: NewObject<'a>) -> Io<'a, Attributes> {
        now(Err(Errno::EROFS))
    }

    /// Removes a name.
    fn remove<'a>(&'a self, _dir: FileId, _name: &'a [u8], _: Removal) -> Io<'a, ()> {
        now(Err(Errno::EROFS))
    }

    /// Gives an object another name, taking the place of what has it.
    fn rename<'a>(&'a self, _from: (FileId, &'a [u8]), _to: (FileId, &'a [u8])) -> Io<'a, ()> {
        now(Err(Errno::EROFS))
    }

    /// Changes attributes.
    fn set_attributes(&self, _: FileId, _: SetAttributes) -> Io<'_, Attributes> {
        now(Err(Errno::EROFS))
    }

    /// A device control of a directory, as [`OpenFile::devctl`] is one of a file.
    fn devctl<'a>(
        &'a self,
        _dir: FileId,
        dcmd: Dcmd,
        _data: &'a [u8],
        _room: usize,
        _caller: &'a Caller,
    ) -> Io<'a, DevctlAnswer> {
        now(Err(unknown_devctl(dcmd)))
    }
}

/// Answer to a device control.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DevctlAnswer {
    /// What the caller gets.
    pub ret_val: i32,
    /// Data for the caller.
    pub data: Vec<u8>,
}

/// A file that is open. It is closed by being dropped.
pub trait OpenFile {
    /// Reads at a position, as many bytes as there are; 0 at the end.
    fn read<'a>(&'a self, _offset: u64, _room: &'a mut [u8]) -> Io<'a, usize> {
        now(Err(Errno::EBADF))
    }

    /// Writes at a position. How many bytes were taken.
    fn write<'a>(&'a self, _offset: u64, _data: &'a [u8]) -> Io<'a, usize> {
        now(Err(Errno::EBADF))
    }

    /// Whether there are positions.
    fn is_seekable(&self) -> bool {
        true
    }

    /// Whether reads or writes wait for somebody. Those are dropped when their client does not want to wait.
    fn may_block(&self) -> bool {
        false
    }

    /// Its size, where that is not the one in the attributes of its object.
    fn size(&self) -> Option<u64> {
        None
    }

    /// Conditions that are met now, of [`notify::INPUT`] and [`notify::OUTPUT`].
    fn ready(&self) -> u32 {
        notify::INPUT | notify::OUTPUT
    }

    /// Notified when [`OpenFile::ready`] may have changed; `None` when it never does.
    fn changed(&self) -> Option<Rc<Notify>> {
        None
    }

    /// A device control, with the data to the device. At most `room` bytes are returned.
    fn devctl<'a>(
        &'a self,
        dcmd: Dcmd,
        _data: &'a [u8],
        _room: usize,
        _caller: &'a Caller,
    ) -> Io<'a, DevctlAnswer> {
        now(Err(unknown_devctl(dcmd)))
    }

    /// A message of the manager's own: status and data.
    fn message<'a>(&'a self, _: IoMsg, _data: &'a [u8], _: &'a Caller) -> Io<'a, (i32, Vec<u8>)> {
        now(Err(Errno::ENOSYS))
    }

    /// Makes what was written survive.
    fn sync(&self) -> Io<'_, ()> {
        now(Ok(()))
    }
}

/// What devices say to a control that they do not know (section 13.6).
pub(crate) fn unknown_devctl(dcmd: Dcmd) -> Errno {
    if dcmd.class() == Dcmd::CLASS_CHR { Errno::ENOTTY } else { Errno::ENOSYS }
}
