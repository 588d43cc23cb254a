//! Finds the ranges of a file that overlap a given one.
//!
//! Locks of several owners overlap each other, so ordering them by offset does not tell where to stop looking.
//! They are ordered by file, kind, *class* and offset, where a class holds the ranges of one power of two of
//! bytes: what overlaps a range starts inside it or at most one such length before. A question costs one seek
//! for each class in use and what it finds.

use super::range::{ByteRange, Kind};
use alloc::collections::BTreeMap;
use core::iter;
use keelson_volume::FileId;

/// What ranges are marked with: who holds or who waits.
pub(super) trait Tag: Copy + Ord {
    /// Not above any other.
    const LEAST: Self;
}

type Key<T> = (FileId, Kind, u8, u64, T);

/// Ranges of all files, each with a tag.
#[derive(Debug)]
pub(super) struct Overlaps<T>(BTreeMap<Key<T>, u64>);

impl<T: Tag> Overlaps<T> {
    pub fn new() -> Overlaps<T> {
        Overlaps(BTreeMap::new())
    }

    pub fn insert(&mut self, file: FileId, kind: Kind, range: ByteRange, tag: T) {
        self.0.insert((file, kind, class(range), range.first, tag), range.last);
    }

    pub fn remove(&mut self, file: FileId, kind: Kind, range: ByteRange, tag: T) {
        self.0.remove(&(file, kind, class(range), range.first, tag));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What overlaps, in no useful order.
    pub fn overlapping(
        &self,
        file: FileId,
        kind: Kind,
        range: ByteRange,
    ) -> impl Iterator<Item = (ByteRange, T)> + '_ {
        let next_class = move |from: u8| {
            #[cfg(test)]
            super::cost::count();
            let (key, _) = self.0.range((file, kind, from, 0, T::LEAST)..).next()?;
            (key.0 == file && key.1 == kind).then_some(key.2)
        };
        iter::successors(next_class(0), move |class| next_class(class + 1)).flat_map(move |class| {
            let longest = u64::MAX.checked_shr(64 - u32::from(class)).unwrap_or(0);
            let from = range.first.saturating_sub(longest);
            self.0
                .range((file, kind, class, from, T::LEAST)..)
                .take_while(move |(key, _)| {
                    (key.0, key.1, key.2) == (file, kind, class) && key.3 <= range.last
                })
                .map(|(key, last)| (ByteRange { first: key.3, last: *last }, key.4))
                .inspect(|_| {
                    #[cfg(test)]
                    super::cost::count();
                })
                .filter(move |(found, _)| found.last >= range.first)
        })
    }

    /// All of a file.
    pub fn of_file(&self, file: FileId) -> impl Iterator<Item = (Kind, ByteRange, T)> + '_ {
        self.0
            .range((file, Kind::Shared, 0, 0, T::LEAST)..)
            .take_while(move |(key, _)| key.0 == file)
            .map(|(key, last)| (key.1, ByteRange { first: key.3, last: *last }, key.4))
    }

    /// All of them, file by file.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, Kind, ByteRange, T)> + '_ {
        self.0.iter().map(|(key, last)| (key.0, key.1, ByteRange { first: key.3, last: *last }, key.4))
    }
}

/// Bits of the distance from first to last byte, 0 to 64: below 2^class.
fn class(range: ByteRange) -> u8 {
    (64 - range.last.saturating_sub(range.first).leading_zeros()) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    impl Tag for u8 {
        const LEAST: u8 = 0;
    }

    const FILE: FileId = FileId { inode: 5, discriminator: 5 };

    fn edge() -> impl Strategy<Value = u64> {
        prop_oneof![0..40u64, (u64::MAX - 40)..=u64::MAX, any::<u64>(), (0..64u32).prop_map(|bit| 1 << bit)]
    }

    fn range() -> impl Strategy<Value = ByteRange> {
        (edge(), edge()).prop_map(|(a, b)| ByteRange { first: a.min(b), last: a.max(b) })
    }

    proptest! {
        #[test]
        fn finds_exactly_what_overlaps(ranges in proptest::collection::vec(range(), 0..40), asked in range()) {
            let mut overlaps = Overlaps::new();
            for (tag, range) in ranges.iter().enumerate() {
                overlaps.insert(FILE, Kind::Shared, *range, tag as u8);
                // Neighbours in the order that must not be found.
                overlaps.insert(FILE, Kind::Exclusive, *range, tag as u8);
                let (below, above) = (FileId { inode: 4, ..FILE }, FileId { discriminator: 6, ..FILE });
                overlaps.insert(below, Kind::Shared, *range, tag as u8);
                overlaps.insert(above, Kind::Shared, *range, tag as u8);
            }
            let mut found: Vec<_> = overlaps.overlapping(FILE, Kind::Shared, asked).collect();
            found.sort_by_key(|(_, tag)| *tag);
            let expected: Vec<_> = ranges.iter().copied().zip(0..).filter(|(range, _)| range.overlaps(asked)).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(overlaps.of_file(FILE).count(), 2 * ranges.len());
            for (tag, range) in ranges.iter().enumerate() {
                overlaps.remove(FILE, Kind::Shared, *range, tag as u8);
            }
            prop_assert_eq!(overlaps.overlapping(FILE, Kind::Shared, ByteRange::ALL).count(), 0);
            prop_assert_eq!(overlaps.len(), 3 * ranges.len());
        }
    }
}
