//! UDP, with datagrams of up to 64 KiB over IPv4 (fragmented underneath).

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket};

use super::Endpoint;
use super::stack::Shared;
use super::wire::MTU;
use crate::error::{Error, Result};

/// A bound UDP port.
pub struct UdpSocket {
    shared: Arc<Shared>,
    handle: SocketHandle,
    port: u16,
}

impl Endpoint {
    /// Binds `port` (0: one of the dynamic range).
    ///
    /// # Errors
    ///
    /// `AddrInUse` when this endpoint has bound the port already.
    pub fn udp(&self, port: u16) -> Result<UdpSocket> {
        let bound = self.shared.with(|stack| {
            let port = if port == 0 { stack.ephemeral_port() } else { port };
            if stack.is_bound(port) {
                return None;
            }
            let buffer = || PacketBuffer::new(vec![PacketMetadata::EMPTY; 256], vec![0; 512 * 1024]);
            let mut socket = Socket::new(buffer(), buffer());
            socket.bind(port).ok()?;
            Some((stack.sockets.add(socket), port))
        });
        let (handle, port) = bound.ok_or_else(|| Error::Io {
            doing: format!("bind UDP port {port} of endpoint {}", self.port().name()),
            source: ErrorKind::AddrInUse.into(),
        })?;
        Ok(UdpSocket { shared: self.shared.clone(), handle, port })
    }
}

impl UdpSocket {
    /// The bound port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends one datagram.
    pub fn send_to(&self, data: &[u8], to: SocketAddr) -> Result<()> {
        let refused = |what: String| Error::Io {
            doing: format!("send {} bytes to {to}", data.len()),
            source: std::io::Error::new(std::io::ErrorKind::InvalidInput, what),
        };
        if to.is_ipv6() && data.len() > MTU - 48 {
            return Err(refused("IPv6 datagrams are not fragmented by the bench".into()));
        }
        let sent = self.shared.wait(Duration::from_secs(5), |stack| {
            let socket = stack.sockets.get_mut::<Socket>(self.handle);
            match socket.send_slice(data, to) {
                Ok(()) => Some(Ok(())),
                Err(smoltcp::socket::udp::SendError::BufferFull) => None,
                Err(e) => Some(Err(refused(e.to_string()))),
            }
        });
        sent.unwrap_or_else(|| Err(refused("the send buffer stays full: nobody answers ARP".into())))
    }

    /// The next datagram and who sent it.
    pub fn receive(&self, timeout: Duration) -> Result<(Vec<u8>, SocketAddr)> {
        let received = self.shared.wait(timeout, |stack| {
            let (data, meta) = stack.sockets.get_mut::<Socket>(self.handle).recv().ok()?;
            Some((data.to_vec(), meta.endpoint.into()))
        });
        received.ok_or_else(|| Error::Timeout {
            waiting_for: format!("a datagram to UDP port {}", self.port),
            after: timeout,
            seen: "none".into(),
        })
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.shared.with(|stack| stack.sockets.remove(self.handle));
    }
}
