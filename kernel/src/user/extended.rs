//! The extended state of threads: x87, SSE, AVX.
//!
//! The entry code saves and restores only what the kernel itself uses (xmm0-15 and MXCSR, in the legacy part of the
//! area). The rest stays in the registers of the core until another thread's state takes its place there, or
//! somebody wants to see it. `place` says where a state is; whoever holds it may touch the area.

use super::cpu;
use super::features::{self, LEGACY_AREA};
use crate::smp;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use keelson_hal::user::ExtendedState;

/// The state is in its area and nobody uses it.
const MEMORY: u32 = u32::MAX;
/// The area is being read or changed by a core.
const BUSY: u32 = u32::MAX - 1;
/// How long another core may take to give up a state. It looks for requests whenever it waits or rests.
const PATIENCE: Duration = Duration::from_secs(5);

/// Offsets in the area (Intel SDM volume 1, tables 10-2 and 13-1).
const CONTROL_WORD: usize = 0;
const MXCSR: usize = 24;
const XMM: core::ops::Range<usize> = 160..416;
/// The XSAVE header: XSTATE_BV, XCOMP_BV, reserved.
const HEADER: core::ops::Range<usize> = 512..576;
const FPU_AND_SSE: u64 = 3;
const SSE: u64 = 1 << 1;
/// Control words at the start of a program (System V ABI, section 3.4.1).
const INITIAL_CONTROL_WORD: u16 = 0x37f;
const INITIAL_MXCSR: u32 = 0x1f80;

/// XSAVE wants 64-byte alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// The extended state of one thread.
pub struct XState {
    /// `MEMORY`, `BUSY`, or the core in whose registers the state is.
    place: AtomicU32,
    area: UnsafeCell<Vec<Line>>,
}

// SAFETY: `place` is a lock for the area: it is touched by the core that changed `place` from `MEMORY`.
unsafe impl Sync for XState {}

/// A state at the start of a program; `None` when memory is short.
pub fn new() -> Option<Arc<dyn ExtendedState>> {
    Some(Arc::new(XState::allocate()?))
}

impl XState {
    fn allocate() -> Option<XState> {
        let lines = features::area_len().div_ceil(64);
        let mut area = Vec::new();
        area.try_reserve_exact(lines).ok()?;
        area.resize(lines, Line([0; 64]));
        let state = XState { place: AtomicU32::new(MEMORY), area: UnsafeCell::new(area) };
        state.reset();
        Some(state)
    }

    /// Address of the area, for the entry code.
    pub fn address(&self) -> usize {
        // SAFETY: the vector itself never changes, only its content.
        unsafe { (*self.area.get()).as_ptr() as usize }
    }

    /// Takes the state into the registers of `core`, which is the calling one and has no other state loaded.
    pub(super) fn load(&self, core: usize) {
        self.claim(core as u32);
        // SAFETY: the area is ours and holds what the processor accepts: `reset`, `load` and XSAVE make nothing
        // else. xmm registers are the caller's to lose.
        unsafe {
            match features::components() {
                Some(mask) => asm!("xrstor64 [{}]", in(reg) self.address(), in("eax") mask as u32,
                    in("edx") (mask >> 32) as u32, options(nostack)),
                None => asm!("fxrstor64 [{}]", in(reg) self.address(), options(nostack)),
            }
            asm!("ldmxcsr [{}]", in(reg) &INITIAL_MXCSR, options(nostack));
        }
    }

    /// Puts the state of this core's registers into memory. Only the core that `place` names calls this.
    pub(super) fn store_loaded(&self) {
        // SAFETY: the area is ours. xmm0-15 are in it since the thread left ring 3: they are put back, so that
        // XSAVE finds all as the thread had it. Then the kernel's MXCSR.
        unsafe {
            let area = self.address();
            asm!(
                "ldmxcsr [{a} + 24]",
                "movaps xmm0, [{a} + 160]", "movaps xmm1, [{a} + 176]", "movaps xmm2, [{a} + 192]",
                "movaps xmm3, [{a} + 208]", "movaps xmm4, [{a} + 224]", "movaps xmm5, [{a} + 240]",
                "movaps xmm6, [{a} + 256]", "movaps xmm7, [{a} + 272]", "movaps xmm8, [{a} + 288]",
                "movaps xmm9, [{a} + 304]", "movaps xmm10, [{a} + 320]", "movaps xmm11, [{a} + 336]",
                "movaps xmm12, [{a} + 352]", "movaps xmm13, [{a} + 368]", "movaps xmm14, [{a} + 384]",
                "movaps xmm15, [{a} + 400]",
                "test {x}, {x}",
                "jz 2f",
                "xsave64 [{a}]",
                "jmp 3f",
                "2:",
                "fxsave64 [{a}]",
                "3:",
                "ldmxcsr [{k}]",
                a = in(reg) area,
                x = in(reg) u64::from(features::components().is_some()),
                k = in(reg) &INITIAL_MXCSR,
                in("eax") features::components().unwrap_or(0) as u32,
                in("edx") (features::components().unwrap_or(0) >> 32) as u32,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                options(nostack)
            );
        }
        self.place.store(MEMORY, Ordering::Release);
    }

    /// Waits until the state is in memory, and marks it as `taken`. A core that has it in its registers is asked
    /// to give it up.
    fn claim(&self, taken: u32) {
        let me = smp::here();
        let mut asked_at = None;
        loop {
            let place = match self.place.compare_exchange(MEMORY, taken, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(place) => place,
            };
            if place as usize == me.core() {
                cpu::evict(me);
                continue;
            }
            let now = crate::time::now();
            let since = *asked_at.get_or_insert_with(|| {
                if place != BUSY {
                    smp::cpu(place as usize).user.evict.store(true, Ordering::Release);
                    smp::kick(place as usize);
                }
                now
            });
            // Its owner runs it at the same time: two cores would go on with the same registers.
            assert!(now - since < PATIENCE, "the extended state of a thread is in use on core {place}");
            cpu::serve_requests(me);
            crate::arch::cpu::pause();
        }
    }

    /// Works on the area, which nobody else uses in the meantime.
    fn with<T>(&self, act: impl FnOnce(&mut [u8]) -> T) -> T {
        self.claim(BUSY);
        // SAFETY: `place` is `BUSY`: the area is ours alone. Bytes have no alignment.
        let area = unsafe {
            let lines = &mut *self.area.get();
            core::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<u8>(), features::area_len())
        };
        let result = act(area);
        self.place.store(MEMORY, Ordering::Release);
        result
    }
}

/// Reads a little-endian number of a checked area.
fn u64_at(area: &[u8], at: usize) -> u64 {
    area.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// The state at the start of a program.
fn initial(area: &mut [u8]) {
    area.fill(0);
    area[CONTROL_WORD..CONTROL_WORD + 2].copy_from_slice(&INITIAL_CONTROL_WORD.to_le_bytes());
    area[MXCSR..MXCSR + 4].copy_from_slice(&INITIAL_MXCSR.to_le_bytes());
}

/// Takes `from` over into `area`, which is as long as the processor with `components` wants it. False, and no
/// change, when the processor would refuse it.
fn take_over(area: &mut [u8], from: &[u8], components: Option<u64>, mxcsr_mask: u32) -> bool {
    let whole = components.is_some() && from.len() >= area.len();
    if from.len() < LEGACY_AREA {
        return false;
    }
    let mxcsr = u64_at(from, MXCSR) as u32;
    if mxcsr & !mxcsr_mask != 0 {
        return false;
    }
    if whole {
        let (present, rest) = (u64_at(from, HEADER.start), &from[HEADER.start + 8..HEADER.end]);
        if present & !components.unwrap_or(0) != 0 || rest.iter().any(|byte| *byte != 0) {
            return false;
        }
        area.copy_from_slice(&from[..area.len()]);
        if present & SSE == 0 {
            // The entry code loads these whatever the header says.
            area[XMM].fill(0);
        }
        return true;
    }
    area.fill(0);
    area[..LEGACY_AREA].copy_from_slice(&from[..LEGACY_AREA]);
    if components.is_some() {
        area[HEADER.start..HEADER.start + 8].copy_from_slice(&FPU_AND_SSE.to_le_bytes());
    }
    true
}

impl ExtendedState for XState {
    fn len(&self) -> usize {
        features::area_len()
    }

    fn save(&self, into: &mut [u8]) {
        self.with(|area| {
            let len = area.len().min(into.len());
            into[..len].copy_from_slice(&area[..len]);
        });
    }

    fn load(&self, from: &[u8]) -> bool {
        self.with(|area| take_over(area, from, features::components(), features::mxcsr_mask()))
    }

    fn copy_from(&self, other: &dyn ExtendedState) {
        let any: &dyn Any = other;
        let Some(other) = any.downcast_ref::<XState>() else { panic!("a state that is not the kernel's") };
        if core::ptr::eq(self, other) {
            return;
        }
        other.with(|from| self.with(|area| area.copy_from_slice(from)));
    }

    fn reset(&self) {
        self.with(initial);
    }

    fn park(&self) {
        self.with(|_| ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XSAVE: usize = 832;

    fn area() -> Vec<u8> {
        let mut area = vec![0xee; XSAVE];
        initial(&mut area);
        area
    }

    #[test]
    fn a_program_starts_with_all_exceptions_masked() {
        let area = area();
        assert_eq!((area[0], area[1]), (0x7f, 0x03));
        assert_eq!(area[24..28], 0x1f80u32.to_le_bytes());
        assert!(area[HEADER].iter().all(|byte| *byte == 0), "everything in its initial state");
    }

    #[test]
    fn what_the_processor_would_refuse_is_refused() {
        let good = area();
        let mut kept = vec![1; XSAVE];
        for (offset, byte) in [(26, 1), (512, 8), (519, 0x80), (520, 1), (527, 0x80), (575, 1)] {
            let mut bad = good.clone();
            bad[offset] = byte;
            assert!(!take_over(&mut kept, &bad, Some(7), 0xffff), "byte {offset}");
        }
        assert!(!take_over(&mut kept, &good[..511], Some(7), 0xffff));
        assert!(kept.iter().all(|byte| *byte == 1), "no change");
        assert!(take_over(&mut kept, &good, Some(7), 0xffff));
    }

    #[test]
    fn registers_that_the_header_leaves_out_become_zero() {
        let mut from = area();
        from[XMM].fill(9);
        from[576..832].fill(9);
        from[512] = 4;
        let mut to = area();
        assert!(take_over(&mut to, &from, Some(7), 0xffff));
        assert!(to[XMM].iter().all(|byte| *byte == 0));
        assert_eq!(to[576], 9);
        from[512] = 6;
        assert!(take_over(&mut to, &from, Some(7), 0xffff));
        assert_eq!(to[XMM.start], 9);
    }

    #[test]
    fn a_short_state_has_x87_and_sse_only() {
        let mut from = area();
        from[XMM].fill(7);
        let mut to = vec![1; XSAVE];
        assert!(take_over(&mut to, &from[..512], Some(7), 0xffff));
        assert_eq!(to[HEADER.start], 3);
        assert_eq!(to[XMM.start], 7);
        assert!(to[576..].iter().all(|byte| *byte == 0));
        let mut legacy = vec![1; LEGACY_AREA];
        assert!(take_over(&mut legacy, &from, None, 0xffff));
        assert_eq!(legacy[XMM.start], 7);
    }

    #[test]
    fn states_are_copied_and_kept() {
        let (one, two) = (XState::allocate().unwrap(), XState::allocate().unwrap());
        let mut bytes = vec![0; one.len()];
        one.save(&mut bytes);
        bytes[XMM].fill(5);
        assert!(ExtendedState::load(&one, &bytes));
        two.copy_from(&one);
        two.copy_from(&two);
        let mut copied = vec![0; two.len()];
        two.save(&mut copied);
        assert_eq!(copied[XMM.start], 5);
        two.reset();
        two.save(&mut copied);
        assert_eq!(copied[XMM.start], 0);
    }
}
