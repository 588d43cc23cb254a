//! Open files that this process was started with: they become the program's, with their numbers (section 5.9).
//!
//! Safe Rust does not own what it has not opened. pidfd_getfd(2) on ourselves gives a second descriptor for the same open file,
//! which it does own; the first is closed then, so that a pipe ends when the program closes its end. Numbers 0 to 2 get /dev/null in
//! place of what was there, since libraries expect them to be open.

use std::os::fd::OwnedFd;

use keelson_lwk_wire::messages::ExportedFd;
use rustix::fs::{Mode, OFlags};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::fail::Fail;
use crate::proxy::handles::{Handle, Handles};

/// Numbers that are open. Call it before anything is opened.
pub fn numbers() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return vec![0, 1, 2] };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut numbers: Vec<i32> = names.collect();
    // The directory that was just read is among them, and gone.
    numbers.retain(|number| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok());
    numbers.sort_unstable();
    numbers
}

/// A descriptor that we own, for the open file behind an inherited number.
pub fn duplicate(number: i32) -> Result<OwnedFd, Fail> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(&own, number, PidfdGetfdFlags::empty())?)
}

/// Gives the inherited number up.
pub fn release(number: i32) -> Result<(), Fail> {
    if number > 2 {
        return Ok(nix::unistd::close(number)?);
    }
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    match number {
        0 => rustix::stdio::dup2_stdin(&null)?,
        1 => rustix::stdio::dup2_stdout(&null)?,
        _ => rustix::stdio::dup2_stderr(&null)?,
    }
    Ok(())
}

/// Both.
pub fn take(number: i32) -> Result<OwnedFd, Fail> {
    let fd = duplicate(number)?;
    release(number)?;
    Ok(fd)
}

/// Makes handles of all of them. The numbers themselves stay, until the node has accepted the program: another attempt needs them.
pub fn export(handles: &Handles, numbers: &[i32]) -> Result<Vec<ExportedFd>, Fail> {
    let mut exported = Vec::with_capacity(numbers.len());
    for number in numbers {
        let fd = duplicate(*number)?;
        let flags = rustix::fs::fcntl_getfl(&fd)?.bits();
        let handle = Handle::new(fd);
        let kind = handle.kind;
        let handle = handles.add(handle)?;
        if *number == 2 {
            handles.complain_to(handle);
        }
        exported.push(ExportedFd { number: *number as u32, handle, kind, flags });
    }
    Ok(exported)
}
