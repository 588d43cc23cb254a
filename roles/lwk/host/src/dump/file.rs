//! A dump that was written: what it says, and its memory.

use std::fs::File;
use std::path::Path;

use super::elf;
use super::memory::{Extent, FileMemory};
use super::notes::Description;
use crate::problem::Problem;

/// An open dump.
#[derive(Debug)]
pub struct Dump {
    /// What it says.
    pub description: Description,
    /// Its memory.
    pub memory: FileMemory,
}

impl Dump {
    /// Opens a file of `ihkosctl dump` or `vmcore2mckdump`.
    pub fn open(path: &Path) -> Result<Dump, Problem> {
        let here = |reason: String| Problem::failed(path.display(), reason);
        let file = File::open(path).map_err(|error| here(format!("{error} (the dump)")))?;
        let contents = elf::read(&file).map_err(here)?;
        if contents.notes.iter().any(|note| note.owner == super::qemu::OWNER) {
            let reason = "a dump of QEMU, not of the node; convert it: vmcore2mckdump <this file> <dump>";
            return Err(here(reason.into()));
        }
        let description = Description::read(&contents.notes).map_err(here)?;
        Ok(Dump { description, memory: FileMemory::new(file, extents(&contents.loads)) })
    }
}

/// Where memory is, whatever its addresses.
pub fn extents(loads: &[elf::Load]) -> Vec<Extent> {
    let extent = |load: &elf::Load| Extent { physical: load.physical, len: load.len, offset: load.offset };
    loads.iter().map(extent).collect()
}
