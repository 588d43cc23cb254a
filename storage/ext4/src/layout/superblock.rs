//! The superblock, read and judged before anything else is believed.
//!
//! Layout: Linux `Documentation/filesystems/ext4/super.rst`. Little-endian, 1024 bytes at byte 1024.

use super::Geometry;
use super::bytes::{u16_at, u32_at};
use super::checksum::crc32c;
use crate::engine::Ino;
use crate::error::MountError;

/// Byte position of the primary superblock.
pub const POSITION: u64 = 1024;
/// Its length.
pub const LENGTH: usize = 1024;

const MAGIC: u16 = 0xEF53;
const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
const RO_COMPAT_GDT_CSUM: u32 = 0x10;
const RO_COMPAT_DIR_NLINK: u32 = 0x20;
const COMPAT_DIR_INDEX: u32 = 0x20;
const INCOMPAT_FLEX_BG: u32 = 0x200;
/// `s_flags`: names are hashed as unsigned characters.
const FLAG_UNSIGNED_HASH: u32 = 0x2;
const RO_COMPAT_HUGE_FILE: u32 = 0x8;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const INCOMPAT_FILETYPE: u32 = 0x2;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
const COMPAT_HAS_JOURNAL: u32 = 0x4;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
/// `s_state`: cleanly unmounted.
const STATE_VALID: u16 = 0x1;
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
const KNOWN_INCOMPAT: u32 =
    INCOMPAT_FILETYPE | INCOMPAT_RECOVER | 0x40 | INCOMPAT_64BIT | 0x200 | INCOMPAT_CSUM_SEED;
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
pub struct Superblock {
    /// Sizes and places.
    pub geometry: Geometry,
    /// The journal must be replayed.
    pub needs_recovery: bool,
    /// Errors were recorded on it.
    pub has_errors: bool,
    /// It was cleanly unmounted, or needs only a replay of its journal to be as good.
    pub was_clean: bool,
    /// First inode of the list of those to be freed or cut (`s_last_orphan`), 0 for none.
    pub last_orphan: Ino,
    /// Where the UUID's checksum is not what checksums start with, it is stored (feature metadata_csum_seed).
    pub stored_seed: bool,
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
        let geometry = &superblock.geometry;
        let needed = geometry.blocks.saturating_mul(geometry.block_size as u64);
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
        let (compat, incompat, ro_compat) = (u32_at(raw, 0x5C), u32_at(raw, 0x60), u32_at(raw, 0x64));
        let groups = data_blocks.div_ceil(u64::from(blocks_per_group));
        let geometry = Geometry {
            block_size: 1024 << log_block_size,
            blocks,
            reserved_blocks: u64::from(u32_at(raw, 0x8)) | high(0x154),
            first_data_block,
            blocks_per_group,
            groups: u32::try_from(groups).map_err(|_| MountError::Corrupt("number of blocks"))?,
            inodes: u32_at(raw, 0x0),
            inodes_per_group: u32_at(raw, 0x28),
            first_inode: if dynamic { u32_at(raw, 0x54) } else { 11 },
            inode_size: if dynamic { usize::from(u16_at(raw, 0x58)) } else { 128 },
            descriptor_size: if wide { usize::from(u16_at(raw, 0xFE)) } else { 32 },
            log_groups_per_flex: if incompat & INCOMPAT_FLEX_BG != 0 { raw[0x174] } else { 0 },
            checksum_seed: checksum_seed(raw),
            descriptor_crc16: ro_compat & (RO_COMPAT_GDT_CSUM | RO_COMPAT_METADATA_CSUM)
                == RO_COMPAT_GDT_CSUM,
            uuid,
            huge_files: ro_compat & RO_COMPAT_HUGE_FILE != 0,
            many_subdirectories: ro_compat & RO_COMPAT_DIR_NLINK != 0,
            indexed_directories: compat & COMPAT_DIR_INDEX != 0,
            file_types: incompat & INCOMPAT_FILETYPE != 0,
            hash_version: raw[0xFC],
            hash_unsigned: u32_at(raw, 0x160) & FLAG_UNSIGNED_HASH != 0,
            hash_seed: [0xEC, 0xF0, 0xF4, 0xF8].map(|offset| u32_at(raw, offset)),
            journal_inode: if compat & COMPAT_HAS_JOURNAL != 0 { u32_at(raw, 0xE0) } else { 0 },
            reserved_descriptor_blocks: u32::from(u16_at(raw, 0xCE)),
            sparse_super: ro_compat & RO_COMPAT_SPARSE_SUPER != 0,
            backup_groups: (compat & COMPAT_SPARSE_SUPER2 != 0)
                .then(|| [0x24C, 0x250].map(|offset| u32_at(raw, offset))),
        };
        Ok(Superblock {
            geometry,
            needs_recovery: incompat & INCOMPAT_RECOVER != 0,
            has_errors: u16_at(raw, 0x3A) & STATE_ERRORS != 0,
            was_clean: u16_at(raw, 0x3A) & STATE_VALID != 0,
            last_orphan: u32_at(raw, 0xE8),
            stored_seed: incompat & INCOMPAT_CSUM_SEED != 0,
        })
    }

    /// Every bound that later arithmetic and allocations rely on.
    fn check_geometry(&self) -> Result<(), MountError> {
        let geometry = &self.geometry;
        let bits = geometry.block_size as u64 * 8;
        let (inode_size, descriptor_size) = (geometry.inode_size, geometry.descriptor_size);
        let inodes = u64::from(geometry.groups) * u64::from(geometry.inodes_per_group);
        let checks: [(bool, &'static str); 11] = [
            (geometry.blocks > geometry.first_data_block && geometry.blocks < 1 << 48, "number of blocks"),
            (geometry.first_data_block == u64::from(geometry.block_size == 1024), "first data block"),
            (
                u64::from(geometry.blocks_per_group) <= bits
                    && geometry.blocks_per_group >= 256
                    && geometry.blocks_per_group.is_multiple_of(8),
                "blocks per group",
            ),
            (
                geometry.inodes_per_group != 0
                    && u64::from(geometry.inodes_per_group) <= bits
                    && geometry.inodes_per_group.is_multiple_of(8),
                "inodes per group",
            ),
            (inodes == u64::from(geometry.inodes), "number of inodes"),
            (inode_size.is_power_of_two() && inode_size <= geometry.block_size, "inode size"),
            (geometry.first_inode >= 11 && geometry.first_inode < geometry.inodes, "first inode"),
            (
                descriptor_size.is_power_of_two() && (32..=1024).contains(&descriptor_size),
                "group descriptor size",
            ),
            (geometry.reserved_blocks <= geometry.blocks, "reserved blocks"),
            (geometry.log_groups_per_flex < 32, "groups per flex group"),
            (geometry.journal_inode < geometry.inodes, "journal inode"),
        ];
        if let Some((_, what)) = checks.iter().find(|(good, _)| !good) {
            return Err(MountError::Corrupt(what));
        }
        if inode_size < 256 {
            // Times of whole seconds do not tell clients' caches of changes within one.
            return Err(MountError::Unsupported {
                what: "inodes of 128 bytes, which have no room for nanoseconds",
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
pub fn checksum(raw: &[u8; LENGTH]) -> u32 {
    crc32c(!0, &raw[..0x3FC])
}

/// Stored by the metadata_csum_seed feature, else made of the UUID.
fn checksum_seed(raw: &[u8; LENGTH]) -> Option<u32> {
    let stored = u32_at(raw, 0x60) & INCOMPAT_CSUM_SEED != 0;
    let seed = if stored { u32_at(raw, 0x270) } else { crc32c(!0, &raw[0x68..0x78]) };
    (u32_at(raw, 0x64) & RO_COMPAT_METADATA_CSUM != 0).then_some(seed)
}

#[cfg(test)]
mod tests;
