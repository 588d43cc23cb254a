//! The end of the log, for `dmesg`, for tools and for the panic report.

/// Bytes kept from the start on, and least that are.
pub const LEAST: usize = 64 * 1024;

/// A byte ring that forgets its oldest bytes.
pub struct Ring {
    first: [u8; LEAST],
    /// In place of `first` once more is to be kept.
    larger: Option<&'static mut [u8]>,
    /// Bytes ever written; the next one goes to `written % capacity`.
    written: u64,
    /// Ends of lines among them.
    lines: u64,
}

impl Ring {
    /// An empty ring.
    pub const fn new() -> Ring {
        Ring { first: [0; LEAST], larger: None, written: 0, lines: 0 }
    }

    /// Bytes kept.
    pub fn capacity(&self) -> usize {
        self.bytes().len()
    }

    /// Keeps as much as `room` holds from now on, and what is there moves. Returns the room where that would be less.
    pub fn enlarge(&mut self, room: &'static mut [u8]) -> Result<(), &'static mut [u8]> {
        if room.len() < self.capacity() {
            return Err(room);
        }
        let (older, newer) = self.contents();
        // Where they are is a matter of their positions.
        let capacity = room.len() as u64;
        let first = self.written - (older.len() + newer.len()) as u64;
        for (position, byte) in (first..).zip(older.iter().chain(newer)) {
            room[(position % capacity) as usize] = *byte;
        }
        self.larger = Some(room);
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.larger.as_deref().unwrap_or(&self.first)
    }

    /// Appends.
    pub fn push(&mut self, bytes: &[u8]) {
        self.lines += ends(bytes);
        let ring = self.larger.as_deref_mut().unwrap_or(&mut self.first);
        let lost = bytes.len().saturating_sub(ring.len());
        self.written += lost as u64;
        let bytes = &bytes[lost..];
        let at = (self.written % ring.len() as u64) as usize;
        let head = bytes.len().min(ring.len() - at);
        ring[at..at + head].copy_from_slice(&bytes[..head]);
        ring[..bytes.len() - head].copy_from_slice(&bytes[head..]);
        self.written += bytes.len() as u64;
    }

    /// Where the ring is, for who reads it after the machine stopped.
    pub fn place(&self) -> Place {
        let bytes = self.bytes();
        Place { bytes: bytes.as_ptr() as usize, len: bytes.len(), position: &raw const self.written as usize }
    }

    /// Everything kept, oldest first, as two pieces.
    pub fn contents(&self) -> (&[u8], &[u8]) {
        let bytes = self.bytes();
        let (before, from) = bytes.split_at((self.written % bytes.len() as u64) as usize);
        if self.written < bytes.len() as u64 { (before, &[]) } else { (from, before) }
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

    /// Lines that ended before `position`; of a position that is no longer kept, before the oldest that is.
    pub fn lines_before(&self, position: u64) -> u64 {
        let (first, second) = self.contents();
        let oldest = self.written - (first.len() + second.len()) as u64;
        let skip = (position.clamp(oldest, self.written) - oldest) as usize;
        let behind = match first.get(skip..) {
            Some(rest) => ends(rest) + ends(second),
            None => ends(&second[skip - first.len()..]),
        };
        self.lines - behind
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

fn ends(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Addresses of a ring's parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Of the bytes.
    pub bytes: usize,
    /// How many those are.
    pub len: usize,
    /// Of the count of bytes ever written.
    pub position: usize,
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
        assert_eq!(all.len(), LEAST);
        assert!(all.ends_with("19998\n19999\n"));
        assert_eq!(joined(ring.last_lines(2)), "19998\n19999\n");
        ring.push(&vec![b'x'; LEAST + 5]);
        assert_eq!(joined(ring.contents()), "x".repeat(LEAST));
    }

    #[test]
    fn lines_are_counted_also_when_they_are_gone() {
        let mut ring = Box::new(Ring::new());
        (0..20_000).for_each(|n| ring.push(format!("{n:07}\n").as_bytes()));
        assert_eq!((ring.lines_before(u64::MAX), ring.lines_before(20_000 * 8 - 1)), (20_000, 19_999));
        // Both pieces of what is kept, and what is not.
        for kept in [1, 1000, 4000, 8000] {
            assert_eq!(ring.lines_before((20_000 - kept) * 8), 20_000 - kept);
        }
        assert_eq!(ring.lines_before(0), 20_000 - LEAST as u64 / 8);
    }

    #[test]
    fn short_contents_are_whole() {
        let mut ring = Box::new(Ring::new());
        ring.push(b"a\nb\n");
        assert_eq!(joined(ring.last_lines(64)), "a\nb\n");
        assert_eq!(joined(ring.last_lines(1)), "b\n");
        assert_eq!(joined(ring.last_lines(0)), "");
    }

    #[test]
    fn a_larger_ring_has_what_the_smaller_one_had() {
        let leak = |len| Box::leak(vec![0; len].into_boxed_slice());
        // Less than full, and gone around.
        for lines in [10, 20_000] {
            let mut ring = Box::new(Ring::new());
            (0..lines).for_each(|n| ring.push(format!("{n}\n").as_bytes()));
            let (before, end) = (joined(ring.contents()), ring.copy_from(u64::MAX, &mut []).1);
            assert!(ring.enlarge(leak(LEAST - 1)).is_err());
            assert_eq!(joined(ring.contents()), before);
            // A size that divides nothing.
            ring.enlarge(leak(100_003)).unwrap();
            assert_eq!((ring.capacity(), ring.place().len), (100_003, 100_003));
            // Positions are those of before.
            let mut start = vec![0; before.len()];
            assert_eq!(ring.copy_from(end - before.len() as u64, &mut start), (before.len(), end));
            assert_eq!(String::from_utf8(start).unwrap(), before);
            (0..20_000).for_each(|n| ring.push(format!("later {n}\n").as_bytes()));
            let all = joined(ring.contents());
            assert!(all.len() == 100_003 && all.ends_with("later 19998\nlater 19999\n"));
        }
    }
}
