//! Paths from the root, without dots.

use alloc::vec::Vec;
use keelson_qnet_wire::Errno;
use keelson_volume::FileId;

/// Longest path.
pub(crate) const PATH_MAX: usize = 1024;
/// Longest component.
const NAME_MAX: usize = 255;

/// A path from the root: its components. None is empty, `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) struct Path {
    parts: Vec<Vec<u8>>,
}

impl Path {
    /// Takes a path apart. `..` leads up, but never out of the root; a slash in front makes no difference.
    pub fn parse(text: &[u8]) -> Result<Path, Errno> {
        Path::default().join(text)
    }

    /// The path that text leads to from this directory, or from the root if it starts with a slash.
    pub fn join(&self, text: &[u8]) -> Result<Path, Errno> {
        if text.contains(&0) {
            return Err(Errno::EINVAL);
        }
        let mut parts = if text.starts_with(b"/") { Vec::new() } else { self.parts.clone() };
        for part in text.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => drop(parts.pop()),
                part if part.len() > NAME_MAX => return Err(Errno::ENAMETOOLONG),
                part => parts.push(part.to_vec()),
            }
        }
        let path = Path { parts };
        if path.text_len() > PATH_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(path) }
    }

    /// Where this path's link leads: `depth` components are the link, `target` is its text, and the rest follows.
    pub fn through_link(&self, depth: usize, target: &[u8]) -> Result<Path, Errno> {
        let dir = self.parts.get(..depth.saturating_sub(1)).unwrap_or_default();
        let mut path = Path { parts: dir.to_vec() }.join(target)?;
        path.parts.extend_from_slice(self.parts.get(depth..).unwrap_or_default());
        if path.text_len() > PATH_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(path) }
    }

    /// Its components.
    pub fn parts(&self) -> &[Vec<u8>] {
        &self.parts
    }

    /// The path with a slash before every component.
    pub fn text(&self) -> Vec<u8> {
        if self.parts.is_empty() {
            return b"/".to_vec();
        }
        let mut text = Vec::with_capacity(self.text_len());
        for part in &self.parts {
            text.push(b'/');
            text.extend_from_slice(part);
        }
        text
    }

    /// Bytes of the text that its first components take, with the slash behind them if there is more.
    pub fn prefix_len(&self, depth: usize) -> usize {
        let len = self.parts.iter().take(depth).fold(0, |sum, part| sum + part.len() + 1);
        if depth < self.parts.len() || len == 0 { len + 1 } else { len }
    }

    /// The rest, if it starts with another path.
    pub fn strip(&self, prefix: &Path) -> Option<&[Vec<u8>]> {
        self.parts.strip_prefix(prefix.parts.as_slice())
    }

    fn text_len(&self) -> usize {
        self.parts.iter().fold(0, |sum, part| sum + part.len() + 1)
    }
}

/// The text of a path from the root, without dots.
pub(crate) fn normal(text: &[u8]) -> Result<Vec<u8>, Errno> {
    Path::parse(text).map(|path| path.text())
}

/// An id for an object that is nothing but a name: FNV-1a, 64 bits, of its components.
pub(crate) fn name_id<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> FileId {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.iter().chain(b"/") {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    FileId { inode: hash, discriminator: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text.as_bytes()).unwrap()
    }

    fn text(path: &Path) -> String {
        String::from_utf8(path.text()).unwrap()
    }

    #[test]
    fn dots() {
        for (given, expected) in [
            ("", "/"),
            ("/", "/"),
            ("etc/TIMEZONE", "/etc/TIMEZONE"),
            ("//etc/./x/", "/etc/x"),
            ("../../etc/../bin/..", "/"),
            ("a/b/../../../c", "/c"),
        ] {
            assert_eq!(text(&path(given)), expected, "{given}");
        }
    }

    #[test]
    fn links() {
        let link = path("/a/link/rest");
        assert_eq!(text(&link.through_link(2, b"b").unwrap()), "/a/b/rest");
        assert_eq!(text(&link.through_link(2, b"../x/").unwrap()), "/x/rest");
        assert_eq!(text(&link.through_link(2, b"/etc").unwrap()), "/etc/rest");
        let long = vec![b'x'; 255];
        let long = [&long[..], &long, &long, &long].join(&b'/');
        assert_eq!(link.through_link(2, &long), Err(Errno::ENAMETOOLONG));
        assert_eq!(Path::parse(&[b'x'; 256]), Err(Errno::ENAMETOOLONG));
        assert_eq!(Path::parse(b"a\0b"), Err(Errno::EINVAL));
    }

    #[test]
    fn prefixes() {
        let path_of_node = path("/net/beta/etc");
        assert_eq!(path_of_node.prefix_len(2), "/net/beta/".len());
        assert_eq!(path("/net/beta").prefix_len(2), "/net/beta".len());
        assert_eq!((path("/").prefix_len(0), path("/a").prefix_len(0)), (1, 1));
        assert_eq!(path_of_node.strip(&path("/net")).unwrap().len(), 2);
        assert!(path_of_node.strip(&path("/ne")).is_none());
        assert_ne!(name_id([&b"a"[..], b"b"]), name_id([&b"ab"[..]]));
    }
}
