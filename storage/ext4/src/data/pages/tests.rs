use super::*;
use crate::dev::Seed;
use alloc::vec;
use keelson_hal::Instant;

const SIZE: usize = 1024;
const INO: Ino = 12;

/// A read that is under way: what the disk had when it began.
struct Reading {
    ticket: u64,
    logical: u32,
    content: Vec<u8>,
}

/// A file, its disk, and what it should hold.
struct Model {
    pages: Pages,
    content: Vec<u8>,
    /// What the disk has, by block; `None`: nothing was allocated.
    disk: Vec<Option<Vec<u8>>>,
    readings: Vec<Reading>,
    writings: Vec<(Piece, Vec<u8>)>,
    promised: u64,
    random: alloc::rc::Rc<Seed>,
}

impl Model {
    fn below(&self, limit: usize) -> usize {
        self.random.below(limit.max(1) as u64) as usize
    }

    fn write(&mut self) {
        let offset = self.below(self.content.len() + 1);
        let data = vec![self.below(255) as u8 + 1; 1 + self.below(9000)];
        let end = offset + data.len();
        // What the operation sees to: blocks written in part are in memory, unless there is nothing of them.
        for edge in [offset, end - 1] {
            let block = edge / SIZE;
            let has_more = block * SIZE < self.content.len();
            if has_more && !self.pages.is_valid(INO, block as u32) && self.at(block).is_some() {
                self.load(block as u32, 1);
                self.end_reading(self.readings.len() - 1);
            }
        }
        let blocks = self.pages.blocks_of(offset as u64..end as u64);
        let (mut homeless, mut at) = (Vec::new(), blocks.start);
        while let Some(run) = self.pages.next_homeless(INO, at..blocks.end) {
            at = run.end;
            for block in run {
                if self.at(block as usize).is_none() {
                    homeless.push(block..block + 1);
                }
            }
        }
        self.promised += homeless.len() as u64;
        self.pages.write(INO, offset as u64, &data, &homeless, Instant::ZERO);
        self.content.resize(self.content.len().max(end), 0);
        self.content[offset..end].copy_from_slice(&data);
    }

    fn at(&self, block: usize) -> Option<&Vec<u8>> {
        self.disk.get(block).and_then(Option::as_ref)
    }

    fn load(&mut self, logical: u32, count: u32) {
        let ticket = self.pages.begin_load(INO, logical..logical + count);
        let mut content = Vec::new();
        for block in logical..logical + count {
            let here = self.at(block as usize).cloned().unwrap_or_else(|| vec![0; SIZE]);
            content.extend(here);
        }
        let inside = self.content.len().saturating_sub(logical as usize * SIZE);
        if let Some(behind) = content.get_mut(inside..) {
            behind.fill(0);
        }
        self.readings.push(Reading { ticket, logical, content });
    }

    fn end_reading(&mut self, index: usize) {
        let Reading { ticket, logical, content } = self.readings.swap_remove(index);
        self.pages.fill(INO, ticket, logical, &content);
        self.pages.end_load(INO, ticket);
    }

    fn begin_writing(&mut self, from: u32) {
        if !self.writings.is_empty() {
            return;
        }
        for run in self.pages.dirty_runs(INO, from, 64, 4) {
            let count = run.end - run.start;
            let piece = Piece { logical: run.start, count, block: 0, unwritten: false };
            let (content, used) = self.pages.begin_write(INO, &piece);
            assert_eq!(content.len(), count as usize * SIZE);
            self.promised -= used;
            self.writings.push((piece, content));
        }
    }

    fn end_writing(&mut self, arrived: bool) {
        for (piece, content) in core::mem::take(&mut self.writings) {
            for (index, data) in content.chunks(SIZE).enumerate() {
                let block = piece.logical as usize + index;
                self.disk.resize(self.disk.len().max(block + 1), None);
                // What did not arrive was allocated all the same: zeros, or what was there.
                match arrived {
                    true => self.disk[block] = Some(data.to_vec()),
                    false => drop(self.disk[block].get_or_insert_with(|| vec![0; SIZE])),
                }
            }
            self.pages.end_write(INO, &piece, arrived);
            if !arrived {
                // The truth is now what the disk has, where nothing newer is in memory.
                for block in piece.logical..piece.logical + piece.count {
                    let start = block as usize * SIZE;
                    let end = (start + SIZE).min(self.content.len());
                    if start < end && !self.pages.is_valid(INO, block) {
                        let here = self.at(block as usize).cloned().expect("it was allocated");
                        self.content[start..end].copy_from_slice(&here[..end - start]);
                    }
                }
            }
        }
    }

    fn cut(&mut self) {
        if !self.writings.is_empty() {
            return;
        }
        let size = self.below(self.content.len() + 1);
        let block = size / SIZE;
        if !size.is_multiple_of(SIZE) && !self.pages.is_valid(INO, block as u32) && self.at(block).is_some() {
            self.load(block as u32, 1);
            self.end_reading(self.readings.len() - 1);
        }
        self.promised -= self.pages.cut(INO, size as u64, Instant::ZERO);
        self.content.truncate(size);
        self.disk.truncate(size.div_ceil(SIZE));
    }

    fn grow(&mut self) {
        let size = self.content.len();
        let block = size / SIZE;
        if !size.is_multiple_of(SIZE) && !self.pages.is_valid(INO, block as u32) && self.at(block).is_some() {
            self.load(block as u32, 1);
            self.end_reading(self.readings.len() - 1);
        }
        self.pages.zero_rest(INO, size as u64, Instant::ZERO);
        self.content.resize(size + self.below(9000), 0);
    }

    /// Everything that is not needed goes, as if others needed the memory.
    fn evict(&mut self) {
        // One dirty block holds a whole chunk.
        for _ in 0..100 {
            self.end_writing(true);
            self.begin_writing(0);
        }
        self.pages.limit = 0;
        for _ in 0..100 {
            self.pages.make_room((0, 0));
        }
        self.pages.limit = usize::MAX;
    }

    fn check(&mut self) {
        let mut buffer = vec![7; self.content.len()];
        self.pages.copy(INO, 0, &mut buffer);
        for (block, (found, expected)) in buffer.chunks(SIZE).zip(self.content.chunks(SIZE)).enumerate() {
            if self.pages.is_valid(INO, block as u32) {
                assert!(found == expected, "block {block} in memory");
            } else {
                assert!(found.iter().all(|&byte| byte == 0));
                let here = self.at(block).cloned().unwrap_or_else(|| vec![0; SIZE]);
                assert!(here[..expected.len()] == *expected, "block {block} on the disk");
            }
        }
        let Some(file) = self.pages.file(INO) else { return assert_eq!(self.pages.chunks, 0) };
        let count = |bits: fn(&Chunk) -> u64| -> u64 {
            file.chunks.values().map(|chunk| u64::from(bits(chunk).count_ones())).sum()
        };
        assert_eq!((file.reserved, self.pages.reserved), (self.promised, self.promised));
        assert_eq!(count(|chunk| chunk.reserved), self.promised);
        assert_eq!(count(|chunk| chunk.dirty) + count(|chunk| chunk.writing), self.pages.unwritten);
        assert_eq!(count(|chunk| chunk.reserved & !chunk.dirty), 0);
        assert_eq!(file.chunks.len(), self.pages.chunks);
        assert_eq!(file.chunks.values().map(Chunk::bytes).sum::<usize>(), self.pages.bytes);
        let dirty = file.chunks.iter().filter(|(_, chunk)| chunk.dirty != 0).map(|(&index, _)| index);
        assert!(dirty.eq(file.dirty.iter().copied()));
        assert_eq!(file.dirty.is_empty(), file.dirty_since.is_none());
    }
}

#[test]
fn what_is_in_memory_is_never_older_than_what_was_written() {
    for seed in 0..8 {
        let mut model = Model {
            pages: Pages::new(SIZE, usize::MAX),
            content: Vec::new(),
            disk: Vec::new(),
            readings: Vec::new(),
            writings: Vec::new(),
            promised: 0,
            random: Seed::new(seed),
        };
        for _ in 0..400 {
            match model.below(12) {
                0..4 => model.write(),
                4 => model.begin_writing(model.below(100) as u32),
                5 => model.end_writing(true),
                6 if model.below(4) == 0 => model.end_writing(false),
                7 if model.below(3) == 0 => model.cut(),
                7 => model.grow(),
                8 => model.evict(),
                9 => {
                    let (logical, count) = (model.below(150) as u32, 1 + model.below(80) as u32);
                    // What is in memory is not read.
                    if let Some(run) = model.pages.next_missing(INO, logical..logical + count) {
                        model.load(run.start, run.end - run.start);
                    }
                }
                _ if !model.readings.is_empty() => model.end_reading(model.below(model.readings.len())),
                _ => {}
            }
            if model.content.len() > 200_000 {
                model.end_writing(true);
                model.cut();
            }
            model.check();
        }
        model.promised -= model.pages.purge(INO);
        assert_eq!(
            (model.promised, model.pages.bytes, model.pages.unwritten, model.pages.chunks),
            (0, 0, 0, 0)
        );
    }
}

/// A block that is written in part was brought into memory before; it must still be there when its turn comes, however
/// little memory there is.
#[test]
fn the_rest_of_a_block_outlives_the_write_before_it() {
    let mut pages = Pages::new(4096, 64 << 10);
    // The second chunk first: clean, and the first candidate for dropping.
    let ticket = pages.begin_load(INO, 16..17);
    pages.fill(INO, ticket, 16, &[1; 4096]);
    pages.end_load(INO, ticket);
    for (_, chunk) in pages.file_mut(INO).chunks.iter_mut() {
        chunk.used = false;
    }
    pages.write(INO, 0, &[2; (64 << 10) + 100], &[], Instant::ZERO);
    let mut buffer = vec![0; 4096];
    pages.copy(INO, 64 << 10, &mut buffer);
    assert_eq!((buffer[99], buffer[100], buffer[4095]), (2, 1, 1));
}

#[test]
fn the_memory_stays_within_its_limit() {
    let mut pages = Pages::new(4096, 1 << 20);
    for ino in 1..2000 {
        pages.write(ino, 0, &[1; 10_000], &[], Instant::ZERO);
        let piece = Piece { logical: 0, count: 3, block: 0, unwritten: false };
        pages.begin_write(ino, &piece);
        pages.end_write(ino, &piece, true);
        assert!(pages.bytes() <= (1 << 20) + (64 << 10));
    }
    assert!(pages.files.len() < 100 && pages.order.len() < 300);
    // Files that come and go leave nothing.
    for ino in 3000..5000 {
        pages.write(ino, 0, &[1; 100], &[], Instant::ZERO);
        pages.purge(ino);
    }
    assert!(pages.order.len() < 400);
}
