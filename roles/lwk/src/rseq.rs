//! Restartable sequences (rseq(2)): a few instructions that must not be interrupted, and what the thread must know of its place.
//!
//! A thread says where a structure of its own lies. The node keeps the number of its CPU there; the thread keeps a pointer there to
//! a description of the sequence that it is in. When the thread was kept from going on within one, by a signal, by a move to
//! another core, by others on its core, it goes on at the sequence's abort address instead.
//!
//! ```text
//! struct rseq                       struct rseq_cs
//!    0  u32 cpu_id_start               0  u32 version: 0
//!    4  u32 cpu_id                     4  u32 flags: none that is known
//!    8  u64 rseq_cs: 0 or address      8  u64 start_ip
//!   16  u32 flags                     16  u64 post_commit_offset: bytes from there
//!   20  12 bytes                      24  u64 abort_ip: the signature lies in the 4 bytes before it
//! ```
//!
//! Layouts: `linux/rseq.h` of the user interface of Linux 6.1.

use crate::Errno;
use crate::mm::Mm;
use crate::run::Task;
use crate::signals::{SIGSEGV, SigInfo};
use crate::syscalls::Caller;
use crate::thread::{Attention, Thread};
use core::sync::atomic::Ordering;
use keelson_hal::user::Access;

/// Bytes of `struct rseq`, and what its address is a multiple of.
const LEN: u64 = 32;
/// Bytes of `struct rseq_cs`.
const SEQUENCE_LEN: usize = 32;
/// `RSEQ_FLAG_UNREGISTER`.
const UNREGISTER: u64 = 1;
/// `RSEQ_CPU_ID_UNINITIALIZED`.
const NOT_REGISTERED: u32 = u32::MAX;

/// What a thread registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rseq {
    at: u64,
    signature: u32,
}

/// rseq(structure, length, flags, signature).
pub async fn sys_rseq(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [at, len, flags, signature, ..] = args;
    let (wanted, thread) = (Rseq { at, signature: signature as u32 }, caller.thread);
    let registered = *thread.rseq.lock();
    if flags & !UNREGISTER != 0 || len as u32 as u64 != LEN || !at.is_multiple_of(LEN) {
        return Err(Errno::EINVAL);
    }
    let mm = caller.mm();
    match registered {
        Some(there) if there.at != at => return Err(Errno::EINVAL),
        Some(there) if there != wanted => return Err(Errno::EPERM),
        Some(_) if flags == UNREGISTER => {
            write_place(&mm, at, [0, NOT_REGISTERED]).await?;
            *thread.rseq.lock() = None;
        }
        Some(_) => return Err(Errno::EBUSY),
        None if flags == UNREGISTER => return Err(Errno::EINVAL),
        None => {
            write_place(&mm, at, place(thread)).await?;
            *thread.rseq.lock() = Some(wanted);
        }
    }
    Ok(0)
}

fn place(thread: &Thread) -> [u32; 2] {
    let cpu = thread.process.node.cpu_of_core(thread.core.load(Ordering::Relaxed)) as u32;
    [cpu, cpu]
}

async fn write_place(mm: &Mm, at: u64, [start, cpu]: [u32; 2]) -> Result<(), Errno> {
    mm.touch_wait(at, LEN, Access::Write, 0).await?;
    mm.write(at, &(u64::from(start) | u64::from(cpu) << 32).to_le_bytes())
}

impl Thread {
    /// Others may have run on its core, or it is on another one.
    pub(crate) fn was_kept(&self) {
        if self.rseq.lock().is_some() {
            self.demand_self(Attention::RSEQ);
        }
    }
}

impl Task {
    /// The thread was kept from going on: it is told where it is, and leaves the sequence that it was in.
    pub(crate) async fn leave_sequence(&mut self) {
        self.thread.settled(Attention::RSEQ);
        let Some(rseq) = *self.thread.rseq.lock() else { return };
        let left = async {
            write_place(&self.mm, rseq.at, place(&self.thread)).await?;
            abort_address(&self.mm, rseq, self.context.registers.rip).await
        };
        match left.await {
            Ok(None) => {}
            Ok(Some(abort)) => self.context.registers.rip = abort,
            Err(_) => self.thread.force(SigInfo::kernel(SIGSEGV)),
        }
    }
}

/// Where a thread at `rip` has to go on, if it is within a sequence.
async fn abort_address(mm: &Mm, rseq: Rseq, rip: u64) -> Result<Option<u64>, Errno> {
    let pointer = rseq.at + 8;
    let at = mm.read_u64(pointer)?;
    if at == 0 {
        return Ok(None);
    }
    let mut bytes = [0; SEQUENCE_LEN];
    mm.touch_wait(at, SEQUENCE_LEN as u64, Access::Read, 0).await?;
    mm.read(at, &mut bytes)?;
    let word = |index: usize| u64::from_le_bytes(core::array::from_fn(|byte| bytes[8 * index + byte]));
    let (version_and_flags, start, len, abort) = (word(0), word(1), word(2), word(3));
    if version_and_flags as u32 != 0 || start.checked_add(len).is_none() {
        return Err(Errno::EINVAL);
    }
    // Whether it was in the sequence or forgot to take the pointer away: it is in none now.
    mm.write(pointer, &0u64.to_le_bytes())?;
    if rip.wrapping_sub(start) >= len {
        return Ok(None);
    }
    let signed = abort.checked_sub(4).ok_or(Errno::EINVAL)?;
    mm.touch_wait(signed, 4, Access::Read, 0).await?;
    // Whoever could write the structure cannot lead the thread anywhere but to where a program has an abort handler.
    if mm.read_u32(signed)? != rseq.signature || abort.wrapping_sub(start) < len {
        return Err(Errno::EINVAL);
    }
    Ok(Some(abort))
}
