//! A piece of a file's content: up to 64 KiB with a few bits for each block.

use alloc::vec::Vec;
use core::ops::Range;

/// Most bytes of a chunk: with the smallest blocks (1 KiB) it has as many as a word has bits.
pub const CHUNK: usize = 64 << 10;

/// Blocks of a chunk, one bit each. A block can be several of these at once.
#[derive(Default)]
pub struct Chunk {
    /// Content of its first blocks; as much as was used.
    data: Vec<u8>,
    /// `data` has the block's content.
    pub valid: u64,
    /// Must be written to the disk.
    pub dirty: u64,
    /// Space was reserved for it that it has not got yet.
    pub reserved: u64,
    /// It has a place on the disk.
    pub mapped: u64,
    /// On its way to the disk: the content must stay, because the disk is not to be read there yet.
    pub writing: u64,
    /// Used since the cache last looked for one to drop.
    pub used: bool,
    /// Tells it apart from a chunk that was in the same place before.
    pub ticket: u64,
}

/// The bits of blocks `range` of a chunk.
pub fn mask(range: Range<usize>) -> u64 {
    let length = range.len();
    if length >= 64 { !0 } else { ((1 << length) - 1) << range.start }
}

impl Chunk {
    /// A chunk of which nothing is known.
    pub fn new(ticket: u64) -> Chunk {
        Chunk { ticket, used: true, ..Chunk::default() }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.data.capacity()
    }

    /// True when it could be dropped.
    pub fn is_clean(&self) -> bool {
        (self.dirty | self.writing | self.reserved) == 0
    }

    /// Content of a range of bytes, as far as there is any.
    pub fn get(&self, range: Range<usize>) -> &[u8] {
        self.data.get(range).unwrap_or(&[])
    }

    /// Puts bytes at `at`. Blocks that hold them partly and are not valid are zero around them.
    pub fn put(&mut self, at: usize, bytes: &[u8], block_size: usize) {
        let end = at + bytes.len();
        let blocks = at / block_size..end.div_ceil(block_size);
        for edge in [blocks.start, blocks.end - 1] {
            let partly = edge * block_size < at || end < (edge + 1) * block_size;
            if partly && self.valid & 1 << edge == 0 {
                self.zero(edge * block_size..(edge + 1) * block_size);
            }
        }
        self.grow(blocks.end * block_size);
        if self.data.len() == at {
            self.data.extend_from_slice(bytes);
            // The last block is whole, or was made zero above and is part of `data`.
        } else {
            if self.data.len() < end {
                self.data.resize(end.next_multiple_of(block_size), 0);
            }
            self.data[at..end].copy_from_slice(bytes);
        }
        self.valid |= mask(blocks);
    }

    /// Makes bytes zero.
    pub fn zero(&mut self, range: Range<usize>) {
        self.grow(range.end);
        let filled = self.data.len().min(range.end);
        if range.start < filled {
            self.data[range.start..filled].fill(0);
        }
        if self.data.len() < range.end {
            self.data.resize(range.end, 0);
        }
    }

    /// Forgets blocks, whatever they were; how many of them were reserved.
    pub fn forget(&mut self, blocks: u64) -> u32 {
        let reserved = (self.reserved & blocks).count_ones();
        for bits in
            [&mut self.valid, &mut self.dirty, &mut self.reserved, &mut self.mapped, &mut self.writing]
        {
            *bits &= !blocks;
        }
        reserved
    }

    /// Room for `length` bytes, by doubling: small files stay small, and large ones do not copy often.
    fn grow(&mut self, length: usize) {
        if length > self.data.capacity() {
            let room = length.next_power_of_two().min(CHUNK).max(length);
            self.data.reserve_exact(room - self.data.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partly_written_blocks_are_zero_around() {
        let mut chunk = Chunk::default();
        chunk.put(1500, &[7; 1000], 1024);
        assert_eq!(chunk.valid, 0b110);
        assert!(chunk.get(1024..1500).iter().all(|&byte| byte == 0));
        assert!(chunk.get(1500..2500).iter().all(|&byte| byte == 7));
        assert!(chunk.get(2500..3072).iter().all(|&byte| byte == 0));
        chunk.put(1400, &[8; 10], 1024);
        assert_eq!(chunk.get(1399..1411), [0, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 0]);
        assert!(chunk.get(1500..2500).iter().all(|&byte| byte == 7));
        assert!(chunk.bytes() <= 4096);
        // What was forgotten does not come back.
        chunk.forget(0b100);
        chunk.put(3000, &[9; 24], 1024);
        assert!(chunk.get(2048..3000).iter().all(|&byte| byte == 0));
        chunk.put(3072, &[5; 1024], 1024);
        assert_eq!(chunk.valid, 0b1110);
        assert_eq!(mask(0..64), !0);
    }
}
