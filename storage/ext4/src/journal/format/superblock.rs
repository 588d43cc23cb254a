//! The journal's superblock: what the log looks like, where it begins, and what may be in it.

use super::{Format, SUPERBLOCK_V2, get, header, put};
use crate::journal::Sequence;
use crate::layout::checksum::crc32c;
use alloc::vec::Vec;

/// Bytes of the superblock that are used.
pub const SUPERBLOCK: usize = 1024;
/// Places in the superblock.
pub(super) const SUPERBLOCK_CHECKSUM: usize = 0xfc;

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
pub(super) const CRC32C: u8 = 4;
/// Blocks for fast commits at the end of the journal, where the superblock does not say.
const FAST_COMMIT_BLOCKS: u32 = 256;

/// Blocks that Linux leaves to a log beside fast commits (`JBD2_MIN_JOURNAL_BLOCKS`).
const SMALLEST_LOG: u32 = 1024;

/// The journal's superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub(super) raw: Vec<u8>,
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

    pub(super) fn incompat(&self) -> u32 {
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

    pub(super) fn checksum(&self) -> u32 {
        let sum = crc32c(crc32c(!0, &self.raw[..SUPERBLOCK_CHECKSUM]), &[0; 4]);
        crc32c(sum, &self.raw[SUPERBLOCK_CHECKSUM + 4..SUPERBLOCK])
    }
}
