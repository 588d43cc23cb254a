//! Checksums of whole metadata blocks: checked when a block comes from the disk, made before it goes to the journal.

use super::{BlockNr, Engine, Kind};
use crate::halt::Halt;
use crate::layout::Geometry;
use crate::layout::bytes::{put_u32, u16_at, u32_at};
use crate::layout::checksum::crc32c;
use crate::layout::descriptor::bitmap_checksum;

/// `det_reserved_ft` of the fake entry at the end of a directory block that holds its checksum.
const TAIL_TYPE: u8 = 0xde;
/// Length of that entry.
pub const TAIL_LENGTH: usize = 12;
/// Bytes of an extent node in front of its entries, and of each entry.
const EXTENT_ENTRY: usize = 12;
/// Bytes of a hash-tree index entry.
const INDEX_ENTRY: usize = 8;
/// Bytes of the checksum behind the entries of a hash-tree index block.
const INDEX_TAIL: usize = 8;
/// Place of `h_checksum` in a block of extended attributes.
const ATTRIBUTES_CHECKSUM: usize = 0x10;

/// Where the sum of a block is, and what it ought to be; `None` when the block has none.
fn sum(data: &[u8], block: BlockNr, kind: Kind, geometry: &Geometry) -> Option<(usize, u32)> {
    match kind {
        Kind::Extents { owner, generation } => {
            let seed = geometry.inode_seed(owner, generation)?;
            let place = EXTENT_ENTRY * (1 + usize::from(u16_at(data, 4)));
            (place + 4 <= data.len()).then(|| (place, crc32c(seed, &data[..place])))
        }
        Kind::Directory { owner, generation } => {
            let seed = geometry.inode_seed(owner, generation)?;
            Some(match index_entries(data) {
                Some(start) => {
                    let limit = usize::from(u16_at(data, start));
                    let count = usize::from(u16_at(data, start + 2));
                    let tail = start + limit * INDEX_ENTRY;
                    if tail + INDEX_TAIL > data.len() || count > limit {
                        return None;
                    }
                    let sum = crc32c(seed, &data[..start + count * INDEX_ENTRY]);
                    (tail + 4, crc32c(crc32c(sum, &data[tail..tail + 4]), &[0; 4]))
                }
                None => {
                    let tail = data.len() - TAIL_LENGTH;
                    (tail + 8, crc32c(seed, &data[..tail]))
                }
            })
        }
        Kind::Attributes => {
            let seed = crc32c(geometry.checksum_seed?, &block.to_le_bytes());
            let sum = crc32c(crc32c(seed, &data[..ATTRIBUTES_CHECKSUM]), &[0; 4]);
            Some((ATTRIBUTES_CHECKSUM, crc32c(sum, &data[ATTRIBUTES_CHECKSUM + 4..])))
        }
        // In descriptors, in each record, or made where the superblock is written.
        Kind::Superblock
        | Kind::Descriptors
        | Kind::BlockBitmap(_)
        | Kind::InodeBitmap(_)
        | Kind::InodeTable
        | Kind::Target => None,
    }
}

/// Where the entries of a hash-tree index block start; `None` for a block of names.
pub fn index_entries(data: &[u8]) -> Option<usize> {
    let whole = data.len();
    let length = |offset: usize| match usize::from(u16_at(data, offset + 4)) {
        // With blocks of 64 KiB the length does not fit; ours are smaller.
        0 => whole,
        length => length,
    };
    if u32_at(data, 0) == 0 && length(0) == whole {
        return Some(8);
    }
    (length(0) == 12 && length(12) == whole - 12).then_some(0x20)
}

/// True when what came from the disk can be what it should be.
pub fn is_sound(data: &[u8], block: BlockNr, kind: Kind, geometry: &Geometry) -> bool {
    if let Kind::Directory { .. } = kind
        && geometry.checksum_seed.is_some()
        && index_entries(data).is_none()
    {
        let tail = data.len() - TAIL_LENGTH;
        if u32_at(data, tail) != 0 || u16_at(data, tail + 4) != 12 || data[tail + 7] != TAIL_TYPE {
            return false;
        }
    }
    match sum(data, block, kind, geometry) {
        Some((place, sum)) => u32_at(data, place) == sum,
        None => {
            !matches!(kind, Kind::Extents { .. } | Kind::Directory { .. }) || geometry.checksum_seed.is_none()
        }
    }
}

/// Writes the empty tail entry of a block of names.
pub fn put_tail(data: &mut [u8]) {
    let tail = data.len() - TAIL_LENGTH;
    data[tail..].fill(0);
    data[tail + 4] = TAIL_LENGTH as u8;
    data[tail + 7] = TAIL_TYPE;
}

impl Engine {
    /// Makes the checksum of a block that is about to be committed. Bitmaps first: theirs are in descriptors, which
    /// belong to the same transaction because free counts changed with the bitmap.
    pub fn seal(&mut self, block: BlockNr) -> Result<(), Halt> {
        let geometry = self.geometry;
        let Some(slot) = self.cache.get(block) else { return Ok(()) };
        let (group, bits) = match slot.kind {
            Kind::BlockBitmap(group) => (group, geometry.blocks_per_group),
            Kind::InodeBitmap(group) => (group, geometry.inodes_per_group),
            kind => {
                if let Some((place, sum)) = sum(&slot.data, block, kind, &geometry) {
                    put_u32(&mut slot.data, place, sum);
                }
                return Ok(());
            }
        };
        let is_inodes = matches!(slot.kind, Kind::InodeBitmap(_));
        let Some(sum) = bitmap_checksum(&slot.data, bits, &geometry) else { return Ok(()) };
        let mut descriptor = self.descriptor(group)?;
        let field = if is_inodes {
            &mut descriptor.inode_bitmap_checksum
        } else {
            &mut descriptor.block_bitmap_checksum
        };
        *field = sum;
        self.put_descriptor(group, &descriptor)
    }
}
