//! The superblock, read and judged before the engine sees the disk.
//!
//! Layout: Linux `Documentation/filesystems/ext4/super.rst`. Little-endian, 1024 bytes at byte 1024.

use crate::error::MountError;

/// Byte position of the primary superblock.
pub(crate) const POSITION: u64 = 1024;
/// Its length.
pub(crate) const LENGTH: usize = 1024;

const MAGIC: u16 = 0xEF53;
const RO_COMPAT_HUGE_FILE: u32 = 0x8;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
const COMPAT_HAS_JOURNAL: u32 = 0x4;
/// `s_state`: errors were recorded and not repaired.
const STATE_ERRORS: u16 = 0x2;

/// One feature bit, its e2fsprogs name, and whether tune2fs can take it away from an existing filesystem.
struct Feature {
    bit: u32,
    name: &'static str,
    removable: bool,
}

const fn kept(bit: u32, name: &'static str) -> Feature {
    Feature { bit, name, removable: false }
}

const fn removable(bit: u32, name: &'static str) -> Feature {
    Feature { bit, name, removable: true }
}

/// What the engine reads and writes correctly.
const KNOWN_INCOMPAT: u32 = 0x2 | INCOMPAT_RECOVER | 0x40 | INCOMPAT_64BIT | 0x200 | INCOMPAT_CSUM_SEED;
const KNOWN_RO_COMPAT: u32 = 0x1 | 0x2 | RO_COMPAT_HUGE_FILE | 0x10 | 0x20 | 0x40 | RO_COMPAT_METADATA_CSUM;

/// Names of what is refused (`e2fsprogs: lib/e2p/feature.c` calls them so).
const REFUSED_INCOMPAT: &[Feature] = &[
    kept(0x1, "compression"),
    kept(0x8, "journal_dev"),
    kept(0x10, "meta_bg"),
    removable(0x100, "mmp"),
    kept(0x400, "ea_inode"),
    kept(0x1000, "dirdata"),
    kept(0x4000, "large_dir"),
    kept(0x8000, "inline_data"),
    kept(0x1_0000, "encrypt"),
    kept(0x2_0000, "casefold"),
];
const REFUSED_RO_COMPAT: &[Feature] = &[
    kept(0x4, "btree_dir"),
    kept(0x80, "has_snapshot"),
    removable(0x100, "quota"),
    kept(0x200, "bigalloc"),
    kept(0x800, "replica"),
    kept(0x1000, "read-only"),
    removable(0x2000, "project"),
    kept(0x4000, "shared_blocks"),
    kept(0x8000, "verity"),
    removable(0x1_0000, "orphan_present"),
];

/// What mounting needs to know of the filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub uuid: [u8; 16],
    pub block_size: u64,
    pub blocks: u64,
    pub reserved_blocks: u64,
    pub first_data_block: u64,
    pub blocks_per_group: u32,
    pub inodes: u32,
    pub inodes_per_group: u32,
    pub first_inode: u32,
    pub inode_size: u64,
    pub descriptor_size: u64,
    pub groups: u64,
    pub has_journal: bool,
    pub needs_recovery: bool,
    pub has_errors: bool,
    /// Block counts of inodes have 48 bits, and some are in filesystem blocks.
    pub huge_files: bool,
    /// Where the checksums of metadata start; `None` without the metadata_csum feature.
    pub checksum_seed: Option<u32>,
}

fn u16_at(raw: &[u8; LENGTH], offset: usize) -> u16 {
    u16::from_le_bytes([raw[offset], raw[offset + 1]])
}

fn u32_at(raw: &[u8; LENGTH], offset: usize) -> u32 {
    u32::from_le_bytes([raw[offset], raw[offset + 1], raw[offset + 2], raw[offset + 3]])
}

impl Superblock {
    /// Reads and judges a superblock found on a device of `device_bytes`.
    pub fn parse(raw: &[u8; LENGTH], device_bytes: u64) -> Result<Superblock, MountError> {
        if u16_at(raw, 0x38) != MAGIC {
            return Err(MountError::NoSuperblock);
        }
        check_features(raw)?;
        if u32_at(raw, 0x64) & RO_COMPAT_METADATA_CSUM != 0 {
            check_checksum(raw)?;
        }
        let superblock = Superblock::decode(raw)?;
        superblock.check_geometry()?;
        let needed = superblock.blocks.saturating_mul(superblock.block_size);
        if needed > device_bytes {
            return Err(MountError::DeviceTooSmall { filesystem: needed, device: device_bytes });
        }
        Ok(superblock)
    }

    fn decode(raw: &[u8; LENGTH]) -> Result<Superblock, MountError> {
        let log_block_size = u32_at(raw, 0x18);
        if log_block_size > 2 {
            return Err(MountError::Unsupported {
                what: "blocks over 4096 bytes",
                remedy: "mke2fs -t ext4 -b 4096",
            });
        }
        let wide = u32_at(raw, 0x60) & INCOMPAT_64BIT != 0;
        let high = |offset| if wide { u64::from(u32_at(raw, offset)) << 32 } else { 0 };
        let blocks = u64::from(u32_at(raw, 0x4)) | high(0x150);
        let first_data_block = u64::from(u32_at(raw, 0x14));
        let blocks_per_group = u32_at(raw, 0x20);
        let data_blocks =
            blocks.checked_sub(first_data_block).ok_or(MountError::Corrupt("first data block"))?;
        if blocks_per_group == 0 {
            return Err(MountError::Corrupt("blocks per group"));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&raw[0x68..0x78]);
        let dynamic = u32_at(raw, 0x4C) >= 1;
        Ok(Superblock {
            uuid,
            block_size: 1024 << log_block_size,
            blocks,
            reserved_blocks: u64::from(u32_at(raw, 0x8)) | high(0x154),
            first_data_block,
            blocks_per_group,
            inodes: u32_at(raw, 0x0),
            inodes_per_group: u32_at(raw, 0x28),
            first_inode: if dynamic { u32_at(raw, 0x54) } else { 11 },
            inode_size: if dynamic { u64::from(u16_at(raw, 0x58)) } else { 128 },
            descriptor_size: if wide { u64::from(u16_at(raw, 0xFE)) } else { 32 },
            groups: data_blocks.div_ceil(u64::from(blocks_per_group)),
            has_journal: u32_at(raw, 0x5C) & COMPAT_HAS_JOURNAL != 0,
            needs_recovery: u32_at(raw, 0x60) & INCOMPAT_RECOVER != 0,
            has_errors: u16_at(raw, 0x3A) & STATE_ERRORS != 0,
            huge_files: u32_at(raw, 0x64) & RO_COMPAT_HUGE_FILE != 0,
            checksum_seed: checksum_seed(raw),
        })
    }

    /// Every bound the engine relies on for its arithmetic and allocations.
    fn check_geometry(&self) -> Result<(), MountError> {
        let bits = self.block_size * 8;
        let checks: [(bool, &'static str); 9] = [
            (self.blocks > self.first_data_block && self.blocks < 1 << 48, "number of blocks"),
            (self.first_data_block == u64::from(self.block_size == 1024), "first data block"),
            (u64::from(self.blocks_per_group) <= bits && self.blocks_per_group >= 256, "blocks per group"),
            (self.inodes_per_group != 0 && u64::from(self.inodes_per_group) <= bits, "inodes per group"),
            (
                self.groups.checked_mul(u64::from(self.inodes_per_group)) == Some(u64::from(self.inodes)),
                "number of inodes",
            ),
            (self.inode_size.is_power_of_two() && self.inode_size <= self.block_size, "inode size"),
            (self.first_inode >= 11 && self.first_inode < self.inodes, "first inode"),
            (
                self.descriptor_size.is_power_of_two() && (32..=1024).contains(&self.descriptor_size),
                "group descriptor size",
            ),
            (self.reserved_blocks <= self.blocks, "reserved blocks"),
        ];
        if let Some((_, what)) = checks.iter().find(|(good, _)| !good) {
            return Err(MountError::Corrupt(what));
        }
        if self.inode_size < 256 {
            // Without creation times there is nothing to tell successive owners of an inode apart.
            return Err(MountError::Unsupported {
                what: "inodes of 128 bytes, which hold no creation time",
                remedy: "mke2fs -t ext4 -I 256, or tune2fs -I 256 on the unmounted filesystem",
            });
        }
        Ok(())
    }
}

fn check_features(raw: &[u8; LENGTH]) -> Result<(), MountError> {
    let words = [
        (u32_at(raw, 0x60) & !KNOWN_INCOMPAT, REFUSED_INCOMPAT, "incompat"),
        (u32_at(raw, 0x64) & !KNOWN_RO_COMPAT, REFUSED_RO_COMPAT, "ro_compat"),
    ];
    for (unknown, names, word) in words {
        if unknown == 0 {
            continue;
        }
        return Err(match names.iter().find(|feature| unknown & feature.bit != 0) {
            Some(feature) => MountError::Feature { name: feature.name, removable: feature.removable },
            None => MountError::UnknownFeature { word, bits: unknown },
        });
    }
    Ok(())
}

fn check_checksum(raw: &[u8; LENGTH]) -> Result<(), MountError> {
    if raw[0x175] != 1 {
        return Err(MountError::Corrupt("checksum type"));
    }
    if checksum(raw) == u32_at(raw, 0x3FC) { Ok(()) } else { Err(MountError::Corrupt("checksum")) }
}

/// The checksum a superblock ought to carry.
pub(crate) fn checksum(raw: &[u8; LENGTH]) -> u32 {
    crc32c(!0, &raw[..0x3FC])
}

/// Stored by the metadata_csum_seed feature, else made of the UUID.
fn checksum_seed(raw: &[u8; LENGTH]) -> Option<u32> {
    let stored = u32_at(raw, 0x60) & INCOMPAT_CSUM_SEED != 0;
    let seed = if stored { u32_at(raw, 0x270) } else { crc32c(!0, &raw[0x68..0x78]) };
    (u32_at(raw, 0x64) & RO_COMPAT_METADATA_CSUM != 0).then_some(seed)
}

/// CRC-32C, going on from `crc`, not inverted at the end. Bit by bit: only a few kilobytes ever need it.
pub(crate) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests;
