//! Signal-driven I/O: who is told, and by which signal, when a file can be read or written (O_ASYNC of fcntl(2)).
//!
//! What is set belongs to the open description. Nothing of it exists until a program asks for it, and a file is watched only
//! while O_ASYNC is set: others pay nothing for it. A host file in a child leads to another proxy; there it is the description
//! where O_ASYNC was set that is watched, and it tells nobody any more when that one is closed before its copies.

use super::{Events, Watcher};
use crate::Errno;
use crate::identity::Ids;
use crate::node::Node;
use crate::process::Process;
use crate::signals::{Details, SI_SIGIO, SIGCHLD, SIGIO, SIGSYS, SigInfo, is_fault};
use crate::thread::Thread;
use alloc::sync::{Arc, Weak};
use spin::Mutex;

/// What kind of owner a file has: F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP of fcntl(2), by their numbers in
/// `asm-generic/fcntl.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u32)]
pub enum OwnerKind {
    /// One thread. What Linux says, too, of a file that never had an owner.
    #[default]
    Thread = 0,
    /// A process.
    Process = 1,
    /// All processes of a group.
    Group = 2,
}

impl OwnerKind {
    /// The kind with this number.
    pub fn of(number: u32) -> Option<OwnerKind> {
        let all = [OwnerKind::Thread, OwnerKind::Process, OwnerKind::Group];
        all.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Who gets the signals of a file.
#[derive(Clone, Default)]
pub struct Owner {
    kind: OwnerKind,
    whom: Whom,
    /// Of who said so: nobody is told things whom that process could not send a signal.
    by: Arc<Ids>,
}

/// Weak, because what has ended does not come back under its number.
#[derive(Clone, Default)]
enum Whom {
    #[default]
    Nobody,
    Thread(Weak<Thread>),
    Process(Weak<Process>),
    Group(Weak<Node>, u32),
}

impl Owner {
    /// Thread, process or group `number` as seen by `me`; ESRCH. 0 is nobody.
    pub fn of(me: &Arc<Process>, kind: OwnerKind, number: u32) -> Result<Owner, Errno> {
        let whom = match (kind, number) {
            (_, 0) => Whom::Nobody,
            (OwnerKind::Thread, tid) => {
                Whom::Thread(Arc::downgrade(&me.node.thread(tid).ok_or(Errno::ESRCH)?))
            }
            (OwnerKind::Process, pid) if pid == me.pid => Whom::Process(Arc::downgrade(me)),
            (OwnerKind::Process, pid) => {
                Whom::Process(Arc::downgrade(&me.node.process(pid).ok_or(Errno::ESRCH)?))
            }
            (OwnerKind::Group, group) if me.node.table.lock().group(group).is_empty() => {
                return Err(Errno::ESRCH);
            }
            (OwnerKind::Group, group) => Whom::Group(Arc::downgrade(&me.node), group),
        };
        Ok(Owner { kind, whom, by: Arc::new(me.ids.lock().clone()) })
    }

    /// Its kind and number; 0 for nobody, and for what has ended.
    pub fn number(&self) -> (OwnerKind, u32) {
        let number = match &self.whom {
            Whom::Nobody => None,
            Whom::Thread(thread) => thread.upgrade().map(|thread| thread.tid),
            Whom::Process(process) => process.upgrade().map(|process| process.pid),
            Whom::Group(_, group) => Some(*group),
        };
        (self.kind, number.unwrap_or(0))
    }

    /// True when there is nobody to be told.
    pub fn is_nobody(&self) -> bool {
        matches!(self.whom, Whom::Nobody)
    }

    /// Tells everybody; a signal that cannot be queued becomes a plain SIGIO (fcntl(2)).
    fn tell(&self, info: SigInfo) {
        let plain = SigInfo::kernel(SIGIO);
        let process = |process: &Process| {
            if self.by.may_signal(&process.ids.lock()) {
                // That one is pending already, if it cannot be queued.
                let _ = process.signal(info).or_else(|_| process.signal(plain));
            }
        };
        match &self.whom {
            Whom::Nobody => {}
            Whom::Thread(thread) => {
                let Some(thread) = thread.upgrade() else { return };
                if self.by.may_signal(&thread.process.ids.lock()) {
                    let _ = thread.signal(info).or_else(|_| thread.signal(plain));
                }
            }
            Whom::Process(owner) => {
                if let Some(owner) = owner.upgrade() {
                    process(&owner);
                }
            }
            Whom::Group(node, group) => {
                let members = node.upgrade().map(|node| node.table.lock().group(*group));
                members.iter().flatten().for_each(|member| process(member));
            }
        }
    }
}

/// Why a signal is sent: `si_code` of SIGIO (sigaction(2), asm-generic/siginfo.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
enum Why {
    In = 1,
    Out = 2,
    Priority = 5,
    HangUp = 6,
}

impl Why {
    /// `si_band`: the events of poll(2) that go with it, POLLWRBAND (0x200) and POLLRDBAND (0x80) among them.
    fn band(self) -> i64 {
        match self {
            Why::In => 0x41,
            Why::Out => 0x304,
            Why::Priority => 0x82,
            Why::HangUp => 0x18,
        }
    }
}

/// The open description of which somebody is told.
#[derive(Clone, Copy)]
pub struct Watched {
    /// The number by which O_ASYNC was set: what `si_fd` tells.
    pub fd: u32,
    /// It can be read.
    pub reads: bool,
    /// It can be written.
    pub writes: bool,
}

impl Watched {
    /// What is told when these events happen.
    fn why(self, events: Events) -> Option<Why> {
        if events.intersects(Events::STATE) {
            // Nothing happened.
            return None;
        }
        let both = self.reads && self.writes;
        let ended = events.intersects(Events::ALWAYS);
        match () {
            () if ended && both => Some(Why::HangUp),
            () if self.reads && (ended || events.intersects(Events::READABLE | Events::READ_HUP)) => {
                Some(Why::In)
            }
            () if self.writes && (ended || events.intersects(Events::ROOM)) => Some(Why::Out),
            () if events.intersects(Events::PRI) => Some(Why::Priority),
            () => None,
        }
    }
}

/// What F_SETOWN, F_SETSIG and O_ASYNC say of an open description.
#[derive(Default)]
pub struct Sigio {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    owner: Owner,
    /// 0: SIGIO, about which nothing more is told.
    signal: u32,
    watched: Option<Watched>,
}

impl Sigio {
    /// F_GETOWN.
    pub fn owner(&self) -> Owner {
        self.state.lock().owner.clone()
    }

    /// F_SETOWN.
    pub fn set_owner(&self, owner: Owner) {
        self.state.lock().owner = owner;
    }

    /// F_GETSIG.
    pub fn signal(&self) -> u32 {
        self.state.lock().signal
    }

    /// F_SETSIG.
    pub fn set_signal(&self, signal: u32) {
        self.state.lock().signal = signal;
    }

    /// O_ASYNC is set by a description, or no longer.
    pub(super) fn set_watched(&self, watched: Option<Watched>) {
        self.state.lock().watched = watched;
    }
}

impl Watcher for Sigio {
    fn changed(&self, events: Events) -> bool {
        let state = self.state.lock();
        let Some((watched, why)) = state.watched.and_then(|watched| Some((watched, watched.why(events)?)))
        else {
            return false;
        };
        let (owner, signal) = (state.owner.clone(), state.signal);
        drop(state);
        owner.tell(match signal {
            0 => SigInfo::kernel(SIGIO),
            signal => {
                // Codes of their own would be taken for something else (fcntl(2), F_SETSIG).
                let own_codes = is_fault(signal) || matches!(signal, SIGCHLD | SIGSYS);
                let code = if own_codes { SI_SIGIO } else { why as i32 };
                let details = Details::Io { band: why.band(), fd: watched.fd as i32 };
                SigInfo { signal, errno: 0, code, details }
            }
        });
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_depends_on_what_can_be_done() {
        let watched = |reads, writes| Watched { fd: 3, reads, writes };
        let (reader, writer, both) = (watched(true, false), watched(false, true), watched(true, true));
        assert_eq!(reader.why(Events::READABLE), Some(Why::In));
        assert_eq!(writer.why(Events::READABLE), None, "of the other end");
        assert_eq!(writer.why(Events::WRITABLE), None, "it need not be told");
        assert_eq!(writer.why(Events::WRITABLE | Events::ROOM), Some(Why::Out));
        assert_eq!(reader.why(Events::WRITABLE | Events::ROOM), None);
        assert_eq!(reader.why(Events::HUP), Some(Why::In), "the end of a pipe is something to read");
        assert_eq!(writer.why(Events::ERR), Some(Why::Out));
        assert_eq!(both.why(Events::HUP | Events::IN), Some(Why::HangUp));
        assert_eq!(both.why(Events::READABLE | Events::WRITABLE), Some(Why::In));
        assert_eq!(both.why(Events::PRI), Some(Why::Priority));
        assert_eq!(both.why(Events::READABLE | Events::STATE), None);
    }
}
