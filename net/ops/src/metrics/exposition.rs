//! The text itself.

use super::escape::{Help, LabelValue, is_name};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::ops::Range;
use core::time::Duration;

/// What the samples of a family are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows, from zero at the start of the node. The name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// The value of a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// A number of things.
    Count(u64),
    /// A number that may be below zero.
    Signed(i64),
    /// A time, written in seconds.
    Seconds(Duration),
}

/// A text that families are written to, one after the other, until there is no more room.
pub struct Exposition {
    text: String,
    limit: usize,
    /// Where the names of the families stand in the text.
    names: Vec<Range<usize>>,
    left_out: u64,
}

/// A family that is being written. Its samples stand together, as the format demands.
pub struct Family<'a> {
    to: &'a mut Exposition,
    /// Where its name stands in the text; `None` for one that was left out.
    name: Option<Range<usize>>,
}

impl From<u64> for Value {
    fn from(count: u64) -> Value {
        Value::Count(count)
    }
}

impl From<u32> for Value {
    fn from(count: u32) -> Value {
        Value::Count(count.into())
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Value {
        // Lossless: no machine here has more than 64 bits.
        Value::Count(count as u64)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Signed(number)
    }
}

impl From<bool> for Value {
    /// 1 for true.
    fn from(is: bool) -> Value {
        Value::Count(is.into())
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Value {
        Value::Seconds(time)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Count(count) => write!(f, "{count}"),
            Value::Signed(number) => write!(f, "{number}"),
            Value::Seconds(time) => write!(f, "{}.{:09}", time.as_secs(), time.subsec_nanos()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        })
    }
}

impl Exposition {
    /// An empty one of at most `limit` bytes, of which about `expected` will be needed.
    pub fn new(limit: usize, expected: usize) -> Exposition {
        // Some more, so that counters that grow by a digit do not cost a copy.
        let room = expected.saturating_add(expected / 16).min(limit);
        Exposition { text: String::with_capacity(room), limit, names: Vec::new(), left_out: 0 }
    }

    /// Begins a family. It is left out, and counted, when its name is not one, or was there before, or when there is no
    /// room for it.
    pub fn family(&mut self, name: impl fmt::Display, kind: Kind, help: &str) -> Family<'_> {
        let start = self.text.len();
        let at = start + "# HELP ".len();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "# HELP {name}");
        let name = at..self.text.len();
        let (before, new) = self.text.split_at(at);
        let known = self.names.iter().any(|at| before.get(at.clone()) == Some(new));
        if !known && is_name(new) {
            let _ = write!(self.text, " {}\n# TYPE ", Help(help));
            self.text.extend_from_within(name.clone());
            let _ = writeln!(self.text, " {kind}");
        } else {
            self.text.truncate(start);
            self.left_out += 1;
        }
        let begun = self.text.len() > start && self.keep(start);
        self.names.extend(begun.then(|| name.clone()));
        Family { to: self, name: begun.then_some(name) }
    }

    /// A counter without labels.
    pub fn counter(&mut self, name: impl fmt::Display, help: &str, value: impl Into<Value>) {
        self.family(name, Kind::Counter, help).sample(&[], value);
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: impl fmt::Display, help: &str, value: impl Into<Value>) {
        self.family(name, Kind::Gauge, help).sample(&[], value);
    }

    /// Keeps what was written from `start` on, if it fits.
    fn keep(&mut self, start: usize) -> bool {
        let fits = self.text.len() <= self.limit;
        if !fits {
            self.text.truncate(start);
            self.left_out += 1;
        }
        fits
    }

    /// The text, with a last family that says how much was left out.
    pub fn finish(mut self) -> String {
        let left_out = self.left_out;
        self.limit = usize::MAX;
        self.gauge(
            "keelson_metrics_left_out",
            "Families and samples that this scrape lacks: it was too long, or two sources used the same name.",
            left_out,
        );
        self.text
    }
}

impl Family<'_> {
    /// Adds a sample. No two of a family may have the same labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) -> &mut Self {
        let Some(name) = self.name.clone() else { return self };
        let start = self.to.text.len();
        if labels.iter().any(|(label, _)| !is_name(label)) {
            self.to.left_out += 1;
            return self;
        }
        self.to.text.extend_from_within(name);
        // Writing to a string cannot fail.
        let _ = self.to.labels(labels).and_then(|()| writeln!(self.to.text, " {}", value.into()));
        self.to.keep(start);
        self
    }
}

impl Exposition {
    fn labels(&mut self, labels: &[(&str, &str)]) -> fmt::Result {
        let mut before = '{';
        for (label, value) in labels {
            write!(self.text, "{before}{label}=\"{}\"", LabelValue(value))?;
            before = ',';
        }
        if labels.is_empty() { Ok(()) } else { self.text.write_char('}') }
    }
}
