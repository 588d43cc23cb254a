//! What notes of core files say of threads and of processes: Linux's `struct elf_prstatus` and `struct elf_prpsinfo`
//! (include/linux/elfcore.h), as the psABI lays them out.

use crate::REGISTERS;
use crate::bytes::{put, u64_at};
use core::time::Duration;

/// Places in `struct elf_prstatus`.
mod thread {
    /// `pr_info`: number, code and errno of the signal.
    pub const INFO: usize = 0;
    pub const CURRENT: usize = 12;
    pub const PENDING: usize = 16;
    pub const BLOCKED: usize = 24;
    /// `pr_pid`, `pr_ppid`, `pr_pgrp`, `pr_sid`.
    pub const IDS: usize = 32;
    /// `pr_utime`, `pr_stime`, `pr_cutime`, `pr_cstime`: seconds and microseconds.
    pub const TIMES: usize = 48;
    pub const REGISTERS: usize = 112;
    pub const HAS_FLOATS: usize = 328;
}

/// A thread: the content of a note [`crate::NT_PRSTATUS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ThreadStatus {
    /// The signal that ended it: number, code and errno. Zeros: none.
    pub info: [i32; 3],
    /// The signal that ended its process.
    pub signal: u16,
    /// Signals that wait: bit 0 is signal 1.
    pub pending: u64,
    /// Signals that it blocked.
    pub blocked: u64,
    /// Its number.
    pub thread: u32,
    /// The parent of its process.
    pub parent: u32,
    /// The group of its process.
    pub group: u32,
    /// The session of its process.
    pub session: u32,
    /// Time that it spent as a program.
    pub user: Duration,
    /// Time that it spent in system calls.
    pub system: Duration,
    /// Time that its children spent as programs.
    pub children_user: Duration,
    /// Time that its children spent in system calls.
    pub children_system: Duration,
    /// General registers; see [`crate::register`].
    pub registers: [u64; REGISTERS],
    /// A note with floating-point registers follows.
    pub has_floats: bool,
}

impl ThreadStatus {
    /// Bytes of the structure.
    pub const LEN: usize = 336;

    /// As it lies in a note.
    pub fn encode(&self) -> [u8; ThreadStatus::LEN] {
        let mut bytes = [0; ThreadStatus::LEN];
        for (index, word) in self.info.iter().enumerate() {
            put(&mut bytes, thread::INFO + index * 4, word.to_le_bytes());
        }
        put(&mut bytes, thread::CURRENT, self.signal.to_le_bytes());
        put(&mut bytes, thread::PENDING, self.pending.to_le_bytes());
        put(&mut bytes, thread::BLOCKED, self.blocked.to_le_bytes());
        for (index, id) in [self.thread, self.parent, self.group, self.session].iter().enumerate() {
            put(&mut bytes, thread::IDS + index * 4, id.to_le_bytes());
        }
        let times = [self.user, self.system, self.children_user, self.children_system];
        for (index, time) in times.iter().enumerate() {
            let at = thread::TIMES + index * 16;
            put(&mut bytes, at, time.as_secs().to_le_bytes());
            put(&mut bytes, at + 8, u64::from(time.subsec_micros()).to_le_bytes());
        }
        for (index, register) in self.registers.iter().enumerate() {
            put(&mut bytes, thread::REGISTERS + index * 8, register.to_le_bytes());
        }
        put(&mut bytes, thread::HAS_FLOATS, u32::from(self.has_floats).to_le_bytes());
        bytes
    }

    /// The registers in a note's content; `None` if it ends before they do.
    pub fn registers_in(desc: &[u8]) -> Option<[u64; REGISTERS]> {
        let bytes = desc.get(thread::REGISTERS..)?.first_chunk::<{ REGISTERS * 8 }>()?;
        Some(core::array::from_fn(|index| u64_at(bytes, index * 8)))
    }
}

/// Places in `struct elf_prpsinfo`.
mod process {
    /// `pr_sname`.
    pub const STATE: usize = 1;
    /// `pr_uid`, `pr_gid`, `pr_pid`, `pr_ppid`, `pr_pgrp`, `pr_sid`.
    pub const IDS: usize = 16;
    pub const NAME: usize = 40;
    /// The last byte of a text is 0.
    pub const NAME_MOST: usize = 16 - 1;
    pub const ARGUMENTS: usize = 56;
    pub const ARGUMENTS_MOST: usize = 80 - 1;
}

/// A process: the content of a note [`crate::NT_PRPSINFO`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProcessStatus<'a> {
    /// Its state, as ps(1) spells it.
    pub state: u8,
    /// User and group that it has the rights of.
    pub owner: (u32, u32),
    /// Its number.
    pub process: u32,
    /// Its parent.
    pub parent: u32,
    /// Its group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// Name of the program: the first 15 bytes count.
    pub name: &'a [u8],
    /// Its arguments with blanks between them: the first 79 bytes count.
    pub arguments: &'a [u8],
}

impl ProcessStatus<'_> {
    /// Bytes of the structure.
    pub const LEN: usize = 136;

    /// As it lies in a note.
    pub fn encode(&self) -> [u8; ProcessStatus::LEN] {
        let mut bytes = [0; ProcessStatus::LEN];
        bytes[process::STATE] = self.state;
        let (user, group) = self.owner;
        let ids = [user, group, self.process, self.parent, self.group, self.session];
        for (index, id) in ids.iter().enumerate() {
            put(&mut bytes, process::IDS + index * 4, id.to_le_bytes());
        }
        for (at, text, most) in [
            (process::NAME, self.name, process::NAME_MOST),
            (process::ARGUMENTS, self.arguments, process::ARGUMENTS_MOST),
        ] {
            bytes[at..at + most].iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        }
        bytes
    }
}
