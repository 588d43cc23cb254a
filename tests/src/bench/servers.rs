//! The two servers and their client.

use super::boot::{boot_keelson, boot_knfsd};
use super::crowd::Crowd;
use super::{Plan, Report};
use crate::Appliance;
use crate::guest::program;
use crate::nfs3::{Handle, find_and_mount};
use crate::nlm::NLM;
use crate::rpc::tcp_port;
use keelson_qemu::{
    Bench, Cache, Capture, Drive, Endpoint, Error, Ext4Image, Ext4Spec, Lan, LinuxGuest, LinuxSpec, Machine,
    Nic, NicModel, Port, Result, Rng,
};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// No single step takes longer, on a host that is not hopeless.
pub const LONG: Duration = Duration::from_secs(240);

/// Memory of both servers; what either uses of it is measured.
const MEMORY_MIB: u32 = 512;
const DISK_SIZE: u64 = 1 << 30;

/// Files for reading what no cache holds, one for each round, in MiB.
pub const COLD_MIB: usize = 32;
/// Entries of the large directory.
pub const MANY: usize = 5000;
/// The file `random`, for reading and writing pieces of it, in MiB.
pub const RANDOM_MIB: usize = 64;

const KEELSON: &str = "10.0.0.1";
/// Address of the server that the appliance is compared with.
pub const OTHER: &str = "10.0.0.2";

/// One server with what is needed to use it.
pub struct Side {
    server: Server,
    /// Its address.
    pub address: IpAddr,
    /// Where the client has it mounted.
    pub mount: &'static str,
    /// NFS handle of the exported directory.
    pub root: Handle,
    /// TCP port of its lock manager.
    pub nlm_port: u16,
    /// What the client types to mount it.
    pub mount_command: String,
}

enum Server {
    Keelson(Machine),
    Knfsd(LinuxGuest),
}

impl Side {
    /// Ours?
    pub fn is_keelson(&self) -> bool {
        matches!(self.server, Server::Keelson(_))
    }

    /// The machine it runs on.
    pub fn machine(&self) -> &Machine {
        match &self.server {
            Server::Keelson(machine) => machine,
            Server::Knfsd(guest) => guest.machine(),
        }
    }
}

/// Both servers, the Linux client, and the hosts in the bench itself.
pub struct Servers {
    sides: [Side; 2],
    /// The Linux client.
    pub client: LinuxGuest,
    /// Many clients of the bench's own.
    pub crowd: Crowd,
    /// The bench's own host on the same switch.
    pub endpoint: Endpoint,
    // Last: everything above lives in it.
    _bench: Bench,
}

impl Servers {
    /// Boots everything, one machine at a time, and reports what that took.
    pub fn start(plan: &Plan, report: &mut Report) -> Result<Servers> {
        let bench = Bench::new("bench");
        let lan = bench.lan("lan")?;
        let endpoint = bench.endpoint(&lan, "bench", &["10.0.0.9/24"])?;
        endpoint.port().capture(Capture::Off);
        let crowd = Crowd::start(&port(&lan, "crowd")?)?;
        let disks = disks(&bench, plan.rounds)?;
        let spec = LinuxSpec::new("client").on_port(&port(&lan, "client")?, &["10.0.0.3/24"]);
        let measure = program(&bench.dir().display().to_string(), "measure");
        let client = LinuxGuest::boot(&bench, spec.file(&measure, "/usr/bin/measure"))?;
        client.start_statd()?;

        let ports = [port(&lan, "ours")?, port(&lan, "theirs")?];
        let start_keelson = |name: &str, address: &str, side: usize| {
            // A profile stops the machine for every sample, and QEMU then syncs its disks.
            let cache = if plan.profile { Cache::Unsafe } else { Cache::Writeback };
            let line = format!("ip={address}/24:eth0 nfs.exports=\"/ *(rw,sync,no_root_squash)\"");
            Appliance::nfs(&bench, name, &line)
                .memory_mib(MEMORY_MIB)
                .nic(Nic::on(&ports[side], NicModel::Virtio))
                .drive(Drive::file(disks[side].path()).cache(cache))
        };
        let (boot, machine) = boot_keelson(&endpoint, KEELSON, start_keelson("keelson", KEELSON, 0))?;
        let theirs = if let Some(image) = &plan.against {
            let other = start_keelson("other", OTHER, 1).kernel(image);
            Server::Keelson(boot_keelson(&endpoint, OTHER, other)?.1)
        } else {
            let spec = LinuxSpec::new("knfsd")
                .on_port(&ports[1], &[&format!("{OTHER}/24")])
                .memory_mib(MEMORY_MIB)
                .drive(Drive::file(disks[1].path()));
            let (knfsd_boot, knfsd) = boot_knfsd(&bench, &endpoint, spec)?;
            report.quantities();
            report.quantity("boot to first NFS reply", "ms", boot.0, knfsd_boot.0, 0.2);
            report.quantity("CPU time of that", "ms", boot.1, knfsd_boot.1, 0.2);
            memory_and_size(report, &machine, &knfsd)?;
            Server::Knfsd(knfsd)
        };

        let side = |server, address: &str, mount_at| -> Result<Side> {
            let address: IpAddr = address.parse().expect("a constant");
            let root = find_and_mount(&endpoint, address, directory(&server)).map_err(failed("mount"))?;
            let from = directory(&server);
            let nlm_port = tcp_port(&endpoint, address, NLM, 4).map_err(failed("find the lock manager"))?;
            let mount_command = format!("mount -t nfs -o vers=3,proto=tcp {address}:{from} {mount_at}");
            client.ok(&format!("mkdir -p {mount_at} && {mount_command}"), LONG)?;
            Ok(Side { server, address, mount: mount_at, root, nlm_port, mount_command })
        };
        let sides =
            [side(Server::Keelson(machine), KEELSON, "/mnt/ours")?, side(theirs, OTHER, "/mnt/theirs")?];
        Ok(Servers { sides, client, crowd, endpoint, _bench: bench })
    }

    /// Ours and theirs, in the order in which they take turns.
    pub fn sides(&self) -> &[Side; 2] {
        &self.sides
    }
}

fn directory(server: &Server) -> &'static str {
    match server {
        Server::Keelson(_) => "/",
        Server::Knfsd(_) => "/srv",
    }
}

pub(super) fn port(lan: &Lan, name: &str) -> Result<Port> {
    let port = lan.port(name)?;
    port.capture(Capture::Off);
    Ok(port)
}

/// Two equal file systems with files that nobody has read yet.
fn disks(bench: &Bench, rounds: usize) -> Result<[Ext4Image; 2]> {
    let tree = bench.dir().join("tree");
    let fill = || -> io::Result<()> {
        fs::create_dir_all(tree.join("many"))?;
        for index in 0..MANY {
            fs::write(tree.join(format!("many/entry-{index:05}")), "")?;
        }
        let mut rng = Rng::new(1);
        let mut file = |name: &str, mib: usize| {
            let bytes: Vec<u8> = (0..(mib << 20) / 8).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
            fs::write(tree.join(name), bytes)
        };
        (0..rounds).try_for_each(|round| file(&format!("cold.{round}"), COLD_MIB))?;
        file("random", RANDOM_MIB)
    };
    fill().map_err(failed("make the files to serve"))?;
    // Initialised here, so that Linux need not do it while it is measured.
    let spec = Ext4Spec::new(DISK_SIZE).options(["-E", "lazy_itable_init=0,lazy_journal_init=0"]);
    let ours = bench.ext4("keelson", &spec.populated_from(&tree))?;
    let theirs = ours.copy_to(&bench.dir().join("knfsd.ext4"))?;
    let _ = fs::remove_dir_all(&tree);
    Ok([ours, theirs])
}

/// At idle, before any work.
fn memory_and_size(report: &mut Report, machine: &Machine, knfsd: &LinuxGuest) -> Result<()> {
    const MIB: f64 = (1 << 20) as f64;
    let size = |path: &Path| fs::metadata(path).map(|meta| meta.len() as f64 / MIB);
    let image = size(&Appliance::image("nfs-server")).map_err(failed("measure the image"))?;
    let (kernel, initrd) = LinuxSpec::new("size").files()?;
    let linux =
        size(&kernel).and_then(|kernel| Ok(kernel + size(&initrd)?)).map_err(failed("measure Linux"))?;
    report.quantity("image (Linux: kernel + initramfs)", "MiB", image, linux, 1.0);
    report.limit("", "MiB", image, 4.0);

    machine.console().send_line("mem")?;
    let line = machine.expect("used * KiB, at most", LONG)?.text;
    let used =
        line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let linux =
        knfsd.ok("awk '/MemTotal/ {t=$2} /MemAvailable/ {a=$2} END {print t-a}' /proc/meminfo", LONG)?;
    let linux = linux.trim().parse::<f64>().unwrap_or(f64::NAN);
    report.quantity("memory used at idle", "MiB", used / 1024.0, linux / 1024.0, 1.0);
    report.limit("", "MiB", used / 1024.0, 32.0);
    let (ours, theirs) = (machine.usage()?.rss as f64 / MIB, knfsd.machine().usage()?.rss as f64 / MIB);
    report.quantity("resident memory of QEMU", "MiB", ours, theirs, 1.0);
    Ok(())
}

/// Wraps errors of this side of the bench.
pub fn failed<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Io { doing: doing.into(), source: source.into() }
}
