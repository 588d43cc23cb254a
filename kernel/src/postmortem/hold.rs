//! Stopping the other cores for a while, by NMI.
//!
//! A core stops where it holds no lock: in ring 3, or at rest. Elsewhere the NMI only saves its registers and returns, and a little
//! later it is asked again. So whoever looks at the machine meanwhile can use all of the kernel. A core that hangs in the kernel
//! does not stop; the registers that it had when it was asked last are saved all the same.
//!
//! ```text
//!   asker                         core
//!   asked += 1, NMI ----------->  save registers; lock-free here?  yes: held, until nobody holds any more
//!        ^                          no |                            |
//!        +------ answered <------------+                <-----------+ answered
//! ```

use super::block::{self, CoreState};
use super::own;
use crate::arch::cpu;
use crate::arch::exception::Frame;
use crate::irq::apic;
use crate::mm;
use crate::smp::{self, PerCpu};
use crate::sync::SpinLock;
use crate::time;
use crate::user;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use keelson_elf::register;

/// How long a core may take to come to where it can be stopped. A virtual one may not be running.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two times that it is asked.
const AGAIN: Duration = Duration::from_micros(200);
/// How long the others may take to stop after a panic: nobody waits for the one that is stuck.
const PANIC_PATIENCE: Duration = Duration::from_millis(200);

/// The cores are to stay where they are: number of the stop, 0 for none. A core that has not left one yet does not count for the
/// next.
static HOLD: AtomicU32 = AtomicU32::new(0);
/// Number of the last stop.
static LAST: AtomicU32 = AtomicU32::new(0);
/// In place of a stop's number: the core never runs again.
const FOR_GOOD: u32 = u32::MAX;

/// A core's part of it.
pub(crate) struct Holding {
    /// Times that it was asked by NMI.
    asked: AtomicU32,
    /// What `asked` was when it had done so last. Different: an NMI is on its way, and ours.
    answered: AtomicU32,
    /// The stop that it stays in, or [`FOR_GOOD`].
    held: AtomicU32,
    /// It is in the idle halt.
    resting: AtomicBool,
}

impl Holding {
    pub const fn new() -> Holding {
        Holding {
            asked: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            held: AtomicU32::new(0),
            resting: AtomicBool::new(false),
        }
    }

    /// Says whether this core rests: whoever stops it there finds no lock held.
    pub fn set_resting(&self, resting: bool) {
        self.resting.store(resting, Ordering::Relaxed);
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire) != self.answered.load(Ordering::Acquire)
    }

    fn is_held(&self) -> bool {
        let held = self.held.load(Ordering::Acquire);
        held == FOR_GOOD || held != 0 && held == HOLD.load(Ordering::SeqCst)
    }
}

/// The stack of the core that holds the others, as it was when its registers were saved: since then it went on.
struct OwnStack {
    /// Physical address of the first byte.
    physical: u64,
    bytes: Vec<u8>,
}

static OWN_STACK: SpinLock<Option<OwnStack>> = SpinLock::new(None);

/// Stops all cores but this one, and saves the registers of all. The cores that did not stop are returned: they run.
pub fn hold() -> Vec<usize> {
    save_own();
    let number = LAST.load(Ordering::Relaxed) % (FOR_GOOD - 1) + 1;
    LAST.store(number, Ordering::Relaxed);
    HOLD.store(number, Ordering::SeqCst);
    block::stopped_now();
    let me = smp::here().core();
    let others = || (0..smp::online()).filter(move |core| *core != me);
    let end = time::now() + PATIENCE;
    while others().any(|core| !smp::cpu(core).holding.is_held()) && time::now() < end {
        for core in others() {
            let holding = &smp::cpu(core).holding;
            if !holding.is_held() && !holding.is_asked() {
                holding.asked.fetch_add(1, Ordering::AcqRel);
                apic::send_nmi(smp::apic_id(core));
            }
        }
        time::spin(AGAIN);
    }
    // Zeroed in advance by cores that had nothing to do: to a dump it is free memory.
    user::give_up_zeroed();
    others().filter(|core| !smp::cpu(*core).holding.is_held()).collect()
}

/// True from [`hold`] to [`release`].
pub fn is_holding() -> bool {
    HOLD.load(Ordering::Acquire) != 0
}

/// True when `core` does not run until it is let go. What was sent to it meanwhile is there before its next instruction.
pub fn is_held(core: usize) -> bool {
    smp::cpu(core).holding.is_held()
}

/// Lets all cores go on.
pub fn release() {
    if HOLD.swap(0, Ordering::SeqCst) == 0 {
        return;
    }
    *OWN_STACK.lock() = None;
    block::going_on();
    // An NMI between `sti` and `hlt` ends the shadow of `sti`: an interrupt may have been taken before the halt that it should end.
    (0..smp::online()).for_each(smp::kick);
}

/// The part of `into`, which was read from `physical` on, that the own stack covers is replaced by what was there when the
/// registers were saved.
pub(super) fn restore_own_stack(physical: u64, into: &mut [u8]) {
    let own = OWN_STACK.lock();
    let Some(own) = own.as_ref() else { return };
    let ends = (physical.saturating_add(into.len() as u64), own.physical + own.bytes.len() as u64);
    let (start, end) = (physical.max(own.physical), ends.0.min(ends.1));
    if start >= end {
        return;
    }
    let part = |base: u64| (start - base) as usize..(end - base) as usize;
    if let (Some(to), Some(from)) = (into.get_mut(part(physical)), own.bytes.get(part(own.physical))) {
        to.copy_from_slice(from);
    }
}

/// Saves registers and stack of this core.
#[inline(never)]
fn save_own() {
    let registers = own::registers_here();
    let here = smp::here();
    block::core(here.core()).save(CoreState::Live, &registers, here);
    let rsp = registers[register::RSP] as usize;
    let copy = mm::stack::around(rsp).and_then(|stack| {
        let physical = mm::stack::physical(rsp)?;
        // SAFETY: the part of the stack in use, which is mapped; nobody else writes to it.
        let bytes = unsafe { core::slice::from_raw_parts(rsp as *const u8, stack.end - rsp) };
        Some(OwnStack { physical, bytes: bytes.to_vec() })
    });
    *OWN_STACK.lock() = copy;
}

/// Called by the entry code of NMI on this core's NMI stack. False when it is a failure: nobody here sent it, and this core has
/// not failed yet.
pub(crate) fn nmi(cpu: &PerCpu, frame: &Frame, gs_base: u64) -> bool {
    // The core that reports is in nobody's hold, whether it was asked a moment before it failed, or a button is pressed again.
    if block::core(cpu.core()).has_failed() {
        return true;
    }
    let holding = &cpu.holding;
    let stop = smp::stop_requested();
    if !stop && !holding.is_asked() {
        return false;
    }
    let asked = holding.asked.load(Ordering::Acquire);
    block::core(cpu.core()).save(CoreState::Live, &own::from_frame(frame, gs_base), cpu);
    if stop {
        stop_here(holding);
    }
    let lock_free = frame.cs & 3 == 3 || holding.resting.load(Ordering::Relaxed);
    let number = HOLD.load(Ordering::SeqCst);
    if lock_free && number != 0 {
        holding.held.store(number, Ordering::Release);
        while HOLD.load(Ordering::Acquire) == number {
            if smp::stop_requested() {
                stop_here(holding);
            }
            cpu::pause();
        }
        holding.held.store(0, Ordering::Release);
    }
    holding.answered.store(asked, Ordering::Release);
    true
}

/// Stops this core for good.
pub(super) fn stop_here(holding: &Holding) -> ! {
    holding.held.store(FOR_GOOD, Ordering::Release);
    smp::stop_here()
}

/// After [`smp::stop_others`]: gives them time to save their registers.
pub(super) fn wait_for_stops() {
    let me = smp::here().core();
    let end = time::now() + PANIC_PATIENCE;
    let stopped = || (0..smp::online()).all(|core| core == me || smp::cpu(core).holding.is_held());
    // Without a clock (a panic in early boot) there are no others.
    while !stopped() && time::now() < end {
        cpu::pause();
    }
}
