//! The kernel's log, for those who carry it elsewhere: its bytes behind a position, and the lines in them.
//!
//! A line is `[   12.345678] 1 INFO  net: text`: seconds since boot, core, level, target, message. What follows it and has no such
//! beginning belongs to the same message. A reader that is slower than the log loses the oldest lines and is told how many.

use crate::Instant;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// The log as the kernel keeps it. Positions are bytes since boot.
pub trait KernelLog {
    /// Copies the log from `position` on; how many bytes, and the position behind them. What is no longer kept is skipped; a
    /// position beyond the end means the end.
    fn copy_from(&self, position: u64, into: &mut [u8]) -> (usize, u64);

    /// Bytes that are kept.
    fn capacity(&self) -> u64;

    /// Lines since boot that ended before `position`; of a position that is no longer kept, before the oldest that is.
    fn lines_before(&self, position: u64) -> u64;
}

/// Severities of syslog (RFC 5424 section 6.2.1) for the levels of the log.
const LEVELS: [(&str, u8); 5] = [("ERROR", 3), ("WARN", 4), ("INFO", 6), ("DEBUG", 7), ("TRACE", 7)];
/// Severity of lines about the log itself.
pub const WARNING: u8 = 4;
/// Of lines that say nothing about it.
const INFO: u8 = 6;

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// Where it begins.
    pub position: u64,
    /// When it was written.
    pub time: Instant,
    /// 0 to 7, as in syslog.
    pub severity: u8,
    /// The core that wrote it.
    pub core: u32,
    /// Bytes of the target at the beginning of `text`; 0 for a line that goes on with the message before.
    target: usize,
    /// `net: text`, or what goes on with the message before.
    pub text: String,
}

impl LogLine {
    /// The target, unless the line goes on with the message before, and the message.
    pub fn parts(&self) -> (Option<&str>, &str) {
        match self.text.split_at_checked(self.target) {
            Some((target, rest)) if self.target > 0 => {
                (Some(target), rest.strip_prefix(": ").unwrap_or(rest))
            }
            _ => (None, &self.text),
        }
    }
}

/// What a reader finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogEntry {
    /// A line.
    Line(LogLine),
    /// Part of the log was overwritten before it was read.
    Lost {
        /// Where the log begins now.
        position: u64,
        /// When the last line before was written.
        time: Instant,
        /// The core that wrote that.
        core: u32,
        /// Bytes.
        bytes: u64,
        /// Lines, of which the last may have been only half overwritten.
        lines: u64,
    },
}

/// What a line says of itself, for lines that follow it and say nothing.
#[derive(Clone, Copy)]
struct Stamp {
    time: Instant,
    severity: u8,
    core: u32,
}

/// Reads the log line by line.
pub struct LogReader {
    position: u64,
    /// Lines that ended before `position`.
    lines: Option<u64>,
    /// The line at `position` is known already, unless it is gone.
    skip: bool,
    last: Stamp,
    /// Bytes of one line; what is longer is cut there, and goes on as another.
    longest: usize,
    buffer: Vec<u8>,
}

impl LogReader {
    /// Reads from `position` on lines of at most `longest` bytes, and at once at most `chunk` bytes, which is more.
    pub fn new(position: u64, longest: usize, chunk: usize) -> LogReader {
        let last = Stamp { time: Instant::ZERO, severity: INFO, core: 0 };
        let lines = (position == 0).then_some(0);
        LogReader { position, lines, skip: false, last, longest, buffer: vec![0; chunk.max(longest)] }
    }

    /// The same, without the line at `position`.
    pub fn after(position: u64, longest: usize, chunk: usize) -> LogReader {
        LogReader { skip: true, ..LogReader::new(position, longest, chunk) }
    }

    /// What lies before this was read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next lines that are complete; none at the end of the log.
    pub fn read(&mut self, log: &(impl KernelLog + ?Sized)) -> Vec<LogEntry> {
        let known = self.lines.unwrap_or_else(|| log.lines_before(self.position));
        let mut buffer = core::mem::take(&mut self.buffer);
        let (count, end) = log.copy_from(self.position, &mut buffer);
        let start = end.saturating_sub(count as u64);
        let mut bytes = buffer.get(..count).unwrap_or_default();
        let mut entries = Vec::new();
        if start < self.position {
            // A position beyond the end: it was of another boot.
            self.skip = false;
        }
        let mut lines = known;
        if start > self.position {
            self.skip = false;
            // What is there now begins in the middle of a line.
            let torn = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            bytes = bytes.get(torn..).unwrap_or_default();
            lines = log.lines_before(end - bytes.len() as u64);
            entries.push(LogEntry::Lost {
                position: start,
                time: self.last.time,
                core: self.last.core,
                bytes: start - self.position,
                lines: lines.saturating_sub(known),
            });
        }
        self.position = end - bytes.len() as u64;
        while let Some(len) = line_length(bytes, self.longest) {
            let (line, rest) = bytes.split_at(len);
            bytes = rest;
            let position = self.position;
            self.position += len as u64;
            let text = line.strip_suffix(b"\n");
            lines += u64::from(text.is_some());
            if core::mem::take(&mut self.skip) {
                continue;
            }
            entries.push(LogEntry::Line(self.line(position, text.unwrap_or(line))));
        }
        self.lines = Some(lines);
        self.buffer = buffer;
        entries
    }

    fn line(&mut self, position: u64, line: &[u8]) -> LogLine {
        let line = String::from_utf8_lossy(line);
        let (text, target) = match parse(&line) {
            Some((stamp, text)) => {
                self.last = stamp;
                (text, text.find(": ").unwrap_or(0))
            }
            None => (&*line, 0),
        };
        let Stamp { time, severity, core } = self.last;
        LogLine { position, time, severity, core, target, text: text.trim_end_matches('\r').to_string() }
    }
}

/// Bytes of the first line with its end; `None` when the end is not there yet.
fn line_length(bytes: &[u8], longest: usize) -> Option<usize> {
    if let Some(at) = bytes.iter().take(longest).position(|byte| *byte == b'\n') {
        return Some(at + 1);
    }
    let piece = bytes.get(..longest)?;
    // Not within a character: a byte that begins none has its first byte at most three before it.
    let whole = match core::str::from_utf8(piece) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => longest,
    };
    Some(whole.max(1))
}

/// `[   12.345678] 1 INFO  net: text`, in parts.
fn parse(line: &str) -> Option<(Stamp, &str)> {
    let (time, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let (seconds, micros) = time.trim_start().split_once('.')?;
    let (core, rest) = rest.split_once(' ')?;
    let (level, rest) = rest.split_once(' ')?;
    let seconds: u64 = seconds.parse().ok()?;
    let micros: u64 = micros.parse().ok().filter(|_| micros.len() == 6)?;
    let severity = LEVELS.iter().find(|(name, _)| *name == level)?.1;
    let nanos = seconds.checked_mul(1_000_000_000)?.checked_add(micros * 1000)?;
    Some((Stamp { time: Instant::from_nanos(nanos), severity, core: core.parse().ok()? }, rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use core::cell::RefCell;

    /// A log that keeps its last 4096 bytes.
    #[derive(Default)]
    struct Log(RefCell<Vec<u8>>);

    const KEPT: usize = 4096;
    const LONGEST: usize = 1024;

    impl Log {
        fn oldest(&self) -> usize {
            self.0.borrow().len().saturating_sub(KEPT)
        }

        fn push(&self, text: &str) {
            self.0.borrow_mut().extend_from_slice(text.as_bytes());
        }
    }

    impl KernelLog for Log {
        fn copy_from(&self, position: u64, into: &mut [u8]) -> (usize, u64) {
            let all = self.0.borrow();
            let start = (position as usize).clamp(self.oldest(), all.len());
            let count = into.len().min(all.len() - start);
            into[..count].copy_from_slice(&all[start..start + count]);
            (count, (start + count) as u64)
        }

        fn capacity(&self) -> u64 {
            KEPT as u64
        }

        fn lines_before(&self, position: u64) -> u64 {
            let all = self.0.borrow();
            let end = (position as usize).clamp(self.oldest(), all.len());
            all[..end].iter().filter(|byte| **byte == b'\n').count() as u64
        }
    }

    fn reader() -> LogReader {
        LogReader::new(0, LONGEST, KEPT)
    }

    fn lines(entries: Vec<LogEntry>) -> Vec<LogLine> {
        let line = |entry| match entry {
            LogEntry::Line(line) => line,
            lost => panic!("{lost:?}"),
        };
        entries.into_iter().map(line).collect()
    }

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_are_taken_apart() {
        let log = Log::default();
        log.push(
            "[    1.000002] 3 WARN  net::tcp: no: carrier\nsecond: line\n[   12.345678] 0 INFO  lwk: half",
        );
        let mut reader = reader();
        let found = lines(reader.read(&log));
        assert_eq!(texts(&found), ["net::tcp: no: carrier", "second: line"]);
        let first = &found[0];
        assert_eq!(
            (first.position, first.time.as_nanos(), first.severity, first.core),
            (0, 1_000_002_000, 4, 3)
        );
        assert_eq!(first.parts(), (Some("net::tcp"), "no: carrier"));
        assert_eq!(found[1].parts(), (None, "second: line"));
        assert_eq!((found[1].position, found[1].severity), (45, 4));
        assert!(reader.read(&log).is_empty());
        log.push(" done\n");
        let found = lines(reader.read(&log));
        assert_eq!(texts(&found), ["lwk: half done"]);
        assert_eq!((found[0].time.as_nanos(), found[0].severity), (12_345_678_000, 6));
        // Whoever comes back goes on behind what it knows.
        let again = lines(LogReader::after(45, LONGEST, KEPT).read(&log));
        assert_eq!(texts(&again), ["lwk: half done"]);
    }

    #[test]
    fn what_was_overwritten_is_said_in_bytes_and_lines() {
        let log = Log::default();
        let push = |n: usize| log.push(&format!("[    0.000000] 0 INFO  a: number {n:>8}\n"));
        (0..200).for_each(push);
        let mut reader = LogReader::new(0, 64, 64);
        let mut said = 0;
        let mut numbers = Vec::new();
        let mut bytes = 0;
        // Overwritten before the first look, and again between others.
        for round in 0..3 {
            loop {
                let entries = reader.read(&log);
                if entries.is_empty() {
                    break;
                }
                for entry in entries {
                    match entry {
                        LogEntry::Line(line) => numbers.push(line.text[9..].trim().parse::<usize>().unwrap()),
                        LogEntry::Lost { lines, bytes: lost, .. } => {
                            said += lines;
                            bytes += lost;
                        }
                    }
                }
            }
            if round < 2 {
                (200 * (round + 1)..200 * (round + 2)).for_each(push);
            }
        }
        assert!(numbers.is_sorted() && numbers.last() == Some(&599));
        assert_eq!(said as usize + numbers.len(), 600, "each line was read or said to be lost");
        assert!(bytes > 3 * 3000);
    }

    #[test]
    fn lines_without_end_are_cut_between_characters() {
        let log = Log::default();
        log.push(&"x".repeat(LONGEST - 1));
        log.push("äöü");
        let mut reader = reader();
        assert_eq!(lines(reader.read(&log))[0].text.len(), LONGEST - 1);
        assert!(reader.read(&log).is_empty());
        log.push("\n\n");
        assert_eq!(texts(&lines(reader.read(&log))), ["äöü", ""]);
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let log = Log::default();
        log.0.borrow_mut().extend((0..3 * LONGEST).map(|n| (n % 7 + 0x80 + n % 120) as u8));
        log.push("\n");
        let mut reader = reader();
        let mut read = 0;
        while let [_, ..] = reader.read(&log)[..] {
            read += 1;
        }
        assert!((3..10).contains(&read) || reader.position == log.0.borrow().len() as u64);
    }

    #[test]
    fn a_position_of_another_boot_is_the_end() {
        let log = Log::default();
        log.push("a\n");
        let mut reader = LogReader::after(1_000_000, LONGEST, KEPT);
        assert!(reader.read(&log).is_empty());
        log.push("b\n");
        assert_eq!(texts(&lines(reader.read(&log))), ["b"]);
    }
}
