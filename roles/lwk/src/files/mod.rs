//! Open files of a process.

/// The descriptors of a process.
#[derive(Default)]
pub struct FdTable {}
