//! Opening connections.

use super::connection::{Flow, Stage};
use super::stream::TcpStream;
use super::table::Tcp;
use super::{ConnectOptions, LocalPort};
use crate::stack::{ConnectError, Shared, State};
use alloc::rc::Rc;
use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::task::Poll;

/// First and count of the ephemeral ports (RFC 6335 section 6).
const EPHEMERAL: (u16, u16) = (49_152, 16_384);
/// First and count of the ports below 1024 that no well-known service of ours uses.
const RESERVED: (u16, u16) = (665, 359);

/// Opens a connection and waits for the end of the handshake.
pub(crate) async fn connect(
    shared: Rc<Shared>,
    peer: SocketAddr,
    options: ConnectOptions,
) -> Result<TcpStream, ConnectError> {
    let stream = start(&shared, peer, &options)?;
    let id = stream.id();
    let established = poll_fn(|cx| {
        let mut state = shared.state.borrow_mut();
        let Some(connection) = state.tcp.get(id) else {
            return Poll::Ready(Err(ConnectError::Refused(peer)));
        };
        if connection.is_handshaking() {
            connection.wake_on_write(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(match connection.is_established() {
            true => Ok(()),
            false if connection.unreachable => Err(ConnectError::Unreachable(peer)),
            false => Err(ConnectError::Refused(peer)),
        })
    });
    match shared.handle.timeout(options.timeout, established).await {
        Ok(Ok(())) => {
            let mut state = shared.state.borrow_mut();
            state.net.counters.tcp_active_opens += 1;
            if let Some(connection) = state.tcp.get(id) {
                connection.deadline = keelson_hal::Instant::FAR_FUTURE;
            }
            drop(state);
            Ok(stream)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            stream.abort();
            Err(ConnectError::TimedOut(peer))
        }
    }
}

/// Sends the SYN.
fn start(shared: &Rc<Shared>, peer: SocketAddr, options: &ConnectOptions) -> Result<TcpStream, ConnectError> {
    if peer.port() == 0 || !crate::addr::is_host(peer.ip()) {
        return Err(ConnectError::InvalidAddress(peer));
    }
    let now = shared.handle.now();
    let State { net, tcp, .. } = &mut *shared.state.borrow_mut();
    let no_route = ConnectError::NoRoute(peer.ip());
    let (path, source) = net.path_and_source(peer.ip(), options.local_address).ok_or(no_route)?;
    let port = free_port(tcp, source, peer, options.local_port, shared.entropy.next_u64() as u16)
        .ok_or(ConnectError::PortInUse)?;
    let flow = Flow { local: SocketAddr::new(source, port), remote: peer };
    let birth = tcp.birth(options.tcp.clamped());
    let id = tcp.create(net, now, path, flow, Stage::Owned, birth).ok_or(ConnectError::TooMany)?;
    if let Some(connection) = tcp.get(id) {
        connection.deadline = now + options.timeout;
        connection.connect();
    }
    tcp.make_ready(net, id.slot);
    Ok(TcpStream::new(shared.clone(), id, flow))
}

fn free_port(tcp: &Tcp, source: IpAddr, peer: SocketAddr, wanted: LocalPort, start: u16) -> Option<u16> {
    let is_free = |port: &u16| {
        let flow = Flow { local: SocketAddr::new(source, *port), remote: peer };
        !tcp.flows.contains_key(&flow)
    };
    let (first, count) = match wanted {
        LocalPort::Exact(port) => return Some(port).filter(|port| *port != 0).filter(is_free),
        LocalPort::Ephemeral => EPHEMERAL,
        LocalPort::Reserved => RESERVED,
    };
    (0..count).map(|n| first + (start % count + n) % count).find(is_free)
}
