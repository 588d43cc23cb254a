//! Who a client is (section 12.2, `client_info`).

use super::KifError;
use crate::endian::Endian;
use crate::layout::{Field, layout};
use crate::nd::Nd;
use crate::out::Out;
use core::fmt;

layout! {
    /// The part of the credentials that has a fixed length.
    struct Fixed: 44, "KIF credentials" {
        0 nd: Nd,
        4 pid: i32,
        8 sid: i32,
        12 flags: u32,
        16 ids: [u32; 6],
        40 ngroups: u32,
    }
}

/// Supplementary groups: at most eight.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Groups {
    list: [u32; Groups::MAX],
    len: u8,
}

impl Groups {
    /// Most groups of a client.
    pub const MAX: usize = 8;

    /// None, when there are too many.
    pub fn new(groups: &[u32]) -> Option<Groups> {
        let mut list = [0; Groups::MAX];
        list.get_mut(..groups.len())?.copy_from_slice(groups);
        Some(Groups { list, len: groups.len() as u8 })
    }

    /// The groups.
    pub fn as_slice(&self) -> &[u32] {
        self.list.get(..self.len.into()).unwrap_or_default()
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// Credentials of a client.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cred {
    /// The client's node as the server knows it. The receiver puts its own number there.
    pub nd: Nd,
    /// Process.
    pub pid: i32,
    /// Session.
    pub sid: i32,
    /// Bits below.
    pub flags: u32,
    /// Real user.
    pub ruid: u32,
    /// Effective user.
    pub euid: u32,
    /// Saved user.
    pub suid: u32,
    /// Real group.
    pub rgid: u32,
    /// Effective group.
    pub egid: u32,
    /// Saved group.
    pub sgid: u32,
    /// Supplementary groups.
    pub groups: Groups,
}

impl Cred {
    /// Flag: the client is big-endian.
    pub const BIG_ENDIAN: u32 = 0x01;
    /// Flag: its process group is in the background.
    pub const BACKGROUND: u32 = 0x04;
    /// Flag: its process group is an orphan.
    pub const ORPHAN: u32 = 0x08;
    /// Flag: it is stopped.
    pub const STOPPED: u32 = 0x80;
    /// Length with eight groups.
    pub const MAX_LEN: usize = Fixed::LEN + 4 * Groups::MAX;

    /// Length with its groups.
    pub fn encoded_len(&self) -> usize {
        Fixed::LEN + 4 * self.groups.as_slice().len()
    }

    /// Reads credentials from the front of `bytes`. All eight places for groups may be there, used or not.
    pub(super) fn decode(bytes: &[u8], endian: Endian) -> Result<Cred, KifError> {
        let fixed = Fixed::decode(bytes, endian).map_err(KifError::Short)?;
        let ngroups = usize::try_from(fixed.ngroups).unwrap_or(usize::MAX);
        if ngroups > Groups::MAX {
            return Err(KifError::Groups(fixed.ngroups));
        }
        let listed = crate::layout::slice("KIF group list", bytes, Fixed::LEN, Fixed::LEN + 4 * ngroups);
        let listed = listed.map_err(KifError::Short)?;
        let mut groups = Groups { len: ngroups as u8, ..Groups::default() };
        for (index, group) in groups.list.iter_mut().take(ngroups).enumerate() {
            *group = u32::get(listed, 4 * index, endian);
        }
        let [ruid, euid, suid, rgid, egid, sgid] = fixed.ids;
        let Fixed { nd, pid, sid, flags, .. } = fixed;
        Ok(Cred { nd, pid, sid, flags, ruid, euid, suid, rgid, egid, sgid, groups })
    }

    pub(super) fn put(&self, out: &mut Out<'_>) {
        let Cred { nd, pid, sid, flags, ruid, euid, suid, rgid, egid, sgid, groups } = *self;
        let ids = [ruid, euid, suid, rgid, egid, sgid];
        out.put(&Fixed { nd, pid, sid, flags, ids, ngroups: groups.len.into() });
        for group in groups.as_slice() {
            out.put(group);
        }
    }
}
