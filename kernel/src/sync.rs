//! Locks between cores.
//!
//! Interrupts are off everywhere but in the idle halt, so no handler can ask for a lock that its own core
//! holds; a plain spin lock is enough.

use spin::{Mutex, MutexGuard};

/// A value shared between cores, locked for short times.
pub struct SpinLock<T>(Mutex<T>);

impl<T> SpinLock<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> SpinLock<T> {
        SpinLock(Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    /// The lock, if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }

    /// Frees the lock whoever holds it.
    ///
    /// # Safety
    /// The holder never runs again, and the value is in a state that its next user can cope with.
    pub unsafe fn break_lock(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.0.force_unlock() };
    }
}
