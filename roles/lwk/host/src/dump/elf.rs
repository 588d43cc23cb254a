//! ELF64 core files (ELF gABI, "ELF Header", "Section Header", "Program Header"): as much of the format as dumps need.
//!
//! More than 65534 segments or 65279 sections are counted in section 0, as the gABI has it: memory that is used here and there
//! has many pieces.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use keelson_lwk_wire::bytes::{Malformed, Reader, Writer};

/// Memory and its pieces in files are multiples of this.
pub const PAGE: u64 = 4096;
/// Bytes of the header.
pub const HEADER: u64 = 64;
/// Bytes of a program header.
pub const PROGRAM_HEADER: usize = 56;
/// Bytes of a section header.
pub const SECTION_HEADER: usize = 64;

const MAGIC: [u8; 4] = [0x7f, b'E', b'L', b'F'];
/// 64 bit, little-endian, version 1.
const IDENT: [u8; 3] = [2, 1, 1];
const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
/// The number of segments is in `sh_info` of section 0.
const PN_XNUM: u64 = 0xffff;
/// From here on the number of sections is in `sh_size` of section 0.
const SHN_LORESERVE: usize = 0xff00;
/// Names of sections are in this one.
const NAMES: u16 = 1;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_R: u32 = 4;

/// `sh_type` of names.
pub const SHT_STRTAB: u32 = 3;
/// `sh_type` of everything else here.
pub const SHT_PROGBITS: u32 = 1;

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

/// A section: a name for a piece of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// [`SHT_PROGBITS`] or [`SHT_STRTAB`].
    pub kind: u32,
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
    let mut bytes = Vec::with_capacity(HEADER as usize);
    let segments = u16::try_from(segments).unwrap_or(u16::MAX);
    // 0: section 0 knows.
    let sections = if sections < SHN_LORESERVE { sections as u16 } else { 0 };
    Writer::new(&mut bytes)
        .bytes(&MAGIC)
        .bytes(&IDENT)
        .bytes(&[0; 9])
        .u16(ET_CORE)
        .u16(EM_X86_64)
        .u32(1)
        .u64(0)
        .u64(segments_at)
        .u64(sections_at)
        .u32(0)
        .u16(HEADER as u16)
        .u16(PROGRAM_HEADER as u16)
        .u16(segments)
        .u16(SECTION_HEADER as u16)
        .u16(sections)
        .u16(NAMES);
    bytes
}

/// The table of segments: notes at this place with so many bytes, and memory.
pub fn program_headers(notes: (u64, u64), loads: &[Load]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((loads.len() + 1) * PROGRAM_HEADER);
    let mut to = Writer::new(&mut bytes);
    let (at, len) = notes;
    to.u32(PT_NOTE).u32(PF_R).u64(at).u64(0).u64(0).u64(len).u64(len).u64(4);
    for load in loads {
        to.u32(PT_LOAD).u32(PF_R).u64(load.offset).u64(load.address).u64(load.physical);
        to.u64(load.len).u64(load.len).u64(PAGE);
    }
    bytes
}

/// The names of sections, and the table of them behind section 0. The names' own section is the first of `sections`.
pub fn section_headers(names_at: u64, sections: &[Section], segments: usize) -> (Vec<u8>, Vec<u8>) {
    let mut names = b"\0.shstrtab\0".to_vec();
    let mut table = Vec::with_capacity((sections.len() + 2) * SECTION_HEADER);
    let many = if sections.len() + 2 < SHN_LORESERVE { 0 } else { sections.len() as u64 + 2 };
    let segments = if (segments as u64) < PN_XNUM { 0 } else { segments as u32 };
    let mut to = Writer::new(&mut table);
    to.u32(0).u32(0).u64(0).u64(0).u64(0).u64(many).u32(0).u32(segments).u64(0).u64(0);
    let len: usize = names.len() + sections.iter().map(|section| section.name.len() + 1).sum::<usize>();
    to.u32(1).u32(SHT_STRTAB).u64(0).u64(0).u64(names_at).u64(len as u64).u32(0).u32(0).u64(1).u64(0);
    for section in sections {
        to.u32(names.len() as u32).u32(section.kind).u64(0).u64(section.address);
        to.u64(section.offset).u64(section.len).u32(0).u32(0).u64(1).u64(0);
        names.extend_from_slice(section.name.as_bytes());
        names.push(0);
    }
    (names, table)
}

impl Note {
    /// Appends the note, with what aligns the next one.
    pub fn write(&self, to: &mut Vec<u8>) {
        let pad = |to: &mut Vec<u8>| to.resize(to.len().next_multiple_of(4), 0);
        let mut writer = Writer::new(to);
        writer.u32(self.owner.len() as u32 + 1).u32(self.desc.len() as u32).u32(self.kind);
        writer.bytes(self.owner.as_bytes()).u8(0);
        pad(to);
        to.extend_from_slice(&self.desc);
        pad(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Note, Malformed> {
        let (owner_len, desc_len, kind) = (from.u32()? as usize, from.u32()? as usize, from.u32()?);
        let owner = from.bytes(owner_len)?;
        skip(from, owner_len)?;
        let desc = from.bytes(desc_len)?.to_vec();
        skip(from, desc_len)?;
        let owner = owner.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(Note { owner: String::from_utf8_lossy(owner).into_owned(), kind, desc })
    }
}

/// Passes over what aligns the next field. The last one need not have it.
fn skip(from: &mut Reader<'_>, len: usize) -> Result<(), Malformed> {
    let padding = len.next_multiple_of(4) - len;
    from.bytes(padding.min(from.remaining())).map(drop)
}

/// Reads the tables of a core file of this architecture.
///
/// # Errors
///
/// In words, when it is none, or not whole.
pub fn read(file: &File) -> Result<Contents, String> {
    let broken = |error: Malformed| format!("not a core file that can be read: {error}");
    let len = file.metadata().map_err(|error| error.to_string())?.len();
    let head = piece(file, 0, HEADER)?;
    let (segments, at, sections_at) =
        counts(&head).map_err(broken)?.ok_or("not an ELF core file of x86-64")?;
    let segments = match u64::from(segments) {
        PN_XNUM => {
            u64::from(first_section(&piece(file, sections_at, SECTION_HEADER as u64)?).map_err(broken)?)
        }
        number => number,
    };
    if segments > MAX_SEGMENTS {
        return Err(format!("{segments} segments; at most {MAX_SEGMENTS} are read"));
    }
    let table = piece(file, at, segments * PROGRAM_HEADER as u64)?;
    let mut contents = Contents::default();
    for entry in table.chunks_exact(PROGRAM_HEADER) {
        let (kind, load) = segment(entry).map_err(broken)?;
        let ends = load.offset.checked_add(load.len);
        if matches!(kind, PT_LOAD | PT_NOTE) && ends.is_none_or(|end| end > len) {
            return Err(format!("cut off: a segment ends behind the file's {len} bytes"));
        }
        match kind {
            PT_LOAD if load.len > 0 => contents.loads.push(load),
            PT_NOTE if load.len > MAX_NOTES => {
                return Err(format!("{} bytes of notes; at most {MAX_NOTES} are read", load.len));
            }
            PT_NOTE => {
                let bytes = piece(file, load.offset, load.len)?;
                let from = &mut Reader::new(&bytes);
                while from.remaining() > 0 {
                    contents.notes.push(Note::read(from).map_err(broken)?);
                }
            }
            _ => {}
        }
    }
    Ok(contents)
}

/// So many bytes of a file.
fn piece(file: &File, at: u64, len: u64) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; usize::try_from(len).map_err(|error| error.to_string())?];
    file.read_exact_at(&mut bytes, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "not an ELF core file, or cut off".to_owned(),
        _ => error.to_string(),
    })?;
    Ok(bytes)
}

/// Number and place of segments, place of sections; `None` when the file is something else.
fn counts(head: &[u8]) -> Result<Option<(u16, u64, u64)>, Malformed> {
    let from = &mut Reader::new(head);
    let (magic, ident) = (from.array()?, from.array()?);
    from.bytes(9)?;
    let (kind, machine) = (from.u16()?, from.u16()?);
    from.bytes(12)?;
    let (segments_at, sections_at) = (from.u64()?, from.u64()?);
    from.bytes(6)?;
    let (entry, segments) = (from.u16()?, from.u16()?);
    let ours = magic == MAGIC && ident == IDENT && kind == ET_CORE && machine == EM_X86_64;
    Ok((ours && entry as usize == PROGRAM_HEADER).then_some((segments, segments_at, sections_at)))
}

/// `sh_info` of a section.
fn first_section(bytes: &[u8]) -> Result<u32, Malformed> {
    let from = &mut Reader::new(bytes);
    from.bytes(44)?;
    from.u32()
}

fn segment(entry: &[u8]) -> Result<(u32, Load), Malformed> {
    let from = &mut Reader::new(entry);
    let (kind, _flags) = (from.u32()?, from.u32()?);
    let (offset, address, physical, len) = (from.u64()?, from.u64()?, from.u64()?, from.u64()?);
    Ok((kind, Load { address, physical, offset, len }))
}
