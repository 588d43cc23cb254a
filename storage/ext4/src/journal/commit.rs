//! Committing: the running transaction becomes a part of the log.

use super::format::{ESCAPED, MAGIC, Tag};
use super::{Journal, Logged, Sequence, Transaction};
use crate::engine::{BlockNr, Engine, Kind};
use crate::halt::Halt;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_volume::VolumeError;

/// A transaction on its way to the disk.
pub struct Frozen {
    /// Its number.
    pub sequence: Sequence,
    /// To be written first, in any order: copies of its blocks in the log, or without one its blocks at home.
    pub writes: Vec<(BlockNr, Vec<u8>)>,
    /// To be written when those are safe; what ends the transaction.
    pub commit: Option<(BlockNr, Vec<u8>)>,
    /// The start of the log that is safe once `writes` are.
    pub tail: Option<(u32, Sequence)>,
    blocks: Vec<BlockNr>,
    revoked: Vec<BlockNr>,
    freed: Vec<(BlockNr, u32)>,
    start: u32,
    end: u32,
}

impl Engine {
    /// Takes the running transaction away and starts the next one. `None` when there is nothing in it.
    ///
    /// # Errors
    ///
    /// [`Halt::Need`] for a block that checksums are kept in: read it and try again.
    pub fn freeze(&mut self, wall: Duration) -> Result<Option<Frozen>, Halt> {
        if self.journal.running.is_empty() {
            return Ok(None);
        }
        self.seal_all()?;
        if !self.journal.has_room_for_running() {
            // An operation changed more than it may. Better no commit than one over the tail of the log.
            log::error!(target: "ext4", "a transaction does not fit into the journal");
            return Err(Halt::Fail(VolumeError::Io));
        }
        let next =
            Transaction { sequence: self.journal.running.sequence.wrapping_add(1), ..Transaction::default() };
        let running = core::mem::replace(&mut self.journal.running, next);
        let mut blocks = Vec::with_capacity(running.count);
        for block in running.blocks {
            if let Some(slot) = self.cache.get(block)
                && core::mem::take(&mut slot.running)
            {
                slot.committing = true;
                blocks.push(block);
            }
        }
        let mut frozen = Frozen {
            sequence: running.sequence,
            writes: Vec::new(),
            commit: None,
            tail: None,
            blocks,
            revoked: running.revoked,
            freed: running.freed,
            start: 0,
            end: 0,
        };
        if self.journal.log.is_some() {
            self.copy_to_log(&mut frozen, wall);
        } else {
            frozen.blocks.sort_unstable();
            let copy = |&block| Some((block, self.cache.peek(block)?.data.to_vec()));
            frozen.writes = frozen.blocks.iter().filter_map(copy).collect();
        }
        self.journal.is_committing = true;
        self.counters.transactions += 1;
        self.counters.transaction_blocks += frozen.blocks.len() as u64;
        Ok(Some(frozen))
    }

    /// Checksums of everything in the running transaction. Those of bitmaps are in descriptors, hence first.
    fn seal_all(&mut self) -> Result<(), Halt> {
        self.begin();
        let mut seal = || {
            self.seal_superblock();
            for bitmaps in [true, false] {
                let mut index = 0;
                // Descriptors may join on the way.
                while let Some(&block) = self.journal.running.blocks.get(index) {
                    index += 1;
                    let Some(slot) = self.cache.peek(block).filter(|slot| slot.running) else { continue };
                    if bitmaps == matches!(slot.kind, Kind::BlockBitmap(_) | Kind::InodeBitmap(_)) {
                        self.seal(block)?;
                    }
                }
            }
            Ok(())
        };
        let result = seal();
        match result {
            Ok(()) => self.end(),
            Err(_) => self.roll_back(),
        }
        result
    }

    /// Lays the transaction out as the log wants it: revoked blocks, then descriptors with the copies they announce.
    fn copy_to_log(&mut self, frozen: &mut Frozen, wall: Duration) {
        let Journal { log: Some(log), .. } = &mut self.journal else { return };
        let (format, sequence) = (log.format, frozen.sequence);
        let size = format.block_size;
        let length = log.needed(frozen.blocks.len(), frozen.revoked.len()) - 1;
        // Copies are added, not put into their places: clearing all of those first would cost as much again.
        let mut stream = Vec::with_capacity(length * size);
        for blocks in frozen.revoked.chunks(format.revokes_per_block()) {
            format.encode_revoke(sequence, blocks, one_more(&mut stream, size));
        }
        for blocks in frozen.blocks.chunks(format.tags_per_block()) {
            let descriptor = stream.len();
            one_more(&mut stream, size);
            let mut tags = Vec::with_capacity(blocks.len());
            for &block in blocks {
                let Some(slot) = self.cache.peek(block) else { break };
                let start = stream.len();
                stream.extend_from_slice(&slot.data);
                let place = &mut stream[start..];
                let mut flags = 0;
                // What looks like a block of the journal would end the log.
                if place[..4] == MAGIC.to_be_bytes() {
                    place[..4].fill(0);
                    flags = ESCAPED;
                }
                let checksum = if format.checksums == 0 { 0 } else { format.copy_checksum(sequence, place) };
                tags.push(Tag { block, flags, checksum });
            }
            format.encode_descriptor(sequence, &tags, &mut stream[descriptor..descriptor + size]);
        }
        debug_assert_eq!(stream.len(), length * size, "every block of the transaction is in memory");
        stream.resize(length * size, 0);
        frozen.start = log.head;
        let end = log.after(log.head, length as u32);
        frozen.end = log.after(end, 1);
        frozen.writes = log.runs(log.head, stream);
        let commit = format.encode_commit(sequence, wall);
        frozen.commit = log.place(end).map(|(block, _)| (block, commit));
        // Blocks behind the head are nobody's until the commit is through, and then the log's.
        log.head = frozen.end;
        if log.is_marked_empty {
            log.begin_at((frozen.start, sequence));
        }
        if log.is_marked_empty || log.flushed_tail != log.safe_tail {
            frozen.tail = Some(log.flushed_tail);
            let superblock = log.encode_superblock(false);
            frozen.writes.push(superblock);
        }
    }

    /// The writes of a frozen transaction are safe, its commit block is not written yet.
    pub fn note_flush(&mut self, frozen: &Frozen) {
        let Some(log) = &mut self.journal.log else { return };
        // Home writes that ended before are safe as well: the next superblock may say so.
        log.note_flush();
        if let Some(tail) = frozen.tail {
            log.safe_tail = tail;
            log.is_marked_empty = false;
        }
    }

    /// The transaction is safe.
    pub fn finish_commit(&mut self, frozen: Frozen) {
        let sequence = frozen.sequence;
        let logs = self.journal.log.is_some();
        for &block in &frozen.blocks {
            if let Some(slot) = self.cache.get(block) {
                slot.committing = false;
                slot.logged = logs.then_some(sequence);
            }
        }
        for &block in &frozen.revoked {
            // What it held is not wanted any more; nobody can have used the block again before now.
            if self.cache.peek(block).is_some_and(|slot| !slot.running && !slot.committing) {
                self.cache.remove(block);
            }
        }
        for (start, count) in frozen.freed {
            self.allocator.release(start, count);
        }
        if logs {
            self.journal.logged.push_back(Logged { sequence, start: frozen.start, blocks: frozen.blocks });
        }
        self.journal.committed = sequence;
        self.journal.is_committing = false;
    }

    /// An error from the device: nothing is written any more.
    pub fn abort_journal(&mut self) {
        self.journal.abort();
        self.journal.is_committing = false;
        self.read_only = true;
    }
}

/// One more block, all zeros, at the end of `stream`.
fn one_more(stream: &mut Vec<u8>, size: usize) -> &mut [u8] {
    let start = stream.len();
    stream.resize(start + size, 0);
    &mut stream[start..]
}
