//! The system calls of a program, for who asked to see them: `mcexec --profile` and `mcexec --trace` (section 6.1).
//!
//! Processes that nobody watches do not know of it: what a [`Watched`] delegate does is done around the real one, and their threads
//! look for it once, when they come to a core.

mod arity;
mod delegate;
mod profile;
mod trace;

pub use delegate::Watched;

use crate::Errno;
use crate::mm::Mm;
use crate::thread::Thread;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_hal::{Clock, Instant};
use profile::Profile;
use spin::Mutex;
use trace::Line;

/// What is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// How often each call was made and what it took, when the process ends.
    pub profile: bool,
    /// That as JSON.
    pub json: bool,
    /// A line for each call.
    pub trace: bool,
}

/// What is seen of a process.
pub struct Watch {
    wanted: Wanted,
    profile: Mutex<Profile>,
    /// What threads asked of the host in the calls they are in.
    asked: Mutex<Vec<(u32, Asked)>>,
}

/// What a call asked of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Asked {
    requests: u32,
    time: Duration,
}

/// A call that has begun.
pub(crate) struct Begun {
    number: u32,
    at: Instant,
    /// How its line begins.
    line: Option<Line>,
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// With this in RAX.
    Returned(u64),
    /// It did not: the thread is over, or is going to be.
    Never,
    /// A signal came; it is made again, or fails.
    Interrupted,
}

impl Watch {
    pub(crate) fn new(wanted: Wanted) -> Watch {
        Watch { wanted, profile: Mutex::default(), asked: Mutex::default() }
    }

    /// For a child: as much is wanted of it.
    fn again(&self) -> Watch {
        Watch::new(self.wanted)
    }

    /// A call begins. What it is shown with is read now: it may be something else behind it.
    pub(crate) async fn begin(&self, number: u64, args: &[u64; 6], mm: &Mm, clock: &dyn Clock) -> Begun {
        let number = number as u32;
        let line = match self.wanted.trace {
            true => Some(Line::new(number, args, mm).await),
            false => None,
        };
        Begun { number, at: clock.now(), line }
    }

    /// It is over. Returns the line about it, where lines are wanted.
    pub(crate) fn end(
        &self,
        begun: Begun,
        thread: &Thread,
        mm: &Mm,
        end: End,
        now: Instant,
    ) -> Option<String> {
        let asked = self.take_asked(thread.tid);
        let took = now.saturating_since(begun.at);
        if self.wanted.profile {
            let failed = matches!(end, End::Returned(result) if Errno::from_result(result as i64).is_some());
            self.profile.lock().add(begun.number, took, failed, asked);
        }
        Some(begun.line?.line(thread.tid, mm, end, took, asked))
    }

    /// The profile of process `pid`, where it is wanted.
    pub(crate) fn profile(&self, pid: u32, name: &str) -> Option<String> {
        let profile = self.profile.lock();
        self.wanted.profile.then(|| match self.wanted.json {
            true => profile.json(pid, name),
            false => profile.table(pid, name),
        })
    }

    /// A thread had an answer of the host.
    fn had_answer(&self, tid: u32, time: Duration) {
        let mut all = self.asked.lock();
        match all.iter_mut().find(|(whose, _)| *whose == tid) {
            Some((_, asked)) => *asked = Asked { requests: asked.requests + 1, time: asked.time + time },
            None => all.push((tid, Asked { requests: 1, time })),
        }
    }

    fn take_asked(&self, tid: u32) -> Asked {
        let mut all = self.asked.lock();
        let place = all.iter().position(|(whose, _)| *whose == tid);
        place.map(|place| all.swap_remove(place).1).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
