//! A directory of the host, to be read by other nodes: what `qnetctl serve` serves.
//!
//! Every object is opened below the directory with `openat2`, without following links: what changes in the directory meanwhile
//! leads nowhere else. Links lead on as the node's own paths do, with the directory as their root. Files are read as the
//! program's user may; other nodes see owners and permissions as they are, and are held to them by the node.
//!
//! Reads are those of the host's filesystem and wait for it; nothing else is done meanwhile.

use keelson_qnet::io::{Found, Io, Lookup, OpenFile, Opening, ResourceManager};
use keelson_qnet_wire::Errno;
use keelson_volume::{Attributes, DeviceNumber, DirEntry, DirPage, FileId, FileType, Time};
use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, ResolveFlags, Stat, fstat, major, minor, openat2, readlinkat, statat,
};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fs::File;
use std::future::ready;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Objects whose place is remembered.
const KNOWN: usize = 65_536;

/// Serves a directory.
pub struct HostFiles {
    directory: OwnedFd,
    root: FileId,
    known: RefCell<Known>,
}

/// Where objects are, relative to the directory. The oldest are forgotten.
#[derive(Default)]
struct Known {
    paths: HashMap<FileId, PathBuf>,
    order: VecDeque<FileId>,
}

impl Known {
    fn insert(&mut self, id: FileId, path: PathBuf) {
        if self.paths.insert(id, path).is_none() {
            self.order.push_back(id);
            if self.order.len() > KNOWN
                && let Some(oldest) = self.order.pop_front()
            {
                self.paths.remove(&oldest);
            }
        }
    }
}

impl HostFiles {
    /// Serves what is below a directory.
    pub fn open(directory: &Path) -> io::Result<HostFiles> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        let root = id_of(&fstat(&directory)?);
        Ok(HostFiles { directory, root, known: RefCell::default() })
    }

    fn path(&self, id: FileId) -> Result<PathBuf, Errno> {
        if id == self.root {
            return Ok(PathBuf::from("."));
        }
        self.known.borrow().paths.get(&id).cloned().ok_or(Errno::ESTALE)
    }

    fn open_path(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(&self.directory, path, flags, Mode::empty(), resolve).map_err(errno)
    }

    /// An object by its id: a descriptor for nothing but looking at it, and what it is.
    fn look(&self, id: FileId) -> Result<(OwnedFd, Stat), Errno> {
        let fd = self.open_path(&self.path(id)?, OFlags::PATH)?;
        let stat = fstat(&fd).map_err(errno)?;
        if id_of(&stat) != id {
            return Err(Errno::ESTALE);
        }
        Ok((fd, stat))
    }

    fn find(&self, dir: FileId, name: &[u8]) -> Result<Attributes, Errno> {
        let (fd, _) = self.look(dir)?;
        if name.contains(&b'/') || name == b".." {
            return Err(Errno::ENOENT);
        }
        let name = OsStr::from_bytes(name);
        let stat = statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)?;
        let attributes = attributes(&stat)?;
        let place = self.path(dir)?.join(name);
        self.known.borrow_mut().insert(attributes.id, place);
        Ok(attributes)
    }

    fn names(&self, dir: FileId) -> Result<Vec<(Vec<u8>, u64)>, Errno> {
        self.look(dir)?;
        let fd = self.open_path(&self.path(dir)?, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(fd).map_err(errno)? {
            let entry = entry.map_err(errno)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push((name.to_vec(), entry.ino()));
            }
        }
        // An order that pages can rely on.
        names.sort_unstable();
        Ok(names)
    }

    fn page(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Result<DirPage, Errno> {
        let skip = usize::try_from(cookie).unwrap_or(usize::MAX);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for (number, (name, inode)) in (cookie + 1..).zip(self.names(dir)?.into_iter().skip(skip)) {
            bytes += name.len() + 24;
            if bytes > max_bytes && !entries.is_empty() {
                return Ok(DirPage { entries, end: false });
            }
            entries.push(DirEntry { name, inode, cookie: number, attributes: None });
        }
        Ok(DirPage { entries, end: true })
    }

    fn open_file(&self, id: FileId) -> Result<Rc<dyn OpenFile>, Errno> {
        match attributes(&self.look(id)?.1)?.file_type {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR),
            _ => return Err(Errno::ENXIO),
        }
        let fd = {
            // What a pipe has become by now must not be waited for, and no terminal become ours.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
            self.open_path(&self.path(id)?, flags)?
        };
        // It may be another one by now.
        if id_of(&fstat(&fd).map_err(errno)?) != id {
            return Err(Errno::ESTALE);
        }
        Ok(Rc::new(OpenHostFile(File::from(fd))))
    }
}

fn now<'a, T: 'a>(result: Result<T, Errno>) -> Io<'a, T> {
    Box::pin(ready(result))
}

impl ResourceManager for HostFiles {
    fn root(&self) -> FileId {
        self.root
    }

    fn attributes(&self, id: FileId) -> Io<'_, Attributes> {
        now(self.look(id).and_then(|(_, stat)| attributes(&stat)))
    }

    fn open<'a>(&'a self, id: FileId, _: Opening<'a>) -> Io<'a, Rc<dyn OpenFile>> {
        now(self.open_file(id))
    }

    fn lookup<'a>(&'a self, lookup: Lookup<'a>) -> Io<'a, Found> {
        now(self.find(lookup.dir, lookup.name).map(Found::Object))
    }

    fn read_dir(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Io<'_, DirPage> {
        now(self.page(dir, cookie, max_bytes))
    }

    fn read_link(&self, id: FileId) -> Io<'_, Vec<u8>> {
        let read = || {
            let (fd, _) = self.look(id)?;
            readlinkat(&fd, "", Vec::new()).map(|text| text.into_bytes()).map_err(errno)
        };
        now(read())
    }
}

struct OpenHostFile(File);

impl OpenFile for OpenHostFile {
    fn read<'a>(&'a self, offset: u64, room: &'a mut [u8]) -> Io<'a, usize> {
        now(self.0.read_at(room, offset).map_err(|error| errno_of(&error)))
    }

    fn write<'a>(&'a self, _: u64, _: &'a [u8]) -> Io<'a, usize> {
        now(Err(Errno::EROFS))
    }

    fn size(&self) -> Option<u64> {
        self.0.metadata().ok().map(|metadata| metadata.len())
    }
}

fn id_of(stat: &Stat) -> FileId {
    FileId { inode: stat.st_ino, discriminator: stat.st_dev }
}

fn attributes(stat: &Stat) -> Result<Attributes, Errno> {
    use rustix::fs::FileType as Host;
    let file_type = match Host::from_raw_mode(stat.st_mode) {
        Host::RegularFile => FileType::Regular,
        Host::Directory => FileType::Directory,
        Host::Symlink => FileType::Symlink,
        Host::BlockDevice => FileType::BlockDevice,
        Host::CharacterDevice => FileType::CharDevice,
        Host::Fifo => FileType::Fifo,
        Host::Socket => FileType::Socket,
        _ => return Err(Errno::ENXIO),
    };
    let time = |seconds: i64, nanos: u64| Time { seconds, nanos: nanos as u32 };
    Ok(Attributes {
        id: id_of(stat),
        file_type,
        mode: stat.st_mode & 0o7777,
        links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        allocated: u64::try_from(stat.st_blocks).unwrap_or_default() * 512,
        device: DeviceNumber { major: major(stat.st_rdev), minor: minor(stat.st_rdev) },
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
    })
}

/// QNX's number for an error of the host.
pub fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, |code| errno(rustix::io::Errno::from_raw_os_error(code)))
}

fn errno(error: rustix::io::Errno) -> Errno {
    use rustix::io::Errno as Host;
    match error {
        // The same up to ERANGE.
        error if (1..=34).contains(&error.raw_os_error()) => Errno(error.raw_os_error()),
        Host::NAMETOOLONG => Errno::ENAMETOOLONG,
        Host::LOOP => Errno::ELOOP,
        Host::NOTEMPTY => Errno::ENOTEMPTY,
        Host::OVERFLOW => Errno::EOVERFLOW,
        Host::STALE => Errno::ESTALE,
        Host::DQUOT => Errno::EDQUOT,
        Host::OPNOTSUPP => Errno::ENOTSUP,
        _ => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("qnetctl-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// The managers of this crate answer at once.
    fn answer<T: 'static>(io: Io<'_, T>) -> Result<T, Errno> {
        let mut io = io;
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match io.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn files_are_read_and_nothing_outside_is() {
        let path = directory("files");
        std::fs::create_dir(path.join("etc")).unwrap();
        std::fs::write(path.join("etc/hosts"), b"hello").unwrap();
        symlink("/etc", path.join("out")).unwrap();
        let files = HostFiles::open(&path).unwrap();
        let root = files.root();
        let etc = files.find(root, b"etc").unwrap();
        let hosts = files.find(etc.id, b"hosts").unwrap();
        assert_eq!((hosts.file_type, hosts.size), (FileType::Regular, 5));
        let open = files.open_file(hosts.id).unwrap();
        let mut room = [0; 8];
        assert_eq!(answer(open.read(1, &mut room)), Ok(4));
        assert_eq!(&room[..4], b"ello");
        assert_eq!(answer(open.write(0, b"x")), Err(Errno::EROFS));
        let out = files.find(root, b"out").unwrap();
        assert_eq!(answer(files.read_link(out.id)), Ok(b"/etc".to_vec()));
        assert_eq!(files.find(out.id, b"passwd"), Err(Errno::ENOTDIR));
        assert_eq!(files.find(root, b".."), Err(Errno::ENOENT));
        assert_eq!(files.find(root, b"etc/hosts"), Err(Errno::ENOENT));
        // A directory on the way becomes a link.
        std::fs::rename(path.join("etc"), path.join("old")).unwrap();
        symlink("/etc", path.join("etc")).unwrap();
        assert_eq!(files.open_file(hosts.id).err(), Some(Errno::ELOOP));
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn directories_are_read_in_pages() {
        let path = directory("pages");
        for number in 0..10 {
            std::fs::write(path.join(format!("f{number}")), b"").unwrap();
        }
        let files = HostFiles::open(&path).unwrap();
        let (mut names, mut cookie) = (Vec::new(), 0);
        loop {
            let page = files.page(files.root(), cookie, 60).unwrap();
            assert!(page.entries.len() <= 2);
            names.extend(page.entries.iter().map(|entry| String::from_utf8(entry.name.clone()).unwrap()));
            if page.end {
                break;
            }
            cookie = page.entries.last().unwrap().cookie;
        }
        assert_eq!(names, (0..10).map(|number| format!("f{number}")).collect::<Vec<_>>());
        std::fs::remove_dir_all(&path).unwrap();
    }
}
