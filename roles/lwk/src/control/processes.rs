//! `ps`: processes and threads, where they are and what they wait for (section 6.8).

use super::Control;
use super::report::{Cell, Table};
use crate::account::Phase;
use crate::process::Process;
use crate::thread::Thread;
use crate::{Errno, room};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;
use keelson_lwk_wire::calls;

/// Bytes of arguments that are shown.
const ARGUMENTS: usize = 100;

/// A process, or what is left of one.
type Member = (u32, Option<Arc<Process>>);

impl Control {
    /// A row for each thread. ENOMEM.
    pub(super) fn processes(&self) -> Result<Table, Errno> {
        let mut rows = Vec::new();
        for (pid, process) in self.members()? {
            match process {
                Some(process) => {
                    // Whoever fills memory may have its lock for seconds, and this core serves everybody.
                    let rss = process.mm().resident() >> 10;
                    let command = command(&process);
                    for thread in process.threads() {
                        room::push(&mut rows, self.row(&process, &thread, rss, &command))?;
                    }
                }
                None => room::push(&mut rows, self.zombie(pid))?,
            }
        }
        let titles = &["NODE", "PID", "TID", "CPU", "STATE", "CALL", "TIME", "RSS", "COMMAND"];
        Ok(Table { titles, rows })
    }

    /// Processes, and zombies without one. ENOMEM.
    pub(super) fn members(&self) -> Result<Vec<Member>, Errno> {
        let (mut members, table) = (Vec::new(), self.node.table.lock());
        for (pid, member) in table.members() {
            room::push(&mut members, (pid, member.process.clone()))?;
        }
        Ok(members)
    }

    fn row(&self, process: &Process, thread: &Thread, rss: u64, command: &str) -> Vec<Cell> {
        let now = self.node.system.clock.now().as_nanos();
        let usage = thread.times.usage(now);
        let (state, call) = self.state_of_thread(process, thread, now);
        let name = match thread.tid == process.pid {
            true => command.to_string(),
            false => format!("[{}]", String::from_utf8_lossy(&thread.comm())),
        };
        Vec::from([
            self.node.settings.name.as_str().into(),
            u64::from(process.pid).into(),
            u64::from(thread.tid).into(),
            self.cpu_name(thread.core.load(Ordering::Relaxed)).into(),
            state.into(),
            call.into(),
            seconds(usage.user + usage.system).into(),
            rss.into(),
            printable(&name).into(),
        ])
    }

    /// R in the program, K in the kernel, D with the host, S waiting, T stopped; and the call that it waits in, since when.
    fn state_of_thread(&self, process: &Process, thread: &Thread, now: u64) -> (&'static str, String) {
        let (phase, since) = thread.times.phase();
        let age = Duration::from_nanos(now.saturating_sub(since));
        let call = match thread.call().and_then(calls::call) {
            Some(call) if phase == Phase::Waiting => format!("{},{}", call.name, seconds(age)),
            _ => String::from("-"),
        };
        let state = match phase {
            Phase::User => "R",
            Phase::System => "K",
            Phase::Waiting if thread.is_with_host() => "D",
            // A frozen or stopped thread is in no call.
            Phase::Waiting
                if thread.call().is_none() && (self.node.is_frozen() || process.stopped().is_some()) =>
            {
                "T"
            }
            Phase::Waiting => "S",
        };
        (state, call)
    }

    fn zombie(&self, pid: u32) -> Vec<Cell> {
        let none = || Cell::from("-");
        Vec::from([
            self.node.settings.name.as_str().into(),
            u64::from(pid).into(),
            u64::from(pid).into(),
            none(),
            "Z".into(),
            none(),
            none(),
            0.into(),
            "<defunct>".into(),
        ])
    }
}

/// What is shown of the arguments, which may be megabytes.
fn command(process: &Process) -> String {
    let program = process.program.lock().clone();
    // A character has four bytes at most.
    let mut left = 4 * ARGUMENTS;
    let mut shown = Vec::new();
    for (index, word) in program.arguments.iter().enumerate() {
        let space: &[u8] = if index == 0 { b"" } else { b" " };
        shown.extend([space, word].into_iter().flatten().take(left).copied());
        left = (4 * ARGUMENTS).saturating_sub(shown.len());
        if left == 0 {
            break;
        }
    }
    String::from_utf8_lossy(if program.arguments.is_empty() { &program.path } else { &shown }).into_owned()
}

/// A line that terminals can be shown, not too long.
fn printable(text: &str) -> String {
    text.chars()
        .take(ARGUMENTS)
        .map(|character| if character.is_control() { '?' } else { character })
        .collect()
}

fn seconds(time: Duration) -> String {
    format!("{}.{:02}s", time.as_secs(), time.subsec_millis() / 10)
}
