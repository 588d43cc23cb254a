//! The crate that stood in for our engine, as the peer to be compared with.

use super::{Abilities, Answer, Backend};
use crate::disk::FileDisk;
use keelson_hal::{BlockDevice, BlockOp, SECTOR_SIZE};
use keelson_volume::{
    Attributes, DeviceNumber, FileId, FileType, NewObject, ObjectKind, SetAttributes, SetTime, Time,
    VolumeError,
};
use rsext4::{
    BlockIo, Clock, DeviceCapabilities, DeviceGeometry, DirectoryCursor, Ext4, Ext4Error, Ext4ErrorKind,
    Ext4Result, Ext4Timestamp, FileName, FilePermissions, InodeMetadataUpdate, InodeNumber, MountOptions,
    MountServices, MountedServices, MutationContext, NoopObserver, RenameOptions, SectorId,
};
use std::rc::Rc;
use std::time::SystemTime;

struct Io(Rc<FileDisk>);

impl Io {
    fn transfer(&self, op: BlockOp, sector: u64, buffer: &mut [u8]) -> Ext4Result<()> {
        self.0.transfer(op, sector * SECTOR_SIZE as u64, buffer).map_err(|_| Ext4Error::io())
    }
}

impl BlockIo for Io {
    fn write(&mut self, data: &[u8], sector: SectorId, _count: u32) -> Ext4Result<()> {
        self.transfer(BlockOp::Write, sector.raw(), &mut data.to_vec())
    }

    fn read(&mut self, buffer: &mut [u8], sector: SectorId, _count: u32) -> Ext4Result<()> {
        self.transfer(BlockOp::Read, sector.raw(), buffer)
    }

    fn geometry(&self) -> DeviceGeometry {
        DeviceGeometry::new(SECTOR_SIZE as u32, self.0.geometry().sectors)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities { flush: true, ..Default::default() }
    }

    fn flush(&mut self) -> Ext4Result<()> {
        self.transfer(BlockOp::Flush, 0, &mut [])
    }
}

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Ext4Result<Ext4Timestamp> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(Ext4Timestamp::new(now.as_secs() as i64, now.subsec_nanos()))
    }
}

/// A filesystem mounted by rsext4.
pub struct Rsext4 {
    mounted: Ext4<Io, MountedServices<(), NoopObserver, ()>>,
}

impl Rsext4 {
    /// Mounts the filesystem on a disk.
    pub fn mount(disk: Rc<FileDisk>) -> Answer<Rsext4> {
        let services = MountServices::new(Wall, (), NoopObserver);
        let mounted = Ext4::mount(Io(disk), services, MountOptions::read_write()).map_err(error)?;
        Ok(Rsext4 { mounted })
    }
}

const BY_ROOT: MutationContext = MutationContext::new(0, 0, 0, 0);

fn error(error: Ext4Error) -> VolumeError {
    match error.kind() {
        Ext4ErrorKind::NotFound => VolumeError::NotFound,
        Ext4ErrorKind::NoSpace => VolumeError::NoSpace,
        Ext4ErrorKind::AlreadyExists => VolumeError::Exists,
        _ => VolumeError::Io,
    }
}

fn inode(id: FileId) -> Answer<InodeNumber> {
    InodeNumber::new(id.inode as u32).map_err(error)
}

fn named(number: InodeNumber) -> FileId {
    FileId { inode: number.raw().into(), discriminator: 0 }
}

fn file_name(name: &[u8]) -> Answer<FileName<'_>> {
    FileName::new(name).map_err(error)
}

fn permissions(mode: u32) -> Answer<FilePermissions> {
    FilePermissions::new(mode as u16).map_err(error)
}

impl Backend for Rsext4 {
    fn name(&self) -> &'static str {
        "rsext4"
    }

    fn abilities(&self) -> Abilities {
        Abilities { generations: false, exact_times: false, all_attributes: false, xattrs: false }
    }

    fn root(&self) -> FileId {
        named(self.mounted.root_inode())
    }

    fn attributes(&mut self, id: FileId) -> Answer<Attributes> {
        let found = self.mounted.inode(inode(id)?).map_err(error)?;
        let seconds = |seconds| Time { seconds: i64::from(seconds), nanos: 0 };
        Ok(Attributes {
            id,
            file_type: match found.mode & 0xf000 {
                0x1000 => FileType::Fifo,
                0x2000 => FileType::CharDevice,
                0x4000 => FileType::Directory,
                0x6000 => FileType::BlockDevice,
                0xa000 => FileType::Symlink,
                0xc000 => FileType::Socket,
                _ => FileType::Regular,
            },
            mode: u32::from(found.mode) & 0o7777,
            links: found.links.into(),
            uid: 0,
            gid: 0,
            size: found.size,
            allocated: 0,
            device: DeviceNumber::default(),
            atime: Time::default(),
            mtime: seconds(found.mtime),
            ctime: Time::default(),
        })
    }

    fn set_attributes(&mut self, id: FileId, changes: SetAttributes) -> Answer<()> {
        if let Some(size) = changes.size {
            self.mounted.truncate_inode(inode(id)?, size).map_err(error)?;
        }
        let mut update = InodeMetadataUpdate::default();
        if let Some(mode) = changes.mode {
            update.permissions = Some(permissions(mode)?);
        }
        if let SetTime::To(time) = changes.mtime {
            update.mtime = Some(Ext4Timestamp::new(time.seconds, time.nanos));
        }
        self.mounted.update_inode_metadata(inode(id)?, update).map(|_| ()).map_err(error)
    }

    fn lookup(&mut self, dir: FileId, name: &[u8]) -> Answer<Attributes> {
        let found = self.mounted.lookup_child(inode(dir)?, file_name(name)?).map_err(error)?;
        let id = named(found.ok_or(VolumeError::NotFound)?.number);
        self.attributes(id)
    }

    fn create(&mut self, dir: FileId, name: &[u8], new: NewObject<'_>) -> Answer<FileId> {
        let (dir, name) = (inode(dir)?, file_name(name)?);
        let made = match new.kind {
            ObjectKind::Regular => {
                self.mounted.create_regular_file(BY_ROOT, dir, name, permissions(new.mode)?)
            }
            ObjectKind::Directory => {
                self.mounted.create_directory(BY_ROOT, dir, name, permissions(new.mode)?)
            }
            ObjectKind::Symlink(target) => self.mounted.create_symlink(BY_ROOT, dir, name, target),
            _ => return Err(VolumeError::NotPermitted),
        };
        Ok(named(made.map_err(error)?.number))
    }

    fn link(&mut self, id: FileId, dir: FileId, name: &[u8]) -> Answer<()> {
        self.mounted.hard_link(inode(id)?, inode(dir)?, file_name(name)?).map(|_| ()).map_err(error)
    }

    fn remove(&mut self, dir: FileId, name: &[u8]) -> Answer<()> {
        let outcome = self.mounted.unlink(inode(dir)?, file_name(name)?).map_err(error)?;
        if outcome.requires_reap() {
            self.mounted.reap_unlinked_inode(outcome.inode).map_err(error)?;
        }
        Ok(())
    }

    fn remove_dir(&mut self, dir: FileId, name: &[u8]) -> Answer<()> {
        let outcome = self.mounted.remove_empty_directory(inode(dir)?, file_name(name)?).map_err(error)?;
        if outcome.requires_reap() {
            self.mounted.reap_unlinked_inode(outcome.inode).map_err(error)?;
        }
        Ok(())
    }

    fn rename(&mut self, from: FileId, name: &[u8], to: FileId, new_name: &[u8]) -> Answer<()> {
        let (from, to) = (inode(from)?, inode(to)?);
        let outcome = self
            .mounted
            .rename(from, file_name(name)?, to, file_name(new_name)?, RenameOptions::REPLACE)
            .map_err(error)?;
        if let Some(replaced) = outcome.replaced.filter(|replaced| replaced.requires_reap()) {
            self.mounted.reap_unlinked_inode(replaced.inode).map_err(error)?;
        }
        Ok(())
    }

    fn read(&mut self, id: FileId, offset: u64, buffer: &mut [u8]) -> Answer<usize> {
        self.mounted.read_inode(inode(id)?, offset, buffer).map_err(error)
    }

    fn write(&mut self, id: FileId, offset: u64, data: &[u8]) -> Answer<()> {
        self.mounted.write_inode(inode(id)?, offset, data).map_err(error)
    }

    fn read_link(&mut self, id: FileId) -> Answer<Vec<u8>> {
        let mut target = vec![0; 4200];
        let length = self.read(id, 0, &mut target)?;
        target.truncate(length);
        Ok(target)
    }

    fn read_dir(&mut self, dir: FileId) -> Answer<Vec<(Vec<u8>, u64)>> {
        let mut reader = self.mounted.open_directory_reader(inode(dir)?).map_err(error)?;
        let (mut cursor, mut names) = (DirectoryCursor::Start, Vec::new());
        loop {
            let page = self.mounted.read_directory_with_reader(&mut reader, cursor, 256).map_err(error)?;
            if page.is_empty() {
                return Ok(names);
            }
            for entry in page {
                cursor = entry.next_cursor;
                if entry.name != b"." && entry.name != b".." {
                    names.push((entry.name, entry.inode.raw().into()));
                }
            }
            if cursor == DirectoryCursor::End {
                return Ok(names);
            }
        }
    }

    fn sync(&mut self) -> Answer<()> {
        self.mounted.sync().map_err(error)
    }

    fn finish(mut self: Box<Self>) -> Answer<()> {
        self.mounted.unmount().map_err(error)
    }
}
