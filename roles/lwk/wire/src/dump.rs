//! Dumps of a node's kernel (section 6.6): the block that a kernel keeps about itself, and what a node streams of its memory.
//!
//! ```text
//!   info      the block "KEELINFO" in the kernel's image
//!   record    the answers to the verb `dump`
//! ```

mod info;
mod record;

pub use info::{Core, CoreState, Info, Process, layout};
pub use keelson_elf::{REGISTERS, register};
pub use record::{DumpRecord, MAX_MEMORY, MAX_NAME, MAX_TEXT, PAGE, STREAM_VERSION};

/// What a dump holds (`dump_level`; the numbers are McKernel's).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Level {
    /// All memory.
    All = 0,
    /// What the kernel uses: no free pages, no pages of programs.
    #[default]
    Kernel = 24,
}

impl Level {
    /// The level with this number.
    pub const fn from_raw(raw: u64) -> Option<Level> {
        match raw {
            0 => Some(Level::All),
            24 => Some(Level::Kernel),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
