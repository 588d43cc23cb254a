//! The routers, each with two networks and the nodes on them.

use super::super::boot::Boot;
use super::super::servers::{LONG, failed, port};
use super::PEERS;
use super::rows::Row;
use crate::Appliance;
use crate::lnet::{Generator, Kind, Limit, Load, READY, ROUTER, Spec, nid};
use keelson_qemu::{Bench, Error, Lan, LinuxGuest, LinuxSpec, Machine, Nic, NicModel, Result};
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Memory of the appliance; what it uses of it is measured.
const MEMORY_MIB: u32 = 448;
/// Memory of the Linux router, whose buffers have their default number and take more than 1 GiB.
const LINUX_MEMORY_MIB: u32 = 2048;
/// Names the folder with what a Linux node needs.
const PEER_FOLDER: &str = "KEELSON_LNET_PEER";

/// The node that all others talk to.
const SERVER: &str = "10.2.0.2@tcp1";
/// A node on the network of the crowds, for messages that need no router.
const NEIGHBOUR: &str = "10.1.0.9@tcp";

const MIB: f64 = (1 << 20) as f64;

/// The folder with the Linux node's modules and tools.
pub fn peer_folder() -> Result<PathBuf> {
    let folder = env::var_os(PEER_FOLDER).map(PathBuf::from);
    folder.filter(|folder| folder.join("usr/lib/lnet/lnet.ko").exists()).ok_or_else(|| {
        Error::Io {
            doing: "find the Linux router: its column would be missing".into(),
            source: io::Error::other(format!(
                "set {PEER_FOLDER} to a folder with Lustre's modules (usr/lib/lnet/libcfs.ko, lnet.ko, ksocklnd.ko, \
                 built for the kernel of the bench's guests) and lctl with its libraries, laid out as in a guest's \
                 root, or ask for --alone"
            )),
        }
    })
}

/// A router with all that is around it.
pub struct Side {
    /// What starting it took.
    pub boot: Boot,
    /// MiB of memory in use when the first message had passed.
    pub idle_mib: f64,
    router: Router,
    /// As many nodes as [`PEERS`] says in each.
    crowds: Vec<Generator>,
    server: Generator,
    neighbour: Generator,
    image: Vec<PathBuf>,
    // Last: everything above lives in it.
    _bench: Bench,
}

enum Router {
    Keelson(Machine),
    Linux(LinuxGuest),
}

impl Side {
    /// The appliance, or another image of it.
    pub fn keelson(name: &str, image: Option<&Path>) -> Result<Side> {
        let bench = Bench::new(&format!("bench {name}"));
        let lans = [bench.lan("tcp")?, bench.lan("tcp1")?];
        let line = "ip=10.1.0.1/16:eth0 ip=10.2.0.1/16:eth1 lnet.networks=\"tcp0(eth0),tcp1(eth1)\" \
                    lnet.forwarding=enabled";
        let mut spec = Appliance::lnet(&bench, name, line).memory_mib(MEMORY_MIB);
        let file = image.map_or_else(|| Appliance::image("lnet-router"), Path::to_path_buf);
        spec = spec.kernel(&file);
        for lan in &lans {
            spec = spec.nic(Nic::on(&port(lan, name)?, NicModel::Virtio));
        }
        let machine = spec.start()?;
        machine.expect(READY, LONG)?;
        Side::around(Router::Keelson(machine), bench, &lans, vec![file])
    }

    /// A Linux node with what is in `folder`.
    pub fn linux(folder: &Path) -> Result<Side> {
        let bench = Bench::new("bench linux");
        let lans = [bench.lan("tcp")?, bench.lan("tcp1")?];
        let spec = LinuxSpec::new("linux")
            .memory_mib(LINUX_MEMORY_MIB)
            .on_port(&port(&lans[0], "linux")?, &["10.1.0.1/16"])
            .on_port(&port(&lans[1], "linux")?, &["10.2.0.1/16"])
            .overlay(folder);
        let (kernel, initramfs) = spec.files()?;
        let guest = LinuxGuest::boot(&bench, spec)?;
        guest.ok(
            "cd /usr/lib/lnet && modprobe sunrpc && insmod ./libcfs.ko \
             && insmod ./lnet.ko 'networks=tcp(eth0),tcp1(eth1)' forwarding=enabled \
             && insmod ./ksocklnd.ko && lctl network up",
            LONG,
        )?;
        Side::around(Router::Linux(guest), bench, &lans, vec![kernel, initramfs])
    }

    fn around(router: Router, bench: Bench, lans: &[Lan; 2], image: Vec<PathBuf>) -> Result<Side> {
        let start = |lan: &Lan, name: &str, spec: Spec| {
            let spec = if lan.name() == lans[0].name() {
                spec.route("tcp1", ROUTER[0])
            } else {
                spec.route("tcp", ROUTER[1])
            };
            Generator::start(&port(lan, name)?, spec)
        };
        let server = start(&lans[1], "server", node(SERVER, 1))?;
        let neighbour = start(&lans[0], "neighbour", node(NEIGHBOUR, 1))?;
        let deadline = Instant::now() + LONG;
        while let Err(error) = neighbour.ping_within(nid(SERVER), Duration::from_secs(2)) {
            if Instant::now() > deadline {
                return Err(failed("ping through the router")(io::Error::other(error)));
            }
        }
        let machine = router.machine();
        let boot = (machine.started().elapsed(), machine.usage()?.cpu);
        let boot = (boot.0.as_secs_f64() * 1e3, boot.1.as_secs_f64() * 1e3);
        let idle_mib = router.used(1)?;
        let crowd = |peers: usize| {
            start(&lans[0], &format!("crowd of {peers}"), node(&format!("10.1.{peers}.1@tcp"), peers))
        };
        let crowds = PEERS.iter().map(|&peers| crowd(peers)).collect::<Result<_>>()?;
        Ok(Side { boot, idle_mib, router, crowds, server, neighbour, image, _bench: bench })
    }

    /// The router's machine.
    pub fn machine(&self) -> &Machine {
        self.router.machine()
    }

    /// Sends `each` requests in every loop of a row, and returns the time it took.
    pub fn load(&self, row: &Row, each: usize) -> Result<Duration> {
        let crowd = PEERS.iter().zip(&self.crowds).find(|(peers, _)| **peers == row.peers);
        let (_, crowd) = crowd.expect("a crowd for each number of peers");
        send(crowd, &self.server, row.kind, row.concurrent, each)
    }

    /// Milliseconds that the way through the router takes longer than the direct one, for a small message and its
    /// acknowledgement.
    pub fn added_latency(&self, rounds: usize) -> Result<f64> {
        const COUNT: usize = 500;
        let kind = Kind::Put(160);
        let mut added = Vec::new();
        for _ in 0..rounds {
            let routed = send(&self.crowds[0], &self.server, kind, 1, COUNT)?.as_secs_f64();
            let direct = send(&self.crowds[0], &self.neighbour, kind, 1, COUNT)?.as_secs_f64();
            added.push((routed - direct) / COUNT as f64 * 1e3);
        }
        added.sort_by(f64::total_cmp);
        Ok(added[rounds / 2])
    }

    /// Size of what is booted.
    pub fn image_mib(&self) -> Result<f64> {
        let mut sum = 0;
        for file in &self.image {
            sum += fs::metadata(file).map_err(failed("measure the image"))?.len();
        }
        Ok(sum as f64 / MIB)
    }

    /// The most that ever was; a Linux node does not know that, and says what it is now.
    pub fn peak_memory_mib(&self) -> Result<f64> {
        self.router.used(5)
    }

    /// Host memory of the emulator.
    pub fn resident_mib(&self) -> Result<f64> {
        Ok(self.machine().usage()?.rss as f64 / MIB)
    }
}

impl Router {
    /// MiB of memory in use. On an appliance, the number at this place in the line "used N KiB, at most N KiB".
    fn used(&self, word: usize) -> Result<f64> {
        let text = match self {
            Router::Keelson(machine) => {
                machine.console().send_line("mem")?;
                let line = machine.expect("used * KiB, at most * KiB", LONG)?.text;
                line.split_whitespace().nth(word).unwrap_or_default().to_string()
            }
            Router::Linux(guest) => guest
                .ok("awk '/MemTotal/ {t=$2} /MemAvailable/ {a=$2} END {print t-a}' /proc/meminfo", LONG)?,
        };
        Ok(text.trim().parse::<f64>().unwrap_or(f64::NAN) / 1024.0)
    }

    fn machine(&self) -> &Machine {
        match self {
            Router::Keelson(machine) => machine,
            Router::Linux(guest) => guest.machine(),
        }
    }
}

/// `count` nodes that do nothing but what they are told to.
fn node(first: &str, count: usize) -> Spec {
    let mut spec = Spec::crowd(first, count as u32);
    let usual = Spec::node(first);
    spec.socklnd = usual.socklnd;
    spec.lnet.memory = usual.lnet.memory / count;
    // As on Linux. More often would cost the routers more than some of what is measured.
    spec.lnet.alive_router_check_interval = Duration::from_secs(60);
    spec
}

fn send(from: &Generator, to: &Generator, kind: Kind, concurrent: usize, each: usize) -> Result<Duration> {
    let load = Load {
        concurrent,
        limit: Limit::Count(each as u64),
        timeout: Duration::from_secs(60),
        ..Load::new(kind, to.nids())
    };
    let report = from.run(load);
    if report.errors > 0 {
        return Err(failed("send through the router")(io::Error::other(report.to_string())));
    }
    Ok(report.elapsed)
}
