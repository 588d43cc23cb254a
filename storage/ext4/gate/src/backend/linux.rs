//! Linux's own ext4 through a mount point. Inode numbers are mapped to names in directories.

use super::{Abilities, Answer, Backend, own};
use crate::model::{Tree, walk};
use crate::tools::Mounted;
use keelson_volume::{
    Attributes, DeviceNumber, FileId, FileType, NewObject, ObjectKind, SetAttributes, SetTime, Time,
    VolumeError,
};
use rustix::fs::{self as sys, AtFlags, Mode, Timespec, Timestamps, XattrFlags};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Files that are kept open.
const MOST_OPEN: usize = 64;

/// A mounted directory.
pub struct Linux {
    root: FileId,
    /// Directory and name of each name that is known.
    names: HashMap<u64, Vec<(u64, Vec<u8>)>>,
    files: HashMap<u64, File>,
    place: PathBuf,
    mounted: Option<Mounted>,
}

impl Linux {
    /// The directory at `place`.
    pub fn new(place: &Path) -> Answer<Linux> {
        let inode = fs::symlink_metadata(place).map_err(error)?.ino();
        let place = place.to_path_buf();
        Ok(Linux { root: named(inode), names: HashMap::new(), files: HashMap::new(), place, mounted: None })
    }

    /// An image, mounted until it is finished.
    pub fn mount(image: &Path, options: &str) -> Result<Linux, String> {
        let mounted = Mounted::new(image, options)?;
        // Modes shall be what was asked for.
        rustix::process::umask(Mode::empty());
        let mut linux = Linux::new(mounted.path()).map_err(|error| error.to_string())?;
        linux.mounted = Some(mounted);
        Ok(linux)
    }

    fn path(&self, id: FileId) -> Answer<PathBuf> {
        if id == self.root {
            return Ok(self.place.clone());
        }
        let (dir, name) =
            self.names.get(&id.inode).and_then(|names| names.last()).ok_or(VolumeError::Stale)?;
        self.below(named(*dir), name)
    }

    fn below(&self, dir: FileId, name: &[u8]) -> Answer<PathBuf> {
        Ok(self.path(dir)?.join(OsStr::from_bytes(name)))
    }

    fn learn(&mut self, dir: FileId, name: &[u8]) -> Answer<FileId> {
        let inode = fs::symlink_metadata(self.below(dir, name)?).map_err(error)?.ino();
        let names = self.names.entry(inode).or_default();
        if !names.iter().any(|(in_dir, known)| *in_dir == dir.inode && known == name) {
            names.push((dir.inode, name.to_vec()));
        }
        Ok(named(inode))
    }

    /// What a name means.
    fn inode(&self, dir: FileId, name: &[u8]) -> Option<u64> {
        Some(fs::symlink_metadata(self.below(dir, name).ok()?).ok()?.ino())
    }

    /// The name does not mean this any more.
    fn forget(&mut self, inode: Option<u64>, dir: FileId, name: &[u8]) {
        self.files.clear();
        if let Some(names) = inode.and_then(|inode| self.names.get_mut(&inode)) {
            names.retain(|(in_dir, known)| *in_dir != dir.inode || known != name);
        }
    }

    fn file(&mut self, id: FileId) -> Answer<&File> {
        if !self.files.contains_key(&id.inode) {
            if self.files.len() >= MOST_OPEN {
                self.files.clear();
            }
            let path = self.path(id)?;
            let both = fs::OpenOptions::new().read(true).write(true).open(&path);
            // On what is mounted read-only.
            let file = both.or_else(|_| File::open(&path)).map_err(error)?;
            self.files.insert(id.inode, file);
        }
        self.files.get(&id.inode).ok_or(VolumeError::Stale)
    }
}

/// Mounts an image with these options, walks it, and unmounts it.
pub fn mount_and_walk(image: &Path, options: &str) -> Result<Tree, String> {
    let mut linux = Linux::mount(image, options)?;
    let mut tree = walk(&mut linux).map_err(|said| format!("Linux: {said}"))?;
    tree.prune(own::STATE_DIR);
    Box::new(linux).finish().map_err(|error| format!("Linux: unmount: {error}"))?;
    Ok(tree)
}

fn named(inode: u64) -> FileId {
    FileId { inode, discriminator: 0 }
}

fn error(error: io::Error) -> VolumeError {
    errno(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
}

fn errno(error: rustix::io::Errno) -> VolumeError {
    use rustix::io::Errno;
    match error {
        Errno::NOENT => VolumeError::NotFound,
        Errno::NOSPC => VolumeError::NoSpace,
        Errno::EXIST => VolumeError::Exists,
        Errno::NOTDIR => VolumeError::NotDirectory,
        Errno::ISDIR => VolumeError::IsDirectory,
        Errno::NOTEMPTY => VolumeError::NotEmpty,
        Errno::INVAL => VolumeError::Invalid,
        Errno::NAMETOOLONG => VolumeError::NameTooLong,
        Errno::MLINK => VolumeError::TooManyLinks,
        Errno::FBIG => VolumeError::TooBig,
        Errno::PERM => VolumeError::NotPermitted,
        Errno::ROFS => VolumeError::ReadOnly,
        _ => VolumeError::Io,
    }
}

fn time(seconds: i64, nanos: i64) -> Time {
    Time { seconds, nanos: nanos as u32 }
}

fn file_type(of: fs::FileType) -> FileType {
    if of.is_dir() {
        FileType::Directory
    } else if of.is_symlink() {
        FileType::Symlink
    } else if of.is_block_device() {
        FileType::BlockDevice
    } else if of.is_char_device() {
        FileType::CharDevice
    } else if of.is_fifo() {
        FileType::Fifo
    } else if of.is_socket() {
        FileType::Socket
    } else {
        FileType::Regular
    }
}

fn stamp(how: SetTime) -> Timespec {
    match how {
        SetTime::Keep => Timespec { tv_sec: 0, tv_nsec: sys::UTIME_OMIT },
        SetTime::Now => Timespec { tv_sec: 0, tv_nsec: sys::UTIME_NOW },
        SetTime::To(time) => Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() },
    }
}

impl Backend for Linux {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn abilities(&self) -> Abilities {
        Abilities { generations: false, exact_times: false, all_attributes: true, xattrs: true }
    }

    fn root(&self) -> FileId {
        self.root
    }

    fn attributes(&mut self, id: FileId) -> Answer<Attributes> {
        let found = fs::symlink_metadata(self.path(id)?).map_err(error)?;
        let device = match file_type(found.file_type()) {
            FileType::BlockDevice | FileType::CharDevice => {
                DeviceNumber { major: sys::major(found.rdev()), minor: sys::minor(found.rdev()) }
            }
            _ => DeviceNumber::default(),
        };
        Ok(Attributes {
            id: named(found.ino()),
            file_type: file_type(found.file_type()),
            mode: found.mode() & 0o7777,
            links: found.nlink() as u32,
            uid: found.uid(),
            gid: found.gid(),
            size: found.size(),
            allocated: found.blocks() * 512,
            device,
            atime: time(found.atime(), found.atime_nsec()),
            mtime: time(found.mtime(), found.mtime_nsec()),
            ctime: time(found.ctime(), found.ctime_nsec()),
        })
    }

    fn set_attributes(&mut self, id: FileId, changes: SetAttributes) -> Answer<()> {
        let path = self.path(id)?;
        if let Some(size) = changes.size {
            self.file(id)?.set_len(size).map_err(error)?;
        }
        if changes.uid.is_some() || changes.gid.is_some() {
            std::os::unix::fs::lchown(&path, changes.uid, changes.gid).map_err(error)?;
        }
        if let Some(mode) = changes.mode {
            sys::chmod(&path, Mode::from_raw_mode(mode)).map_err(errno)?;
        }
        let times = Timestamps { last_access: stamp(changes.atime), last_modification: stamp(changes.mtime) };
        sys::utimensat(sys::CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)
    }

    fn lookup(&mut self, dir: FileId, name: &[u8]) -> Answer<Attributes> {
        let id = self.learn(dir, name)?;
        self.attributes(id)
    }

    fn create(&mut self, dir: FileId, name: &[u8], new: NewObject<'_>) -> Answer<FileId> {
        let path = self.below(dir, name)?;
        let node = |kind, device: DeviceNumber| {
            let device = sys::makedev(device.major, device.minor);
            sys::mknodat(sys::CWD, &path, kind, Mode::from_raw_mode(new.mode), device).map_err(errno)
        };
        match new.kind {
            ObjectKind::Regular => {
                let mut options = fs::OpenOptions::new();
                options.read(true).write(true).create_new(true).mode(new.mode);
                let file = options.open(&path).map_err(error)?;
                let inode = file.metadata().map_err(error)?.ino();
                self.files.remove(&inode);
                self.names.insert(inode, vec![(dir.inode, name.to_vec())]);
                return Ok(named(inode));
            }
            ObjectKind::Directory => fs::DirBuilder::new().mode(new.mode).create(&path).map_err(error)?,
            ObjectKind::Symlink(target) => {
                std::os::unix::fs::symlink(OsStr::from_bytes(target), &path).map_err(error)?;
            }
            ObjectKind::BlockDevice(device) => node(sys::FileType::BlockDevice, device)?,
            ObjectKind::CharDevice(device) => node(sys::FileType::CharacterDevice, device)?,
            ObjectKind::Fifo => node(sys::FileType::Fifo, DeviceNumber::default())?,
            ObjectKind::Socket => node(sys::FileType::Socket, DeviceNumber::default())?,
        }
        self.learn(dir, name)
    }

    fn link(&mut self, id: FileId, dir: FileId, name: &[u8]) -> Answer<()> {
        let path = self.below(dir, name)?;
        fs::hard_link(self.path(id)?, &path).map_err(error)?;
        self.learn(dir, name).map(|_| ())
    }

    fn remove(&mut self, dir: FileId, name: &[u8]) -> Answer<()> {
        let inode = self.inode(dir, name);
        fs::remove_file(self.below(dir, name)?).map_err(error)?;
        self.forget(inode, dir, name);
        Ok(())
    }

    fn remove_dir(&mut self, dir: FileId, name: &[u8]) -> Answer<()> {
        fs::remove_dir(self.below(dir, name)?).map_err(error)
    }

    fn rename(&mut self, from: FileId, name: &[u8], to: FileId, new_name: &[u8]) -> Answer<()> {
        let replaced = self.inode(to, new_name);
        fs::rename(self.below(from, name)?, self.below(to, new_name)?).map_err(error)?;
        self.forget(replaced, to, new_name);
        let moved = self.learn(to, new_name)?;
        // Both may be names of one object: then both stay.
        if self.inode(from, name) != Some(moved.inode) {
            self.forget(Some(moved.inode), from, name);
        }
        Ok(())
    }

    fn read(&mut self, id: FileId, offset: u64, buffer: &mut [u8]) -> Answer<usize> {
        let file = self.file(id)?;
        let mut done = 0;
        while done < buffer.len() {
            match file.read_at(&mut buffer[done..], offset + done as u64).map_err(error)? {
                0 => break,
                count => done += count,
            }
        }
        Ok(done)
    }

    fn write(&mut self, id: FileId, offset: u64, data: &[u8]) -> Answer<()> {
        self.file(id)?.write_all_at(data, offset).map_err(error)
    }

    fn read_link(&mut self, id: FileId) -> Answer<Vec<u8>> {
        Ok(fs::read_link(self.path(id)?).map_err(error)?.into_os_string().into_vec())
    }

    fn read_dir(&mut self, dir: FileId) -> Answer<Vec<(Vec<u8>, u64)>> {
        let entries = fs::read_dir(self.path(dir)?).map_err(error)?;
        let pair = |entry: fs::DirEntry| (entry.file_name().into_vec(), entry.ino());
        entries.map(|entry| entry.map(pair).map_err(error)).collect()
    }

    fn xattr_names(&mut self, id: FileId) -> Answer<Vec<Vec<u8>>> {
        let mut buffer = vec![0; 64 * 1024];
        let length = sys::llistxattr(self.path(id)?, &mut buffer[..]).map_err(errno)?;
        let names = buffer[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    fn xattr(&mut self, id: FileId, name: &[u8]) -> Answer<Vec<u8>> {
        let mut buffer = vec![0; 64 * 1024];
        let length = sys::lgetxattr(self.path(id)?, name, &mut buffer[..]).map_err(errno)?;
        buffer.truncate(length);
        Ok(buffer)
    }

    fn set_xattr(&mut self, id: FileId, name: &[u8], value: Option<&[u8]>) -> Answer<()> {
        let path = self.path(id)?;
        match value {
            Some(value) => sys::lsetxattr(path, name, value, XattrFlags::empty()).map_err(errno),
            None => sys::lremovexattr(path, name).map_err(errno),
        }
    }

    fn commit(&mut self, id: FileId) -> Answer<()> {
        File::open(self.path(id)?).and_then(|file| file.sync_all()).map_err(error)
    }

    fn sync(&mut self) -> Answer<()> {
        let root = File::open(&self.place).map_err(error)?;
        sys::syncfs(&root).map_err(errno)
    }

    fn finish(mut self: Box<Self>) -> Answer<()> {
        self.files.clear();
        self.mounted.map_or(Ok(()), |mounted| mounted.unmount().map_err(|_| VolumeError::Io))
    }
}
