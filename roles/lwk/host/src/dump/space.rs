//! Addresses of the kernel and of programs in a dump.

use keelson_lwk_wire::dump::{Core, Info, register};

use super::elf::PAGE;
use super::memory::{Memory, Unread};
use super::tables::{self, canonical};

/// Why an address cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unmapped {
    /// No page is there.
    NoPage(u64),
    /// One was, but it, or a table on the way to it, cannot be read.
    Unread(Unread),
}

impl std::fmt::Display for Unmapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unmapped::NoPage(address) => write!(f, "nothing is mapped at {address:#x}"),
            Unmapped::Unread(unread) => write!(f, "{unread}"),
        }
    }
}

/// An address space: the kernel's, and that of one program.
#[derive(Clone, Copy)]
pub struct Space<'a> {
    info: &'a Info,
    memory: &'a dyn Memory,
    /// Physical address of the root table.
    root: u64,
}

impl<'a> Space<'a> {
    /// The kernel's.
    pub fn kernel(info: &'a Info, memory: &'a dyn Memory) -> Space<'a> {
        Space { info, memory, root: info.root }
    }

    /// With the program whose root table this is.
    pub fn with_root(info: &'a Info, memory: &'a dyn Memory, root: u64) -> Space<'a> {
        Space { info, memory, root }
    }

    /// What a core sees.
    pub fn of_core(info: &'a Info, memory: &'a dyn Memory, core: &Core) -> Space<'a> {
        Space { info, memory, root: if core.cr3 == 0 { info.root } else { core.cr3 } }
    }

    /// Where an address is in RAM. The image and the direct map need no tables.
    pub fn physical(&self, address: u64) -> Result<u64, Unmapped> {
        let within = |from: u64, len: u64| address.checked_sub(from).filter(|offset| *offset < len);
        if let Some(offset) = within(self.info.image, self.info.image_len) {
            return Ok(self.info.image_physical.saturating_add(offset));
        }
        if let Some(physical) = within(self.info.direct_map, self.info.memory_end) {
            return Ok(physical);
        }
        let kernel = address >> 63 == 1;
        let root = if kernel { self.info.root } else { self.root };
        let walk = tables::walk(self.memory, root, address).map_err(Unmapped::Unread)?;
        walk.physical(address).ok_or(Unmapped::NoPage(address))
    }

    /// Reads all of `into`, or nothing.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Unmapped> {
        let (mut at, mut rest) = (address, into);
        while !rest.is_empty() {
            let physical = self.physical(at)?;
            let here = rest.len().min((PAGE - at % PAGE) as usize);
            let (now, later) = rest.split_at_mut(here);
            self.memory.read(physical, now).map_err(Unmapped::Unread)?;
            (at, rest) = (canonical(at.wrapping_add(here as u64)), later);
        }
        Ok(())
    }
}

/// Whether a core was in the kernel.
pub fn in_kernel(core: &Core) -> bool {
    core.registers.get(register::CS).is_none_or(|cs| cs & 3 == 0)
}
