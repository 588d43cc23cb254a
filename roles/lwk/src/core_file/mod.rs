//! Core files of processes that crash (section 3.9): an ELF file that debuggers read, made here and written by the host.
//!
//! ```text
//!   header | program headers | notes: registers of all threads, what the process was, its files | memory, area by area
//! ```

mod notes;

use crate::Errno;
use crate::delegate::CorePart;
use crate::limits;
use crate::mm::{Area, Mm, PAGE};
use crate::process::Process;
use crate::room;
use crate::run::Task;
use crate::signals::SigInfo;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use keelson_elf::{FileHeader, PF_R, PF_W, PF_X, PN_XNUM, PT_LOAD, PT_NOTE, ProgramHeader};
use keelson_hal::user::{Protection, Registers};

/// Bytes of a part that is sent at once.
const PART: usize = 256 << 10;
/// Bytes that are added to a part at once.
const PIECE: usize = 64 << 10;
/// Zeros that are sent rather than left out.
const GAP: usize = 64 << 10;
/// Areas that a core file can have: program headers are counted in 16 bits, of which the last number is none, and the notes
/// take one.
const AREAS_MOST: usize = PN_XNUM as usize - 2;

/// A thread that stopped for the core file.
pub(crate) struct Stopped {
    pub tid: u32,
    pub registers: Registers,
    /// The XSAVE area, or the legacy part of it.
    pub extended: Vec<u8>,
    /// Blocked and waiting signals.
    pub blocked: u64,
    pub pending: u64,
}

impl Task {
    /// What a debugger wants to know of this thread.
    fn stopped(&self) -> Stopped {
        let mut extended = alloc::vec![0; self.context.extended.len()];
        self.context.extended.save(&mut extended);
        Stopped {
            tid: self.thread.tid,
            registers: self.context.registers,
            extended,
            blocked: self.thread.signals.mask().0,
            pending: self.thread.signals.pending().0,
        }
    }

    /// Leaves the registers for the thread that makes a core file, if there is one.
    pub(crate) fn leave_registers(&self) {
        let mut dump = self.thread.process.dump.lock();
        if let Some(stopped) = &mut *dump {
            // A thread that finds no memory is not in the file.
            let _ = room::push(stopped, self.stopped());
        }
    }

    /// Makes a core file, if the process may leave one: after all other threads have ended. True when the host took it all.
    pub(crate) async fn dump(&self, info: &SigInfo) -> bool {
        let process = &self.thread.process;
        loop {
            let changed = process.changed.changed();
            if process.thread_count() <= 1 {
                break;
            }
            changed.await;
        }
        let mut threads = process.dump.lock().take().unwrap_or_default();
        threads.sort_unstable_by_key(|thread| thread.tid);
        let limit = process.limits.lock().soft(limits::CORE);
        let written = match threads.try_reserve(1) {
            Err(_) => Err(Errno::ENOMEM),
            Ok(()) => {
                // The thread that crashed comes first: that is the one that debuggers show.
                threads.insert(0, self.stopped());
                write(process, &self.mm, info, &threads, limit).await
            }
        };
        written.unwrap_or_else(|error| {
            log::warn!(target: "lwk", "the core file of process {} is not whole: {error}", process.pid);
            false
        })
    }
}

impl Process {
    /// Gets ready for a core file: threads leave their registers from now on. False when the process may not leave one.
    pub(crate) fn prepare_dump(&self) -> bool {
        let allowed =
            self.limits.lock().soft(limits::CORE) > 0 && self.facts.dumpable.load(Ordering::Relaxed);
        if allowed {
            self.dump.lock().get_or_insert_default();
        }
        allowed
    }

    /// Threads end for a core file that is still to be made.
    pub(crate) fn is_dumping(&self) -> bool {
        self.dump.lock().is_some()
    }
}

/// Sends a core file of at most `limit` bytes. True when the host took it all; ENOMEM.
async fn write(
    process: &Process,
    mm: &Mm,
    info: &SigInfo,
    threads: &[Stopped],
    limit: u64,
) -> Result<bool, Errno> {
    let areas = room::collect(mm.areas().take(AREAS_MOST))?;
    let notes = notes::all(process, info, threads, &areas)?;
    let head = head(notes.len(), &areas)?;
    let memory = ((head.len() + notes.len()) as u64).next_multiple_of(PAGE);
    let whole = areas.iter().fold(memory, |end, area| end.saturating_add(saved(area)));
    // What is beyond the limit is cut off, as Linux does: a debugger makes do with the rest.
    let mut writer = Writer { process, size: whole.min(limit), offset: 0, part: Vec::new() };
    let mut fine = writer.put(0, &head).await? && writer.put(head.len() as u64, &notes).await?;
    drop((head, notes));
    let mut offset = memory;
    for area in &areas {
        fine = fine && writer.memory(mm, area, offset).await?;
        offset = offset.saturating_add(saved(area));
    }
    Ok(fine && writer.finish().await)
}

/// Collects bytes into parts.
struct Writer<'a> {
    process: &'a Process,
    /// Of the file; what would be beyond is left out.
    size: u64,
    /// Where the part belongs that is being collected.
    offset: u64,
    part: Vec<u8>,
}

impl Writer<'_> {
    /// Puts bytes at `offset`, which only grows. False once the host takes no more; ENOMEM.
    async fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<bool, Errno> {
        let mut offset = offset;
        for piece in bytes.chunks(PIECE) {
            if !self.put_piece(offset, piece).await? {
                return Ok(false);
            }
            offset += piece.len() as u64;
        }
        Ok(true)
    }

    async fn put_piece(&mut self, offset: u64, bytes: &[u8]) -> Result<bool, Errno> {
        let room = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        if bytes.is_empty() {
            return Ok(true);
        }
        let gap = offset.saturating_sub(self.offset + self.part.len() as u64) as usize;
        // A short gap is cheaper as zeros than as a message of its own.
        if gap < GAP {
            self.make_room(gap + bytes.len())?;
            self.part.resize(self.part.len() + gap, 0);
        } else if !self.send().await {
            return Ok(false);
        }
        self.make_room(bytes.len())?;
        if self.part.is_empty() {
            self.offset = offset;
        }
        self.part.extend_from_slice(bytes);
        // The part that ends where the file does says so, and nothing may follow it: that is for `finish`.
        let last = self.offset + self.part.len() as u64 == self.size;
        Ok(self.part.len() < PART || last || self.send().await)
    }

    fn make_room(&mut self, more: usize) -> Result<(), Errno> {
        self.part.try_reserve(more).map_err(|_| Errno::ENOMEM)
    }

    async fn send(&mut self) -> bool {
        if self.part.is_empty() {
            return true;
        }
        let bytes = core::mem::take(&mut self.part);
        let part = CorePart { size: self.size, offset: self.offset, bytes };
        self.offset += part.bytes.len() as u64;
        self.process.delegate.core_file(part).await
    }

    /// The bytes of an area, at `offset` in the file. Pages that are not there are holes: what a program never touched, or the
    /// host has.
    async fn memory(&mut self, mm: &Mm, area: &Area, offset: u64) -> Result<bool, Errno> {
        let end = area.start + saved(area);
        let mut page = [0; PAGE as usize];
        let mut at = area.start;
        while at < end && offset + (at - area.start) < self.size {
            let Some(mapped) = mm.space().next(at, end) else { break };
            at = at.max(mapped.at);
            for here in (at..end.min(mapped.at + mapped.size.bytes())).step_by(PAGE as usize) {
                let there = mm.space().read(here, &mut page).is_ok() && page.iter().any(|byte| *byte != 0);
                if there && !self.put(offset + (here - area.start), &page).await? {
                    return Ok(false);
                }
            }
            at = mapped.at + mapped.size.bytes();
        }
        Ok(true)
    }

    /// The last part, which may be empty, ends where the file does.
    async fn finish(&mut self) -> bool {
        if self.offset + self.part.len() as u64 != self.size {
            if !self.send().await {
                return false;
            }
            self.offset = self.size;
        }
        let part = CorePart { size: self.size, offset: self.offset, bytes: core::mem::take(&mut self.part) };
        self.process.delegate.core_file(part).await
    }
}

/// Bytes of an area that go into the file: what the program may read and did not exclude (madvise(2), MADV_DONTDUMP).
fn saved(area: &Area) -> u64 {
    let wanted = area.protection.read && !area.flags.dont_dump;
    // The text of files is in the files (core(5), coredump_filter).
    let text = area.path.is_some() && !area.may_be_written();
    if wanted && !text { area.end - area.start } else { 0 }
}

impl Area {
    fn may_be_written(&self) -> bool {
        self.protection.write || !self.protection.execute && self.copy_on_write
    }
}

/// The ELF header and the program headers, in front of so many bytes of notes. ENOMEM.
fn head(notes: usize, areas: &[Area]) -> Result<Vec<u8>, Errno> {
    let count = areas.len() + 1;
    let size = FileHeader::LEN + count * ProgramHeader::LEN;
    let mut bytes = room::with_room(size)?;
    bytes.extend_from_slice(&FileHeader::core(count as u16).encode());
    let (at, len) = (size as u64, notes as u64);
    let notes =
        ProgramHeader { kind: PT_NOTE, offset: at, file_len: len, align: 4, ..ProgramHeader::default() };
    bytes.extend_from_slice(&notes.encode());
    let mut offset = (at + len).next_multiple_of(PAGE);
    for area in areas {
        let Protection { read, write, execute } = area.protection;
        let flags = [(read, PF_R), (write, PF_W), (execute, PF_X)];
        let memory = ProgramHeader {
            kind: PT_LOAD,
            flags: flags.iter().filter(|(may, _)| *may).map(|(_, flag)| flag).sum(),
            offset,
            address: area.start,
            physical: 0,
            file_len: saved(area),
            memory_len: area.end - area.start,
            align: PAGE,
        };
        bytes.extend_from_slice(&memory.encode());
        offset += memory.file_len;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_counts_as_many_segments_as_there_are() {
        let most = alloc::vec![Area::anonymous(0..PAGE, Protection::default()); AREAS_MOST];
        let bytes = head(0, &most).unwrap();
        let header = bytes.first_chunk().and_then(FileHeader::decode).unwrap();
        assert!(usize::from(header.segments) == AREAS_MOST + 1 && header.segments < PN_XNUM);
    }
}
