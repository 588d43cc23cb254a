//! Genuine traffic, decoded to the last byte and encoded again.

mod dialogue;
mod negotiate;
mod payload;
mod pcap;
mod streams;

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

#[test]
fn print() {
    for name in ["connect-tcp0","connect-tcp1","client-restart-tcp0","client-shutdown-tcp0","keepalive-tcp0","keepalive-tcp1","negotiate-active-v2","ping-tcp0","ping-tcp1","discover-tcp0","discover-tcp1","push-tcp0","push-tcp1","push-router-tcp0","push-router-tcp1","link-down-tcp0","link-down-tcp1","unreachable-tcp0","unreachable-tcp1","lst-ping-tcp0","lst-ping-tcp1","brw-read-4k-tcp0","brw-read-4k-tcp1","brw-write-4k-tcp0","brw-write-4k-tcp1"] {
        let r = std::panic::catch_unwind(|| replay(name));
        println!("{name}: {r:?}");
    }
}
