//! Repairs the block count of directories, which the engine gets wrong.
//!
//! When a hashed directory lies in more than four pieces, its extent tree needs blocks of its own. The
//! engine forgets to count those in the inode, and e2fsck objects. Nothing can be done about it through the
//! engine; so while it is unmounted for a checkpoint and the disk is consistent, the count is put right.

use crate::cache::PageCache;
use crate::inode::word;
use crate::superblock::{Superblock, crc32c};
use alloc::vec;
use alloc::vec::Vec;
use keelson_hal::BlockError;

/// Offsets in the inode (Linux `Documentation/filesystems/ext4/inodes.rst`).
mod field {
    pub const BLOCKS_LOW: usize = 0x1C;
    pub const FLAGS: usize = 0x20;
    pub const EXTENT_ROOT: usize = 0x28;
    pub const GENERATION: usize = 0x64;
    pub const ATTRIBUTE_BLOCK: usize = 0x68;
    pub const CHECKSUM_LOW: usize = 0x7C;
    pub const EXTRA_SIZE: usize = 0x80;
    pub const CHECKSUM_HIGH: usize = 0x82;
}

const DIRECTORY: u32 = 0x4000;
const TYPE_MASK: u32 = 0xF000;
const USES_EXTENTS: u32 = 0x8_0000;
const EXTENT_MAGIC: u32 = 0xF30A;
/// Nodes of the largest tree that is walked: far beyond what a directory has.
const NODE_LIMIT: u64 = 4096;

/// Least blocks of its own that an extent tree with this many extents has.
pub(crate) fn least_nodes(extents: u64, block_size: u64) -> u64 {
    // Header and checksum take 16 bytes of a node, each extent 12; four extents fit into the inode.
    if extents <= 4 { 0 } else { extents.div_ceil((block_size - 16) / 12) }
}

/// Corrects the count of the directory whose inode is at byte `position`; true when it was wrong.
pub(crate) fn repair(
    cache: &mut PageCache,
    superblock: &Superblock,
    inode: u32,
    position: u64,
) -> Result<bool, BlockError> {
    let mut record = vec![0; superblock.inode_size as usize];
    cache.read(position, &mut record)?;
    if word(&record, 0) & TYPE_MASK != DIRECTORY || word(&record, field::FLAGS) & USES_EXTENTS == 0 {
        return Ok(false);
    }
    let root = record[field::EXTENT_ROOT..field::EXTENT_ROOT + 60].to_vec();
    let Some(mut blocks) = count_blocks(cache, superblock, root)? else { return Ok(false) };
    if word(&record, field::ATTRIBUTE_BLOCK) != 0 {
        blocks += 1;
    }
    let Ok(sectors) = u32::try_from(blocks * (superblock.block_size / 512)) else { return Ok(false) };
    if word(&record, field::BLOCKS_LOW) == sectors {
        return Ok(false);
    }
    record[field::BLOCKS_LOW..field::BLOCKS_LOW + 4].copy_from_slice(&sectors.to_le_bytes());
    if let Some(seed) = superblock.checksum_seed {
        sign(&mut record, seed, inode);
    }
    cache.write(position, &record)?;
    Ok(true)
}

/// Blocks that the tree maps and consists of; `None` for a tree that makes no sense.
fn count_blocks(
    cache: &mut PageCache,
    superblock: &Superblock,
    root: Vec<u8>,
) -> Result<Option<u64>, BlockError> {
    let (mut mapped, mut nodes) = (0, 0);
    let mut waiting = vec![root];
    while let Some(node) = waiting.pop() {
        let header = word(&node, 0);
        let (entries, depth) = ((header >> 16) as usize, word(&node, 4) >> 16);
        if header & 0xFFFF != EXTENT_MAGIC || 12 + entries * 12 > node.len() || nodes > NODE_LIMIT {
            return Ok(None);
        }
        for entry in (1..=entries).map(|index| index * 12) {
            if depth == 0 {
                mapped += u64::from(word(&node, entry + 4) & 0x7FFF);
                continue;
            }
            let block = u64::from(word(&node, entry + 4)) | u64::from(word(&node, entry + 8) & 0xFFFF) << 32;
            if block >= superblock.blocks {
                return Ok(None);
            }
            let mut child = vec![0; superblock.block_size as usize];
            cache.read(block * superblock.block_size, &mut child)?;
            waiting.push(child);
            nodes += 1;
        }
    }
    Ok(Some(mapped + nodes))
}

/// Puts the right checksum into an inode.
fn sign(record: &mut [u8], seed: u32, inode: u32) {
    let extra_size = (word(record, field::EXTRA_SIZE) & 0xFFFF) as usize;
    let has_high = record.len() > 128 && 128 + extra_size >= field::CHECKSUM_HIGH + 2;
    record[field::CHECKSUM_LOW..field::CHECKSUM_LOW + 2].fill(0);
    if has_high {
        record[field::CHECKSUM_HIGH..field::CHECKSUM_HIGH + 2].fill(0);
    }
    let seed = crc32c(seed, &inode.to_le_bytes());
    let seed = crc32c(seed, &word(record, field::GENERATION).to_le_bytes());
    let checksum = crc32c(seed, record).to_le_bytes();
    record[field::CHECKSUM_LOW..field::CHECKSUM_LOW + 2].copy_from_slice(&checksum[..2]);
    if has_high {
        record[field::CHECKSUM_HIGH..field::CHECKSUM_HIGH + 2].copy_from_slice(&checksum[2..]);
    }
}
