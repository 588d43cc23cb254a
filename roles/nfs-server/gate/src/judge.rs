//! The end of a world: what is on the volume, name by name and byte by byte.

use crate::files::content::MOST_CELLS;
use crate::files::process::FileProcess;
use crate::files::tree::{Dir, Named, text};
use keelson_ext4::Ext4Volume;
use keelson_volume::{FileId, Volume, VolumeError};
use std::collections::BTreeSet;

/// Bytes of names in a page of a directory.
const PAGE: usize = 4096;

/// Whether the volume holds what a process knows to be there, and nothing else.
pub async fn judge(volume: &Ext4Volume, process: &FileProcess) -> Result<(), String> {
    let said = |error: VolumeError| format!("{}: {error}", process.name);
    let root = volume.lookup(volume.root(), process.name.as_bytes()).await.map_err(said)?.id;
    let dirs: Vec<Dir> = process.tree.borrow().dirs.keys().copied().collect();
    for dir in dirs {
        let id = if dir == 0 {
            root
        } else {
            let place = process
                .tree
                .borrow()
                .names
                .iter()
                .find(|(_, named)| **named == Named::Dir(dir))
                .map(|(place, _)| *place);
            let Some((0, name)) = place else {
                return Err(format!("{}: directory {dir} has no name", process.name));
            };
            volume.lookup(root, text(name).as_bytes()).await.map_err(said)?.id
        };
        judge_dir(volume, process, dir, id).await?;
    }
    Ok(())
}

async fn judge_dir(volume: &Ext4Volume, process: &FileProcess, dir: Dir, id: FileId) -> Result<(), String> {
    let said = |error: VolumeError| format!("{} directory {dir}: {error}", process.name);
    let mut found = BTreeSet::new();
    let mut cookie = 0;
    loop {
        let page = volume.read_dir(id, cookie, PAGE).await.map_err(said)?;
        for entry in page.entries.iter().filter(|entry| !entry.is_dot()) {
            found.insert(String::from_utf8_lossy(&entry.name).into_owned());
        }
        match page.entries.last() {
            Some(last) if !page.end => cookie = last.cookie,
            _ => break,
        }
    }
    let expected: BTreeSet<String> = {
        let tree = process.tree.borrow();
        tree.names.keys().filter(|(within, _)| *within == dir).map(|(_, name)| text(*name)).collect()
    };
    if found != expected {
        return Err(format!("{} directory {dir} holds {found:?}, not {expected:?}", process.name));
    }
    let names: Vec<(u8, Named)> = {
        let tree = process.tree.borrow();
        tree.names
            .iter()
            .filter(|((within, _), _)| *within == dir)
            .map(|((_, name), named)| (*name, *named))
            .collect()
    };
    for (name, named) in names {
        let Named::File(number) = named else { continue };
        let attributes = volume.lookup(id, text(name).as_bytes()).await.map_err(said)?;
        let mut bytes = vec![0; MOST_CELLS * crate::files::content::CELL + 1];
        let length = volume.read(attributes.id, 0, &mut bytes).await.map_err(said)?;
        let tree = process.tree.borrow();
        let Some(file) = tree.files.get(&number) else { continue };
        if attributes.links != file.links {
            let (is, not) = (attributes.links, file.links);
            return Err(format!("{} file {number} has {is} names, not {not}", process.name));
        }
        // Everything was made stable: it must be there to the byte.
        let judged = file.content.judge(0, MOST_CELLS + 1, &bytes[..length], None);
        judged.map_err(|said| format!("{} file {number} in the end: {said}", process.name))?;
    }
    Ok(())
}
