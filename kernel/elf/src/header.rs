//! The header of a file (gABI, "ELF Header").

use crate::bytes::{put, u16_at, u64_at};
use crate::{ProgramHeader, SectionHeader};

/// What every file begins with.
pub const MAGIC: [u8; 4] = *b"\x7fELF";

/// [`FileHeader::kind`] of a program that lies where it lies.
pub const ET_EXEC: u16 = 2;
/// [`FileHeader::kind`] of a program or library that may lie anywhere.
pub const ET_DYN: u16 = 3;
/// [`FileHeader::kind`] of a core file.
pub const ET_CORE: u16 = 4;

/// [`FileHeader::abi`] of most files.
pub const OSABI_SYSV: u8 = 0;
/// [`FileHeader::abi`] of files with extensions of GNU's.
pub const OSABI_GNU: u8 = 3;

/// [`FileHeader::segments`] of a file that has so many or more: `info` of section 0 says how many.
pub const PN_XNUM: u16 = 0xffff;
/// With so many sections or more, `size` of section 0 says how many, and [`FileHeader::sections`] is 0.
pub const SHN_LORESERVE: u16 = 0xff00;

/// 64 bits, little-endian, version 1 (`ELFCLASS64`, `ELFDATA2LSB`, `EV_CURRENT`).
const IDENT: [u8; 3] = [2, 1, 1];
/// psABI, section 4.1.1.
const EM_X86_64: u16 = 62;
const EV_CURRENT: u32 = 1;

mod at {
    pub const IDENT: usize = 4;
    pub const ABI: usize = 7;
    pub const KIND: usize = 16;
    pub const MACHINE: usize = 18;
    pub const VERSION: usize = 20;
    pub const ENTRY: usize = 24;
    pub const SEGMENTS_AT: usize = 32;
    pub const SECTIONS_AT: usize = 40;
    pub const HEADER_LEN: usize = 52;
    pub const SEGMENT_LEN: usize = 54;
    pub const SEGMENTS: usize = 56;
    pub const SECTION_LEN: usize = 58;
    pub const SECTIONS: usize = 60;
    pub const NAMES: usize = 62;
}

/// The header of a file for x86-64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileHeader {
    /// Whose extensions it may have: [`OSABI_SYSV`], [`OSABI_GNU`] or others.
    pub abi: u8,
    /// [`ET_EXEC`], [`ET_DYN`], [`ET_CORE`] or others.
    pub kind: u16,
    /// Address of the first instruction.
    pub entry: u64,
    /// Where in the file the program headers are.
    pub segments_at: u64,
    /// How many; see [`PN_XNUM`].
    pub segments: u16,
    /// Where in the file the section headers are. 0: there are none.
    pub sections_at: u64,
    /// How many; see [`SHN_LORESERVE`].
    pub sections: u16,
    /// The section that has the names of sections.
    pub names: u16,
}

impl FileHeader {
    /// Bytes of the header.
    pub const LEN: usize = 64;

    /// Of a core file without sections: so many program headers follow it.
    pub fn core(segments: u16) -> FileHeader {
        FileHeader { kind: ET_CORE, segments_at: FileHeader::LEN as u64, segments, ..FileHeader::default() }
    }

    /// As it lies in a file.
    pub fn encode(&self) -> [u8; FileHeader::LEN] {
        let mut bytes = [0; FileHeader::LEN];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, at::IDENT, IDENT);
        put(&mut bytes, at::ABI, [self.abi]);
        // Linux gives no length of section headers in a core file without sections, and neither do we.
        let section_len = if self.sections_at == 0 { 0 } else { SectionHeader::LEN };
        for (at, half) in [
            (at::KIND, self.kind),
            (at::MACHINE, EM_X86_64),
            (at::HEADER_LEN, FileHeader::LEN as u16),
            (at::SEGMENT_LEN, ProgramHeader::LEN as u16),
            (at::SEGMENTS, self.segments),
            (at::SECTION_LEN, section_len as u16),
            (at::SECTIONS, self.sections),
            (at::NAMES, self.names),
        ] {
            put(&mut bytes, at, half.to_le_bytes());
        }
        put(&mut bytes, at::VERSION, EV_CURRENT.to_le_bytes());
        let words = [
            (at::ENTRY, self.entry),
            (at::SEGMENTS_AT, self.segments_at),
            (at::SECTIONS_AT, self.sections_at),
        ];
        words.iter().for_each(|(at, word)| put(&mut bytes, *at, word.to_le_bytes()));
        bytes
    }

    /// From the beginning of a file; `None` when it is not for x86-64, or has program headers of another length.
    pub fn decode(bytes: &[u8; FileHeader::LEN]) -> Option<FileHeader> {
        let ours = bytes.starts_with(&MAGIC)
            && bytes[at::IDENT..].starts_with(&IDENT)
            && u16_at(bytes, at::MACHINE) == EM_X86_64
            && usize::from(u16_at(bytes, at::SEGMENT_LEN)) == ProgramHeader::LEN;
        ours.then(|| FileHeader {
            abi: bytes[at::ABI],
            kind: u16_at(bytes, at::KIND),
            entry: u64_at(bytes, at::ENTRY),
            segments_at: u64_at(bytes, at::SEGMENTS_AT),
            segments: u16_at(bytes, at::SEGMENTS),
            sections_at: u64_at(bytes, at::SECTIONS_AT),
            sections: u16_at(bytes, at::SECTIONS),
            names: u16_at(bytes, at::NAMES),
        })
    }
}
