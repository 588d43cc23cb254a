//! Small blocks on their way from one owner to the next, without the heap's lock: magazines, as Bonwick and Adams have them
//! ("Magazines and Vmem", USENIX 2001, section 3).
//!
//! ```text
//!   core 0                       core 1
//!   loaded, previous             loaded, previous       a pair for each class, of 8 blocks at most; nobody else's
//!        \                           /
//!         depot of the class: full magazines            one lock for 8 blocks
//!                     |
//!                   talc                                 what the depot has no room for
//! ```
//!
//! What one core allocates and another frees, as with every request that is handed over, goes round by the depot in whole magazines.
//! All of it is atomics without any locked instruction on a core's own part, so other cores may count what is there.

use crate::sync::SpinLock;
use core::alloc::Layout;
use core::iter;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Bytes of the blocks that are kept, ascending. Nothing is more than half as large again as what it is for, above 32.
const SIZES: [usize; 11] = [16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024];
/// Most alignment of what is kept: that of every block of talc's.
const ALIGN: usize = 16;
/// Blocks in a magazine.
const ROUNDS: usize = 8;
/// Full magazines that a depot has room for.
const SHELVED: usize = 8;

/// A size of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class(u8);

/// The class for so many steps of [`ALIGN`] bytes.
const CLASS_OF: [u8; SIZES[SIZES.len() - 1] / ALIGN + 1] = {
    let mut classes = [0; SIZES[SIZES.len() - 1] / ALIGN + 1];
    let (mut steps, mut class) = (0, 0);
    while steps < classes.len() {
        if steps * ALIGN > SIZES[class] {
            class += 1;
        }
        classes[steps] = class as u8;
        steps += 1;
    }
    classes
};

impl Class {
    /// The one that an allocation belongs to; `None` for what is too large or too much aligned.
    #[inline]
    pub fn of(layout: Layout) -> Option<Class> {
        if layout.align() > ALIGN {
            return None;
        }
        CLASS_OF.get(layout.size().div_ceil(ALIGN)).map(|class| Class(*class))
    }

    /// How its blocks are allocated.
    pub fn layout(self) -> Layout {
        let size = SIZES.get(usize::from(self.0)).copied().unwrap_or_default();
        Layout::from_size_align(size, ALIGN).unwrap_or(Layout::new::<()>())
    }
}

/// Blocks that nobody uses, as many as [`Blocks::len`] says.
pub struct Blocks {
    rounds: [AtomicPtr<u8>; ROUNDS],
    len: AtomicUsize,
}

impl Blocks {
    const fn new() -> Blocks {
        Blocks { rounds: [const { AtomicPtr::new(ptr::null_mut()) }; ROUNDS], len: AtomicUsize::new(0) }
    }

    fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// Takes one.
    pub fn pop(&self) -> Option<NonNull<u8>> {
        let len = self.len().checked_sub(1)?;
        self.len.store(len, Relaxed);
        NonNull::new(self.rounds.get(len)?.load(Relaxed))
    }

    /// Adds one; false when there is no room.
    fn push(&self, block: NonNull<u8>) -> bool {
        let len = self.len();
        let Some(round) = self.rounds.get(len) else { return false };
        round.store(block.as_ptr(), Relaxed);
        self.len.store(len + 1, Relaxed);
        true
    }

    /// Moves all there are to an empty one.
    fn pour(&self, into: &Blocks) {
        for (from, to) in self.rounds.iter().zip(&into.rounds) {
            to.store(from.load(Relaxed), Relaxed);
        }
        into.len.store(self.len.swap(0, Relaxed), Relaxed);
    }
}

/// A core's magazines of one class.
struct Pair {
    magazines: [Blocks; 2],
    /// Which of them is loaded: 0 or 1.
    loaded: AtomicUsize,
}

impl Pair {
    const fn new() -> Pair {
        Pair { magazines: [Blocks::new(), Blocks::new()], loaded: AtomicUsize::new(0) }
    }

    fn loaded(&self) -> &Blocks {
        &self.magazines[self.loaded.load(Relaxed) & 1]
    }

    fn previous(&self) -> &Blocks {
        &self.magazines[!self.loaded.load(Relaxed) & 1]
    }

    fn exchange(&self) {
        self.loaded.store(!self.loaded.load(Relaxed) & 1, Relaxed);
    }

    fn len(&self) -> usize {
        self.magazines.iter().map(Blocks::len).sum()
    }
}

/// What belongs to one core.
#[repr(align(64))]
pub struct Own {
    pairs: [Pair; SIZES.len()],
    /// The core is at it: what interrupts it there does without.
    busy: AtomicBool,
    /// Allocations that were served from here.
    served: AtomicU64,
    /// What [`Own::has_changed`] was told last.
    seen: AtomicUsize,
}

impl Own {
    /// Empty magazines.
    pub const fn new() -> Own {
        Own {
            pairs: [const { Pair::new() }; SIZES.len()],
            busy: AtomicBool::new(false),
            served: AtomicU64::new(0),
            seen: AtomicUsize::new(0),
        }
    }

    /// True when a number is not what it was.
    #[inline]
    pub fn has_changed(&self, number: usize) -> bool {
        let changed = self.seen.load(Relaxed) != number;
        if changed {
            self.seen.store(number, Relaxed);
        }
        changed
    }

    /// Takes out all that these and the depots keep.
    pub fn empty(&self, depots: &Depots, mut each: impl FnMut(Class, NonNull<u8>)) {
        for (number, (pair, depot)) in self.pairs.iter().zip(&depots.0).enumerate() {
            let class = Class(number as u8);
            self.alone(|| {
                for block in pair.magazines.iter().flat_map(|magazine| iter::from_fn(|| magazine.pop())) {
                    each(class, block);
                }
            });
            let shelved = Blocks::new();
            depot.give(&shelved);
            while let Some(block) = shelved.pop() {
                each(class, block);
                if shelved.len() == 0 {
                    depot.give(&shelved);
                }
            }
        }
    }

    /// A block of this class; `None` when there is none. For the core that these belong to, as [`Own::put`] is.
    #[inline]
    pub fn take(&self, depots: &Depots, class: Class) -> Option<NonNull<u8>> {
        let block = self.alone(|| {
            let pair = self.pairs.get(usize::from(class.0))?;
            pair.loaded().pop().or_else(|| pair.reload(depots.of(class)?))
        })??;
        self.served.store(self.served.load(Relaxed) + 1, Relaxed);
        Some(block)
    }

    /// Keeps a block that is not needed any more; or those that there is no room for.
    #[inline]
    pub fn put(&self, depots: &Depots, class: Class, block: NonNull<u8>) -> Option<Blocks> {
        let pair = self.pairs.get(usize::from(class.0))?;
        match self.alone(|| pair.loaded().push(block)) {
            Some(true) => None,
            has_room => Some(self.put_elsewhere(depots, class, block, has_room.is_some())),
        }
    }

    /// The same where the loaded magazine is full, or somebody is at it (not `alone`).
    #[cold]
    fn put_elsewhere(&self, depots: &Depots, class: Class, block: NonNull<u8>, alone: bool) -> Blocks {
        let overflow = Blocks::new();
        let kept = alone
            && self.alone(|| {
                let (Some(pair), Some(depot)) = (self.pairs.get(usize::from(class.0)), depots.of(class))
                else {
                    return false;
                };
                if pair.previous().len() > 0 {
                    depot.take_in(pair.previous(), &overflow);
                }
                pair.exchange();
                pair.loaded().push(block)
            }) == Some(true);
        if !kept {
            overflow.push(block);
        }
        overflow
    }

    /// Does something that nothing on the same core may come between; `None` when this came between.
    #[inline]
    fn alone<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        if self.busy.load(Relaxed) {
            return None;
        }
        self.busy.store(true, Relaxed);
        let result = act();
        self.busy.store(false, Relaxed);
        Some(result)
    }
}

impl Pair {
    /// Goes on with the magazine that is not loaded, or with one of the depot's.
    #[cold]
    fn reload(&self, depot: &Depot) -> Option<NonNull<u8>> {
        if self.previous().len() == 0 {
            depot.give(self.previous());
        }
        self.exchange();
        self.loaded().pop()
    }
}

/// Full magazines of a class, for whichever core needs one.
struct Depot(SpinLock<Shelf>);

struct Shelf {
    full: [Blocks; SHELVED],
    len: usize,
}

impl Depot {
    /// Fills an empty magazine, if there is a full one.
    fn give(&self, into: &Blocks) {
        let mut shelf = self.0.lock();
        if let Some(top) = shelf.len.checked_sub(1) {
            shelf.full[top].pour(into);
            shelf.len = top;
        }
    }

    /// Empties a full magazine, into `overflow` where there is no place for it.
    fn take_in(&self, magazine: &Blocks, overflow: &Blocks) {
        let mut shelf = self.0.lock();
        let top = shelf.len;
        match shelf.full.get(top) {
            Some(place) => {
                magazine.pour(place);
                shelf.len = top + 1;
            }
            None => magazine.pour(overflow),
        }
    }
}

/// One of each class.
pub struct Depots([Depot; SIZES.len()]);

impl Depots {
    /// Empty ones.
    pub const fn new() -> Depots {
        Depots(
            [const { Depot(SpinLock::new(Shelf { full: [const { Blocks::new() }; SHELVED], len: 0 })) };
                SIZES.len()],
        )
    }

    fn of(&self, class: Class) -> Option<&Depot> {
        self.0.get(usize::from(class.0))
    }

    /// How much is kept now, here and by these cores. They may be at it: each of the numbers was true for its core.
    pub fn kept<'a>(&self, cores: impl Iterator<Item = &'a Own> + Clone) -> Kept {
        let mut kept =
            Kept { served: cores.clone().map(|own| own.served.load(Relaxed)).sum(), ..Kept::default() };
        for (class, (depot, size)) in self.0.iter().zip(SIZES).enumerate() {
            let own: usize = cores.clone().filter_map(|own| own.pairs.get(class)).map(Pair::len).sum();
            let blocks = own + depot.0.lock().len * ROUNDS;
            kept.blocks += blocks;
            kept.bytes += blocks * size;
        }
        kept
    }
}

/// What is kept, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// Blocks.
    pub blocks: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// Allocations that were served since boot.
    pub served: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    fn block(n: usize) -> NonNull<u8> {
        NonNull::new(core::ptr::without_provenance_mut(n * ALIGN)).unwrap()
    }

    #[test]
    fn a_block_is_as_large_as_what_it_is_for_and_not_much_larger() {
        for size in 0..=1024 {
            let class = Class::of(layout(size, 8)).unwrap().layout();
            assert!(class.size() >= size && class.align() >= 8, "{size}: {class:?}");
            assert!(
                class.size() <= 32 || 2 * class.size() <= 3 * size.next_multiple_of(ALIGN),
                "{size}: {class:?}"
            );
        }
        assert_eq!(Class::of(layout(1025, 1)), None);
        assert_eq!(Class::of(layout(64, 32)), None);
    }

    #[test]
    fn all_that_is_kept_can_be_had_back() {
        let (depots, own) = (Depots::new(), Own::new());
        let classes = [16, 100, 1000].map(|size| Class::of(layout(size, 8)).unwrap());
        let mut gone = BTreeSet::new();
        for n in 1..=6 * ROUNDS {
            let overflow = own.put(&depots, classes[n % 3], block(n));
            assert!(overflow.is_none_or(|none| none.len() == 0));
        }
        own.empty(&depots, |class, at| {
            let number = at.as_ptr().addr() / ALIGN;
            assert_eq!(class, classes[number % 3]);
            assert!(gone.insert(number));
        });
        assert_eq!(gone, (1..=6 * ROUNDS).collect());
        assert_eq!(depots.kept([&own].into_iter()).blocks, 0);
        assert!(own.has_changed(1) && !own.has_changed(1) && own.has_changed(2));
    }

    #[test]
    fn what_one_core_frees_another_one_gets_by_the_magazine() {
        let (depots, cores) = (Depots::new(), [Own::new(), Own::new()]);
        let class = Class::of(layout(100, 8)).unwrap();
        assert_eq!(cores[1].take(&depots, class), None);
        // Two magazines stay with the core that frees; the third goes round.
        for n in 1..=3 * ROUNDS {
            assert!(cores[0].put(&depots, class, block(n)).is_none_or(|none| none.len() == 0));
        }
        let got: BTreeSet<_> = core::iter::from_fn(|| cores[1].take(&depots, class)).collect();
        assert_eq!(got.len(), ROUNDS);
        let own: BTreeSet<_> = core::iter::from_fn(|| cores[0].take(&depots, class)).collect();
        assert_eq!(own.len(), 2 * ROUNDS);
        assert_eq!(got.union(&own).count(), 3 * ROUNDS);
        assert_eq!(depots.kept(cores.iter()), Kept { blocks: 0, bytes: 0, served: 3 * ROUNDS as u64 });
    }

    #[test]
    fn whoever_comes_between_does_without() {
        let (depots, own) = (Depots::new(), Own::new());
        let class = Class::of(layout(16, 8)).unwrap();
        assert!(own.put(&depots, class, block(1)).is_none());
        own.alone(|| {
            assert_eq!(own.take(&depots, class), None);
            let back = own.put(&depots, class, block(2)).unwrap();
            assert_eq!((back.pop(), back.pop()), (Some(block(2)), None));
        });
        assert_eq!(own.take(&depots, class), Some(block(1)));
    }

    /// Every block is in one place at any time, whatever the cores do with them, and no more are kept than there is room for.
    #[test]
    fn no_block_is_lost_or_given_twice() {
        let (depots, cores) = (Depots::new(), [Own::new(), Own::new(), Own::new()]);
        let class = Class::of(layout(500, 16)).unwrap();
        let mut random = 7_u64;
        let (mut made, mut outside, mut freed) = (0, Vec::new(), BTreeSet::new());
        for step in 0..200_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (core, choice) = ((random >> 40) as usize % 3, (random >> 50) % 100);
            // Phases in which more is taken, or more given back.
            if choice < if step % 20_000 < 10_000 { 55 } else { 45 } {
                let got = cores[core].take(&depots, class).map_or_else(
                    || {
                        made += 1;
                        made
                    },
                    |block| block.addr().get() / ALIGN,
                );
                assert!(!outside.contains(&got) && !freed.contains(&got));
                outside.push(got);
            } else if !outside.is_empty() {
                let given = outside.swap_remove(random as usize % outside.len());
                if let Some(overflow) = cores[core].put(&depots, class, block(given)) {
                    while let Some(block) = overflow.pop() {
                        assert!(freed.insert(block.addr().get() / ALIGN));
                    }
                }
            }
            if step % 64 == 0 {
                assert_eq!(depots.kept(cores.iter()).blocks + outside.len() + freed.len(), made);
            }
        }
        assert!(made > 1000 && !freed.is_empty());
        assert!(depots.kept(cores.iter()).blocks <= (3 * 2 + SHELVED) * ROUNDS);
    }
}
