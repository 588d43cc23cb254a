//! Mappings of files.

use super::*;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("waits"),
    }
}

/// A file that notes what is asked of it, and answers at the second poll.
struct Disk {
    inode: u64,
    modified: i128,
    content: Arc<Mutex<Vec<u8>>>,
    fetched: Arc<Mutex<Vec<(u64, u32)>>>,
    written: Arc<Mutex<Vec<(u64, usize)>>>,
    slow: bool,
    is_open: Arc<AtomicBool>,
}

impl Disk {
    fn new(inode: u64, content: Vec<u8>) -> Disk {
        let content = Arc::new(Mutex::new(content));
        let (fetched, written, is_open) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(true)));
        Disk { inode, modified: 0, content, fetched, written, slow: false, is_open }
    }
}

impl PageSource for Disk {
    fn id(&self) -> FileId {
        FileId { host: 0, device: 1, inode: self.inode }
    }
    fn version(&self) -> FileVersion {
        FileVersion { size: self.content.lock().unwrap().len() as u64, modified: self.modified }
    }
    fn fetch(&self, offset: u64, len: u32) -> Fetch {
        self.fetched.lock().unwrap().push((offset, len));
        let content = self.content.lock().unwrap();
        let mut bytes: Vec<u8> = content.iter().skip(offset as usize).take(len as usize).copied().collect();
        let mut wait = self.slow;
        Box::pin(core::future::poll_fn(move |_| match std::mem::take(&mut wait) {
            true => Poll::Pending,
            false => Poll::Ready(Ok(std::mem::take(&mut bytes))),
        }))
    }
    fn write_back(&self, offset: u64, bytes: Vec<u8>) -> Written {
        self.written.lock().unwrap().push((offset, bytes.len()));
        self.content.lock().unwrap()[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        Box::pin(async { Ok(()) })
    }
    fn is_alive(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }
}

fn map_file(mm: &Mm, disk: &Arc<Disk>, len: u64, protection: Protection, flags: u64) -> Result<u64, Errno> {
    let source: Arc<dyn PageSource> = disk.clone();
    let file = FileMapping { source, readable: true, writable: true, offset: 0, path: None };
    mm.mmap(&Map { len, protection, flags, file: Some(file), ..Map::default() })
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index / 7) as u8).collect()
}

#[test]
fn pages_come_when_they_are_touched_and_stay() {
    let mm = mm();
    let disk = Arc::new(Disk::new(1, content(200_000)));
    let at = map_file(&mm, &disk, 200_000, RW, map::PRIVATE).unwrap();
    assert!(matches!(mm.fault(at + 70_000, Access::Read, 0), Err(Fault::Missing(_))));
    assert_eq!(mm.read(at + 70_000, &mut [0]), Err(Errno::EFAULT));
    let mut bytes = vec![0; 200_000];
    now(mm.read_wait(at, &mut bytes)).unwrap();
    assert_eq!(bytes, content(200_000));
    assert_eq!(disk.fetched.lock().unwrap()[0], (0, 64 << 10));
    // Own copies of what is written; the file and other mappings do not change.
    let asked = disk.fetched.lock().unwrap().len();
    let other = map_file(&mm, &disk, 200_000, RW, map::PRIVATE).unwrap();
    now(mm.write_wait(at + 5, b"hello")).unwrap();
    let mut five = [0; 5];
    now(mm.read_wait(other + 5, &mut five)).unwrap();
    assert_eq!(five, content(10)[5..]);
    mm.read(at + 5, &mut five).unwrap();
    assert_eq!(&five, b"hello");
    assert_eq!(disk.fetched.lock().unwrap().len(), asked);
    mm.madvise(at, 4096, madv::DONTNEED).unwrap();
    mm.read(at + 5, &mut five).unwrap();
    assert_eq!(five, content(10)[5..]);
}

#[test]
fn one_request_serves_all_who_wait_for_it() {
    let mm = mm();
    let mut disk = Disk::new(1, content(100_000));
    disk.slow = true;
    let disk = Arc::new(disk);
    let at = map_file(&mm, &disk, 100_000, Protection::READ, map::PRIVATE).unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut one, mut two) = ([0], [0]);
    {
        let mut first = pin!(mm.read_wait(at, &mut one));
        let mut second = pin!(mm.read_wait(at + 4096, &mut two));
        assert!(first.as_mut().poll(cx).is_pending() && second.as_mut().poll(cx).is_pending());
        assert_eq!(disk.fetched.lock().unwrap().len(), 1);
        assert!(first.as_mut().poll(cx).is_ready() && second.as_mut().poll(cx).is_ready());
    }
    assert_eq!(two[0], content(5000)[4096]);
    // Who asked first goes away: the next one asks again.
    let mut third = [0];
    {
        let mut gone = Box::pin(mm.read_wait(at + 80_000, &mut one));
        let mut waits = pin!(mm.read_wait(at + 80_001, &mut third));
        assert!(gone.as_mut().poll(cx).is_pending() && waits.as_mut().poll(cx).is_pending());
        drop(gone);
        assert!(waits.as_mut().poll(cx).is_pending());
        assert!(waits.as_mut().poll(cx).is_ready());
    }
    assert_eq!(third[0], content(80_002)[80_001]);
}

#[test]
fn beyond_the_end_there_is_a_bus_error() {
    let mm = mm();
    let disk = Arc::new(Disk::new(1, content(5000)));
    let at = map_file(&mm, &disk, 3 * 4096, RW, map::SHARED).unwrap();
    now(mm.touch_wait(at, 8192, Access::Read, 0)).unwrap();
    let mut rest = [1; 100];
    mm.read(at + 5000, &mut rest).unwrap();
    assert_eq!(rest, [0; 100], "zeros up to the end of the page");
    assert_eq!(mm.fault(at + 8192, Access::Read, 0), Err(Fault::Bus));
    // The file became shorter than it was said to be.
    let short = Arc::new(Disk::new(2, content(100_000)));
    let at = map_file(&mm, &short, 100_000, Protection::READ, map::PRIVATE).unwrap();
    short.content.lock().unwrap().truncate(10);
    assert_eq!(now(mm.touch_wait(at + 90_000, 1, Access::Read, 0)), Err(Errno::EFAULT));
    assert_eq!(mm.fault(at + 90_000, Access::Read, 0), Err(Fault::Bus));
}

#[test]
fn what_is_written_to_a_shared_mapping_reaches_the_file() {
    let mm = mm();
    let disk = Arc::new(Disk::new(1, content(20_000)));
    let at = map_file(&mm, &disk, 20_000, RW, map::SHARED).unwrap();
    let child = mm.fork().unwrap();
    now(mm.write_wait(at + 10, b"one")).unwrap();
    now(child.write_wait(at + 19_998, b"two")).unwrap();
    let files: Vec<_> = mm.msync(at, 20_000, 4).unwrap().collect();
    assert_eq!(files.len(), 1);
    now(files[0].write_back()).unwrap();
    assert_eq!(*disk.written.lock().unwrap(), [(0, 4096), (16384, 20_000 - 16384)]);
    assert_eq!(&disk.content.lock().unwrap()[10..13], b"one");
    assert_eq!(&disk.content.lock().unwrap()[19_998..], b"tw");
    now(files[0].write_back()).unwrap();
    assert_eq!(disk.written.lock().unwrap().len(), 2, "nothing changed since");
    // It counts again after that, and is not lost with the mapping.
    now(child.write_wait(at + 10, b"TWO")).unwrap();
    drop(files);
    drop((mm, child));
    assert_eq!(disk.written.lock().unwrap().len(), 2);
}

#[test]
fn the_node_writes_back_by_and_by() {
    let (system, _, clock) = crate::testing::system();
    let mm = Mm::new(&system, MmSettings::default()).unwrap();
    let disk = Arc::new(Disk::new(1, content(20_000)));
    let at = map_file(&mm, &disk, 20_000, RW, map::SHARED).unwrap();
    now(mm.write_wait(at + 10, b"one")).unwrap();
    let memory = system.memory.clone();
    let mut service = pin!(memory.serve(system.timers.clone(), Duration::from_secs(30)));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(service.as_mut().poll(cx).is_pending());
    assert!(disk.written.lock().unwrap().is_empty());
    drop(mm);
    clock.advance(Duration::from_secs(31));
    assert!(service.as_mut().poll(cx).is_pending());
    assert_eq!(&disk.content.lock().unwrap()[10..13], b"one");
    drop(system);
}

#[test]
fn a_changed_file_gets_new_pages_and_idle_ones_go() {
    let mm = mm();
    let memory = mm.system().memory.clone();
    let disk = Arc::new(Disk::new(1, content(9000)));
    let at = map_file(&mm, &disk, 9000, Protection::READ, map::PRIVATE).unwrap();
    now(mm.touch_wait(at, 9000, Access::Read, 0)).unwrap();
    let newer = Arc::new(Disk { modified: 1, ..Disk::new(1, vec![9; 9000]) });
    let other = map_file(&mm, &newer, 9000, Protection::READ, map::PRIVATE).unwrap();
    let mut byte = [0];
    now(mm.read_wait(other + 7, &mut byte)).unwrap();
    assert_eq!(byte, [9]);
    mm.read(at + 7, &mut byte).unwrap();
    assert_eq!(byte, [1], "who had the old one keeps it");
    mm.munmap(at, 9000).unwrap();
    mm.munmap(other, 9000).unwrap();
    assert_eq!(pool().used(), 3 * 4096, "cached");
    // The cache of the fake node has a mebibyte.
    for inode in 2..4 {
        let disk = Arc::new(Disk::new(inode, content(900_000)));
        let at = map_file(&mm, &disk, 900_000, Protection::READ, map::PRIVATE).unwrap();
        now(mm.populate_wait(at, 900_000, Access::Read, 0)).unwrap();
        mm.munmap(at, 900_000).unwrap();
    }
    now(memory.write_back_all());
    assert_eq!(memory.cached(), 220 * 4096);
}

#[test]
fn a_new_file_by_the_number_of_one_that_was_written_is_not_that_one() {
    let mm = mm();
    let old = Arc::new(Disk::new(1, content(4096)));
    let at = map_file(&mm, &old, 4096, RW, map::SHARED).unwrap();
    now(mm.write_wait(at, b"old")).unwrap();
    let first_of = |disk: Disk| {
        let at = map_file(&mm, &Arc::new(disk), 4096, Protection::READ, map::SHARED).unwrap();
        let mut byte = [0];
        now(mm.read_wait(at, &mut byte)).unwrap();
        byte[0]
    };
    let changed = Disk { modified: 1, is_open: old.is_open.clone(), ..Disk::new(1, vec![9; 4096]) };
    assert_eq!(first_of(changed), b'o', "changed by somebody else while it is open here");
    // Its host's program has ended, and the node keeps what it could not write back yet.
    old.is_open.store(false, Ordering::Relaxed);
    assert_eq!(first_of(Disk { modified: 2, ..Disk::new(1, vec![9; 4096]) }), 9);
}

#[test]
fn descriptors_limit_what_can_be_mapped() {
    let mm = mm();
    let disk = Arc::new(Disk::new(1, content(5000)));
    let source: Arc<dyn PageSource> = disk.clone();
    let file = FileMapping { source, readable: true, writable: false, offset: 0, path: None };
    let map = |protection, flags| {
        mm.mmap(&Map { len: 4096, protection, flags, file: Some(file.clone()), ..Map::default() })
    };
    assert_eq!(map(RW, map::SHARED), Err(Errno::EACCES));
    let at = map(Protection::READ, map::SHARED).unwrap();
    assert_eq!(mm.mprotect(at, 4096, RW, false), Err(Errno::EACCES));
    let own = map(RW, map::PRIVATE).unwrap();
    now(mm.write_wait(own, b"x")).unwrap();
    let odd = FileMapping { offset: 100, ..file.clone() };
    let odd = Map { len: 4096, flags: map::PRIVATE, file: Some(odd), ..Map::default() };
    assert_eq!(mm.mmap(&odd), Err(Errno::EINVAL));
}

/// There may be more files than are listed at once.
#[test]
fn many_files_are_written_back_and_given_up() {
    let mm = mm();
    let len = 600 * PAGE;
    let base = mm.mmap(&anonymous(0, len, Protection::NONE, ANON | map::NORESERVE)).unwrap();
    let disks: Vec<Arc<Disk>> = (0..600).map(|inode| Arc::new(Disk::new(inode, content(4096)))).collect();
    let write = |inode: usize, at: u64| {
        let source: Arc<dyn PageSource> = disks[inode].clone();
        let file = FileMapping { source, readable: true, writable: true, offset: 0, path: None };
        let flags = map::SHARED | map::FIXED;
        let request = Map { at, len: PAGE, protection: RW, flags, file: Some(file), ..Map::default() };
        mm.mmap(&request).unwrap();
        now(mm.write_wait(at, b"new")).unwrap();
    };
    (0..600).for_each(|index| write(index, base + index as u64 * PAGE));
    let files = mm.msync(base, len, 4).unwrap();
    assert_eq!(files.map(|file| now(file.write_back()).unwrap()).count(), 600);
    let written = || disks.iter().map(|disk| disk.written.lock().unwrap().len()).sum::<usize>();
    assert_eq!(written(), 600);
    for index in 0..600 {
        mm.write(base + index * PAGE, b"NEW").unwrap();
    }
    now(mm.munmap_and_write_back(base, len)).unwrap();
    assert_eq!((written(), mm.areas().count()), (1200, 0));
    assert!(disks.iter().all(|disk| disk.content.lock().unwrap()[..3] == *b"NEW"));
    // Nobody maps them: what is more than the node keeps goes, first what was used longest ago.
    let memory = mm.system().memory.clone();
    drop(mm);
    now(memory.write_back_all());
    assert_eq!(memory.cached(), 256 * PAGE);
    let known = |inode: usize| memory.find(&disks[inode].id()).is_some();
    assert!(!known(0) && !known(343) && known(344) && known(599));
}

/// What cannot be written now is not lost.
#[test]
fn what_the_host_has_no_memory_for_is_written_later() {
    struct Full(Arc<Disk>, AtomicBool);
    impl PageSource for Full {
        fn id(&self) -> FileId {
            self.0.id()
        }
        fn version(&self) -> FileVersion {
            self.0.version()
        }
        fn fetch(&self, offset: u64, len: u32) -> Fetch {
            self.0.fetch(offset, len)
        }
        fn write_back(&self, offset: u64, bytes: Vec<u8>) -> Written {
            match self.1.swap(false, Ordering::Relaxed) {
                true => Box::pin(async { Err(Errno::ENOMEM) }),
                false => self.0.write_back(offset, bytes),
            }
        }
    }
    let mm = mm();
    let disk = Arc::new(Disk::new(1, content(8192)));
    let source: Arc<dyn PageSource> = Arc::new(Full(disk.clone(), AtomicBool::new(true)));
    let file = FileMapping { source, readable: true, writable: true, offset: 0, path: None };
    let request = Map { len: 8192, protection: RW, flags: map::SHARED, file: Some(file), ..Map::default() };
    let at = mm.mmap(&request).unwrap();
    now(mm.write_wait(at, &[1; 8192])).unwrap();
    mm.munmap(at, 8192).unwrap();
    let memory = mm.system().memory.clone();
    now(memory.write_back_all());
    assert_eq!(disk.written.lock().unwrap().len(), 0);
    now(memory.write_back_all());
    assert_eq!(*disk.content.lock().unwrap(), [1; 8192]);
}

#[test]
fn without_memory_of_the_kernel_no_file_is_remembered() {
    let (mm, machine) = mm_with(|_| {});
    machine.short.store(true, Ordering::Relaxed);
    let disk = Arc::new(Disk::new(1, content(4096)));
    assert_eq!(map_file(&mm, &disk, 4096, RW, map::PRIVATE), Err(Errno::ENOMEM));
    assert!(mm.system().memory.find(&disk.id()).is_none());
}
