//! Sets of signals and what is known of each signal.

use core::ops::{BitAnd, BitOr, Not};

/// A set of signals as `sigset_t` has it on x86-64: bit `n - 1` is signal `n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: SigSet = SigSet(0);
    /// What cannot be blocked, caught or ignored.
    pub const UNSTOPPABLE: SigSet = SigSet(1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1));
    /// Those that stop a process unless it says otherwise.
    pub const STOPS: SigSet =
        SigSet(1 << (SIGSTOP - 1) | 1 << (SIGTSTP - 1) | 1 << (SIGTTIN - 1) | 1 << (SIGTTOU - 1));
    /// Raised by what the thread itself does: delivered before all others.
    pub const SYNCHRONOUS: SigSet = SigSet(
        1 << (SIGSEGV - 1)
            | 1 << (SIGBUS - 1)
            | 1 << (SIGILL - 1)
            | 1 << (SIGTRAP - 1)
            | 1 << (SIGFPE - 1)
            | 1 << (SIGSYS - 1),
    );

    /// The set of one signal; empty for numbers that are none.
    pub const fn of(signal: u32) -> SigSet {
        if is_signal(signal) { SigSet(1 << (signal - 1)) } else { SigSet(0) }
    }

    /// True when the signal is in the set.
    pub const fn has(self, signal: u32) -> bool {
        self.0 & SigSet::of(signal).0 != 0
    }

    /// True when no signal is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The signal to deliver first: synchronous ones, then the lowest number (signal(7)).
    pub const fn first(self) -> Option<u32> {
        let urgent = self.0 & SigSet::SYNCHRONOUS.0;
        let bits = if urgent != 0 { urgent } else { self.0 };
        if bits == 0 { None } else { Some(bits.trailing_zeros() + 1) }
    }
}

impl BitOr for SigSet {
    type Output = SigSet;
    fn bitor(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }
}

impl BitAnd for SigSet {
    type Output = SigSet;
    fn bitand(self, other: SigSet) -> SigSet {
        SigSet(self.0 & other.0)
    }
}

impl Not for SigSet {
    type Output = SigSet;
    fn not(self) -> SigSet {
        SigSet(!self.0)
    }
}

/// True for the numbers of signals: 1 to 64.
pub const fn is_signal(number: u32) -> bool {
    number >= 1 && number <= 64
}

/// True for real-time signals, which queue: 32 to 64 to the kernel.
pub const fn is_real_time(signal: u32) -> bool {
    signal >= SIGRTMIN && signal <= 64
}

/// What a signal does when the process says nothing (signal(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultAction {
    /// Ends the process.
    Terminate,
    /// Ends it with a core file.
    Core,
    /// Nothing.
    Ignore,
    /// Stops it.
    Stop,
    /// Lets a stopped process go on.
    Continue,
}

/// The default action of a signal.
pub const fn default_action(signal: u32) -> DefaultAction {
    match signal {
        SIGCHLD | SIGURG | SIGWINCH => DefaultAction::Ignore,
        SIGCONT => DefaultAction::Continue,
        SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU => DefaultAction::Stop,
        SIGQUIT | SIGILL | SIGTRAP | SIGABRT | SIGBUS | SIGFPE | SIGSEGV | SIGXCPU | SIGXFSZ | SIGSYS => {
            DefaultAction::Core
        }
        _ => DefaultAction::Terminate,
    }
}

macro_rules! signals {
    ($($number:literal $name:ident $text:literal,)*) => {
        $(#[doc = concat!($text, ".")] pub const $name: u32 = $number;)*
    };
}

signals! {
    1 SIGHUP "The terminal hung up",
    2 SIGINT "Interrupt from the keyboard",
    3 SIGQUIT "Quit from the keyboard",
    4 SIGILL "Illegal instruction",
    5 SIGTRAP "Breakpoint",
    6 SIGABRT "abort(3)",
    7 SIGBUS "Access to memory that is not there",
    8 SIGFPE "Arithmetic error",
    9 SIGKILL "Kill",
    10 SIGUSR1 "For the program",
    11 SIGSEGV "Invalid memory reference",
    12 SIGUSR2 "For the program",
    13 SIGPIPE "Write to a pipe without readers",
    14 SIGALRM "alarm(2)",
    15 SIGTERM "Please end",
    17 SIGCHLD "A child stopped or ended",
    18 SIGCONT "Continue",
    19 SIGSTOP "Stop",
    20 SIGTSTP "Stop from the terminal",
    21 SIGTTIN "Terminal input in the background",
    22 SIGTTOU "Terminal output in the background",
    23 SIGURG "Urgent data on a socket",
    24 SIGXCPU "CPU time limit",
    25 SIGXFSZ "File size limit",
    26 SIGVTALRM "Virtual alarm",
    27 SIGPROF "Profiling alarm",
    28 SIGWINCH "The window changed its size",
    29 SIGIO "A file is ready",
    31 SIGSYS "Bad system call",
    32 SIGRTMIN "The first real-time signal",
}
