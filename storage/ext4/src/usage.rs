//! Who uses how much space and how many inodes, for quotas.
//!
//! ext4 keeps no such sums (its quota feature is another one). They are counted once, in the background after a mount
//! that did not find them stored, inode after inode; what has been counted follows every change from then on.
//!
//! Blocks that are promised to data in memory count for their owner from the moment they are promised. So a limit is
//! met when data is accepted, and never when it goes to the disk.

use crate::engine::cache::NumberMap;
use crate::engine::{Engine, Ino, Kind};
use crate::halt::Halt;
use crate::layout::bytes::u32_at;
use crate::layout::checksum::crc32c;
use crate::layout::descriptor::INODE_UNINIT;
use crate::layout::superblock::LENGTH;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use keelson_volume::{Limits, Owner, OwnerUsage, VolumeError};

/// What a stored table begins with, and its version.
const MAGIC: &[u8; 8] = b"KUSAGE2\0";
/// Bytes of an owner in it.
const ROW: usize = 24;

/// Bytes in front of them.
const HEAD: usize = 28;

/// What changes in the superblock when somebody else mounts or repairs the filesystem: `s_mtime`, `s_mnt_count` and
/// `s_lastcheck`. Sums that were stored before that are worth nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp([u8; 12]);

impl Stamp {
    /// Of a superblock.
    fn of(raw: &[u8]) -> Stamp {
        let mut stamp = [0; 12];
        stamp[..4].copy_from_slice(&raw[0x2c..0x30]);
        stamp[4..6].copy_from_slice(&raw[0x34..0x36]);
        stamp[8..].copy_from_slice(&raw[0x40..0x44]);
        Stamp(stamp)
    }
}

/// What an owner or group uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Space, in units of 512 bytes.
    pub sectors: u64,
    /// Inodes.
    pub inodes: u64,
}

impl Amount {
    /// Changes what `id` has in a map. Who has nothing is not in it: owners come and go.
    fn add(map: &mut NumberMap<u32, Amount>, id: u32, sectors: i64, inodes: i64) {
        let amount = map.entry(id).or_default();
        amount.sectors = amount.sectors.saturating_add_signed(sectors);
        amount.inodes = amount.inodes.saturating_add_signed(inodes);
        if *amount == Amount::default() {
            map.remove(&id);
        }
    }
}

/// Space and inodes by owner and group.
#[derive(Default)]
pub struct Usage {
    users: NumberMap<u32, Amount>,
    groups: NumberMap<u32, Amount>,
    /// Space that is promised to data in memory, in units of 512 bytes. Not stored: it is empty at every mount.
    promised: BTreeMap<Owner, u64>,
    /// Inodes up to this one are counted.
    counted: Ino,
    /// As the superblock was when it was mounted.
    found: Stamp,
}

impl Usage {
    /// Adds to what an inode's owner and group use, if it is one of those counted.
    pub fn charge(&mut self, ino: Ino, uid: u32, gid: u32, sectors: i64, inodes: i64) {
        if ino <= self.counted {
            Amount::add(&mut self.users, uid, sectors, inodes);
            Amount::add(&mut self.groups, gid, sectors, inodes);
        }
    }

    /// Adds to what is promised to an owner and group of a file, or takes it back.
    pub fn promise(&mut self, uid: u32, gid: u32, sectors: i64) {
        for owner in [Owner::User(uid), Owner::Group(gid)] {
            let promised = self.promised.entry(owner).or_default();
            *promised = promised.saturating_add_signed(sectors);
            if *promised == 0 {
                self.promised.remove(&owner);
            }
        }
    }

    /// What an owner has, promises included.
    pub fn of(&self, owner: Owner) -> OwnerUsage {
        let amount = match owner {
            Owner::User(uid) => self.of_user(uid),
            Owner::Group(gid) => self.of_group(gid),
        };
        let promised = self.promised.get(&owner).copied().unwrap_or_default();
        OwnerUsage {
            bytes: amount.sectors.saturating_add(promised).saturating_mul(512),
            inodes: amount.inodes,
        }
    }

    /// What a user has.
    pub fn of_user(&self, uid: u32) -> Amount {
        self.users.get(&uid).copied().unwrap_or_default()
    }

    /// What a group has.
    pub fn of_group(&self, gid: u32) -> Amount {
        self.groups.get(&gid).copied().unwrap_or_default()
    }

    fn encode(&self, stamp: Stamp, most: usize) -> Option<Vec<u8>> {
        let length = HEAD + (self.users.len() + self.groups.len()) * ROW + 4;
        if length > most {
            return None;
        }
        let mut raw = Vec::with_capacity(length);
        raw.extend_from_slice(MAGIC);
        raw.extend_from_slice(&stamp.0);
        raw.extend_from_slice(&(self.users.len() as u32).to_le_bytes());
        raw.extend_from_slice(&(self.groups.len() as u32).to_le_bytes());
        for (id, amount) in self.users.iter().chain(&self.groups) {
            raw.extend_from_slice(&id.to_le_bytes());
            raw.extend_from_slice(&[0; 4]);
            raw.extend_from_slice(&amount.sectors.to_le_bytes());
            raw.extend_from_slice(&amount.inodes.to_le_bytes());
        }
        let sum = crc32c(!0, &raw);
        raw.extend_from_slice(&sum.to_le_bytes());
        Some(raw)
    }

    fn decode(raw: &[u8], stamp: Stamp, inodes: Ino) -> Option<Usage> {
        let (content, sum) = raw.split_at_checked(raw.len().checked_sub(4)?)?;
        let (head, rows) = content.split_at_checked(HEAD)?;
        if !head.starts_with(MAGIC) || crc32c(!0, content) != u32_at(sum, 0) || head[8..20] != stamp.0 {
            return None;
        }
        let (users, groups) = (u32_at(head, 20) as usize, u32_at(head, 24) as usize);
        if rows.len() % ROW != 0 || Some(rows.len() / ROW) != users.checked_add(groups) {
            return None;
        }
        let number = |row: &[u8], at| u64::from(u32_at(row, at)) | u64::from(u32_at(row, at + 4)) << 32;
        let mut usage = Usage { counted: inodes, found: stamp, ..Usage::default() };
        for (index, row) in rows.chunks_exact(ROW).enumerate() {
            let amount = Amount { sectors: number(row, 8), inodes: number(row, 16) };
            let map = if index < users { &mut usage.users } else { &mut usage.groups };
            map.insert(u32_at(row, 0), amount);
        }
        Some(usage)
    }
}

impl Engine {
    /// Notes what the superblock says before this mount changes it.
    pub(crate) fn note_stamp(&mut self) -> Result<(), Halt> {
        self.usage.found = self.stamp()?;
        Ok(())
    }

    fn stamp(&mut self) -> Result<Stamp, Halt> {
        let (block, offset) = self.geometry.superblock_place();
        Ok(Stamp::of(&self.read(block, Kind::Superblock)?[offset..offset + LENGTH]))
    }

    /// The sums as a file, for the next mount. `None` when not everything is counted or it would be longer than `most`
    /// bytes.
    pub fn encode_usage(&mut self, most: usize) -> Result<Option<Vec<u8>>, Halt> {
        if !self.is_usage_known() {
            return Ok(None);
        }
        let stamp = self.stamp()?;
        Ok(self.usage.encode(stamp, most))
    }

    /// The sums that a file says, if it is whole and nobody else mounted or repaired the filesystem since it was written.
    pub fn decode_usage(&self, raw: &[u8]) -> Option<Usage> {
        Usage::decode(raw, self.usage.found, self.geometry.inodes)
    }

    /// True when the sums are whole.
    pub fn is_usage_known(&self) -> bool {
        self.usage.counted >= self.geometry.inodes
    }

    /// Takes over sums that were stored. Promises were made since the mount, they stay.
    pub fn put_usage(&mut self, usage: Usage) {
        let promised = core::mem::take(&mut self.usage.promised);
        self.usage = Usage { promised, ..usage };
    }

    /// Whom the operations that are limited must not bring above what.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = Rc::new(limits);
    }

    /// Fails if the operation that ends now is limited and gives an owner more than it may have.
    pub fn check_limits(&mut self) -> Result<(), Halt> {
        if !self.is_limited || self.limits.is_empty() {
            return Ok(());
        }
        for (owner, gift) in self.gifts() {
            let limit = self.limits.of(owner);
            let takes_bytes = gift.sectors > 0 && limit.bytes.is_some();
            let takes_inodes = gift.inodes > 0 && limit.inodes.is_some();
            if !takes_bytes && !takes_inodes {
                continue;
            }
            if !self.is_usage_known() {
                return Err(Halt::Fail(VolumeError::TryLater));
            }
            let usage = self.usage.of(owner);
            if takes_bytes && !limit.allows_bytes(usage.bytes)
                || takes_inodes && !limit.allows_inodes(usage.inodes)
            {
                self.counters.over_limit += 1;
                return Err(Halt::Fail(VolumeError::Quota));
            }
        }
        Ok(())
    }

    /// Goes on behind a group whose inodes cannot be read. Nobody can use them either.
    pub fn skip_usage(&mut self) {
        let group = self.usage.counted / self.geometry.inodes_per_group;
        self.usage.counted = (group + 1).saturating_mul(self.geometry.inodes_per_group);
    }

    /// Counts the inodes of one more block of the inode tables, or skips a group without any. True when all are counted.
    pub fn count_usage(&mut self) -> Result<bool, Halt> {
        if self.is_usage_known() {
            return Ok(true);
        }
        let first = self.usage.counted + 1;
        let Some((group, index)) = self.geometry.locate_inode(first) else { return Ok(true) };
        let descriptor = self.descriptor(group)?;
        let inodes = self.geometry.inodes_per_group;
        let end_of_group = (group + 1) * inodes;
        if descriptor.flags & INODE_UNINIT != 0 || index >= inodes.saturating_sub(descriptor.unused_inodes) {
            self.usage.counted = end_of_group;
            return Ok(self.is_usage_known());
        }
        let together = (self.geometry.block_size / self.geometry.inode_size) as u32;
        let last = first.saturating_add(together - 1).min(end_of_group);
        let mut found = Vec::with_capacity(together as usize);
        for ino in first..=last {
            // Reserved inodes are the filesystem's own, the root directory is not.
            let counts = ino >= self.geometry.first_inode || ino == crate::engine::ROOT;
            if counts && self.is_inode_used(ino)? {
                found.push(self.inode(ino)?);
            }
        }
        self.usage.counted = last;
        for inode in found {
            self.usage.charge(inode.ino, inode.uid, inode.gid, inode.sectors as i64, 1);
        }
        Ok(self.is_usage_known())
    }
}

#[cfg(test)]
mod tests;
