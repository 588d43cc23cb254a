//! Core files: what dumps put into the structures of `keelson-elf`, and find in them.
//!
//! More than 65534 segments or 65279 sections are counted in section 0, as the gABI has it: memory that is used here and there
//! has many pieces.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use keelson_elf::{
    ET_CORE, FileHeader, PF_R, PN_XNUM, PT_LOAD, PT_NOTE, ProgramHeader, SHN_LORESERVE, SHT_PROGBITS,
    SHT_STRTAB, SectionHeader,
};
use keelson_lwk_wire::bytes::Malformed;

/// Memory and its pieces in files are multiples of this.
pub const PAGE: u64 = 4096;
/// Names of sections are in this one.
const NAMES: u16 = 1;

/// More segments than this no file may have.
const MAX_SEGMENTS: u64 = 1 << 20;
/// More bytes of notes than this no file may have.
const MAX_NOTES: u64 = 64 << 20;

/// A piece of memory in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Where programs saw it.
    pub address: u64,
    /// Where it was in RAM.
    pub physical: u64,
    /// Where it is in the file.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

/// A note (gABI, "Note Section").
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Whose.
    pub owner: String,
    /// Which, of that owner.
    pub kind: u32,
    /// What.
    pub desc: Vec<u8>,
}

/// A section of a file: a name for a piece of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// An address, where that means something.
    pub address: u64,
    /// Where it is in the file.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

/// What is in a core file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Contents {
    /// Memory.
    pub loads: Vec<Load>,
    /// Notes.
    pub notes: Vec<Note>,
}

/// The header of a file whose tables are here.
pub fn header(segments: usize, segments_at: u64, sections: usize, sections_at: u64) -> Vec<u8> {
    let segments = u16::try_from(segments).unwrap_or(PN_XNUM);
    // 0: section 0 knows.
    let sections = u16::try_from(sections).ok().filter(|sections| *sections < SHN_LORESERVE).unwrap_or(0);
    let header =
        FileHeader { segments_at, sections_at, sections, names: NAMES, ..FileHeader::core(segments) };
    header.encode().to_vec()
}

/// The table of segments: notes at this place with so many bytes, and memory.
pub fn program_headers(notes: (u64, u64), loads: &[Load]) -> Vec<u8> {
    let (offset, len) = notes;
    let notes = segment(PT_NOTE, Load { address: 0, physical: 0, offset, len }, 4);
    let loads = loads.iter().map(|load| segment(PT_LOAD, *load, PAGE));
    [notes].into_iter().chain(loads).flat_map(|header| header.encode()).collect()
}

fn segment(kind: u32, load: Load, align: u64) -> ProgramHeader {
    let Load { address, physical, offset, len } = load;
    ProgramHeader { kind, flags: PF_R, offset, address, physical, file_len: len, memory_len: len, align }
}

/// The names of sections, and the table of them behind section 0. The names' own section is the first of `sections`.
pub fn section_headers(names_at: u64, sections: &[Section], segments: usize) -> (Vec<u8>, Vec<u8>) {
    let mut names = b"\0.shstrtab\0".to_vec();
    let many = if sections.len() + 2 < SHN_LORESERVE.into() { 0 } else { sections.len() as u64 + 2 };
    let segments = if segments < PN_XNUM.into() { 0 } else { segments as u32 };
    let len: usize = names.len() + sections.iter().map(|section| section.name.len() + 1).sum::<usize>();
    let counts = SectionHeader { size: many, info: segments, ..SectionHeader::default() };
    let of_names = SectionHeader {
        name: 1,
        kind: SHT_STRTAB,
        offset: names_at,
        size: len as u64,
        align: 1,
        ..SectionHeader::default()
    };
    let mut table = [counts.encode(), of_names.encode()].concat();
    for section in sections {
        let header = SectionHeader {
            name: names.len() as u32,
            kind: SHT_PROGBITS,
            address: section.address,
            offset: section.offset,
            size: section.len,
            align: 1,
            ..SectionHeader::default()
        };
        table.extend_from_slice(&header.encode());
        names.extend_from_slice(section.name.as_bytes());
        names.push(0);
    }
    (names, table)
}

impl Note {
    /// Appends the note, with what aligns the next one.
    pub fn write(&self, to: &mut Vec<u8>) {
        let Note { owner, kind, desc } = self;
        keelson_elf::Note { owner: owner.as_bytes(), kind: *kind, desc }.append_to(to);
    }
}

/// Reads the tables of a core file of this architecture.
///
/// # Errors
///
/// In words, when it is none, or not whole.
pub fn read(file: &File) -> Result<Contents, String> {
    let len = file.metadata().map_err(|error| error.to_string())?.len();
    let head = FileHeader::decode(&array(file, 0)?).filter(|head| head.kind == ET_CORE);
    let head = head.ok_or("not an ELF core file of x86-64")?;
    let segments = match head.segments {
        PN_XNUM => u64::from(SectionHeader::decode(&array(file, head.sections_at)?).info),
        number => number.into(),
    };
    if segments > MAX_SEGMENTS {
        return Err(format!("{segments} segments; at most {MAX_SEGMENTS} are read"));
    }
    let table = piece(file, head.segments_at, segments * ProgramHeader::LEN as u64)?;
    let mut contents = Contents::default();
    for ProgramHeader { kind, offset, address, physical, file_len, .. } in
        table.as_chunks().0.iter().map(ProgramHeader::decode)
    {
        let ends = offset.checked_add(file_len);
        if matches!(kind, PT_LOAD | PT_NOTE) && ends.is_none_or(|end| end > len) {
            return Err(format!("cut off: a segment ends behind the file's {len} bytes"));
        }
        match kind {
            PT_LOAD if file_len > 0 => {
                contents.loads.push(Load { address, physical, offset, len: file_len });
            }
            PT_NOTE if file_len > MAX_NOTES => {
                return Err(format!("{file_len} bytes of notes; at most {MAX_NOTES} are read"));
            }
            PT_NOTE => notes(&piece(file, offset, file_len)?, &mut contents.notes)?,
            _ => {}
        }
    }
    Ok(contents)
}

fn notes(mut bytes: &[u8], to: &mut Vec<Note>) -> Result<(), String> {
    while !bytes.is_empty() {
        let (note, rest) = keelson_elf::Note::split_first(bytes)
            .ok_or_else(|| format!("not a core file that can be read: {}", Malformed::Short))?;
        let owner = String::from_utf8_lossy(note.owner).into_owned();
        to.push(Note { owner, kind: note.kind, desc: note.desc.to_vec() });
        bytes = rest;
    }
    Ok(())
}

/// So many bytes of a file.
fn piece(file: &File, at: u64, len: u64) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; usize::try_from(len).map_err(|error| error.to_string())?];
    fill(file, at, &mut bytes)?;
    Ok(bytes)
}

/// As many bytes of a file as the array has.
fn array<const N: usize>(file: &File, at: u64) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    fill(file, at, &mut bytes)?;
    Ok(bytes)
}

fn fill(file: &File, at: u64, bytes: &mut [u8]) -> Result<(), String> {
    file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "not an ELF core file, or cut off".to_owned(),
        _ => error.to_string(),
    })
}
