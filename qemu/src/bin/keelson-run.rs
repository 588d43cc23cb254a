//! `make run`: boots a role in QEMU on this terminal with a default disk and says how to reach it.
//!
//! Host ports are forwarded on loopback only. A disk is made once and kept, so that what clients wrote is there
//! again on the next run.

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
    /// The address ranges of its NICs' networks, each with DHCP.
    networks: &'static [&'static str],
    /// Forwarded TCP ports, on the first NIC: of the appliance, and on the host if free.
    ports: &'static [(u16, u16)],
    /// Size of its disk, if it has one.
    disk_bytes: Option<u64>,
    /// What to tell the user, with the host's port for each of `ports`.
    hint: fn(&[u16]) -> String,
}

const ROLES: &[Role] = &[NFS_SERVER, LNET_ROUTER, QNET_NODE];

const NFS_SERVER: Role = Role {
    name: "nfs-server",
    // User networking hides the client's port, hence `insecure`.
    append: "nfs.exports=\"/ *(rw,insecure,no_root_squash)\"",
    networks: &["10.0.2.0/24"],
    ports: &[(2049, 20_490), (20_048, 20_048), (111, 20_111)],
    disk_bytes: Some(1 << 30),
    hint: |ports| {
        let (nfs, mount) = (ports[0], ports[1]);
        format!(
            "  nfs-ls 'nfs://127.0.0.1/?version=3&nfsport={nfs}&mountport={mount}'      (package libnfs-utils)\n  \
             mount -t nfs -o vers=3,proto=tcp,port={nfs},mountproto=tcp,mountport={mount},nolock \
             127.0.0.1:/ /mnt      (as root)\n"
        )
    },
};

const LNET_ROUTER: Role = Role {
    name: "lnet-router",
    // User networking has the host at .2, and hides the client's port, hence `accept=all`.
    append: "lnet.networks=\"tcp0(eth0),tcp1(eth1)\" lnet.forwarding=enabled lnet.accept=all console.port=5000 \
             console.allow=10.0.2.2",
    networks: &["10.0.2.0/24", "10.0.3.0/24"],
    ports: &[(5000, 15_000), (988, 20_988)],
    disk_bytes: None,
    hint: |ports| {
        let (console, lnet) = (ports[0], ports[1]);
        format!(
            "  nc 127.0.0.1 {console}      (its console over the network)\n  LNet: 127.0.0.1:{lnet} is 10.0.2.15@tcp\n\n\
             On either console type:\n\n  \
             lnetctl net show -v\n  lnetctl routing show\n  lctl ping 10.0.3.15@tcp1\n  \
             lnetctl route add --net tcp2 --gateway 10.0.3.9@tcp1\n  lnetctl export --backup\n  \
             routerstat 1 5\n  lnetctl help\n"
        )
    },
};

const QNET_NODE: Role = Role {
    name: "qnet-node",
    // User networking has the host at .2.
    append: "hostname=alpha ip=dhcp console.port=5000 console.allow=10.0.2.2",
    networks: &["10.0.2.0/24"],
    ports: &[(5000, 15_000)],
    disk_bytes: Some(256 << 20),
    hint: |ports| {
        format!(
            "  nc 127.0.0.1 {}      (its console over the network)\n\n\
             On either console type:\n\n  \
             ls /net\n  cat /proc/qnetstats\n  nicinfo\n  pidin\n  pidin net\n  ls /bin\n\n\
             More nodes: give each a NIC on the same network, as docs/qnet-node.md shows.\n",
            ports[0]
        )
    },
};

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
    let disk = role.disk_bytes.map(|bytes| default_disk(&out, role, bytes)).transpose()?;
    let host_ports: Vec<u16> =
        role.ports.iter().map(|(_, wanted)| free_port(*wanted)).collect::<Result<_, _>>()?;

    println!("\n{} is booting. From another terminal on this machine:\n", role.name);
    println!("{}", (role.hint)(&host_ports));
    if let Some(disk) = &disk {
        println!("Disk: {}.", disk.display());
    }
    println!("Commands on this console: help. Leave: Ctrl-A X.\n");

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
        .args(["-append", role.append, "-device", "virtio-rng-pci"]);
    for (index, network) in role.networks.iter().enumerate() {
        let forwards = if index == 0 { forwards.as_str() } else { "" };
        qemu.args(["-netdev", &format!("user,id=net{index},net={network}{forwards}")])
            .args(["-device", &format!("virtio-net-pci,netdev=net{index}")]);
    }
    if let Some(disk) = &disk {
        qemu.args(["-drive", &format!("if=none,id=disk,format=raw,file={}", disk.display())])
            .args(["-device", "virtio-blk-pci,drive=disk"]);
    }
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
fn default_disk(out: &Path, role: &Role, bytes: u64) -> Result<PathBuf, String> {
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
    file.set_len(bytes).map_err(|error| fail("making the disk", error))?;
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
