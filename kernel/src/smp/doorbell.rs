//! How a core learns that another has work for it, without an interrupt as long as it watches: in the kernel, where it looks for
//! work before it rests or lets a program run.
//!
//! Whoever has work rings, then looks whether the other watches; whoever goes to rest stops watching, then looks whether it rang.
//! Both look behind a full fence, so that one of them sees the other: a ring that the core does not see is followed by an
//! interrupt.

use core::sync::atomic::{AtomicU32, Ordering};

/// A core's word, alone in its cache line: a processor that waits for a store to it wakes for no other.
#[repr(C, align(64))]
pub(crate) struct Doorbell {
    rung: AtomicU32,
    watched: AtomicU32,
}

impl Doorbell {
    pub const fn new() -> Doorbell {
        Doorbell { rung: AtomicU32::new(0), watched: AtomicU32::new(0) }
    }

    /// Rings. False when nobody watches: an interrupt is needed.
    pub fn ring(&self) -> bool {
        self.rung.store(1, Ordering::SeqCst);
        self.watched.load(Ordering::SeqCst) != 0
    }

    /// The core watches from now on.
    pub fn watch(&self) {
        // Seen late, it costs an interrupt.
        self.watched.store(1, Ordering::Release);
    }

    /// It rang since the core looked for work last.
    pub fn has_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire) != 0
    }

    /// The core does not watch any more. True when it rang, and was not told yet.
    pub fn leave(&self) -> bool {
        self.watched.store(0, Ordering::SeqCst);
        // Behind it, whoever rings sends an interrupt.
        self.rung.swap(0, Ordering::SeqCst) != 0
    }

    /// Stops watching; true when it rang, and watches again then. For who has a full fence to do, which is `fence`.
    pub fn leave_behind(&self, fence: impl FnOnce()) -> bool {
        self.watched.store(0, Ordering::Relaxed);
        fence();
        let rung = self.has_rung();
        if rung {
            self.answer();
        }
        rung
    }

    /// The core looks for work next, whatever rang until now, and watches.
    pub fn answer(&self) {
        if self.has_rung() {
            self.rung.swap(0, Ordering::SeqCst);
        }
        self.watch();
    }

    /// Where the store is that a ring is.
    pub fn address(&self) -> *const u32 {
        self.rung.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicBool, AtomicU64, fence};
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn who_watches_needs_no_interrupt() {
        let bell = Doorbell::new();
        assert!(!bell.ring());
        bell.answer();
        assert!(!bell.has_rung() && bell.ring() && bell.has_rung());
        assert!(bell.leave());
        assert!(!bell.has_rung() && !bell.leave());
        assert!(!bell.ring());
        bell.answer();
        assert!(!bell.leave_behind(|| ()) && !bell.ring());
        // Who finds that it rang looks for work, and watches.
        assert!(bell.leave_behind(|| ()) && bell.ring());
    }

    /// One side hands over numbers, the other looks for them, and rests or lets a program run whenever there is none: it never does
    /// with a number waiting.
    #[test]
    fn no_ring_is_lost() {
        const LAST: u64 = 300_000;
        let (bell, work) = (Doorbell::new(), AtomicU64::new(0));
        let (interrupt, over) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=LAST {
                    // So that it comes at each of the other's steps.
                    (0..number % 37).for_each(|_| core::hint::spin_loop());
                    work.store(number, Ordering::Release);
                    if !bell.ring() {
                        interrupt.store(true, Ordering::Release);
                    }
                    while work.load(Ordering::Acquire) != 0 {
                        if over.load(Ordering::Relaxed) {
                            return;
                        }
                        core::hint::spin_loop();
                    }
                }
            });
            let mut done = 0;
            while done < LAST {
                // As one that found something to do does, and looks again then.
                if done % 3 == 0 {
                    bell.answer();
                }
                done = done.max(work.swap(0, Ordering::AcqRel));
                for _ in 0..done % 41 {
                    if bell.has_rung() {
                        break;
                    }
                }
                let rung = match done % 2 {
                    0 => bell.leave(),
                    _ => bell.leave_behind(|| fence(Ordering::SeqCst)),
                };
                if rung || done == LAST {
                    bell.answer();
                    continue;
                }
                // The halt, or the program: nothing but the interrupt ends it.
                let end = Instant::now() + Duration::from_secs(20);
                while !interrupt.swap(false, Ordering::AcqRel) {
                    if Instant::now() >= end {
                        over.store(true, Ordering::Relaxed);
                        panic!("after {done} of {LAST} nothing ends the halt");
                    }
                    core::hint::spin_loop();
                }
                bell.answer();
            }
        });
    }
}
