//! What is told with a signal: `siginfo_t`.

use super::set::*;

/// Bytes of `siginfo_t`.
pub const SIGINFO_SIZE: usize = 128;

/// Bytes of `signalfd_siginfo`.
pub const SIGNALFD_SIZE: usize = 128;

/// `si_code`: sent by kill(2).
pub const SI_USER: i32 = 0;
/// `si_code`: sent by the kernel.
pub const SI_KERNEL: i32 = 0x80;
/// `si_code`: sent by sigqueue(3).
pub const SI_QUEUE: i32 = -1;
/// `si_code`: a POSIX timer expired.
pub const SI_TIMER: i32 = -2;
/// `si_code`: a file of the program is ready.
pub const SI_SIGIO: i32 = -5;
/// `si_code`: sent by tkill(2) or tgkill(2).
pub const SI_TKILL: i32 = -6;
/// `si_code` of SIGIO: the last of them, which is that the other end is gone.
pub const POLL_HUP: i32 = 6;
/// `si_code` of SIGSEGV: nothing is mapped there.
pub const SEGV_MAPERR: i32 = 1;
/// `si_code` of SIGSEGV: mapped, but not for this access.
pub const SEGV_ACCERR: i32 = 2;
/// `si_code` of SIGBUS: unaligned.
pub const BUS_ADRALN: i32 = 1;
/// `si_code` of SIGBUS: behind the end of the file.
pub const BUS_ADRERR: i32 = 2;
/// `si_code` of SIGCHLD: exited.
pub const CLD_EXITED: i32 = 1;
/// `si_code` of SIGCHLD: killed by a signal.
pub const CLD_KILLED: i32 = 2;
/// `si_code` of SIGCHLD: killed by a signal, with a core file.
pub const CLD_DUMPED: i32 = 3;
/// `si_code` of SIGCHLD: stopped.
pub const CLD_STOPPED: i32 = 5;
/// `si_code` of SIGCHLD: continued.
pub const CLD_CONTINUED: i32 = 6;

/// A signal and what is told with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SigInfo {
    /// The signal.
    pub signal: u32,
    /// `si_errno`.
    pub errno: i32,
    /// `si_code`: why.
    pub code: i32,
    /// The rest, which depends on the code.
    pub details: Details,
}

/// The part of `siginfo_t` that depends on the cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Details {
    /// Nothing.
    None,
    /// Who sent it.
    Sender { pid: u32, uid: u32 },
    /// Who sent it, and a value of his.
    Value { pid: u32, uid: u32, value: u64 },
    /// Which timer, how many expirations were missed, and its value.
    Timer { id: i32, overrun: i32, value: u64 },
    /// Which child, its user, exit status or signal, its times in clock ticks.
    Child { pid: u32, uid: u32, status: i32, user: i64, system: i64 },
    /// Which events of poll(2) a file has, and its descriptor.
    Io { band: i64, fd: i32 },
    /// The address of the fault; vector, error code and address go into the signal frame.
    Fault { address: u64, trap: u64, error: u64 },
    /// Whatever the program gave to rt_sigqueueinfo(2).
    Raw([u8; SIGINFO_SIZE - 16]),
}

impl SigInfo {
    /// A signal from the kernel about which there is nothing to tell.
    pub fn kernel(signal: u32) -> SigInfo {
        SigInfo { signal, errno: 0, code: SI_KERNEL, details: Details::None }
    }

    /// A signal of process `pid` of user `uid`.
    pub fn sent(signal: u32, code: i32, pid: u32, uid: u32) -> SigInfo {
        SigInfo { signal, errno: 0, code, details: Details::Sender { pid, uid } }
    }

    /// A fault at `address`.
    pub fn fault(signal: u32, code: i32, address: u64, trap: u64, error: u64) -> SigInfo {
        SigInfo { signal, errno: 0, code, details: Details::Fault { address, trap, error } }
    }

    /// True for what comes from the kernel and not from a program.
    pub fn is_from_kernel(&self) -> bool {
        self.code > 0
    }

    /// As `siginfo_t` lies in memory (asm-generic/siginfo.h: three words, padding, then the union at 16).
    pub fn encode(&self) -> [u8; SIGINFO_SIZE] {
        let mut bytes = [0; SIGINFO_SIZE];
        put(&mut bytes, 0, &(self.signal as i32).to_le_bytes());
        put(&mut bytes, 4, &self.errno.to_le_bytes());
        put(&mut bytes, 8, &self.code.to_le_bytes());
        match self.details {
            Details::None => {}
            Details::Sender { pid, uid } => {
                put(&mut bytes, 16, &pid.to_le_bytes());
                put(&mut bytes, 20, &uid.to_le_bytes());
            }
            Details::Value { pid, uid, value } => {
                put(&mut bytes, 16, &pid.to_le_bytes());
                put(&mut bytes, 20, &uid.to_le_bytes());
                put(&mut bytes, 24, &value.to_le_bytes());
            }
            Details::Timer { id, overrun, value } => {
                put(&mut bytes, 16, &id.to_le_bytes());
                put(&mut bytes, 20, &overrun.to_le_bytes());
                put(&mut bytes, 24, &value.to_le_bytes());
            }
            Details::Child { pid, uid, status, user, system } => {
                put(&mut bytes, 16, &pid.to_le_bytes());
                put(&mut bytes, 20, &uid.to_le_bytes());
                put(&mut bytes, 24, &status.to_le_bytes());
                put(&mut bytes, 32, &user.to_le_bytes());
                put(&mut bytes, 40, &system.to_le_bytes());
            }
            Details::Io { band, fd } => {
                put(&mut bytes, 16, &band.to_le_bytes());
                put(&mut bytes, 24, &fd.to_le_bytes());
            }
            Details::Fault { address, .. } => put(&mut bytes, 16, &address.to_le_bytes()),
            Details::Raw(raw) => put(&mut bytes, 16, &raw),
        }
        bytes
    }

    /// As `signalfd_siginfo` lies in memory (linux/signalfd.h). What is told depends on the signal and the code, as in
    /// Linux's siginfo_layout.
    pub fn encode_for_signalfd(&self) -> [u8; SIGNALFD_SIZE] {
        let from = self.encode();
        let mut bytes = [0; SIGNALFD_SIZE];
        put(&mut bytes, 0, &from[..12]);
        let mut copy = |at: usize, place: usize, len: usize| put(&mut bytes, at, &from[place..place + len]);
        match (self.code, self.signal) {
            (1..SI_KERNEL, SIGCHLD) => {
                // Process, user, status, times.
                copy(12, 16, 8);
                copy(40, 24, 4);
                copy(56, 32, 16);
            }
            (1..SI_KERNEL, SIGIO) | (SI_SIGIO, _) => {
                // Band, descriptor.
                copy(28, 16, 4);
                copy(20, 24, 4);
            }
            (1..SI_KERNEL, signal) if is_fault(signal) => copy(72, 16, 8),
            (1..=POLL_HUP, _) => {
                // A signal of F_SETSIG: as SIGIO.
                copy(28, 16, 4);
                copy(20, 24, 4);
            }
            (SI_TIMER, _) => {
                // Timer, overrun; its value as a number and as a pointer.
                copy(24, 16, 4);
                copy(32, 20, 4);
                copy(44, 24, 4);
                copy(48, 24, 8);
            }
            (..=-1, _) => {
                copy(12, 16, 8);
                copy(44, 24, 4);
                copy(48, 24, 8);
            }
            _ => copy(12, 16, 8),
        }
        bytes
    }

    /// A signal as a program (or the host) describes it; the number is what the call says and not what the bytes say.
    pub fn decode(signal: u32, bytes: &[u8; SIGINFO_SIZE]) -> SigInfo {
        let word = |at: usize| i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut raw = [0; SIGINFO_SIZE - 16];
        raw.copy_from_slice(&bytes[16..]);
        SigInfo { signal, errno: word(4), code: word(8), details: Details::Raw(raw) }
    }
}

fn put(bytes: &mut [u8; SIGINFO_SIZE], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// True for signals about which a fault reports an address.
pub fn is_fault(signal: u32) -> bool {
    matches!(signal, SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGTRAP)
}
