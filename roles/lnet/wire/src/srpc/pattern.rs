//! Test data of bulk tests (LNet specification section 7.6).

use core::fmt;

/// What good data consist of.
pub const PATTERN: u64 = 0xeeb0_eeb1_eeb2_eeb3;
/// What a buffer is filled with before data arrive in it.
pub const POISON: u64 = 0xbeef_beef_beef_beef;
/// Length of the fragments in which data lie at the filling node.
const PAGE: usize = 4096;

/// How much of the data is filled in and looked at. Number 4, discard, is left out: nodes that do not know it
/// may crash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Check {
    /// Nothing.
    None,
    /// The first and last 8 bytes of every page.
    Simple,
    /// Every 8 bytes.
    Full,
}

impl Check {
    /// The check with this number.
    pub const fn from_wire(number: u32) -> Option<Check> {
        match number {
            1 => Some(Check::None),
            2 => Some(Check::Simple),
            3 => Some(Check::Full),
            _ => None,
        }
    }

    /// The number of the check.
    pub const fn to_wire(self) -> u32 {
        match self {
            Check::None => 1,
            Check::Simple => 2,
            Check::Full => 3,
        }
    }

    /// Whether the word `at` a place in a page of `len` bytes is looked at.
    const fn covers(self, at: usize, len: usize) -> bool {
        match self {
            Check::None => false,
            Check::Simple => at == 0 || at + 8 >= len,
            Check::Full => true,
        }
    }
}

/// Data that are not those that were sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupted {
    /// Where, in bytes.
    pub offset: usize,
    /// What is there, in our byte order.
    pub found: u64,
    /// What was expected.
    pub expected: u64,
}

impl fmt::Display for Corrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Corrupted { offset, found, expected } = self;
        write!(f, "test data at byte {offset} are {found:#018x} and not {expected:#018x}")
    }
}

impl core::error::Error for Corrupted {}

/// Writes `word` wherever `check` looks. `data` start at a page; their length is a multiple of 8.
pub fn fill(data: &mut [u8], check: Check, word: u64) {
    for page in data.chunks_mut(PAGE) {
        let len = page.len();
        let words = page.chunks_exact_mut(8).enumerate();
        words
            .filter(|(index, _)| check.covers(index * 8, len))
            .for_each(|(_, place)| place.copy_from_slice(&word.to_le_bytes()));
    }
}

/// Looks for `word` wherever `check` says, in data of a node whose request came `swapped` or not.
pub fn verify(data: &[u8], check: Check, word: u64, swapped: bool) -> Result<(), Corrupted> {
    for (number, page) in data.chunks(PAGE).enumerate() {
        for (index, bytes) in page.as_chunks::<8>().0.iter().enumerate() {
            let found = if swapped { u64::from_be_bytes(*bytes) } else { u64::from_le_bytes(*bytes) };
            if check.covers(index * 8, page.len()) && found != word {
                return Err(Corrupted { offset: number * PAGE + index * 8, found, expected: word });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where words were written.
    fn filled(len: usize, check: Check) -> Vec<usize> {
        let mut data = vec![0; len];
        fill(&mut data, check, PATTERN);
        assert_eq!(verify(&data, check, PATTERN, false), Ok(()));
        let words = data.chunks(8).enumerate();
        words.filter(|(_, word)| *word != [0; 8]).map(|(index, _)| index * 8).collect()
    }

    #[test]
    fn places() {
        assert_eq!(filled(8192, Check::None), []);
        assert_eq!(filled(8192, Check::Simple), [0, 4088, 4096, 8184]);
        assert_eq!(filled(4096 + 24, Check::Simple), [0, 4088, 4096, 4112]);
        assert_eq!(filled(8, Check::Simple), [0]);
        assert_eq!(filled(4096, Check::Full).len(), 512);
        assert_eq!(filled(0, Check::Full), []);
    }

    #[test]
    fn what_is_wrong_is_found() {
        let mut data = vec![0; 8192];
        fill(&mut data, Check::Full, PATTERN);
        data[4104] = 0;
        let found = PATTERN & !0xff;
        let wrong = Corrupted { offset: 4104, found, expected: PATTERN };
        assert_eq!(verify(&data, Check::Full, PATTERN, false), Err(wrong));
        assert_eq!(verify(&data, Check::Simple, PATTERN, false), Ok(()));
        assert_eq!(verify(&[0; 16], Check::None, PATTERN, false), Ok(()));
    }

    #[test]
    fn data_of_a_node_with_the_other_byte_order() {
        let data = PATTERN.to_be_bytes();
        assert_eq!(verify(&data, Check::Full, PATTERN, true), Ok(()));
        assert!(verify(&data, Check::Full, PATTERN, false).is_err());
    }
}
