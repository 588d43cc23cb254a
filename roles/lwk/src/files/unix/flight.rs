//! Files that are on their way in messages (SCM_RIGHTS), and what becomes of sockets that only messages hold.
//!
//! A socket can be sent to itself, or two to each other, and be closed: nobody can receive them any more, and each keeps the other.
//! [`Flight::collect`] finds such sockets and takes out what they hold, as the garbage collector of Linux does
//! (`net/unix/garbage.c`). It needs to know how often each socket is in messages, so files come aboard and leave under one lock,
//! which comes before those of sockets. Only calls that send or receive files take it.
//!
//! What is in messages of a socket that goes is dropped by a loop ([`Flight::discard`]) and not by the socket, which may be in a
//! chain of any length.

use super::rights::{self, List, Rights, socket};
use crate::Errno;
use crate::files::Description;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicUsize, Ordering};
use spin::{Mutex, MutexGuard};

/// How deep sockets may be sent in sockets (Linux: `MAX_RECURSION_LEVEL`).
const MAX_LEVEL: u32 = 4;

/// A socket that is closed pays for looking at so many files: with more of them aboard, not every one that is closed has the
/// collector look.
const PER_CLOSED: usize = 64;

/// The files that are on their way between programs of the node.
#[derive(Default)]
pub struct Flight {
    aboard: Mutex<Aboard>,
    /// Sockets among them: without any nobody looks further.
    sockets: AtomicUsize,
}

/// What is known of them.
#[derive(Default)]
pub(super) struct Aboard {
    /// By user.
    files: BTreeMap<u32, usize>,
    total: usize,
    /// By address of the description.
    sockets: BTreeMap<usize, Passenger>,
    /// Sockets closed since the collector looked.
    closed: usize,
}

/// A socket in messages.
struct Passenger {
    description: Weak<Description>,
    /// How often.
    times: usize,
    /// How often in messages of which it is not known that nobody can receive them.
    unseen: usize,
    /// Only messages hold it, as far as is known.
    is_candidate: bool,
    /// Where the stack goes on of those to be looked at.
    below: Option<usize>,
}

impl Flight {
    pub(super) fn lock(&self) -> MutexGuard<'_, Aboard> {
        self.aboard.lock()
    }

    fn note(&self, aboard: &Aboard) {
        self.sockets.store(aboard.sockets.len(), Ordering::Release);
    }

    /// Files come aboard.
    pub(super) fn board(&self, aboard: &mut Aboard, rights: &Rights) {
        aboard.count(rights.user, |count| count + rights.files().len());
        for (key, description, _) in rights.sockets() {
            aboard.sockets.entry(key).or_insert_with(|| Passenger::of(description)).times += 1;
        }
        self.note(aboard);
    }

    /// Files leave.
    pub(super) fn leave(&self, aboard: &mut Aboard, rights: &Rights) {
        aboard.count(rights.user, |count| count - rights.files().len());
        for (key, ..) in rights.sockets() {
            if let Some(passenger) = aboard.sockets.get_mut(&key) {
                passenger.times -= 1;
                if passenger.times == 0 {
                    aboard.sockets.remove(&key);
                }
            }
        }
        self.note(aboard);
    }

    /// Drops what was in messages of sockets, and what is in messages of sockets that go with it.
    pub(super) fn discard(&self, mut list: List) {
        while let Some(rights) = list.pop() {
            self.leave(&mut self.lock(), &rights);
            for mut socket in rights.into_files().into_iter().filter_map(rights::last_of) {
                socket.hollow(&mut list);
                socket.is_hollow = true;
            }
        }
    }

    /// A socket is closed: others may be out of reach with it.
    pub(super) fn closed(&self) {
        if self.sockets.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut aboard = self.lock();
        aboard.closed += 1;
        let due = aboard.closed * PER_CLOSED >= aboard.total;
        drop(aboard);
        if due {
            self.collect();
        }
    }

    /// Empties sockets that only messages hold which nobody can receive any more; that is their end.
    pub fn collect(&self) {
        if self.sockets.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut garbage = List::default();
        let mut aboard = self.lock();
        aboard.look();
        let mut at = 0;
        while let Some((key, description)) = aboard.next(at) {
            if let Some(socket) = socket(&description) {
                socket.unload(&mut garbage);
            }
            at = key + 1;
        }
        drop(aboard);
        self.discard(garbage);
    }
}

impl Aboard {
    fn count(&mut self, user: u32, change: impl Fn(usize) -> usize) {
        let count = self.files.entry(user).or_default();
        *count = change(*count);
        if *count == 0 {
            self.files.remove(&user);
        }
        self.total = change(self.total);
    }

    /// How deep sockets are in sockets when these are in one. ETOOMANYREFS: too deep, or there are too many of the sender already
    /// (unix(7)), whoever that is: here root is limited as well.
    pub fn admit(&self, rights: &Rights) -> Result<u32, Errno> {
        let before = self.files.get(&rights.user).copied().unwrap_or(0);
        let level = rights.sockets().map(|(.., socket)| socket.level.load(Ordering::Relaxed) + 1).max();
        if before > rights.most as usize || level.is_some_and(|level| level > MAX_LEVEL + 1) {
            return Err(Errno::ETOOMANYREFS);
        }
        Ok(level.unwrap_or(0))
    }

    /// The next candidate from `at` on. Its description is in a message, which does not go as long as the lock is held: what comes
    /// back here is never the last that refers to it.
    fn next(&self, at: usize) -> Option<(usize, Arc<Description>)> {
        let mut from = self.sockets.range(at..).filter(|(_, passenger)| passenger.is_candidate);
        from.find_map(|(key, passenger)| Some((*key, passenger.description.upgrade()?)))
    }

    /// Finds the sockets that nobody can reach: the candidates that remain. Takes no memory.
    fn look(&mut self) {
        self.closed = 0;
        for passenger in self.sockets.values_mut() {
            passenger.unseen = passenger.times;
            // Whoever has it besides the messages may do anything with it: a descriptor, a call.
            passenger.is_candidate = passenger.description.strong_count() == passenger.times
                && passenger.description.upgrade().is_some_and(|it| Arc::strong_count(it.file()) == 1);
        }
        // That a candidate holds it does not tell that somebody can have it.
        let mut at = 0;
        while let Some((key, description)) = self.next(at) {
            self.each_inside(&description, |_, passenger| passenger.unseen -= 1);
            at = key + 1;
        }
        // What others hold can be received, and then what is in it.
        let mut stack = None;
        for (key, passenger) in &mut self.sockets {
            if passenger.is_candidate && passenger.unseen > 0 {
                passenger.reach(*key, &mut stack);
            }
        }
        while let Some(passenger) = stack.and_then(|key| self.sockets.get_mut(&key)) {
            stack = passenger.below.take();
            let Some(description) = passenger.description.upgrade() else { continue };
            self.each_inside(&description, |key, passenger| {
                if passenger.is_candidate {
                    passenger.reach(key, &mut stack);
                }
            });
        }
    }

    /// Every time that a socket is in messages of this one.
    fn each_inside(&mut self, description: &Description, mut each: impl FnMut(usize, &mut Passenger)) {
        let Some(outer) = socket(description) else { return };
        outer.each_rights(|rights| {
            for (key, ..) in rights.sockets() {
                if let Some(passenger) = self.sockets.get_mut(&key) {
                    each(key, passenger);
                }
            }
        });
    }
}

impl Passenger {
    fn of(description: &Arc<Description>) -> Passenger {
        let description = Arc::downgrade(description);
        Passenger { description, times: 0, unseen: 0, is_candidate: false, below: None }
    }

    /// It can be reached after all, and what is in it is looked at later.
    fn reach(&mut self, key: usize, stack: &mut Option<usize>) {
        self.is_candidate = false;
        self.below = stack.replace(key);
    }
}

#[cfg(test)]
mod tests;
