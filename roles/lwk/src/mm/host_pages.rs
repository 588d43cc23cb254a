//! Files of the host as memory maps them.

use super::object::Object;
use super::source::{Fetch, FileId, FileMapping, FileVersion, PageSource, Written};
use crate::Errno;
use crate::delegate::Delegate;
use crate::files::{Description, File, FileType, MemoryFile};
use crate::loading::HostSource;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A host file that stays open as long as it is mapped.
pub struct HostPages {
    file: Arc<dyn File>,
    source: Arc<HostSource>,
}

impl HostPages {
    /// A file of the host, which is asked for its size and age; ENODEV for another kind of file.
    pub async fn open(file: &Arc<dyn File>) -> Result<HostPages, Errno> {
        let host = file.host().ok_or(Errno::ENODEV)?;
        let source = HostSource::open(host.delegate(), host.handle(), false).await?;
        Ok(HostPages { file: file.clone(), source })
    }
}

impl PageSource for HostPages {
    fn id(&self) -> FileId {
        self.source.id()
    }

    fn version(&self) -> FileVersion {
        self.source.version()
    }

    fn fetch(&self, offset: u64, len: u32) -> Fetch {
        self.source.fetch(offset, len)
    }

    fn write_back(&self, offset: u64, bytes: Vec<u8>) -> Written {
        self.source.write_back(offset, bytes)
    }

    fn is_alive(&self) -> bool {
        self.source.is_alive()
    }

    fn path(&self) -> Option<&Arc<[u8]>> {
        self.source.path()
    }

    fn file(&self) -> Option<&Arc<dyn File>> {
        Some(&self.file)
    }

    fn forked(
        &self,
        parent: &Arc<dyn Delegate>,
        child: &Arc<dyn Delegate>,
        files: &mut Vec<Arc<dyn File>>,
    ) -> Option<Arc<dyn PageSource>> {
        let handle = self.file.host().filter(|host| Arc::ptr_eq(host.delegate(), parent))?.handle();
        let is_it = |file: &&Arc<dyn File>| {
            file.host().is_some_and(|host| host.handle() == handle && Arc::ptr_eq(host.delegate(), child))
        };
        let file = match files.iter().find(is_it) {
            Some(open) => open.clone(),
            None => {
                let file = self.file.forked(parent, child)?;
                files.push(file.clone());
                file
            }
        };
        let source = self.source.at(file.host()?.delegate());
        Some(Arc::new(HostPages { file, source: Arc::new(source) }))
    }
}

/// A file in the memory of the node.
struct LocalPages {
    id: FileId,
    object: Arc<Object>,
}

impl PageSource for LocalPages {
    fn id(&self) -> FileId {
        self.id
    }

    fn version(&self) -> FileVersion {
        FileVersion { size: self.object.size(), modified: 0 }
    }

    fn fetch(&self, _offset: u64, _len: u32) -> Fetch {
        alloc::boxed::Box::pin(async { Err(Errno::EIO) })
    }

    fn write_back(&self, _offset: u64, _bytes: Vec<u8>) -> Written {
        alloc::boxed::Box::pin(async { Ok(()) })
    }

    fn local(&self) -> Option<Arc<Object>> {
        Some(self.object.clone())
    }
}

/// What mmap(2) maps for a descriptor. `known` finds a file of the host that was looked at before through the same open file.
pub async fn mapping_of(
    description: &Description,
    offset: u64,
    known: impl FnOnce(&FileId, &Arc<dyn File>) -> Option<Arc<dyn PageSource>>,
) -> Result<FileMapping, Errno> {
    if description.is_path() {
        return Err(Errno::EBADF);
    }
    let file = description.file();
    let stat = file.stat();
    let source: Arc<dyn PageSource> = if let Some(memory) = file.as_any().downcast_ref::<MemoryFile>() {
        let id = FileId { host: u64::MAX, device: stat.device, inode: stat.inode };
        Arc::new(LocalPages { id, object: memory.content.object().clone() })
    } else if let Some(host) = file.host() {
        if host.file_type() != Some(FileType::Regular) {
            // Devices and pipes of the host cannot be shown here (section 5.7).
            return Err(Errno::ENODEV);
        }
        let id = FileId { host: host.delegate().host(), device: stat.device, inode: stat.inode };
        // What may grow through this descriptor is looked at each time.
        let known = if description.writable() { None } else { known(&id, file) };
        match known {
            Some(source) => source,
            None => Arc::new(HostPages::open(file).await?),
        }
    } else {
        return Err(Errno::ENODEV);
    };
    let (readable, writable) = (description.readable(), description.writable());
    let path = source.path().cloned().or_else(|| description.path().map(Arc::from));
    Ok(FileMapping { source, readable, writable, offset, path })
}
