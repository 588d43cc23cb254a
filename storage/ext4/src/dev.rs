//! For tests, here and in system tests: block devices (a file, a simulation with power cuts and errors),
//! time and randomness without a machine, and e2fsprogs.

mod disk;
mod e2fsprogs;
mod host;
mod mounted;
mod slow;

pub use disk::{DiskEvent, FileDisk, Kept, SimDisk};
pub use e2fsprogs::{Scratch, debugfs, e2fsck, e2fsck_repair, mke2fs, workplace};
pub use host::Host;
pub use mounted::{Mounted, unmount};
pub use slow::SlowDisk;

use keelson_hal::Entropy;
use std::cell::Cell;
use std::rc::Rc;

/// Numbers from a seed (splitmix64); the same seed gives the same run.
pub struct Seed(pub Cell<u64>);

impl Seed {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Rc<Seed> {
        Rc::new(Seed(Cell::new(seed)))
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&self, limit: u64) -> u64 {
        self.next_u64() % limit
    }
}

impl Entropy for Seed {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0.set(self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
            let mut mixed = self.0.get();
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        std::eprintln!("{} {}: {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}

/// Shows warnings and errors of the volume with the output of a failing test.
pub fn log_to_stderr() {
    // Another test of this process may have been first.
    let _ = log::set_logger(&Stderr);
    log::set_max_level(log::LevelFilter::Warn);
}
