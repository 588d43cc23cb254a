//! `kmsg`: the kernel's log as lines, from where it was cleared, and on as it grows. `keelson_hal::log` takes it apart.

use super::Control;
use crate::session::Tool;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_exec::{select, yield_now};
use keelson_hal::log::{LogEntry, LogReader, WARNING};
use keelson_lwk_wire::messages::{Kmsg, KmsgLine};

/// Bytes that are read at once: no more lines than one message may hold.
const CHUNK: usize = 4 << 10;
/// Bytes of one line; what is longer is cut there, and goes on as another.
pub const LONGEST: usize = 1 << 10;
/// How often a follower looks for more.
const LOOK: Duration = Duration::from_millis(100);

impl Control {
    /// Sends the log to a tool; `after` is the sequence number of the last line it knows.
    pub(super) async fn send_log(&self, tool: &Tool, follow: bool, after: Option<u64>) {
        let mut reader = reader(self.cleared.get(), after);
        while tool.is_there() {
            let lines: Vec<_> = reader.read(self.kernel.log()).into_iter().map(kmsg_line).collect();
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
        self.cleared.set(self.kernel.log().copy_from(u64::MAX, &mut []).1);
    }
}

/// Reads from where the log was cleared, or behind the line that a tool knows.
fn reader(cleared: u64, after: Option<u64>) -> LogReader {
    match after.filter(|after| *after >= cleared) {
        Some(after) => LogReader::after(after, LONGEST, CHUNK),
        None => LogReader::new(cleared, LONGEST, CHUNK),
    }
}

fn kmsg_line(entry: LogEntry) -> KmsgLine {
    match entry {
        LogEntry::Line(line) => KmsgLine {
            sequence: line.position,
            time: line.time.as_nanos(),
            severity: line.severity,
            core: line.core,
            text: line.text,
        },
        LogEntry::Lost { position, time, core, bytes, .. } => KmsgLine {
            sequence: position,
            time: time.as_nanos(),
            severity: WARNING,
            core,
            text: format!("{bytes} bytes of the log were overwritten before they were read"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_exec::sim::SimLog;

    fn texts(lines: Vec<LogEntry>) -> Vec<alloc::string::String> {
        lines.into_iter().map(|entry| kmsg_line(entry).text).collect()
    }

    #[test]
    fn whoever_comes_back_goes_on_behind_what_it_knows() {
        let log = SimLog::new(4096);
        log.push(b"[    1.000002] 3 WARN  net: no carrier\nsecond line\n[   12.345678] 0 INFO  lwk: done\n");
        assert_eq!(texts(reader(0, None).read(&log)), ["net: no carrier", "second line", "lwk: done"]);
        assert_eq!(texts(reader(0, Some(39)).read(&log)), ["lwk: done"]);
        // But not in front of what was cleared.
        assert!(reader(log.end(), Some(39)).read(&log).is_empty());
        let first = kmsg_line(reader(0, None).read(&log).remove(0));
        assert_eq!((first.sequence, first.time, first.severity, first.core), (0, 1_000_002_000, 4, 3));
    }

    #[test]
    fn what_was_overwritten_is_said() {
        let log = SimLog::new(4096);
        (0..200).for_each(|n| log.push(format!("[    0.000000] 0 INFO  a: number {n:>8}\n").as_bytes()));
        let lines: Vec<_> = reader(0, None).read(&log).into_iter().map(kmsg_line).collect();
        let lost = log.end() - 4096;
        assert_eq!(lines[0].text, format!("{lost} bytes of the log were overwritten before they were read"));
        assert_eq!(lines[0].severity, 4);
        assert!(lines[1..].iter().all(|line| line.text.starts_with("a: number")));
    }
}
