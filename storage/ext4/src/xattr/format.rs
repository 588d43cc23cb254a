//! Extended attributes as they lie in an inode's record or in a block (Linux
//! `Documentation/filesystems/ext4/attributes.rst`).
//!
//! ```text
//! | entry | entry | entry | 0 |  free  | value | value | value |
//! ```

use crate::layout::bytes::{put_u16, put_u32, u16_at, u32_at};
use alloc::vec::Vec;

/// What both the part of a record and a block with attributes begin with.
pub const MAGIC: u32 = 0xea02_0000;
/// Bytes of an entry in front of its name.
const HEAD: usize = 16;
/// Where the entries of a block begin: behind its header.
pub const BLOCK_START: usize = 32;
/// What ends the entries.
const END: usize = 4;

/// An attribute where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored<'a> {
    /// What stands for the prefix of its name.
    pub index: u8,
    /// The rest of the name.
    pub suffix: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// An attribute on its own, in the order of those in a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attribute {
    /// What stands for the prefix of its name.
    pub index: u8,
    /// The rest of the name.
    pub suffix: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

impl Attribute {
    /// Attributes of a block are in this order (Linux looks no further than where one should be).
    pub fn order(&self) -> (u8, usize, &[u8]) {
        (self.index, self.suffix.len(), &self.suffix)
    }
}

impl From<Stored<'_>> for Attribute {
    fn from(stored: Stored<'_>) -> Attribute {
        Attribute { index: stored.index, suffix: stored.suffix.to_vec(), value: stored.value.to_vec() }
    }
}

/// What lies here cannot be attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken;

/// Goes through attributes; ends at the first thing that cannot be one.
pub struct Entries<'a> {
    area: &'a [u8],
    at: usize,
}

/// The attributes of an area, whose entries begin at `start` and whose values are placed from its beginning.
pub fn entries(area: &[u8], start: usize) -> Entries<'_> {
    Entries { area, at: start }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Stored<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == usize::MAX {
            return None;
        }
        match parse(self.area, self.at) {
            Some(Some((stored, next))) => {
                self.at = next;
                Some(Ok(stored))
            }
            Some(None) => {
                self.at = usize::MAX;
                None
            }
            None => {
                self.at = usize::MAX;
                Some(Err(Broken))
            }
        }
    }
}

/// The entry at a place and where the next one is; `Some(None)` at the end.
fn parse(area: &[u8], at: usize) -> Option<Option<(Stored<'_>, usize)>> {
    let raw = area.get(at..).filter(|raw| raw.len() >= END)?;
    if u32_at(raw, 0) == 0 {
        return Some(None);
    }
    if raw.len() < HEAD {
        return None;
    }
    let (place, inode, size) = (usize::from(u16_at(raw, 2)), u32_at(raw, 4), u32_at(raw, 8) as usize);
    let suffix = raw.get(HEAD..HEAD + usize::from(raw[0]))?;
    // Values in inodes of their own are a feature that is refused at mount.
    if inode != 0 {
        return None;
    }
    let value = if size == 0 { &[] } else { area.get(place..place.checked_add(size)?)? };
    Some(Some((Stored { index: raw[1], suffix, value }, at + round(HEAD + suffix.len()))))
}

/// True when attributes fit into an area.
pub fn fit(attributes: &[Attribute], area: usize, start: usize) -> bool {
    let space = |one: &Attribute| round(HEAD + one.suffix.len()) + round(one.value.len());
    attributes.iter().map(space).sum::<usize>() + END + start <= area
}

/// Writes attributes that fit into an area; their values go to its end.
pub fn put(attributes: &[Attribute], area: &mut [u8], start: usize) {
    area[start..].fill(0);
    let (mut at, mut place) = (start, area.len());
    for Attribute { index, suffix, value } in attributes {
        place -= round(value.len());
        area[at] = suffix.len() as u8;
        area[at + 1] = *index;
        put_u16(area, at + 2, if value.is_empty() { 0 } else { place as u16 });
        put_u32(area, at + 8, value.len() as u32);
        put_u32(area, at + 12, hash(suffix, value));
        area[at + HEAD..at + HEAD + suffix.len()].copy_from_slice(suffix);
        area[place..place + value.len()].copy_from_slice(value);
        at += round(HEAD + suffix.len());
    }
}

/// Writes a block: its header but for the checksum, and sorted attributes that fit.
pub fn put_block(attributes: &[Attribute], block: &mut [u8]) {
    block[..BLOCK_START].fill(0);
    put(attributes, block, BLOCK_START);
    put_u32(block, 0, MAGIC);
    put_u32(block, 4, 1);
    put_u32(block, 8, 1);
    let hashes = attributes.iter().map(|one| hash(&one.suffix, &one.value));
    // A block with an entry without hash has none itself (Linux never shares it).
    let sum = hashes.clone().fold(0u32, |sum, hash| sum.rotate_left(16) ^ hash);
    put_u32(block, 12, if hashes.clone().any(|hash| hash == 0) { 0 } else { sum });
}

/// How many inodes share a block; `None` when it is none of attributes.
pub fn references(block: &[u8]) -> Option<u32> {
    let count = u32_at(block, 4);
    (u32_at(block, 0) == MAGIC && u32_at(block, 8) == 1 && count != 0).then_some(count)
}

/// Writes how many inodes share a block, whose first 8 bytes these are.
pub fn put_references(head: &mut [u8], count: u32) {
    put_u32(head, 4, count);
}

fn round(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Hash of an entry: name by bytes, value by words.
fn hash(suffix: &[u8], value: &[u8]) -> u32 {
    let name = suffix.iter().fold(0u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
    value.chunks(4).fold(name, |hash, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        hash.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}
