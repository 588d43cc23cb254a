//! The negative vectors at the end of section 25.

use crate::vector;
use keelson_qnet_wire::Endian;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::frame::{Frame, FrameError};
use keelson_qnet_wire::io::{ConnectError, IoConnect};
use keelson_qnet_wire::kif::KifMessage;
use keelson_qnet_wire::l4::{Flags, PacketError};
use keelson_qnet_wire::lr::{LrError, LrPacket};

/// Offset of the LwL4 header, and of its payload.
const L4: usize = 16;
const PAYLOAD: usize = L4 + 36;

#[test]
fn t30_with_one_bit_flipped() {
    for bit in 0..64 * 8 {
        let mut bytes = vector("T30");
        bytes[PAYLOAD + bit / 8] ^= 1 << (bit % 8);
        let error = Frame::decode(&bytes).unwrap().packet.check_crc().unwrap_err();
        assert_eq!(error.stated, 0xb30f_c8c3);
    }
}

#[test]
fn t12_with_length_2000() {
    let mut bytes = vector("T12");
    bytes[L4 + 28..L4 + 32].copy_from_slice(&2000u32.to_le_bytes());
    let expected = PacketError::Length { length: 2000, present: 64 };
    assert_eq!(Frame::decode(&bytes), Err(FrameError::Packet(expected)));
}

#[test]
fn t10_with_path_len_2000() {
    let mut bytes = vector("T10");
    bytes[PAYLOAD + 48 + 34..][..2].copy_from_slice(&2000u16.to_le_bytes());
    let payload = Frame::decode(&bytes).unwrap().packet.payload;
    let data = KifMessage::decode(payload).unwrap().data;
    let error = IoConnect::decode(&payload[data], Endian::Little).unwrap_err();
    assert!(matches!(error, ConnectError::Short(short) if short.need == 2040));
    assert_eq!(error.errno(), Errno::EINVAL);
}

#[test]
fn t01_with_src_name_off_beyond_everything() {
    let mut bytes = vector("T01");
    bytes[PAYLOAD + 8..PAYLOAD + 12].fill(0xff);
    let payload = Frame::decode(&bytes).unwrap().packet.payload;
    let expected = LrError::Item { field: "src_name", offset: u32::MAX, length: 6, area: 57 };
    assert_eq!(LrPacket::decode(payload, Endian::Little), Err(expected));
}

#[test]
fn t17_with_flags_3() {
    let mut bytes = vector("T17");
    bytes[L4 + 2] = 3;
    let packet = Frame::decode(&bytes).unwrap().packet;
    assert_eq!((packet.header.flags, packet.header.offset, packet.header.length), (Flags::WHOLE, 1456, 2912));
}
