//! Files that are mapped, as memory sees them.

use super::object::Object;
use crate::Errno;
use crate::delegate::Delegate;
use crate::files::File;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use keelson_lwk_wire::messages::PageIn;

/// Which file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FileId {
    /// The host that has it: files of different hosts are different.
    pub host: u64,
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// Which state of the file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileVersion {
    /// `st_size`.
    pub size: u64,
    /// `st_mtim` in nanoseconds.
    pub modified: i128,
}

/// Most bytes of one [`PageSource::fetch`]: what a host reads at once.
pub const PIECE: u64 = PageIn::MOST as u64;

/// Bytes of a file, soon; fewer at its end.
pub type Fetch = Pin<Box<dyn Future<Output = Result<Vec<u8>, Errno>>>>;

/// The end of a write.
pub type Written = Pin<Box<dyn Future<Output = Result<(), Errno>>>>;

/// An open file that can be mapped.
pub trait PageSource: Send + Sync {
    /// Which file it is.
    fn id(&self) -> FileId;

    /// Its state when it was opened, or looked at last.
    fn version(&self) -> FileVersion;

    /// Reads `len` bytes at `offset`, [`PIECE`] at most. They are asked for at once, not when they are waited for.
    fn fetch(&self, offset: u64, len: u32) -> Fetch;

    /// Writes what a shared mapping changed.
    fn write_back(&self, offset: u64, bytes: Vec<u8>) -> Written;

    /// False once nothing can be fetched any more.
    fn is_alive(&self) -> bool {
        true
    }

    /// Where it is, from the root and without links, if its host has said so.
    fn path(&self) -> Option<&Arc<[u8]>> {
        None
    }

    /// The open file that it belongs to.
    fn file(&self) -> Option<&Arc<dyn File>> {
        None
    }

    /// The same file through the descriptors that a child's proxy inherited. `files` has those that the child has open, for a
    /// handle belongs to one [`File`] only, and then also the one that is made here.
    fn forked(
        &self,
        parent: &Arc<dyn Delegate>,
        child: &Arc<dyn Delegate>,
        files: &mut Vec<Arc<dyn File>>,
    ) -> Option<Arc<dyn PageSource>> {
        let _ = (parent, child, files);
        None
    }

    /// The memory that the file consists of, when it is on this node (`/dev/shm`, memfd_create(2)): then nothing is fetched.
    fn local(&self) -> Option<Arc<Object>> {
        None
    }
}

/// An open file with what its descriptor allows.
#[derive(Clone)]
pub struct FileMapping {
    /// The file.
    pub source: Arc<dyn PageSource>,
    /// Open for reading.
    pub readable: bool,
    /// Open for writing.
    pub writable: bool,
    /// Where in the file the mapping begins, in bytes.
    pub offset: u64,
    /// The path, for `/proc/self/maps`.
    pub path: Option<Arc<[u8]>>,
}

/// A file whose bytes are in memory.
pub struct Bytes {
    id: FileId,
    bytes: Arc<[u8]>,
}

impl Bytes {
    /// A file with these bytes.
    pub fn new(id: FileId, bytes: impl Into<Arc<[u8]>>) -> Bytes {
        Bytes { id, bytes: bytes.into() }
    }
}

impl PageSource for Bytes {
    fn id(&self) -> FileId {
        self.id
    }

    fn version(&self) -> FileVersion {
        FileVersion { size: self.bytes.len() as u64, modified: 0 }
    }

    fn fetch(&self, offset: u64, len: u32) -> Fetch {
        let start = usize::try_from(offset).map_or(self.bytes.len(), |start| start.min(self.bytes.len()));
        let end = start.saturating_add(len as usize).min(self.bytes.len());
        let part = self.bytes[start..end].to_vec();
        Box::pin(async move { Ok(part) })
    }

    fn write_back(&self, _offset: u64, _bytes: Vec<u8>) -> Written {
        Box::pin(async { Err(Errno::EROFS) })
    }
}
