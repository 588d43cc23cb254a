//! Every frame of section 25 of the specification: decodes to the values that it states, and comes out byte for byte
//! when those values are encoded.

mod corpus;
mod damage;
mod frames;
mod kif;
mod resolvers;
mod transport;

use frames::vectors;
use keelson_qnet_wire::frame::{self, Frame, Mac};
use keelson_qnet_wire::kif::{KifMessage, VtidInfo};
use keelson_qnet_wire::l4::{Header, Kind};
use keelson_qnet_wire::{Endian, Nd};

const ALPHA: Mac = Mac([2, 0, 0, 0, 0x0a, 1]);
const BETA: Mac = Mac([2, 0, 0, 0, 0x0b, 2]);

/// Bytes of one frame.
fn vector(name: &str) -> Vec<u8> {
    vectors().iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.clone()).unwrap()
}

/// Header of what alpha sends on its connection: alpha knows beta as 4, beta knows alpha as 9.
fn from_alpha(kind: Kind, seq: u32, length: u32) -> Header {
    Header {
        src_nd_for_dst: 4,
        dst_nd_for_src: 9,
        src_conn_id: 0x21,
        dst_conn_id: 0x31,
        seq,
        length,
        ..Header::new(kind)
    }
}

/// Header of what beta sends on its own connection.
fn from_beta(seq: u32, length: u32) -> Header {
    Header { src_conn_id: 0x42, dst_conn_id: 0x52, ..answer_of_beta(Kind::User, seq, length) }
}

/// Header of what beta answers on alpha's connection.
fn answer_of_beta(kind: Kind, seq: u32, length: u32) -> Header {
    Header {
        src_nd_for_dst: 9,
        dst_nd_for_src: 4,
        src_conn_id: 0x31,
        dst_conn_id: 0x21,
        seq,
        length,
        ..Header::new(kind)
    }
}

/// Compares a vector with the frame that its parts make, in both directions.
fn check(name: &str, dst: Mac, src: Mac, header: Header, payload: &[u8]) {
    let bytes = vector(name);
    let frame = Frame::decode(&bytes).unwrap();
    assert_eq!((frame.dst, frame.src), (dst, src), "{name}");
    assert_eq!(frame.packet.header, header, "{name}");
    assert_eq!(frame.packet.payload, payload, "{name}");
    assert_eq!(frame.packet.check_crc(), Ok(()), "{name}");
    let mut room = vec![0xee; 2048];
    let len = frame::emit(&mut room, dst, src, &header, &[payload]).unwrap();
    assert_eq!(room[..len], bytes, "{name}");
}

/// A frame from alpha to beta.
fn check_alpha(name: &str, header: Header, payload: &[u8]) {
    check(name, BETA, ALPHA, header, payload);
}

/// A frame from beta to alpha.
fn check_beta(name: &str, header: Header, payload: &[u8]) {
    check(name, ALPHA, BETA, header, payload);
}

/// The KIF message and its data as a payload, after checking that it decodes to the same.
fn kif_payload(message: KifMessage, data: &[u8]) -> Vec<u8> {
    let mut payload = vec![0; KifMessage::MAX_LEN];
    let len = message.emit(&mut payload, Endian::Little).unwrap();
    payload.truncate(len);
    payload.extend(data);
    let decoded = KifMessage::decode(&payload).unwrap();
    assert_eq!(decoded.message, message);
    assert_eq!((&payload[decoded.data], decoded.truncated, decoded.endian), (data, false, Endian::Little));
    payload
}

/// The server's handle of the example connection.
const SERVER_ID: u32 = 0x4000_0007;
/// The client's handle of the example connection.
const CLIENT_ID: u32 = 0x1001;
/// The client's handle of its transactions.
const HANDLE: u32 = 0x2001;

/// About the example client's thread, for a message of some length and some room for the reply.
fn vinfo(srcmsglen: i32, dstmsglen: i32) -> VtidInfo {
    VtidInfo {
        tid: 1,
        coid: 3,
        priority: 10,
        srcmsglen,
        keydata: srcmsglen as u32,
        srcnd: Nd(4),
        dstmsglen,
        zero: 0,
    }
}
