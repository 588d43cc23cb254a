//! The ELF image of the vDSO: a shared library that dynamic and static programs find their clocks in (System V ABI, "Dynamic
//! Linking"; symbol versions as in the Linux Standard Base, 10.7).

use super::code::{self, Function};
use crate::mm::PAGE;
use alloc::vec::Vec;
use keelson_elf::{
    ET_DYN, FileHeader, PF_R, PF_X, PT_DYNAMIC, PT_LOAD, ProgramHeader, SHF_ALLOC, SHF_EXECINSTR,
    SHT_DYNAMIC, SHT_DYNSYM, SHT_GNU_VERDEF, SHT_GNU_VERSYM, SHT_HASH, SHT_PROGBITS, SHT_STRTAB,
    SectionHeader,
};

const SONAME: &str = "linux-vdso.so.1";
const VERSION: &str = "LINUX_2.6";

/// Types of dynamic entries.
mod dt {
    pub const NULL: u64 = 0;
    pub const HASH: u64 = 4;
    pub const STRTAB: u64 = 5;
    pub const SYMTAB: u64 = 6;
    pub const STRSZ: u64 = 10;
    pub const SYMENT: u64 = 11;
    pub const SONAME: u64 = 14;
    pub const VERSYM: u64 = 0x6fff_fff0;
    pub const VERDEF: u64 = 0x6fff_fffc;
    pub const VERDEFNUM: u64 = 0x6fff_fffd;
}

/// A section: its name, and the rest.
type Section = (&'static str, SectionHeader);

/// Program headers: one for all of it, one for the dynamic section.
const SEGMENTS: usize = 2;
const SYMBOL: usize = 24;

/// Strings with their zeros, and where they begin.
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, string: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend_from_slice(string.as_bytes());
        self.0.push(0);
        at
    }
}

/// Bytes that grow, in the order in which they lie in the file.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn half(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn word(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn long(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn align(&mut self, to: usize) -> usize {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
        self.0.len()
    }
}

/// Builds the image. It lies one page behind the page of times.
pub fn build() -> Vec<u8> {
    let mut out = Writer::default();
    out.0.resize(FileHeader::LEN + SEGMENTS * ProgramHeader::LEN, 0);
    // The sizes of all tables are known before the code is.
    let (_, functions) = code::assemble(0, 0);
    let mut strings = Strings(alloc::vec![0]);
    let names: Vec<u32> = functions.iter().map(|function| strings.add(function.name)).collect();
    let (soname, version) = (strings.add(SONAME), strings.add(VERSION));
    let count = functions.len() + 1;

    let hash = out.align(8);
    write_hash(&mut out, &functions);
    let symbols = out.align(8);
    let versions = symbols + count * SYMBOL + strings.0.len().next_multiple_of(8);
    let definitions = (versions + count * 2).next_multiple_of(8);
    let dynamic = definitions + 2 * 28;
    let dynamic_len = 10 * 16;
    let text = (dynamic + dynamic_len).next_multiple_of(16);
    let (code, functions) = code::assemble(text, -(PAGE as i64));

    write_symbols(&mut out, &functions, &names, text);
    let strtab = out.0.len();
    out.0.extend_from_slice(&strings.0);
    out.align(8);
    debug_assert_eq!(out.0.len(), versions);
    out.half(0);
    (1..count).for_each(|_| out.half(2));
    out.align(8);
    write_definitions(&mut out, soname, version);
    let entries = [
        (dt::SONAME, u64::from(soname)),
        (dt::HASH, hash as u64),
        (dt::STRTAB, strtab as u64),
        (dt::SYMTAB, symbols as u64),
        (dt::STRSZ, strings.0.len() as u64),
        (dt::SYMENT, SYMBOL as u64),
        (dt::VERSYM, versions as u64),
        (dt::VERDEF, definitions as u64),
        (dt::VERDEFNUM, 2),
        (dt::NULL, 0),
    ];
    debug_assert_eq!(out.0.len(), dynamic);
    for (kind, value) in entries {
        out.long(kind);
        out.long(value);
    }
    out.align(16);
    debug_assert_eq!(out.0.len(), text);
    out.0.extend_from_slice(&code);
    let loaded = out.0.len();

    let section = |name, kind, start: usize, len: usize, link, info, align, entry_len: usize| {
        let header = SectionHeader {
            name: 0,
            kind,
            flags: SHF_ALLOC,
            address: start as u64,
            offset: start as u64,
            size: len as u64,
            link,
            info,
            align,
            entry_len: entry_len as u64,
        };
        (name, header)
    };
    let mut sections = [
        section(".hash", SHT_HASH, hash, symbols - hash, 2, 0, 8, 4),
        section(".dynsym", SHT_DYNSYM, symbols, count * SYMBOL, 3, 1, 8, SYMBOL),
        section(".dynstr", SHT_STRTAB, strtab, strings.0.len(), 0, 0, 1, 0),
        section(".gnu.version", SHT_GNU_VERSYM, versions, count * 2, 2, 0, 2, 2),
        section(".gnu.version_d", SHT_GNU_VERDEF, definitions, 56, 3, 2, 8, 0),
        section(".dynamic", SHT_DYNAMIC, dynamic, dynamic_len, 3, 0, 8, 16),
        section(".text", SHT_PROGBITS, text, code.len(), 0, 0, 16, 0),
    ];
    sections[6].1.flags |= SHF_EXECINSTR;
    let table = write_sections(&mut out, &sections);
    write_headers(&mut out.0, loaded, dynamic, dynamic_len, table, sections.len() + 2);
    out.0
}

/// One bucket: few symbols need no more.
fn write_hash(out: &mut Writer, functions: &[Function]) {
    let count = functions.len() as u32 + 1;
    out.word(1);
    out.word(count);
    out.word(1);
    out.word(0);
    (2..count).for_each(|next| out.word(next));
    out.word(0);
}

fn write_symbols(out: &mut Writer, functions: &[Function], names: &[u32], text: usize) {
    out.0.resize(out.0.len() + SYMBOL, 0);
    for (function, name) in functions.iter().zip(names) {
        out.word(*name);
        out.0.push(1 << 4 | 2); // global function
        out.0.push(0);
        out.half(7); // .text
        out.long((text + function.start) as u64);
        out.long(function.len as u64);
    }
}

/// The library itself, and the version of all symbols.
fn write_definitions(out: &mut Writer, soname: u32, version: u32) {
    for (flags, index, name, text, next) in [(1, 1, soname, SONAME, 28), (0, 2, version, VERSION, 0)] {
        out.half(1);
        out.half(flags);
        out.half(index);
        out.half(1);
        out.word(elf_hash(text));
        out.word(20);
        out.word(next);
        out.word(name);
        out.word(0);
    }
}

/// The hash of a name (System V ABI, "Hash Table").
fn elf_hash(name: &str) -> u32 {
    name.bytes().fold(0u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ high >> 24) & !high
    })
}

/// The section headers, with the names of the sections before them: where they begin.
fn write_sections(out: &mut Writer, sections: &[Section]) -> usize {
    let mut names = Strings(alloc::vec![0]);
    let at: Vec<u32> = sections.iter().map(|(name, _)| names.add(name)).collect();
    let own = names.add(".shstrtab");
    let start = out.0.len();
    out.0.extend_from_slice(&names.0);
    let table = out.align(8);
    let last = SectionHeader {
        kind: SHT_STRTAB,
        offset: start as u64,
        size: names.0.len() as u64,
        align: 1,
        ..SectionHeader::default()
    };
    let headers = sections.iter().map(|(_, header)| header);
    out.0.extend_from_slice(&SectionHeader::default().encode());
    for (header, name) in headers.zip(at).chain([(&last, own)]) {
        out.0.extend_from_slice(&SectionHeader { name, ..*header }.encode());
    }
    table
}

fn write_headers(
    out: &mut [u8],
    loaded: usize,
    dynamic: usize,
    dynamic_len: usize,
    sections_at: usize,
    sections: usize,
) {
    let header = FileHeader {
        kind: ET_DYN,
        segments_at: FileHeader::LEN as u64,
        segments: SEGMENTS as u16,
        sections_at: sections_at as u64,
        sections: sections as u16,
        names: sections as u16 - 1,
        ..FileHeader::default()
    };
    let segment = |kind, flags, start: usize, len: usize, align| ProgramHeader {
        kind,
        flags,
        offset: start as u64,
        address: start as u64,
        physical: start as u64,
        file_len: len as u64,
        memory_len: len as u64,
        align,
    };
    // Read and execute; read only, so that nobody relocates it in place.
    let code = segment(PT_LOAD, PF_R | PF_X, 0, loaded, PAGE);
    let dynamic = segment(PT_DYNAMIC, PF_R, dynamic, dynamic_len, 8);
    let headers = [&header.encode()[..], &code.encode(), &dynamic.encode()].concat();
    out[..headers.len()].copy_from_slice(&headers);
}
