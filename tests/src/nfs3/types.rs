//! The data types of NFS version 3 (RFC 1813 section 2.5, 2.6 and 3.3), as tests handle them.

/// The procedures (RFC 1813 section 3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Procedure {
    Null = 0,
    GetAttr = 1,
    SetAttr = 2,
    Lookup = 3,
    Access = 4,
    ReadLink = 5,
    Read = 6,
    Write = 7,
    Create = 8,
    MkDir = 9,
    SymLink = 10,
    MkNod = 11,
    Remove = 12,
    RmDir = 13,
    Rename = 14,
    Link = 15,
    ReadDir = 16,
    ReadDirPlus = 17,
    FsStat = 18,
    FsInfo = 19,
    PathConf = 20,
    Commit = 21,
}

/// Status values that tests name.
#[allow(missing_docs)] // They are those of RFC 1813 section 2.6.
pub mod status {
    pub const OK: u32 = 0;
    pub const PERM: u32 = 1;
    pub const NOENT: u32 = 2;
    pub const IO: u32 = 5;
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
