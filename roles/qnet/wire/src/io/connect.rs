//! `_IO_CONNECT`: everything that is done by name (section 13.3).

use super::{Extra, ExtraType, MsgType};
use crate::endian::Endian;
use crate::errno::Errno;
use crate::layout::{Short, layout, slice};
use crate::out::{NoRoom, Out, len16};
use core::fmt;

layout! {
    struct Fixed: 40, "_IO_CONNECT" {
        0 kind: u16,
        2 subtype: u16,
        4 file_type: u32,
        8 reply_max: u16,
        10 entry_max: u16,
        12 key: u32,
        16 handle: u32,
        20 ioflag: u32,
        24 mode: u32,
        28 sflag: u16,
        30 access: u16,
        34 path_len: u16,
        36 eflag: u8,
        37 extra_type: u8,
        38 extra_len: u16,
    }
}

/// Longest component of a path.
const NAME_MAX: usize = 255;
/// Longest path.
const PATH_MAX: usize = 1024;

/// What to do with the name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct ConnectSubtype(pub u16);

impl ConnectSubtype {
    /// Process the extra message; the file stays open.
    pub const COMBINE: ConnectSubtype = ConnectSubtype(0);
    /// Process the extra message and close.
    pub const COMBINE_CLOSE: ConnectSubtype = ConnectSubtype(1);
    /// Open.
    pub const OPEN: ConnectSubtype = ConnectSubtype(2);
    /// Remove a file or directory.
    pub const UNLINK: ConnectSubtype = ConnectSubtype(3);
    /// Rename; the extra data are the old name.
    pub const RENAME: ConnectSubtype = ConnectSubtype(4);
    /// Make a directory or special file.
    pub const MKNOD: ConnectSubtype = ConnectSubtype(5);
    /// Read a symbolic link.
    pub const READLINK: ConnectSubtype = ConnectSubtype(6);
    /// Make a link or symbolic link.
    pub const LINK: ConnectSubtype = ConnectSubtype(7);
    /// Mount.
    pub const MOUNT: ConnectSubtype = ConnectSubtype(9);
}

/// `file_type`: what kind of object is wanted.
pub struct FileType;

impl FileType {
    /// Any kind.
    pub const ANY: u32 = 0;
    /// File or directory.
    pub const FILE: u32 = 1;
    /// Symbolic link.
    pub const SYMLINK: u32 = 3;
    /// Shared memory.
    pub const SHMEM: u32 = 5;
    /// Message queue.
    pub const MQUEUE: u32 = 6;
    /// Named semaphore.
    pub const SEM: u32 = 8;
    /// Service of `name_attach`.
    pub const NAME: u32 = 12;
    /// All kinds, or the one that matched.
    pub const ALL: u32 = u32::MAX;
}

/// Why an `_IO_CONNECT` is answered with an error (section 23, point 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectError {
    /// It ends within the fixed part, the path or the extra data.
    Short(Short),
    /// A path without even a NUL.
    NoPath,
    /// No NUL within the path's length.
    Unterminated(u16),
    /// A component above 255 bytes: how long it is.
    Component(usize),
    /// A path above 1,024 bytes: how long it is.
    Path(usize),
    /// No levels of redirection left.
    EntryMax,
}

impl ConnectError {
    /// The number with which to answer.
    pub const fn errno(&self) -> Errno {
        match self {
            ConnectError::Short(_) | ConnectError::NoPath | ConnectError::Unterminated(_) => Errno::EINVAL,
            ConnectError::Component(_) | ConnectError::Path(_) => Errno::ENAMETOOLONG,
            ConnectError::EntryMax => Errno::ELOOP,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Short(short) => short.fmt(f),
            ConnectError::NoPath => f.write_str("_IO_CONNECT path_len is 0"),
            ConnectError::Unterminated(len) => {
                write!(f, "_IO_CONNECT path of path_len {len} has no NUL")
            }
            ConnectError::Component(len) => {
                write!(f, "_IO_CONNECT path has a component of {len} bytes; {NAME_MAX} are allowed")
            }
            ConnectError::Path(len) => {
                write!(f, "_IO_CONNECT path has {len} bytes; {PATH_MAX} are allowed")
            }
            ConnectError::EntryMax => f.write_str("_IO_CONNECT entry_max is 0: too many redirections"),
        }
    }
}

impl core::error::Error for ConnectError {}

/// `_IO_CONNECT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoConnect<'a> {
    /// What to do.
    pub subtype: ConnectSubtype,
    /// See [`FileType`].
    pub file_type: u32,
    /// Room for the reply.
    pub reply_max: u16,
    /// Levels of redirection left, at least 1.
    pub entry_max: u16,
    /// Key.
    pub key: u32,
    /// Where the path starts. On process 1, channel 1: [`IoConnect::REMOTE_ROOT`].
    pub handle: u32,
    /// See [`crate::io::ioflag`].
    pub ioflag: u32,
    /// Type and permissions for what is made.
    pub mode: u32,
    /// Sharing mode; [`IoConnect::SH_DENYNO`].
    pub sflag: u16,
    /// Access that the caller uses.
    pub access: u16,
    /// Bits: [`IoConnect::EFLAG_DIR`] and the two after it.
    pub eflag: u8,
    /// The path, without its NUL; relative to where `handle` starts.
    pub path: &'a [u8],
    /// Extra data.
    pub extra: Extra<'a>,
}

impl<'a> IoConnect<'a> {
    /// Handle of the root for a client on another node.
    pub const REMOTE_ROOT: u32 = 1;
    /// `sflag` of a plain open.
    pub const SH_DENYNO: u16 = 0x40;
    /// `reply_max` of a plain open by QNX's library.
    pub const REPLY_MAX: u16 = 2584;
    /// `entry_max` with which clients start.
    pub const ENTRY_MAX: u16 = 16;
    /// `eflag`: a directory is required.
    pub const EFLAG_DIR: u8 = 1;
    /// `eflag`: the path ended in a dot.
    pub const EFLAG_DOT: u8 = 2;
    /// `eflag`: the path ended in two dots.
    pub const EFLAG_DOTDOT: u8 = 4;

    /// Where extra data start behind a path of this length, NUL included.
    fn extra_start(path_len: usize) -> usize {
        (Fixed::LEN + path_len).next_multiple_of(8)
    }

    /// Reads a message.
    pub fn decode(message: &'a [u8], endian: Endian) -> Result<IoConnect<'a>, ConnectError> {
        let fixed = Fixed::decode(message, endian).map_err(ConnectError::Short)?;
        let path_len = usize::from(fixed.path_len);
        if path_len == 0 {
            return Err(ConnectError::NoPath);
        }
        let path = slice("_IO_CONNECT path", message, Fixed::LEN, Fixed::LEN + path_len);
        let path = path.map_err(ConnectError::Short)?;
        let nul = path.iter().position(|byte| *byte == 0);
        let path = nul.and_then(|nul| path.get(..nul)).ok_or(ConnectError::Unterminated(fixed.path_len))?;
        if path.len() > PATH_MAX {
            return Err(ConnectError::Path(path.len()));
        }
        let longest = path.split(|byte| *byte == b'/').map(<[u8]>::len).max().unwrap_or_default();
        if longest > NAME_MAX {
            return Err(ConnectError::Component(longest));
        }
        if fixed.entry_max == 0 {
            return Err(ConnectError::EntryMax);
        }
        let extra = match fixed.extra_len {
            0 => Extra::None,
            len => {
                let start = IoConnect::extra_start(path_len);
                let bytes = slice("_IO_CONNECT extra data", message, start, start + usize::from(len));
                let kind = ExtraType(fixed.extra_type);
                bytes.and_then(|bytes| Extra::decode(kind, bytes, endian)).map_err(ConnectError::Short)?
            }
        };
        Ok(IoConnect {
            subtype: ConnectSubtype(fixed.subtype),
            file_type: fixed.file_type,
            reply_max: fixed.reply_max,
            entry_max: fixed.entry_max,
            key: fixed.key,
            handle: fixed.handle,
            ioflag: fixed.ioflag,
            mode: fixed.mode,
            sflag: fixed.sflag,
            access: fixed.access,
            eflag: fixed.eflag,
            path,
            extra,
        })
    }

    /// Writes the message and returns its length.
    pub fn emit(&self, room: &mut [u8], endian: Endian) -> Result<usize, NoRoom> {
        let fixed = Fixed {
            kind: MsgType::IO_CONNECT.0,
            subtype: self.subtype.0,
            file_type: self.file_type,
            reply_max: self.reply_max,
            entry_max: self.entry_max,
            key: self.key,
            handle: self.handle,
            ioflag: self.ioflag,
            mode: self.mode,
            sflag: self.sflag,
            access: self.access,
            path_len: len16(self.path.len() + 1),
            eflag: self.eflag,
            extra_type: self.extra.kind().0,
            extra_len: len16(self.extra.len()),
        };
        let mut out = Out::new(room, endian);
        out.put(&fixed).string(self.path);
        if self.extra != Extra::None {
            out.align(8);
            self.extra.put(&mut out);
        }
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &[u8]) -> IoConnect<'_> {
        IoConnect {
            subtype: ConnectSubtype::OPEN,
            file_type: FileType::ANY,
            reply_max: IoConnect::REPLY_MAX,
            entry_max: IoConnect::ENTRY_MAX,
            key: 0,
            handle: IoConnect::REMOTE_ROOT,
            ioflag: 1,
            mode: 0,
            sflag: IoConnect::SH_DENYNO,
            access: 3,
            eflag: 0,
            path,
            extra: Extra::None,
        }
    }

    fn bytes(connect: IoConnect<'_>) -> Vec<u8> {
        let mut room = vec![0; 2048];
        let len = connect.emit(&mut room, Endian::Little).unwrap();
        room.truncate(len);
        room
    }

    fn decode_path(path: &[u8]) -> Result<usize, ConnectError> {
        IoConnect::decode(&bytes(open(path)), Endian::Little).map(|connect| connect.path.len())
    }

    #[test]
    fn lengths_of_paths() {
        assert_eq!(decode_path(b""), Ok(0));
        assert_eq!(decode_path(&[b'a'; 255]), Ok(255));
        assert_eq!(decode_path(&[b'a'; 256]), Err(ConnectError::Component(256)));
        assert_eq!(decode_path(&b"abc/".repeat(256)), Ok(1024));
        assert_eq!(decode_path(&b"abcd/".repeat(205)), Err(ConnectError::Path(1025)));
        assert_eq!(ConnectError::Path(1025).errno(), Errno::ENAMETOOLONG);
    }

    #[test]
    fn rejections() {
        let with = |at: usize, value: u8| {
            let mut bytes = bytes(open(b"etc"));
            bytes[at] = value;
            IoConnect::decode(&bytes, Endian::Little).map(|connect| connect.path.len())
        };
        assert_eq!(with(34, 0), Err(ConnectError::NoPath));
        assert_eq!(with(34, 3), Err(ConnectError::Unterminated(3)));
        assert!(matches!(with(34, 5), Err(ConnectError::Short(_))));
        assert_eq!(with(10, 0), Err(ConnectError::EntryMax));
        assert_eq!(ConnectError::EntryMax.errno(), Errno::ELOOP);
        assert!(matches!(with(38, 1), Err(ConnectError::Short(_))));
        assert_eq!(with(37, 9), Ok(3), "a type without data");
    }

    #[test]
    fn extra_data_are_aligned() {
        for path in [&b"1234567"[..], b"12345678", b""] {
            let connect = IoConnect { extra: Extra::Rename(b"old"), ..open(path) };
            let bytes = bytes(connect);
            assert_eq!(bytes.len() % 8, 4);
            assert_eq!(bytes[bytes.len() - 4..], *b"old\0");
            assert_eq!(IoConnect::decode(&bytes, Endian::Little), Ok(connect));
        }
    }
}
