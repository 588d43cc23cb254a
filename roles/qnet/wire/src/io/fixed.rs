//! Messages of one fixed layout (section 13.2), without their header; `struct stat`; message information.

use crate::kif::Sigevent;
use crate::layout::layout;
use crate::nd::Nd;

layout! {
    /// Message information (`_msg_info`): who sent a message, on what connection.
    pub struct MsgInfo: 48, "message information" {
        /// The client's node as the server knows it.
        0 nd: Nd,
        /// The server's node as the client knows it.
        4 srcnd: Nd,
        /// Process of the client.
        8 pid: i32,
        /// Thread of the client.
        12 tid: i32,
        /// Channel of the server.
        16 chid: i32,
        /// Server connection id.
        20 scoid: i32,
        /// The client's connection id.
        24 coid: i32,
        /// Bytes received.
        28 msglen: i32,
        /// Bytes offered.
        32 srcmsglen: i32,
        /// Size of the reply buffer.
        36 dstmsglen: i32,
        /// Priority of the client thread.
        40 priority: i16,
        /// Flags.
        42 flags: i16,
    }
}

layout! {
    /// `struct stat`, the reply to `_IO_STAT`. Times in seconds since 1970.
    pub struct Stat: 72, "struct stat" {
        /// Serial number of the file.
        0 ino: u64,
        /// Size in bytes.
        8 size: u64,
        /// Device: node and local device number, see [`Stat::dev_of`].
        16 dev: u32,
        /// Device that a special file is.
        20 rdev: u32,
        /// Owner.
        24 uid: u32,
        /// Group.
        28 gid: u32,
        /// Last change of the data.
        32 mtime: u32,
        /// Last read.
        36 atime: u32,
        /// Last change of the attributes.
        40 ctime: u32,
        /// Type and permissions.
        44 mode: u32,
        /// Links to the file.
        48 nlink: u32,
        /// Bytes in a unit of `nblocks`.
        52 blocksize: i32,
        /// Blocks of `blocksize` that it takes.
        56 nblocks: i32,
        /// Best size of a transfer.
        60 blksize: i32,
        /// Blocks of 512 bytes that it takes.
        64 blocks: u64,
    }
}

impl Stat {
    /// `dev` of a local device for a client that knows this node as `srcnd`: devices of different nodes differ.
    pub const fn dev_of(srcnd: Nd, local: u16) -> u32 {
        (srcnd.node() as u32) << 16 | local as u32
    }
}

layout! {
    /// `_IO_LSEEK`. The reply is the new position, 8 bytes.
    pub body struct IoLseek: 16, "_IO_LSEEK" {
        /// See [`crate::io::whence`].
        4 whence: i16,
        /// Relative to `whence`; a negative number as its two's complement.
        8 offset: u64,
    }
}

layout! {
    /// `_IO_NOTIFY`.
    pub body struct IoNotify: 64, "_IO_NOTIFY" {
        /// Poll, arm, or both.
        4 action: i32,
        /// Conditions, see [`crate::io::notify`].
        8 flags: u32,
        /// How to tell.
        12 sigevent: Sigevent,
        /// For the manager's use.
        28 mgr: [i32; 2],
        /// Which of the further conditions are valid.
        36 flags_extra_mask: i32,
        /// Further conditions.
        40 flags_exten: i32,
        /// Descriptors of a poll.
        44 nfds: i32,
        /// First descriptor of this server.
        48 fd_first: i32,
        /// Descriptors that are ready.
        52 nfds_ready: i32,
        /// Timeout in nanoseconds.
        56 timo: i64,
    }
}

layout! {
    /// Reply to `_IO_NOTIFY`.
    pub struct IoNotifyReply: 8, "_IO_NOTIFY reply" {
        /// Conditions that are met.
        4 flags: u32,
    }
}

layout! {
    /// `_IO_PATHCONF`. The value is the status of the reply.
    pub body struct IoPathconf: 8, "_IO_PATHCONF" {
        /// See [`crate::io::pathconf`].
        4 name: i16,
    }
}

layout! {
    /// `_IO_CHMOD`.
    pub body struct IoChmod: 8, "_IO_CHMOD" {
        /// New permissions.
        4 mode: u32,
    }
}

layout! {
    /// `_IO_CHOWN`.
    pub body struct IoChown: 12, "_IO_CHOWN" {
        /// New group, -1 to keep it.
        4 gid: i32,
        /// New owner, -1 to keep it.
        8 uid: i32,
    }
}

layout! {
    /// `_IO_UTIME`. Times in seconds since 1970.
    pub body struct IoUtime: 16, "_IO_UTIME" {
        /// When set, take the current time.
        4 cur_flag: i32,
        /// Last read.
        8 actime: u32,
        /// Last change.
        12 modtime: u32,
    }
}

layout! {
    /// `_IO_OPENFD`.
    pub body struct IoOpenfd: 68, "_IO_OPENFD" {
        /// As in `_IO_CONNECT`.
        4 ioflag: u32,
        /// Sharing mode.
        8 sflag: u16,
        /// What kind of descriptor.
        10 xtype: u16,
        /// The descriptor to open again.
        12 info: MsgInfo,
        /// Key.
        64 key: u32,
    }
}

layout! {
    /// `_IO_FDINFO`: the path of an open file, please.
    pub body struct IoFdinfo: 16, "_IO_FDINFO" {
        /// Local or resolved form.
        4 flags: u32,
        /// Room for the path.
        8 path_len: i32,
    }
}

layout! {
    /// `_IO_LOCK`. A lock description follows.
    pub body struct IoLock: 12, "_IO_LOCK" {
        /// What to do.
        4 subtype: u32,
        /// Bytes that follow.
        8 nbytes: i32,
    }
}

layout! {
    /// `_IO_SPACE`. The reply is the file's size, 8 bytes.
    pub body struct IoSpace: 24, "_IO_SPACE" {
        /// [`IoSpace::ALLOC`] or [`IoSpace::FREE`].
        4 subtype: u16,
        /// See [`crate::io::whence`].
        6 whence: i16,
        /// First byte, relative to `whence`.
        8 start: u64,
        /// Bytes; 0 up to the end of the file.
        16 len: u64,
    }
}

impl IoSpace {
    /// Give the range blocks.
    pub const ALLOC: u16 = 110;
    /// Free the range.
    pub const FREE: u16 = 111;
}

layout! {
    /// `_IO_MSG`: a message to a manager, data of its own behind it.
    pub body struct IoMsg: 8, "_IO_MSG" {
        /// Which manager.
        4 mgrid: u16,
        /// What it should do.
        6 subtype: u16,
    }
}

layout! {
    /// `_IO_DUP`: another descriptor for an open file.
    pub body struct IoDup: 60, "_IO_DUP" {
        /// The connection on which it is open.
        4 info: MsgInfo,
        /// Key.
        56 key: u32,
    }
}

layout! {
    /// `_IO_SYNC`.
    pub body struct IoSync: 8, "_IO_SYNC" {
        /// What to write out.
        4 flag: u32,
    }
}
