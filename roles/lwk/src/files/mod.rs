//! Open files of a process.

use crate::Errno;
use crate::delegate::{Delegate, Handle};
use alloc::sync::Arc;

/// The descriptors of a process.
#[derive(Default)]
pub struct FdTable {}

impl FdTable {
    /// Another limit.
    pub fn set_limit(&self, _limit: u32) {}
    /// The handle of a host file.
    pub fn handle(&self, _fd: u32) -> Result<Option<Handle>, Errno> {
        Err(Errno::EBADF)
    }
    /// A table of its own.
    pub fn copy(&self) -> FdTable {
        FdTable {}
    }
    /// The table of a child.
    pub fn fork(&self, _parent: &Arc<dyn Delegate>, _child: &Arc<dyn Delegate>) -> FdTable {
        FdTable {}
    }
    /// exec.
    pub fn close_on_exec(&self) {}
}
