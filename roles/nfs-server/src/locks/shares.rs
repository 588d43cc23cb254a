//! Share reservations: what the opener of a file does with it, and what others must not do meanwhile.

use super::OwnerId;
use super::overlap::Tag;
use alloc::collections::{BTreeMap, BTreeSet};
use core::ops::BitAnd;
use keelson_volume::FileId;

/// What an owner does with the file: fsh_access of X/Open NLM, OPEN4_SHARE_ACCESS of NFSv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Neither; keeps others from what it denies.
    None = 0,
    /// Reads.
    Read = 1,
    /// Writes.
    Write = 2,
    /// Reads and writes.
    Both = 3,
}

/// What others must not do with the file: fsh_mode of X/Open NLM, OPEN4_SHARE_DENY of NFSv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deny {
    /// They may do anything.
    None = 0,
    /// Read.
    Read = 1,
    /// Write.
    Write = 2,
    /// Read and write.
    Both = 3,
}

impl Access {
    /// From the number on the wire, 0 to 3.
    pub fn from_number(number: u32) -> Option<Access> {
        [Access::None, Access::Read, Access::Write, Access::Both].get(number as usize).copied()
    }
}

impl Deny {
    /// From the number on the wire, 0 to 3.
    pub fn from_number(number: u32) -> Option<Deny> {
        [Deny::None, Deny::Read, Deny::Write, Deny::Both].get(number as usize).copied()
    }
}

impl BitAnd<Deny> for Access {
    type Output = bool;

    /// Some of the access is denied.
    fn bitand(self, deny: Deny) -> bool {
        self as u8 & deny as u8 != 0
    }
}

/// What became of a request for a share reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShareOutcome {
    /// The owner has it, in place of what it had on that file.
    Granted,
    /// Another owner denies that access or does what would be denied. What the owner had, it still has.
    Denied,
    /// No room for one more.
    Full,
}

/// Reservations of all files; an owner has one for a file.
#[derive(Debug)]
pub(super) struct Shares {
    by_file: BTreeMap<(FileId, OwnerId), (Access, Deny)>,
    by_owner: BTreeSet<(OwnerId, FileId)>,
}

impl Shares {
    pub fn new() -> Shares {
        Shares { by_file: BTreeMap::new(), by_owner: BTreeSet::new() }
    }

    pub fn len(&self) -> usize {
        self.by_file.len()
    }

    pub fn set(
        &mut self,
        file: FileId,
        owner: OwnerId,
        access: Access,
        deny: Deny,
        limit: usize,
    ) -> ShareOutcome {
        let conflict =
            self.of_file(file).any(|(other, held)| other != owner && (access & held.1 || held.0 & deny));
        if conflict {
            return ShareOutcome::Denied;
        }
        if self.by_file.len() >= limit && !self.by_file.contains_key(&(file, owner)) {
            return ShareOutcome::Full;
        }
        self.by_file.insert((file, owner), (access, deny));
        self.by_owner.insert((owner, file));
        ShareOutcome::Granted
    }

    pub fn remove(&mut self, file: FileId, owner: OwnerId) {
        self.by_file.remove(&(file, owner));
        self.by_owner.remove(&(owner, file));
    }

    pub fn of_file(&self, file: FileId) -> impl Iterator<Item = (OwnerId, (Access, Deny))> + '_ {
        self.by_file
            .range((file, OwnerId::LEAST)..)
            .take_while(move |(key, _)| key.0 == file)
            .map(|(key, held)| (key.1, *held))
    }

    pub fn of_owner(&self, owner: OwnerId) -> impl Iterator<Item = FileId> + '_ {
        let least = FileId { inode: 0, discriminator: 0 };
        self.by_owner.range((owner, least)..).take_while(move |key| key.0 == owner).map(|key| key.1)
    }
}
