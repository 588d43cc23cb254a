//! Ping information: a node's NIDs, whether each is up, and what the node can do.
//!
//! LNet specification sections 5.6 to 5.8. It is the payload of the REPLY to a GET on portal 0, and of the
//! PUT there that pushes it. Sent little-endian, received in either order.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic 0x70696e67 |
//! | 4 | 4 | features |
//! | 8 | 4 | PID |
//! | 12 | 4 | number n of 16-byte entries |
//! | 16 | 8 | loopback NID, 64-bit form |
//! | 24 | 4 | sequence number |
//! | 28 | 4 | total length in bytes with [`Features::LARGE_ADDR`], else 0 |
//! | 32 | 16 (n - 1) | entries: NID in 64-bit form, status (4), zero (4) |
//! | | | large entries up to the total length: status (4), large NID of `size + 8` bytes, padded to 4 |
//! | | | with [`Features::METADATA`]: what only RDMA networks need; ignored |

mod decode;

pub use decode::PingError;

use crate::bytes::Writer;
use crate::message::{Get, Put, Wmd};
use crate::nid::{LUSTRE_PID, Nid};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::{BitOr, BitOrAssign};

/// Portal of pings and pushes.
pub const PORTAL: u32 = 0;
/// Match bits of pings and pushes.
pub const MATCH_BITS: u64 = 0x8000_0000_0000_0000;
/// First field of the information.
pub const MAGIC: u32 = 0x7069_6e67;
/// Space that a first ping asks for: the header and 16 entries (section 5.7).
pub const FIRST_SINK_LENGTH: u32 = HEADER as u32 + 16 * ENTRY as u32;
/// Most 16-byte entries that current peers take (section 8.2); older ones take 200.
pub const MAX_INTERFACES: u32 = 4096;

const HEADER: usize = 16;
const ENTRY: usize = 16;

/// What a node can do: bits of section 5.6. Unknown ones are kept and ignored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Features(pub u32);

impl Features {
    /// Never set by current nodes.
    pub const BASE: Features = Features(0x01);
    /// Entries carry a status. Required.
    pub const NI_STATUS: Features = Features(0x02);
    /// The node does not forward.
    pub const RTE_DISABLED: Features = Features(0x04);
    /// The NIDs belong to one peer.
    pub const MULTI_RAIL: Features = Features(0x08);
    /// The node takes part in discovery.
    pub const DISCOVERY: Features = Features(0x10);
    /// Large entries are present.
    pub const LARGE_ADDR: Features = Features(0x20);
    /// The first large entry is the primary NID.
    pub const PRIMARY_LARGE: Features = Features(0x40);
    /// Metadata follows.
    pub const METADATA: Features = Features(0x80);
    /// A router that answers pings and nothing else.
    pub const SIMPLE_ROUTER: Features = Features(0x02);
    /// A router that takes part in discovery: it must acknowledge every push.
    pub const ROUTER: Features = Features(0x1a);
    /// A node that does not forward and takes part in discovery.
    pub const END_NODE: Features = Features(0x1e);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }

    /// Without the bits of `other`.
    pub const fn without(self, other: Features) -> Features {
        Features(self.0 & !other.0)
    }
}

impl BitOr for Features {
    type Output = Features;

    fn bitor(self, other: Features) -> Features {
        Features(self.0 | other.0)
    }
}

impl BitOrAssign for Features {
    fn bitor_assign(&mut self, other: Features) {
        self.0 |= other.0;
    }
}

/// Status of a NID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// In use.
    Up,
    /// Not in use, for example because its link is down.
    Down,
    /// Any other word. Some old peers refuse the whole information because of it (section 5.9).
    Other(u32),
}

impl Status {
    /// The word for up.
    pub const UP: u32 = 0x15aa_c0de;
    /// The word for down.
    pub const DOWN: u32 = 0xdead_face;

    /// The status that a word means.
    pub const fn from_wire(word: u32) -> Status {
        match word {
            Status::UP => Status::Up,
            Status::DOWN => Status::Down,
            other => Status::Other(other),
        }
    }

    /// The word for the status.
    pub const fn to_wire(self) -> u32 {
        match self {
            Status::Up => Status::UP,
            Status::Down => Status::DOWN,
            Status::Other(word) => word,
        }
    }
}

/// A NID and its status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// One of the node's NIDs.
    pub nid: Nid,
    /// Its status.
    pub status: Status,
}

/// Ping information.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PingInfo {
    /// What the node can do. [`Features::LARGE_ADDR`] is set by encoding when an entry needs it.
    pub features: Features,
    /// The node's PID, [`LUSTRE_PID`].
    pub pid: u32,
    /// One higher for each change of contents; starts at 1. Travels as the status of the loopback entry.
    pub sequence: u32,
    /// All NIDs without loopback; the one that [`PingInfo::primary`] tells is the same on all interfaces.
    /// Encoding puts NIDs with 4-byte addresses first, else keeps their order.
    pub entries: Vec<Entry>,
}

impl PingInfo {
    /// Information of a Lustre node.
    pub fn new(features: Features, sequence: u32, entries: Vec<Entry>) -> PingInfo {
        PingInfo { features, pid: LUSTRE_PID, sequence, entries }
    }

    /// The NID by which the node is known: the first entry, or the first large one with
    /// [`Features::PRIMARY_LARGE`].
    pub fn primary(&self) -> Option<Nid> {
        let large = self.features.contains(Features::PRIMARY_LARGE);
        self.entries.iter().map(|entry| entry.nid).find(|nid| nid.is_large() == large)
    }

    /// Length of the encoded form in bytes.
    pub fn encoded_len(&self) -> usize {
        let entries = self.entries.iter().map(|entry| match entry.nid.is_large() {
            true => large_len(&entry.nid),
            false => ENTRY,
        });
        HEADER + ENTRY + entries.sum::<usize>()
    }

    /// The whole information, little-endian, without metadata.
    pub fn encode(&self) -> Vec<u8> {
        let len = self.encoded_len();
        let mut bytes = vec![0; len];
        let small = self.entries.iter().filter_map(|entry| Some((entry.nid.nid4()?, entry.status)));
        let large = self.entries.iter().filter(|entry| entry.nid.is_large());
        let mut features = self.features.without(Features::LARGE_ADDR | Features::METADATA);
        let mut total = 0;
        if large.clone().next().is_some() {
            features |= Features::LARGE_ADDR;
            total = len as u32;
        }
        let mut out = Writer::new(&mut bytes);
        out.u32(MAGIC).u32(features.0).u32(self.pid).u32(1 + small.clone().count() as u32);
        out.u64(LOOPBACK_NID4).u32(self.sequence).u32(total);
        for (nid4, status) in small {
            out.u64(nid4).u32(status.to_wire()).u32(0);
        }
        for entry in large {
            let used = large_len(&entry.nid) - 4;
            out.u32(entry.status.to_wire()).bytes(entry.nid.large().get(..used).unwrap_or_default());
        }
        bytes
    }
}

/// `0@lo` in 64-bit form.
const LOOPBACK_NID4: u64 = 0x0009_0000_0000_0000;

/// Length of a large entry.
fn large_len(nid: &Nid) -> usize {
    let [size, ..] = nid.large();
    4 + (usize::from(size) + 8).next_multiple_of(4)
}

impl Get {
    /// A ping that takes `sink_length` bytes.
    pub fn ping(return_wmd: Wmd, sink_length: u32) -> Get {
        Get { return_wmd, match_bits: MATCH_BITS, portal: PORTAL, src_offset: 0, sink_length }
    }

    /// Whether this asks for ping information.
    pub fn is_ping(&self) -> bool {
        self.portal == PORTAL && self.match_bits == MATCH_BITS
    }
}

impl Put {
    /// A push of ping information.
    pub fn push(ack_wmd: Wmd) -> Put {
        Put { ack_wmd, match_bits: MATCH_BITS, hdr_data: 0, portal: PORTAL, offset: 0 }
    }

    /// Whether this pushes ping information.
    pub fn is_push(&self) -> bool {
        self.portal == PORTAL && self.match_bits == MATCH_BITS
    }
}
