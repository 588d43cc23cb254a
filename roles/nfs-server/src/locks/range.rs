//! What is locked and how: byte ranges, kinds, and one owner's request.

use super::OwnerId;
use keelson_volume::FileId;

/// First and last byte, both inclusive. `last` of `u64::MAX`: to the end of the file, however far it grows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, not below `first`.
    pub last: u64,
}

impl ByteRange {
    /// Every byte of a file.
    pub const ALL: ByteRange = ByteRange { first: 0, last: u64::MAX };

    /// `length` bytes from `offset`; length 0 is to the end. `None` when `offset + length` is above
    /// `u64::MAX` (NLM4_FBIG). So each range has one offset and length, and a callback repeats those of the
    /// request.
    pub fn new(offset: u64, length: u64) -> Option<ByteRange> {
        let last = match length {
            0 => u64::MAX,
            length => offset.checked_add(length)? - 1,
        };
        Some(ByteRange { first: offset, last })
    }

    /// Bytes; 0 means to the end.
    pub fn length(&self) -> u64 {
        match self.last {
            u64::MAX => 0,
            last => last.saturating_sub(self.first) + 1,
        }
    }

    /// Some byte is in both.
    pub fn overlaps(&self, other: ByteRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Every byte of the other is in this one.
    pub(super) fn covers(&self, other: ByteRange) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Made by hand, the wrong way round.
    pub(super) fn is_empty(&self) -> bool {
        self.first > self.last
    }
}

/// Read lock or write lock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Any number of owners may have one.
    Shared,
    /// One owner has it and nobody else has any.
    Exclusive,
}

impl Kind {
    /// Two owners cannot have these on the same byte.
    pub fn conflicts(self, other: Kind) -> bool {
        self == Kind::Exclusive || other == Kind::Exclusive
    }

    /// The kinds that another owner must not have.
    pub(super) fn opposing(self) -> &'static [Kind] {
        match self {
            Kind::Shared => &[Kind::Exclusive],
            Kind::Exclusive => &[Kind::Exclusive, Kind::Shared],
        }
    }
}

/// Whether a request that cannot be granted is queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// It is denied.
    No,
    /// It waits for its turn.
    Yes,
}

/// What an owner asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub file: FileId,
    pub owner: OwnerId,
    pub kind: Kind,
    pub range: ByteRange,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_and_length_make_one_range_each() {
        assert_eq!(ByteRange::new(10, 5), Some(ByteRange { first: 10, last: 14 }));
        assert_eq!(ByteRange::new(10, 0), Some(ByteRange { first: 10, last: u64::MAX }));
        assert_eq!(ByteRange::new(0, u64::MAX), Some(ByteRange { first: 0, last: u64::MAX - 1 }));
        assert_eq!(ByteRange::new(u64::MAX, 0), Some(ByteRange { first: u64::MAX, last: u64::MAX }));
        assert_eq!(
            ByteRange::new(u64::MAX - 1, 1),
            Some(ByteRange { first: u64::MAX - 1, last: u64::MAX - 1 })
        );
        assert_eq!(ByteRange::new(1, u64::MAX), None);
        assert_eq!(ByteRange::new(u64::MAX, 1), None);
        for (offset, length) in
            [(0, 0), (0, 1), (7, 0), (7, 9), (u64::MAX, 0), (0, u64::MAX), (1, u64::MAX - 1)]
        {
            let range = ByteRange::new(offset, length).expect("in range");
            assert_eq!((range.first, range.length()), (offset, length));
        }
    }

    #[test]
    fn ranges_overlap_when_a_byte_is_in_both() {
        let range = |first, last| ByteRange { first, last };
        assert!(range(0, 9).overlaps(range(9, 9)));
        assert!(range(9, u64::MAX).overlaps(range(0, 9)));
        assert!(range(3, 4).overlaps(ByteRange::ALL));
        assert!(!range(0, 9).overlaps(range(10, 19)));
        assert!(!range(10, 19).overlaps(range(0, 9)));
    }
}
