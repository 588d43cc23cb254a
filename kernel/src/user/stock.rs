//! Stocks of frames that are zeroed already, one for each NUMA node, filled by cores that have nothing else to do.

use super::pool;
use crate::arch::emulator;
use crate::mm::{self, PAGE_SIZE, frames};
use crate::sync::SpinLock;
use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering};
use heapless::Vec;
use keelson_hal::user::PageSize;

/// Most frames kept, of 4 KiB and of 2 MiB.
const SMALL: usize = 512;
const LARGE: usize = 32;
/// Frames of 2 MiB kept until programs ask for more: all of them would be a burst of 64 MiB while the node starts.
const LARGE_AT_FIRST: usize = 2;
/// Part of the free memory that 2 MiB frames of the stock may take.
const SHARE: u64 = 16;
/// Zeroed between two looks at the world.
const STEP: u64 = 64 * 1024;
/// Small frames zeroed in one step.
const SMALL_STEP: usize = (STEP / PAGE_SIZE) as usize;

/// Zeroed frames of a node. Locks are held for a few instructions; who finds one taken does without.
pub struct Stock {
    node: usize,
    small: SpinLock<Vec<u64, SMALL>>,
    large: SpinLock<Vec<u64, LARGE>>,
    /// A frame of 2 MiB and how much of it is zeroed. One core at a time.
    begun: SpinLock<Option<(u64, u64)>>,
    /// Frames in `small` and `large`, to be read without a lock.
    smalls: AtomicUsize,
    larges: AtomicUsize,
    /// Frames of 2 MiB to keep. Doubled whenever one is asked for and none is there.
    wanted: AtomicUsize,
}

impl Stock {
    /// Nothing in stock yet of a node.
    pub const fn new(node: usize) -> Stock {
        Stock {
            node,
            small: SpinLock::new(Vec::new()),
            large: SpinLock::new(Vec::new()),
            begun: SpinLock::new(None),
            smalls: AtomicUsize::new(0),
            larges: AtomicUsize::new(0),
            wanted: AtomicUsize::new(LARGE_AT_FIRST),
        }
    }

    /// A zeroed frame, if one is there. If not, more are kept from now on.
    pub fn take(&self, size: PageSize) -> Option<u64> {
        let frame = self.kept(size);
        if frame.is_none() && size == PageSize::Large {
            // Two cores at once may double only once between them: nothing counts on the number.
            let wanted = self.wanted.load(Ordering::Relaxed);
            self.wanted.store((wanted * 2).min(LARGE), Ordering::Relaxed);
        }
        frame
    }

    /// A frame out of the stock.
    fn kept(&self, size: PageSize) -> Option<u64> {
        match size {
            PageSize::Small if self.smalls.load(Ordering::Relaxed) > 0 => {
                pop(&mut *self.small.lock(), &self.smalls)
            }
            PageSize::Large if self.larges.load(Ordering::Relaxed) > 0 => {
                pop(&mut *self.large.lock(), &self.larges)
            }
            _ => None,
        }
    }

    /// Bytes in stock.
    pub fn bytes(&self) -> u64 {
        self.smalls.load(Ordering::Relaxed) as u64 * PageSize::Small.bytes()
            + self.larges.load(Ordering::Relaxed) as u64 * PageSize::Large.bytes()
    }

    /// Gives everything back to the frame allocator, which may need it to make a larger block.
    pub fn give_up(&self) {
        while let Some(frame) = self.kept(PageSize::Small) {
            pool::give_back(frame, PageSize::Small);
        }
        while let Some(frame) = self.kept(PageSize::Large) {
            pool::give_back(frame, PageSize::Large);
        }
        if let Some((frame, _)) = self.begun.try_lock().and_then(|mut begun| begun.take()) {
            pool::give_back(frame, PageSize::Large);
        }
    }

    /// One step of filling up; false when there is nothing to do or somebody else is at it.
    pub fn refill_step(&self) -> bool {
        let Some(mut begun) = self.begun.try_lock() else { return false };
        if self.smalls.load(Ordering::Relaxed) + SMALL_STEP <= SMALL {
            return self.refill_small();
        }
        if begun.is_none() {
            *begun = self
                .wants_large()
                .then(|| pool::take(PageSize::Large, self.node))
                .flatten()
                .map(|frame| (frame, 0));
        }
        let Some((frame, done)) = *begun else { return false };
        zero(frame + done, STEP);
        *begun = Some((frame, done + STEP));
        if done + STEP == PageSize::Large.bytes() {
            *begun = None;
            if push(&mut *self.large.lock(), &self.larges, frame).is_err() {
                pool::give_back(frame, PageSize::Large);
            }
        }
        true
    }

    fn refill_small(&self) -> bool {
        for _ in 0..SMALL_STEP {
            let Some(frame) = pool::take(PageSize::Small, self.node) else { return false };
            zero(frame, PAGE_SIZE);
            if push(&mut *self.small.lock(), &self.smalls, frame).is_err() {
                pool::give_back(frame, PageSize::Small);
                return false;
            }
        }
        true
    }

    fn wants_large(&self) -> bool {
        let have = self.larges.load(Ordering::Relaxed);
        let free = frames::statistics_of(self.node).free * PAGE_SIZE;
        have < self.wanted.load(Ordering::Relaxed)
            && (have as u64 + 1) * PageSize::Large.bytes() <= free / SHARE
    }
}

fn pop<const N: usize>(frames: &mut Vec<u64, N>, count: &AtomicUsize) -> Option<u64> {
    let frame = frames.pop();
    count.store(frames.len(), Ordering::Relaxed);
    frame
}

fn push<const N: usize>(frames: &mut Vec<u64, N>, count: &AtomicUsize, frame: u64) -> Result<(), u64> {
    let result = frames.push(frame);
    count.store(frames.len(), Ordering::Relaxed);
    result
}

/// Zeroes `len` bytes, a multiple of 64, of a frame that only the caller has.
pub fn zero(address: u64, len: u64) {
    let (mut at, end) = (mm::phys_to_virt(address), mm::phys_to_virt(address + len));
    if !emulator::is_emulated() {
        // SAFETY: as below. Processors have a fast way for this one.
        unsafe {
            asm!("rep stosb", inout("rdi") at => _, inout("rcx") len => _, in("al") 0u8,
                options(nostack, preserves_flags));
        }
        return;
    }
    // SAFETY: the caller's frame, through the direct map. In TCG `rep` costs a loop for each byte, and general
    // registers are cheaper than xmm.
    unsafe {
        asm!(
            "2:",
            "mov [{at}], {z}", "mov [{at} + 8], {z}", "mov [{at} + 16], {z}", "mov [{at} + 24], {z}",
            "mov [{at} + 32], {z}", "mov [{at} + 40], {z}", "mov [{at} + 48], {z}", "mov [{at} + 56], {z}",
            "add {at}, 64",
            "cmp {at}, {end}",
            "jb 2b",
            at = inout(reg) at,
            end = in(reg) end,
            z = in(reg) 0u64,
            options(nostack)
        );
    }
    let _ = at;
}
