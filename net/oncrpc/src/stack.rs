//! keelson-net as the network.

use crate::transport::{RpcDatagram, RpcDatagrams, RpcListener, RpcNetwork, RpcStream};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use keelson_net::{ReadHalf, Stack, TcpListener, TcpOptions, TcpStream, UdpOptions, UdpSocket, WriteHalf};

/// A stack and the settings of its RPC connections.
#[derive(Clone)]
pub struct StackNetwork {
    /// The stack.
    pub stack: Stack,
    /// Settings of every connection.
    pub tcp: TcpOptions,
    /// Settings of every datagram socket.
    pub udp: UdpOptions,
}

impl StackNetwork {
    /// Rings of a quarter mebibyte each way; peers that are gone are noticed within three minutes, also
    /// when they are idle.
    pub fn new(stack: Stack) -> StackNetwork {
        let tcp = TcpOptions {
            receive_buffer: 256 << 10,
            send_buffer: 256 << 10,
            keep_alive: Some(Duration::from_secs(60)),
            ..TcpOptions::default()
        };
        StackNetwork { stack, tcp, udp: UdpOptions::default() }
    }
}

impl RpcNetwork for StackNetwork {
    type Listener = TcpListener;
    type Datagrams = UdpSocket;

    fn listen(&self, port: u16) -> Option<TcpListener> {
        let listener = self.stack.listen(port, self.tcp);
        listener.inspect_err(|error| log::error!(target: "rpc", "TCP port {port}: {error}")).ok()
    }

    fn bind(&self, port: u16) -> Option<UdpSocket> {
        let socket = self.stack.bind_udp(port, self.udp);
        socket.inspect_err(|error| log::error!(target: "rpc", "UDP port {port}: {error}")).ok()
    }
}

impl RpcListener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> Option<TcpStream> {
        Some(TcpListener::accept(self).await)
    }
}

impl RpcStream for TcpStream {
    type Reader = ReadHalf;
    type Writer = WriteHalf;

    fn peer(&self) -> SocketAddr {
        TcpStream::peer(self)
    }

    fn local(&self) -> SocketAddr {
        TcpStream::local(self)
    }

    fn split(self) -> (ReadHalf, WriteHalf) {
        self.into_split()
    }
}

impl RpcDatagrams for UdpSocket {
    async fn receive(&self) -> Option<RpcDatagram> {
        let datagram = UdpSocket::receive(self).await;
        Some(RpcDatagram { peer: datagram.peer, local: datagram.local, payload: datagram.payload })
    }

    async fn send(&self, local: Option<IpAddr>, peer: SocketAddr, payload: &[u8]) {
        // Lost like any datagram; the stack counts it.
        if let Err(error) = UdpSocket::send(self, local, peer, payload) {
            log::debug!(target: "rpc", "datagram to {peer} not sent: {error}");
        }
    }
}
