//! Dumps that QEMU makes of a whole machine (`dump-guest-memory`, QEMU docs/interop and target/i386/arch_dump.c): ELF core files
//! with physical memory and the registers of processors, but without a word about what runs there. The kernel's block says that.

use std::fs::File;
use std::path::Path;

use keelson_lwk_wire::bytes::Reader;
use keelson_lwk_wire::dump::{Core, CoreState, Info, Level, layout, register};

use super::elf::{self, Note};
use super::memory::{FileMemory, Memory};
use super::notes::{BLOCK_ALIGN, Description, Source, registers};
use super::writer::Writer;
use super::{file, space};
use crate::problem::Problem;

/// Owner of the notes with the state of processors.
pub const OWNER: &str = "QEMU";
/// Bytes that are copied at once.
const COPIED: u64 = 1 << 20;

/// `QEMUCPUState`: version and size, 18 registers, 10 segments of 24 bytes, 5 control registers, the kernel's GS base.
mod state {
    pub const SEGMENTS: usize = 8 + 18 * 8;
    pub const SEGMENT: usize = 24;
    /// Where a segment has its base.
    pub const BASE: usize = 16;
    pub const FS: usize = 3;
    pub const GS: usize = 4;
    pub const CONTROL: usize = SEGMENTS + 10 * SEGMENT;
    pub const KERNEL_GS: usize = CONTROL + 5 * 8;
}

/// Makes a dump of one of QEMU's. It has all memory: only the running node could tell which pages are whose.
pub fn convert(from: &Path, mut writer: Writer) -> Result<(), Problem> {
    let here = |reason: String| Problem::failed(from.display(), reason);
    let file = File::open(from).map_err(|error| here(error.to_string()))?;
    let contents = elf::read(&file).map_err(here)?;
    let processors = processors(&contents.notes);
    if processors.is_empty() || !contents.notes.iter().any(|note| note.owner == OWNER) {
        let reason =
            "no registers of processors in it; make it with QEMU's dump-guest-memory, as an ELF file";
        return Err(here(reason.into()));
    }
    let memory = FileMemory::new(file, file::extents(&contents.loads));
    let mut info = find(&memory).map_err(here)?;
    complete(&mut info, &processors);
    copy(&memory, info.memory_end, &mut writer).map_err(|trouble| match trouble {
        Trouble::Reading(reason) => here(reason),
        Trouble::Writing(problem) => problem,
    })?;
    let description = Description { info, level: Level::All, source: Source::Machine, reports: Vec::new() };
    writer.finish(&description)
}

/// Looks for the kernel's block. A copy of it, in a buffer that was being sent for example, says that it is elsewhere.
fn find(memory: &FileMemory) -> Result<Info, String> {
    let mut wrong = None;
    for extent in memory.extents() {
        // A piece may be the last of all that addresses reach.
        let mut next = extent.physical.checked_next_multiple_of(BLOCK_ALIGN);
        while let Some(at) = next.filter(|at| *at < extent.end()) {
            let mut magic = [0; layout::MAGIC.len()];
            if memory.read(at, &mut magic).is_ok() && magic == layout::MAGIC {
                let mut block = vec![0; layout::LEN];
                match memory.read(at, &mut block).map(|()| Info::decode(&block)) {
                    Ok(Ok(info)) if info.is_at(at) => return Ok(info),
                    Ok(Err(error)) => wrong = Some(format!("the kernel's block at {at:#x}: {error}")),
                    _ => {}
                }
            }
            next = at.checked_add(BLOCK_ALIGN);
        }
    }
    Err(wrong.unwrap_or_else(|| "no LWK node ran in it: the kernel's block KEELINFO is not there".into()))
}

enum Trouble {
    Reading(String),
    Writing(Problem),
}

fn copy(memory: &FileMemory, end: u64, writer: &mut Writer) -> Result<(), Trouble> {
    let mut buffer = Vec::new();
    // What lies behind RAM is firmware and devices; firmware may have the last of RAM, too.
    for extent in memory.extents() {
        let (mut at, end) = (extent.physical, extent.end().min(end));
        while at < end {
            let len = COPIED.min(end - at);
            buffer.resize(len as usize, 0);
            memory.read(at, &mut buffer).map_err(|unread| Trouble::Reading(unread.to_string()))?;
            writer.memory_with_zeros(at, &buffer).map_err(Trouble::Writing)?;
            at += len;
        }
    }
    Ok(())
}

/// The processors as QEMU saw them, in their order.
fn processors(notes: &[Note]) -> Vec<Core> {
    let mut found: Vec<Core> = notes
        .iter()
        .filter_map(registers)
        .map(|registers| Core { state: CoreState::Live, registers, ..Core::default() })
        .collect();
    let states = notes.iter().filter(|note| note.owner == OWNER);
    for (core, note) in found.iter_mut().zip(states) {
        // What a shorter note lacks stays 0.
        let number = |at: usize| note.desc.get(at..).and_then(|rest| Reader::new(rest).u64().ok());
        let base = |segment: usize| number(state::SEGMENTS + segment * state::SEGMENT + state::BASE);
        core.cr2 = number(state::CONTROL + 2 * 8).unwrap_or_default();
        core.cr3 = number(state::CONTROL + 3 * 8).unwrap_or_default();
        for (register, segment) in [(register::FS_BASE, state::FS), (register::GS_BASE, state::GS)] {
            if let (Some(to), Some(base)) = (core.registers.get_mut(register), base(segment)) {
                *to = base;
            }
        }
        let own = if space::in_kernel(core) { base(state::GS) } else { number(state::KERNEL_GS) };
        core.per_cpu = own.unwrap_or_default();
    }
    found
}

/// Cores that the kernel did not stop itself have the registers that QEMU saw. What the kernel wrote of one that failed is worth more:
/// it halts since then.
fn complete(info: &mut Info, processors: &[Core]) {
    for (core, seen) in info.cores.iter_mut().zip(processors) {
        if core.state == CoreState::None {
            let own = if core.per_cpu == 0 { seen.per_cpu } else { core.per_cpu };
            *core = Core { pid: core.pid, tid: core.tid, per_cpu: own, ..*seen };
        }
    }
}
