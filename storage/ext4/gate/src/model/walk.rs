//! Everything that a backend holds, as a tree, checked on the way: names once, lookups and listings that agree.

use super::{Body, Object, Tree, shown};
use crate::backend::Backend;
use keelson_volume::{FileId, FileType};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Bytes of files that are kept; a model's files are shorter.
const LONGEST_FILE: u64 = 64 << 20;

/// Walks from the root.
pub fn walk(backend: &mut dyn Backend) -> Result<Tree, String> {
    let root = backend.root();
    let mut tree = Tree { root: root.inode, objects: BTreeMap::new() };
    let mut waiting = vec![(root, root.inode, String::new())];
    while let Some((id, parent, path)) = waiting.pop() {
        if tree.objects.contains_key(&id.inode) {
            continue;
        }
        let said = |what: &str, error| format!("{path}: {what}: {error}");
        let attributes = backend.attributes(id).map_err(|error| said("attributes", error))?;
        if attributes.id != id {
            return Err(format!("{path}: the attributes of {id:?} are those of {:?}", attributes.id));
        }
        let body = match attributes.file_type {
            FileType::Directory => {
                let names = directory(backend, id, &path, &mut waiting)?;
                Body::Directory { names, parent }
            }
            FileType::Regular => Body::File(Rc::new(content(backend, id, attributes.size, &path)?)),
            FileType::Symlink => {
                Body::Symlink(backend.read_link(id).map_err(|error| said("read_link", error))?)
            }
            _ => Body::Special,
        };
        let mut xattrs = BTreeMap::new();
        if backend.abilities().xattrs {
            for name in backend.xattr_names(id).map_err(|error| said("names of xattrs", error))? {
                let value = backend.xattr(id, &name).map_err(|error| said("xattr", error))?;
                xattrs.insert(name, value);
            }
        }
        tree.objects.insert(id.inode, Rc::new(Object { attributes, body, xattrs }));
    }
    Ok(tree)
}

fn directory(
    backend: &mut dyn Backend,
    dir: FileId,
    path: &str,
    waiting: &mut Vec<(FileId, u64, String)>,
) -> Result<BTreeMap<Vec<u8>, u64>, String> {
    let mut names = BTreeMap::new();
    let listed = backend.read_dir(dir).map_err(|error| format!("{path}: read_dir: {error}"))?;
    for (name, inode) in listed {
        let path = format!("{path}/{}", shown(&name));
        let found = backend.lookup(dir, &name).map_err(|error| format!("{path}: lookup: {error}"))?;
        if found.id.inode != inode {
            return Err(format!("{path}: listed as inode {inode}, found as {}", found.id.inode));
        }
        if names.insert(name, inode).is_some() {
            return Err(format!("{path}: listed twice"));
        }
        waiting.push((found.id, dir.inode, path));
    }
    Ok(names)
}

fn content(backend: &mut dyn Backend, file: FileId, size: u64, path: &str) -> Result<Vec<u8>, String> {
    if size > LONGEST_FILE {
        return Err(format!("{path}: {size} bytes are too many for a model"));
    }
    // More is asked than there is: the end of the file must end the reading.
    let mut buffer = vec![0xee; size as usize + 10];
    let length = backend.read(file, 0, &mut buffer).map_err(|error| format!("{path}: read: {error}"))?;
    if length as u64 != size {
        return Err(format!("{path}: read {length} of {size} bytes"));
    }
    buffer.truncate(length);
    Ok(buffer)
}
