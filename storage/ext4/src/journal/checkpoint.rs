//! Checkpointing: blocks of old transactions are written home, so that the log has room.

use crate::engine::{BlockNr, Engine};
use alloc::vec::Vec;

/// Most blocks written home between two commits, so that those do not wait long.
const BATCH: usize = 256;

/// Writes that make room in the log.
pub struct Batch {
    /// Blocks with their content as of the last commit.
    pub writes: Vec<(BlockNr, Vec<u8>)>,
    /// Blocks of the oldest transaction have changed since: the running one must be committed first.
    pub needs_commit: bool,
}

impl Engine {
    /// Forgets transactions that are home. A block that was logged again since needs none for the older one.
    pub fn forget_home(&mut self) {
        let mut is_moved = false;
        while let Some(oldest) = self.journal.logged.front_mut() {
            let sequence = oldest.sequence;
            let cache = &self.cache;
            oldest
                .blocks
                .retain(|&block| cache.peek(block).is_some_and(|slot| slot.logged == Some(sequence)));
            if !oldest.blocks.is_empty() {
                break;
            }
            self.journal.logged.pop_front();
            is_moved = true;
        }
        if is_moved {
            self.move_tail();
        }
    }

    /// The next blocks to write, all of the oldest transaction that is not home.
    pub fn next_checkpoint(&mut self) -> Batch {
        self.forget_home();
        let mut batch = Batch { writes: Vec::new(), needs_commit: false };
        for &block in self.journal.logged.front().map_or(&[][..], |oldest| &oldest.blocks) {
            let Some(slot) = self.cache.peek(block) else { continue };
            if slot.running || slot.committing || slot.given_up {
                batch.needs_commit = true;
            } else if batch.writes.len() < BATCH {
                batch.writes.push((block, slot.data.to_vec()));
            }
        }
        batch.writes.sort_unstable_by_key(|(block, _)| *block);
        batch
    }

    /// The writes of a batch have ended well; they are not flushed yet.
    pub fn finish_checkpoint(&mut self, blocks: &[BlockNr]) {
        let Some(sequence) = self.journal.logged.front().map(|oldest| oldest.sequence) else { return };
        for &block in blocks {
            // Only this task commits, so the block was not logged again meanwhile.
            if let Some(slot) = self.cache.get(block)
                && slot.logged == Some(sequence)
            {
                slot.logged = None;
            }
        }
        self.counters.checkpoint_blocks += blocks.len() as u64;
        if let Some(log) = &mut self.journal.log {
            log.awaits_flush = true;
        }
    }

    fn move_tail(&mut self) {
        let Some(log) = &mut self.journal.log else { return };
        log.move_tail(match self.journal.logged.front() {
            Some(oldest) => (oldest.start, oldest.sequence),
            None => (log.head, self.journal.committed.wrapping_add(1)),
        });
    }
}
