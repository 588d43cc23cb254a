//! Where the parts of the running image lie, from the linker script.

use core::ops::Range;

/// Virtual address ranges of the image's segments, page-aligned and adjacent.
#[derive(Clone, Debug)]
pub struct ImageLayout {
    /// Executable.
    pub text: Range<usize>,
    /// Read-only.
    pub rodata: Range<usize>,
    /// Writable, boot stack and page tables included.
    pub data: Range<usize>,
    /// The symbol table that mkimage appends; read-only.
    pub symbols: Range<usize>,
}

impl ImageLayout {
    /// Bytes from the first to the last segment.
    pub fn size(&self) -> usize {
        self.symbols.end - self.text.start
    }
}

/// The image's first address, as images/link.ld has it.
pub const BASE: usize = 0xffff_ffff_8000_0000;

/// Length of the header in front of the symbol table; it starts with the table's length as u32.
#[cfg(keelson_image)]
const SYMBOLS_HEADER: usize = 16;

/// The layout of the running image.
#[cfg(keelson_image)]
pub fn layout() -> ImageLayout {
    unsafe extern "C" {
        static _text_end: u8;
        static _rodata_end: u8;
        static _data_end: u8;
    }
    let text_end = &raw const _text_end as usize;
    let rodata_end = &raw const _rodata_end as usize;
    let data_end = &raw const _data_end as usize;
    let symbols_end = (data_end + SYMBOLS_HEADER + symbols().len()).next_multiple_of(4096);
    ImageLayout {
        text: BASE..text_end,
        rodata: text_end..rodata_end,
        data: rodata_end..data_end,
        symbols: data_end..symbols_end,
    }
}

/// The symbol table that mkimage appended; empty in an image it has not seen.
#[cfg(keelson_image)]
pub fn symbols() -> &'static [u8] {
    unsafe extern "C" {
        static keelson_symbols: u32;
    }
    let header = &raw const keelson_symbols;
    // SAFETY: 1. the section exists and its first four bytes hold the length of the table after the header;
    // 2. volatile, because mkimage writes it after the compiler saw zeros; 3. the loader put the whole file
    // into memory and nothing writes to it.
    unsafe {
        let len = header.read_volatile() as usize;
        core::slice::from_raw_parts(header.cast::<u8>().add(SYMBOLS_HEADER), len)
    }
}

/// On a host there is no image.
#[cfg(not(keelson_image))]
pub fn layout() -> ImageLayout {
    ImageLayout { text: BASE..BASE, rodata: BASE..BASE, data: BASE..BASE, symbols: BASE..BASE }
}

/// On a host there is no appended symbol table.
#[cfg(not(keelson_image))]
pub fn symbols() -> &'static [u8] {
    &[]
}
