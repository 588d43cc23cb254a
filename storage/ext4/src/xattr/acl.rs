//! Access control lists: the disk has a shorter form than the one that `system.posix_acl_*` has everywhere else.
//!
//! Disk: Linux `fs/ext4/acl.h` (`ext4_acl_header`, `ext4_acl_entry`). Elsewhere: Linux
//! `include/uapi/linux/posix_acl_xattr.h`. Entries are in the same order.

use crate::layout::bytes::{put_u32, u16_at, u32_at};
use alloc::vec::Vec;

const DISK_VERSION: u32 = 1;
const USUAL_VERSION: u32 = 2;
const HEAD: usize = 4;
/// Tag and permissions.
const SHORT: usize = 4;
/// The same with a user or group.
const LONG: usize = 8;
/// Tags of entries that name a user or group (`ACL_USER`, `ACL_GROUP`).
const NAMED: [u16; 2] = [0x02, 0x08];
/// All tags (Linux `include/uapi/linux/posix_acl.h`).
const TAGS: [u16; 6] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20];
/// Where there is neither user nor group.
const NOBODY: u32 = u32::MAX;

/// From the form on the disk; `None` when it is none.
pub fn from_disk(disk: &[u8]) -> Option<Vec<u8>> {
    if disk.len() < HEAD || u32_at(disk, 0) != DISK_VERSION {
        return None;
    }
    let mut usual = USUAL_VERSION.to_le_bytes().to_vec();
    let mut rest = &disk[HEAD..];
    while !rest.is_empty() {
        if rest.len() < SHORT || !TAGS.contains(&u16_at(rest, 0)) {
            return None;
        }
        let is_named = NAMED.contains(&u16_at(rest, 0));
        let length = if is_named { LONG } else { SHORT };
        let entry = rest.get(..length)?;
        usual.extend_from_slice(&entry[..SHORT]);
        let id = if is_named { u32_at(entry, SHORT) } else { NOBODY };
        usual.extend_from_slice(&id.to_le_bytes());
        rest = &rest[length..];
    }
    Some(usual)
}

/// To the form on the disk; `None` when it is none.
pub fn to_disk(usual: &[u8]) -> Option<Vec<u8>> {
    if usual.len() < HEAD || u32_at(usual, 0) != USUAL_VERSION || !(usual.len() - HEAD).is_multiple_of(LONG) {
        return None;
    }
    let mut disk = alloc::vec![0; HEAD];
    put_u32(&mut disk, 0, DISK_VERSION);
    for entry in usual[HEAD..].chunks_exact(LONG) {
        let tag = u16_at(entry, 0);
        if !TAGS.contains(&tag) || u16_at(entry, 2) > 7 {
            return None;
        }
        disk.extend_from_slice(if NAMED.contains(&tag) { entry } else { &entry[..SHORT] });
    }
    Some(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_change_form_and_back() {
        let mut usual = 2u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in [
            (1u16, 6u16, NOBODY),
            (2, 7, 1000),
            (4, 4, NOBODY),
            (8, 5, 100),
            (0x10, 7, NOBODY),
            (0x20, 0, NOBODY),
        ] {
            usual.extend_from_slice(&tag.to_le_bytes());
            usual.extend_from_slice(&permissions.to_le_bytes());
            usual.extend_from_slice(&id.to_le_bytes());
        }
        let disk = to_disk(&usual).expect("a list");
        assert_eq!(disk.len(), 4 + 4 * 4 + 2 * 8);
        assert_eq!(from_disk(&disk), Some(usual.clone()));
        for cut in 1..disk.len() {
            // Entries may end early, but never within one.
            if let Some(usual) = from_disk(&disk[..cut]) {
                assert_eq!(to_disk(&usual).as_deref(), Some(&disk[..cut]));
            }
        }
        usual[4] = 3;
        assert_eq!(to_disk(&usual), None);
        assert_eq!(to_disk(b""), None);
    }
}
