//! The queue of tasks that want to run, and the wakers that fill it from any core.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Mutex;

/// Names a task slot; the generation tells a slot's successive tenants apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskId {
    pub index: usize,
    pub generation: u64,
}

/// Tasks in the order they were woken.
pub(crate) struct ReadyQueue {
    queue: Mutex<VecDeque<TaskId>>,
    /// Ends the owner core's halt when another core wakes one of its tasks.
    kick: Option<fn()>,
}

impl ReadyQueue {
    pub fn new(kick: Option<fn()>) -> ReadyQueue {
        ReadyQueue { queue: Mutex::new(VecDeque::new()), kick }
    }

    /// Makes room for `tasks` entries, so that no wake-up allocates.
    pub fn reserve(&self, tasks: usize) {
        let mut queue = self.queue.lock();
        let missing = tasks.saturating_sub(queue.len());
        queue.reserve(missing);
    }

    fn push(&self, id: TaskId) {
        self.queue.lock().push_back(id);
        if let Some(kick) = self.kick {
            kick();
        }
    }

    pub fn pop(&self) -> Option<TaskId> {
        self.queue.lock().pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.lock().is_empty()
    }
}

/// The waker of one task. A task is in the queue at most once, however often it is woken.
pub(crate) struct TaskWaker {
    pub id: TaskId,
    queued: AtomicBool,
    queue: Arc<ReadyQueue>,
}

impl TaskWaker {
    pub fn new(id: TaskId, queue: Arc<ReadyQueue>) -> TaskWaker {
        TaskWaker { id, queued: AtomicBool::new(false), queue }
    }

    /// Called right before the poll: wake-ups from here on queue the task again.
    pub fn unqueued(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.queue.push(self.id);
        }
    }
}
