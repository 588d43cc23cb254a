//! The `log` backend: one line per record, to the serial port and to the ring.
//!
//! `[   12.345678] 1 INFO  net: text`: seconds since boot, core, level, target, message; `keelson_hal::log` takes it apart again.

use super::ring::{Place, Ring};
use crate::log_filter::LogFilter;
use crate::postmortem;
use crate::sync::SpinLock;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};
use keelson_hal::Instant;
use keelson_hal::log::KernelLog;
use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::Once;

/// The ring and the lock that keeps lines of different cores apart.
static RING: SpinLock<Ring> = SpinLock::new(Ring::new());

/// Records that were kept, by level, errors first.
static RECORDS: [AtomicU64; Level::Trace as usize] = [const { AtomicU64::new(0) }; Level::Trace as usize];

struct Backend;

static BACKEND: Backend = Backend;

/// Which records are kept, once the command line is read; until then those of level info and above.
static FILTER: Once<LogFilter> = Once::new();

/// Routes the `log` macros here.
pub(super) fn init() {
    if log::set_logger(&BACKEND).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Says which records are kept. The first call counts.
pub fn set_filter(filter: LogFilter) {
    log::set_max_level(filter.max_level());
    FILTER.call_once(|| filter);
}

/// See [`super::break_locks`].
///
/// # Safety
/// As [`SpinLock::break_lock`].
pub(super) unsafe fn break_lock() {
    // SAFETY: a ring that was being written to has at worst a torn last line.
    unsafe { RING.break_lock() };
}

/// Both destinations of a line.
struct Line<'a>(&'a mut Ring);

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push(text.as_bytes());
        super::write(text.as_bytes());
        Ok(())
    }
}

/// Writes a record as a line.
fn write_line(to: &mut impl Write, now: Instant, core: usize, record: &Record<'_>) -> fmt::Result {
    writeln!(
        to,
        "[{:5}.{:06}] {core} {:<5} {}: {}",
        now.as_nanos() / 1_000_000_000,
        now.as_micros() % 1_000_000,
        record.level(),
        record.target(),
        record.args()
    )
}

impl Log for Backend {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        FILTER.get().is_none_or(|filter| filter.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        RECORDS[record.level() as usize - 1].fetch_add(1, Ordering::Relaxed);
        let now = crate::time::now();
        let mut ring = RING.lock();
        // Cannot fail: neither destination ever refuses.
        let _ = write_line(&mut Line(&mut ring), now, crate::smp::current_core(), record);
    }

    fn flush(&self) {}
}

/// What the log has taken so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogCounts {
    /// Bytes.
    pub bytes: u64,
    /// Those of them that made way for later ones.
    pub forgotten: u64,
}

/// See [`LogCounts`].
pub fn counts() -> LogCounts {
    let ring = RING.lock();
    let bytes = ring.copy_from(u64::MAX, &mut []).1;
    LogCounts { bytes, forgotten: bytes.saturating_sub(ring.capacity() as u64) }
}

/// Records of this level that were kept.
pub fn records(level: Level) -> u64 {
    RECORDS[level as usize - 1].load(Ordering::Relaxed)
}

/// Bytes of the log that are kept.
pub fn capacity() -> usize {
    RING.lock().capacity()
}

/// There was no room, and the log stays as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom;

/// Keeps `capacity` bytes of the log from now on, or as many as it does now if that is more.
///
/// # Errors
///
/// When the heap has not so much in one piece.
pub fn keep(capacity: usize) -> Result<(), NoRoom> {
    if capacity <= self::capacity() {
        return Ok(());
    }
    let mut room = Vec::new();
    room.try_reserve_exact(capacity).map_err(|_| NoRoom)?;
    room.resize(capacity, 0);
    let mut ring = RING.lock();
    // Cannot be refused: it is larger.
    let _ = ring.enlarge(Vec::leak(room));
    postmortem::log_moved(ring.place());
    Ok(())
}

/// Where the ring is; see [`Ring::place`].
pub fn place() -> Place {
    RING.lock().place()
}

/// Calls `show` with the log's last `lines` lines, in two pieces.
pub fn with_last_lines(lines: usize, show: impl FnOnce(&[u8], &[u8])) {
    let ring = RING.lock();
    let (first, second) = ring.last_lines(lines);
    show(first, second);
}

/// Copies the log from `position` (bytes since boot) on; see [`Ring::copy_from`]. For a console that is
/// fed by a task.
pub fn copy_from(position: u64, buffer: &mut [u8]) -> (usize, u64) {
    RING.lock().copy_from(position, buffer)
}

/// The log, for those who carry it elsewhere.
#[derive(Clone, Copy, Default)]
pub struct Reading;

impl KernelLog for Reading {
    fn copy_from(&self, position: u64, into: &mut [u8]) -> (usize, u64) {
        copy_from(position, into)
    }

    fn capacity(&self) -> u64 {
        capacity() as u64
    }

    fn lines_before(&self, position: u64) -> u64 {
        RING.lock().lines_before(position)
    }
}

/// Copies the last `most` bytes of the log.
pub fn tail(most: usize) -> Vec<u8> {
    // Allocated before the lock is taken: an allocation that fails panics, and the report reads the ring.
    let mut copy = alloc::vec![0; most];
    let ring = RING.lock();
    let end = ring.copy_from(u64::MAX, &mut []).1;
    let (len, _) = ring.copy_from(end.saturating_sub(most as u64), &mut copy);
    copy.truncate(len);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_hal::log::{LogEntry, LogReader};
    use log::Level;

    /// The ring of a test.
    struct Fake(Box<Ring>);

    impl KernelLog for Fake {
        fn copy_from(&self, position: u64, into: &mut [u8]) -> (usize, u64) {
            self.0.copy_from(position, into)
        }
        fn capacity(&self) -> u64 {
            self.0.capacity() as u64
        }
        fn lines_before(&self, position: u64) -> u64 {
            self.0.lines_before(position)
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let levels =
            [(Level::Error, 3), (Level::Warn, 4), (Level::Info, 6), (Level::Debug, 7), (Level::Trace, 7)];
        let mut ring = Box::new(Ring::new());
        for (level, _) in levels {
            let mut line = String::new();
            let now = Instant::from_nanos(98_765_432_123_000);
            let args = format_args!("a: {level}");
            write_line(
                &mut line,
                now,
                12,
                &Record::builder().level(level).target("net::tcp").args(args).build(),
            )
            .unwrap();
            ring.push(line.as_bytes());
        }
        let entries = LogReader::new(0, 1024, 4096).read(&Fake(ring));
        assert_eq!(entries.len(), levels.len());
        for (entry, (level, severity)) in entries.iter().zip(levels) {
            let LogEntry::Line(line) = entry else { panic!("{entry:?}") };
            assert_eq!((line.time.as_micros(), line.core, line.severity), (98_765_432_123, 12, severity));
            assert_eq!(line.parts(), (Some("net::tcp"), &*format!("a: {level}")));
        }
    }
}
