//! What the four types of message say (LNet specification section 4.3).

use super::{Header, Kind};
use crate::bytes::{Order, Reader, Writer};
use crate::nid::ProcessId;

/// Handle of a piece of memory of one node, returned to it as it came: 16 opaque bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Wmd(pub [u8; 16]);

impl Wmd {
    /// No handle: a PUT with it asks for no ACK.
    pub const NONE: Wmd = Wmd([0xff; 16]);

    /// A handle of our own: `interface` tells one life of this node from another, `object` the piece.
    pub fn new(interface: u64, object: u64) -> Wmd {
        let mut bytes = [0; 16];
        Writer::new(&mut bytes).u64(interface).u64(object);
        Wmd(bytes)
    }

    /// Whether this is [`Wmd::NONE`].
    pub fn is_none(&self) -> bool {
        *self == Wmd::NONE
    }
}

/// | offset | size | field |
/// |---|---|---|
/// | 0 | 16 | `dst_wmd` |
/// | 16 | 8 | `match_bits` |
/// | 24 | 4 | `mlength` |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// `ack_wmd` of the PUT.
    pub dst_wmd: Wmd,
    /// Match bits of the PUT.
    pub match_bits: u64,
    /// Bytes that the receiver took.
    pub mlength: u32,
}

/// | offset | size | field |
/// |---|---|---|
/// | 0 | 16 | `ack_wmd` |
/// | 16 | 8 | `match_bits` |
/// | 24 | 8 | `hdr_data` |
/// | 32 | 4 | `portal` |
/// | 36 | 4 | `offset` |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Put {
    /// What the ACK shall name; [`Wmd::NONE`] if none is wanted.
    pub ack_wmd: Wmd,
    /// Which of the memory at the portal is meant.
    pub match_bits: u64,
    /// 64 bits for the receiver.
    pub hdr_data: u64,
    /// Index of the portal.
    pub portal: u32,
    /// Where in that memory to write, in bytes.
    pub offset: u32,
}

/// | offset | size | field |
/// |---|---|---|
/// | 0 | 16 | `return_wmd` |
/// | 16 | 8 | `match_bits` |
/// | 24 | 4 | `portal` |
/// | 28 | 4 | `src_offset` |
/// | 32 | 4 | `sink_length` |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Get {
    /// What the REPLY shall name.
    pub return_wmd: Wmd,
    /// Which of the memory at the portal is meant.
    pub match_bits: u64,
    /// Index of the portal.
    pub portal: u32,
    /// Where in that memory to read from, in bytes.
    pub src_offset: u32,
    /// The most bytes that the requester takes.
    pub sink_length: u32,
}

/// | offset | size | field |
/// |---|---|---|
/// | 0 | 16 | `dst_wmd` |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// `return_wmd` of the GET.
    pub dst_wmd: Wmd,
}

impl Header {
    /// What an ACK says; meaningful if the type is [`Kind::Ack`].
    pub fn ack(&self) -> Ack {
        let mut fields = Reader::new(&self.body, Order::Little);
        Ack { dst_wmd: Wmd(fields.array()), match_bits: fields.u64(), mlength: fields.u32() }
    }

    /// What a PUT says; meaningful if the type is [`Kind::Put`].
    pub fn put(&self) -> Put {
        let mut fields = Reader::new(&self.body, Order::Little);
        Put {
            ack_wmd: Wmd(fields.array()),
            match_bits: fields.u64(),
            hdr_data: fields.u64(),
            portal: fields.u32(),
            offset: fields.u32(),
        }
    }

    /// What a GET says; meaningful if the type is [`Kind::Get`].
    pub fn get(&self) -> Get {
        let mut fields = Reader::new(&self.body, Order::Little);
        Get {
            return_wmd: Wmd(fields.array()),
            match_bits: fields.u64(),
            portal: fields.u32(),
            src_offset: fields.u32(),
            sink_length: fields.u32(),
        }
    }

    /// What a REPLY says; meaningful if the type is [`Kind::Reply`].
    pub fn reply(&self) -> Reply {
        Reply { dst_wmd: Wmd(Reader::new(&self.body, Order::Little).array()) }
    }

    /// Header of an ACK.
    pub fn new_ack(source: ProcessId, destination: ProcessId, ack: &Ack) -> Header {
        let mut header = Header::empty(Kind::Ack, source, destination, 0);
        Writer::new(&mut header.body).bytes(&ack.dst_wmd.0).u64(ack.match_bits).u32(ack.mlength);
        header
    }

    /// Header of a PUT with `payload_length` bytes.
    pub fn new_put(source: ProcessId, destination: ProcessId, put: &Put, payload_length: u32) -> Header {
        let mut header = Header::empty(Kind::Put, source, destination, payload_length);
        let mut out = Writer::new(&mut header.body);
        out.bytes(&put.ack_wmd.0).u64(put.match_bits).u64(put.hdr_data).u32(put.portal).u32(put.offset);
        header
    }

    /// Header of a GET.
    pub fn new_get(source: ProcessId, destination: ProcessId, get: &Get) -> Header {
        let mut header = Header::empty(Kind::Get, source, destination, 0);
        let mut out = Writer::new(&mut header.body);
        out.bytes(&get.return_wmd.0)
            .u64(get.match_bits)
            .u32(get.portal)
            .u32(get.src_offset)
            .u32(get.sink_length);
        header
    }

    /// Header of a REPLY with `payload_length` bytes.
    pub fn new_reply(
        source: ProcessId,
        destination: ProcessId,
        reply: &Reply,
        payload_length: u32,
    ) -> Header {
        let mut header = Header::empty(Kind::Reply, source, destination, payload_length);
        Writer::new(&mut header.body).bytes(&reply.dst_wmd.0);
        header
    }

    fn empty(kind: Kind, source: ProcessId, destination: ProcessId, payload_length: u32) -> Header {
        Header {
            dest_nid: destination.nid,
            src_nid: source.nid,
            dest_pid: destination.pid,
            src_pid: source.pid,
            kind,
            payload_length,
            body: [0; Header::BODY],
        }
    }
}
