//! Time, limits, usage, signals.

use super::layout;

layout! {
    /// `struct timespec`.
    Timespec, 16 { sec: i64 @ 0, nsec: i64 @ 8, }
}

layout! {
    /// `struct timeval`.
    Timeval, 16 { sec: i64 @ 0, usec: i64 @ 8, }
}

layout! {
    /// `struct rlimit64`.
    Rlimit64, 16 { soft: u64 @ 0, hard: u64 @ 8, }
}

layout! {
    /// `struct rusage`.
    Rusage, 144 {
        utime: i64 @ 0, utime_usec: i64 @ 8, stime: i64 @ 16, stime_usec: i64 @ 24,
        /// KiB.
        maxrss: i64 @ 32,
        ixrss: i64 @ 40, idrss: i64 @ 48, isrss: i64 @ 56, minflt: i64 @ 64, majflt: i64 @ 72, nswap: i64 @ 80,
        inblock: i64 @ 88, oublock: i64 @ 96, msgsnd: i64 @ 104, msgrcv: i64 @ 112, nsignals: i64 @ 120,
        nvcsw: i64 @ 128, nivcsw: i64 @ 136,
    }
}

layout! {
    /// `siginfo_t`: the fields that are in every kind, and those of kill, sigqueue and SIGCHLD. A fault's address is in
    /// `pid` (low half) and `uid` (high half): [`SigInfo::address`].
    SigInfo, 128 {
        signo: i32 @ 0, errno: i32 @ 4, code: i32 @ 8,
        pid: u32 @ 16, uid: u32 @ 20,
        /// `si_value` of sigqueue; `si_status` of SIGCHLD is its low half; `si_addr_lsb`.
        value: u64 @ 24,
        utime: i64 @ 32, stime: i64 @ 40,
    }
}

impl SigInfo {
    /// `si_code` of kill(2).
    pub const SI_USER: i32 = 0;
    /// From the kernel.
    pub const SI_KERNEL: i32 = 0x80;
    /// `si_code` of sigqueue(3).
    pub const SI_QUEUE: i32 = -1;
    /// Of a POSIX timer.
    pub const SI_TIMER: i32 = -2;
    /// `si_code` of tgkill(2).
    pub const SI_TKILL: i32 = -6;

    /// What kill(2) makes.
    pub fn user(signo: i32, pid: u32, uid: u32) -> SigInfo {
        SigInfo { signo, code: SigInfo::SI_USER, pid, uid, ..SigInfo::default() }
    }

    /// What a fault at `address` makes.
    pub fn fault(signo: i32, code: i32, address: u64) -> SigInfo {
        SigInfo { signo, code, pid: address as u32, uid: (address >> 32) as u32, ..SigInfo::default() }
    }

    /// `si_addr` of a fault.
    pub fn address(&self) -> u64 {
        u64::from(self.pid) | u64::from(self.uid) << 32
    }
}
