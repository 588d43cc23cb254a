//! What checks talk to: a filesystem that is asked one thing at a time, by inode and raw name.

mod blocking;
mod linux;
pub mod own;
mod rsext4;

pub use blocking::{Blocking, Store, Watch, memory};
pub use linux::{Linux, mount_and_walk};
pub use rsext4::Rsext4;

use keelson_volume::{Attributes, FileId, NewObject, SetAttributes, VolumeError};
use std::time::Duration;

/// The result of a request.
pub type Answer<T> = Result<T, VolumeError>;

/// What a backend can be held to.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// Discriminators of ids tell successive owners of an inode number apart.
    pub generations: bool,
    /// Times have nanoseconds, and ctime strictly increases.
    pub exact_times: bool,
    /// Owner, device numbers and allocated bytes are told.
    pub all_attributes: bool,
    /// Extended attributes work.
    pub xattrs: bool,
}

/// A filesystem.
pub trait Backend {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// What it can be held to.
    fn abilities(&self) -> Abilities;

    /// The root directory.
    fn root(&self) -> FileId;

    /// Attributes now.
    fn attributes(&mut self, id: FileId) -> Answer<Attributes>;

    /// Changes attributes.
    fn set_attributes(&mut self, id: FileId, changes: SetAttributes) -> Answer<()>;

    /// Finds a name.
    fn lookup(&mut self, dir: FileId, name: &[u8]) -> Answer<Attributes>;

    /// Makes an object.
    fn create(&mut self, dir: FileId, name: &[u8], new: NewObject<'_>) -> Answer<FileId>;

    /// Adds a name.
    fn link(&mut self, id: FileId, dir: FileId, name: &[u8]) -> Answer<()>;

    /// Removes a name of anything but a directory.
    fn remove(&mut self, dir: FileId, name: &[u8]) -> Answer<()>;

    /// Removes an empty directory.
    fn remove_dir(&mut self, dir: FileId, name: &[u8]) -> Answer<()>;

    /// Renames, replacing what may be replaced.
    fn rename(&mut self, from: FileId, name: &[u8], to: FileId, new_name: &[u8]) -> Answer<()>;

    /// Reads file content.
    fn read(&mut self, id: FileId, offset: u64, buffer: &mut [u8]) -> Answer<usize>;

    /// Writes file content.
    fn write(&mut self, id: FileId, offset: u64, data: &[u8]) -> Answer<()>;

    /// Target of a symbolic link.
    fn read_link(&mut self, id: FileId) -> Answer<Vec<u8>>;

    /// All names of a directory with their inode numbers, without `.` and `..`.
    fn read_dir(&mut self, dir: FileId) -> Answer<Vec<(Vec<u8>, u64)>>;

    /// Names of extended attributes.
    fn xattr_names(&mut self, _id: FileId) -> Answer<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// An extended attribute.
    fn xattr(&mut self, _id: FileId, _name: &[u8]) -> Answer<Vec<u8>> {
        Err(VolumeError::NotPermitted)
    }

    /// Sets an extended attribute, or removes it.
    fn set_xattr(&mut self, _id: FileId, _name: &[u8], _value: Option<&[u8]>) -> Answer<()> {
        Err(VolumeError::NotPermitted)
    }

    /// Makes an object's content stable, and all metadata.
    fn commit(&mut self, _id: FileId) -> Answer<()> {
        self.sync()
    }

    /// Makes everything stable.
    fn sync(&mut self) -> Answer<()>;

    /// Lets time pass for work in the background.
    fn pause(&mut self, _span: Duration) {}

    /// Unmounts.
    fn finish(self: Box<Self>) -> Answer<()>;
}
