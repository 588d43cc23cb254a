//! System calls: who serves which of the 362 numbers (section 4).
//!
//! 1. [`quick`]: served between two entries into ring 3, with nothing else around them.
//! 2. `plain`: never wait.
//! 3. `waiting`: may wait; futures.
//! 4. `refused`: what this node does not have, with the error that makes programs do without.
//!
//! Before any of these but the first: [`scarce`], what a node without memory for itself does not do.
//!
//! Calls that change registers (clone, exec, sigreturn, arch_prctl, ...) are in [`crate::run`].

mod filelocks;
pub mod files;
pub mod forward;
mod futex;
mod futex_pi;
mod identity;
mod limits;
mod local;
mod mapped;
mod memory;
pub(crate) mod misc;
mod objects;
mod paths;
pub mod place;
mod poll;
mod priority;
pub(crate) mod process;
mod refused;
pub mod request;
pub mod scarce;
mod sched;
mod serve;
mod sigio;
pub(crate) mod signals;
mod sockets;
pub(crate) mod sysv;
mod time;
pub mod transfer;
mod wait;

use crate::Errno;
use crate::mm::Mm;
use crate::thread::Thread;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

/// Who makes a system call.
pub struct Caller<'a> {
    /// The thread.
    pub thread: &'a Arc<Thread>,
}

impl Caller<'_> {
    /// The memory of the caller.
    pub fn mm(&self) -> Arc<Mm> {
        self.thread.process.mm()
    }
}

/// The calls that programs make in loops and that need next to nothing: their result as it goes into RAX, or `None` for all others
/// and for everything out of the ordinary.
pub fn quick(thread: &Thread, mm: &Mm, number: u64, args: [u64; 2]) -> Option<u64> {
    match number {
        24 => thread.is_alone().then_some(0),
        39 => Some(u64::from(thread.process.pid)),
        96 if args[1] == 0 => time::quick_timeofday(thread, mm, args[0]),
        110 => Some(u64::from(thread.process.parent.load(Ordering::Relaxed))),
        186 => Some(u64::from(thread.tid)),
        228 => time::quick_clock(thread, mm, args),
        _ => None,
    }
}

/// Serves a call. Internal results ([`crate::restart`]) mean that it was interrupted.
pub async fn dispatch(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    if let Some(result) = plain(caller, number, args) {
        return result;
    }
    if let Some(errno) = refused::errno(number) {
        return Err(errno);
    }
    match number {
        0 => files::sys_read(caller, args).await,
        1 => files::sys_write(caller, args).await,
        3 => files::sys_close(caller, args).await,
        5 => files::sys_fstat(caller, args).await,
        8 => files::sys_lseek(caller, args).await,
        9 => memory::sys_mmap(caller, args).await,
        11 => memory::sys_munmap(caller, args).await,
        17 => files::sys_pread64(caller, args).await,
        18 => files::sys_pwrite64(caller, args).await,
        19 => files::sys_readv(caller, args).await,
        20 => files::sys_writev(caller, args).await,
        24 => sched::sys_sched_yield(caller).await,
        203 => sched::sys_sched_setaffinity(caller, args).await,
        26 => memory::sys_msync(caller, args).await,
        28 => memory::sys_madvise(caller, args).await,
        33 => files::sys_dup2(caller, args).await,
        72 => files::sys_fcntl(caller, args).await,
        73 => filelocks::sys_flock(caller, args).await,
        292 => files::sys_dup3(caller, args).await,
        295 => files::sys_preadv(caller, args).await,
        296 => files::sys_pwritev(caller, args).await,
        302 => limits::sys_prlimit64(caller, args).await,
        310 => memory::sys_process_vm_readv(caller, args).await,
        311 => memory::sys_process_vm_writev(caller, args).await,
        327 => files::sys_preadv2(caller, args).await,
        334 => crate::rseq::sys_rseq(caller, args).await,
        328 => files::sys_pwritev2(caller, args).await,
        436 => files::sys_close_range(caller, args).await,
        34 => signals::sys_pause(caller).await,
        35 => time::sys_nanosleep(caller, args).await,
        61 => wait::sys_wait4(caller, args).await,
        62 => signals::sys_kill(caller, args).await,
        65 => sysv::sys_semop(caller, args).await,
        69 => sysv::sys_msgsnd(caller, args).await,
        70 => sysv::sys_msgrcv(caller, args).await,
        105 | 106 | 113 | 114 | 116 | 117 | 119 | 122 | 123 => identity::change(caller, number, args).await,
        109 => identity::sys_setpgid(caller, args).await,
        112 => identity::sys_setsid(caller).await,
        121 => identity::sys_getpgid(caller, args).await,
        124 => identity::sys_getsid(caller, args).await,
        128 => signals::sys_rt_sigtimedwait(caller, args).await,
        129 => signals::sys_rt_sigqueueinfo(caller, args).await,
        130 => signals::sys_rt_sigsuspend(caller, args).await,
        160 => limits::sys_setrlimit(caller, args).await,
        202 => futex::sys_futex(caller, args).await,
        220 => sysv::sys_semtimedop(caller, args).await,
        230 => time::sys_clock_nanosleep(caller, args).await,
        247 => wait::sys_waitid(caller, args).await,
        _ => serve::files(caller, number, args).await.unwrap_or(Err(Errno::ENOSYS)),
    }
}

/// The calls that never wait.
fn plain(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Option<Result<u64, Errno>> {
    Some(match number {
        10 => memory::sys_mprotect(caller, args),
        12 => memory::sys_brk(caller, args),
        13 => signals::sys_rt_sigaction(caller, args),
        14 => signals::sys_rt_sigprocmask(caller, args),
        25 => memory::sys_mremap(caller, args),
        27 => memory::sys_mincore(caller, args),
        29 => memory::sys_shmget(caller, args),
        30 => memory::sys_shmat(caller, args),
        31 => memory::sys_shmctl(caller, args),
        32 => files::sys_dup(caller, args),
        36 => time::sys_getitimer(caller, args),
        37 => time::sys_alarm(caller, args),
        38 => time::sys_setitimer(caller, args),
        39 => Ok(u64::from(caller.thread.process.pid)),
        63 => misc::sys_uname(caller, args),
        96 => time::sys_gettimeofday(caller, args),
        64 => sysv::sys_semget(caller, args),
        66 => sysv::sys_semctl(caller, args),
        67 => memory::sys_shmdt(caller, args),
        68 => sysv::sys_msgget(caller, args),
        71 => sysv::sys_msgctl(caller, args),
        97 => limits::sys_getrlimit(caller, args),
        98 => limits::sys_getrusage(caller, args),
        99 => misc::sys_sysinfo(caller, args),
        100 => time::sys_times(caller, args),
        102 => Ok(u64::from(caller.thread.process.ids.lock().user.real)),
        104 => Ok(u64::from(caller.thread.process.ids.lock().group.real)),
        107 => Ok(u64::from(caller.thread.process.ids.lock().user.effective)),
        108 => Ok(u64::from(caller.thread.process.ids.lock().group.effective)),
        110 => Ok(u64::from(caller.thread.process.parent.load(Ordering::Relaxed))),
        111 => identity::sys_getpgrp(caller),
        115 => identity::sys_getgroups(caller, args),
        118 => identity::sys_getresuid(caller, args),
        120 => identity::sys_getresgid(caller, args),
        125 => identity::sys_capget(caller, args),
        126 => identity::sys_capset(caller, args),
        127 => signals::sys_rt_sigpending(caller, args),
        135 => process::sys_personality(caller, args),
        140 => return Some(priority::sys_getpriority(caller, args)),
        141 => return Some(priority::sys_setpriority(caller, args)),
        142..=148 | 204 | 309 | 314 | 315 => return Some(sched::serve(caller, number, args)),
        149 => memory::sys_mlock(caller, args),
        150 => memory::sys_munlock(caller, args),
        151 => memory::sys_mlockall(caller, args),
        152 => memory::sys_munlockall(caller, args),
        157 => process::sys_prctl(caller, args),
        159 | 305 => time::sys_adjtimex(caller, number, args),
        // Hints about files: nothing is read ahead.
        187 | 221 => Ok(0),
        186 => Ok(u64::from(caller.thread.tid)),
        200 => signals::sys_tkill(caller, args),
        201 => time::sys_time(caller, args),
        216 => memory::sys_remap_file_pages(caller, args),
        218 => process::sys_set_tid_address(caller, args),
        // Interrupted calls come back by themselves: there is never one to be restarted.
        219 => Err(Errno::EINTR),
        222 => time::sys_timer_create(caller, args),
        223 => time::sys_timer_settime(caller, args),
        224 => time::sys_timer_gettime(caller, args),
        225 => time::sys_timer_getoverrun(caller, args),
        226 => time::sys_timer_delete(caller, args),
        228 => time::sys_clock_gettime(caller, args),
        229 => time::sys_clock_getres(caller, args),
        234 => signals::sys_tgkill(caller, args),
        237 => memory::sys_mbind(caller, args),
        238 => memory::sys_set_mempolicy(caller, args),
        239 => memory::sys_get_mempolicy(caller, args),
        // I/O priorities: none.
        251 => Ok(0),
        252 => Ok(0),
        256 => memory::sys_migrate_pages(caller, args),
        273 => futex::sys_set_robust_list(caller, args),
        274 => futex::sys_get_robust_list(caller, args),
        279 => memory::sys_move_pages(caller, args),
        297 => signals::sys_rt_tgsigqueueinfo(caller, args),
        318 => misc::sys_getrandom(caller, args),
        324 => sched::sys_membarrier(caller, args),
        325 => memory::sys_mlock2(caller, args),
        329 => memory::sys_pkey_mprotect(caller, args),
        330 => memory::sys_pkey_alloc(caller, args),
        331 => memory::sys_pkey_free(caller, args),
        450 => memory::sys_set_mempolicy_home_node(caller, args),
        700 => Ok(caller.thread.process.node.cpu_of_core(caller.thread.core.load(Ordering::Relaxed)) as u64),
        731 => {
            caller.thread.helper_hint.store(true, Ordering::Relaxed);
            Ok(0)
        }
        732 => Ok(0),
        _ => return None,
    })
}

/// Copies a word of a program in.
pub(crate) fn get_u64(mm: &Mm, at: u64) -> Result<u64, Errno> {
    let mut bytes = [0; 8];
    mm.read(at, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Copies words to a program.
pub(crate) fn put_words(mm: &Mm, at: u64, words: &[u64]) -> Result<(), Errno> {
    let mut bytes = alloc::vec::Vec::with_capacity(words.len() * 8);
    words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    mm.write(at, &bytes)
}
