//! Freezing and thawing: the threads of all programs stop where they enter the kernel, and go on.

use crate::event::{Changed, Event};
use crate::node::Node;
use crate::thread::{Attention, Thread};
use core::sync::atomic::{AtomicBool, Ordering};

/// Whether the node is frozen.
#[derive(Default)]
pub(crate) struct Freezer {
    frozen: AtomicBool,
    changed: Event,
}

impl Freezer {
    /// True from the request on.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    /// Waits for the next change: call first, look, then await.
    pub fn changed(&self) -> Changed<'_> {
        self.changed.changed()
    }
}

impl Node {
    /// Stops all threads before they return to ring 3, those that come later too. Those that wait go on waiting, and stop when
    /// their wait is over. False when the node is frozen already.
    pub fn freeze(&self) -> bool {
        if self.freezer.frozen.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.each_thread(|thread| thread.demand(Attention::FREEZE));
        true
    }

    /// Lets all threads go on. False when the node is not frozen.
    pub fn thaw(&self) -> bool {
        let was = self.freezer.frozen.swap(false, Ordering::SeqCst);
        self.freezer.changed.notify();
        was
    }

    /// True from the request to freeze on.
    pub fn is_frozen(&self) -> bool {
        self.freezer.is_frozen()
    }

    /// Threads that have not stopped yet.
    pub fn still_running(&self) -> usize {
        let mut running = 0;
        self.each_thread(|thread| running += usize::from(thread.times.is_running()));
        running
    }

    fn each_thread(&self, mut act: impl FnMut(&Thread)) {
        for process in self.processes() {
            process.threads().iter().for_each(|thread| act(thread));
        }
    }
}
