//! Descriptors of a program's parent (section 14.4): in the remote block of `_PROC_SPAWN`, or asked for.

use super::{ProcHeader, spawn_subtype};
use crate::endian::Endian;
use crate::io::MsgType;
use crate::layout::{Field, Short, layout, slice};
use crate::nd::Nd;
use crate::out::{NoRoom, Out, len16};

layout! {
    /// A descriptor that the program is to have.
    pub struct FdInfo: 28, "spawn fd" {
        /// Its number.
        0 fd: i32,
        /// Node of the server, in the receiver's numbering.
        4 nd: Nd,
        /// Node of the caller as the server knows it.
        8 srcnd: Nd,
        /// Process of the server.
        12 pid: i32,
        /// Channel of the server.
        16 chid: i32,
        /// Server connection of the caller.
        20 scoid: i32,
        /// Connection of the caller.
        24 coid: i32,
    }
}

layout! {
    /// `_PROC_SPAWN` FD: which descriptors does the parent have?
    pub body struct FdRequest: 16, "_PROC_SPAWN FD" {
        /// [`FdRequest::LIST`], [`FdRequest::NO_CLOEXEC`].
        4 flags: u16,
        /// How many are wanted.
        6 nfds: u16,
        /// The first of interest.
        8 base: i32,
        /// The parent.
        12 ppid: i32,
    }
}

impl FdRequest {
    /// Only those in a list behind the message.
    pub const LIST: u16 = 1;
    /// None that are closed when a program is started.
    pub const NO_CLOEXEC: u16 = 2;

    /// The whole message.
    pub fn encode(&self, endian: Endian) -> [u8; FdRequest::LEN] {
        let mut bytes = [0; Self::LEN];
        self.put(&mut bytes, 0, endian);
        let header = ProcHeader { kind: MsgType::PROC_SPAWN.0, subtype: spawn_subtype::FD };
        header.put(&mut bytes, 0, endian);
        bytes
    }
}

layout! {
    struct ReplyHead: 4, "_PROC_SPAWN FD reply" {
        0 flags: u16,
        2 nfds: u16,
    }
}

/// Flag of the reply: there are more, ask again.
const MORE: u16 = 1;

/// Reply to [`FdRequest`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FdReply<'a> {
    /// Whether there are more: ask again.
    pub more: bool,
    records: &'a [u8],
    endian: Endian,
}

impl<'a> FdReply<'a> {
    /// Reads the data of a reply.
    pub fn decode(data: &'a [u8], endian: Endian) -> Result<FdReply<'a>, Short> {
        let head = ReplyHead::decode(data, endian)?;
        let end = ReplyHead::LEN + FdInfo::LEN * usize::from(head.nfds);
        let records = slice("spawn fd records", data, ReplyHead::LEN, end)?;
        Ok(FdReply { more: head.flags & MORE != 0, records, endian })
    }

    /// The descriptors.
    pub fn fds(&self) -> impl Iterator<Item = FdInfo> + 'a {
        fd_records(self.records, self.endian)
    }
}

/// Records one behind another.
pub(super) fn fd_records(bytes: &[u8], endian: Endian) -> impl Iterator<Item = FdInfo> {
    let (records, _) = bytes.as_chunks::<{ FdInfo::LEN }>();
    records.iter().filter_map(move |record| FdInfo::decode(record, endian).ok())
}

/// Writes the data of a reply and returns their length.
pub fn emit_fd_reply(room: &mut [u8], endian: Endian, more: bool, fds: &[FdInfo]) -> Result<usize, NoRoom> {
    let mut out = Out::new(room, endian);
    out.put(&ReplyHead { flags: if more { MORE } else { 0 }, nfds: len16(fds.len()) });
    for fd in fds {
        out.put(fd);
    }
    out.finish()
}
