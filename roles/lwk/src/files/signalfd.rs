//! Signals that are read (signalfd(2)).
//!
//! Whose signals they are is a matter of who reads or waits, not of who made the file: after a fork the child reads its own. So a
//! file of this kind is asked for a thread ([`File::events_for`]), and all of a node share a queue: something may have come for one
//! of them when any signal was sent.

use super::{Events, File, Operation, Stat, Target, WaitQueue};
use crate::Errno;
use crate::node::Node;
use crate::signals::{SIGNALFD_SIZE, SigSet};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll};

/// A set of signals that are read instead of handled.
pub struct SignalFd {
    node: Weak<Node>,
    queue: Arc<WaitQueue>,
    wanted: AtomicU64,
    inode: u64,
}

impl SignalFd {
    /// For these signals; SIGKILL and SIGSTOP never come.
    pub fn new(node: &Arc<Node>, wanted: SigSet) -> SignalFd {
        let wanted = AtomicU64::new((wanted & !SigSet::UNSTOPPABLE).0);
        let (node, queue) = (Arc::downgrade(node), node.signalled.clone());
        SignalFd { node, queue, wanted, inode: super::next_inode() }
    }

    /// From now on for others.
    pub fn set(&self, wanted: SigSet) {
        self.wanted.store((wanted & !SigSet::UNSTOPPABLE).0, Ordering::Release);
        self.queue.notify(Events::READABLE);
    }

    fn wanted(&self) -> SigSet {
        SigSet(self.wanted.load(Ordering::Acquire))
    }
}

impl File for SignalFd {
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        _at: Option<u64>,
        into: &mut dyn Target,
    ) -> Poll<Result<usize, Errno>> {
        if into.left() < SIGNALFD_SIZE {
            return Poll::Ready(Err(Errno::EINVAL));
        }
        self.queue.register(cx);
        let thread = self.node.upgrade().and_then(|node| node.thread(operation.tid));
        let mut stored = 0;
        while into.left() >= SIGNALFD_SIZE
            && let Some(info) = thread.as_ref().and_then(|thread| thread.take_signal(self.wanted()))
        {
            if into.put(&info.encode_for_signalfd()) != SIGNALFD_SIZE {
                // The signal is lost, as on Linux.
                return Poll::Ready(if stored > 0 { Ok(stored) } else { Err(Errno::EFAULT) });
            }
            stored += SIGNALFD_SIZE;
        }
        if stored == 0 { operation.wait() } else { Poll::Ready(Ok(stored)) }
    }

    fn stat(&self) -> Stat {
        Stat { mode: 0o600, links: 1, ..super::anonymous(self.inode) }
    }

    fn name(&self) -> String {
        String::from("anon_inode:[signalfd]")
    }

    fn events(&self) -> Events {
        Events::NONE
    }

    fn events_for(&self, tid: u32) -> Events {
        let thread = self.node.upgrade().and_then(|node| node.thread(tid));
        let waits = |set: SigSet| !(set & self.wanted()).is_empty();
        Events::READABLE.when(thread.is_some_and(|thread| waits(thread.waiting_signals())))
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
