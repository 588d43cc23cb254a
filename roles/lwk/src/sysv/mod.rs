//! System V semaphores and messages, of the whole node (svipc(7)): processes of one node share them as they share memory. Shared
//! memory itself lies with the rest of memory (`mm::shm`); its keys, identifiers and permissions are those of here.

mod access;
mod messages;
mod semaphores;
mod table;
#[cfg(test)]
mod tests;

pub use access::{Permission, User, ipc};
pub use messages::{MESSAGE_MOST, Message, QUEUE_BYTES, QUEUES_MOST, Queue, QueueStat, Wanted};
pub use semaphores::{Change, OPERATIONS_MOST, SEMAPHORES_MOST, SETS_MOST, Set, Step, VALUE_MOST, Waits};
pub use table::{Member, Table};

use core::sync::atomic::{AtomicUsize, Ordering};

/// Both kinds.
#[derive(Default)]
pub struct Sysv {
    /// Semaphore sets.
    pub semaphores: Table<Set>,
    /// Message queues.
    pub messages: Table<Queue>,
    /// Semaphores of all sets, or messages in all queues: what bounds the memory that they take.
    semaphores_there: AtomicUsize,
    messages_there: AtomicUsize,
}

/// Counts `more` things unless there would be more than `most` of them.
fn count(there: &AtomicUsize, more: usize, most: usize) -> bool {
    let add = |now: usize| now.checked_add(more).filter(|sum| *sum <= most);
    there.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}
