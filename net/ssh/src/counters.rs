//! What the server counts.

use core::cell::Cell;

/// Why a connection was cut, or not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// As many connections were open as may be.
    Full,
    /// It had not proved a key in time.
    SlowLogin,
    /// It sent more before it had proved a key than that takes.
    Verbose,
    /// It tried too many keys.
    Attempts,
    /// Nothing came from it, or it took no output, for too long.
    Idle,
    /// It sent what is no SSH, or not allowed at that moment.
    Protocol,
    /// The stream broke.
    Broken,
}

impl Cut {
    const ALL: [(Cut, &str); 7] = [
        (Cut::Full, "full"),
        (Cut::SlowLogin, "slow_login"),
        (Cut::Verbose, "verbose"),
        (Cut::Attempts, "attempts"),
        (Cut::Idle, "idle"),
        (Cut::Protocol, "protocol"),
        (Cut::Broken, "broken"),
    ];
}

/// What happened since the start.
#[derive(Default, Debug)]
pub struct Counters {
    /// Connections that were accepted.
    pub accepted: Cell<u64>,
    /// Connections that there are.
    pub open: Cell<u64>,
    /// Connections whose key was proved and may enter.
    pub entered: Cell<u64>,
    /// Keys and user names that may not enter.
    pub refused: Cell<u64>,
    /// Commands and shells that were begun.
    pub sessions: Cell<u64>,
    /// Bytes of output of commands and shells.
    pub output: Cell<u64>,
    cuts: [Cell<u64>; Cut::ALL.len()],
}

impl Counters {
    /// Connections cut or not taken for this reason.
    pub fn cut(&self, why: Cut) -> u64 {
        self.cuts[why as usize].get()
    }

    /// All reasons by name, with their numbers.
    pub fn cuts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Cut::ALL.iter().map(|(why, name)| (*name, self.cut(*why)))
    }

    /// A connection is cut, or not taken.
    pub fn count_cut(&self, why: Cut) {
        count(&self.cuts[why as usize], 1);
    }
}

pub(crate) fn count(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get().wrapping_add(more));
}
