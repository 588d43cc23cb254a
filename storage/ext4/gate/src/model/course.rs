//! A backend and a tree that take the same steps.

use super::apply::{apply, set_time, settle};
use super::{Making, Rules, Step, Tree, difference, predict, walk};
use crate::backend::{Answer, Backend};
use keelson_volume::{FileId, NewObject, ObjectKind, SetAttributes, SetTime, VolumeError};

/// Objects that went away and are asked for again now and then.
const REMEMBERED: usize = 50;

/// Why a course does not go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The filesystem is full; nothing was changed.
    NoSpace,
    /// The backend refused what must work, for this reason.
    Refused(VolumeError),
    /// It is wrong.
    Wrong(String),
}

/// A run.
pub struct Course {
    /// What the backend must hold.
    pub tree: Tree,
    /// Bytes of all files.
    pub bytes: u64,
    gone: Vec<FileId>,
}

impl Course {
    /// Begins with what the backend holds.
    pub fn begin(backend: &mut dyn Backend) -> Result<Course, String> {
        let tree = walk(backend)?;
        Ok(Course { bytes: tree.bytes(), tree, gone: Vec::new() })
    }

    /// Takes a step on both sides. True when it changed something, false when it failed as it must.
    pub fn step(&mut self, backend: &mut dyn Backend, step: &Step) -> Result<bool, Stop> {
        let predicted = predict(&self.tree, step);
        let answer = execute(backend, &self.tree, step);
        let made = match (predicted, answer) {
            (Ok(()), Ok(made)) => made,
            (Ok(()), Err(VolumeError::NoSpace)) => return Err(Stop::NoSpace),
            (Ok(()), Err(error)) => return Err(Stop::Refused(error)),
            (Err(want), Err(have)) if want == have => return Ok(false),
            // The kernel sees names before we do: a directory into itself, one over what is not empty.
            (Err(_), Err(_)) if !backend.abilities().exact_times => return Ok(false),
            (Err(want), Err(have)) => {
                return Err(Stop::Wrong(format!("{}: {have:?}, not {want:?}", step.brief())));
            }
            (Err(want), Ok(_)) => {
                return Err(Stop::Wrong(format!("{}: done, not {want:?}", step.brief())));
            }
        };
        self.follow(backend, step, made).map_err(|said| Stop::Wrong(format!("{}: {said}", step.brief())))?;
        Ok(true)
    }

    /// The step succeeded: so it must show.
    fn follow(&mut self, backend: &mut dyn Backend, step: &Step, made: Option<FileId>) -> Result<(), String> {
        if let Some(id) = made
            && let Some(there) = self.tree.objects.get(&id.inode)
        {
            return Err(format!("inode {} is in use already: {there:?}", id.inode));
        }
        let victim = victim(&self.tree, step);
        let file = match step {
            Step::Write { file, .. } | Step::Truncate { file, .. } => Some(*file),
            _ => victim.map(|id| id.inode),
        };
        let size =
            |tree: &Tree| file.and_then(|file| tree.content(file)).map_or(0, |content| content.len() as u64);
        let before = size(&self.tree);
        let touched = apply(&mut self.tree, step, made);
        self.bytes = self.bytes + size(&self.tree) - before;
        let exact = backend.abilities().exact_times;
        for (inode, touch) in touched {
            let id = self.id(inode);
            let found = backend.attributes(id).map_err(|error| format!("attributes: {error}"))?;
            settle(&mut self.tree, inode, touch, found, exact)?;
        }
        if let Some(id) = victim.filter(|id| !self.tree.objects.contains_key(&id.inode)) {
            if self.gone.len() >= REMEMBERED {
                self.gone.remove(0);
            }
            self.gone.push(id);
        }
        Ok(())
    }

    fn id(&self, inode: u64) -> FileId {
        self.tree.get(inode).attributes.id
    }

    /// Compares everything; the error is the first difference.
    pub fn compare(&self, backend: &mut dyn Backend) -> Result<(), String> {
        let found = walk(backend)?;
        let rules = Rules::between(backend.abilities(), backend.abilities());
        if let Some(what) = difference(&self.tree, &found, &rules) {
            return Err(what);
        }
        if !backend.abilities().generations {
            return Ok(());
        }
        match self.gone.iter().find(|id| backend.attributes(**id).map(|_| ()) != Err(VolumeError::Stale)) {
            Some(id) => Err(format!("{id:?} is gone, but its handle still works")),
            None => Ok(()),
        }
    }
}

/// What may lose its last name by a step.
fn victim(tree: &Tree, step: &Step) -> Option<FileId> {
    let (dir, name) = match step {
        Step::Remove { dir, name } | Step::RemoveDir { dir, name } => (*dir, name),
        Step::Rename { to, new_name, .. } => (*to, new_name),
        _ => return None,
    };
    Some(tree.get(*tree.names(dir)?.get(name)?).attributes.id)
}

/// Takes a step on a backend; the id of what it made.
fn execute(backend: &mut dyn Backend, tree: &Tree, step: &Step) -> Answer<Option<FileId>> {
    let id = |inode: &u64| tree.get(*inode).attributes.id;
    match step {
        Step::Create { dir, name, what, mode, owner } => {
            let new = new_object(what, *mode, *owner);
            return backend.create(id(dir), name, new).map(Some);
        }
        Step::Link { object, dir, name } => backend.link(id(object), id(dir), name)?,
        Step::Remove { dir, name } => backend.remove(id(dir), name)?,
        Step::RemoveDir { dir, name } => backend.remove_dir(id(dir), name)?,
        Step::Rename { from, name, to, new_name } => backend.rename(id(from), name, id(to), new_name)?,
        Step::Write { file, offset, length, fill } => {
            backend.write(id(file), *offset, &Step::content(*offset, *length, *fill))?;
        }
        Step::Truncate { .. } | Step::SetAttributes { .. } => {
            let (object, changes) = changes(step).ok_or(VolumeError::Invalid)?;
            backend.set_attributes(id(&object), changes)?;
        }
        Step::SetXattr { object, name, value } => backend.set_xattr(id(object), name, value.as_deref())?,
    }
    Ok(None)
}

/// What a step asks to make.
pub fn new_object(what: &Making, mode: u32, (uid, gid): (u32, u32)) -> NewObject<'_> {
    let kind = match what {
        Making::Regular => ObjectKind::Regular,
        Making::Directory => ObjectKind::Directory,
        Making::Symlink(target) => ObjectKind::Symlink(target),
        Making::BlockDevice(device) => ObjectKind::BlockDevice(*device),
        Making::CharDevice(device) => ObjectKind::CharDevice(*device),
        Making::Fifo => ObjectKind::Fifo,
        Making::Socket => ObjectKind::Socket,
    };
    NewObject { kind, mode, uid, gid, atime: SetTime::Now, mtime: SetTime::Now }
}

/// What a step asks to change of which object, if it is one that changes attributes.
pub fn changes(step: &Step) -> Option<(u64, SetAttributes)> {
    match step {
        Step::Truncate { file, size } => {
            Some((*file, SetAttributes { size: Some(*size), ..SetAttributes::default() }))
        }
        Step::SetAttributes { object, mode, owner, mtime } => {
            let changes = SetAttributes {
                mode: *mode,
                uid: owner.map(|owner| owner.0),
                gid: owner.map(|owner| owner.1),
                mtime: set_time(*mtime),
                ..SetAttributes::default()
            };
            Some((*object, changes))
        }
        _ => None,
    }
}
