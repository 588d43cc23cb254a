//! The task of a thread: into ring 3, and what brings it back.
//!
//! ```text
//!            +---------------------------------------------+
//!            v                                             |
//!   look around (signals, stop, move, end) --> ring 3 --> serve: system call, fault, exception
//! ```
//!
//! The quick calls ([`syscalls::quick`]) go straight back: they cost no clock and no change of the core's state.

use crate::account::Phase;
use crate::cores::{Core, CoreState, Start};
use crate::exit;
use crate::faults;
use crate::mm::{Fault, Mm};
use crate::restart;
use crate::signals::{Action, Claimed, SA_RESTART, SigInfo};
use crate::syscalls::{self, Caller};
use crate::thread::{Attention, Thread, Wait};
use crate::watched::{Begun, End};
use crate::{Errno, signals};
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::Ordering;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_hal::user::{Access, Registers, Trap, UserContext, UserCore};
use keelson_lwk_wire::messages::Shown;

/// Bytes of the `syscall` instruction.
const SYSCALL_LENGTH: u64 = 2;

/// How long a helper thread keeps a service core, and how long it lets it be in between at least.
const TURN: Duration = Duration::from_millis(1);
const PAUSE: Duration = Duration::from_micros(50);

/// How a thread leaves its task.
pub(crate) enum Outcome {
    /// It ends; the code of exit(2) when it was called.
    End(Option<u32>),
    /// It goes on on another core.
    Move(Arc<Core>),
    /// It goes on here as another thread: exec by a thread that was not the first.
    Become(Arc<Thread>),
}

/// A thread on its core.
pub(crate) struct Task {
    pub thread: Arc<Thread>,
    pub context: UserContext,
    pub mm: Arc<Mm>,
    core: Arc<Core>,
    user: Rc<dyn UserCore>,
    /// The core serves network, hosts and time: a helper thread there must not keep it from that.
    serves: bool,
    /// On a service core: when the others there have their turn.
    turn_ends: Option<Instant>,
    /// The call that was interrupted, and how it is made again.
    interrupted: Option<(u64, Errno)>,
    /// Somebody looks at the calls of the process.
    watched: bool,
}

/// Runs a thread on `core` until it ends or leaves.
pub(crate) async fn thread(start: Start, core: Arc<Core>, user: Rc<dyn UserCore>) {
    let mm = start.thread.process.mm();
    let Start { thread, context } = start;
    thread.was_kept();
    let serves = thread.process.node.settings.service.contains(&core.number);
    let watched = thread.process.delegate.watch().is_some();
    let mut task = Task {
        thread,
        context,
        mm,
        core: core.clone(),
        user: user.clone(),
        serves,
        turn_ends: None,
        interrupted: None,
        watched,
    };
    loop {
        let outcome = on_core(&core, &*user, &task.thread.clone(), task.run()).await;
        match outcome {
            Outcome::End(code) => {
                on_core(&core, &*user, &task.thread.clone(), exit::end_thread(&mut task, code)).await;
                return;
            }
            Outcome::Move(to) => {
                to.start(Start { thread: task.thread, context: task.context });
                return;
            }
            Outcome::Become(thread) => task.thread = thread,
        }
    }
}

/// Polls what a thread does, with the books of its time and of the core's state.
async fn on_core<F: Future>(core: &Core, user: &dyn UserCore, thread: &Thread, future: F) -> F::Output {
    let mut future = pin!(future);
    let clock = &thread.process.system.clock;
    poll_fn(|cx| {
        core.set_state(CoreState::Kernel);
        core.count();
        user.works_for(thread.process.pid, thread.tid);
        let now = clock.now().as_nanos();
        thread.times.enter(Phase::System, now);
        core.enter(Phase::System, now);
        let kept = thread.times.involuntary.load(Ordering::Relaxed);
        let result = future.as_mut().poll(cx);
        let now = clock.now().as_nanos();
        thread.times.enter(Phase::Waiting, now);
        core.enter(Phase::Waiting, now);
        user.works_for(0, 0);
        if result.is_pending() {
            core.count_switch();
            // What interrupted it has counted otherwise.
            if thread.times.involuntary.load(Ordering::Relaxed) == kept {
                thread.times.voluntary.fetch_add(1, Ordering::Relaxed);
            }
        }
        core.set_state(match thread.waits_for() {
            _ if result.is_ready() => CoreState::Idle,
            Wait::Heavy => CoreState::Heavy,
            _ if thread.is_with_host() => CoreState::Offload,
            _ => CoreState::Idle,
        });
        result
    })
    .await
}

impl Task {
    /// Runs the thread until it leaves its task.
    async fn run(&mut self) -> Outcome {
        loop {
            while self.thread.wanted() {
                if let Some(outcome) = self.look_around().await {
                    return outcome;
                }
            }
            if self.serves {
                self.give_way().await;
            }
            match self.ring_3() {
                Trap::Syscall => {
                    if let Some(outcome) = self.system_call().await {
                        return outcome;
                    }
                }
                Trap::PageFault { address, access, present } => {
                    self.page_fault(address, access, present).await
                }
                Trap::Exception { vector, error } => {
                    let info = faults::exception(vector, error, &self.context);
                    self.thread.force(info);
                }
                Trap::Interrupt => {
                    self.thread.times.involuntary.fetch_add(1, Ordering::Relaxed);
                    self.thread.was_kept();
                    if self.serves {
                        // What interrupted is for the core to look at.
                        self.turn_ends = Some(self.thread.process.system.timers.now());
                    } else {
                        keelson_exec::yield_now().await;
                    }
                }
            }
        }
    }

    /// Lets the core do what it is there for when the thread's turn is over, and begins another. Whether the thread makes calls or
    /// computes, nothing else runs there meanwhile, not even what interrupts ask for.
    async fn give_way(&mut self) {
        let timers = self.thread.process.system.timers.clone();
        let now = timers.now();
        match self.turn_ends {
            Some(end) if end > now => {}
            // The thread has waited since, and others had their turn.
            Some(end) if now - end >= TURN => self.turn_ends = Some(now + TURN),
            Some(_) => {
                timers.at(now + PAUSE).await;
                self.turn_ends = Some(timers.now() + TURN);
            }
            None => self.turn_ends = Some(now + TURN),
        }
    }

    /// Runs in ring 3 up to something that takes longer than the quick calls.
    fn ring_3(&mut self) -> Trap {
        let clock = self.thread.process.system.clock.clone();
        let now = clock.now().as_nanos();
        self.thread.times.enter(Phase::User, now);
        self.core.enter(Phase::User, now);
        self.core.set_state(CoreState::User);
        if let Some(end) = self.turn_ends {
            self.user.limit(end);
        }
        let trap = loop {
            let trap = self.user.run(&mut self.context, &**self.mm.space());
            if trap != Trap::Syscall || self.watched || self.thread.wanted() {
                break trap;
            }
            let registers = &mut self.context.registers;
            match syscalls::quick(&self.thread, &self.mm, registers.rax, [registers.rdi, registers.rsi]) {
                Some(result) => registers.rax = result,
                None => break trap,
            }
        };
        self.core.set_state(CoreState::Kernel);
        self.core.count();
        let now = clock.now().as_nanos();
        self.thread.times.enter(Phase::System, now);
        self.core.enter(Phase::System, now);
        trap
    }

    async fn system_call(&mut self) -> Option<Outcome> {
        let registers = &self.context.registers;
        let number = registers.rax;
        let args = arguments(registers);
        self.thread.call.store((number as u32).wrapping_add(1), Ordering::Relaxed);
        // Apart from the call, and boxed: programs that nobody watches do not pay for it.
        let begun = match self.watched {
            true => Box::pin(self.begin_watched(number, args)).await,
            false => None,
        };
        let outcome = self.serve_call(number, args).await;
        if let Some(begun) = begun {
            Box::pin(self.end_watched(begun, &outcome)).await;
        }
        self.thread.call.store(0, Ordering::Relaxed);
        outcome
    }

    async fn begin_watched(&self, number: u64, args: [u64; 6]) -> Option<Begun> {
        let process = &self.thread.process;
        Some(process.delegate.watch()?.begin(number, &args, &self.mm, &*process.system.clock).await)
    }

    /// Tells who looks at the calls of the process that one is over.
    async fn end_watched(&self, begun: Begun, outcome: &Option<Outcome>) {
        let process = &self.thread.process;
        let end = match (outcome, self.interrupted) {
            (Some(_), _) => End::Never,
            (None, Some(_)) => End::Interrupted,
            (None, None) => End::Returned(self.context.registers.rax),
        };
        let Some(watch) = process.delegate.watch() else { return };
        if let Some(line) = watch.end(begun, &self.thread, &self.mm, end, process.system.clock.now()) {
            // Without a host the program ends soon, and nobody reads.
            let _ = process.delegate.show(Shown::Call, line).await;
        }
    }

    async fn serve_call(&mut self, number: u64, args: [u64; 6]) -> Option<Outcome> {
        let caller = Caller { thread: &self.thread };
        if let Err(errno) = syscalls::scarce::check(&caller, number as u32, &args) {
            self.context.registers.rax = errno.as_result() as u64;
            return None;
        }
        let result = match number as u32 {
            15 => {
                self.sigreturn();
                return None;
            }
            56 => self.sys_clone(args).await,
            57 => self.sys_fork().await,
            58 => self.sys_vfork().await,
            435 => self.sys_clone3(args).await,
            59 | 322 => match self.sys_exec(number as u32, args).await {
                Ok(None) => return None,
                Ok(outcome) => return outcome,
                Err(errno) => Err(errno),
            },
            60 => return Some(Outcome::End(Some(args[0] as u32 & 0xff))),
            231 => {
                self.thread.process.begin_end((args[0] as u32 & 0xff) << 8);
                return Some(Outcome::End(None));
            }
            131 => {
                let pointer = self.context.registers.rsp;
                syscalls::signals::sys_sigaltstack(&self.thread, &self.mm, args, pointer)
            }
            158 => syscalls::process::arch_prctl(&mut self.context.registers, &self.mm, args),
            _ => syscalls::dispatch(&Caller { thread: &self.thread }, number as u32, args).await,
        };
        match result {
            Ok(value) => self.context.registers.rax = value,
            Err(errno) if restart::is_internal(errno) => {
                self.interrupted = Some((number, errno));
                self.thread.demand_self(Attention::SIGNAL);
            }
            Err(errno) => {
                syscalls::scarce::failed(&Caller { thread: &self.thread }, errno);
                self.context.registers.rax = errno.as_result() as u64;
            }
        }
        None
    }

    async fn page_fault(&mut self, address: u64, access: Access, present: bool) {
        let node = self.thread.process.system.machine.node_of(self.core.number);
        let times = &self.thread.times;
        let fault = match self.mm.fault(address, access, node) {
            Ok(()) => {
                times.minor_faults.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(Fault::Missing(request)) => {
                times.major_faults.fetch_add(1, Ordering::Relaxed);
                self.thread.was_kept();
                if self.fetch(request).await.is_ok() {
                    return;
                }
                Fault::Bus
            }
            Err(fault) => fault,
        };
        match faults::page_fault(&fault, address, access, present) {
            Some(info) => self.thread.force(info),
            None => {
                let process = &self.thread.process;
                let why = process.system.no_memory();
                log::error!("lwk: process {} is killed: {why}", process.pid);
                *process.reason.lock() = format!("killed: {why}");
                process.begin_end(signals::SIGKILL);
            }
        }
    }

    async fn fetch(&self, request: crate::mm::PageRequest) -> Result<(), Errno> {
        self.thread.wait.store(Wait::Host as u8, Ordering::Relaxed);
        let result = request.fetch().await;
        self.thread.wait.store(Wait::Other as u8, Ordering::Relaxed);
        result
    }

    /// Sees to everything that wants the thread before it returns to ring 3.
    async fn look_around(&mut self) -> Option<Outcome> {
        // Settled before the look: what comes in between is seen by the look or next time.
        self.thread.settled(Attention::END);
        if self.must_end() {
            return Some(Outcome::End(None));
        }
        if self.thread.demanded(Attention::FREEZE) {
            self.stay_frozen().await;
            return self.must_end().then_some(Outcome::End(None));
        }
        if self.thread.demanded(Attention::STOP) {
            self.stay_stopped().await;
            return self.must_end().then_some(Outcome::End(None));
        }
        if self.thread.demanded(Attention::RSEQ) {
            self.leave_sequence().await;
        }
        while self.thread.claim() {
            match self.thread.claimed() {
                Some(Claimed::Handler(info, action)) => {
                    self.leave_sequence().await;
                    self.handle(info, action);
                }
                Some(Claimed::Fatal { info, core }) => {
                    self.die(info, core).await;
                    return Some(Outcome::End(None));
                }
                None => {}
            }
        }
        if let Some((number, _)) = self.interrupted.take() {
            self.again(number);
        }
        if self.thread.demanded(Attention::MOVE) {
            self.thread.settled(Attention::MOVE);
            return self.leave_core();
        }
        None
    }

    fn must_end(&self) -> bool {
        let process = &self.thread.process;
        let executing = process.executing.load(Ordering::Acquire);
        process.end().is_some() || executing != 0 && executing != self.thread.tid
    }

    async fn stay_frozen(&self) {
        let freezer = &self.thread.process.node.freezer;
        loop {
            let thawed = freezer.changed();
            self.thread.settled(Attention::FREEZE);
            self.thread.was_kept();
            if !freezer.is_frozen() || self.must_end() {
                return;
            }
            // Its end does not wait for the others.
            let _ = self.thread.killable(thawed).await;
        }
    }

    async fn stay_stopped(&self) {
        let process = &self.thread.process;
        loop {
            let changed = process.changed.changed();
            self.thread.settled(Attention::STOP);
            self.thread.was_kept();
            if process.stopped().is_none() || self.must_end() {
                return;
            }
            changed.await;
        }
    }

    /// Calls a handler; decides about the call that the signal interrupted.
    fn handle(&mut self, info: SigInfo, action: Action) {
        if let Some((number, errno)) = self.interrupted.take() {
            match errno {
                restart::ALWAYS => self.again(number),
                restart::RESTART if action.flags & SA_RESTART != 0 => self.again(number),
                _ => self.context.registers.rax = Errno::EINTR.as_result() as u64,
            }
        }
        if self.deliver(&info, &action).is_err() {
            // No room for the frame. While the stack is gone no handler helps, least of all that of SIGSEGV.
            if info.signal == signals::SIGSEGV {
                self.thread.process.set_action(signals::SIGSEGV, Some(Action::default()));
            }
            self.thread.force(SigInfo::kernel(signals::SIGSEGV));
        }
    }

    /// Lets the thread make its call once more.
    fn again(&mut self, number: u64) {
        let registers = &mut self.context.registers;
        registers.rax = number;
        registers.rip = registers.rip.wrapping_sub(SYSCALL_LENGTH);
    }

    /// Leaves for the core of the seat that the thread was given.
    fn leave_core(&mut self) -> Option<Outcome> {
        let core = self.thread.placement.lock().seat.as_ref()?.core().clone();
        if core.number == self.core.number {
            return None;
        }
        self.context.extended.park();
        Some(Outcome::Move(core))
    }

    /// Ends the process by a signal.
    async fn die(&mut self, info: SigInfo, core: bool) {
        let process = self.thread.process.clone();
        let dump = core && process.prepare_dump();
        if core {
            self.report_crash(&info);
        }
        // The first one decides: when the process ends already, others wait for this thread.
        if process.begin_end(info.signal) && dump && self.dump(&info).await {
            process.mark_dumped();
        }
    }

    /// One line for the log of the node (section 10).
    fn report_crash(&self, info: &SigInfo) {
        let process = &self.thread.process;
        let address = match info.details {
            signals::Details::Fault { address, .. } => address,
            _ => 0,
        };
        log::warn!(
            "lwk: process {} ({}) signal {} code {} at rip {:#x}, address {address:#x}",
            process.pid,
            alloc::string::String::from_utf8_lossy(&self.thread.comm()),
            info.signal,
            info.code,
            self.context.registers.rip,
        );
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

/// The arguments of a system call (x86-64 ABI, A.2.1).
fn arguments(registers: &Registers) -> [u64; 6] {
    [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9]
}
