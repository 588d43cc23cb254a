//! Exit codes, and how it is said what is wrong.

use std::fmt::Display;
use std::io::Write;

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

/// Writes text to standard output; whoever does not listen any more has enough.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Says what is wrong on standard error, which may be closed.
pub fn complain(tool: &str, text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{tool}: {text}");
}

/// Ends a tool: prints what it found, or says why it did not.
pub fn end(tool: &str, result: Result<String, Problem>) -> i32 {
    match result {
        Ok(text) => {
            print(&text);
            code::OK
        }
        Err(problem) => {
            complain(tool, &problem);
            problem.code
        }
    }
}
