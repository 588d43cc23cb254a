//! One message to a resource manager, understood (sections 13.1 and 13.2).

use super::{
    COMBINE, IoChmod, IoChown, IoConnect, IoDevctl, IoDup, IoError, IoFdinfo, IoHeader, IoLock, IoLseek,
    IoMsg, IoNotify, IoOpenfd, IoPathconf, IoReadWrite, IoSpace, IoSync, IoUtime, MsgType, Part,
};
use crate::endian::Endian;
use crate::layout::{Field, Short};
use crate::out::{NoRoom, Out, len16};

/// A message, and the data behind it as far as they came along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoRequest<'a> {
    /// By name.
    Connect(IoConnect<'a>),
    /// Read.
    Read(IoReadWrite),
    /// Write. Of `nbytes` bytes these came along.
    Write(IoReadWrite, &'a [u8]),
    /// Attributes.
    Stat,
    /// Tell me when.
    Notify(IoNotify),
    /// Device control, and data to the device.
    Devctl(IoDevctl, &'a [u8]),
    /// A limit.
    Pathconf(IoPathconf),
    /// Move the position.
    Lseek(IoLseek),
    /// New permissions.
    Chmod(IoChmod),
    /// New owner.
    Chown(IoChown),
    /// New times.
    Utime(IoUtime),
    /// Another descriptor of another kind.
    Openfd(IoOpenfd),
    /// Path of an open file.
    Fdinfo(IoFdinfo),
    /// Lock, and its description.
    Lock(IoLock, &'a [u8]),
    /// Allocate, free, truncate.
    Space(IoSpace),
    /// End the server.
    Shutdown,
    /// Map: fields behind the header.
    Mmap(&'a [u8]),
    /// To a manager, and its data.
    Msg(IoMsg, &'a [u8]),
    /// Another descriptor.
    Dup(IoDup),
    /// Close.
    Close,
    /// Write out.
    Sync(IoSync),
    /// Power management: fields behind the header.
    Power(&'a [u8]),
}

impl<'a> IoRequest<'a> {
    /// Understands a part.
    pub fn decode(part: Part<'a>, endian: Endian) -> Result<IoRequest<'a>, IoError> {
        let bytes = part.bytes;
        let fixed_len = part.kind.fixed_len().ok_or(IoError::Type(part.kind))?;
        let what = "message of this type";
        let short = IoError::Short(Short { what, need: fixed_len, have: bytes.len() });
        let (fixed, data) = bytes.split_at_checked(fixed_len).ok_or(short)?;
        let body = fixed.get(IoHeader::LEN..).unwrap_or_default();
        // The lengths are those of the layouts.
        macro_rules! layout_of {
            ($layout:ident) => {
                $layout::decode(fixed, endian).map_err(IoError::Short)?
            };
        }
        Ok(match part.kind {
            MsgType::IO_CONNECT => {
                IoRequest::Connect(IoConnect::decode(bytes, endian).map_err(IoError::Connect)?)
            }
            MsgType::IO_READ => IoRequest::Read(IoReadWrite::decode(bytes, endian)?.0),
            MsgType::IO_WRITE => {
                let (write, data) = IoReadWrite::decode(bytes, endian)?;
                IoRequest::Write(write, data)
            }
            MsgType::IO_STAT => IoRequest::Stat,
            MsgType::IO_NOTIFY => IoRequest::Notify(layout_of!(IoNotify)),
            MsgType::IO_DEVCTL => IoRequest::Devctl(layout_of!(IoDevctl), data),
            MsgType::IO_PATHCONF => IoRequest::Pathconf(layout_of!(IoPathconf)),
            MsgType::IO_LSEEK => IoRequest::Lseek(layout_of!(IoLseek)),
            MsgType::IO_CHMOD => IoRequest::Chmod(layout_of!(IoChmod)),
            MsgType::IO_CHOWN => IoRequest::Chown(layout_of!(IoChown)),
            MsgType::IO_UTIME => IoRequest::Utime(layout_of!(IoUtime)),
            MsgType::IO_OPENFD => IoRequest::Openfd(layout_of!(IoOpenfd)),
            MsgType::IO_FDINFO => IoRequest::Fdinfo(layout_of!(IoFdinfo)),
            MsgType::IO_LOCK => IoRequest::Lock(layout_of!(IoLock), data),
            MsgType::IO_SPACE => IoRequest::Space(layout_of!(IoSpace)),
            MsgType::IO_SHUTDOWN => IoRequest::Shutdown,
            MsgType::IO_MMAP => IoRequest::Mmap(body),
            MsgType::IO_MSG => IoRequest::Msg(layout_of!(IoMsg), data),
            MsgType::IO_DUP => IoRequest::Dup(layout_of!(IoDup)),
            MsgType::IO_CLOSE => IoRequest::Close,
            MsgType::IO_SYNC => IoRequest::Sync(layout_of!(IoSync)),
            MsgType::IO_POWER => IoRequest::Power(body),
            other => return Err(IoError::Type(other)),
        })
    }

    /// Its type.
    pub const fn kind(&self) -> MsgType {
        match self {
            IoRequest::Connect(_) => MsgType::IO_CONNECT,
            IoRequest::Read(_) => MsgType::IO_READ,
            IoRequest::Write(..) => MsgType::IO_WRITE,
            IoRequest::Stat => MsgType::IO_STAT,
            IoRequest::Notify(_) => MsgType::IO_NOTIFY,
            IoRequest::Devctl(..) => MsgType::IO_DEVCTL,
            IoRequest::Pathconf(_) => MsgType::IO_PATHCONF,
            IoRequest::Lseek(_) => MsgType::IO_LSEEK,
            IoRequest::Chmod(_) => MsgType::IO_CHMOD,
            IoRequest::Chown(_) => MsgType::IO_CHOWN,
            IoRequest::Utime(_) => MsgType::IO_UTIME,
            IoRequest::Openfd(_) => MsgType::IO_OPENFD,
            IoRequest::Fdinfo(_) => MsgType::IO_FDINFO,
            IoRequest::Lock(..) => MsgType::IO_LOCK,
            IoRequest::Space(_) => MsgType::IO_SPACE,
            IoRequest::Shutdown => MsgType::IO_SHUTDOWN,
            IoRequest::Mmap(_) => MsgType::IO_MMAP,
            IoRequest::Msg(..) => MsgType::IO_MSG,
            IoRequest::Dup(_) => MsgType::IO_DUP,
            IoRequest::Close => MsgType::IO_CLOSE,
            IoRequest::Sync(_) => MsgType::IO_SYNC,
            IoRequest::Power(_) => MsgType::IO_POWER,
        }
    }

    /// Writes the message as the only one, or the last. Returns its length. Data may also be sent from where they
    /// are: then give none here.
    pub fn emit(&self, room: &mut [u8], endian: Endian) -> Result<usize, NoRoom> {
        self.emit_with(room, endian, false)
    }

    /// Writes the message as one behind which another is written. `_IO_CONNECT` cannot be: it has its extra data.
    pub fn emit_combined(&self, room: &mut [u8], endian: Endian) -> Result<usize, NoRoom> {
        self.emit_with(room, endian, true)
    }

    fn emit_with(&self, room: &mut [u8], endian: Endian, more: bool) -> Result<usize, NoRoom> {
        if let IoRequest::Connect(connect) = self {
            return connect.emit(room, endian);
        }
        let (fixed_len, data): (usize, &[u8]) = match self {
            IoRequest::Read(read) => (read.encoded_len(), &[]),
            IoRequest::Write(write, data) => (write.encoded_len(), data),
            IoRequest::Devctl(_, data) | IoRequest::Lock(_, data) => {
                (self.kind().fixed_len().unwrap_or_default(), data)
            }
            // A manager's data are part of its message.
            IoRequest::Msg(_, data) => (IoMsg::LEN + data.len(), data),
            IoRequest::Mmap(body) | IoRequest::Power(body) => (IoHeader::LEN + body.len(), &[]),
            _ => (self.kind().fixed_len().unwrap_or_default(), &[]),
        };
        let combine_len = match more {
            true => COMBINE | len16(IoHeader::LEN.max(fixed_len + data_behind(self, data))) & !COMBINE,
            // The last one's own size: its data are counted by the message.
            false => len16(fixed_len),
        };
        let header = IoHeader { kind: self.kind().0, combine_len };
        let mut out = Out::new(room, endian);
        match self {
            IoRequest::Connect(_) => {}
            IoRequest::Read(read) => read.put(&header, &mut out),
            IoRequest::Write(write, _) => write.put(&header, &mut out),
            IoRequest::Stat => put(&mut out, &header, &[0u32; 2]),
            IoRequest::Notify(body) => put(&mut out, &header, body),
            IoRequest::Devctl(body, _) => put(&mut out, &header, body),
            IoRequest::Pathconf(body) => put(&mut out, &header, body),
            IoRequest::Lseek(body) => put(&mut out, &header, body),
            IoRequest::Chmod(body) => put(&mut out, &header, body),
            IoRequest::Chown(body) => put(&mut out, &header, body),
            IoRequest::Utime(body) => put(&mut out, &header, body),
            IoRequest::Openfd(body) => put(&mut out, &header, body),
            IoRequest::Fdinfo(body) => put(&mut out, &header, body),
            IoRequest::Lock(body, _) => put(&mut out, &header, body),
            IoRequest::Space(body) => put(&mut out, &header, body),
            IoRequest::Msg(body, _) => put(&mut out, &header, body),
            IoRequest::Dup(body) => put(&mut out, &header, body),
            IoRequest::Sync(body) => put(&mut out, &header, body),
            IoRequest::Shutdown | IoRequest::Close => put(&mut out, &header, &0u32),
            IoRequest::Mmap(body) | IoRequest::Power(body) => {
                out.put(&header).bytes(body);
            }
        }
        out.bytes(data).finish()
    }
}

/// Data that the fixed length does not count.
fn data_behind(request: &IoRequest<'_>, data: &[u8]) -> usize {
    if matches!(request, IoRequest::Msg(..)) { 0 } else { data.len() }
}

fn put<T: Field>(out: &mut Out<'_>, header: &IoHeader, body: &T) {
    out.structure(header, body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Parts;

    #[test]
    fn combined_and_back() {
        let write = IoReadWrite { nbytes: 3, ..IoReadWrite::default() };
        let requests = [
            IoRequest::Lseek(IoLseek { whence: 2, offset: 5 }),
            IoRequest::Write(write, b"abc"),
            IoRequest::Msg(IoMsg { mgrid: 1, subtype: 2 }, b"data"),
            IoRequest::Close,
        ];
        let (mut room, mut len) = ([0; 128], 0);
        for request in &requests[..3] {
            len += request.emit_combined(&mut room[len..], Endian::Big).unwrap();
        }
        len += requests[3].emit(&mut room[len..], Endian::Big).unwrap();
        let parts = Parts::new(&room[..len], Endian::Big);
        let decoded: Vec<_> =
            parts.map(|part| IoRequest::decode(part.unwrap(), Endian::Big).unwrap()).collect();
        assert_eq!(decoded, requests);
    }

    #[test]
    fn reserved_and_unknown_types() {
        for kind in [0x103, 0x107, 0x114, 0x117, 0x118, 0x11b, 0x10] {
            let part = Part { kind: MsgType(kind), bytes: &[0; 128] };
            assert_eq!(IoRequest::decode(part, Endian::Little), Err(IoError::Type(MsgType(kind))));
        }
        for kind in MsgType::ALL.iter().filter(|kind| kind.0 >= 0x100) {
            let bytes = [0; 88];
            let bytes = &bytes[..kind.fixed_len().unwrap() - 1];
            let error = IoRequest::decode(Part { kind: *kind, bytes }, Endian::Little).unwrap_err();
            assert!(matches!(error, IoError::Short(_)), "{kind}");
        }
    }
}
