//! What the filesystem counts.

/// Since the mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls of commit.
    pub commits: u64,
    /// Transactions committed: the difference to `commits` is what sharing saved.
    pub transactions: u64,
    /// Blocks in them.
    pub transaction_blocks: u64,
    /// Blocks written home because the log was crowded.
    pub checkpoint_blocks: u64,
    /// Requests refused for lack of space.
    pub no_space: u64,
    /// Metadata blocks that could not be read.
    pub read_errors: u64,
    /// Things on the disk that cannot be true.
    pub damaged: u64,
}
