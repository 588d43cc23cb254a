//! File content: sparse blocks, shared between the live and the stable tree until written.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;

/// Unit of allocation.
pub(super) const BLOCK: u64 = 4096;

type Block = [u8; BLOCK as usize];

/// Blocks that were written; everything else reads as zeros.
#[derive(Clone, Default)]
pub(super) struct Content {
    blocks: BTreeMap<u64, Rc<Block>>,
}

impl Content {
    /// Blocks allocated.
    pub fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Blocks that writing `len` bytes at `offset` would add.
    pub fn missing(&self, offset: u64, len: usize) -> u64 {
        if len == 0 {
            return 0;
        }
        let (first, last) = (offset / BLOCK, (offset + len as u64 - 1) / BLOCK);
        last - first + 1 - self.blocks.range(first..=last).count() as u64
    }

    pub fn read(&self, offset: u64, buffer: &mut [u8]) {
        for_each_piece(offset, buffer.len(), |block, within, at| {
            let place = &mut buffer[at];
            match self.blocks.get(&block) {
                Some(bytes) => place.copy_from_slice(&bytes[within..within + place.len()]),
                None => place.fill(0),
            }
        });
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for_each_piece(offset, data.len(), |block, within, at| {
            let bytes = self.blocks.entry(block).or_insert_with(|| Rc::new([0; BLOCK as usize]));
            let piece = &data[at];
            Rc::make_mut(bytes)[within..within + piece.len()].copy_from_slice(piece);
        });
    }

    /// Cuts off everything from `size` on.
    pub fn truncate(&mut self, size: u64) {
        self.blocks.split_off(&size.div_ceil(BLOCK));
        if let Some(bytes) = self.blocks.get_mut(&(size / BLOCK)) {
            Rc::make_mut(bytes)[(size % BLOCK) as usize..].fill(0);
        }
    }
}

/// Calls `visit` with block number, offset within the block, and the range of the buffer.
fn for_each_piece(offset: u64, len: usize, mut visit: impl FnMut(u64, usize, core::ops::Range<usize>)) {
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let within = (at % BLOCK) as usize;
        let count = (len - done).min(BLOCK as usize - within);
        visit(at / BLOCK, within, done..done + count);
        done += count;
    }
}
