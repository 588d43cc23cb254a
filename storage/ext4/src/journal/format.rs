//! Blocks of the journal (Linux `Documentation/filesystems/ext4/journal.rst`). All fields are big-endian.

mod superblock;

pub use superblock::{FormatError, Superblock};

use super::Sequence;
use crate::engine::BlockNr;
use crate::layout::bytes::{u16_at, u32_at};
use crate::layout::checksum::crc32c;
use alloc::vec::Vec;

/// `h_magic` of every block of the journal that is not a copy of another block.
pub const MAGIC: u32 = 0xc03b_3998;
/// `h_blocktype` of a block that says where the copies behind it belong.
pub const DESCRIPTOR: u32 = 1;
/// `h_blocktype` of the block that ends a transaction.
pub const COMMIT: u32 = 2;
/// `h_blocktype` of the superblock of today.
pub const SUPERBLOCK_V2: u32 = 4;
/// `h_blocktype` of a block with numbers of freed blocks.
pub const REVOKE: u32 = 5;

/// Bytes of magic number, type and sequence.
pub const HEADER: usize = 12;
/// Bytes of a revoke block in front of its records.
pub const REVOKE_HEADER: usize = 16;
/// Bytes of the checksum at the end of descriptor and revoke blocks.
pub const TAIL: usize = 4;
/// `h_chksum[0]` of a commit block.
const COMMIT_CHECKSUM: usize = 0x10;

/// Tag flag: the copy begins with the magic number, which was zeroed.
pub const ESCAPED: u32 = 1;
/// Tag flag: no UUID follows.
const SAME_UUID: u32 = 2;
/// Tag flag: the last of its block.
const LAST_TAG: u32 = 8;

/// Tag (`EXT4_FC_TAG_HEAD`) in front of fast commits: features and the transaction that they belong to follow.
const FAST_COMMIT_HEAD: u16 = 0x9;

/// What the blocks of a journal look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Block numbers have 64 bits.
    pub wide: bool,
    /// Checksums: none, of 16 bits for copies (2), or of 32 (3).
    pub checksums: u8,
    /// What checksums start with.
    pub seed: u32,
    /// Bytes of a block.
    pub block_size: usize,
}

/// Where a copy belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The block.
    pub block: BlockNr,
    /// [`ESCAPED`] and its like.
    pub flags: u32,
    /// Checksum of the copy, as much of it as the format keeps.
    pub checksum: u32,
}

fn get(raw: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes([raw[offset], raw[offset + 1], raw[offset + 2], raw[offset + 3]])
}

fn put(raw: &mut [u8], offset: usize, value: u32) {
    raw[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
}

/// Whether this is the beginning of the fast commits behind the last transaction, so that `next` would be the next one
/// (`Documentation/filesystems/ext4/journal.rst`, "Fast commits"; here the fields are little-endian).
pub fn is_fast_commit(raw: &[u8], next: Sequence) -> bool {
    raw.len() >= 12
        && u16_at(raw, 0) == FAST_COMMIT_HEAD
        && usize::from(u16_at(raw, 2)) >= 8
        && u32_at(raw, 8) == next
}

/// Type and sequence of a block of the journal; `None` for anything else.
pub fn header(raw: &[u8]) -> Option<(u32, Sequence)> {
    (raw.len() >= HEADER && get(raw, 0) == MAGIC).then(|| (get(raw, 4), get(raw, 8)))
}

fn put_header(raw: &mut [u8], kind: u32, sequence: Sequence) {
    put(raw, 0, MAGIC);
    put(raw, 4, kind);
    put(raw, 8, sequence);
}

impl Format {
    /// Bytes of a tag without the UUID that follows the first one of a block.
    fn tag_length(&self) -> usize {
        match (self.checksums, self.wide) {
            (3, _) => 16,
            // Linux adds two bytes for the checksum although there is room for it already.
            (2, true) => 14,
            (2, false) => 10,
            (_, true) => 12,
            (_, false) => 8,
        }
    }

    fn tail(&self) -> usize {
        if self.checksums == 0 { 0 } else { TAIL }
    }

    /// Copies that one descriptor block can announce.
    pub fn tags_per_block(&self) -> usize {
        (self.block_size - HEADER - self.tail() - 16) / self.tag_length()
    }

    /// Freed blocks that one revoke block can name.
    pub fn revokes_per_block(&self) -> usize {
        (self.block_size - REVOKE_HEADER - self.tail()) / self.revoke_length()
    }

    fn revoke_length(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    /// Checksum of a copy as it lies in the journal; as much of it as tags keep.
    pub fn copy_checksum(&self, sequence: Sequence, copy: &[u8]) -> u32 {
        let sum = crc32c(crc32c(self.seed, &sequence.to_be_bytes()), copy);
        if self.checksums == 3 { sum } else { sum & 0xffff }
    }

    /// A descriptor block. At most [`Format::tags_per_block`] tags.
    pub fn encode_descriptor(&self, sequence: Sequence, tags: &[Tag], block: &mut [u8]) {
        put_header(block, DESCRIPTOR, sequence);
        let mut at = HEADER;
        for (index, tag) in tags.iter().enumerate() {
            let mut flags = tag.flags;
            flags |= if index == 0 { 0 } else { SAME_UUID };
            flags |= if index + 1 == tags.len() { LAST_TAG } else { 0 };
            put(block, at, tag.block as u32);
            let high = (tag.block >> 32) as u32;
            if self.checksums == 3 {
                put(block, at + 4, flags);
                put(block, at + 8, high);
                put(block, at + 12, tag.checksum);
            } else {
                let sum = if self.checksums == 2 { tag.checksum } else { 0 };
                put(block, at + 4, sum << 16 | flags);
                if self.wide {
                    put(block, at + 8, high);
                }
            }
            at += self.tag_length() + if index == 0 { 16 } else { 0 };
        }
        self.close(block);
    }

    /// The tags of a descriptor block; `None` when it is not as it was written.
    pub fn decode_descriptor(&self, block: &[u8]) -> Option<Vec<Tag>> {
        if !self.is_closed(block) {
            return None;
        }
        let (mut tags, mut at) = (Vec::new(), HEADER);
        while at + self.tag_length() <= block.len() - self.tail() {
            let low = u64::from(get(block, at));
            let (flags, high, checksum) = if self.checksums == 3 {
                (get(block, at + 4), get(block, at + 8), get(block, at + 12))
            } else {
                let word = get(block, at + 4);
                (word & 0xffff, if self.wide { get(block, at + 8) } else { 0 }, word >> 16)
            };
            let high = if self.wide { u64::from(high) << 32 } else { 0 };
            tags.push(Tag { block: low | high, flags, checksum });
            if flags & LAST_TAG != 0 {
                return Some(tags);
            }
            at += self.tag_length() + if flags & SAME_UUID == 0 { 16 } else { 0 };
        }
        // Full to the end: a block need not have a last tag then.
        Some(tags)
    }

    /// A revoke block. At most [`Format::revokes_per_block`] numbers.
    pub fn encode_revoke(&self, sequence: Sequence, blocks: &[BlockNr], raw: &mut [u8]) {
        put_header(raw, REVOKE, sequence);
        put(raw, HEADER, (REVOKE_HEADER + blocks.len() * self.revoke_length()) as u32);
        for (place, block) in raw[REVOKE_HEADER..].chunks_mut(self.revoke_length()).zip(blocks) {
            if self.wide {
                place.copy_from_slice(&block.to_be_bytes());
            } else {
                put(place, 0, *block as u32);
            }
        }
        self.close(raw);
    }

    /// The numbers in a revoke block; `None` when it is not as it was written.
    pub fn decode_revoke(&self, raw: &[u8]) -> Option<Vec<BlockNr>> {
        let end = get(raw, HEADER) as usize;
        if !self.is_closed(raw) || !(REVOKE_HEADER..=raw.len() - self.tail()).contains(&end) {
            return None;
        }
        let number = |place: &[u8]| match self.wide {
            true => u64::from(get(place, 0)) << 32 | u64::from(get(place, 4)),
            false => u64::from(get(place, 0)),
        };
        Some(raw[REVOKE_HEADER..end].chunks_exact(self.revoke_length()).map(number).collect())
    }

    /// A commit block; the time is since 1970.
    pub fn encode_commit(&self, sequence: Sequence, time: core::time::Duration) -> Vec<u8> {
        let mut block = alloc::vec![0; self.block_size];
        put_header(&mut block, COMMIT, sequence);
        block[0x30..0x38].copy_from_slice(&time.as_secs().to_be_bytes());
        put(&mut block, 0x38, time.subsec_nanos());
        if self.checksums != 0 {
            let sum = crc32c(self.seed, &block);
            put(&mut block, COMMIT_CHECKSUM, sum);
        }
        block
    }

    /// True when a commit block is as it was written.
    pub fn is_commit(&self, block: &[u8]) -> bool {
        if self.checksums == 0 {
            return true;
        }
        let sum = crc32c(crc32c(self.seed, &block[..COMMIT_CHECKSUM]), &[0; 4]);
        crc32c(sum, &block[COMMIT_CHECKSUM + 4..]) == get(block, COMMIT_CHECKSUM)
    }

    /// Writes the checksum at the end of a descriptor or revoke block.
    fn close(&self, block: &mut [u8]) {
        if self.checksums != 0 {
            let place = block.len() - TAIL;
            let sum = crc32c(crc32c(self.seed, &block[..place]), &[0; 4]);
            put(block, place, sum);
        }
    }

    fn is_closed(&self, block: &[u8]) -> bool {
        if self.checksums == 0 {
            return true;
        }
        let place = block.len() - TAIL;
        crc32c(crc32c(self.seed, &block[..place]), &[0; 4]) == get(block, place)
    }
}

#[cfg(test)]
mod tests;
