//! Every field table of the LNet specification: each field alone decides the bytes at its offset, and senders
//! of the other byte order are understood.

use keelson_lnet_wire::acceptor::{Request, RequestDecoder};
use keelson_lnet_wire::hello::{ConnType, Hello, HelloDecoder, Received, Version};
use keelson_lnet_wire::ksock::{KsockHeader, KsockKind};
use keelson_lnet_wire::message::{Ack, Get, Header, Kind, Put, Reply, Wmd};
use keelson_lnet_wire::ping::{Entry, Features, PingInfo, Status};
use keelson_lnet_wire::{NetId, Nid, ProcessId};

/// An integer of a layout: offset, size, value.
type Field = (usize, usize, u64);

/// Bytes with these integers, little-endian, zero elsewhere.
fn laid_out(len: usize, fields: &[Field]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for (offset, size, value) in fields {
        bytes[*offset..offset + size].copy_from_slice(&value.to_le_bytes()[..*size]);
    }
    bytes
}

/// The same from a sender with the other byte order.
fn swapped(bytes: &[u8], fields: &[Field]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    fields.iter().for_each(|(offset, size, _)| bytes[*offset..offset + size].reverse());
    bytes
}

fn nid(text: &str) -> Nid {
    text.parse().unwrap()
}

fn four() -> Nid {
    nid("10.20.30.40@tcp50")
}

fn six() -> Nid {
    nid("2001:db8::abcd@tcp7")
}

#[test]
fn request() {
    let fields = [(0, 4, 0xacce_7100), (4, 4, 1), (8, 8, 0x0002_0032_0a14_1e28)];
    let bytes = laid_out(16, &fields);
    let request = Request { nid: four() };
    assert_eq!(request.encode(&mut [0xaa; 28]), bytes);
    assert_eq!(RequestDecoder::new().feed(&mut &swapped(&bytes, &fields)[..]), Ok(Some(request)));

    let fields = [(0, 4, 0xacce_7100), (4, 4, 2)];
    let mut bytes = laid_out(28, &fields);
    bytes[8..].copy_from_slice(&six().large());
    let request = Request { nid: six() };
    assert_eq!(request.encode(&mut [0xaa; 28]), bytes);
    assert_eq!(RequestDecoder::new().feed(&mut &swapped(&bytes, &fields)[..]), Ok(Some(request)));
}

fn hello(version: Version) -> Hello {
    Hello {
        version,
        src_nid: four(),
        dst_nid: nid("1.2.3.4@o2ib9"),
        src_pid: 0x1122_3344,
        dst_pid: 0x5566_7788,
        src_incarnation: 0x0102_0304_0506_0708,
        dst_incarnation: 0x1112_1314_1516_1718,
        ctype: ConnType::BulkOut,
        ips: 0,
    }
}

fn check_hello(hello: Hello, bytes: &[u8], is_swapped: bool) {
    let mut input = bytes;
    let received = HelloDecoder::new().feed(&mut input).unwrap();
    assert_eq!(received, Some(Received { hello, swapped: is_swapped }));
    assert!(input.is_empty());
}

#[test]
fn hello_v2_and_v3() {
    for version in [Version::V2, Version::V3] {
        let mut fields = vec![
            (0, 4, 0x4572_6963),
            (4, 4, u64::from(version.number())),
            (8, 8, 0x0002_0032_0a14_1e28),
            (16, 8, 0x0005_0009_0102_0304),
            (24, 4, 0x1122_3344),
            (28, 4, 0x5566_7788),
            (32, 8, 0x0102_0304_0506_0708),
            (40, 8, 0x1112_1314_1516_1718),
            (48, 4, 3),
            (52, 4, 0),
        ];
        let bytes = laid_out(56, &fields);
        assert_eq!(hello(version).encode(&mut [0xaa; 80]).unwrap(), bytes);
        check_hello(hello(version), &bytes, false);
        check_hello(hello(version), &swapped(&bytes, &fields), true);
        // With addresses.
        fields[9] = (52, 4, 16);
        fields.extend((0..16).map(|index| (56 + 4 * index, 4, 0x0a00_0001)));
        let bytes = laid_out(56 + 64, &fields);
        check_hello(Hello { ips: 16, ..hello(version) }, &bytes, false);
        check_hello(Hello { ips: 16, ..hello(version) }, &swapped(&bytes, &fields), true);
    }
}

#[test]
fn hello_v4() {
    let fields = [
        (0, 4, 0x4572_6963),
        (4, 4, 4),
        (48, 4, 0x1122_3344),
        (52, 4, 0x5566_7788),
        (56, 8, 0x0102_0304_0506_0708),
        (64, 8, 0x1112_1314_1516_1718),
        (72, 4, 3),
        (76, 4, 0),
    ];
    let hello = Hello { src_nid: six(), dst_nid: nid("::2@tcp"), ..hello(Version::V4) };
    let mut bytes = laid_out(80, &fields);
    bytes[8..28].copy_from_slice(&six().large());
    bytes[28..48].copy_from_slice(&nid("::2@tcp").large());
    assert_eq!(hello.encode(&mut [0xaa; 80]).unwrap(), bytes);
    check_hello(hello, &bytes, false);
    check_hello(hello, &swapped(&bytes, &fields), true);
    // A number of addresses is not believed: no list is read.
    bytes[76] = 200;
    check_hello(hello, &bytes, false);
}

#[test]
fn hello_v1() {
    let mut fields = vec![
        (0, 4, 0xeebc_0ded),
        (4, 2, 1),
        (6, 2, 0),
        (8, 8, 0x0002_0032_0a14_1e28),
        (16, 4, 0x5566_7788),
        (20, 4, 0x1122_3344),
        (24, 4, 4),
        (28, 4, 0),
        (32, 8, 0x0102_0304_0506_0708),
        (40, 4, 3),
    ];
    let expected = Hello { dst_nid: Nid::ANY, dst_incarnation: 0, ..hello(Version::V1) };
    let bytes = laid_out(72, &fields);
    assert_eq!(expected.encode(&mut [0xaa; 80]).unwrap(), bytes);
    check_hello(expected, &bytes, false);
    fields[7] = (28, 4, 8);
    fields.extend([(72, 4, 0x0a00_0001), (76, 4, 0x0a00_0002)]);
    check_hello(Hello { ips: 2, ..expected }, &laid_out(80, &fields), false);
}

#[test]
fn ksock() {
    let cookies = [0x0102_0304_0506_0708, 0x1112_1314_1516_1718];
    for (kind, number) in [(KsockKind::Noop, 0xc0), (KsockKind::Lnet, 0xc1)] {
        let fields = [(0, 4, number), (4, 4, 0xaabb_ccdd), (8, 8, cookies[0]), (16, 8, cookies[1])];
        let header = KsockHeader { kind, csum: 0xaabb_ccdd, cookies };
        let bytes = laid_out(24, &fields);
        assert_eq!(header.encode()[..], bytes);
        let swapped = swapped(&bytes, &fields).try_into().unwrap();
        assert_eq!(KsockHeader::decode(&swapped, true), Ok(header));
    }
}

const WMD: Wmd =
    Wmd([0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff]);

/// The union of a header, with the handle that all four begin with.
fn body(fields: &[Field]) -> Vec<u8> {
    let mut bytes = laid_out(40, fields);
    bytes[..16].copy_from_slice(&WMD.0);
    bytes
}

#[test]
fn headers() {
    let source = ProcessId { nid: four(), pid: 0x1122_3344 };
    let destination = ProcessId { nid: nid("1.2.3.4@o2ib9"), pid: 0x5566_7788 };
    let ack = Ack { dst_wmd: WMD, match_bits: 0x0102_0304_0506_0708, mlength: 0x2122_2324 };
    let put = Put {
        ack_wmd: WMD,
        match_bits: 0x0102_0304_0506_0708,
        hdr_data: 0x1112_1314_1516_1718,
        portal: 0x2122_2324,
        offset: 0x3132_3334,
    };
    let get = Get {
        return_wmd: WMD,
        match_bits: 0x0102_0304_0506_0708,
        portal: 0x2122_2324,
        src_offset: 0x3132_3334,
        sink_length: 0x4142_4344,
    };
    let reply = Reply { dst_wmd: WMD };
    let bits = (16, 8, 0x0102_0304_0506_0708);
    let cases = [
        (Header::new_ack(source, destination, &ack), Kind::Ack, 0, body(&[bits, (24, 4, 0x2122_2324)])),
        (
            Header::new_put(source, destination, &put, 1 << 20),
            Kind::Put,
            1 << 20,
            body(&[bits, (24, 8, 0x1112_1314_1516_1718), (32, 4, 0x2122_2324), (36, 4, 0x3132_3334)]),
        ),
        (
            Header::new_get(source, destination, &get),
            Kind::Get,
            0,
            body(&[bits, (24, 4, 0x2122_2324), (28, 4, 0x3132_3334), (32, 4, 0x4142_4344)]),
        ),
        (Header::new_reply(source, destination, &reply, 77), Kind::Reply, 77, body(&[])),
    ];
    for (header, kind, length, body) in cases {
        assert_eq!((header.kind, header.source(), header.destination()), (kind, source, destination));
        assert_eq!(header.body[..], body, "{kind}");
        check_small(&header, length, &body);
        check_large(&header, length, &body);
    }
    assert_eq!(Header::new_ack(source, destination, &ack).ack(), ack);
    assert_eq!(Header::new_put(source, destination, &put, 0).put(), put);
    assert_eq!(Header::new_get(source, destination, &get).get(), get);
    assert_eq!(Header::new_reply(source, destination, &reply, 0).reply(), reply);
}

fn check_small(header: &Header, length: u64, body: &[u8]) {
    let mut expected = laid_out(
        72,
        &[
            (0, 8, 0x0005_0009_0102_0304),
            (8, 8, 0x0002_0032_0a14_1e28),
            (16, 4, 0x5566_7788),
            (20, 4, 0x1122_3344),
            (24, 4, u64::from(header.kind.to_wire())),
            (28, 4, length),
        ],
    );
    expected[32..].copy_from_slice(body);
    let mut bytes = [0xaa; 72];
    header.encode_small(&mut bytes).unwrap();
    assert_eq!(bytes[..], expected);
    assert_eq!(Header::decode_small(&bytes), Ok(*header));
}

fn check_large(header: &Header, length: u64, body: &[u8]) {
    let header = Header { dest_nid: six(), ..*header };
    let mut expected = laid_out(
        96,
        &[
            (40, 4, 0x5566_7788),
            (44, 4, 0x1122_3344),
            (48, 4, u64::from(header.kind.to_wire())),
            (52, 4, length),
        ],
    );
    expected[..20].copy_from_slice(&six().large());
    expected[20..40].copy_from_slice(&four().large());
    expected[56..].copy_from_slice(body);
    let mut bytes = [0xaa; 96];
    header.encode_large(&mut bytes);
    assert_eq!(bytes[..], expected);
    assert_eq!(Header::decode_large(&bytes), Ok(header));
    // It does not fit the small form, and nothing is written there.
    let mut small = [0xaa; 72];
    assert!(header.encode_small(&mut small).is_err());
    assert_eq!(small, [0xaa; 72]);
}

#[test]
fn ping_info() {
    let fields = [
        (0, 4, 0x7069_6e67),
        (4, 4, 0x1e),
        (8, 4, 0x1122_3344),
        (12, 4, 3),
        (16, 8, 0x0009_0000_0000_0000),
        (24, 4, 0x5566_7788),
        (28, 4, 0),
        (32, 8, 0x0002_0032_0a14_1e28),
        (40, 4, 0x15aa_c0de),
        (44, 4, 0),
        (48, 8, 0x0005_0009_0102_0304),
        (56, 4, 0xdead_face),
        (60, 4, 0),
    ];
    let up = Entry { nid: four(), status: Status::Up };
    let down = Entry { nid: nid("1.2.3.4@o2ib9"), status: Status::Down };
    let info =
        PingInfo { pid: 0x1122_3344, ..PingInfo::new(Features::END_NODE, 0x5566_7788, vec![up, down]) };
    let bytes = laid_out(64, &fields);
    assert_eq!(info.encode(), bytes);
    assert_eq!(PingInfo::decode(&swapped(&bytes, &fields), 3), Ok(info.clone()));
    assert_eq!(info.primary(), Some(four()));

    // With a large entry: features and total length tell.
    let mut large_fields = fields.to_vec();
    large_fields[1] = (4, 4, 0x7e);
    large_fields[6] = (28, 4, 88);
    large_fields.push((64, 4, 0x1234_5678));
    let mut bytes = laid_out(88, &large_fields);
    bytes[68..].copy_from_slice(&six().large());
    let entries = vec![Entry { nid: six(), status: Status::Other(0x1234_5678) }, up, down];
    let features = Features::END_NODE | Features::PRIMARY_LARGE;
    let info = PingInfo { pid: 0x1122_3344, ..PingInfo::new(features, 0x5566_7788, entries) };
    assert_eq!(info.encode(), bytes);
    assert_eq!(info.encoded_len(), bytes.len());
    assert_eq!(info.primary(), Some(six()));
    let decoded = PingInfo::decode(&swapped(&bytes, &large_fields), 3).unwrap();
    assert_eq!(decoded.features, features | Features::LARGE_ADDR);
    assert_eq!(decoded.entries, [up, down, info.entries[0]], "16-byte entries first");
    assert_eq!((decoded.primary(), decoded.encode()), (Some(six()), bytes));
}

#[test]
fn networks_and_nids() {
    assert_eq!(NetId::new(2, 50).to_u32(), 0x0002_0032);
    assert_eq!(four().nid4(), Some(0x0002_0032_0a14_1e28));
    assert_eq!(Nid::from_nid4(0x0002_0032_0a14_1e28), four());
    assert_eq!(Nid::LOOPBACK.nid4(), Some(0x0009_0000_0000_0000));
    assert_eq!(Nid::ANY.nid4(), Some(u64::MAX));
    assert_eq!(Nid::from_nid4(u64::MAX), Nid::ANY);
    assert_eq!(six().nid4(), None);
    assert_eq!(four().large()[..8], four().nid4().unwrap().to_be_bytes());
}
