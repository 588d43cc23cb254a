//! What was wrong with a line, in words for the person who wrote it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// How much a problem matters, mildest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Loaders add such words; nothing to do.
    Note,
    /// The word has no effect, and the default (or an earlier value) stays in force.
    Warning,
    /// The role cannot know what was meant and must not serve.
    Refuse,
}

/// One thing wrong with the line. [`fmt::Display`] writes the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// What it is.
    pub cause: Cause,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A word without `=` that is not an option.
    BareWord(String),
    /// No option has this name.
    Unknown {
        /// The key as written.
        name: String,
        /// Options it may have meant, nearest first.
        suggestions: Vec<&'static str>,
    },
    /// The option exists, the value is not accepted.
    BadValue {
        /// The option's name as documented.
        name: &'static str,
        /// The value as written; `None` when it is missing.
        value: Option<String>,
        /// What is accepted.
        why: String,
    },
    /// The line was longer than [`crate::MAX_LINE`]; its end was not read.
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::BareWord(word) => write!(f, "word \"{}\" ignored", word.escape_debug()),
            Cause::Unknown { name, suggestions } => {
                write!(f, "unknown option \"{}\"", name.escape_debug())?;
                for (index, suggestion) in suggestions.iter().enumerate() {
                    f.write_str(if index == 0 { "; did you mean " } else { " or " })?;
                    f.write_str(suggestion)?;
                }
                f.write_str(if suggestions.is_empty() { "" } else { "?" })
            }
            Cause::BadValue { name, value: Some(value), why } => {
                write!(f, "bad value {name}={}: {why}", value.escape_debug())
            }
            Cause::BadValue { name, value: None, why } => write!(f, "option {name} needs a value: {why}"),
            Cause::TooLong { len } => {
                write!(
                    f,
                    "command line of {len} bytes is longer than {}; its end was not read",
                    crate::MAX_LINE
                )
            }
        }
    }
}
