//! Booting an image as sites do: a boot server's directory, a web server, disks and CDs, and a loader that takes the
//! 64-bit entry.
//!
//! What is served are the examples of `images/pxe` as they are, so that they cannot rot.

mod http;
mod site;

pub use http::HttpServer;
pub use site::Site;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The CD with all images.
///
/// # Panics
///
/// When it has not been built.
pub fn iso() -> PathBuf {
    let file = root().join("images/out/keelson.iso");
    assert!(file.exists(), "{} is missing: run `make iso` first", file.display());
    file
}

/// A directory for UEFI firmware to boot from, with `file` as the program it looks for on removable media.
///
/// # Panics
///
/// When it cannot be made.
pub fn esp(folder: &Path, file: &Path) -> PathBuf {
    let esp = folder.join("esp");
    fs::create_dir_all(esp.join("EFI/BOOT")).expect("make a directory");
    fs::copy(file, esp.join("EFI/BOOT/BOOTX64.EFI")).expect("copy the image");
    esp
}

/// The same with systemd-boot there, which starts `image` with the text `initrd` as its initial RAM disk.
///
/// # Panics
///
/// When it cannot be made; the loader is of Debian's package systemd-boot-efi.
pub fn systemd_boot(folder: &Path, image: &Path, line: &str, initrd: &str) -> PathBuf {
    const LOADER: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";
    let esp = esp(folder, Path::new(LOADER));
    fs::create_dir_all(esp.join("loader/entries")).expect("make a directory");
    fs::copy(image, esp.join("keelson.img")).expect("copy the image");
    let entry = format!("title Keelson\nlinux /keelson.img\ninitrd /keelson.txt\noptions {line}\n");
    for (file, text) in [
        ("loader/loader.conf", "timeout 0\n"),
        ("loader/entries/keelson.conf", &entry),
        ("keelson.txt", initrd),
    ] {
        fs::write(esp.join(file), text).expect("write a file");
    }
    esp
}

/// A unified kernel image: systemd's stub with an image, its command line and an initial RAM disk in it.
///
/// # Panics
///
/// When objcopy fails; the stub is of Debian's package systemd-boot-efi.
pub fn unified(folder: &Path, image: &Path, line: &str, initrd: Option<&str>) -> PathBuf {
    const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
    let (text, unified) = (folder.join("cmdline"), folder.join("unified.efi"));
    fs::write(&text, line).expect("write the command line");
    let more = folder.join("unified.initrd");
    fs::write(&more, initrd.unwrap_or_default()).expect("write the initial RAM disk");
    // Addresses beyond those of the stub's own sections, which end below 0x30000; the image last.
    let sections =
        [(".cmdline", &*text, 0x3_0000), (".initrd", &*more, 0x100_0000), (".linux", image, 0x200_0000)];
    let mut objcopy = Command::new("objcopy");
    for (name, file, address) in
        sections.into_iter().filter(|(name, ..)| *name != ".initrd" || initrd.is_some())
    {
        objcopy.arg("--add-section").arg(format!("{name}={}", file.display()));
        objcopy.arg("--change-section-vma").arg(format!("{name}={address:#x}"));
    }
    run(objcopy.arg(STUB).arg(&unified));
    unified
}

/// The loader `guest/boot64.s`, as a kernel for QEMU, and what to give it as initial RAM disk: an image and `initrd`.
///
/// # Panics
///
/// When it does not assemble.
pub fn boot64(folder: &Path, image: &Path, initrd: &[u8]) -> (PathBuf, PathBuf) {
    let (loader, module) = (folder.join("boot64.elf"), folder.join("boot64.module"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/boot64.s");
    let words =
        ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none,-z,noexecstack,-Ttext=0x200000,-e,start"];
    run(Command::new("gcc").args(words).arg("-o").arg(&loader).arg(source));
    let mut bytes = fs::read(image).expect("read the image");
    bytes.extend(initrd);
    fs::write(&module, bytes).expect("write the module");
    (loader, module)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
