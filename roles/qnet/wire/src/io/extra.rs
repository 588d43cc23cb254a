//! Extra data of an `_IO_CONNECT`, by type (section 13.3; openqnx trunk/lib/c/public/sys/iomsg.h).

use super::MsgInfo;
use crate::endian::Endian;
use crate::layout::{Short, layout, until_nul};
use crate::nd::Nd;
use crate::out::Out;

/// Number of an extra type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ExtraType(pub u8);

impl ExtraType {
    /// Nothing, or a message to combine with the open.
    pub const NONE: ExtraType = ExtraType(0);
    /// An open file to link to.
    pub const LINK: ExtraType = ExtraType(1);
    /// Text of a symbolic link.
    pub const SYMLINK: ExtraType = ExtraType(2);
    /// A server to enter into the name space.
    pub const RESMGR_LINK: ExtraType = ExtraType(7);
    /// The old name.
    pub const RENAME: ExtraType = ExtraType(9);
    /// What to mount.
    pub const MOUNT: ExtraType = ExtraType(10);
}

layout! {
    /// A server to enter into the name space.
    pub struct ResmgrLink: 32, "resource manager link" {
        /// Its node.
        0 nd: Nd,
        /// Its process.
        4 pid: i32,
        /// Its channel.
        8 chid: i32,
        /// What it calls the name.
        12 handle: u32,
        /// Flags of the entry.
        16 flags: u32,
        /// Type of the entry.
        20 file_type: u32,
    }
}

layout! {
    /// What to mount. Data, type and special device follow.
    pub struct MountExtra: 64, "mount extra" {
        /// Flags of the mount.
        0 flags: u32,
        /// Bytes in all.
        4 nbytes: u32,
        /// Bytes of data that follow.
        8 datalen: u32,
        /// The special device or the path.
        16 info: MsgInfo,
    }
}

/// Extra data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extra<'a> {
    /// None.
    None,
    /// Type 0: a message to process on the file once it is open, such as `_IO_STAT`.
    Message(&'a [u8]),
    /// An open file to link to.
    Link(MsgInfo),
    /// Text of a symbolic link.
    Symlink(&'a [u8]),
    /// A server to enter into the name space.
    ResmgrLink(ResmgrLink),
    /// The old name.
    Rename(&'a [u8]),
    /// What to mount, and what follows.
    Mount(MountExtra, &'a [u8]),
    /// A type without a layout here.
    Other(ExtraType, &'a [u8]),
}

impl<'a> Extra<'a> {
    pub(super) fn decode(kind: ExtraType, bytes: &'a [u8], endian: Endian) -> Result<Extra<'a>, Short> {
        Ok(match kind {
            ExtraType::NONE if bytes.is_empty() => Extra::None,
            ExtraType::NONE => Extra::Message(bytes),
            ExtraType::LINK => Extra::Link(MsgInfo::decode(bytes, endian)?),
            ExtraType::SYMLINK => Extra::Symlink(until_nul(bytes)),
            ExtraType::RESMGR_LINK => Extra::ResmgrLink(ResmgrLink::decode(bytes, endian)?),
            ExtraType::RENAME => Extra::Rename(until_nul(bytes)),
            ExtraType::MOUNT => {
                let mount = MountExtra::decode(bytes, endian)?;
                Extra::Mount(mount, bytes.get(MountExtra::LEN..).unwrap_or_default())
            }
            other => Extra::Other(other, bytes),
        })
    }

    pub(super) fn kind(&self) -> ExtraType {
        match self {
            Extra::None | Extra::Message(_) => ExtraType::NONE,
            Extra::Link(_) => ExtraType::LINK,
            Extra::Symlink(_) => ExtraType::SYMLINK,
            Extra::ResmgrLink(_) => ExtraType::RESMGR_LINK,
            Extra::Rename(_) => ExtraType::RENAME,
            Extra::Mount(..) => ExtraType::MOUNT,
            Extra::Other(kind, _) => *kind,
        }
    }

    /// Bytes it takes.
    pub(super) fn len(&self) -> usize {
        match self {
            Extra::None => 0,
            Extra::Message(bytes) | Extra::Other(_, bytes) => bytes.len(),
            Extra::Link(_) => MsgInfo::LEN,
            Extra::Symlink(text) | Extra::Rename(text) => text.len() + 1,
            Extra::ResmgrLink(_) => ResmgrLink::LEN,
            Extra::Mount(_, rest) => MountExtra::LEN + rest.len(),
        }
    }

    pub(super) fn put(&self, out: &mut Out<'_>) {
        match self {
            Extra::None => out,
            Extra::Message(bytes) | Extra::Other(_, bytes) => out.bytes(bytes),
            Extra::Link(info) => out.put(info),
            Extra::Symlink(text) | Extra::Rename(text) => out.string(text),
            Extra::ResmgrLink(link) => out.put(link),
            Extra::Mount(mount, rest) => out.put(mount).bytes(rest),
        };
    }
}
