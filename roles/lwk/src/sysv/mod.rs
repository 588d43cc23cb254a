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

use crate::files::Budget;

/// Both kinds.
pub struct Sysv {
    /// Semaphore sets.
    pub semaphores: Table<Set>,
    /// Message queues.
    pub messages: Table<Queue>,
    /// Semaphores of all sets, or messages in all queues: what bounds the memory that they take.
    semaphores_there: Budget,
    messages_there: Budget,
}

impl Default for Sysv {
    fn default() -> Sysv {
        Sysv {
            semaphores: Table::default(),
            messages: Table::default(),
            semaphores_there: Budget::new(semaphores::ALL_MOST),
            messages_there: Budget::new(messages::ALL_MOST),
        }
    }
}
