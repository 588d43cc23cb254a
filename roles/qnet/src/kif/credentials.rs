//! Who a remote client is taken for: `maproot`, `mapany` and the user table (section 12.7).

use alloc::vec::Vec;
use keelson_qnet_wire::kif::{Cred, Groups};

/// User and group of clients that do not say who they are.
pub const NOBODY: u32 = 65_534;

/// A user and its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// How the ids of remote clients are changed before anything is decided by them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CredentialRules {
    /// `mapany`: every user becomes this one.
    pub mapany: Option<u32>,
    /// `maproot`: user 0 becomes this one.
    pub maproot: Option<u32>,
    /// Groups of users. A user that is not in it has the group of its own number.
    pub users: Vec<User>,
}

impl Default for CredentialRules {
    fn default() -> CredentialRules {
        let users = [User { uid: 0, gid: 0 }, User { uid: 100, gid: 100 }];
        CredentialRules { mapany: None, maproot: None, users: users.into() }
    }
}

impl CredentialRules {
    /// What the credentials of a remote client become.
    pub fn map(&self, cred: Option<Cred>) -> Cred {
        let mut cred = cred.unwrap_or(Cred {
            ruid: NOBODY,
            euid: NOBODY,
            suid: NOBODY,
            rgid: NOBODY,
            egid: NOBODY,
            sgid: NOBODY,
            ..Cred::default()
        });
        if let Some(uid) = self.mapany {
            (cred.ruid, cred.euid, cred.suid) = (uid, uid, uid);
            self.only_group_of(uid, &mut cred);
        } else if let Some(uid) = self.maproot
            && (cred.ruid == 0 || cred.euid == 0 || cred.suid == 0)
        {
            let mapped = |id| if id == 0 { uid } else { id };
            (cred.ruid, cred.euid, cred.suid) = (mapped(cred.ruid), mapped(cred.euid), mapped(cred.suid));
            self.only_group_of(uid, &mut cred);
        }
        cred
    }

    /// Supplementary groups go too: keeping group 0 would defeat the option.
    fn only_group_of(&self, uid: u32, cred: &mut Cred) {
        let user = self.users.iter().find(|user| user.uid == uid);
        let gid = user.map_or(uid, |user| user.gid);
        (cred.rgid, cred.egid, cred.sgid) = (gid, gid, gid);
        cred.groups = Groups::default();
    }
}

/// Whether `sender` may send a signal to a process of `target` (`ker_net.c`).
pub(crate) fn may_signal(sender: &Cred, target: &Cred) -> bool {
    let own = |id| id == target.ruid || id == target.suid;
    sender.euid == 0 || own(sender.ruid) || own(sender.euid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cred(uids: [u32; 3], gids: [u32; 3], groups: &[u32]) -> Cred {
        let ([ruid, euid, suid], [rgid, egid, sgid]) = (uids, gids);
        let groups = Groups::new(groups).unwrap();
        Cred { pid: 7, ruid, euid, suid, rgid, egid, sgid, groups, ..Cred::default() }
    }

    /// The three rules of section 12.7.
    #[test]
    fn mapping() {
        let users = vec![User { uid: 100, gid: 50 }];
        let none = CredentialRules { users, ..CredentialRules::default() };
        let any = CredentialRules { mapany: Some(100), maproot: Some(7), ..none.clone() };
        let root = CredentialRules { maproot: Some(100), ..none.clone() };
        let user = cred([5, 6, 7], [1, 2, 3], &[4, 0]);
        assert_eq!(none.map(Some(user)), user);
        assert_eq!(any.map(Some(user)), cred([100; 3], [50; 3], &[]));
        assert_eq!(root.map(Some(user)), user);
        let set_uid = cred([5, 0, 7], [0, 0, 0], &[0]);
        assert_eq!(root.map(Some(set_uid)), cred([5, 100, 7], [50; 3], &[]));
        assert_eq!(root.map(Some(cred([0; 3], [0; 3], &[]))), cred([100; 3], [50; 3], &[]));
        let unlisted = CredentialRules { maproot: Some(8), ..none.clone() };
        assert_eq!(unlisted.map(Some(cred([0; 3], [0; 3], &[]))), cred([8; 3], [8; 3], &[]));
        assert_eq!(none.map(None).euid, NOBODY);
        assert_eq!(any.map(None).euid, 100);
    }

    #[test]
    fn signals() {
        let target = cred([5, 9, 6], [0; 3], &[]);
        let may = |uids| may_signal(&cred(uids, [0; 3], &[]), &target);
        assert!(may([1, 0, 1]), "root");
        assert!(may([5, 1, 1]) && may([1, 6, 1]));
        assert!(!may([0, 1, 0]), "real root is not enough");
        assert!(!may([9, 9, 5]), "the target's effective user does not count, nor the sender's saved one");
    }
}
