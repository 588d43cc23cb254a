//! Processes, threads and mappings, as devctls on `/proc/<pid>/as` return them (section 14.2).
//!
//! Times are in nanoseconds.

use super::Siginfo;
use crate::layout::layout;
use crate::nd::Nd;

/// Bits for signals 1 to 64: two words, the first for signals 1 to 32.
pub type Sigset = [u32; 2];

layout! {
    /// Process info.
    pub struct ProcInfo: 272, "process info" {
        /// Process.
        0 pid: i32,
        /// Its parent.
        4 parent: i32,
        /// Debug flags.
        8 flags: u32,
        /// Mask for new files.
        12 umask: u32,
        /// First child.
        16 child: i32,
        /// Next child of the parent.
        20 sibling: i32,
        /// Process group.
        24 pgrp: i32,
        /// Session.
        28 sid: i32,
        /// Address of the program.
        32 base_address: u64,
        /// Address of the first stack.
        40 initial_stack: u64,
        /// Real user.
        48 uid: u32,
        /// Real group.
        52 gid: u32,
        /// Effective user.
        56 euid: u32,
        /// Effective group.
        60 egid: u32,
        /// Saved user.
        64 suid: u32,
        /// Saved group.
        68 sgid: u32,
        /// Signals that are ignored.
        72 sig_ignore: Sigset,
        /// Signals that are queued.
        80 sig_queue: Sigset,
        /// Signals that are pending.
        88 sig_pending: Sigset,
        /// Connections to it.
        96 num_chancons: u32,
        /// Its own connections.
        100 num_fdcons: u32,
        /// Threads.
        104 num_threads: u32,
        /// Timers.
        108 num_timers: u32,
        /// When it started, since 1970.
        112 start_time: u64,
        /// Time in user code.
        120 utime: u64,
        /// Time in the system.
        128 stime: u64,
        /// Time in user code of children that have ended.
        136 cutime: u64,
        /// Time in the system of children that have ended.
        144 cstime: u64,
        /// Base priority.
        152 priority: u8,
        /// Scheduling partition.
        160 extsched: [u8; 8],
        /// Address of the process's local storage.
        168 pls: u64,
        /// Address of the signal trampoline.
        176 sigstub: u64,
        /// Address of the cancellation trampoline.
        184 canstub: u64,
    }
}

layout! {
    /// Thread status.
    pub struct ThreadStatus: 224, "thread status" {
        /// Process.
        0 pid: i32,
        /// Thread. Of a request: the first of interest.
        4 tid: i32,
        /// Debug flags.
        8 flags: u32,
        /// Why it is stopped.
        12 why: u16,
        /// What stopped it.
        14 what: u16,
        /// Instruction pointer.
        16 ip: u64,
        /// Stack pointer.
        24 sp: u64,
        /// Bottom of the stack.
        32 stkbase: u64,
        /// Address of the thread's local storage.
        40 tls: u64,
        /// Size of the stack in bytes.
        48 stksize: u32,
        /// Flags of the thread.
        52 tid_flags: u32,
        /// Current priority.
        56 priority: u8,
        /// Priority without inheritance.
        57 real_priority: u8,
        /// Scheduling: 1 first in first out, 2 round robin, 3 other.
        58 policy: u8,
        /// See [`ThreadState`].
        59 state: u8,
        /// Last system call.
        60 syscall: i16,
        /// CPU it ran on last.
        62 last_cpu: u16,
        /// States for which a timeout is set.
        64 timeout: u32,
        /// Channel it received on last.
        68 last_chid: i32,
        /// Signals that are blocked.
        72 sig_blocked: Sigset,
        /// Signals that are pending.
        80 sig_pending: Sigset,
        /// Last signal.
        88 info: Siginfo,
        /// What it waits for: see [`ThreadStatus::blocked_on`].
        128 blocked: [u32; 8],
        /// When it started, since 1970.
        160 start_time: u64,
        /// Time on a CPU.
        168 sutime: u64,
        /// Scheduling partition.
        176 extsched: [u8; 8],
        /// How long it has been waiting.
        184 nsec_since_block: u64,
    }
}

layout! {
    /// Map record.
    pub struct MapInfo: 48, "map record" {
        /// Address.
        0 vaddr: u64,
        /// Size in bytes.
        8 size: u64,
        /// Protection and kind.
        16 flags: u32,
        /// Device of the file.
        20 dev: u32,
        /// Offset in the file.
        24 offset: u64,
        /// Serial number of the file.
        32 ino: u64,
    }
}

layout! {
    /// Which mapping's name is wanted, and the front of the answer. The path follows, with its NUL.
    pub struct MapDebug: 8, "map name" {
        /// Address.
        0 vaddr: u64,
    }
}

/// What a thread is doing: `state` of its status.
pub struct ThreadState;

impl ThreadState {
    /// On a CPU.
    pub const RUNNING: u8 = 1;
    /// Ready to run.
    pub const READY: u8 = 2;
    /// Stopped.
    pub const STOPPED: u8 = 3;
    /// Waits until its message is received.
    pub const SEND: u8 = 4;
    /// Waits for a message.
    pub const RECEIVE: u8 = 5;
    /// Waits for a reply.
    pub const REPLY: u8 = 6;
    /// Waits for a signal.
    pub const SIGSUSPEND: u8 = 10;
    /// Waits for a signal with information.
    pub const SIGWAITINFO: u8 = 11;
    /// Sleeps.
    pub const NANOSLEEP: u8 = 12;
    /// Waits for a mutex.
    pub const MUTEX: u8 = 13;
    /// Waits for a condition variable.
    pub const CONDVAR: u8 = 14;
    /// Waits for the end of a thread.
    pub const JOIN: u8 = 15;
    /// Waits for an interrupt.
    pub const INTR: u8 = 16;
    /// Waits for a semaphore.
    pub const SEM: u8 = 17;
    /// Waits for the network to deliver a pulse or signal.
    pub const NET_SEND: u8 = 19;
    /// Waits for the network to deliver a reply.
    pub const NET_REPLY: u8 = 20;
}

/// What a thread waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockedOn {
    /// A message on this channel.
    Channel(i32),
    /// A server to receive or to reply.
    Connect {
        /// The server's node.
        nd: Nd,
        /// The server's process.
        pid: i32,
        /// The client's connection.
        coid: i32,
        /// The server's channel.
        chid: i32,
        /// Server connection.
        scoid: i32,
    },
    /// Something else, or nothing.
    Other,
}

impl ThreadStatus {
    /// What the thread waits for, as its state says.
    pub fn blocked_on(&self) -> BlockedOn {
        let [first, pid, coid, chid, scoid, ..] = self.blocked;
        match self.state {
            ThreadState::RECEIVE => BlockedOn::Channel(first as i32),
            ThreadState::SEND | ThreadState::REPLY => BlockedOn::Connect {
                nd: Nd(first),
                pid: pid as i32,
                coid: coid as i32,
                chid: chid as i32,
                scoid: scoid as i32,
            },
            _ => BlockedOn::Other,
        }
    }

    /// The same status, waiting for something. The state is the caller's.
    pub fn with_blocked_on(self, on: BlockedOn) -> ThreadStatus {
        let blocked = match on {
            BlockedOn::Channel(chid) => [chid as u32, 0, 0, 0, 0, 0, 0, 0],
            BlockedOn::Connect { nd, pid, coid, chid, scoid } => {
                [nd.0, pid as u32, coid as u32, chid as u32, scoid as u32, 0, 0, 0]
            }
            BlockedOn::Other => [0; 8],
        };
        ThreadStatus { blocked, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Endian;

    #[test]
    fn waiting_for_a_remote_server() {
        let on = BlockedOn::Connect { nd: Nd(4), pid: 1, coid: 3, chid: 1, scoid: -5 };
        let status =
            ThreadStatus { state: ThreadState::REPLY, ..ThreadStatus::default() }.with_blocked_on(on);
        assert_eq!(status.blocked_on(), on);
        let bytes = status.encode(Endian::Little);
        assert_eq!(
            (bytes[59], bytes[128], bytes[132], bytes[136], bytes[140], bytes[144]),
            (6, 4, 1, 3, 1, 0xfb)
        );
        let receive =
            ThreadStatus { state: ThreadState::RECEIVE, ..status }.with_blocked_on(BlockedOn::Channel(9));
        assert_eq!(receive.blocked_on(), BlockedOn::Channel(9));
        assert_eq!(ThreadStatus { state: ThreadState::MUTEX, ..status }.blocked_on(), BlockedOn::Other);
    }

    #[test]
    fn places_of_fields() {
        let info = ProcInfo { pid: 7, priority: 10, num_threads: 3, canstub: 1, ..ProcInfo::default() };
        let bytes = info.encode(Endian::Big);
        assert_eq!((bytes[3], bytes[107], bytes[152], bytes[191]), (7, 3, 10, 1));
    }
}
