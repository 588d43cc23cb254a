//! Takes the two streams of a connection apart, and checks that encoding gives the same bytes again.

use crate::streams::Connection;
use keelson_lnet_wire::acceptor::{Refused, Request, RequestDecoder};
use keelson_lnet_wire::hello::{Hello, HelloDecoder, HelloError, Received, Version};
use keelson_lnet_wire::ksock::{KsockHeader, KsockKind};
use keelson_lnet_wire::message::{Header, Kind};

/// What was said on a connection.
pub struct Dialogue {
    /// From the client, if the recording has it.
    pub request: Option<Result<Request, Refused>>,
    /// From the client.
    pub hello: Option<Result<Received, HelloError>>,
    /// From the server.
    pub answer: Option<Result<Received, HelloError>>,
    pub to_server: Vec<Message>,
    pub to_client: Vec<Message>,
}

/// A message, at the socket and in LNet.
#[derive(Debug)]
pub struct Message {
    pub ksock: KsockHeader,
    pub lnet: Option<(Header, Vec<u8>)>,
}

impl Dialogue {
    /// Decodes a connection without faults, to its last byte.
    pub fn read(connection: &Connection) -> Dialogue {
        let mut dialogue = Dialogue::open(connection);
        let version = match (&dialogue.hello, &dialogue.answer) {
            (Some(Ok(hello)), _) => hello.hello.version,
            _ => Version::V3,
        };
        let (mut to_server, mut to_client) =
            (&connection.to_server.bytes[..], &connection.to_client.bytes[..]);
        if connection.opened {
            to_server = &to_server[handshake_len(&dialogue.hello, Request::V1_LEN).min(to_server.len())..];
            to_client = &to_client[handshake_len(&dialogue.answer, 0).min(to_client.len())..];
        }
        dialogue.to_server = messages(to_server, version);
        dialogue.to_client = messages(to_client, version);
        dialogue
    }

    /// Decodes what comes before the messages, faults included.
    pub fn open(connection: &Connection) -> Dialogue {
        let (mut request, mut hello, mut answer) = (None, None, None);
        if connection.opened {
            let mut to_server = &connection.to_server.bytes[..];
            request = read_request(&mut to_server);
            if let Some(Ok(_)) = request {
                hello = read_hello(&mut to_server);
            }
            answer = read_hello(&mut &connection.to_client.bytes[..]);
        }
        Dialogue { request, hello, answer, to_server: Vec::new(), to_client: Vec::new() }
    }
}

fn handshake_len(hello: &Option<Result<Received, HelloError>>, before: usize) -> usize {
    match hello {
        Some(Ok(received)) => before + received.hello.version.hello_len(),
        _ => usize::MAX,
    }
}

/// Feeds a decoder byte by byte, as bad luck may have it.
fn read_request(stream: &mut &[u8]) -> Option<Result<Request, Refused>> {
    let mut decoder = RequestDecoder::new();
    while let Some((byte, rest)) = stream.split_first() {
        assert!(decoder.need() > 0);
        *stream = rest;
        match decoder.feed(&mut &[*byte][..]) {
            Ok(None) => {}
            Ok(Some(request)) => return Some(Ok(request)),
            Err(refused) => return Some(Err(refused)),
        }
    }
    None
}

/// Feeds a decoder exactly what it needs, as a connection's task does.
fn read_hello(stream: &mut &[u8]) -> Option<Result<Received, HelloError>> {
    let mut decoder = HelloDecoder::new();
    while let Some((mut needed, rest)) = stream.split_at_checked(decoder.need()) {
        *stream = rest;
        match decoder.feed(&mut needed) {
            Ok(None) => assert!(needed.is_empty() && decoder.need() > 0),
            Ok(Some(received)) => return Some(Ok(received)),
            Err(error) => return Some(Err(error)),
        }
    }
    None
}

/// The bytes of a request as we send it.
pub fn encoded_request(request: &Request) -> Vec<u8> {
    request.encode(&mut [0xaa; Request::MAX_LEN]).to_vec()
}

/// The bytes of a HELLO as we send it.
pub fn encoded_hello(hello: &Hello) -> Vec<u8> {
    hello.encode(&mut [0xaa; Hello::MAX_LEN]).unwrap().to_vec()
}

/// Decodes messages of a little-endian sender to the last byte of the stream.
fn messages(mut stream: &[u8], version: Version) -> Vec<Message> {
    assert_ne!(version, Version::V4, "no recording has messages of version 4");
    let mut messages = Vec::new();
    while let Some((bytes, rest)) = stream.split_first_chunk::<{ KsockHeader::LEN }>() {
        let ksock = KsockHeader::decode(bytes, false).unwrap();
        assert_eq!(ksock.encode(), *bytes);
        stream = rest;
        let lnet = (ksock.kind == KsockKind::Lnet).then(|| lnet(&mut stream));
        messages.push(Message { ksock, lnet });
    }
    assert!(stream.is_empty(), "{} bytes are left", stream.len());
    messages
}

fn lnet(stream: &mut &[u8]) -> (Header, Vec<u8>) {
    let (bytes, rest) = stream.split_first_chunk::<{ Header::SMALL }>().unwrap();
    let header = Header::decode_small(bytes).unwrap();
    let mut again = [0xaa; Header::SMALL];
    header.encode_small(&mut again).unwrap();
    assert_eq!(again, *bytes);
    let mut large = [0xaa; Header::LARGE];
    header.encode_large(&mut large);
    assert_eq!(Header::decode_large(&large).unwrap(), header);
    assert_eq!(rebuilt(&header), header, "{header:x?}");
    let (payload, rest) = rest.split_at(header.payload_length as usize);
    *stream = rest;
    (header, payload.to_vec())
}

/// The header made anew from what it says.
fn rebuilt(header: &Header) -> Header {
    let (source, destination, length) = (header.source(), header.destination(), header.payload_length);
    match header.kind {
        Kind::Ack => Header::new_ack(source, destination, &header.ack()),
        Kind::Put => Header::new_put(source, destination, &header.put(), length),
        Kind::Get => Header::new_get(source, destination, &header.get()),
        Kind::Reply => Header::new_reply(source, destination, &header.reply(), length),
    }
}
