//! A piece of a file's content: up to 64 KiB with a few bits for each block.

use alloc::vec::Vec;
use core::ops::Range;

/// Most bytes of a chunk: with the smallest blocks (1 KiB) it has as many as a word has bits.
pub const CHUNK: usize = 64 << 10;

/// Blocks of a chunk, one bit each. A block can be several of these at once.
#[derive(Default)]
pub struct Chunk {
    /// Content of the blocks from `base` on; as much as was used.
    data: Vec<u8>,
    /// Where `data` begins in the chunk, the start of a block: one block alone does not take room for those before it.
    base: usize,
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
        let Some(start) = range.start.checked_sub(self.base) else { return &[] };
        self.data.get(start..range.end - self.base).unwrap_or(&[])
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
        self.reach(blocks.start * block_size..blocks.end * block_size);
        let within = at - self.base;
        if self.data.len() == within {
            self.data.extend_from_slice(bytes);
            // The last block is whole, or was made zero above and is part of `data`.
        } else {
            let end = end - self.base;
            if self.data.len() < end {
                self.data.resize(end.next_multiple_of(block_size), 0);
            }
            self.data[within..end].copy_from_slice(bytes);
        }
        self.valid |= mask(blocks);
    }

    /// Makes bytes zero.
    pub fn zero(&mut self, range: Range<usize>) {
        self.reach(range.clone());
        let (start, end) = (range.start - self.base, range.end - self.base);
        let filled = self.data.len().min(end);
        if start < filled {
            self.data[start..filled].fill(0);
        }
        if self.data.len() < end {
            self.data.resize(end, 0);
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

    /// Makes room for bytes `range`, by doubling: small files stay small, and large ones do not copy often. `data`
    /// begins at or before them then.
    fn reach(&mut self, range: Range<usize>) {
        if self.data.is_empty() {
            self.base = range.start;
        }
        if range.start < self.base {
            let base = range.start.min(self.base.saturating_sub(self.data.len()));
            let more = self.base - base;
            let mut data = Vec::with_capacity(more + self.data.len());
            data.resize(more, 0);
            data.extend_from_slice(&self.data);
            (self.data, self.base) = (data, base);
        }
        let length = range.end - self.base;
        if length > self.data.capacity() {
            let room = length.next_power_of_two().min(CHUNK - self.base).max(length);
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

    #[test]
    fn a_block_alone_takes_room_for_itself() {
        let mut chunk = Chunk::default();
        chunk.put(60 << 10, &[1; 4096], 4096);
        assert_eq!(chunk.bytes(), 4096);
        assert_eq!(chunk.get(60 << 10..64 << 10), [1; 4096]);
        assert_eq!(chunk.get(0..4096), []);
        assert_eq!(chunk.get(56 << 10..64 << 10), []);
        // Backwards it grows by doubling too, and what was there stays.
        for block in (0..15).rev() {
            chunk.put(block * 4096, &[block as u8 + 2; 4096], 4096);
            assert_eq!(chunk.get(60 << 10..64 << 10), [1; 4096]);
            assert_eq!(chunk.get(block * 4096..(block + 1) * 4096), [block as u8 + 2; 4096]);
        }
        assert_eq!((chunk.bytes(), chunk.valid), (CHUNK, 0xffff));
        // In the middle of a block that is not there.
        let mut chunk = Chunk::default();
        chunk.put((8 << 10) + 10, &[3; 10], 4096);
        chunk.put(4096 + 4000, &[4; 96], 4096);
        assert_eq!(chunk.get(8 << 10..(8 << 10) + 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3]);
        assert_eq!(chunk.get((8 << 10) - 97..(8 << 10) - 94), [0, 4, 4]);
        assert_eq!(chunk.bytes(), 8192);
    }
}
