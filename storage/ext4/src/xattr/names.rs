//! Names of extended attributes: on the disk a number stands for the common part in front (Linux
//! `Documentation/filesystems/ext4/attributes.rst`, "Attribute Name Indices").

use alloc::vec::Vec;

/// Number of access control lists.
pub const ACL_ACCESS: u8 = 2;
/// Number of the lists that new objects in a directory get.
pub const ACL_DEFAULT: u8 = 3;

/// Longest name behind the prefix: it is told in a byte.
const SUFFIX_MOST: usize = 255;

/// A prefix, or a name that is one by itself.
struct Prefix {
    index: u8,
    text: &'static [u8],
    whole: bool,
    /// Names of this kind may be set.
    settable: bool,
}

const fn prefix(index: u8, text: &'static [u8], whole: bool, settable: bool) -> Prefix {
    Prefix { index, text, whole, settable }
}

/// Whole names first: they begin with a prefix, too.
const PREFIXES: [Prefix; 8] = [
    prefix(ACL_ACCESS, b"system.posix_acl_access", true, true),
    prefix(ACL_DEFAULT, b"system.posix_acl_default", true, true),
    prefix(8, b"system.richacl", true, false),
    prefix(1, b"user.", false, true),
    prefix(4, b"trusted.", false, true),
    prefix(6, b"security.", false, true),
    prefix(7, b"system.", false, false),
    prefix(10, b"gnu.", false, false),
];

/// A name as the disk has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name<'a> {
    /// What stands for the prefix.
    pub index: u8,
    /// What follows it.
    pub suffix: &'a [u8],
    /// It may be set.
    pub settable: bool,
}

/// Splits a name; `None` for those that cannot be.
pub fn split(name: &[u8]) -> Option<Name<'_>> {
    for Prefix { index, text, whole, settable } in PREFIXES {
        let Some(suffix) = name.strip_prefix(text) else { continue };
        if suffix.is_empty() == whole && suffix.len() <= SUFFIX_MOST && !suffix.contains(&0) {
            return Some(Name { index, suffix, settable });
        }
    }
    None
}

/// The whole name; `None` with a prefix that nobody knows.
pub fn join(index: u8, suffix: &[u8]) -> Option<Vec<u8>> {
    let prefix = PREFIXES.iter().find(|prefix| prefix.index == index && prefix.whole == suffix.is_empty())?;
    Some([prefix.text, suffix].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart_and_together() {
        for (name, index, suffix) in [
            (&b"user.colour"[..], 1, &b"colour"[..]),
            (b"system.posix_acl_access", 2, b""),
            (b"system.posix_acl_default", 3, b""),
            (b"trusted.overlay.opaque", 4, b"overlay.opaque"),
            (b"security.selinux", 6, b"selinux"),
            (b"system.data", 7, b"data"),
        ] {
            let split = split(name).expect("a name");
            assert_eq!((split.index, split.suffix), (index, suffix));
            assert_eq!(join(index, suffix).as_deref(), Some(name));
        }
        for name in [&b"user."[..], b"user", b"colour", b"", b"user.a\0b"] {
            assert_eq!(split(name), None);
        }
        assert_eq!(split(&[b"user.".as_slice(), &[b'x'; 256]].concat()), None);
        assert_eq!(join(2, b"x"), None);
        assert_eq!(join(99, b"x"), None);
    }
}
