use super::*;
use proptest::prelude::*;
use std::alloc::{alloc, dealloc};
use std::collections::BTreeMap;
use std::vec::Vec;
use talc::DefaultBinning;

const PAGE: usize = PAGE_SIZE as usize;

/// So many bytes of the host in pages, and which blocks are out.
#[derive(Debug)]
struct Pages {
    left: usize,
    out: BTreeMap<usize, usize>,
}

/// What a large allocation leaves.
const LAST: usize = 64 * PAGE;

impl Pages {
    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, PAGE).unwrap()
    }
}

impl Blocks for Pages {
    fn take(&mut self, len: usize, is_large: bool) -> Option<usize> {
        assert!(len.is_multiple_of(PAGE));
        let last = if is_large { LAST } else { 0 };
        self.left = self.left.checked_sub(len).filter(|left| *left >= last)?;
        // SAFETY: not empty.
        let start = unsafe { alloc(Self::layout(len)) } as usize;
        self.out.insert(start, len);
        Some(start)
    }

    unsafe fn give_back(&mut self, block: Range<usize>) {
        assert_eq!(self.out.remove(&block.start), Some(block.len()), "as it was taken");
        self.left += block.len();
        // SAFETY: it is out, with this length.
        unsafe { dealloc(block.start as *mut u8, Self::layout(block.len())) };
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        for (start, len) in core::mem::take(&mut self.out) {
            // SAFETY: it is out, with this length.
            unsafe { dealloc(start as *mut u8, Self::layout(len)) };
        }
    }
}

/// The heap, and what is allocated there: where, how much, and the byte that all of it has.
struct Heap {
    talc: Talc<Growing<Pages>, DefaultBinning>,
    live: Vec<(usize, Layout, u8)>,
}

impl Heap {
    fn new(bytes: usize) -> Heap {
        let pages = Pages { left: bytes, out: BTreeMap::new() };
        Heap { talc: Talc::new(Growing::new(pages)), live: Vec::new() }
    }

    fn allocate(&mut self, len: usize, align: usize) -> bool {
        let (layout, mark) = (Layout::from_size_align(len, align).unwrap(), self.live.len() as u8);
        // SAFETY: not empty.
        let Some(at) = (unsafe { self.talc.allocate(layout) }) else { return false };
        // SAFETY: as long as that, and nobody else's.
        unsafe { at.as_ptr().write_bytes(mark, len) };
        self.live.push((at.as_ptr() as usize, layout, mark));
        true
    }

    fn free(&mut self, index: usize) {
        let (at, layout, mark) = self.live.swap_remove(index);
        // SAFETY: it is allocated with this layout, and was written.
        unsafe {
            let content = core::slice::from_raw_parts(at as *const u8, layout.size());
            assert!(content.iter().all(|byte| *byte == mark), "nobody else has written there");
            self.talc.deallocate(at as *mut u8, layout);
        }
    }

    fn blocks(&self) -> usize {
        self.talc.source.blocks.out.len()
    }
}

#[test]
fn a_block_goes_back_with_the_last_thing_in_it() {
    let mut heap = Heap::new(16 << 20);
    assert!(heap.allocate(100, 8));
    assert_eq!(heap.blocks(), 1, "the first one has talc's records: it stays");
    for _ in 0..4 {
        assert!(heap.allocate(1 << 20, 16));
    }
    assert_eq!(heap.blocks(), 5);
    for _ in 0..4 {
        heap.free(1);
    }
    assert_eq!(heap.blocks(), 1);
    heap.free(0);
    assert_eq!((heap.blocks(), heap.talc.counters().claimed_bytes.div_ceil(PAGE)), (1, GROWTH / PAGE));
}

#[test]
fn one_empty_block_is_kept() {
    let mut heap = Heap::new(16 << 20);
    // The first block is full.
    while heap.blocks() < 2 {
        assert!(heap.allocate(8000, 8));
    }
    let left = heap.talc.source.blocks.left;
    for _ in 0..10 {
        heap.free(heap.live.len() - 1);
        assert_eq!(heap.blocks(), 2);
        assert!(heap.allocate(8000, 8));
    }
    assert_eq!(heap.talc.source.blocks.left, left);
}

#[test]
fn large_ones_leave_the_last_pages() {
    let mut heap = Heap::new(GROWTH + LAST + 128 * 1024);
    assert!(heap.allocate(16, 8));
    while heap.allocate(LARGE, 8) {}
    let large = heap.live.len();
    assert!(heap.talc.source.blocks.left >= LAST);
    // A block of the usual size does not fit any more: smaller ones do.
    while heap.allocate(4000, 8) {}
    assert!(heap.talc.source.blocks.left < 3 * PAGE, "{}", heap.talc.source.blocks.left);
    assert!(heap.live.len() > large + LAST / 4096 / 2);
    assert!(!heap.allocate(LARGE, 8));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Allocate(usize, usize),
    Free(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![1..200usize, 1..20_000usize, 1..2_000_000usize];
    prop_oneof![
        (len, 0..8u32).prop_map(|(len, align)| Step::Allocate(len, 1 << align)),
        any::<usize>().prop_map(Step::Free),
    ]
}

proptest! {
    #[test]
    fn nothing_overlaps_and_everything_comes_back(steps in prop::collection::vec(step(), 1..200)) {
        let mut heap = Heap::new(8 << 20);
        for step in steps {
            match step {
                Step::Allocate(len, align) => {
                    heap.allocate(len, align);
                }
                Step::Free(index) if !heap.live.is_empty() => heap.free(index % heap.live.len()),
                Step::Free(_) => {}
            }
        }
        while !heap.live.is_empty() {
            heap.free(0);
        }
        // The first, and a spare one.
        prop_assert!(heap.blocks() <= 2);
    }
}
