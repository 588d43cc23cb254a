//! What the files of all processes of the node share.

use super::Budget;
use super::tmpfs::Tmpfs;
use super::unix::{Flight, Names};
use crate::pseudo::{NodeView, SysTree};
use alloc::sync::Arc;
use spin::Once;

/// Names and trees of the node.
#[derive(Default)]
pub struct Vfs {
    /// Abstract names of sockets.
    pub names: Arc<Names>,
    /// Files that programs send each other.
    pub flight: Arc<Flight>,
    /// What lies in /dev/shm.
    pub shm: Arc<Tmpfs>,
    /// How many files may be in sets of epoll(7) (`/proc/sys/fs/epoll/max_user_watches`, of all users together).
    pub watches: Arc<Budget>,
    view: Once<Arc<dyn NodeView>>,
    sys: Once<SysTree>,
}

/// /dev/shm may have names and folders for one part in so many of the memory of programs.
const SHM_SHARE: u64 = 8;

/// Files in sets may take 4 percent of the memory of programs, at 160 bytes each (epoll(7)).
const WATCHES_SHARE: u64 = 25 * 160;

impl Vfs {
    /// For a node whose programs have so many bytes of memory.
    pub fn new(memory: u64) -> Vfs {
        let (shm, watches) = (Tmpfs::of(memory / SHM_SHARE), Budget::new(memory / WATCHES_SHARE));
        Vfs { shm: Arc::new(shm), watches: Arc::new(watches), ..Vfs::default() }
    }

    /// Says what /proc and /sys show. Once, when the node is put together.
    pub fn show(&self, view: Arc<dyn NodeView>) {
        self.view.call_once(|| view);
    }

    /// What /proc and /sys show; `None` before the node is put together.
    pub fn view(&self) -> Option<&Arc<dyn NodeView>> {
        self.view.get()
    }

    /// What lies below /sys; `None` before the node is put together, and without memory for it.
    pub fn sys(&self) -> Option<&SysTree> {
        let view = self.view()?;
        self.sys.try_call_once(|| SysTree::new(&**view)).ok()
    }
}
