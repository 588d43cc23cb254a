//! Who may do what: owner, group and other bits (section 12.7).

use crate::api::{Credentials, MessageInfo};
use keelson_qnet_wire::Nd;
use keelson_qnet_wire::io::ioflag;
use keelson_volume::Attributes;

/// What is to be done, in the bits of a mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access(u32);

impl Access {
    /// Nothing.
    pub const NONE: Access = Access(0);
    /// Read a file, list a directory.
    pub const READ: Access = Access(4);
    /// Write a file, change a directory.
    pub const WRITE: Access = Access(2);
    /// Find names in a directory.
    pub const SEARCH: Access = Access(1);
    /// Change a directory's names.
    pub const ENTER: Access = Access(3);

    /// What an open asks for.
    pub fn of_open(flags: u32) -> Access {
        let read = if flags & ioflag::RD != 0 { Access::READ.0 } else { 0 };
        let write = if flags & (ioflag::WR | ioflag::TRUNC) != 0 { Access::WRITE.0 } else { 0 };
        Access(read | write)
    }
}

/// Whoever sent a message. Of clients of other nodes the credentials are mapped already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Effective or, where asked for, real ids.
    pub uid: u32,
    /// The same.
    pub gid: u32,
    /// All credentials.
    pub credentials: Credentials,
    /// Its node, as this node knows it.
    pub nd: Nd,
    /// This node, as it knows it.
    pub srcnd: Nd,
}

impl Caller {
    /// The client of a message.
    pub fn new(credentials: &Credentials, info: &MessageInfo) -> Caller {
        let credentials = *credentials;
        Caller { uid: credentials.euid, gid: credentials.egid, credentials, nd: info.nd, srcnd: info.srcnd }
    }

    /// The same, judged by its real ids.
    pub fn with_real_ids(self) -> Caller {
        Caller { uid: self.credentials.ruid, gid: self.credentials.rgid, ..self }
    }

    /// Whether nothing is forbidden.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether it may change the attributes of an object.
    pub fn owns(&self, object: &Attributes) -> bool {
        self.is_root() || self.uid == object.uid
    }

    /// Whether it is in a group.
    pub fn is_in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.credentials.groups.as_slice().contains(&gid)
    }

    /// Whether it may take an object's name out of a directory that it may change: not from others' where the sticky
    /// bit is set.
    pub fn may_unlink(&self, dir: &Attributes, object: &Attributes) -> bool {
        dir.mode & 0o1000 == 0 || self.owns(dir) || self.owns(object)
    }
}

/// Whether the bits of an object allow something.
pub fn may(caller: &Caller, object: &Attributes, wanted: Access) -> bool {
    let shift = if caller.uid == object.uid {
        6
    } else if caller.is_in_group(object.gid) {
        3
    } else {
        0
    };
    caller.is_root() || (object.mode >> shift) & wanted.0 == wanted.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::text::plain;
    use keelson_qnet_wire::kif::Groups;
    use keelson_volume::FileType;

    fn caller(uid: u32, gid: u32, groups: &[u32]) -> Caller {
        let groups = Groups::new(groups).unwrap();
        let credentials = Credentials { ruid: 0, euid: uid, egid: gid, groups, ..Credentials::default() };
        Caller::new(&credentials, &MessageInfo::default())
    }

    #[test]
    fn one_class_of_bits_counts() {
        let object = Attributes { uid: 5, gid: 6, ..plain(1, FileType::Regular, 0o067) };
        assert!(!may(&caller(5, 6, &[]), &object, Access::READ), "the owner has fewer rights than others");
        assert!(may(&caller(7, 6, &[]), &object, Access::READ));
        assert!(!may(&caller(7, 1, &[6]), &object, Access::SEARCH), "a group, though others may");
        assert!(may(&caller(7, 1, &[1]), &object, Access::ENTER));
        assert!(may(&caller(0, 1, &[]), &object, Access::READ));
        assert!(may(&caller(5, 6, &[]).with_real_ids(), &object, Access::READ));
    }

    #[test]
    fn sticky_directories() {
        let dir = Attributes { uid: 1, ..plain(1, FileType::Directory, 0o1777) };
        let object = Attributes { uid: 2, ..plain(2, FileType::Regular, 0o666) };
        let may = |uid| caller(uid, uid, &[]).may_unlink(&dir, &object);
        assert_eq!([0, 1, 2, 3].map(may), [true, true, true, false]);
        assert!(caller(3, 3, &[]).may_unlink(&Attributes { mode: 0o777, ..dir }, &object));
    }
}
