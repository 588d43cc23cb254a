//! Dumps of the kernel (section 6.6): `dump [-d 0|24] [-i]`, `memory PHYSICAL LENGTH`, `info`.
//!
//! For a dump all cores but this one are stopped where they hold no lock, so that this one can go on as usual: it tells what
//! programs do and where they are, then sends memory. Afterwards all go on, or with `-i` at `thaw`; then no memory is sent, and
//! whoever wants some reads it while they wait.

use super::Control;
use super::report::{Report, Table};
use crate::Errno;
use crate::room;
use crate::session::Tool;
use crate::view;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;
use keelson_exec::yield_now;
use keelson_lwk_wire::bytes::Writer;
use keelson_lwk_wire::calls;
use keelson_lwk_wire::dump::{DumpRecord, Level, MAX_TEXT, PAGE, STREAM_VERSION};

/// Bytes of memory that are read at once. Eight such pieces wait for a tool at most.
const PIECE: u64 = 128 << 10;

/// Bytes of a report in one record: little, as reports are made when memory may be short.
const TEXT: usize = 16 << 10;
const _: () = assert!(TEXT <= MAX_TEXT);

/// What a report says that there was no memory for.
const NO_MEMORY: &str = "there was no memory to read it\n";

/// What only the kernel below can tell a dump.
pub trait Postmortem {
    /// Stops all cores but this one, and saves the registers of all. Those that did not stop are returned: they run on.
    fn hold(&self) -> Vec<usize>;

    /// Lets them go on.
    fn release(&self);

    /// True in between.
    fn is_holding(&self) -> bool;

    /// The block that says where everything is.
    fn info(&self) -> Vec<u8>;

    /// The first pages of RAM from `from` on, as far as they are of one kind; `None` behind the last.
    fn next(&self, from: u64, level: Level) -> Option<Piece>;

    /// True when these pages of RAM are all zero.
    fn is_zero(&self, range: Range<u64>) -> bool;

    /// Copies RAM; false when it is none.
    fn read(&self, physical: u64, into: &mut [u8]) -> bool;

    /// Bytes and number of the free blocks of each size.
    fn free_blocks(&self) -> Vec<(u64, u64)>;
}

/// Adjacent pages that all belong into a dump, or all do not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Physical addresses.
    pub range: Range<u64>,
    /// They belong into the dump.
    pub wanted: bool,
}

/// Why a dump is not whole.
enum Broken {
    /// The tool is gone.
    Gone,
    /// There is no memory for the next record.
    NoMemory,
}

impl From<Errno> for Broken {
    fn from(_: Errno) -> Broken {
        Broken::NoMemory
    }
}

/// The machine stopped, for the time of a dump.
struct Stopped<'a> {
    control: &'a Control,
    machine: &'a dyn Postmortem,
    /// It ran before, and goes on afterwards.
    ran: bool,
    /// Programs ran before.
    thawed: bool,
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.control.dumping.set(false);
        if self.ran {
            self.machine.release();
        }
        if self.thawed {
            self.control.node.thaw();
        }
    }
}

impl Control {
    /// Sends a dump. With `stay` the machine stays stopped, until `thaw`.
    pub(super) async fn send_dump(&self, tool: &Tool, level: Level, stay: bool) {
        let Some(machine) = self.kernel.postmortem() else { return no_dumps(tool) };
        if self.dumping.replace(true) {
            return tool.fail(Errno::EBUSY, "dump: another one is being made; try again when it is done");
        }
        let mut stopped = Stopped { control: self, machine, ran: !machine.is_holding(), thawed: false };
        let running = if stopped.ran { machine.hold() } else { Vec::new() };
        // Helper threads on this core stay in the kernel.
        stopped.thawed = self.node.freeze();
        log::warn!(target: "lwk", "the machine is stopped for a dump of level {}", level as u8);
        let sent = self.stream(tool, machine, level, stay, &running).await;
        if sent.is_ok() && stay {
            (stopped.ran, stopped.thawed) = (false, false);
        }
        drop(stopped);
        let ended = sent.and_then(|pages| {
            record(&DumpRecord::End { pages }, |bytes| tool.bytes(bytes))?;
            Ok(pages)
        });
        match ended {
            Ok(pages) => {
                let then = if self.is_held() { "stays stopped until thaw" } else { "goes on" };
                log::warn!(target: "lwk", "{pages} pages were dumped; the machine {then}");
            }
            Err(Broken::NoMemory) => tool.fail(Errno::ENOMEM, "dump: the node has no memory to make one"),
            Err(Broken::Gone) => {}
        }
    }

    /// Everything but the end: how many pages that were.
    async fn stream(
        &self,
        tool: &Tool,
        machine: &dyn Postmortem,
        level: Level,
        stay: bool,
        running: &[usize],
    ) -> Result<u64, Broken> {
        let send = |what: &DumpRecord<'_>| record(what, |bytes| tool.bytes_part(bytes));
        send(&DumpRecord::Begin { level, version: STREAM_VERSION })?;
        send(&DumpRecord::Info(&machine.info()))?;
        for (name, text) in self.reports(machine, running) {
            self.send_report(tool, name, &text).await?;
        }
        if running.is_empty() {
            // One at a time: each may be long.
            for process in self.node.processes() {
                // Those for which there is no memory are not in it.
                let Ok(maps) = view::maps(&process.mm()).and_then(|maps| maps.joined()) else { continue };
                let maps = text_of(maps);
                self.send_report(tool, format!("maps.{}", process.pid), &maps).await?;
            }
        }
        if stay { Ok(0) } else { self.send_pages(tool, machine, level).await }
    }

    async fn send_report(&self, tool: &Tool, name: String, text: &str) -> Result<(), Broken> {
        for part in parts(text) {
            self.room(tool).await?;
            let text = part.to_string();
            record(&DumpRecord::Text { name: name.clone(), text }, |bytes| tool.bytes_part(bytes))?;
        }
        Ok(())
    }

    async fn send_pages(&self, tool: &Tool, machine: &dyn Postmortem, level: Level) -> Result<u64, Broken> {
        let (mut at, mut pages) = (0, 0);
        let mut buffer = room::zeros(PIECE as usize)?;
        // Zeros that have not been sent: they may go on.
        let mut zeros: Range<u64> = 0..0;
        while let Some(piece) = machine.next(at, level) {
            at = piece.range.end;
            yield_now().await;
            if !piece.wanted {
                continue;
            }
            let mut start = piece.range.start;
            while start < piece.range.end {
                let len = (piece.range.end - start).min(PIECE);
                self.room(tool).await?;
                if zeros.end == start && machine.is_zero(start..start + len) {
                    zeros.end += len;
                } else {
                    let piece = &mut buffer[..len as usize];
                    // RAM that cannot be read is shown as zeros.
                    if !machine.read(start, piece) {
                        piece.fill(0);
                    }
                    for (at, run) in runs(start, piece) {
                        send_run(tool, &mut zeros, at, run)?;
                    }
                }
                pages += len / PAGE;
                start += len;
                yield_now().await;
            }
        }
        send_zeros(tool, zeros)?;
        Ok(pages)
    }

    async fn room(&self, tool: &Tool) -> Result<(), Broken> {
        tool.room(self.timers()).await;
        if tool.is_there() { Ok(()) } else { Err(Broken::Gone) }
    }

    /// What the node can tell of itself at this moment, but for what its programs have mapped.
    fn reports(&self, machine: &dyn Postmortem, running: &[usize]) -> Vec<(String, String)> {
        let mut reports = Vec::from([
            ("kargs".to_string(), format!("{}\n", self.node.settings.command_line)),
            ("kmsg".to_string(), self.whole_log()),
            ("mem".to_string(), self.free_lists(machine)),
        ]);
        if !running.is_empty() {
            // It may hold any lock of the node, and we would wait for ever.
            let text = format!(
                "cores {running:?} did not stop: they hang in the kernel, and nothing could be said of programs\n"
            );
            reports.push(("remarks".to_string(), text));
            return reports;
        }
        let tables = [("ps", self.processes()), ("cores", Ok(self.cores())), ("requests", self.requests())];
        reports.extend(tables.map(|(name, table)| (name.to_string(), text_of_table(table))));
        reports
    }

    fn whole_log(&self) -> String {
        let Ok(mut log) = room::zeros(usize::try_from(self.kernel.log().capacity()).unwrap_or(0)) else {
            return NO_MEMORY.to_string();
        };
        let (count, _) = self.kernel.log().copy_from(0, &mut log);
        log.truncate(count);
        text_of(log)
    }

    fn free_lists(&self, machine: &dyn Postmortem) -> String {
        let (used, total) = self.memory_use();
        let rows = machine.free_blocks().into_iter().map(|(bytes, count)| {
            Vec::from([(bytes >> 10).into(), count.into(), ((bytes * count) >> 10).into()])
        });
        let table = Table { titles: &["KIB", "FREE", "TOTAL"], rows: rows.collect() };
        let kernel = self.kernel.memory_used();
        let sums = format!("programs {} of {} KiB, kernel {} KiB\n", used >> 10, total >> 10, kernel >> 10);
        text_of_table(Ok(table)) + &sums
    }

    /// Calls that hosts have not answered. ENOMEM.
    fn requests(&self) -> Result<Table, Errno> {
        let mut rows = Vec::new();
        for process in self.node.processes() {
            for request in process.delegate.under_way() {
                let call =
                    self.node.thread(request.tid).and_then(|thread| thread.call()).and_then(calls::call);
                let row = Vec::from([
                    u64::from(process.pid).into(),
                    u64::from(request.tid).into(),
                    request.id.into(),
                    request.handle.map_or("-".to_string(), |handle| handle.0.to_string()).into(),
                    call.map_or("-", |call| call.name).into(),
                    if request.cancelled { "cancelled" } else { "waits" }.into(),
                ]);
                room::push(&mut rows, row)?;
            }
        }
        Ok(Table { titles: &["PID", "TID", "REQUEST", "HANDLE", "CALL", "STATE"], rows })
    }

    /// Sends a piece of physical memory.
    pub(super) fn send_memory(&self, tool: &Tool, physical: u64, len: usize) {
        let Some(machine) = self.kernel.postmortem() else { return no_dumps(tool) };
        let Ok(mut bytes) = room::zeros(len) else {
            return tool.fail(Errno::ENOMEM, "memory: the node has none for so much at once");
        };
        match machine.read(physical, &mut bytes) {
            true => tool.bytes(bytes),
            false => {
                let text = format!("memory: {physical:#x}: not all of {len} bytes there are RAM");
                tool.fail(Errno::EFAULT, &text);
            }
        }
    }

    /// Sends the block that says where everything is.
    pub(super) fn send_info(&self, tool: &Tool) {
        match self.kernel.postmortem() {
            Some(machine) => tool.bytes(machine.info()),
            None => no_dumps(tool),
        }
    }

    /// True while a dump is being made.
    pub(super) fn is_dumping(&self) -> bool {
        self.dumping.get()
    }

    /// True while the machine is stopped.
    pub(super) fn is_held(&self) -> bool {
        self.kernel.postmortem().is_some_and(|machine| machine.is_holding())
    }

    /// Ends a stop that outlived its dump; false when there is none. A dump that is being made sees to that itself.
    pub(super) fn let_go(&self) -> bool {
        match self.kernel.postmortem() {
            Some(machine) if machine.is_holding() && !self.dumping.get() => {
                machine.release();
                true
            }
            _ => false,
        }
    }
}

fn no_dumps(tool: &Tool) {
    tool.fail(Errno::EOPNOTSUPP, "this node cannot be dumped");
}

/// Sends a run of pages, or adds it to the zeros that have not been sent.
fn send_run(tool: &Tool, zeros: &mut Range<u64>, physical: u64, run: &[u8]) -> Result<(), Broken> {
    let end = physical + run.len() as u64;
    if !is_zero(run) {
        send_zeros(tool, core::mem::take(zeros))?;
        record(&DumpRecord::Memory { physical, bytes: run }, |bytes| tool.bytes_part(bytes))
    } else if zeros.end == physical {
        zeros.end = end;
        Ok(())
    } else {
        send_zeros(tool, core::mem::replace(zeros, physical..end))
    }
}

fn send_zeros(tool: &Tool, zeros: Range<u64>) -> Result<(), Broken> {
    if zeros.is_empty() {
        return Ok(());
    }
    let zero = DumpRecord::Zero { physical: zeros.start, len: zeros.end - zeros.start };
    record(&zero, |bytes| tool.bytes_part(bytes))
}

fn record(record: &DumpRecord<'_>, send: impl FnOnce(Vec<u8>)) -> Result<(), Broken> {
    /// What a record has besides bytes or text.
    const BESIDES: usize = 128;
    let len = match record {
        DumpRecord::Info(bytes) | DumpRecord::Memory { bytes, .. } => bytes.len(),
        DumpRecord::Text { text, .. } => text.len(),
        _ => 0,
    };
    let mut bytes = room::with_room(len + BESIDES)?;
    record.write(&mut Writer::new(&mut bytes));
    send(bytes);
    Ok(())
}

fn text_of_table(table: Result<Table, Errno>) -> String {
    table.and_then(|table| Report::Table(table).text()).unwrap_or_else(|_| NO_MEMORY.to_string())
}

/// Bytes as text, without a copy where they are some.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Text in parts for one record each; one of them for none.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > TEXT {
        let (part, more) = rest.split_at(rest.floor_char_boundary(TEXT));
        parts.push(part);
        rest = more;
    }
    parts.push(rest);
    parts
}

/// Runs of pages that are zero, and of pages that are not, with their addresses.
fn runs(start: u64, bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let pages = || bytes.chunks(PAGE as usize);
    let mut runs = Vec::new();
    let mut begin = 0;
    let ends = pages().zip(pages().skip(1)).enumerate();
    for (number, _) in ends.filter(|(_, (page, next))| is_zero(page) != is_zero(next)) {
        let end = (number + 1) * PAGE as usize;
        runs.extend(bytes.get(begin..end).map(|run| (start + begin as u64, run)));
        begin = end;
    }
    runs.extend(bytes.get(begin..).filter(|run| !run.is_empty()).map(|run| (start + begin as u64, run)));
    runs
}

fn is_zero(bytes: &[u8]) -> bool {
    // Words first: most pages that are not zero say so at once.
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_apart() {
        let mut bytes = vec![0; 5 * 4096];
        bytes[4096] = 1;
        bytes[3 * 4096 - 1] = 1;
        let found: Vec<_> =
            runs(0x1000, &bytes).into_iter().map(|(at, run)| (at, run.len(), is_zero(run))).collect();
        assert_eq!(found, [(0x1000, 4096, true), (0x2000, 8192, false), (0x4000, 8192, true)]);
        assert!(runs(0, &[]).is_empty());
        assert_eq!(runs(0, &bytes[4096..8192]).len(), 1);
    }

    #[test]
    fn long_reports_come_in_parts() {
        let long = "é".repeat(TEXT);
        let found = parts(&long);
        assert_eq!((found.len(), found.concat()), (2, long.clone()));
        assert_eq!(parts(""), [""]);
    }
}
