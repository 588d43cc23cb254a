//! What a step must answer.

use super::{Body, Making, Step, Tree};
use keelson_volume::VolumeError;

/// Most links of an object (Linux `EXT4_LINK_MAX`).
const MOST_LINKS: u32 = 65_000;

/// The error that a step must end with; `Ok` when it must succeed (as long as there is space).
pub fn predict(tree: &Tree, step: &Step) -> Result<(), VolumeError> {
    match step {
        Step::Create { dir, name, what, .. } => {
            free(tree, *dir, name)?;
            match what {
                Making::Symlink(target) if target.is_empty() => Err(VolumeError::Invalid),
                Making::Symlink(target) if target.len() > 4095 => Err(VolumeError::NameTooLong),
                _ => Ok(()),
            }
        }
        Step::Link { object, dir, name } => {
            if tree.is_dir(*object) {
                return Err(VolumeError::NotPermitted);
            }
            free(tree, *dir, name)?;
            match tree.get(*object).attributes.links >= MOST_LINKS {
                true => Err(VolumeError::TooManyLinks),
                false => Ok(()),
            }
        }
        Step::Remove { dir, name } => match tree.is_dir(taken(tree, *dir, name)?) {
            true => Err(VolumeError::IsDirectory),
            false => Ok(()),
        },
        Step::RemoveDir { dir, name } => match tree.names(taken(tree, *dir, name)?) {
            None => Err(VolumeError::NotDirectory),
            Some(names) if !names.is_empty() => Err(VolumeError::NotEmpty),
            Some(_) => Ok(()),
        },
        Step::Rename { from, name, to, new_name } => rename(tree, (*from, name), (*to, new_name)),
        Step::Truncate { file, .. } | Step::Write { file, .. } => match &tree.get(*file).body {
            Body::File(_) => Ok(()),
            Body::Directory { .. } => Err(VolumeError::IsDirectory),
            _ => Err(VolumeError::Invalid),
        },
        Step::SetAttributes { .. } => Ok(()),
        Step::SetXattr { .. } => Ok(()),
    }
}

fn rename(tree: &Tree, (from, name): (u64, &[u8]), (to, new_name): (u64, &[u8])) -> Result<(), VolumeError> {
    let moved = taken(tree, from, name)?;
    let target = tree.names(to).ok_or(VolumeError::NotDirectory)?.get(new_name).copied();
    if target == Some(moved) {
        return Ok(());
    }
    if new_name.len() > 255 {
        return Err(VolumeError::NameTooLong);
    }
    if tree.is_dir(moved) && tree.is_inside(to, moved) {
        return Err(VolumeError::Invalid);
    }
    let Some(target) = target else { return Ok(()) };
    match (tree.is_dir(moved), tree.names(target)) {
        (true, None) => Err(VolumeError::NotDirectory),
        (false, Some(_)) => Err(VolumeError::IsDirectory),
        (true, Some(names)) if !names.is_empty() => Err(VolumeError::NotEmpty),
        _ => Ok(()),
    }
}

fn taken(tree: &Tree, dir: u64, name: &[u8]) -> Result<u64, VolumeError> {
    let names = tree.names(dir).ok_or(VolumeError::NotDirectory)?;
    names.get(name).copied().ok_or(VolumeError::NotFound)
}

fn free(tree: &Tree, dir: u64, name: &[u8]) -> Result<(), VolumeError> {
    let names = tree.names(dir).ok_or(VolumeError::NotDirectory)?;
    if name.len() > 255 {
        return Err(VolumeError::NameTooLong);
    }
    if names.contains_key(name) { Err(VolumeError::Exists) } else { Ok(()) }
}
