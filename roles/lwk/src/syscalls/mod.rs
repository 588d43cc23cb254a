//! System calls.

pub mod files;
pub mod request;
pub mod transfer;

use crate::thread::Thread;
use alloc::sync::Arc;

/// Who makes a system call.
pub struct Caller<'a> {
    /// The thread.
    pub thread: &'a Arc<Thread>,
}
