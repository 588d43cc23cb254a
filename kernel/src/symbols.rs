//! Names for addresses in a backtrace: a compact, sorted symbol table that travels with the image.
//!
//! The image builder writes it ([`encode`]), the panic path reads it ([`SymbolTable::lookup`]) without
//! allocating. Names are stored mangled, without the hash that tells a reader nothing, each as the difference to
//! the one before it, in blocks of 16 symbols; a lookup is a binary search for the block and a walk through it.
//! All numbers little-endian:
//!
//! ```text
//! 0   "KSY1"            u32 number of blocks    u64 base address
//! 16  for each block:   u32 address of its first symbol minus base    u32 offset of its entries
//! ... for each symbol:  varint address minus that of the symbol before it in the block (0 for the first)
//!                       varint size in bytes (0: up to the next symbol)
//!                       u8 bytes in common with the name before (0 for the first in a block)
//!                       varint length of the rest of the name, then that rest
//! ```
//!
//! A varint has 7 bits in each byte, lowest first, and bit 7 set in all but the last. The table may be
//! damaged like everything else when a kernel panics: whatever its bytes, a lookup ends, without a panic.

#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::fmt;

/// Longest name; longer ones are cut when the table is written.
pub const MAX_NAME: usize = 512;

const MAGIC: &[u8; 4] = b"KSY1";
const HEADER: usize = 16;
const BLOCK: usize = 16;

/// One symbol of the image, as the linker knows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SymbolEntry<'a> {
    /// Its address in the running kernel.
    pub address: u64,
    /// Its size in bytes; 0 when unknown.
    pub size: u64,
    /// Its mangled name.
    pub name: &'a str,
}

/// Writes a table. Of several symbols at one address the one with the largest size stays, then the first by
/// name; symbols more than 4 GiB behind the first are left out.
pub fn encode(symbols: &[SymbolEntry<'_>]) -> Vec<u8> {
    let mut symbols = symbols.to_vec();
    symbols.sort_by(|a, b| (a.address, b.size, a.name).cmp(&(b.address, a.size, b.name)));
    symbols.dedup_by_key(|symbol| symbol.address);
    let base = symbols.first().map_or(0, |symbol| symbol.address);
    symbols.retain(|symbol| u32::try_from(symbol.address - base).is_ok());

    let blocks = symbols.len().div_ceil(BLOCK);
    let mut table = MAGIC.to_vec();
    table.extend((blocks as u32).to_le_bytes());
    table.extend(base.to_le_bytes());
    let mut entries = Vec::new();
    for block in symbols.chunks(BLOCK) {
        table.extend(((block[0].address - base) as u32).to_le_bytes());
        table.extend(((HEADER + 8 * blocks + entries.len()) as u32).to_le_bytes());
        let (mut address, mut previous) = (block[0].address, Vec::new());
        for symbol in block {
            let mut name = without_hash(symbol.name);
            name.truncate(MAX_NAME);
            let common = previous.iter().zip(&name).take(255).take_while(|(a, b)| a == b).count();
            push_varint(&mut entries, symbol.address - address);
            push_varint(&mut entries, symbol.size);
            entries.push(common as u8);
            push_varint(&mut entries, (name.len() - common) as u64);
            entries.extend(&name[common..]);
            (address, previous) = (symbol.address, name);
        }
    }
    table.extend(entries);
    table
}

/// A name of Rust's older mangling ends with a hash (`17h`, 16 digits, `E`), which is a fifth of all names together and is
/// never shown.
fn without_hash(name: &str) -> Vec<u8> {
    let path = name.strip_suffix('E').and_then(|rest| rest.rsplit_once("17h"));
    let is_hash = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match path {
        Some((path, hash)) if name.starts_with("_ZN") && is_hash(hash) => [path.as_bytes(), b"E"].concat(),
        _ => name.as_bytes().to_vec(),
    }
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// A table as found in memory.
#[derive(Clone, Copy, Debug)]
pub struct SymbolTable<'a> {
    bytes: &'a [u8],
    base: u64,
    blocks: usize,
}

/// The symbol an address lies in. Displays as `core::fmt::write+0x1c`.
#[derive(Clone)]
pub struct Symbol {
    /// The symbol's address.
    pub address: u64,
    /// Bytes from there to the address that was looked up.
    pub offset: u64,
    name: [u8; MAX_NAME],
    len: usize,
}

impl<'a> SymbolTable<'a> {
    /// Opens a table; `None` for bytes that are none.
    pub fn new(bytes: &'a [u8]) -> Option<SymbolTable<'a>> {
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        let blocks = u32_at(bytes, 4)? as usize;
        let base = u64::from(u32_at(bytes, 12)?) << 32 | u64::from(u32_at(bytes, 8)?);
        (blocks <= (bytes.len().checked_sub(HEADER)?) / 8).then_some(SymbolTable { bytes, base, blocks })
    }

    /// The symbol that contains `address`. For a return address look up the byte before it: the call may be
    /// the last instruction of its function.
    pub fn lookup(&self, address: u64) -> Option<Symbol> {
        let wanted = address.checked_sub(self.base)?;
        // The last block that starts at or before the address.
        let (mut low, mut high) = (0, self.blocks);
        while low < high {
            let middle = low + (high - low) / 2;
            if u64::from(self.block(middle)?.0) <= wanted { low = middle + 1 } else { high = middle }
        }
        let (start, entries) = self.block(low.checked_sub(1)?)?;
        self.walk(start, entries, wanted)
    }

    fn walk(&self, start: u32, entries: u32, wanted: u64) -> Option<Symbol> {
        let mut rest = self.bytes.get(entries as usize..)?;
        let mut current = Symbol { address: 0, offset: 0, name: [0; MAX_NAME], len: 0 };
        let (mut at, mut best) = (u64::from(start), None);
        for _ in 0..BLOCK {
            // The end of the table ends the last block.
            let Some(distance) = take_varint(&mut rest) else { break };
            at = at.checked_add(distance)?;
            if at > wanted {
                break;
            }
            let size = take_varint(&mut rest)?;
            let (&common, tail) = rest.split_first()?;
            rest = tail;
            let len = usize::try_from(take_varint(&mut rest)?).ok()?;
            let (suffix, tail) = rest.split_at_checked(len)?;
            rest = tail;
            let common = usize::from(common);
            if common > current.len {
                return None;
            }
            current.len = common.checked_add(len)?;
            current.name.get_mut(common..current.len)?.copy_from_slice(suffix);
            current.address = self.base.checked_add(at)?;
            current.offset = wanted - at;
            best = (size == 0 || wanted - at < size).then(|| current.clone());
        }
        best
    }

    /// A block's first address (minus base) and the offset of its entries.
    fn block(&self, index: usize) -> Option<(u32, u32)> {
        let at = HEADER + 8 * index;
        Some((u32_at(self.bytes, at)?, u32_at(self.bytes, at + 4)?))
    }
}

impl Symbol {
    /// The mangled name; empty when the table is damaged there.
    pub fn mangled(&self) -> &str {
        self.name.get(..self.len).and_then(|name| core::str::from_utf8(name).ok()).unwrap_or("")
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}+{:#x}", rustc_demangle::demangle(self.mangled()), self.offset)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    field.try_into().ok().map(u32::from_le_bytes)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(address: u64, size: u64, name: &str) -> SymbolEntry<'_> {
        SymbolEntry { address, size, name }
    }

    const BASE: u64 = 0xffff_ffff_8000_0000;

    #[test]
    fn names_are_demangled() {
        let blob = encode(&[
            entry(BASE + 0x100, 0x40, "_ZN4core3fmt5write17h0123456789abcdefE"),
            entry(BASE + 0x200, 0, "_RNvCs1234_7mycrate3foo"),
        ]);
        let table = SymbolTable::new(&blob).unwrap();
        assert_eq!(table.lookup(BASE + 0x100).unwrap().mangled(), "_ZN4core3fmt5writeE");
        assert_eq!(table.lookup(BASE + 0x11c).unwrap().to_string(), "core::fmt::write+0x1c");
        assert_eq!(table.lookup(BASE + 0x300).unwrap().to_string(), "mycrate::foo+0x100");
        assert!(table.lookup(BASE + 0x140).is_none());
        assert!(table.lookup(BASE + 0xff).is_none());
        assert!(table.lookup(0).is_none());
    }

    #[test]
    fn aliases_and_far_symbols() {
        let blob = encode(&[
            entry(0x10_0000, 0, "alias"),
            entry(0x10_0000, 8, "b"),
            entry(0x10_0000, 8, "a"),
            entry(1 << 33, 8, "far"),
        ]);
        let table = SymbolTable::new(&blob).unwrap();
        assert_eq!(table.lookup(0x10_0000 + 7).unwrap().mangled(), "a");
        assert!(table.lookup(1 << 33).is_none());
    }

    #[test]
    fn long_names_are_cut() {
        let long = "x".repeat(MAX_NAME + 100);
        let blob = encode(&[entry(1, 1, &long), entry(2, 1, &long), entry(3, 1, "y")]);
        let table = SymbolTable::new(&blob).unwrap();
        assert_eq!(table.lookup(2).unwrap().mangled(), &long[..MAX_NAME]);
        assert_eq!(table.lookup(3).unwrap().mangled(), "y");
    }

    #[test]
    fn an_empty_table() {
        let blob = encode(&[]);
        assert!(SymbolTable::new(&blob).unwrap().lookup(5).is_none());
        assert!(SymbolTable::new(b"KSY1").is_none());
        assert!(SymbolTable::new(b"").is_none());
    }

    fn symbols() -> impl Strategy<Value = Vec<(u64, u64, String)>> {
        prop::collection::vec((0u64..5000, 0u64..40, "_ZN(abc|def|[a-z]{0,5}){0,4}[a-zé]{1,20}"), 1..50)
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(list in symbols(), probes in prop::collection::vec(0u64..5100, 20)) {
            let entries: Vec<_> = list.iter().map(|(at, size, name)| entry(BASE + at, *size, name)).collect();
            let blob = encode(&entries);
            let table = SymbolTable::new(&blob).unwrap();
            for probe in probes.into_iter().map(|probe| BASE + probe) {
                let start = entries.iter().map(|e| e.address).filter(|at| *at <= probe).max();
                let here = entries.iter().filter(|e| Some(e.address) == start);
                let expected = here.min_by_key(|e| (std::cmp::Reverse(e.size), e.name));
                let expected = expected.filter(|e| e.size == 0 || probe - e.address < e.size);
                let found = table.lookup(probe);
                prop_assert_eq!(found.as_ref().map(|symbol| symbol.address), expected.map(|e| e.address));
                prop_assert_eq!(found.as_ref().map(Symbol::mangled), expected.map(|e| e.name));
            }
        }

        #[test]
        fn any_damage_is_survived(
            list in symbols(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
            cut in any::<prop::sample::Index>(),
            probe in any::<u64>(),
        ) {
            let entries: Vec<_> = list.iter().map(|(at, size, name)| entry(BASE + at, *size, name)).collect();
            let mut blob = encode(&entries);
            for (at, value) in damage {
                let at = 4 + at.index(blob.len() - 4);
                blob[at] = value;
            }
            blob.truncate(cut.index(blob.len() + 1));
            if let Some(table) = SymbolTable::new(&blob) {
                for address in (0..5100).step_by(100).map(|at| BASE + at).chain([probe]) {
                    if let Some(symbol) = table.lookup(address) {
                        let _ = symbol.to_string();
                    }
                }
            }
        }
    }
}
