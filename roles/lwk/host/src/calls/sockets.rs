//! Sockets: their life, their addresses, sending and receiving.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::layout::Sockaddr;
use keelson_lwk_wire::messages::Part;
use rustix::event::PollFlags;
use rustix::net::addr::SocketAddrArg;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags,
    SocketType,
};

use super::io::{send_all, stream_in, stream_out, when_ready};
use super::{Held, Reply, Task, done, opened};
use crate::fail::Fail;
use crate::proxy::cancel::ready_now;
use crate::proxy::confine::{Last, own_link};
use crate::proxy::handles::Handle;
use crate::proxy::lock;

/// MSG_DONTWAIT
const DONTWAIT: u32 = 0x40;
/// SOCK_NONBLOCK
const NONBLOCK: u32 = 0o4000;
/// SOCK_CLOEXEC: the node's table of descriptors has this flag.
const CLOEXEC: u32 = 0o200_0000;

/// An address from the program, for the kernel.
pub(super) fn to_host(task: &Task<'_>, bytes: &[u8]) -> Result<SocketAddrAny, Fail> {
    if bytes.len() < 2 {
        return Err(Fail(Errno::EINVAL));
    }
    let known = matches!(u16::from_le_bytes([bytes[0], bytes[1]]), 0 | 1 | 2 | 10 | 16);
    match Sockaddr::parse(bytes).ok_or(Fail(if known { Errno::EINVAL } else { Errno::EAFNOSUPPORT }))? {
        Sockaddr::Unspec => Err(Fail(Errno::EINVAL)),
        Sockaddr::UnixUnnamed => Ok(SocketAddrUnix::new_unnamed().as_any()),
        Sockaddr::UnixAbstract(name) => Ok(SocketAddrUnix::new_abstract_name(&name)?.as_any()),
        Sockaddr::UnixPath(path) if task.proxy.rules.root.is_none() => {
            Ok(SocketAddrUnix::new(path)?.as_any())
        }
        Sockaddr::UnixPath(path) => {
            task.proxy.rules.locate(rustix::fs::CWD, &path, Last::Itself, |dir, name| {
                // The descriptor lives until the call only: what it names is looked up here.
                let mut full = std::fs::canonicalize(own_link(&dir))?;
                full.push(name);
                Ok(SocketAddrUnix::new(full)?.as_any())
            })
        }
        Sockaddr::Inet { ip, port } => Ok(SocketAddrV4::new(Ipv4Addr::from(ip), port).into()),
        Sockaddr::Inet6 { ip, port, flow, scope } => {
            Ok(SocketAddrV6::new(Ipv6Addr::from(ip), port, u32::from_be(flow), scope).into())
        }
        Sockaddr::Netlink { pid, groups } => Ok(SocketAddrNetlink::new(pid, groups).as_any()),
    }
}

/// An address from the kernel, for the program.
pub(super) fn from_host(address: &SocketAddrAny) -> Vec<u8> {
    if let Ok(v4) = SocketAddrV4::try_from(address.clone()) {
        return Sockaddr::Inet { ip: v4.ip().octets(), port: v4.port() }.to_bytes();
    }
    if let Ok(v6) = SocketAddrV6::try_from(address.clone()) {
        let (ip, port, flow, scope) = (v6.ip().octets(), v6.port(), v6.flowinfo().to_be(), v6.scope_id());
        return Sockaddr::Inet6 { ip, port, flow, scope }.to_bytes();
    }
    if let Ok(unix) = SocketAddrUnix::try_from(address.clone()) {
        return match (unix.path_bytes(), unix.abstract_name()) {
            (Some(path), _) => Sockaddr::UnixPath(path.to_vec()),
            (_, Some(name)) => Sockaddr::UnixAbstract(name.to_vec()),
            _ => Sockaddr::UnixUnnamed,
        }
        .to_bytes();
    }
    if let Ok(netlink) = SocketAddrNetlink::try_from(address.clone()) {
        return Sockaddr::Netlink { pid: netlink.pid(), groups: netlink.groups() }.to_bytes();
    }
    // Of another family: that much is known.
    address.address_family().as_raw().to_le_bytes().to_vec()
}

/// With an address, and its real length, where the program wants them.
fn with_address(task: &Task<'_>, reply: Reply, at: u8, address: Option<&SocketAddrAny>) -> Reply {
    let bytes = address.map(from_host).unwrap_or_default();
    let len = bytes.len() as u32;
    reply
        .with(task.checked.output(at, Part::Whole), bytes)
        .with(task.checked.output(at + 1, Part::Whole), len.to_le_bytes())
}

/// socket, connect, accept, shutdown, bind, listen, getsockname, getpeername, accept4
pub(super) fn socket(task: &Task<'_>) -> Result<Reply, Fail> {
    if task.nr() == 41 {
        return create(task);
    }
    let handle = task.handle(0)?;
    match task.nr() {
        42 => connect(task, &handle),
        43 | 288 => accept(task, &handle),
        48 => {
            let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both];
            done(rustix::net::shutdown(&*handle, *how.get(task.int(1) as usize).ok_or(Fail(Errno::EINVAL))?))
        }
        49 => {
            let address = to_host(task, task.input(1)?)?;
            done(rustix::net::bind(&*handle, &address))
        }
        50 => done(rustix::net::listen(&*handle, task.int(1) as i32)),
        51 => {
            let address = rustix::net::getsockname(&*handle)?;
            Ok(with_address(task, Reply::done(), 1, Some(&address)))
        }
        _ => {
            let address = rustix::net::getpeername(&*handle)?;
            Ok(with_address(task, Reply::done(), 1, address.as_ref()))
        }
    }
}

fn create(task: &Task<'_>) -> Result<Reply, Fail> {
    let family = u16::try_from(task.int(0)).map_err(|_| Fail(Errno::EAFNOSUPPORT))?;
    task.proxy.rules.may_socket(family)?;
    let raw = task.int(1);
    let flags = SocketFlags::from_bits_retain(raw & NONBLOCK) | SocketFlags::CLOEXEC;
    let kind = SocketType::from_raw(raw & !(NONBLOCK | CLOEXEC));
    let protocol = std::num::NonZeroU32::new(task.int(2)).map(Protocol::from_raw);
    let fd = rustix::net::socket_with(AddressFamily::from_raw(family), kind, flags, protocol)?;
    opened(task, Handle::new(fd))
}

/// When it is given up, the connection goes on being made, as with Linux.
fn connect(task: &Task<'_>, handle: &Held) -> Result<Reply, Fail> {
    let bytes = task.input(1)?;
    if Sockaddr::parse(bytes) == Some(Sockaddr::Unspec) {
        return done(rustix::net::connect_unspec(&**handle));
    }
    let address = to_host(task, bytes)?;
    if handle.is_nonblocking() {
        return done(rustix::net::connect(&**handle, &address));
    }
    // The call itself may wait, and cannot be called back: a thread of its own makes it, and this one waits for either.
    let (ended, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (socket, result) = (handle.clone(), std::sync::Arc::new(std::sync::Mutex::new(None)));
    let place = result.clone();
    std::thread::Builder::new().name("lwk-connect".into()).stack_size(64 << 10).spawn(move || {
        let connected = rustix::net::connect(&*socket, &address).map_err(Fail::from);
        *lock(&place) = Some(connected);
        drop(end);
    })?;
    task.request.wait_ready(&ended, PollFlags::IN)?;
    let result = lock(&result).take();
    done(result.unwrap_or(Err(Fail(Errno::EIO))))
}

fn accept(task: &Task<'_>, handle: &Held) -> Result<Reply, Fail> {
    let raw = if task.nr() == 288 { task.int(3) } else { 0 };
    if raw & !(NONBLOCK | CLOEXEC) != 0 {
        return Err(Fail(Errno::EINVAL));
    }
    let flags = SocketFlags::from_bits_retain(raw & NONBLOCK) | SocketFlags::CLOEXEC;
    let (fd, address) = loop {
        if handle.is_nonblocking() || rustix::net::sockopt::socket_acceptconn(&**handle) == Ok(false) {
            break rustix::net::acceptfrom_with(&**handle, flags)?;
        }
        if task.request.never_waits() {
            if ready_now(&**handle, PollFlags::IN).is_empty() {
                return Err(Fail(Errno::EAGAIN));
            }
        } else {
            task.request.wait_ready(&**handle, PollFlags::IN)?;
        }
        let _turn = lock(&handle.reading);
        if !ready_now(&**handle, PollFlags::IN).is_empty() {
            break rustix::net::acceptfrom_with(&**handle, flags)?;
        }
    };
    let reply = opened(task, Handle::new(fd))?;
    Ok(with_address(task, reply, 1, address.as_ref()))
}

/// sendto, recvfrom
pub(super) fn transfer(task: &Task<'_>) -> Result<Reply, Fail> {
    let handle = task.handle(0)?;
    let raw = task.int(3);
    if task.nr() == 44 {
        let address = task.checked.input(4, Part::Whole).map(|bytes| to_host(task, bytes)).transpose()?;
        let flags = SendFlags::from_bits_retain(raw | DONTWAIT) | SendFlags::NOSIGNAL;
        let send = |bytes: &[u8]| {
            Ok(match &address {
                Some(address) => rustix::net::sendto(&*handle, bytes, flags, address)?,
                None => rustix::net::send(&*handle, bytes, flags)?,
            })
        };
        return stream_in(task, |bytes, _| {
            if raw & DONTWAIT != 0 { send(bytes) } else { send_all(task, &handle, bytes, send) }
        });
    }
    let mut from = None;
    let reply = stream_out(task, &handle, |into, _| {
        let (got, address) = receive(task, &handle, raw, |flags, have| {
            let rest = into.get_mut(have..).unwrap_or_default();
            let ((), got, address) = receive_once(&handle, rest, flags)?;
            Ok((got, address))
        })?;
        from = address;
        Ok(got)
    })?;
    Ok(with_address(task, reply, 4, from.as_ref()))
}

fn receive_once(
    handle: &Handle,
    into: &mut [u8],
    flags: RecvFlags,
) -> Result<((), usize, Option<SocketAddrAny>), Fail> {
    let (_, got, address) = rustix::net::recvfrom(handle, into, flags)?;
    Ok(((), got, address))
}

/// Receives with calls that do not wait. With MSG_WAITALL until there is no more room, or no more to come.
fn receive<T>(
    task: &Task<'_>,
    handle: &Held,
    raw: u32,
    mut some: impl FnMut(RecvFlags, usize) -> Result<(usize, T), Fail>,
) -> Result<(usize, T), Fail> {
    const WAITALL: u32 = 0x100;
    const OUT_OF_BAND: u32 = 1;
    const ERROR_QUEUE: u32 = 0x2000;
    let flags = RecvFlags::from_bits_retain((raw & !WAITALL) | DONTWAIT);
    let at_once = raw & (DONTWAIT | ERROR_QUEUE) != 0;
    let events = if raw & OUT_OF_BAND != 0 { PollFlags::PRI } else { PollFlags::IN };
    let wanted = task.checked.data_out().map_or(0, |output| output.len as usize);
    let mut have = 0;
    loop {
        let got =
            if at_once { some(flags, have) } else { when_ready(task, handle, events, || some(flags, have)) };
        match got {
            Ok((got, rest)) => {
                have += got;
                if raw & WAITALL == 0
                    || got == 0
                    || have >= wanted.min(keelson_lwk_wire::frame::DATA_PIECE)
                    || at_once
                {
                    return Ok((have, rest));
                }
            }
            Err(fail) => return Err(fail),
        }
    }
}
