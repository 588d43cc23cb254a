//! A set of numbers that finds the next one.

use core::iter;

/// Most levels of a set: 64^9 is more than twice the frames of any address space.
const LEVELS: usize = 9;

/// Numbers below a limit. A bit for each, above them a bit for each word that is not 0, above those one for each such word again,
/// up to a single word: to add, to take away and to find the next takes a step for each level.
pub struct NumberSet<'m> {
    words: &'m mut [u64],
    limit: u64,
}

impl<'m> NumberSet<'m> {
    /// Words that a set of numbers below `limit` takes.
    pub fn words(limit: u64) -> usize {
        levels(limit).map(|level| level.len).sum()
    }

    /// An empty set of numbers below `limit` in `words`.
    ///
    /// # Panics
    ///
    /// When those are fewer than [`NumberSet::words`].
    pub fn new(limit: u64, words: &'m mut [u64]) -> Self {
        assert!(words.len() >= Self::words(limit), "{} words are too few for {limit} numbers", words.len());
        words.fill(0);
        NumberSet { words, limit }
    }

    pub fn contains(&self, number: u64) -> bool {
        self.words[(number / 64) as usize] & bit(number) != 0
    }

    pub fn insert(&mut self, number: u64) {
        let mut at = number;
        for level in levels(self.limit) {
            let word = &mut self.words[level.start + (at / 64) as usize];
            let was = *word;
            *word |= bit(at);
            // The levels above know.
            if was != 0 {
                return;
            }
            at /= 64;
        }
    }

    pub fn remove(&mut self, number: u64) {
        let mut at = number;
        for level in levels(self.limit) {
            let word = &mut self.words[level.start + (at / 64) as usize];
            *word &= !bit(at);
            if *word != 0 {
                return;
            }
            at /= 64;
        }
    }

    /// The lowest number from `from` on.
    pub fn next(&self, from: u64) -> Option<u64> {
        if from >= self.limit {
            return None;
        }
        let (mut below, mut at) = ([0; LEVELS], from);
        for (height, level) in levels(self.limit).enumerate() {
            let word = self.words[level.start + (at / 64) as usize] & (!0 << (at % 64));
            if word != 0 {
                let found = at / 64 * 64 + u64::from(word.trailing_zeros());
                return Some(below[..height].iter().rev().fold(found, |at, start| {
                    at * 64 + u64::from(self.words[start + at as usize].trailing_zeros())
                }));
            }
            below[height] = level.start;
            at = at / 64 + 1;
            if at >= level.len as u64 {
                return None;
            }
        }
        None
    }
}

/// A level's words.
struct Level {
    start: usize,
    len: usize,
}

/// The levels of a set, the numbers themselves first.
fn levels(limit: u64) -> impl Iterator<Item = Level> {
    let bottom = Level { start: 0, len: words_of(limit) };
    iter::successors(Some(bottom), |below| {
        let len = words_of(below.len as u64);
        (below.len > 1).then_some(Level { start: below.start + below.len, len })
    })
}

fn words_of(bits: u64) -> usize {
    bits.div_ceil(64) as usize
}

fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_level_for_each_power_of_64() {
        for (limit, words) in [(0, 0), (1, 1), (64, 1), (65, 2 + 1), (4096, 64 + 1), (4097, 65 + 2 + 1)] {
            assert_eq!(NumberSet::words(limit), words, "{limit}");
        }
        assert_eq!(levels(2 << 52).count(), LEVELS);
        assert_eq!(NumberSet::new(0, &mut []).next(0), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_tree(
            limit in prop_oneof![1u64..200, 1u64..300_000],
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..200),
        ) {
            let mut words = vec![!0; NumberSet::words(limit)];
            let mut set = NumberSet::new(limit, &mut words);
            let mut model = BTreeSet::new();
            for (change, from) in changes {
                let number = change.index(limit as usize) as u64;
                if model.insert(number) {
                    set.insert(number);
                } else {
                    model.remove(&number);
                    set.remove(number);
                }
                prop_assert_eq!(set.contains(number), model.contains(&number));
                for from in [0, number, number + 1, from.index(limit as usize) as u64, limit, u64::MAX] {
                    prop_assert_eq!(set.next(from), model.range(from..).next().copied());
                }
            }
            while let Some(first) = model.pop_first() {
                prop_assert_eq!(set.next(0), Some(first));
                set.remove(first);
            }
            prop_assert_eq!(set.next(0), None);
        }
    }
}
