//! The last kibibytes of the log, for `dmesg` and for the panic report.

/// Bytes kept.
pub const CAPACITY: usize = 64 * 1024;

/// A byte ring that forgets its oldest bytes.
pub struct Ring {
    bytes: [u8; CAPACITY],
    /// Bytes ever written; the next one goes to `written % CAPACITY`.
    written: u64,
}

impl Ring {
    /// An empty ring.
    pub const fn new() -> Ring {
        Ring { bytes: [0; CAPACITY], written: 0 }
    }

    /// Appends.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(CAPACITY)..];
        let at = (self.written % CAPACITY as u64) as usize;
        let head = bytes.len().min(CAPACITY - at);
        self.bytes[at..at + head].copy_from_slice(&bytes[..head]);
        self.bytes[..bytes.len() - head].copy_from_slice(&bytes[head..]);
        self.written += bytes.len() as u64;
    }

    /// Addresses of the bytes and of the count of bytes ever written, for who reads them after the machine stopped.
    pub fn place(&self) -> (usize, usize) {
        (&raw const self.bytes as usize, &raw const self.written as usize)
    }

    /// Everything kept, oldest first, as two pieces.
    pub fn contents(&self) -> (&[u8], &[u8]) {
        let at = (self.written % CAPACITY as u64) as usize;
        if self.written < CAPACITY as u64 {
            (&self.bytes[..at], &[])
        } else {
            (&self.bytes[at..], &self.bytes[..at])
        }
    }

    /// Copies bytes from `position` (counted since the first byte ever) into `buffer`; returns how many, and
    /// the position behind them. What is no longer kept is skipped.
    pub fn copy_from(&self, position: u64, buffer: &mut [u8]) -> (usize, u64) {
        let (first, second) = self.contents();
        let oldest = self.written - (first.len() + second.len()) as u64;
        let position = position.clamp(oldest, self.written);
        let skip = (position - oldest) as usize;
        let kept = first.iter().chain(second).skip(skip);
        let count = buffer.iter_mut().zip(kept).map(|(to, from)| *to = *from).count();
        (count, position + count as u64)
    }

    /// The last `lines` complete lines (fewer when there are fewer), as two pieces.
    pub fn last_lines(&self, lines: usize) -> (&[u8], &[u8]) {
        let (first, second) = self.contents();
        let mut seen = 0;
        for (back, byte) in second.iter().rev().chain(first.iter().rev()).enumerate() {
            if *byte == b'\n' {
                if seen == lines {
                    return tail(first, second, back);
                }
                seen += 1;
            }
        }
        (first, second)
    }
}

impl Default for Ring {
    fn default() -> Ring {
        Ring::new()
    }
}

/// The last `len` bytes of `first ++ second`.
fn tail<'a>(first: &'a [u8], second: &'a [u8], len: usize) -> (&'a [u8], &'a [u8]) {
    match len.checked_sub(second.len()) {
        Some(from_first) => (&first[first.len() - from_first..], second),
        None => (&[], &second[second.len() - len..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined((a, b): (&[u8], &[u8])) -> String {
        String::from_utf8([a, b].concat()).unwrap()
    }

    #[test]
    fn keeps_the_end() {
        let mut ring = Box::new(Ring::new());
        for n in 0..20_000 {
            ring.push(format!("{n}\n").as_bytes());
        }
        let all = joined(ring.contents());
        assert_eq!(all.len(), CAPACITY);
        assert!(all.ends_with("19998\n19999\n"));
        assert_eq!(joined(ring.last_lines(2)), "19998\n19999\n");
        ring.push(&vec![b'x'; CAPACITY + 5]);
        assert_eq!(joined(ring.contents()), "x".repeat(CAPACITY));
    }

    #[test]
    fn short_contents_are_whole() {
        let mut ring = Box::new(Ring::new());
        ring.push(b"a\nb\n");
        assert_eq!(joined(ring.last_lines(64)), "a\nb\n");
        assert_eq!(joined(ring.last_lines(1)), "b\n");
        assert_eq!(joined(ring.last_lines(0)), "");
    }
}
