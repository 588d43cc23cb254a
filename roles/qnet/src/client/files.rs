//! What is done by path.

use super::file::{DirItem, File};
use super::open::{Answered, Asking, OpenFlags, behind_node};
use crate::api::{Connection, Credentials, Kernel};
use crate::io::{NodeDirectory, Server};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use keelson_qnet_wire::io::{ConnectSubtype, Extra, IoChmod, IoChown, IoRequest, IoUtime, Stat, ioflag};
use keelson_qnet_wire::{Endian, Errno, Nd};

/// Mode bits of a directory and of a symbolic link.
const DIRECTORY: u32 = 0x4000;
const REGULAR: u32 = 0x8000;
const LINK: u32 = 0xa000;

/// The last connection, and to where.
type Kept = Rc<Cell<Option<(Server, Connection)>>>;

/// Files as a user sees them. Clones are the same user.
#[derive(Clone)]
pub struct Files {
    kernel: Kernel,
    who: Credentials,
    nodes: Option<Rc<dyn NodeDirectory>>,
    /// The connection that was used last, where it is kept.
    kept: Option<Kept>,
}

impl Files {
    /// Files for a user. Without a node directory, this node's own manager is asked where `/net/<node>` is, as QNX's C
    /// library does.
    pub fn new(kernel: &Kernel, who: &Credentials, nodes: Option<Rc<dyn NodeDirectory>>) -> Files {
        Files { kernel: kernel.clone(), who: *who, nodes, kept: None }
    }

    /// The same files, for somebody who does much by name on the same node, such as listing attributes of a whole
    /// directory: the connection stays from one operation to the next, which saves a round trip each. It ends with the last
    /// clone.
    pub fn keeping_connection(&self) -> Files {
        Files { kept: Some(Kept::default()), ..self.clone() }
    }

    /// Where messages go through.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Who the user is.
    pub fn credentials(&self) -> &Credentials {
        &self.who
    }

    /// Keeps the connection of something that left nothing open. What the server has said.
    fn done(&self, answered: Answered) -> Vec<u8> {
        self.keep(answered.server, answered.connection);
        answered.data
    }

    pub(super) fn keep(&self, server: Server, connection: Connection) {
        if let Some(kept) = &self.kept {
            kept.set(Some((server, connection)));
        }
    }

    /// A connection to a channel that was kept.
    pub(super) fn take_kept(&self, server: Server) -> Option<Connection> {
        let (to, connection) = self.kept.as_ref()?.take()?;
        let is_there =
            (to.nd, to.pid, to.chid) == (server.nd, server.pid, server.chid) && connection.is_alive();
        is_there.then_some(connection)
    }

    pub(super) fn nodes(&self) -> Option<&Rc<dyn NodeDirectory>> {
        self.nodes.as_ref()
    }

    /// Opens a file or a directory.
    pub async fn open(&self, path: &str, flags: OpenFlags) -> Result<File, Errno> {
        self.open_mode(path, flags, 0).await
    }

    /// Opens a file to be written and read; it is made with these permission bits, or emptied.
    pub async fn create(&self, path: &str, mode: u32) -> Result<File, Errno> {
        self.open_mode(path, OpenFlags::REPLACE.with(ioflag::RD), mode).await
    }

    /// Opens a file, with the permission bits that it gets if it is made.
    pub async fn open_mode(&self, path: &str, flags: OpenFlags, mode: u32) -> Result<File, Errno> {
        let mode = if flags.0 & ioflag::CREAT != 0 { REGULAR | mode & 0o7777 } else { 0 };
        let asking = Asking { ioflag: flags.0, mode, access: 3, ..Asking::new(ConnectSubtype::OPEN) };
        let answered = self.ask(path, asking).await?;
        Ok(File::new(answered.connection, answered.server))
    }

    /// Attributes of what a path leads to.
    pub async fn stat(&self, path: &str) -> Result<Stat, Errno> {
        self.attributes(path, 0).await
    }

    /// The same, of a symbolic link itself.
    pub async fn lstat(&self, path: &str) -> Result<Stat, Errno> {
        self.attributes(path, LINK).await
    }

    async fn attributes(&self, path: &str, mode: u32) -> Result<Stat, Errno> {
        let data = self.once(path, mode, IoRequest::Stat).await?;
        Stat::decode(&data, Endian::Little).map_err(|_| Errno::EPROTO)
    }

    /// Opens, does one thing, and closes.
    async fn once(&self, path: &str, mode: u32, request: IoRequest<'_>) -> Result<Vec<u8>, Errno> {
        let mut room = [0; 64];
        let len = request.emit(&mut room, Endian::Little).map_err(|_| Errno::EMSGSIZE)?;
        let extra = Extra::Message(room.get(..len).unwrap_or_default());
        let asking = Asking { mode, extra, ..Asking::new(ConnectSubtype::COMBINE_CLOSE) };
        let answered = self.ask(path, asking).await?;
        Ok(self.done(answered))
    }

    /// All entries of a directory, in its order.
    pub async fn read_dir(&self, path: &str) -> Result<Vec<DirItem>, Errno> {
        // The slash makes it an error to read a file.
        let directory = self.open(&alloc::format!("{path}/"), OpenFlags::READ).await?;
        let mut items = Vec::new();
        loop {
            let more = directory.read_dir().await?;
            if more.is_empty() {
                break;
            }
            items.extend(more);
        }
        directory.close().await?;
        Ok(items)
    }

    /// Removes a name of anything but a directory.
    pub async fn unlink(&self, path: &str) -> Result<(), Errno> {
        let asking = Asking { mode: LINK, ..Asking::new(ConnectSubtype::UNLINK) };
        self.ask(path, asking).await.map(|answered| drop(self.done(answered)))
    }

    /// Removes an empty directory. Of `/net/<node>`: forgets the node.
    pub async fn rmdir(&self, path: &str) -> Result<(), Errno> {
        let asking = Asking { mode: DIRECTORY, ..Asking::new(ConnectSubtype::UNLINK) };
        self.ask(path, asking).await.map(|answered| drop(self.done(answered)))
    }

    /// Makes a directory.
    pub async fn mkdir(&self, path: &str, mode: u32) -> Result<(), Errno> {
        let mode = DIRECTORY | mode & 0o7777;
        let asking = Asking { mode, ..Asking::new(ConnectSubtype::MKNOD) };
        self.ask(path, asking).await.map(|answered| drop(self.done(answered)))
    }

    /// Gives an object another name, taking the place of what has it. `EXDEV` on another node.
    pub async fn rename(&self, old: &str, new: &str) -> Result<(), Errno> {
        let (old_node, old_path) = behind_node(old)?;
        let (new_node, _) = behind_node(new)?;
        if old_node != new_node {
            return Err(Errno::EXDEV);
        }
        let asking = Asking { extra: Extra::Rename(&old_path), ..Asking::new(ConnectSubtype::RENAME) };
        self.ask(new, asking).await.map(|answered| drop(self.done(answered)))
    }

    /// Makes a symbolic link with a text.
    pub async fn symlink(&self, target: &str, path: &str) -> Result<(), Errno> {
        if target.len() > 1024 {
            return Err(Errno::ENAMETOOLONG);
        }
        let extra = Extra::Symlink(target.as_bytes());
        let asking = Asking { mode: LINK | 0o777, extra, ..Asking::new(ConnectSubtype::LINK) };
        self.ask(path, asking).await.map(|answered| drop(self.done(answered)))
    }

    /// Text of a symbolic link.
    pub async fn readlink(&self, path: &str) -> Result<String, Errno> {
        let answered = self.ask(path, Asking::new(ConnectSubtype::READLINK)).await?;
        let text = answered.data.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// Changes permission bits.
    pub async fn chmod(&self, path: &str, mode: u32) -> Result<(), Errno> {
        self.once(path, 0, IoRequest::Chmod(IoChmod { mode })).await.map(|_| ())
    }

    /// Changes owner and group; `None` leaves them.
    pub async fn chown(&self, path: &str, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let id = |id: Option<u32>| id.map_or(-1, |id| id as i32);
        let request = IoRequest::Chown(IoChown { gid: id(gid), uid: id(uid) });
        self.once(path, 0, request).await.map(|_| ())
    }

    /// Changes the times of last read and change, seconds since 1970; `None` is now.
    pub async fn utime(&self, path: &str, times: Option<(u32, u32)>) -> Result<(), Errno> {
        let (actime, modtime) = times.unwrap_or_default();
        let request = IoUtime { cur_flag: i32::from(times.is_none()), actime, modtime };
        self.once(path, 0, IoRequest::Utime(request)).await.map(|_| ())
    }

    /// The whole of a file, which may have `limit` bytes at most (`EFBIG`).
    pub async fn read_to_end(&self, path: &str, limit: usize) -> Result<Vec<u8>, Errno> {
        let file = self.open(path, OpenFlags::READ).await?;
        let mut bytes = Vec::new();
        let mut piece = alloc::vec![0; 65_536.min(limit.saturating_add(1))];
        loop {
            let len = file.read(&mut piece).await?;
            if len == 0 {
                break;
            }
            bytes.extend_from_slice(piece.get(..len).unwrap_or_default());
            if bytes.len() > limit {
                return Err(Errno::EFBIG);
            }
        }
        file.close().await?;
        Ok(bytes)
    }

    /// The descriptor of a node.
    pub async fn node(&self, name: &str) -> Result<Nd, Errno> {
        self.nodes.as_ref().ok_or(Errno::ENOREMOTE)?.resolve(name).await
    }
}
