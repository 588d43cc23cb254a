//! A dump of a kernel that has failed: made by whoever was appointed for it, with memory and a stack that were set aside.
//!
//! Of the running system nothing is used: the heap is the memory set aside ([`crate::mm::RescueDma`]), locks are broken, tasks
//! do not run. Time does. What fails on this core meanwhile ends the dump, and `panic=` is done; another core that fails, since it
//! could not be stopped, stops by itself.

use crate::arch::cpu;
use crate::postmortem::CoreFile;
use crate::{mm, watchdog};
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// Sends or writes the file, and says what became of it.
pub type Dumper = Box<dyn FnOnce(&CoreFile)>;

struct Appointed(UnsafeCell<Option<Dumper>>);

// SAFETY: written once, by the first core, before `IS_APPOINTED`; taken after it, by the only core that runs. What it holds of
// the first core's is used when that core has stopped.
unsafe impl Sync for Appointed {}

static APPOINTED: Appointed = Appointed(UnsafeCell::new(None));
static IS_APPOINTED: AtomicBool = AtomicBool::new(false);
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// Appoints who makes the dump, and sets memory aside for that. The first core's to call, once; false when there was no memory,
/// or it was called before.
pub fn appoint(dumper: Dumper) -> bool {
    if !mm::reserve_rescue() {
        return false;
    }
    // SAFETY: `reserve_rescue` says true once; nobody reads it before the flag is set.
    unsafe { *APPOINTED.0.get() = Some(dumper) };
    IS_APPOINTED.store(true, Ordering::Release);
    true
}

/// Ends the dump that is made now; false when none is. For the core that makes it.
pub(super) fn end() -> bool {
    let was_running = IS_RUNNING.swap(false, Ordering::Relaxed);
    if was_running {
        watchdog::resume();
    }
    was_running
}

/// Makes the dump, if somebody was appointed for it; false when not. For the core that reports, when all others have stopped.
pub(super) fn run() -> bool {
    if !IS_APPOINTED.swap(false, Ordering::AcqRel) {
        return false;
    }
    IS_RUNNING.store(true, Ordering::Relaxed);
    watchdog::pause();
    // SAFETY: the others are stopped, and this core does not go on with what it was doing.
    unsafe { mm::break_locks() };
    mm::enter_rescue();
    // SAFETY: the stack is nobody's, and large enough: nothing below keeps buffers there.
    unsafe { cpu::call_on_stack(mm::rescue_stack_top(), on_own_stack) };
    end();
    true
}

extern "C" fn on_own_stack() {
    // SAFETY: see `Appointed`.
    let dumper = unsafe { (*APPOINTED.0.get()).take() };
    if let Some(dumper) = dumper {
        dumper(&CoreFile::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_ends_once() {
        assert!(!end(), "none is made");
        IS_RUNNING.store(true, Ordering::Relaxed);
        assert!(end());
        assert!(!end(), "what fails after it is not the dump's failure");
    }
}
