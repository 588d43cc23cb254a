//! Messages to resource managers, which KIF carries (section 13), in the layout of 32-bit QNX.
//!
//! Every message but `_IO_CONNECT` starts with its type and a combine length: its own size, with bit 15 when another
//! message follows behind that many bytes. [`Parts`] takes a message apart; [`IoRequest`] understands a part.

mod connect;
mod connect_reply;
mod devctl;
mod dirent;
mod extra;
mod fixed;
mod flags;
mod msg_type;
mod read_write;
mod request;

pub use connect::{ConnectError, ConnectSubtype, FileType, IoConnect};
pub use connect_reply::{ConnectEntry, ConnectReply, FtypeReply, LinkHead, LinkReply, emit_link_reply};
pub use devctl::{Dcmd, IoDevctl, IoDevctlReply};
pub use dirent::{DirFull, DirWriter, Dirent, DirentError, Dirents};
pub use extra::{Extra, ExtraType, MountExtra, ResmgrLink};
pub use fixed::{
    IoChmod, IoChown, IoDup, IoFdinfo, IoLock, IoLseek, IoMsg, IoNotify, IoNotifyReply, IoOpenfd, IoPathconf,
    IoSpace, IoSync, IoUtime, MsgInfo, Stat,
};
pub use flags::{ioflag, notify, pathconf, whence};
pub use msg_type::MsgType;
pub use read_write::{IoReadWrite, Xtype, XtypeFlags};
pub use request::IoRequest;

use crate::endian::Endian;
use crate::errno::Errno;
use crate::layout::{Short, layout};
use core::fmt;

layout! {
    /// What every message but `_IO_CONNECT` starts with.
    pub(crate) struct IoHeader: 4, "message header" {
        0 kind: u16,
        2 combine_len: u16,
    }
}

/// Bit of the combine length: another message follows.
const COMBINE: u16 = 0x8000;

/// Why a message is answered with an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoError {
    /// It ends early.
    Short(Short),
    /// A type that no server implements.
    Type(MsgType),
    /// A combine length that is below the header, or above the bytes there are while more should follow.
    CombineLen(u16),
    /// An extended type of read or write that no server implements.
    Xtype(u32),
    /// Something in an `_IO_CONNECT`.
    Connect(ConnectError),
}

impl IoError {
    /// The number with which to answer.
    pub const fn errno(&self) -> Errno {
        match self {
            IoError::Short(_) | IoError::CombineLen(_) => Errno::EINVAL,
            IoError::Type(_) | IoError::Xtype(_) => Errno::ENOSYS,
            IoError::Connect(error) => error.errno(),
        }
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoError::Short(short) => short.fmt(f),
            IoError::Type(kind) => write!(f, "message type {kind} is not implemented"),
            IoError::CombineLen(value) => write!(f, "combine length {value:#06x} does not fit the message"),
            IoError::Xtype(value) => write!(f, "extended type {value:#x} is not implemented"),
            IoError::Connect(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for IoError {}

/// One of the messages that arrived together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// Its type.
    pub kind: MsgType,
    /// The message: header, fixed part, data.
    pub bytes: &'a [u8],
}

/// The parts of a combined message, in the order in which to process them. Most messages are one part.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    rest: &'a [u8],
    endian: Endian,
    done: bool,
}

impl<'a> Parts<'a> {
    /// Takes a message apart.
    pub fn new(message: &'a [u8], endian: Endian) -> Parts<'a> {
        Parts { rest: message, endian, done: false }
    }

    fn split(&mut self) -> Result<Part<'a>, IoError> {
        // Messages to the process manager and `_IO_CONNECT` have a subtype where others have the combine length.
        let header = IoHeader::decode(self.rest, self.endian).map_err(IoError::Short)?;
        let kind = MsgType(header.kind);
        let combined = kind.0 > MsgType::IO_CONNECT.0 && header.combine_len & COMBINE != 0;
        if !combined {
            self.done = true;
            return Ok(Part { kind, bytes: self.rest });
        }
        let len = usize::from(header.combine_len & !COMBINE);
        let fits = |(part, _): &(&[u8], &[u8])| part.len() >= IoHeader::LEN;
        let split = self.rest.split_at_checked(len).filter(fits);
        let (bytes, rest) = split.ok_or(IoError::CombineLen(header.combine_len))?;
        self.rest = rest;
        Ok(Part { kind, bytes })
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, IoError>;

    /// The next part. An error is the last item.
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let part = self.split();
        self.done |= part.is_err();
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combined_messages() {
        // lseek (16 bytes), then a read.
        let mut bytes = vec![0; 32];
        bytes[..4].copy_from_slice(&[0x09, 0x01, 16, 0x80]);
        bytes[16..20].copy_from_slice(&[0x01, 0x01, 16, 0]);
        let parts: Vec<_> = Parts::new(&bytes, Endian::Little).map(Result::unwrap).collect();
        let kinds: Vec<_> = parts.iter().map(|part| (part.kind, part.bytes.len())).collect();
        assert_eq!(kinds, [(MsgType::IO_LSEEK, 16), (MsgType::IO_READ, 16)]);
        for (low, high) in [(3, 0x80), (33, 0x80), (0, 0x80), (0xff, 0xff)] {
            (bytes[2], bytes[3]) = (low, high);
            let expected = IoError::CombineLen(u16::from_le_bytes([low, high]));
            assert_eq!(Parts::new(&bytes, Endian::Little).last(), Some(Err(expected)));
        }
        (bytes[2], bytes[3]) = (32, 0x80);
        assert!(matches!(Parts::new(&bytes, Endian::Little).last(), Some(Err(IoError::Short(_)))));
    }

    #[test]
    fn subtypes_are_no_combine_lengths() {
        for kind in [0x00, 0x10] {
            let bytes = [kind, 0, 0xff, 0xff];
            let parts: Vec<_> = Parts::new(&bytes, Endian::Little).collect();
            assert_eq!(parts, [Ok(Part { kind: MsgType(kind.into()), bytes: &bytes })]);
        }
        let bytes = [0, 1, 0, 0x80];
        assert_eq!(Parts::new(&bytes, Endian::Little).count(), 1);
    }
}
