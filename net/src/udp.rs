//! UDP (RFC 768) on the stack itself: a port is a queue of datagrams.

use crate::hash::{Key, KeyedMap};
use crate::ip::Net;
use crate::ip::header::{Packet, be16, protocol, transport_sum, transport_sum_ok};
use crate::registry::InterfaceId;
use crate::stack::{BindError, SendError, Shared, State};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::task::{Poll, Waker};
use keelson_hal::{Entropy, Instant};

/// Bytes of a UDP header.
const HEADER: usize = 8;
/// Largest payload: 65535 less IP and UDP headers.
pub const MAX_DATAGRAM: usize = 65_535 - 20 - HEADER;

/// Settings of a UDP socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpOptions {
    /// Datagrams kept until they are received.
    pub queue: usize,
    /// Bytes of payload kept until they are received.
    pub queue_bytes: usize,
}

impl Default for UdpOptions {
    /// 256 datagrams, 1 MiB.
    fn default() -> UdpOptions {
        UdpOptions { queue: 256, queue_bytes: 1 << 20 }
    }
}

/// A received datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Who sent it.
    pub peer: SocketAddr,
    /// The address it was sent to: one of ours, or a broadcast or group address.
    pub local: IpAddr,
    /// The interface it came in by.
    pub interface: InterfaceId,
    /// Its bytes.
    pub payload: Vec<u8>,
}

pub(crate) struct Port {
    options: UdpOptions,
    queue: VecDeque<Datagram>,
    bytes: usize,
    waker: Option<Waker>,
}

pub(crate) struct Udp {
    ports: KeyedMap<u16, Port>,
}

impl Udp {
    pub fn new(key: Key) -> Udp {
        Udp { ports: KeyedMap::with_hasher(key) }
    }

    /// Opens `port`, or a free ephemeral one for 0.
    fn bind(&mut self, port: u16, options: UdpOptions, entropy: &dyn Entropy) -> Result<u16, BindError> {
        let port = match port {
            0 => {
                let first = entropy.next_u64() as u16;
                let candidates = (0..16_384).map(|n| 49_152 | (first.wrapping_add(n) & 0x3fff));
                candidates
                    .into_iter()
                    .find(|port| !self.ports.contains_key(port))
                    .ok_or(BindError::Exhausted)?
            }
            port if self.ports.contains_key(&port) => return Err(BindError::InUse(port)),
            port => port,
        };
        self.ports.insert(port, Port { options, queue: VecDeque::new(), bytes: 0, waker: None });
        Ok(port)
    }

    /// Handles a UDP packet for one of our addresses, or a broadcast or group address.
    pub fn input(&mut self, net: &mut Net, now: Instant, nic: usize, packet: &Packet<'_>, checksum_ok: bool) {
        let Some(header) = packet.payload.first_chunk::<HEADER>() else {
            net.counters.udp_invalid += 1;
            return;
        };
        let len = usize::from(be16(header, 4));
        let zero_sum = header[6..8] == [0, 0];
        // The UDP length may be shorter than the packet; the checksum covers only that much.
        let trimmed = Packet { payload: packet.payload.get(..len).unwrap_or(&[]), ..*packet };
        let sum_ok = checksum_ok || (zero_sum && packet.src.is_ipv4()) || transport_sum_ok(&trimmed);
        if len < HEADER || trimmed.payload.is_empty() || !sum_ok {
            net.counters.udp_invalid += 1;
            return;
        }
        let Some(port) = self.ports.get_mut(&be16(header, 2)) else {
            net.counters.udp_no_port += 1;
            if net.nics[nic].has_address(packet.dst) {
                net.port_unreachable(now, packet);
            }
            return;
        };
        let payload = &trimmed.payload[HEADER..];
        if port.queue.len() >= port.options.queue || port.bytes + payload.len() > port.options.queue_bytes {
            net.counters.udp_queue_full += 1;
            return;
        }
        net.counters.udp_received += 1;
        port.bytes += payload.len();
        port.queue.push_back(Datagram {
            peer: SocketAddr::new(packet.src, be16(header, 0)),
            local: packet.dst,
            interface: InterfaceId(nic),
            payload: payload.to_vec(),
        });
        if let Some(waker) = port.waker.take() {
            waker.wake();
        }
    }
}

/// A UDP header and `payload`, checksum included.
pub(crate) fn datagram(src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&src.port().to_be_bytes());
    bytes.extend_from_slice(&dst.port().to_be_bytes());
    bytes.extend_from_slice(&((HEADER + payload.len()) as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(payload);
    let sum = match transport_sum(src.ip(), dst.ip(), protocol::UDP, &bytes) {
        // Zero would mean "no checksum".
        0 => 0xffff,
        sum => sum,
    };
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// A UDP port of the stack.
pub struct UdpSocket {
    shared: Rc<Shared>,
    port: u16,
}

impl UdpSocket {
    pub(crate) fn bind(shared: Rc<Shared>, port: u16, options: UdpOptions) -> Result<UdpSocket, BindError> {
        let port = shared.state.borrow_mut().udp.bind(port, options, &*shared.entropy)?;
        Ok(UdpSocket { shared, port })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for a datagram. One task at a time waits on a socket.
    pub async fn receive(&self) -> Datagram {
        poll_fn(|cx| {
            let mut state = self.shared.state.borrow_mut();
            let Some(port) = state.udp.ports.get_mut(&self.port) else { return Poll::Pending };
            match port.queue.pop_front() {
                Some(datagram) => {
                    port.bytes -= datagram.payload.len();
                    Poll::Ready(datagram)
                }
                None => {
                    port.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Sends a datagram of at most [`MAX_DATAGRAM`] bytes, from `local` if given (answer from the address
    /// you were asked at), cut into fragments when it exceeds the MTU.
    pub fn send(&self, local: Option<IpAddr>, peer: SocketAddr, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() > MAX_DATAGRAM {
            return Err(SendError::TooLong(payload.len()));
        }
        let now = self.shared.handle.now();
        let State { net, .. } = &mut *self.shared.state.borrow_mut();
        let (path, source) = net.path_and_source(peer.ip(), local).ok_or(SendError::NoRoute(peer.ip()))?;
        let bytes = datagram(SocketAddr::new(source, self.port), peer, payload);
        let sent = net.send_datagram(now, path, (source, peer.ip()), protocol::UDP, 64, &bytes);
        net.nics[path.nic].kick();
        if !sent {
            return Err(SendError::Dropped);
        }
        net.counters.udp_sent += 1;
        Ok(())
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.shared.state.borrow_mut().udp.ports.remove(&self.port);
    }
}
