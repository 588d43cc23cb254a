//! A bounded queue of requests and the tasks that serve them.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

/// Jobs that wait, workers that rest. Workers are started when there is more to do than they can do, and stay:
/// a steady load allocates nothing.
pub(super) struct Workers<J> {
    jobs: RefCell<VecDeque<J>>,
    resting: RefCell<Vec<(usize, Waker)>>,
    started: Cell<usize>,
    most_jobs: usize,
    most_workers: usize,
}

impl<J> Workers<J> {
    /// Without any worker.
    pub fn new(most_jobs: usize, most_workers: usize) -> Rc<Workers<J>> {
        Rc::new(Workers {
            jobs: RefCell::default(),
            resting: RefCell::default(),
            started: Cell::new(0),
            most_jobs,
            most_workers: most_workers.max(1),
        })
    }

    /// Whether another job would be taken.
    pub fn has_room(&self) -> bool {
        self.jobs.borrow().len() < self.most_jobs
    }

    /// Queues a job and wakes a worker that rests; where all are busy and there may be more, `start` is called
    /// with the number of a new one. Returns the job where too many wait.
    pub fn push(&self, job: J, start: impl FnOnce(usize)) -> Result<(), J> {
        if !self.has_room() {
            return Err(job);
        }
        self.jobs.borrow_mut().push_back(job);
        let rested = self.resting.borrow_mut().pop();
        match rested {
            Some((_, waker)) => waker.wake(),
            None if self.started.get() < self.most_workers => {
                let number = self.started.get();
                self.started.set(number + 1);
                start(number);
            }
            None => {}
        }
        Ok(())
    }

    /// Waits for a job, as worker `number`.
    pub async fn next(&self, number: usize) -> J {
        poll_fn(|cx| {
            let mut resting = self.resting.borrow_mut();
            let place = resting.iter().position(|(other, _)| *other == number);
            match (self.jobs.borrow_mut().pop_front(), place) {
                (Some(job), place) => {
                    if let Some(place) = place {
                        resting.swap_remove(place);
                    }
                    return Poll::Ready(job);
                }
                (None, Some(_)) => {}
                (None, None) => resting.push((number, cx.waker().clone())),
            }
            Poll::Pending
        })
        .await
    }
}
