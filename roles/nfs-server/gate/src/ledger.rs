//! What an observer who sees everything writes down: what happened, what was found wrong first, and when the power went.

use keelson_exec::Handle;
use keelson_hal::Instant;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The observer.
pub struct Ledger {
    handle: Handle,
    verbose: bool,
    wrong: RefCell<Option<String>>,
    /// Power cuts of the server so far.
    cuts: Cell<u32>,
    is_off: Cell<bool>,
    /// Operations that clients finished.
    done: Cell<usize>,
    stamp: Cell<u32>,
    /// Handles of everything that was ever made.
    handles: RefCell<BTreeSet<Vec<u8>>>,
    /// Write verifiers, and the power cuts before the server that gave them.
    verifiers: RefCell<BTreeMap<[u8; 8], u32>>,
}

impl Ledger {
    /// One that tells what happens when `verbose`.
    pub fn new(handle: Handle, verbose: bool) -> Ledger {
        Ledger {
            handle,
            verbose,
            wrong: RefCell::default(),
            cuts: Cell::new(0),
            is_off: Cell::new(true),
            done: Cell::new(0),
            stamp: Cell::new(0),
            handles: RefCell::default(),
            verifiers: RefCell::default(),
        }
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.handle.now()
    }

    /// Virtual time since the beginning.
    pub fn age(&self) -> Duration {
        self.now() - Instant::ZERO
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

    /// Power cuts of the server so far, which is the number of the server that receives what is sent now.
    pub fn cuts(&self) -> u32 {
        self.cuts.get()
    }

    /// The number of the server that sent what is received now: without power, only what it sent before is on its way.
    pub fn sender(&self) -> u32 {
        if self.is_off.get() { self.cuts.get().saturating_sub(1) } else { self.cuts.get() }
    }

    /// The server's power goes.
    pub fn cut(&self) {
        self.cuts.set(self.cuts.get() + 1);
        self.is_off.set(true);
    }

    /// The server's power comes.
    pub fn power_on(&self) {
        self.is_off.set(false);
    }

    /// A client finished an operation.
    pub fn count(&self) {
        self.done.set(self.done.get() + 1);
    }

    /// Operations that were finished.
    pub fn done(&self) -> usize {
        self.done.get()
    }

    /// A number for content that nothing else has.
    pub fn stamp(&self) -> u32 {
        self.stamp.set(self.stamp.get() + 1);
        self.stamp.get()
    }

    /// Something was made: its handle must be new for ever.
    pub fn made(&self, handle: &[u8]) {
        if !self.handles.borrow_mut().insert(handle.to_vec()) {
            self.fail(format!("a new object has the handle of an old one: {handle:02x?}"));
        }
    }

    /// The server after `cuts` power cuts gave this verifier: always the same, and no other server's.
    pub fn verifier(&self, verifier: [u8; 8], cuts: u32) {
        let mut known = self.verifiers.borrow_mut();
        let other = known.iter().any(|(other, of)| *of == cuts && *other != verifier);
        if known.get(&verifier).is_some_and(|of| *of != cuts) {
            self.fail(format!("the write verifier {verifier:02x?} is that of before a power cut"));
        } else if other {
            self.fail(format!("the write verifier became {verifier:02x?} without a power cut"));
        }
        known.insert(verifier, cuts);
    }
}
