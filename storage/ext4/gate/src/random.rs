//! Numbers from a seed: the same seed gives the same run. Or from bytes that somebody else chose, such as a fuzzer.

use std::collections::VecDeque;

/// A generator.
#[derive(Clone, Debug)]
pub struct Random(Source);

#[derive(Clone, Debug)]
enum Source {
    /// splitmix64.
    Seed(u64),
    /// What was chosen, and zeros behind it.
    Chosen(VecDeque<u8>),
}

impl Random {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Random {
        Random(Source::Seed(seed))
    }

    /// Every choice takes bytes from the front of these: as few as it needs, so that a byte means little besides.
    pub fn chosen(bytes: &[u8]) -> Random {
        Random(Source::Chosen(bytes.iter().copied().collect()))
    }

    /// True when all that was chosen was taken.
    pub fn is_spent(&self) -> bool {
        matches!(&self.0, Source::Chosen(bytes) if bytes.is_empty())
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        let state = match &mut self.0 {
            Source::Chosen(bytes) => return take(bytes, 8),
            Source::Seed(state) => state,
        };
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 when that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        let number = match (&mut self.0, limit) {
            (Source::Chosen(_), 0 | 1) => 0,
            (Source::Chosen(bytes), 2..=0x100) => take(bytes, 1),
            (Source::Chosen(bytes), 0x101..=0x1_0000) => take(bytes, 2),
            _ => self.number(),
        };
        number % limit.max(1)
    }

    /// An index into something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True once in `among` times.
    pub fn once_in(&mut self, among: u64) -> bool {
        self.below(among) == 0
    }

    /// One of these.
    ///
    /// # Panics
    ///
    /// Without any.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// Bytes that a seed determines.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.number().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// The next bytes as a number, the first one lowest.
fn take(bytes: &mut VecDeque<u8>, count: usize) -> u64 {
    (0..count).fold(0, |number, at| number | u64::from(bytes.pop_front().unwrap_or_default()) << (8 * at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_bytes_decide_and_end_in_zeros() {
        let mut random = Random::chosen(&[200, 1, 2, 9]);
        assert_eq!((random.below(1), random.below(100), random.below(1000)), (0, 0, 513));
        assert!(!random.is_spent() && !random.once_in(2));
        assert!(random.is_spent());
        assert_eq!((random.number(), random.below(70_000), random.index(5)), (0, 0, 0));
        assert!(!Random::new(0).is_spent());
    }
}
