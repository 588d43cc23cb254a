//! Why a command failed, and the exit status that says so.

use crate::json::Object;
use crate::stdio::OutputGone;
use crate::transport::TransportError;
use keelson_qnet_wire::Errno;
use std::fmt;
use std::io;
use std::time::Duration;

/// Exit status: a node refused, or something of this host is not as needed.
pub const REFUSED: i32 = 1;
/// Exit status: the command line is wrong.
pub const USAGE: i32 = 2;
/// Exit status: no such node.
pub const NO_NODE: i32 = 3;
/// Exit status: it took too long.
pub const TIMEOUT: i32 = 4;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// A node answered with an error, or the network did.
    Remote {
        /// What was to be done.
        doing: String,
        /// QNX's number.
        errno: Errno,
    },
    /// Nobody has the name.
    NoNode(String),
    /// It took too long.
    Timeout {
        /// What did.
        doing: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// Something of this host.
    Host {
        /// What was to be done.
        doing: String,
        /// Why it was not.
        error: io::Error,
    },
    /// A transport cannot be had.
    Transport(TransportError),
    /// Nobody reads the output: said nowhere, as with other programs of pipelines.
    OutputGone,
    /// Several of those before, already told.
    Told(i32),
}

impl Failure {
    /// For `map_err`: what was to be done.
    pub fn remote(doing: impl Into<String>) -> impl FnOnce(Errno) -> Failure {
        let doing = doing.into();
        move |errno| match errno {
            Errno::ETIMEDOUT => Failure::Timeout { doing, after: Duration::ZERO },
            errno => Failure::Remote { doing, errno },
        }
    }

    /// For `map_err`: what was to be done.
    pub fn host(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
        let doing = doing.into();
        move |error| Failure::Host { doing, error }
    }

    /// The exit status.
    pub fn status(&self) -> i32 {
        match self {
            Failure::NoNode(_) => NO_NODE,
            Failure::Timeout { .. } => TIMEOUT,
            Failure::Told(status) => *status,
            _ => REFUSED,
        }
    }

    /// What scripts read of it; `None` when there is nothing to say.
    pub fn object(&self) -> Option<Object> {
        let object = Object::new().text("error", &self.to_string()).number("status", self.status());
        match self {
            Failure::OutputGone | Failure::Told(_) => None,
            Failure::Remote { errno, .. } => {
                Some(object.number("errno", errno.0).text("name", errno.name().unwrap_or("unknown")))
            }
            _ => Some(object),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Remote { doing, errno } => write!(f, "{doing}: {errno}"),
            Failure::NoNode(node) => write!(
                f,
                "there is no node \"{node}\"; `ls --wait 35 /net` lists those that announce themselves"
            ),
            Failure::Timeout { doing, after } if after.is_zero() => write!(f, "{doing}: no answer in time"),
            Failure::Timeout { doing, after } => {
                write!(f, "{doing}: not done after {} s; --timeout gives it longer", after.as_secs_f64())
            }
            Failure::Host { doing, error } => write!(f, "cannot {doing}: {error}"),
            Failure::Transport(error) => error.fmt(f),
            Failure::OutputGone => f.write_str("nobody reads the output"),
            Failure::Told(_) => f.write_str("not everything was done"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<OutputGone> for Failure {
    fn from(_: OutputGone) -> Failure {
        Failure::OutputGone
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Failure {
        Failure::Transport(error)
    }
}
