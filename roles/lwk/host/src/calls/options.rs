//! Options of sockets: those with a safe interface.
//!
//! Numbers: `asm-generic/socket.h`, `linux/tcp.h`, `linux/in.h`, `linux/in6.h`.

use std::time::Duration;

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::layout::Timeval;
use keelson_lwk_wire::messages::Part;
use rustix::net::sockopt::{self, Timeout};

use super::{Reply, Task, done};
use crate::fail::Fail;
use crate::proxy::handles::Handle;

const SOCKET: u32 = 1;
const IP: u32 = 0;
const TCP: u32 = 6;
const IPV6: u32 = 41;

/// setsockopt, getsockopt
pub(super) fn option(task: &Task<'_>) -> Result<Reply, Fail> {
    let handle = task.handle(0)?;
    let name = (task.int(1), task.int(2));
    if task.nr() == 54 {
        return done(set(&handle, name, task.checked.input(3, Part::Whole).unwrap_or_default()));
    }
    let output = task.checked.output(3, Part::Whole);
    let mut value = get(&handle, name)?;
    value.truncate(output.map_or(0, |output| output.len as usize));
    let len = value.len() as u32;
    Ok(Reply::done().with(output, value).with(task.checked.output(4, Part::Whole), len.to_le_bytes()))
}

fn int(bytes: &[u8]) -> Result<i32, Fail> {
    bytes.first_chunk().map(|bytes| i32::from_le_bytes(*bytes)).ok_or(Fail(Errno::EINVAL))
}

/// Some options are a byte or an int, as the program likes.
fn short(bytes: &[u8]) -> Result<u32, Fail> {
    match bytes {
        [byte] => Ok((*byte).into()),
        _ => int(bytes).map(|value| value as u32),
    }
}

fn time(bytes: &[u8]) -> Result<Option<Duration>, Fail> {
    let time = Timeval::read(bytes).ok_or(Fail(Errno::EINVAL))?;
    if !(0..1_000_000).contains(&time.usec) {
        return Err(Fail(Errno::EDOM));
    }
    let time = Duration::new(u64::try_from(time.sec).unwrap_or(0), time.usec as u32 * 1000);
    Ok((!time.is_zero()).then_some(time))
}

fn set(handle: &Handle, name: (u32, u32), bytes: &[u8]) -> Result<(), Fail> {
    let fd = handle;
    let on = || int(bytes).map(|value| value != 0);
    let size = || int(bytes).map(|value| value.max(0) as usize);
    let seconds = || int(bytes).map(|value| Duration::from_secs(value.max(0) as u64));
    match name {
        (SOCKET, 2) => sockopt::set_socket_reuseaddr(fd, on()?)?,
        (SOCKET, 6) => sockopt::set_socket_broadcast(fd, on()?)?,
        (SOCKET, 7) => sockopt::set_socket_send_buffer_size(fd, size()?)?,
        (SOCKET, 8) => sockopt::set_socket_recv_buffer_size(fd, size()?)?,
        (SOCKET, 9) => sockopt::set_socket_keepalive(fd, on()?)?,
        (SOCKET, 10) => sockopt::set_socket_oobinline(fd, on()?)?,
        (SOCKET, 13) => {
            let (on, seconds) = (int(bytes)?, int(bytes.get(4..).unwrap_or_default())?);
            sockopt::set_socket_linger(fd, (on != 0).then(|| Duration::from_secs(seconds.max(0) as u64)))?;
        }
        (SOCKET, 15) => sockopt::set_socket_reuseport(fd, on()?)?,
        (SOCKET, 16) => sockopt::set_socket_passcred(fd, on()?)?,
        (SOCKET, 20) => sockopt::set_socket_timeout(fd, Timeout::Recv, time(bytes)?)?,
        (SOCKET, 21) => sockopt::set_socket_timeout(fd, Timeout::Send, time(bytes)?)?,
        (SOCKET, 33) => sockopt::set_socket_recv_buffer_size_force(fd, size()?)?,
        (SOCKET, 49) => sockopt::set_socket_incoming_cpu(fd, int(bytes)? as u32)?,
        (TCP, 1) => sockopt::set_tcp_nodelay(fd, on()?)?,
        (TCP, 3) => sockopt::set_tcp_cork(fd, on()?)?,
        (TCP, 4) => sockopt::set_tcp_keepidle(fd, seconds()?)?,
        (TCP, 5) => sockopt::set_tcp_keepintvl(fd, seconds()?)?,
        (TCP, 6) => sockopt::set_tcp_keepcnt(fd, int(bytes)? as u32)?,
        (TCP, 12) => sockopt::set_tcp_quickack(fd, on()?)?,
        (TCP, 13) => {
            let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            sockopt::set_tcp_congestion(fd, std::str::from_utf8(name).map_err(|_| Fail(Errno::ENOENT))?)?;
        }
        (TCP, 18) => sockopt::set_tcp_user_timeout(fd, int(bytes)? as u32)?,
        (IP, 1) => sockopt::set_ip_tos(fd, short(bytes)? as u8)?,
        (IP, 2) => sockopt::set_ip_ttl(fd, short(bytes)?)?,
        (IP, 13) => sockopt::set_ip_recvtos(fd, short(bytes)? != 0)?,
        (IP, 33) => sockopt::set_ip_multicast_ttl(fd, short(bytes)?)?,
        (IP, 34) => sockopt::set_ip_multicast_loop(fd, short(bytes)? != 0)?,
        (IPV6, 16) => sockopt::set_ipv6_unicast_hops(fd, u8::try_from(int(bytes)?).ok())?,
        (IPV6, 18) => sockopt::set_ipv6_multicast_hops(fd, int(bytes)? as u32)?,
        (IPV6, 19) => sockopt::set_ipv6_multicast_loop(fd, on()?)?,
        (IPV6, 26) => sockopt::set_ipv6_v6only(fd, on()?)?,
        (IPV6, 67) => sockopt::set_ipv6_tclass(fd, int(bytes)? as u32)?,
        _ => return Err(Fail(Errno::ENOPROTOOPT)),
    }
    Ok(())
}

fn word(value: u32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn seconds(value: Duration) -> Vec<u8> {
    word(value.as_secs().min(i32::MAX as u64) as u32)
}

fn timeout(value: Option<Duration>) -> Vec<u8> {
    let value = value.unwrap_or_default();
    Timeval { sec: value.as_secs() as i64, usec: value.subsec_micros().into() }.to_bytes().to_vec()
}

fn get(handle: &Handle, name: (u32, u32)) -> Result<Vec<u8>, Fail> {
    let fd = handle;
    let flag = |value: bool| word(value.into());
    Ok(match name {
        (SOCKET, 2) => flag(sockopt::socket_reuseaddr(fd)?),
        (SOCKET, 3) => word(sockopt::socket_type(fd)?.as_raw()),
        (SOCKET, 4) => word(match sockopt::socket_error(fd)? {
            Ok(()) => 0,
            Err(error) => error.raw_os_error() as u32,
        }),
        (SOCKET, 6) => flag(sockopt::socket_broadcast(fd)?),
        (SOCKET, 7) => word(sockopt::socket_send_buffer_size(fd)? as u32),
        (SOCKET, 8) => word(sockopt::socket_recv_buffer_size(fd)? as u32),
        (SOCKET, 9) => flag(sockopt::socket_keepalive(fd)?),
        (SOCKET, 10) => flag(sockopt::socket_oobinline(fd)?),
        (SOCKET, 13) => {
            let linger = sockopt::socket_linger(fd)?;
            [flag(linger.is_some()), seconds(linger.unwrap_or_default())].concat()
        }
        (SOCKET, 15) => flag(sockopt::socket_reuseport(fd)?),
        (SOCKET, 16) => flag(sockopt::socket_passcred(fd)?),
        (SOCKET, 17) => {
            let peer = sockopt::socket_peercred(fd)?;
            [word(peer.pid.as_raw_nonzero().get() as u32), word(peer.uid.as_raw()), word(peer.gid.as_raw())]
                .concat()
        }
        (SOCKET, 20) => timeout(sockopt::socket_timeout(fd, Timeout::Recv)?),
        (SOCKET, 21) => timeout(sockopt::socket_timeout(fd, Timeout::Send)?),
        (SOCKET, 30) => flag(sockopt::socket_acceptconn(fd)?),
        (SOCKET, 38) => word(sockopt::socket_protocol(fd)?.map_or(0, |protocol| protocol.as_raw().get())),
        (SOCKET, 39) => word(sockopt::socket_domain(fd)?.as_raw().into()),
        (SOCKET, 49) => word(sockopt::socket_incoming_cpu(fd)?),
        (SOCKET, 57) => sockopt::socket_cookie(fd)?.to_le_bytes().to_vec(),
        (TCP, 1) => flag(sockopt::tcp_nodelay(fd)?),
        (TCP, 3) => flag(sockopt::tcp_cork(fd)?),
        (TCP, 4) => seconds(sockopt::tcp_keepidle(fd)?),
        (TCP, 5) => seconds(sockopt::tcp_keepintvl(fd)?),
        (TCP, 6) => word(sockopt::tcp_keepcnt(fd)?),
        (TCP, 12) => flag(sockopt::tcp_quickack(fd)?),
        (TCP, 13) => {
            let mut name = sockopt::tcp_congestion(fd)?.into_bytes();
            name.resize(16, 0);
            name
        }
        (TCP, 18) => word(sockopt::tcp_user_timeout(fd)?),
        (IP, 1) => word(sockopt::ip_tos(fd)?.into()),
        (IP, 2) => word(sockopt::ip_ttl(fd)?),
        (IP, 13) => flag(sockopt::ip_recvtos(fd)?),
        (IP, 14) => word(sockopt::ip_mtu(fd)?),
        (IP, 33) => word(sockopt::ip_multicast_ttl(fd)?),
        (IP, 34) => flag(sockopt::ip_multicast_loop(fd)?),
        (IPV6, 16) => word(sockopt::ipv6_unicast_hops(fd)?.into()),
        (IPV6, 18) => word(sockopt::ipv6_multicast_hops(fd)?),
        (IPV6, 19) => flag(sockopt::ipv6_multicast_loop(fd)?),
        (IPV6, 24) => word(sockopt::ipv6_mtu(fd)?),
        (IPV6, 26) => flag(sockopt::ipv6_v6only(fd)?),
        (IPV6, 67) => word(sockopt::ipv6_tclass(fd)?),
        _ => return Err(Fail(Errno::ENOPROTOOPT)),
    })
}
