//! The cached content of all files, and which of it may be dropped.

use super::chunk::{CHUNK, Chunk, mask};
use super::file::{File, Load};
use crate::engine::Ino;
use crate::engine::cache::NumberMap;
use crate::stats::DataCounters;
use alloc::collections::VecDeque;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::ops::Range;
use keelson_hal::Instant;

/// Chunks looked at, at most, to make room for one.
const LOOKS: usize = 16;

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
        self.file_mut(ino).spoil(all);
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
            rest = behind;
            at += count as u32;
        }
    }

    /// A chunk, made if there is none, with its memory counted.
    fn with_chunk(&mut self, ino: Ino, index: u32, change: impl FnOnce(&mut Chunk)) {
        let file = self.files.entry(ino).or_default();
        let (before, after);
        match file.chunks.entry(index) {
            Entry::Occupied(mut entry) => {
                let chunk = entry.get_mut();
                before = chunk.bytes();
                chunk.used = true;
                change(chunk);
                after = chunk.bytes();
            }
            Entry::Vacant(entry) => {
                self.next_ticket += 1;
                let ticket = self.next_ticket;
                let chunk = entry.insert(Chunk::new(ticket));
                before = 0;
                change(chunk);
                after = chunk.bytes();
                self.order.push_back((ino, index, ticket));
                self.chunks += 1;
            }
        }
        self.bytes = self.bytes + after - before;
        if self.bytes > self.limit || self.order.len() > 2 * self.chunks + 64 {
            self.make_room((ino, index));
        }
    }

    /// Drops some of what was not used for long.
    fn make_room(&mut self, keep: (Ino, u32)) {
        if self.order.len() > 2 * self.chunks + 64 {
            let Pages { order, files, .. } = self;
            order.retain(|&(ino, index, ticket)| {
                let chunk = files.get(&ino).and_then(|file| file.chunks.get(&index));
                chunk.is_some_and(|chunk| chunk.ticket == ticket)
            });
        }
        for _ in 0..LOOKS {
            if self.bytes <= self.limit {
                return;
            }
            let Some((ino, index, ticket)) = self.order.pop_front() else { return };
            let Some(file) = self.files.get_mut(&ino) else { continue };
            let Some(chunk) = file.chunks.get_mut(&index).filter(|chunk| chunk.ticket == ticket) else {
                continue;
            };
            if chunk.used || !chunk.is_clean() || (ino, index) == keep {
                chunk.used = false;
                self.order.push_back((ino, index, ticket));
                continue;
            }
            self.bytes -= chunk.bytes();
            self.chunks -= 1;
            self.counters.dropped += 1;
            file.chunks.remove(&index);
            self.forget_idle(ino);
        }
    }

    /// Forgets a file of which nothing is known any more.
    pub fn forget_idle(&mut self, ino: Ino) {
        if self.files.get(&ino).is_some_and(File::is_idle) {
            self.files.remove(&ino);
        }
    }

    /// The content of a file ends at byte `size` now; the blocks of the reservations that are not needed any more.
    pub fn cut(&mut self, ino: Ino, size: u64, now: Instant) -> u64 {
        let keep = self.blocks_of(0..size).end;
        let (first, within) = (keep / self.per_chunk, (keep % self.per_chunk) as usize);
        let Some(file) = self.files.get_mut(&ino) else { return 0 };
        file.loads.iter_mut().for_each(|load| load.spoiled = true);
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
}

impl Pages {
    /// Files with something dirty, or on its way to the disk.
    pub fn dirty_files(&self) -> Vec<Ino> {
        let dirty = self.files.iter().filter(|(_, file)| file.is_flushing || !file.dirty.is_empty());
        dirty.map(|(&ino, _)| ino).collect()
    }
}

impl Pages {
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
