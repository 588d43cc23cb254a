//! Who a call acts as, and what that identity may do (RFC 1813 section 4.4).

use crate::exports::{ExportOptions, Squash};
use keelson_oncrpc::{AuthSys, MAX_GROUPS};
use keelson_volume::{Attributes, FileType};

/// May read.
pub const MAY_READ: u32 = 4;
/// May write.
pub const MAY_WRITE: u32 = 2;
/// May execute, or search a directory.
pub const MAY_EXECUTE: u32 = 1;

/// An identity after squashing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    groups: [u32; MAX_GROUPS],
    group_count: usize,
}

impl Identity {
    /// The anonymous user of an export.
    pub fn anonymous(options: &ExportOptions) -> Identity {
        Identity { uid: options.anon_uid, gid: options.anon_gid, groups: [0; MAX_GROUPS], group_count: 0 }
    }

    /// The identity that a credential stands for in an export.
    pub fn of(credential: &AuthSys<'_>, options: &ExportOptions) -> Identity {
        if options.squash() == Squash::All {
            return Identity::anonymous(options);
        }
        let squash = |id, anonymous| if options.squash() == Squash::Root && id == 0 { anonymous } else { id };
        let mut groups = [0; MAX_GROUPS];
        for (place, group) in groups.iter_mut().zip(credential.groups()) {
            *place = squash(*group, options.anon_gid);
        }
        Identity {
            uid: squash(credential.uid, options.anon_uid),
            gid: squash(credential.gid, options.anon_gid),
            groups,
            group_count: credential.groups().len(),
        }
    }

    /// The superuser, not squashed.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// The owner, or the superuser.
    pub fn owns(&self, object: &Attributes) -> bool {
        self.is_root() || self.uid == object.uid
    }

    /// Member of a group.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups[..self.group_count].contains(&gid)
    }

    /// The rights that the mode of an object gives.
    pub fn rights(&self, object: &Attributes) -> u32 {
        if self.is_root() {
            let executable = object.file_type == FileType::Directory || object.mode & 0o111 != 0;
            return MAY_READ | MAY_WRITE | if executable { MAY_EXECUTE } else { 0 };
        }
        let shift = if self.uid == object.uid {
            6
        } else if self.in_group(object.gid) {
            3
        } else {
            0
        };
        object.mode >> shift & 0o7
    }

    /// Whether the mode gives all of `wanted`.
    pub fn may(&self, object: &Attributes, wanted: u32) -> bool {
        self.rights(object) & wanted == wanted
    }

    /// Reading content: the owner may whatever the mode says, since the client checked when it opened the
    /// file; and whoever may execute may read, since that is how programs are loaded.
    pub fn may_read_content(&self, object: &Attributes) -> bool {
        self.owns(object) || self.rights(object) & (MAY_READ | MAY_EXECUTE) != 0
    }

    /// Writing content: as for reading, the owner always may.
    pub fn may_write_content(&self, object: &Attributes) -> bool {
        self.owns(object) || self.may(object, MAY_WRITE)
    }

    /// In a sticky directory only the owner of the entry or of the directory may take an entry away.
    pub fn sticky_allows(&self, dir: &Attributes, entry: &Attributes) -> bool {
        self.sticky_allows_all(dir) || self.owns(entry)
    }

    /// True where every entry may be taken away, whosever it is.
    pub fn sticky_allows_all(&self, dir: &Attributes) -> bool {
        dir.mode & 0o1000 == 0 || self.owns(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_volume::{DeviceNumber, FileId, Time};

    fn object(mode: u32, uid: u32, gid: u32) -> Attributes {
        Attributes {
            id: FileId { inode: 1, discriminator: 1 },
            file_type: FileType::Regular,
            mode,
            links: 1,
            uid,
            gid,
            size: 0,
            allocated: 0,
            device: DeviceNumber::default(),
            atime: Time::default(),
            mtime: Time::default(),
            ctime: Time::default(),
        }
    }

    fn identity(uid: u32, gid: u32, groups: &[u32], squash: Squash) -> Identity {
        let options = ExportOptions {
            root_squash: squash == Squash::Root,
            all_squash: squash == Squash::All,
            ..ExportOptions::default()
        };
        Identity::of(&AuthSys::new(b"", uid, gid, groups), &options)
    }

    #[test]
    fn only_the_first_matching_class_of_bits_counts() {
        let caller = identity(1, 2, &[3], Squash::Root);
        assert_eq!(caller.rights(&object(0o047, 1, 2)), 0);
        assert_eq!(caller.rights(&object(0o047, 9, 3)), 4);
        assert_eq!(caller.rights(&object(0o047, 9, 9)), 7);
        assert!(caller.may_read_content(&object(0, 1, 9)), "the owner reads whatever the mode says");
        assert!(caller.may_read_content(&object(0o001, 9, 9)), "execution implies reading");
        assert!(!caller.may_write_content(&object(0o001, 9, 9)));
    }

    #[test]
    fn root_may_all_but_execute_what_nobody_may() {
        let root = identity(0, 0, &[], Squash::Nobody);
        assert_eq!(root.rights(&object(0, 9, 9)), MAY_READ | MAY_WRITE);
        assert_eq!(root.rights(&object(0o100, 9, 9)), 7);
    }

    #[test]
    fn squashing_replaces_ids() {
        let squashed = identity(0, 0, &[0, 5], Squash::Root);
        assert_eq!((squashed.uid, squashed.gid), (65_534, 65_534));
        assert!(!squashed.in_group(0) && squashed.in_group(65_534) && squashed.in_group(5));
        let user = identity(7, 0, &[5], Squash::Root);
        assert_eq!((user.uid, user.gid), (7, 65_534));
        let all = identity(7, 7, &[5], Squash::All);
        assert!(all.uid == 65_534 && !all.in_group(5));
    }
}
