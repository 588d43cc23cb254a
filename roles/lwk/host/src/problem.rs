//! Exit codes of the tools that look after nodes, and why they did not do what they were told (section 6).

use std::fmt::Display;

/// Exit codes of all tools (section 6).
pub mod code {
    /// Done.
    pub const OK: i32 = 0;
    /// Not done.
    pub const FAILED: i32 = 1;
    /// The command line is wrong.
    pub const USAGE: i32 = 2;
    /// The node cannot be reached.
    pub const UNREACHABLE: i32 = 3;
    /// The key is wrong, or not for this.
    pub const DENIED: i32 = 4;
    /// Not in the state that the node is in.
    pub const STATE: i32 = 5;
    /// No answer in time.
    pub const TIMEOUT: i32 = 6;
}

/// Why something was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The exit code.
    pub code: i32,
    /// What it is about: a node, a file, an option.
    pub object: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Problem {
    /// A problem with `object`.
    pub fn new(code: i32, object: impl Display, reason: impl Display) -> Problem {
        Problem { code, object: object.to_string(), reason: reason.to_string() }
    }

    /// Something did not work.
    pub fn failed(object: impl Display, reason: impl Display) -> Problem {
        Problem::new(code::FAILED, object, reason)
    }

    /// The command line is wrong.
    pub fn usage(object: impl Display, reason: impl Display) -> Problem {
        Problem::new(code::USAGE, object, reason)
    }

    /// The node is in another state.
    pub fn state(object: impl Display, reason: impl Display) -> Problem {
        Problem::new(code::STATE, object, reason)
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.object, self.reason)
    }
}
