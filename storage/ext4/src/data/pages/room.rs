//! Memory: chunks are counted when they grow, and what was not used for long goes.

use super::Pages;
use crate::data::chunk::Chunk;
use crate::data::file::File;
use crate::engine::Ino;
use alloc::collections::btree_map::Entry;

/// Chunks looked at, at most, to make room for one.
const LOOKS: usize = 16;

impl Pages {
    /// A chunk, made if there is none, with its memory counted. The caller makes room when all is done.
    pub(super) fn with_chunk(&mut self, ino: Ino, index: u32, change: impl FnOnce(&mut Chunk)) {
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
    }

    /// Drops some of what was not used for long, if there is too much. Not in the middle of a change: the next chunk it
    /// comes to may hold, clean, the rest of a block that is written in part.
    pub(super) fn make_room(&mut self, keep: (Ino, u32)) {
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
}
