//! Damaged frames: every decoder sees them, none panics, and whatever decodes encodes to bytes that decode and encode
//! to themselves.

#[path = "../vectors/frames.rs"]
mod frames;

use crate::{BOTH, emitted};
use keelson_qnet_wire::io::{ConnectReply, Dirents, IoRequest, Parts};
use keelson_qnet_wire::ipv4::{self, Ipv4};
use keelson_qnet_wire::kif::KifMessage;
use keelson_qnet_wire::l4::{Header, Packet};
use keelson_qnet_wire::lr::LrPacket;
use keelson_qnet_wire::names::{self, NodePath};
use keelson_qnet_wire::netmgr::NetmgrRequest;
use keelson_qnet_wire::nr::NrMessage;
use keelson_qnet_wire::proc::{FdReply, Spawn, SyspageView};
use keelson_qnet_wire::tcs::Init;
use keelson_qnet_wire::{Endian, frame::Frame, pcap};
use proptest::collection::vec;
use proptest::prelude::*;

/// One change of a frame.
#[derive(Clone, Debug)]
enum Damage {
    Byte(prop::sample::Index, u8),
    Bit(prop::sample::Index, u8),
    Short(prop::sample::Index, u16),
    Word(prop::sample::Index, u32),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    let word = prop_oneof![
        any::<u32>(),
        0..300u32,
        prop::sample::select(vec![u32::MAX, u32::MAX - 1, 0x8000_0000, 0x7fff_ffff, 0xffff, 0x8000, 65_536]),
    ];
    let short = prop_oneof![any::<u16>(), 0..300u16, prop::sample::select(vec![u16::MAX, 0x8000, 0x7fff])];
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, value)| Damage::Byte(at, value)),
        (at(), 0..8u8).prop_map(|(at, bit)| Damage::Bit(at, bit)),
        (at(), short).prop_map(|(at, value)| Damage::Short(at, value)),
        (at(), word).prop_map(|(at, value)| Damage::Word(at, value)),
        at().prop_map(Damage::Cut),
        (at(), vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let mut overwrite = |at: &prop::sample::Index, with: &[u8]| {
        let at = at.index(bytes.len() + 1);
        for (byte, new) in bytes[at..].iter_mut().zip(with) {
            *byte = *new;
        }
    };
    match damage {
        Damage::Byte(at, value) => overwrite(at, &[*value]),
        Damage::Short(at, value) => overwrite(at, &value.to_le_bytes()),
        Damage::Word(at, value) => overwrite(at, &value.to_le_bytes()),
        Damage::Bit(at, bit) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Damage::Bit(..) => {}
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
        Damage::Insert(at, new) => {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, new.iter().copied());
        }
    }
}

/// Encodes a decoded value, and what comes of decoding that: both encodings must be the same.
macro_rules! stable {
    ($decoded:expr, $decode:expr, $emit:expr) => {
        if let Ok(value) = $decoded {
            let once = emitted(|room| $emit(&value, room));
            let again = $decode(&once).unwrap_or_else(|error| panic!("{value:?}: {error}"));
            assert_eq!(emitted(|room| $emit(&again, room)), once, "{value:?}");
        }
    };
}

fn transport(bytes: &[u8]) {
    if let Ok(frame) = Frame::decode(bytes) {
        packet(frame.packet);
    }
    if let Ok(packet) = Packet::decode(bytes) {
        self::packet(packet);
    }
    if let Ok((ip, carried)) = Ipv4::decode(bytes) {
        assert_eq!(Ipv4::decode(&ip.encode(0).unwrap()), Ok((ip, &[][..])));
        let _ = ipv4::l4_offset(carried);
    }
    if let Ok(reader) = pcap::Reader::new(bytes) {
        assert!(reader.count() <= bytes.len() / 16);
    }
}

fn packet(packet: Packet<'_>) {
    assert_eq!(Header::decode(&packet.header.encode()), Ok(packet.header));
    let fragment = packet.header.fragment(131_072);
    assert!(fragment.is_err() || fragment.is_ok_and(|fragment| fragment.end <= 131_072));
    let mut sealed = packet.header;
    sealed.crc = 0;
    let mut crc = keelson_qnet_wire::l4::Crc::new();
    crc.update(&sealed.encode());
    crc.update(packet.payload);
    assert_eq!(packet.computed_crc(), crc.value());
    let _ = packet.check_crc();
}

fn payload(bytes: &[u8], endian: Endian) {
    stable!(Init::decode(bytes, endian), |b| Init::decode(b, endian), |v: &Init<'_>, room| v
        .emit(room, endian));
    stable!(
        LrPacket::decode(bytes, endian),
        |b| LrPacket::decode(b, endian),
        |v: &(LrPacket<'_>, _), room| v.0.emit(room, endian, v.1)
    );
    stable!(NrMessage::decode(bytes, endian), |b| NrMessage::decode(b, endian), |v: &NrMessage<'_>, room| v
        .emit(room, endian));
    if let Ok(decoded) = KifMessage::decode(bytes) {
        let data = &bytes[decoded.data.clone()];
        let mut again = emitted(|room| decoded.message.emit(room, decoded.endian));
        again.extend(data);
        let again = KifMessage::decode(&again).unwrap();
        assert_eq!((again.message, again.endian), (decoded.message, decoded.endian));
        assert_eq!(again.data.len(), decoded.data.len());
        message(data, decoded.endian);
    }
    let _ = KifMessage::decode_front(bytes, bytes.len().saturating_mul(3));
}

fn message(bytes: &[u8], endian: Endian) {
    for part in Parts::new(bytes, endian).flatten() {
        let Ok(request) = IoRequest::decode(part, endian) else { continue };
        if let IoRequest::Msg(msg, data) = request {
            let _ = NetmgrRequest::decode(msg, data, endian);
        }
        let once = emitted(|room| request.emit(room, endian));
        let part = Parts::new(&once, endian).next().unwrap().unwrap();
        assert_eq!(IoRequest::decode(part, endian), Ok(request));
    }
    stable!(Spawn::decode(bytes, endian), |b| Spawn::decode(b, endian), |v: &Spawn<'_>, room| v
        .emit(room, endian));
    for status in [0, ConnectReply::LINK, ConnectReply::FTYPE, ConnectReply::MSG, u32::MAX] {
        stable!(
            ConnectReply::decode(status, bytes, endian),
            |b| ConnectReply::decode(status, b, endian),
            |v: &ConnectReply<'_>, room| v.emit(room, endian)
        );
    }
    assert!(Dirents::new(bytes, endian).count() <= bytes.len() / 20 + 1);
    if let Ok(reply) = FdReply::decode(bytes, endian) {
        let _ = reply.fds().count();
    }
    if let Ok(page) = SyspageView::decode(bytes, endian) {
        let _ = (page.total_memory(), page.cpus().count());
    }
}

fn everything(bytes: &[u8]) {
    transport(bytes);
    // Where the parts of the vectors start: IPv4, LwL4, payload, message, what a message contains.
    for start in [0, 14, 16, 36, 52, 72, 100, 116, 128] {
        let rest = bytes.get(start..).unwrap_or_default();
        transport(rest);
        for endian in BOTH {
            payload(rest, endian);
            message(rest, endian);
        }
        let _ = (names::node_name(rest), names::domain(rest));
        if let Ok(text) = std::str::from_utf8(rest) {
            let _ = NodePath::parse_path(text, "/net/");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn damaged_vectors(number in 0..38usize, damages in vec(damage(), 1..6)) {
        let mut bytes = frames::vectors()[number].1.clone();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        everything(&bytes);
    }

    #[test]
    fn damaged_messages((message, data) in crate::kif::message(), big: bool, damages in vec(damage(), 1..6)) {
        let endian = if big { Endian::Big } else { Endian::Little };
        let mut bytes = emitted(|room| message.emit(room, endian));
        bytes.extend(data);
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        payload(&bytes, endian);
    }

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..300)) {
        everything(&bytes);
    }
}

#[test]
fn undamaged_vectors() {
    for (_, bytes) in frames::vectors() {
        everything(bytes);
    }
}
