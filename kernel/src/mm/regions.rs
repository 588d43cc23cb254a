//! From the loader's memory map to ranges of whole frames that are really free.
//!
//! Memory maps overlap, touch, start in the middle of a frame and come unsorted (e820 and UEFI alike). Where
//! a range is both RAM and reserved, reserved wins; RAM is rounded inward to frames, reserved outward.

#![forbid(unsafe_code)]

use core::ops::Range;

use super::buddy::FRAME_SIZE;

/// The usable ranges in ascending order: inside some range of `ram`, outside all ranges of `reserved`,
/// frame-aligned, disjoint and not empty. Takes time in the product of the lists' lengths, and no memory.
pub fn usable<'a>(
    ram: &'a [Range<u64>],
    reserved: &'a [Range<u64>],
) -> impl Iterator<Item = Range<u64>> + Clone + 'a {
    let mut cursor = 0;
    core::iter::from_fn(move || {
        let found = next(ram, reserved, cursor)?;
        cursor = found.end;
        Some(found)
    })
}

fn next(ram: &[Range<u64>], reserved: &[Range<u64>], mut cursor: u64) -> Option<Range<u64>> {
    loop {
        let ahead =
            |range: Range<u64>| (range.start.max(cursor)..range.end, range.start.max(cursor) < range.end);
        let rest = ram.iter().map(inward).map(ahead).filter(|(_, some)| *some).map(|(range, _)| range);
        // Of the ranges that start first, the longest.
        let range = rest.min_by_key(|range| (range.start, u64::MAX - range.end))?;
        match reserved.iter().map(outward).find(|hole| hole.contains(&range.start)) {
            Some(hole) => cursor = hole.end,
            None => {
                let holes =
                    reserved.iter().map(outward).filter(|hole| !hole.is_empty() && hole.start > range.start);
                let end = holes.map(|hole| hole.start).fold(range.end, u64::min);
                return Some(range.start..end);
            }
        }
    }
}

fn inward(range: &Range<u64>) -> Range<u64> {
    range.start.checked_next_multiple_of(FRAME_SIZE).unwrap_or(u64::MAX)..range.end & !(FRAME_SIZE - 1)
}

fn outward(range: &Range<u64>) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    range.start & !(FRAME_SIZE - 1)..range.end.checked_next_multiple_of(FRAME_SIZE).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pc_map_with_an_image_in_it() {
        let ram = [0x10_0000..0x800_0000, 0..0x9_fc00];
        let reserved = [0x9_f000..0x10_0000, 0x20_0123..0x30_0001, 0..1];
        let expected = [0x1000..0x9_f000, 0x10_0000..0x20_0000, 0x30_1000..0x800_0000];
        assert_eq!(usable(&ram, &reserved).collect::<Vec<_>>(), expected);
    }

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        let range = (0u64..40, 0u64..12, 0u64..3, 0u64..3).prop_map(|(start, len, a, b)| {
            let start = start * FRAME_SIZE + a * 0x7ff;
            start..start + len * FRAME_SIZE + b * 0x7ff
        });
        prop::collection::vec(range, 0..6)
    }

    proptest! {
        #[test]
        fn agrees_with_looking_at_every_byte(ram in ranges(), reserved in ranges()) {
            let found: Vec<_> = usable(&ram, &reserved).collect();
            for pair in found.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start);
            }
            for frame in 0..60 {
                let (start, end) = (frame * FRAME_SIZE, (frame + 1) * FRAME_SIZE);
                let in_ram = ram.iter().any(|range| range.start <= start && range.end >= end);
                let hit = reserved.iter().any(|r| !r.is_empty() && r.start < end && r.end > start);
                prop_assert_eq!(found.iter().any(|range| range.contains(&start)), in_ram && !hit);
            }
        }

        #[test]
        fn any_map_is_read(
            ram in prop::collection::vec(any::<(u64, u64)>(), 0..8),
            reserved in prop::collection::vec(any::<(u64, u64)>(), 0..8),
        ) {
            let range = |(a, b)| a..b;
            let (ram, reserved): (Vec<_>, Vec<_>) =
                (ram.into_iter().map(range).collect(), reserved.into_iter().map(range).collect());
            prop_assert!(usable(&ram, &reserved).all(|range| range.start < range.end));
        }
    }
}
