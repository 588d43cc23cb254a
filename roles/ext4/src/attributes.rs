//! Attributes of inodes: from the record on the disk, or for those that changed from the engine.

use crate::inode::{Status, Times};
use crate::volume::{Inner, ROOT};
use keelson_volume::{Attributes, FileId, FileType, Time, VolumeError};
use rsext4::{Ext4ErrorKind, InodeInfo, InodeNumber};

impl Inner {
    /// Attributes of an inode that exists.
    pub fn attributes(&mut self, inode: u32) -> Result<Attributes, VolumeError> {
        self.engine()?;
        let known = self.lagging.get(inode).copied();
        let (status, times) = match known {
            None => self.with_record(inode, |record, superblock| {
                (Status::decode(record, superblock), Times::decode(record))
            })?,
            Some(known) => {
                let status = match known.status {
                    Some(status) => status,
                    None => self.ask_engine(inode)?,
                };
                (status, self.times_of(inode)?)
            }
        };
        if status.links == 0 {
            return Err(VolumeError::Stale);
        }
        status.attributes(inode, &times).ok_or(VolumeError::Io)
    }

    fn ask_engine(&mut self, inode: u32) -> Result<Status, VolumeError> {
        let number = InodeNumber::new(inode).map_err(|_| VolumeError::Stale)?;
        let info = match self.engine()?.inode(number) {
            Ok(info) => info,
            Err(error) if error.kind() == Ext4ErrorKind::NotFound => return Err(VolumeError::Stale),
            Err(error) => return Err(self.failure(error)),
        };
        let status = Status::from(&info);
        self.lagging.learn(inode, status);
        Ok(status)
    }

    /// Attributes of what the engine found.
    pub fn describe(&mut self, info: &InodeInfo) -> Result<Attributes, VolumeError> {
        let inode = info.number.raw();
        let times = self.times_of(inode)?;
        Status::from(info).attributes(inode, &times).ok_or(VolumeError::Io)
    }

    /// The exact times of an inode.
    pub fn times_of(&mut self, inode: u32) -> Result<Times, VolumeError> {
        match self.lagging.get(inode).and_then(|known| known.times) {
            Some(times) => Ok(times),
            None => self.with_record(inode, |record, _| Times::decode(record)),
        }
    }

    /// Changes the times of an inode that the current operation changes. What else is known of it is
    /// asked of the engine again.
    pub fn touch(&mut self, inode: u32, change: impl FnOnce(&mut Times)) -> Result<(), VolumeError> {
        let mut times = self.times_of(inode)?;
        change(&mut times);
        self.lagging.change(inode, times);
        Ok(())
    }

    /// Sets the access time of an object that the current operation read.
    pub fn touch_access(&mut self, object: &Attributes, now: Time) -> Result<(), VolumeError> {
        let inode = object.id.inode as u32;
        let times = Times { accessed: now, ..self.times_of(inode)? };
        self.lagging.change_times(inode, times, Status::from(object));
        Ok(())
    }

    /// The object a handle names, if it is still that object. Reserved inodes (the journal, the resize
    /// inode) and the state directory are nobody's business.
    pub fn resolve(&mut self, id: FileId) -> Result<Attributes, VolumeError> {
        let found = self.find(id);
        if found == Err(VolumeError::Stale) {
            self.counters.stale += 1;
        }
        found
    }

    fn find(&mut self, id: FileId) -> Result<Attributes, VolumeError> {
        let inode = u32::try_from(id.inode).map_err(|_| VolumeError::Stale)?;
        let client_may = inode == ROOT || inode >= self.superblock.first_inode;
        if !client_may || inode > self.superblock.inodes || self.state_dir == Some(inode) {
            return Err(VolumeError::Stale);
        }
        let attributes = self.attributes(inode)?;
        if attributes.id == id { Ok(attributes) } else { Err(VolumeError::Stale) }
    }

    /// As [`Inner::resolve`], for a directory.
    pub fn resolve_dir(&mut self, id: FileId) -> Result<Attributes, VolumeError> {
        let attributes = self.resolve(id)?;
        if attributes.file_type == FileType::Directory {
            Ok(attributes)
        } else {
            Err(VolumeError::NotDirectory)
        }
    }
}
