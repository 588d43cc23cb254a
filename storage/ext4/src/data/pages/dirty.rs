//! What must go to the disk: which blocks, in which order, and what becomes of them there.

use super::{Pages, Piece};
use crate::data::chunk::mask;
use crate::engine::Ino;
use alloc::vec::Vec;
use core::ops::Range;
use keelson_hal::Instant;

impl Pages {
    /// Dirty blocks of a file from `from` on, at most `most` of them, as runs: no more than `runs`.
    pub fn dirty_runs(&self, ino: Ino, from: u32, most: u32, runs: usize) -> Vec<Range<u32>> {
        let mut found = Vec::new();
        let Some(file) = self.files.get(&ino) else { return found };
        let Some(&last) = file.dirty.last() else { return found };
        let end = (last + 1).saturating_mul(self.per_chunk);
        let (mut at, mut left) = (from, most);
        while found.len() < runs && left > 0 {
            // Over what is clean in large steps.
            let Some(&chunk) = file.dirty.range(at / self.per_chunk..).next() else { break };
            at = at.max(chunk * self.per_chunk);
            let behind = (chunk + 1).saturating_mul(self.per_chunk);
            let range = at..end.min(behind.saturating_add(left));
            let Some(run) = file.run(range, self.per_chunk, |chunk| chunk.dirty, true) else {
                at = behind;
                continue;
            };
            let count = (run.end - run.start).min(left);
            found.push(run.start..run.start + count);
            left -= count;
            at = run.start + count;
        }
        found
    }

    /// A run of blocks goes to the disk: its content, and how many reserved blocks have got their space by that.
    pub fn begin_write(&mut self, ino: Ino, piece: &Piece) -> (Vec<u8>, u64) {
        let (size, per_chunk) = (self.block_size, self.per_chunk);
        let mut content = Vec::with_capacity(piece.count as usize * size);
        let mut used = 0;
        let Some(file) = self.files.get_mut(&ino) else { return (content, 0) };
        let (mut at, end) = (piece.logical, piece.logical + piece.count);
        while at < end {
            let within = (at % per_chunk) as usize;
            let count = (per_chunk as usize - within).min((end - at) as usize);
            let index = at / per_chunk;
            let wanted = content.len() + count * size;
            if let Some(chunk) = file.chunks.get_mut(&index) {
                let blocks = mask(within..within + count);
                content.extend_from_slice(chunk.get(within * size..(within + count) * size));
                used += u64::from((chunk.reserved & blocks).count_ones());
                chunk.reserved &= !blocks;
                chunk.mapped |= blocks;
                self.unwritten -= u64::from((blocks & chunk.dirty).count_ones());
                self.unwritten += u64::from((blocks & !chunk.writing).count_ones());
                chunk.dirty &= !blocks;
                chunk.writing |= blocks;
                if chunk.dirty == 0 {
                    file.dirty.remove(&index);
                }
            }
            content.resize(wanted, 0);
            at += count as u32;
        }
        file.reserved -= used;
        self.reserved -= used;
        if file.dirty.is_empty() {
            file.dirty_since = None;
        }
        (content, used)
    }

    /// Blocks arrived on the disk, or did not: then what was not written again since is dropped.
    pub fn end_write(&mut self, ino: Ino, piece: &Piece, arrived: bool) {
        let per_chunk = self.per_chunk;
        let Some(file) = self.files.get_mut(&ino) else { return };
        let (mut at, end) = (piece.logical, piece.logical + piece.count);
        // In memory there are zeros behind the end, and so there are on the disk now.
        file.soiled = file.soiled.filter(|block| !(arrived && (at..end).contains(block)));
        while at < end {
            let within = (at % per_chunk) as usize;
            let count = (per_chunk as usize - within).min((end - at) as usize);
            if let Some(chunk) = file.chunks.get_mut(&(at / per_chunk)) {
                let blocks = mask(within..within + count);
                self.unwritten -= u64::from((chunk.writing & blocks).count_ones());
                chunk.writing &= !blocks;
                if !arrived {
                    chunk.valid &= !(blocks & !chunk.dirty);
                }
            }
            at += count as u32;
        }
    }

    /// Dirty blocks that cannot go to the disk are dropped; how many of them were reserved.
    pub fn abandon(&mut self, ino: Ino, piece: &Piece) -> u64 {
        let per_chunk = self.per_chunk;
        let Some(file) = self.files.get_mut(&ino) else { return 0 };
        let (mut at, end, mut freed) = (piece.logical, piece.logical + piece.count, 0);
        while at < end {
            let within = (at % per_chunk) as usize;
            let count = (per_chunk as usize - within).min((end - at) as usize);
            let index = at / per_chunk;
            if let Some(chunk) = file.chunks.get_mut(&index) {
                let blocks = mask(within..within + count);
                self.unwritten -= u64::from((chunk.dirty & blocks).count_ones());
                self.unwritten -= u64::from((chunk.writing & blocks).count_ones());
                freed += u64::from(chunk.forget(blocks));
                if chunk.dirty == 0 {
                    file.dirty.remove(&index);
                }
            }
            at += count as u32;
        }
        file.reserved -= freed;
        self.reserved -= freed;
        if file.dirty.is_empty() {
            file.dirty_since = None;
        }
        freed
    }

    /// The file that has been dirty for longest.
    pub fn oldest_dirty(&mut self) -> Option<(Instant, Ino)> {
        while let Some(&(since, ino)) = self.dirty_order.front() {
            let current = self.files.get(&ino).and_then(|file| file.dirty_since);
            if current == Some(since) {
                return Some((since, ino));
            }
            self.dirty_order.pop_front();
        }
        None
    }

    /// The file is about to be written back: it is asked for no more until it is dirty anew.
    pub fn take_oldest(&mut self) -> Option<Ino> {
        let (_, ino) = self.oldest_dirty()?;
        self.dirty_order.pop_front();
        Some(ino)
    }

    /// Notes again that a file is dirty, which was taken.
    pub fn put_back(&mut self, ino: Ino, now: Instant) {
        if let Some(file) = self.files.get_mut(&ino)
            && !file.dirty.is_empty()
        {
            file.dirty_since = Some(now);
            self.dirty_order.push_back((now, ino));
        }
    }

    /// Files with something dirty, or on its way to the disk.
    pub fn dirty_files(&self) -> Vec<Ino> {
        let dirty = self.files.iter().filter(|(_, file)| file.is_flushing || !file.dirty.is_empty());
        dirty.map(|(&ino, _)| ino).collect()
    }
}
