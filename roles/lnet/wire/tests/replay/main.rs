//! Genuine traffic, decoded to the last byte and encoded again.

mod dialogue;
mod negotiate;
mod payload;
mod pcap;
mod streams;

use keelson_lnet_wire::hello::ConnType;
use keelson_lnet_wire::ping::{MAX_INTERFACES, PingInfo, Status};

use dialogue::{Dialogue, encoded_hello, encoded_request};
use payload::Found;
use std::path::Path;
use streams::Connection;

fn connections(name: &str) -> Vec<Connection> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    streams::connections(&pcap::read(&folder.join(format!("lnet-{name}.pcap"))))
}

/// Replays a recording in which every connection is in order.
fn replay(name: &str) -> Found {
    let connections = connections(name);
    let mut dialogues = Vec::new();
    for connection in &connections {
        let dialogue = Dialogue::read(connection);
        if let Some(request) = &dialogue.request {
            let request = encoded_request(request.as_ref().unwrap());
            assert!(connection.to_server.bytes.starts_with(&request));
            let hello = dialogue.hello.as_ref().unwrap().as_ref().unwrap();
            assert!(!hello.swapped);
            assert_eq!(connection.to_server.bytes[request.len()..][..56], encoded_hello(&hello.hello));
        }
        if let Some(answer) = &dialogue.answer {
            assert!(connection.to_client.bytes.starts_with(&encoded_hello(&answer.as_ref().unwrap().hello)));
        }
        dialogues.push(dialogue);
    }
    payload::check(&dialogues)
}

/// The types that the client asked for and the server answered, connection by connection.
fn types(name: &str) -> Vec<(ConnType, ConnType)> {
    let connections = connections(name);
    let dialogues = connections.iter().map(Dialogue::open);
    let types = dialogues.filter_map(|dialogue| match (dialogue.hello?, dialogue.answer?) {
        (Ok(hello), Ok(answer)) => Some((hello.hello.ctype, answer.hello.ctype)),
        _ => None,
    });
    types.collect()
}

const CONTROL: (ConnType, ConnType) = (ConnType::Control, ConnType::Control);
const BULK_IN: (ConnType, ConnType) = (ConnType::BulkIn, ConnType::BulkOut);
const BULK_OUT: (ConnType, ConnType) = (ConnType::BulkOut, ConnType::BulkIn);
const REFUSED: (ConnType, ConnType) = (ConnType::Control, ConnType::None);

#[test]
fn starting_and_leaving() {
    let found = Found { ping_infos: 4, acks: 2, gets: 2, ..Found::default() };
    for name in ["connect-tcp0", "connect-tcp1"] {
        assert_eq!(replay(name), found, "{name}");
        assert_eq!(types(name), [CONTROL, BULK_IN, BULK_OUT], "{name}");
    }
    let found = Found { ping_infos: 2, acks: 1, gets: 1, ..Found::default() };
    assert_eq!(replay("client-restart-tcp0"), found);
    assert_eq!(types("client-restart-tcp0"), [REFUSED, CONTROL, BULK_IN, BULK_OUT]);
    assert_eq!(replay("client-shutdown-tcp0"), Found::default());
}

#[test]
fn keepalive() {
    let found = Found { ping_infos: 2, acks: 1, gets: 1, noops: 2, ..Found::default() };
    assert_eq!(replay("keepalive-tcp0"), found);
    assert_eq!(replay("keepalive-tcp1"), found);
}

#[test]
fn ping_and_discovery() {
    let found = |ping_infos, acks, gets| Found { ping_infos, acks, gets, ..Found::default() };
    let recordings = [
        ("ping-tcp0", found(2, 0, 2)),
        ("ping-tcp1", found(1, 0, 1)),
        ("discover-tcp0", found(5, 3, 2)),
        ("discover-tcp1", found(3, 2, 1)),
        ("push-tcp0", found(2, 2, 0)),
        ("push-tcp1", found(4, 4, 0)),
        ("push-router-tcp0", found(2, 2, 0)),
        ("push-router-tcp1", found(2, 2, 0)),
        ("link-down-tcp0", found(2, 2, 0)),
        ("link-down-tcp1", found(2, 2, 0)),
        ("unreachable-tcp0", found(2, 1, 2)),
        ("unreachable-tcp1", found(2, 1, 1)),
    ];
    for (name, found) in recordings {
        assert_eq!(replay(name), found, "{name}");
    }
}

#[test]
fn link_down() {
    let down = |name: &str| {
        let connections = connections(name);
        let dialogue = connections.iter().map(Dialogue::read).find(|dialogue| !dialogue.to_client.is_empty());
        let messages = dialogue.unwrap().to_client;
        let infos = messages.iter().filter_map(|message| message.lnet.as_ref());
        let infos = infos.map(|(_, payload)| PingInfo::decode(payload, MAX_INTERFACES).unwrap());
        infos.map(|info| (info.sequence, info.entries[1].status)).collect::<Vec<_>>()
    };
    assert_eq!(down("link-down-tcp0"), [(1, Status::Down), (1, Status::Up)]);
}

#[test]
fn selftest() {
    for name in ["lst-ping-tcp0", "lst-ping-tcp1"] {
        assert_eq!(replay(name), Found { rpcs: 18, ..Found::default() }, "{name}");
    }
    for name in ["brw-read-4k-tcp0", "brw-read-4k-tcp1"] {
        assert_eq!(replay(name), Found { rpcs: 16, bulks: 4, ..Found::default() }, "{name}");
    }
    for name in ["brw-write-4k-tcp0", "brw-write-4k-tcp1"] {
        assert_eq!(replay(name), Found { rpcs: 16, bulks: 4, gets: 4, ..Found::default() }, "{name}");
    }
}
