//! What comes from the disk: it must not replace what was written meanwhile.

use super::Pages;
use crate::data::chunk::mask;
use crate::data::file::Load;
use crate::engine::Ino;
use core::ops::Range;

impl Pages {
    /// Starts a read of blocks from the disk; its number.
    pub fn begin_load(&mut self, ino: Ino, blocks: Range<u32>) -> u64 {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.file_mut(ino).loads.push(Load { ticket, blocks, spoiled: false });
        ticket
    }

    /// A read ended, or was given up.
    pub fn end_load(&mut self, ino: Ino, ticket: u64) {
        if let Some(file) = self.files.get_mut(&ino) {
            file.loads.retain(|load| load.ticket != ticket);
        }
        self.forget_idle(ino);
    }

    /// Takes what a read brought, unless the file has changed since. What is here is newer and stays.
    pub fn fill(&mut self, ino: Ino, ticket: u64, logical: u32, data: &[u8]) {
        let Some(file) = self.files.get(&ino) else { return };
        if file.loads.iter().all(|load| load.ticket != ticket || load.spoiled) {
            return;
        }
        let (size, per_chunk) = (self.block_size, self.per_chunk);
        let mut rest = data;
        let mut at = logical;
        while !rest.is_empty() {
            let within = (at % per_chunk) as usize;
            let count = (per_chunk as usize - within).min(rest.len() / size);
            if count == 0 {
                return;
            }
            let (piece, behind) = rest.split_at(count * size);
            self.with_chunk(ino, at / per_chunk, |chunk| {
                let blocks = mask(within..within + count);
                if chunk.valid & blocks == 0 {
                    chunk.put(within * size, piece, size);
                } else {
                    for (index, content) in piece.chunks(size).enumerate() {
                        if chunk.valid & 1 << (within + index) == 0 {
                            chunk.put((within + index) * size, content, size);
                        }
                    }
                }
                chunk.mapped |= blocks & !chunk.reserved;
            });
            self.make_room((ino, at / per_chunk));
            rest = behind;
            at += count as u32;
        }
    }
}
