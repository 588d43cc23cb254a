//! The processes of the node, their relations, and what parents have to be told.

use crate::account::Usage;
use crate::limits::Limits;
use crate::process::Process;
use crate::sched::Scheduling;
use crate::thread::Thread;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The first thread id that is no process id: pids of the host are below (section 3.6).
pub const FIRST_TID: u32 = 1 << 22;

/// glibc wants thread ids below this.
const LAST_TID: u32 = 1 << 30;

/// The parent of processes that have none on this node.
pub const INIT: u32 = 1;

/// Processes and threads by number.
pub struct Table {
    members: BTreeMap<u32, Member>,
    threads: BTreeMap<u32, Arc<Thread>>,
    next_tid: u32,
    most: usize,
    begun: u64,
}

/// A process in the table.
pub struct Member {
    /// The process; `None` for a zombie.
    pub process: Option<Arc<Process>>,
    /// Its parent on this node, or [`INIT`].
    pub parent: u32,
    /// Its children.
    pub children: Vec<u32>,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// The signal that its end sends to the parent: SIGCHLD, or what clone(2) said; 0 for none.
    pub exit_signal: u32,
    /// User, for the parent's siginfo.
    pub uid: u32,
    /// How it ended.
    pub exit: Option<Ended>,
    /// What the parent may still be told.
    pub report: Option<Report>,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Wait status (wait(2)).
    pub status: u32,
    /// Its own use.
    pub own: Usage,
    /// With that of its children.
    pub total: Usage,
    /// `comm` of its last thread, with zeros.
    pub name: [u8; 16],
    /// When it started, in nanoseconds since boot.
    pub started: u64,
    /// Of its first thread.
    pub scheduling: Scheduling,
    /// Its limits.
    pub limits: Limits,
}

/// A change of a process that lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// Stopped by a signal.
    Stopped(u32),
    /// Continued.
    Continued,
}

impl Default for Table {
    fn default() -> Table {
        Table { members: BTreeMap::new(), threads: BTreeMap::new(), next_tid: FIRST_TID, most: 0, begun: 0 }
    }
}

impl Table {
    /// Adds a process with its first thread.
    pub fn insert(&mut self, pid: u32, member: Member, thread: Arc<Thread>) {
        if let Some(parent) = self.members.get_mut(&member.parent) {
            parent.children.push(pid);
        }
        self.threads.insert(pid, thread);
        self.members.insert(pid, member);
        self.begun += 1;
        self.most = self.most.max(self.threads.len());
    }

    /// Threads now, and at most so far.
    pub fn thread_counts(&self) -> (usize, usize) {
        (self.threads.len(), self.most)
    }

    /// Threads, first ones of processes too, that there ever were.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// A process.
    pub fn member(&self, pid: u32) -> Option<&Member> {
        self.members.get(&pid)
    }

    /// A process, to be changed.
    pub fn member_mut(&mut self, pid: u32) -> Option<&mut Member> {
        self.members.get_mut(&pid)
    }

    /// All processes.
    pub fn members(&self) -> impl Iterator<Item = (u32, &Member)> {
        self.members.iter().map(|(pid, member)| (*pid, member))
    }

    /// True when the number is in use.
    pub fn has(&self, pid: u32) -> bool {
        self.members.contains_key(&pid) || self.threads.contains_key(&pid)
    }

    /// Adds a thread under a number of its own, which `make` gets.
    pub fn add_thread(&mut self, make: impl FnOnce(u32) -> Arc<Thread>) -> Arc<Thread> {
        while self.threads.contains_key(&self.next_tid) {
            self.next_tid = next(self.next_tid);
        }
        let tid = self.next_tid;
        self.next_tid = next(tid);
        let thread = make(tid);
        self.threads.insert(tid, thread.clone());
        self.begun += 1;
        self.most = self.most.max(self.threads.len());
        thread
    }

    /// Puts a thread under a number.
    pub fn set_thread(&mut self, tid: u32, thread: Arc<Thread>) {
        self.threads.insert(tid, thread);
    }

    /// A thread.
    pub fn thread(&self, tid: u32) -> Option<&Arc<Thread>> {
        self.threads.get(&tid)
    }

    /// Forgets a thread.
    pub fn remove_thread(&mut self, tid: u32) -> Option<Arc<Thread>> {
        self.threads.remove(&tid)
    }

    /// Forgets a process that nobody waits for any more.
    pub fn remove(&mut self, pid: u32) -> Option<Member> {
        let member = self.members.remove(&pid)?;
        if let Some(parent) = self.members.get_mut(&member.parent) {
            parent.children.retain(|child| *child != pid);
        }
        Some(member)
    }

    /// Gives the children of `pid` to its nearest ancestor that takes orphans, or to nobody. Those of them that ended and have
    /// nobody now are forgotten; the others are returned.
    pub fn orphan(&mut self, pid: u32) -> Vec<Arc<Process>> {
        let heir = self.heir(pid);
        let children = self
            .members
            .get_mut(&pid)
            .map(|member| core::mem::take(&mut member.children))
            .unwrap_or_default();
        let mut orphans = Vec::new();
        for child in children {
            let Some(member) = self.members.get_mut(&child) else { continue };
            member.parent = heir;
            match &member.process {
                Some(process) => orphans.push(process.clone()),
                None if heir == INIT => {
                    self.members.remove(&child);
                    continue;
                }
                None => {}
            }
            if let Some(heir) = self.members.get_mut(&heir) {
                heir.children.push(child);
            }
        }
        orphans
    }

    fn heir(&self, pid: u32) -> u32 {
        let mut at = pid;
        // Ancestors cannot form a ring; the count only makes that plain.
        for _ in 0..self.members.len() {
            let Some(member) = self.members.get(&at) else { break };
            at = member.parent;
            let ancestor = self.members.get(&at).and_then(|member| member.process.as_ref());
            if ancestor.is_some_and(|process| {
                process.end().is_none() && process.facts.subreaper.load(core::sync::atomic::Ordering::Relaxed)
            }) {
                return at;
            }
        }
        INIT
    }

    /// Processes that live in a group.
    pub fn group(&self, group: u32) -> Vec<Arc<Process>> {
        let members = self.members.values().filter(|member| member.group == group);
        members.filter_map(|member| member.process.clone()).collect()
    }

    /// All processes that live.
    pub fn processes(&self) -> Vec<Arc<Process>> {
        self.members.values().filter_map(|member| member.process.clone()).collect()
    }
}

fn next(tid: u32) -> u32 {
    if tid + 1 < LAST_TID { tid + 1 } else { FIRST_TID }
}
