//! Limits, in the plainest way: what an owner has is counted whenever it is asked for.

use super::{MemoryVolume, Tree};
use crate::{Attributes, Owner, OwnerUsage, VolumeError};

impl Tree {
    /// What an owner has.
    pub fn usage_of(&self, owner: Owner) -> OwnerUsage {
        let mut usage = OwnerUsage::default();
        let owns = |object: &&Attributes| match owner {
            Owner::User(uid) => object.uid == uid,
            Owner::Group(gid) => object.gid == gid,
        };
        for object in self.objects().filter(owns) {
            usage.bytes += object.allocated;
            usage.inodes += 1;
        }
        usage
    }
}

impl MemoryVolume {
    /// Fails if somebody would have more than allowed with so much more.
    pub(super) fn check_limits(
        &self,
        tree: &Tree,
        owners: [Owner; 2],
        more: OwnerUsage,
    ) -> Result<(), VolumeError> {
        owners.into_iter().try_for_each(|owner| self.check_limit(tree, owner, more))
    }

    /// The same for an object that gets another owner.
    pub(super) fn check_gift(
        &self,
        tree: &Tree,
        object: &Attributes,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<(), VolumeError> {
        let more = OwnerUsage { bytes: object.allocated, inodes: 1 };
        let user = uid.filter(|uid| *uid != object.uid).map(Owner::User);
        let group = gid.filter(|gid| *gid != object.gid).map(Owner::Group);
        user.into_iter().chain(group).try_for_each(|owner| self.check_limit(tree, owner, more))
    }

    fn check_limit(&self, tree: &Tree, owner: Owner, more: OwnerUsage) -> Result<(), VolumeError> {
        let limit = self.limits.borrow().of(owner);
        if !self.limited.is_on() || (limit.bytes.is_none() && limit.inodes.is_none()) {
            return Ok(());
        }
        let usage = tree.usage_of(owner);
        let fits = (more.bytes == 0 || limit.allows_bytes(usage.bytes + more.bytes))
            && (more.inodes == 0 || limit.allows_inodes(usage.inodes + more.inodes));
        if fits { Ok(()) } else { Err(VolumeError::Quota) }
    }
}
