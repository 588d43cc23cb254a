//! Frames, IPv4, connections, resolvers, CRC.

use crate::{BOTH, domain, emitted, name};
use keelson_qnet_wire::frame::{self, Frame, Mac};
use keelson_qnet_wire::ipv4::{self, Ipv4};
use keelson_qnet_wire::l4::{Flags, Fragments, Header, Kind, Layer, Packet};
use keelson_qnet_wire::lr::{LrForm, LrKind, LrPacket, Party};
use keelson_qnet_wire::names::{NodePath, Policy, PolicyChoice};
use keelson_qnet_wire::nr::NrMessage;
use keelson_qnet_wire::tcs::Init;
use keelson_qnet_wire::{Endian, Errno, Nd, pcap};
use proptest::collection::vec;
use proptest::prelude::*;

fn endian() -> impl Strategy<Value = Endian> {
    prop::sample::select(BOTH.to_vec())
}

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac)
}

/// A header that goes with a payload of some length.
fn header(length: u32) -> impl Strategy<Value = Header> {
    let kinds = prop::sample::select(Kind::ALL.to_vec());
    let ids = any::<(u16, u16, u32, u32, u32, u16, u16, u32, u32)>();
    (endian(), kinds, any::<u8>(), any::<u8>(), ids, any::<u32>()).prop_map(
        move |(endian, kind, flags, layer, ids, other_length)| {
            let layer = match kind {
                Kind::User | Kind::UserData => [Layer::Kif, Layer::Nr, Layer::Seq][usize::from(layer % 3)],
                Kind::Lres => Layer::Lr,
                _ => Layer::from_wire(layer),
            };
            let (a, b, c, d, seq, qos_type, src_qos_idx, offset, crc) = ids;
            Header {
                endian,
                kind,
                flags: Flags(flags),
                layer,
                src_nd_for_dst: a,
                dst_nd_for_src: b,
                src_conn_id: c,
                dst_conn_id: d,
                seq,
                qos_type,
                src_qos_idx,
                offset,
                length: if kind.has_payload() { length } else { other_length },
                crc,
            }
        },
    )
}

fn frame_parts() -> impl Strategy<Value = (Header, Vec<u8>)> {
    vec(any::<u8>(), 0..200).prop_flat_map(|payload| (header(payload.len() as u32), Just(payload)))
}

proptest! {
    #[test]
    fn frames((header, payload) in frame_parts(), dst in mac(), src in mac(), cut in any::<prop::sample::Index>()) {
        let payload = if header.kind.has_payload() { payload } else { Vec::new() };
        let (front, back) = payload.split_at(cut.index(payload.len() + 1));
        let bytes = emitted(|room| frame::emit(room, dst, src, &header, &[front, back]));
        prop_assert_eq!(bytes.len(), (52 + payload.len()).max(60));
        prop_assert_eq!(bytes.len() - 52 - payload.len(), frame::trailer_len(payload.len()));
        let frame = Frame::decode(&bytes).unwrap();
        prop_assert_eq!((frame.dst, frame.src, frame.packet.header), (dst, src, header));
        prop_assert_eq!(frame.packet.payload, &payload[..]);
        let mut sealed = header;
        sealed.seal(&[front, back]);
        let bytes = emitted(|room| frame::emit(room, dst, src, &sealed, &[&payload]));
        let packet = Frame::decode(&bytes).unwrap().packet;
        prop_assert_eq!(packet.check_crc(), Ok(()));
        prop_assert_eq!(packet.computed_crc(), sealed.crc);
    }

    #[test]
    fn ip_packets((header, payload) in frame_parts(), src: [u8; 4], dst: [u8; 4], identification: u16) {
        let payload = if header.kind.has_payload() { payload } else { Vec::new() };
        let ip = Ipv4 { src: src.into(), dst: dst.into(), identification };
        let mut bytes = ip.encode(ipv4::PAD + Header::LEN + payload.len()).unwrap().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(header.encode());
        bytes.extend(&payload);
        bytes.extend([0xee; 9]);
        let (decoded, carried) = Ipv4::decode(&bytes).unwrap();
        prop_assert_eq!(decoded, ip);
        let packet = Packet::decode(&carried[ipv4::l4_offset(carried).unwrap()..]).unwrap();
        prop_assert_eq!((packet.header, packet.payload), (header, &payload[..]));
    }

    /// Fragments follow each other, cover the message, and pass their own validation.
    #[test]
    fn fragmentation(total in 0..200_000u32, size in 1..10_000u32) {
        let mut end = 0;
        let mut last = false;
        for fragment in Fragments::new(total, size) {
            prop_assert!(!last && fragment.start == end && fragment.len() <= size);
            (end, last) = (fragment.end, fragment.last);
            let header = Header {
                flags: fragment.flags(),
                offset: fragment.start,
                length: fragment.len(),
                ..Header::new(Kind::User)
            };
            prop_assert_eq!(header.fragment(total), Ok(fragment));
        }
        prop_assert!(last && end == total);
    }

    #[test]
    fn tcs_init(
        (src_name, src_domain, dst_name, dst_domain) in (name(), domain(), name(), domain()),
        shares_acks: bool,
    ) {
        let init = Init {
            src_name: &src_name,
            src_domain: &src_domain,
            dst_name: &dst_name,
            dst_domain: &dst_domain,
            shares_acks,
        };
        for endian in BOTH {
            let bytes = emitted(|room| init.emit(room, endian));
            prop_assert_eq!(Init::decode(&bytes, endian), Ok(init));
            let alone = Init { shares_acks: false, ..init };
            let len = emitted(|room| alone.emit(room, endian)).len();
            prop_assert_eq!(Init::decode(&bytes[..len], endian), Ok(alone));
            prop_assert!(Init::decode(&bytes[..len - 1], endian).is_err());
        }
    }

    #[test]
    fn lan_resolver(
        (src_name, src_domain, src_mac) in (name(), domain(), mac()),
        (dst_name, dst_domain, dst_mac) in (prop_oneof![Just(String::new()), name()], domain(), prop::option::of(mac())),
        request: bool,
        (counts_nul, address_len, address_first) in (any::<bool>(), 8..=255u8, any::<u8>()),
    ) {
        let packet = LrPacket {
            kind: if request { LrKind::Request } else { LrKind::Reply },
            src: Party { name: &src_name, domain: &src_domain, mac: Some(src_mac) },
            dst: Party { name: &dst_name, domain: &dst_domain, mac: dst_mac },
        };
        let form = LrForm { counts_nul, address_len, address_first };
        for endian in BOTH {
            let bytes = emitted(|room| packet.emit(room, endian, form));
            prop_assert_eq!(LrPacket::decode(&bytes, endian), Ok((packet, form)));
            prop_assert!(LrPacket::decode(&bytes[..bytes.len() - 1], endian).is_err());
        }
    }

    #[test]
    fn node_resolver(id: u16, name in "[ -~]{0,254}", nd: u32, status: i32) {
        for message in [
            NrMessage::PingReq,
            NrMessage::PingAns,
            NrMessage::RemoteReq { id, name: &name },
            NrMessage::RemoteAns { id, nd: Nd(nd) },
            NrMessage::RemoteError { id, status: Errno(status) },
        ] {
            for endian in BOTH {
                let bytes = emitted(|room| message.emit(room, endian));
                prop_assert!(bytes.len() <= NrMessage::MAX_LEN);
                prop_assert_eq!(NrMessage::decode(&bytes, endian), Ok(message));
                prop_assert!(NrMessage::decode(&bytes[..bytes.len() - 1], endian).is_err());
            }
        }
    }

    #[test]
    fn node_paths(
        name in name(),
        domain in domain(),
        policy in prop::option::of((prop::sample::select(Policy::ALL.to_vec()), prop_oneof![Just(String::new()), name()])),
        rest in prop_oneof![Just(String::new()), "/[ -~]{0,20}"],
        net: bool,
    ) {
        let choice = policy.as_ref().map(|(policy, interface)| PolicyChoice { policy: *policy, interface });
        let path = NodePath { name: &name, domain: &domain, choice };
        let text = path.to_string();
        prop_assert_eq!(NodePath::parse(&text), Ok(path));
        let front = if net { "/net/" } else { "" };
        let whole = format!("{front}{text}{rest}");
        prop_assert_eq!(NodePath::parse_path(&whole, "/net/"), Ok((path, front.len() + text.len())));
    }

    #[test]
    fn capture_files(frames in vec((0..1u64 << 60, vec(any::<u8>(), 0..50)), 0..5)) {
        let mut file = pcap::file_header(pcap::RAW_IP).to_vec();
        for (time, frame) in &frames {
            file.extend(pcap::record_header(*time, frame.len() as u32));
            file.extend(frame);
        }
        let reader = pcap::Reader::new(&file).unwrap();
        prop_assert_eq!(reader.link_type(), pcap::RAW_IP);
        let read: Vec<_> = reader.map(|record| record.map(|record| (record.time_ns, record.bytes.to_vec())).unwrap()).collect();
        prop_assert_eq!(read, frames);
    }
}
