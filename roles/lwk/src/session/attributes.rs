//! What a host said about files a moment ago: programs ask for the same attributes again and again.
//!
//! An answer is good for [`LIFE`], and only until any program of the node does something that could have changed it or could have
//! told it of a change: a write, a rename, a read from a socket. What is left are programs that look around: an interpreter that
//! imports modules, a dynamic linker that searches directories. What others do to the files of a host is seen [`LIFE`] late at
//! most, as with NFS; `attrcache=0` turns this off.

use crate::delegate::{Call, Handle, Opened, Reply};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use keelson_hal::Instant;
use keelson_lwk_wire::layout::Stat;
use spin::Mutex;

/// How long an answer is good (section 4.1).
pub const LIFE: Duration = Duration::from_secs(1);
/// Most bytes of answers, and of the paths they are for, that a process keeps.
const MOST: usize = 128 << 10;
/// `O_CREAT | O_TRUNC`, and the bit of O_TMPFILE that is not O_DIRECTORY (open(2)).
const CREATES: u64 = 0o100 | 0o1000 | 0o20_000_000;

/// x86-64 numbers of the calls that this file knows.
mod number {
    pub const STAT: u32 = 4;
    pub const FSTAT: u32 = 5;
    pub const LSTAT: u32 = 6;
    pub const ACCESS: u32 = 21;
    pub const READLINK: u32 = 89;
    pub const NEWFSTATAT: u32 = 262;
    pub const READLINKAT: u32 = 267;
    pub const FACCESSAT: u32 = 269;
    pub const STATX: u32 = 332;
    pub const FACCESSAT2: u32 = 439;
    pub const OPENAT: u32 = 257;
    /// read, pread64, readv, preadv, preadv2.
    pub const READS: [u32; 5] = [0, 17, 19, 295, 327];
    /// lseek, getdents, getcwd, statfs, fstatfs, getdents64, path_of.
    pub const LOOKS: [u32; 7] = [8, 78, 79, 137, 138, 217, keelson_lwk_wire::calls::PATH_OF];
}

/// Counts what may have changed files, on the whole node.
#[derive(Debug, Default)]
pub struct Changes {
    count: AtomicU64,
    off: bool,
}

impl Changes {
    /// Everything is asked for anew, or not.
    pub fn new(attribute_cache: bool) -> Changes {
        Changes { count: AtomicU64::new(0), off: !attribute_cache }
    }

    /// Something may have changed.
    pub fn note(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// To compare with.
    fn now(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}

/// What a call means for what is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// Its answer can be remembered.
    Asks,
    /// Opens a file as it is.
    Opens,
    /// Changes nothing, and nobody else can say anything with it.
    Looks,
    /// Everything else.
    Changes,
}

/// When a call was sent, for what becomes of its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    changes: u64,
    at: Instant,
}

/// One answer.
struct Answer {
    sent: Sent,
    reply: Reply,
    bytes: usize,
}

/// A call without what differs between two that ask the same.
type Question = (u32, [u64; 6], Vec<(u8, Vec<u8>)>, Vec<(u8, u32)>);

#[derive(Default)]
struct Known {
    answers: BTreeMap<Question, Answer>,
    /// Of all answers and their questions.
    bytes: usize,
    /// Handles of regular files and directories: reading them is no conversation with anybody.
    files: BTreeSet<Handle>,
}

/// What is remembered for one process: its working directory and its user are part of every answer.
#[derive(Default)]
pub struct Attributes(Mutex<Known>);

impl Attributes {
    /// What `call` means.
    pub(super) fn effect(&self, call: &Call) -> Effect {
        use number::*;
        match call.number {
            STAT | LSTAT | ACCESS | READLINK | NEWFSTATAT | READLINKAT | FACCESSAT | STATX | FACCESSAT2 => {
                Effect::Asks
            }
            FSTAT if self.is_file(call) => Effect::Asks,
            FSTAT => Effect::Looks,
            OPENAT if call.arguments[2] & CREATES == 0 => Effect::Opens,
            other if LOOKS.contains(&other) => Effect::Looks,
            other if READS.contains(&other) && self.is_file(call) => Effect::Looks,
            _ => Effect::Changes,
        }
    }

    fn is_file(&self, call: &Call) -> bool {
        self.0.lock().files.contains(&Handle(call.arguments[0]))
    }

    /// Before a call is sent.
    pub(super) fn sent(&self, changes: &Changes, at: Instant) -> Sent {
        Sent { changes: changes.now(), at }
    }

    /// The answer, if it is known.
    pub(super) fn known(&self, call: &Call, changes: &Changes, now: Instant) -> Option<Reply> {
        if changes.off {
            return None;
        }
        let known = self.0.lock();
        let answer = known.answers.get(&question(call))?;
        let is_good = answer.sent.changes == changes.now() && now < answer.sent.at + LIFE;
        is_good.then(|| answer.reply.clone())
    }

    /// Remembers the answer of a call that asks.
    pub(super) fn learn(&self, question: Question, sent: Sent, reply: &Reply, changes: &Changes) {
        if changes.off || sent.changes != changes.now() {
            return;
        }
        let texts = question.2.iter().chain(&reply.output).map(|(_, text)| text.len()).sum::<usize>();
        let bytes = texts + size_of::<(Question, Answer)>();
        let mut known = self.0.lock();
        if known.bytes + bytes > MOST {
            // All at once: whoever fills this looks at something else by now.
            known.answers.clear();
            known.bytes = 0;
        }
        let old = known.answers.insert(question, Answer { sent, reply: reply.clone(), bytes });
        known.bytes = known.bytes + bytes - old.map_or(0, |old| old.bytes);
    }

    /// Learns from an answer what its handle is; false when it is nothing that only a program changes.
    pub(super) fn opened(&self, sent: Sent, reply: &Reply, changes: &Changes) -> bool {
        let (Ok(handle), Some(opened)) = (u64::try_from(reply.result), reply.opened) else { return true };
        if !is_file(&opened) {
            return false;
        }
        self.0.lock().files.insert(Handle(handle));
        let reply = Reply { output: alloc::vec![(1, opened.stat.to_bytes().to_vec())], ..Reply::default() };
        let arguments = [handle, 0, 0, 0, 0, 0];
        let call = Call { number: number::FSTAT, arguments, ..Call::default() };
        let call = Call { output: alloc::vec![(1, Stat::LEN as u32)], ..call };
        self.learn(question(&call), sent, &reply, changes);
        true
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.lock().bytes
    }

    /// Handles that name nothing any more.
    pub(super) fn closed(&self, handles: &[Handle]) {
        let mut known = self.0.lock();
        for handle in handles {
            known.files.remove(handle);
        }
    }
}

/// A regular file or a directory (`st_mode`, inode(7)).
fn is_file(opened: &Opened) -> bool {
    matches!(opened.stat.mode & 0o170_000, 0o100_000 | 0o040_000)
}

/// Addresses of the program and the thread mean nothing to the host.
pub(super) fn question(call: &Call) -> Question {
    let mut arguments = call.arguments;
    let keys = call.input.iter().map(|(key, _)| *key).chain(call.output.iter().map(|(key, _)| *key));
    for key in keys {
        if let Some(argument) = arguments.get_mut(usize::from(key & 7)) {
            *argument = 0;
        }
    }
    (call.number, arguments, call.input.clone(), call.output.clone())
}
