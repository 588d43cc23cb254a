//! System tests and benchmarks: the real images in QEMU, against real peers.
//!
//! The tests are in `tests/tests/`, one file for each promise; the benchmark is the binary `bench`. Both start
//! their appliances through [`Appliance`], so that a command line or a default changes in one place. Images
//! are taken from `images/out/`: build them first (`make images`; `make test` does).

#![forbid(unsafe_code)]

pub mod bench;
pub mod boot;
pub mod frame;
pub mod glyphs;
pub mod guest;
pub mod ledger;
pub mod lnet;
pub mod lwk;
pub mod nfs3;
pub mod nlm;
pub mod qnet;
pub mod release;
pub mod rpc;
pub mod scrape;
pub mod server;
pub mod soak;
pub mod tftp;
pub mod world;

use keelson_qemu::{Bench, MachineSpec};
use std::path::{Path, PathBuf};

/// Names the images under test.
pub struct Appliance;

impl Appliance {
    /// The boot file of a role (bzImage-shaped).
    ///
    /// # Panics
    ///
    /// When it has not been built.
    pub fn image(role: &str) -> PathBuf {
        Self::built(role, "img")
    }

    /// The ELF file of a role (PVH entry, symbols).
    ///
    /// # Panics
    ///
    /// When it has not been built.
    pub fn elf(role: &str) -> PathBuf {
        Self::built(role, "elf")
    }

    /// An `nfs-server` machine with this command line; the caller adds NICs and drives.
    pub fn nfs(bench: &Bench, name: &str, append: &str) -> MachineSpec {
        bench.machine(name).kernel(Self::image("nfs-server")).append("panic=exit").append(append)
    }

    /// An `lnet-router` machine with this command line; the caller adds NICs.
    pub fn lnet(bench: &Bench, name: &str, append: &str) -> MachineSpec {
        bench.machine(name).kernel(Self::image("lnet-router")).append("panic=exit").append(append)
    }

    /// An `lwk-compute` machine with this command line; the caller adds CPUs, memory and NICs.
    pub fn lwk(bench: &Bench, name: &str, append: &str) -> MachineSpec {
        bench.machine(name).kernel(Self::image("lwk-compute")).append("panic=exit").append(append)
    }

    /// A `qnet-node` machine with this command line; the caller adds NICs and drives.
    pub fn qnet(bench: &Bench, name: &str, append: &str) -> MachineSpec {
        bench.machine(name).kernel(Self::image("qnet-node")).append("panic=exit").append(append)
    }

    fn built(role: &str, kind: &str) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let file = root.join("images/out").join(format!("{role}.{kind}"));
        assert!(file.exists(), "{} is missing: run `make images` first", file.display());
        file
    }
}
