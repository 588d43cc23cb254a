//! Reading the linked ELF, and putting the symbol table into it.

use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, LittleEndian, Object, ObjectSection, ObjectSymbol, SymbolFlags, SymbolKind};

/// Where images are linked; the same number stands in images/link.ld.
pub const BASE: u64 = 0xffff_ffff_8000_0000;
/// Bytes in front of the symbol table in its segment: its length as u32, then zeros.
pub const SYMBOLS_HEADER: usize = 16;
const PAGE: usize = 4096;
/// Types of ELF symbols that name code: functions, and labels of assembler code.
const TYPE_NONE: u8 = 0;
const TYPE_FUNCTION: u8 = 2;

/// One PT_LOAD segment.
#[derive(Debug)]
pub struct Segment {
    /// Offset from [`BASE`].
    pub offset: usize,
    /// Bytes in the file.
    pub data: Vec<u8>,
    /// Bytes in memory.
    pub len: usize,
    /// ELF flags: 1 execute, 2 write, 4 read.
    pub flags: u32,
}

/// A function of the image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Virtual address.
    pub address: u64,
    /// Length in bytes.
    pub size: u64,
    /// Name as the compiler mangled it.
    pub name: String,
}

/// What mkimage needs of a linked image.
pub struct Linked {
    /// Segments by address; the last one is where the symbols go.
    pub segments: Vec<Segment>,
    /// Functions by address.
    pub functions: Vec<Function>,
    /// The setup block as linked.
    pub setup: Vec<u8>,
    /// The symbol segment: index of its program header, its address from [`BASE`].
    symbols_header: usize,
    /// Offset of `linux_start64` from [`BASE`].
    pub entry64: u64,
    /// Offset of `efi_entry` from [`BASE`].
    pub efi_entry: u64,
    /// Names of sections with relocations.
    pub relocations: Vec<String>,
}

impl Linked {
    /// Reads an ELF64 x86-64 executable.
    pub fn parse(file: &[u8]) -> Result<Linked, String> {
        let elf =
            ElfFile64::<LittleEndian>::parse(file).map_err(|error| format!("not an ELF file: {error}"))?;
        let endian = LittleEndian;
        let mut segments = Vec::new();
        let mut symbols_header = 0;
        for (index, header) in elf.elf_program_headers().iter().enumerate() {
            if header.p_type(endian) != PT_LOAD {
                continue;
            }
            let address = header.p_vaddr(endian);
            let offset =
                address.checked_sub(BASE).ok_or(format!("segment at {address:#x} is below the base"))?;
            let data = header.data(endian, file).map_err(|()| "segment outside the file".to_string())?;
            symbols_header = index;
            segments.push(Segment {
                offset: offset as usize,
                data: data.to_vec(),
                len: header.p_memsz(endian) as usize,
                flags: header.p_flags(endian).0,
            });
        }
        if segments.len() != 4 {
            return Err(format!("{} segments instead of text, rodata, data, symbols", segments.len()));
        }
        let setup = elf.section_by_name(".setup16").ok_or("no section .setup16")?;
        let offset_of = |name: &str| {
            let symbol = elf.symbol_by_name(name).ok_or(format!("no symbol {name}"))?;
            symbol.address().checked_sub(BASE).ok_or(format!("{name} lies below the base"))
        };
        let (entry64, efi_entry) = (offset_of("linux_start64")?, offset_of("efi_entry")?);
        let relocations = elf
            .sections()
            .filter(|section| section.name().is_ok_and(|n| n.starts_with(".rela.") || n.starts_with(".rel.")))
            .filter_map(|section| section.name().ok().map(str::to_string))
            .collect();
        Ok(Linked {
            functions: functions(&elf, segments[0].len as u64),
            segments,
            setup: setup.data().map_err(|error| format!("section .setup16: {error}"))?.to_vec(),
            symbols_header,
            entry64,
            efi_entry,
            relocations,
        })
    }
}

/// Functions and assembler labels of the text segment, by address; the global or longest name wins where
/// several share one.
fn functions(elf: &ElfFile64<'_, LittleEndian>, text_len: u64) -> Vec<Function> {
    let mut found: Vec<Function> = elf
        .symbols()
        .filter(|s| (BASE..BASE + text_len).contains(&s.address()))
        .filter(|s| match s.flags() {
            SymbolFlags::Elf { st_info, .. } => matches!(st_info.0 & 0xf, TYPE_NONE | TYPE_FUNCTION),
            _ => s.kind() == SymbolKind::Text,
        })
        .filter_map(|s| {
            let name = s.name().ok().filter(|n| !n.is_empty() && !n.starts_with(".L"))?;
            Some(Function { address: s.address(), size: s.size(), name: name.to_string() })
        })
        .collect();
    found.sort_by(|a, b| (a.address, b.size, &a.name).cmp(&(b.address, a.size, &b.name)));
    found.dedup_by_key(|f| f.address);
    found
}

/// The symbol segment's contents: header and table.
fn symbol_segment(symbols: &[u8]) -> Vec<u8> {
    let mut bytes = (symbols.len() as u32).to_le_bytes().to_vec();
    bytes.resize(SYMBOLS_HEADER, 0);
    bytes.extend_from_slice(symbols);
    bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
    bytes
}

/// The image as it lies in memory, from its base: bss as zeros, the symbol table last.
pub fn flatten(linked: &Linked, symbols: &[u8]) -> Vec<u8> {
    let mut flat = Vec::new();
    let (last, others) = linked.segments.split_last().expect("four segments");
    for segment in others {
        flat.resize(segment.offset, 0);
        flat.extend_from_slice(&segment.data);
        flat.resize(segment.offset + segment.len, 0);
    }
    flat.resize(last.offset, 0);
    flat.extend_from_slice(&symbol_segment(symbols));
    flat
}

/// The ELF file with the symbol table appended and the symbol segment's program header pointing at it.
pub fn with_symbols(file: &[u8], linked: &Linked, symbols: &[u8]) -> Result<Vec<u8>, String> {
    let header = FileHeader64::<Endianness>::parse(file).map_err(|error| error.to_string())?;
    let endian = header.endian().map_err(|error| error.to_string())?;
    let entry_size = usize::from(header.e_phentsize(endian));
    let at = header.e_phoff(endian) as usize + linked.symbols_header * entry_size;
    let mut out = file.to_vec();
    out.resize(out.len().next_multiple_of(PAGE), 0);
    let offset = out.len() as u64;
    let segment = symbol_segment(symbols);
    let program_header = out.get_mut(at..at + entry_size).ok_or("program headers outside the file")?;
    // Elf64_Phdr: p_offset at 8, p_filesz at 32, p_memsz at 40.
    for (field, value) in [(8, offset), (32, segment.len() as u64), (40, segment.len() as u64)] {
        program_header[field..field + 8].copy_from_slice(&value.to_le_bytes());
    }
    out.extend_from_slice(&segment);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flat_image_is_the_image_in_memory() {
        let segment = |offset, data: &[u8], len| Segment { offset, data: data.to_vec(), len, flags: 4 };
        let linked = Linked {
            segments: vec![
                segment(0, b"text", 4),
                segment(0x1000, b"rodata", 6),
                segment(0x2000, b"data", 0x1800),
                segment(0x4000, &[0; 16], 16),
            ],
            functions: Vec::new(),
            setup: Vec::new(),
            symbols_header: 0,
            entry64: 0x200,
            efi_entry: 0,
            relocations: Vec::new(),
        };
        let flat = flatten(&linked, b"table");
        assert_eq!(flat.len(), 0x5000);
        assert_eq!(
            (&flat[..4], &flat[0x1000..0x1006], &flat[0x2000..0x2004]),
            (&b"text"[..], &b"rodata"[..], &b"data"[..])
        );
        assert!(flat[0x2004..0x4000].iter().all(|byte| *byte == 0), "bss is in the file");
        assert_eq!(flat[0x4000..0x4004], 5u32.to_le_bytes());
        assert_eq!(&flat[0x4000 + SYMBOLS_HEADER..][..6], b"table\0");
    }
}
