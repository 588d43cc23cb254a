use super::*;
use crate::files::flags::{O_CREAT, O_RDWR};
use crate::mm::{MmSettings, mpol};
use crate::syscalls::files::sys_close;
use crate::syscalls::paths::sys_openat;
use crate::testing::programs::{MEMORY, Program, fails, now};

const AT_FDCWD: u64 = -100i64 as u64;
const READ_WRITE: u64 = prot::READ | prot::WRITE;

fn open(program: &Program, path: &str) -> u64 {
    let path = program.text(path);
    now(sys_openat(&program.caller(), [AT_FDCWD, path, u64::from(O_RDWR | O_CREAT), 0o644, 0, 0])).unwrap()
}

#[test]
fn anonymous_memory_comes_and_goes() {
    let program = Program::new();
    let caller = program.caller();
    let flags = map::PRIVATE | map::ANONYMOUS;
    let at = now(sys_mmap(&caller, [0, 8192, READ_WRITE, flags, u64::MAX, 0])).unwrap();
    program.thread.process.mm().write(at, b"x").unwrap();
    assert_eq!(sys_mprotect(&caller, [at, 4096, prot::READ, 0, 0, 0]), Ok(0));
    assert_eq!(fails(sys_mprotect(&caller, [at, 4096, 0x40, 0, 0, 0])), Errno::EINVAL);
    let vector = program.room(2);
    assert_eq!(sys_mincore(&caller, [at, 8192, vector, 0, 0, 0]), Ok(0));
    assert_eq!(program.bytes(vector, 2), [1, 1]);
    assert_eq!(sys_mremap(&caller, [at, 8192, 4096, 0, 0, 0]), Ok(at));
    assert_eq!(fails(sys_mincore(&caller, [at, 8192, vector, 0, 0, 0])), Errno::ENOMEM);
    assert_eq!(now(sys_munmap(&caller, [at, 4096, 0, 0, 0, 0])), Ok(0));
    assert_eq!(now(sys_madvise(&caller, [MEMORY, 4096, madv::POPULATE_WRITE, 0, 0, 0])), Ok(0));
    assert_eq!(fails(sys_pkey_alloc(&caller, [0; 6])), Errno::ENOSPC);
}

/// A mapping may be larger than any answer: it comes in parts, as far as there is room for it.
#[test]
fn mincore_of_a_tebibyte_comes_in_parts() {
    let program = Program::new();
    let caller = program.caller();
    let flags = map::PRIVATE | map::ANONYMOUS | map::NORESERVE;
    let at = now(sys_mmap(&caller, [0, 1 << 40, READ_WRITE, flags, u64::MAX, 0])).unwrap();
    let vector = now(sys_mmap(&caller, [0, 3 * PAGE, READ_WRITE, flags, u64::MAX, 0])).unwrap();
    assert_eq!(now(sys_munmap(&caller, [vector + 2 * PAGE, PAGE, 0, 0, 0, 0])), Ok(0));
    program.thread.process.mm().write(at + 5000 * PAGE, b"x").unwrap();
    assert_eq!(sys_mincore(&caller, [at, 8192 * PAGE, vector, 0, 0, 0]), Ok(0));
    assert_eq!((program.bytes(vector, 1), program.bytes(vector + 5000, 1)), (vec![0], vec![1]));
    assert_eq!(fails(sys_mincore(&caller, [at, 1 << 40, vector, 0, 0, 0])), Errno::EFAULT);
    assert_eq!(fails(sys_mincore(&caller, [at, u64::MAX, vector, 0, 0, 0])), Errno::ENOMEM);
}

/// MPOL_MF_MOVE_ALL is for root, who stands for CAP_SYS_NICE.
#[test]
fn root_moves_all() {
    let program = Program::new();
    let (caller, bind) = (program.caller(), 2);
    let nodes = program.put(&1u64.to_le_bytes());
    for (user, allowed) in [(1000, Err(Errno::EPERM)), (0, Ok(0))] {
        program.thread.process.ids.lock().user.effective = user;
        let mbind = [MEMORY, 4096, bind, nodes, 65, mpol::MF_MOVE_ALL];
        assert_eq!(sys_mbind(&caller, mbind), allowed);
        let (pages, status) = (program.put(&MEMORY.to_le_bytes()), program.room(4));
        assert_eq!(sys_move_pages(&caller, [0, 1, pages, 0, status, mpol::MF_MOVE_ALL]), allowed);
    }
    assert_eq!(fails(sys_mbind(&caller, [MEMORY, 4096, bind, nodes, 65, 8])), Errno::EINVAL);
}

#[test]
fn what_is_shared_by_dev_shm_is_there_at_once_when_that_is_wanted() {
    for (shm_premap, flags, pages) in
        [(true, map::SHARED, [1, 1]), (true, map::PRIVATE, [0, 0]), (false, map::SHARED, [0, 0])]
    {
        let program = Program::with_memory(MmSettings { shm_premap, ..MmSettings::default() });
        let (caller, fd) = (program.caller(), open(&program, "/dev/shm/a"));
        assert_eq!(now(crate::syscalls::objects::sys_ftruncate(&caller, [fd, 8192, 0, 0, 0, 0])), Ok(0));
        let at = now(sys_mmap(&caller, [0, 8192, READ_WRITE, flags, fd, 0])).unwrap();
        let vector = program.room(2);
        assert_eq!(sys_mincore(&caller, [at, 8192, vector, 0, 0, 0]), Ok(0));
        assert_eq!(program.bytes(vector, 2), pages, "{shm_premap} {flags}");
    }
}

#[test]
fn a_file_of_the_host_is_mapped_and_written_back_after_its_descriptor_is_closed() {
    let program = Program::new();
    let (caller, mm) = (program.caller(), program.thread.process.mm());
    let fd = open(&program, "/tmp/a");
    let text = program.put(b"hello world");
    let written = now(crate::syscalls::files::sys_write(&caller, [fd, text, 11, 0, 0, 0]));
    assert_eq!(written, Ok(11));
    let at = now(sys_mmap(&caller, [0, 4096, READ_WRITE, map::SHARED, fd, 0])).unwrap();
    assert_eq!(now(sys_close(&caller, [fd, 0, 0, 0, 0, 0])), Ok(0));
    let mut bytes = [0; 11];
    mm.read(at, &mut bytes).unwrap();
    assert_eq!(&bytes, b"hello world");
    mm.write(at, b"HELLO").unwrap();
    assert_eq!(now(sys_msync(&caller, [at, 4096, 4, 0, 0, 0])), Ok(0));
    assert_eq!(program.host.content("/tmp/a").unwrap(), b"HELLO world");
    mm.write(at + 6, b"W").unwrap();
    assert_eq!(now(sys_munmap(&caller, [at, 4096, 0, 0, 0, 0])), Ok(0));
    assert_eq!(program.host.content("/tmp/a").unwrap(), b"HELLO World");
    assert_eq!(fails(now(sys_mmap(&caller, [0, 4096, 1, map::SHARED, 77, 0]))), Errno::EBADF);
}

#[test]
fn policies_are_read_from_and_written_to_programs() {
    let program = Program::new();
    let caller = program.caller();
    let nodes = program.put(&0b10u64.to_le_bytes());
    assert_eq!(sys_set_mempolicy(&caller, [2, nodes, 64, 0, 0, 0]), Ok(0));
    let (mode, set) = (program.room(4), program.room(8));
    assert_eq!(sys_get_mempolicy(&caller, [mode, set, 64, 0, 0, 0]), Ok(0));
    assert_eq!(program.bytes(mode, 4), 2u32.to_le_bytes());
    assert_eq!(program.bytes(set, 8), 0b10u64.to_le_bytes());
    // One bit less than was said counts.
    assert_eq!(fails(sys_set_mempolicy(&caller, [2, nodes, 2, 0, 0, 0])), Errno::EINVAL);
    assert_eq!(fails(sys_set_mempolicy(&caller, [2, nodes, 1 << 20, 0, 0, 0])), Errno::EINVAL);
    assert_eq!(sys_mbind(&caller, [MEMORY, 4096, 2, nodes, 64, 0]), Ok(0));
    let (pages, status) = (program.put(&MEMORY.to_le_bytes()), program.room(4));
    assert_eq!(sys_move_pages(&caller, [0, 1, pages, 0, status, 0]), Ok(0));
    // It was touched before it was bound, and stays.
    assert_eq!(program.bytes(status, 4), 0i32.to_le_bytes());
}

#[test]
fn segments_are_described_as_linux_describes_them() {
    let program = Program::new();
    let caller = program.caller();
    let id = sys_shmget(&caller, [0, 5000, 0o600, 0, 0, 0]).unwrap();
    let at = sys_shmat(&caller, [id, 0, 0, 0, 0, 0]).unwrap();
    let buffer = program.room(112);
    assert_eq!(sys_shmctl(&caller, [id, 2, buffer, 0, 0, 0]), Ok(0));
    let stat = program.bytes(buffer, 112);
    let long = |at: usize| u64::from_le_bytes(stat[at..at + 8].try_into().unwrap());
    assert_eq!((long(48), long(88)), (5000, 1));
    assert_eq!(stat[80..84], 100u32.to_le_bytes());
    assert_eq!(sys_shmctl(&caller, [id, 0, 0, 0, 0, 0]), Ok(0));
    assert_eq!(sys_shmdt(&caller, [at, 0, 0, 0, 0, 0]), Ok(0));
    assert_eq!(fails(sys_shmat(&caller, [id, 0, 0, 0, 0, 0])), Errno::EINVAL);
}

#[test]
fn memory_is_copied_between_processes_up_to_what_is_there() {
    let program = Program::new();
    let caller = program.caller();
    let from = program.put(b"hello world");
    let to = program.room(16);
    let vector = |at: u64, len: u64| program.put(&[at.to_le_bytes(), len.to_le_bytes()].concat());
    let (local, remote) = (vector(to, 11), vector(from, 11));
    assert_eq!(now(sys_process_vm_readv(&caller, [100, local, 1, remote, 1, 0])), Ok(11));
    assert_eq!(program.bytes(to, 11), b"hello world");
    let end = MEMORY + crate::testing::programs::MEMORY_BYTES;
    let (long, edge) = (vector(to, 16), vector(end - 4, 16));
    assert_eq!(now(sys_process_vm_writev(&caller, [100, long, 1, edge, 1, 0])), Ok(4));
    let gone = vector(end, 16);
    assert_eq!(fails(now(sys_process_vm_readv(&caller, [100, long, 1, gone, 1, 0]))), Errno::EFAULT);
    assert_eq!(fails(now(sys_process_vm_readv(&caller, [4711, long, 1, gone, 1, 0]))), Errno::ESRCH);
}

#[test]
fn dev_zero_is_mapped_as_memory() {
    let program = Program::new();
    let (caller, mm) = (program.caller(), program.thread.process.mm());
    let open = |flags: u64| {
        let path = program.text("/dev/zero");
        now(sys_openat(&caller, [AT_FDCWD, path, flags, 0, 0, 0])).unwrap()
    };
    let (both, reader) = (open(u64::from(O_RDWR)), open(0));
    for kind in [map::PRIVATE, map::SHARED] {
        let at = now(sys_mmap(&caller, [0, PAGE, READ_WRITE, kind, both, 0])).unwrap();
        mm.write(at, b"x").unwrap();
        assert_eq!(program.bytes(at, 2), b"x\0");
    }
    assert_eq!(fails(now(sys_mmap(&caller, [0, PAGE, READ_WRITE, map::SHARED, reader, 0]))), Errno::EACCES);
    now(sys_mmap(&caller, [0, PAGE, READ_WRITE, map::PRIVATE, reader, 0])).unwrap();
    let shared = now(sys_mmap(&caller, [0, PAGE, prot::READ, map::SHARED, reader, 0])).unwrap();
    assert_eq!(fails(sys_mprotect(&caller, [shared, PAGE, READ_WRITE, 0, 0, 0])), Errno::EACCES);
    let own = now(sys_mmap(&caller, [0, PAGE, prot::READ, map::PRIVATE, reader, 0])).unwrap();
    assert_eq!(sys_mprotect(&caller, [own, PAGE, READ_WRITE, 0, 0, 0]), Ok(0));
}

#[test]
fn locked_memory_is_limited_but_for_root() {
    let program = Program::new();
    let (caller, process) = (program.caller(), &program.thread.process);
    let flags = map::PRIVATE | map::ANONYMOUS;
    let at = now(sys_mmap(&caller, [0, 4 * PAGE, READ_WRITE, flags, u64::MAX, 0])).unwrap();
    process.limits.lock().0[crate::limits::MEMLOCK] = crate::limits::Limit::both(PAGE);
    process.ids.lock().user.effective = 1000;
    process.limits_changed(&process.limits.lock().clone());
    assert_eq!(fails(sys_mlock(&caller, [at, 4 * PAGE, 0, 0, 0, 0])), Errno::ENOMEM);
    assert_eq!(sys_mlock(&caller, [at, PAGE, 0, 0, 0, 0]), Ok(0));
    let become_user = |id: u64| {
        let keep = u64::from(u32::MAX);
        assert_eq!(now(crate::syscalls::identity::change(&caller, 117, [keep, id, keep, 0, 0, 0])), Ok(0));
    };
    become_user(0);
    assert_eq!(sys_mlock(&caller, [at, 4 * PAGE, 0, 0, 0, 0]), Ok(0));
    assert_eq!(process.mm().usage().locked, 4 * PAGE);
    assert_eq!(sys_munlock(&caller, [at, 4 * PAGE, 0, 0, 0, 0]), Ok(0));
    become_user(1000);
    assert_eq!(fails(sys_mlock(&caller, [at, 4 * PAGE, 0, 0, 0, 0])), Errno::ENOMEM);
}

#[test]
fn a_child_has_one_handle_for_a_file_that_is_open_and_mapped() {
    let program = Program::new();
    let (caller, mm) = (program.caller(), program.thread.process.mm());
    program.host.file("/tmp/a", b"text");
    let fd = open(&program, "/tmp/a");
    let at = now(sys_mmap(&caller, [0, PAGE, prot::READ, map::PRIVATE, fd, 0])).unwrap();
    let parent = program.thread.process.delegate.clone();
    let child: Arc<dyn crate::delegate::Delegate> = Arc::new(program.host.clone());
    let table = program.files().fork(&parent, &child, || false).unwrap();
    mm.follow(&parent, &child, table.open_files().unwrap());
    assert_eq!(now(sys_munmap(&caller, [at, PAGE, 0, 0, 0, 0])), Ok(0));
    program.system.memory.rest();
    assert_eq!(program.host.closed(), [], "both processes have it open");
    drop(table);
    assert_eq!(program.host.closed().len(), 1, "the child is gone");
}

#[test]
fn mappings_have_the_names_of_files_rather_than_of_links() {
    let program = Program::new();
    let caller = program.caller();
    program.host.file("/tmp/link.so", &[1; 100]);
    program.host.lies_at("/tmp/link.so", "/usr/lib/file.so.1");
    let path = program.text("/tmp/link.so");
    let fd = now(sys_openat(&caller, [AT_FDCWD, path, 0, 0, 0, 0])).unwrap();
    program.host.numbers();
    for bits in [prot::READ, prot::READ | prot::EXEC] {
        let at = now(sys_mmap(&caller, [0, 100, bits, map::PRIVATE, fd, 0])).unwrap();
        let area = caller.mm().area(at).unwrap();
        assert_eq!(area.path.as_deref(), Some(&b"/usr/lib/file.so.1"[..]));
    }
    // Once for all mappings of an open file, with what is asked then anyway.
    assert_eq!(program.host.numbers(), [5, keelson_lwk_wire::calls::PATH_OF]);
}
