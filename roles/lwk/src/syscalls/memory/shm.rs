//! System V shared memory.

use super::{Caller, mm, node, nothing};
use crate::Errno;
use crate::mm::{Mm, SEGMENT_MOST, SEGMENTS_MOST, ShmStat};
use crate::syscalls::sysv::{IPC_64, get_permission, put, user};
use crate::sysv::Permission;

/// Commands of shmctl(2).
mod command {
    pub const RMID: u32 = 0;
    pub const SET: u32 = 1;
    pub const STAT: u32 = 2;
    pub const INFO: u32 = 3;
    pub const LOCK: u32 = 11;
    pub const UNLOCK: u32 = 12;
    pub const SHM_STAT: u32 = 13;
    pub const SHM_INFO: u32 = 14;
    pub const SHM_STAT_ANY: u32 = 15;
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
    let command = args[1] as u32 & !IPC_64;
    match command {
        command::RMID => nothing(memory.shm_remove(id, &user)),
        command::SET => {
            let bytes = get_permission(&mm, buffer)?;
            nothing(memory.shm_set(id, &bytes, &user))
        }
        command::STAT => {
            let (permission, stat) = memory.shm_stat(id, &user)?;
            put_segment(&mm, buffer, &permission, &stat)
        }
        command::SHM_STAT | command::SHM_STAT_ANY => {
            let reader = (command == command::SHM_STAT).then_some(&user);
            let (id, permission, stat) = memory.shm_stat_at(id, reader)?;
            put_segment(&mm, buffer, &permission, &stat).map(|_| u64::from(id))
        }
        command::INFO => {
            let all = memory.shm_settings().pages(&*mm.system().machine);
            limits(&mm, buffer, all, memory.shm_info().highest)
        }
        command::SHM_INFO => {
            let info = memory.shm_info();
            // struct shm_info: used_ids, then longs; nothing is ever swapped.
            let longs = [info.segments as u64, info.pages, info.resident, 0, 0, 0];
            let bytes: alloc::vec::Vec<u8> = longs.iter().flat_map(|long| long.to_le_bytes()).collect();
            mm.write(buffer, &bytes)?;
            Ok(info.highest as u64)
        }
        command::LOCK | command::UNLOCK => nothing(memory.shm_lock(id, command == command::LOCK, &user)),
        _ => Err(Errno::EINVAL),
    }
}

/// `struct shminfo64`: shmmax, shmmin, shmmni, shmseg, shmall.
fn limits(mm: &Mm, buffer: u64, all: u64, highest: usize) -> Result<u64, Errno> {
    let most = SEGMENTS_MOST as u64;
    let longs = [SEGMENT_MOST, 1, most, most, all, 0, 0, 0, 0];
    let bytes: alloc::vec::Vec<u8> = longs.iter().flat_map(|long| long.to_le_bytes()).collect();
    mm.write(buffer, &bytes)?;
    Ok(highest as u64)
}

/// `struct shmid64_ds` (asm-generic/shmbuf.h).
fn put_segment(mm: &Mm, at: u64, permission: &Permission, stat: &ShmStat) -> Result<u64, Errno> {
    let times = [stat.attached_at, stat.detached_at, stat.changed_at].map(|time| time as u64);
    let pids = u64::from(stat.creator) | u64::from(stat.last) << 32;
    put(mm, at, permission, &[stat.size, times[0], times[1], times[2], pids, stat.attached, 0, 0])
}
