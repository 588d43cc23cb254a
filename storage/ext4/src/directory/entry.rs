//! Entries in a block of names (Linux `Documentation/filesystems/ext4/directory.rst`, "Linear (Classic) Directories").
//!
//! A block is filled with entries to its end, or to the tail with the checksum. An entry's length says where the next
//! begins; what it does not need itself is free. An entry of inode 0 is free altogether. Everything that comes out of
//! here lies within the block: callers may rely on it.

use crate::engine::Ino;
use crate::engine::seal::TAIL_LENGTH;
use crate::layout::Geometry;
use crate::layout::bytes::{put_u16, put_u32};

/// Bytes of an entry in front of its name.
const HEAD: usize = 8;
/// Bytes of an entry with a short name: no entry is shorter, free ones included.
const LEAST: usize = 12;
/// Longest name.
pub const NAME_MOST: usize = 255;

/// Bytes that an entry needs.
pub fn need(name_length: usize) -> usize {
    (HEAD + name_length + 3) & !3
}

/// What is the same for all blocks of names of a filesystem.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Where names end in a block.
    pub end: usize,
    /// The highest inode number.
    inodes: Ino,
    /// Entries tell types (feature filetype).
    file_types: bool,
}

impl Shape {
    /// That of a filesystem.
    pub fn new(geometry: &Geometry) -> Shape {
        let tail = if geometry.checksum_seed.is_some() { TAIL_LENGTH } else { 0 };
        Shape { end: geometry.block_size - tail, inodes: geometry.inodes, file_types: geometry.file_types }
    }

    /// For a block that the feature dir_index made the root of a tree: `..` reaches to its very end.
    pub fn whole(self, block: &[u8]) -> Shape {
        Shape { end: block.len(), ..self }
    }

    /// The entries of a block from byte `from` on, which one begins at.
    pub fn entries(self, block: &[u8], from: usize) -> Entries<'_> {
        let names = block.get(..self.end).unwrap_or(block);
        Entries { names, at: from, inodes: self.inodes, file_types: self.file_types }
    }

    /// Writes an entry that takes `length` bytes at `at`, which are enough.
    pub fn put(self, raw: &mut [u8], at: usize, length: usize, new: &New<'_>) {
        put_u32(raw, at, new.ino);
        put_u16(raw, at + 4, length as u16);
        raw[at + 6] = new.name.len() as u8;
        raw[at + 7] = if self.file_types { new.file_type } else { 0 };
        raw[at + HEAD..at + HEAD + new.name.len()].copy_from_slice(new.name);
    }

    /// The entry with a name.
    pub fn find(self, block: &[u8], name: &[u8]) -> Result<Option<Found>, Broken> {
        let mut before = None;
        for entry in self.entries(block, 0) {
            let entry = entry?;
            if is_same(entry.name, name) && entry.ino != 0 {
                let (at, length, ino, file_type) = (entry.at, entry.length, entry.ino, entry.file_type);
                return Ok(Some(Found { at, length, before, ino, file_type }));
            }
            before = Some(entry.at);
        }
        Ok(None)
    }

    /// The first place with `need` free bytes.
    pub fn find_room(self, block: &[u8], need: usize) -> Result<Option<Room>, Broken> {
        for entry in self.entries(block, 0) {
            let entry = entry?;
            if entry.length - entry.used() >= need {
                return Ok(Some(Room { at: entry.at, used: entry.used(), length: entry.length }));
            }
        }
        Ok(None)
    }
}

/// What is to become an entry.
#[derive(Clone, Copy)]
pub struct New<'a> {
    /// 1 to 255 bytes.
    pub name: &'a [u8],
    /// What it names.
    pub ino: Ino,
    /// Of which type that is.
    pub file_type: u8,
}

/// An entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Where it begins in its block.
    pub at: usize,
    /// Bytes up to the next one.
    pub length: usize,
    /// What it names; 0 for a free one.
    pub ino: Ino,
    /// Of which type that is; 0 when entries do not tell.
    pub file_type: u8,
    /// Its name; empty for a free one.
    pub name: &'a [u8],
}

impl Entry<'_> {
    /// Bytes that it needs itself.
    pub fn used(&self) -> usize {
        if self.ino == 0 { 0 } else { need(self.name.len()) }
    }
}

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Where it begins in its block.
    pub at: usize,
    /// Bytes up to the next one.
    pub length: usize,
    /// Where the one before it begins.
    pub before: Option<usize>,
    /// What it names.
    pub ino: Ino,
    /// Of which type that is.
    pub file_type: u8,
}

/// An entry with free bytes behind what it needs.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Where it begins.
    pub at: usize,
    /// What it needs itself.
    pub used: usize,
    /// Its length.
    pub length: usize,
}

/// What is at this place cannot be an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken(pub usize);

/// Goes through a block; ends at the first thing that cannot be an entry.
pub struct Entries<'a> {
    names: &'a [u8],
    at: usize,
    inodes: Ino,
    file_types: bool,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Broken>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        if at >= self.names.len() {
            return None;
        }
        let entry = self.parse(at);
        self.at = match &entry {
            Some(entry) => at + entry.length,
            None => usize::MAX,
        };
        Some(entry.ok_or(Broken(at)))
    }
}

impl<'a> Entries<'a> {
    /// Every name of every search comes through here.
    #[inline]
    fn parse(&self, at: usize) -> Option<Entry<'a>> {
        let head: &[u8; HEAD] = self.names.get(at..)?.first_chunk()?;
        let [a, b, c, d, low, high, name_length, file_type] = *head;
        let ino = u32::from_le_bytes([a, b, c, d]);
        let length = usize::from(u16::from_le_bytes([low, high]));
        let raw = self.names.get(at + HEAD..at + length)?;
        if length < LEAST || length % 4 != 0 {
            return None;
        }
        if ino == 0 {
            return Some(Entry { at, length, ino, file_type: 0, name: &[] });
        }
        let name = raw.get(..usize::from(name_length))?;
        if ino > self.inodes || name.is_empty() {
            return None;
        }
        let file_type = if self.file_types { file_type } else { 0 };
        Some(Entry { at, length, ino, file_type, name })
    }
}

/// True for equal names. Most are told apart without comparing them from the start, which is often the same in a
/// whole directory.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one.last() == other.last()
        && one.get(one.len() / 2) == other.get(other.len() / 2)
        && one == other
}

/// True for a name that could lead out of the directory.
pub fn is_dangerous(name: &[u8]) -> bool {
    name.iter().any(|&byte| byte == 0 || byte == b'/')
}
