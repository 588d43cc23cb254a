//! NFS version 3 and MOUNT as a test speaks them: one method for each procedure (RFC 1813), results as they came.
//!
//! Nothing is cached, retried or repaired here, so that a test sees what the server says. Methods return the
//! status and what came with it; [`Answer::ok`] is for calls that must succeed. XDR that does not parse, or does
//! not end where it should, is a panic: a server that sends it has failed any test.

mod types;
mod wire;

use std::net::IpAddr;

use keelson_oncrpc::{DecodeError, Decoder, Encoder};
use keelson_qemu::Endpoint;

use crate::rpc::{MOUNT, NFS, RpcClient, RpcError};

pub use types::{
    Answer, Attributes, Before, Created, Entry, Handle, How, Info, Limits, Page, Piece, Set, SetTime, Space,
    Stable, Time, Wcc, Written, kind, status,
};
use wire::{attributes, page, parse, post, present, put_name, put_set, put_time, time, wcc};

/// Mounts over `rpc` (which is connected to the MOUNT port): the handle, or the `mountstat3`.
pub fn mount(rpc: &mut RpcClient, path: &str) -> Result<Result<Handle, u32>, RpcError> {
    let reply = rpc.call(MOUNT, 3, 1, |out| out.opaque(path.as_bytes()))?;
    Ok(parse(&reply, |input| {
        Ok(match input.u32()? {
            0 => {
                let handle = input.opaque(64)?.to_vec();
                for _ in 0..input.u32()? {
                    input.u32()?;
                }
                Ok(handle)
            }
            status => Err(status),
        })
    }))
}

/// Ports of the appliance.
pub const NFS_PORT: u16 = 2049;
/// See [`NFS_PORT`].
pub const MOUNT_PORT: u16 = 20048;

/// A transport to choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// A client of `server` at `port`.
    pub fn connect(self, from: &Endpoint, server: IpAddr, port: u16) -> keelson_qemu::Result<RpcClient> {
        match self {
            Transport::Tcp => RpcClient::tcp(from, (server, port).into()),
            Transport::Udp => RpcClient::udp(from, (server, port).into()),
        }
    }

    /// Mounts `path` and connects to NFS: what follows a `mount` command.
    ///
    /// # Panics
    /// If the server is not there or refuses.
    pub fn mount(self, from: &Endpoint, server: IpAddr, path: &str) -> (Nfs, Handle) {
        let mut rpc = self.connect(from, server, MOUNT_PORT).expect("connect to MOUNT");
        let root = mount(&mut rpc, path).expect("call MNT").expect("a handle");
        (Nfs::new(self.connect(from, server, NFS_PORT).expect("connect to NFS")), root)
    }
}

/// Calls of NFS version 3.
pub struct Nfs {
    /// The connection.
    pub rpc: RpcClient,
}

/// The result of a call: the network may fail, the server may refuse to execute.
pub type Outcome<T, W = ()> = Result<Answer<T, W>, RpcError>;

impl Nfs {
    /// Calls over a connection to the NFS port.
    pub fn new(rpc: RpcClient) -> Nfs {
        Nfs { rpc }
    }

    fn call<T, W>(
        &mut self,
        procedure: u32,
        arguments: impl FnOnce(&mut Encoder),
        with: impl FnOnce(&mut Decoder<'_>) -> Result<W, DecodeError>,
        value: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
    ) -> Outcome<T, W> {
        let reply = self.rpc.call(NFS, 3, procedure, arguments)?;
        Ok(parse(&reply, |input| {
            let status = input.u32()?;
            let with = with(input)?;
            let value = if status == status::OK { Some(value(input)?) } else { None };
            Ok(Answer { status, with, value })
        }))
    }

    /// NULL.
    pub fn null(&mut self) -> Result<(), RpcError> {
        self.rpc.null(NFS, 3)
    }

    /// GETATTR.
    pub fn getattr(&mut self, object: &[u8]) -> Outcome<Attributes> {
        self.call(1, |out| out.opaque(object), |_| Ok(()), attributes)
    }

    /// SETATTR; with a guard it must be the present ctime.
    pub fn setattr(&mut self, object: &[u8], set: Set, guard: Option<Time>) -> Outcome<(), Wcc> {
        let arguments = |out: &mut Encoder| {
            out.opaque(object);
            put_set(out, set);
            out.bool(guard.is_some());
            if let Some(time) = guard {
                put_time(out, time);
            }
        };
        self.call(2, arguments, wcc, |_| Ok(()))
    }

    /// LOOKUP: handle and attributes; with the attributes of the directory.
    pub fn lookup(
        &mut self,
        folder: &[u8],
        name: &[u8],
    ) -> Result<Answer<Created, Option<Attributes>>, RpcError> {
        let reply = self.rpc.call(NFS, 3, 3, |out| put_name(out, folder, name))?;
        Ok(parse(&reply, |input| {
            let status = input.u32()?;
            let value = if status == status::OK {
                let handle = input.opaque(64)?.to_vec();
                let attributes = present(post(input)?);
                Some(Created { handle, attributes })
            } else {
                None
            };
            Ok(Answer { status, with: post(input)?, value })
        }))
    }

    /// ACCESS: which of the bits are allowed.
    pub fn access(&mut self, object: &[u8], bits: u32) -> Outcome<u32, Option<Attributes>> {
        let arguments = |out: &mut Encoder| {
            out.opaque(object);
            out.u32(bits);
        };
        self.call(4, arguments, post, |input| input.u32())
    }

    /// READLINK.
    pub fn readlink(&mut self, object: &[u8]) -> Outcome<Vec<u8>, Option<Attributes>> {
        self.call(5, |out| out.opaque(object), post, |input| Ok(input.opaque(4096)?.to_vec()))
    }

    /// READ.
    pub fn read(&mut self, file: &[u8], offset: u64, count: u32) -> Outcome<Piece, Option<Attributes>> {
        let arguments = |out: &mut Encoder| {
            out.opaque(file);
            out.u64(offset);
            out.u32(count);
        };
        self.call(6, arguments, post, |input| {
            let announced = input.u32()? as usize;
            let eof = input.bool()?;
            let data = input.opaque(1 << 20)?.to_vec();
            assert_eq!(announced, data.len(), "READ's count is the length of its data");
            Ok(Piece { data, eof })
        })
    }

    /// WRITE.
    pub fn write(&mut self, file: &[u8], offset: u64, data: &[u8], stable: Stable) -> Outcome<Written, Wcc> {
        let arguments = |out: &mut Encoder| {
            out.opaque(file);
            out.u64(offset);
            out.u32(data.len() as u32);
            out.u32(stable as u32);
            out.opaque(data);
        };
        self.call(7, arguments, wcc, |input| {
            Ok(Written { count: input.u32()?, committed: input.u32()?, verifier: input.array()? })
        })
    }

    /// CREATE.
    pub fn create(&mut self, folder: &[u8], name: &[u8], how: How) -> Outcome<Created, Wcc> {
        self.make(8, folder, name, |out| match how {
            How::Unchecked(set) | How::Guarded(set) => {
                out.u32(matches!(how, How::Guarded(_)).into());
                put_set(out, set);
            }
            How::Exclusive(verifier) => {
                out.u32(2);
                out.fixed(&verifier);
            }
        })
    }

    /// MKDIR.
    pub fn mkdir(&mut self, folder: &[u8], name: &[u8], mode: u32) -> Outcome<Created, Wcc> {
        self.make(9, folder, name, |out| put_set(out, Set::mode(mode)))
    }

    /// SYMLINK.
    pub fn symlink(&mut self, folder: &[u8], name: &[u8], target: &[u8]) -> Outcome<Created, Wcc> {
        self.make(10, folder, name, |out| {
            put_set(out, Set::default());
            out.opaque(target);
        })
    }

    /// MKNOD; the device numbers are sent for devices only.
    pub fn mknod(
        &mut self,
        folder: &[u8],
        name: &[u8],
        kind: u32,
        device: (u32, u32),
    ) -> Outcome<Created, Wcc> {
        self.make(11, folder, name, |out| {
            out.u32(kind);
            if (kind::BLOCK..=kind::FIFO).contains(&kind) && kind != kind::SYMLINK {
                put_set(out, Set::mode(0o640));
            }
            if matches!(kind, kind::BLOCK | kind::CHARACTER) {
                out.u32(device.0);
                out.u32(device.1);
            }
        })
    }

    fn make(
        &mut self,
        procedure: u32,
        folder: &[u8],
        name: &[u8],
        rest: impl FnOnce(&mut Encoder),
    ) -> Outcome<Created, Wcc> {
        let reply = self.rpc.call(NFS, 3, procedure, |out| {
            put_name(out, folder, name);
            rest(out);
        })?;
        Ok(parse(&reply, |input| {
            let status = input.u32()?;
            let value = if status == status::OK {
                let handle = present(input.optional(|input| Ok(input.opaque(64)?.to_vec()))?);
                Some(Created { handle, attributes: present(post(input)?) })
            } else {
                None
            };
            Ok(Answer { status, with: wcc(input)?, value })
        }))
    }

    /// REMOVE.
    pub fn remove(&mut self, folder: &[u8], name: &[u8]) -> Outcome<(), Wcc> {
        self.call(12, |out| put_name(out, folder, name), wcc, |_| Ok(()))
    }

    /// RMDIR.
    pub fn rmdir(&mut self, folder: &[u8], name: &[u8]) -> Outcome<(), Wcc> {
        self.call(13, |out| put_name(out, folder, name), wcc, |_| Ok(()))
    }

    /// RENAME; with both directories.
    pub fn rename(&mut self, from: (&[u8], &[u8]), to: (&[u8], &[u8])) -> Outcome<(), (Wcc, Wcc)> {
        let arguments = |out: &mut Encoder| {
            put_name(out, from.0, from.1);
            put_name(out, to.0, to.1);
        };
        self.call(14, arguments, |input| Ok((wcc(input)?, wcc(input)?)), |_| Ok(()))
    }

    /// LINK; with the object's attributes and the directory.
    pub fn link(
        &mut self,
        object: &[u8],
        folder: &[u8],
        name: &[u8],
    ) -> Outcome<(), (Option<Attributes>, Wcc)> {
        let arguments = |out: &mut Encoder| {
            out.opaque(object);
            put_name(out, folder, name);
        };
        self.call(15, arguments, |input| Ok((post(input)?, wcc(input)?)), |_| Ok(()))
    }

    /// READDIR from a cookie.
    pub fn readdir(
        &mut self,
        folder: &[u8],
        cookie: u64,
        verifier: [u8; 8],
        count: u32,
    ) -> Outcome<Page, Option<Attributes>> {
        let arguments = |out: &mut Encoder| {
            out.opaque(folder);
            out.u64(cookie);
            out.fixed(&verifier);
            out.u32(count);
        };
        self.call(16, arguments, post, |input| page(input, false))
    }

    /// READDIRPLUS from a cookie.
    pub fn readdirplus(
        &mut self,
        folder: &[u8],
        cookie: u64,
        verifier: [u8; 8],
        count: u32,
    ) -> Outcome<Page, Option<Attributes>> {
        let arguments = |out: &mut Encoder| {
            out.opaque(folder);
            out.u64(cookie);
            out.fixed(&verifier);
            out.u32(count);
            out.u32(count);
        };
        self.call(17, arguments, post, |input| page(input, true))
    }

    /// A whole directory, page by page, without `.` and `..`.
    ///
    /// # Panics
    /// If a page can not be read, is empty without being the last, or a cookie comes twice.
    pub fn list(&mut self, folder: &[u8], page_size: u32, plus: bool) -> Result<Vec<Entry>, RpcError> {
        let (mut cookie, mut verifier, mut entries) = (0, [0; 8], Vec::<Entry>::new());
        loop {
            let page = match plus {
                true => self.readdirplus(folder, cookie, verifier, page_size)?.ok(),
                false => self.readdir(folder, cookie, verifier, page_size)?.ok(),
            };
            verifier = page.verifier;
            let Some(last) = page.entries.last() else {
                assert!(page.eof, "an empty page that is not the last: a client would ask for ever");
                break;
            };
            cookie = last.cookie;
            entries.extend(page.entries);
            if page.eof {
                break;
            }
        }
        let mut cookies: Vec<u64> = entries.iter().map(|entry| entry.cookie).collect();
        cookies.sort_unstable();
        cookies.dedup();
        assert_eq!(cookies.len(), entries.len(), "no cookie comes twice");
        entries.retain(|entry| entry.name != b"." && entry.name != b"..");
        Ok(entries)
    }

    /// FSSTAT.
    pub fn fsstat(&mut self, root: &[u8]) -> Outcome<Space, Option<Attributes>> {
        self.call(
            18,
            |out| out.opaque(root),
            post,
            |input| {
                let bytes = [input.u64()?, input.u64()?, input.u64()?];
                let files = [input.u64()?, input.u64()?, input.u64()?];
                Ok(Space { bytes, files, invariant: input.u32()? })
            },
        )
    }

    /// FSINFO.
    pub fn fsinfo(&mut self, root: &[u8]) -> Outcome<Info, Option<Attributes>> {
        self.call(
            19,
            |out| out.opaque(root),
            post,
            |input| {
                Ok(Info {
                    read: [input.u32()?, input.u32()?, input.u32()?],
                    write: [input.u32()?, input.u32()?, input.u32()?],
                    directory: input.u32()?,
                    max_file_size: input.u64()?,
                    time_delta: time(input)?,
                    properties: input.u32()?,
                })
            },
        )
    }

    /// PATHCONF.
    pub fn pathconf(&mut self, object: &[u8]) -> Outcome<Limits, Option<Attributes>> {
        self.call(
            20,
            |out| out.opaque(object),
            post,
            |input| {
                let (links, name) = (input.u32()?, input.u32()?);
                Ok((links, name, [input.bool()?, input.bool()?, input.bool()?, input.bool()?]))
            },
        )
    }

    /// COMMIT of a range (0, 0: the whole file): the write verifier.
    pub fn commit(&mut self, file: &[u8], offset: u64, count: u32) -> Outcome<[u8; 8], Wcc> {
        let arguments = |out: &mut Encoder| {
            out.opaque(file);
            out.u64(offset);
            out.u32(count);
        };
        self.call(21, arguments, wcc, |input| input.array())
    }
}
