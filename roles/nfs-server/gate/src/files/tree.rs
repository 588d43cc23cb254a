//! What a process has made in its directory, and what each operation must answer there.

use super::content::Content;
use super::nfs::How;
use super::nfs::status::{EXIST, ISDIR, NOENT, NOTDIR, NOTEMPTY};
use std::collections::BTreeMap;

/// A directory of the process, by number; 0 is its own.
pub type Dir = u32;
/// A name: `n` and a number.
pub type Name = u8;
/// Where something is.
pub type Place = (Dir, Name);

/// What a name means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// A file, by number.
    File(u32),
    /// A directory.
    Dir(Dir),
}

/// A file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its handle.
    pub handle: Vec<u8>,
    /// Names that it has.
    pub links: u32,
    /// What is in it.
    pub content: Content,
}

/// An operation on names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// CREATE.
    Create(Place, How),
    /// MKDIR.
    Mkdir(Place),
    /// REMOVE.
    Remove(Place),
    /// RMDIR.
    Rmdir(Place),
    /// RENAME.
    Rename(Place, Place),
    /// LINK of a file.
    Link(u32, Place),
}

/// The tree.
#[derive(Default)]
pub struct Tree {
    /// Handles of directories.
    pub dirs: BTreeMap<Dir, Vec<u8>>,
    /// What names mean.
    pub names: BTreeMap<Place, Named>,
    /// Files with names.
    pub files: BTreeMap<u32, File>,
    /// Handles of files that had names.
    pub gone: Vec<Vec<u8>>,
    /// An operation that was sent, and whose answer did not come.
    pub doubt: Option<Step>,
    next: u32,
}

/// The name as bytes.
pub fn text(name: Name) -> String {
    format!("n{name}")
}

impl Tree {
    /// What a step must answer.
    pub fn predict(&self, step: Step) -> Result<(), u32> {
        let named = |place: &Place| self.names.get(place).copied();
        let free = |place: &Place| if named(place).is_some() { Err(EXIST) } else { Ok(()) };
        match step {
            Step::Create(place, How::Unchecked) => match named(&place) {
                Some(Named::Dir(_)) => Err(ISDIR),
                _ => Ok(()),
            },
            Step::Create(place, _) | Step::Mkdir(place) | Step::Link(_, place) => free(&place),
            Step::Remove(place) => match named(&place) {
                Some(Named::File(_)) => Ok(()),
                Some(Named::Dir(_)) => Err(ISDIR),
                None => Err(NOENT),
            },
            Step::Rmdir(place) => match named(&place) {
                Some(Named::Dir(dir)) if self.names.keys().any(|(within, _)| *within == dir) => Err(NOTEMPTY),
                Some(Named::Dir(_)) => Ok(()),
                Some(Named::File(_)) => Err(NOTDIR),
                None => Err(NOENT),
            },
            Step::Rename(from, to) => match (named(&from), named(&to)) {
                (None, _) => Err(NOENT),
                (Some(Named::File(_)), Some(Named::Dir(_))) => Err(ISDIR),
                (Some(Named::Dir(_)), Some(Named::File(_))) => Err(NOTDIR),
                _ => Ok(()),
            },
        }
    }

    /// What a step that must succeed may answer instead if another server executed it before, whose replies are
    /// forgotten (RFC 1813 section 4.5); nothing for those that are the same the second time.
    pub fn repeated(step: Step) -> Option<u32> {
        match step {
            Step::Create(_, How::Guarded) | Step::Mkdir(_) | Step::Link(..) => Some(EXIST),
            Step::Create(..) => None,
            Step::Remove(_) | Step::Rmdir(_) | Step::Rename(..) => Some(NOENT),
        }
    }

    /// A file of this handle is at `place` now.
    pub fn add_file(&mut self, place: Place, handle: Vec<u8>) -> u32 {
        self.next += 1;
        self.files.insert(self.next, File { handle, links: 1, content: Content::default() });
        self.names.insert(place, Named::File(self.next));
        self.next
    }

    /// A directory of this handle is at `place` now.
    pub fn add_dir(&mut self, place: Place, handle: Vec<u8>) {
        self.next += 1;
        self.dirs.insert(self.next, handle);
        self.names.insert(place, Named::Dir(self.next));
    }

    /// A step that makes nothing took place.
    pub fn apply(&mut self, step: Step) {
        match step {
            Step::Create(..) | Step::Mkdir(_) => {}
            Step::Remove(place) => self.unname(place),
            Step::Rmdir(place) => {
                if let Some(Named::Dir(dir)) = self.names.remove(&place) {
                    self.gone.extend(self.dirs.remove(&dir));
                }
            }
            Step::Rename(from, to) => {
                let (moved, replaced) = (self.names.get(&from).copied(), self.names.get(&to).copied());
                if moved == replaced {
                    return;
                }
                self.unname(to);
                if let Some(moved) = self.names.remove(&from) {
                    self.names.insert(to, moved);
                }
            }
            Step::Link(file, place) => {
                self.names.insert(place, Named::File(file));
                if let Some(file) = self.files.get_mut(&file) {
                    file.links += 1;
                }
            }
        }
    }

    fn unname(&mut self, place: Place) {
        let Some(Named::File(number)) = self.names.remove(&place) else { return };
        let Some(file) = self.files.get_mut(&number) else { return };
        file.links -= 1;
        if file.links == 0 {
            self.gone.extend(self.files.remove(&number).map(|file| file.handle));
        }
    }

    /// The handle of what a name means.
    pub fn handle_at(&self, place: Place) -> Option<&[u8]> {
        match self.names.get(&place)? {
            Named::File(file) => self.files.get(file).map(|file| &file.handle[..]),
            Named::Dir(dir) => self.dirs.get(dir).map(|handle| &handle[..]),
        }
    }

    /// The handle of a directory.
    pub fn dir(&self, dir: Dir) -> Vec<u8> {
        self.dirs.get(&dir).cloned().unwrap_or_default()
    }
}
