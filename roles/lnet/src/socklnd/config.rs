//! What can be set, under the names of Linux's module parameters where there is one.

use core::fmt;
use core::time::Duration;
use keelson_lnet_wire::acceptor;
use keelson_net::TcpOptions;

/// Whom the acceptor takes (`accept`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Accept {
    /// Peers whose source port is at most 1023.
    #[default]
    Secure,
    /// Every peer; one with a higher port is a userspace process (lnet specification section 2.6).
    All,
    /// Nobody: there is no listener.
    None,
}

impl fmt::Display for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accept::Secure => "secure",
            Accept::All => "all",
            Accept::None => "none",
        })
    }
}

/// Settings. The defaults are those of Linux (lnet specification sections 2.1, 3.11, 3.13) where it has them.
#[derive(Clone, Debug)]
pub struct SocklndConfig {
    /// `accept`.
    pub accept: Accept,
    /// `accept_port`: listened on, and connected to.
    pub accept_port: u16,
    /// `accept_backlog`: connections that TCP keeps for the acceptor.
    pub accept_backlog: usize,
    /// `accept_timeout`: limit for each step of a peer's request and HELLO.
    pub accept_timeout: Duration,
    /// `sock_timeout`, "T": see [`crate::socklnd`].
    pub timeout: Duration,
    /// `min_bulk`: messages of at least so many bytes, headers included, take a bulk connection.
    pub min_bulk: usize,
    /// `min_reconnectms`: first pause after a failed attempt, and the pause after a refused one.
    pub min_reconnect: Duration,
    /// `max_reconnectms`: what the pause doubles up to.
    pub max_reconnect: Duration,
    /// `keepalive`: a peer that was silent for so long gets a NOOP; zero sends none.
    pub keepalive: Duration,
    /// `enable_csum`: whether checksums that come are verified. None are ever sent.
    pub enable_csum: bool,
    /// TCP probes an idle peer at this interval.
    pub tcp_keepalive: Duration,
    /// A peer that answers neither data nor probes for so long is gone. Linux: 30 s idle and five probes, 5 s
    /// apart.
    pub tcp_dead: Duration,
    /// `rx_buffer_size`: bytes of a connection's receive ring.
    pub receive_buffer: usize,
    /// `tx_buffer_size`: bytes of a connection's send ring.
    pub send_buffer: usize,
    /// Connections of all peers, handshakes included.
    pub max_connections: usize,
    /// Connections of one type that a peer may have.
    pub max_per_type: usize,
    /// Incoming connections whose handshake is not complete; for one more, the oldest is given up.
    pub max_handshakes: usize,
    /// Of these, from one address; one more is refused.
    pub max_handshakes_from_one: usize,
}

impl Default for SocklndConfig {
    fn default() -> SocklndConfig {
        SocklndConfig {
            accept: Accept::Secure,
            accept_port: acceptor::PORT,
            accept_backlog: 127,
            accept_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(50),
            min_bulk: 1024,
            min_reconnect: Duration::from_secs(1),
            max_reconnect: Duration::from_secs(60),
            keepalive: Duration::from_secs(30),
            enable_csum: false,
            tcp_keepalive: Duration::from_secs(15),
            tcp_dead: Duration::from_secs(55),
            receive_buffer: 256 << 10,
            send_buffer: 256 << 10,
            max_connections: 8192,
            max_per_type: 8,
            max_handshakes: 256,
            max_handshakes_from_one: 16,
        }
    }
}

/// Ring of a direction that carries small messages only.
const SMALL_RING: usize = 64 << 10;
/// How long what was written may take after its connection was closed.
const LINGER: Duration = Duration::from_secs(5);

impl SocklndConfig {
    /// For connections that come in: what they are for is not known yet.
    pub(super) fn listener(&self) -> TcpOptions {
        TcpOptions {
            receive_buffer: self.receive_buffer,
            send_buffer: self.send_buffer,
            backlog: self.accept_backlog,
            keep_alive: Some(self.tcp_keepalive),
            timeout: Some(self.tcp_dead),
            linger: LINGER,
            ..TcpOptions::default()
        }
    }

    /// For a connection of ours that carries large messages in these directions.
    pub(super) fn outgoing(&self, bulk_in: bool, bulk_out: bool) -> TcpOptions {
        let ring = |bulk, size: usize| if bulk { size } else { size.min(SMALL_RING) };
        TcpOptions {
            receive_buffer: ring(bulk_in, self.receive_buffer),
            send_buffer: ring(bulk_out, self.send_buffer),
            ..self.listener()
        }
    }
}
