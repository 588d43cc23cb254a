//! Sockets (section 4.2): those between programs of this node here, all others at the host.

use super::Caller;
use super::forward::forward;
use super::transfer::{Rest, Transfer, broken_pipe, wait};
use crate::Errno;
use crate::delegate::Handle;
use crate::files::flags::{O_CLOEXEC, O_NONBLOCK, O_RDWR};
use crate::files::unix::{Credentials, Outgoing, ReceiveFlags, Received, Rights, SocketKind, UnixSocket};
use crate::files::{Description, FdFlags, HostFile, Iovec};
use crate::mm::Mm;
use crate::room;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Poll;
use keelson_hal::user::Access;
use keelson_lwk_wire::layout::{Cmsghdr, Msghdr, cmsg_align};

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
/// Families of Linux 6.1 are below.
const AF_MAX: u32 = 46;
const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
/// Most files in one message (SCM_MAX_FD).
const MAX_RIGHTS: usize = 253;
/// Bytes of control data, at most.
const MAX_CONTROL: u64 = 8192;
/// Messages in one sendmmsg or recvmmsg (section 4.2).
const MAX_VECTOR: u64 = 64;

/// Flags of send(2) and recv(2).
mod msg {
    pub const OOB: u32 = 1;
    pub const PEEK: u32 = 2;
    pub const CTRUNC: u32 = 8;
    pub const TRUNC: u32 = 0x20;
    pub const DONTWAIT: u32 = 0x40;
    pub const EOR: u32 = 0x80;
    pub const WAITALL: u32 = 0x100;
    pub const NOSIGNAL: u32 = 0x4000;
    pub const CMSG_CLOEXEC: u32 = 0x4000_0000;
}

/// The socket behind a descriptor, when it is one of the node.
fn local(description: &Description) -> Result<Option<&UnixSocket>, Errno> {
    if description.file().host().is_some() {
        return Ok(None);
    }
    description.file().as_any().downcast_ref::<UnixSocket>().map(Some).ok_or(Errno::ENOTSOCK)
}

/// The same with shared ownership: for connections.
fn shared(description: &Description) -> Result<Arc<UnixSocket>, Errno> {
    let file: Arc<dyn core::any::Any + Send + Sync> = description.file().clone();
    file.downcast::<UnixSocket>().map_err(|_| Errno::ENOTSOCK)
}

fn get(caller: &Caller<'_>, fd: u64) -> Result<Arc<Description>, Errno> {
    caller.thread.process.files().get_open(fd as u32)
}

fn owner(caller: &Caller<'_>) -> Credentials {
    let process = &caller.thread.process;
    let ids = process.ids.lock();
    Credentials { pid: process.pid, uid: ids.user.effective, gid: ids.group.effective }
}

/// Kind and flags in the second argument of socket(2); the flags are those of open(2).
fn kind_and_flags(raw: u64) -> (u32, u32) {
    (raw as u32 & 0xf, raw as u32 & (O_NONBLOCK | O_CLOEXEC))
}

/// socket(family, kind, protocol). Of AF_UNIX it shows later whether the host must have it.
pub async fn sys_socket(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let (kind, flags) = kind_and_flags(args[1]);
    if args[0] as u32 != AF_UNIX {
        return forward(caller, 41, args).await;
    }
    if args[1] as u32 & !(0xf | O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    // SOCK_RAW stands for datagrams here (unix(7)).
    let kind = if kind == 3 { 2 } else { kind };
    let kind = SocketKind::of(kind).ok_or(Errno::ESOCKTNOSUPPORT)?;
    if args[2] > 1 {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let files = caller.thread.process.files();
    let socket = UnixSocket::new(kind, owner(caller), &files.vfs().flight);
    let description = Description::new(socket, O_RDWR | flags & O_NONBLOCK);
    files.insert(description, FdFlags::of(flags)).map(u64::from)
}

/// socketpair(family, kind, protocol, fds).
pub fn sys_socketpair(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let (kind, flags) = kind_and_flags(args[1]);
    // Kinds go to 10 (SOCK_PACKET) in four bits, flags are behind them.
    if kind > 10 || args[1] as u32 & !(0xf | O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    match args[0] as u32 {
        AF_UNIX if args[2] as u32 > 1 => return Err(Errno::EPROTONOSUPPORT),
        AF_UNIX => {}
        AF_INET | AF_INET6 => return Err(no_pair_of(kind, args[2] as u32)),
        0 | AF_MAX.. => return Err(Errno::EAFNOSUPPORT),
        _ => return Err(Errno::EOPNOTSUPP),
    }
    let kind = SocketKind::of(if kind == 3 { 2 } else { kind }).ok_or(Errno::ESOCKTNOSUPPORT)?;
    let files = caller.thread.process.files();
    let (one, other) = UnixSocket::pair(kind, owner(caller), &files.vfs().flight);
    let status = O_RDWR | flags & O_NONBLOCK;
    let first = files.insert(Description::new(one, status), FdFlags::of(flags))?;
    let second = files.insert(Description::new(other, status), FdFlags::of(flags));
    let stored = second.and_then(|second| {
        let both = u64::from(first) | u64::from(second) << 32;
        caller.mm().write(args[3], &both.to_le_bytes()).inspect_err(|_| drop(files.close(second)))
    });
    stored.inspect_err(|_| drop(files.close(first))).map(|()| 0)
}

/// What is wrong with a pair of sockets of the Internet: the protocol, if it is none of that kind, else that it is a pair.
fn no_pair_of(kind: u32, protocol: u32) -> Errno {
    // IPPROTO_TCP, IPPROTO_UDP and, as a kind of its own, SOCK_RAW, which takes any but 0.
    let own = match kind {
        1 => 6,
        2 => 17,
        3 if protocol != 0 => protocol,
        3 => return Errno::EPROTONOSUPPORT,
        _ => return Errno::ESOCKTNOSUPPORT,
    };
    if protocol == 0 || protocol == own { Errno::EOPNOTSUPP } else { Errno::EPROTONOSUPPORT }
}

/// An address of AF_UNIX.
enum Address {
    /// Nothing but the family: "any".
    None,
    /// A name that begins with a zero.
    Abstract(Vec<u8>),
    /// A path: the host's.
    Path,
    /// Of another family.
    Other,
}

fn read_address(mm: &Mm, at: u64, len: u64) -> Result<Address, Errno> {
    if !(2..=128).contains(&len) {
        return Err(Errno::EINVAL);
    }
    let bytes = super::request::read_bytes(mm, at, len)?;
    Ok(match (u32::from(u16::from_le_bytes([bytes[0], bytes[1]])), &bytes[2..]) {
        (AF_UNIX, []) => Address::None,
        (AF_UNIX, [0, name @ ..]) => Address::Abstract(name.to_vec()),
        (AF_UNIX, _) => Address::Path,
        _ => Address::Other,
    })
}

/// Stores an address, as far as there is room, and how long it is.
fn store_address(mm: &Mm, at: u64, len_at: u64, name: Option<&[u8]>) -> Result<(), Errno> {
    if at == 0 {
        return Ok(());
    }
    let room = mm.read_u32(len_at)?;
    if room > i32::MAX as u32 {
        return Err(Errno::EINVAL);
    }
    let bytes = address_bytes(name);
    mm.write(at, &bytes[..bytes.len().min(room as usize)])?;
    mm.write(len_at, &(bytes.len() as u32).to_le_bytes())
}

fn address_bytes(name: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = (AF_UNIX as u16).to_le_bytes().to_vec();
    if let Some(name) = name {
        bytes.push(0);
        bytes.extend_from_slice(name);
    }
    bytes
}

/// The socket needs a path: the host makes one in its place.
async fn become_host(
    caller: &Caller<'_>,
    description: &Description,
    socket: &UnixSocket,
) -> Result<(), Errno> {
    if !socket.is_fresh() {
        return Err(Errno::EINVAL);
    }
    let kind = socket.kind() as u32 | description.flags() & O_NONBLOCK | O_CLOEXEC;
    let delegate = &caller.thread.process.delegate;
    let request = super::request::Request::new(caller, 41, [AF_UNIX.into(), u64::from(kind), 0, 0, 0, 0]);
    let reply = request.send_through(delegate).await?;
    let handle = Handle(super::request::result_of(&reply)?);
    let opened = reply.opened.ok_or(Errno::EIO)?;
    socket.become_host(HostFile::new(delegate.clone(), handle, opened));
    description.watch_for_signals()
}

/// bind(fd, address, length).
pub async fn sys_bind(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = get(caller, args[0])?;
    let Some(socket) = local(&description)? else { return forward(caller, 49, args).await };
    let names = caller.thread.process.files().vfs().names.clone();
    match read_address(&caller.mm(), args[1], args[2])? {
        Address::Abstract(name) => names.bind(&shared(&description)?, Some(&name)).map(|()| 0),
        Address::None => names.bind(&shared(&description)?, None).map(|()| 0),
        Address::Path => {
            become_host(caller, &description, socket).await?;
            forward(caller, 49, args).await
        }
        Address::Other => Err(Errno::EINVAL),
    }
}

/// connect(fd, address, length).
pub async fn sys_connect(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = get(caller, args[0])?;
    let Some(socket) = local(&description)? else { return forward(caller, 42, args).await };
    match read_address(&caller.mm(), args[1], args[2])? {
        Address::Abstract(name) => {
            let to = caller.thread.process.files().vfs().names.find(&name)?;
            let own = shared(&description)?;
            let connected = wait(caller, description.flags(), |cx, operation| {
                own.poll_connect(cx, operation, &to).map_ok(|()| 0)
            });
            connected.await.map(|done| done as u64)
        }
        Address::Path => {
            become_host(caller, &description, socket).await?;
            forward(caller, 42, args).await
        }
        Address::None | Address::Other => Err(Errno::EINVAL),
    }
}

/// listen(fd, backlog).
pub async fn sys_listen(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = get(caller, args[0])?;
    match local(&description)? {
        None => forward(caller, 50, args).await,
        Some(socket) => {
            let backlog = u32::try_from(args[1] as i32).unwrap_or(4096).min(4096);
            socket.listen(backlog as usize).map(|()| 0)
        }
    }
}

/// accept(fd, address, length), and accept4 with flags.
pub async fn sys_accept(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    let flags = if number == 288 { args[3] as u32 } else { 0 };
    if flags & !(O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let description = get(caller, args[0])?;
    let Some(socket) = local(&description)? else { return forward(caller, number, args).await };
    let mut accepted = None;
    let waited = wait(caller, description.flags(), |cx, operation| {
        socket.poll_accept(cx, operation).map_ok(|end| {
            accepted = Some(end);
            0
        })
    });
    waited.await?;
    let end = accepted.ok_or(Errno::EAGAIN)?;
    store_address(&caller.mm(), args[1], args[2], end.peer_name()?.as_deref())?;
    let description = Description::new(end, O_RDWR | flags & O_NONBLOCK);
    caller.thread.process.files().insert(description, FdFlags::of(flags)).map(u64::from)
}

/// shutdown(fd, how).
pub async fn sys_shutdown(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = get(caller, args[0])?;
    let Some(socket) = local(&description)? else { return forward(caller, 48, args).await };
    match args[1] {
        0 => socket.shutdown(true, false).map(|()| 0),
        1 => socket.shutdown(false, true).map(|()| 0),
        2 => socket.shutdown(true, true).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}

/// getsockname(fd, address, length) and getpeername.
pub async fn sys_name(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    let description = get(caller, args[0])?;
    let Some(socket) = local(&description)? else { return forward(caller, number, args).await };
    let name = if number == 51 { socket.bound_name() } else { socket.peer_name()? };
    store_address(&caller.mm(), args[1], args[2], name.as_deref()).map(|()| 0)
}

/// Options of SOL_SOCKET.
mod option {
    pub const TYPE: u64 = 3;
    pub const ERROR: u64 = 4;
    pub const SNDBUF: u64 = 7;
    pub const RCVBUF: u64 = 8;
    pub const PASSCRED: u64 = 16;
    pub const PEERCRED: u64 = 17;
    pub const ACCEPTCONN: u64 = 30;
    pub const PROTOCOL: u64 = 38;
    pub const DOMAIN: u64 = 39;
}

/// setsockopt(fd, level, option, value, length).
pub async fn sys_setsockopt(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = get(caller, args[0])?;
    let Some(socket) = local(&description)? else { return forward(caller, 54, args).await };
    if args[1] as u32 != SOL_SOCKET {
        return Err(Errno::ENOPROTOOPT);
    }
    if args[4] < 4 {
        return Err(Errno::EINVAL);
    }
    let value = caller.mm().read_u32(args[3])?;
    if args[2] == option::PASSCRED {
        socket.set_pass_credentials(value != 0);
    }
    // Sizes of buffers, time limits and the rest change nothing that a program could rely on.
    Ok(0)
}

/// getsockopt(fd, level, option, value, length).
pub async fn sys_getsockopt(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = get(caller, args[0])?;
    let Some(socket) = local(&description)? else { return forward(caller, 55, args).await };
    if args[1] as u32 != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    let word = |value: u32| value.to_le_bytes().to_vec();
    let value = match args[2] {
        option::TYPE => word(socket.kind() as u32),
        option::ERROR | option::PROTOCOL => word(0),
        option::SNDBUF | option::RCVBUF => word(212_992),
        option::PASSCRED => word(socket.pass_credentials().into()),
        option::ACCEPTCONN => word(socket.is_listening().into()),
        option::DOMAIN => word(AF_UNIX),
        option::PEERCRED => {
            let nobody = Credentials { pid: 0, uid: u32::MAX, gid: u32::MAX };
            credentials_bytes(&socket.peer_credentials().unwrap_or(nobody)).to_vec()
        }
        _ => return Err(Errno::ENOPROTOOPT),
    };
    let mm = caller.mm();
    let len = value.len().min(mm.read_u32(args[4])? as usize);
    mm.write(args[3], &value[..len])?;
    mm.write(args[4], &(len as u32).to_le_bytes()).map(|()| 0)
}

fn credentials_bytes(credentials: &Credentials) -> [u8; 12] {
    let mut bytes = [0; 12];
    let words = [credentials.pid, credentials.uid, credentials.gid];
    for (slot, word) in bytes.chunks_exact_mut(4).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Status flags for a call with flags of send(2) or recv(2).
fn status(description: &Description, flags: u32) -> u32 {
    description.flags() | if flags & msg::DONTWAIT != 0 { O_NONBLOCK } else { 0 }
}

/// The receiver that an address names.
fn receiver(caller: &Caller<'_>, mm: &Mm, at: u64, len: u64) -> Result<Option<Arc<UnixSocket>>, Errno> {
    if at == 0 || len == 0 {
        return Ok(None);
    }
    match read_address(mm, at, len)? {
        Address::Abstract(name) => caller.thread.process.files().vfs().names.find(&name).map(Some),
        // A socket of the node has no way to one of the host.
        Address::Path => Err(Errno::ECONNREFUSED),
        Address::None | Address::Other => Err(Errno::EINVAL),
    }
}

async fn send(
    caller: &Caller<'_>,
    description: &Description,
    socket: &UnixSocket,
    pieces: &[Iovec],
    flags: u32,
    mut extra: Outgoing,
    to: Option<Arc<UnixSocket>>,
) -> Result<u64, Errno> {
    if flags & msg::OOB != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let mm = caller.mm();
    let to = to.filter(|_| socket.kind() == SocketKind::Datagram);
    let mut transfer = Transfer::new(&mm, pieces, Access::Read, Rest::Move);
    let sent = loop {
        let mut buffer = transfer.buffer();
        let sent = wait(caller, status(description, flags), |cx, operation| {
            socket.poll_send(cx, operation, &mut buffer, &mut extra, to.as_ref())
        });
        if let Some(sent) = transfer.finish(sent.await, &buffer).await {
            break sent;
        }
    };
    sent.map(|sent| sent as u64)
        .map_err(|error| if flags & msg::NOSIGNAL != 0 { error } else { broken_pipe(caller, error) })
}

async fn receive(
    caller: &Caller<'_>,
    description: &Description,
    socket: &UnixSocket,
    pieces: &[Iovec],
    flags: u32,
) -> Result<Received, Errno> {
    if flags & msg::OOB != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let (mm, mut received) = (caller.mm(), None);
    let how = ReceiveFlags { peek: flags & msg::PEEK != 0, wait_all: flags & msg::WAITALL != 0 };
    let rest = if how.wait_all && !how.peek { Rest::Move } else { Rest::Leave };
    let mut transfer = Transfer::new(&mm, pieces, Access::Write, rest);
    let len = loop {
        let mut buffer = transfer.buffer();
        let waited = wait(caller, status(description, flags), |cx, operation| {
            match socket.poll_receive(cx, operation, &mut buffer, how) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(result) => Poll::Ready(result.map(|found| {
                    let len = found.len;
                    received = Some(found);
                    len
                })),
            }
        });
        if let Some(len) = transfer.finish(waited.await, &buffer).await {
            break len?;
        }
    };
    Ok(Received { len, ..received.unwrap_or_default() })
}

/// sendto(fd, buffer, length, flags, address, length).
pub async fn sys_sendto(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = get(caller, args[0])?;
    let Some(socket) = local(&description)? else {
        return forwarded_send(caller, 44, args, args[3]).await;
    };
    let pieces = [Iovec::new(args[1], args[2])?];
    let to = receiver(caller, &caller.mm(), args[4], args[5])?;
    send(caller, &description, socket, &pieces, args[3] as u32, Outgoing::default(), to).await
}

/// The host's EPIPE raises the signal here: its proxy ignores it.
async fn forwarded_send(caller: &Caller<'_>, number: u32, args: [u64; 6], flags: u64) -> Result<u64, Errno> {
    forward(caller, number, args)
        .await
        .map_err(|error| if flags as u32 & msg::NOSIGNAL != 0 { error } else { broken_pipe(caller, error) })
}

/// recvfrom(fd, buffer, length, flags, address, length).
pub async fn sys_recvfrom(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = get(caller, args[0])?;
    let Some(socket) = local(&description)? else { return forward(caller, 45, args).await };
    let (pieces, flags) = ([Iovec::new(args[1], args[2])?], args[3] as u32);
    let received = receive(caller, &description, socket, &pieces, flags).await?;
    if args[4] != 0 {
        store_address(&caller.mm(), args[4], args[5], received.from.as_deref())?;
    }
    Ok(if flags & msg::TRUNC != 0 && received.record { received.whole } else { received.len } as u64)
}

async fn read_header(mm: &Mm, at: u64) -> Result<Msghdr, Errno> {
    let mut bytes = [0; Msghdr::LEN];
    mm.read_wait(at, &mut bytes).await?;
    Ok(Msghdr::from_bytes(&bytes))
}

/// sendmsg(fd, header, flags).
pub async fn sys_sendmsg(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = get(caller, args[0])?;
    let Some(socket) = local(&description)? else {
        return forwarded_send(caller, 46, args, args[2]).await;
    };
    let mm = caller.mm();
    let header = read_header(&mm, args[1]).await?;
    let pieces = crate::files::read_iovecs(&mm, header.iov, header.iovlen)?;
    let extra = read_control(caller, &mm, header.control, header.controllen)?;
    let to = receiver(caller, &mm, header.name, u64::from(header.namelen))?;
    send(caller, &description, socket, &pieces, args[2] as u32, extra, to).await
}

/// Control data of sendmsg: files and credentials.
fn read_control(caller: &Caller<'_>, mm: &Mm, at: u64, len: u64) -> Result<Outgoing, Errno> {
    let mut extra = Outgoing::default();
    if len == 0 {
        return Ok(extra);
    }
    if len > MAX_CONTROL {
        return Err(Errno::ENOBUFS);
    }
    let (control, files) = (super::request::read_bytes(mm, at, len)?, caller.thread.process.files());
    let mut rights = Vec::new();
    let mut rest = &control[..];
    while let Some(header) = Cmsghdr::read(rest) {
        let len = usize::try_from(header.len).map_err(|_| Errno::EINVAL)?;
        let body = rest.get(Cmsghdr::LEN..len).ok_or(Errno::EINVAL)?;
        let words = body.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        match (header.level as u32, header.kind) {
            (SOL_SOCKET, SCM_RIGHTS) => {
                for fd in words {
                    room::push(&mut rights, files.get(fd)?)?;
                }
                if rights.len() > MAX_RIGHTS {
                    return Err(Errno::EINVAL);
                }
            }
            (SOL_SOCKET, SCM_CREDENTIALS) => {
                let words: Vec<u32> = words.collect();
                let &[pid, uid, gid] = &words[..] else { return Err(Errno::EINVAL) };
                let own = owner(caller);
                // Nobody is somebody else here.
                if (Credentials { pid, uid, gid }) != own && own.uid != 0 {
                    return Err(Errno::EPERM);
                }
                extra.credentials = Some(Credentials { pid, uid, gid });
            }
            _ => return Err(Errno::EINVAL),
        }
        rest = rest.get(cmsg_align(len)..).unwrap_or_default();
    }
    let user = caller.thread.process.ids.lock().user.real;
    extra.rights = Rights::new(rights, user, files.limit());
    Ok(extra)
}

/// recvmsg(fd, header, flags).
pub async fn sys_recvmsg(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = get(caller, args[0])?;
    let Some(socket) = local(&description)? else { return forward(caller, 47, args).await };
    let (mm, flags) = (caller.mm(), args[2] as u32);
    let mut header = read_header(&mm, args[1]).await?;
    let pieces = crate::files::read_iovecs(&mm, header.iov, header.iovlen)?;
    let received = receive(caller, &description, socket, &pieces, flags).await?;
    let (control, mut result_flags) =
        control_of(caller, &received, socket.pass_credentials(), header.controllen, flags);
    if received.truncated {
        result_flags |= msg::TRUNC;
    }
    if received.record && socket.kind() == SocketKind::Packets {
        result_flags |= msg::EOR;
    }
    mm.write(header.control, &control)?;
    if header.name != 0 {
        let from = if socket.kind() == SocketKind::Datagram {
            received.from.as_deref().map_or(Vec::new(), |name| address_bytes(Some(name)))
        } else {
            Vec::new()
        };
        mm.write(header.name, &from[..from.len().min(header.namelen as usize)])?;
        header.namelen = from.len() as u32;
    }
    header.controllen = control.len() as u64;
    header.flags = result_flags as _;
    mm.write(args[1], &header.to_bytes())?;
    Ok(if flags & msg::TRUNC != 0 && received.record { received.whole } else { received.len } as u64)
}

/// Control data for what was received, at most `room` bytes; files become descriptors.
fn control_of(
    caller: &Caller<'_>,
    received: &Received,
    with_credentials: bool,
    room: u64,
    flags: u32,
) -> (Vec<u8>, u32) {
    let (mut out, room) = (Vec::new(), room.min(MAX_CONTROL) as usize);
    let (mut result, files) = (0, caller.thread.process.files());
    let push = |out: &mut Vec<u8>, kind: i32, body: &[u8]| {
        out.resize(cmsg_align(out.len()), 0);
        let len = (Cmsghdr::LEN + body.len()) as u64;
        let header = Cmsghdr { len, level: SOL_SOCKET as i32, kind };
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(body);
    };
    if with_credentials && let Some(credentials) = &received.credentials {
        if room >= Cmsghdr::LEN + 12 {
            push(&mut out, SCM_CREDENTIALS, &credentials_bytes(credentials));
        } else {
            result |= msg::CTRUNC;
        }
    }
    if !received.rights.is_empty() {
        let left = room.saturating_sub(cmsg_align(out.len()) + Cmsghdr::LEN) / 4;
        let fd_flags = FdFlags { close_on_exec: flags & msg::CMSG_CLOEXEC != 0 };
        let mut numbers = Vec::new();
        for description in received.rights.iter().take(left) {
            match files.insert(description.clone(), fd_flags) {
                Ok(fd) => numbers.extend_from_slice(&fd.to_le_bytes()),
                Err(_) => break,
            }
        }
        if numbers.len() / 4 < received.rights.len() {
            result |= msg::CTRUNC;
        }
        if !numbers.is_empty() {
            push(&mut out, SCM_RIGHTS, &numbers);
        }
    }
    (out, result)
}

/// Bytes of a `struct mmsghdr`: a header and what was moved.
const MMSGHDR: u64 = 64;

/// sendmmsg(fd, vector, count, flags).
pub async fn sys_sendmmsg(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    series(caller, args, None).await
}

/// recvmmsg(fd, vector, count, flags, timeout). The time is looked at after each message, as recvmmsg(2) says.
pub async fn sys_recvmmsg(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let until = match args[4] {
        0 => keelson_hal::Instant::FAR_FUTURE,
        at => {
            let span = super::objects::read_timespec(&caller.mm(), at)?;
            caller.thread.process.system.timers.now() + span
        }
    };
    series(caller, args, Some(until)).await
}

async fn series(
    caller: &Caller<'_>,
    args: [u64; 6],
    receive_until: Option<keelson_hal::Instant>,
) -> Result<u64, Errno> {
    const MSG_WAITFORONE: u64 = 0x10000;
    let (mut flags, mut done) = (args[3] & !MSG_WAITFORONE, 0);
    while done < args[2].min(MAX_VECTOR) {
        let at = args[1].checked_add(done * MMSGHDR).ok_or(Errno::EFAULT)?;
        let one = [args[0], at, flags, 0, 0, 0];
        let result = match receive_until {
            None => sys_sendmsg(caller, one).await,
            Some(_) => sys_recvmsg(caller, one).await,
        };
        let len = match result {
            Ok(len) => len,
            Err(error) => return if done > 0 { Ok(done) } else { Err(error) },
        };
        caller.mm().write(at + MMSGHDR - 8, &(len as u32).to_le_bytes())?;
        done += 1;
        if args[3] & MSG_WAITFORONE != 0 {
            flags |= u64::from(msg::DONTWAIT);
        }
        if receive_until.is_some_and(|until| caller.thread.process.system.timers.now() >= until) {
            break;
        }
    }
    Ok(done)
}
