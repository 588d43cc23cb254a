//! The process of a virtual machine: found by its pid file, held by a descriptor.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process that runs.
pub struct Process {
    /// Its number, for messages.
    pub pid: i32,
    descriptor: OwnedFd,
}

impl Process {
    /// The process that a pid file names, if it runs and has this path among its arguments: numbers are used again.
    pub fn of(pid_file: &Path, argument: &Path) -> Option<Process> {
        let pid: i32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
        let descriptor = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        // Whose arguments these are cannot change any more without the descriptor noticing.
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let argument = argument.to_str()?;
        let has = line.split(|byte| *byte == 0).any(|word| String::from_utf8_lossy(word).contains(argument));
        let process = Process { pid, descriptor };
        (has && !process.ends_within(Duration::ZERO)).then_some(process)
    }

    /// Waits for its end, so long at most. True when it has ended.
    pub fn ends_within(&self, time: Duration) -> bool {
        let time = Timespec::try_from(time).ok();
        let mut fds = [PollFd::new(&self.descriptor, PollFlags::IN)];
        // Interrupted or not: the caller looks at the clock, or asks again.
        matches!(poll(&mut fds, time.as_ref()), Ok(1..))
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        // It may have ended.
        let _ = pidfd_send_signal(&self.descriptor, Signal::TERM);
    }

    /// Ends it.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.descriptor, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_known_by_its_arguments() {
        let file = std::env::temp_dir().join(format!("lwk-pid-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "echo; read line", "/the/argument"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A process that has only just been started has no arguments for an instant; one that speaks has.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        fs::write(&file, format!("{}\n", child.id())).unwrap();
        let process = Process::of(&file, Path::new("/the/argument")).unwrap();
        assert!(Process::of(&file, Path::new("/other")).is_none());
        assert!(!process.ends_within(Duration::from_millis(10)));
        process.kill();
        assert!(process.ends_within(Duration::from_secs(10)));
        // Nobody has waited for it yet, and still it is over.
        assert!(Process::of(&file, Path::new("/the/argument")).is_none());
        child.wait().unwrap();
        fs::remove_file(&file).unwrap();
    }
}
