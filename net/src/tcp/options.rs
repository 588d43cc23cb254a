//! What can be asked of a TCP connection.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Settings of a connection, or of all connections of a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpOptions {
    /// Bytes of the receive ring, which bounds the window; 1 MiB at most. Both rings are smaller when many
    /// connections share the memory (see [`Stack::limit_tcp_memory`](crate::Stack::limit_tcp_memory)).
    pub receive_buffer: usize,
    /// Bytes of the send ring; 1 MiB at most.
    pub send_buffer: usize,
    /// Connections of a listener that are half open or wait for [`accept`](crate::TcpListener::accept).
    pub backlog: usize,
    /// Probes an idle peer at this interval.
    pub keep_alive: Option<Duration>,
    /// Resets the connection when a peer that owes an acknowledgement (of data or of a keep-alive probe)
    /// is silent for this long.
    pub timeout: Option<Duration>,
    /// How long an acknowledgement may wait for data to ride on; `None` acknowledges at the end of the turn
    /// in which a segment came.
    pub ack_delay: Option<Duration>,
    /// Nagle's algorithm.
    pub nagle: bool,
    /// How long a dropped stream may take to deliver what was written.
    pub linger: Duration,
}

impl Default for TcpOptions {
    /// 64 KiB each way, a backlog of 128, a silent peer is dropped after two minutes, no Nagle.
    fn default() -> TcpOptions {
        TcpOptions {
            receive_buffer: 64 << 10,
            send_buffer: 64 << 10,
            backlog: 128,
            keep_alive: None,
            timeout: Some(Duration::from_secs(120)),
            ack_delay: Some(Duration::from_millis(10)),
            nagle: false,
            linger: Duration::from_secs(30),
        }
    }
}

impl TcpOptions {
    /// The largest ring.
    pub const MAX_BUFFER: usize = 1 << 20;

    /// Bytes of both rings.
    pub(crate) fn rings(&self) -> usize {
        self.receive_buffer + self.send_buffer
    }

    pub(crate) fn clamped(mut self) -> TcpOptions {
        self.receive_buffer = self.receive_buffer.clamp(2048, Self::MAX_BUFFER);
        self.send_buffer = self.send_buffer.clamp(2048, Self::MAX_BUFFER);
        self.backlog = self.backlog.clamp(1, 4096);
        self
    }
}

/// What is known of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpStatus {
    /// Its state as ss(8) names it: `ESTAB`, `SYN-RECV`, ...
    pub state: &'static str,
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Bytes received that nobody has read.
    pub receive_queue: usize,
    /// Bytes written that the peer has not acknowledged.
    pub send_queue: usize,
    /// Time since the peer last sent anything.
    pub silent: Duration,
}

/// The local port of an outgoing connection or of a UDP socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LocalPort {
    /// A free port from 49152 up (RFC 6335 section 6).
    #[default]
    Ephemeral,
    /// A free port from 665 to 1023, as ONC RPC servers ask of "secure" clients.
    Reserved,
    /// This port.
    Exact(u16),
}

/// Settings of an outgoing connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectOptions {
    /// Local port.
    pub local_port: LocalPort,
    /// Local address; by default that of the interface on the way to the peer.
    pub local_address: Option<IpAddr>,
    /// How long the handshake may take.
    pub timeout: Duration,
    /// Settings of the connection.
    pub tcp: TcpOptions,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            local_port: LocalPort::default(),
            local_address: None,
            timeout: Duration::from_secs(10),
            tcp: TcpOptions::default(),
        }
    }
}
