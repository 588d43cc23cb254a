//! ELF files, as far as loading needs them (System V ABI, "Object Files"; section 3.2).
//!
//! Whatever a file says is checked here; what comes out can be mapped without further thought.

use super::ExecError;
use crate::mm::layout;
use crate::mm::{PAGE, page_of, whole_pages};
use alloc::vec::Vec;
use keelson_elf::{
    ET_DYN, ET_EXEC, FileHeader, OSABI_GNU, OSABI_SYSV, PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD,
    ProgramHeader,
};
use keelson_hal::user::Protection;

/// Most program headers.
const ENTRIES_MOST: usize = 256;
/// Most bytes of the path of an interpreter.
const INTERPRETER_MOST: u64 = 4096;
/// Largest alignment of a segment that is honoured.
const ALIGN_MOST: u64 = 2 << 20;

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
        let first = bytes.first_chunk().and_then(FileHeader::decode);
        let FileHeader { abi, kind, entry, segments_at: headers, segments, .. } =
            first.ok_or(ExecError::NotExecutable)?;
        let fixed = match kind {
            ET_EXEC => true,
            ET_DYN => false,
            _ => return Err(ExecError::NotExecutable),
        };
        let header = Header { fixed, entry, headers, count: usize::from(segments) };
        let end = headers.checked_add(header.headers_len() as u64);
        let sound = matches!(abi, OSABI_SYSV | OSABI_GNU)
            && (1..=ENTRIES_MOST).contains(&header.count)
            && end.is_some_and(|end| end <= size);
        if sound { Ok(header) } else { Err(ExecError::NotExecutable) }
    }

    /// Bytes of the program headers.
    pub fn headers_len(&self) -> usize {
        self.count * ProgramHeader::LEN
    }
}

impl Layout {
    /// Reads the program headers of a file of `size` bytes.
    pub fn parse(header: &Header, bytes: &[u8], size: u64) -> Result<Layout, ExecError> {
        let mut layout =
            Layout { segments: Vec::new(), interpreter: None, stack_executable: false, align: PAGE };
        for entry in bytes.as_chunks().0.iter().take(header.count).map(ProgramHeader::decode) {
            match entry.kind {
                PT_LOAD => layout.add(&entry, size)?,
                PT_INTERP if layout.interpreter.is_none() => {
                    let (offset, len) = (entry.offset, entry.file_len);
                    let inside = offset.checked_add(len).is_some_and(|end| end <= size);
                    if !inside || !(2..=INTERPRETER_MOST).contains(&len) {
                        return Err(ExecError::NotExecutable);
                    }
                    layout.interpreter = Some((offset, len));
                }
                PT_GNU_STACK => layout.stack_executable = entry.flags & PF_X != 0,
                _ => {}
            }
        }
        let lowest = layout.segments.first().ok_or(ExecError::NotExecutable)?.at;
        if header.fixed && lowest < layout::LOWEST {
            return Err(ExecError::NotExecutable);
        }
        Ok(layout)
    }

    fn add(&mut self, entry: &ProgramHeader, size: u64) -> Result<(), ExecError> {
        let may = |flag| entry.flags & flag != 0;
        let segment = Segment {
            at: entry.address,
            len: entry.memory_len,
            offset: entry.offset,
            file_len: entry.file_len,
            protection: Protection { read: may(PF_R), write: may(PF_W), execute: may(PF_X) },
        };
        if segment.len == 0 {
            return Ok(());
        }
        let align = entry.align.max(1);
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
