use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const TOP: u64 = 512 * FRAME_SIZE;

fn bitmap(top: u64) -> Vec<u64> {
    vec![0; Buddy::bitmap_words(0..top)]
}

#[test]
fn orders_for_sizes() {
    assert_eq!(order_for(0), Some(0));
    assert_eq!(order_for(4097), Some(1));
    assert_eq!(order_for(1 << 30), Some(18));
    assert_eq!(order_for((1 << 30) + 1), None);
    assert_eq!(order_for(u64::MAX), None);
}

#[test]
fn a_gibibyte_is_one_block() {
    let mut bits = bitmap(2 << 30);
    let mut buddy = Buddy::new(0..2 << 30, &mut bits);
    buddy.add(0x1000..2 << 30);
    assert_eq!(buddy.allocate(18), Some(1 << 30));
    assert_eq!(buddy.allocate(18), None);
    assert_eq!(buddy.allocate(17), Some(1 << 29));
    buddy.free(1 << 30, 18).unwrap();
    let statistics = buddy.statistics();
    assert_eq!(statistics.total, (2 << 18) - 1);
    assert_eq!(statistics.used(), 1 << 17);
    assert_eq!(statistics.high_water, (1 << 18) + (1 << 17));
    assert_eq!(statistics.failures, 1);
}

#[test]
fn the_lowest_is_taken_and_the_rest_of_its_block_kept() {
    let mut bits = bitmap(TOP);
    let mut buddy = Buddy::new(0..TOP, &mut bits);
    buddy.add(0x2000..TOP);
    assert_eq!(buddy.free_blocks()[..9], [0, 1, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(buddy.allocate(0), Some(0x2000));
    assert_eq!(buddy.allocate(1), Some(0x4000));
    assert_eq!(buddy.allocate(0), Some(0x3000));
    assert_eq!(buddy.allocate(0), Some(0x6000));
    buddy.free(0x3000, 0).unwrap();
    assert_eq!(buddy.allocate(0), Some(0x3000));
    assert_eq!(buddy.allocate(8), Some(256 * FRAME_SIZE));
}

#[test]
fn wrong_frees_are_refused() {
    let mut bits = bitmap(TOP);
    let mut buddy = Buddy::new(0..TOP, &mut bits);
    buddy.add(0..TOP);
    let block = buddy.allocate(2).unwrap();
    assert_eq!(buddy.free(block + 4096, 2), Err(FreeError::NotABlock));
    assert_eq!(buddy.free(block, 19), Err(FreeError::NotABlock));
    assert_eq!(buddy.free(u64::MAX << 12, 0), Err(FreeError::NotABlock));
    assert_eq!(buddy.free(block + (4 << 12), 0), Err(FreeError::AlreadyFree));
    assert_eq!(buddy.free(block, 2), Ok(()));
    let _other = buddy.allocate(4).unwrap();
    assert_eq!(buddy.free(256 * FRAME_SIZE, 2), Err(FreeError::AlreadyFree));
}

#[test]
fn memory_far_up_needs_no_bitmap_for_what_is_below() {
    const GIB: u64 = 1 << 30;
    let span = 5 * GIB + 0x3000..7 * GIB - 0x5000;
    assert_eq!(Buddy::bitmap_words(span.clone()), Buddy::bitmap_words(0..2 * GIB));
    let mut bits = bitmap(2 * GIB);
    let mut buddy = Buddy::new(span.clone(), &mut bits);
    // What is not covered is left out.
    buddy.add(GIB..span.end);
    assert_eq!(buddy.statistics().total, (2 * GIB - 0x5000) / FRAME_SIZE);
    assert_eq!(buddy.allocate(18), Some(5 * GIB));
    let last = 6 * GIB + (GIB >> 1) + (GIB >> 2) + (GIB >> 3) + (GIB >> 4);
    assert!(buddy.allocate(0).is_some_and(|frame| frame > last), "of the smallest that is large enough");
    assert_eq!(buddy.allocate(17), Some(6 * GIB));
    assert_eq!(buddy.free(0, 0), Err(FreeError::NotABlock));
    assert_eq!(buddy.free_block(0x1000), None);
    let half = 6 * GIB + (GIB >> 1);
    assert_eq!(buddy.free_block(half + 0x8000), Some(half..half + (GIB >> 2)));
    buddy.free(6 * GIB, 17).unwrap();
    buddy.free(5 * GIB, 18).unwrap();
    assert_eq!(buddy.statistics().used(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64, u64),
    Allocate(usize),
    Free(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => (0u64..500, 1u64..200).prop_map(|(start, len)| Step::Add(start, len)),
        6 => (0usize..8).prop_map(Step::Allocate),
        5 => any::<prop::sample::Index>().prop_map(|index| Step::Free(index.index(1 << 16))),
    ];
    prop::collection::vec(step, 1..120)
}

/// Of the free blocks that are as large as they can be, the smallest that is large enough, and of those the lowest: found by looking
/// at every frame.
fn lowest_of_smallest(free: &BTreeSet<u64>, order: usize) -> Option<u64> {
    let all_free = |at: u64, order: usize| (at..at + (1 << order)).all(|frame| free.contains(&frame));
    let whole = |frame: &u64| {
        let largest = (0..=9).rev().find(|order| all_free(frame >> order << order, *order))?;
        Some((largest, frame >> largest << largest))
    };
    free.iter().filter_map(whole).filter(|(size, _)| *size >= order).min().map(|(_, frame)| frame)
}

proptest! {
    /// Against an allocator that keeps a set of frames: the same block is found, so merging never misses, and none that is in use.
    #[test]
    fn agrees_with_a_set_of_frames(steps in steps()) {
        let mut bits = bitmap(TOP);
        let mut buddy = Buddy::new(0..TOP, &mut bits);
        let (mut known, mut free) = (BTreeSet::new(), BTreeSet::new());
        let mut held: BTreeMap<u64, usize> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Add(start, len) => {
                    let end = (start + len).min(512);
                    if (start..end).any(|frame| known.contains(&frame)) {
                        continue;
                    }
                    buddy.add(start * FRAME_SIZE..end * FRAME_SIZE);
                    known.extend(start..end);
                    free.extend(start..end);
                }
                Step::Free(index) => {
                    let Some((&frame, &order)) = held.iter().nth(index % held.len().max(1)) else { continue };
                    held.remove(&frame);
                    free.extend(frame..frame + (1 << order));
                    prop_assert_eq!(buddy.free(frame * FRAME_SIZE, order), Ok(()));
                }
                Step::Allocate(order) => {
                    let got = buddy.allocate(order);
                    prop_assert_eq!(got, lowest_of_smallest(&free, order).map(|frame| frame * FRAME_SIZE));
                    let Some(frame) = got.map(|address| address / FRAME_SIZE) else { continue };
                    prop_assert!((frame..frame + (1 << order)).all(|frame| free.remove(&frame)));
                    held.insert(frame, order);
                }
            }
            let used: u64 = held.values().map(|order| 1 << order).sum();
            prop_assert_eq!(buddy.statistics().used(), used);
            prop_assert_eq!(buddy.statistics().free, free.len() as u64);
            let in_blocks = buddy.free_blocks().iter().enumerate().map(|(order, count)| count << order).sum::<u64>();
            prop_assert_eq!(in_blocks, free.len() as u64);
        }
    }
}
