//! A process.

use crate::delegate::Delegate;
use crate::files::FdTable;
use crate::mm::Mm;
use crate::system::System;
use alloc::sync::Arc;
use spin::Mutex;

/// A process: what its threads share.
pub struct Process {
    /// Process id: that of its proxy on the host.
    pub pid: u32,
    /// The machine.
    pub system: Arc<System>,
    /// Its address space; another one after exec.
    mm: Mutex<Arc<Mm>>,
    /// Its open files; shared with others after clone(CLONE_FILES).
    files: Mutex<Arc<FdTable>>,
    /// The host that launched it.
    pub delegate: Arc<dyn Delegate>,
}

impl Process {
    /// A process without threads.
    pub fn new(
        pid: u32,
        system: Arc<System>,
        mm: Arc<Mm>,
        files: Arc<FdTable>,
        delegate: Arc<dyn Delegate>,
    ) -> Process {
        Process { pid, system, mm: Mutex::new(mm), files: Mutex::new(files), delegate }
    }

    /// The address space.
    pub fn mm(&self) -> Arc<Mm> {
        self.mm.lock().clone()
    }

    /// The open files.
    pub fn files(&self) -> Arc<FdTable> {
        self.files.lock().clone()
    }
}
