//! LwL4, the transport: a header of 36 bytes before each payload (section 3).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | version: 0x2A little-endian, 0xAA big-endian |
//! | 1 | 1 | [`Kind`] |
//! | 2 | 1 | [`Flags`] |
//! | 3 | 1 | [`Layer`] |
//! | 4 | 2 | the sender's number for the destination |
//! | 6 | 2 | the destination's number for the sender, 0 unknown |
//! | 8 | 4 | connection id of the sender |
//! | 12 | 4 | connection id of the receiver, 0 unknown |
//! | 16 | 4 | sequence number |
//! | 20 | 2 | QoS type |
//! | 22 | 2 | QoS index of the sender |
//! | 24 | 4 | offset of the payload in its message |
//! | 28 | 4 | length of the payload |
//! | 32 | 4 | CRC, or zero |

pub mod crc;
mod fragment;
mod kind;
mod packet;

pub use crc::Crc;
pub use fragment::{Fragment, FragmentError, Fragments, payload_size};
pub use kind::{Flags, Kind, Layer};
pub use packet::{CrcMismatch, Packet, PacketError};

use crate::endian::Endian;
use crate::layout::{Short, layout};

const VERSION_LITTLE: u8 = 0x2a;
const VERSION_BIG: u8 = 0xaa;

layout! {
    /// The header with its bytes not yet understood.
    struct Raw: 36, "LwL4 header" {
        0 version: u8,
        1 kind: u8,
        2 flags: u8,
        3 layer: u8,
        4 src_nd_for_dst: u16,
        6 dst_nd_for_src: u16,
        8 src_conn_id: u32,
        12 dst_conn_id: u32,
        16 seq: u32,
        20 qos_type: u16,
        22 src_qos_idx: u16,
        24 offset: u32,
        28 length: u32,
        32 crc: u32,
    }
}

/// Offset in an ACK that stands for all messages before its own as well: only between nodes of this project, to an opener that
/// said in its TCS_INIT that it reads it ([`crate::tcs::SHARES_ACKS`]). In other ACKs the offset is 0 (section 3).
pub const SHARED_ACK: u32 = u32::from_le_bytes(*b"ACK+");

/// The header. Decoding and encoding lose nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The sender's byte order.
    pub endian: Endian,
    /// What the packet is for.
    pub kind: Kind,
    /// Which part of a message it carries, and whether it has a CRC.
    pub flags: Flags,
    /// Who the payload is for.
    pub layer: Layer,
    /// The source node's number for the destination.
    pub src_nd_for_dst: u16,
    /// The destination node's number for the source, as last learnt; 0 unknown.
    pub dst_nd_for_src: u16,
    /// Connection id given by the sender of this packet.
    pub src_conn_id: u32,
    /// Connection id given by its receiver; 0 unknown.
    pub dst_conn_id: u32,
    /// Sequence number of the message on the connection.
    pub seq: u32,
    /// Policy, see [`crate::names::Policy::from_wire`].
    pub qos_type: u16,
    /// QoS index of the sender; 0 is the default policy.
    pub src_qos_idx: u16,
    /// Offset in the message, in bytes; in a NACK the first missing byte.
    pub offset: u32,
    /// Bytes of payload; in a NACK the missing ones, 0 meaning up to the end.
    pub length: u32,
    /// Checksum with [`Flags::CRC`], else 0.
    pub crc: u32,
}

impl Header {
    /// Length in bytes.
    pub const LEN: usize = 36;

    /// A little-endian header with the flags and layer of its kind (section 3, last table), everything else zero.
    pub const fn new(kind: Kind) -> Header {
        Header {
            endian: Endian::Little,
            kind,
            flags: if matches!(kind, Kind::Nack) { Flags::NONE } else { Flags::WHOLE },
            layer: if matches!(kind, Kind::Lres) { Layer::Lr } else { Layer::Kif },
            src_nd_for_dst: 0,
            dst_nd_for_src: 0,
            src_conn_id: 0,
            dst_conn_id: 0,
            seq: 0,
            qos_type: 0,
            src_qos_idx: 0,
            offset: 0,
            length: 0,
            crc: 0,
        }
    }

    /// The header as bytes.
    #[inline]
    pub fn encode(&self) -> [u8; Header::LEN] {
        let raw = Raw {
            version: if self.endian == Endian::Little { VERSION_LITTLE } else { VERSION_BIG },
            kind: self.kind.to_wire(),
            flags: self.flags.0,
            layer: self.layer.to_wire(),
            src_nd_for_dst: self.src_nd_for_dst,
            dst_nd_for_src: self.dst_nd_for_src,
            src_conn_id: self.src_conn_id,
            dst_conn_id: self.dst_conn_id,
            seq: self.seq,
            qos_type: self.qos_type,
            src_qos_idx: self.src_qos_idx,
            offset: self.offset,
            length: self.length,
            crc: self.crc,
        };
        raw.encode(self.endian)
    }

    /// Reads a header from the front of `bytes`: its version and kind are valid, no more is said.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Header, PacketError> {
        let endian = match bytes.first() {
            Some(&VERSION_LITTLE) => Endian::Little,
            Some(&VERSION_BIG) => Endian::Big,
            Some(other) => return Err(PacketError::Version(*other)),
            None => {
                return Err(PacketError::Short(Short { what: "LwL4 header", need: Header::LEN, have: 0 }));
            }
        };
        let raw = Raw::decode(bytes, endian).map_err(PacketError::Short)?;
        Ok(Header {
            endian,
            kind: Kind::from_wire(raw.kind).ok_or(PacketError::Kind(raw.kind))?,
            flags: Flags(raw.flags),
            layer: Layer::from_wire(raw.layer),
            src_nd_for_dst: raw.src_nd_for_dst,
            dst_nd_for_src: raw.dst_nd_for_src,
            src_conn_id: raw.src_conn_id,
            dst_conn_id: raw.dst_conn_id,
            seq: raw.seq,
            qos_type: raw.qos_type,
            src_qos_idx: raw.src_qos_idx,
            offset: raw.offset,
            length: raw.length,
            crc: raw.crc,
        })
    }

    /// Sets the CRC and its flag for a payload given in parts. Everything else must have its final value.
    pub fn seal(&mut self, payload: &[&[u8]]) {
        self.flags = self.flags | Flags::CRC;
        self.crc = 0;
        let mut crc = Crc::new();
        crc.update(&self.encode());
        for part in payload {
            crc.update(part);
        }
        self.crc = crc.value();
    }
}
