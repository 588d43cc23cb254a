//! T04 to T06, T35, T36: connections. T08, T17, T18: acknowledging. T28, T29: fragments. T30: CRC. T32: IP.

use crate::vector;
use crate::{ALPHA, BETA, answer_of_beta, check_alpha, check_beta, from_alpha, kif_payload, vinfo};
use crate::{HANDLE, SERVER_ID};
use keelson_qnet_wire::Endian;
use keelson_qnet_wire::frame::{self, Frame};
use keelson_qnet_wire::io::{IoReadWrite, IoRequest};
use keelson_qnet_wire::ipv4::{self, Ipv4};
use keelson_qnet_wire::kif::{KifMessage, MsgSend};
use keelson_qnet_wire::l4::{Flags, Fragment, Header, Kind, Layer, Packet};
use keelson_qnet_wire::tcs::Init;

#[test]
fn handshake() {
    let names = Init {
        src_name: "alpha",
        src_domain: "lab.test",
        dst_name: "beta",
        dst_domain: "lab.test",
        shares_acks: false,
    };
    let mut payload = [0xee; 64];
    let len = names.emit(&mut payload, Endian::Little).unwrap();
    let payload = &payload[..len];
    assert_eq!(Init::decode(payload, Endian::Little), Ok(names));
    let init = Header { dst_nd_for_src: 0, dst_conn_id: 0, ..from_alpha(Kind::TcsInit, 0, len as u32) };
    check_alpha("T04", init, payload);
    check_beta("T05", answer_of_beta(Kind::TcsRemUp, 0, 0), &[]);
    check_alpha("T06", from_alpha(Kind::TcsUp, 0, 0), &[]);
    check_alpha("T35", from_alpha(Kind::TcsDown, 14, 0), &[]);
    check_beta("T36", answer_of_beta(Kind::TcsRemDown, 0, 0), &[]);
}

#[test]
fn acknowledging() {
    check_beta("T08", answer_of_beta(Kind::Ack, 1, 0), &[]);
    check_beta("T17", Header { offset: 1456, ..answer_of_beta(Kind::Nack, 6, 2912) }, &[]);
    check_alpha("T18", Header { layer: Layer::Seq, ..from_alpha(Kind::User, 7, 0) }, &[]);
}

/// The read of T12: 4,096 bytes.
pub fn read_4096() -> Vec<u8> {
    let mut message = [0xee; 16];
    let read = IoReadWrite { nbytes: 4096, ..IoReadWrite::default() };
    assert_eq!(IoRequest::Read(read).emit(&mut message, Endian::Little), Ok(16));
    let vinfo = vinfo(16, 4096);
    let send = MsgSend { server_id: SERVER_ID, client_handle: HANDLE, vinfo, nbytes: 16 };
    kif_payload(KifMessage::MsgSend(send, None), &message)
}

#[test]
fn crc() {
    let payload = read_4096();
    let mut header = from_alpha(Kind::User, 3, 64);
    header.seal(&[&payload]);
    assert_eq!(header.crc, 0xb30f_c8c3);
    check_alpha("T30", header, &payload);
    // However the payload is cut.
    for cut in 0..payload.len() {
        let (front, back) = payload.split_at(cut);
        let mut again = from_alpha(Kind::User, 3, 64);
        again.seal(&[front, &[], back]);
        assert_eq!(again, header);
    }
    // The captured frame has none; the decoder that printed it computed this one.
    let captured = vector("T00");
    let packet = Frame::decode(&captured).unwrap().packet;
    assert_eq!((packet.has_crc(), packet.header.crc, packet.computed_crc()), (false, 0, 0x40ad_c3a4));
}

#[test]
fn fragments() {
    let vinfo = keelson_qnet_wire::kif::VtidInfo { srcmsglen: 4096, keydata: 4096, ..vinfo(0, 0) };
    let send = MsgSend { server_id: SERVER_ID, client_handle: HANDLE, vinfo, nbytes: 4096 };
    let write = IoReadWrite { nbytes: 4080, ..IoReadWrite::default() };
    let mut message = [0xee; 56];
    assert_eq!(IoRequest::Write(write, &[b'x'; 40]).emit(&mut message, Endian::Little), Ok(56));
    let mut payload = send.encode(Endian::Little).to_vec();
    payload.extend(message);
    let first = Header { flags: Flags::FIRST, ..from_alpha(Kind::User, 12, 104) };
    check_alpha("T28", first, &payload);
    assert_eq!(first.fragment(131_072), Ok(Fragment { start: 0, end: 104, last: false }));
    let decoded = KifMessage::decode_front(&payload, 4144).unwrap();
    assert_eq!((decoded.message, decoded.data), (KifMessage::MsgSend(send, None), 48..4144));
    assert!(!decoded.truncated);
    let last = Header { flags: Flags::LAST, offset: 4128, ..from_alpha(Kind::User, 12, 16) };
    check_alpha("T29", last, &[b'x'; 16]);
    assert_eq!(last.fragment(131_072), Ok(Fragment { start: 4128, end: 4144, last: true }));
}

#[test]
fn ip_binding() {
    let bytes = vector("T32");
    let (ethernet, packet) = bytes.split_at(14);
    assert_eq!(ethernet[..12], frame::header(BETA, ALPHA)[..12]);
    assert_eq!(ethernet[12..], [8, 0]);
    let (header, carried) = Ipv4::decode(packet).unwrap();
    let expected = Ipv4 { src: [192, 0, 2, 1].into(), dst: [192, 0, 2, 2].into(), identification: 1 };
    assert_eq!(header, expected);
    assert_eq!(ipv4::l4_offset(carried), Ok(ipv4::PAD));
    let l4 = Packet::decode(&carried[ipv4::PAD..]).unwrap();
    assert_eq!((l4.header, l4.payload), (from_alpha(Kind::User, 3, 64), &read_4096()[..]));
    let mut again = ethernet.to_vec();
    again.extend(expected.encode(ipv4::PAD + Header::LEN + l4.payload.len()).unwrap());
    again.extend([0; ipv4::PAD]);
    again.extend(l4.header.encode());
    again.extend(l4.payload);
    assert_eq!(again, bytes);
}
