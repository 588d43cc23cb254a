//! What an observer who sees everything writes down: what happened, and what was found wrong first.

use keelson_exec::Handle;
use keelson_hal::Instant;
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// The observer.
pub struct Ledger {
    handle: Handle,
    verbose: bool,
    wrong: RefCell<Option<String>>,
    /// Operations that clients finished, well or with an error.
    done: Cell<usize>,
    /// Those that failed.
    failed: Cell<usize>,
}

impl Ledger {
    /// One that tells what happens when `verbose`.
    pub fn new(handle: Handle, verbose: bool) -> Ledger {
        Ledger { handle, verbose, wrong: RefCell::default(), done: Cell::new(0), failed: Cell::new(0) }
    }

    /// Virtual time since the beginning.
    pub fn age(&self) -> Duration {
        self.handle.now() - Instant::ZERO
    }

    /// Tells something, if anybody wants to know.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            let now = self.age();
            eprintln!("{:>5}.{:06} {}", now.as_secs(), now.subsec_micros(), what());
        }
    }

    /// Something is wrong; the first of it counts.
    pub fn fail(&self, said: String) {
        self.note(|| format!("WRONG: {said}"));
        let at = self.age().as_secs_f64();
        self.wrong.borrow_mut().get_or_insert_with(|| format!("at {at:.6} s: {said}"));
    }

    /// What was found wrong first.
    pub fn wrong(&self) -> Option<String> {
        self.wrong.borrow().clone()
    }

    /// True when something is wrong.
    pub fn has_failed(&self) -> bool {
        self.wrong.borrow().is_some()
    }

    /// A client has finished an operation.
    pub fn finished(&self, well: bool) {
        self.done.set(self.done.get() + 1);
        self.failed.set(self.failed.get() + usize::from(!well));
    }

    /// Operations that clients finished, well or with an error.
    pub fn done(&self) -> usize {
        self.done.get()
    }

    /// Those that failed.
    pub fn failed(&self) -> usize {
        self.failed.get()
    }
}
