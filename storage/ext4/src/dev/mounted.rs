//! Linux's own ext4 on an image, through a loop device.

use super::Scratch;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}
