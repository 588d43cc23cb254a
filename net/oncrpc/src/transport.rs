//! What this crate needs of a network stack.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use embedded_io_async::{Read, Write};

/// Accepts TCP connections on one port.
pub trait RpcListener {
    /// What it accepts.
    type Stream: RpcStream;

    /// The next connection; `None` when the listener is closed for good.
    async fn accept(&mut self) -> Option<Self::Stream>;
}

/// A TCP connection.
pub trait RpcStream {
    /// Receiving half.
    type Reader: Read + 'static;
    /// Sending half. Dropping both halves closes the connection.
    type Writer: Write + 'static;

    /// Address of the other end.
    fn peer(&self) -> SocketAddr;
    /// Address of this end.
    fn local(&self) -> SocketAddr;
    /// The halves, to be used independently.
    fn split(self) -> (Self::Reader, Self::Writer);
}

/// A received UDP datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RpcDatagram {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Our address it was sent to: the reply goes out from there.
    pub local: IpAddr,
    /// Its content.
    pub payload: Vec<u8>,
}

/// A UDP socket bound to one port.
pub trait RpcDatagrams {
    /// The next datagram; `None` when the socket is closed for good. Only one task waits at a time.
    async fn receive(&self) -> Option<RpcDatagram>;

    /// Sends a datagram from `local` (or the address routing chooses). Losses are silent, as UDP's are.
    async fn send(&self, local: Option<IpAddr>, peer: SocketAddr, payload: &[u8]);
}

/// A host of a network: where listeners and sockets come from.
pub trait RpcNetwork {
    /// See [`RpcNetwork::listen`].
    type Listener: RpcListener + 'static;
    /// See [`RpcNetwork::bind`].
    type Datagrams: RpcDatagrams + 'static;

    /// Listens for TCP connections; `None` when the port is taken.
    fn listen(&self, port: u16) -> Option<Self::Listener>;

    /// Binds a UDP socket; `None` when the port is taken.
    fn bind(&self, port: u16) -> Option<Self::Datagrams>;

    /// Binds a UDP socket to a free port below 1024, which is where others expect a host's own services to
    /// call from; `None` when all are taken.
    fn bind_reserved(&self) -> Option<Self::Datagrams>;

    /// Opens a TCP connection from a free port below 1024, and from `local` (or the address routing
    /// chooses); `None` when nobody accepts it.
    async fn connect(
        &self,
        local: Option<IpAddr>,
        peer: SocketAddr,
    ) -> Option<<Self::Listener as RpcListener>::Stream>;
}
