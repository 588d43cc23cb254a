//! What is done to an open file (sections 13.1, 13.2, 13.4 to 13.6).

use super::access::Caller;
use super::directory;
use super::dispatch::Dispatcher;
use super::manager::OpenFile;
use super::opens::Open;
use super::reply::{PIECE, Reply, while_wanted};
use crate::api::Message;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::io::{
    Dcmd, IoDevctl, IoDevctlReply, IoFdinfo, IoLseek, IoMsg, IoNotify, IoNotifyReply, IoReadWrite, IoRequest,
    Xtype, XtypeFlags, ioflag, notify, pathconf, whence,
};
use keelson_qnet_wire::{Endian, Errno};
use keelson_volume::FileType;

mod attributes;

use attributes::{attributes, chmod, chown, space, stat, utime};

/// Most data of a device control or a manager's message.
const DATA_MAX: usize = 65_536;

/// Flags that may be changed while a file is open.
const CHANGEABLE: u32 = ioflag::APPEND | ioflag::NONBLOCK | ioflag::DSYNC | ioflag::SYNC | ioflag::RSYNC;

/// `action` of `_IO_NOTIFY` that only asks (openqnx trunk/lib/c/public/sys/iomsg.h).
const NOTIFY_POLL: i32 = 0;

/// A part of a message, and what it is about.
pub(crate) struct Request<'a> {
    pub message: &'a Message,
    pub caller: &'a Caller,
    pub open: &'a Rc<Open>,
    /// Where the data behind the part's layout start in the message.
    pub data_at: usize,
    /// Whether the data go on behind what has come.
    pub is_last: bool,
}

impl Request<'_> {
    /// All of `len` bytes of data, of which `here` have come.
    async fn data(&self, here: &[u8], len: usize) -> Result<Vec<u8>, Errno> {
        if len > DATA_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let mut data = vec![0; len];
        let have = self.read_data(here, 0, &mut data).await?;
        data.truncate(have);
        Ok(data)
    }

    /// Data from an offset on.
    async fn read_data(&self, here: &[u8], offset: usize, to: &mut [u8]) -> Result<usize, Errno> {
        if self.is_last {
            return self.message.read(self.data_at.saturating_add(offset), to).await;
        }
        Ok(super::text::copy(here, offset as u64, to))
    }

    /// Bytes of data that there are.
    fn available(&self, here: &[u8]) -> usize {
        if self.is_last { self.message.len().saturating_sub(self.data_at) } else { here.len() }
    }
}

impl Dispatcher {
    /// Does one part.
    pub(super) async fn request(
        self: &Rc<Self>,
        request: &Request<'_>,
        what: IoRequest<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let open = request.open;
        reply.status = 0;
        match what {
            IoRequest::Read(read) => self.read(request, read, reply).await,
            IoRequest::Write(write, here) => {
                reply.status = write_file(request, write, here).await? as i32;
                Ok(())
            }
            IoRequest::Stat => {
                let attributes = attributes(open).await?;
                let device = keelson_qnet_wire::io::Stat::dev_of(request.caller.srcnd, open.place.mount.id.0);
                reply.push(&stat(&attributes, device).encode(Endian::Little)).await
            }
            IoRequest::Notify(body) => self.notify(request, body, reply).await,
            IoRequest::Devctl(body, here) => devctl(request, body, here, reply).await,
            IoRequest::Pathconf(body) => {
                reply.status = limit(body.name)?;
                Ok(())
            }
            IoRequest::Lseek(body) => {
                let position = seek(open, body).await?;
                reply.push(&position.to_le_bytes()).await
            }
            IoRequest::Chmod(body) => chmod(request, body.mode).await,
            IoRequest::Chown(body) => chown(request, body).await,
            IoRequest::Utime(body) => utime(request, body).await,
            IoRequest::Fdinfo(body) => fdinfo(open, body, reply).await,
            IoRequest::Space(body) => {
                let size = space(open, body).await?;
                reply.push(&size.to_le_bytes()).await
            }
            IoRequest::Msg(body, here) => msg(request, body, here, reply).await,
            IoRequest::Sync(_) => open.file().await?.sync().await,
            // Those below are not for files, or nobody's.
            IoRequest::Connect(_)
            | IoRequest::Dup(_)
            | IoRequest::Close
            | IoRequest::Openfd(_)
            | IoRequest::Lock(..)
            | IoRequest::Shutdown
            | IoRequest::Mmap(_)
            | IoRequest::Power(_) => Err(Errno::ENOSYS),
        }
    }

    async fn read(
        &self,
        request: &Request<'_>,
        read: IoReadWrite,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let open = request.open;
        check_access(open, ioflag::RD)?;
        let nbytes = usize::try_from(read.nbytes).map_err(|_| Errno::EINVAL)?;
        let wanted = nbytes.min(reply.room());
        if open.place.attributes.file_type == FileType::Directory {
            // An offset of its own has no meaning: it counts entries.
            let entries = directory::read(self.namespace(), open, wanted).await?;
            reply.status = entries.len() as i32;
            return reply.push(&entries).await;
        }
        let file = open.file().await?;
        may_wait(open, &*file, read.flags, notify::INPUT)?;
        let (permit, mut at) = match position(read.xtype)? {
            Some(at) => (None, at),
            None if file.is_seekable() => (Some(open.at_offset.acquire().await), open.offset.get()),
            None => (None, 0),
        };
        let mut buffer = vec![0; wanted.min(PIECE)];
        let mut done = 0;
        loop {
            let piece = buffer.get_mut(..PIECE.min(wanted - done)).ok_or(Errno::EIO)?;
            let result = if file.may_block() {
                while_wanted(request.message, file.read(at, piece)).await
            } else {
                file.read(at, piece).await
            };
            let len = match result {
                Ok(len) => len.min(piece.len()),
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            let is_short = len < piece.len();
            reply.push(piece.get(..len).unwrap_or_default()).await?;
            done += len;
            at = at.saturating_add(len as u64);
            if is_short || done >= wanted || !file.is_seekable() {
                break;
            }
        }
        if permit.is_some() {
            open.offset.set(at);
        }
        reply.status = done as i32;
        Ok(())
    }

    async fn notify(
        self: &Rc<Self>,
        request: &Request<'_>,
        body: IoNotify,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let open = request.open;
        let wanted = body.flags & (notify::INPUT | notify::OUTPUT | notify::OBAND);
        let file = open.file().await?;
        let met = file.ready() & wanted;
        open.disarm();
        if body.action != NOTIFY_POLL
            && met == 0
            && let (Some(changed), Some(target)) = (file.changed(), request.message.event_target())
        {
            let event = body.sigevent;
            let task = self.kernel().executor().spawn("notify", async move {
                loop {
                    let wait = changed.notified();
                    let met = file.ready() & wanted;
                    if met != 0 {
                        let mut event = event;
                        event.value |= met as i32;
                        // Best effort: a client that is gone is told nothing.
                        let _ = target.deliver(&event);
                        return;
                    }
                    wait.await;
                }
            });
            *open.armed.borrow_mut() = Some(task);
        }
        reply.push(&IoNotifyReply { flags: met }.encode(Endian::Little)).await
    }
}

fn check_access(open: &Open, wanted: u32) -> Result<(), Errno> {
    if open.ioflag.get() & wanted == 0 { Err(Errno::EBADF) } else { Ok(()) }
}

/// `EAGAIN` where waiting is neither needed nor wanted.
fn may_wait(open: &Open, file: &dyn OpenFile, flags: XtypeFlags, condition: u32) -> Result<(), Errno> {
    let nonblock = flags.contains(XtypeFlags::NONBLOCK) || open.ioflag.get() & ioflag::NONBLOCK != 0;
    let blocks = !nonblock || flags.contains(XtypeFlags::BLOCK);
    if file.may_block() && !blocks && file.ready() & condition == 0 { Err(Errno::EAGAIN) } else { Ok(()) }
}

fn position(xtype: Xtype) -> Result<Option<u64>, Errno> {
    match xtype {
        Xtype::Offset(offset) => u64::try_from(offset).map(Some).map_err(|_| Errno::EINVAL),
        Xtype::None | Xtype::ReadCond { .. } => Ok(None),
    }
}

async fn write_file(request: &Request<'_>, write: IoReadWrite, here: &[u8]) -> Result<usize, Errno> {
    let open = request.open;
    check_access(open, ioflag::WR)?;
    let nbytes = usize::try_from(write.nbytes).map_err(|_| Errno::EINVAL)?;
    let total = nbytes.min(request.available(here)).min(i32::MAX as usize);
    let file = open.file().await?;
    may_wait(open, &*file, write.flags, notify::OUTPUT)?;
    let explicit = position(write.xtype)?;
    let permit = match explicit {
        None if file.is_seekable() => Some(open.at_offset.acquire().await),
        _ => None,
    };
    let mut at = match explicit {
        Some(at) => at,
        None if !file.is_seekable() => 0,
        None if open.ioflag.get() & ioflag::APPEND != 0 => attributes(open).await?.size,
        None => open.offset.get(),
    };
    let (mut done, mut result) = (0, Ok(()));
    let mut buffer = Vec::new();
    while done < total {
        let piece = PIECE.min(total - done);
        // What came along is not copied.
        let data = match here.get(done..done + piece) {
            Some(data) => data,
            None => {
                buffer.resize(piece, 0);
                let len = request.read_data(here, done, &mut buffer).await?;
                buffer.get(..len).unwrap_or_default()
            }
        };
        if data.is_empty() {
            break;
        }
        let written = if file.may_block() {
            while_wanted(request.message, file.write(at, data)).await
        } else {
            file.write(at, data).await
        };
        match written {
            Ok(0) => break,
            Ok(len) => {
                done += len.min(data.len());
                at = at.saturating_add(len as u64);
            }
            Err(errno) => {
                result = Err(errno);
                break;
            }
        }
    }
    if permit.is_some() {
        open.offset.set(at);
    }
    if done == 0 {
        result?;
    }
    if open.ioflag.get() & (ioflag::SYNC | ioflag::DSYNC) != 0 {
        file.sync().await?;
    }
    Ok(done)
}

fn limit(name: i16) -> Result<i32, Errno> {
    Ok(match name {
        pathconf::LINK_MAX => 1,
        pathconf::NAME_MAX => 255,
        pathconf::PATH_MAX => 1024,
        pathconf::PIPE_BUF => 512,
        pathconf::NO_TRUNC | pathconf::CHOWN_RESTRICTED => 1,
        _ => return Err(Errno::EINVAL),
    })
}

async fn seek(open: &Open, body: IoLseek) -> Result<u64, Errno> {
    let is_directory = open.place.attributes.file_type == FileType::Directory;
    if !is_directory && !open.file().await?.is_seekable() {
        return Err(Errno::ESPIPE);
    }
    let _permit = open.at_offset.acquire().await;
    let base = match body.whence {
        whence::SET => 0,
        whence::CUR => open.offset.get(),
        whence::END if !is_directory => attributes(open).await?.size,
        _ => return Err(Errno::EINVAL),
    };
    let position = i128::from(base) + i128::from(body.offset as i64);
    let position = i64::try_from(position).ok().filter(|position| *position >= 0).ok_or(Errno::EINVAL)?;
    open.offset.set(position as u64);
    Ok(position as u64)
}

async fn fdinfo(open: &Open, body: IoFdinfo, reply: &mut Reply<'_>) -> Result<(), Errno> {
    let room = usize::try_from(body.path_len).map_err(|_| Errno::EINVAL)?;
    let mut path = open.place.path.text();
    path.truncate(room.saturating_sub(1));
    path.push(0);
    path.truncate(room);
    reply.status = path.len() as i32;
    reply.push(&path).await
}

async fn devctl(
    request: &Request<'_>,
    body: IoDevctl,
    here: &[u8],
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let open = request.open;
    let nbytes = usize::try_from(body.nbytes).map_err(|_| Errno::EINVAL)?;
    let data = match body.dcmd.to_device() {
        true => request.data(here, nbytes.min(request.available(here))).await?,
        false => Vec::new(),
    };
    let room = reply.room().saturating_sub(IoDevctlReply::LEN).min(nbytes).min(DATA_MAX);
    let number = |value: u32| super::manager::DevctlAnswer { ret_val: 0, data: value.to_le_bytes().to_vec() };
    let mut answer = match body.dcmd.low16() {
        Dcmd::ALL_GETFLAGS => {
            // The user's form of the access bits is one less.
            let flags = open.ioflag.get();
            number(flags & !ioflag::ACCESS | (flags & ioflag::ACCESS).saturating_sub(1))
        }
        Dcmd::ALL_SETFLAGS => {
            let flags = u32::from_le_bytes(*data.first_chunk().ok_or(Errno::EINVAL)?);
            open.ioflag.set(open.ioflag.get() & !CHANGEABLE | flags & CHANGEABLE);
            super::manager::DevctlAnswer::default()
        }
        Dcmd::ALL_GETMOUNTFLAGS => number(0),
        _ if open.place.attributes.file_type == FileType::Directory => {
            let place = &open.place;
            place.mount.manager.devctl(place.attributes.id, body.dcmd, &data, room, request.caller).await?
        }
        _ => {
            let file = open.file().await?;
            let wait = file.devctl(body.dcmd, &data, room, request.caller);
            if file.may_block() { while_wanted(request.message, wait).await? } else { wait.await? }
        }
    };
    if body.dcmd.from_device() {
        answer.data.truncate(room)
    } else {
        answer.data.clear()
    }
    let head = IoDevctlReply { ret_val: answer.ret_val, nbytes: answer.data.len() as i32 };
    reply.push(&head.encode(Endian::Little)).await?;
    reply.push(&answer.data).await
}

async fn msg(request: &Request<'_>, body: IoMsg, here: &[u8], reply: &mut Reply<'_>) -> Result<(), Errno> {
    if request.open.place.attributes.file_type == FileType::Directory {
        return Err(Errno::ENOSYS);
    }
    let data = request.data(here, request.available(here)).await?;
    let file = request.open.file().await?;
    // May be dropped: nothing on a medium is behind it.
    let (status, data) = while_wanted(request.message, file.message(body, &data, request.caller)).await?;
    reply.status = status;
    reply.push(&data).await
}
