//! What calls took, added up.

use super::Asked;
use super::trace::{name, seconds};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt::Write;
use core::time::Duration;

/// All calls of a process that are over.
#[derive(Default)]
pub(super) struct Profile {
    /// By number.
    calls: BTreeMap<u32, Tally>,
}

/// One call.
#[derive(Clone, Copy, Default)]
struct Tally {
    calls: u64,
    errors: u64,
    time: Duration,
    /// Of these calls, those in which the host was asked.
    delegated: u64,
    /// What it took to answer.
    host: Duration,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.time += other.time;
        self.delegated += other.delegated;
        self.host += other.host;
    }
}

/// Numbers of which a profile keeps count; programs may try any.
const MOST: usize = 512;

impl Profile {
    pub(super) fn add(&mut self, number: u32, time: Duration, failed: bool, asked: Asked) {
        if self.calls.len() >= MOST && !self.calls.contains_key(&number) {
            return;
        }
        let one = Tally {
            calls: 1,
            errors: failed.into(),
            time,
            delegated: (asked.requests > 0).into(),
            host: asked.time,
        };
        self.calls.entry(number).or_default().add(&one);
    }

    /// What took most first. Chosen one by one: a sort of its own would be 6 KiB of code for some tens of rows.
    fn rows(&self) -> impl Iterator<Item = (u32, Tally)> {
        let mut rows: Vec<_> = self.calls.iter().map(|(number, tally)| (*number, *tally)).collect();
        core::iter::from_fn(move || {
            let order = |(_, (number, tally)): &(usize, &(u32, Tally))| (tally.time, Reverse(*number));
            let (place, _) = rows.iter().enumerate().max_by_key(order)?;
            Some(rows.swap_remove(place))
        })
    }

    /// In the columns of `strace -c`, with the host's part.
    pub(super) fn table(&self, pid: u32, program: &str) -> String {
        let mut sum = Tally::default();
        self.calls.values().for_each(|tally| sum.add(tally));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(text, "system calls of process {pid} ({program}):");
        let _ = writeln!(
            text,
            "{:>7} {:>12} {:>11} {:>9} {:>9} {:>9} {:>12} syscall",
            "% time", "seconds", "usecs/call", "calls", "errors", "delegated", "host seconds"
        );
        let mut row = |name: &str, tally: &Tally| {
            let part = tally.time.as_nanos() * 10_000 / sum.time.as_nanos().max(1);
            let each = tally.time.as_nanos() / u128::from(tally.calls.max(1));
            let _ = writeln!(
                text,
                "{:>4}.{:02} {:>12} {:>7}.{:03} {:>9} {:>9} {:>9} {:>12} {name}",
                part / 100,
                part % 100,
                seconds(tally.time),
                each / 1000,
                each % 1000,
                tally.calls,
                tally.errors,
                tally.delegated,
                seconds(tally.host),
            );
        };
        for (number, tally) in self.rows() {
            row(&name(number), &tally);
        }
        row("total", &sum);
        text
    }

    /// One line, times in nanoseconds.
    pub(super) fn json(&self, pid: u32, program: &str) -> String {
        let mut text = String::new();
        // A name is whatever a program chose.
        let program: String = program
            .chars()
            .map(|c| if c.is_ascii_graphic() && !"\"\\".contains(c) { c } else { '?' })
            .collect();
        let _ = write!(text, "{{\"pid\":{pid},\"program\":\"{program}\",\"syscalls\":[");
        for (index, (number, tally)) in self.rows().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(
                text,
                "{comma}{{\"name\":\"{}\",\"number\":{number},\"calls\":{},\"errors\":{},\"time\":{},\
                 \"delegated\":{},\"host_time\":{}}}",
                name(number),
                tally.calls,
                tally.errors,
                tally.time.as_nanos(),
                tally.delegated,
                tally.host.as_nanos(),
            );
        }
        text.push_str("]}\n");
        text
    }
}
