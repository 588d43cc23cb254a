//! Mapping a program and its interpreter.

use super::elf::{Header, Layout, Segment};
use super::stack::{Addresses, build};
use super::{Arguments, ExecError, Start};
use crate::Errno;
use crate::mm::{Area, Backing, FileMapping, Mm, Object, PAGE, Policy, layout, page_of, whole_pages};
use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use keelson_hal::user::{Access, Protection};

/// Segments up to this size are here before the program starts; larger ones come when they are touched (section 3.2).
const READ_AHEAD: u64 = 64 << 20;
/// Bytes between two segments that are read along with them: what linkers leave for alignment.
const GAP: u64 = 64 << 10;
/// Bytes that are read at first: the program headers are among them as a rule.
const FIRST: u32 = 4096;

/// A file that can be run.
pub struct Program {
    file: FileMapping,
    header: Header,
    layout: Layout,
    interpreter: Option<Vec<u8>>,
}

impl Program {
    /// Reads what a file says about itself. `start` is what it begins with ([`start_of`]).
    pub async fn read(file: &FileMapping, start: &[u8]) -> Result<Program, ExecError> {
        let size = file.source.version().size;
        let header = Header::parse(start, size)?;
        let headers = part(file, start, header.headers, header.headers_len()).await?;
        let layout = Layout::parse(&header, &headers, size)?;
        let interpreter = match layout.interpreter {
            Some((offset, len)) => Some(path(&part(file, start, offset, len as usize).await?)?),
            None => None,
        };
        Ok(Program { file: file.clone(), header, layout, interpreter })
    }

    /// The path of the interpreter that it needs.
    pub fn interpreter(&self) -> Option<&[u8]> {
        self.interpreter.as_deref()
    }
}

/// What a file begins with: enough to see what it is, and all headers of most programs.
pub async fn start_of(file: &FileMapping) -> Result<Vec<u8>, ExecError> {
    file.source.fetch(0, FIRST).await.map_err(ExecError::Unreadable)
}

/// A part of a file, which `start` may contain; without it the file is none that can be executed.
async fn part<'a>(
    file: &FileMapping,
    start: &'a [u8],
    offset: u64,
    len: usize,
) -> Result<Cow<'a, [u8]>, ExecError> {
    let end = usize::try_from(offset).ok().and_then(|at| Some((at, at.checked_add(len)?)));
    let (at, end) = end.ok_or(ExecError::NotExecutable)?;
    if let Some(here) = start.get(at..end) {
        return Ok(here.into());
    }
    let mut bytes = file.source.fetch(offset, len as u32).await.map_err(ExecError::Unreadable)?;
    bytes.truncate(len);
    if bytes.len() == len { Ok(bytes.into()) } else { Err(ExecError::NotExecutable) }
}

/// A path up to its zero.
fn path(bytes: &[u8]) -> Result<Vec<u8>, ExecError> {
    let end = bytes.iter().position(|byte| *byte == 0).filter(|end| *end > 0);
    end.map(|end| bytes[..end].to_vec()).ok_or(ExecError::NotExecutable)
}

/// Puts a program, its interpreter, its stack and the vDSO into an empty address space.
pub async fn load(
    mm: &Mm,
    program: &Program,
    interpreter: Option<&Program>,
    arguments: &Arguments<'_>,
) -> Result<Start, ExecError> {
    let node = arguments.node;
    let base = if program.header.fixed { 0 } else { base_for(mm, &program.layout, layout::PROGRAM)? };
    map_program(mm, program, base, node).await?;
    let (first, last) = program.layout.span();
    mm.set_brk(base.wrapping_add(last)).map_err(memory)?;
    let entry = entry_of(program, base)?;
    let (start, interpreter_base) = match interpreter {
        Some(interpreter) if interpreter.header.fixed => return Err(ExecError::BadInterpreter),
        Some(interpreter) => {
            let at = base_for(mm, &interpreter.layout, layout::INTERPRETER)?;
            map_program(mm, interpreter, at, node).await?;
            (entry_of(interpreter, at)?, at)
        }
        None => (entry, 0),
    };
    let vdso = match arguments.vdso {
        Some(vdso) if mm.settings().vdso => vdso.map(mm, node).map_err(memory)?,
        _ => 0,
    };
    let headers = program.layout.address_of(program.header.headers);
    let addresses = Addresses {
        entry,
        headers: headers.map_or(0, |at| base.wrapping_add(at)),
        header_count: program.header.count as u64,
        interpreter: interpreter_base,
        vdso,
    };
    let stack = build(mm, &addresses, arguments, program.layout.stack_executable)?;
    Ok(Start {
        entry: start,
        stack: stack.pointer,
        base,
        auxv: stack.auxv,
        arguments: stack.arguments,
        environment: stack.environment,
        code: base.wrapping_add(first)..base.wrapping_add(last),
    })
}

/// What has to be added to the addresses of a program that lies anywhere.
fn base_for(mm: &Mm, its: &Layout, floor: u64) -> Result<u64, ExecError> {
    let (first, last) = its.span();
    let at = mm.room(last - first, its.align.max(2 << 20), floor).map_err(memory)?;
    // The first address keeps its distance to the alignment.
    let ahead = first % its.align;
    let at = if ahead == 0 {
        at
    } else {
        mm.room(last - first + its.align, its.align, floor).map_err(memory)? + ahead
    };
    Ok(at.wrapping_sub(first))
}

fn entry_of(program: &Program, base: u64) -> Result<u64, ExecError> {
    let entry = base.wrapping_add(program.header.entry);
    if entry < layout::TOP { Ok(entry) } else { Err(ExecError::NotExecutable) }
}

async fn map_program(mm: &Mm, program: &Program, base: u64, node: usize) -> Result<(), ExecError> {
    let system = mm.system();
    let object = system.memory.object(&system.machine, &program.file.source);
    let object = object.map_err(|_| ExecError::OutOfMemory)?;
    // Before anything is mapped: what lies side by side in the file is one question to the host, not one for each segment.
    for part in side_by_side(program.layout.segments.iter().filter(|segment| is_read_ahead(segment))) {
        object.fetch_all(part.start, part.end, node).await.map_err(ExecError::Unreadable)?;
    }
    for segment in &program.layout.segments {
        let at = base.checked_add(segment.at).filter(|at| *at >= layout::LOWEST);
        let moved = Segment { at: at.ok_or(ExecError::NotExecutable)?, ..*segment };
        map_segment(mm, program, &object, &moved, node).await?;
    }
    Ok(())
}

async fn map_segment(
    mm: &Mm,
    program: &Program,
    object: &Arc<Object>,
    segment: &Segment,
    node: usize,
) -> Result<(), ExecError> {
    let start = page_of(segment.at);
    let file_end = segment.at + segment.file_len;
    let file_pages =
        if segment.file_len == 0 { start } else { whole_pages(file_end).ok_or(ExecError::NotExecutable)? };
    let end = segment.at.checked_add(segment.len).and_then(whole_pages).ok_or(ExecError::NotExecutable)?;
    if file_pages > start {
        let mut area = Area::anonymous(start..file_pages, segment.protection);
        area.backing = Backing::Object(object.clone());
        area.offset = page_of(segment.offset);
        area.copy_on_write = true;
        area.path = program.file.path.clone();
        place(mm, area, node)?;
        if is_read_ahead(segment) {
            enter(mm, segment, start..file_pages, node).await?;
        }
    }
    if end > file_pages {
        let mut area = Area::anonymous(file_pages..end, segment.protection);
        if mm.settings().policy_not_bss {
            area.policy = Some(Policy::default());
        }
        place(mm, area, node)?;
    }
    if segment.len > segment.file_len && file_pages > file_end && segment.protection.write {
        let zeros = [0; PAGE as usize];
        mm.write_wait(file_end, &zeros[..(file_pages - file_end) as usize]).await.map_err(content)?;
    }
    Ok(())
}

fn is_read_ahead(segment: &Segment) -> bool {
    (1..=READ_AHEAD).contains(&segment.file_len)
}

/// The parts of the file that segments are, joined where there is less than [`GAP`] between them.
fn side_by_side<'a>(segments: impl Iterator<Item = &'a Segment>) -> Vec<Range<u64>> {
    let mut parts: Vec<Range<u64>> = Vec::new();
    for segment in segments {
        let part = segment.offset..segment.offset.saturating_add(segment.file_len);
        match parts.last_mut() {
            Some(last) if (last.start..=last.end.saturating_add(GAP)).contains(&part.start) => {
                last.end = last.end.max(part.end);
            }
            _ => parts.push(part),
        }
    }
    parts
}

/// Enters the pages of a segment that is here: those that can be written as copies, so that the program has no faults.
async fn enter(mm: &Mm, segment: &Segment, pages: Range<u64>, node: usize) -> Result<(), ExecError> {
    let Protection { read, write, execute } = segment.protection;
    if read || write || execute {
        let access = if write { Access::Write } else { Access::Read };
        mm.touch_wait(pages.start, pages.end - pages.start, access, node).await.map_err(content)?;
    }
    Ok(())
}

fn place(mm: &Mm, area: Area, node: usize) -> Result<(), ExecError> {
    mm.place_area(area, node).map_err(|errno| match errno {
        Errno::ENOMEM => ExecError::OutOfMemory,
        _ => ExecError::NotExecutable,
    })
}

fn memory(_: Errno) -> ExecError {
    ExecError::OutOfMemory
}

/// The file changed while it was loaded, or there is no memory.
fn content(errno: Errno) -> ExecError {
    if errno == Errno::ENOMEM { ExecError::OutOfMemory } else { ExecError::NotExecutable }
}
