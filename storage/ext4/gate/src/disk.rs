//! Disks for proofs: a file that counts, and a disk in memory that remembers, delays, tears, fails and watches.

mod file;
mod pages;
mod record;
mod sim;

pub use file::{FileDisk, Flush};
pub use pages::{PAGE, Pages};
pub use record::{Manner, Record};
pub use sim::{Fault, Pace, SimDisk, Through, Zone};

use keelson_hal::{BlockGeometry, BlockOp, SECTOR_SIZE};

/// Requests that our disks hold at a time.
pub const QUEUE_DEPTH: usize = 64;

/// What a disk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Read requests.
    pub reads: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Write requests.
    pub writes: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Flush requests.
    pub flushes: u64,
}

impl Counts {
    /// Counts a request.
    pub fn count(&mut self, op: BlockOp, bytes: usize) {
        match op {
            BlockOp::Read => {
                self.reads += 1;
                self.bytes_read += bytes as u64;
            }
            BlockOp::Write | BlockOp::WriteThrough => {
                self.writes += 1;
                self.bytes_written += bytes as u64;
            }
            BlockOp::Flush => self.flushes += 1,
        }
    }

    /// What came after `earlier`.
    pub fn since(self, earlier: Counts) -> Counts {
        Counts {
            reads: self.reads - earlier.reads,
            bytes_read: self.bytes_read - earlier.bytes_read,
            writes: self.writes - earlier.writes,
            bytes_written: self.bytes_written - earlier.bytes_written,
            flushes: self.flushes - earlier.flushes,
        }
    }
}

/// The geometry of a disk of `bytes`, that can write through its cache or cannot.
fn geometry_of(bytes: u64, write_through: bool) -> BlockGeometry {
    BlockGeometry {
        sectors: bytes / SECTOR_SIZE as u64,
        read_only: false,
        write_cache: true,
        write_through,
        max_transfer: 1 << 20,
        queue_depth: QUEUE_DEPTH,
    }
}
