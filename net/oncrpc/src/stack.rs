//! keelson-net as the network.

use crate::transport::{RpcDatagram, RpcDatagrams, RpcListener, RpcNetwork, RpcStream};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use keelson_net::{
    ConnectOptions, LocalPort, ReadHalf, Stack, TcpListener, TcpOptions, TcpStream, UdpOptions, UdpSocket,
    WriteHalf,
};

/// Ports below 1024 that no well-known service of ours uses, as for outgoing TCP connections.
const RESERVED_PORTS: core::ops::Range<u16> = 665..1024;
/// Rings of an outgoing connection: it carries one small call.
const CALL_BUFFER: usize = 8 << 10;
/// How long a peer may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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

    fn bind_reserved(&self) -> Option<UdpSocket> {
        RESERVED_PORTS.rev().find_map(|port| self.stack.bind_udp(port, self.udp).ok())
    }

    async fn connect(&self, local: Option<IpAddr>, peer: SocketAddr) -> Option<TcpStream> {
        let options = ConnectOptions {
            local_port: LocalPort::Reserved,
            local_address: local,
            timeout: CONNECT_TIMEOUT,
            tcp: TcpOptions {
                receive_buffer: CALL_BUFFER,
                send_buffer: CALL_BUFFER,
                ..TcpOptions::default()
            },
        };
        let stream = self.stack.connect(peer, options).await;
        stream.inspect_err(|error| log::debug!(target: "rpc", "no connection to {peer}: {error}")).ok()
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
