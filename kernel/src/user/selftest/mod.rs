//! User mode proves itself on the machine it runs on: programs in ring 3 do what programs may and may not do.

use super::{ComputePark, ThisCore, UserMode, features};
use crate::smp::{self, Idle};
use crate::time;
use crate::time::KernelClock;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::arch::global_asm;
use core::cell::Cell;
use core::future::poll_fn;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Poll, Waker};
use core::time::Duration;
use keelson_exec::Executor;
use keelson_hal::user::{
    Access, AddressSpace, ExtendedState, Flush, PageSize, Protection, Registers, Trap, UserContext, UserCore,
    UserMachine,
};

global_asm!(include_str!("programs.s"), options(att_syntax));

const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x60_0000;
const READ_ONLY: u64 = 0x70_0000;
const STACK_TOP: u64 = 0x60_1000;
const NOTHING: u64 = 0x7000_0000;
const KERNEL: u64 = 0xffff_8000_0000_1000;
/// Bytes from one program to the next.
const SLOT: u64 = 512;
/// What the programs are told by the system call they make.
const ANSWER: u64 = 4711;
/// A virtual machine on a busy host is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Programs of programs.s.
#[derive(Clone, Copy)]
enum Program {
    Registers = 0,
    Read = 1,
    Write = 2,
    Execute = 3,
    Divide = 4,
    Undefined = 5,
    Halt = 6,
    Breakpoint = 7,
    Spin = 8,
    Calls = 9,
    Bases = 10,
    Step = 11,
    Flags = 12,
    Wait = 13,
    Selectors = 14,
}

/// How it went.
#[derive(Default)]
pub struct Report {
    /// Checks that passed.
    pub passed: usize,
    /// What did not.
    pub failed: Vec<&'static str>,
    /// Nanoseconds of a system call that does nothing.
    pub call_ns: u64,
    /// Nanoseconds for a thousandth of zeroing, mapping and unmapping 64 MiB.
    pub map_us: u64,
}

impl Report {
    fn check(&mut self, what: &'static str, good: bool) {
        if good {
            self.passed += 1;
        } else {
            log::error!(target: "user", "self-test failed: {what}");
            self.failed.push(what);
        }
    }
}

/// A program ready to run.
struct Thread {
    space: Arc<dyn AddressSpace>,
    context: UserContext,
}

fn code() -> &'static [u8] {
    unsafe extern "C" {
        static keelson_selftest_start: u8;
        static keelson_selftest_end: u8;
    }
    let (start, end) = (&raw const keelson_selftest_start, &raw const keelson_selftest_end);
    // SAFETY: the programs lie between the two labels.
    unsafe { core::slice::from_raw_parts(start, end as usize - start as usize) }
}

fn new_space(machine: &UserMode) -> Option<Arc<dyn AddressSpace>> {
    let space = machine.new_space()?;
    for (number, page) in code().chunks(4096).enumerate() {
        let frame = machine.allocate(PageSize::Small, 0)?;
        frame.write(0, page);
        space.map(CODE + number as u64 * 4096, frame, Protection::READ_EXECUTE).ok()?;
    }
    for (at, protection) in [(DATA, Protection::READ_WRITE), (READ_ONLY, Protection::READ)] {
        space.map(at, machine.allocate(PageSize::Small, 0)?, protection).ok()?;
    }
    Some(space)
}

fn thread(
    machine: &UserMode,
    space: &Arc<dyn AddressSpace>,
    program: Program,
    argument: u64,
) -> Option<Thread> {
    let registers = Registers {
        rip: CODE + program as u64 * SLOT,
        rsp: STACK_TOP,
        rdi: argument,
        rflags: 0x202,
        ..Registers::default()
    };
    let extended: Arc<dyn ExtendedState> = machine.new_extended()?;
    Some(Thread { space: space.clone(), context: UserContext { registers, extended } })
}

impl Thread {
    fn run(&mut self, core: &ThisCore) -> Trap {
        core.run(&mut self.context, &*self.space)
    }

    /// Runs to the end, with system calls answered; what ended it.
    fn finish(&mut self, core: &ThisCore) -> Trap {
        loop {
            match self.run(core) {
                Trap::Syscall if self.context.registers.rax == 39 => self.context.registers.rax = ANSWER,
                Trap::Interrupt => {}
                other => return other,
            }
        }
    }

    /// True when the program ended itself, and was content.
    fn is_content(&mut self, core: &ThisCore) -> bool {
        let trap = self.finish(core);
        let good = trap == Trap::Syscall && self.context.registers.rax == 0;
        if !good {
            log::error!(target: "user", "{trap:?} {:x?}", self.context.registers);
        }
        good
    }
}

/// All of it, on the calling core and, if there are, on two others.
pub fn run(machine: &UserMode) -> Report {
    let mut report = Report::default();
    let Some(core) = ThisCore::new() else {
        report.failed.push("this core cannot run programs");
        return report;
    };
    let free = settled(machine);
    if alone(machine, &core, &mut report).is_none() {
        report.failed.push("out of memory");
    }
    if smp::online() > 1 && together(machine, &core, &mut report).is_none() {
        report.failed.push("out of memory");
    }
    let now = settled(machine);
    log::info!(target: "user", "free memory before and after: {} KiB, {} KiB", free >> 10, now >> 10);
    // The heap and its like keep a little.
    report.check("memory comes back", now + (512 << 10) >= free);
    report
}

/// Free memory when no core keeps anything of a program.
fn settled(machine: &UserMode) -> u64 {
    super::cpu::leave_space(smp::here());
    super::cpu::evict(smp::here());
    machine.memory(0).0
}

fn alone(machine: &UserMode, core: &ThisCore, report: &mut Report) -> Option<()> {
    let space = new_space(machine)?;
    let make = |program, argument| thread(machine, &space, program, argument);

    registers(machine, core, &space, report)?;

    let fault = |address, access, present| Trap::PageFault { address, access, present };
    for (what, program, at, expected) in [
        ("reading where nothing is", Program::Read, NOTHING, fault(NOTHING, Access::Read, false)),
        ("writing where nothing is", Program::Write, NOTHING, fault(NOTHING, Access::Write, false)),
        ("executing where nothing is", Program::Execute, NOTHING, fault(NOTHING, Access::Execute, false)),
        ("executing data", Program::Execute, DATA, fault(DATA, Access::Execute, true)),
        ("writing to a read-only page", Program::Write, READ_ONLY, fault(READ_ONLY, Access::Write, true)),
        ("reading the kernel's memory", Program::Read, KERNEL, fault(KERNEL, Access::Read, true)),
        ("writing the kernel's memory", Program::Write, KERNEL, fault(KERNEL, Access::Write, true)),
        ("no canonical address", Program::Read, 1 << 60, Trap::Exception { vector: 13, error: 0 }),
        ("divide error", Program::Divide, 0, Trap::Exception { vector: 0, error: 0 }),
        ("invalid opcode", Program::Undefined, 0, Trap::Exception { vector: 6, error: 0 }),
        ("privileged instruction", Program::Halt, 0, Trap::Exception { vector: 13, error: 0 }),
    ] {
        let mut thread = make(program, at)?;
        let trap = thread.finish(core);
        if trap != expected {
            log::error!(target: "user", "{trap:?} {:x?}", thread.context.registers);
        }
        report.check(what, trap == expected);
    }
    let mut thread = make(Program::Execute, 1 << 47)?;
    report.check(
        "jump to no address",
        matches!(thread.finish(core), Trap::Exception { vector: 13, .. } | Trap::PageFault { .. }),
    );
    thread.context.registers.rip = 1 << 47;
    report.check("start at no address", thread.run(core) == Trap::Exception { vector: 13, error: 0 });
    let mut thread = make(Program::Read, DATA)?;
    thread.context.registers.fs_base = 1 << 50;
    report.check("no canonical base", thread.run(core) == Trap::Exception { vector: 13, error: 0 });

    let mut thread = make(Program::Breakpoint, 0)?;
    report.check("breakpoint", thread.finish(core) == Trap::Exception { vector: 3, error: 0 });
    report.check("after the breakpoint", thread.is_content(core) && thread.context.registers.rdx == 7);
    let mut thread = make(Program::Step, 0)?;
    let mut steps = 0;
    while thread.finish(core) == (Trap::Exception { vector: 1, error: 0 }) {
        steps += 1;
    }
    report.check("single steps", (4..8).contains(&steps) && thread.context.registers.rax == 0);
    report.check("flags, MXCSR, x87", make(Program::Flags, 0)?.is_content(core));
    report.check("selectors", make(Program::Selectors, 0)?.is_content(core));
    if smp::here().user.has_bases.load(Ordering::Relaxed) != 0 {
        report.check("bases", make(Program::Bases, 0x1234_5678_9abc)?.is_content(core));
        report.check("kernel-like bases", make(Program::Bases, 0xffff_8000_0000_0000)?.is_content(core));
    }
    registers(machine, core, &space, report)?;
    memory(machine, &space, report)?;
    report.call_ns = speed(core, make(Program::Calls, 1_000_000)?);
    // The first time, a virtual machine's memory comes from its host.
    mapping(machine, &space)?;
    report.map_us = mapping(machine, &space)?;
    Some(())
}

/// Two threads take turns; neither sees the other's registers.
fn registers(
    machine: &UserMode,
    core: &ThisCore,
    space: &Arc<dyn AddressSpace>,
    report: &mut Report,
) -> Option<()> {
    let avx = features::components().is_some_and(|components| components & 4 != 0);
    let other_space = new_space(machine)?;
    let mut threads =
        [(space, 0x1111_2222_3333_4444), (&other_space, 0x5555_6666_7777_0000)].map(|(space, pattern)| {
            let mut thread = thread(machine, space, Program::Registers, 100);
            if let Some(thread) = &mut thread {
                thread.context.registers.rsi = avx.into();
                thread.context.registers.rbp = pattern;
            }
            thread
        });
    let mut ended = 0;
    let mut good = true;
    for turn in 0..1000 {
        let thread = threads[turn % 2].as_mut()?;
        // Something of the kernel's own that uses the registers.
        core::hint::black_box([turn as u8; 100].iter().map(|byte| f64::from(*byte)).sum::<f64>());
        match thread.run(core) {
            Trap::Syscall if thread.context.registers.rax == 39 => thread.context.registers.rax = ANSWER,
            Trap::Interrupt => {}
            trap => {
                good &= trap == Trap::Syscall && thread.context.registers.rax == 0;
                if !good {
                    log::error!(target: "user", "{trap:?} {:x?}", thread.context.registers);
                }
                ended += 1;
            }
        }
        if ended == 2 || !good {
            break;
        }
    }
    report.check("registers survive system calls", good && ended == 2);
    Some(())
}

/// The kernel's own access to user memory.
fn memory(machine: &UserMode, space: &Arc<dyn AddressSpace>, report: &mut Report) -> Option<()> {
    let far = 0x2aaa_aaa0_0000;
    report.check(
        "map 2 MiB",
        space.map(far, machine.allocate(PageSize::Large, 0)?, Protection::READ_WRITE).is_ok(),
    );
    let text = b"across the border of two pages";
    report.check("split", space.split(far).is_ok());
    report.check("write", space.write(far + 4090, text).is_ok());
    let mut back = [0; 30];
    report.check("read", space.read(far + 4090, &mut back).is_ok() && back == *text);
    report.check(
        "dirty",
        space.take_dirty(far + 4096) && !space.take_dirty(far + 4096) && !space.take_dirty(far + 8192),
    );
    space.protect(far + 4096, Protection::READ);
    report.check("write stops at a read-only page", space.write(far + 4090, text) == Err(6));
    report.check("read stops at the end", space.read(far + (2 << 20) - 3, &mut back) == Err(3));
    report.check(
        "the kernel's half is not read",
        space.read(KERNEL, &mut back) == Err(0) && space.read(u64::MAX - 3, &mut back) == Err(0),
    );
    report.check("words", space.compare_exchange_u32(far, 0, 5) == Some(0) && space.load_u32(far) == Some(5));
    report.check(
        "odd words",
        space.load_u32(far + 2).is_none() && space.compare_exchange_u32(far + 4096, 0, 1).is_none(),
    );
    let shared = space.share(far)?;
    report.check("shared", shared.is_shared());
    let frame = space.unmap(far)?;
    report.check("unmapped frames stay while held", frame.address() == shared.address());
    drop(frame);
    report.check("then they are not shared", !shared.is_shared());
    for part in 1..512 {
        space.unmap(far + part * 4096)?;
    }
    report.check("nothing left", space.next(far, far + (2 << 20)).is_none());
    let mut bytes = vec![0; machine.new_extended()?.len()];
    machine.new_extended()?.save(&mut bytes);
    report.check("extended state", machine.new_extended()?.load(&bytes));
    Some(())
}

fn speed(core: &ThisCore, mut thread: Thread) -> u64 {
    let began = time::now();
    let mut calls = 0u64;
    while thread.run(core) == Trap::Syscall && thread.context.registers.rax != 0 {
        thread.context.registers.rax = ANSWER;
        calls += 1;
    }
    (time::now() - began).as_nanos() as u64 / calls.max(1)
}

/// Microseconds for 64 MiB of zeroed memory in 2 MiB pages, mapped and unmapped.
fn mapping(machine: &UserMode, space: &Arc<dyn AddressSpace>) -> Option<u64> {
    let began = time::now();
    for number in 0..32 {
        space
            .map(number << 21 | 1 << 40, machine.allocate(PageSize::Large, 0)?, Protection::READ_WRITE)
            .ok()?;
    }
    for number in 0..32 {
        space.unmap(number << 21 | 1 << 40)?;
    }
    space.flush(Flush::Lazy);
    Some((time::now() - began).as_micros() as u64)
}

/// What a thread on another core found.
#[derive(Default)]
struct Other {
    /// 0: not there yet; 1: about to run; 2: ended.
    state: AtomicU64,
    trap: spin::Mutex<Option<(Trap, Registers)>>,
    /// Runs on through interrupts.
    stubborn: bool,
}

/// Runs `thread` on `core` until a trap that is no system call.
fn start_on(core: usize, mut thread: Thread, stubborn: bool) -> Arc<Other> {
    let other = Arc::new(Other { stubborn, ..Other::default() });
    let shared = other.clone();
    let work = move || {
        let Some(this) = ThisCore::new() else { return };
        shared.state.store(1, Ordering::Release);
        let trap = loop {
            match thread.run(&this) {
                Trap::Interrupt if shared.stubborn => {}
                Trap::Syscall if thread.context.registers.rax == 39 => thread.context.registers.rax = ANSWER,
                trap => break trap,
            }
        };
        *shared.trap.lock() = Some((trap, thread.context.registers));
        drop(thread);
        shared.state.store(2, Ordering::Release);
    };
    // It has begun its last work, so that it takes this one.
    let _ = smp::run_on(core, work);
    wait(|| other.state.load(Ordering::Acquire) != 0);
    other
}

/// Waits with patience; false when it ran out.
fn wait(mut done: impl FnMut() -> bool) -> bool {
    let end = time::now() + PATIENCE;
    while !done() {
        if time::now() > end {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

impl Other {
    fn ended(&self) -> bool {
        wait(|| self.state.load(Ordering::Acquire) == 2)
    }

    fn trap(&self) -> Option<Trap> {
        self.trap.lock().map(|(trap, _)| trap)
    }
}

fn together(machine: &UserMode, core: &ThisCore, report: &mut Report) -> Option<()> {
    let space = new_space(machine)?;
    let count = || space.load_u32(DATA + 8).unwrap_or(0);
    let counting = || {
        let before = count();
        wait(|| count() != before)
    };

    let spinning = start_on(1, thread(machine, &space, Program::Spin, DATA + 8)?, false);
    report.check("a program runs on another core", counting());
    let before = machine.entries(1);
    machine.kick(1);
    report.check("a kick ends it", spinning.ended() && spinning.trap() == Some(Trap::Interrupt));
    let after = machine.entries(1);
    report
        .check("a kick counts as kick", after.kick == before.kick + 1 && after.shootdown == before.shootdown);
    report.check("no timer interrupts it", after.timer == before.timer && after.device == before.device);

    let page = 0x2aaa_aaa0_0000;
    let frame = machine.allocate(PageSize::Small, 0)?;
    frame.write(0, &1u64.to_le_bytes());
    space.map(page, frame, Protection::READ_WRITE).ok()?;
    let waiting = start_on(1, thread(machine, &space, Program::Wait, page)?, true);
    crate::time::spin(Duration::from_millis(20));
    report.check("it waits", waiting.state.load(Ordering::Acquire) == 1);
    let frame = space.unmap(page)?;
    report.check("an unmapped page waits for the core in ring 3", frame.is_shared());
    space.flush(Flush::Now);
    report.check("flush brings it out", waiting.ended());
    let expected = Trap::PageFault { address: page, access: Access::Read, present: false };
    report.check("it finds the page gone", waiting.trap() == Some(expected));
    report.check("then the page is free", !frame.is_shared());
    report.check("flush counts as shootdown", machine.entries(1).shootdown > after.shootdown);
    drop(frame);

    let writing = start_on(1, thread(machine, &space, Program::Spin, DATA + 8)?, true);
    report.check("it writes", counting());
    space.protect(DATA, Protection::READ);
    space.flush(Flush::Now);
    let expected = Trap::PageFault { address: DATA + 8, access: Access::Write, present: true };
    report.check("less rights, at once", writing.ended() && writing.trap() == Some(expected));
    space.protect(DATA, Protection::READ_WRITE);

    migrate(machine, core, &space, report)?;
    rest(machine, report);
    if smp::online() > 2 {
        mutual(machine, &space, report)?;
    }
    Some(())
}

/// A thread goes from core to core without `park`: its registers follow.
fn migrate(
    machine: &UserMode,
    core: &ThisCore,
    space: &Arc<dyn AddressSpace>,
    report: &mut Report,
) -> Option<()> {
    let mut mine = thread(machine, space, Program::Registers, 3)?;
    mine.context.registers.rbp = 0x7777_0000_1111_2222;
    mine.context.registers.rsi = features::components().is_some_and(|components| components & 4 != 0).into();
    let first = loop {
        match mine.run(core) {
            Trap::Interrupt => {}
            other => break other,
        }
    };
    mine.context.registers.rax = ANSWER;
    let shared = start_on(1, mine, true);
    // This core has the state: it is asked for it.
    let ended = wait(|| {
        super::cpu::serve_requests(smp::here());
        shared.state.load(Ordering::Acquire) == 2
    });
    let found = *shared.trap.lock();
    let good = found.is_some_and(|(trap, registers)| trap == Trap::Syscall && registers.rax == 0);
    if !good {
        log::error!(target: "user", "{first:?} {ended} {found:x?}");
    }
    report.check("a thread migrates", first == Trap::Syscall && ended && good);
    Some(())
}

/// Two cores flush the same space at each other.
fn mutual(machine: &UserMode, space: &Arc<dyn AddressSpace>, report: &mut Report) -> Option<()> {
    const ROUNDS: u64 = 200;
    let spinning = start_on(1, thread(machine, space, Program::Spin, DATA + 8)?, true);
    let theirs = space.clone();
    let done = Arc::new(AtomicU64::new(0));
    let count = done.clone();
    let _ = smp::run_on(2, move || {
        for _ in 0..ROUNDS {
            theirs.flush(Flush::Now);
            count.fetch_add(1, Ordering::Release);
        }
    });
    for _ in 0..ROUNDS {
        space.flush(Flush::Now);
    }
    report.check("two cores flush at once", wait(|| done.load(Ordering::Acquire) == ROUNDS));
    space.protect(DATA, Protection::READ);
    space.flush(Flush::Now);
    report.check("the third goes on until it may not", spinning.ended());
    space.protect(DATA, Protection::READ_WRITE);
    Some(())
}

/// A core with an executor rests without a timer, and wakes when it is wanted.
fn rest(machine: &UserMode, report: &mut Report) {
    const ROUNDS: u64 = 100;
    #[derive(Default)]
    struct Shared {
        wanted: AtomicU64,
        answered: AtomicU64,
        waker: spin::Mutex<Option<Waker>>,
        audit: spin::Mutex<Option<super::Audit>>,
    }
    let shared = Arc::new(Shared::default());
    let theirs = shared.clone();
    let serve = move || {
        let executor = Executor::new(Rc::new(KernelClock), Some(smp::kicker(1)));
        let done = Rc::new(Cell::new(false));
        let end = done.clone();
        executor.handle().spawn("self-test", async move {
            while theirs.answered.load(Ordering::Relaxed) < ROUNDS {
                poll_fn(|context| {
                    *theirs.waker.lock() = Some(context.waker().clone());
                    let news =
                        theirs.wanted.load(Ordering::Acquire) != theirs.answered.load(Ordering::Relaxed);
                    if news { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                theirs.answered.fetch_add(1, Ordering::Release);
            }
            *theirs.audit.lock() = Some(super::audit());
            end.set(true);
        });
        executor.run_until(&ComputePark::new(Idle::default()), || done.get());
    };
    let _ = smp::run_on(1, serve);
    let before = machine.entries(1);
    let mut answered = true;
    for round in 1..=ROUNDS {
        // Now and then it has time to fall asleep.
        crate::time::spin(Duration::from_micros(if round % 10 == 0 { 5000 } else { 20 }));
        shared.wanted.store(round, Ordering::Release);
        let waker = shared.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
        answered &= wait(|| shared.answered.load(Ordering::Acquire) == round);
    }
    report.check("a resting core answers", answered);
    let after = machine.entries(1);
    report.check("it was woken by doorbells", after.doorbell > before.doorbell && after.kick == before.kick);
    report.check("and by nothing else", (after.timer, after.device) == (before.timer, before.device));
    wait(|| shared.audit.lock().is_some());
    let audit = shared.audit.lock().unwrap_or_default();
    report.check("its APIC is silent", audit.unmasked == 0 && audit.in_service == 0 && audit.priority == 0);
    super::mark();
}
