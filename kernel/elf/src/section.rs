//! Section headers (gABI, "Sections").

use crate::bytes::{put, u32_at, u64_at};

/// [`SectionHeader::kind`] of what a program made.
pub const SHT_PROGBITS: u32 = 1;
/// [`SectionHeader::kind`] of names.
pub const SHT_STRTAB: u32 = 3;
/// [`SectionHeader::kind`] of a hash table of symbols.
pub const SHT_HASH: u32 = 5;
/// [`SectionHeader::kind`] of what the dynamic linker needs.
pub const SHT_DYNAMIC: u32 = 6;
/// [`SectionHeader::kind`] of symbols for the dynamic linker.
pub const SHT_DYNSYM: u32 = 11;
/// [`SectionHeader::kind`] of versions that a library has (Linux Standard Base, 10.7).
pub const SHT_GNU_VERDEF: u32 = 0x6fff_fffd;
/// [`SectionHeader::kind`] of the versions of symbols (Linux Standard Base, 10.7).
pub const SHT_GNU_VERSYM: u32 = 0x6fff_ffff;

/// In [`SectionHeader::flags`]: is in memory when the program runs.
pub const SHF_ALLOC: u64 = 2;
/// In [`SectionHeader::flags`]: has instructions.
pub const SHF_EXECINSTR: u64 = 4;

mod at {
    pub const NAME: usize = 0;
    pub const KIND: usize = 4;
    pub const FLAGS: usize = 8;
    pub const ADDRESS: usize = 16;
    pub const OFFSET: usize = 24;
    pub const SIZE: usize = 32;
    pub const LINK: usize = 40;
    pub const INFO: usize = 44;
    pub const ALIGN: usize = 48;
    pub const ENTRY_LEN: usize = 56;
}

/// A part of a file that has a name. Section 0 is none: all of it is 0, but for what [`crate::PN_XNUM`] and
/// [`crate::SHN_LORESERVE`] say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SectionHeader {
    /// Where its name is in the section of names.
    pub name: u32,
    /// [`SHT_PROGBITS`], [`SHT_STRTAB`] or others.
    pub kind: u32,
    /// Of [`SHF_ALLOC`] and [`SHF_EXECINSTR`].
    pub flags: u64,
    /// Where it is in memory.
    pub address: u64,
    /// Where it is in the file.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
    /// The section that it refers to.
    pub link: u32,
    /// Depends on its type.
    pub info: u32,
    /// Its address is a multiple of this.
    pub align: u64,
    /// Bytes of one of its entries, if all have as many.
    pub entry_len: u64,
}

impl SectionHeader {
    /// Bytes of a section header.
    pub const LEN: usize = 64;

    /// As it lies in a file.
    pub fn encode(&self) -> [u8; SectionHeader::LEN] {
        let mut bytes = [0; SectionHeader::LEN];
        for (at, half) in
            [(at::NAME, self.name), (at::KIND, self.kind), (at::LINK, self.link), (at::INFO, self.info)]
        {
            put(&mut bytes, at, half.to_le_bytes());
        }
        for (at, word) in [
            (at::FLAGS, self.flags),
            (at::ADDRESS, self.address),
            (at::OFFSET, self.offset),
            (at::SIZE, self.size),
            (at::ALIGN, self.align),
            (at::ENTRY_LEN, self.entry_len),
        ] {
            put(&mut bytes, at, word.to_le_bytes());
        }
        bytes
    }

    /// From a file. Any bytes are one; whether it makes sense is for the caller to see.
    pub fn decode(bytes: &[u8; SectionHeader::LEN]) -> SectionHeader {
        SectionHeader {
            name: u32_at(bytes, at::NAME),
            kind: u32_at(bytes, at::KIND),
            flags: u64_at(bytes, at::FLAGS),
            address: u64_at(bytes, at::ADDRESS),
            offset: u64_at(bytes, at::OFFSET),
            size: u64_at(bytes, at::SIZE),
            link: u32_at(bytes, at::LINK),
            info: u32_at(bytes, at::INFO),
            align: u64_at(bytes, at::ALIGN),
            entry_len: u64_at(bytes, at::ENTRY_LEN),
        }
    }
}
