//! Inode records as they lie on the disk (Linux `Documentation/filesystems/ext4/inodes.rst`).
//!
//! The engine stores all four times with nanoseconds but returns whole seconds, so the records are decoded
//! here. That is also what makes attributes cheap: the engine keeps 128 inodes, and for any other it reads
//! and copies a block and searches the 128 for the one to give up.

use crate::superblock::Superblock;
use alloc::vec::Vec;
use keelson_volume::{Attributes, DeviceNumber, FileId, FileType, Time};
use rsext4::{DirectoryEntryType, InodeInfo};

/// Bytes of a record that hold what is decoded here; the least inode size that is mounted is 256.
pub(crate) const RECORD: usize = 160;

/// The times of one inode.
///
/// The creation time is the discriminator of file handles. Operation times never repeat or go back during a
/// mount, so two owners of an inode number differ for certain while the wall clock does not go back over a
/// restart. If it does, they agree only if both were created in the same nanosecond; 14 random bits in each
/// creation time make that improbable even for clocks that start at the same moment at every boot.
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

    /// Decodes the times of a record.
    pub fn decode(record: &[u8]) -> Times {
        let extra_size = half(record, 0x80);
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

/// What an inode says of its object beside the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// `None` for a type that does not exist.
    pub file_type: Option<FileType>,
    pub mode: u32,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub allocated: u64,
    pub device: DeviceNumber,
}

impl Status {
    /// Decodes the rest of a record.
    pub fn decode(record: &[u8], superblock: &Superblock) -> Status {
        const HUGE_FILE: u32 = 0x4_0000;
        let mode = half(record, 0x00);
        let file_type = type_of_mode(mode);
        // Only files have the upper half; elsewhere it once was something else.
        let size_high = if file_type == Some(FileType::Regular) { word(record, 0x6C) } else { 0 };
        let blocks = u64::from(word(record, 0x1C));
        let allocated = match superblock.huge_files {
            false => blocks * 512,
            true => {
                let blocks = blocks | u64::from(half(record, 0x74)) << 32;
                blocks * if word(record, 0x20) & HUGE_FILE != 0 { superblock.block_size } else { 512 }
            }
        };
        let device = match file_type {
            Some(FileType::CharDevice | FileType::BlockDevice) => {
                decode_device(word(record, 0x28), word(record, 0x2C))
            }
            _ => DeviceNumber::default(),
        };
        let wide =
            |low: usize, high: usize| u32::from(half(record, low)) | u32::from(half(record, high)) << 16;
        Status {
            file_type,
            mode: u32::from(mode) & 0o7777,
            links: u32::from(half(record, 0x1A)),
            uid: wide(0x02, 0x78),
            gid: wide(0x18, 0x7A),
            size: u64::from(word(record, 0x04)) | u64::from(size_high) << 32,
            allocated,
            device,
        }
    }

    /// Together with the times; `None` for a type that does not exist.
    pub fn attributes(&self, inode: u32, times: &Times) -> Option<Attributes> {
        Some(Attributes {
            id: FileId { inode: u64::from(inode), discriminator: times.discriminator() },
            file_type: self.file_type?,
            mode: self.mode,
            links: self.links,
            uid: self.uid,
            gid: self.gid,
            size: self.size,
            allocated: self.allocated,
            device: self.device,
            atime: times.accessed,
            mtime: times.modified,
            ctime: times.changed,
        })
    }
}

impl From<&InodeInfo> for Status {
    fn from(info: &InodeInfo) -> Status {
        let device = info.device_number.map_or(DeviceNumber::default(), |device| DeviceNumber {
            major: device.major(),
            minor: device.minor(),
        });
        Status {
            file_type: type_of_engine(info.file_type()),
            mode: u32::from(info.mode) & 0o7777,
            links: u32::from(info.links),
            uid: info.uid,
            gid: info.gid,
            size: info.size,
            allocated: info.blocks.saturating_mul(512),
            device,
        }
    }
}

impl From<&Attributes> for Status {
    fn from(attributes: &Attributes) -> Status {
        Status {
            file_type: Some(attributes.file_type),
            mode: attributes.mode,
            links: attributes.links,
            uid: attributes.uid,
            gid: attributes.gid,
            size: attributes.size,
            allocated: attributes.allocated,
            device: attributes.device,
        }
    }
}

fn type_of_mode(mode: u16) -> Option<FileType> {
    Some(match mode >> 12 {
        0x1 => FileType::Fifo,
        0x2 => FileType::CharDevice,
        0x4 => FileType::Directory,
        0x6 => FileType::BlockDevice,
        0x8 => FileType::Regular,
        0xA => FileType::Symlink,
        0xC => FileType::Socket,
        _ => return None,
    })
}

fn type_of_engine(kind: DirectoryEntryType) -> Option<FileType> {
    Some(match kind {
        DirectoryEntryType::RegularFile => FileType::Regular,
        DirectoryEntryType::Directory => FileType::Directory,
        DirectoryEntryType::CharacterDevice => FileType::CharDevice,
        DirectoryEntryType::BlockDevice => FileType::BlockDevice,
        DirectoryEntryType::Fifo => FileType::Fifo,
        DirectoryEntryType::Socket => FileType::Socket,
        DirectoryEntryType::Symlink => FileType::Symlink,
        DirectoryEntryType::Unknown => return None,
    })
}

/// Eight bits each in the first word, or else twelve and twenty in the second.
fn decode_device(old: u32, new: u32) -> DeviceNumber {
    if old != 0 {
        return DeviceNumber { major: (old >> 8) & 0xFF, minor: old & 0xFF };
    }
    DeviceNumber { major: (new >> 8) & 0xFFF, minor: (new & 0xFF) | ((new >> 12) & 0xF_FF00) }
}

fn half(record: &[u8], offset: usize) -> u16 {
    let bytes = record.get(offset..offset + 2).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u16::from_le_bytes)
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

    #[test]
    fn decodes_old_and_new_device_numbers() {
        assert_eq!(decode_device(0x0803, 7), DeviceNumber { major: 8, minor: 3 });
        assert_eq!(decode_device(0, 0x1234_5678), DeviceNumber { major: 0x456, minor: 0x1_2378 });
    }
}
