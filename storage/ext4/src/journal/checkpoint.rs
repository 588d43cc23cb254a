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
    /// Forgets transactions that are home, and finds the next blocks to write.
    pub fn next_checkpoint(&mut self) -> Batch {
        let mut batch = Batch { writes: Vec::new(), needs_commit: false };
        while let Some(oldest) = self.journal.logged.front_mut() {
            let sequence = oldest.sequence;
            let is_pending = |engine: &crate::engine::cache::Cache, block: BlockNr| {
                engine.peek(block).is_some_and(|slot| slot.logged == Some(sequence))
            };
            oldest.blocks.retain(|&block| is_pending(&self.cache, block));
            if oldest.blocks.is_empty() {
                self.journal.logged.pop_front();
                self.move_tail();
                continue;
            }
            for &block in &oldest.blocks {
                let Some(slot) = self.cache.peek(block) else { continue };
                if slot.running || slot.committing {
                    batch.needs_commit = true;
                } else if batch.writes.len() < BATCH {
                    batch.writes.push((block, slot.data.to_vec()));
                }
            }
            break;
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
            log.tail_awaits_flush = true;
        }
    }

    fn move_tail(&mut self) {
        let Some(log) = &mut self.journal.log else { return };
        log.tail = match self.journal.logged.front() {
            Some(oldest) => (oldest.start, oldest.sequence),
            None => (log.head, self.journal.committed.wrapping_add(1)),
        };
    }
}
