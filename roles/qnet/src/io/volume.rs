//! Files of a volume: everything can be changed.

use super::manager::{Found, Io, Lookup, OpenFile, Opening, Removal, ResourceManager};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use keelson_qnet_wire::Errno;
use keelson_volume::{
    Attributes, ClearSetid, DirPage, FileId, FileType, NewObject, SetAttributes, Volume, VolumeError,
};

/// Serves a volume. A file that is removed while it is open answers with `ESTALE` from then on.
pub struct VolumeFiles<V> {
    volume: Rc<V>,
}

impl<V: Volume + 'static> VolumeFiles<V> {
    /// Serves a volume that is mounted.
    pub fn new(volume: Rc<V>) -> VolumeFiles<V> {
        VolumeFiles { volume }
    }
}

impl<V: Volume + 'static> ResourceManager for VolumeFiles<V> {
    fn root(&self) -> FileId {
        self.volume.root()
    }

    fn attributes(&self, id: FileId) -> Io<'_, Attributes> {
        Box::pin(async move { self.volume.attributes(id).await.map_err(errno) })
    }

    fn open<'a>(&'a self, id: FileId, how: Opening<'a>) -> Io<'a, Rc<dyn OpenFile>> {
        Box::pin(async move {
            match self.volume.attributes(id).await.map_err(errno)?.file_type {
                FileType::Regular => {}
                FileType::Directory => return Err(Errno::EISDIR),
                // Nodes of devices and pipes: nobody serves them.
                _ => return Err(Errno::ENXIO),
            }
            let clear_setid = if how.caller.is_root() { ClearSetid::No } else { ClearSetid::Yes };
            let file: Rc<dyn OpenFile> =
                Rc::new(OpenVolumeFile { volume: self.volume.clone(), id, clear_setid });
            Ok(file)
        })
    }

    fn lookup<'a>(&'a self, lookup: Lookup<'a>) -> Io<'a, Found> {
        Box::pin(async move {
            let found = self.volume.lookup(lookup.dir, lookup.name).await;
            found.map(Found::Object).map_err(errno)
        })
    }

    fn is_writable(&self) -> bool {
        !self.volume.is_read_only()
    }

    fn read_dir(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Io<'_, DirPage> {
        Box::pin(async move { self.volume.read_dir(dir, cookie, max_bytes).await.map_err(errno) })
    }

    fn read_link(&self, id: FileId) -> Io<'_, Vec<u8>> {
        Box::pin(async move { self.volume.read_link(id).await.map_err(errno) })
    }

    fn create<'a>(&'a self, dir: FileId, name: &'a [u8], new: NewObject<'a>) -> Io<'a, Attributes> {
        Box::pin(async move {
            let created = self.volume.create(dir, name, new).await;
            created.map(|created| created.object).map_err(errno)
        })
    }

    fn remove<'a>(&'a self, dir: FileId, name: &'a [u8], removal: Removal) -> Io<'a, ()> {
        Box::pin(async move {
            let removed = match removal {
                Removal::File => self.volume.remove(dir, name).await,
                Removal::Directory => self.volume.remove_dir(dir, name).await,
            };
            removed.map(|_| ()).map_err(errno)
        })
    }

    fn rename<'a>(&'a self, from: (FileId, &'a [u8]), to: (FileId, &'a [u8])) -> Io<'a, ()> {
        Box::pin(
            async move { self.volume.rename(from.0, from.1, to.0, to.1).await.map(|_| ()).map_err(errno) },
        )
    }

    fn set_attributes(&self, id: FileId, changes: SetAttributes) -> Io<'_, Attributes> {
        Box::pin(async move {
            let changed = self.volume.set_attributes(id, changes, None).await;
            changed.map(|change| change.after).map_err(errno)
        })
    }
}

struct OpenVolumeFile<V> {
    volume: Rc<V>,
    id: FileId,
    clear_setid: ClearSetid,
}

impl<V: Volume + 'static> OpenFile for OpenVolumeFile<V> {
    fn read<'a>(&'a self, offset: u64, room: &'a mut [u8]) -> Io<'a, usize> {
        Box::pin(async move { self.volume.read(self.id, offset, room).await.map_err(errno) })
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a, usize> {
        Box::pin(async move {
            self.volume.write(self.id, offset, data, self.clear_setid).await.map_err(errno)?;
            Ok(data.len())
        })
    }

    fn sync(&self) -> Io<'_, ()> {
        Box::pin(async move { self.volume.commit(self.id).await.map_err(errno) })
    }
}

fn errno(error: VolumeError) -> Errno {
    match error {
        VolumeError::NotFound => Errno::ENOENT,
        VolumeError::Stale => Errno::ESTALE,
        VolumeError::Exists => Errno::EEXIST,
        VolumeError::NotDirectory => Errno::ENOTDIR,
        VolumeError::IsDirectory => Errno::EISDIR,
        VolumeError::NotEmpty => Errno::ENOTEMPTY,
        VolumeError::Invalid | VolumeError::BadCookie => Errno::EINVAL,
        VolumeError::NameTooLong => Errno::ENAMETOOLONG,
        VolumeError::TooManyLinks => Errno::EMLINK,
        VolumeError::TooBig => Errno::EFBIG,
        VolumeError::NoSpace => Errno::ENOSPC,
        VolumeError::Quota => Errno::EDQUOT,
        VolumeError::ReadOnly => Errno::EROFS,
        VolumeError::Io => Errno::EIO,
        VolumeError::NotPermitted => Errno::EPERM,
        VolumeError::GuardMismatch | VolumeError::TryLater => Errno::EAGAIN,
    }
}
