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
}

impl Journal {
    /// A journal that nothing ever goes to.
    #[cfg(test)]
    pub fn for_tests() -> Journal {
        Journal { running: Transaction::default() }
    }
}
