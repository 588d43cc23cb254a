//! The processor cores.

mod doorbell;
pub(crate) mod idle;
mod kicker;
mod rest;
mod start;

pub use idle::Idle;
pub use kicker::kicker;
pub(crate) use start::{start_all, wake_all};

use crate::arch::cpu::{self, MSR_GS_BASE};
use crate::irq::{self, apic};
use crate::mm::heap;
use crate::postmortem::Holding;
use crate::sync::SpinLock;
use crate::time;
use crate::user::cpu::UserCpu;
use crate::user::entries::Counters;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use doorbell::Doorbell;
use rest::Rest;

/// Most cores that are used.
pub const MAX_CORES: usize = 64;

/// What belongs to one core. GS points at it; the entry code knows offsets.
#[repr(C, align(64))]
pub struct PerCpu {
    /// Vectors that fired since the core looked last, one bit each.
    pub pending: [AtomicU32; 8],
    /// Address of the APIC's EOI register; 0 in x2APIC mode.
    eoi: AtomicU64,
    core: AtomicU32,
    apic_id: AtomicU32,
    /// When the core last served the emulator's address cache, in nanoseconds since boot.
    pub refreshed: AtomicU64,
    /// What interrupted the core so far.
    pub entries: Counters,
    /// What its timer is set to.
    pub timer: time::Timer,
    /// The core's program in ring 3.
    pub user: UserCpu,
    /// What the core shall do next, for cores but the first.
    work: SpinLock<Option<Work>>,
    /// It has work for ever, and takes no other.
    is_given_away: AtomicBool,
    /// Whether it is stopped for somebody who looks at the machine.
    pub(crate) holding: Holding,
    /// How long it rested.
    pub(crate) rest: Rest,
    /// What the others ring when they have work for it.
    pub(crate) doorbell: Doorbell,
    /// It rang at one that watched, since it rested last.
    pub(crate) handed: AtomicBool,
    /// Small blocks of the heap.
    pub(crate) magazines: heap::Magazines,
}

/// Offset of [`PerCpu::entries`] for the interrupt handlers.
pub(crate) const ENTRIES: usize = core::mem::offset_of!(PerCpu, entries);

type Work = Box<dyn FnOnce() + Send>;

impl PerCpu {
    const fn new() -> PerCpu {
        PerCpu {
            pending: [const { AtomicU32::new(0) }; 8],
            eoi: AtomicU64::new(0),
            core: AtomicU32::new(0),
            apic_id: AtomicU32::new(0),
            refreshed: AtomicU64::new(0),
            entries: Counters::new(),
            timer: time::Timer::new(),
            user: UserCpu::new(),
            work: SpinLock::new(None),
            is_given_away: AtomicBool::new(false),
            holding: Holding::new(),
            rest: Rest::new(),
            doorbell: Doorbell::new(),
            handed: AtomicBool::new(false),
            magazines: heap::Magazines::new(),
        }
    }

    /// The core's number.
    pub fn core(&self) -> usize {
        self.core.load(Ordering::Relaxed) as usize
    }

    /// True when any interrupt fired since the core looked last.
    pub fn any_pending(&self) -> bool {
        self.pending.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }
}

static CPUS: [PerCpu; MAX_CORES] = [const { PerCpu::new() }; MAX_CORES];
/// Cores that run.
static ONLINE: AtomicUsize = AtomicUsize::new(1);
static STOP: AtomicBool = AtomicBool::new(false);

/// Makes this core number `core`. Before anything else on a core.
pub fn init_this_cpu(core: usize) {
    let cpu = &CPUS[core];
    cpu.core.store(core as u32, Ordering::Relaxed);
    cpu.rest.come(cpu::rdtsc());
    // SAFETY: GS is used for nothing else, and the block lives for ever.
    unsafe { cpu::wrmsr(MSR_GS_BASE, &raw const *cpu as u64) };
}

/// Notes how this core's APIC is reached; after [`apic::init_core`].
pub fn init_this_apic() {
    let cpu = this_cpu();
    cpu.eoi.store(apic::eoi_address(), Ordering::Relaxed);
    cpu.apic_id.store(apic::id(), Ordering::Relaxed);
}

/// The number of the core that asks.
pub fn current_core() -> usize {
    if cfg!(keelson_image) { this_cpu().core() } else { 0 }
}

/// The block of the core that asks.
pub fn this_cpu() -> &'static PerCpu {
    let core: u32;
    // SAFETY: GS points at this core's `PerCpu` from its first Rust instructions on; offset 40 is `core`.
    unsafe {
        core::arch::asm!("mov {:e}, gs:[40]", out(reg) core, options(nostack, preserves_flags, readonly))
    };
    &CPUS[core as usize]
}

/// The block of `core`.
pub fn cpu(core: usize) -> &'static PerCpu {
    &CPUS[core]
}

/// The block of the core that asks; on a host, where there is one, the first.
pub(crate) fn here() -> &'static PerCpu {
    if cfg!(keelson_image) { this_cpu() } else { &CPUS[0] }
}

/// APIC number of `core`.
pub fn apic_id(core: usize) -> u32 {
    CPUS[core].apic_id.load(Ordering::Relaxed)
}

/// How a core spent its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CoreTime {
    /// In the halt, waiting for an interrupt.
    pub idle: Duration,
    /// All the rest since it was started, programs in ring 3 included.
    pub busy: Duration,
}

/// How `core` spent its time so far.
pub fn core_time(core: usize) -> CoreTime {
    let (idle, busy) = CPUS[core].rest.read();
    CoreTime { idle: time::span_of(idle), busy: time::span_of(busy) }
}

/// Number of running cores.
pub fn online() -> usize {
    ONLINE.load(Ordering::Acquire)
}

/// Ends the rest of `core`, unless that is the core that asks. By an interrupt, unless it watches its doorbell.
pub fn kick(core: usize) {
    if current_core() == core || core >= online() {
        return;
    }
    match CPUS[core].doorbell.ring() {
        true => here().handed.store(true, Ordering::Relaxed),
        false => apic::send(apic_id(core), irq::call_vector()),
    }
}

/// Why [`run_on`] did not take the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunError {
    /// No such core, or the first one.
    NoCore,
    /// It has not begun its last work yet.
    Busy,
}

/// Makes `core` (not the first) run `work` for ever once it is idle: an executor. It is nobody else's then.
pub fn give_away(core: usize, work: impl FnOnce() + Send + 'static) -> Result<(), RunError> {
    let end = time::now() + PATIENCE;
    // Whoever asks cores for a sign of life may have been here a moment ago.
    while core < online() && CPUS[core].work.lock().is_some() && time::now() < end {
        core::hint::spin_loop();
    }
    run_on(core, work)?;
    CPUS[core].is_given_away.store(true, Ordering::Relaxed);
    Ok(())
}

/// [`give_away`] gave it to somebody.
pub fn is_given_away(core: usize) -> bool {
    CPUS[core].is_given_away.load(Ordering::Relaxed)
}

/// Makes `core` (not the first) run `work` once it is idle.
pub fn run_on(core: usize, work: impl FnOnce() + Send + 'static) -> Result<(), RunError> {
    if core == 0 || core >= online() {
        return Err(RunError::NoCore);
    }
    let mut slot = CPUS[core].work.lock();
    if slot.is_some() {
        return Err(RunError::Busy);
    }
    *slot = Some(Box::new(work));
    drop(slot);
    kick(core);
    Ok(())
}

/// A core has other work, or does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoAnswer {
    /// Its number.
    pub core: usize,
}

impl core::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "core {} does not answer", self.core)
    }
}

/// How long a core may take for work of [`on_each`].
const PATIENCE: Duration = Duration::from_secs(5);

/// Does `work` on this core, then on each of the others; returns when the last is done. Before the others are given work for ever.
pub fn on_each(work: fn()) -> Result<(), NoAnswer> {
    work();
    for core in 1..online() {
        let done = Arc::new(AtomicBool::new(false));
        let flag = done.clone();
        let and_say_so = move || {
            work();
            flag.store(true, Ordering::Release);
        };
        run_on(core, and_say_so).map_err(|_| NoAnswer { core })?;
        let end = time::now() + PATIENCE;
        while !done.load(Ordering::Acquire) {
            if time::now() >= end {
                return Err(NoAnswer { core });
            }
            core::hint::spin_loop();
        }
    }
    Ok(())
}

/// What a core but the first does: work as it comes, rest in between.
fn idle() -> ! {
    let cpu = this_cpu();
    loop {
        let work = cpu.work.lock().take();
        match work {
            Some(work) => work(),
            // A kick since the look above is still in the APIC and ends the rest at once.
            None => irq::rest(),
        }
    }
}

/// Stops all other cores for good: for the panic report.
pub fn stop_others() {
    if online() < 2 {
        return;
    }
    STOP.store(true, Ordering::Release);
    let me = current_core();
    for core in (0..online()).filter(|core| *core != me) {
        apic::send_nmi(apic_id(core));
    }
}

/// True when an NMI means "stop".
pub fn stop_requested() -> bool {
    STOP.load(Ordering::Acquire)
}

/// Stops this core for good.
pub fn stop_here() -> ! {
    loop {
        cpu::halt();
    }
}
