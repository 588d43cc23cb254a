//! `kmsg`: the kernel's log as lines, from where it was cleared, and on as it grows.
//!
//! The log itself is the console's ring (`[   12.345678] 1 INFO  net: text`); here it is only read. A reader that is slower than
//! the log loses the oldest lines and is told how many bytes that were.

use super::{Control, Kernel};
use crate::session::Tool;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_exec::{select, yield_now};
use keelson_lwk_wire::messages::{Kmsg, KmsgLine};

/// Bytes that are read at once: no more lines than one message may hold.
const CHUNK: usize = 4 << 10;
/// Bytes of one line; what is longer is cut there, and goes on as another.
pub const LONGEST: usize = 1 << 10;
/// How often a follower looks for more.
const LOOK: Duration = Duration::from_millis(100);

/// Severities of syslog(3) for the levels of the log.
const LEVELS: [(&str, u8); 5] = [("ERROR", 3), ("WARN", 4), ("INFO", 6), ("DEBUG", 7), ("TRACE", 7)];
/// Of lines about the log itself.
const WARNING: u8 = 4;
/// Of lines that say nothing about it.
const INFO: u8 = 6;

impl Control {
    /// Sends the log to a tool; `after` is the sequence number of the last line it knows.
    pub(super) async fn send_log(&self, tool: &Tool, follow: bool, after: Option<u64>) {
        let mut reader = Reader::from(self.cleared.get(), after);
        while tool.is_there() {
            let lines = reader.read(&*self.kernel);
            if !lines.is_empty() {
                tool.room(self.timers()).await;
                tool.kmsg(Kmsg { lines });
                yield_now().await;
            } else if follow {
                select(tool.gone(), self.timers().at(self.timers().now() + LOOK)).await;
            } else {
                return tool.text("");
            }
        }
    }

    /// The log begins here for all tools.
    pub(super) fn clear_log(&self) {
        self.cleared.set(self.kernel.log(u64::MAX, &mut []).1);
    }
}

/// What a line says of itself, for lines that follow it and say nothing.
#[derive(Clone, Copy)]
struct Stamp {
    time: u64,
    severity: u8,
    core: u32,
}

/// Reads the log line by line.
struct Reader {
    position: u64,
    /// The line at `position` is known already, unless it is gone.
    skip: bool,
    last: Stamp,
}

impl Reader {
    fn from(cleared: u64, after: Option<u64>) -> Reader {
        let after = after.filter(|after| *after >= cleared);
        let last = Stamp { time: 0, severity: INFO, core: 0 };
        Reader { position: after.unwrap_or(cleared), skip: after.is_some(), last }
    }

    /// The next lines that are complete; none at the end of the log.
    fn read(&mut self, kernel: &dyn Kernel) -> Vec<KmsgLine> {
        let mut buffer = vec![0; CHUNK];
        let (count, end) = kernel.log(self.position, &mut buffer);
        let start = end.saturating_sub(count as u64);
        let mut bytes = buffer.get(..count).unwrap_or_default();
        let mut lines = Vec::new();
        if start < self.position {
            // A position beyond the end: it was of another boot.
            self.skip = false;
        }
        if start > self.position {
            let lost = start - self.position;
            self.skip = false;
            // What is there now begins in the middle of a line.
            let torn = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            bytes = bytes.get(torn..).unwrap_or_default();
            let text = format!("{lost} bytes of the log were overwritten before they were read");
            lines.push(self.line(start, text.as_bytes(), Some(WARNING)));
        }
        self.position = end - bytes.len() as u64;
        while let Some(len) = line_length(bytes) {
            let (line, rest) = bytes.split_at(len);
            bytes = rest;
            let sequence = self.position;
            self.position += len as u64;
            if core::mem::take(&mut self.skip) {
                continue;
            }
            lines.push(self.line(sequence, line.strip_suffix(b"\n").unwrap_or(line), None));
        }
        lines
    }

    fn line(&mut self, sequence: u64, line: &[u8], severity: Option<u8>) -> KmsgLine {
        let line = String::from_utf8_lossy(line);
        let text = match parse(&line) {
            Some((stamp, text)) => {
                self.last = stamp;
                text
            }
            None => &line,
        };
        let Stamp { time, severity: said, core } = self.last;
        let text = text.trim_end_matches('\r').to_string();
        KmsgLine { sequence, time, severity: severity.unwrap_or(said), core, text }
    }
}

/// Bytes of the first line with its end; `None` when the end is not there yet.
fn line_length(bytes: &[u8]) -> Option<usize> {
    match bytes.iter().take(LONGEST).position(|byte| *byte == b'\n') {
        Some(at) => Some(at + 1),
        None => (bytes.len() >= LONGEST).then_some(LONGEST),
    }
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
    let time = seconds.checked_mul(1_000_000_000)?.checked_add(micros * 1000)?;
    Some((Stamp { time, severity, core: core.parse().ok()? }, rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;

    /// A log that keeps its last 4096 bytes.
    #[derive(Default)]
    struct Log(RefCell<Vec<u8>>);

    const KEPT: usize = 4096;

    impl Kernel for Log {
        fn log(&self, position: u64, into: &mut [u8]) -> (usize, u64) {
            let all = self.0.borrow();
            let start = (position as usize).clamp(all.len().saturating_sub(KEPT), all.len());
            let count = into.len().min(all.len() - start);
            into[..count].copy_from_slice(&all[start..start + count]);
            (count, (start + count) as u64)
        }
        fn log_capacity(&self) -> u64 {
            KEPT as u64
        }
        fn memory_used(&self) -> u64 {
            0
        }
        fn interrupt(&self, _core: usize, _vector: u8) -> Result<(), String> {
            Ok(())
        }
        fn power_off(&self) {}
    }

    impl Log {
        fn push(&self, text: &str) {
            self.0.borrow_mut().extend_from_slice(text.as_bytes());
        }
    }

    fn texts(lines: &[KmsgLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_are_taken_apart() {
        let log = Log::default();
        log.push("[    1.000002] 3 WARN  net: no carrier\nsecond line\n[   12.345678] 0 INFO  lwk: half");
        let mut reader = Reader::from(0, None);
        let lines = reader.read(&log);
        assert_eq!(texts(&lines), ["net: no carrier", "second line"]);
        let first = &lines[0];
        assert_eq!((first.sequence, first.time, first.severity, first.core), (0, 1_000_002_000, 4, 3));
        assert_eq!((lines[1].sequence, lines[1].severity), (39, 4));
        assert!(reader.read(&log).is_empty());
        log.push(" done\n");
        let lines = reader.read(&log);
        assert_eq!(
            (texts(&lines), lines[0].time, lines[0].severity),
            (vec!["lwk: half done"], 12_345_678_000, 6)
        );
        // Whoever comes back goes on behind what it knows.
        let again = Reader::from(0, Some(39)).read(&log);
        assert_eq!(texts(&again), ["lwk: half done"]);
        // But not in front of what was cleared.
        assert!(Reader::from(log.0.borrow().len() as u64, Some(39)).read(&log).is_empty());
    }

    #[test]
    fn what_was_overwritten_is_said() {
        let log = Log::default();
        (0..200).for_each(|n| log.push(&format!("[    0.000000] 0 INFO  a: number {n:>8}\n")));
        let mut reader = Reader::from(0, None);
        let lines = reader.read(&log);
        let lost = log.0.borrow().len() - KEPT;
        assert_eq!(lines[0].text, format!("{lost} bytes of the log were overwritten before they were read"));
        assert_eq!(lines[0].severity, 4);
        assert_eq!(lines.last().map(|line| line.text.as_str()), Some("a: number      199"));
        assert!(lines[1..].iter().all(|line| line.text.starts_with("a: number")));
    }

    #[test]
    fn lines_without_end_are_cut() {
        let log = Log::default();
        log.push(&"x".repeat(LONGEST + 7));
        let mut reader = Reader::from(0, None);
        assert_eq!(reader.read(&log)[0].text.len(), LONGEST);
        assert!(reader.read(&log).is_empty());
        log.push("\n\n");
        assert_eq!(texts(&reader.read(&log)), ["xxxxxxx", ""]);
    }

    #[test]
    fn a_position_of_another_boot_is_the_end() {
        let log = Log::default();
        log.push("a\n");
        let mut reader = Reader::from(0, Some(1_000_000));
        assert!(reader.read(&log).is_empty());
        log.push("b\n");
        assert_eq!(texts(&reader.read(&log)), ["b"]);
    }
}
