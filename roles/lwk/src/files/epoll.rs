//! epoll(7): sets of files whose events are collected while nobody looks.
//!
//! Each entry watches its file. When something happens the entry goes on the list of those that may be ready; a wait looks at
//! the list only. Locks, in this order: the table of entries, the queue of a file, an entry, the list.

use super::{Budget, Description, Events, File, Stat, WaitQueue, Watcher};
use crate::{Errno, room};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::Context;
use spin::Mutex;

/// EPOLLET: report an event when it happens, not as long as it lasts.
pub const EDGE: u32 = 1 << 31;
/// EPOLLONESHOT: report one event, then nothing until the entry is changed.
pub const ONCE: u32 = 1 << 30;

/// EPOLLEXCLUSIVE: of several sets with this, one that is waited for is told of an event.
pub const EXCLUSIVE: u32 = 1 << 28;
/// EPOLLWAKEUP: no suspending meanwhile, of which there is none here.
const WAKEUP: u32 = 1 << 29;
/// What may be asked for together with [`EXCLUSIVE`] (epoll_ctl(2)).
const WITH_EXCLUSIVE: u32 = Events::IN.0 | Events::OUT.0 | Events::ALWAYS.0 | WAKEUP | EDGE | EXCLUSIVE;

/// How deep sets may contain sets (epoll_ctl(2), ELOOP).
const MAX_DEPTH: usize = 5;

/// A set.
pub struct Epoll {
    /// By number and description: a number can be used again while the description that had it lives on.
    entries: Mutex<BTreeMap<(u32, usize), Arc<Entry>>>,
    ready: Arc<Ready>,
    /// How many entries there may be in all sets.
    watches: Arc<Budget>,
    inode: u64,
}

struct Ready {
    /// Entries of the set, each once at most, with room for all of them: nothing that happens to a file needs memory.
    list: Mutex<VecDeque<Arc<Entry>>>,
    queue: WaitQueue,
    /// Threads that wait, without those that were woken by an exclusive entry. Never too many: that would lose events.
    waiting: AtomicUsize,
}

impl Ready {
    /// Room on the list for so many entries. ENOMEM.
    fn make_room(&self, entries: usize) -> Result<(), Errno> {
        let mut list = self.list.lock();
        let more = entries.saturating_sub(list.len());
        list.try_reserve(more).map_err(|_| Errno::ENOMEM)
    }

    /// An entry leaves the set: it goes from the list and comes on it no more.
    fn forget(&self, entry: &Arc<Entry>) {
        let mut state = entry.state.lock();
        state.disarmed = true;
        if core::mem::take(&mut state.listed) {
            self.list.lock().retain(|listed| !Arc::ptr_eq(listed, entry));
        }
    }

    /// One fewer, if there is one.
    fn claim(&self) -> bool {
        let fewer = |waiting: usize| waiting.checked_sub(1);
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer).is_ok()
    }
}

/// A thread that waits for a set.
pub struct Waiting<'a>(&'a Ready);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Somebody may have claimed this one, or another one in its place.
        self.0.claim();
    }
}

/// The place of an entry among those of all sets.
struct Watch(Arc<Budget>);

impl Watch {
    /// ENOSPC.
    fn new(watches: &Arc<Budget>) -> Result<Watch, Errno> {
        if watches.take(1) { Ok(Watch(watches.clone())) } else { Err(Errno::ENOSPC) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.give_back(1);
    }
}

struct Entry {
    _watch: Watch,
    /// Itself, for the list.
    this: Weak<Entry>,
    description: Weak<Description>,
    ready: Weak<Ready>,
    exclusive: bool,
    state: Mutex<EntryState>,
}

struct EntryState {
    /// What to report, with [`EDGE`] and [`ONCE`].
    interest: u32,
    data: u64,
    /// It is on the list.
    listed: bool,
    /// It is no longer in the set, or ONCE has happened.
    disarmed: bool,
}

impl EntryState {
    fn wanted(&self, events: Events) -> Events {
        if self.disarmed { Events::NONE } else { events & (Events(self.interest) | Events::ALWAYS) }
    }
}

impl Watcher for Entry {
    fn changed(&self, events: Events) -> bool {
        let (Some(ready), Some(this)) = (self.ready.upgrade(), self.this.upgrade()) else { return false };
        let mut state = self.state.lock();
        if state.wanted(events).is_empty() {
            return false;
        }
        if !core::mem::replace(&mut state.listed, true) {
            ready.list.lock().push_back(this);
        }
        drop(state);
        let woken = self.exclusive && ready.claim();
        ready.queue.notify(Events::READABLE);
        woken
    }

    fn is_exclusive(&self) -> bool {
        self.exclusive
    }
}

impl Entry {
    /// What of the interest holds now for a thread.
    fn current(&self, tid: u32) -> Events {
        let Some(description) = self.description.upgrade() else { return Events::NONE };
        let events = description.file().events_for(tid);
        self.state.lock().wanted(events)
    }

    fn as_watcher(self: &Arc<Self>) -> Weak<dyn Watcher> {
        Arc::downgrade(self) as Weak<dyn Watcher>
    }
}

impl Default for Epoll {
    fn default() -> Epoll {
        Epoll::new(&Arc::default())
    }
}

fn key(fd: u32, description: &Arc<Description>) -> (u32, usize) {
    (fd, Arc::as_ptr(description).addr())
}

impl Epoll {
    /// An empty set, whose entries are among `watches`.
    pub fn new(watches: &Arc<Budget>) -> Epoll {
        let ready = Ready { list: Mutex::default(), queue: WaitQueue::new(), waiting: AtomicUsize::new(0) };
        let (entries, inode) = (Mutex::default(), super::next_inode());
        Epoll { entries, ready: Arc::new(ready), watches: watches.clone(), inode }
    }

    /// EPOLL_CTL_ADD, by a thread. ENOSPC when there are too many entries in all sets.
    pub fn add(
        &self,
        tid: u32,
        fd: u32,
        description: &Arc<Description>,
        interest: u32,
        data: u64,
    ) -> Result<(), Errno> {
        let file = description.file();
        let queue = file.queue().ok_or(Errno::EPERM)?;
        let exclusive = interest & EXCLUSIVE != 0;
        if exclusive && (interest & !WITH_EXCLUSIVE != 0 || file.as_any().is::<Epoll>()) {
            return Err(Errno::EINVAL);
        }
        if let Some(inner) = file.as_any().downcast_ref::<Epoll>() {
            if core::ptr::eq(inner, self) {
                return Err(Errno::EINVAL);
            }
            if inner.reaches(self, MAX_DEPTH - 1)? {
                return Err(Errno::ELOOP);
            }
        }
        let entry = {
            let mut entries = self.entries.lock();
            entries.retain(|_, entry| {
                let stays = entry.description.strong_count() > 0;
                if !stays {
                    self.ready.forget(entry);
                }
                stays
            });
            if entries.contains_key(&key(fd, description)) {
                return Err(Errno::EEXIST);
            }
            let watch = Watch::new(&self.watches)?;
            let state = EntryState { interest, data, listed: false, disarmed: false };
            let entry = Arc::new_cyclic(|this| Entry {
                _watch: watch,
                this: this.clone(),
                description: Arc::downgrade(description),
                ready: Arc::downgrade(&self.ready),
                exclusive,
                state: Mutex::new(state),
            });
            self.ready.make_room(entries.len() + 1)?;
            queue.watch(entry.as_watcher())?;
            entries.insert(key(fd, description), entry.clone());
            entry
        };
        file.expect(Events(interest) & Events::ALL);
        entry.changed(file.events_for(tid));
        Ok(())
    }

    /// EPOLL_CTL_MOD, by a thread.
    pub fn modify(
        &self,
        tid: u32,
        fd: u32,
        description: &Arc<Description>,
        interest: u32,
        data: u64,
    ) -> Result<(), Errno> {
        if interest & EXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        let entry = self.entries.lock().get(&key(fd, description)).cloned().ok_or(Errno::ENOENT)?;
        if entry.exclusive {
            return Err(Errno::EINVAL);
        }
        {
            let mut state = entry.state.lock();
            (state.interest, state.data, state.disarmed) = (interest, data, false);
        }
        description.file().expect(Events(interest) & Events::ALL);
        entry.changed(description.file().events_for(tid));
        Ok(())
    }

    /// EPOLL_CTL_DEL.
    pub fn remove(&self, fd: u32, description: &Arc<Description>) -> Result<(), Errno> {
        let entry = self.entries.lock().remove(&key(fd, description)).ok_or(Errno::ENOENT)?;
        self.ready.forget(&entry);
        if let Some(queue) = description.file().queue() {
            queue.unwatch(&entry.as_watcher());
        }
        Ok(())
    }

    /// True when `other` is in this set or in one that is; ELOOP when they are too deep.
    fn reaches(&self, other: &Epoll, depth: usize) -> Result<bool, Errno> {
        if depth == 0 {
            return Err(Errno::ELOOP);
        }
        let inner = {
            let entries = self.entries.lock();
            let mut inner = room::with_room(entries.len())?;
            inner.extend(entries.values().filter_map(|entry| entry.description.upgrade()));
            inner
        };
        for description in inner {
            let Some(set) = description.file().as_any().downcast_ref::<Epoll>() else { continue };
            if core::ptr::eq(set, other) || set.reaches(other, depth - 1)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A thread waits, until what is returned is dropped.
    pub fn wait(&self) -> Waiting<'_> {
        self.ready.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(&self.ready)
    }

    /// Wakes the task when there may be something to collect.
    pub fn register(&self, cx: &Context<'_>) {
        self.ready.queue.register(cx);
    }

    /// Reports to a thread at most `most` events with the data of their entries; how many.
    pub fn collect(
        &self,
        tid: u32,
        most: usize,
        mut report: impl FnMut(Events, u64) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        let mut count = 0;
        // Each entry at most once, although what lasts goes back to the end of the list.
        let candidates = self.ready.list.lock().len();
        for _ in 0..candidates {
            if count == most {
                break;
            }
            let Some(entry) = self.ready.list.lock().pop_front() else { break };
            // From here on a change puts it on the list again.
            entry.state.lock().listed = false;
            let events = entry.current(tid);
            if events.is_empty() {
                continue;
            }
            let mut state = entry.state.lock();
            if state.disarmed {
                continue;
            }
            let data = state.data;
            let lasts = state.interest & (EDGE | ONCE) == 0;
            state.disarmed = state.interest & ONCE != 0;
            if lasts && !core::mem::replace(&mut state.listed, true) {
                self.ready.list.lock().push_back(entry.clone());
            }
            drop(state);
            if let Err(error) = report(events, data) {
                entry.state.lock().disarmed = false;
                entry.changed(events);
                return if count > 0 { Ok(count) } else { Err(error) };
            }
            count += 1;
        }
        Ok(count)
    }
}

impl File for Epoll {
    fn stat(&self) -> Stat {
        Stat { mode: 0o600, links: 1, ..super::anonymous(self.inode) }
    }

    fn name(&self) -> String {
        String::from("anon_inode:[eventpoll]")
    }

    fn events(&self) -> Events {
        self.events_for(0)
    }

    fn events_for(&self, tid: u32) -> Events {
        // A copy, because files are asked: that takes locks which come before the list's.
        let list = self.ready.list.lock();
        let Ok(mut copy) = room::with_room::<Arc<Entry>>(list.len()) else {
            // Whoever looks finds out.
            return Events::READABLE;
        };
        copy.extend(list.iter().cloned());
        drop(list);
        Events::READABLE.when(copy.iter().any(|entry| !entry.current(tid).is_empty()))
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.ready.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests;
