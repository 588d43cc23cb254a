//! The disk format: records and checksums, without any state.
//!
//! Source of all layouts: Linux `Documentation/filesystems/ext4`.

pub mod bytes;
pub mod checksum;
pub mod descriptor;
pub mod inode;
pub mod superblock;

use crate::engine::{BlockNr, Ino};
use checksum::crc32c;

/// Sizes and places of a filesystem, constant while it is mounted; checked by the superblock's parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block: 1024, 2048 or 4096.
    pub block_size: usize,
    /// Blocks of the filesystem.
    pub blocks: u64,
    /// Blocks that only the administrator may use.
    pub reserved_blocks: u64,
    /// The block that group 0 starts with: 1 with blocks of 1024 bytes, else 0.
    pub first_data_block: BlockNr,
    /// Blocks of each group but perhaps the last.
    pub blocks_per_group: u32,
    /// Groups.
    pub groups: u32,
    /// Inodes of the filesystem.
    pub inodes: u32,
    /// Inodes of each group.
    pub inodes_per_group: u32,
    /// The first inode that is not reserved.
    pub first_inode: Ino,
    /// Bytes of an inode record.
    pub inode_size: usize,
    /// Bytes of a group descriptor.
    pub descriptor_size: usize,
    /// Groups whose bitmaps and inode tables lie together, as a power of two; 0 without flex_bg.
    pub log_groups_per_flex: u8,
    /// What checksums of metadata start with; `None` without metadata_csum.
    pub checksum_seed: Option<u32>,
    /// Group descriptors have a CRC-16 (feature uninit_bg, without metadata_csum).
    pub descriptor_crc16: bool,
    /// Identity.
    pub uuid: [u8; 16],
    /// Inode block counts have 48 bits, and may be in blocks (feature huge_file).
    pub huge_files: bool,
    /// Directories may have more than 65,000 subdirectories, with a link count of 1 (feature dir_nlink).
    pub many_subdirectories: bool,
    /// Directories may have a hash tree (feature dir_index).
    pub indexed_directories: bool,
    /// Directory entries tell the type of what they name (feature filetype).
    pub file_types: bool,
    /// Default hash of new directories: 0 legacy, 1 half MD4, 2 TEA (`s_def_hash_version`).
    pub hash_version: u8,
    /// Names are hashed as unsigned characters (`s_flags`, 0x2).
    pub hash_unsigned: bool,
    /// Seed of directory hashes (`s_hash_seed`).
    pub hash_seed: [u32; 4],
    /// Inode of the journal, 0 without one.
    pub journal_inode: Ino,
    /// Group descriptor blocks kept for growing (`s_reserved_gdt_blocks`).
    pub reserved_descriptor_blocks: u32,
    /// Superblock copies are in groups 0, 1 and powers of 3, 5 and 7 only (feature sparse_super).
    pub sparse_super: bool,
    /// Superblock copies are in these groups only, 0 for none (feature sparse_super2, `s_backup_bgs`).
    pub backup_groups: Option<[u32; 2]>,
}

impl Geometry {
    /// First block of a group.
    pub fn group_start(&self, group: u32) -> BlockNr {
        self.first_data_block + u64::from(group) * u64::from(self.blocks_per_group)
    }

    /// Blocks of a group.
    pub fn group_blocks(&self, group: u32) -> u32 {
        (self.blocks - self.group_start(group)).min(u64::from(self.blocks_per_group)) as u32
    }

    /// The group of a block, and its place there; `None` outside the filesystem.
    pub fn locate_block(&self, block: BlockNr) -> Option<(u32, u32)> {
        if block < self.first_data_block || block >= self.blocks {
            return None;
        }
        let relative = block - self.first_data_block;
        let per_group = u64::from(self.blocks_per_group);
        Some(((relative / per_group) as u32, (relative % per_group) as u32))
    }

    /// True when the run of blocks lies within the filesystem.
    pub fn holds(&self, start: BlockNr, count: u64) -> bool {
        start >= self.first_data_block && start.checked_add(count).is_some_and(|end| end <= self.blocks)
    }

    /// The group of an inode and its place in the group's table; `None` for numbers that are none.
    pub fn locate_inode(&self, ino: Ino) -> Option<(u32, u32)> {
        let index = ino.checked_sub(1).filter(|_| ino <= self.inodes)?;
        Some((index / self.inodes_per_group, index % self.inodes_per_group))
    }

    /// Block and byte of a group's descriptor (without meta_bg the table follows the superblock).
    pub fn descriptor_place(&self, group: u32) -> (BlockNr, usize) {
        let byte = group as usize * self.descriptor_size;
        (self.first_data_block + 1 + (byte / self.block_size) as u64, byte % self.block_size)
    }

    /// True for groups that begin with a superblock, the first one or a copy, and group descriptors.
    pub fn has_superblock(&self, group: u32) -> bool {
        let is_power = |base: u32| {
            let mut power = base;
            while power < group {
                power = power.saturating_mul(base);
            }
            power == group
        };
        match self.backup_groups {
            Some(groups) => group == 0 || groups.contains(&group),
            None => !self.sparse_super || group <= 1 || is_power(3) || is_power(5) || is_power(7),
        }
    }

    /// True when bitmaps and inode tables may never have been written: descriptors have checksums that vouch for their
    /// flags (features metadata_csum and uninit_bg). Without, those flags mean nothing.
    pub fn is_lazy(&self) -> bool {
        self.checksum_seed.is_some() || self.descriptor_crc16
    }

    /// Blocks of a group's inode table.
    pub fn inode_table_blocks(&self) -> u32 {
        (self.inodes_per_group as usize * self.inode_size).div_ceil(self.block_size) as u32
    }

    /// Block and byte of the primary superblock.
    pub fn superblock_place(&self) -> (BlockNr, usize) {
        if self.block_size == 1024 { (1, 0) } else { (0, 1024) }
    }

    /// What checksums of an inode's own blocks start with; `None` without metadata_csum.
    pub fn inode_seed(&self, ino: Ino, generation: u32) -> Option<u32> {
        let seed = crc32c(self.checksum_seed?, &ino.to_le_bytes());
        Some(crc32c(seed, &generation.to_le_bytes()))
    }
}
