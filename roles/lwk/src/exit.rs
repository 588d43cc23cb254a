//! The end of threads and processes.

use crate::account::Usage;
use crate::node::Node;
use crate::process::Process;
use crate::run::Task;
use crate::signals::*;
use crate::table::{Ended, INIT, Report};
use crate::thread::Thread;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use keelson_lwk_wire::messages::Shown;

/// The end of a process, as its host is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    /// The process.
    pub pid: u32,
    /// Wait status (wait(2)): exit code in bits 8 to 15, or the signal, with 0x80 after a core file.
    pub status: u32,
    /// What it used.
    pub usage: Usage,
    /// What children used that it waited for.
    pub children: Usage,
    /// Why the node ended it, for its user; empty when the node did not.
    pub reason: String,
}

/// Ends a thread: what it promised others, and the process with the last one. `code` is that of exit(2).
pub(crate) async fn end_thread(task: &mut Task, code: Option<u32>) {
    let thread = task.thread.clone();
    let process = &thread.process;
    task.leave_registers();
    // Whoever waits for the thread's end may make another one at once, and there is a place for it: before the word is cleared.
    thread.placement.lock().seat = None;
    task.release_futexes().await;
    let now = process.system.clock.now().as_nanos();
    thread.times.enter(crate::account::Phase::Waiting, now);
    if thread.tid == process.pid {
        *process.first_left.lock() = Some(thread.scheduling());
    }
    process.node.table.lock().remove_thread(thread.tid);
    thread.moved.notify();
    if thread.tid == process.pid
        && let Some(code) = code
    {
        process.first_exit.store(code, Ordering::Relaxed);
    }
    if process.remove_thread(&thread, now) == 0 {
        // The child of a vfork leaves its parent's memory as it is.
        if process.borrowed.lock().is_none() {
            task.mm.close().await;
        }
        process.peak.store(process.peak_memory(), Ordering::Relaxed);
        show_profile(&thread).await;
        end_process(task);
    } else {
        process.offer_again(&thread);
        process.changed.notify();
    }
}

/// The process is over: what its calls took is shown to who wants it.
async fn show_profile(thread: &Thread) {
    let process = &thread.process;
    let name = thread.comm();
    let name = String::from_utf8_lossy(&name);
    if let Some(text) = process.delegate.watch().and_then(|watch| watch.profile(process.pid, &name)) {
        // Without a host nobody reads.
        let _ = process.delegate.show(Shown::Profile, text).await;
    }
}

fn end_process(task: &mut Task) {
    let thread = task.thread.clone();
    let process = &thread.process;
    let code = process.first_exit.load(Ordering::Relaxed);
    process.begin_end(code << 8);
    let status = process.end().unwrap_or(0);
    process.system.machine.process_ended(process.pid);
    process.release_memory();
    // Whoever waits for the end finds that nothing is attached any more, so nothing of it stays here either.
    task.mm = process.mm();
    let node = process.node.clone();
    node.sysv.process_ended(process.pid);
    process.system.memory.shm_creator_ended(process.pid);
    let mut usage = process.usage();
    usage.peak = process.peak.load(Ordering::Relaxed);
    let children = process.children_usage();
    let reason = core::mem::take(&mut *process.reason.lock());
    process.delegate.exited(&Exit { pid: process.pid, status, usage, children, reason });
    // Not before: the proxy's end closes them for all to see, and whoever watches them would find its parent not dead yet.
    process.release_files();
    let mut total = usage;
    total.add(&children);
    let (name, started) = (*thread.name.lock(), process.started);
    let scheduling = process.first_left.lock().unwrap_or_default();
    let limits = *process.limits.lock();
    node.bury(process, Ended { status, own: usage, total, name, started, scheduling, limits });
}

impl Node {
    /// Makes a zombie of a process, or nothing when nobody waits; tells its parent and its children.
    fn bury(&self, process: &Arc<Process>, ended: Ended) {
        let burial = self.burial.lock();
        let mut table = self.table.lock();
        let orphans = table.orphan(process.pid);
        let Some(member) = table.member_mut(process.pid) else { return };
        member.process = None;
        member.exit = Some(ended);
        member.report = None;
        let (parent, uid, exit_signal) = (member.parent, member.uid, member.exit_signal);
        let parent = table.member(parent).and_then(|parent| parent.process.clone());
        let unwanted = match &parent {
            None => true,
            Some(parent) => exit_signal == SIGCHLD && parent.leaves_no_zombies(),
        };
        if unwanted {
            table.remove(process.pid);
        }
        drop(table);
        if let Some(parent) = &parent
            && exit_signal != 0
        {
            let _ = parent.signal(child_info(exit_signal, process.pid, uid, ended.status, &ended.own));
        }
        drop(burial);
        for orphan in orphans {
            let heir = self.table.lock().member(orphan.pid).map_or(INIT, |member| member.parent);
            orphan.parent.store(heir, Ordering::Relaxed);
            let signal = orphan.facts.parent_death.load(Ordering::Relaxed);
            // A full queue loses it, as Linux does.
            let _ = orphan.signal(SigInfo::sent(signal, SI_USER, process.pid, uid));
        }
        if let Some(parent) = parent {
            parent.changed.notify();
        }
    }

    /// A process was stopped: its parent may be told.
    pub(crate) fn child_stopped(&self, process: &Process, signal: u32) {
        self.report(process, Report::Stopped(signal), CLD_STOPPED, signal);
    }

    /// A process goes on: its parent may be told.
    pub(crate) fn child_continued(&self, process: &Process) {
        self.report(process, Report::Continued, CLD_CONTINUED, SIGCONT);
    }

    fn report(&self, process: &Process, report: Report, code: i32, signal: u32) {
        let mut table = self.table.lock();
        let Some(member) = table.member_mut(process.pid) else { return };
        member.report = Some(report);
        let (parent, uid) = (member.parent, member.uid);
        let parent = table.member(parent).and_then(|parent| parent.process.clone());
        drop(table);
        let Some(parent) = parent else { return };
        if parent.signals.actions.lock().get(SIGCHLD).flags & SA_NOCLDSTOP == 0 {
            let usage = process.usage();
            let details = child_details(process.pid, uid, signal as i32, &usage);
            let _ = parent.signal(SigInfo { signal: SIGCHLD, errno: 0, code, details });
        }
        parent.changed.notify();
    }
}

impl Process {
    /// SIGCHLD is ignored on purpose, or children are said to leave nothing.
    fn leaves_no_zombies(&self) -> bool {
        let action = self.signals.actions.lock().get(SIGCHLD);
        action.handler == SIG_IGN || action.flags & SA_NOCLDWAIT != 0
    }
}

/// What SIGCHLD tells of the end of a child.
fn child_info(signal: u32, pid: u32, uid: u32, status: u32, usage: &Usage) -> SigInfo {
    let (code, value) = cause(status);
    SigInfo { signal, errno: 0, code, details: child_details(pid, uid, value, usage) }
}

fn child_details(pid: u32, uid: u32, status: i32, usage: &Usage) -> Details {
    let ticks = |time: core::time::Duration| (time.as_millis() / 10) as i64;
    Details::Child { pid, uid, status, user: ticks(usage.user), system: ticks(usage.system) }
}

/// `si_code` and `si_status` of a wait status.
pub(crate) fn cause(status: u32) -> (i32, i32) {
    match status & 0x7f {
        0 => (CLD_EXITED, (status >> 8 & 0xff) as i32),
        signal if status & 0x80 != 0 => (CLD_DUMPED, signal as i32),
        signal => (CLD_KILLED, signal as i32),
    }
}
