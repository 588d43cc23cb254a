//! Waiting for children (wait4(2), waitid(2)).

use crate::Errno;
use crate::account::Usage;
use crate::exit::cause;
use crate::process::Process;
use crate::restart::RESTART;
use crate::signals::{CLD_CONTINUED, CLD_STOPPED, SIGCHLD, SIGCONT};
use crate::table::{Ended, Member, Report};
use crate::thread::{Thread, Wait};

/// Options of the wait calls.
pub(crate) mod option {
    pub const WNOHANG: u32 = 1;
    pub const WUNTRACED: u32 = 2;
    pub const WEXITED: u32 = 4;
    pub const WCONTINUED: u32 = 8;
    pub const WNOWAIT: u32 = 0x0100_0000;
    pub const WNOTHREAD: u32 = 0x2000_0000;
    pub const WALL: u32 = 0x4000_0000;
    pub const WCLONE: u32 = 0x8000_0000;
}
use option::*;

/// Whom to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whom {
    /// Any child.
    Any,
    /// This one.
    Child(u32),
    /// Any of this process group.
    Group(u32),
}

/// What became of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waited {
    /// The child.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Wait status (wait(2)).
    pub status: u32,
    /// What it used, with its children.
    pub usage: Usage,
}

impl Waited {
    /// `si_code` and `si_status`.
    pub fn cause(&self) -> (i32, i32) {
        match self.status {
            0xffff => (CLD_CONTINUED, SIGCONT as i32),
            status if status & 0xff == 0x7f => (CLD_STOPPED, (status >> 8) as i32),
            status => cause(status),
        }
    }
}

impl Thread {
    /// Waits for a change of a child; `None` with WNOHANG when there is none yet. ECHILD without such a child.
    pub(crate) async fn wait_child(&self, whom: Whom, options: u32) -> Result<Option<Waited>, Errno> {
        let look = async {
            loop {
                let changed = self.process.changed.changed();
                match self.process.look_for_child(whom, options) {
                    Ok(None) if options & WNOHANG == 0 => changed.await,
                    result => return result,
                }
            }
        };
        match self.wait_for(Wait::Other, look).await {
            Ok(result) => result,
            // The signal may be the child's own, which comes before whoever waits is told.
            Err(_) => {
                self.process.look_for_child(whom, options)?.map_or(Err(RESTART), |waited| Ok(Some(waited)))
            }
        }
    }
}

impl Process {
    fn look_for_child(&self, whom: Whom, options: u32) -> Result<Option<Waited>, Errno> {
        let _burial = self.node.burial.lock();
        let mut table = self.node.table.lock();
        let children = table.member(self.pid).map(|member| member.children.clone()).unwrap_or_default();
        let mut any = false;
        for pid in children {
            let Some(member) = table.member_mut(pid) else { continue };
            if !matches(pid, member, whom, options) {
                continue;
            }
            any = true;
            let keep = options & WNOWAIT != 0;
            if let Some(waited) = state_of(pid, member, options, keep) {
                let ended = member.exit.filter(|_| !keep && options & WEXITED != 0);
                if let Some(Ended { total, .. }) = ended {
                    table.remove(pid);
                    self.add_child_usage(&total);
                }
                return Ok(Some(waited));
            }
        }
        if any { Ok(None) } else { Err(Errno::ECHILD) }
    }
}

fn matches(pid: u32, member: &Member, whom: Whom, options: u32) -> bool {
    let chosen = match whom {
        Whom::Any => true,
        Whom::Child(child) => pid == child,
        Whom::Group(group) => member.group == group,
    };
    // Children that tell of their end by another signal than SIGCHLD are "clone children".
    let clone = member.exit_signal != SIGCHLD;
    chosen && (options & WALL != 0 || clone == (options & WCLONE != 0))
}

fn state_of(pid: u32, member: &mut Member, options: u32, keep: bool) -> Option<Waited> {
    let uid = member.uid;
    if let Some(ended) = member.exit {
        let waited = Waited { pid, uid, status: ended.status, usage: ended.total };
        return (options & WEXITED != 0).then_some(waited);
    }
    let status = match member.report? {
        Report::Stopped(signal) if options & WUNTRACED != 0 => signal << 8 | 0x7f,
        Report::Continued if options & WCONTINUED != 0 => 0xffff,
        _ => return None,
    };
    if !keep {
        member.report = None;
    }
    let usage = member.process.as_ref().map(|process| process.usage()).unwrap_or_default();
    Some(Waited { pid, uid, status, usage })
}
