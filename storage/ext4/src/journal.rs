//! Transactions: the running one, which operations join, and the one that is being committed.

use crate::engine::BlockNr;
use alloc::vec::Vec;

/// Number of a transaction, as in the journal (`h_sequence`); compared with wrap-around.
pub type Sequence = u32;

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

/// The state of the journal.
pub struct Journal {
    /// What operations join.
    pub running: Transaction,
    aborted: bool,
}

impl Journal {
    /// A journal that nothing ever goes to.
    #[cfg(test)]
    pub fn for_tests() -> Journal {
        Journal { running: Transaction::default(), aborted: false }
    }

    /// True when the running transaction should be committed soon because of its size.
    pub fn is_large(&self) -> bool {
        false
    }

    /// True when the running transaction and the log have room for an operation.
    pub fn has_room(&self) -> bool {
        true
    }

    /// True when the transaction, or whatever had this number, is on the disk.
    pub fn is_committed(&self, sequence: Sequence) -> bool {
        (self.running.sequence.wrapping_sub(sequence) as i32) > 0
    }

    /// True after an error that makes the journal useless.
    pub fn is_aborted(&self) -> bool {
        self.aborted
    }
}
