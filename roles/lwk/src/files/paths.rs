//! Paths as text: which tree they lead to.

use alloc::vec::Vec;

/// The trees that the node serves itself (section 3.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tree {
    /// /proc.
    Proc,
    /// /sys.
    Sys,
    /// /dev/shm.
    Shm,
    /// One of the devices of the node.
    Device,
}

/// Parts below /proc and /sys that the host serves: what it says of its network and file systems is what programs use.
const DELEGATED: [&[u8]; 8] = [
    b"/proc/net",
    b"/proc/mounts",
    b"/proc/sys/net",
    b"/sys/class/net",
    b"/sys/class/block",
    b"/proc/self/net",
    b"/proc/self/mounts",
    b"/proc/self/mountinfo",
];

/// True when `path` is `tree` or lies in it.
pub fn is_in(path: &[u8], tree: &[u8]) -> bool {
    path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The tree of an absolute path without `.` and `..`; `None` for the host's.
pub fn tree(path: &[u8]) -> Option<Tree> {
    if DELEGATED.iter().any(|other| is_in(path, other)) {
        return None;
    }
    match path {
        path if is_in(path, b"/proc") => Some(Tree::Proc),
        path if is_in(path, b"/sys") => Some(Tree::Sys),
        path if is_in(path, b"/dev/shm") => Some(Tree::Shm),
        path if super::DeviceKind::at(path).is_some() => Some(Tree::Device),
        _ => None,
    }
}

/// Links of /dev that lead into /proc.
pub fn device_link(path: &[u8]) -> Option<Vec<u8>> {
    let rest = |tree: &[u8]| path.strip_prefix(tree).filter(|rest| rest.is_empty() || rest[0] == b'/');
    let links: [(&[u8], &[u8]); 4] = [
        (b"/dev/fd", b"/proc/self/fd"),
        (b"/dev/stdin", b"/proc/self/fd/0"),
        (b"/dev/stdout", b"/proc/self/fd/1"),
        (b"/dev/stderr", b"/proc/self/fd/2"),
    ];
    links.into_iter().find_map(|(from, to)| rest(from).map(|rest| [to, rest].concat()))
}

/// The components of a path.
pub fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// An absolute path without `.`, `..` and repeated slashes.
pub fn normal(path: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for part in parts(path) {
        match part {
            b".." => text.truncate(text.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            part => {
                text.push(b'/');
                text.extend_from_slice(part);
            }
        }
    }
    if text.is_empty() { b"/".to_vec() } else { text }
}

/// `path` as seen from the directory `base`.
pub fn join(base: &[u8], path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") { path.to_vec() } else { [base, b"/", path].concat() }
}

/// Directory and last component of a normal path.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(0) | None => (b"/", path.strip_prefix(b"/").unwrap_or(path)),
        Some(at) => (&path[..at], &path[at + 1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees() {
        assert_eq!(normal(b"//a/./b/../c/"), b"/a/c");
        assert_eq!(normal(b"/../.."), b"/");
        assert_eq!(normal(b"a/bc/../../../d/./e/.."), b"/d");
        assert_eq!(normal(&join(b"/tmp", b"../proc/./stat")), b"/proc/stat");
        assert_eq!(tree(b"/proc"), Some(Tree::Proc));
        assert_eq!(tree(b"/processes"), None);
        assert_eq!(tree(b"/proc/net/route"), None);
        assert_eq!(tree(b"/proc/sys/net/core/somaxconn"), None);
        assert_eq!(tree(b"/proc/sys/kernel/hostname"), Some(Tree::Proc));
        assert_eq!(tree(b"/proc/self/mounts"), None);
        assert_eq!(tree(b"/sys/class/net/eth0"), None);
        assert_eq!(tree(b"/dev/shm/x"), Some(Tree::Shm));
        assert_eq!(tree(b"/dev/tty"), None);
        assert_eq!(tree(b"/dev/null"), Some(Tree::Device));
        assert_eq!(device_link(b"/dev/fd/3").unwrap(), b"/proc/self/fd/3");
        assert_eq!(device_link(b"/dev/stdout").unwrap(), b"/proc/self/fd/1");
        assert_eq!(split(b"/a/b"), (&b"/a"[..], &b"b"[..]));
        assert_eq!(split(b"/a"), (&b"/"[..], &b"a"[..]));
    }
}
