//! From a path to the channel that serves it.

use super::files::Files;
use crate::api::{Connection, PROCESS_MANAGER};
use crate::io::{Server, leads_on};
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::io::{ConnectReply, ConnectSubtype, Extra, FileType, IoConnect, LinkReply, ioflag};
use keelson_qnet_wire::{Endian, Errno, Nd};

/// Where `/net` is.
const NET: &[u8] = b"/net/";

/// Room for the reply to an open, as the C library has it.
const REPLY_ROOM: usize = IoConnect::REPLY_MAX as usize;

/// Longest `_IO_CONNECT`: two paths, a small message, and its own fields.
const MESSAGE_ROOM: usize = 4096;

/// Longest path.
const PATH_MAX: usize = 1024;

/// How a file is opened; see [`ioflag`] for bits that have no name here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// To be read.
    pub const READ: OpenFlags = OpenFlags(ioflag::RD | ioflag::LARGEFILE);
    /// To be written.
    pub const WRITE: OpenFlags = OpenFlags(ioflag::WR | ioflag::LARGEFILE);
    /// Both.
    pub const READ_WRITE: OpenFlags = OpenFlags(ioflag::RD | ioflag::WR | ioflag::LARGEFILE);
    /// To be written, made if it is not there, emptied if it is.
    pub const REPLACE: OpenFlags = OpenFlags(ioflag::WR | ioflag::CREAT | ioflag::TRUNC | ioflag::LARGEFILE);

    /// With more bits of [`ioflag`].
    pub const fn with(self, bits: u32) -> OpenFlags {
        OpenFlags(self.0 | bits)
    }
}

/// An `_IO_CONNECT` without its path.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub subtype: ConnectSubtype,
    pub ioflag: u32,
    pub mode: u32,
    pub access: u16,
    pub extra: Extra<'a>,
}

impl Asking<'_> {
    pub fn new(subtype: ConnectSubtype) -> Asking<'static> {
        Asking { subtype, ioflag: 0, mode: 0, access: 0, extra: Extra::None }
    }
}

/// What a server said.
pub(super) struct Answered {
    pub connection: Connection,
    pub server: Server,
    pub data: Vec<u8>,
}

/// Where a path is served: the channel, and the part of the path that it is told.
struct Target {
    server: Server,
    prefix: usize,
}

impl Files {
    /// Sends an `_IO_CONNECT` to whoever serves a path, following redirections.
    pub(super) async fn ask(&self, path: &str, asking: Asking<'_>) -> Result<Answered, Errno> {
        let mut path = absolute(path.as_bytes())?;
        let mut levels = IoConnect::ENTRY_MAX;
        'path: loop {
            let mut targets = vec![self.first_target(&path, asking.subtype).await?];
            loop {
                let mut problem = Errno::ENOENT;
                let mut next = None;
                for target in &targets {
                    match self.try_target(target, &path, asking, levels).await {
                        Ok(Step::Done(answered)) => return Ok(answered),
                        Ok(step) => {
                            next = Some(step);
                            break;
                        }
                        Err(errno) if leads_on(errno) => problem = more_telling(problem, errno),
                        Err(errno) => return Err(errno),
                    }
                }
                levels = levels.checked_sub(1).filter(|levels| *levels > 0).ok_or(Errno::ELOOP)?;
                match next.ok_or(problem)? {
                    Step::Done(answered) => return Ok(answered),
                    Step::Symlink(onward) => {
                        path = onward;
                        continue 'path;
                    }
                    Step::Servers(onward, list) => (path, targets) = (onward, list),
                }
            }
        }
    }

    /// Nodes are known here; everything else is asked of this node. So is what is done to an entry of `/net`, and not
    /// to the node's own root.
    async fn first_target(&self, path: &[u8], subtype: ConnectSubtype) -> Result<Target, Errno> {
        let here = Server { nd: Nd::LOCAL, pid: PROCESS_MANAGER, chid: 1, handle: IoConnect::REMOTE_ROOT };
        let opens = matches!(subtype, ConnectSubtype::OPEN | ConnectSubtype::COMBINE);
        let is_entry = |prefix: &usize| path.len() == *prefix && !opens;
        let node = node_of(path).filter(|(_, prefix)| !is_entry(prefix));
        let (Some((name, prefix)), Some(nodes)) = (node, self.nodes()) else {
            return Ok(Target { server: here, prefix: 1 });
        };
        let name = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let nd = nodes.resolve(name).await?;
        Ok(Target { server: Server { nd, ..here }, prefix })
    }

    async fn try_target(
        &self,
        target: &Target,
        path: &[u8],
        asking: Asking<'_>,
        levels: u16,
    ) -> Result<Step, Errno> {
        let server = target.server;
        let rest = path.get(target.prefix..).unwrap_or_default();
        let connect = IoConnect {
            subtype: asking.subtype,
            file_type: FileType::ANY,
            reply_max: IoConnect::REPLY_MAX,
            entry_max: levels,
            key: 0,
            handle: server.handle,
            ioflag: asking.ioflag,
            mode: asking.mode,
            sflag: IoConnect::SH_DENYNO,
            access: asking.access,
            eflag: if rest.ends_with(b"/") { IoConnect::EFLAG_DIR } else { 0 },
            path: rest,
            extra: asking.extra,
        };
        let mut room = vec![0; MESSAGE_ROOM];
        let len = connect.emit(&mut room, Endian::Little).map_err(|_| Errno::ENAMETOOLONG)?;
        self.deliver(server, room.get(..len).unwrap_or_default(), path, target.prefix).await
    }

    async fn deliver(
        &self,
        server: Server,
        message: &[u8],
        path: &[u8],
        prefix: usize,
    ) -> Result<Step, Errno> {
        let mut data = vec![0; REPLY_ROOM];
        let (connection, status, len) = self.send_to(server, message, &mut data).await?;
        data.truncate(len);
        let redirected = match ConnectReply::decode(status as u32, &data, Endian::Little) {
            Ok(ConnectReply::Opened { .. }) => None,
            Ok(ConnectReply::Link { link, .. }) => Some(step(&link, path, prefix)?),
            Ok(ConnectReply::Ftype(found)) => {
                let errno = i32::from(found.status);
                return Err(if errno > 0 { Errno(errno) } else { Errno::ENOSYS });
            }
            Ok(ConnectReply::Server { info, message, .. }) => {
                let number = |id: i32| u32::try_from(id).map_err(|_| Errno::EPROTO);
                let (pid, chid) = (number(info.pid)?, number(info.chid)?);
                let server = Server { nd: info.nd, pid, chid, handle: 0 };
                let mut answer = vec![0; REPLY_ROOM];
                let (connection, status, len) = self.send_to(server, message, &mut answer).await?;
                answer.truncate(len);
                return match status {
                    0.. => Ok(Step::Done(Answered { connection, server, data: answer })),
                    _ => Err(Errno::ELOOP),
                };
            }
            Ok(ConnectReply::Unknown(_)) | Err(_) => return Err(Errno::EPROTO),
        };
        Ok(redirected.unwrap_or(Step::Done(Answered { connection, server, data })))
    }
}

impl Files {
    /// Sends a message to a channel: by the connection that was kept, or a new one.
    async fn send_to(
        &self,
        server: Server,
        message: &[u8],
        reply: &mut [u8],
    ) -> Result<(Connection, i32, usize), Errno> {
        if let Some(connection) = self.take_kept(server) {
            match connection.send(&[message], reply).await {
                Ok((status, len)) => return Ok((connection, status, len)),
                // It had ended, so that nothing was done.
                Err(Errno::EBADF) => {}
                Err(errno) => {
                    self.keep(server, connection);
                    return Err(errno);
                }
            }
        }
        let to = (server.nd, server.pid, server.chid);
        self.kernel().connect_and_send(to, self.credentials(), &[message], reply).await
    }
}

/// How a path goes on.
enum Step {
    Done(Answered),
    /// From the start, with another path.
    Symlink(Vec<u8>),
    /// With these servers, one after the other.
    Servers(Vec<u8>, Vec<Target>),
}

fn step(link: &LinkReply<'_>, path: &[u8], prefix: usize) -> Result<Step, Errno> {
    if link.is_symlink() {
        // An absolute one starts at the client's root, wherever the link is.
        let mut onward = Vec::new();
        if !link.path.starts_with(b"/") {
            let end = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            onward.extend_from_slice(path.get(..end.max(prefix)).unwrap_or(path));
        }
        onward.extend_from_slice(link.path);
        return absolute(&onward).map(Step::Symlink);
    }
    let target = |entry: keelson_qnet_wire::io::ConnectEntry| {
        let (pid, chid) = (u32::try_from(entry.pid).ok()?, u32::try_from(entry.chid).ok()?);
        let server = Server { nd: entry.nd, pid, chid, handle: entry.handle };
        Some(Target { server, prefix: usize::from(entry.prefix_len) })
    };
    let targets: Vec<Target> = link.entries().filter_map(target).take(16).collect();
    let onward = prefixed(link.path)?;
    Ok(Step::Servers(onward, targets))
}

/// The node that a path names, and where its own path starts.
fn node_of(path: &[u8]) -> Option<(&[u8], usize)> {
    let rest = path.strip_prefix(NET)?;
    let name = rest.split(|byte| *byte == b'/').next().filter(|name| !name.is_empty())?;
    let end = NET.len() + name.len();
    // The slash behind the name belongs to neither.
    Some((name, if rest.len() > name.len() { end + 1 } else { end }))
}

/// The path with a slash in front and no dots, so that `/net/x/..` is `/net` whatever `x` has.
fn absolute(path: &[u8]) -> Result<Vec<u8>, Errno> {
    let is_directory = path.ends_with(b"/");
    let mut text = crate::io::normal(path)?;
    if is_directory && !text.ends_with(b"/") {
        text.push(b'/');
    }
    prefixed(&text)
}

fn prefixed(path: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut text = path.to_vec();
    if !text.starts_with(b"/") {
        text.insert(0, b'/');
    }
    if text.len() > PATH_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(text) }
}

/// Of two errors that lead on, the one that says more.
fn more_telling(one: Errno, other: Errno) -> Errno {
    if one == Errno::ENOENT && other != Errno::ENOSYS { other } else { one }
}

/// How another name on the same server is told: the path behind what is in front of the first one's.
pub(super) fn behind_node(path: &str) -> Result<(Vec<u8>, Vec<u8>), Errno> {
    let path = absolute(path.as_bytes())?;
    let (node, prefix) = match node_of(&path) {
        Some((name, prefix)) => (name.to_vec(), prefix),
        None => (Vec::new(), 1),
    };
    Ok((node, path.get(prefix..).unwrap_or_default().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_in_paths() {
        assert_eq!(node_of(b"/net/beta/etc"), Some((&b"beta"[..], 10)));
        assert_eq!(node_of(b"/net/beta/"), Some((&b"beta"[..], 10)));
        assert_eq!(node_of(b"/net/beta"), Some((&b"beta"[..], 9)));
        assert_eq!((node_of(b"/net/"), node_of(b"/net"), node_of(b"/netx/b")), (None, None, None));
    }

    #[test]
    fn absolute_paths() {
        let text = |path: &[u8]| String::from_utf8(absolute(path).unwrap()).unwrap();
        assert_eq!(text(b"etc/x"), "/etc/x");
        assert_eq!(text(b"/net/beta/../gamma/"), "/net/gamma/");
        assert_eq!(text(b"/"), "/");
        assert_eq!(absolute(&b"abc/".repeat(257)), Err(Errno::ENAMETOOLONG));
    }
}
