//! Memory that checks its users, and a clock that runs when looked at.

use core::cell::Cell;
use core::task::{Context, Waker};
use core::time::Duration;
use keelson_hal::{Clock, Dma, DmaRegion, Instant};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Device addresses differ from CPU addresses by this, so that mixing them up crashes.
const PHYS_OFFSET: u64 = 0x0100_0000_0000_0000;

thread_local! {
    /// Regions handed out on this thread: start -> length. Every test has a thread of its own.
    static REGIONS: RefCell<BTreeMap<usize, usize>> = const { RefCell::new(BTreeMap::new()) };
    /// Bytes that may still be allocated.
    static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The DMA allocator of the test's thread.
#[derive(Default)]
pub struct TestDma;

impl TestDma {
    /// Bytes handed out and not given back.
    pub fn in_use() -> usize {
        REGIONS.with_borrow(|regions| regions.values().sum())
    }

    /// Lets allocations fail when more than `bytes` are in use.
    pub fn set_limit(bytes: usize) {
        LIMIT.set(bytes);
    }

    /// CPU address of a device address.
    pub fn virt_of(phys: u64) -> usize {
        usize::try_from(phys.checked_sub(PHYS_OFFSET).expect("not a device address")).unwrap()
    }

    /// Panics when the device may not use these bytes of queue or buffer memory.
    pub fn check_region(phys: u64, len: usize) {
        let virt = Self::virt_of(phys);
        REGIONS.with_borrow(|regions| {
            let (start, region_len) = regions.range(..=virt).next_back().expect("outside every region");
            assert!(virt + len <= start + region_len, "device access outside a region");
        });
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, 4096).unwrap()
    }
}

impl Dma for TestDma {
    fn allocate(&self, len: usize) -> Option<DmaRegion> {
        let len = len.next_multiple_of(4096);
        if Self::in_use() + len > LIMIT.get() {
            return None;
        }
        // SAFETY: the size is not zero.
        let virt = unsafe { alloc_zeroed(Self::layout(len)) } as usize;
        REGIONS.with_borrow_mut(|regions| regions.insert(virt, len));
        Some(DmaRegion { virt, phys: virt as u64 + PHYS_OFFSET, len })
    }

    fn free(&self, region: DmaRegion) {
        let len = REGIONS.with_borrow_mut(|regions| regions.remove(&region.virt));
        assert_eq!(len, Some(region.len), "freed what was not allocated");
        // SAFETY: allocated above with the same layout, and removed from the table: freed once.
        unsafe { dealloc(region.virt as *mut u8, Self::layout(region.len)) };
    }

    fn phys_of(&self, virt: usize) -> u64 {
        assert!(virt >= 4096, "{virt:#x} is where an empty buffer says it is, no memory");
        virt as u64 + PHYS_OFFSET
    }
}

/// Every look takes 10 microseconds.
#[derive(Default)]
pub struct TestClock(Cell<u64>);

impl TestClock {
    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.0.set(self.0.get() + time.as_nanos() as u64);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.0.set(self.0.get() + 10_000);
        Instant::from_nanos(self.0.get())
    }

    fn wall(&self) -> Duration {
        Duration::ZERO
    }
}

/// A context whose waker does nothing.
pub fn noop_context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
