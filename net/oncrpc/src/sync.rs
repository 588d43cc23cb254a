//! A lock that a task may hold across a wait.

use core::cell::{Cell, RefCell, RefMut};
use keelson_exec::sync::Notify;

/// Protects a stream half that the workers of one connection take turns to use.
pub(crate) struct TurnLock<T> {
    taken: Cell<bool>,
    value: RefCell<T>,
    released: Notify,
}

/// The turn; ends when dropped.
pub(crate) struct Turn<'a, T> {
    lock: &'a TurnLock<T>,
    /// `Some` until dropped: the borrow must end before the lock is released.
    value: Option<RefMut<'a, T>>,
}

impl<T> TurnLock<T> {
    pub fn new(value: T) -> TurnLock<T> {
        TurnLock { taken: Cell::new(false), value: RefCell::new(value), released: Notify::new() }
    }

    pub async fn lock(&self) -> Turn<'_, T> {
        while self.taken.replace(true) {
            self.released.notified().await;
        }
        Turn { lock: self, value: Some(self.value.borrow_mut()) }
    }
}

impl<T> Turn<'_, T> {
    pub fn get(&mut self) -> &mut T {
        // Only `drop` takes the value out.
        self.value.as_mut().expect("the turn has ended")
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        self.lock.taken.set(false);
        self.lock.released.notify();
    }
}
