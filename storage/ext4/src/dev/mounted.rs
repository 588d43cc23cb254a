//! Linux's own ext4 on an image, through a loop device.

use super::Scratch;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

/// An image in a directory of this machine, as long as this lives.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts with options like `loop,ro,noload`.
    ///
    /// # Panics
    ///
    /// When that is not allowed: it needs root and loop devices.
    pub fn new(image: &Path, options: &str) -> Mounted {
        let place = Scratch::new().path().with_extension("mounted");
        fs::create_dir(&place).expect("make a directory");
        let mount = Command::new("mount").args(["-o", options]).arg(image).arg(&place).output();
        let mount = mount.expect("run mount (package mount)");
        if !mount.status.success() {
            let _ = fs::remove_dir(&place);
            panic!(
                "mounting {}: {} (run the tests as root, where loop devices may be used)",
                image.display(),
                String::from_utf8_lossy(&mount.stderr).trim()
            );
        }
        Mounted(place)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let result = unmount(&self.0);
        // A test that fails has said why already.
        if !thread::panicking() {
            result.unwrap_or_else(|said| panic!("{}: {said}", self.0.display()));
        }
        let _ = fs::remove_dir(&self.0);
    }
}

/// Unmounts what is at `place`. Whatever looks at all mounts of a machine may hold this one for an instant: it is tried for a
/// second.
///
/// # Errors
///
/// What umount said last.
pub fn unmount(place: &Path) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..50 {
        match Command::new("umount").arg(place).output() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => last = String::from_utf8_lossy(&output.stderr).trim().to_string(),
            Err(error) => last = format!("{error} (package mount)"),
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(format!("umount: {last}"))
}
