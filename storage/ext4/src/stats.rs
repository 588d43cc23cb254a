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
    /// Operations refused because somebody would have had more than the limit.
    pub over_limit: u64,
    /// Handles refused because their object is gone.
    pub stale: u64,
    /// Metadata blocks that could not be read.
    pub read_errors: u64,
    /// Things on the disk that cannot be true.
    pub damaged: u64,
    /// Operations that had to begin anew, because a metadata block was not in memory.
    pub metadata_misses: u64,
    /// Inodes that are being freed, or cut, in steps.
    pub orphans: u64,
}

/// What happened to the content of files since the mount, and what is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataCounters {
    /// Reads of clients that found everything in memory.
    pub hits: u64,
    /// Reads of clients that waited for the device.
    pub misses: u64,
    /// Times something was read ahead.
    pub read_aheads: u64,
    /// How much that was.
    pub read_ahead_bytes: u64,
    /// Writes of clients.
    pub writes: u64,
    /// How much they were.
    pub written_bytes: u64,
    /// Writes that waited because too much was not on the disk yet.
    pub held_up: u64,
    /// Runs of blocks written back.
    pub write_back_runs: u64,
    /// How much they were.
    pub write_back_bytes: u64,
    /// Reads that failed.
    pub read_errors: u64,
    /// Times that data was lost.
    pub write_errors: u64,
    /// Pieces of up to 64 KiB that were dropped for others.
    pub dropped: u64,
    /// Memory in use.
    pub resident_bytes: u64,
    /// Not on the disk yet.
    pub unwritten_bytes: u64,
    /// Blocks promised to what is not on the disk yet.
    pub reserved_blocks: u64,
}

/// What went through the caches to the device, and from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// Content of files.
    pub data: DataCounters,
    /// Metadata blocks looked up in memory; the one that was looked up last is at hand and does not count.
    pub hits: u64,
    /// Metadata blocks that had to be read.
    pub misses: u64,
    /// Metadata blocks in memory.
    pub metadata_blocks: u64,
    /// Read requests to the device.
    pub reads: u64,
    /// How much they were.
    pub read_bytes: u64,
    /// Write requests to the device.
    pub writes: u64,
    /// How much they were.
    pub write_bytes: u64,
    /// Flushes of the device.
    pub flushes: u64,
    /// Requests that the device failed.
    pub errors: u64,
}
