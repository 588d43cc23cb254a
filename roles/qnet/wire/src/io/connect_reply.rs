//! Replies to `_IO_CONNECT`: opened, or where to go on (section 13.3).

use super::MsgInfo;
use crate::endian::Endian;
use crate::layout::{Short, layout, slice, until_nul};
use crate::nd::Nd;
use crate::out::{NoRoom, Out, len16};

layout! {
    /// Front of a link reply.
    pub struct LinkHead: 20, "link reply" {
        /// Type that matched.
        4 file_type: u32,
        /// As in `_IO_CONNECT`.
        8 eflag: u8,
        /// Bytes of the path that are the client's root, with [`ConnectReply::CHROOT`].
        10 chroot_len: u16,
        /// The client's umask, with [`ConnectReply::UMASK`].
        12 umask: u32,
        /// Servers that follow; 0: the path is a symbolic link's text. Set by encoding.
        16 nentries: u16,
        /// Length of the path that follows, with its NUL; 0: up to its NUL. Set by encoding.
        18 path_len: u16,
    }
}

layout! {
    /// A server that may know the rest of a path.
    pub struct ConnectEntry: 32, "link reply entry" {
        /// Its node, in the client's numbering.
        0 nd: Nd,
        /// Its process.
        4 pid: i32,
        /// Its channel.
        8 chid: i32,
        /// Handle for the next `_IO_CONNECT`.
        12 handle: u32,
        /// Key for the next `_IO_CONNECT`.
        16 key: u32,
        /// Type of its name.
        20 file_type: u32,
        /// Bytes of the path that are its own: it gets the rest.
        24 prefix_len: u16,
    }
}

layout! {
    /// Another type of object was found.
    pub struct FtypeReply: 8, "ftype reply" {
        /// An error number.
        0 status: u16,
        /// The type.
        4 file_type: u32,
    }
}

/// A link reply as it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkReply<'a> {
    /// Its front.
    pub head: LinkHead,
    /// Full path from "/", or text of a symbolic link; without NUL.
    pub path: &'a [u8],
    entries: &'a [u8],
    endian: Endian,
}

impl<'a> LinkReply<'a> {
    /// The servers to try, in order.
    pub fn entries(&self) -> impl Iterator<Item = ConnectEntry> + 'a {
        let endian = self.endian;
        let (entries, _) = self.entries.as_chunks::<{ ConnectEntry::LEN }>();
        entries.iter().filter_map(move |entry| ConnectEntry::decode(entry, endian).ok())
    }

    /// Whether the path is the text of a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.head.nentries == 0
    }

    fn decode(data: &'a [u8], endian: Endian) -> Result<LinkReply<'a>, Short> {
        let head = LinkHead::decode(data, endian)?;
        let path_start = LinkHead::LEN + ConnectEntry::LEN * usize::from(head.nentries);
        let entries = slice("link reply entries", data, LinkHead::LEN, path_start)?;
        let path = match head.path_len {
            0 => data.get(path_start..).unwrap_or_default(),
            len => slice("link reply path", data, path_start, path_start + usize::from(len))?,
        };
        Ok(LinkReply { head, path: until_nul(path), entries, endian })
    }
}

/// Writes a link reply: the numbers in `head` are set from what follows it. Returns its length.
pub fn emit_link_reply(
    room: &mut [u8],
    endian: Endian,
    head: LinkHead,
    entries: &[ConnectEntry],
    path: &[u8],
) -> Result<usize, NoRoom> {
    let mut out = Out::new(room, endian);
    out.put(&LinkHead { nentries: len16(entries.len()), path_len: len16(path.len() + 1), ..head });
    for entry in entries {
        out.put(entry);
    }
    out.string(path).finish()
}

/// What a MSGREPLY to `_IO_CONNECT` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectReply<'a> {
    /// Done here; the connection is now the file. What a combined message or `readlink` returned follows.
    Opened {
        /// Not negative.
        status: u32,
        /// Data.
        data: &'a [u8],
    },
    /// Try these servers, or follow this symbolic link.
    Link {
        /// [`ConnectReply::UMASK`], [`ConnectReply::NOCTTY`], [`ConnectReply::CHROOT`].
        flags: u32,
        /// Where to go on.
        link: LinkReply<'a>,
    },
    /// Another type of object was found.
    Ftype(FtypeReply),
    /// Attach to this server and send the message that follows.
    Server {
        /// The front of the reply; its numbers are 0.
        head: LinkHead,
        /// Node, process and channel of the server.
        info: MsgInfo,
        /// The message.
        message: &'a [u8],
    },
    /// A status that has no meaning.
    Unknown(u32),
}

impl<'a> ConnectReply<'a> {
    /// Status of a link reply.
    pub const LINK: u32 = 0x8001_0000;
    /// Status of an ftype reply.
    pub const FTYPE: u32 = 0x8000_8000;
    /// Status of a reply with a server and a message.
    pub const MSG: u32 = 0x8010_0000;
    /// Beside [`ConnectReply::LINK`]: the umask is valid.
    pub const UMASK: u32 = 0x0002_0000;
    /// Beside [`ConnectReply::LINK`]: there is no controlling terminal.
    pub const NOCTTY: u32 = 0x0004_0000;
    /// Beside [`ConnectReply::LINK`]: the length of the client's root is valid.
    pub const CHROOT: u32 = 0x0008_0000;

    const FLAGS: u32 = ConnectReply::UMASK | ConnectReply::NOCTTY | ConnectReply::CHROOT;

    /// Understands a reply by its status and data.
    pub fn decode(status: u32, data: &'a [u8], endian: Endian) -> Result<ConnectReply<'a>, Short> {
        Ok(match status & !ConnectReply::FLAGS {
            _ if status <= i32::MAX as u32 => ConnectReply::Opened { status, data },
            ConnectReply::LINK => ConnectReply::Link {
                flags: status & ConnectReply::FLAGS,
                link: LinkReply::decode(data, endian)?,
            },
            ConnectReply::FTYPE => ConnectReply::Ftype(FtypeReply::decode(data, endian)?),
            ConnectReply::MSG => {
                let behind = LinkHead::LEN + MsgInfo::LEN;
                let info = slice("server of a link reply", data, LinkHead::LEN, behind)?;
                ConnectReply::Server {
                    head: LinkHead::decode(data, endian)?,
                    info: MsgInfo::decode(info, endian)?,
                    message: data.get(behind..).unwrap_or_default(),
                }
            }
            _ => ConnectReply::Unknown(status),
        })
    }
}

impl ConnectReply<'_> {
    /// Writes the data of the reply, whose status is in [`ConnectReply::status`]. Returns their length.
    pub fn emit(&self, room: &mut [u8], endian: Endian) -> Result<usize, NoRoom> {
        let mut out = Out::new(room, endian);
        match self {
            ConnectReply::Opened { data, .. } => out.bytes(data),
            ConnectReply::Link { link, .. } => {
                let path_len = len16(link.path.len() + 1);
                out.put(&LinkHead { path_len, ..link.head });
                for entry in link.entries() {
                    out.put(&entry);
                }
                out.string(link.path)
            }
            ConnectReply::Ftype(ftype) => out.put(ftype),
            ConnectReply::Server { head, info, message } => out.put(head).put(info).bytes(message),
            ConnectReply::Unknown(_) => &mut out,
        };
        out.finish()
    }

    /// Status of the MSGREPLY.
    pub const fn status(&self) -> u32 {
        match self {
            ConnectReply::Opened { status, .. } | ConnectReply::Unknown(status) => *status,
            ConnectReply::Link { flags, .. } => ConnectReply::LINK | *flags,
            ConnectReply::Ftype(_) => ConnectReply::FTYPE,
            ConnectReply::Server { .. } => ConnectReply::MSG,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let decode = |status| ConnectReply::decode(status, &[0; 80], Endian::Little).unwrap();
        assert_eq!(decode(0), ConnectReply::Opened { status: 0, data: &[0; 80] });
        assert!(matches!(decode(0x7fff_ffff), ConnectReply::Opened { .. }));
        assert!(
            matches!(decode(0x800b_0000), ConnectReply::Link { flags: 0xa_0000, link } if link.is_symlink())
        );
        assert!(matches!(decode(0x8000_8000), ConnectReply::Ftype(_)));
        assert!(matches!(decode(0x8010_0000), ConnectReply::Server { message: [0, ..], .. }));
        assert_eq!(decode(0x8000_0001), ConnectReply::Unknown(0x8000_0001));
        for status in [0x8001_0000, 0x8000_8000, 0x8010_0000] {
            assert!(ConnectReply::decode(status, &[0; 7], Endian::Big).is_err());
        }
    }

    #[test]
    fn links() {
        let entry =
            ConnectEntry { nd: Nd(4), pid: 1, chid: 1, handle: 1, prefix_len: 9, ..ConnectEntry::default() };
        let mut room = [0; 128];
        let len =
            emit_link_reply(&mut room, Endian::Little, LinkHead::default(), &[entry; 2], b"/net/beta/x");
        let data = &room[..len.unwrap()];
        let ConnectReply::Link { link, .. } =
            ConnectReply::decode(ConnectReply::LINK, data, Endian::Little).unwrap()
        else {
            panic!("no link");
        };
        assert_eq!((link.path, link.entries().collect::<Vec<_>>()), (&b"/net/beta/x"[..], vec![entry; 2]));
        // Length 0: the path ends at its NUL.
        let mut open_ended = data.to_vec();
        open_ended[18] = 0;
        let reply = ConnectReply::decode(ConnectReply::LINK, &open_ended, Endian::Little).unwrap();
        assert!(matches!(reply, ConnectReply::Link { link, .. } if link.path == b"/net/beta/x"));
        for cut in 20..data.len() {
            assert!(ConnectReply::decode(ConnectReply::LINK, &data[..cut], Endian::Little).is_err());
        }
    }
}
