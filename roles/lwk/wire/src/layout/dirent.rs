//! Entries of directories, as getdents64(2) and getdents(2) return them.

use alloc::vec::Vec;

use super::get;

/// An entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dirent<'a> {
    /// Inode.
    pub ino: u64,
    /// Opaque: lseek with it continues behind this entry.
    pub off: i64,
    /// DT_REG and so on.
    pub kind: u8,
    /// Name.
    pub name: &'a [u8],
}

/// Appends `entry` in the layout of getdents64 to `out` if it fits in `most` bytes; false when it does not.
pub fn push_dirent(out: &mut Vec<u8>, most: usize, entry: &Dirent<'_>) -> bool {
    let len = (19 + entry.name.len() + 1).next_multiple_of(8);
    let Some(len16) = u16::try_from(len).ok().filter(|_| out.len().saturating_add(len) <= most) else {
        return false;
    };
    let at = out.len();
    out.extend_from_slice(&entry.ino.to_le_bytes());
    out.extend_from_slice(&entry.off.to_le_bytes());
    out.extend_from_slice(&len16.to_le_bytes());
    out.push(entry.kind);
    out.extend_from_slice(entry.name);
    out.resize(at + len, 0);
    true
}

/// As [`push_dirent`], in the layout of getdents: the type is the last byte.
pub fn push_old_dirent(out: &mut Vec<u8>, most: usize, entry: &Dirent<'_>) -> bool {
    let len = (18 + entry.name.len() + 2).next_multiple_of(8);
    let Some(len16) = u16::try_from(len).ok().filter(|_| out.len().saturating_add(len) <= most) else {
        return false;
    };
    let at = out.len();
    out.extend_from_slice(&entry.ino.to_le_bytes());
    out.extend_from_slice(&entry.off.to_le_bytes());
    out.extend_from_slice(&len16.to_le_bytes());
    out.extend_from_slice(entry.name);
    out.resize(at + len, 0);
    if let Some(last) = out.last_mut() {
        *last = entry.kind;
    }
    true
}

/// The entries in what getdents64 returned. Ends at the first that is not whole.
#[derive(Clone, Debug)]
pub struct Dirents<'a>(pub &'a [u8]);

impl<'a> Iterator for Dirents<'a> {
    type Item = Dirent<'a>;

    fn next(&mut self) -> Option<Dirent<'a>> {
        let (head, entry) = take(&mut self.0, 19)?;
        let [kind] = get(head, 18);
        Some(Dirent {
            ino: u64::from_le_bytes(get(head, 0)),
            off: i64::from_le_bytes(get(head, 8)),
            kind,
            name: name(entry),
        })
    }
}

/// The entries in what getdents returned.
#[derive(Clone, Debug)]
pub struct DirentsOld<'a>(pub &'a [u8]);

impl<'a> Iterator for DirentsOld<'a> {
    type Item = Dirent<'a>;

    fn next(&mut self) -> Option<Dirent<'a>> {
        let (head, entry) = take(&mut self.0, 18)?;
        let kind = entry.last().copied().unwrap_or(0);
        Some(Dirent {
            ino: u64::from_le_bytes(get(head, 0)),
            off: i64::from_le_bytes(get(head, 8)),
            kind,
            name: name(entry),
        })
    }
}

fn take<'a>(rest: &mut &'a [u8], head: usize) -> Option<(&'a [u8], &'a [u8])> {
    rest.get(..head)?;
    let len = usize::from(u16::from_le_bytes(get(rest, 16)));
    let (entry, after) = rest.split_at_checked(len)?;
    let parts = entry.split_at_checked(head)?;
    *rest = after;
    Some(parts)
}

fn name(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
