//! The data types of NFS version 3 (RFC 1813 section 2.5 and 2.6).

use keelson_oncrpc::{DecodeError, Decoder, Encoder};
use keelson_volume::{Attributes, Change, FileType, SetAttributes, SetTime, Time, VolumeError};

/// Longest handle of version 3.
const MAX_HANDLE: usize = 64;

/// Longest name or path that is looked at; those above the volume's limit are NAMETOOLONG.
const MAX_PATH: usize = 16 * 1024;

/// Longest name.
const MAX_NAME: usize = 255;

/// `nfsstat3`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(pub u32);

#[allow(missing_docs)] // The names are those of RFC 1813 section 2.6.
impl Status {
    pub const OK: Status = Status(0);
    pub const PERM: Status = Status(1);
    pub const NOENT: Status = Status(2);
    pub const IO: Status = Status(5);
    pub const ACCES: Status = Status(13);
    pub const EXIST: Status = Status(17);
    pub const XDEV: Status = Status(18);
    pub const NOTDIR: Status = Status(20);
    pub const ISDIR: Status = Status(21);
    pub const INVAL: Status = Status(22);
    pub const FBIG: Status = Status(27);
    pub const NOSPC: Status = Status(28);
    pub const ROFS: Status = Status(30);
    pub const MLINK: Status = Status(31);
    pub const NAMETOOLONG: Status = Status(63);
    pub const NOTEMPTY: Status = Status(66);
    pub const DQUOT: Status = Status(69);
    pub const STALE: Status = Status(70);
    pub const BADHANDLE: Status = Status(10_001);
    pub const NOT_SYNC: Status = Status(10_002);
    pub const BAD_COOKIE: Status = Status(10_003);
    pub const NOTSUPP: Status = Status(10_004);
    pub const TOOSMALL: Status = Status(10_005);
    pub const BADTYPE: Status = Status(10_007);
    pub const JUKEBOX: Status = Status(10_008);
}

impl From<VolumeError> for Status {
    fn from(error: VolumeError) -> Status {
        match error {
            VolumeError::NotFound => Status::NOENT,
            VolumeError::Stale => Status::STALE,
            VolumeError::Exists => Status::EXIST,
            VolumeError::NotDirectory => Status::NOTDIR,
            VolumeError::IsDirectory => Status::ISDIR,
            VolumeError::NotEmpty => Status::NOTEMPTY,
            VolumeError::Invalid => Status::INVAL,
            VolumeError::NameTooLong => Status::NAMETOOLONG,
            VolumeError::TooManyLinks => Status::MLINK,
            VolumeError::TooBig => Status::FBIG,
            VolumeError::NoSpace => Status::NOSPC,
            VolumeError::Quota => Status::DQUOT,
            VolumeError::ReadOnly => Status::ROFS,
            VolumeError::Io => Status::IO,
            VolumeError::NotPermitted => Status::PERM,
            VolumeError::GuardMismatch => Status::NOT_SYNC,
            VolumeError::BadCookie => Status::BAD_COOKIE,
            VolumeError::TryLater => Status::JUKEBOX,
        }
    }
}

/// A file handle as the client sent it.
pub(super) fn handle<'a>(input: &mut Decoder<'a>) -> Result<&'a [u8], DecodeError> {
    input.opaque(MAX_HANDLE)
}

/// A name or path as the client sent it.
pub(super) fn name<'a>(input: &mut Decoder<'a>) -> Result<&'a [u8], DecodeError> {
    input.opaque(MAX_PATH)
}

/// A proper component name, `.` and `..` included.
pub(super) fn check_name(name: &[u8]) -> Result<(), Status> {
    if name.len() > MAX_NAME {
        Err(Status::NAMETOOLONG)
    } else if name.is_empty() || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
        Err(Status::INVAL)
    } else {
        Ok(())
    }
}

/// `.` or `..`.
pub(super) fn is_dots(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

/// A proper name for a new entry.
pub(super) fn check_new_name(name: &[u8]) -> Result<(), Status> {
    check_name(name)?;
    if is_dots(name) { Err(Status::EXIST) } else { Ok(()) }
}

fn time(input: &mut Decoder<'_>) -> Result<Time, DecodeError> {
    let (seconds, nanos) = (input.u32()?, input.u32()?);
    if nanos >= 1_000_000_000 {
        return Err(DecodeError::BadValue(nanos));
    }
    Ok(Time { seconds: seconds.into(), nanos })
}

/// `nfstime3`: only the guard of SETATTR stands alone.
pub(super) fn guard(input: &mut Decoder<'_>) -> Result<Option<Time>, DecodeError> {
    input.optional(time)
}

/// `sattr3`.
pub(super) fn set_attributes(input: &mut Decoder<'_>) -> Result<SetAttributes, DecodeError> {
    let set_time = |input: &mut Decoder<'_>| match input.u32()? {
        0 => Ok(SetTime::Keep),
        1 => Ok(SetTime::Now),
        2 => time(input).map(SetTime::To),
        other => Err(DecodeError::BadValue(other)),
    };
    Ok(SetAttributes {
        mode: input.optional(|input| input.u32())?.map(|mode| mode & 0o7777),
        uid: input.optional(|input| input.u32())?,
        gid: input.optional(|input| input.u32())?,
        size: input.optional(|input| input.u64())?,
        atime: set_time(input)?,
        mtime: set_time(input)?,
    })
}

/// Version 3 knows seconds from 1970 to 2106.
fn seconds(time: Time) -> u32 {
    u32::try_from(time.seconds.max(0)).unwrap_or(u32::MAX)
}

fn put_time(out: &mut Encoder, time: Time) {
    out.u32(seconds(time));
    out.u32(time.nanos);
}

/// Bytes of `fattr3`.
pub(super) const ATTRIBUTES_LEN: usize = 84;

/// `fattr3`, in one piece: a directory listing consists of little else.
pub(super) fn put_attributes(out: &mut Encoder, attributes: &Attributes, fsid: u64) {
    let file_type = match attributes.file_type {
        FileType::Regular => 1,
        FileType::Directory => 2,
        FileType::BlockDevice => 3,
        FileType::CharDevice => 4,
        FileType::Symlink => 5,
        FileType::Socket => 6,
        FileType::Fifo => 7,
    };
    let high = |value: u64| (value >> 32) as u32;
    let low = |value: u64| value as u32;
    let words = [
        file_type,
        attributes.mode & 0o7777,
        attributes.links,
        attributes.uid,
        attributes.gid,
        high(attributes.size),
        low(attributes.size),
        high(attributes.allocated),
        low(attributes.allocated),
        attributes.device.major,
        attributes.device.minor,
        high(fsid),
        low(fsid),
        high(attributes.id.inode),
        low(attributes.id.inode),
        seconds(attributes.atime),
        attributes.atime.nanos,
        seconds(attributes.mtime),
        attributes.mtime.nanos,
        seconds(attributes.ctime),
        attributes.ctime.nanos,
    ];
    let mut bytes = [0; ATTRIBUTES_LEN];
    for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
    out.fixed(&bytes);
}

/// `post_op_attr`; the second value is the fsid.
pub(super) fn put_post_op(out: &mut Encoder, attributes: Option<(&Attributes, u64)>) {
    out.bool(attributes.is_some());
    if let Some((attributes, fsid)) = attributes {
        put_attributes(out, attributes, fsid);
    }
}

/// `wcc_data`.
pub(super) fn put_wcc(out: &mut Encoder, change: &Change, fsid: u64) {
    out.bool(true);
    out.u64(change.before.size);
    put_time(out, change.before.mtime);
    put_time(out, change.before.ctime);
    put_post_op(out, Some((&change.after, fsid)));
}
