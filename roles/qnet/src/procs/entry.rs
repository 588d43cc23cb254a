//! A process as the table has it.

use super::stream::Stream;
use crate::api::{Credentials, DEFAULT_PRIORITY};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use keelson_exec::TaskHandle;
use keelson_exec::sync::Notify;
use keelson_qnet_wire::Nd;
use keelson_qnet_wire::proc::{BlockedOn, Sigset, ThreadState};

/// Numbers of signals (openqnx trunk/lib/c/public/signal.h).
pub mod signal {
    /// The terminal is gone.
    pub const HUP: i32 = 1;
    /// Ctrl-C.
    pub const INT: i32 = 2;
    /// Ctrl-\.
    pub const QUIT: i32 = 3;
    /// Ends whatever it is sent to.
    pub const KILL: i32 = 9;
    /// Nobody reads the pipe.
    pub const PIPE: i32 = 13;
    /// Please end.
    pub const TERM: i32 = 15;
    /// Background process wants to read from its terminal.
    pub const TTIN: i32 = 26;
    /// Background process wants to write to its terminal.
    pub const TTOU: i32 = 27;

    /// Those that end a process unless it says otherwise (section 14.5). Others are ignored.
    pub const FATAL: [i32; 6] = [HUP, INT, QUIT, KILL, PIPE, TERM];

    /// Numbers by the names that `slay -s` takes.
    pub fn by_name(name: &str) -> Option<i32> {
        let name = name.strip_prefix("SIG").unwrap_or(name);
        let list =
            [("HUP", HUP), ("INT", INT), ("QUIT", QUIT), ("KILL", KILL), ("PIPE", PIPE), ("TERM", TERM)];
        let number = || name.parse().ok().filter(|number| (1..=64).contains(number));
        list.iter().find(|(known, _)| *known == name).map(|(_, number)| *number).or_else(number)
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By itself, with a status from 0 to 255.
    Exited(i32),
    /// By a signal.
    Killed(i32),
}

impl End {
    /// The status as a shell has it: 128 and the signal.
    pub fn status(self) -> i32 {
        match self {
            End::Exited(status) => status,
            End::Killed(signo) => 128 + signo,
        }
    }
}

/// Where a process is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Running,
    /// Its descriptors are being closed.
    Ending,
    /// Nobody has waited for it yet.
    Ended(End),
}

/// Who asked for a process from another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spawner {
    pub nd: Nd,
    pub pid: i32,
}

/// A process.
pub(crate) struct Entry {
    pub pid: u32,
    pub parent: Cell<u32>,
    /// Path of the program.
    pub path: String,
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: RefCell<String>,
    pub umask: u32,
    pub who: Credentials,
    /// Time since 1970.
    pub started: Duration,
    pub spawner: Option<Spawner>,
    pub nozombie: Cell<bool>,
    pub fds: RefCell<BTreeMap<i32, Rc<dyn Stream>>>,
    pub signals: Signals,
    pub thread: Cell<Thread>,
    pub phase: Cell<Phase>,
    /// Notified at each change of the phase.
    pub changed: Notify,
    pub task: RefCell<Option<TaskHandle>>,
    /// Part of the system, with the objects that it has loaded.
    pub service: Option<Service>,
}

/// What is part of the system.
pub(crate) struct Service {
    /// Shared objects.
    pub objects: fn(&super::Processes) -> Vec<String>,
    /// Its threads.
    pub threads: &'static [Thread],
}

/// What a thread does, when it is not waiting for a reply: that the kernel knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Thread {
    pub state: u8,
    pub priority: u8,
    /// 1 first in first out, 2 round robin.
    pub policy: u8,
    pub on: BlockedOn,
}

impl Thread {
    pub const READY: Thread = Thread::new(ThreadState::READY, DEFAULT_PRIORITY);

    pub const fn new(state: u8, priority: u8) -> Thread {
        Thread { state, priority, policy: 2, on: BlockedOn::Other }
    }

    /// Waits for messages on a channel.
    pub const fn receiving(chid: i32, priority: u8) -> Thread {
        Thread { on: BlockedOn::Channel(chid), ..Thread::new(ThreadState::RECEIVE, priority) }
    }
}

/// What becomes of signals.
pub(crate) struct Signals {
    ignored: Cell<u64>,
    caught: Cell<u64>,
    pending: Cell<u64>,
    changed: Notify,
}

/// What is to be done about a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Nothing,
    End,
}

fn bit(signo: i32) -> u64 {
    let place = signo.checked_sub(1).and_then(|place| u32::try_from(place).ok());
    place.and_then(|place| 1_u64.checked_shl(place)).unwrap_or(0)
}

impl Signals {
    pub fn new(ignored: u64) -> Signals {
        Signals {
            ignored: Cell::new(ignored),
            caught: Cell::new(0),
            pending: Cell::new(0),
            changed: Notify::new(),
        }
    }

    /// The two words of a signal set.
    pub fn of_words([low, high]: Sigset) -> u64 {
        u64::from(high) << 32 | u64::from(low)
    }

    pub fn ignored(&self) -> u64 {
        self.ignored.get()
    }

    pub fn pending(&self) -> u64 {
        self.pending.get()
    }

    /// From now on the process is told of signals, and not ended.
    pub fn catch(&self, signals: &[i32]) {
        let bits = signals.iter().fold(0, |bits, signo| bits | bit(*signo)) & !bit(signal::KILL);
        self.caught.set(self.caught.get() | bits);
    }

    pub fn arrive(&self, signo: i32) -> Action {
        let this = bit(signo);
        if signo == signal::KILL {
            return Action::End;
        }
        if self.caught.get() & this != 0 {
            self.pending.set(self.pending.get() | this);
            self.changed.notify();
            return Action::Nothing;
        }
        let is_fatal = signal::FATAL.contains(&signo) && self.ignored.get() & this == 0;
        if is_fatal { Action::End } else { Action::Nothing }
    }

    /// Waits for one of the signals that are caught.
    pub async fn next(&self) -> i32 {
        loop {
            let changed = self.changed.notified();
            let pending = self.pending.get();
            if pending != 0 {
                let place = pending.trailing_zeros();
                self.pending.set(pending & (pending - 1));
                return place as i32 + 1;
            }
            changed.await;
        }
    }
}

impl Entry {
    /// The program's name without directories.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    pub fn is_running(&self) -> bool {
        self.phase.get() == Phase::Running
    }

    pub fn ended(&self) -> Option<End> {
        match self.phase.get() {
            Phase::Ended(end) => Some(end),
            _ => None,
        }
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
        self.changed.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_signals() {
        let signals = Signals::new(Signals::of_words([bit(signal::HUP) as u32, 1 << 31]));
        assert_eq!(signals.ignored(), 1 | 1 << 63);
        assert_eq!(signals.arrive(signal::HUP), Action::Nothing);
        assert_eq!(signals.arrive(signal::INT), Action::End);
        assert_eq!(signals.arrive(20), Action::Nothing, "not one that ends");
        signals.catch(&[signal::INT, signal::KILL]);
        assert_eq!(
            (signals.arrive(signal::INT), signals.arrive(signal::KILL)),
            (Action::Nothing, Action::End)
        );
        assert_eq!(signals.pending(), 2);
        for odd in [0, -1, 65, i32::MIN, i32::MAX] {
            assert_eq!((bit(odd), signals.arrive(odd)), (0, Action::Nothing), "{odd}");
        }
    }

    #[test]
    fn names_of_signals() {
        let number = signal::by_name;
        assert_eq!([number("SIGTERM"), number("INT"), number("9")], [Some(15), Some(2), Some(9)]);
        assert_eq!([number("65"), number("0"), number("XX"), number("-1")], [None; 4]);
    }
}
