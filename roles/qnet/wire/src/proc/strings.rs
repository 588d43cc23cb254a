//! Strings one behind another, each with its NUL.

/// The strings of an argument list or an environment. All are terminated: checked when the message was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strings<'a> {
    bytes: &'a [u8],
}

impl<'a> Strings<'a> {
    /// The first `count` strings of `bytes`, and what follows them. `None` when there are fewer.
    pub fn split(bytes: &'a [u8], count: usize) -> Option<(Strings<'a>, &'a [u8])> {
        let mut rest = bytes;
        for _ in 0..count {
            let nul = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(nul + 1..)?;
        }
        let used = bytes.len() - rest.len();
        Some((Strings { bytes: bytes.get(..used)? }, rest))
    }

    /// Each string without its NUL.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.bytes.strip_suffix(&[0]);
        bytes.into_iter().flat_map(|bytes| bytes.split(|byte| *byte == 0))
    }

    /// The strings with their NULs.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted() {
        let (strings, rest) = Strings::split(b"ls\0\0-l\0rest", 3).unwrap();
        assert_eq!(strings.iter().collect::<Vec<_>>(), [&b"ls"[..], b"", b"-l"]);
        assert_eq!((strings.as_bytes(), rest), (&b"ls\0\0-l\0"[..], &b"rest"[..]));
        assert_eq!(Strings::split(b"ls\0x", 2), None);
        let (none, rest) = Strings::split(b"ls\0", 0).unwrap();
        assert_eq!((none.iter().count(), rest), (0, &b"ls\0"[..]));
    }
}
