//! The directory of a boot server.

use super::{root, run};
use crate::Appliance;
use keelson_qemu::{NetLoader, Nic, NicModel};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The roles, and MAC addresses of machines for them; `images/pxe` has files for some.
const MACS: [(&str, [u8; 6]); 4] = [
    ("nfs-server", [0x52, 0x4b, 0, 0, 1, 1]),
    ("lnet-router", [0x52, 0x4b, 0, 0, 1, 2]),
    ("qnet-node", [0x52, 0x4b, 0, 0, 1, 3]),
    ("lwk-compute", [0x52, 0x4b, 0, 0, 1, 4]),
];

/// Files of PXELINUX, of Debian's packages pxelinux and syslinux-common.
const PXELINUX: [&str; 2] = ["/usr/lib/PXELINUX/pxelinux.0", "/usr/lib/syslinux/modules/bios/ldlinux.c32"];

/// A boot server's directory, as `images/pxe/README.md` describes it.
pub struct Site {
    directory: PathBuf,
}

impl Site {
    /// Makes it in `folder`: examples, images, PXELINUX, and a key for the compute node.
    ///
    /// # Panics
    ///
    /// When something is missing.
    pub fn new(folder: &Path) -> Site {
        let site = Site { directory: folder.join("tftp") };
        copy(&root().join("images/pxe"), &site.directory);
        fs::create_dir_all(site.directory.join("keelson")).expect("make a directory");
        for (role, _) in MACS {
            let image = Appliance::image(role);
            symlink(&image, site.path(&format!("keelson/{role}.img"))).expect("link an image");
            // UEFI firmware takes a file for a program by its name when it comes over HTTP.
            symlink(&image, site.path(&format!("keelson/{role}.efi"))).expect("link an image");
        }
        for file in PXELINUX.map(Path::new) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            fs::copy(file, site.path(&name)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        fs::write(site.path("keelson/lwk.keys"), format!("all {}\n", "5a".repeat(32))).expect("write a key");
        site
    }

    /// Puts GRUB there, too.
    ///
    /// # Panics
    ///
    /// When grub-mknetdir fails; it is of Debian's package grub-common and wants grub-pc-bin and grub-efi-amd64-bin.
    pub fn with_grub(self) -> Site {
        let mut command = Command::new("grub-mknetdir");
        run(command.arg("--net-directory").arg(&self.directory).args(["--subdir", "boot/grub"]));
        self
    }

    /// A file of it.
    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// The MAC address of the example's machine for `role`.
    ///
    /// # Panics
    ///
    /// When there is no such role.
    pub fn mac(role: &str) -> [u8; 6] {
        MACS.iter().find(|(name, _)| *name == role).expect("a role").1
    }

    /// A NIC of the example's machine for `role` that boots over TFTP and begins with `first`.
    ///
    /// # Panics
    ///
    /// When there is no such role.
    pub fn nic(&self, role: &str, model: NicModel, loader: NetLoader, first: &str) -> Nic {
        Nic::user(model).mac(Site::mac(role)).tftp(&self.directory, first).boots(loader)
    }
}

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("make a directory");
    for entry in fs::read_dir(from).expect("read a directory").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("copy a file");
        }
    }
}
