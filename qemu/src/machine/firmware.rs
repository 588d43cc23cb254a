//! Booting as a machine of iron does: its firmware, and where that looks for a loader.

use std::path::{Path, PathBuf};

/// What a machine runs first when QEMU gives it no kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, which is QEMU's own; on `microvm` qboot.
    #[default]
    Bios,
    /// OVMF, with variables as delivered; what is written to them is forgotten.
    Uefi,
}

/// Who drives a NIC from which a machine boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetLoader {
    /// The boot ROM that QEMU puts on its NICs: iPXE, for BIOS and UEFI. To PXELINUX it is a PXE ROM as any.
    Ipxe,
    /// The firmware itself. UEFI has PXE and HTTP, a BIOS has nothing.
    Firmware,
}

/// What a QEMU user network gives to clients that boot.
#[derive(Clone)]
pub(super) struct Tftp {
    pub directory: PathBuf,
    pub first: String,
}

/// Boot order: NICs, disks and the CD, of those that are meant to be booted from.
pub(super) const FIRST_NIC: usize = 1;
pub(super) const FIRST_DRIVE: usize = 101;
const CD: usize = 201;

/// Debian's package ovmf. The build with 4 MiB is the one that Debian goes on with.
const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

impl Firmware {
    /// QEMU's arguments for it.
    pub(super) fn arguments(self) -> Vec<String> {
        match self {
            Firmware::Bios => vec![],
            Firmware::Uefi => [
                "-drive".into(),
                format!("if=pflash,format=raw,readonly=on,file={CODE}"),
                "-drive".into(),
                format!("if=pflash,format=raw,snapshot=on,file={VARIABLES}"),
            ]
            .into(),
        }
    }
}

impl Tftp {
    /// Its part of the `-netdev`.
    pub(super) fn netdev(&self) -> String {
        format!(",tftp={},bootfile={}", value(&self.directory), self.first.replace(',', ",,"))
    }
}

/// QEMU's arguments for a CD drive with the image `file` in it.
pub(super) fn cd(file: &Path) -> [String; 4] {
    [
        "-drive".into(),
        format!("if=none,id=cd,media=cdrom,format=raw,readonly=on,file={}", value(file)),
        "-device".into(),
        format!("ide-cd,drive=cd,bootindex={CD}"),
    ]
}

/// A comma in a value is written twice.
fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
