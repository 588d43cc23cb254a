//! `make run`: boots a role in QEMU on this terminal with a default disk and says how to reach it.
//!
//! Host ports are forwarded on loopback only. The disk is made once and kept, so that what clients wrote is
//! there again on the next run.

#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::io::{self, IsTerminal};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What a role needs to be tried out.
struct Role {
    name: &'static str,
    /// Command line beyond the role's own default.
    append: &'static str,
    /// Forwarded TCP ports: of the appliance, and on the host if free.
    ports: &'static [(u16, u16)],
    /// Size of its disk.
    disk_bytes: u64,
    /// What to tell the user, with the host's port for each of `ports`.
    hint: fn(&[u16]) -> String,
}

const ROLES: &[Role] = &[Role {
    name: "nfs-server",
    // User networking hides the client's port, hence `insecure`.
    append: "nfs.exports=\"/ *(rw,insecure,no_root_squash)\"",
    ports: &[(2049, 20_490), (20_048, 20_048), (111, 20_111)],
    disk_bytes: 1 << 30,
    hint: |ports| {
        let (nfs, mount) = (ports[0], ports[1]);
        format!(
            "  nfs-ls 'nfs://127.0.0.1/?version=3&nfsport={nfs}&mountport={mount}'      (package libnfs-utils)\n  \
             mount -t nfs -o vers=3,proto=tcp,port={nfs},mountproto=tcp,mountport={mount},nolock \
             127.0.0.1:/ /mnt      (as root)\n"
        )
    },
}];

const MEMORY_MIB: u32 = 256;
const CORES: u32 = 1;

fn main() -> ExitCode {
    match run() {
        Ok(never) => match never {},
        Err(message) => {
            eprintln!("keelson-run: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Replaces this process by QEMU.
fn run() -> Result<std::convert::Infallible, String> {
    let role = parse_arguments(env::args().skip(1))?;
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/out");
    let image = out.join(format!("{}.img", role.name));
    if !image.exists() {
        return Err(format!("{} is missing: run `make images` first", image.display()));
    }
    let disk = default_disk(&out, role)?;
    let host_ports: Vec<u16> =
        role.ports.iter().map(|(_, wanted)| free_port(*wanted)).collect::<Result<_, _>>()?;

    println!("\n{} is booting. From another terminal on this machine:\n", role.name);
    println!("{}", (role.hint)(&host_ports));
    println!("Disk: {}. Commands on this console: help. Leave: Ctrl-A X.\n", disk.display());

    let forwards: String = role
        .ports
        .iter()
        .zip(&host_ports)
        .map(|((guest, _), host)| format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"))
        .collect();
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg", "-M", "q35", "-nodefaults", "-vga", "none", "-display", "none"])
        .args(["-m", &MEMORY_MIB.to_string(), "-smp", &CORES.to_string()])
        .arg("-kernel")
        .arg(&image)
        .args(["-append", role.append])
        .args(["-netdev", &format!("user,id=net{forwards}"), "-device", "virtio-net-pci,netdev=net"])
        .args(["-drive", &format!("if=none,id=disk,format=raw,file={}", disk.display())])
        .args(["-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"]);
    if io::stdin().is_terminal() {
        qemu.args(["-serial", "mon:stdio"]);
    } else {
        // Unattended: nobody types, and the end of input is not the end of the appliance.
        qemu.args(["-serial", "stdio"]).stdin(Stdio::null());
    }
    Err(format!("cannot start qemu-system-x86_64: {} (package qemu-system-x86)", qemu.exec()))
}

fn parse_arguments(mut arguments: impl Iterator<Item = String>) -> Result<&'static Role, String> {
    let known = ROLES.iter().map(|role| role.name).collect::<Vec<_>>().join(", ");
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (Some("--role"), Some(name), None) => ROLES
            .iter()
            .find(|role| role.name == name)
            .ok_or_else(|| format!("there is no role \"{name}\"; roles: {known}")),
        _ => Err(format!("usage: keelson-run --role ROLE; roles: {known}")),
    }
}

/// The role's disk in `out`: ext4 as `mke2fs` makes it, with a first file to be found.
fn default_disk(out: &Path, role: &Role) -> Result<PathBuf, String> {
    let disk = out.join(format!("{}.disk", role.name));
    if disk.exists() {
        return Ok(disk);
    }
    let fail = |what: &str, error: io::Error| format!("{what}: {error}");
    let tree = out.join(format!("{}.tree", role.name));
    fs::create_dir_all(&tree).map_err(|error| fail("making the disk's content", error))?;
    let greeting = "This file is served by a Keelson appliance.\n";
    fs::write(tree.join("hello.txt"), greeting).map_err(|error| fail("making the disk's content", error))?;
    // Made under another name, so that an interrupted run leaves no half disk behind.
    let unfinished = disk.with_extension("disk.new");
    let file = fs::File::create(&unfinished).map_err(|error| fail("making the disk", error))?;
    file.set_len(role.disk_bytes).map_err(|error| fail("making the disk", error))?;
    let status = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-d"])
        .args([&tree, &unfinished])
        .status()
        .map_err(|error| fail("mke2fs (package e2fsprogs)", error))?;
    if !status.success() {
        return Err(format!("mke2fs ended with {status}"));
    }
    fs::rename(&unfinished, &disk).map_err(|error| fail("making the disk", error))?;
    fs::remove_dir_all(&tree).map_err(|error| fail("making the disk", error))?;
    Ok(disk)
}

/// `wanted` if nobody listens on it, else any free port.
fn free_port(wanted: u16) -> Result<u16, String> {
    let bound = TcpListener::bind(("127.0.0.1", wanted)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)));
    let port = bound.and_then(|listener| listener.local_addr()).map(|address| address.port());
    port.map_err(|error| format!("no free port on 127.0.0.1: {error}"))
}
