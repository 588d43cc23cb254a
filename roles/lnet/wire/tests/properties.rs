//! Round trips of any value, and decoders against any bytes: none panics, and what decodes comes out the same
//! when it is encoded again.

use keelson_lnet_wire::acceptor::{Request, RequestDecoder};
use keelson_lnet_wire::hello::{ConnType, Hello, HelloDecoder, Received, Version};
use keelson_lnet_wire::ksock::KsockHeader;
use keelson_lnet_wire::message::{Get, Header, Kind, Put, Wmd};
use keelson_lnet_wire::ping::{Entry, Features, MAX_INTERFACES, PingInfo, Status};
use keelson_lnet_wire::srpc::{self, Message, decode_destinations};
use keelson_lnet_wire::{NetId, Nid, ProcessId, text};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::IpAddr;

fn ipv4_nid() -> impl Strategy<Value = Nid> {
    (0..20u8, any::<u16>(), any::<[u8; 4]>())
        .prop_map(|(kind, number, ip)| Nid::new(NetId::new(kind, number), IpAddr::from(ip)))
}

fn nid() -> impl Strategy<Value = Nid> {
    let six = (0..20u8, any::<u16>(), any::<[u8; 16]>())
        .prop_map(|(kind, number, ip)| Nid::new(NetId::new(kind, number), IpAddr::from(ip)));
    let odd = any::<[u8; 20]>().prop_filter_map("size", |mut bytes| {
        bytes[0] %= 13;
        Nid::from_large(&bytes)
    });
    prop_oneof![ipv4_nid(), six, odd, Just(Nid::ANY), Just(Nid::LOOPBACK)]
}

fn hello() -> impl Strategy<Value = Hello> {
    let versions = prop_oneof![Just(Version::V2), Just(Version::V3), Just(Version::V4)];
    let types = [ConnType::None, ConnType::Any, ConnType::Control, ConnType::BulkIn, ConnType::BulkOut];
    let numbers = (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>());
    (versions, ipv4_nid(), nid(), numbers, prop::sample::select(types.to_vec())).prop_map(
        |(version, src_nid, dst_nid, (src_pid, dst_pid, src_incarnation, dst_incarnation), ctype)| Hello {
            version: if dst_nid.is_large() { Version::V4 } else { version },
            src_nid,
            dst_nid,
            src_pid,
            dst_pid,
            src_incarnation,
            dst_incarnation,
            ctype,
            ips: 0,
        },
    )
}

fn header() -> impl Strategy<Value = Header> {
    let body = (any::<[u8; 32]>(), any::<u64>());
    let kinds = prop::sample::select(Kind::ALL.to_vec());
    (nid(), nid(), any::<(u32, u32)>(), kinds, 0..=1u32 << 20, body).prop_map(
        |(dest_nid, src_nid, (dest_pid, src_pid), kind, length, (start, end))| {
            let mut body = [0; 40];
            body[..32].copy_from_slice(&start);
            body[32..].copy_from_slice(&end.to_le_bytes());
            let payload_length = if matches!(kind, Kind::Put | Kind::Reply) { length } else { 0 };
            Header { dest_nid, src_nid, dest_pid, src_pid, kind, payload_length, body }
        },
    )
}

fn info() -> impl Strategy<Value = PingInfo> {
    let entry =
        (nid(), any::<u32>()).prop_map(|(nid, status)| Entry { nid, status: Status::from_wire(status) });
    (any::<u32>(), any::<u32>(), any::<u32>(), vec(entry, 0..20)).prop_map(
        |(features, pid, sequence, entries)| PingInfo {
            features: Features(features) | Features::NI_STATUS,
            pid,
            sequence,
            entries,
        },
    )
}

/// All ways in which bytes get into this crate.
fn decode_everything(bytes: &[u8]) {
    let mut input = bytes;
    let mut request = RequestDecoder::new();
    if let Ok(Some(decoded)) = request.feed(&mut input) {
        let again = decoded.encode(&mut [0; 28]).to_vec();
        assert_eq!(RequestDecoder::new().feed(&mut &again[..]), Ok(Some(decoded)));
    }
    assert!(request.need() <= 28);
    let (mut input, mut hello) = (bytes, HelloDecoder::new());
    if let Ok(Some(received)) = hello.feed(&mut input) {
        let again = received.hello.encode(&mut [0; 80]).unwrap().to_vec();
        let expected = Received { hello: Hello { ips: 0, ..received.hello }, swapped: false };
        assert_eq!(HelloDecoder::new().feed(&mut &again[..]), Ok(Some(expected)));
    }
    assert!(hello.need() <= 80);
    if let Some(bytes) = bytes.first_chunk() {
        for swapped in [false, true] {
            if let Ok(header) = KsockHeader::decode(bytes, swapped) {
                for version in [Version::V1, Version::V2, Version::V3, Version::V4] {
                    let acks = header.zc_acks(version);
                    assert!(acks.count() == 0 || acks.contains(header.cookies[1]));
                }
                assert_eq!(KsockHeader::decode(&header.encode(), false), Ok(header));
            }
        }
    }
    for header in headers(bytes).into_iter().flatten() {
        let (_, _, _, _) = (header.ack(), header.put(), header.get(), header.reply());
        let mut large = [0; 96];
        header.encode_large(&mut large);
        assert_eq!(Header::decode_large(&large), Ok(header));
    }
    if let Ok(info) = PingInfo::decode(bytes, MAX_INTERFACES) {
        assert_eq!(
            PingInfo::decode(&info.encode(), MAX_INTERFACES).map(|again| again.entries.len()),
            Ok(info.entries.len())
        );
    }
    if let Ok(received) = Message::decode(bytes) {
        assert_eq!(
            Message::decode(&received.message.encode()).map(|again| again.message),
            Ok(received.message)
        );
    }
    let _ = decode_destinations(bytes, true);
    let _ = srpc::verify(bytes, srpc::Check::Simple, srpc::PATTERN, false);
}

fn headers(bytes: &[u8]) -> [Option<Header>; 2] {
    let small = bytes.first_chunk().and_then(|bytes| Header::decode_small(bytes).ok());
    [small, bytes.first_chunk().and_then(|bytes| Header::decode_large(bytes).ok())]
}

/// A good message of each kind.
fn good() -> impl Strategy<Value = Vec<u8>> {
    let message = (prop::sample::select((0..16u8).collect::<Vec<_>>()), vec(any::<u8>(), 136), any::<bool>());
    prop_oneof![
        nid().prop_map(|nid| Request { nid }.encode(&mut [0; 28]).to_vec()),
        hello().prop_map(|hello| hello.encode(&mut [0; 80]).unwrap().to_vec()),
        header().prop_map(|header| {
            let mut bytes = [0; 96];
            header.encode_large(&mut bytes);
            bytes.to_vec()
        }),
        info().prop_map(|info| info.encode()),
        message.prop_map(|(number, body, swapped)| {
            let word = |value: u32| if swapped { value.to_be_bytes() } else { value.to_le_bytes() };
            let mut bytes =
                [word(srpc::MAGIC), word(1), word(number.into()), [0; 4], [0; 4], word(1)].concat();
            bytes.extend(body);
            bytes
        }),
    ]
}

proptest! {
    #[test]
    fn nids(nid in nid()) {
        prop_assert_eq!(Nid::from_large(&nid.large()), Some(nid));
        if let Some(nid4) = nid.nid4() {
            prop_assert_eq!(Nid::from_nid4(nid4), nid);
        }
        if let Some(ip) = nid.ip() {
            prop_assert_eq!(Nid::new(nid.net(), ip), nid);
        }
    }

    #[test]
    fn names(
        kind in prop::sample::select(vec![2u8, 5, 13, 14, 15, 16, 17, 18, 19]),
        number: u16,
        ip: [u8; 4],
        six: [u8; 16],
        pid: u32,
    ) {
        let net = NetId::new(kind, number);
        prop_assert_eq!(net.to_string().parse(), Ok(net));
        let four = ProcessId { nid: Nid::new(net, ip.into()), pid };
        prop_assert_eq!(four.to_string().parse(), Ok(four));
        let six = Nid::new(NetId::new(2, number), six.into());
        prop_assert_eq!(six.to_string().parse(), Ok(six));
    }

    #[test]
    fn requests(nid in nid(), cut in 0..28usize) {
        let bytes = Request { nid }.encode(&mut [0; 28]).to_vec();
        let (first, second) = bytes.split_at(cut.min(bytes.len() - 1));
        let mut decoder = RequestDecoder::new();
        prop_assert_eq!(decoder.feed(&mut &*first), Ok(None));
        prop_assert_eq!(decoder.feed(&mut &*second), Ok(Some(Request { nid })));
    }

    #[test]
    fn hellos(hello in hello(), cut in 0..80usize) {
        prop_assume!(hello.src_nid != Nid::ANY);
        let bytes = hello.encode(&mut [0; 80]).unwrap().to_vec();
        let (first, second) = bytes.split_at(cut.min(bytes.len() - 1));
        let mut decoder = HelloDecoder::new();
        prop_assert_eq!(decoder.feed(&mut &*first), Ok(None));
        prop_assert_eq!(decoder.feed(&mut &*second), Ok(Some(Received { hello, swapped: false })));
    }

    #[test]
    fn header_of_both_sizes(header in header()) {
        let mut large = [0; 96];
        header.encode_large(&mut large);
        prop_assert_eq!(Header::decode_large(&large), Ok(header));
        let mut small = [0; 72];
        let fits = header.encode_small(&mut small).is_ok();
        prop_assert_eq!(fits, !header.dest_nid.is_large() && !header.src_nid.is_large());
        if fits {
            prop_assert_eq!(Header::decode_small(&small), Ok(header));
        }
    }

    #[test]
    fn typed_headers(
        to in ipv4_nid(),
        from in ipv4_nid(),
        wmd: [u8; 16],
        bits: u64,
        data: u64,
        portal: u32,
        offset: u32,
    ) {
        let (to, from) = (ProcessId::lustre(to), ProcessId { nid: from, pid: portal });
        let put = Put { ack_wmd: Wmd(wmd), match_bits: bits, hdr_data: data, portal, offset };
        prop_assert_eq!(Header::new_put(from, to, &put, 9).put(), put);
        let return_wmd = Wmd(wmd);
        let get = Get { return_wmd, match_bits: bits, portal, src_offset: offset, sink_length: portal };
        prop_assert_eq!(Header::new_get(from, to, &get).get(), get);
    }

    #[test]
    fn ping_infos(info in info()) {
        let bytes = info.encode();
        prop_assert_eq!(bytes.len(), info.encoded_len());
        let again = PingInfo::decode(&bytes, MAX_INTERFACES).unwrap();
        prop_assert_eq!(again.encode(), bytes);
        let facts = |info: &PingInfo| (info.pid, info.sequence, info.entries.len());
        prop_assert_eq!(facts(&again), facts(&info));
        prop_assert!(info.entries.iter().all(|entry| again.entries.contains(entry)));
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        decode_everything(&bytes);
    }

    #[test]
    fn good_bytes(bytes in good()) {
        decode_everything(&bytes);
    }

    #[test]
    fn good_bytes_with_changes(
        mut bytes in good(),
        changes in vec((any::<usize>(), any::<u8>()), 1..6),
        cut in any::<usize>(),
        extra in vec(any::<u8>(), 0..40),
    ) {
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if cut % 3 == 0 {
            bytes.truncate(cut % (bytes.len() + 1));
        }
        bytes.extend(extra);
        decode_everything(&bytes);
    }

    #[test]
    fn any_text(text in "[a-z0-9@.,:;/*#<?>()\\[\\] \n-]{0,60}|\\PC{0,40}") {
        let _ = (text.parse::<Nid>(), text.parse::<NetId>(), text.parse::<ProcessId>());
        let _ = (text::networks(&text), text::ip2nets(&text), text::routes(&text), text::nid_ranges(&text));
    }

    #[test]
    fn texts_with_changes(
        text in prop::sample::select(vec![
            "tcp0(eth0[1],eth1),tcp1(eth2)[0-1]",
            "tcp1(eth1) 10.1.*.* 10.2.[0-3].[1-254/2] # here; o2ib *.*.*.*",
            "tcp[2-9/3] 1 10.0.0.[1-4]@tcp1:7 fd00::1@tcp1; o2ib 10.0.0.9@tcp1",
            "10.0.[0-3].*@tcp1 192.168.0.0/16@tcp *@o2ib fd00::/8@tcp",
        ]),
        at in any::<prop::sample::Index>(),
        with in "[a-z0-9@.,:;/*#()\\[\\] -]{0,3}",
        removed in 0..4usize,
    ) {
        let at = at.index(text.len());
        let text = format!("{}{with}{}", &text[..at], &text[(at + removed).min(text.len())..]);
        let errors = [
            text::networks(&text).err(), text::ip2nets(&text).err(),
            text::routes(&text).err(), text::nid_ranges(&text).err(),
        ];
        for error in errors.into_iter().flatten() {
            prop_assert!(error.line >= 1 && error.column >= 1 && error.column <= text.len() + 1);
        }
    }
}
