//! Group descriptors: where a group's bitmaps and inode table are, and what is free (Linux
//! `Documentation/filesystems/ext4/group_descr.rst`).

use super::Geometry;
use super::bytes::{put_u16, u16_at, u32_at};
use super::checksum::crc32c;
use crate::engine::BlockNr;

/// `bg_flags`: no inode of the group was ever used; its bitmap is all zeros, whatever the disk says.
pub const INODE_UNINIT: u16 = 1;
/// `bg_flags`: the block bitmap is that of a group with nothing but its own metadata, whatever the disk says.
pub const BLOCK_UNINIT: u16 = 2;

/// `bg_checksum`.
const CHECKSUM: usize = 0x1e;

/// A group descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// Which blocks are in use.
    pub block_bitmap: BlockNr,
    /// Which inodes are in use.
    pub inode_bitmap: BlockNr,
    /// First block of the inode table.
    pub inode_table: BlockNr,
    /// Free blocks.
    pub free_blocks: u32,
    /// Free inodes.
    pub free_inodes: u32,
    /// Directories.
    pub directories: u32,
    /// Inodes at the end of the table that were never used.
    pub unused_inodes: u32,
    /// `INODE_UNINIT` and its like.
    pub flags: u16,
    /// Checksum of the block bitmap.
    pub block_bitmap_checksum: u32,
    /// Checksum of the inode bitmap.
    pub inode_bitmap_checksum: u32,
}

impl Descriptor {
    /// Reads the record, which has the geometry's descriptor size.
    pub fn decode(raw: &[u8]) -> Descriptor {
        let wide = raw.len() >= 64;
        let high32 = |offset| if wide { u64::from(u32_at(raw, offset)) << 32 } else { 0 };
        let high16 = |offset| if wide { u32::from(u16_at(raw, offset)) << 16 } else { 0 };
        Descriptor {
            block_bitmap: u64::from(u32_at(raw, 0x0)) | high32(0x20),
            inode_bitmap: u64::from(u32_at(raw, 0x4)) | high32(0x24),
            inode_table: u64::from(u32_at(raw, 0x8)) | high32(0x28),
            free_blocks: u32::from(u16_at(raw, 0xc)) | high16(0x2c),
            free_inodes: u32::from(u16_at(raw, 0xe)) | high16(0x2e),
            directories: u32::from(u16_at(raw, 0x10)) | high16(0x30),
            unused_inodes: u32::from(u16_at(raw, 0x1c)) | high16(0x32),
            flags: u16_at(raw, 0x12),
            block_bitmap_checksum: u32::from(u16_at(raw, 0x18)) | high16(0x38),
            inode_bitmap_checksum: u32::from(u16_at(raw, 0x1a)) | high16(0x3a),
        }
    }

    /// Writes what changes after the filesystem was made, and the record's checksum.
    pub fn encode(&self, raw: &mut [u8], geometry: &Geometry, group: u32) {
        for (low, high, value) in [
            (0xc, 0x2c, self.free_blocks),
            (0xe, 0x2e, self.free_inodes),
            (0x10, 0x30, self.directories),
            (0x1c, 0x32, self.unused_inodes),
            (0x18, 0x38, self.block_bitmap_checksum),
            (0x1a, 0x3a, self.inode_bitmap_checksum),
        ] {
            put_u16(raw, low, value as u16);
            if raw.len() >= 64 {
                put_u16(raw, high, (value >> 16) as u16);
            }
        }
        put_u16(raw, 0x12, self.flags);
        if let Some(sum) = checksum(raw, geometry, group) {
            put_u16(raw, CHECKSUM, sum);
        }
    }

    /// True when the record's checksum is right, or it has none.
    pub fn is_sound(raw: &[u8], geometry: &Geometry, group: u32) -> bool {
        checksum(raw, geometry, group).is_none_or(|sum| sum == u16_at(raw, CHECKSUM))
    }
}

/// What `bg_checksum` ought to be; `None` when descriptors have none.
fn checksum(raw: &[u8], geometry: &Geometry, group: u32) -> Option<u16> {
    let (head, tail) = (&raw[..CHECKSUM], &raw[CHECKSUM + 2..]);
    if let Some(seed) = geometry.checksum_seed {
        let sum = crc32c(crc32c(seed, &group.to_le_bytes()), head);
        return Some(crc32c(crc32c(sum, &[0, 0]), tail) as u16);
    }
    geometry.descriptor_crc16.then(|| {
        let sum = crc16(crc16(crc16(!0, &geometry.uuid), &group.to_le_bytes()), head);
        // Only with 64-bit descriptors is there anything behind the checksum that counts.
        crc16(sum, tail)
    })
}

/// CRC-16 (ARC), as the feature uninit_bg uses it.
fn crc16(sum: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(sum, |sum, &byte| {
        (0..8).fold(sum ^ u16::from(byte), |sum, _| (sum >> 1) ^ (0xa001 & (sum & 1).wrapping_neg()))
    })
}

/// What the checksum of a bitmap of `bits` ought to be; as much of it as descriptors of this size keep.
pub fn bitmap_checksum(bitmap: &[u8], bits: u32, geometry: &Geometry) -> Option<u32> {
    let sum = crc32c(geometry.checksum_seed?, &bitmap[..bits as usize / 8]);
    Some(if geometry.descriptor_size >= 64 { sum } else { sum & 0xffff })
}
