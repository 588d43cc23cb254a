//! What the files of all processes of the node share.

use super::tmpfs::Tmpfs;
use super::unix::Names;
use crate::pseudo::{NodeView, SysTree};
use crate::thread::Thread;
use alloc::sync::Arc;
use spin::Once;

/// What files need of signals.
pub trait Signals: Send + Sync {
    /// Sends a signal to the thread that calls.
    fn raise(&self, thread: &Arc<Thread>, signal: u32);

    /// The thread blocks `mask` until the end of the call or, when a handler runs, until that returns.
    fn replace_mask(&self, thread: &Arc<Thread>, mask: u64);

    /// Ends what [`Signals::replace_mask`] began.
    fn restore_mask(&self, thread: &Arc<Thread>);
}

/// Names and trees of the node.
#[derive(Default)]
pub struct Vfs {
    /// Abstract names of sockets.
    pub names: Arc<Names>,
    /// What lies in /dev/shm.
    pub shm: Arc<Tmpfs>,
    view: Once<Arc<dyn NodeView>>,
    sys: Once<SysTree>,
    signals: Once<Arc<dyn Signals>>,
}

impl Vfs {
    /// Says what /proc and /sys show. Once, when the node is put together.
    pub fn show(&self, view: Arc<dyn NodeView>) {
        self.view.call_once(|| view);
    }

    /// What /proc and /sys show; `None` before the node is put together.
    pub fn view(&self) -> Option<&Arc<dyn NodeView>> {
        self.view.get()
    }

    /// What lies below /sys; `None` before the node is put together.
    pub fn sys(&self) -> Option<&SysTree> {
        let view = self.view()?;
        Some(self.sys.call_once(|| SysTree::new(&**view)))
    }

    /// Says how signals are sent. Once, when the node is put together.
    pub fn deliver_by(&self, signals: Arc<dyn Signals>) {
        self.signals.call_once(|| signals);
    }

    /// How signals are sent; `None` before the node is put together.
    pub fn signals(&self) -> Option<&Arc<dyn Signals>> {
        self.signals.get()
    }
}
