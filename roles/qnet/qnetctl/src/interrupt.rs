//! Ctrl-C and its like.
//!
//! Safe Rust cannot catch signals. At a terminal none is needed: it is told to send none, and to end a line with the
//! character instead. Without one, the program runs as a child of its own ([`guard`]), and the end of the parent, which a
//! signal brings about, is what the child notices.

use crate::session::Session;
use keelson_exec::Handle;
use keelson_exec::sync::Notify;
use keelson_hal::Instant;
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr};
use std::cell::Cell;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::rc::Rc;
use std::time::Duration;

/// How often the terminal is looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// First word of a guarded child; whose child it is follows.
pub const GUARDED: &str = "--guarded";

/// A terminal that sends no signals; it does again when this is dropped.
pub struct QuietTerminal {
    before: Termios,
    interrupt: u8,
    quit: u8,
}

impl QuietTerminal {
    /// Takes standard input, if it is a terminal.
    pub fn take() -> Option<QuietTerminal> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return None;
        }
        let before = tcgetattr(stdin).ok()?;
        let mut quiet = before.clone();
        let interrupt = before.special_codes[SpecialCodeIndex::VINTR];
        let quit = before.special_codes[SpecialCodeIndex::VQUIT];
        quiet.local_modes.remove(LocalModes::ISIG);
        // With either character, the line so far is read at once.
        quiet.special_codes[SpecialCodeIndex::VEOL] = interrupt;
        quiet.special_codes[SpecialCodeIndex::VEOL2] = quit;
        tcsetattr(stdin, OptionalActions::Now, &quiet).ok()?;
        Some(QuietTerminal { before, interrupt, quit })
    }

    /// The signal that stands for a character that was typed.
    pub fn signal_of(&self, typed: u8) -> Option<i32> {
        match typed {
            // The terminal has no such character.
            0 => None,
            typed if typed == self.interrupt => Some(SIGINT),
            typed if typed == self.quit => Some(SIGQUIT),
            _ => None,
        }
    }
}

impl Drop for QuietTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}

/// SIGINT, of POSIX and QNX.
pub const SIGINT: i32 = 2;
/// SIGQUIT, of POSIX and QNX.
pub const SIGQUIT: i32 = 3;

/// Ctrl-C at the terminal of a program that reads no input.
pub struct Interrupts {
    terminal: Option<QuietTerminal>,
    session: Session,
    seen: Cell<bool>,
}

impl Interrupts {
    /// Watches the terminal, if there is one. Without one, the program is ended by the signal, as others are.
    pub fn watch(session: &Session) -> Interrupts {
        Interrupts { terminal: QuietTerminal::take(), session: session.clone(), seen: Cell::new(false) }
    }

    /// Whether Ctrl-C, or the like, was typed.
    pub fn was_interrupted(&self) -> bool {
        let Some(terminal) = &self.terminal else { return false };
        let mut room = [0; 256];
        let len = self.session.input.take(&mut room);
        if room.iter().take(len).any(|typed| terminal.signal_of(*typed).is_some()) {
            self.seen.set(true);
        }
        self.seen.get()
    }

    /// When to look again.
    pub fn next_look(&self, handle: &Handle) -> Instant {
        if self.terminal.is_some() { handle.now() + GLANCE } else { Instant::FAR_FUTURE }
    }
}

/// Runs the program again, as a child that signals of the terminal do not reach; the child's exit status.
pub fn guard(words: &[String]) -> io::Result<i32> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(GUARDED).arg(std::process::id().to_string()).args(words).process_group(0);
    let status: ExitStatus = command.status()?;
    Ok(status.code().unwrap_or(128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0)))
}

/// Waits until the parent that guards this process has ended.
pub async fn parent_ended(session: &Session, parent: u32) {
    let pid = i32::try_from(parent).ok().and_then(Pid::from_raw);
    // Another parent: it has ended already.
    let Some(pid) = pid.filter(|pid| getppid() == Some(*pid)) else { return };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let changed = Rc::new(Notify::new());
    let ended = changed.notified();
    let source = session.host.reactor().watch(fd, &changed);
    ended.await;
    source.end();
}

const _: () = assert!(Signal::INT.as_raw() == SIGINT && Signal::QUIT.as_raw() == SIGQUIT);
