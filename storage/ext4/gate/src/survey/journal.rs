//! Blocks of the journal (Linux `Documentation/filesystems/ext4/journal.rst`; big-endian).

use super::{Part, Survey, Target};
use crate::disk::Pages;

/// Magic number of blocks that describe.
pub(super) const MAGIC: u32 = 0xc03b_3998;

/// The field of 32 bits at `offset`, big-endian.
pub(super) fn be32(raw: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes([raw[offset], raw[offset + 1], raw[offset + 2], raw[offset + 3]])
}

impl Survey {
    /// Notes the journal's superblock and every block of it that was used.
    pub(super) fn read_journal(&mut self, pages: &Pages) {
        let size = self.geometry.block_size;
        for (index, &block) in self.journal.iter().enumerate() {
            let position = block * size as u64;
            let raw = pages.bytes(position, size);
            let part = match (index, be32(&raw, 0) == MAGIC) {
                (0, _) => Part::JournalSuperblock,
                (_, true) => Part::JournalRecord,
                (_, false) if raw.iter().any(|&byte| byte != 0) => Part::JournalCopy,
                _ => continue,
            };
            self.targets.push(Target { part, position, length: size });
        }
    }
}
