//! How the tools end: what they print, and how they say what is wrong.

use std::fmt::Display;
use std::io::Write;

pub use crate::problem::{Problem, code};

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
