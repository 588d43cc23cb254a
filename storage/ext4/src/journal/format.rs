//! Blocks of the journal (Linux `Documentation/filesystems/ext4/journal.rst`). All fields are big-endian.

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
/// Bytes of the superblock that are used.
pub const SUPERBLOCK: usize = 1024;
/// Places in the superblock.
const SUPERBLOCK_CHECKSUM: usize = 0xfc;
/// `h_chksum[0]` of a commit block.
const COMMIT_CHECKSUM: usize = 0x10;

/// Tag flag: the copy begins with the magic number, which was zeroed.
pub const ESCAPED: u32 = 1;
/// Tag flag: no UUID follows.
const SAME_UUID: u32 = 2;
/// Tag flag: the last of its block.
const LAST_TAG: u32 = 8;

const INCOMPAT_REVOKE: u32 = 0x1;
const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
const INCOMPAT_CSUM_V2: u32 = 0x8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
/// All of them that can be replayed and written. With fast commits only if none wait to be replayed.
const KNOWN_INCOMPAT: u32 =
    INCOMPAT_REVOKE | INCOMPAT_64BIT | INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3 | INCOMPAT_FAST_COMMIT;
/// Checksums of the kind before CSUM_V2, of whole transactions; not verified.
const COMPAT_CHECKSUM: u32 = 0x1;
/// `s_checksum_type`: CRC-32C.
const CRC32C: u8 = 4;
/// Blocks for fast commits at the end of the journal, where the superblock does not say.
const FAST_COMMIT_BLOCKS: u32 = 256;

/// Blocks that Linux leaves to a log beside fast commits (`JBD2_MIN_JOURNAL_BLOCKS`).
const SMALLEST_LOG: u32 = 1024;
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

/// The journal's superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    raw: Vec<u8>,
}

/// Why a journal cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// The named field makes no sense.
    Corrupt(&'static str),
    /// A feature that is not supported, by name.
    Feature(&'static str),
    /// Feature bits without a name.
    Unknown {
        /// In `s_feature_incompat`.
        incompat: u32,
        /// In `s_feature_ro_compat`.
        ro_compat: u32,
    },
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

impl Superblock {
    /// Reads and judges the first block of the journal, which has `blocks` of `block_size`.
    pub fn parse(raw: &[u8], block_size: usize, blocks: u32) -> Result<Superblock, FormatError> {
        if raw.len() < SUPERBLOCK || header(raw).is_none_or(|(kind, _)| kind != SUPERBLOCK_V2) {
            return Err(FormatError::Corrupt("journal superblock"));
        }
        let superblock = Superblock { raw: raw.to_vec() };
        let unknown = superblock.incompat() & !KNOWN_INCOMPAT;
        if unknown != 0 || get(raw, 0x2c) != 0 {
            return Err(match unknown & unknown.wrapping_neg() {
                INCOMPAT_ASYNC_COMMIT => FormatError::Feature("journal_async_commit"),
                _ => FormatError::Unknown { incompat: unknown, ro_compat: get(raw, 0x2c) },
            });
        }
        if superblock.incompat() & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3)
            == INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3
        {
            return Err(FormatError::Corrupt("journal superblock (checksums of two kinds)"));
        }
        if superblock.checksums() != 0
            && (raw[0x50] != CRC32C || superblock.checksum() != get(raw, SUPERBLOCK_CHECKSUM))
        {
            return Err(FormatError::Corrupt("journal superblock checksum"));
        }
        let (first, end) = (superblock.first(), superblock.end());
        let checks = [
            (get(raw, 0xc) as usize == block_size, "journal block size"),
            (get(raw, 0x10) <= blocks, "journal length"),
            (first >= 1 && end > first && end - first >= 64, "first block of the journal"),
            (superblock.start() == 0 || (first..end).contains(&superblock.start()), "start of the log"),
        ];
        match checks.iter().find(|(good, _)| !good) {
            Some((_, what)) => Err(FormatError::Corrupt(what)),
            None => Ok(superblock),
        }
    }

    fn incompat(&self) -> u32 {
        get(&self.raw, 0x28)
    }

    fn checksums(&self) -> u8 {
        match self.incompat() & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) {
            0 => 0,
            INCOMPAT_CSUM_V2 => 2,
            _ => 3,
        }
    }

    /// First block of the log.
    pub fn first(&self) -> u32 {
        get(&self.raw, 0x14)
    }

    /// Behind the last block of the log.
    pub fn end(&self) -> u32 {
        let length = get(&self.raw, 0x10);
        length - self.fast_area().unwrap_or(0)
    }

    /// Blocks at the end of the journal that are for fast commits. As for Linux, none where too little would be left.
    fn fast_area(&self) -> Option<u32> {
        if self.incompat() & INCOMPAT_FAST_COMMIT == 0 {
            return None;
        }
        let blocks = match get(&self.raw, 0x54) {
            0 => FAST_COMMIT_BLOCKS,
            blocks => blocks,
        };
        let left = get(&self.raw, 0x10).checked_sub(blocks)?;
        (left >= SMALLEST_LOG).then_some(blocks)
    }

    /// Block of the oldest transaction that may not be home; 0 when there is none.
    pub fn start(&self) -> u32 {
        get(&self.raw, 0x1c)
    }

    /// Number of that transaction, or of the next one.
    pub fn sequence(&self) -> Sequence {
        get(&self.raw, 0x18)
    }

    /// An error made the journal useless once.
    pub fn has_error(&self) -> bool {
        get(&self.raw, 0x20) != 0
    }

    /// The first block of the fast commits, if there may be any.
    pub fn fast_commits(&self) -> Option<u32> {
        // Linux leaves one block unused in between.
        self.fast_area().filter(|&blocks| blocks > 1).map(|_| self.end() + 1)
    }

    /// What its blocks look like.
    pub fn format(&self, block_size: usize) -> Format {
        Format {
            wide: self.incompat() & INCOMPAT_64BIT != 0,
            checksums: self.checksums(),
            seed: crc32c(!0, &self.raw[0x30..0x40]),
            block_size,
        }
    }

    /// Chooses what is written from now on, as Linux does at mount. Only while the log is empty.
    pub fn choose(&mut self, wide: bool, checksums: bool) {
        // Without fast commits: the mark says that some may wait, and Linux sets it anew when it mounts.
        let mut incompat = INCOMPAT_REVOKE;
        if wide {
            incompat |= INCOMPAT_64BIT;
        }
        if checksums {
            incompat |= INCOMPAT_CSUM_V3;
            self.raw[0x50] = CRC32C;
        }
        put(&mut self.raw, 0x28, incompat);
        let compat = get(&self.raw, 0x24) & !COMPAT_CHECKSUM;
        put(&mut self.raw, 0x24, compat);
    }

    /// The block with this start of the log.
    pub fn encode(&mut self, start: u32, sequence: Sequence) -> Vec<u8> {
        put(&mut self.raw, 0x18, sequence);
        put(&mut self.raw, 0x1c, start);
        if self.checksums() != 0 {
            let sum = self.checksum();
            put(&mut self.raw, SUPERBLOCK_CHECKSUM, sum);
        }
        self.raw.clone()
    }

    fn checksum(&self) -> u32 {
        let sum = crc32c(crc32c(!0, &self.raw[..SUPERBLOCK_CHECKSUM]), &[0; 4]);
        crc32c(sum, &self.raw[SUPERBLOCK_CHECKSUM + 4..SUPERBLOCK])
    }
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
