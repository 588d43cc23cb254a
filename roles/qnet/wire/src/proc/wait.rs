//! Waiting for the end of a process (section 14.5).

use super::ProcHeader;
use crate::endian::Endian;
use crate::io::MsgType;
use crate::layout::{Field, layout};

layout! {
    /// `_PROC_WAIT`, answered with [`Siginfo`] when the process has ended.
    pub body struct ProcWait: 12, "_PROC_WAIT" {
        /// [`ProcWait::PID`].
        2 idtype: i16,
        /// [`ProcWait::EXITED`].
        4 options: i32,
        /// Which process.
        8 id: i32,
    }
}

impl ProcWait {
    /// `id` is a process.
    pub const PID: i16 = 1;
    /// Wait for the end.
    pub const EXITED: i32 = 1;

    /// The whole message.
    pub fn encode(&self, endian: Endian) -> [u8; ProcWait::LEN] {
        let mut bytes = [0; Self::LEN];
        self.put(&mut bytes, 0, endian);
        let subtype = self.idtype as u16;
        ProcHeader { kind: MsgType::PROC_WAIT.0, subtype }.put(&mut bytes, 0, endian);
        bytes
    }
}

layout! {
    /// `siginfo_t` of a child that has ended.
    pub struct Siginfo: 40, "siginfo" {
        /// [`Siginfo::SIGCHLD`].
        0 signo: i32,
        /// [`Siginfo::EXITED`], [`Siginfo::KILLED`] or [`Siginfo::DUMPED`].
        4 code: i32,
        /// The child.
        12 pid: i32,
        /// Exit value, or the signal that ended it.
        20 status: i32,
    }
}

impl Siginfo {
    /// A child has ended.
    pub const SIGCHLD: i32 = 18;
    /// By itself.
    pub const EXITED: i32 = 1;
    /// By a signal.
    pub const KILLED: i32 = 2;
    /// By a signal, leaving a core file.
    pub const DUMPED: i32 = 3;
}
