//! Who waits for something to happen to a file.

use super::Events;
use crate::{Errno, room};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::task::{Context, Waker};
use spin::Mutex;

/// Is told each time that something happens to a file, until it goes: an entry of an epoll instance.
pub trait Watcher: Send + Sync {
    /// `events` may hold now. Called without locks of the file. True when a thread waits for this watcher that nobody has
    /// woken yet.
    fn changed(&self, events: Events) -> bool;

    /// It need not be told of what woke another such watcher (EPOLLEXCLUSIVE).
    fn is_exclusive(&self) -> bool {
        false
    }
}

/// The tasks and watchers of a file.
#[derive(Default)]
pub struct WaitQueue {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    tasks: Vec<Waker>,
    /// As many as programs like. Shared with who tells them, which needs no memory so.
    watchers: Option<Arc<Vec<Weak<dyn Watcher>>>>,
}

impl Waiting {
    /// Those that are there still, but for one.
    fn others(&self, but: &Weak<dyn Watcher>) -> impl Iterator<Item = &Weak<dyn Watcher>> {
        let all = self.watchers.iter().flat_map(|list| list.iter());
        all.filter(move |other| other.strong_count() > 0 && !other.ptr_eq(but))
    }
}

impl WaitQueue {
    /// Nobody waits.
    pub const fn new() -> WaitQueue {
        WaitQueue { waiting: Mutex::new(Waiting { tasks: Vec::new(), watchers: None }) }
    }

    /// Wakes the task at the next event, once. Register first and look afterwards. A task that registers again without
    /// having been woken takes no further place.
    pub fn register(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.lock();
        if !waiting.tasks.iter().any(|task| task.will_wake(cx.waker())) {
            waiting.tasks.push(cx.waker().clone());
        }
    }

    /// A task waits no more.
    pub fn forget(&self, task: &Waker) {
        self.waiting.lock().tasks.retain(|other| !other.will_wake(task));
    }

    /// Tells `watcher` of every event from now on. ENOMEM.
    pub fn watch(&self, watcher: Weak<dyn Watcher>) -> Result<(), Errno> {
        let mut waiting = self.waiting.lock();
        if let Some(list) = waiting.watchers.as_mut().and_then(Arc::get_mut) {
            list.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&watcher));
            return room::push(list, watcher);
        }
        let mut list = room::with_room(waiting.others(&watcher).count() + 1)?;
        list.extend(waiting.others(&watcher).cloned());
        list.push(watcher);
        waiting.watchers = Some(Arc::new(list));
        Ok(())
    }

    /// Forgets a watcher.
    pub fn unwatch(&self, watcher: &Weak<dyn Watcher>) {
        let mut waiting = self.waiting.lock();
        if let Some(list) = waiting.watchers.as_mut().and_then(Arc::get_mut) {
            list.retain(|other| !other.ptr_eq(watcher));
            return;
        }
        // Without memory for another list it stays: it wants to know of nothing any more, and goes when it ends.
        let left = waiting.others(watcher).count();
        if let Ok(mut list) = room::with_room(left) {
            list.extend(waiting.others(watcher).cloned());
            waiting.watchers = (left > 0).then(|| Arc::new(list));
        }
    }

    /// Wakes the tasks, for something that concerns none of those who watch the file. Call without locks.
    pub fn wake(&self) {
        let mut tasks = core::mem::take(&mut self.waiting.lock().tasks);
        tasks.drain(..).for_each(Waker::wake);
        let mut waiting = self.waiting.lock();
        if waiting.tasks.capacity() == 0 {
            waiting.tasks = tasks;
        }
    }

    /// Something happened. Call without locks.
    pub fn notify(&self, events: Events) {
        let mut waiting = self.waiting.lock();
        let watchers = waiting.watchers.clone();
        if waiting.tasks.is_empty() && watchers.as_ref().is_none_or(|list| list.is_empty()) {
            return;
        }
        let mut tasks = core::mem::take(&mut waiting.tasks);
        drop(waiting);
        tasks.drain(..).for_each(Waker::wake);
        let there = || watchers.iter().flat_map(|list| list.iter()).filter_map(Weak::upgrade);
        for watcher in there().filter(|watcher| !watcher.is_exclusive()) {
            watcher.changed(events);
        }
        // In the order in which they came, until one has woken somebody.
        let mut exclusive = there().filter(|watcher| watcher.is_exclusive());
        exclusive.any(|watcher| watcher.changed(events));
        // The list is used again, so that waiting allocates nothing.
        let mut waiting = self.waiting.lock();
        if waiting.tasks.capacity() == 0 {
            waiting.tasks = tasks;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering};
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Seen(AtomicU32);

    impl Watcher for Seen {
        fn changed(&self, events: Events) -> bool {
            self.0.fetch_or(events.0, Ordering::Relaxed);
            true
        }
    }

    #[test]
    fn a_task_is_woken_once_and_a_watcher_each_time() {
        let queue = WaitQueue::new();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let cx = Context::from_waker(&waker);
        queue.register(&cx);
        queue.register(&cx);
        let seen = Arc::new(Seen(AtomicU32::new(0)));
        let weak: Weak<dyn Watcher> = Arc::downgrade(&(seen.clone() as Arc<dyn Watcher>));
        queue.watch(weak.clone()).unwrap();
        queue.notify(Events::IN);
        queue.notify(Events::OUT);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(seen.0.load(Ordering::Relaxed), 5);
        queue.unwatch(&weak);
        queue.notify(Events::HUP);
        assert_eq!(seen.0.load(Ordering::Relaxed), 5);
    }
}
