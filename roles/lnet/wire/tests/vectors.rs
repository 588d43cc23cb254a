//! The test vectors of the LNet specification, appendix B, byte for byte.

use keelson_lnet_wire::acceptor::{Request, RequestDecoder};
use keelson_lnet_wire::hello::{ConnType, Hello, HelloDecoder, Received, Version};
use keelson_lnet_wire::ksock::{KsockHeader, ZcAcks, crc32};
use keelson_lnet_wire::message::{Get, Header, Reply, Wmd};
use keelson_lnet_wire::ping::{Entry, Features, PingInfo, Status};
use keelson_lnet_wire::{LUSTRE_PID, Nid, ProcessId};

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_ascii_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn nid(text: &str) -> Nid {
    text.parse().unwrap()
}

fn client() -> Nid {
    nid("10.0.0.2@tcp1")
}

fn router() -> Nid {
    nid("10.0.0.1@tcp1")
}

#[test]
fn b1_request() {
    let expected = bytes("00 71 ce ac 01 00 00 00 01 00 00 0a 01 00 02 00");
    let request = Request { nid: router() };
    assert_eq!(request.encode(&mut [0; Request::MAX_LEN]), expected);
    let mut input = &expected[..];
    assert_eq!(RequestDecoder::new().feed(&mut input), Ok(Some(request)));
    assert!(input.is_empty());
}

fn check_hello(hello: Hello, hex: &str) {
    let expected = bytes(hex);
    assert_eq!(hello.encode(&mut [0; Hello::MAX_LEN]).unwrap(), expected);
    let mut input = &expected[..];
    assert_eq!(HelloDecoder::new().feed(&mut input), Ok(Some(Received { hello, swapped: false })));
    assert!(input.is_empty());
}

#[test]
fn b2_b3_hello() {
    let hello = Hello {
        version: Version::V3,
        src_nid: client(),
        dst_nid: router(),
        src_pid: LUSTRE_PID,
        dst_pid: 0,
        src_incarnation: 0x17a0_0000_0000_0001,
        dst_incarnation: 0,
        ctype: ConnType::Control,
        ips: 0,
    };
    check_hello(
        hello,
        "63 69 72 45 03 00 00 00 02 00 00 0a 01 00 02 00 01 00 00 0a 01 00 02 00 39 30 00 00 00 00 00 00
         01 00 00 00 00 00 a0 17 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00",
    );
    let answer = Hello {
        src_nid: router(),
        dst_nid: client(),
        src_incarnation: 0x17b0_0000_0000_0002,
        ctype: hello.ctype.inverse(),
        ..hello
    };
    check_hello(
        answer,
        "63 69 72 45 03 00 00 00 01 00 00 0a 01 00 02 00 02 00 00 0a 01 00 02 00 39 30 00 00 00 00 00 00
         02 00 00 00 00 00 b0 17 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00",
    );
    let bulk = |ctype| Hello { ctype, ..hello }.encode(&mut [0; Hello::MAX_LEN]).unwrap()[48];
    assert_eq!((bulk(ConnType::BulkIn), bulk(ConnType::BulkIn.inverse())), (2, 3));
}

/// Both headers of a small message, and what follows.
fn check_message(header: Header, payload: &[u8], hex: &str) {
    let expected = bytes(hex);
    let mut small = [0; Header::SMALL];
    header.encode_small(&mut small).unwrap();
    let message = [&KsockHeader::lnet().encode()[..], &small, payload].concat();
    assert_eq!(message, expected);
    let (ksock, rest) = expected.split_first_chunk().unwrap();
    assert_eq!(KsockHeader::decode(ksock, false), Ok(KsockHeader::lnet()));
    assert_eq!(Header::decode_small(rest.first_chunk().unwrap()), Ok(header));
}

#[test]
fn b4_b5_ping() {
    let (from, to) = (ProcessId::lustre(client()), ProcessId::lustre(router()));
    let wmd = Wmd::new(0x17a0_0000_0000_0001, 0x15);
    let get = Get::ping(wmd, 272);
    let header = Header::new_get(from, to, &get);
    check_message(
        header,
        &[],
        "c1 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 0a 01 00 02 00
         02 00 00 0a 01 00 02 00 39 30 00 00 39 30 00 00 02 00 00 00 00 00 00 00 01 00 00 00 00 00 a0 17
         15 00 00 00 00 00 00 00 00 00 00 00 00 00 00 80 00 00 00 00 00 00 00 00 10 01 00 00 00 00 00 00",
    );
    assert_eq!(header.get(), get);
    let up = |text| Entry { nid: nid(text), status: Status::Up };
    let info = PingInfo::new(Features::ROUTER, 1, vec![up("10.0.0.1@tcp1"), up("10.1.0.1@tcp2")]);
    let payload = info.encode();
    assert_eq!(PingInfo::decode(&payload, 200), Ok(info));
    check_message(
        Header::new_reply(to, from, &Reply { dst_wmd: wmd }, payload.len() as u32),
        &payload,
        "c1 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02 00 00 0a 01 00 02 00
         01 00 00 0a 01 00 02 00 39 30 00 00 39 30 00 00 03 00 00 00 40 00 00 00 01 00 00 00 00 00 a0 17
         15 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
         67 6e 69 70 1a 00 00 00 39 30 00 00 03 00 00 00 00 00 00 00 00 00 09 00 01 00 00 00 00 00 00 00
         01 00 00 0a 01 00 02 00 de c0 aa 15 00 00 00 00 01 00 01 0a 02 00 02 00 de c0 aa 15 00 00 00 00",
    );
}

#[test]
fn b6_noop() {
    let ack = bytes("c0 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 2a 00 00 00 00 00 00 00");
    assert_eq!(KsockHeader::noop(ZcAcks::One(42)).encode()[..], ack);
    let keepalive = bytes("c0 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00");
    assert_eq!(KsockHeader::keepalive().encode()[..], keepalive);
    let acks =
        |bytes: &[u8]| KsockHeader::decode(bytes.try_into().unwrap(), false).unwrap().zc_acks(Version::V3);
    assert_eq!((acks(&ack), acks(&keepalive)), (ZcAcks::One(42), ZcAcks::Keepalive));
}

#[test]
fn b7_large_nids() {
    let six = bytes("0c 02 00 00 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01");
    let four = bytes("00 02 00 01 0a 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00");
    for (text, bytes) in [("2001:db8::1@tcp", six), ("10.0.0.1@tcp1", four)] {
        assert_eq!(nid(text).large()[..], bytes);
        assert_eq!(Nid::from_large(&bytes.try_into().unwrap()), Some(nid(text)));
        assert_eq!(nid(text).to_string(), text);
    }
}

#[test]
fn b8_checksum() {
    assert_eq!(crc32(b"123456789"), 0x340b_c6d9);
}
