//! A file that is open.

use crate::api::Connection;
use crate::io::Server;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::io::{
    Dcmd, Dirents, IoChmod, IoDevctl, IoDevctlReply, IoLseek, IoMsg, IoReadWrite, IoRequest, IoSpace, IoSync,
    Stat, Xtype, whence,
};
use keelson_qnet_wire::{Endian, Errno};

/// Most bytes that one read or write asks for.
const MOST: usize = i32::MAX as usize;

/// Room for the fields of any request without its data.
const REQUEST: usize = 64;

/// An entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirItem {
    /// Name; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// Serial number; in `/net` the node descriptor.
    pub ino: u64,
    /// Its place in the directory.
    pub offset: u64,
}

/// An open file. Dropping it closes it too, a little later; [`File::close`] tells of errors.
pub struct File {
    connection: Connection,
    server: Server,
}

impl File {
    pub(crate) fn new(connection: Connection, server: Server) -> File {
        File { connection, server }
    }

    /// The connection to its server.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Who serves it.
    pub fn server(&self) -> Server {
        self.server
    }

    /// Sends a request, with data behind it. Status and length of the reply.
    async fn request(
        &self,
        request: IoRequest<'_>,
        data: &[u8],
        reply: &mut [u8],
    ) -> Result<(i32, usize), Errno> {
        let mut room = [0; REQUEST];
        let len = request.emit(&mut room, Endian::Little).map_err(|_| Errno::EMSGSIZE)?;
        let head = room.get(..len).unwrap_or_default();
        self.connection.send(&[head, data], reply).await
    }

    /// Reads at the file's position, and moves it. 0 at the end.
    pub async fn read(&self, room: &mut [u8]) -> Result<usize, Errno> {
        self.read_with(Xtype::None, room).await
    }

    /// Reads at a position of its own.
    pub async fn read_at(&self, offset: u64, room: &mut [u8]) -> Result<usize, Errno> {
        let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        self.read_with(Xtype::Offset(offset), room).await
    }

    async fn read_with(&self, xtype: Xtype, room: &mut [u8]) -> Result<usize, Errno> {
        let len = room.len().min(MOST);
        let read = IoReadWrite { nbytes: len as i32, xtype, ..IoReadWrite::default() };
        let (status, _) = self.request(IoRequest::Read(read), &[], room).await?;
        Ok(count(status)?.min(len))
    }

    /// Writes at the file's position, and moves it. How many bytes were taken.
    pub async fn write(&self, data: &[u8]) -> Result<usize, Errno> {
        self.write_with(Xtype::None, data).await
    }

    /// Writes at a position of its own.
    pub async fn write_at(&self, offset: u64, data: &[u8]) -> Result<usize, Errno> {
        let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        self.write_with(Xtype::Offset(offset), data).await
    }

    /// Writes everything.
    pub async fn write_all(&self, mut data: &[u8]) -> Result<(), Errno> {
        while !data.is_empty() {
            match self.write(data).await? {
                0 => return Err(Errno::EIO),
                len => data = data.get(len..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    async fn write_with(&self, xtype: Xtype, data: &[u8]) -> Result<usize, Errno> {
        let data = data.get(..data.len().min(MOST - REQUEST)).unwrap_or_default();
        let write = IoReadWrite { nbytes: data.len() as i32, xtype, ..IoReadWrite::default() };
        let (status, _) = self.request(IoRequest::Write(write, &[]), data, &mut []).await?;
        Ok(count(status)?.min(data.len()))
    }

    /// Moves the position; see [`whence`]. The new one.
    pub async fn lseek(&self, offset: i64, whence: i16) -> Result<u64, Errno> {
        let mut position = [0; 8];
        let request = IoRequest::Lseek(IoLseek { whence, offset: offset as u64 });
        self.request(request, &[], &mut position).await?;
        Ok(u64::from_le_bytes(position))
    }

    /// Attributes.
    pub async fn stat(&self) -> Result<Stat, Errno> {
        let mut room = [0; Stat::LEN];
        self.request(IoRequest::Stat, &[], &mut room).await?;
        Stat::decode(&room, Endian::Little).map_err(|_| Errno::EPROTO)
    }

    /// The next entries of a directory; none at the end.
    pub async fn read_dir(&self) -> Result<Vec<DirItem>, Errno> {
        let mut room = vec![0; 32_768];
        let len = self.read(&mut room).await?;
        let entry = |entry: Result<keelson_qnet_wire::io::Dirent<'_>, _>| {
            let entry = entry.map_err(|_| Errno::EPROTO)?;
            let name = String::from_utf8_lossy(entry.name).into_owned();
            Ok(DirItem { name, ino: entry.ino, offset: entry.offset })
        };
        Dirents::new(room.get(..len).unwrap_or_default(), Endian::Little).map(entry).collect()
    }

    /// Back to the first entry, or the first byte.
    pub async fn rewind(&self) -> Result<(), Errno> {
        self.lseek(0, whence::SET).await.map(|_| ())
    }

    /// Cuts or extends.
    pub async fn truncate(&self, size: u64) -> Result<(), Errno> {
        let space = IoSpace { subtype: IoSpace::FREE, whence: whence::SET, start: size, len: 0 };
        self.request(IoRequest::Space(space), &[], &mut [0; 8]).await.map(|_| ())
    }

    /// Changes permission bits.
    pub async fn chmod(&self, mode: u32) -> Result<(), Errno> {
        self.request(IoRequest::Chmod(IoChmod { mode }), &[], &mut []).await.map(|_| ())
    }

    /// What was written survives a power cut.
    pub async fn sync(&self) -> Result<(), Errno> {
        self.request(IoRequest::Sync(IoSync { flag: 0 }), &[], &mut []).await.map(|_| ())
    }

    /// A device control: data to the device in, data from it out. What it returned, and how many bytes there are.
    pub async fn devctl(&self, dcmd: Dcmd, data: &[u8], room: &mut [u8]) -> Result<(i32, usize), Errno> {
        let nbytes = data.len().max(room.len()).min(MOST) as i32;
        let mut answer = vec![0; IoDevctlReply::LEN + room.len()];
        let request = IoRequest::Devctl(IoDevctl { dcmd, nbytes }, &[]);
        self.request(request, data, &mut answer).await?;
        let (head, from) = answer.split_at_checked(IoDevctlReply::LEN).ok_or(Errno::EPROTO)?;
        let head = IoDevctlReply::decode(head, Endian::Little).map_err(|_| Errno::EPROTO)?;
        let len = count(head.nbytes)?.min(room.len());
        if let (Some(room), Some(from)) = (room.get_mut(..len), from.get(..len)) {
            room.copy_from_slice(from);
        }
        Ok((head.ret_val, len))
    }

    /// A message to a manager: status and data.
    pub async fn message(&self, msg: IoMsg, data: &[u8], room: usize) -> Result<(i32, Vec<u8>), Errno> {
        let mut answer = vec![0; room];
        let (status, len) = self.request(IoRequest::Msg(msg, &[]), data, &mut answer).await?;
        answer.truncate(len);
        Ok((status, answer))
    }

    /// Closes, and tells what went wrong.
    pub async fn close(self) -> Result<(), Errno> {
        self.tell_closed().await
    }

    /// Tells the server that it is closed. Nothing can be done to it from then on.
    pub(crate) async fn tell_closed(&self) -> Result<(), Errno> {
        self.request(IoRequest::Close, &[], &mut []).await.map(|_| ())
    }
}

fn count(status: i32) -> Result<usize, Errno> {
    usize::try_from(status).map_err(|_| Errno::EPROTO)
}
