//! The journal: transactions in memory and on the disk.
//!
//! ```text
//!   operations --> running --freeze--> committing --flush, commit block, flush--> committed --checkpoint--> home
//! ```
//!
//! 1. **Freezing copies.** The blocks of a transaction are sealed and copied into the log's order in one go;
//!    operations go on in the next transaction while the copies are written.
//! 2. **Two flushes for each transaction**, however many operations and clients it serves.
//! 3. **Home is written lazily**, when the log gets full, and only with what is committed. A block that was
//!    logged again since needs no write for the older transaction.
//! 4. **The log's tail moves after the fact**: home writes are made safe by the next transaction's first flush, and
//!    the superblock that says so by that of the one after. Only a log without room flushes for itself, a quarter of
//!    it at a time.

mod checkpoint;
pub mod commit;
pub mod format;
mod log;
pub mod recover;
pub mod task;
#[cfg(test)]
mod tests;

use crate::engine::{BlockNr, OPERATION_BLOCKS, OPERATION_FORGOTTEN};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
pub use log::{Log, Place};

/// Number of a transaction, as in the journal (`h_sequence`); compared with wrap-around.
pub type Sequence = u32;

/// Most blocks of a transaction on a filesystem without a journal.
const LARGEST_WITHOUT: usize = 1024;

/// True when `a` comes after `b`.
pub fn is_after(a: Sequence, b: Sequence) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// What operations changed together.
#[derive(Debug, Default)]
pub struct Transaction {
    /// Its number.
    pub sequence: Sequence,
    /// Blocks that joined; one that left and came back is in here twice, one that left still is. Those whose
    /// slot is `running` count.
    pub blocks: Vec<BlockNr>,
    /// How many those are.
    pub count: usize,
    /// Metadata blocks that were freed: earlier transactions must not be replayed into them.
    pub revoked: Vec<BlockNr>,
    /// Runs of blocks that are free for use when this is committed.
    pub freed: Vec<(BlockNr, u32)>,
}

impl Transaction {
    /// True when committing it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.revoked.is_empty() && self.freed.is_empty()
    }
}

/// A transaction in the log whose blocks may not be home.
#[derive(Debug)]
pub struct Logged {
    /// Its number.
    pub sequence: Sequence,
    /// Its first block in the log.
    pub start: u32,
    /// The blocks it changed, except those that later transactions changed again.
    pub blocks: Vec<BlockNr>,
}

/// The state of the journal.
pub struct Journal {
    /// What operations join.
    pub running: Transaction,
    /// Where transactions are written; `None` on a filesystem without a journal.
    pub log: Option<Log>,
    /// In the log, oldest first.
    pub logged: VecDeque<Logged>,
    /// The newest transaction that is safe on the disk.
    pub committed: Sequence,
    /// One is on its way.
    pub is_committing: bool,
    aborted: bool,
}

impl Journal {
    /// A journal whose next transaction has this number.
    pub fn new(log: Option<Log>, next: Sequence) -> Journal {
        Journal {
            running: Transaction { sequence: next, ..Transaction::default() },
            log,
            logged: VecDeque::new(),
            committed: next.wrapping_sub(1),
            is_committing: false,
            aborted: false,
        }
    }

    /// A journal that nothing ever goes to.
    #[cfg(test)]
    pub fn for_tests() -> Journal {
        Journal::new(None, 1)
    }

    /// Most blocks of the running transaction: a quarter of the log.
    fn largest(&self) -> usize {
        self.log.as_ref().map_or(LARGEST_WITHOUT, |log| (log.length() as usize / 4).max(2 * OPERATION_BLOCKS))
    }

    /// True when the running transaction should be committed soon because of its size.
    pub fn is_large(&self) -> bool {
        self.running.count >= self.largest() / 2
    }

    /// True when the running transaction and the log have room for an operation.
    pub fn has_room(&self) -> bool {
        let count = self.running.count + OPERATION_BLOCKS;
        count <= self.largest() && self.fits(count, self.running.revoked.len() + OPERATION_FORGOTTEN)
    }

    /// True when the log has room for the running transaction as it is, all of it sealed.
    fn has_room_for_running(&self) -> bool {
        let Transaction { count, revoked, .. } = &self.running;
        self.log.as_ref().is_none_or(|log| log.needed(*count, revoked.len()) <= log.room())
    }

    /// True when the log has room for a transaction, to which the superblock comes when it is frozen.
    fn fits(&self, blocks: usize, revoked: usize) -> bool {
        self.log.as_ref().is_none_or(|log| log.needed(blocks + 1, revoked) <= log.room())
    }

    /// True when transactions should go home: they take more than half of the log.
    pub fn is_crowded(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.pending() > log.length() / 2)
    }

    /// True when operations wait for room, and a flush makes enough of it to be worth while.
    fn is_flush_worth_while(&self) -> bool {
        !self.has_room() && self.log.as_ref().is_some_and(|log| log.awaiting() >= log.length() / 4)
    }

    /// The transaction that holds the last change: the running one, if anything is in it.
    pub fn last_change(&self) -> Sequence {
        if self.running.is_empty() { self.running.sequence.wrapping_sub(1) } else { self.running.sequence }
    }

    /// True when the transaction is on the disk.
    pub fn is_committed(&self, sequence: Sequence) -> bool {
        !is_after(sequence, self.committed)
    }

    /// True after an error that makes the journal useless.
    pub fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// Nothing is written any more, ever: what is on the disk is whole as of the last commit.
    pub fn abort(&mut self) {
        self.aborted = true;
    }
}
