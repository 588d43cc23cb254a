//! Attributes of an open file, and what changes them (sections 13.2 and 13.4).

use super::{Request, check_access};
use crate::io::access::{Access, may};
use crate::io::opens::Open;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::io::{IoChown, IoSpace, IoUtime, Stat, ioflag, whence};
use keelson_volume::{Attributes, FileType, SetAttributes, SetTime, Time};

/// Units of `st_blocks`.
const BLOCK: u64 = 512;

/// Attributes now; the size of what is open may differ from that of its object.
pub(super) async fn attributes(open: &Open) -> Result<Attributes, Errno> {
    let found = open.place.mount.manager.attributes(open.place.attributes.id).await?;
    let size = open.opened().and_then(|file| file.size()).unwrap_or(found.size);
    Ok(Attributes { size, ..found })
}

/// `struct stat` of an object.
pub(super) fn stat(attributes: &Attributes, dev: u32) -> Stat {
    let seconds = |time: Time| u32::try_from(time.seconds.max(0)).unwrap_or(u32::MAX);
    let blocks = attributes.allocated.div_ceil(BLOCK);
    Stat {
        ino: attributes.id.inode,
        size: attributes.size,
        dev,
        rdev: attributes.device.major << 10 | attributes.device.minor & 0x3ff,
        uid: attributes.uid,
        gid: attributes.gid,
        mtime: seconds(attributes.mtime),
        atime: seconds(attributes.atime),
        ctime: seconds(attributes.ctime),
        mode: type_bits(attributes.file_type) | attributes.mode & 0o7777,
        nlink: attributes.links,
        blocksize: BLOCK as i32,
        nblocks: i32::try_from(blocks).unwrap_or(i32::MAX),
        blksize: 4096,
        blocks,
    }
}

/// Type bits of a mode (section 13.3).
const fn type_bits(file_type: FileType) -> u32 {
    match file_type {
        FileType::Fifo => 0x1000,
        FileType::CharDevice => 0x2000,
        FileType::Directory => 0x4000,
        FileType::BlockDevice => 0x6000,
        FileType::Regular => 0x8000,
        FileType::Symlink => 0xa000,
        FileType::Socket => 0xc000,
    }
}

async fn set(open: &Open, changes: SetAttributes) -> Result<(), Errno> {
    open.place.mount.manager.set_attributes(open.place.attributes.id, changes).await.map(|_| ())
}

pub(super) async fn chmod(request: &Request<'_>, mode: u32) -> Result<(), Errno> {
    let (open, caller) = (request.open, request.caller);
    let object = attributes(open).await?;
    if !caller.owns(&object) {
        return Err(Errno::EPERM);
    }
    // Set-group-ID is only for members of the group.
    let allowed = if caller.is_root() || caller.is_in_group(object.gid) { 0o7777 } else { 0o5777 };
    set(open, SetAttributes { mode: Some(mode & allowed), ..SetAttributes::default() }).await
}

/// Giving files away is for root (`_PC_CHOWN_RESTRICTED`).
pub(super) async fn chown(request: &Request<'_>, body: IoChown) -> Result<(), Errno> {
    let (open, caller) = (request.open, request.caller);
    let object = attributes(open).await?;
    let new = |id: i32| if id == -1 { None } else { Some(id as u32) };
    let (uid, gid) = (new(body.uid), new(body.gid));
    let keeps_owner = uid.is_none_or(|uid| uid == object.uid);
    let knows_group = gid.is_none_or(|gid| gid == object.gid || caller.is_in_group(gid));
    let allowed = caller.is_root() || caller.owns(&object) && keeps_owner && knows_group;
    if !allowed {
        return Err(Errno::EPERM);
    }
    let mode = (!caller.is_root() && object.mode & 0o6000 != 0).then_some(object.mode & 0o1777);
    set(open, SetAttributes { uid, gid, mode, ..SetAttributes::default() }).await
}

pub(super) async fn utime(request: &Request<'_>, body: IoUtime) -> Result<(), Errno> {
    let (open, caller) = (request.open, request.caller);
    let object = attributes(open).await?;
    let to = |seconds: u32| SetTime::To(Time { seconds: seconds.into(), nanos: 0 });
    let (atime, mtime) = match body.cur_flag {
        0 => (to(body.actime), to(body.modtime)),
        _ => (SetTime::Now, SetTime::Now),
    };
    if !caller.owns(&object) {
        match body.cur_flag {
            0 => return Err(Errno::EPERM),
            _ if !may(caller, &object, Access::WRITE) => return Err(Errno::EACCES),
            _ => {}
        }
    }
    set(open, SetAttributes { atime, mtime, ..SetAttributes::default() }).await
}

/// What `ftruncate` and its relatives send. Returns the size.
pub(super) async fn space(open: &Open, body: IoSpace) -> Result<u64, Errno> {
    check_access(open, ioflag::WR)?;
    let _permit = open.at_offset.acquire().await;
    let size = attributes(open).await?.size;
    let base = match body.whence {
        whence::SET => 0,
        whence::CUR => open.offset.get(),
        whence::END => size,
        _ => return Err(Errno::EINVAL),
    };
    let start = i128::from(base) + i128::from(body.start as i64);
    let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
    let end = start.checked_add(body.len).ok_or(Errno::EFBIG)?;
    let new_size = match body.subtype {
        // Up to the end of the file: the file ends there, also when that is further than before.
        IoSpace::FREE if body.len == 0 => start,
        IoSpace::FREE if end >= size => start.min(size),
        IoSpace::ALLOC if body.len == 0 => size.max(start),
        IoSpace::ALLOC => size.max(end),
        // Holes.
        _ => return Err(Errno::ENOSYS),
    };
    if new_size != size {
        set(open, SetAttributes { size: Some(new_size), ..SetAttributes::default() }).await?;
    }
    Ok(new_size)
}
