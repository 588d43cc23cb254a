//! What a disk says of itself: the page of IDENTIFY DEVICE (ATA8-ACS, section 7.16).

use super::command::PAGE_LEN;
use crate::InitError;
use alloc::string::String;
use alloc::vec::Vec;
use keelson_hal::SECTOR_SIZE;

/// Largest logical block that is known here.
const LARGEST_BLOCK: u64 = 4096;

/// Words of the page.
mod word {
    use core::ops::Range;

    pub const CONFIGURATION: usize = 0;
    pub const MODEL: Range<usize> = 27..47;
    pub const ABILITIES: usize = 49;
    pub const DEPTH: usize = 75;
    pub const SATA: usize = 76;
    pub const SUPPORTED: usize = 82;
    pub const SUPPORTED_TOO: usize = 83;
    pub const ENABLED: usize = 85;
    pub const BLOCKS: usize = 100;
    pub const BLOCK_SIZE: usize = 106;
    pub const BLOCK_WORDS: usize = 117;
    pub const SUM: usize = 255;
}

/// A disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) model: String,
    /// Sectors of 512 bytes.
    pub(super) sectors: u64,
    /// Bytes of a logical block, and of a block of the medium.
    pub(super) block: usize,
    pub(super) physical_block: usize,
    pub(super) write_cache: bool,
    /// Its cache is flushed by the command of 48-bit addresses.
    pub(super) flushes_ext: bool,
    /// Commands that it queues; 0 when it queues none.
    pub(super) depth: u16,
}

impl Identity {
    /// Reads the page.
    ///
    /// # Errors
    ///
    /// Its checksum is wrong, or it is a disk that this driver has no commands for.
    pub(super) fn read(byte: impl Fn(usize) -> u8) -> Result<Identity, InitError> {
        let word = |at: usize| u16::from_le_bytes([byte(at * 2), byte(at * 2 + 1)]);
        let number = |at: usize, words: usize| {
            (0..words).fold(0, |number, index| number | u64::from(word(at + index)) << (16 * index))
        };
        let bad = |field, value: u16| Err(InitError::BadConfig { field, value: value.into() });
        // With a signature all bytes add up to zero.
        let sum = (0..PAGE_LEN).fold(0_u8, |sum, at| sum.wrapping_add(byte(at)));
        if word(word::SUM) & 0xff == 0xa5 && sum != 0 {
            return bad("checksum of IDENTIFY", sum.into());
        }
        let configuration = word(word::CONFIGURATION);
        if configuration & 1 << 15 != 0 {
            return bad("IDENTIFY word 0, no ATA device", configuration);
        }
        let abilities = word(word::ABILITIES);
        if abilities & 3 << 8 != 3 << 8 {
            return bad("IDENTIFY word 49, no DMA or no block numbers", abilities);
        }
        let too = word(word::SUPPORTED_TOO);
        // The two upper bits of some words say that the others mean something.
        if too >> 14 != 1 || too & 1 << 10 == 0 {
            return bad("IDENTIFY word 83, no 48-bit addresses", too);
        }
        let size = word(word::BLOCK_SIZE);
        let size = if size >> 14 == 1 { size } else { 0 };
        let block = if size & 1 << 12 != 0 { number(word::BLOCK_WORDS, 2) * 2 } else { SECTOR_SIZE as u64 };
        if !block.is_power_of_two() || !(SECTOR_SIZE as u64..=LARGEST_BLOCK).contains(&block) {
            return Err(InitError::BadConfig { field: "bytes of a logical block", value: block });
        }
        let shift = if size & 1 << 13 != 0 { size & 0xf } else { 0 };
        let blocks = number(word::BLOCKS, 3);
        let sata = word(word::SATA);
        let queues = !matches!(sata, 0 | 0xffff) && sata & 1 << 8 != 0;
        Ok(Identity {
            model: text(word::MODEL.map(&word).collect()),
            sectors: blocks * (block / SECTOR_SIZE as u64),
            block: block as usize,
            physical_block: (block as usize) << shift,
            write_cache: word(word::SUPPORTED) & word(word::ENABLED) & 1 << 5 != 0,
            flushes_ext: too & 1 << 13 != 0,
            depth: if queues { (word(word::DEPTH) & 0x1f) + 1 } else { 0 },
        })
    }
}

/// Text of a disk: the first character of each word is its upper byte.
fn text(words: Vec<u16>) -> String {
    let characters = words.into_iter().flat_map(u16::to_be_bytes).map(char::from);
    let text: String = characters.filter(|character| matches!(character, ' '..='~')).collect();
    String::from(text.trim())
}
