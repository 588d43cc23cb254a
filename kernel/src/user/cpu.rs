//! What a core knows about the program it runs, and running it.

use super::entries::count;
use super::entry;
use super::extended::XState;
use super::features;
use super::space::{self, Inner, Space};
use crate::arch::cpu::{self, MSR_FS_BASE, MSR_KERNEL_GS_BASE};
use crate::irq::{apic, vector};
use crate::postmortem;
use crate::smp::{self, PerCpu};
use crate::sync::SpinLock;
use crate::time;
use alloc::sync::Arc;
use core::any::Any;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use keelson_hal::Instant;
use keelson_hal::user::{Access, AddressSpace, ExtendedState, Registers, Trap, UserContext, UserCore};

/// Exceptions that count apart.
const DEBUG: u64 = 1;
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u64 = 14;
/// Error code of a page fault (Intel SDM volume 3, section 4.7).
const FAULT_PRESENT: u64 = 1;
const FAULT_WRITE: u64 = 1 << 1;
const FAULT_EXECUTE: u64 = 1 << 4;
/// First address that is not a program's.
pub const USER_END: u64 = 1 << 47;
/// No base that a processor could have: the next comparison fails.
const NOT_LOADED: u64 = 1 << 63;

/// A core's part of user mode. The entry code knows the offsets of the first half.
#[repr(C)]
pub struct UserCpu {
    /// Stack pointer to go on with when the program comes back.
    pub kernel_stack: AtomicU64,
    /// Address of the program's `Registers`.
    pub context: AtomicU64,
    /// Address of the extended state that is loaded.
    pub area: AtomicU64,
    /// RSP of the program while it is being saved.
    pub user_stack: AtomicU64,
    /// FS base in the processor; what programs may change themselves is read back at each entry.
    pub fs_loaded: AtomicU64,
    /// The program's GS base in the processor.
    pub gs_loaded: AtomicU64,
    /// Vector of the last trap.
    pub vector: AtomicU64,
    /// Its error code.
    pub error: AtomicU64,
    /// CR2 at the last trap.
    pub address: AtomicU64,
    /// Room for MXCSR.
    pub mxcsr: AtomicU32,
    /// 1 when programs can change FS and GS base themselves (CR4.FSGSBASE).
    pub has_bases: AtomicU32,

    /// The core can run programs.
    pub ready: AtomicBool,
    /// Somebody wants the loaded extended state in memory.
    pub evict: AtomicBool,
    /// Address of the `AddressSpace` given to `run` last: it is loaded while its generation is `seen`.
    space_key: AtomicUsize,
    /// Address of the `Inner` of the loaded space; 0 for none.
    space: AtomicUsize,
    /// Generation of the loaded space at the last load of CR3.
    pub seen: AtomicU64,
    /// Address of the `Inner` whose program is in ring 3, or about to be; 0 for none.
    pub inside: AtomicUsize,
    /// Address of the `Inner` whose tables this core follows at the moment; 0 for none.
    pub walking: AtomicUsize,
    /// Single translations dropped since CR3 was loaded.
    dropped: AtomicU32,
    /// Address of the `ExtendedState` that is loaded; 0 for none.
    state_key: AtomicUsize,
    /// Keeps alive what is loaded.
    loaded: SpinLock<Loaded>,
}

struct Loaded {
    space: Option<Arc<Inner>>,
    state: Option<Arc<XState>>,
}

impl UserCpu {
    /// Of a core that has run no program.
    pub const fn new() -> UserCpu {
        UserCpu {
            kernel_stack: AtomicU64::new(0),
            context: AtomicU64::new(0),
            area: AtomicU64::new(0),
            user_stack: AtomicU64::new(0),
            fs_loaded: AtomicU64::new(NOT_LOADED),
            gs_loaded: AtomicU64::new(NOT_LOADED),
            vector: AtomicU64::new(0),
            error: AtomicU64::new(0),
            address: AtomicU64::new(0),
            mxcsr: AtomicU32::new(0),
            has_bases: AtomicU32::new(0),
            ready: AtomicBool::new(false),
            evict: AtomicBool::new(false),
            space_key: AtomicUsize::new(0),
            space: AtomicUsize::new(0),
            seen: AtomicU64::new(0),
            inside: AtomicUsize::new(0),
            walking: AtomicUsize::new(0),
            dropped: AtomicU32::new(0),
            state_key: AtomicUsize::new(0),
            loaded: SpinLock::new(Loaded { space: None, state: None }),
        }
    }
}

impl Default for UserCpu {
    fn default() -> UserCpu {
        UserCpu::new()
    }
}

/// The core that asks, as a runner of programs. Belongs to its core: neither `Send` nor `Sync`.
pub struct ThisCore {
    cpu: &'static PerCpu,
    not_send: core::marker::PhantomData<*const ()>,
}

impl ThisCore {
    /// The calling core, if it can run programs ([`super::init`]).
    pub fn new() -> Option<ThisCore> {
        let cpu = smp::here();
        let ready = cpu.user.ready.load(Ordering::Acquire);
        ready.then_some(ThisCore { cpu, not_send: core::marker::PhantomData })
    }
}

impl UserCore for ThisCore {
    fn run(&self, context: &mut UserContext, space: &dyn AddressSpace) -> Trap {
        let cpu = self.cpu;
        let user = &cpu.user;
        if context.registers.rip >= USER_END {
            return Trap::Exception { vector: GENERAL_PROTECTION, error: 0 };
        }
        loop {
            serve_requests(cpu);
            if user.state_key.load(Ordering::Relaxed) != key_of(&*context.extended) {
                load_state(cpu, &context.extended);
            }
            let registers = &context.registers;
            if (user.fs_loaded.load(Ordering::Relaxed), user.gs_loaded.load(Ordering::Relaxed))
                != (registers.fs_base, registers.gs_base)
                && !load_bases(user, registers)
            {
                return Trap::Exception { vector: GENERAL_PROTECTION, error: 0 };
            }
            if user.space_key.load(Ordering::Relaxed) != space_key_of(space) {
                load_space(cpu, space);
            }
            user.inside.store(user.space.load(Ordering::Relaxed), Ordering::Relaxed);
            // From here on others see us inside, or we see their change; and interrupt us, or we see that they rang.
            if cpu.doorbell.leave_behind(|| fence(Ordering::SeqCst)) {
                user.inside.store(0, Ordering::Release);
                return Trap::Interrupt;
            }
            // SAFETY: `Loaded::space` keeps it alive.
            let inner = unsafe { &*(user.space.load(Ordering::Relaxed) as *const Inner) };
            if inner.generation() != user.seen.load(Ordering::Relaxed) {
                user.inside.store(0, Ordering::Release);
                // Changed, or the key belongs to a new space at an old one's address.
                if inner.is_dead() {
                    user.space_key.store(0, Ordering::Relaxed);
                } else {
                    reload(cpu, inner);
                }
                continue;
            }
            // SAFETY: 1. `ready`; the space's tables are in CR3, the state is loaded; 2. checked above.
            let syscall = unsafe { entry::enter(&mut context.registers) };
            user.inside.store(0, Ordering::Release);
            cpu.doorbell.watch();
            if syscall {
                return Trap::Syscall;
            }
            if let Some(trap) = trapped(cpu) {
                return trap;
            }
        }
    }

    fn limit(&self, deadline: Instant) {
        // The others' timers are off: see `ComputePark`.
        if self.cpu.core() == 0 {
            let now = time::now();
            time::arm_timer(deadline.max(now), now);
        }
    }

    fn works_for(&self, pid: u32, tid: u32) {
        postmortem::runs(self.cpu.core(), pid, tid);
    }
}

/// Address of the object: what tells at little cost that it is the same as last time.
fn key_of(state: &dyn ExtendedState) -> usize {
    &raw const *state as *const () as usize
}

fn space_key_of(space: &dyn AddressSpace) -> usize {
    &raw const *space as *const () as usize
}

/// Says what brought the program back; `None` when it was only to look at the page tables.
#[inline(never)]
fn trapped(cpu: &PerCpu) -> Option<Trap> {
    let (user, entries) = (&cpu.user, &cpu.entries);
    let (number, error) = (user.vector.load(Ordering::Relaxed), user.error.load(Ordering::Relaxed));
    if number == PAGE_FAULT {
        count(&entries.page_faults);
        let access = match error {
            _ if error & FAULT_EXECUTE != 0 => Access::Execute,
            _ if error & FAULT_WRITE != 0 => Access::Write,
            _ => Access::Read,
        };
        let address = user.address.load(Ordering::Relaxed);
        return Some(Trap::PageFault { address, access, present: error & FAULT_PRESENT != 0 });
    }
    if number < u64::from(vector::PIC_BASE) {
        count(&entries.exceptions);
        if number == DEBUG {
            clear_debug_status();
        }
        return Some(Trap::Exception { vector: number as u8, error });
    }
    interrupted(cpu, number as u8)
}

/// Does what the handlers of [`vector`] do in ring 0.
fn interrupted(cpu: &PerCpu, number: u8) -> Option<Trap> {
    let entries = &cpu.entries;
    match number {
        vector::TIMER => count(&entries.timer),
        vector::WAKE => {
            count(&entries.doorbell);
            count(&entries.kick);
        }
        vector::SHOOTDOWN => count(&entries.shootdown),
        vector::SPURIOUS => {
            count(&entries.spurious);
            return None;
        }
        _ => count(&entries.device),
    }
    if number == vector::SHOOTDOWN {
        apic::acknowledge();
        return None;
    }
    cpu.pending[usize::from(number / 32)].fetch_or(1 << (number % 32), Ordering::Relaxed);
    // The dispatcher masks a level-triggered wire before it acknowledges.
    if !(vector::LEVEL..vector::DEVICES_END).contains(&number) {
        apic::acknowledge();
    }
    // The executor looks for work now.
    cpu.doorbell.answer();
    Some(Trap::Interrupt)
}

/// The processor sets bits in DR6 and never clears them (Intel SDM volume 3, 18.2.3).
fn clear_debug_status() {
    // SAFETY: all breakpoints are off; only the status goes back to its value after reset.
    unsafe { asm!("mov dr6, {}", in(reg) 0xffff_0ff0u64, options(nomem, nostack, preserves_flags)) };
}

/// Does for others what only this core can do. Called by every core now and then: before ring 3, in its rest,
/// while it waits for another.
pub fn serve_requests(cpu: &PerCpu) {
    if cpu.user.evict.load(Ordering::Relaxed) && cpu.user.evict.swap(false, Ordering::AcqRel) {
        evict(cpu);
    }
}

/// Puts the loaded extended state into memory.
#[cold]
#[inline(never)]
pub fn evict(cpu: &PerCpu) {
    let state = cpu.user.loaded.lock().state.take();
    cpu.user.state_key.store(0, Ordering::Relaxed);
    if let Some(state) = state {
        state.store_loaded();
    }
}

/// Loads the state of another thread.
#[cold]
#[inline(never)]
fn load_state(cpu: &PerCpu, extended: &Arc<dyn ExtendedState>) {
    evict(cpu);
    let any: Arc<dyn Any + Send + Sync> = extended.clone();
    let Ok(state) = any.downcast::<XState>() else { panic!("an extended state that is not the kernel's") };
    state.load(cpu.core());
    let user = &cpu.user;
    user.area.store(state.address() as u64, Ordering::Relaxed);
    user.state_key.store(key_of(&**extended), Ordering::Relaxed);
    user.loaded.lock().state = Some(state);
    reset_selectors(cpu);
    if user.has_bases.load(Ordering::Relaxed) == 0 {
        // Nobody noticed if the program before loaded a null selector, and with it a base of zero.
        user.fs_loaded.store(NOT_LOADED, Ordering::Relaxed);
    }
}

/// The program before may have loaded its selectors, and with them the bases.
fn reset_selectors(cpu: &PerCpu) {
    let (ds, es, fs, gs): (u16, u16, u16, u16);
    // SAFETY: reads registers.
    unsafe {
        asm!("mov {0:x}, ds", "mov {1:x}, es", "mov {2:x}, fs", "mov {3:x}, gs",
            out(reg) ds, out(reg) es, out(reg) fs, out(reg) gs, options(nomem, nostack, preserves_flags));
    }
    if ds | es | fs | gs != 0 {
        // SAFETY: 1. the kernel uses none of these selectors; 2. loading GS may clear its base, which is written
        // again at once: in between nothing needs it (an NMI finds the block by itself).
        unsafe {
            asm!("mov ds, {0:x}", "mov es, {0:x}", "mov fs, {0:x}", "mov gs, {0:x}",
                in(reg) 0, options(nomem, nostack, preserves_flags));
            cpu::wrmsr(cpu::MSR_GS_BASE, &raw const *cpu as u64);
        }
        cpu.user.fs_loaded.store(NOT_LOADED, Ordering::Relaxed);
    }
}

/// Loads FS and GS base; false when the processor would refuse them.
#[cold]
fn load_bases(user: &UserCpu, registers: &Registers) -> bool {
    let canonical = |base: u64| (base << 16) as i64 >> 16 == base as i64;
    if !canonical(registers.fs_base) || !canonical(registers.gs_base) {
        return false;
    }
    // SAFETY: canonical; the kernel does not use FS, and its own GS base is in the other register.
    unsafe {
        cpu::wrmsr(MSR_FS_BASE, registers.fs_base);
        cpu::wrmsr(MSR_KERNEL_GS_BASE, registers.gs_base);
    }
    user.fs_loaded.store(registers.fs_base, Ordering::Relaxed);
    user.gs_loaded.store(registers.gs_base, Ordering::Relaxed);
    true
}

/// Switches to another space.
#[cold]
#[inline(never)]
fn load_space(cpu: &PerCpu, space: &dyn AddressSpace) {
    let any: &dyn Any = space;
    let Some(concrete) = any.downcast_ref::<Space>() else {
        panic!("an address space that is not the kernel's")
    };
    let inner = concrete.inner();
    leave_space(cpu);
    inner.enter(cpu.core());
    cpu.user.space.store(Arc::as_ptr(inner) as usize, Ordering::Relaxed);
    cpu.user.space_key.store(space_key_of(space), Ordering::Relaxed);
    cpu.user.loaded.lock().space = Some(inner.clone());
    reload(cpu, inner);
}

/// Loads CR3 anew, and so forgets what changed.
#[cold]
#[inline(never)]
fn reload(cpu: &PerCpu, inner: &Inner) {
    // What changes from here on is seen as a change.
    let generation = inner.generation();
    fence(Ordering::SeqCst);
    // SAFETY: the kernel half is the same in all spaces; the tables live as long as the core has them loaded.
    unsafe { cpu::set_cr3(inner.root()) };
    cpu.user.seen.store(generation, Ordering::Release);
    cpu.user.dropped.store(0, Ordering::Relaxed);
    inner.drain();
}

/// Goes back to the kernel's own tables, if a program's are loaded.
pub fn leave_space(cpu: &PerCpu) {
    let Some(old) = cpu.user.loaded.lock().space.take() else { return };
    // SAFETY: the kernel's tables map all that the kernel uses.
    unsafe { cpu::set_cr3(space::kernel_root()) };
    cpu.user.space.store(0, Ordering::Relaxed);
    cpu.user.space_key.store(0, Ordering::Relaxed);
    // Until the next space is loaded, nothing of it has been seen.
    cpu.user.seen.store(0, Ordering::Relaxed);
    old.leave(cpu.core());
}

/// Leaves the space if its process is gone: for cores at rest.
pub fn leave_dead_space(cpu: &PerCpu) {
    if cpu.user.space.load(Ordering::Relaxed) == 0 {
        return;
    }
    let dead = cpu.user.loaded.lock().space.as_ref().is_some_and(|inner| inner.is_dead());
    if dead {
        leave_space(cpu);
    }
}

/// Single translations that are dropped one by one before it is cheaper to forget them all.
const DROPPED_MAX: u32 = 8;

/// After a change of `inner` at `at` that made its generation `generation`: drops the one translation on this
/// core, so that it does not have to forget all.
pub fn drop_translation(cpu: &PerCpu, inner: &Inner, at: u64, generation: u64) {
    let user = &cpu.user;
    let dropped = user.dropped.load(Ordering::Relaxed);
    if user.space.load(Ordering::Relaxed) == &raw const *inner as usize
        && user.seen.load(Ordering::Relaxed) + 1 == generation
        && dropped < DROPPED_MAX
    {
        cpu::invlpg(at as usize);
        user.dropped.store(dropped + 1, Ordering::Relaxed);
        user.seen.store(generation, Ordering::Release);
    }
}

/// Prepares this core; on the core itself, once.
pub fn init_core() {
    let cpu = smp::here();
    let bases = features::init_core();
    cpu.user.has_bases.store(bases.into(), Ordering::Relaxed);
    reset_selectors(cpu);
    cpu.user.ready.store(true, Ordering::Release);
}
