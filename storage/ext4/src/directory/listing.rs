//! Listing a directory piece by piece, while it changes.
//!
//! A cookie says where a listing goes on: behind the entry that it came with. What it says is true of the name itself,
//! so nothing is skipped or repeated whatever happens to other names in between:
//!
//! ```text
//! 1 and 2   . and ..
//! else      hash of the name (31 bits), minor hash (32 bits)   with the feature dir_index
//!           place of the entry in the directory, in bytes      without it, where entries never move
//! ```
//!
//! Names whose 63 bits are the same (one pair in a directory of four thousand million names) follow one another in
//! the order of their bytes with the next free numbers; only among themselves are they then not stable. A directory
//! of one block is listed by hash too, because it will be a tree when it grows. Longer ones without a tree, which
//! never become one, are listed by place.
//!
//! A page costs the blocks whose names it returns, and those without names in between.

use super::entry::{Broken, is_dangerous};
use super::hash::{Hasher, Version};
use super::index::CONTINUED;
use super::{CHAIN_MOST, TYPE_DIRECTORY, is_dots};
use crate::engine::{BlockNr, Engine, Ino};
use crate::halt::Halt;
use crate::layout::inode::Inode;
use alloc::vec::Vec;

/// Cookie of `.`.
const DOT: u64 = 1;
/// Cookie of `..`.
const DOT_DOT: u64 = 2;
/// No cookie is higher.
const COOKIE_MOST: u64 = i64::MAX as u64;
/// What an entry counts for beside its name in the size of a page (`Volume::read_dir`).
const ENTRY_COST: usize = 24;
/// A page of this size ends where a block is not in memory: to begin again for each of many blocks costs more than
/// the next call.
const ENOUGH: usize = 8192;
/// Bytes of a block that most entries take at least.
const USUAL_ENTRY: usize = 16;

/// An entry of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// What it names.
    pub ino: Ino,
    /// Of which type that is; 0 when entries do not tell.
    pub file_type: u8,
    /// Go on behind it with this.
    pub cookie: u64,
}

/// Some entries of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// In the order of their cookies. There is one if there is any left.
    pub entries: Vec<ListEntry>,
    /// Nothing comes behind them.
    pub end: bool,
}

/// A listing that is being made.
struct Page {
    entries: Vec<ListEntry>,
    bytes: usize,
    most: usize,
}

impl Page {
    /// Adds an entry; false when it does not fit.
    fn push(&mut self, entry: ListEntry) -> bool {
        let bytes = self.bytes + entry.name.len() + ENTRY_COST;
        let fits = bytes <= self.most || self.entries.is_empty();
        if fits {
            self.bytes = bytes;
            self.entries.push(entry);
        }
        fits
    }
}

/// Where hashes of a block begin and end, both inclusive.
#[derive(Clone, Copy)]
struct Range {
    from: u32,
    to: u32,
}

impl Engine {
    /// The entries behind `cookie` (0: all), as many as fit into `max_bytes` (each counted as its name and 24 bytes) but
    /// one at least.
    pub fn dir_list(&mut self, dir: &Inode, cookie: u64, max_bytes: usize) -> Result<Listing, Halt> {
        let mut page = Page { entries: Vec::new(), bytes: 0, most: max_bytes };
        let listed = self.list(dir, cookie, &mut page);
        let end = match listed {
            Ok(end) => end,
            Err(Halt::Need(..)) if page.bytes >= ENOUGH => false,
            Err(halt) => return Err(halt),
        };
        Ok(Listing { entries: page.entries, end })
    }

    /// Fills a page; true when that reached the end.
    fn list(&mut self, dir: &Inode, cookie: u64, page: &mut Page) -> Result<bool, Halt> {
        if cookie > COOKIE_MOST {
            return Ok(true);
        }
        if cookie < DOT_DOT && !self.list_dots(dir, cookie, page)? {
            return Ok(false);
        }
        if self.is_indexed(dir) {
            return self.list_tree(dir, cookie, page);
        }
        if self.geometry.indexed_directories && self.dir_blocks(dir)? == 1 {
            let block = self.dir_block(dir, 0)?;
            let hasher = Hasher::new(Version::of_new(&self.geometry), &self.geometry);
            let mut batch = Vec::new();
            self.collect(dir, block, &hasher, Range { from: 0, to: u32::MAX }, major_of(cookie), &mut batch)?;
            batch.sort_unstable();
            return Ok(emit(&mut batch, usize::MAX, cookie, page));
        }
        self.list_places(dir, cookie, page)
    }

    fn list_dots(&mut self, dir: &Inode, cookie: u64, page: &mut Page) -> Result<bool, Halt> {
        let parent = match self.dir_lookup(dir, b"..")? {
            Some((parent, _)) => parent,
            None => return Err(self.damaged(format_args!("directory {} has no ..", dir.ino))),
        };
        let file_type = if self.geometry.file_types { TYPE_DIRECTORY } else { 0 };
        let entry = |name: &[u8], ino, cookie| ListEntry { name: name.to_vec(), ino, file_type, cookie };
        if cookie < DOT && !page.push(entry(b".", dir.ino, DOT)) {
            return Ok(false);
        }
        Ok(page.push(entry(b"..", parent, DOT_DOT)))
    }

    /// From the block of names that the cookie leads to, one after the other.
    fn list_tree(&mut self, dir: &Inode, cookie: u64, page: &mut Page) -> Result<bool, Halt> {
        let root = self.tree_root(dir)?;
        let wanted = major_of(cookie);
        let mut path = self.tree_descend(dir, &root, wanted)?;
        let mut batch = Vec::new();
        let mut chain = 0;
        loop {
            let from = path.from & !CONTINUED;
            let next = self.tree_next_hash(dir, &path)?;
            // The names of the hash that goes on in the next block are only in order when all are here.
            let (to, open) = match next {
                Some(next) if next & CONTINUED != 0 => (next & !CONTINUED, true),
                Some(next) => (next.saturating_sub(1), false),
                None => (u32::MAX, false),
            };
            if to < from {
                return Err(self.damaged(format_args!("directory {} has an index out of order", dir.ino)));
            }
            let block = self.tree_leaf(dir, &path)?;
            self.collect(dir, block, &root.hasher, Range { from, to }, wanted, &mut batch)?;
            batch.sort_unstable();
            let complete = if open { batch.partition_point(|named| named.major < to) } else { batch.len() };
            if !emit(&mut batch, complete, cookie, page) {
                return Ok(false);
            }
            chain = if open && from == to { chain + 1 } else { 0 };
            if chain > CHAIN_MOST {
                return Err(self
                    .damaged(format_args!("directory {} has an index that goes round in circles", dir.ino)));
            }
            if !self.tree_advance(dir, &mut path)? {
                return Ok(true);
            }
        }
    }

    /// The names of a block with hashes from `wanted` on.
    fn collect(
        &mut self,
        dir: &Inode,
        block: BlockNr,
        hasher: &Hasher,
        range: Range,
        wanted: u32,
        batch: &mut Vec<Named>,
    ) -> Result<(), Halt> {
        self.dir_names(dir, block, |shape, raw| {
            batch.reserve(raw.len() / USUAL_ENTRY);
            for entry in shape.entries(raw, 0) {
                let entry = entry?;
                if entry.ino == 0 || is_dots(entry.name) {
                    continue;
                }
                let hash = hasher.hash(entry.name);
                // Cookies must never go back, or a client would list for ever.
                if hash.major < range.from || hash.major > range.to || is_dangerous(entry.name) {
                    return Err(Broken(entry.at));
                }
                if hash.major >= wanted {
                    batch.push(Named {
                        major: hash.major,
                        minor: hash.minor,
                        name: entry.name.to_vec(),
                        ino: entry.ino,
                        file_type: entry.file_type,
                    });
                }
            }
            Ok(())
        })
    }

    /// In the order in which entries lie in the directory.
    fn list_places(&mut self, dir: &Inode, cookie: u64, page: &mut Page) -> Result<bool, Halt> {
        let block_size = self.geometry.block_size as u64;
        let blocks = u64::from(self.dir_blocks(dir)?);
        for logical in cookie / block_size..blocks {
            let block = self.dir_block(dir, logical as u32)?;
            let start = logical * block_size;
            let goes_on = self.dir_names(dir, block, |shape, raw| {
                for entry in shape.entries(raw, 0) {
                    let entry = entry?;
                    let place = start + entry.at as u64;
                    if entry.ino == 0 || place <= cookie || is_dots(entry.name) {
                        continue;
                    }
                    if is_dangerous(entry.name) {
                        return Err(Broken(entry.at));
                    }
                    let (ino, file_type) = (entry.ino, entry.file_type);
                    if !page.push(ListEntry { name: entry.name.to_vec(), ino, file_type, cookie: place }) {
                        return Ok(false);
                    }
                }
                Ok(true)
            })?;
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A name on its way into a page, ordered as pages are.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    major: u32,
    minor: u32,
    name: Vec<u8>,
    ino: Ino,
    file_type: u8,
}

/// The lowest hash that may come behind a cookie.
fn major_of(cookie: u64) -> u32 {
    ((cookie >> 32) as u32 & 0x7fff_ffff) << 1
}

/// Moves the first `complete` names of a sorted batch, all of their hashes, into the page as far as they are behind
/// `cookie`; false when it is full.
fn emit(batch: &mut Vec<Named>, complete: usize, cookie: u64, page: &mut Page) -> bool {
    let complete = complete.min(batch.len());
    let cookies = cookies(&batch[..complete]);
    for (named, place) in batch.drain(..complete).zip(cookies) {
        let Named { name, ino, file_type, .. } = named;
        if place > cookie && !page.push(ListEntry { name, ino, file_type, cookie: place }) {
            return false;
        }
    }
    true
}

/// The cookies of names: their hashes, or the next free number where that is taken. Numbers of one hash stay with it.
fn cookies(names: &[Named]) -> Vec<u64> {
    let start = |named: &Named| u64::from(named.major >> 1) << 32;
    let mut cookies: Vec<u64> = Vec::with_capacity(names.len());
    for (index, named) in names.iter().enumerate() {
        let lowest = match cookies.last() {
            Some(&before) if names[index - 1].major == named.major => before + 1,
            _ => (DOT_DOT + 1).max(start(named)),
        };
        cookies.push(lowest.max(start(named) | u64::from(named.minor)));
    }
    for index in (0..names.len()).rev() {
        let highest = match names.get(index + 1) {
            Some(next) if next.major == names[index].major => cookies[index + 1] - 1,
            _ => start(&names[index]) | u64::from(u32::MAX),
        };
        cookies[index] = cookies[index].min(highest);
    }
    cookies
}
