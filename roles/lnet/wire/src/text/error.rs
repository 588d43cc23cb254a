//! What is wrong with a text, and where.

use super::MAX_LINE;
use crate::names::NameError;
use alloc::string::String;
use core::fmt;

/// What is wrong with a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The text is longer than [`super::MAX_TEXT`], or that of `networks` longer than [`MAX_LINE`].
    TextTooLong(usize),
    /// A line is longer than [`MAX_LINE`].
    LineTooLong(usize),
    /// Not a network, NID or process.
    Name(NameError),
    /// A network that cannot stand here: `lo`.
    Loopback,
    /// A bracket list has no end, or a bracket stands where none can.
    Bracket,
    /// An item of a bracket list is neither a number nor a range, or is above the highest allowed number.
    Number(u32),
    /// Bracket lists stand for more than [`super::MAX_EXPANSION`] names, or a text for more than
    /// [`super::MAX_ROUTES`] routes.
    TooMany(usize),
    /// An interface's name is missing or has a character it cannot have.
    Interface,
    /// Something follows a network that is neither a comma nor the end.
    AfterNetwork,
    /// Not an IPv4 pattern.
    Pattern,
    /// Nothing but a network.
    NoPattern,
    /// Nothing but a network and perhaps hops.
    NoGateway,
    /// Hops outside 1 to 255.
    Hops,
    /// A priority that is not a number.
    Priority,
    /// A gateway on the network to which it shall lead.
    GatewayOnTarget,
    /// A gateway that is "any" or loopback.
    Gateway,
    /// Neither `enabled` nor `disabled`.
    Forwarding,
    /// Not a range of NIDs.
    Range,
    /// A prefix longer than the address.
    Prefix,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::TextTooLong(maximum) => write!(f, "the text may have {maximum} bytes"),
            Problem::LineTooLong(maximum) => write!(f, "a line may have {maximum} bytes"),
            Problem::Name(name) => name.fmt(f),
            Problem::Loopback => f.write_str("lo is always there and cannot be named here"),
            Problem::Bracket => f.write_str("a list in brackets looks like [1,3-5,10-20/2]"),
            Problem::Number(maximum) => {
                write!(
                    f,
                    "a list in brackets has numbers up to {maximum} and ranges of them, like [1,3-5,10-20/2]"
                )
            }
            Problem::TooMany(maximum) => write!(f, "this stands for too many, at most {maximum} are allowed"),
            Problem::Interface => {
                f.write_str("the interfaces of a network are names with commas between: (eth0,eth1)")
            }
            Problem::AfterNetwork => {
                f.write_str("behind a network come (interfaces), [partitions], a comma or the end")
            }
            Problem::Pattern => f.write_str(
                "an address pattern has four parts, each a number up to 255, * or a list: 10.0.*.[1-9]",
            ),
            Problem::NoPattern => {
                f.write_str("behind the networks come one or more address patterns: tcp1 10.1.*.*")
            }
            Problem::NoGateway => {
                f.write_str("behind the network come the NIDs of its gateways: tcp2 1 10.0.0.1@tcp1")
            }
            Problem::Hops => f.write_str("hops are 1 to 255"),
            Problem::Priority => f.write_str("a priority is a number behind the gateway: 10.0.0.1@tcp1:5"),
            Problem::GatewayOnTarget => f.write_str("a gateway is never on the network to which it leads"),
            Problem::Gateway => f.write_str("a gateway is the NID of another node: 10.0.0.1@tcp1"),
            Problem::Forwarding => f.write_str("enabled, disabled or nothing is accepted"),
            Problem::Range => f.write_str(
                "a range of NIDs looks like 10.0.[1-4].*@tcp1, 10.0.0.0/16@tcp1, *@tcp1, or * for all",
            ),
            Problem::Prefix => f.write_str("a prefix is up to 32 for an IPv4 address and up to 128 for IPv6"),
        }
    }
}

/// A text that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextError {
    /// Which grammar: `networks`, `ip2nets`, `routes`, `forwarding` or `nids`.
    pub parameter: &'static str,
    /// Line, from 1.
    pub line: usize,
    /// Character of the line, from 1.
    pub column: usize,
    /// What stands there, cut if it is long.
    pub word: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TextError { parameter, line, column, word, problem } = self;
        write!(f, "{parameter}: \"{}\"", word.escape_debug())?;
        match line {
            1 => write!(f, " at character {column}: {problem}"),
            _ => write!(f, " in line {line} at character {column}: {problem}"),
        }
    }
}

impl core::error::Error for TextError {}

/// The text that is being read, to say where a word of it stands.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) parameter: &'static str,
    pub(super) text: &'a str,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        parameter: &'static str,
        text: &'a str,
        max_len: usize,
    ) -> Result<Source<'a>, TextError> {
        let source = Source { parameter, text };
        if text.len() > max_len {
            return Err(source.error(text, Problem::TextTooLong(max_len)));
        }
        Ok(source)
    }

    /// An error at `word`, which is a part of the text.
    pub(super) fn error(&self, word: &str, problem: Problem) -> TextError {
        self.error_in(word, word, problem)
    }

    /// An error at `place`, which is a part of the text, about `word`, which its bracket lists stand for.
    pub(super) fn error_in(&self, place: &str, word: &str, problem: Problem) -> TextError {
        let offset = (place.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let before = self.text.get(..offset).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        TextError {
            parameter: self.parameter,
            line: 1 + before.bytes().filter(|byte| *byte == b'\n').count(),
            column: 1 + before.get(line_start..).unwrap_or_default().chars().count(),
            word: word.chars().take(64).collect(),
            problem,
        }
    }

    /// The entries between semicolons and ends of lines, without their comments; empty ones are left out.
    /// A comment goes from `#` to the end of its entry.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<&'a str, TextError>> + use<'a> {
        let source = *self;
        let entries = self.text.split([';', '\n', '\r']);
        entries.filter_map(move |entry| {
            if entry.len() > MAX_LINE {
                return Some(Err(source.error(entry, Problem::LineTooLong(MAX_LINE))));
            }
            let words = entry.split('#').next().unwrap_or_default().trim_ascii();
            if words.is_empty() { None } else { Some(Ok(words)) }
        })
    }
}
