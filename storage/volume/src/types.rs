//! Values that go in and out of a [`Volume`](crate::Volume).

use alloc::vec::Vec;
use core::fmt;

/// Identity of a filesystem: the ext4 UUID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VolumeId(pub [u8; 16]);

/// Names an object for ever: a later object with the same inode number has another discriminator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FileId {
    /// Inode number.
    pub inode: u64,
    /// Tells successive owners of the inode number apart: the inode generation, or a hash of the creation
    /// time where the engine does not keep generations.
    pub discriminator: u64,
}

/// Type of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileType {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Block device node.
    BlockDevice,
    /// Character device node.
    CharDevice,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
}

/// Numbers of a device node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceNumber {
    /// Driver.
    pub major: u32,
    /// Unit.
    pub minor: u32,
}

/// Seconds and nanoseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Time {
    /// Whole seconds.
    pub seconds: i64,
    /// 0..1,000,000,000.
    pub nanos: u32,
}

/// What stat(2) tells of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// Its lasting name.
    pub id: FileId,
    /// Its type.
    pub file_type: FileType,
    /// Permission, set-ID and sticky bits (0o7777).
    pub mode: u32,
    /// Number of names.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Bytes allocated on the medium.
    pub allocated: u64,
    /// Device numbers, for device nodes.
    pub device: DeviceNumber,
    /// Last read.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of anything. Strictly increases with every change of the object, whatever the clock does.
    pub ctime: Time,
}

/// An object before and after an operation, with nothing in between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Right before.
    pub before: Attributes,
    /// Right after.
    pub after: Attributes,
}

/// How a time is to be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SetTime {
    /// Leave it.
    #[default]
    Keep,
    /// The volume's clock.
    Now,
    /// This one.
    To(Time),
}

/// Attributes to change; `None` and [`SetTime::Keep`] leave them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttributes {
    /// Permission bits (0o7777).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length: shorter cuts, longer extends with zeros.
    pub size: Option<u64>,
    /// Access time.
    pub atime: SetTime,
    /// Modification time.
    pub mtime: SetTime,
}

/// What kind of object to create.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectKind<'a> {
    /// An empty regular file.
    Regular,
    /// An empty directory.
    Directory,
    /// A symbolic link with this target (1 to 4095 bytes, not interpreted).
    Symlink(&'a [u8]),
    /// A device node.
    BlockDevice(DeviceNumber),
    /// A device node.
    CharDevice(DeviceNumber),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// An object to create. Times not given are the volume's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewObject<'a> {
    /// What it is.
    pub kind: ObjectKind<'a>,
    /// Permission bits (0o7777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Access time.
    pub atime: SetTime,
    /// Modification time.
    pub mtime: SetTime,
}

/// Result of creating or linking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Created {
    /// The object under its new name.
    pub object: Attributes,
    /// The directory that holds the name.
    pub dir: Change,
}

/// Result of removing a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Removed {
    /// The object that lost a name.
    pub object: FileId,
    /// The directory that held it.
    pub dir: Change,
}

/// Result of a rename.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Renamed {
    /// The directory the name left.
    pub from_dir: Change,
    /// The directory it came to (the same change when both are one).
    pub to_dir: Change,
}

/// One name of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// Raw bytes of the name.
    pub name: Vec<u8>,
    /// Inode number of what it names.
    pub inode: u64,
    /// Continue after this entry with it. Never 0, unique within the directory, below 2^63.
    pub cookie: u64,
    /// What it names, if that was asked for.
    pub attributes: Option<Attributes>,
}

impl DirEntry {
    /// True for `.` and `..`.
    pub fn is_dot(&self) -> bool {
        self.name == b"." || self.name == b".."
    }
}

/// A run of directory entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirPage {
    /// In cookie order.
    pub entries: Vec<DirEntry>,
    /// The last entry of the directory is in this page, or there was none left.
    pub end: bool,
}

/// Space of a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpaceUsage {
    /// Capacity in bytes.
    pub total_bytes: u64,
    /// Free bytes.
    pub free_bytes: u64,
    /// Free bytes that unprivileged users may use.
    pub available_bytes: u64,
    /// Number of inodes.
    pub total_inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
}

/// How safe written data is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stability {
    /// In memory.
    Unstable,
    /// Data is safe, and so is what is needed to read it back.
    DataSync,
    /// Data and all attributes are safe.
    FileSync,
}

/// Why an operation failed; nothing was changed unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VolumeError {
    /// ENOENT: no such name.
    NotFound,
    /// ESTALE: the object no longer exists.
    Stale,
    /// EEXIST: the name is taken.
    Exists,
    /// ENOTDIR: a directory was needed.
    NotDirectory,
    /// EISDIR: something else than a directory was needed.
    IsDirectory,
    /// ENOTEMPTY: the directory has entries.
    NotEmpty,
    /// EINVAL: the operation makes no sense for this object or these arguments.
    Invalid,
    /// ENAMETOOLONG: name over 255 bytes, or symbolic link target too long.
    NameTooLong,
    /// EMLINK: too many links.
    TooManyLinks,
    /// EFBIG: beyond the largest file.
    TooBig,
    /// ENOSPC: no blocks or no inodes left.
    NoSpace,
    /// EDQUOT: an owner would have more than its limit.
    Quota,
    /// EROFS: the volume cannot be changed.
    ReadOnly,
    /// EIO: the device failed, or its content is damaged.
    Io,
    /// EPERM: never allowed on this object (a hard link to a directory).
    NotPermitted,
    /// The ctime guard did not match.
    GuardMismatch,
    /// The directory cookie names no position.
    BadCookie,
    /// ENOMEM, or the volume is not ready: the same call may succeed in a few seconds.
    TryLater,
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VolumeError::NotFound => "no such file or directory",
            VolumeError::Stale => "stale file handle",
            VolumeError::Exists => "file exists",
            VolumeError::NotDirectory => "not a directory",
            VolumeError::IsDirectory => "is a directory",
            VolumeError::NotEmpty => "directory not empty",
            VolumeError::Invalid => "invalid argument",
            VolumeError::NameTooLong => "name too long",
            VolumeError::TooManyLinks => "too many links",
            VolumeError::TooBig => "file too large",
            VolumeError::NoSpace => "no space left on device",
            VolumeError::Quota => "disk quota exceeded",
            VolumeError::ReadOnly => "read-only file system",
            VolumeError::Io => "input/output error",
            VolumeError::NotPermitted => "operation not permitted",
            VolumeError::GuardMismatch => "attributes changed meanwhile",
            VolumeError::BadCookie => "directory position is not valid",
            VolumeError::TryLater => "resource temporarily unavailable",
        })
    }
}
