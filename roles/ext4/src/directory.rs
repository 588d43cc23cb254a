//! Directories: names, parents, cookies and pages.
//!
//! A cookie names the position behind its entry:
//!
//! ```text
//!   0                     the start            1  behind "."          2  behind ".."
//!   hhhhhhhh mmmmmmm o    hashed directory: upper 31 bits of the major hash, 28 of the minor, and the
//!                         ordinal among entries that agree in these bits; of the entry that follows
//!   7FFFFFFF oooooooo     directory of unhashed blocks: byte offset of what follows
//!   7FFFFFFF FFFFFFFE     the end
//! ```
//!
//! ext4 reserves the major hash 7FFFFFFF, so the ranges do not meet. Positions in hash order do not move
//! when entries come and go. A directory that grew from one block to a hashed tree in the middle of a
//! listing answers [`VolumeError::BadCookie`], and the client starts again.

use crate::state::STATE_DIR;
use crate::volume::{Inner, ROOT};
use alloc::vec::Vec;
use keelson_volume::{Attributes, DirEntry, DirPage, FileId, VolumeError};
use rsext4::{DirectoryCursor, FileName, InodeFlags, InodeInfo, InodeNumber};

const BEHIND_DOT: u64 = 1;
const BEHIND_DOT_DOT: u64 = 2;
const LINEAR: u64 = 0x7FFF_FFFF << 32;
const END: u64 = LINEAR | 0xFFFF_FFFE;
/// Bytes an entry counts beside its name (see `Volume::read_dir`).
const ENTRY_BYTES: usize = 24;
/// Entries asked of the engine at a time.
const BATCH: usize = 128;

/// Checks a name that is to be looked up or made.
pub(crate) fn check_name(name: &[u8]) -> Result<FileName<'_>, VolumeError> {
    if name.len() > 255 {
        return Err(VolumeError::NameTooLong);
    }
    FileName::new(name).map_err(|_| VolumeError::Invalid)
}

pub(crate) fn is_dot(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

fn cookie_of(cursor: DirectoryCursor, ordinal: u64) -> u64 {
    match cursor {
        DirectoryCursor::Start => BEHIND_DOT_DOT,
        DirectoryCursor::End => END,
        DirectoryCursor::Linear { offset } => LINEAR | (offset & 0xFFFF_FFFF),
        DirectoryCursor::HTree { .. } => prefix_of(cursor) | ordinal.min(15),
    }
}

/// The cookie without the ordinal.
fn prefix_of(cursor: DirectoryCursor) -> u64 {
    match cursor {
        DirectoryCursor::HTree { major, minor, .. } => {
            (u64::from(major >> 1) << 32) | u64::from(minor & 0xFFFF_FFF0)
        }
        other => cookie_of(other, 0),
    }
}

/// Where to resume, and how many entries with the same prefix to pass over.
fn cursor_of(cookie: u64, hashed: bool) -> Result<(DirectoryCursor, u64), VolumeError> {
    if cookie <= BEHIND_DOT_DOT {
        return Ok((DirectoryCursor::Start, 0));
    }
    if cookie == END {
        return Ok((DirectoryCursor::End, 0));
    }
    match (cookie & LINEAR == LINEAR, hashed) {
        (_, _) if cookie >> 63 != 0 => Err(VolumeError::BadCookie),
        (true, false) => Ok((DirectoryCursor::Linear { offset: cookie & 0xFFFF_FFFF }, 0)),
        (false, true) => {
            let major = ((cookie >> 32) as u32) << 1;
            let minor = (cookie & 0xFFFF_FFF0) as u32;
            Ok((DirectoryCursor::HTree { major, minor, collision: 0 }, cookie & 0xF))
        }
        _ => Err(VolumeError::BadCookie),
    }
}

impl Inner {
    /// True for a name that clients do not get to see.
    pub fn is_hidden(&self, dir: u32, name: &[u8]) -> bool {
        dir == ROOT && name == STATE_DIR
    }

    /// Looks a checked name up; `None` when there is none.
    pub fn child(&mut self, dir: u32, name: FileName<'_>) -> Result<Option<InodeInfo>, VolumeError> {
        let number = inode_number(dir)?;
        self.call(|engine| engine.lookup_child(number, name))
    }

    /// The directory that holds `dir`; the root holds itself.
    pub fn parent(&mut self, dir: u32) -> Result<u32, VolumeError> {
        if dir == ROOT {
            return Ok(ROOT);
        }
        let number = inode_number(dir)?;
        let first = self.call(|engine| engine.read_directory(number, DirectoryCursor::Start, 2))?;
        let parent = first.iter().find(|entry| entry.name == b"..");
        parent.map(|entry| entry.inode.raw()).ok_or(VolumeError::Io)
    }

    /// Lookup as clients see it.
    pub fn lookup(&mut self, dir: FileId, name: &[u8]) -> Result<Attributes, VolumeError> {
        let attributes = self.resolve_dir(dir)?;
        let inode = dir.inode as u32;
        match name {
            b"." => return Ok(attributes),
            b".." => {
                let parent = self.parent(inode)?;
                return self.attributes(parent);
            }
            _ => {}
        }
        let checked = check_name(name)?;
        if self.is_hidden(inode, name) {
            return Err(VolumeError::NotFound);
        }
        let info = self.child(inode, checked)?.ok_or(VolumeError::NotFound)?;
        self.describe(&info)
    }

    /// One page of a directory.
    pub fn read_dir(&mut self, dir: FileId, cookie: u64, max_bytes: usize) -> Result<DirPage, VolumeError> {
        self.resolve_dir(dir)?;
        let inode = dir.inode as u32;
        let number = inode_number(inode)?;
        let hashed = self.call(|engine| engine.inode(number))?.flags.contains(InodeFlags::DIRECTORY_INDEX);
        let (mut cursor, mut skip) = cursor_of(cookie, hashed)?;
        let mut page = Page { entries: Vec::new(), room: max_bytes };

        if cookie < BEHIND_DOT && !page.add(b".".to_vec(), inode, BEHIND_DOT) {
            return Ok(page.part());
        }
        if cookie < BEHIND_DOT_DOT {
            let parent = self.parent(inode)?;
            if !page.add(b"..".to_vec(), parent, BEHIND_DOT_DOT) {
                return Ok(page.part());
            }
        }
        let mut prefix = cookie & !0xF;
        let mut ordinal = skip;
        let mut reader = self.call(|engine| engine.open_directory_reader(number))?;
        while cursor != DirectoryCursor::End {
            let batch = self.call(|engine| engine.read_directory_with_reader(&mut reader, cursor, BATCH))?;
            let full = batch.len() == BATCH;
            for entry in batch {
                cursor = entry.next_cursor;
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                // Entries that follow one another with the same prefix count up.
                let next = prefix_of(cursor);
                ordinal = if next == prefix { ordinal + 1 } else { 0 };
                prefix = next;
                if is_dot(&entry.name) || self.is_hidden(inode, &entry.name) {
                    continue;
                }
                if !page.add(entry.name, entry.inode.raw(), cookie_of(cursor, ordinal)) {
                    return Ok(page.part());
                }
            }
            if !full {
                break;
            }
        }
        Ok(DirPage { entries: page.entries, end: true })
    }

    /// One page with attributes, by inode number: looking each name up would check the checksums of all the
    /// directory's blocks again and again (1.3 ms an entry in an unhashed directory of 5,000).
    pub fn read_dir_plus(
        &mut self,
        dir: FileId,
        cookie: u64,
        max_bytes: usize,
    ) -> Result<DirPage, VolumeError> {
        let mut page = self.read_dir(dir, cookie, max_bytes)?;
        // In the order of the inode tables, so that what is not in memory is read ahead.
        let mut entries: Vec<_> = page.entries.iter_mut().filter(|entry| !entry.is_dot()).collect();
        entries.sort_unstable_by_key(|entry| entry.inode);
        for entry in entries {
            entry.attributes = self.attributes(entry.inode as u32).ok();
        }
        Ok(page)
    }
}

struct Page {
    entries: Vec<DirEntry>,
    room: usize,
}

impl Page {
    /// Adds an entry; false when it does not fit. The first always fits.
    fn add(&mut self, name: Vec<u8>, inode: u32, cookie: u64) -> bool {
        let bytes = name.len() + ENTRY_BYTES;
        if bytes > self.room && !self.entries.is_empty() {
            return false;
        }
        self.room = self.room.saturating_sub(bytes);
        self.entries.push(DirEntry { name, inode: u64::from(inode), cookie, attributes: None });
        true
    }

    /// The page of a directory that goes on.
    fn part(self) -> DirPage {
        DirPage { entries: self.entries, end: false }
    }
}

pub(crate) fn inode_number(inode: u32) -> Result<InodeNumber, VolumeError> {
    InodeNumber::new(inode).map_err(|_| VolumeError::Stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_lead_back_to_their_cursors() {
        let hashed = DirectoryCursor::HTree { major: 0xDEAD_BEE0, minor: 0x1234_5670, collision: 0 };
        assert_eq!(cursor_of(cookie_of(hashed, 3), true), Ok((hashed, 3)));
        let linear = DirectoryCursor::Linear { offset: 4092 };
        assert_eq!(cursor_of(cookie_of(linear, 0), false), Ok((linear, 0)));
        assert_eq!(cursor_of(cookie_of(linear, 0), true), Err(VolumeError::BadCookie));
        assert_eq!(cursor_of(cookie_of(hashed, 0), false), Err(VolumeError::BadCookie));
        assert_eq!(cursor_of(END, true), Ok((DirectoryCursor::End, 0)));
        assert_eq!(cursor_of(u64::MAX, true), Err(VolumeError::BadCookie));
    }
}
