//! Where relative paths begin, and the permissions that new files do not get.

use super::paths;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use spin::Mutex;

/// The working directory and the umask of a process.
///
/// The proxy has both too, and goes by them: here is what is needed to tell paths of the node from paths of the host.
pub struct FsContext {
    cwd: Mutex<Cwd>,
    umask: AtomicU32,
}

/// A working directory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Cwd {
    /// At the host, where the proxy knows.
    #[default]
    Unknown,
    /// At the host.
    Host(Vec<u8>),
    /// A directory of the node.
    Local(Vec<u8>),
}

impl Default for FsContext {
    fn default() -> FsContext {
        FsContext { cwd: Mutex::default(), umask: AtomicU32::new(0o022) }
    }
}

impl FsContext {
    /// The working directory.
    pub fn cwd(&self) -> Cwd {
        self.cwd.lock().clone()
    }

    /// Another working directory.
    pub fn set_cwd(&self, cwd: Cwd) {
        *self.cwd.lock() = cwd;
    }

    /// The working directory that the launcher says (section 3.1).
    pub fn launched_in(&self, path: &[u8]) {
        self.set_cwd(if path.starts_with(b"/") { Cwd::Host(paths::normal(path)) } else { Cwd::Unknown });
    }

    /// The umask.
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// Another umask; the one before.
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask & 0o777, Ordering::Relaxed)
    }

    /// The same for a child.
    pub fn copy(&self) -> FsContext {
        FsContext { cwd: Mutex::new(self.cwd()), umask: AtomicU32::new(self.umask()) }
    }
}
