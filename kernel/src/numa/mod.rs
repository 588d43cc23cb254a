//! NUMA: which memory and which cores lie together, read once at boot.
//!
//! A node is a proximity domain of the firmware (ACPI 6.5 section 5.2.16). What the tables say is believed as a whole or not at
//! all: a machine with damaged tables, or none, is one node. The kernel's home is the node of its image: there it takes memory
//! first, and there it keeps its reserve.

#![forbid(unsafe_code)]

mod topology;

pub use topology::Topology;

use crate::acpi::{self, Rsdp, Slit, Srat, Tables};
use crate::boot::{BootInfo, RegionKind};
use crate::mm::DirectMap;
use crate::smp::MAX_CORES;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use spin::Once;

/// Most nodes: sets of them have a bit for each in 64 (set_mempolicy(2) of programs).
pub const NODES_MAX: usize = 64;

/// Why the firmware's tables are not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopologyError {
    /// More than [`NODES_MAX`] proximity domains.
    Nodes,
    /// More ranges of memory than there is room for.
    Ranges,
    /// Memory belongs to two domains.
    Overlap,
}

impl TopologyError {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            TopologyError::Nodes => "the SRAT has too many proximity domains: all memory counts as one node",
            TopologyError::Ranges => "the SRAT has too many ranges of memory: all memory counts as one node",
            TopologyError::Overlap => {
                "the SRAT has ranges of memory that overlap: all memory counts as one node"
            }
        }
    }
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

static UNKNOWN: Topology = Topology::one();
static TOPOLOGY: Once<Topology> = Once::new();
/// Why there is none, for the log that comes later.
static PROBLEM: Once<TopologyError> = Once::new();
/// Nodes, to be read without a look at the rest: nearly all machines have one.
static NODES: AtomicUsize = AtomicUsize::new(1);
static HOME: AtomicUsize = AtomicUsize::new(0);
/// Nodes of the cores.
static CORES: [AtomicU8; MAX_CORES] = [const { AtomicU8::new(0) }; MAX_CORES];

/// The tables of a machine, once the direct map shows them.
fn tables(boot: &BootInfo) -> Option<Tables<'static, DirectMap>> {
    let address = boot.rsdp.or_else(|| acpi::find_rsdp(&DirectMap))?;
    let rsdp = Rsdp::read(&DirectMap, address).ok()?;
    Tables::open(&DirectMap, &rsdp).ok()
}

/// Finds the nodes. Once, before any memory is handed out. The boot stack is small: what this needs of it is given back.
#[inline(never)]
pub(crate) fn init(boot: &BootInfo) {
    let Some(tables) = tables(boot) else { return };
    let Some(srat) = tables.find(b"SRAT").map(Srat::new) else { return };
    let slit = tables.find(b"SLIT").and_then(Slit::parse);
    match Topology::read(&srat, slit.as_ref()) {
        Ok(topology) => {
            let topology = TOPOLOGY.call_once(|| topology);
            HOME.store(topology.node_of_memory(boot.image.start), Ordering::Relaxed);
            NODES.store(topology.nodes(), Ordering::Release);
        }
        Err(error) => {
            PROBLEM.call_once(|| error);
        }
    }
}

/// What is wrong with the tables of this machine, which counts as one node then.
pub(crate) fn problem() -> Option<TopologyError> {
    PROBLEM.get().copied()
}

/// Notes the node of a core.
pub(crate) fn place_core(core: usize, node: usize) {
    if let (Some(place), Ok(node)) = (CORES.get(core), u8::try_from(node)) {
        place.store(node, Ordering::Relaxed);
    }
}

/// All about the nodes.
pub fn topology() -> &'static Topology {
    TOPOLOGY.get().unwrap_or(&UNKNOWN)
}

/// Nodes, at least one.
pub fn nodes() -> usize {
    NODES.load(Ordering::Acquire)
}

/// The kernel's own node.
pub fn home() -> usize {
    HOME.load(Ordering::Relaxed)
}

/// The node of a core.
pub fn node_of_core(core: usize) -> usize {
    CORES.get(core).map_or(0, |node| node.load(Ordering::Relaxed).into())
}

/// The node of the memory at an address.
pub fn node_of_memory(address: u64) -> usize {
    if nodes() == 1 { 0 } else { topology().node_of_memory(address) }
}

/// All nodes, the nearest to `from` first.
pub fn nearest(from: usize) -> impl Iterator<Item = usize> {
    topology().nearest(from)
}

/// Bytes of RAM of each node, by the memory map.
pub fn present(boot: &BootInfo) -> [u64; NODES_MAX] {
    let mut bytes = [0; NODES_MAX];
    for region in boot.memory.iter().filter(|region| region.kind == RegionKind::Ram) {
        add_up(topology(), region.start..region.end, &mut bytes);
    }
    bytes
}

fn add_up(topology: &Topology, range: Range<u64>, bytes: &mut [u64; NODES_MAX]) {
    for (piece, node) in topology.pieces(range) {
        bytes[node] += piece.end - piece.start;
    }
}
