//! Executor behaviour under virtual time.

use super::*;
use crate::sim::SimClock;
use crate::sync::{Notify, Semaphore, channel};
use crate::{Either, select, yield_now};

fn machine() -> (Executor, Rc<SimClock>) {
    let clock = SimClock::new();
    (Executor::new(clock.clone(), None), clock)
}

#[test]
fn sleeps_end_in_order_of_deadline() {
    let (executor, clock) = machine();
    let order = Rc::new(RefCell::new(Vec::new()));
    for ms in [30, 10, 20] {
        let (handle, order) = (executor.handle(), order.clone());
        executor.handle().spawn("sleeper", async move {
            handle.sleep(Duration::from_millis(ms)).await;
            order.borrow_mut().push((ms, handle.now().as_millis()));
        });
    }
    executor.run_until(&*clock, || order.borrow().len() == 3);
    assert_eq!(*order.borrow(), [(10, 10), (20, 20), (30, 30)]);
    assert_eq!(executor.handle().live_tasks(), 0);
}

#[test]
fn a_task_woken_twice_is_polled_once() {
    let (executor, clock) = machine();
    let polls = Rc::new(Cell::new(0));
    let waker_slot = Rc::new(RefCell::new(None::<Waker>));
    let (polls2, slot2) = (polls.clone(), waker_slot.clone());
    executor.handle().spawn(
        "counter",
        core::future::poll_fn(move |cx| {
            polls2.set(polls2.get() + 1);
            *slot2.borrow_mut() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }),
    );
    executor.turn();
    let waker = waker_slot.borrow().clone().unwrap();
    waker.wake_by_ref();
    waker.wake_by_ref();
    executor.turn();
    assert_eq!(polls.get(), 2);
    assert!(!executor.turn());
    clock.advance(Duration::from_secs(1));
}

#[test]
fn an_aborted_task_is_dropped_and_its_slot_reused() {
    struct Guard(Rc<Cell<bool>>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let (executor, clock) = machine();
    let dropped = Rc::new(Cell::new(false));
    let guard = Guard(dropped.clone());
    let task = executor.handle().spawn("held", async move {
        let _guard = guard;
        core::future::pending::<()>().await;
    });
    executor.turn();
    assert!(!task.is_finished());
    task.abort();
    assert!(dropped.get() && task.is_finished());
    let value = executor.block_on(&*clock, async { 7 });
    assert_eq!(value, 7);
    task.abort();
}

#[test]
fn a_task_may_abort_itself() {
    let (executor, clock) = machine();
    let own = Rc::new(RefCell::new(None::<TaskHandle>));
    let own2 = own.clone();
    let task = executor.handle().spawn("suicide", async move {
        let me = own2.borrow_mut().take();
        me.unwrap().abort();
        yield_now().await;
        unreachable!("runs after abort");
    });
    *own.borrow_mut() = Some(TaskHandle { handle: executor.handle(), id: task.id });
    executor.turn();
    executor.turn();
    assert!(task.is_finished());
    assert_eq!(executor.handle().live_tasks(), 0);
    let _ = clock;
}

#[test]
fn timeout_and_select_drop_the_loser() {
    let (executor, clock) = machine();
    let handle = executor.handle();
    executor.block_on(&*clock, async move {
        let late = handle.timeout(Duration::from_millis(5), handle.sleep(Duration::from_secs(9))).await;
        assert!(late.is_err());
        let first =
            select(handle.sleep(Duration::from_millis(2)), handle.sleep(Duration::from_millis(1))).await;
        assert!(matches!(first, Either::Second(())));
        assert!(handle.timers().next_deadline().is_none());
        assert_eq!(handle.now().as_millis(), 6);
    });
}

#[test]
fn channel_bounds_and_closes() {
    let (executor, clock) = machine();
    let (sender, mut receiver) = channel(2);
    let handle = executor.handle();
    handle.spawn("producer", async move {
        for n in 0..10 {
            sender.send(n).await.unwrap();
        }
    });
    let received = executor.block_on(&*clock, async move {
        let mut all = Vec::new();
        while let Some(n) = receiver.receive().await {
            all.push(n);
        }
        all
    });
    assert_eq!(received, (0..10).collect::<Vec<_>>());
}

#[test]
fn semaphore_bounds_concurrency() {
    let (executor, clock) = machine();
    let semaphore = Semaphore::new(3);
    let (peak, now) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    for _ in 0..10 {
        let (handle, semaphore, peak, now) =
            (executor.handle(), semaphore.clone(), peak.clone(), now.clone());
        executor.handle().spawn("worker", async move {
            let _permit = semaphore.acquire().await;
            now.set(now.get() + 1);
            peak.set(peak.get().max(now.get()));
            handle.sleep(Duration::from_millis(1)).await;
            now.set(now.get() - 1);
        });
    }
    let handle = executor.handle();
    executor.run_until(&*clock, || handle.live_tasks() == 0);
    assert_eq!((peak.get(), semaphore.available()), (3, 3));
}

#[test]
fn notify_between_call_and_poll_is_not_lost() {
    let (executor, clock) = machine();
    let notify = Rc::new(Notify::new());
    executor.block_on(&*clock, async move {
        let waiting = notify.notified();
        notify.notify();
        waiting.await;
    });
}

#[test]
fn abort_all_ends_tasks_and_what_their_destructors_start() {
    struct Farewell(Handle);
    impl Drop for Farewell {
        fn drop(&mut self) {
            self.0.spawn("farewell", core::future::pending());
        }
    }
    let executor = Executor::new(SimClock::new(), None);
    let handle = executor.handle();
    let farewell = Farewell(handle.clone());
    handle.spawn("task", async move {
        let _farewell = farewell;
        core::future::pending::<()>().await;
    });
    executor.turn();
    executor.abort_all();
    assert_eq!(handle.live_tasks(), 0);
}

#[test]
fn polls_of_a_name_never_fall() {
    let (executor, clock) = machine();
    let handle = executor.handle();
    for naps in 1..=3_u64 {
        let sleeper = handle.clone();
        handle.spawn("sleeper", async move {
            for _ in 0..naps {
                sleeper.sleep(Duration::from_millis(1)).await;
            }
        });
    }
    handle.spawn("waiter", core::future::pending());
    executor.turn();
    assert_eq!(handle.polls().into_iter().collect::<Vec<_>>(), [("sleeper", (3, 3)), ("waiter", (1, 1))]);
    executor.run_until(&*clock, || handle.live_tasks() == 1);
    // Each was polled at its start and after each nap.
    assert_eq!(handle.polls().into_iter().collect::<Vec<_>>(), [("sleeper", (0, 9)), ("waiter", (1, 1))]);
}
