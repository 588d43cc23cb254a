//! Qnet's wire formats, of every layer.

use crate::input::Input;
use keelson_qnet_wire::frame::Frame;
use keelson_qnet_wire::io::{ConnectReply, Dirents, IoConnect, IoRequest, Parts};
use keelson_qnet_wire::ipv4::{self, Ipv4};
use keelson_qnet_wire::kif::KifMessage;
use keelson_qnet_wire::l4::{Crc, Header, Packet};
use keelson_qnet_wire::lr::{LrForm, LrPacket};
use keelson_qnet_wire::netmgr::NetmgrRequest;
use keelson_qnet_wire::nr::NrMessage;
use keelson_qnet_wire::proc::{FdReply, Spawn, SyspageView};
use keelson_qnet_wire::tcs::Init;
use keelson_qnet_wire::{Endian, NoRoom, pcap};

/// Most of a message that a node accepts.
const MAX_MSG: u32 = 131_072;

/// The first byte chooses the layer, and the byte order.
pub fn qnet_wire(input: &[u8]) {
    let mut input = Input::new(input);
    let choice = input.u8();
    let endian = if choice & 0x80 == 0 { Endian::Little } else { Endian::Big };
    let bytes = input.rest();
    match choice & 0x7f {
        0 => frame(bytes),
        1 => packet(bytes),
        2 => ip(bytes),
        3 => names(bytes, endian),
        4 => resolvers(bytes, endian),
        5 => kif(bytes),
        6 => messages(bytes, endian),
        7 => connect_replies(bytes, endian),
        8 => processes(bytes, endian),
        _ => captures(bytes),
    }
}

/// What `emit` writes.
fn written(emit: impl Fn(&mut [u8]) -> Result<usize, NoRoom>) -> Vec<u8> {
    let mut room = vec![0xaa; 1 << 18];
    let len = emit(&mut room).unwrap_or_else(|_| panic!("no room for what was decoded"));
    assert!(room[len..].iter().all(|byte| *byte == 0xaa), "written beyond its end");
    // Room that is one byte short is noticed.
    if len > 0 {
        assert!(emit(&mut vec![0; len - 1]).is_err(), "{len} bytes in {} bytes of room", len - 1);
    }
    room.truncate(len);
    room
}

/// What was decoded is written; what was written decodes, and is written in the same way.
macro_rules! same {
    ($bytes:expr, $decode:expr, $emit:expr) => {
        if let Ok(value) = $decode($bytes) {
            let once = written(|room| $emit(&value, room));
            let again = $decode(&once).unwrap_or_else(|error| panic!("{value:?}: {error}"));
            assert_eq!(written(|room| $emit(&again, room)), once, "{value:?}");
        }
    };
}

fn frame(bytes: &[u8]) {
    if let Ok(frame) = Frame::decode(bytes) {
        checked(&frame.packet);
    }
}

fn packet(bytes: &[u8]) {
    if let Ok(packet) = Packet::decode(bytes) {
        checked(&packet);
    }
}

fn checked(packet: &Packet<'_>) {
    assert_eq!(Header::decode(&packet.header.encode()), Ok(packet.header));
    assert!(
        packet.header.fragment(MAX_MSG).is_ok_and(|part| part.end <= MAX_MSG && part.start <= part.end)
            || packet.header.fragment(MAX_MSG).is_err()
    );
    // All fields are kept, so that what was received is what is covered.
    let mut crc = Crc::new();
    crc.update(&Header { crc: 0, ..packet.header }.encode());
    crc.update(packet.payload);
    assert_eq!(packet.computed_crc(), crc.value());
    assert_eq!(packet.check_crc().is_ok(), !packet.has_crc() || packet.header.crc == crc.value());
}

fn names(bytes: &[u8], endian: Endian) {
    same!(bytes, |b| Init::decode(b, endian), |v: &Init<'_>, room: &mut [u8]| v.emit(room, endian));
}

fn resolvers(bytes: &[u8], endian: Endian) {
    same!(bytes, |b| LrPacket::decode(b, endian), |v: &(LrPacket<'_>, LrForm), room: &mut [u8]| v
        .0
        .emit(room, endian, v.1));
    same!(bytes, |b| NrMessage::decode(b, endian), |v: &NrMessage<'_>, room: &mut [u8]| v.emit(room, endian));
}

fn ip(bytes: &[u8]) {
    let Ok((ip, carried)) = Ipv4::decode(bytes) else { return };
    assert!(carried.len() <= bytes.len());
    if let Some(header) = ip.encode(0) {
        assert_eq!(Ipv4::decode(&header), Ok((ip, &[][..])));
    }
    if let Ok(offset) = ipv4::l4_offset(carried) {
        assert!(offset == 0 || offset == 2);
        packet(carried.get(offset..).unwrap_or_default());
    }
}

fn kif(bytes: &[u8]) {
    let _ = KifMessage::decode_front(bytes, bytes.len().saturating_mul(3));
    let Ok(decoded) = KifMessage::decode(bytes) else { return };
    let data = bytes.get(decoded.data.clone()).expect("data within the message");
    let mut again = written(|room| decoded.message.emit(room, decoded.endian));
    again.extend(data);
    let once = KifMessage::decode(&again).unwrap_or_else(|error| panic!("{:?}: {error}", decoded.message));
    assert_eq!((once.message, once.endian), (decoded.message, decoded.endian));
    assert_eq!(once.data.len(), decoded.data.len());
    messages(data, decoded.endian);
}

fn messages(bytes: &[u8], endian: Endian) {
    for part in Parts::new(bytes, endian).flatten() {
        let Ok(request) = IoRequest::decode(part, endian) else { continue };
        if let IoRequest::Msg(msg, data) = request {
            let _ = NetmgrRequest::decode(msg, data, endian);
        }
        let once = written(|room| request.emit(room, endian));
        let part = Parts::new(&once, endian).next().expect("a part").expect("a whole one");
        assert_eq!(IoRequest::decode(part, endian), Ok(request));
    }
    if let Ok(connect) = IoConnect::decode(bytes, endian) {
        assert!(
            !connect.path.contains(&0) && connect.path.len() <= 1024,
            "a path of {} bytes",
            connect.path.len()
        );
    }
}

fn connect_replies(bytes: &[u8], endian: Endian) {
    for status in [0, ConnectReply::LINK, ConnectReply::FTYPE, ConnectReply::MSG, u32::MAX] {
        same!(bytes, |b| ConnectReply::decode(status, b, endian), |v: &ConnectReply<'_>, room: &mut [u8]| v
            .emit(room, endian));
    }
    assert!(Dirents::new(bytes, endian).count() <= bytes.len() / 20 + 1);
}

fn processes(bytes: &[u8], endian: Endian) {
    same!(bytes, |b| Spawn::decode(b, endian), |v: &Spawn<'_>, room: &mut [u8]| v.emit(room, endian));
    if let Ok(reply) = FdReply::decode(bytes, endian) {
        assert!(reply.fds().count() <= bytes.len());
    }
    if let Ok(page) = SyspageView::decode(bytes, endian) {
        let _ = page.total_memory();
        assert!(page.cpus().count() <= bytes.len());
    }
}

fn captures(bytes: &[u8]) {
    if let Ok(reader) = pcap::Reader::new(bytes) {
        assert!(reader.count() <= bytes.len() / 16);
    }
}
