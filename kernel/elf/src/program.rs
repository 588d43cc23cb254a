//! Program headers (gABI, "Program Header").

use crate::bytes::{put, u32_at, u64_at};

/// [`ProgramHeader::kind`] of memory.
pub const PT_LOAD: u32 = 1;
/// [`ProgramHeader::kind`] of what the dynamic linker needs.
pub const PT_DYNAMIC: u32 = 2;
/// [`ProgramHeader::kind`] of the path of an interpreter.
pub const PT_INTERP: u32 = 3;
/// [`ProgramHeader::kind`] of notes.
pub const PT_NOTE: u32 = 4;
/// [`ProgramHeader::kind`] of a header whose flags are those of the stack (GNU).
pub const PT_GNU_STACK: u32 = 0x6474_e551;

/// In [`ProgramHeader::flags`]: can be executed.
pub const PF_X: u32 = 1;
/// In [`ProgramHeader::flags`]: can be written.
pub const PF_W: u32 = 2;
/// In [`ProgramHeader::flags`]: can be read.
pub const PF_R: u32 = 4;

mod at {
    pub const KIND: usize = 0;
    pub const FLAGS: usize = 4;
    pub const OFFSET: usize = 8;
    pub const ADDRESS: usize = 16;
    pub const PHYSICAL: usize = 24;
    pub const FILE_LEN: usize = 32;
    pub const MEMORY_LEN: usize = 40;
    pub const ALIGN: usize = 48;
}

/// What a part of a file is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProgramHeader {
    /// [`PT_LOAD`], [`PT_NOTE`] or others.
    pub kind: u32,
    /// Of [`PF_R`], [`PF_W`] and [`PF_X`].
    pub flags: u32,
    /// Where it is in the file.
    pub offset: u64,
    /// Where it is in memory.
    pub address: u64,
    /// Where it is in RAM, for files in which that means something.
    pub physical: u64,
    /// Bytes in the file.
    pub file_len: u64,
    /// Bytes in memory.
    pub memory_len: u64,
    /// Offset and address are the same modulo this.
    pub align: u64,
}

impl ProgramHeader {
    /// Bytes of a program header.
    pub const LEN: usize = 56;

    /// As it lies in a file.
    pub fn encode(&self) -> [u8; ProgramHeader::LEN] {
        let mut bytes = [0; ProgramHeader::LEN];
        put(&mut bytes, at::KIND, self.kind.to_le_bytes());
        put(&mut bytes, at::FLAGS, self.flags.to_le_bytes());
        for (at, word) in [
            (at::OFFSET, self.offset),
            (at::ADDRESS, self.address),
            (at::PHYSICAL, self.physical),
            (at::FILE_LEN, self.file_len),
            (at::MEMORY_LEN, self.memory_len),
            (at::ALIGN, self.align),
        ] {
            put(&mut bytes, at, word.to_le_bytes());
        }
        bytes
    }

    /// From a file. Any bytes are one; whether it makes sense is for the caller to see.
    pub fn decode(bytes: &[u8; ProgramHeader::LEN]) -> ProgramHeader {
        ProgramHeader {
            kind: u32_at(bytes, at::KIND),
            flags: u32_at(bytes, at::FLAGS),
            offset: u64_at(bytes, at::OFFSET),
            address: u64_at(bytes, at::ADDRESS),
            physical: u64_at(bytes, at::PHYSICAL),
            file_len: u64_at(bytes, at::FILE_LEN),
            memory_len: u64_at(bytes, at::MEMORY_LEN),
            align: u64_at(bytes, at::ALIGN),
        }
    }
}
