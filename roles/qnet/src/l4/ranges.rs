//! Which bytes of a message have arrived.

use alloc::vec::Vec;
use core::ops::Range;

/// Disjoint ranges in ascending order, none adjacent to another.
#[derive(Default, Debug)]
pub struct Ranges(Vec<Range<u32>>);

/// Most ranges in one message: 128 KiB in frames of 1456 bytes with every second one missing are 46.
const MAX: usize = 64;

impl Ranges {
    /// Whether the bytes up to `end` are all there, and none behind.
    pub fn is_whole(&self, end: u32) -> bool {
        match self.0.as_slice() {
            [only] => *only == (0..end),
            [] => end == 0,
            _ => false,
        }
    }

    /// Behind the last byte that arrived.
    pub fn end(&self) -> u32 {
        self.0.last().map_or(0, |last| last.end)
    }

    /// Adds `new` and tells `fill` each part of it that was not there before. False, and nothing done, when there
    /// would be too many ranges.
    pub fn add(&mut self, new: Range<u32>, mut fill: impl FnMut(Range<u32>)) -> bool {
        if new.is_empty() {
            return true;
        }
        // Those that touch `new` become one with it.
        let first = self.0.partition_point(|range| range.end < new.start);
        let behind = self.0.partition_point(|range| range.start <= new.end);
        if first == behind && self.0.len() >= MAX {
            return false;
        }
        let mut at = new.start;
        let mut merged = new.clone();
        for range in self.0.get(first..behind).unwrap_or_default() {
            if at < range.start {
                fill(at..range.start.min(new.end));
            }
            at = at.max(range.end);
            merged = merged.start.min(range.start)..merged.end.max(range.end);
        }
        if at < new.end {
            fill(at..new.end);
        }
        self.0.splice(first..behind, [merged]);
        true
    }

    /// What is missing before `end`.
    pub fn holes(&self, end: u32) -> impl Iterator<Item = Range<u32>> {
        let starts = core::iter::once(0).chain(self.0.iter().map(|range| range.end));
        let ends = self.0.iter().map(|range| range.start).chain(core::iter::once(end));
        starts.zip(ends).map(|(start, end)| start..end).filter(|hole| !hole.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn merging() {
        let mut ranges = Ranges::default();
        let mut filled = Vec::new();
        for new in [10..20, 30..40, 15..35, 0..5] {
            assert!(ranges.add(new, |part| filled.push(part)));
        }
        assert_eq!(filled, [10..20, 30..40, 20..30, 0..5]);
        assert_eq!(ranges.0, [0..5, 10..40]);
        assert_eq!(ranges.holes(50).collect::<Vec<_>>(), [5..10, 40..50]);
        assert!(!ranges.is_whole(40) && ranges.add(5..10, |_| {}) && ranges.is_whole(40));
        assert!(Ranges::default().is_whole(0) && !Ranges::default().is_whole(1));
    }

    #[test]
    fn bounded() {
        let mut ranges = Ranges::default();
        let accepted = (0..200).filter(|n| ranges.add(n * 2..n * 2 + 1, |_| {})).count();
        assert_eq!(accepted, MAX);
        assert!(ranges.add(1..2, |_| {}), "merging is always possible");
    }

    proptest! {
        /// Against a byte map: every byte is filled once, holes are what is not there.
        #[test]
        fn as_a_map(parts in proptest::collection::vec((0u32..200, 0u32..40), 0..40)) {
            let mut ranges = Ranges::default();
            let mut map = [false; 256];
            for (start, len) in parts {
                let new = start..start + len;
                let added = ranges.add(new.clone(), |part| {
                    assert!(new.start <= part.start && part.end <= new.end && !part.is_empty());
                    for byte in part {
                        assert!(!std::mem::replace(&mut map[byte as usize], true));
                    }
                });
                prop_assert!(added);
                prop_assert!(map[new.start as usize..new.end as usize].iter().all(|there| *there));
            }
            let end = ranges.end().max(1);
            let mut missing: Vec<u32> = ranges.holes(end).flatten().collect();
            missing.sort();
            let expected: Vec<u32> = (0..end).filter(|byte| !map[*byte as usize]).collect();
            prop_assert_eq!(missing, expected);
            prop_assert!(ranges.0.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
