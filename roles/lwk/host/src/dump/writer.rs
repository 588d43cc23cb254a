//! Writes a dump: memory first, as it comes, then the tables that say where it is.
//!
//! ```text
//!   header   a page
//!   memory   pieces one behind the other; what is zero is a hole
//!   notes    registers, and what the node said of itself
//!   strings  of sections `date`, `hostname`, `user` and `physchunks`, which McKernel's dumps have
//!   tables   of segments and of sections
//! ```
//!
//! A piece of memory has a segment for each place where the kernel sees it: the direct map, the image, and what else its tables map,
//! such as stacks.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use keelson_lwk_wire::bytes::Writer as Bytes;
use keelson_lwk_wire::dump::Info;

use super::elf::{self, Load, PAGE, Section};
use super::memory::{Extent, FileMemory};
use super::notes::Description;
use super::tables::{self, Half};
use crate::problem::Problem;
use crate::tools::time;

/// Pieces that a file may have.
const MAX_EXTENTS: usize = 1 << 18;

/// A file that is being written. It is removed unless it is finished.
pub struct Writer {
    file: Option<File>,
    path: PathBuf,
    extents: Vec<Extent>,
    /// Where the next piece goes.
    end: u64,
}

impl Writer {
    /// A new file, which nobody but its owner may read: it has what programs kept secret.
    pub fn create(path: &Path) -> Result<Writer, Problem> {
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| Problem::failed(path.display(), error))?;
        Ok(Writer { file: Some(file), path: path.to_path_buf(), extents: Vec::new(), end: PAGE })
    }

    /// Adds memory.
    pub fn memory(&mut self, physical: u64, bytes: &[u8]) -> Result<(), Problem> {
        let at = self.add(physical, bytes.len() as u64)?;
        match &self.file {
            Some(file) => file.write_all_at(bytes, at).map_err(|error| self.problem(error)),
            None => Ok(()),
        }
    }

    /// Adds memory that is zero.
    pub fn zeros(&mut self, physical: u64, len: u64) -> Result<(), Problem> {
        self.add(physical, len).map(drop)
    }

    /// Adds memory, and leaves out those of its pages that are zero.
    pub fn memory_with_zeros(&mut self, physical: u64, bytes: &[u8]) -> Result<(), Problem> {
        let zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
        let pages: Vec<&[u8]> = bytes.chunks(PAGE as usize).collect();
        let mut at = physical;
        for run in pages.chunk_by(|one, other| zero(one) == zero(other)) {
            let len = run.iter().map(|page| page.len()).sum::<usize>();
            let start = (at - physical) as usize;
            match bytes.get(start..start + len) {
                Some(bytes) if !run.first().is_some_and(|page| zero(page)) => self.memory(at, bytes)?,
                _ => self.zeros(at, len as u64)?,
            }
            at += len as u64;
        }
        Ok(())
    }

    /// Bytes of memory so far.
    pub fn len(&self) -> u64 {
        self.end - PAGE
    }

    /// Whether there is no memory yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where it goes in the file.
    fn add(&mut self, physical: u64, len: u64) -> Result<u64, Problem> {
        let at = self.end;
        let whole = physical.is_multiple_of(PAGE) && len.is_multiple_of(PAGE);
        let behind = self.extents.last().map_or(0, Extent::end);
        let (Some(end), Some(_), true, true) =
            (at.checked_add(len), physical.checked_add(len), whole, physical >= behind)
        else {
            let reason = format!("{len} bytes at physical address {physical:#x} cannot follow {behind:#x}");
            return Err(Problem::failed(self.path.display(), reason));
        };
        let full = self.extents.len() == MAX_EXTENTS;
        match self.extents.last_mut() {
            // What follows in RAM follows in the file.
            Some(last) if behind == physical => last.len += len,
            _ if full => {
                let reason = format!("memory in more than {MAX_EXTENTS} pieces");
                return Err(Problem::failed(self.path.display(), reason));
            }
            _ => self.extents.push(Extent { physical, len, offset: at }),
        }
        self.end = end;
        Ok(at)
    }

    /// Writes the rest. The file stays.
    pub fn finish(mut self, description: &Description) -> Result<(), Problem> {
        let Some(file) = self.file.take() else { return Ok(()) };
        match self.rest(file, description) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.remove();
                Err(self.problem(error))
            }
        }
    }

    fn rest(&self, file: File, description: &Description) -> io::Result<()> {
        // Zeros at the end of memory are part of the file too.
        file.set_len(self.end)?;
        let memory = FileMemory::new(file.try_clone()?, self.extents.clone());
        let loads = loads(&description.info, &memory);
        let mut tail = Tail { at: self.end, bytes: Vec::new() };
        let notes = tail.add(&description.notes());
        let mut sections = Vec::new();
        for (name, text) in [("date", date()), ("hostname", host_name()), ("user", user())] {
            let (offset, len) = tail.add(text.as_bytes());
            sections.push(Section { name: name.into(), address: 0, offset, len });
        }
        let (offset, len) = tail.add(&chunks(&description.info, &self.extents));
        sections.push(Section { name: "physchunks".into(), address: 0, offset, len });
        sections.extend(self.extents.iter().enumerate().map(|(number, extent)| Section {
            name: format!("physmem{number}"),
            address: extent.physical,
            offset: extent.offset,
            len: extent.len,
        }));
        let segments = loads.len() + 1;
        let (names, table) = elf::section_headers(tail.next(), &sections, segments);
        tail.add(&names);
        let (segments_at, _) = tail.add(&elf::program_headers(notes, &loads));
        let (sections_at, _) = tail.add(&table);
        file.write_all_at(&tail.bytes, tail.at)?;
        // The header last: what is cut off is no dump.
        file.write_all_at(&elf::header(segments, segments_at, sections.len() + 2, sections_at), 0)
    }

    fn problem(&self, error: io::Error) -> Problem {
        Problem::failed(self.path.display(), error)
    }

    fn remove(&self) {
        // Half a dump is none; what went wrong is said by the caller.
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.file.is_some() {
            self.remove();
        }
    }
}

/// What follows memory.
struct Tail {
    at: u64,
    bytes: Vec<u8>,
}

impl Tail {
    fn next(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    /// Place and length.
    fn add(&mut self, piece: &[u8]) -> (u64, u64) {
        let place = (self.next(), piece.len() as u64);
        self.bytes.extend_from_slice(piece);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        place
    }
}

/// Where the kernel sees which memory.
fn loads(info: &Info, memory: &FileMemory) -> Vec<Load> {
    let mut seen =
        vec![(info.direct_map, 0, info.memory_end), (info.image, info.image_physical, info.image_len)];
    let direct = info.direct_map..info.direct_map.saturating_add(info.memory_end);
    let image = info.image..info.image.saturating_add(info.image_len);
    let known = |address: u64, len: u64| {
        let end = address.saturating_add(len);
        (address >= direct.start && end <= direct.end) || (address >= image.start && end <= image.end)
    };
    for mapping in tables::mappings(memory, info.root, Half::Upper, &known) {
        // Large pages may begin before, or end behind, what is known.
        let known = direct.contains(&mapping.address) || image.contains(&mapping.address);
        if !known {
            seen.push((mapping.address, mapping.physical, mapping.len));
        }
    }
    let mut loads = Vec::new();
    for (address, physical, len) in seen {
        loads.extend(
            pieces(memory, physical, len)
                .map(|extent| load(address.wrapping_add(extent.physical - physical), &extent)),
        );
    }
    loads.sort_by_key(|load| load.address);
    loads
}

fn load(address: u64, extent: &Extent) -> Load {
    Load { address, physical: extent.physical, offset: extent.offset, len: extent.len }
}

/// What there is of a range of RAM.
fn pieces(memory: &FileMemory, physical: u64, len: u64) -> impl Iterator<Item = Extent> {
    let end = physical.saturating_add(len);
    let first = memory.extents().partition_point(|extent| extent.end() <= physical);
    let rest = memory.extents().get(first..).unwrap_or_default();
    rest.iter().take_while(move |extent| extent.physical < end).map(move |extent| {
        let from = extent.physical.max(physical);
        let offset = extent.offset + (from - extent.physical);
        Extent { physical: from, len: extent.end().min(end) - from, offset }
    })
}

/// McKernel's `dump_mem_chunks_t`: number, physical address of the image, start of RAM, then address and length of each piece.
fn chunks(info: &Info, extents: &[Extent]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24 + extents.len() * 16);
    let mut to = Bytes::new(&mut bytes);
    to.u64(extents.len() as u64).u64(info.image_physical).u64(0);
    for extent in extents {
        to.u64(extent.physical).u64(extent.len);
    }
    bytes
}

fn date() -> String {
    time::timestamp(SystemTime::now())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn user() -> String {
    let uid = nix::unistd::getuid();
    let known = nix::unistd::User::from_uid(uid).ok().flatten();
    known.map_or_else(|| uid.to_string(), |user| user.name)
}
