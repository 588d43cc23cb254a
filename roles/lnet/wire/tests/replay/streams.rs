//! Puts the segments of a recording together to connections.

use crate::pcap::Segment;
use keelson_lnet_wire::acceptor::PORT;
use std::net::SocketAddrV4;

/// A connection: what its two ends sent.
pub struct Connection {
    pub client: SocketAddrV4,
    pub server: SocketAddrV4,
    /// Its first byte is in the recording. If not, both streams start at a message.
    pub opened: bool,
    pub to_server: Stream,
    pub to_client: Stream,
}

/// What one end sent.
#[derive(Default)]
pub struct Stream {
    pub bytes: Vec<u8>,
    next: Option<u32>,
}

/// The connections in the order in which they first show.
pub fn connections(segments: &[Segment]) -> Vec<Connection> {
    let mut connections: Vec<Connection> = Vec::new();
    for segment in segments {
        let to_server = segment.to.port() == PORT;
        let (client, server) =
            if to_server { (segment.from, segment.to) } else { (segment.to, segment.from) };
        if segment.syn && to_server {
            connections.push(Connection::new(client, server, true));
        }
        let known =
            connections.iter_mut().rev().find(|known| known.client == client && known.server == server);
        let connection = match known {
            Some(connection) => connection,
            None => {
                connections.push(Connection::new(client, server, false));
                connections.last_mut().unwrap()
            }
        };
        let stream = if to_server { &mut connection.to_server } else { &mut connection.to_client };
        stream.take(segment);
    }
    connections
}

impl Connection {
    fn new(client: SocketAddrV4, server: SocketAddrV4, opened: bool) -> Connection {
        Connection { client, server, opened, to_server: Stream::default(), to_client: Stream::default() }
    }
}

impl Stream {
    /// Appends what is new in the segment; retransmissions bring nothing new.
    fn take(&mut self, segment: &Segment) {
        if segment.syn {
            self.next = Some(segment.sequence.wrapping_add(1));
        }
        if segment.payload.is_empty() {
            return;
        }
        let next = *self.next.get_or_insert(segment.sequence);
        let old = next.wrapping_sub(segment.sequence);
        assert!(old < 1 << 31, "bytes are missing before frame {}", segment.frame);
        let new = segment.payload.get(old as usize..).unwrap_or_default();
        self.bytes.extend_from_slice(new);
        self.next = Some(next.wrapping_add(new.len() as u32));
    }
}
