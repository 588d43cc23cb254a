//! The test bench: machines in QEMU on a virtual Ethernet switch, watched and disturbed by a test.
//!
//! A test puts together a small world and looks what happens in it:
//!
//! ```no_run
//! use std::time::Duration;
//! use keelson_qemu::*;
//!
//! // A bench, and a switch on it.
//! let bench = Bench::new("mount over a bad cable");
//! let lan = bench.lan("lan").unwrap();
//!
//! // The appliance: an image, a disk, a cable.
//! let disk = bench.ext4("data", &Ext4Spec::new(64 << 20)).unwrap();
//! let port = lan.port("nfs").unwrap();
//! let appliance = bench
//!     .machine("nfs")
//!     .board(Board::Q35)
//!     .kernel("images/out/nfs-server.img")
//!     .append("ip=10.0.0.1/24:eth0 nfs.exports=\"/ *(rw)\"")
//!     .nic(Nic::on(&port, NicModel::Virtio))
//!     .drive(Drive::file(disk.path()))
//!     .start()
//!     .unwrap();
//! appliance.expect("nfs: serving", Duration::from_secs(5)).unwrap();
//!
//! // A real client.
//! let client = LinuxGuest::boot(&bench, LinuxSpec::new("client").on(&lan, "10.0.0.2/24")).unwrap();
//! client.ok("mount -t nfs -o vers=3,nolock 10.0.0.1:/ /mnt", Duration::from_secs(30)).unwrap();
//!
//! // Bad weather: every hundredth frame is lost, always the same ones.
//! port.impair(Impairment::loss(0.01), 42);
//! client.ok("cp -a /usr /mnt && sync", Duration::from_secs(300)).unwrap();
//!
//! // And the end of the world.
//! appliance.kill();
//! disk.replay().unwrap();
//! disk.check().unwrap();
//! ```
//!
//! Principles:
//!
//! - Nothing leaves the process: the switch is a thread, cables are unix sockets, disks are files.
//!   (Packages for the Linux guest are fetched once, with apt.)
//! - Nothing needs root but [`Namespace`], for taps: the only cables over which QEMU offers offloads.
//! - Always emulation (`-accel tcg`), so results do not depend on the host's CPU.
//! - Chance comes from seeds. Only the machines' own timing differs between runs.
//! - A test that fails leaves what is needed to understand it: [`Bench`] prints every console and where the captures
//!   are. So keep the bench in the test's own thread and `unwrap()`: a panic is how the bench learns of failure.
//! - A process started here never outlives its owner, even if the test process is killed.
//!
//! Where things are: [`MachineSpec`] and [`Machine`] run QEMU; [`Console`] is what it says; [`Lan`] and [`Port`] are
//! the network; [`Endpoint`] is a host in the test itself, [`StackHost`] a crowd of them on our own stack, [`Namespace`] one that is the host's own stack; [`Ext4Image`] and [`VolatileDisk`] are disks;
//! [`LinuxGuest`] is a peer that is not ours. Environment: `KEELSON_KEEP=1` keeps the folders of successful tests,
//! `KEELSON_GUEST_DIR` moves the cache of packages.
//!
//! Not here: IPv6 fragments.

#![forbid(unsafe_code)]

mod bench;
mod console;
mod disk;
mod endpoint;
mod error;
mod host;
mod lan;
mod linux;
mod machine;
mod namespace;
mod rng;
mod tool;

pub use bench::Bench;
pub use console::{Console, Line};
pub use disk::{Ext4Image, Ext4Spec, Faults, Keep, VolatileDisk};
pub use endpoint::{Address, DhcpConfig, Endpoint, Frames, Lease, TcpListener, TcpStream, UdpSocket};
pub use error::{Error, Result};
pub use host::{HostContext, Pending, StackHost, SystemEntropy};
pub use lan::MAX_FRAME;
pub use lan::{
    Capture, Direction, Fate, FrameReader, FrameWriter, Impairer, Impairment, Lan, Pcap, Port, Stats,
};
pub use linux::{Cpio, Grace, Job, Knfsd, LinuxGuest, LinuxSpec, Output, WireProtocols};
pub use machine::{
    Board, Cache, Drive, DriveModel, Exit, Firmware, Machine, MachineSpec, NetLoader, Nic, NicModel, Picture,
    Usage,
};
pub use namespace::{Namespace, Tap};
pub use rng::Rng;
