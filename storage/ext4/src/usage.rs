//! Who uses how much space and how many inodes, for quotas.
//!
//! ext4 keeps no such sums (its quota feature is another one). They are counted once, in the background after a mount
//! that did not find them stored, inode after inode; what has been counted follows every change from then on.

use crate::engine::cache::NumberMap;
use crate::engine::{Engine, Ino};
use crate::halt::Halt;
use crate::layout::bytes::u32_at;
use crate::layout::checksum::crc32c;
use crate::layout::descriptor::INODE_UNINIT;
use alloc::vec::Vec;

/// What a stored table begins with, and its version.
const MAGIC: &[u8; 8] = b"KUSAGE1\0";
/// Bytes of an owner in it.
const ROW: usize = 24;

/// What an owner or group uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Space, in units of 512 bytes.
    pub sectors: u64,
    /// Inodes.
    pub inodes: u64,
}

impl Amount {
    fn add(&mut self, sectors: i64, inodes: i64) {
        self.sectors = self.sectors.saturating_add_signed(sectors);
        self.inodes = self.inodes.saturating_add_signed(inodes);
    }
}

/// Space and inodes by owner and group.
#[derive(Default)]
pub struct Usage {
    users: NumberMap<u32, Amount>,
    groups: NumberMap<u32, Amount>,
    /// Inodes up to this one are counted.
    counted: Ino,
}

impl Usage {
    /// Adds to what an inode's owner and group use, if it is one of those counted.
    pub fn charge(&mut self, ino: Ino, uid: u32, gid: u32, sectors: i64, inodes: i64) {
        if ino <= self.counted {
            self.users.entry(uid).or_default().add(sectors, inodes);
            self.groups.entry(gid).or_default().add(sectors, inodes);
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

    /// As a file; `None` when not everything is counted or it would be longer than `most` bytes.
    pub fn encode(&self, inodes: Ino, most: usize) -> Option<Vec<u8>> {
        let length = 20 + (self.users.len() + self.groups.len()) * ROW;
        if self.counted < inodes || length > most {
            return None;
        }
        let mut raw = Vec::with_capacity(length);
        raw.extend_from_slice(MAGIC);
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

    /// From a file that was written when all `inodes` were counted; `None` when it is not what was written.
    pub fn decode(raw: &[u8], inodes: Ino) -> Option<Usage> {
        let (content, sum) = raw.split_at_checked(raw.len().checked_sub(4)?)?;
        if content.len() < 16 || !content.starts_with(MAGIC) || crc32c(!0, content) != u32_at(sum, 0) {
            return None;
        }
        let (users, groups) = (u32_at(content, 8) as usize, u32_at(content, 12) as usize);
        let rows = &content[16..];
        if rows.len() % ROW != 0 || Some(rows.len() / ROW) != users.checked_add(groups) {
            return None;
        }
        let number = |row: &[u8], at| u64::from(u32_at(row, at)) | u64::from(u32_at(row, at + 4)) << 32;
        let mut usage = Usage { counted: inodes, ..Usage::default() };
        for (index, row) in rows.chunks_exact(ROW).enumerate() {
            let amount = Amount { sectors: number(row, 8), inodes: number(row, 16) };
            let map = if index < users { &mut usage.users } else { &mut usage.groups };
            map.insert(u32_at(row, 0), amount);
        }
        Some(usage)
    }
}

impl Engine {
    /// True when the sums are whole.
    pub fn is_usage_known(&self) -> bool {
        self.usage.counted >= self.geometry.inodes
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
        let last = (first + together - 1).min(end_of_group);
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
mod tests {
    use super::Usage;
    use crate::testing::Bench;

    #[test]
    fn counted_stored_and_read_back() {
        let mut bench = Bench::new(16, &["-E", "root_owner=7:8"]);
        while !bench.run(|engine| engine.count_usage()).expect("count") {}
        let usage = &bench.engine.usage;
        // The root directory, of which mke2fs makes one block, and lost+found, which root owns.
        assert_eq!((usage.of_user(7).inodes, usage.of_group(8).inodes), (1, 1));
        assert!(usage.of_user(7).sectors >= 2 && usage.of_user(0).inodes == 1);
        let inodes = bench.engine.geometry.inodes;
        let raw = usage.encode(inodes, 1000).expect("everything is counted");
        let read = Usage::decode(&raw, inodes).expect("what was written");
        assert_eq!(read.of_user(7), usage.of_user(7));
        for at in 0..raw.len() {
            let mut bad = raw.clone();
            bad[at] ^= 1;
            assert!(Usage::decode(&bad, inodes).is_none() && Usage::decode(&raw[..at], inodes).is_none());
        }
    }
}
