//! The symbol table that the kernel's backtraces read; its format is the kernel's.

use keelson_kernel::symbols::{self, SymbolEntry};

use crate::elf::Function;

/// Encodes functions.
pub fn encode(functions: &[Function]) -> Vec<u8> {
    let entries: Vec<_> =
        functions.iter().map(|f| SymbolEntry { address: f.address, size: f.size, name: &f.name }).collect();
    symbols::encode(&entries)
}
