//! The cached content of all files. What goes to the disk is in `dirty`, what comes from there in `loads`, and what
//! is dropped in `room`.

mod dirty;
mod loads;
mod room;

use super::chunk::{CHUNK, Chunk, mask};
use super::file::File;
use crate::engine::Ino;
use crate::engine::cache::NumberMap;
use crate::stats::DataCounters;
use alloc::collections::VecDeque;
use core::ops::Range;
use keelson_hal::Instant;

/// Content in memory. Nothing in here waits.
pub struct Pages {
    files: NumberMap<Ino, File>,
    /// Candidates for dropping, in the order in which they are looked at; those that are gone stay until then.
    order: VecDeque<(Ino, u32, u64)>,
    /// Files that became dirty, oldest first; those that are clean again stay until then.
    dirty_order: VecDeque<(Instant, Ino)>,
    chunks: usize,
    bytes: usize,
    limit: usize,
    /// Dirty blocks, and blocks on their way to the disk; those that are both count twice.
    unwritten: u64,
    reserved: u64,
    block_size: usize,
    per_chunk: u32,
    /// Counts chunks, files and reads.
    next_ticket: u64,
    /// What happened.
    pub counters: DataCounters,
}

/// A run of blocks that goes to the disk, or comes from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First block within the file.
    pub logical: u32,
    /// How many.
    pub count: u32,
    /// First block of the filesystem.
    pub block: u64,
    /// It must be marked as written afterwards.
    pub unwritten: bool,
}

impl Pages {
    /// An empty cache of at most about `limit` bytes.
    pub fn new(block_size: usize, limit: usize) -> Pages {
        Pages {
            files: NumberMap::default(),
            order: VecDeque::new(),
            dirty_order: VecDeque::new(),
            chunks: 0,
            bytes: 0,
            limit,
            unwritten: 0,
            reserved: 0,
            block_size,
            per_chunk: (CHUNK / block_size) as u32,
            next_ticket: 1,
            counters: DataCounters::default(),
        }
    }

    /// What is known of a file.
    pub fn file(&self, ino: Ino) -> Option<&File> {
        self.files.get(&ino)
    }

    /// The same, to be changed.
    pub fn existing(&mut self, ino: Ino) -> Option<&mut File> {
        self.files.get_mut(&ino)
    }

    /// A file of which something will be known.
    pub fn file_mut(&mut self, ino: Ino) -> &mut File {
        let next = &mut self.next_ticket;
        self.files.entry(ino).or_insert_with(|| {
            *next += 1;
            File { birth: *next, ..File::default() }
        })
    }

    /// Blocks of a chunk.
    pub fn per_chunk(&self) -> u32 {
        self.per_chunk
    }

    /// Bytes of memory in use.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that are not on the disk yet.
    pub fn unwritten_bytes(&self) -> usize {
        self.unwritten as usize * self.block_size
    }

    /// Blocks reserved.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Most bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The blocks that hold these bytes.
    pub fn blocks_of(&self, bytes: Range<u64>) -> Range<u32> {
        let size = self.block_size as u64;
        (bytes.start / size) as u32..bytes.end.div_ceil(size) as u32
    }

    /// The first run of blocks in `range` that are not in memory.
    pub fn next_missing(&self, ino: Ino, range: Range<u32>) -> Option<Range<u32>> {
        match self.files.get(&ino) {
            Some(file) => file.run(range, self.per_chunk, |chunk| chunk.valid, false),
            None => Some(range).filter(|range| !range.is_empty()),
        }
    }

    /// The first run of blocks in `range` of which it is not known that they have space, or a reservation.
    pub fn next_homeless(&self, ino: Ino, range: Range<u32>) -> Option<Range<u32>> {
        match self.files.get(&ino) {
            Some(file) => file.run(range, self.per_chunk, |chunk| chunk.reserved | chunk.mapped, false),
            None => Some(range).filter(|range| !range.is_empty()),
        }
    }

    /// True when a block is in memory.
    pub fn is_valid(&self, ino: Ino, block: u32) -> bool {
        self.next_missing(ino, block..block + 1).is_none()
    }

    /// True when a file ends in this block and the disk has something else than zeros behind that.
    pub fn is_soiled(&self, ino: Ino, block: u32) -> bool {
        self.files.get(&ino).is_some_and(|file| file.soiled == Some(block))
    }

    /// Copies content from byte `offset` on; what is not in memory is zero.
    pub fn copy(&mut self, ino: Ino, offset: u64, buffer: &mut [u8]) {
        let Some(file) = self.files.get_mut(&ino) else { return buffer.fill(0) };
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let within = (at % CHUNK as u64) as usize;
            let count = (CHUNK - within).min(buffer.len() - done);
            let target = &mut buffer[done..done + count];
            done += count;
            let Some(chunk) = file.chunks.get_mut(&((at / CHUNK as u64) as u32)) else {
                target.fill(0);
                continue;
            };
            chunk.used = true;
            let blocks = within / self.block_size..(within + count).div_ceil(self.block_size);
            let all = mask(blocks.clone());
            let content = chunk.get(within..within + count);
            if chunk.valid & all == all && content.len() == count {
                target.copy_from_slice(content);
                continue;
            }
            for block in blocks {
                let start = (block * self.block_size).max(within);
                let end = ((block + 1) * self.block_size).min(within + count);
                let target = &mut target[start - within..end - within];
                match chunk.get(start..end) {
                    content if chunk.valid & 1 << block != 0 && content.len() == target.len() => {
                        target.copy_from_slice(content);
                    }
                    _ => target.fill(0),
                }
            }
        }
    }

    /// Takes new content. Its blocks have space or a reservation now: those in `homeless`, which are in order, got the
    /// reservation, all others had one or the other.
    pub fn write(&mut self, ino: Ino, offset: u64, data: &[u8], homeless: &[Range<u32>], now: Instant) {
        let all = self.blocks_of(offset..offset + data.len() as u64);
        self.file_mut(ino).spoil(all.clone());
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let within = (at % CHUNK as u64) as usize;
            let count = (CHUNK - within).min(data.len() - done);
            let index = (at / CHUNK as u64) as u32;
            let block_size = self.block_size;
            self.with_chunk(ino, index, |chunk| chunk.put(within, &data[done..done + count], block_size));
            let blocks = within / block_size..(within + count).div_ceil(block_size);
            self.settle(ino, index, mask(blocks), homeless, now);
            done += count;
        }
        for index in all.start / self.per_chunk..all.end.div_ceil(self.per_chunk) {
            self.make_room((ino, index));
        }
    }

    /// Makes the rest of a block in memory zero from byte `offset` on, and dirty.
    pub fn zero_rest(&mut self, ino: Ino, offset: u64, now: Instant) {
        let within = (offset % CHUNK as u64) as usize;
        let index = (offset / CHUNK as u64) as u32;
        let block = within / self.block_size;
        let end = (block + 1) * self.block_size;
        if self.is_valid(ino, self.blocks_of(offset..offset + 1).start)
            && !within.is_multiple_of(self.block_size)
        {
            self.with_chunk(ino, index, |chunk| chunk.zero(within..end));
            self.settle(ino, index, 1 << block, &[], now);
            self.make_room((ino, index));
        }
    }

    /// A block in memory is to be written again, as it is. It has space.
    pub fn touch(&mut self, ino: Ino, block: u32, now: Instant) {
        if self.is_valid(ino, block) {
            self.settle(ino, block / self.per_chunk, 1 << (block % self.per_chunk), &[], now);
        }
    }

    /// Blocks of a chunk got new content.
    fn settle(&mut self, ino: Ino, index: u32, blocks: u64, homeless: &[Range<u32>], now: Instant) {
        let first = index * self.per_chunk;
        let Some(file) = self.files.get_mut(&ino) else { return };
        let Some(chunk) = file.chunks.get_mut(&index) else { return };
        let mut reserved = 0;
        for range in homeless {
            let start = range.start.clamp(first, first + self.per_chunk) - first;
            let end = range.end.clamp(first, first + self.per_chunk) - first;
            if start < end {
                reserved |= mask(start as usize..end as usize) & blocks;
            }
        }
        chunk.reserved |= reserved;
        chunk.mapped |= blocks & !chunk.reserved;
        let fresh = u64::from((blocks & !chunk.dirty).count_ones());
        chunk.dirty |= blocks;
        file.reserved += u64::from(reserved.count_ones());
        self.reserved += u64::from(reserved.count_ones());
        self.unwritten += fresh;
        file.dirty.insert(index);
        if file.dirty_since.is_none() {
            file.dirty_since = Some(now);
            self.dirty_order.push_back((now, ino));
        }
    }

    /// The content of a file ends at byte `size` now; the blocks of the reservations that are not needed any more.
    pub fn cut(&mut self, ino: Ino, size: u64, now: Instant) -> u64 {
        let keep = self.blocks_of(0..size).end;
        let (first, within) = (keep / self.per_chunk, (keep % self.per_chunk) as usize);
        let Some(file) = self.files.get_mut(&ino) else { return 0 };
        file.loads.iter_mut().for_each(|load| load.spoiled = true);
        // The rest of the last block is still on the disk.
        file.soiled = (!size.is_multiple_of(self.block_size as u64)).then(|| keep - 1);
        let behind = file.chunks.split_off(&first);
        let mut freed = 0;
        for (index, mut chunk) in behind {
            let gone = if index == first { mask(within..self.per_chunk as usize) } else { !0 };
            self.unwritten -= u64::from((chunk.dirty & gone).count_ones());
            self.unwritten -= u64::from((chunk.writing & gone).count_ones());
            freed += u64::from(chunk.forget(gone));
            if chunk.dirty == 0 {
                file.dirty.remove(&index);
            }
            if chunk.valid | chunk.reserved == 0 {
                self.bytes -= chunk.bytes();
                self.chunks -= 1;
            } else {
                file.chunks.insert(index, chunk);
            }
        }
        file.reserved -= freed;
        self.reserved -= freed;
        if file.dirty.is_empty() {
            file.dirty_since = None;
        }
        self.zero_rest(ino, size, now);
        freed
    }

    /// The file is gone; the blocks of its reservations.
    pub fn purge(&mut self, ino: Ino) -> u64 {
        let Some(file) = self.files.remove(&ino) else { return 0 };
        for chunk in file.chunks.values() {
            self.bytes -= chunk.bytes();
            self.chunks -= 1;
            self.unwritten -= u64::from(chunk.dirty.count_ones() + chunk.writing.count_ones());
        }
        self.reserved -= file.reserved;
        if file.is_flushing {
            // Its task looks here once more.
            self.next_ticket += 1;
            let (rounds, birth) = (file.rounds, self.next_ticket);
            let successor = File { is_flushing: true, rounds, birth, ..File::default() };
            self.files.insert(ino, successor);
        }
        file.reserved
    }

    /// Reserved blocks of a file from block `from` on.
    pub fn reserved_from(&self, ino: Ino, from: u32) -> u64 {
        let Some(file) = self.files.get(&ino).filter(|file| file.reserved > 0) else { return 0 };
        let first = from / self.per_chunk;
        let count = |(&index, chunk): (&u32, &Chunk)| {
            let within = if index == first { (from % self.per_chunk) as usize } else { 0 };
            u64::from((chunk.reserved & mask(within..self.per_chunk as usize)).count_ones())
        };
        file.chunks.range(first..).map(count).sum()
    }
}

#[cfg(test)]
mod tests;
