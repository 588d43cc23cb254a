//! Handshakes that go otherwise than usual.

use crate::connections;
use crate::dialogue::{Dialogue, encoded_hello, encoded_request};
use crate::payload::{self, Found};
use keelson_lnet_wire::acceptor::{self, Refused};
use keelson_lnet_wire::hello::{ConnType, HelloError, Received, Version};
use keelson_lnet_wire::{NetId, Nid};
use std::net::Ipv4Addr;

/// What a case of the script looks like: its source port tells which.
struct Case {
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    dialogue: Dialogue,
}

fn case(port: u16) -> Case {
    let mut connections = connections("negotiate-passive");
    let index = connections.iter().position(|connection| connection.client.port() == port).unwrap();
    let connection = connections.swap_remove(index);
    let dialogue = Dialogue::open(&connection);
    Case { to_server: connection.to_server.bytes, to_client: connection.to_client.bytes, dialogue }
}

impl Case {
    fn hello(&self) -> Received {
        self.dialogue.hello.unwrap().unwrap()
    }

    fn answer(&self) -> Received {
        self.dialogue.answer.unwrap().unwrap()
    }

    fn refused(&self) -> Refused {
        assert_eq!(self.dialogue.hello, None);
        self.dialogue.request.unwrap().unwrap_err()
    }

    /// Everything decodes, and comes out the same when it is encoded again.
    fn assert_same_bytes(&self) {
        let mut to_server = encoded_request(&self.dialogue.request.unwrap().unwrap());
        to_server.extend(encoded_hello(&self.hello().hello));
        assert_eq!(to_server, self.to_server);
        assert_eq!(encoded_hello(&self.answer().hello), self.to_client);
    }

    /// Version and types, asked for and answered.
    fn outcome(&self) -> (Version, ConnType, Version, ConnType) {
        let (hello, answer) = (self.hello().hello, self.answer().hello);
        (hello.version, hello.ctype, answer.version, answer.ctype)
    }
}

fn tcp(number: u16, last: [u8; 2]) -> Nid {
    Nid::new(NetId::new(2, number), Ipv4Addr::new(10, last[0], 0, last[1]).into())
}

#[test]
fn versions() {
    let expected = [(1023, Version::V3), (1022, Version::V2), (1020, Version::V4)];
    for (port, version) in expected {
        let case = case(port);
        case.assert_same_bytes();
        assert_eq!(case.outcome(), (version, ConnType::Control, version, ConnType::Control), "{port}");
        assert_eq!(case.hello().hello.src_nid, tcp(0, [1, 9]));
        assert_eq!(case.answer().hello.src_nid, tcp(0, [1, 1]));
    }
}

/// 1021: a version that does not exist is answered in version 3 with type none.
#[test]
fn unknown_version() {
    let case = case(1021);
    assert_eq!(case.dialogue.hello, Some(Err(HelloError::Version(99))));
    let answer = case.answer().hello;
    assert_eq!((answer.version, answer.ctype), (Version::V3, ConnType::None));
    assert_eq!(encoded_hello(&answer), case.to_client);
}

/// 1019: a sender with the other byte order. R's answer has R's own order, but R takes the sender's NID as it
/// came, and loses what then are its top 8 bits: the answer's destination is not the script.
#[test]
fn other_byte_order() {
    let case = case(1019);
    let (received, answer) = (case.hello(), case.answer());
    assert!(received.swapped && !answer.swapped);
    assert_eq!(case.dialogue.request.unwrap().unwrap().nid, tcp(0, [1, 1]));
    let hello = received.hello;
    assert_eq!((hello.src_nid, hello.dst_nid), (tcp(0, [1, 9]), tcp(0, [1, 1])));
    assert_eq!((hello.version, hello.src_pid, hello.dst_pid), (Version::V3, 12345, 12345));
    assert_eq!((hello.ctype, hello.ips), (ConnType::Control, 0));
    assert_eq!(case.to_client[16..23], case.to_server[24..31]);
    assert_eq!((case.to_client[23], case.to_server[31]), (0, 9));
    assert_eq!(encoded_hello(&answer.hello), case.to_client);
}

#[test]
fn types() {
    let expected = [
        (1018, ConnType::Any, ConnType::Any),
        (1017, ConnType::BulkIn, ConnType::BulkOut),
        (1016, ConnType::BulkOut, ConnType::BulkIn),
    ];
    for (port, asked, answered) in expected {
        let case = case(port);
        case.assert_same_bytes();
        assert_eq!(case.outcome(), (Version::V3, asked, Version::V3, answered), "{port}");
        assert_eq!(asked.inverse(), answered);
    }
    let none = case(1009);
    assert_eq!(none.hello().hello.ctype, ConnType::None);
    assert!(none.to_client.is_empty());
}

#[test]
fn requests_that_are_answered_and_refused() {
    for (port, refused) in [(1015, Refused::Version(99)), (1013, Refused::GenericMagic)] {
        let case = case(port);
        assert_eq!(case.refused(), refused);
        assert_eq!(refused.answer().unwrap()[..], case.to_client, "{port}");
    }
}

#[test]
fn requests_that_are_refused_in_silence() {
    let unknown = case(1012);
    assert_eq!(unknown.refused(), Refused::Magic(0x1234_5678));
    assert_eq!((unknown.refused().answer(), unknown.to_client.len()), (None, 0));
    let not_mine = case(1011);
    assert_eq!(not_mine.dialogue.request.unwrap().unwrap().nid, tcp(0, [1, 77]));
    assert!(not_mine.to_client.is_empty());
    let unreserved = case(4000);
    assert_eq!(unreserved.dialogue.request.unwrap().unwrap().nid, tcp(0, [1, 1]));
    assert!(unreserved.to_client.is_empty());
}

/// 1014: a large NID in the request although it is one of IPv4; we would send version 1.
#[test]
fn large_nid() {
    let case = case(1014);
    let request = case.dialogue.request.unwrap().unwrap();
    assert_eq!(request.nid, tcp(0, [1, 1]));
    assert_eq!(case.to_server[8..28], request.nid.large());
    assert_eq!(encoded_request(&request).len(), 16);
    assert_eq!(encoded_hello(&case.hello().hello), case.to_server[28..]);
    assert_eq!(encoded_hello(&case.answer().hello), case.to_client);
}

/// 1010: the NID that R has on its other network; R answers as that.
#[test]
fn other_nid() {
    let case = case(1010);
    case.assert_same_bytes();
    assert_eq!(case.dialogue.request.unwrap().unwrap().nid, tcp(1, [2, 1]));
    assert_eq!(case.answer().hello.src_nid, tcp(1, [2, 1]));
}

/// A Linux client that is answered in version 2, first with type none, and adopts it.
#[test]
fn falling_back_to_version_2() {
    let connections = connections("negotiate-active-v2");
    let dialogues: Vec<Dialogue> = connections.iter().map(Dialogue::read).collect();
    let seen = dialogues.iter().filter_map(|dialogue| {
        let (hello, answer) = (dialogue.hello?.unwrap().hello, dialogue.answer?.unwrap().hello);
        Some((hello.version, answer.version, answer.ctype))
    });
    let (v2, v3) = (Version::V2, Version::V3);
    let expected = [
        (v3, v2, ConnType::None),
        (v2, v2, ConnType::Control),
        (v2, v2, ConnType::BulkOut),
        (v3, v3, ConnType::BulkIn),
        (v3, v3, ConnType::Control),
    ];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    assert_eq!(payload::check(&dialogues), Found { gets: 1, ..Found::default() });
}

/// A Linux client that is answered in a version that it does not know gives up.
#[test]
fn answered_in_an_unknown_version() {
    let connections = connections("negotiate-active-v99");
    let [connection] = &connections[..] else { panic!("one connection") };
    let dialogue = Dialogue::open(connection);
    assert_eq!(dialogue.hello.unwrap().unwrap().hello.version, Version::V3);
    assert_eq!(dialogue.answer, Some(Err(HelloError::Version(99))));
}

/// A connector takes the answer of an acceptor that refused for what it is.
#[test]
fn refusal_in_place_of_hello() {
    let case = case(1015);
    assert_eq!(case.dialogue.answer, Some(Err(HelloError::Magic(acceptor::MAGIC))));
    assert_eq!(HelloError::Magic(acceptor::MAGIC).to_string(), "the peer refused the connection request");
}
