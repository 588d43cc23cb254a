//! Workers: threads that perform what may wait. When none is idle another one starts, up to a limit; beyond it jobs queue.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;

use super::{Proxy, lock};

/// Most threads (section 5.6).
const MOST: usize = 1024;
/// A worker needs room for one call; its buffers are on the heap.
const STACK: usize = 128 << 10;

/// Something to do.
pub(super) type Job = Box<dyn FnOnce(&Arc<Proxy>) + Send>;

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    idle: usize,
    threads: usize,
}

/// The pool.
pub(super) struct Workers {
    shared: Arc<Shared>,
    warned: AtomicBool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

impl Workers {
    pub(super) fn new() -> Workers {
        Workers { shared: Arc::default(), warned: AtomicBool::new(false) }
    }

    /// Starts workers before they are needed.
    pub(super) fn warm(&self, proxy: &Arc<Proxy>, count: usize) {
        for _ in 0..count.min(MOST) {
            self.start(proxy);
        }
    }

    /// Jobs that no worker has.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.shared.state).jobs.len()
    }

    pub(super) fn add(&self, proxy: &Arc<Proxy>, job: Job) {
        let wanting = {
            let mut state = lock(&self.shared.state);
            state.jobs.push_back(job);
            self.shared.more.notify_one();
            state.jobs.len() > state.idle
        };
        if wanting && !self.start(proxy) && !self.warned.swap(true, Ordering::Relaxed) {
            proxy.handles.complain("mcexec: all workers wait; further calls are queued");
        }
    }

    fn start(&self, proxy: &Arc<Proxy>) -> bool {
        {
            let mut state = lock(&self.shared.state);
            if state.threads >= MOST {
                return false;
            }
            state.threads += 1;
            state.idle += 1;
        }
        let (shared, proxy) = (self.shared.clone(), Arc::downgrade(proxy));
        let thread = thread::Builder::new().name("lwk-worker".into()).stack_size(STACK);
        let started = thread.spawn(move || serve(&shared, &proxy)).is_ok();
        if !started {
            let mut state = lock(&self.shared.state);
            state.threads -= 1;
            state.idle -= 1;
        }
        started
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Workers find the proxy gone.
        self.shared.more.notify_all();
    }
}

fn serve(shared: &Shared, proxy: &Weak<Proxy>) {
    loop {
        let job = {
            let mut state = lock(&shared.state);
            loop {
                if let Some(job) = state.jobs.pop_front() {
                    state.idle -= 1;
                    break job;
                }
                if proxy.strong_count() == 0 {
                    return;
                }
                state = shared.more.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        };
        let Some(proxy) = proxy.upgrade() else { return };
        job(&proxy);
        lock(&shared.state).idle += 1;
    }
}
