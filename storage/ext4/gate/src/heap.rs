//! Counts heap bytes, and refuses more than a limit: what damaged images must not make us ask for.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counted.
struct Counted;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

#[global_allocator]
static COUNTED: Counted = Counted;

impl Counted {
    /// Notes more bytes; false when they are too many.
    fn take(&self, bytes: usize) -> bool {
        let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if now > LIMIT.load(Ordering::Relaxed) {
            NOW.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        PEAK.fetch_max(now, Ordering::Relaxed);
        true
    }
}

// JUSTIFICATION: only a global allocator sees every allocation, and the trait is unsafe to implement.
// SAFETY: 1. every call goes to `System` with the caller's own arguments, so its contract is passed on unchanged;
// 2. a null pointer without a call of `System` is what the contract says for memory that is not there; 3. the counters
// are atomics, which do not allocate.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above, 1.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !self.take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above, 1.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above, 1.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if new_size > layout.size() && !self.take(new_size - layout.size()) {
            return std::ptr::null_mut();
        }
        if new_size < layout.size() {
            NOW.fetch_sub(layout.size() - new_size, Ordering::Relaxed);
        }
        // SAFETY: as above, 1.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// Bytes in use.
pub fn now() -> usize {
    NOW.load(Ordering::Relaxed)
}

/// Forgets the peak so far; [`peak`] then tells of what comes.
pub fn start_peak() {
    PEAK.store(now(), Ordering::Relaxed);
}

/// The most bytes that were in use.
pub fn peak() -> usize {
    PEAK.load(Ordering::Relaxed)
}

/// From now on so many bytes more may be in use; an allocation beyond ends the process.
pub fn limit_to(bytes: usize) {
    LIMIT.store(now().saturating_add(bytes), Ordering::Relaxed);
}
