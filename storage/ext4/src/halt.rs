//! Why an operation stopped before its end.

use crate::engine::{BlockNr, Ino, Kind};
use keelson_volume::VolumeError;

/// An operation on the [`Engine`](crate::engine::Core) runs without waiting. What would make it wait ends it here; all
/// that it changed is undone, and its driver runs it again from the start when what it lacked is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Halt {
    /// A metadata block is not in memory.
    Need(BlockNr, Kind),
    /// Writes of this inode's data are under way, which must not reach blocks that are somebody else's by then.
    Busy(Ino),
    /// There is too little room for data that is written later; writing back may make some.
    Crowded,
    /// It failed, for good.
    Fail(VolumeError),
}

impl From<VolumeError> for Halt {
    fn from(error: VolumeError) -> Halt {
        Halt::Fail(error)
    }
}
