//! New threads and processes: clone, clone3, fork, vfork (sections 3.6 to 3.8).

use crate::Errno;
use crate::account::Usage;
use crate::delegate::Forked;
use crate::exit::Exit;
use crate::files::FdTable;
use crate::limits;
use crate::mm::Mm;
use crate::process::{Latch, Parts, Process};
use crate::run::Task;
use crate::sched::Seat;
use crate::signals::{ProcessSignals, SIGCHLD, is_signal};
use crate::table::Member;
use crate::thread::Thread;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use keelson_hal::user::UserContext;

/// Flags of clone(2).
mod flag {
    pub const VM: u64 = 0x100;
    pub const FILES: u64 = 0x400;
    pub const SIGHAND: u64 = 0x800;
    pub const PIDFD: u64 = 0x1000;
    pub const VFORK: u64 = 0x4000;
    pub const PARENT: u64 = 0x8000;
    pub const THREAD: u64 = 0x1_0000;
    pub const SETTLS: u64 = 0x8_0000;
    pub const PARENT_SETTID: u64 = 0x10_0000;
    pub const CHILD_CLEARTID: u64 = 0x20_0000;
    pub const CHILD_SETTID: u64 = 0x100_0000;
    pub const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    pub const INTO_CGROUP: u64 = 0x2_0000_0000;
    /// NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME.
    pub const NAMESPACES: u64 = 0x2_0000 | 0x7e00_0000 | 0x80;
    /// The exit signal of clone(2) lies in the low bits.
    pub const SIGNAL: u64 = 0xff;
}

/// What is to be made.
#[derive(Clone, Copy, Debug, Default)]
struct Request {
    flags: u64,
    exit_signal: u64,
    /// Stack pointer; 0 for that of the caller.
    stack: u64,
    parent_tid: u64,
    child_tid: u64,
    tls: u64,
}

/// Versions of `struct clone_args` that there are.
const ARGS_FIRST: u64 = 64;
const ARGS_KNOWN: usize = 88;

impl Task {
    /// clone(flags, stack, parent_tid, child_tid, tls).
    pub(crate) async fn sys_clone(&mut self, args: [u64; 6]) -> Result<u64, Errno> {
        let [flags, stack, parent_tid, child_tid, tls, _] = args;
        let flags = flags & 0xffff_ffff;
        let exit_signal = flags & flag::SIGNAL;
        self.make(Request { flags: flags & !flag::SIGNAL, exit_signal, stack, parent_tid, child_tid, tls })
            .await
    }

    /// fork().
    pub(crate) async fn sys_fork(&mut self) -> Result<u64, Errno> {
        self.make(Request { exit_signal: u64::from(SIGCHLD), ..Request::default() }).await
    }

    /// vfork().
    pub(crate) async fn sys_vfork(&mut self) -> Result<u64, Errno> {
        let flags = flag::VM | flag::VFORK;
        self.make(Request { flags, exit_signal: u64::from(SIGCHLD), ..Request::default() }).await
    }

    /// clone3(args, size).
    pub(crate) async fn sys_clone3(&mut self, args: [u64; 6]) -> Result<u64, Errno> {
        let [at, size, ..] = args;
        if size < ARGS_FIRST {
            return Err(Errno::EINVAL);
        }
        if size > 4096 {
            return Err(Errno::E2BIG);
        }
        let mut bytes = alloc::vec![0; (size as usize).max(ARGS_KNOWN)];
        self.mm.read_wait(at, &mut bytes[..size as usize]).await?;
        if bytes[ARGS_KNOWN..].iter().any(|byte| *byte != 0) {
            return Err(Errno::E2BIG);
        }
        let words: Vec<u64> = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let [flags, _pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, _set_tid, tids, ..] =
            words[..ARGS_KNOWN / 8]
        else {
            return Err(Errno::EINVAL);
        };
        let known = exit_signal == 0 || exit_signal < 256 && is_signal(exit_signal as u32);
        let alone = flags & (flag::THREAD | flag::PARENT) != 0 && exit_signal != 0;
        let stack_ok = (stack == 0) == (stack_size == 0);
        if !known || alone || !stack_ok || tids != 0 || flags & (flag::INTO_CGROUP | flag::SIGNAL) != 0 {
            return Err(Errno::EINVAL);
        }
        let stack = stack.checked_add(stack_size).ok_or(Errno::EINVAL)?;
        self.make(Request { flags, exit_signal, stack, parent_tid, child_tid, tls }).await
    }

    async fn make(&mut self, request: Request) -> Result<u64, Errno> {
        check(request.flags)?;
        self.check_limit()?;
        if request.flags & flag::THREAD != 0 {
            self.make_thread(request)
        } else {
            self.make_process(request).await
        }
    }

    /// RLIMIT_NPROC counts the threads of a user; root has none.
    fn check_limit(&self) -> Result<(), Errno> {
        let process = &self.thread.process;
        let user = process.ids.lock().user;
        let most = process.limits.lock().soft(limits::NPROC);
        if user.effective == 0 || most == limits::INFINITY {
            return Ok(());
        }
        let mine = |other: &Arc<Process>| other.ids.lock().user.real == user.real;
        let threads: usize =
            process.node.processes().iter().filter(|p| mine(p)).map(|p| p.thread_count()).sum();
        if threads as u64 >= most { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    fn make_thread(&mut self, request: Request) -> Result<u64, Errno> {
        let process = self.thread.process.clone();
        let seat = self.seat_of_clone()?;
        let context = self.child_context(&request)?;
        let core = seat.core().number;
        let node = process.node.clone();
        let thread = node.table.lock().add_thread(|tid| Arc::new(Thread::new(tid, process.clone(), core)));
        self.inherit(&thread);
        if request.flags & flag::CHILD_CLEARTID != 0 {
            thread.clear_child_tid.store(request.child_tid, Ordering::Relaxed);
        }
        if !process.add_thread(thread.clone()) {
            // The process is ending, and this thread with it.
            node.table.lock().remove_thread(thread.tid);
            return Err(Errno::EAGAIN);
        }
        // As in Linux, what cannot be told is not told.
        if request.flags & flag::PARENT_SETTID != 0 {
            let _ = self.mm.write(request.parent_tid, &thread.tid.to_le_bytes());
        }
        if request.flags & flag::CHILD_SETTID != 0 {
            let _ = self.mm.write(request.child_tid, &thread.tid.to_le_bytes());
        }
        let tid = thread.tid;
        node.begin(thread, seat, context);
        Ok(u64::from(tid))
    }

    /// A place for one more thread of the process: on a compute core, or among the helpers (section 3.7).
    fn seat_of_clone(&self) -> Result<Seat, Errno> {
        let process = &self.thread.process;
        let number = process.clones.fetch_add(1, Ordering::Relaxed) + 1;
        let hint = self.thread.helper_hint.swap(false, Ordering::Relaxed);
        if (hint || process.helper_rules.wants(number))
            && let Some(seat) = process.helper_seat()
        {
            return Ok(seat);
        }
        self.seat_or_overflow()
    }

    pub(crate) fn seat_or_overflow(&self) -> Result<Seat, Errno> {
        let process = &self.thread.process;
        let affinity = self.thread.placement.lock().affinity;
        process.node.seat(&process.slice, affinity).or_else(|errno| {
            let helper = process.helper_rules.overflow.then(|| process.helper_seat()).flatten();
            let Some(seat) = helper else {
                self.report_full();
                return Err(errno);
            };
            log::info!("lwk: process {}: no compute core is free, a helper thread instead", process.pid);
            Ok(seat)
        })
    }

    /// Once for each launch: programs that do not expect it wait for ever for the thread that is not there.
    fn report_full(&self) {
        let process = &self.thread.process;
        if process.slice.first_refusal() {
            log::warn!(
                "lwk: process {} ({}) was refused a thread or process beside {} others: they have all its processors; launch it \
                 with more, or boot with allow_oversubscribe",
                process.pid,
                alloc::string::String::from_utf8_lossy(&self.thread.comm()),
                process.slice.threads(),
            );
        }
    }

    fn child_context(&self, request: &Request) -> Result<UserContext, Errno> {
        let extended = self.thread.process.system.machine.new_extended().ok_or(Errno::ENOMEM)?;
        extended.copy_from(&*self.context.extended);
        let mut registers = self.context.registers;
        registers.rax = 0;
        if request.stack != 0 {
            registers.rsp = request.stack;
        }
        if request.flags & flag::SETTLS != 0 {
            registers.fs_base = request.tls;
        }
        Ok(UserContext { registers, extended })
    }

    /// What a new thread has from the one that made it.
    fn inherit(&self, child: &Thread) {
        let parent = &self.thread;
        child.set_mask(parent.signals.mask());
        *child.name.lock() = *parent.name.lock();
        let affinity = parent.placement.lock().affinity;
        child.placement.lock().affinity = affinity;
        *child.policy.lock() = parent.policy.lock().inherited();
        let slack = parent.slack.load(Ordering::Relaxed);
        child.slack.store(slack, Ordering::Relaxed);
        child.born_slack.store(slack, Ordering::Relaxed);
    }

    async fn make_process(&mut self, request: Request) -> Result<u64, Errno> {
        let parent = self.thread.process.clone();
        let node = parent.node.clone();
        let borrows = request.flags & flag::VM != 0;
        let seat = if borrows {
            // The parent is suspended: its core is free.
            node.guest_seat(self.core().number).ok_or(Errno::EINVAL)?
        } else {
            self.seat_or_overflow()?
        };
        let mm = if borrows { self.mm.clone() } else { self.mm.fork()? };
        let context = self.child_context(&request)?;
        let forked = parent.delegate.fork(self.thread.tid).await?;
        let Origin { files, parent: parent_pid, group, session } =
            self.origin(&request, &forked, &mm).inspect_err(|_| {
                // The proxy is there for nobody.
                let usage = Usage::default();
                let exit = Exit { pid: forked.pid, status: 0, usage, children: usage, reason: String::new() };
                forked.delegate.exited(&exit);
            })?;
        let actions = parent.signals.actions.lock().clone();
        let child = Arc::new(Process::of(Parts {
            pid: forked.pid,
            node: node.clone(),
            mm,
            memory: parent.memory,
            files,
            delegate: forked.delegate,
            signals: ProcessSignals::new(if request.flags & flag::CLEAR_SIGHAND != 0 {
                actions.without_handlers()
            } else {
                actions
            }),
            limits: *parent.limits.lock(),
            ids: parent.ids.lock().clone(),
            umask: parent.umask.load(Ordering::Relaxed),
            parent: parent_pid,
            program: parent.program.lock().clone(),
            slice: parent.slice.clone(),
            helper_rules: parent.helper_rules.clone(),
            loader: parent.loader.clone(),
        }));
        child.facts.inherit(&parent.facts);
        let thread = Arc::new(Thread::new(child.pid, child.clone(), seat.core().number));
        self.inherit(&thread);
        *thread.signals.stack.lock() = *self.thread.signals.stack.lock();
        if !borrows {
            *thread.rseq.lock() = *self.thread.rseq.lock();
        }
        self.tell_process(&request, &child, &thread);
        let latch = (request.flags & flag::VFORK != 0).then(Arc::<Latch>::default);
        *child.borrowed.lock() = latch.clone();
        let member = Member {
            process: Some(child.clone()),
            parent: parent_pid,
            children: Vec::new(),
            group,
            session,
            exit_signal: request.exit_signal as u32,
            uid: child.ids.lock().user.real,
            exit: None,
            report: None,
        };
        node.table.lock().insert(child.pid, member, thread.clone());
        child.add_thread(thread.clone());
        child.announce(&thread.comm());
        child.watch_cpu();
        let pid = child.pid;
        node.begin(thread, seat, context);
        if let Some(latch) = latch {
            // Only its own end keeps the parent from waiting; then nobody looks at the result.
            let _ = self.thread.killable(latch.wait()).await;
        }
        Ok(u64::from(pid))
    }

    /// What a child has from its parent and from the proxy that was made for it. EAGAIN when its number is in use, ENOMEM.
    fn origin(&self, request: &Request, forked: &Forked, mm: &Mm) -> Result<Origin, Errno> {
        let parent = &self.thread.process;
        let (files, machine) = (parent.files(), &parent.system.machine);
        let files = match request.flags & flag::FILES {
            0 => Arc::new(files.fork(&parent.delegate, &forked.delegate, || machine.is_short())?),
            _ => files,
        };
        if request.flags & flag::VM == 0 {
            // What is mapped outlives the parent's proxy.
            mm.follow(&parent.delegate, &forked.delegate, files.open_files()?);
        }
        let table = parent.node.table.lock();
        // Numbers of two hosts can be the same.
        if table.has(forked.pid) {
            return Err(Errno::EAGAIN);
        }
        let member = table.member(parent.pid).ok_or(Errno::ESRCH)?;
        let heir = if request.flags & flag::PARENT != 0 { member.parent } else { parent.pid };
        Ok(Origin { files, parent: heir, group: member.group, session: member.session })
    }

    fn tell_process(&self, request: &Request, child: &Process, thread: &Thread) {
        if request.flags & flag::CHILD_CLEARTID != 0 {
            thread.clear_child_tid.store(request.child_tid, Ordering::Relaxed);
        }
        if request.flags & flag::PARENT_SETTID != 0 {
            let _ = self.mm.write(request.parent_tid, &child.pid.to_le_bytes());
        }
        if request.flags & flag::CHILD_SETTID != 0 {
            let _ = child.mm().write(request.child_tid, &child.pid.to_le_bytes());
        }
    }
}

/// Where a child comes from.
struct Origin {
    files: Arc<FdTable>,
    parent: u32,
    group: u32,
    session: u32,
}

/// Which combinations of flags there are: EINVAL for the others.
fn check(flags: u64) -> Result<(), Errno> {
    let has = |bits: u64| flags & bits != 0;
    let refused = has(flag::NAMESPACES | flag::PIDFD)
        || has(flag::SIGHAND) && !has(flag::VM)
        || has(flag::SIGHAND) && has(flag::CLEAR_SIGHAND)
        || has(flag::THREAD) && !(has(flag::SIGHAND) && has(flag::FILES))
        // McKernel's rule was stricter: posix_spawn needs VM with VFORK.
        || has(flag::VM) && !has(flag::THREAD) && !has(flag::VFORK)
        || has(flag::THREAD) && has(flag::VFORK);
    if refused { Err(Errno::EINVAL) } else { Ok(()) }
}

impl Process {
    /// A place among the helpers, while the allowance lasts.
    pub(crate) fn helper_seat(&self) -> Option<Seat> {
        self.node.helper_seat(&self.helpers, &self.helper_rules)
    }

    /// A table of open files that nobody shares: before exec closes some. ENOMEM.
    pub(crate) fn own_files(&self) -> Result<Arc<FdTable>, Errno> {
        let files = self.files();
        // This reference and the process'.
        if Arc::strong_count(&files) > 2 {
            let own = Arc::new(files.copy()?);
            self.replace_files(own.clone());
            return Ok(own);
        }
        Ok(files)
    }
}
