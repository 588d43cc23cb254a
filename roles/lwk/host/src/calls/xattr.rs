//! Extended attributes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::messages::Part;
use rustix::fs::XattrFlags;

use super::attributes::path_of;
use super::{Reply, Task, done};
use crate::fail::Fail;
use crate::proxy::confine::Last;

/// What an attribute belongs to.
enum Owner {
    /// A path, and whether a link at its end stands for itself.
    Path(Vec<u8>, Last),
    /// A handle.
    Handle(super::Held),
}

/// The twelve calls: set, get, list, remove; each for a path, a link, a descriptor.
pub(super) fn xattr(task: &Task<'_>) -> Result<Reply, Fail> {
    let variant = (task.nr() - 188) % 3;
    let owner = match variant {
        2 => Owner::Handle(task.handle(0)?),
        _ => {
            let last = if variant == 1 { Last::Itself } else { Last::Target };
            if task.proxy.rules.root.is_some() && last == Last::Target {
                let (_fd, link) = path_of(task, task.path(0)?, last)?;
                return act(task, &Owner::Path(link.as_bytes().to_vec(), last));
            }
            if task.proxy.rules.root.is_some() {
                // There is no call for a link that is reached by descriptor.
                return Err(Fail(Errno::EOPNOTSUPP));
            }
            Owner::Path(task.path(0)?.to_vec(), last)
        }
    };
    act(task, &owner)
}

fn act(task: &Task<'_>, owner: &Owner) -> Result<Reply, Fail> {
    match (task.nr() - 188) / 3 {
        0 => set(task, owner),
        1 => get(task, owner),
        2 => list(task, owner),
        _ => {
            let name = OsStr::from_bytes(task.path(1)?);
            done(match owner {
                Owner::Path(path, Last::Target) => rustix::fs::removexattr(OsStr::from_bytes(path), name),
                Owner::Path(path, Last::Itself) => rustix::fs::lremovexattr(OsStr::from_bytes(path), name),
                Owner::Handle(handle) => rustix::fs::fremovexattr(&**handle, name),
            })
        }
    }
}

fn set(task: &Task<'_>, owner: &Owner) -> Result<Reply, Fail> {
    let name = OsStr::from_bytes(task.path(1)?);
    let value = task.checked.input(2, Part::Whole).unwrap_or_default();
    if task.arg(3) > 0 && value.is_empty() {
        return Err(Fail(Errno::EFAULT));
    }
    let flags = XattrFlags::from_bits_retain(task.int(4));
    done(match owner {
        Owner::Path(path, Last::Target) => rustix::fs::setxattr(OsStr::from_bytes(path), name, value, flags),
        Owner::Path(path, Last::Itself) => rustix::fs::lsetxattr(OsStr::from_bytes(path), name, value, flags),
        Owner::Handle(handle) => rustix::fs::fsetxattr(&**handle, name, value, flags),
    })
}

/// With a size of 0, only the size is wanted.
fn get(task: &Task<'_>, owner: &Owner) -> Result<Reply, Fail> {
    let name = OsStr::from_bytes(task.path(1)?);
    let output = task.checked.output(2, Part::Whole);
    let Some(room) = output else {
        return Ok(Reply::value(match owner {
            Owner::Path(path, Last::Target) => rustix::fs::getxattr_query(OsStr::from_bytes(path), name)?,
            Owner::Path(path, Last::Itself) => rustix::fs::lgetxattr_query(OsStr::from_bytes(path), name)?,
            Owner::Handle(handle) => rustix::fs::fgetxattr_query(&**handle, name)?,
        } as i64));
    };
    let mut value = vec![0; room.len as usize];
    let len = match owner {
        Owner::Path(path, Last::Target) => {
            rustix::fs::getxattr(OsStr::from_bytes(path), name, &mut value[..])?
        }
        Owner::Path(path, Last::Itself) => {
            rustix::fs::lgetxattr(OsStr::from_bytes(path), name, &mut value[..])?
        }
        Owner::Handle(handle) => rustix::fs::fgetxattr(&**handle, name, &mut value[..])?,
    };
    value.truncate(len);
    Ok(Reply::value(len as i64).with(output, value))
}

fn list(task: &Task<'_>, owner: &Owner) -> Result<Reply, Fail> {
    let output = task.checked.output(1, Part::Whole);
    let Some(room) = output else {
        return Ok(Reply::value(match owner {
            Owner::Path(path, Last::Target) => rustix::fs::listxattr_query(OsStr::from_bytes(path))?,
            Owner::Path(path, Last::Itself) => rustix::fs::llistxattr_query(OsStr::from_bytes(path))?,
            Owner::Handle(handle) => rustix::fs::flistxattr_query(&**handle)?,
        } as i64));
    };
    let mut names = vec![0; room.len as usize];
    let len = match owner {
        Owner::Path(path, Last::Target) => rustix::fs::listxattr(OsStr::from_bytes(path), &mut names[..])?,
        Owner::Path(path, Last::Itself) => rustix::fs::llistxattr(OsStr::from_bytes(path), &mut names[..])?,
        Owner::Handle(handle) => rustix::fs::flistxattr(&**handle, &mut names[..])?,
    };
    names.truncate(len);
    Ok(Reply::value(len as i64).with(output, names))
}
