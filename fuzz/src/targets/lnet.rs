//! LNet's wire formats and configuration text.

use crate::input::Input;
use keelson_lnet_wire::acceptor::{Request, RequestDecoder};
use keelson_lnet_wire::hello::{Hello, HelloDecoder};
use keelson_lnet_wire::ksock::KsockHeader;
use keelson_lnet_wire::message::Header;
use keelson_lnet_wire::ping::PingInfo;
use keelson_lnet_wire::{Nid, srpc, text};
use std::fmt::Debug;

/// Most interfaces that a ping may list here.
const MAX_ENTRIES: u32 = 64;

/// The first byte chooses a format; streams arrive in pieces whose sizes the second byte says.
pub fn lnet(input: &[u8]) {
    let mut input = Input::new(input);
    let (format, piece) = (input.u8(), usize::from(input.u8()).max(1));
    let bytes = input.rest();
    match format % 8 {
        0 => acceptor(bytes, piece),
        1 => hello(bytes, piece),
        2 => ksock(bytes, piece),
        3 => small(bytes),
        4 => large(bytes),
        5 => ping(bytes),
        6 => selftest(bytes),
        _ => configuration(&String::from_utf8_lossy(bytes)),
    }
}

/// Feeds pieces until something came of them; nothing is taken but what belongs to it.
fn feed<T, E>(
    bytes: &[u8],
    piece: usize,
    mut take: impl FnMut(&mut &[u8]) -> Result<Option<T>, E>,
) -> Option<(T, usize)> {
    let mut taken = 0;
    for part in bytes.chunks(piece) {
        let mut rest = part;
        let result = take(&mut rest);
        taken += part.len() - rest.len();
        match result {
            Ok(Some(value)) => return Some((value, taken)),
            Ok(None) => assert!(rest.is_empty(), "bytes were left that are needed"),
            Err(_) => return None,
        }
    }
    None
}

fn acceptor(bytes: &[u8], piece: usize) {
    let mut decoder = RequestDecoder::new();
    let Some((request, _)) = feed(bytes, piece, |rest| {
        assert!(decoder.need() > 0, "more is wanted");
        decoder.feed(rest)
    }) else {
        return;
    };
    let mut room = [0; Request::MAX_LEN];
    let encoded = request.encode(&mut room).to_vec();
    let again = RequestDecoder::new().feed(&mut &encoded[..]);
    assert_eq!(again.as_ref(), Ok(&Some(request)));
}

fn hello(bytes: &[u8], piece: usize) {
    let mut decoder = HelloDecoder::new();
    let Some((received, taken)) = feed(bytes, piece, |rest| decoder.feed(rest)) else { return };
    assert!(taken <= bytes.len() && decoder.need() == 0);
    let mut room = [0; Hello::MAX_LEN];
    if let Ok(encoded) = received.hello.encode(&mut room) {
        let encoded = encoded.to_vec();
        let again = HelloDecoder::new().feed(&mut &encoded[..]);
        assert_eq!(again.map(|again| again.map(|again| again.hello)), Ok(Some(received.hello)));
    }
}

fn ksock(bytes: &[u8], piece: usize) {
    let Some(bytes) = bytes.first_chunk() else { return };
    if let Ok(header) = KsockHeader::decode(bytes, piece.is_multiple_of(2))
        && !piece.is_multiple_of(2)
    {
        assert_eq!(KsockHeader::decode(&header.encode(), false), Ok(header));
    }
}

fn small(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk() else { return };
    let Ok(header) = Header::decode_small(bytes) else { return };
    let mut again = [0; Header::SMALL];
    if header.encode_small(&mut again).is_ok() {
        same(Header::decode_small(&again), header);
    }
    bodies(&header);
}

fn large(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk() else { return };
    let Ok(header) = Header::decode_large(bytes) else { return };
    let mut again = [0; Header::LARGE];
    header.encode_large(&mut again);
    same(Header::decode_large(&again), header);
    bodies(&header);
}

fn same<T: PartialEq + Debug, E: PartialEq + Debug>(found: Result<T, E>, expected: T) {
    assert_eq!(found, Ok(expected));
}

fn bodies(header: &Header) {
    let _ = (header.source().nid.to_string(), header.destination().nid.to_string());
}

fn ping(bytes: &[u8]) {
    let Ok(info) = PingInfo::decode(bytes, MAX_ENTRIES) else { return };
    let _ = info.primary();
    let encoded = info.encode();
    assert_eq!(encoded.len(), info.encoded_len());
    same(PingInfo::decode(&encoded, MAX_ENTRIES), info);
}

fn selftest(bytes: &[u8]) {
    let Ok(received) = srpc::Message::decode(bytes) else { return };
    let _ = format!("{received:?}");
}

fn configuration(source: &str) {
    let _ = text::networks(source).map_err(|error| error.to_string());
    let _ = text::routes(source).map_err(|error| error.to_string());
    let _ = text::forwarding(source).map_err(|error| error.to_string());
    if let Ok(ranges) = text::nid_ranges(source)
        && let Ok(nid) = "10.0.0.1@tcp".parse::<Nid>()
    {
        let _ = ranges.contains(&nid);
    }
    if let Ok(table) = text::ip2nets(source) {
        let _ = table.select(&[[10, 0, 0, 1].into(), [192, 168, 0, 1].into()]);
    }
    if let Ok(nid) = source.trim().parse::<Nid>() {
        assert_eq!(nid.to_string().parse::<Nid>().ok(), Some(nid), "{nid}");
    }
}
