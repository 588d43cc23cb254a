//! How many references there are to user frames.
//!
//! A reference has a size, and a frame of 2 MiB may have references to the whole and to its parts at the same time
//! (a large page that is shared, of which one side was split). So there is a count for each 4 KiB, 2 MiB and 1 GiB of
//! physical memory, and a piece is free when neither it nor what contains it has one. Only a last reference takes a
//! lock.

#![forbid(unsafe_code)]

use crate::sync::SpinLock;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use keelson_hal::user::PageSize;

/// Order in the frame allocator.
pub fn order_of(size: PageSize) -> usize {
    match size {
        PageSize::Small => 0,
        PageSize::Large => 9,
        PageSize::Huge => 18,
    }
}

/// Counts for memory from 0 up.
pub struct Counts<'a> {
    small: &'a [AtomicU32],
    large: &'a [AtomicU32],
    huge: &'a [AtomicU32],
    /// For each 2 MiB: how many of its small frames have a count.
    parts: &'a [AtomicU16],
    last: SpinLock<()>,
}

/// Numbers of counts needed for memory up to an address: of each size, small first.
pub fn lengths(top: u64) -> [usize; 3] {
    let huge = top.div_ceil(PageSize::Huge.bytes()) as usize;
    [huge << 18, huge << 9, huge]
}

impl<'a> Counts<'a> {
    /// Counts in slices of at least [`lengths`], all zero; `parts` as long as `large`.
    pub fn new(
        small: &'a [AtomicU32],
        large: &'a [AtomicU32],
        huge: &'a [AtomicU32],
        parts: &'a [AtomicU16],
    ) -> Counts<'a> {
        Counts { small, large, huge, parts, last: SpinLock::new(()) }
    }

    fn count(&self, address: u64, size: PageSize) -> &AtomicU32 {
        let index = (address / size.bytes()) as usize;
        match size {
            PageSize::Small => &self.small[index],
            PageSize::Large => &self.large[index],
            PageSize::Huge => &self.huge[index],
        }
    }

    fn parts(&self, address: u64) -> &AtomicU16 {
        &self.parts[(address / PageSize::Large.bytes()) as usize]
    }

    /// The first reference to what the frame allocator just gave.
    pub fn begin(&self, address: u64, size: PageSize) {
        let before = self.count(address, size).swap(1, Ordering::Relaxed);
        assert!(before == 0, "frame {address:#x} allocated with {before} references");
        if size == PageSize::Small {
            self.parts(address).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One reference more, by the holder of one of this size.
    pub fn retain(&self, address: u64, size: PageSize) {
        let before = self.count(address, size).fetch_add(1, Ordering::Relaxed);
        assert!(before != 0 && before != u32::MAX, "frame {address:#x} retained with {before} references");
    }

    /// One reference less; calls `free` with every piece that nobody has a reference to any more.
    pub fn release(&self, address: u64, size: PageSize, free: impl FnMut(u64, PageSize)) {
        let count = self.count(address, size);
        let mut now = count.load(Ordering::Relaxed);
        while now > 1 {
            match count.compare_exchange_weak(now, now - 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
        let _last = self.last.lock();
        let before = count.fetch_sub(1, Ordering::AcqRel);
        assert!(before != 0, "frame {address:#x} released too often");
        if before != 1 {
            return;
        }
        if size == PageSize::Small {
            self.parts(address).fetch_sub(1, Ordering::Relaxed);
        }
        self.free_if_unused(address, size, free);
    }

    /// Turns one reference to a large frame into references to its parts.
    pub fn split(&self, address: u64, size: PageSize) {
        let Some(part) = size.smaller() else { return };
        let _last = self.last.lock();
        for number in 0..512 {
            let at = address + number * part.bytes();
            let before = self.count(at, part).fetch_add(1, Ordering::Relaxed);
            if before == 0 && part == PageSize::Small {
                self.parts(at).fetch_add(1, Ordering::Relaxed);
            }
        }
        let before = self.count(address, size).fetch_sub(1, Ordering::Release);
        assert!(before != 0, "frame {address:#x} split without a reference");
    }

    /// References to a frame, to what contains it, and to pieces of it, each piece once.
    ///
    /// The caller has one of them. Another one can turn into references to parts meanwhile, which are counted before
    /// the whole loses its own: who looks at the larger sizes first sees one or the other.
    pub fn references(&self, address: u64, size: PageSize) -> usize {
        let get = |size| self.count(address, size).load(Ordering::Acquire) as usize;
        let huge = get(PageSize::Huge);
        if size == PageSize::Huge {
            let larges = (0..512).map(|n| address + n * PageSize::Large.bytes());
            return huge + larges.filter(|large| self.in_use(*large)).count();
        }
        let large = get(PageSize::Large);
        let smaller = match size {
            PageSize::Small => get(PageSize::Small),
            _ => usize::from(self.parts(address).load(Ordering::Acquire)),
        };
        huge + large + smaller
    }

    /// Size of the piece at `address` that somebody has a reference to.
    pub fn piece(&self, address: u64) -> Option<PageSize> {
        [PageSize::Huge, PageSize::Large, PageSize::Small].into_iter().find(|size| {
            let counts = match size {
                PageSize::Small => self.small,
                PageSize::Large => self.large,
                PageSize::Huge => self.huge,
            };
            let count = counts.get((address / size.bytes()) as usize);
            count.is_some_and(|count| count.load(Ordering::Relaxed) != 0)
        })
    }

    /// True when the 2 MiB at `address`, or parts of them, have references.
    fn in_use(&self, address: u64) -> bool {
        self.count(address, PageSize::Large).load(Ordering::Acquire) != 0
            || self.parts(address).load(Ordering::Relaxed) != 0
    }

    /// Frees what is unused of a piece whose own count is zero. Under the lock.
    fn free_if_unused(&self, address: u64, size: PageSize, mut free: impl FnMut(u64, PageSize)) {
        let used = |size| self.count(address, size).load(Ordering::Relaxed) != 0;
        match size {
            PageSize::Small => {
                if !used(PageSize::Large) && !used(PageSize::Huge) {
                    free(address, size);
                }
            }
            PageSize::Large => {
                if !used(PageSize::Huge) {
                    self.free_large(address, &mut free);
                }
            }
            PageSize::Huge => {
                let larges = || (0..512).map(|n| address + n * PageSize::Large.bytes());
                if larges().any(|large| self.in_use(large)) {
                    let unused =
                        |large: &u64| self.count(*large, PageSize::Large).load(Ordering::Relaxed) == 0;
                    larges().filter(unused).for_each(|large| self.free_large(large, &mut free));
                } else {
                    free(address, size);
                }
            }
        }
    }

    /// Frees 2 MiB without a count of their own, but for parts that have one.
    fn free_large(&self, address: u64, free: &mut impl FnMut(u64, PageSize)) {
        if self.parts(address).load(Ordering::Relaxed) == 0 {
            return free(address, PageSize::Large);
        }
        for at in (0..512).map(|n| address + n * PageSize::Small.bytes()) {
            if self.count(at, PageSize::Small).load(Ordering::Relaxed) == 0 {
                free(at, PageSize::Small);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const S: PageSize = PageSize::Small;
    const L: PageSize = PageSize::Large;
    const H: PageSize = PageSize::Huge;
    const TOP: u64 = 1 << 30;

    fn counts() -> Counts<'static> {
        let [small, large, huge] = lengths(TOP);
        let words = |n| &*Box::leak((0..n).map(|_| AtomicU32::new(0)).collect::<Box<[_]>>());
        let parts = Box::leak((0..large).map(|_| AtomicU16::new(0)).collect::<Box<[_]>>());
        Counts::new(words(small), words(large), words(huge), parts)
    }

    fn freed(counts: &Counts, address: u64, size: PageSize) -> Vec<(u64, PageSize)> {
        let mut freed = Vec::new();
        counts.release(address, size, |at, size| freed.push((at, size)));
        freed
    }

    #[test]
    fn the_last_reference_frees() {
        let c = counts();
        for (at, size) in [(0x5000, S), (0x20_0000, L), (0, H)] {
            c.begin(at, size);
            c.retain(at, size);
            assert_eq!(c.references(at, size), 2);
            assert_eq!(freed(&c, at, size), []);
            assert_eq!(c.references(at, size), 1);
            assert_eq!(freed(&c, at, size), [(at, size)]);
            assert_eq!(c.references(at, size), 0);
        }
    }

    #[test]
    fn parts_of_a_split_frame_go_one_by_one() {
        let c = counts();
        c.begin(0x20_0000, L);
        c.split(0x20_0000, L);
        for part in (0x20_0000..0x40_0000).step_by(4096) {
            assert_eq!(c.references(part, S), 1);
            assert_eq!(freed(&c, part, S), [(part, S)]);
        }
    }

    #[test]
    fn a_frame_shared_whole_and_in_parts_is_freed_once() {
        let c = counts();
        c.begin(0x20_0000, L);
        c.retain(0x20_0000, L);
        c.split(0x20_0000, L);
        assert_eq!(c.references(0x20_0000, S), 2);
        assert_eq!(c.references(0x20_1000, S), 2);
        assert_eq!(c.references(0x20_0000, L), 1 + 512);
        assert_eq!(freed(&c, 0x20_1000, S), [], "the whole has a reference");
        assert_eq!(freed(&c, 0x20_0000, S), []);
        assert_eq!(c.references(0x20_0000, L), 1 + 510, "other parts have references");
        assert_eq!(freed(&c, 0x20_0000, L), [(0x20_0000, S), (0x20_1000, S)]);
        assert_eq!(freed(&c, 0x20_2000, S), [(0x20_2000, S)]);
    }

    #[test]
    fn huge_frames_split_twice() {
        let c = counts();
        c.begin(0, H);
        c.retain(0, H);
        c.split(0, H);
        c.split(0x20_0000, L);
        assert_eq!(c.references(0x20_1000, S), 2);
        assert_eq!(c.references(0, H), 1 + 512);
        let mut pieces = BTreeSet::new();
        let mut take = |at: u64, size: PageSize| {
            for frame in (at..at + size.bytes()).step_by(4096) {
                assert!(pieces.insert(frame), "{frame:#x} freed twice");
            }
        };
        c.release(0x20_1000, S, &mut take);
        c.release(0x40_0000, L, &mut take);
        c.release(0, H, &mut take);
        assert_eq!(c.references(0x20_2000, S), 1);
        for large in (0..TOP).step_by(0x20_0000) {
            match large {
                0x20_0000 => {
                    for small in (0x20_0000..0x40_0000u64).step_by(4096).filter(|at| *at != 0x20_1000) {
                        c.release(small, S, &mut take);
                    }
                }
                0x40_0000 => {}
                _ => c.release(large, L, &mut take),
            }
        }
        assert_eq!(pieces.len(), 1 << 18);
    }

    #[test]
    fn who_splits_is_seen_all_the_time() {
        const ROUNDS: usize = 2000;
        let c = counts();
        let turn = std::sync::Barrier::new(2);
        let mut unseen = 0;
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for _ in 0..ROUNDS {
                    turn.wait();
                    c.split(0x20_0000, L);
                    turn.wait();
                }
            });
            // One side has the whole and splits it; the other has its last part already.
            let mine = 0x20_0000 + 511 * 4096;
            for _ in 0..ROUNDS {
                c.begin(0x20_0000, L);
                c.retain(0x20_0000, L);
                c.split(0x20_0000, L);
                turn.wait();
                while c.count(0x20_0000, L).load(Ordering::Relaxed) != 0 {
                    unseen += usize::from(c.references(mine, S) < 2);
                }
                turn.wait();
                for part in (0x20_0000..0x40_0000).step_by(4096) {
                    c.release(part, S, |_, _| {});
                    c.release(part, S, |_, _| {});
                }
            }
        });
        assert_eq!(unseen, 0);
    }

    #[test]
    #[should_panic(expected = "released too often")]
    fn a_release_too_many_is_noticed() {
        let c = counts();
        c.begin(0, S);
        c.release(0, S, |_, _| {});
        c.release(0, S, |_, _| {});
    }
}
