//! The lock manager's data on the wire: versions 1 and 3 with offsets of 32 bits, version 4 with 64 (X/Open
//! XNFS chapter 10, RFC 1813 appendix II).

use alloc::vec::Vec;
use keelson_oncrpc::{DecodeError, Decoder, Encoder};

/// Longest `netobj` and longest name (`MAXNETOBJ_SZ`, `LM_MAXSTRLEN`).
pub const MAX_OBJECT: usize = 1024;

/// Procedure numbers, the same in all versions. Those from 20 on came with version 3.
#[allow(missing_docs)] // The names are those of X/Open XNFS chapter 10, without their prefix.
pub mod procedure {
    pub const TEST: u32 = 1;
    pub const LOCK: u32 = 2;
    pub const CANCEL: u32 = 3;
    pub const UNLOCK: u32 = 4;
    pub const GRANTED: u32 = 5;
    pub const TEST_MSG: u32 = 6;
    pub const UNLOCK_MSG: u32 = 9;
    pub const GRANTED_MSG: u32 = 10;
    pub const TEST_RES: u32 = 11;
    pub const UNLOCK_RES: u32 = 14;
    pub const GRANTED_RES: u32 = 15;
    pub const SHARE: u32 = 20;
    pub const UNSHARE: u32 = 21;
    pub const NM_LOCK: u32 = 22;
    pub const FREE_ALL: u32 = 23;
    /// Between a procedure's message form and its result form.
    pub const MSG_TO_RES: u32 = 5;
}

/// Which procedures and which offsets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// Without shares.
    V1,
    /// With shares.
    V3,
    /// With 64-bit offsets, and statuses that say why.
    V4,
}

impl Version {
    /// The version of a call that was already found to be served.
    pub fn of(number: u32) -> Version {
        match number {
            1 => Version::V1,
            3 => Version::V3,
            _ => Version::V4,
        }
    }

    /// Its number.
    pub fn number(self) -> u32 {
        match self {
            Version::V1 => 1,
            Version::V3 => 3,
            Version::V4 => 4,
        }
    }

    fn offset(self, input: &mut Decoder<'_>) -> Result<u64, DecodeError> {
        if self == Version::V4 { input.u64() } else { input.u32().map(u64::from) }
    }

    /// An offset above what the version can say becomes its largest one.
    fn put_offset(self, out: &mut Encoder, offset: u64) {
        match self {
            Version::V4 => out.u64(offset),
            _ => out.u32(u32::try_from(offset).unwrap_or(u32::MAX)),
        }
    }

    /// A length above what the version can say becomes 0: to the end.
    fn put_length(self, out: &mut Encoder, length: u64) {
        match self {
            Version::V4 => out.u64(length),
            _ => out.u32(u32::try_from(length).unwrap_or(0)),
        }
    }

    /// The status as this version has it: those that only version 4 knows become what comes nearest.
    pub fn status(self, status: Status) -> Status {
        match status {
            _ if self == Version::V4 => status,
            Status::DEADLCK => Status::DENIED,
            Status::ROFS | Status::STALE_FH | Status::FBIG | Status::FAILED => Status::DENIED_NOLOCKS,
            status => status,
        }
    }
}

/// `nlm4_stats`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(pub u32);

#[allow(missing_docs)] // The names are those of RFC 1813 appendix II, without their prefix.
impl Status {
    pub const GRANTED: Status = Status(0);
    pub const DENIED: Status = Status(1);
    pub const DENIED_NOLOCKS: Status = Status(2);
    pub const BLOCKED: Status = Status(3);
    pub const DENIED_GRACE_PERIOD: Status = Status(4);
    pub const DEADLCK: Status = Status(5);
    pub const ROFS: Status = Status(6);
    pub const STALE_FH: Status = Status(7);
    pub const FBIG: Status = Status(8);
    pub const FAILED: Status = Status(9);
}

/// `nlm_lock` and `nlm4_lock`: a range of a file and who wants it. Ranges end where the version's offsets do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lock<'a> {
    /// What the client's host calls itself.
    pub caller_name: &'a [u8],
    /// File handle.
    pub file: &'a [u8],
    /// The owner, opaque.
    pub owner: &'a [u8],
    /// The process, by the client's numbers; belongs to the owner.
    pub svid: u32,
    /// First byte.
    pub offset: u64,
    /// Number of bytes; 0 is all up to the end, however far it moves.
    pub length: u64,
}

impl<'a> Lock<'a> {
    fn decode(version: Version, input: &mut Decoder<'a>) -> Result<Lock<'a>, DecodeError> {
        Ok(Lock {
            caller_name: input.opaque(MAX_OBJECT)?,
            file: input.opaque(MAX_OBJECT)?,
            owner: input.opaque(MAX_OBJECT)?,
            svid: input.u32()?,
            offset: version.offset(input)?,
            length: version.offset(input)?,
        })
    }

    fn encode(&self, version: Version, out: &mut Encoder) {
        out.opaque(self.caller_name);
        out.opaque(self.file);
        out.opaque(self.owner);
        out.u32(self.svid);
        version.put_offset(out, self.offset);
        version.put_length(out, self.length);
    }

    /// The bytes that name the owner among its client's: the process and the opaque owner.
    pub fn owner_name(&self) -> Vec<u8> {
        owner_name(self.svid, self.owner)
    }
}

/// The bytes that name an owner among its client's.
pub fn owner_name(svid: u32, owner: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(4 + owner.len());
    name.extend_from_slice(&svid.to_be_bytes());
    name.extend_from_slice(owner);
    name
}

/// Process and opaque owner of a name that [`owner_name`] made. Other names are of other protocols: they
/// have no process.
pub fn split_owner_name(name: &[u8]) -> (u32, &[u8]) {
    match name.split_first_chunk::<4>() {
        Some((svid, owner)) => (u32::from_be_bytes(*svid), owner),
        None => (0, name),
    }
}

/// Arguments of TEST and GRANTED.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TestArgs<'a> {
    /// The caller's number of the request.
    pub cookie: &'a [u8],
    /// For writing.
    pub exclusive: bool,
    /// What.
    pub lock: Lock<'a>,
}

impl<'a> TestArgs<'a> {
    /// Decodes all of `input`.
    pub fn decode(version: Version, mut input: Decoder<'a>) -> Result<TestArgs<'a>, DecodeError> {
        let args = TestArgs {
            cookie: input.opaque(MAX_OBJECT)?,
            exclusive: input.bool()?,
            lock: Lock::decode(version, &mut input)?,
        };
        input.finish().map(|()| args)
    }

    /// Writes the arguments.
    pub fn encode(&self, version: Version, out: &mut Encoder) {
        out.opaque(self.cookie);
        out.bool(self.exclusive);
        self.lock.encode(version, out);
    }
}

/// Arguments of LOCK and NM_LOCK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockArgs<'a> {
    /// The caller's number of the request.
    pub cookie: &'a [u8],
    /// Wait when somebody is in the way.
    pub block: bool,
    /// For writing.
    pub exclusive: bool,
    /// What.
    pub lock: Lock<'a>,
    /// The client had the lock before the server restarted.
    pub reclaim: bool,
    /// The client's NSM state number; 0 when it has none.
    pub state: u32,
}

impl<'a> LockArgs<'a> {
    /// Decodes all of `input`.
    pub fn decode(version: Version, mut input: Decoder<'a>) -> Result<LockArgs<'a>, DecodeError> {
        let args = LockArgs {
            cookie: input.opaque(MAX_OBJECT)?,
            block: input.bool()?,
            exclusive: input.bool()?,
            lock: Lock::decode(version, &mut input)?,
            reclaim: input.bool()?,
            state: input.u32()?,
        };
        input.finish().map(|()| args)
    }
}

/// Arguments of CANCEL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CancelArgs<'a> {
    /// The caller's number of the request.
    pub cookie: &'a [u8],
    /// For writing.
    pub exclusive: bool,
    /// What.
    pub lock: Lock<'a>,
}

impl<'a> CancelArgs<'a> {
    /// Decodes all of `input`.
    pub fn decode(version: Version, mut input: Decoder<'a>) -> Result<CancelArgs<'a>, DecodeError> {
        let cookie = input.opaque(MAX_OBJECT)?;
        let _block = input.bool()?;
        let exclusive = input.bool()?;
        let lock = Lock::decode(version, &mut input)?;
        input.finish().map(|()| CancelArgs { cookie, exclusive, lock })
    }
}

/// Arguments of UNLOCK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnlockArgs<'a> {
    /// The caller's number of the request.
    pub cookie: &'a [u8],
    /// What.
    pub lock: Lock<'a>,
}

impl<'a> UnlockArgs<'a> {
    /// Decodes all of `input`.
    pub fn decode(version: Version, mut input: Decoder<'a>) -> Result<UnlockArgs<'a>, DecodeError> {
        let args = UnlockArgs { cookie: input.opaque(MAX_OBJECT)?, lock: Lock::decode(version, &mut input)? };
        input.finish().map(|()| args)
    }
}

/// A cookie and a status: results of most procedures, and arguments of most result calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Res<'a> {
    /// Of the request that is answered.
    pub cookie: &'a [u8],
    /// How it went.
    pub status: Status,
}

impl<'a> Res<'a> {
    /// Decodes all of `input`.
    pub fn decode(mut input: Decoder<'a>) -> Result<Res<'a>, DecodeError> {
        let result = Res { cookie: input.opaque(MAX_OBJECT)?, status: Status(input.u32()?) };
        input.finish().map(|()| result)
    }

    /// Writes the result.
    pub fn encode(&self, version: Version, out: &mut Encoder) {
        out.opaque(self.cookie);
        out.u32(version.status(self.status).0);
    }
}

/// Who is in the way (`nlm4_holder`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder<'a> {
    /// For writing.
    pub exclusive: bool,
    /// The process, by its client's numbers.
    pub svid: u32,
    /// The owner, opaque.
    pub owner: &'a [u8],
    /// First byte.
    pub offset: u64,
    /// Number of bytes; 0 is all up to the end.
    pub length: u64,
}

impl Holder<'_> {
    /// Writes the result of a test that found it.
    pub fn encode(&self, version: Version, cookie: &[u8], out: &mut Encoder) {
        out.opaque(cookie);
        out.u32(Status::DENIED.0);
        out.bool(self.exclusive);
        out.u32(self.svid);
        out.opaque(self.owner);
        version.put_offset(out, self.offset);
        version.put_length(out, self.length);
    }
}

/// Arguments of SHARE and UNSHARE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShareArgs<'a> {
    /// The caller's number of the request.
    pub cookie: &'a [u8],
    /// What the client's host calls itself.
    pub caller_name: &'a [u8],
    /// File handle.
    pub file: &'a [u8],
    /// The owner, opaque.
    pub owner: &'a [u8],
    /// What others may not do (`fsh4_mode`): 1 read, 2 write.
    pub deny: u32,
    /// What the owner does (`fsh4_access`): 1 read, 2 write.
    pub access: u32,
    /// The client had the share before the server restarted.
    pub reclaim: bool,
}

impl<'a> ShareArgs<'a> {
    /// Decodes all of `input`.
    pub fn decode(mut input: Decoder<'a>) -> Result<ShareArgs<'a>, DecodeError> {
        let bits = |input: &mut Decoder<'_>| match input.u32()? {
            bits @ 0..=3 => Ok(bits),
            other => Err(DecodeError::BadValue(other)),
        };
        let args = ShareArgs {
            cookie: input.opaque(MAX_OBJECT)?,
            caller_name: input.opaque(MAX_OBJECT)?,
            file: input.opaque(MAX_OBJECT)?,
            owner: input.opaque(MAX_OBJECT)?,
            deny: bits(&mut input)?,
            access: bits(&mut input)?,
            reclaim: input.bool()?,
        };
        input.finish().map(|()| args)
    }

    /// Writes the results of either procedure.
    pub fn encode_result(version: Version, cookie: &[u8], status: Status, out: &mut Encoder) {
        Res { cookie, status }.encode(version, out);
        // Sequence: of no use any more.
        out.u32(0);
    }
}

/// Arguments of FREE_ALL: the name and state of a host that restarted. Which host it is its address says.
pub fn free_all(mut input: Decoder<'_>) -> Result<&[u8], DecodeError> {
    let name = input.opaque(MAX_OBJECT)?;
    let _state = input.u32()?;
    input.finish().map(|()| name)
}

#[cfg(test)]
mod tests;
