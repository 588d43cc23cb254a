//! mke2fs, debugfs and e2fsck, and files for them to work on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Where tests keep images: in memory if the machine has a place for that. Linux's mounts of them flush all the time, and a slow
/// disk would make minutes of seconds.
pub fn workplace() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_path_buf() } else { env::temp_dir() }
}

/// A file that goes away with this value.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A name for a file that does not exist yet.
    pub fn new() -> Scratch {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Scratch(workplace().join(format!("keelson-ext4-{}-{number}.img", process::id())))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = fs::remove_file(&self.0);
    }
}

fn tool(name: &str) -> Command {
    let place = ["/sbin", "/usr/sbin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    Command::new(place.unwrap_or_else(|| name.into()))
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} (package e2fsprogs): {error}"))
}

/// Makes an ext4 filesystem of `mebibytes` with further arguments for mke2fs.
///
/// # Panics
///
/// When mke2fs is missing or refuses.
pub fn mke2fs(mebibytes: u64, arguments: &[&str]) -> Scratch {
    let scratch = Scratch::new();
    let size = format!("{mebibytes}M");
    let mut command = tool("mke2fs");
    command.args(["-q", "-F", "-t", "ext4"]).args(arguments).arg(scratch.path()).arg(size);
    let output = output(&mut command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    scratch
}

/// Changes an image with a request to debugfs; what it said.
///
/// # Panics
///
/// When debugfs is missing or fails.
pub fn debugfs(path: &Path, request: &str) -> String {
    let mut command = tool("debugfs");
    command.args(["-w", "-R", request]).arg(path);
    let output = output(&mut command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Checks an image without changing it; the error is what e2fsck said.
pub fn e2fsck(path: &Path) -> Result<(), String> {
    let output = output(tool("e2fsck").arg("-fn").arg(path));
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// Lets e2fsck replay the journal and repair what is safe to repair, as when a machine boots; the error is what it said.
pub fn e2fsck_repair(path: &Path) -> Result<(), String> {
    let output = output(tool("e2fsck").arg("-p").arg(path));
    // 1: something was repaired, and all is well.
    if matches!(output.status.code(), Some(0 | 1)) {
        return Ok(());
    }
    Err(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}
