//! What a step that succeeded changes in a tree.

use super::{Body, Making, Object, Step, Tree};
use keelson_volume::{Attributes, FileId, FileType, SetTime, Time};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Which times of an object a step sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    /// It was made: all are new.
    Made,
    /// Content changed: mtime and ctime.
    Content,
    /// Something else changed: ctime.
    Inode,
    /// mtime was set to this.
    Mtime(Time),
}

/// Changes the tree, and says which objects now have other times. `made` is the id of what the step made.
pub fn apply(tree: &mut Tree, step: &Step, made: Option<FileId>) -> Vec<(u64, Touch)> {
    match step {
        Step::Create { dir, name, what, mode, owner } => {
            let id = made.unwrap_or(FileId { inode: 0, discriminator: 0 });
            let object = new_object(id, what, *mode, *owner, *dir);
            let is_dir = object.attributes.file_type == FileType::Directory;
            tree.objects.insert(id.inode, Rc::new(object));
            tree.names_mut(*dir).insert(name.clone(), id.inode);
            tree.get_mut(*dir).attributes.links += u32::from(is_dir);
            vec![(id.inode, Touch::Made), (*dir, Touch::Content)]
        }
        Step::Link { object, dir, name } => {
            tree.names_mut(*dir).insert(name.clone(), *object);
            tree.get_mut(*object).attributes.links += 1;
            vec![(*object, Touch::Inode), (*dir, Touch::Content)]
        }
        Step::Remove { dir, name } => {
            let mut touched = vec![(*dir, Touch::Content)];
            if let Some(object) = tree.names_mut(*dir).remove(name) {
                touched.extend(drop_link(tree, object));
            }
            touched
        }
        Step::RemoveDir { dir, name } => {
            if let Some(object) = tree.names_mut(*dir).remove(name) {
                tree.objects.remove(&object);
                tree.get_mut(*dir).attributes.links -= 1;
            }
            vec![(*dir, Touch::Content)]
        }
        Step::Rename { from, name, to, new_name } => rename(tree, (*from, name), (*to, new_name)),
        Step::Truncate { file, size } => {
            tree.content_mut(*file).resize(*size as usize, 0);
            tree.get_mut(*file).attributes.size = *size;
            vec![(*file, Touch::Content)]
        }
        Step::Write { file, offset, length, fill } => {
            let content = tree.content_mut(*file);
            let (start, end) = (*offset as usize, *offset as usize + length);
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start..end].copy_from_slice(&Step::content(*offset, *length, *fill));
            let size = content.len() as u64;
            let attributes = &mut tree.get_mut(*file).attributes;
            attributes.size = size;
            // Writes of the harness are those of an unprivileged caller.
            attributes.mode &= if attributes.mode & 0o010 != 0 { !0o6000 } else { !0o4000 };
            vec![(*file, Touch::Content)]
        }
        Step::SetAttributes { object, mode, owner, mtime } => {
            let attributes = &mut tree.get_mut(*object).attributes;
            attributes.mode = mode.unwrap_or(attributes.mode);
            if let Some((uid, gid)) = owner {
                (attributes.uid, attributes.gid) = (*uid, *gid);
            }
            vec![(*object, mtime.map_or(Touch::Inode, Touch::Mtime))]
        }
        Step::SetXattr { object, name, value } => {
            let xattrs = &mut tree.get_mut(*object).xattrs;
            match value {
                Some(value) => drop(xattrs.insert(name.clone(), value.clone())),
                None => drop(xattrs.remove(name)),
            }
            vec![(*object, Touch::Inode)]
        }
    }
}

fn new_object(id: FileId, what: &Making, mode: u32, owner: (u32, u32), parent: u64) -> Object {
    let (file_type, size, body) = match what {
        Making::Regular => (FileType::Regular, 0, Body::File(Rc::default())),
        Making::Directory => (FileType::Directory, 0, Body::Directory { names: BTreeMap::new(), parent }),
        Making::Symlink(target) => (FileType::Symlink, target.len() as u64, Body::Symlink(target.clone())),
        Making::BlockDevice(_) => (FileType::BlockDevice, 0, Body::Special),
        Making::CharDevice(_) => (FileType::CharDevice, 0, Body::Special),
        Making::Fifo => (FileType::Fifo, 0, Body::Special),
        Making::Socket => (FileType::Socket, 0, Body::Special),
    };
    let device = match what {
        Making::BlockDevice(device) | Making::CharDevice(device) => *device,
        _ => Default::default(),
    };
    let attributes = Attributes {
        id,
        file_type,
        mode,
        links: if file_type == FileType::Directory { 2 } else { 1 },
        uid: owner.0,
        gid: owner.1,
        size,
        allocated: 0,
        device,
        atime: Time::default(),
        mtime: Time::default(),
        ctime: Time::default(),
    };
    Object { attributes, body, xattrs: BTreeMap::new() }
}

/// A name of something that is not a directory went away.
fn drop_link(tree: &mut Tree, object: u64) -> Option<(u64, Touch)> {
    let links = &mut tree.get_mut(object).attributes.links;
    *links -= 1;
    if *links == 0 {
        tree.objects.remove(&object);
        return None;
    }
    Some((object, Touch::Inode))
}

fn rename(tree: &mut Tree, (from, name): (u64, &[u8]), (to, new_name): (u64, &[u8])) -> Vec<(u64, Touch)> {
    if tree.names(from).and_then(|names| names.get(name))
        == tree.names(to).and_then(|names| names.get(new_name))
    {
        // Two names of one object: nothing happens.
        return Vec::new();
    }
    let Some(moved) = tree.names_mut(from).remove(name) else { return Vec::new() };
    let mut touched = vec![(from, Touch::Content), (moved, Touch::Inode)];
    if to != from {
        touched.push((to, Touch::Content));
    }
    let is_dir = tree.is_dir(moved);
    if let Some(replaced) = tree.names_mut(to).insert(new_name.to_vec(), moved) {
        if is_dir {
            tree.objects.remove(&replaced);
            tree.get_mut(to).attributes.links -= 1;
        } else {
            touched.extend(drop_link(tree, replaced));
        }
    }
    if is_dir && from != to {
        tree.get_mut(from).attributes.links -= 1;
        tree.get_mut(to).attributes.links += 1;
        if let Body::Directory { parent, .. } = &mut tree.get_mut(moved).body {
            *parent = to;
        }
    }
    touched
}

/// Compares an object's attributes with the tree's after [`apply`], and takes over what the backend decides: times,
/// sizes of directories, space.
pub fn settle(
    tree: &mut Tree,
    inode: u64,
    touch: Touch,
    found: Attributes,
    exact: bool,
) -> Result<(), String> {
    let path = tree.path(inode);
    let want = tree.get(inode).attributes;
    let mut expected = Attributes { allocated: found.allocated, ..want };
    if want.file_type == FileType::Directory {
        expected.size = found.size;
    }
    // Set-group-ID without group execution once meant mandatory locking; whether a write takes it away is open.
    if touch == Touch::Content && want.mode & 0o2010 == 0o2000 && found.mode == want.mode & !0o2000 {
        expected.mode = found.mode;
    }
    if !exact {
        expected = Attributes { atime: found.atime, mtime: found.mtime, ctime: found.ctime, ..expected };
        (expected.uid, expected.gid, expected.device) = (found.uid, found.gid, found.device);
    } else {
        if touch != Touch::Made && found.ctime <= want.ctime {
            return Err(format!("{path}: ctime went from {:?} to {:?}", want.ctime, found.ctime));
        }
        expected.ctime = found.ctime;
        match touch {
            Touch::Made => (expected.mtime, expected.atime) = (found.ctime, found.ctime),
            Touch::Content => expected.mtime = found.ctime,
            Touch::Inode => {}
            Touch::Mtime(time) => expected.mtime = time,
        }
        // Looking changes it, now and then.
        expected.atime = expected.atime.max(found.atime);
    }
    if expected != found {
        return Err(format!("{path}: attributes are {found:?}, not {expected:?}"));
    }
    tree.get_mut(inode).attributes = found;
    Ok(())
}

/// How a time of a step is set.
pub fn set_time(time: Option<Time>) -> SetTime {
    time.map_or(SetTime::Keep, SetTime::To)
}
