//! sendmsg(2) and recvmsg(2).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::layout::{Cmsghdr, cmsg_align};
use keelson_lwk_wire::messages::Part;
use rustix::event::PollFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, UCred,
};
use rustix::process::{Gid, Pid, Uid};

use super::io::{send_all, stream_in, stream_out, when_ready};
use super::sockets::{from_host, to_host};
use super::{Held, Reply, Task};
use crate::fail::Fail;
use crate::proxy::handles::Handle;

/// MSG_DONTWAIT
const DONTWAIT: u32 = 0x40;
/// SOL_SOCKET
const SOL_SOCKET: i32 = 1;
/// SCM_RIGHTS
const RIGHTS: i32 = 1;
/// SCM_CREDENTIALS
const CREDENTIALS: i32 = 2;
/// Descriptors in one message (SCM_MAX_FD).
const MAX_RIGHTS: usize = 253;

/// sendmsg, recvmsg
pub(super) fn message(task: &Task<'_>) -> Result<Reply, Fail> {
    let handle = task.handle(0)?;
    if task.nr() == 46 { send(task, &handle) } else { receive(task, &handle) }
}

/// Control data of a message that is sent.
#[derive(Default)]
struct Control {
    rights: Vec<Held>,
    credentials: Option<UCred>,
}

fn parse_control(task: &Task<'_>, mut bytes: &[u8]) -> Result<Control, Fail> {
    let mut control = Control::default();
    while let Some(header) = Cmsghdr::read(bytes) {
        let len = usize::try_from(header.len).map_err(|_| Fail(Errno::EINVAL))?;
        let body = bytes.get(Cmsghdr::LEN..len).ok_or(Fail(Errno::EINVAL))?;
        let word = |at: usize| {
            body.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| i32::from_le_bytes(*bytes))
        };
        match (header.level, header.kind) {
            (SOL_SOCKET, RIGHTS) => {
                for at in (0..body.len() / 4).map(|index| index * 4) {
                    let number =
                        word(at).and_then(|number| u64::try_from(number).ok()).ok_or(Fail(Errno::EBADF))?;
                    control.rights.push(task.proxy.handles.get(number).ok_or(Fail(Errno::EBADF))?);
                }
            }
            (SOL_SOCKET, CREDENTIALS) => {
                let (Some(pid), Some(uid), Some(gid)) = (word(0), word(4), word(8)) else {
                    return Err(Fail(Errno::EINVAL));
                };
                control.credentials = Some(UCred {
                    pid: Pid::from_raw(pid).ok_or(Fail(Errno::EINVAL))?,
                    uid: Uid::from_raw(uid as u32),
                    gid: Gid::from_raw(gid as u32),
                });
            }
            _ => return Err(Fail(Errno::EOPNOTSUPP)),
        }
        bytes = bytes.get(cmsg_align(len)..).unwrap_or_default();
    }
    if control.rights.len() > MAX_RIGHTS {
        return Err(Fail(Errno::EINVAL));
    }
    Ok(control)
}

fn send(task: &Task<'_>, handle: &Held) -> Result<Reply, Fail> {
    let raw = task.int(2);
    let flags = SendFlags::from_bits_retain(raw | DONTWAIT) | SendFlags::NOSIGNAL;
    let address = task.checked.input(1, Part::Name).map(|bytes| to_host(task, bytes)).transpose()?;
    let control = parse_control(task, task.checked.input(1, Part::Control).unwrap_or_default())?;
    let rights: Vec<BorrowedFd<'_>> = control.rights.iter().map(|handle| handle.as_fd()).collect();
    let once = |bytes: &[u8], first: bool| -> Result<usize, Fail> {
        let mut space = vec![MaybeUninit::uninit(); 64 + cmsg_align(rights.len() * 4) + 64];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        // Control data goes with the first bytes.
        if first {
            let fits = rights.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(&rights));
            let credentials = control.credentials;
            let fits = fits
                && credentials.is_none_or(|cred| ancillary.push(SendAncillaryMessage::ScmCredentials(cred)));
            if !fits {
                return Err(Fail(Errno::EINVAL));
            }
        }
        let parts = [IoSlice::new(bytes)];
        Ok(match &address {
            Some(address) => rustix::net::sendmsg_addr(&**handle, address, &parts, &mut ancillary, flags)?,
            None => rustix::net::sendmsg(&**handle, &parts, &mut ancillary, flags)?,
        })
    };
    let mut first = true;
    stream_in(task, |bytes, _| {
        let mut send = |bytes: &[u8]| {
            let sent = once(bytes, first)?;
            first = false;
            Ok(sent)
        };
        if raw & DONTWAIT != 0 { send(bytes) } else { send_all(task, handle, bytes, send) }
    })
}

/// What came with a message.
#[derive(Default)]
struct Came {
    name: Vec<u8>,
    control: Vec<u8>,
    flags: u32,
}

fn receive(task: &Task<'_>, handle: &Held) -> Result<Reply, Fail> {
    let raw = task.int(2);
    let flags = RecvFlags::from_bits_retain(raw | DONTWAIT | RecvFlags::CMSG_CLOEXEC.bits());
    let room = task.checked.output(1, Part::Control).map_or(0, |output| output.len as usize);
    let mut came = Came::default();
    let reply = stream_out(task, handle, |into, _| {
        let mut attempt = || receive_once(task, handle, into, room, flags);
        let (got, with) =
            if raw & DONTWAIT != 0 { attempt()? } else { when_ready(task, handle, PollFlags::IN, attempt)? };
        came = with;
        Ok(got)
    })?;
    let lengths: Vec<u8> = [came.name.len() as u32, came.control.len() as u32, came.flags]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let reply = reply.with(task.checked.output(1, Part::Name), came.name);
    let reply = reply.with(task.checked.output(1, Part::Control), came.control);
    Ok(reply.with(task.checked.output(1, Part::Lengths), lengths))
}

fn receive_once(
    task: &Task<'_>,
    handle: &Handle,
    into: &mut [u8],
    room: usize,
    flags: RecvFlags,
) -> Result<(usize, Came), Fail> {
    let mut space = vec![MaybeUninit::uninit(); room];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::net::recvmsg(handle, &mut [IoSliceMut::new(into)], &mut ancillary, flags)?;
    let mut came = Came {
        name: message.address.as_ref().map(from_host).unwrap_or_default(),
        control: Vec::new(),
        flags: (message.flags & !ReturnFlags::CMSG_CLOEXEC).bits(),
    };
    for part in ancillary.drain() {
        match part {
            RecvAncillaryMessage::ScmRights(fds) => {
                let mut body = Vec::new();
                for fd in fds {
                    let number = task.proxy.handles.add(Handle::new(fd))?;
                    body.extend((number as i32).to_le_bytes());
                }
                push(&mut came.control, RIGHTS, &body);
            }
            RecvAncillaryMessage::ScmCredentials(cred) => {
                let words = [cred.pid.as_raw_nonzero().get() as u32, cred.uid.as_raw(), cred.gid.as_raw()];
                let body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                push(&mut came.control, CREDENTIALS, &body);
            }
            _ => {}
        }
    }
    Ok((message.bytes, came))
}

fn push(control: &mut Vec<u8>, kind: i32, body: &[u8]) {
    control.resize(cmsg_align(control.len()), 0);
    let len = (Cmsghdr::LEN + body.len()) as u64;
    control.extend(Cmsghdr { len, level: SOL_SOCKET, kind }.to_bytes());
    control.extend_from_slice(body);
}
