//! What the engine does not tell of an inode: nanoseconds and creation time.
//!
//! The engine stores all four times with nanoseconds but returns whole seconds. An inode's exact times are
//! therefore taken from its record on the disk when it is first asked for, and from the volume's own
//! operation clock once it was changed. The record on the disk lags behind until the journal is
//! checkpointed, so changed inodes are kept until then. Times are the same to the nanosecond before and
//! after a restart.
//!
//! The creation time is the discriminator of file handles. Operation times never repeat or go back during a
//! mount, so two owners of an inode number differ for certain while the wall clock does not go back over a
//! restart. If it does, they agree only if both were created in the same nanosecond; 14 random bits in each
//! creation time make that improbable even for clocks that start at the same moment at every boot.

use crate::superblock::Superblock;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use keelson_volume::Time;

/// Inodes read from the disk and not changed since that are remembered.
const CLEAN_LIMIT: usize = 4096;

/// The times of one inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub accessed: Time,
    pub modified: Time,
    pub changed: Time,
    pub created: Time,
}

impl Times {
    /// All four at once, as at creation.
    pub fn all(time: Time) -> Times {
        Times { accessed: time, modified: time, changed: time, created: time }
    }

    /// Tells successive owners of an inode number apart: 34 bits of seconds and 30 of nanoseconds, which
    /// is all that the disk stores of a creation time.
    pub fn discriminator(&self) -> u64 {
        ((self.created.seconds as u64) << 30) | u64::from(self.created.nanos & 0x3FFF_FFFF)
    }

    /// Decodes an on-disk inode (Linux `Documentation/filesystems/ext4/inodes.rst`).
    pub fn decode(record: &[u8]) -> Times {
        let extra_size = word(record, 0x80) as u16;
        let extra = |offset: usize| {
            if 128 + usize::from(extra_size) >= offset + 4 { word(record, offset) } else { 0 }
        };
        Times {
            accessed: decode_time(word(record, 0x08), extra(0x8C)),
            changed: decode_time(word(record, 0x0C), extra(0x84)),
            modified: decode_time(word(record, 0x10), extra(0x88)),
            created: decode_time(extra(0x90), extra(0x94)),
        }
    }
}

/// The little-endian word at `offset`; 0 beyond the end.
pub(crate) fn word(record: &[u8], offset: usize) -> u32 {
    let bytes = record.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}

/// Signed seconds, two bits of epoch, thirty of nanoseconds.
fn decode_time(seconds: u32, extra: u32) -> Time {
    let epoch = i64::from(extra & 3) << 32;
    Time { seconds: i64::from(seconds as i32) + epoch, nanos: (extra >> 2).min(999_999_999) }
}

/// Where the block groups keep their inodes.
pub(crate) struct InodeLocations {
    tables: Vec<u64>,
    inodes_per_group: u32,
    inode_size: u64,
    block_size: u64,
}

impl InodeLocations {
    /// `tables` holds the first block of each group's inode table.
    pub fn new(superblock: &Superblock, tables: Vec<u64>) -> InodeLocations {
        InodeLocations {
            tables,
            inodes_per_group: superblock.inodes_per_group,
            inode_size: superblock.inode_size,
            block_size: superblock.block_size,
        }
    }

    /// Byte position of an inode's record; `None` for a number that does not exist.
    pub fn position(&self, inode: u32) -> Option<u64> {
        let index = inode.checked_sub(1)?;
        let table = self.tables.get((index / self.inodes_per_group) as usize)?;
        let within = u64::from(index % self.inodes_per_group) * self.inode_size;
        table.checked_mul(self.block_size)?.checked_add(within)
    }
}

/// Times of recently used inodes.
#[derive(Default)]
pub(crate) struct TimeTable {
    clean: BTreeMap<u32, Times>,
    changed: BTreeMap<u32, Times>,
}

impl TimeTable {
    pub fn get(&self, inode: u32) -> Option<Times> {
        self.changed.get(&inode).or_else(|| self.clean.get(&inode)).copied()
    }

    /// Remembers what was read from the disk.
    pub fn learn(&mut self, inode: u32, times: Times) {
        if self.clean.len() >= CLEAN_LIMIT {
            self.clean.clear();
        }
        self.clean.insert(inode, times);
    }

    /// Remembers what an operation wrote.
    pub fn change(&mut self, inode: u32, times: Times) {
        self.clean.remove(&inode);
        self.changed.insert(inode, times);
    }

    /// The inode was freed.
    pub fn forget(&mut self, inode: u32) {
        self.clean.remove(&inode);
        self.changed.remove(&inode);
    }

    /// Inodes whose record on the disk may be older than what is known here.
    pub fn pinned(&self) -> usize {
        self.changed.len()
    }

    /// The journal was checkpointed: the disk tells the truth about every inode.
    pub fn checkpointed(&mut self) {
        self.clean.clear();
        self.changed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_epochs_and_nanoseconds() {
        assert_eq!(decode_time(5, 0), Time { seconds: 5, nanos: 0 });
        assert_eq!(decode_time(u32::MAX, 0), Time { seconds: -1, nanos: 0 });
        assert_eq!(decode_time(17, (123 << 2) | 2), Time { seconds: (2 << 32) + 17, nanos: 123 });
    }

    #[test]
    fn a_short_record_reads_as_zero() {
        assert_eq!(Times::decode(&[]), Times::default());
    }
}
