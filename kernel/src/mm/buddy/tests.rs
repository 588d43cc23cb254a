use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// Memory that panics when the allocator touches a frame that is in use.
#[derive(Clone, Default)]
struct Fake {
    words: Rc<RefCell<HashMap<u64, [u64; 2]>>>,
    in_use: Rc<RefCell<BTreeSet<u64>>>,
}

impl Fake {
    fn check(&self, frame: u64) {
        assert!(!self.in_use.borrow().contains(&(frame / FRAME_SIZE)), "touched {frame:#x}, which is in use");
    }
}

impl FrameAccess for Fake {
    fn read(&self, frame: u64) -> [u64; 2] {
        self.check(frame);
        self.words.borrow()[&frame]
    }
    fn write(&mut self, frame: u64, words: [u64; 2]) {
        self.check(frame);
        self.words.borrow_mut().insert(frame, words);
    }
}

const TOP: u64 = 512 * FRAME_SIZE;

fn bitmap(top: u64) -> Vec<u64> {
    vec![0; Buddy::<Fake>::bitmap_words(0..top)]
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
    let mut buddy = Buddy::new(0..2 << 30, &mut bits, Fake::default());
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
fn low_memory_is_found_and_the_rest_of_its_block_kept() {
    let mut bits = bitmap(TOP);
    let mut buddy = Buddy::new(0..TOP, &mut bits, Fake::default());
    buddy.add(0x2000..TOP);
    assert_eq!(buddy.allocate_below(0, 0x2fff), None);
    assert_eq!(buddy.allocate_below(0, 0x3000), Some(0x2000));
    assert_eq!(buddy.allocate_below(1, 0x10_0000), Some(0x4000));
    assert_eq!(buddy.allocate_below(0, 0x10_0000), Some(0x3000));
}

#[test]
fn wrong_frees_are_refused() {
    let mut bits = bitmap(TOP);
    let mut buddy = Buddy::new(0..TOP, &mut bits, Fake::default());
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
    assert_eq!(Buddy::<Fake>::bitmap_words(span.clone()), Buddy::<Fake>::bitmap_words(0..2 * GIB));
    let mut bits = bitmap(2 * GIB);
    let mut buddy = Buddy::new(span.clone(), &mut bits, Fake::default());
    // What is not covered is left out.
    buddy.add(GIB..span.end);
    assert_eq!(buddy.statistics().total, (2 * GIB - 0x5000) / FRAME_SIZE);
    assert_eq!(buddy.allocate(18), Some(5 * GIB));
    assert_eq!(buddy.allocate_below(0, 5 * GIB), None);
    assert_eq!(buddy.allocate_below(3, 7 * GIB), Some(6 * GIB));
    assert_eq!(buddy.free(0, 0), Err(FreeError::NotABlock));
    assert_eq!(buddy.free_block(0x1000), None);
    assert_eq!(buddy.free_block(6 * GIB + 0x8000), Some(6 * GIB + 0x8000..6 * GIB + 0x1_0000));
    buddy.free(6 * GIB, 3).unwrap();
    buddy.free(5 * GIB, 18).unwrap();
    assert_eq!(buddy.statistics().used(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64, u64),
    Reserve(u64, u64),
    Allocate(usize),
    AllocateBelow(usize, u64),
    Free(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => (0u64..500, 1u64..200).prop_map(|(start, len)| Step::Add(start, len)),
        1 => (0u64..500, 1u64..20).prop_map(|(start, len)| Step::Reserve(start, len)),
        6 => (0usize..8).prop_map(Step::Allocate),
        1 => (0usize..5, 0u64..512).prop_map(|(order, limit)| Step::AllocateBelow(order, limit)),
        5 => any::<prop::sample::Index>().prop_map(|index| Step::Free(index.index(1 << 16))),
    ];
    prop::collection::vec(step, 1..120)
}

/// The lowest aligned run of free frames, found by looking at every frame.
fn lowest_run(free: &BTreeSet<u64>, order: usize, limit: u64) -> Option<u64> {
    let size = 1 << order;
    (0..limit.saturating_sub(size - 1))
        .step_by(size as usize)
        .find(|&at| (at..at + size).all(|f| free.contains(&f)))
}

proptest! {
    /// Against an allocator that keeps a set of frames: a block is found exactly when one exists (so merging
    /// never misses), was free, and no frame in use is ever touched.
    #[test]
    fn agrees_with_a_set_of_frames(steps in steps()) {
        let memory = Fake::default();
        let mut bits = bitmap(TOP);
        let mut buddy = Buddy::new(0..TOP, &mut bits, memory.clone());
        let (mut known, mut free) = (BTreeSet::new(), BTreeSet::new());
        let mut held: BTreeMap<u64, usize> = BTreeMap::new();
        for step in steps {
            let (order, limit, got) = match step {
                Step::Add(start, len) => {
                    let end = (start + len).min(512);
                    if (start..end).any(|frame| known.contains(&frame)) {
                        continue;
                    }
                    buddy.add(start * FRAME_SIZE..end * FRAME_SIZE);
                    known.extend(start..end);
                    free.extend(start..end);
                    continue;
                }
                Step::Reserve(start, len) => {
                    let hit: Vec<u64> = (start..start + len).filter(|frame| free.remove(frame)).collect();
                    let taken = buddy.reserve(start * FRAME_SIZE + 1..(start + len) * FRAME_SIZE - 1);
                    prop_assert_eq!(taken, hit.len() as u64);
                    memory.in_use.borrow_mut().extend(hit);
                    continue;
                }
                Step::Free(index) => {
                    let Some((&frame, &order)) = held.iter().nth(index % held.len().max(1)) else { continue };
                    held.remove(&frame);
                    for frame in frame..frame + (1 << order) {
                        memory.in_use.borrow_mut().remove(&frame);
                        free.insert(frame);
                    }
                    prop_assert_eq!(buddy.free(frame * FRAME_SIZE, order), Ok(()));
                    continue;
                }
                Step::Allocate(order) => (order, 512, buddy.allocate(order)),
                Step::AllocateBelow(order, limit) => {
                    let got = buddy.allocate_below(order, limit * FRAME_SIZE);
                    prop_assert_eq!(got, lowest_run(&free, order, limit).map(|frame| frame * FRAME_SIZE));
                    (order, limit, got)
                }
            };
            prop_assert_eq!(got.is_some(), lowest_run(&free, order, limit).is_some());
            if let Some(address) = got {
                prop_assert_eq!(address % (FRAME_SIZE << order), 0);
                let frame = address / FRAME_SIZE;
                for frame in frame..frame + (1 << order) {
                    prop_assert!(free.remove(&frame));
                    memory.in_use.borrow_mut().insert(frame);
                }
                held.insert(frame, order);
            }
            let used: u64 = held.values().map(|order| 1 << order).sum();
            prop_assert_eq!(buddy.statistics().used(), used);
            prop_assert_eq!(buddy.statistics().free, free.len() as u64);
        }
    }
}
