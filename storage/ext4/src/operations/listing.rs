//! Operations that list directories.

use super::{Context, is_dot, is_hidden};
use crate::engine::{Engine, Ino};
use crate::halt::Halt;
use alloc::vec::Vec;
use keelson_volume::{DirEntry, DirPage, FileId};

impl Context {
    /// Operation: one page of a directory.
    pub fn read_dir(
        &self,
        engine: &mut Engine,
        dir: FileId,
        cookie: u64,
        max_bytes: usize,
    ) -> Result<DirPage, Halt> {
        let dir = self.resolve_dir(engine, dir)?;
        let mut cookie = cookie;
        loop {
            let listing = engine.dir_list(&dir, cookie, max_bytes)?;
            let last = listing.entries.last().map(|entry| entry.cookie);
            let entries: Vec<DirEntry> = listing
                .entries
                .into_iter()
                .filter(|entry| !is_hidden(dir.ino, &entry.name))
                .map(|entry| DirEntry {
                    name: entry.name,
                    inode: u64::from(entry.ino),
                    cookie: entry.cookie,
                    attributes: None,
                })
                .collect();
            match last {
                // Nothing but the hidden name fitted into this page.
                Some(last) if entries.is_empty() && !listing.end => cookie = last,
                _ => return Ok(DirPage { entries, end: listing.end }),
            }
        }
    }

    /// Operation: one page of a directory, with attributes straight from the inodes.
    pub fn read_dir_plus(
        &self,
        engine: &mut Engine,
        dir: FileId,
        cookie: u64,
        max_bytes: usize,
    ) -> Result<DirPage, Halt> {
        let mut page = self.read_dir(engine, dir, cookie, max_bytes)?;
        let mut entries: Vec<_> = page.entries.iter_mut().filter(|entry| !is_dot(&entry.name)).collect();
        // Names come in no order, but many inodes lie in one block.
        entries.sort_unstable_by_key(|entry| entry.inode);
        for entry in entries {
            let found =
                self.named(engine, entry.inode as Ino).and_then(|inode| self.describe(engine, &inode));
            entry.attributes = match found {
                Ok(attributes) => Some(attributes),
                // One damaged inode does not hide the others.
                Err(Halt::Fail(_)) => None,
                Err(halt) => return Err(halt),
            };
        }
        Ok(page)
    }
}
