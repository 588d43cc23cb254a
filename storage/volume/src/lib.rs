//! What a file server needs of a filesystem.
//!
//! Principles:
//!
//! 1. **By inode and raw name.** Names are bytes; there are no paths, no current directory, no open files.
//! 2. **Handles survive.** A [`FileId`] names the same object across restarts and never a later object that
//!    reuses the inode number.
//! 3. **Stability is explicit.** An operation is in memory when it returns; [`Volume::commit`] makes what
//!    was done to an object (and every metadata operation before it) survive a power cut. Many callers that
//!    commit at the same time share one flush of the device.
//! 4. **Before and after.** Operations that change an object return its attributes on both sides of the
//!    change, taken with nothing in between: NFS clients keep or drop their caches by them
//!    (RFC 1813 section 2.6, `wcc_data`).
//! 5. **No permissions here.** Who may do what is the server's decision; the volume does as told. Quotas are the
//!    exception, because only the volume knows what an operation takes; the server says whom they stop.
//!
//! One error type serves all operations: it is the POSIX vocabulary that protocols translate one to one.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
// Single-threaded executors: futures need no `Send` bound, so plain `async fn` in the trait is enough.
#![allow(async_fn_in_trait)]

extern crate alloc;

#[cfg(feature = "conformance")]
pub mod conformance;
mod limits;
#[cfg(feature = "memory")]
pub mod memory;
mod types;

pub use limits::{Limit, LimitTable, LimitedScope, Limits, Owner, OwnerUsage};
pub use types::{
    Attributes, Change, Created, DeviceNumber, DirEntry, DirPage, FileId, FileType, NewObject, ObjectKind,
    Removed, Renamed, SetAttributes, SetTime, SpaceUsage, Stability, Time, VolumeError, VolumeId,
};

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::future::Future;

/// A mounted filesystem.
pub trait Volume {
    /// Identity of the filesystem, constant over its life (ext4: the UUID).
    fn id(&self) -> VolumeId;

    /// The root directory.
    fn root(&self) -> FileId;

    /// Largest file in bytes.
    fn max_file_size(&self) -> u64;

    /// Most hard links to one object.
    fn max_links(&self) -> u32;

    /// True when nothing can be changed (read-only device, or the journal was aborted after an error).
    fn is_read_only(&self) -> bool;

    /// Changes whenever data written but not committed may have been lost: at every mount, and after a
    /// failed background write. NFS hands it out as the write verifier (RFC 1813 section 3.3.7).
    fn write_verifier(&self) -> [u8; 8];

    /// Attributes now.
    async fn attributes(&self, id: FileId) -> Result<Attributes, VolumeError>;

    /// Changes attributes. With `guard`, fails with [`VolumeError::GuardMismatch`] unless ctime equals it.
    /// The size is changed first. Sets ctime.
    async fn set_attributes(
        &self,
        id: FileId,
        changes: SetAttributes,
        guard: Option<Time>,
    ) -> Result<Change, VolumeError>;

    /// Finds `name` in a directory; `.` and `..` work (`..` of the root is the root).
    async fn lookup(&self, dir: FileId, name: &[u8]) -> Result<Attributes, VolumeError>;

    /// Target of a symbolic link.
    async fn read_link(&self, id: FileId) -> Result<Vec<u8>, VolumeError>;

    /// Reads from `offset` into `buffer`; returns the bytes read, fewer than asked only at the end of file.
    async fn read(&self, id: FileId, offset: u64, buffer: &mut [u8]) -> Result<usize, VolumeError>;

    /// Writes all of `data` at `offset`. Space is allocated or reserved before this returns, so that
    /// [`VolumeError::NoSpace`] never comes later. `clear_setid` says what becomes of set-user-ID and set-group-ID.
    /// Not stable before [`Volume::commit`].
    async fn write(
        &self,
        id: FileId,
        offset: u64,
        data: &[u8],
        clear_setid: ClearSetid,
    ) -> Result<Change, VolumeError>;

    /// Makes everything done to the object so far, and every metadata operation that finished before this
    /// call, survive a power cut. Reports a failed background write of this object, once.
    async fn commit(&self, id: FileId) -> Result<(), VolumeError>;

    /// Creates an object. [`VolumeError::Exists`] when the name is taken, whatever it names.
    async fn create(&self, dir: FileId, name: &[u8], new: NewObject<'_>) -> Result<Created, VolumeError>;

    /// Adds a name for an existing object that is not a directory.
    async fn link(&self, id: FileId, dir: FileId, name: &[u8]) -> Result<Created, VolumeError>;

    /// Removes a name of anything but a directory. The object goes with its last name.
    async fn remove(&self, dir: FileId, name: &[u8]) -> Result<Removed, VolumeError>;

    /// Removes an empty directory.
    async fn remove_dir(&self, dir: FileId, name: &[u8]) -> Result<Removed, VolumeError>;

    /// Renames, atomically replacing what `to_name` named where POSIX rename(2) allows it. Both names
    /// naming the same object already: success, and nothing is done.
    async fn rename(
        &self,
        from_dir: FileId,
        from_name: &[u8],
        to_dir: FileId,
        to_name: &[u8],
    ) -> Result<Renamed, VolumeError>;

    /// Entries after `cookie` (0 = from the start; `.` and `..` are included), in an order that does not
    /// change while other entries come and go. Stops before the names in the page exceed `max_bytes`
    /// (each entry counted as its name plus 24 bytes), but always returns at least one entry if there is one.
    async fn read_dir(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Result<DirPage, VolumeError>;

    /// As [`Volume::read_dir`], with the attributes of every object but `.` and `..`. An object that cannot
    /// be read is listed without.
    ///
    /// Names are looked up one by one unless an implementation knows better.
    async fn read_dir_plus(
        &self,
        dir: FileId,
        cookie: u64,
        max_bytes: usize,
    ) -> Result<DirPage, VolumeError> {
        let mut page = self.read_dir(dir, cookie, max_bytes).await?;
        for entry in page.entries.iter_mut().filter(|entry| !entry.is_dot()) {
            entry.attributes = self.lookup(dir, &entry.name).await.ok();
        }
        Ok(page)
    }

    /// Space and inodes, total and free.
    async fn usage(&self) -> Result<SpaceUsage, VolumeError>;

    /// What an owner has, what was accepted and is not on the disk yet included. `None` while it is being counted.
    fn usage_of(&self, owner: Owner) -> Option<OwnerUsage>;

    /// Replaces all limits. They are not stored; a volume starts without any.
    fn set_limits(&self, limits: Limits);

    /// The limits in force.
    fn limits(&self) -> Rc<Limits>;

    /// Runs an operation of this volume for a caller whom limits stop: [`VolumeError::Quota`] when it would bring an
    /// owner that it gives something to above its limit, and nothing is changed. An owner that is above its limit
    /// already may still give back. [`VolumeError::TryLater`] while it is not known what that owner has.
    async fn limited<T>(
        &self,
        operation: impl Future<Output = Result<T, VolumeError>>,
    ) -> Result<T, VolumeError>;

    /// The server's own small files (boot counter, keys, lock state), kept on the volume where clients
    /// cannot reach them. `None` when there is no such file; [`VolumeError::TooBig`] when it is longer than 64 KiB and
    /// [`VolumeError::Invalid`] when it is no regular file, which an administrator may have made of it.
    async fn read_state(&self, name: &str) -> Result<Option<Vec<u8>>, VolumeError>;

    /// Replaces a state file atomically; stable when it returns. At most 64 KiB.
    async fn write_state(&self, name: &str, content: &[u8]) -> Result<(), VolumeError>;

    /// Makes everything stable and marks the filesystem clean. No operation may follow.
    async fn unmount(&self) -> Result<(), VolumeError>;
}

/// Whether a write removes the set-user-ID and set-group-ID bits, as one by an unprivileged caller does. What goes is
/// what Linux takes away (write(2), inode(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClearSetid {
    /// The caller is not privileged: set-user-ID goes, and set-group-ID where the group may execute. Where it may not,
    /// the bit is no privilege (it once asked for mandatory locking), and stays.
    Yes,
    /// As `Yes`, of a caller who is not in the file's group: set-group-ID goes in any case.
    Stranger,
    /// Keep the mode.
    No,
}

impl ClearSetid {
    /// What a write leaves of a mode.
    pub fn left_of(self, mode: u32) -> u32 {
        match self {
            ClearSetid::No => mode,
            ClearSetid::Yes if mode & 0o010 == 0 => mode & !0o4000,
            ClearSetid::Yes | ClearSetid::Stranger => mode & !0o6000,
        }
    }
}
