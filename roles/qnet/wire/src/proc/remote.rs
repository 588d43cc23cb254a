//! What a program that is started on another node needs to know of its caller (section 14.4).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 16 | key, umask, counts and lengths, flags |
//! | 16 | root_len | root directory, with NUL |
//! | | cwd_len | working directory, with NUL |
//! | | 28 nfds | descriptors, on a multiple of four from the start of the strings |

use super::SpawnError;
use super::spawn::{count, terminated};
use super::spawn_fd::{FdInfo, fd_records};
use crate::endian::Endian;
use crate::layout::{layout, slice};
use crate::out::{Out, len16};

layout! {
    struct RemoteFixed: 16, "remote block" {
        0 key: u32,
        4 umask: u32,
        8 nfds: u16,
        10 root_len: u16,
        12 cwd_len: u16,
        14 flags: u16,
    }
}

/// What a program on another node needs to know of its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemoteBlock<'a> {
    /// Key for the descriptors.
    pub key: u32,
    /// Mask for new files.
    pub umask: u32,
    /// Whether all descriptors are listed; else ask with [`super::FdRequest`].
    pub fds_all_in: bool,
    /// Root directory of the caller.
    pub root: &'a [u8],
    /// Working directory of the caller.
    pub cwd: &'a [u8],
    fds: Fds<'a>,
}

/// Descriptors as they came, or to be sent.
#[derive(Clone, Copy, Debug)]
enum Fds<'a> {
    Wire(&'a [u8], Endian),
    List(&'a [FdInfo]),
}

impl PartialEq for Fds<'_> {
    fn eq(&self, other: &Fds<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fds<'_> {}

impl<'a> Fds<'a> {
    fn iter(self) -> impl Iterator<Item = FdInfo> + 'a {
        let (wire, list) = match self {
            Fds::Wire(bytes, endian) => (Some(fd_records(bytes, endian)), &[][..]),
            Fds::List(list) => (None, list),
        };
        wire.into_iter().flatten().chain(list.iter().copied())
    }
}

impl<'a> RemoteBlock<'a> {
    /// Flag: all descriptors are in the block.
    const ALL_IN: u16 = 1;

    /// A block to be sent.
    pub fn new(key: u32, umask: u32, root: &'a [u8], cwd: &'a [u8], fds: &'a [FdInfo]) -> RemoteBlock<'a> {
        RemoteBlock { key, umask, fds_all_in: true, root, cwd, fds: Fds::List(fds) }
    }

    /// The descriptors.
    pub fn fds(&self) -> impl Iterator<Item = FdInfo> + 'a {
        self.fds.iter()
    }

    pub(super) fn decode(bytes: &'a [u8], endian: Endian) -> Result<RemoteBlock<'a>, SpawnError> {
        let fixed = RemoteFixed::decode(bytes, endian).map_err(SpawnError::Short)?;
        count("remote nfds", fixed.nfds)?;
        let strings = bytes.get(RemoteFixed::LEN..).unwrap_or_default();
        let cwd_start = usize::from(fixed.root_len);
        let cwd_end = cwd_start + usize::from(fixed.cwd_len);
        let fds_start = cwd_end.next_multiple_of(4);
        let fds_end = fds_start + FdInfo::LEN * usize::from(fixed.nfds);
        let root = slice("remote root", strings, 0, cwd_start).map_err(SpawnError::Short)?;
        let cwd = slice("remote cwd", strings, cwd_start, cwd_end).map_err(SpawnError::Short)?;
        let fds = match fixed.nfds {
            // Without descriptors there need be no padding either.
            0 => &[][..],
            _ => slice("remote fds", strings, fds_start, fds_end).map_err(SpawnError::Short)?,
        };
        Ok(RemoteBlock {
            key: fixed.key,
            umask: fixed.umask,
            fds_all_in: fixed.flags & RemoteBlock::ALL_IN != 0,
            root: terminated("remote root", root)?,
            cwd: terminated("remote cwd", cwd)?,
            fds: Fds::Wire(fds, endian),
        })
    }

    pub(super) fn put(&self, out: &mut Out<'_>) {
        let fixed = RemoteFixed {
            key: self.key,
            umask: self.umask,
            nfds: len16(self.fds().count()),
            root_len: len16(self.root.len() + 1),
            cwd_len: len16(self.cwd.len() + 1),
            flags: if self.fds_all_in { RemoteBlock::ALL_IN } else { 0 },
        };
        let strings = out.put(&fixed).len();
        let end = out.string(self.root).string(self.cwd).len();
        out.zero_to(strings + (end - strings).next_multiple_of(4));
        for fd in self.fds() {
            out.put(&fd);
        }
    }
}
