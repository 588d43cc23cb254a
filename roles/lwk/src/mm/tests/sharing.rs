//! Fork, copy on write, shared memory, System V segments, NUMA.

use super::*;
use crate::sysv::{User, ipc};

fn cow() -> Arc<Mm> {
    mm_with(|settings| settings.duplicate = Duplicate::CopyOnWrite).0
}

fn byte(mm: &Mm, at: u64) -> u8 {
    let mut byte = [0];
    mm.read(at, &mut byte).unwrap();
    byte[0]
}

#[test]
fn an_eager_child_has_no_faults_and_its_own_memory() {
    let mm = mm();
    let at = mm.mmap(&anonymous(0, 2 * MIB, RW, ANON)).unwrap();
    mm.write(at, b"a").unwrap();
    let child = mm.fork().unwrap();
    assert_eq!(child.space().find(at).unwrap().size, PageSize::Large);
    assert!(child.space().find(at).unwrap().protection.write);
    child.write(at, b"b").unwrap();
    assert_eq!((byte(&mm, at), byte(&child, at)), (b'a', b'b'));
    assert_eq!(pool().used(), 4 * MIB);
}

#[test]
fn copy_on_write_copies_once_and_only_while_somebody_else_has_the_page() {
    let mm = cow();
    let at = mm.mmap(&anonymous(0, 2 * MIB, RW, ANON)).unwrap();
    mm.write(at, b"a").unwrap();
    let child = mm.fork().unwrap();
    assert_eq!(pool().used(), 2 * MIB);
    child.write(at, b"b").unwrap();
    assert_eq!((byte(&mm, at), byte(&child, at)), (b'a', b'b'));
    assert_eq!(pool().used(), 4 * MIB);
    let frame = mm.space().find(at).unwrap().frame;
    mm.write(at, b"c").unwrap();
    assert_eq!(mm.space().find(at).unwrap().frame, frame, "the last owner keeps it");
    assert_eq!((byte(&mm, at), byte(&child, at)), (b'c', b'b'));
    drop(child);
    assert_eq!(pool().used(), 2 * MIB);
}

#[test]
fn a_large_page_is_copied_while_somebody_else_has_a_part_of_it() {
    let mm = cow();
    let at = mm.mmap(&anonymous(0, 2 * MIB, RW, ANON)).unwrap();
    mm.write(at + 4096, b"a").unwrap();
    let child = mm.fork().unwrap();
    // The first part is only the child's now, all others belong to both.
    mm.munmap(at, 4096).unwrap();
    child.write(at + 4096, b"b").unwrap();
    assert_eq!((byte(&mm, at + 4096), byte(&child, at + 4096)), (b'a', b'b'));
    mm.munmap(at, 2 * MIB).unwrap();
    assert_eq!(pool().used(), 2 * MIB);
}

#[test]
fn without_room_for_a_large_copy_a_small_one_does() {
    let (mm, machine) = mm_with(|settings| settings.duplicate = Duplicate::CopyOnWrite);
    let at = mm.mmap(&anonymous(0, 2 * MIB, RW, ANON)).unwrap();
    let child = mm.fork().unwrap();
    machine.limit.store(2 * MIB + 4096, Ordering::Relaxed);
    child.write(at + 4096, b"b").unwrap();
    assert_eq!((byte(&mm, at + 4096), byte(&child, at + 4096)), (0, b'b'));
    assert_eq!(child.write(at, b"b"), Err(Errno::ENOMEM));
}

#[test]
fn advice_for_forks_is_followed() {
    let mm = mm();
    let gone = mm.mmap(&anonymous(0, 4096, RW, ANON)).unwrap();
    let wiped = mm.mmap(&anonymous(0, 4096, RW, ANON)).unwrap();
    mm.write(wiped, b"a").unwrap();
    mm.madvise(gone, 4096, madv::DONTFORK).unwrap();
    mm.madvise(wiped, 4096, madv::WIPEONFORK).unwrap();
    let child = mm.fork().unwrap();
    assert_eq!(child.read(gone, &mut [0]), Err(Errno::EFAULT));
    assert_eq!((byte(&mm, wiped), byte(&child, wiped)), (b'a', 0));
    assert_eq!(mm.madvise(gone, 4096, 12), Err(Errno::EINVAL));
    assert_eq!(mm.madvise(gone, 4096, 100), Err(Errno::EINVAL));
}

#[test]
fn shared_memory_is_large_and_the_same_in_a_child() {
    let mm = mm();
    let at = mm.mmap(&anonymous(0, 4 * MIB, RW, map::SHARED | map::ANONYMOUS)).unwrap();
    mm.write(at + MIB, b"a").unwrap();
    assert_eq!(sizes(&mm, at), (0, 2 * MIB, 0));
    let child = mm.fork().unwrap();
    child.write(at + MIB, b"b").unwrap();
    child.write(at + 3 * MIB, b"c").unwrap();
    assert_eq!((byte(&mm, at + MIB), byte(&mm, at + 3 * MIB)), (b'b', b'c'));
    assert_eq!(pool().used(), 4 * MIB);
    // A move to where large pages do not fit takes them apart.
    let to = 0x5000_0000_1000;
    let beyond = u64::MAX - 0x1fff;
    assert_eq!(mm.mremap(at, beyond, beyond, 3, to, 0), Err(Errno::EINVAL), "no such place");
    assert_eq!(mm.mremap(at, 4 * MIB, 4 * MIB, 3, to, 0), Ok(to));
    assert_eq!(byte(&mm, to + MIB), b'b');
    mm.write(to + MIB, b"d").unwrap();
    assert_eq!(byte(&child, at + MIB), b'd');
    mm.madvise(to, 4 * MIB, madv::REMOVE).unwrap();
    assert_eq!(byte(&child, at + MIB), 0);
}

#[test]
fn segments_are_found_attached_and_removed() {
    let mm = mm();
    let memory = mm.system().memory.clone();
    let machine = mm.system().machine.clone();
    let user = User { pid: 1, uid: 1000, gid: 100, now: 5 };
    let stranger = User { uid: 1, gid: 1, ..user };
    let get = |key, size, flags| memory.shmget(&machine, key, size, flags, &user);
    assert_eq!(get(7, 4096, 0o600), Err(Errno::ENOENT));
    let id = get(7, 5000, ipc::IPC_CREAT | 0o600).unwrap();
    assert_eq!(get(7, 4096, 0o600), Ok(id));
    assert_eq!(get(7, 5001, 0o600), Err(Errno::EINVAL));
    assert_eq!(get(7, 1, ipc::IPC_CREAT | ipc::IPC_EXCL), Err(Errno::EEXIST));
    assert_eq!(get(8, 0, ipc::IPC_CREAT), Err(Errno::EINVAL));
    assert_eq!(memory.shmget(&machine, 7, 1, 0o600, &stranger), Err(Errno::EACCES));
    assert_eq!(mm.shmat(id, 0, 0, &stranger, 0), Err(Errno::EACCES));

    let at = mm.shmat(id, 0, 0, &user, 0).unwrap();
    let again = mm.shmat(id, 0, ipc::RDONLY, &user, 0).unwrap();
    mm.write(at + 8000, b"a").unwrap();
    assert_eq!(byte(&mm, again + 8000), b'a');
    assert_eq!(mm.write(again, b"x"), Err(Errno::EFAULT));
    let child = mm.fork().unwrap();
    assert_eq!(memory.shm_stat(id, &user).unwrap().1.attached, 4);
    mm.shmdt(at, &user).unwrap();
    assert_eq!(mm.shmdt(at, &user), Err(Errno::EINVAL));
    assert_eq!(memory.shm_stat(id, &user).unwrap().1.attached, 3);
    assert_eq!(memory.shm_remove(id, &stranger), Err(Errno::EPERM));
    memory.shm_remove(id, &user).unwrap();
    assert_eq!(get(7, 1, 0o600), Err(Errno::ENOENT));
    assert!(memory.shm_stat(id, &user).unwrap().0.mode & ipc::DEST != 0);
    drop(mm);
    assert_eq!(byte(&child, at + 8000), b'a');
    drop(child);
    assert_eq!(memory.shm_stat(id, &user), Err(Errno::EINVAL));
    assert_eq!(pool().used(), 0);
}

/// remap_file_pages(2) of the last attach of a removed segment: there is nothing left to show.
#[test]
fn a_removed_segment_is_not_shown_again() {
    let mm = mm();
    let (memory, machine) = (mm.system().memory.clone(), mm.system().machine.clone());
    let user = User { pid: 1, uid: 1000, gid: 100, now: 5 };
    let id = memory.shmget(&machine, 0, 8192, 0o600, &user).unwrap();
    let at = mm.shmat(id, 0, 0, &user, 0).unwrap();
    assert_eq!(mm.remap_file_pages(at, 8192, 0, 0, 0), Ok(()));
    assert_eq!(memory.shm_stat(id, &user).unwrap().1.attached, 1);
    memory.shm_remove(id, &user).unwrap();
    // The other page is still shown.
    assert_eq!(mm.remap_file_pages(at, 4096, 0, 1, 0), Ok(()));
    assert_eq!(memory.shm_stat(id, &user).unwrap().1.attached, 1);
    mm.munmap(at + 4096, 4096).unwrap();
    assert_eq!(mm.remap_file_pages(at, 4096, 0, 0, 0), Err(Errno::EINVAL));
    assert!(mm.area(at).is_none() && memory.shm_stat(id, &user).is_err());
    assert_eq!(pool().used(), 0);
}

#[test]
fn segments_have_a_limit_and_may_go_with_their_creator() {
    let (system, ..) = system();
    let memory = NodeMemory::with_shm(ShmSettings { most: Some(3 * MIB), forced: true });
    let user = |pid| User { pid, uid: 1000, gid: 100, now: 5 };
    let get = |pid, size| memory.shmget(&system.machine, 0, size, 0o600, &user(pid));
    let (one, other) = (get(1, 2 * MIB).unwrap(), get(2, MIB).unwrap());
    assert_eq!(get(1, 1), Err(Errno::ENOSPC));
    // By index, which is all that Linux looks at here.
    assert_eq!(memory.shm_stat_at(other, None).map(|(id, ..)| id), Ok(other));
    assert_eq!(memory.shm_all().map(|segment| segment.id).collect::<Vec<_>>(), [one, other]);
    memory.shm_creator_ended(1);
    assert_eq!(memory.shm_all().count(), 1);
    assert!(get(3, 2 * MIB).is_ok());
}

#[test]
fn policies_are_kept_and_told() {
    let mm = mm();
    let at = mm.mmap(&anonymous(0, 4 * MIB, RW, ANON | map::NORESERVE)).unwrap();
    let bind = Policy::new(2, 0b10, 0b11).unwrap();
    mm.mbind(at, 2 * MIB, bind, 0).unwrap();
    assert_eq!(mm.areas().count(), 2);
    let told = mm.get_policy(at, mpol::F_ADDR, 0).unwrap();
    assert_eq!((told.mode, told.nodes), (2, 0b10));
    assert_eq!(mm.get_policy(at + 2 * MIB, mpol::F_ADDR, 0).unwrap(), PolicyAnswer::default());
    assert_eq!(mm.get_policy(at, mpol::F_ADDR | mpol::F_NODE, 0).unwrap().mode, 1);
    assert_eq!(mm.get_policy(0, mpol::F_MEMS_ALLOWED, 0).unwrap().nodes, 0b11);
    assert_eq!(mm.get_policy(1, 0, 0), Err(Errno::EINVAL));
    mm.set_home_node(at, 2 * MIB, 1).unwrap();
    assert_eq!(mm.set_home_node(at + 2 * MIB, MIB, 1), Err(Errno::ENOENT));
    assert_eq!(mm.mbind(at, 64 * MIB, bind, 0), Err(Errno::EFAULT));
    mm.set_policy(Policy::new(3, 0b11, 0b11).unwrap());
    assert_eq!(mm.fork().unwrap().policy().mode, Mode::Interleave);
}
