//! The executor proper: task slots, turns, rest.

use crate::combinators::Timeout;
use crate::ready::{ReadyQueue, TaskId, TaskWaker};
use crate::timer::{Sleep, Timers};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell, RefMut};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use keelson_hal::{Clock, Instant, Park};

/// Polls in one turn before timers and interrupts are looked at again.
pub const TURN_BUDGET: usize = 64;

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

/// One task. The future is absent while it is being polled, so that a task may spawn or abort others.
struct Slot {
    name: &'static str,
    future: Option<TaskFuture>,
    waker: Waker,
    header: Arc<TaskWaker>,
    polls: u64,
}

struct Shared {
    clock: Rc<dyn Clock>,
    ready: Arc<ReadyQueue>,
    slots: RefCell<Vec<Option<Slot>>>,
    free: RefCell<Vec<usize>>,
    next_generation: Cell<u64>,
    timers: RefCell<Timers>,
    live: Cell<usize>,
    /// Polls of tasks that have ended, by name: there are as many names as places that spawn.
    ended: RefCell<BTreeMap<&'static str, u64>>,
}

/// Owns the tasks of one core and runs them.
pub struct Executor {
    handle: Handle,
}

/// A task's way to the executor it runs on: spawn, sleep, now. Cheap to clone; passed to whoever needs it.
#[derive(Clone)]
pub struct Handle {
    shared: Rc<Shared>,
}

/// Names a spawned task. Dropping it leaves the task running.
pub struct TaskHandle {
    handle: Handle,
    id: TaskId,
}

impl Executor {
    /// An executor without tasks. `kick` is called after every wake-up and must end the halt of the core
    /// that runs this executor when called on another core; `None` when only this core wakes its tasks.
    pub fn new(clock: Rc<dyn Clock>, kick: Option<fn()>) -> Executor {
        let shared = Shared {
            clock,
            ready: Arc::new(ReadyQueue::new(kick)),
            slots: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
            next_generation: Cell::new(0),
            timers: RefCell::new(Timers::default()),
            live: Cell::new(0),
            ended: RefCell::default(),
        };
        Executor { handle: Handle { shared: Rc::new(shared) } }
    }

    /// The handle that tasks use.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Wakes what is due and polls at most [`TURN_BUDGET`] ready tasks. True when any was polled.
    pub fn turn(&self) -> bool {
        let shared = &self.handle.shared;
        let now = shared.clock.now();
        loop {
            // Bound outside the `while let` so that the borrow ends before the waker runs.
            let expired = shared.timers.borrow_mut().pop_expired(now);
            let Some(waker) = expired else { break };
            waker.wake();
        }
        let mut polled = 0;
        while polled < TURN_BUDGET {
            let Some(id) = shared.ready.pop() else { break };
            self.poll_task(id);
            polled += 1;
        }
        polled > 0
    }

    /// Runs until `done` says so, resting in `park` whenever no task is ready.
    pub fn run_until(&self, park: &dyn Park, mut done: impl FnMut() -> bool) {
        while !done() {
            self.turn();
            if done() {
                return;
            }
            // With tasks ready this only collects interrupts: `rest_until` is then in the past.
            park.park(self.rest_until());
        }
    }

    /// Runs for ever.
    pub fn run(&self, park: &dyn Park) -> ! {
        loop {
            self.run_until(park, || false);
        }
    }

    /// Runs one future to its end along with all tasks; for tests and for start-up sequences.
    pub fn block_on<T: 'static>(&self, park: &dyn Park, future: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let slot = result.clone();
        self.handle.spawn("block_on", async move {
            let value = future.await;
            *slot.borrow_mut() = Some(value);
        });
        self.run_until(park, || result.borrow().is_some());
        let value = result.borrow_mut().take();
        // run_until returned, so the task stored its value.
        value.expect("block_on ended without a value")
    }

    /// Ends every task where it stands, as a loss of power would, and those that their destructors start.
    /// Tasks hold the executor through their handles: without this, dropping it frees nothing.
    pub fn abort_all(&self) {
        let shared = &self.handle.shared;
        while shared.live.get() > 0 {
            let tasks: Vec<TaskId> =
                shared.slots.borrow().iter().flatten().map(|slot| slot.header.id).collect();
            tasks.into_iter().for_each(|id| shared.release(id));
        }
    }

    /// How long the core may rest: not at all while tasks are ready, else to the next deadline.
    pub fn rest_until(&self) -> Instant {
        let shared = &self.handle.shared;
        if !shared.ready.is_empty() {
            return Instant::ZERO;
        }
        shared.timers.borrow().next_deadline().unwrap_or(Instant::FAR_FUTURE)
    }

    fn poll_task(&self, id: TaskId) {
        let shared = &self.handle.shared;
        let Some((mut future, waker)) = shared.take_future(id) else { return };
        let outcome = future.as_mut().poll(&mut Context::from_waker(&waker));
        match outcome {
            Poll::Ready(()) => shared.release(id),
            Poll::Pending => shared.put_back(id, future),
        }
    }
}

impl Shared {
    /// Takes a task's future out of its slot for polling; `None` for a task that is gone.
    fn take_future(&self, id: TaskId) -> Option<(TaskFuture, Waker)> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(id.index)?.as_mut().filter(|slot| slot.header.id == id)?;
        slot.header.unqueued();
        slot.polls += 1;
        let future = slot.future.take()?;
        Some((future, slot.waker.clone()))
    }

    fn put_back(&self, id: TaskId, future: TaskFuture) {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(id.index).and_then(|slot| slot.as_mut().filter(|s| s.header.id == id));
        match slot {
            Some(slot) => slot.future = Some(future),
            None => {
                // Aborted itself while running: the destructor may use the executor, so end the borrow.
                drop(slots);
                drop(future);
            }
        }
    }

    fn release(&self, id: TaskId) {
        let mut slots = self.slots.borrow_mut();
        let Some(place) = slots.get_mut(id.index) else { return };
        if place.as_ref().is_none_or(|slot| slot.header.id != id) {
            return;
        }
        let slot = place.take();
        drop(slots);
        if let Some(slot) = &slot {
            *self.ended.borrow_mut().entry(slot.name).or_default() += slot.polls;
        }
        self.free.borrow_mut().push(id.index);
        self.live.set(self.live.get() - 1);
        drop(slot);
    }
}

impl Handle {
    /// Starts a task. `name` appears in `top` and in reports.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + 'static) -> TaskHandle {
        let shared = &self.shared;
        let generation = shared.next_generation.get();
        shared.next_generation.set(generation + 1);
        let recycled = shared.free.borrow_mut().pop();
        let mut slots = shared.slots.borrow_mut();
        let index = recycled.unwrap_or_else(|| {
            slots.push(None);
            slots.len() - 1
        });
        let id = TaskId { index, generation };
        let header = Arc::new(TaskWaker::new(id, shared.ready.clone()));
        let waker = Waker::from(header.clone());
        slots[index] =
            Some(Slot { name, future: Some(Box::pin(future)), waker, header: header.clone(), polls: 0 });
        // Stale entries of finished tasks may still be queued: at most one for each slot.
        shared.ready.reserve(slots.len() * 2);
        drop(slots);
        shared.live.set(shared.live.get() + 1);
        header.wake_by_ref();
        TaskHandle { handle: self.clone(), id }
    }

    /// The executor's clock, now.
    pub fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// The executor's clock.
    pub fn clock(&self) -> Rc<dyn Clock> {
        self.shared.clock.clone()
    }

    /// Waits until `deadline`; [`Instant::FAR_FUTURE`] waits for ever.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::new(self.clone(), deadline)
    }

    /// Waits for `span`.
    pub fn sleep(&self, span: Duration) -> Sleep {
        self.sleep_until(self.now() + span)
    }

    /// Runs `future` for at most `span`; dropping it when the time is over.
    pub fn timeout<F: Future>(&self, span: Duration, future: F) -> Timeout<F> {
        Timeout::new(self.sleep(span), future)
    }

    /// Number of tasks that exist.
    pub fn live_tasks(&self) -> usize {
        self.shared.live.get()
    }

    /// Calls `visit` with the name and poll count of every task that exists.
    pub fn for_each_task(&self, mut visit: impl FnMut(&'static str, u64)) {
        for slot in self.shared.slots.borrow().iter().flatten() {
            visit(slot.name, slot.polls);
        }
    }

    /// How many tasks there are of each name, and how often those of that name were polled, ended ones included. In the order
    /// of the names.
    pub fn polls(&self) -> BTreeMap<&'static str, (usize, u64)> {
        let ended = self.shared.ended.borrow();
        let mut polls: BTreeMap<_, _> = ended.iter().map(|(name, polls)| (*name, (0, *polls))).collect();
        self.for_each_task(|name, more| {
            let (tasks, polls) = polls.entry(name).or_default();
            *tasks += 1;
            *polls += more;
        });
        polls
    }

    pub(crate) fn timers(&self) -> RefMut<'_, Timers> {
        self.shared.timers.borrow_mut()
    }
}

impl TaskHandle {
    /// Ends the task where it stands, dropping its future. Does nothing when it has finished.
    pub fn abort(&self) {
        self.handle.shared.release(self.id);
    }

    /// True when the task has ended.
    pub fn is_finished(&self) -> bool {
        let slots = self.handle.shared.slots.borrow();
        !matches!(slots.get(self.id.index), Some(Some(slot)) if slot.header.id == self.id)
    }
}

#[cfg(test)]
mod tests;
