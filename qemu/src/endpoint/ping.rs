//! ICMP and ICMPv6 echo.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::icmp;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr};

use super::stack::{Shared, Stack};
use crate::error::{Error, Result};

/// One echo request; the reply must carry the same data.
pub fn ping(shared: &Shared, to: IpAddr, size: usize, timeout: Duration) -> Result<Duration> {
    static IDENT: AtomicU16 = AtomicU16::new(1);
    let ident = IDENT.fetch_add(1, Ordering::Relaxed);
    let data: Vec<u8> = (0..size).map(|i| i as u8).collect();
    let start = Instant::now();
    let handle = shared.with(|stack| {
        let buffer =
            || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 2 * (size + 64)]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        let _ = socket.bind(icmp::Endpoint::Ident(ident));
        let handle = stack.sockets.add(socket);
        send(stack, handle, to, ident, &data);
        handle
    });
    let answered = shared.wait(timeout, |stack| {
        let socket = stack.sockets.get_mut::<icmp::Socket>(handle);
        while let Ok((bytes, _)) = socket.recv() {
            if is_reply(bytes, to, &data) {
                return Some(start.elapsed());
            }
        }
        None
    });
    shared.with(|stack| stack.sockets.remove(handle));
    answered.ok_or_else(|| Error::Timeout {
        waiting_for: format!("an echo reply of {size} bytes from {to}"),
        after: timeout,
        seen: "no reply with the same data".into(),
    })
}

fn send(stack: &mut Stack, handle: smoltcp::iface::SocketHandle, to: IpAddr, ident: u16, data: &[u8]) {
    let checksum = ChecksumCapabilities::default();
    let own = stack.iface.get_source_address(&to.into());
    let socket = stack.sockets.get_mut::<icmp::Socket>(handle);
    match to {
        IpAddr::V4(_) => {
            let request = Icmpv4Repr::EchoRequest { ident, seq_no: 1, data };
            if let Ok(bytes) = socket.send(request.buffer_len(), to.into()) {
                request.emit(&mut Icmpv4Packet::new_unchecked(bytes), &checksum);
            }
        }
        IpAddr::V6(to6) => {
            let request = Icmpv6Repr::EchoRequest { ident, seq_no: 1, data };
            let Some(smoltcp::wire::IpAddress::Ipv6(own)) = own else { return };
            if let Ok(bytes) = socket.send(request.buffer_len(), to.into()) {
                request.emit(&own, &to6, &mut Icmpv6Packet::new_unchecked(bytes), &checksum);
            }
        }
    }
}

/// The socket already matched the identifier and the checksum.
fn is_reply(bytes: &[u8], from: IpAddr, data: &[u8]) -> bool {
    const ECHO_REPLY: u8 = 0;
    const ECHO_REPLY_V6: u8 = 129;
    let kind = if from.is_ipv4() { ECHO_REPLY } else { ECHO_REPLY_V6 };
    bytes.first() == Some(&kind) && bytes.get(8..) == Some(data)
}
