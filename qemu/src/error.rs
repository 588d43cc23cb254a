//! What can go wrong on the bench, in words a person can act on.

use std::fmt;
use std::io;
use std::time::Duration;

/// Result of bench operations.
pub type Result<T> = std::result::Result<T, Error>;

/// A bench operation that did not work.
///
/// `Debug` prints the same sentence as `Display`, so that `unwrap()` in a test is readable.
pub enum Error {
    /// The host refused a file, socket or process operation.
    Io {
        /// What was being done, as in "create /x/y".
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Something expected did not happen in time.
    Timeout {
        /// What was waited for.
        waiting_for: String,
        /// How long.
        after: Duration,
        /// What was seen instead (for example the end of a console).
        seen: String,
    },
    /// A host tool (mke2fs, e2fsck, apt-get, ...) failed.
    Tool {
        /// The command line.
        command: String,
        /// What it printed on both channels.
        output: String,
    },
    /// Something the bench needs is not on this host.
    Missing {
        /// What is missing.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A machine ended or answered in a way that makes going on pointless.
    Machine {
        /// Name given to the machine.
        name: String,
        /// What happened.
        what: String,
    },
}

impl Error {
    /// Adapts an [`io::Error`], saying what was being done: `.map_err(Error::io("read x"))`.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let doing = doing.into();
        move |source| Error::Io { doing, source }
    }

    /// The same for [`rustix`] calls.
    pub(crate) fn errno(doing: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Error {
        let doing = doing.into();
        move |errno| Error::Io { doing, source: errno.into() }
    }

    pub(crate) fn machine(name: &str, what: impl Into<String>) -> Error {
        Error::Machine { name: name.into(), what: what.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { doing, source } => write!(f, "cannot {doing}: {source}"),
            Error::Timeout { waiting_for, after, seen } => {
                write!(f, "{waiting_for} did not happen within {after:?}; seen instead:\n{seen}")
            }
            Error::Tool { command, output } => write!(f, "`{command}` failed:\n{output}"),
            Error::Missing { what, remedy } => write!(f, "{what} is missing: {remedy}"),
            Error::Machine { name, what } => write!(f, "machine {name}: {what}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
