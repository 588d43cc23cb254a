//! Signals that reach this process, and how it dies.
//!
//! All are blocked, and read from a signalfd with everything that came with them. Before LAUNCH_ACK they wait there. SIGTTIN and
//! SIGTTOU keep their effect: they are about this process and its terminal. SIGTSTP goes to the program, and then stops this
//! process too, so that a shell sees it stop; SIGCONT goes to the program when it continues.

use std::sync::Arc;
use std::thread;

use keelson_lwk_wire::frame::{Flags, FrameType, Header};
use keelson_lwk_wire::layout::SigInfo;
use keelson_lwk_wire::messages;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::Proxy;
use crate::fail::Fail;

/// SIGCHLD
const CHILD: u32 = 17;
/// SIGTSTP
const TERMINAL_STOP: u32 = 20;

/// Blocked signals.
pub struct Relay {
    signals: SignalFd,
}

impl Relay {
    /// Blocks signals, in this thread and in those it starts. Before there are any.
    pub fn block() -> Result<Relay, Fail> {
        let mut set = SigSet::all();
        set.remove(Signal::SIGTTIN);
        set.remove(Signal::SIGTTOU);
        set.thread_block()?;
        Ok(Relay { signals: SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)? })
    }

    /// Sends them to the program from now on.
    pub fn start(self, proxy: Arc<Proxy>) -> Result<(), Fail> {
        let thread = thread::Builder::new().name("lwk-signals".into()).stack_size(128 << 10);
        thread.spawn(move || self.run(&proxy))?;
        Ok(())
    }

    fn run(&self, proxy: &Proxy) {
        let pid = std::process::id();
        while !proxy.is_over() {
            let info = match self.signals.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) | Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => return,
            };
            if info.ssi_signo == CHILD {
                proxy.reap();
                continue;
            }
            let signal = SigInfo {
                signo: info.ssi_signo as i32,
                code: info.ssi_code,
                pid: info.ssi_pid,
                uid: info.ssi_uid,
                value: info.ssi_ptr,
                ..SigInfo::default()
            };
            let header =
                Header { pid, code: info.ssi_signo, ..Header::new(FrameType::Signal) }.with(Flags::URGENT);
            proxy.send(&header, &messages::Signal { info: signal });
            if info.ssi_signo == TERMINAL_STOP {
                // It cannot fail: it is to ourselves.
                let _ = signal_hook::low_level::raise(signal_hook::consts::SIGSTOP);
            }
        }
    }
}

/// What this process blocks and ignores at its start, for LAUNCH: bit n-1 for signal n.
pub fn inherited_masks() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
    };
    // Rust's runtime ignores SIGPIPE before anyone can look; most programs start with its default.
    (mask("SigBlk:"), mask("SigIgn:") & !(1 << 12))
}

/// Ends this process as `status`, from wait(2), says: by the same exit code or the same signal.
pub fn end_as(status: u32) -> i32 {
    let signal = (status & 0x7f) as i32;
    if signal == 0 {
        return (status >> 8 & 0xff) as i32;
    }
    // It is the program's core that matters, not that of the proxy.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    if signal_hook::low_level::emulate_default_handler(signal).is_err() {
        // A real-time signal: nobody has changed what it does.
        let _ = signal_hook::low_level::raise(signal);
        let _ = SigSet::empty().thread_set_mask();
    }
    128 + signal
}
