//! System V shared memory.

use super::{Caller, mm, node, nothing};
use crate::Errno;
use crate::mm::{Mm, PAGE, SEGMENT_MOST, SEGMENTS_MOST, ShmStat, ShmUser};

/// Commands of shmctl(2).
mod command {
    pub const RMID: u64 = 0;
    pub const SET: u64 = 1;
    pub const STAT: u64 = 2;
    pub const INFO: u64 = 3;
    pub const LOCK: u64 = 11;
    pub const UNLOCK: u64 = 12;
    pub const SHM_STAT: u64 = 13;
    pub const SHM_INFO: u64 = 14;
    pub const SHM_STAT_ANY: u64 = 15;
}

/// Set in commands by some C libraries: the 64-bit layout, which is the only one here.
const IPC_64: u64 = 0x100;

/// Bytes of `struct shmid64_ds`.
const STAT_BYTES: usize = 112;

fn user(caller: &Caller<'_>) -> ShmUser {
    let process = &caller.thread.process;
    let ids = process.ids.lock();
    let (uid, gid) = (ids.user.effective, ids.group.effective);
    ShmUser { pid: process.pid, uid, gid, now: process.system.clock.wall().as_secs() as i64 }
}

/// shmget(key, size, flags).
pub fn sys_shmget(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let system = &caller.thread.process.system;
    let flags = u64::from(args[2] as u32);
    system.memory.shmget(&system.machine, args[0] as u32, args[1], flags, &user(caller)).map(u64::from)
}

/// shmat(id, at, flags).
pub fn sys_shmat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    mm(caller).shmat(args[0] as u32, args[1], u64::from(args[2] as u32), &user(caller), node(caller))
}

/// shmdt(at).
pub fn sys_shmdt(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    nothing(mm(caller).shmdt(args[0], &user(caller)))
}

/// shmctl(id, command, buffer).
pub fn sys_shmctl(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let (id, buffer, user, mm) = (args[0] as u32, args[2], user(caller), mm(caller));
    let memory = &caller.thread.process.system.memory;
    match u64::from(args[1] as u32) & !IPC_64 {
        command::RMID => nothing(memory.shm_remove(id, &user)),
        command::SET => {
            let mut bytes = [0; STAT_BYTES];
            mm.read(buffer, &mut bytes)?;
            nothing(memory.shm_set(id, word(&bytes, 4), word(&bytes, 8), word(&bytes, 20), &user))
        }
        command::STAT => {
            let stat = memory.shm_stat(id, &user)?;
            nothing(mm.write(buffer, &stat_bytes(&stat)))
        }
        command::SHM_STAT | command::SHM_STAT_ANY => {
            let any = u64::from(args[1] as u32) & !IPC_64 == command::SHM_STAT_ANY;
            let (id, stat) = memory.shm_stat_at(id, if any { None } else { Some(&user) })?;
            mm.write(buffer, &stat_bytes(&stat))?;
            Ok(u64::from(id))
        }
        command::INFO => limits(&mm, buffer, memory.shm_info().highest),
        command::SHM_INFO => {
            let info = memory.shm_info();
            // struct shm_info: used_ids, then longs; nothing is ever swapped.
            let longs = [info.segments as u64, info.pages, info.resident, 0, 0, 0];
            let bytes: alloc::vec::Vec<u8> = longs.iter().flat_map(|long| long.to_le_bytes()).collect();
            mm.write(buffer, &bytes)?;
            Ok(info.highest as u64)
        }
        command @ (command::LOCK | command::UNLOCK) => {
            nothing(memory.shm_lock(id, command == command::LOCK, &user))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `struct shminfo64`: shmmax, shmmin, shmmni, shmseg, shmall.
fn limits(mm: &Mm, buffer: u64, highest: usize) -> Result<u64, Errno> {
    let most = SEGMENTS_MOST as u64;
    let longs = [SEGMENT_MOST, 1, most, most, SEGMENT_MOST / PAGE, 0, 0, 0, 0];
    let bytes: alloc::vec::Vec<u8> = longs.iter().flat_map(|long| long.to_le_bytes()).collect();
    mm.write(buffer, &bytes)?;
    Ok(highest as u64)
}

/// `struct shmid64_ds` (asm-generic/shmbuf.h with asm-generic/ipcbuf.h).
fn stat_bytes(stat: &ShmStat) -> [u8; STAT_BYTES] {
    let mut bytes = [0; STAT_BYTES];
    let mut word = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    word(0, stat.key);
    word(4, stat.uid);
    word(8, stat.gid);
    word(12, stat.cuid);
    word(16, stat.cgid);
    word(20, stat.mode);
    word(24, stat.seq & 0xffff);
    word(80, stat.creator);
    word(84, stat.last);
    let mut long = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    long(48, stat.size);
    long(56, stat.attached_at as u64);
    long(64, stat.detached_at as u64);
    long(72, stat.changed_at as u64);
    long(88, stat.attached);
    bytes
}

fn word(bytes: &[u8; STAT_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
