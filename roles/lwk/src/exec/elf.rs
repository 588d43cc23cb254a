//! ELF files, as far as loading needs them (System V ABI, "Object Files"; section 3.2).
//!
//! Whatever a file says is checked here; what comes out can be mapped without further thought.

use super::ExecError;
use crate::mm::layout;
use crate::mm::{PAGE, page_of, whole_pages};
use alloc::vec::Vec;
use keelson_hal::user::Protection;

/// Bytes of the header of a file.
pub const HEADER: usize = 64;
/// Bytes of a program header.
const ENTRY: usize = 56;
/// Most program headers.
const ENTRIES_MOST: usize = 256;
/// Most bytes of the path of an interpreter.
const INTERPRETER_MOST: u64 = 4096;
/// Largest alignment of a segment that is honoured.
const ALIGN_MOST: u64 = 2 << 20;

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;

/// What is read first: where the program headers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Lies where it lies (`ET_EXEC`); anywhere otherwise (`ET_DYN`).
    pub fixed: bool,
    /// First instruction.
    pub entry: u64,
    /// Where in the file the program headers are.
    pub headers: u64,
    /// How many.
    pub count: usize,
}

/// A part of a file that is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Address of the first byte.
    pub at: u64,
    /// Bytes in memory.
    pub len: u64,
    /// Where in the file it is.
    pub offset: u64,
    /// Bytes in the file; zeros follow.
    pub file_len: u64,
    /// What the program may do.
    pub protection: Protection,
}

/// What program headers say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The segments, by address; their pages do not overlap.
    pub segments: Vec<Segment>,
    /// Where in the file the path of the interpreter is: offset and bytes.
    pub interpreter: Option<(u64, u64)>,
    /// The stack is executable.
    pub stack_executable: bool,
    /// Alignment of the whole.
    pub align: u64,
}

impl Header {
    /// Reads the first bytes of a file of `size` bytes.
    pub fn parse(bytes: &[u8], size: u64) -> Result<Header, ExecError> {
        let bytes: &[u8; HEADER] =
            bytes.get(..HEADER).and_then(|bytes| bytes.try_into().ok()).ok_or(ExecError::NotExecutable)?;
        let little_64 = bytes[..7] == [0x7f, b'E', b'L', b'F', 2, 1, 1];
        // System V or GNU.
        let abi = matches!(bytes[7], 0 | 3);
        let fixed = match half(bytes, 16) {
            2 => true,
            3 => false,
            _ => return Err(ExecError::NotExecutable),
        };
        let amd64 = half(bytes, 18) == 62;
        let count = usize::from(half(bytes, 56));
        let sizes = usize::from(half(bytes, 54)) == ENTRY && (1..=ENTRIES_MOST).contains(&count);
        let header = Header { fixed, entry: long(bytes, 24), headers: long(bytes, 32), count };
        let end = header.headers.checked_add((count * ENTRY) as u64);
        if little_64 && abi && amd64 && sizes && end.is_some_and(|end| end <= size) {
            Ok(header)
        } else {
            Err(ExecError::NotExecutable)
        }
    }

    /// Bytes of the program headers.
    pub fn headers_len(&self) -> usize {
        self.count * ENTRY
    }
}

impl Layout {
    /// Reads the program headers of a file of `size` bytes.
    pub fn parse(header: &Header, bytes: &[u8], size: u64) -> Result<Layout, ExecError> {
        let mut layout =
            Layout { segments: Vec::new(), interpreter: None, stack_executable: false, align: PAGE };
        for entry in bytes.as_chunks::<ENTRY>().0.iter().take(header.count) {
            let (kind, flags) = (word(entry, 0), word(entry, 4));
            match kind {
                PT_LOAD => layout.add(entry, flags, size)?,
                PT_INTERP if layout.interpreter.is_none() => {
                    let (offset, len) = (long(entry, 8), long(entry, 32));
                    let inside = offset.checked_add(len).is_some_and(|end| end <= size);
                    if !inside || !(2..=INTERPRETER_MOST).contains(&len) {
                        return Err(ExecError::NotExecutable);
                    }
                    layout.interpreter = Some((offset, len));
                }
                PT_GNU_STACK => layout.stack_executable = flags & 1 != 0,
                _ => {}
            }
        }
        let lowest = layout.segments.first().ok_or(ExecError::NotExecutable)?.at;
        if header.fixed && lowest < layout::LOWEST {
            return Err(ExecError::NotExecutable);
        }
        Ok(layout)
    }

    fn add(&mut self, entry: &[u8; ENTRY], flags: u32, size: u64) -> Result<(), ExecError> {
        let segment = Segment {
            at: long(entry, 16),
            len: long(entry, 40),
            offset: long(entry, 8),
            file_len: long(entry, 32),
            protection: Protection { read: flags & 4 != 0, write: flags & 2 != 0, execute: flags & 1 != 0 },
        };
        if segment.len == 0 {
            return Ok(());
        }
        let align = long(entry, 48).max(1);
        let end = segment.at.checked_add(segment.len).and_then(whole_pages);
        let file_end = segment.offset.checked_add(segment.file_len);
        let sound = segment.file_len <= segment.len
            && end.is_some_and(|end| end <= layout::VVAR)
            && (segment.file_len == 0 || file_end.is_some_and(|end| end <= size))
            && (segment.file_len == 0 || segment.at % PAGE == segment.offset % PAGE)
            && align.is_power_of_two();
        let last = self.segments.last().and_then(|last| whole_pages(last.at + last.len));
        let ordered = last.is_none_or(|last| last <= page_of(segment.at));
        if !sound || !ordered {
            return Err(ExecError::NotExecutable);
        }
        self.align = self.align.max(align.min(ALIGN_MOST));
        self.segments.push(segment);
        Ok(())
    }

    /// First address of the pages, and the first behind them.
    pub fn span(&self) -> (u64, u64) {
        let first = self.segments.first().map_or(0, |first| page_of(first.at));
        let last = self.segments.last().and_then(|last| whole_pages(last.at + last.len));
        (first, last.unwrap_or(first))
    }

    /// Where a place in the file is in memory.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let holds =
            |segment: &&Segment| (segment.offset..segment.offset + segment.file_len).contains(&offset);
        self.segments.iter().find(holds).map(|segment| segment.at + (offset - segment.offset))
    }
}

/// Program headers as the auxiliary vector counts them.
pub const fn entry_len() -> u64 {
    ENTRY as u64
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from(half(bytes, at)) | u32::from(half(bytes, at + 2)) << 16
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}
