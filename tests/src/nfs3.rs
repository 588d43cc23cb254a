//! NFS version 3 and MOUNT as a test speaks them: one method for each procedure (RFC 1813), results as they came.
//!
//! Nothing is cached, retried or repaired here, so that a test sees what the server says. Methods return the
//! status and what came with it; [`Answer::ok`] is for calls that must succeed. XDR that does not parse, or does
//! not end where it should, is a panic: a server that sends it has failed any test.

use std::net::IpAddr;

use keelson_oncrpc::{DecodeError, Decoder, Encoder};
use keelson_qemu::Endpoint;

use crate::rpc::{MOUNT, NFS, RpcClient, RpcError};

/// Status values that tests name.
#[allow(missing_docs)] // They are those of RFC 1813 section 2.6.
pub mod status {
    pub const OK: u32 = 0;
    pub const PERM: u32 = 1;
    pub const NOENT: u32 = 2;
    pub const ACCES: u32 = 13;
    pub const EXIST: u32 = 17;
    pub const XDEV: u32 = 18;
    pub const NOTDIR: u32 = 20;
    pub const ISDIR: u32 = 21;
    pub const INVAL: u32 = 22;
    pub const FBIG: u32 = 27;
    pub const NOSPC: u32 = 28;
    pub const ROFS: u32 = 30;
    pub const NAMETOOLONG: u32 = 63;
    pub const NOTEMPTY: u32 = 66;
    pub const STALE: u32 = 70;
    pub const BADHANDLE: u32 = 10_001;
    pub const NOT_SYNC: u32 = 10_002;
    pub const BAD_COOKIE: u32 = 10_003;
    pub const NOTSUPP: u32 = 10_004;
    pub const TOOSMALL: u32 = 10_005;
    pub const BADTYPE: u32 = 10_007;
}

/// `ftype3`.
#[allow(missing_docs)]
pub mod kind {
    pub const REGULAR: u32 = 1;
    pub const DIRECTORY: u32 = 2;
    pub const BLOCK: u32 = 3;
    pub const CHARACTER: u32 = 4;
    pub const SYMLINK: u32 = 5;
    pub const SOCKET: u32 = 6;
    pub const FIFO: u32 = 7;
}

/// A file handle.
pub type Handle = Vec<u8>;

/// `nfstime3`: seconds and nanoseconds. Compares by time.
pub type Time = (u32, u32);

/// `stable_how`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
#[allow(missing_docs)]
pub enum Stable {
    Unstable = 0,
    DataSync = 1,
    FileSync = 2,
}

/// A result: the status, and what its arm of the union holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer<T, W = ()> {
    /// `nfsstat3`.
    pub status: u32,
    /// Attributes that come with success and failure alike.
    pub with: W,
    /// What comes with success only.
    pub value: Option<T>,
}

impl<T, W> Answer<T, W> {
    /// The value of a call that must succeed.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(self) -> T {
        let status = self.status;
        self.value.unwrap_or_else(|| panic!("the server answered with status {status}"))
    }
}

/// `fattr3`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // RFC 1813 section 2.6.
pub struct Attributes {
    pub kind: u32,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub used: u64,
    pub device: (u32, u32),
    pub fsid: u64,
    pub fileid: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
}

/// `wcc_attr`: size, mtime, ctime.
pub type Before = (u64, Time, Time);

/// `wcc_data`: an object before and after the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Wcc {
    pub before: Option<Before>,
    pub after: Option<Attributes>,
}

impl Attributes {
    /// The part of them that `wcc_data` has of the time before a call.
    pub fn weak(&self) -> Before {
        (self.size, self.mtime, self.ctime)
    }
}

/// A time to set.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum SetTime {
    Server,
    Client(Time),
}

/// `sattr3`; the default changes nothing.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Set {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
}

impl Set {
    /// Permissions only.
    pub fn mode(mode: u32) -> Set {
        Set { mode: Some(mode), ..Set::default() }
    }

    /// Size only.
    pub fn size(size: u64) -> Set {
        Set { size: Some(size), ..Set::default() }
    }
}

/// `createhow3`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum How {
    Unchecked(Set),
    Guarded(Set),
    Exclusive([u8; 8]),
}

/// What was created. Servers may leave either out; ours is expected to send both.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Created {
    pub handle: Handle,
    pub attributes: Attributes,
}

/// What READ brought.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Piece {
    pub data: Vec<u8>,
    pub eof: bool,
}

/// What WRITE did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Written {
    pub count: u32,
    pub committed: u32,
    pub verifier: [u8; 8],
}

/// One entry of a directory; attributes and handle with READDIRPLUS only.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Entry {
    pub fileid: u64,
    pub name: Vec<u8>,
    pub cookie: u64,
    pub attributes: Option<Attributes>,
    pub handle: Option<Handle>,
}

/// A page of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Page {
    pub verifier: [u8; 8],
    pub entries: Vec<Entry>,
    pub eof: bool,
}

/// FSSTAT: bytes total, free, available; inodes total, free, available; seconds without change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Space {
    pub bytes: [u64; 3],
    pub files: [u64; 3],
    pub invariant: u32,
}

/// FSINFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Info {
    /// rtmax, rtpref, rtmult.
    pub read: [u32; 3],
    /// wtmax, wtpref, wtmult.
    pub write: [u32; 3],
    pub directory: u32,
    pub max_file_size: u64,
    pub time_delta: Time,
    pub properties: u32,
}

/// PATHCONF: linkmax, name_max; no_trunc, chown_restricted, case_insensitive, case_preserving.
pub type Limits = (u32, u32, [bool; 4]);

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

/// All of `reply`, or a panic that shows it.
fn parse<T>(reply: &[u8], parser: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>) -> T {
    let mut input = Decoder::new(reply);
    let parsed = parser(&mut input).and_then(|value| input.finish().map(|()| value));
    parsed.unwrap_or_else(|error| panic!("{error} in the {} bytes {reply:02x?}", reply.len()))
}

/// What our server is expected to send although the protocol lets it leave it out.
fn present<T>(value: Option<T>) -> T {
    value.expect("handle and attributes of an object created or found")
}

fn put_name(out: &mut Encoder, folder: &[u8], name: &[u8]) {
    out.opaque(folder);
    out.opaque(name);
}

fn put_time(out: &mut Encoder, (seconds, nanoseconds): Time) {
    out.u32(seconds);
    out.u32(nanoseconds);
}

fn put_set(out: &mut Encoder, set: Set) {
    for word in [set.mode, set.uid, set.gid] {
        out.bool(word.is_some());
        if let Some(word) = word {
            out.u32(word);
        }
    }
    out.bool(set.size.is_some());
    if let Some(size) = set.size {
        out.u64(size);
    }
    for when in [set.atime, set.mtime] {
        match when {
            None => out.u32(0),
            Some(SetTime::Server) => out.u32(1),
            Some(SetTime::Client(time)) => {
                out.u32(2);
                put_time(out, time);
            }
        }
    }
}

fn time(input: &mut Decoder<'_>) -> Result<Time, DecodeError> {
    let time = (input.u32()?, input.u32()?);
    assert!(time.1 < 1_000_000_000, "{} nanoseconds", time.1);
    Ok(time)
}

fn attributes(input: &mut Decoder<'_>) -> Result<Attributes, DecodeError> {
    Ok(Attributes {
        kind: input.u32()?,
        mode: input.u32()?,
        nlink: input.u32()?,
        uid: input.u32()?,
        gid: input.u32()?,
        size: input.u64()?,
        used: input.u64()?,
        device: (input.u32()?, input.u32()?),
        fsid: input.u64()?,
        fileid: input.u64()?,
        atime: time(input)?,
        mtime: time(input)?,
        ctime: time(input)?,
    })
}

fn post(input: &mut Decoder<'_>) -> Result<Option<Attributes>, DecodeError> {
    input.optional(attributes)
}

fn wcc(input: &mut Decoder<'_>) -> Result<Wcc, DecodeError> {
    let before = input.optional(|input| Ok((input.u64()?, time(input)?, time(input)?)))?;
    Ok(Wcc { before, after: post(input)? })
}

fn page(input: &mut Decoder<'_>, plus: bool) -> Result<Page, DecodeError> {
    let verifier = input.array()?;
    let mut entries = Vec::new();
    while input.bool()? {
        let (fileid, name, cookie) = (input.u64()?, input.opaque(255)?.to_vec(), input.u64()?);
        let (attributes, handle) = match plus {
            true => (post(input)?, input.optional(|input| Ok(input.opaque(64)?.to_vec()))?),
            false => (None, None),
        };
        entries.push(Entry { fileid, name, cookie, attributes, handle });
    }
    Ok(Page { verifier, entries, eof: input.bool()? })
}
