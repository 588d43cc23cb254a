//! Locks of byte ranges of one file (fcntl(2), "Advisory record locking"): who has which. Who waits for them is another matter.

use crate::Errno;
use alloc::collections::BTreeMap;
use core::ops::Bound;

/// Locks that a file can have: programs decide how many there are, and each lookup may have to pass all of them.
pub const MOST: usize = 1 << 16;

/// Who has a lock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Owner {
    /// A process, by its number.
    Process(u32),
    /// An open description, by its address.
    Description(usize),
}

/// What a lock keeps others from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Locks to write.
    Read,
    /// All others.
    Write,
}

/// Bytes of a file, the last one included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// The first byte.
    pub first: u64,
    /// The last byte, at most [`Range::ALL`]'s.
    pub last: u64,
}

impl Range {
    /// Every byte that a file can have.
    pub const ALL: Range = Range { first: 0, last: i64::MAX as u64 };

    fn overlaps(&self, other: Range) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// With the bytes beside it.
    fn wider(&self) -> Range {
        Range { first: self.first.saturating_sub(1), last: self.last.saturating_add(1) }
    }

    fn joined(&self, other: Range) -> Range {
        Range { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

/// A lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Whose it is.
    pub owner: Owner,
    /// What is locked.
    pub range: Range,
    /// Against what.
    pub kind: Kind,
}

/// The locks of a file.
///
/// Those of one owner never overlap, and those of a kind do not even touch: they are one then.
#[derive(Default)]
pub struct Ranges {
    /// Last byte and kind, by owner and first byte.
    locks: BTreeMap<(Owner, u64), (u64, Kind)>,
}

impl Ranges {
    /// A lock of somebody else that keeps `owner` from one like this.
    pub fn conflict(&self, owner: Owner, range: Range, kind: Kind) -> Option<Held> {
        let mut from = Bound::Unbounded;
        loop {
            let (&(other, _), _) = self.locks.range((from, Bound::Unbounded)).next()?;
            let excludes = |held: &Held| kind == Kind::Write || held.kind == Kind::Write;
            if other != owner
                && let Some(found) = self.overlapping(other, range).find(excludes)
            {
                return Some(found);
            }
            from = Bound::Excluded((other, u64::MAX));
        }
    }

    /// Gives `owner` a lock that conflicts with nobody's, or takes away what it has there (`None`). True when others may get now
    /// what they did not get before.
    ///
    /// # Errors
    ///
    /// ENOLCK, and nothing is changed: there would be more locks than before, and there are too many or the kernel is `short` of
    /// memory.
    pub fn set(
        &mut self,
        owner: Owner,
        range: Range,
        kind: Option<Kind>,
        short: bool,
    ) -> Result<bool, Errno> {
        let (mut whole, mut gone, mut frees) = (range, 0, false);
        // What is left of its locks in front and behind: one each at most, as they do not overlap.
        let (mut before, mut behind) = (None, None);
        for held in self.overlapping(owner, range.wider()) {
            if kind == Some(held.kind) {
                whole = whole.joined(held.range);
            } else if held.range.overlaps(range) {
                frees = true;
                if held.range.first < range.first {
                    before = Some((held.range.first, (range.first - 1, held.kind)));
                }
                if held.range.last > range.last {
                    behind = Some((range.last + 1, (held.range.last, held.kind)));
                }
            } else {
                continue;
            }
            gone += 1;
        }
        let new = kind.map(|kind| (whole.first, (whole.last, kind)));
        let made = [before, new, behind].into_iter().flatten();
        let left = self.locks.len() + made.clone().count() - gone;
        if left > self.locks.len() && (short || left > MOST) {
            return Err(Errno::ENOLCK);
        }
        // One after the other: giving back needs no memory.
        while let Some(held) = self.first(owner, whole) {
            self.locks.remove(&(owner, held.range.first));
        }
        self.locks.extend(made.map(|(first, lock)| ((owner, first), lock)));
        Ok(frees)
    }

    /// Takes away all that `owner` has. True when there was something.
    pub fn release(&mut self, owner: Owner) -> bool {
        let mut any = false;
        while let Some(held) = self.first(owner, Range::ALL) {
            self.locks.remove(&(owner, held.range.first));
            any = true;
        }
        any
    }

    /// Whether `owner` has one of this kind that begins with the file.
    pub fn has(&self, owner: Owner, kind: Kind) -> bool {
        self.locks.get(&(owner, 0)).is_some_and(|(_, held)| *held == kind)
    }

    fn first(&self, owner: Owner, range: Range) -> Option<Held> {
        self.overlapping(owner, range).next()
    }

    /// What `owner` has in a range, in order.
    fn overlapping(&self, owner: Owner, range: Range) -> impl Iterator<Item = Held> {
        let upto = self.locks.range((owner, 0)..=(owner, range.first)).next_back();
        let reaches = upto.filter(|(_, (last, _))| *last >= range.first);
        let first = reaches.map_or(range.first, |((_, first), _)| *first);
        let found = self.locks.range((owner, first)..=(owner, range.last));
        found.map(|(&(owner, first), &(last, kind))| Held { owner, range: Range { first, last }, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWNERS: [Owner; 3] = [Owner::Process(1), Owner::Process(2), Owner::Description(1)];
    const BYTES: usize = 12;

    fn range(first: u64, last: u64) -> Range {
        Range { first, last }
    }

    fn set(ranges: &mut Ranges, first: u64, last: u64, kind: Option<Kind>) -> bool {
        ranges.set(OWNERS[0], range(first, last), kind, false).unwrap()
    }

    #[test]
    fn own_locks_are_joined_and_split() {
        let mut ranges = Ranges::default();
        let others = |ranges: &Ranges| {
            let held = ranges.overlapping(OWNERS[0], Range::ALL);
            held.map(|held| (held.range.first, held.range.last, held.kind)).collect::<Vec<_>>()
        };
        assert!(!set(&mut ranges, 10, 19, Some(Kind::Read)));
        assert!(!set(&mut ranges, 20, Range::ALL.last, Some(Kind::Read)));
        assert_eq!(others(&ranges), [(10, Range::ALL.last, Kind::Read)]);
        assert!(set(&mut ranges, 30, 39, Some(Kind::Write)));
        assert!(set(&mut ranges, 35, 50, None));
        let split = [(10, 29, Kind::Read), (30, 34, Kind::Write), (51, Range::ALL.last, Kind::Read)];
        assert_eq!(others(&ranges), split);
        assert!(set(&mut ranges, 0, Range::ALL.last, Some(Kind::Write)));
        assert_eq!(others(&ranges), [(0, Range::ALL.last, Kind::Write)]);
        assert!(!set(&mut ranges, 5, 6, Some(Kind::Write)));
        assert!(ranges.release(OWNERS[0]));
        assert!(!ranges.release(OWNERS[0]));
        assert!(others(&ranges).is_empty());
    }

    #[test]
    fn only_what_makes_more_of_them_is_refused() {
        let mut ranges = Ranges::default();
        for number in 0..MOST as u64 {
            set(&mut ranges, number * 4, number * 4 + 2, Some(Kind::Read));
        }
        let mut refused = |first, last, kind, short| {
            ranges.set(OWNERS[0], range(first, last), kind, short) == Err(Errno::ENOLCK)
        };
        assert!(refused(1, 1, None, false));
        assert!(refused(1, 1, Some(Kind::Write), false));
        assert!(refused(1 << 40, 1 << 41, Some(Kind::Read), false));
        assert!(!refused(0, 3, Some(Kind::Read), true), "two are one");
        assert!(refused(1 << 40, 1 << 41, Some(Kind::Read), true));
        assert!(!refused(1 << 40, 1 << 41, Some(Kind::Read), false));
        assert!(!refused(1 << 40, 1 << 41, None, true));
        assert!(!refused(0, Range::ALL.last, None, true));
        assert!(ranges.locks.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// As if each byte had its own lock.
        #[test]
        fn every_byte_is_locked_as_the_last_call_said(
            steps in prop::collection::vec((0..3usize, 0..BYTES, 0..BYTES, 0..4u8), 1..40),
        ) {
            let mut ranges = Ranges::default();
            let mut model = [[None; BYTES]; OWNERS.len()];
            for (index, a, b, what) in steps {
                let (first, last, owner) = (a.min(b), a.max(b), OWNERS[index]);
                let wanted = range(first as u64, last as u64);
                let kind = match what {
                    0 => Some(Kind::Read),
                    1 => Some(Kind::Write),
                    2 => None,
                    _ => {
                        let had = model[index].iter().any(Option::is_some);
                        prop_assert_eq!(ranges.release(owner), had);
                        model[index] = [None; BYTES];
                        continue;
                    }
                };
                let writes = Some(Kind::Write);
                let excludes = |held: Option<Kind>| held == writes || held.is_some() && kind == writes;
                let blocked = (0..OWNERS.len()).filter(|other| *other != index)
                    .any(|other| model[other][first..=last].iter().any(|held| excludes(*held)));
                if let Some(kind) = kind {
                    let found = ranges.conflict(owner, wanted, kind);
                    prop_assert_eq!(found.is_some(), blocked);
                    if let Some(held) = found {
                        let at = OWNERS.iter().position(|owner| *owner == held.owner).unwrap();
                        prop_assert!(at != index && held.range.overlaps(wanted));
                        let (from, to) = (held.range.first as usize, held.range.last as usize);
                        prop_assert!(model[at][from..=to].iter().all(|byte| *byte == Some(held.kind)));
                        continue;
                    }
                }
                ranges.set(owner, wanted, kind, false).unwrap();
                model[index][first..=last].fill(kind);
                for (owner, bytes) in OWNERS.iter().zip(&model) {
                    let mut seen = [None; BYTES];
                    let mut before = None;
                    for held in ranges.overlapping(*owner, Range::ALL) {
                        seen[held.range.first as usize..=held.range.last as usize].fill(Some(held.kind));
                        prop_assert_ne!(before, Some((held.range.first, held.kind)), "two that touch");
                        before = Some((held.range.last + 1, held.kind));
                    }
                    prop_assert_eq!(&seen, bytes);
                }
            }
        }
    }
}
