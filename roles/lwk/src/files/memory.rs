//! Regular files in the memory of the node: memfd_create(2) and what lies in /dev/shm.

use super::flags::{F_ADD_SEALS, F_GET_SEALS, O_APPEND, SEEK_DATA, SEEK_END, SEEK_HOLE};
use super::{File, FileLocks, FileType, Operation, Source, Stat, Target, moved};
use crate::Errno;
use crate::mm::Object;
use crate::system::System;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;
use keelson_hal::Clock;
use keelson_hal::user::PageSize;
use spin::Mutex;

/// Seals of a file (fcntl(2)).
pub mod seal {
    /// No more seals.
    pub const SEAL: u32 = 1;
    /// It does not get smaller.
    pub const SHRINK: u32 = 2;
    /// It does not get larger.
    pub const GROW: u32 = 4;
    /// It is not written.
    pub const WRITE: u32 = 8;
    /// It is not written by new mappings nor by write(2).
    pub const FUTURE_WRITE: u32 = 16;
    /// All of them.
    pub const ALL: u32 = 31;
}

/// FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE (fallocate(2)).
const KEEP_SIZE: u32 = 1;
const PUNCH_HOLE: u32 = 2;

/// Owner, permissions and times of a file in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    /// Permissions.
    pub permissions: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last read.
    pub accessed: Duration,
    /// Last write.
    pub modified: Duration,
    /// Last change of this.
    pub changed: Duration,
}

/// A regular file in memory, open or not.
pub struct Content {
    object: Arc<Object>,
    clock: Arc<dyn Clock + Send + Sync>,
    /// One writer at a time, so that the end stays where it is found. Held while bytes come from a program.
    writer: Mutex<()>,
    seals: Mutex<u32>,
    attributes: Mutex<Attributes>,
    locks: Arc<FileLocks>,
    /// `st_dev`.
    device: u64,
    inode: u64,
}

impl Content {
    /// An empty file that may be sealed as `seals` does not forbid.
    pub fn new(system: &System, device: u64, permissions: u32, seals: u32) -> Arc<Content> {
        let object = Object::memory(system.machine.clone(), 0, PageSize::Large);
        Content::of(object, system, device, permissions, seals)
    }

    /// The same in a tree, where it may stay for ever: with such others it has so much memory that some is left.
    pub fn lasting(system: &System, device: u64, permissions: u32, seals: u32) -> Arc<Content> {
        let object = Object::lasting(system.machine.clone(), &system.memory);
        Content::of(object, system, device, permissions, seals)
    }

    fn of(object: Arc<Object>, system: &System, device: u64, permissions: u32, seals: u32) -> Arc<Content> {
        let now = system.clock.wall();
        let times = Attributes { accessed: now, modified: now, changed: now, ..Attributes::default() };
        Arc::new(Content {
            object,
            clock: system.clock.clone(),
            writer: Mutex::new(()),
            seals: Mutex::new(seals),
            attributes: Mutex::new(Attributes { permissions, ..times }),
            locks: Arc::default(),
            device,
            inode: super::next_inode(),
        })
    }

    /// The memory that it consists of.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// Its number.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Owner, permissions and times.
    pub fn with_attributes<T>(&self, act: impl FnOnce(&mut Attributes) -> T) -> T {
        act(&mut self.attributes.lock())
    }

    /// What is set of [`seal`].
    pub fn seals(&self) -> u32 {
        *self.seals.lock()
    }

    /// What stat(2) tells, with this many links.
    pub fn stat(&self, links: u32) -> Stat {
        let Attributes { permissions, uid, gid, accessed, modified, changed } = *self.attributes.lock();
        Stat {
            device: self.device,
            inode: self.inode,
            mode: FileType::Regular as u32 | permissions,
            links,
            uid,
            gid,
            size: self.object.size(),
            block_size: 4096,
            blocks: self.object.resident() / 512,
            accessed,
            modified,
            changed,
            ..Stat::default()
        }
    }

    /// Another size; EPERM when a seal forbids it.
    pub fn set_size(&self, len: u64) -> Result<(), Errno> {
        let _alone = self.writer.lock();
        self.check_size(len)?;
        self.object.set_size(len);
        self.touch();
        Ok(())
    }

    fn check_size(&self, len: u64) -> Result<(), Errno> {
        if len > i64::MAX as u64 {
            return Err(Errno::EFBIG);
        }
        let (size, seals) = (self.object.size(), self.seals());
        let forbidden = len < size && seals & seal::SHRINK != 0 || len > size && seals & seal::GROW != 0;
        if forbidden { Err(Errno::EPERM) } else { Ok(()) }
    }

    fn touch(&self) {
        let now = self.clock.wall();
        self.with_attributes(|attributes| (attributes.modified, attributes.changed) = (now, now));
    }

    fn read(&self, at: u64, into: &mut dyn Target) -> Result<usize, Errno> {
        let (wanted, mut done) = (into.left(), 0);
        let mut part = [0; 4096];
        while done < wanted {
            let here = at.saturating_add(done as u64);
            // To the end of a page, so that the next parts are whole pages.
            let len = (4096 - here % 4096).min((wanted - done) as u64) as usize;
            let got = self.object.read(here, &mut part[..len])?;
            if got == 0 {
                return Ok(done);
            }
            let put = into.put(&part[..got]);
            done += put;
            if put < got {
                return moved(done, wanted);
            }
        }
        Ok(done)
    }

    /// Nothing is written at `limit` and behind it.
    fn write(&self, at: Option<u64>, from: &mut dyn Source, limit: u64) -> Result<usize, Errno> {
        let mut done = 0;
        let _alone = self.writer.lock();
        if self.seals() & (seal::WRITE | seal::FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        let at = at.unwrap_or(self.object.size());
        if at >= limit && from.left() > 0 {
            return Err(Errno::EFBIG);
        }
        let wanted = from.left().min(usize::try_from(limit.saturating_sub(at)).unwrap_or(usize::MAX));
        let mut part = [0; 4096];
        while done < wanted {
            let here =
                at.checked_add(done as u64).filter(|here| *here < i64::MAX as u64).ok_or(Errno::EFBIG)?;
            let len = (4096 - here % 4096).min((wanted - done) as u64) as usize;
            let got = from.take(&mut part[..len]);
            let before = self.object.size();
            let end = here + got as u64;
            let stored = self.check_size(end.max(before)).and_then(|()| {
                self.object.set_size(end.max(before));
                self.object.write(here, &part[..got], 0)
            });
            if let Err(error) = stored {
                self.object.set_size(before);
                if done == 0 {
                    return Err(error);
                }
                break;
            }
            done += got;
            if got < len {
                break;
            }
        }
        self.touch();
        moved(done, wanted)
    }
}

/// An open file in memory.
pub struct MemoryFile {
    /// What is open.
    pub content: Arc<Content>,
    name: String,
    /// Links that the file has, when it has a place in a tree, or may have one.
    links: Option<Arc<AtomicU32>>,
    /// It may get its first one.
    linkable: bool,
}

impl MemoryFile {
    /// A file without a place in a tree, as memfd_create makes them.
    pub fn new(content: Arc<Content>, name: String) -> MemoryFile {
        MemoryFile { content, name, links: None, linkable: false }
    }

    /// A file of a tree.
    pub fn linked(content: Arc<Content>, links: Arc<AtomicU32>) -> MemoryFile {
        MemoryFile { content, name: String::new(), links: Some(links), linkable: false }
    }

    /// A file of a tree that has no link there (O_TMPFILE), and gets one only if it is `linkable` (not O_EXCL).
    pub fn nameless(content: Arc<Content>, name: String, linkable: bool) -> MemoryFile {
        MemoryFile { content, name, links: Some(Arc::default()), linkable }
    }

    /// The number of its links, for one more; EXDEV where it belongs to no tree, ENOENT where it is gone from there.
    pub fn links(&self) -> Result<&Arc<AtomicU32>, Errno> {
        let links = self.links.as_ref().ok_or(Errno::EXDEV)?;
        if links.load(Ordering::Acquire) == 0 && !self.linkable { Err(Errno::ENOENT) } else { Ok(links) }
    }
}

impl File for MemoryFile {
    fn poll_read(
        &self,
        _cx: &mut Context<'_>,
        _operation: &mut Operation,
        at: Option<u64>,
        into: &mut dyn Target,
    ) -> Poll<Result<usize, Errno>> {
        Poll::Ready(self.content.read(at.unwrap_or(0), into))
    }

    fn poll_write(
        &self,
        _cx: &mut Context<'_>,
        operation: &mut Operation,
        at: Option<u64>,
        from: &mut dyn Source,
    ) -> Poll<Result<usize, Errno>> {
        // Linux appends whatever position pwrite(2) has.
        let at = if operation.flags & O_APPEND != 0 { None } else { at };
        Poll::Ready(self.content.write(at, from, operation.file_limit))
    }

    fn stat(&self) -> Stat {
        self.content.stat(self.links.as_ref().map_or(0, |links| links.load(Ordering::Acquire)))
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn positioned(&self) -> bool {
        true
    }

    fn seek(&self, offset: i64, whence: u32) -> Result<u64, Errno> {
        let size = self.content.object.size();
        let inside = || u64::try_from(offset).ok().filter(|at| *at < size).ok_or(Errno::ENXIO);
        match whence {
            SEEK_END => size.checked_add_signed(offset).ok_or(Errno::EINVAL),
            // Everything counts as data, which lseek(2) allows.
            SEEK_DATA => inside(),
            SEEK_HOLE => inside().map(|_| size),
            _ => Err(Errno::EINVAL),
        }
    }

    fn truncate(&self, len: u64) -> Result<(), Errno> {
        self.content.set_size(len)
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let end = offset.checked_add(len).filter(|end| *end <= i64::MAX as u64).ok_or(Errno::EFBIG)?;
        let content = &self.content;
        match mode {
            0 if end > content.object.size() => content.set_size(end),
            0 | KEEP_SIZE => Ok(()),
            mode if mode == KEEP_SIZE | PUNCH_HOLE => {
                if content.seals() & (seal::WRITE | seal::FUTURE_WRITE) != 0 {
                    return Err(Errno::EPERM);
                }
                content.object.punch(offset, end);
                content.touch();
                Ok(())
            }
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn control(&self, command: u32, argument: u64) -> Result<u64, Errno> {
        let mut seals = self.content.seals.lock();
        match command {
            F_GET_SEALS => Ok(u64::from(*seals)),
            F_ADD_SEALS => {
                let add = u32::try_from(argument).ok().filter(|add| add & !seal::ALL == 0);
                let add = add.ok_or(Errno::EINVAL)?;
                if *seals & seal::SEAL != 0 {
                    return Err(Errno::EPERM);
                }
                if add & !*seals & seal::WRITE != 0 && self.content.object.is_mapped_to_be_written() {
                    return Err(Errno::EBUSY);
                }
                *seals |= add;
                Ok(0)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn locks(&self) -> Option<&Arc<FileLocks>> {
        Some(&self.content.locks)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{BytesSource, BytesTarget};
    use crate::testing::{pool, system};
    use core::task::Waker;

    fn write(file: &MemoryFile, at: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let cx = &mut Context::from_waker(Waker::noop());
        match file.poll_write(cx, &mut Operation::new(1, 0), Some(at), &mut BytesSource(bytes)) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("memory never waits"),
        }
    }

    fn read(file: &MemoryFile, at: u64, len: usize) -> Vec<u8> {
        let (mut into, cx) = (vec![0; len], &mut Context::from_waker(Waker::noop()));
        let mut target = BytesTarget::new(&mut into);
        let _ = file.poll_read(cx, &mut Operation::new(1, 0), Some(at), &mut target);
        let done = target.done;
        into.truncate(done);
        into
    }

    #[test]
    fn is_sparse_and_is_cut() {
        let (system, ..) = system();
        let file = MemoryFile::new(Content::new(&system, 1, 0o777, 0), String::from("/memfd:x (deleted)"));
        assert_eq!(write(&file, 10_000, b"hello"), Ok(5));
        assert_eq!(file.stat().size, 10_005);
        assert_eq!(pool().used(), 4096);
        assert_eq!(read(&file, 9_998, 100), b"\0\0hello");
        assert_eq!(read(&file, 20_000, 100), b"");
        file.truncate(10_002).unwrap();
        file.truncate(10_010).unwrap();
        assert_eq!(read(&file, 10_000, 100), b"he\0\0\0\0\0\0\0\0");
        assert_eq!(file.seek(-10, SEEK_END), Ok(10_000));
        assert_eq!(file.seek(5, SEEK_HOLE), Ok(10_010));
        assert_eq!(file.seek(10_010, SEEK_DATA), Err(Errno::ENXIO));
        file.allocate(KEEP_SIZE | PUNCH_HOLE, 8192, 4096).unwrap();
        assert_eq!(read(&file, 10_000, 2), [0, 0]);
        file.allocate(0, 20_000, 5).unwrap();
        assert_eq!(file.stat().size, 20_005);
        assert_eq!(file.allocate(0x10, 0, 5), Err(Errno::EOPNOTSUPP));
    }

    #[test]
    fn seals_hold() {
        let (system, ..) = system();
        let file = MemoryFile::new(Content::new(&system, 1, 0o777, 0), String::new());
        write(&file, 0, &[1; 100]).unwrap();
        assert_eq!(file.control(F_ADD_SEALS, (seal::SHRINK | seal::GROW).into()), Ok(0));
        assert_eq!(file.truncate(50), Err(Errno::EPERM));
        assert_eq!(file.truncate(150), Err(Errno::EPERM));
        assert_eq!(write(&file, 90, &[2; 20]), Err(Errno::EPERM));
        assert_eq!(write(&file, 90, &[2; 10]), Ok(10));
        assert_eq!(file.control(F_ADD_SEALS, 99), Err(Errno::EINVAL));
        assert_eq!(file.control(F_ADD_SEALS, (seal::WRITE | seal::SEAL).into()), Ok(0));
        assert_eq!(write(&file, 0, &[2; 10]), Err(Errno::EPERM));
        assert_eq!(file.control(F_ADD_SEALS, 1), Err(Errno::EPERM));
        assert_eq!(file.control(F_GET_SEALS, 0), Ok(15));
    }

    #[test]
    fn files_that_stay_leave_some_memory_to_others() {
        let (system, machine, _) = system();
        machine.limit.store(16 << 20, core::sync::atomic::Ordering::Relaxed);
        machine.limits[1].store(0, core::sync::atomic::Ordering::Relaxed);
        let new = || MemoryFile::new(Content::lasting(&system, 1, 0o777, 0), String::new());
        let (one, other, half) = (new(), new(), 8 << 20);
        assert_eq!(write(&one, 0, &vec![1; half + 1]), Ok(half));
        assert_eq!(write(&other, 0, b"x"), Err(Errno::ENOSPC));
        assert_eq!(pool().used(), half as u64);
        // A page that is cut or made a hole of is another file's.
        one.truncate(half as u64 - 8192).unwrap();
        assert_eq!(write(&other, 0, &[1; 10_000]), Ok(8192));
        one.allocate(KEEP_SIZE | PUNCH_HOLE, 0, 4096).unwrap();
        assert_eq!(write(&other, 8192, &[1; 10_000]), Ok(4096));
        drop(other);
        assert_eq!(system.memory.lasting.files(&*machine), (half as u64, half as u64 - 3 * 4096));
        drop(one);
        assert_eq!(system.memory.lasting.files(&*machine), (half as u64, 0));
    }

    #[test]
    fn memory_runs_out() {
        let (system, machine, _) = system();
        let file = MemoryFile::new(Content::new(&system, 1, 0o777, 0), String::new());
        machine.limit.store(8192, core::sync::atomic::Ordering::Relaxed);
        assert_eq!(write(&file, 0, &[1; 20_000]), Ok(8192));
        assert_eq!(file.stat().size, 8192);
        assert_eq!(write(&file, 8192, &[1; 10]), Err(Errno::ENOSPC));
        assert_eq!(file.stat().size, 8192);
    }
}
