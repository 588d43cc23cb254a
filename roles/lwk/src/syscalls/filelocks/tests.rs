use super::*;
use crate::files::FdFlags;
use crate::syscalls::dispatch;
use crate::testing::programs::{MEMORY, MEMORY_BYTES, Program, fails, now, once};
use crate::thread::Attention;
use core::pin::pin;
use core::task::Poll;
use std::sync::atomic::Ordering;

const R: i16 = F_RDLCK;
const W: i16 = F_WRLCK;
const U: i16 = F_UNLCK;
const OK: Result<u64, Errno> = Ok(0);
const AGAIN: Result<u64, Errno> = Err(Errno::EAGAIN);

fn call(program: &Program, number: u32, args: [u64; 3]) -> Result<u64, Errno> {
    now(dispatch(&program.caller(), number, [args[0], args[1], args[2], 0, 0, 0]))
}

fn open(program: &Program, flags: u32) -> u64 {
    let path = program.text("/dev/shm/locks");
    call(program, 2, [path, flags.into(), 0o600]).unwrap()
}

fn close(program: &Program, fd: u64) {
    assert_eq!(call(program, 3, [fd, 0, 0]), OK);
}

/// Puts a `struct flock`; where.
fn flock(program: &Program, kind: i16, whence: u32, start: i64, len: i64, pid: i32) -> u64 {
    program.put(&Flock { kind, whence: whence as i16, start, len, pid }.to_bytes())
}

fn lock(program: &Program, fd: u64, command: u32, kind: i16, start: i64, len: i64) -> Result<u64, Errno> {
    let at = flock(program, kind, SEEK_SET, start, len, 0);
    call(program, 72, [fd, command.into(), at])
}

/// F_SETLK of one byte.
fn byte(program: &Program, fd: u64, kind: i16, at: i64) -> Result<u64, Errno> {
    lock(program, fd, F_SETLK, kind, at, 1)
}

/// What F_GETLK says.
fn get(
    program: &Program,
    fd: u64,
    command: u32,
    kind: i16,
    start: i64,
    len: i64,
) -> (i16, i16, i64, i64, i32) {
    let at = flock(program, kind, SEEK_CUR, start, len, 0);
    assert_eq!(call(program, 72, [fd, command.into(), at]), OK);
    let found = Flock::read(&program.bytes(at, 32)).unwrap();
    (found.kind, found.whence, found.start, found.len, found.pid)
}

fn whole(program: &Program, fd: u64, operation: u32) -> Result<u64, Errno> {
    call(program, 73, [fd, operation.into(), 0])
}

#[test]
fn processes_exclude_each_other() {
    let program = Program::new();
    let fd = open(&program, O_RDWR | O_CREAT);
    assert_eq!(lock(&program, fd, F_SETLK, W, 10, 10), OK);
    let child = program.child(101);
    assert_eq!(byte(&child, fd, R, 9), OK);
    assert_eq!(byte(&child, fd, R, 10), AGAIN);
    assert_eq!(byte(&child, fd, W, 19), AGAIN);
    assert_eq!(byte(&child, fd, W, 20), OK);
    assert_eq!(get(&child, fd, F_GETLK, R, 15, 0), (W, 0, 10, 10, 100));
    assert_eq!(get(&child, fd, F_GETLK, W, 30, 5), (U, 1, 30, 5, 0), "only the type is changed");
    // Writers become readers, and others may read.
    assert_eq!(lock(&program, fd, F_SETLK, R, 15, 0), AGAIN);
    assert_eq!(lock(&program, fd, F_SETLK, R, 15, 3), OK);
    assert_eq!(byte(&child, fd, R, 16), OK);
    assert_eq!(byte(&program, fd, W, 16), AGAIN);
    assert_eq!(byte(&child, fd, R, 14), AGAIN);
    assert_eq!(lock(&program, fd, F_SETLK, U, 0, 0), OK);
    assert_eq!(lock(&child, fd, F_SETLK, W, 0, 0), OK);
    assert_eq!(get(&program, fd, F_GETLK, R, 0, 0), (W, 0, 0, 0, 101));
}

#[test]
fn ranges_are_counted_from_where_the_program_says() {
    let program = Program::new();
    let fd = open(&program, O_RDWR | O_CREAT);
    let child = program.child(101);
    assert_eq!(call(&program, 77, [fd, 100, 0]), OK);
    assert_eq!(call(&program, 8, [fd, 40, 0]), Ok(40));
    let locked = |whence, start, len| {
        let at = flock(&program, W, whence, start, len, 0);
        call(&program, 72, [fd, F_SETLK.into(), at])?;
        let found = get(&child, fd, F_GETLK, R, -40, 0);
        assert_eq!(lock(&program, fd, F_SETLK, U, 0, 0), OK);
        Ok((found.2, found.3))
    };
    assert_eq!(locked(SEEK_SET, 5, 5), Ok((5, 5)));
    assert_eq!(locked(SEEK_CUR, -5, 10), Ok((35, 10)));
    assert_eq!(locked(SEEK_END, 1, 0), Ok((101, 0)));
    assert_eq!(locked(SEEK_END, 0, -10), Ok((90, 10)));
    assert_eq!(locked(SEEK_SET, i64::MAX, 1), Ok((i64::MAX, 0)), "the last byte");
    assert_eq!(locked(SEEK_SET, 1, i64::MAX), Ok((1, 0)));
    assert_eq!(locked(SEEK_SET, 2, i64::MAX), Err(Errno::EOVERFLOW));
    assert_eq!(locked(SEEK_END, i64::MAX, 0), Err(Errno::EOVERFLOW));
    assert_eq!(locked(SEEK_SET, -1, 5), Err(Errno::EINVAL));
    assert_eq!(locked(SEEK_CUR, -41, 5), Err(Errno::EINVAL));
    assert_eq!(locked(SEEK_SET, 5, -6), Err(Errno::EINVAL));
    assert_eq!(locked(SEEK_SET, 0, i64::MIN), Err(Errno::EINVAL));
    assert_eq!(locked(SEEK_DATA, 0, 1), Err(Errno::EINVAL));
}

#[test]
fn what_is_refused() {
    let program = Program::new();
    let fd = open(&program, O_RDWR | O_CREAT);
    let (reader, writer) = (open(&program, O_RDONLY), open(&program, O_WRONLY));
    assert_eq!(byte(&program, reader, W, 0), Err(Errno::EBADF));
    assert_eq!(byte(&program, writer, R, 0), Err(Errno::EBADF));
    assert_eq!(byte(&program, reader, R, 0), OK);
    assert_eq!(byte(&program, writer, U, 0), OK);
    assert_eq!(get(&program, reader, F_GETLK, W, 0, 1).0, U);
    assert_eq!(byte(&program, fd, 3, 0), Err(Errno::EINVAL));
    assert_eq!(lock(&program, fd, F_GETLK, U, 0, 1), Err(Errno::EINVAL));
    assert_eq!(byte(&program, 77, R, 0), Err(Errno::EBADF));
    assert_eq!(call(&program, 72, [fd, F_SETLK.into(), MEMORY + MEMORY_BYTES - 8]), Err(Errno::EFAULT));
    let path = open(&program, O_PATH);
    assert_eq!(byte(&program, path, R, 0), Err(Errno::EBADF));
    assert_eq!(whole(&program, path, LOCK_SH), Err(Errno::EBADF));
    for operation in [0, LOCK_NB, LOCK_SH | LOCK_EX, 64] {
        assert_eq!(whole(&program, fd, operation), Err(Errno::EINVAL));
    }
    for command in [F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW] {
        let at = flock(&program, R, SEEK_SET, 0, 1, 100);
        assert_eq!(call(&program, 72, [fd, command.into(), at]), Err(Errno::EINVAL));
    }
    // Other files of the node have none.
    let null = call(&program, 2, [program.text("/dev/null"), 2, 0]).unwrap();
    assert_eq!(byte(&program, null, R, 0), Err(Errno::EINVAL));
    assert_eq!(whole(&program, null, LOCK_SH), Err(Errno::ENOLCK));
}

/// Only more locks need memory.
#[test]
fn a_node_without_memory_keeps_no_more_locks() {
    let program = Program::new();
    let fd = open(&program, O_RDWR | O_CREAT);
    assert_eq!(lock(&program, fd, F_SETLK, W, 0, 10), OK);
    program.machine.short.store(true, Ordering::Relaxed);
    assert_eq!(byte(&program, fd, W, 20), Err(Errno::ENOLCK));
    assert_eq!(byte(&program, fd, U, 5), Err(Errno::ENOLCK));
    assert_eq!(whole(&program, fd, LOCK_SH), Err(Errno::ENOLCK));
    assert_eq!(byte(&program, fd, W, 10), OK);
    assert_eq!(lock(&program, fd, F_SETLK, R, 0, 11), OK);
    assert_eq!(lock(&program, fd, F_SETLK, U, 0, 0), OK);
}

#[test]
fn any_number_that_is_closed_ends_the_process_locks() {
    let program = Program::new();
    let fd = open(&program, O_RDWR | O_CREAT);
    let child = program.child(101);
    let ends = |close: &dyn Fn(u64)| {
        let other = open(&program, O_RDONLY);
        assert_eq!(byte(&program, fd, W, 0), OK);
        assert_eq!(byte(&child, fd, W, 0), AGAIN);
        close(other);
        let ended = byte(&child, fd, W, 0);
        assert_eq!(byte(&child, fd, U, 0), OK);
        assert_eq!(byte(&program, fd, U, 0), OK);
        ended == OK
    };
    assert!(ends(&|other| close(&program, other)));
    let null = call(&program, 2, [program.text("/dev/null"), 2, 0]).unwrap();
    assert!(ends(&|other| assert_eq!(call(&program, 33, [null, other, 0]), Ok(other))));
    assert!(ends(&|other| assert_eq!(call(&program, 436, [other, other, 0]), OK)));
    assert!(ends(&|other| {
        program.files().set_flags(other as u32, FdFlags { close_on_exec: true }).unwrap();
        program.files().close_on_exec(100);
    }));
    assert!(ends(&|_| program.files().closed_by(100)));
    assert!(!ends(&|_| close(&program, open(&program, O_PATH))));
    assert!(!ends(&|_| close(&program, call(&program, 319, [program.text("x"), 0, 0]).unwrap())));
    assert!(!ends(&|_| close(&child, call(&child, 32, [fd, 0, 0]).unwrap())), "it is not the child's");
}

#[test]
fn the_end_of_a_process_ends_its_locks() {
    let program = Program::new();
    let fd = open(&program, O_RDWR | O_CREAT);
    let child = program.child(101);
    assert_eq!(byte(&child, fd, W, 0), OK);
    assert_eq!(lock(&child, fd, F_OFD_SETLK, W, 5, 1), OK);
    assert_eq!(byte(&program, fd, R, 0), AGAIN);
    child.thread.process.release_files();
    assert_eq!(byte(&program, fd, R, 0), OK);
    assert_eq!(byte(&program, fd, R, 5), AGAIN, "the description is there still");
    close(&program, fd);
    assert_eq!(byte(&program, open(&program, O_RDWR), W, 5), OK);
}

#[test]
fn descriptions_have_locks_of_their_own() {
    let program = Program::new();
    let fd = open(&program, O_RDWR | O_CREAT);
    let other = open(&program, O_RDWR);
    assert_eq!(lock(&program, fd, F_OFD_SETLK, W, 0, 10), OK);
    assert_eq!(lock(&program, other, F_OFD_SETLK, R, 5, 1), AGAIN);
    assert_eq!(byte(&program, fd, R, 5), AGAIN, "the process is another owner");
    assert_eq!(get(&program, fd, F_GETLK, R, 5, 1), (W, 0, 0, 10, -1));
    assert_eq!(get(&program, fd, F_OFD_GETLK, R, 5, 1).0, U);
    assert_eq!(get(&program, other, F_OFD_GETLK, R, 5, 1), (W, 0, 0, 10, -1));
    // Whoever shares it has the locks, and the last one ends them.
    let child = program.child(101);
    assert_eq!(lock(&child, fd, F_OFD_SETLK, R, 0, 10), OK);
    assert_eq!(lock(&program, other, F_OFD_SETLK, R, 5, 1), OK);
    assert_eq!(lock(&program, other, F_OFD_SETLK, W, 5, 1), AGAIN);
    let twin = call(&program, 32, [fd, 0, 0]).unwrap();
    close(&program, fd);
    close(&program, twin);
    assert_eq!(lock(&program, other, F_OFD_SETLK, W, 5, 1), AGAIN);
    close(&child, fd);
    assert_eq!(lock(&program, other, F_OFD_SETLK, W, 5, 1), OK);
}

#[test]
fn whole_files_are_locked_for_their_descriptions() {
    let program = Program::new();
    let fd = open(&program, O_RDONLY | O_CREAT);
    let other = open(&program, O_RDONLY);
    assert_eq!(whole(&program, fd, LOCK_SH), OK);
    assert_eq!(whole(&program, other, LOCK_SH | LOCK_NB), OK);
    assert_eq!(whole(&program, other, LOCK_EX | LOCK_NB), AGAIN);
    // It has lost what it had (flock(2), "not guaranteed to be atomic").
    assert_eq!(whole(&program, fd, LOCK_EX | LOCK_NB), OK);
    assert_eq!(whole(&program, other, LOCK_SH | LOCK_NB), AGAIN);
    let child = program.child(101);
    assert_eq!(whole(&child, fd, LOCK_EX | LOCK_NB), OK, "shared");
    // The two kinds do not see each other.
    assert_eq!(byte(&child, fd, R, 0), OK);
    assert_eq!(lock(&program, fd, F_SETLK, U, 0, 0), OK);
    assert_eq!(whole(&program, other, LOCK_EX | LOCK_NB), AGAIN);
    close(&program, fd);
    assert_eq!(whole(&program, other, LOCK_EX | LOCK_NB), AGAIN);
    assert_eq!(whole(&child, fd, LOCK_UN), OK);
    assert_eq!(whole(&program, other, LOCK_EX | LOCK_NB), OK);
    assert_eq!(whole(&child, fd, LOCK_SH | LOCK_NB), AGAIN);
    close(&program, other);
    assert_eq!(whole(&child, other, LOCK_UN), OK);
    assert_eq!(whole(&child, fd, LOCK_SH | LOCK_NB), OK);
}

#[test]
fn waits_end_with_the_lock_or_a_signal() {
    let program = Program::new();
    let fd = open(&program, O_RDWR | O_CREAT);
    let child = program.child(101);
    let other = open(&child, O_RDWR);
    let caller = child.caller();
    let at = flock(&child, W, SEEK_SET, 3, 1, 0);
    let record = |command: u32| dispatch(&caller, 72, [other, command.into(), at, 0, 0, 0]);
    for command in [F_SETLKW, F_OFD_SETLKW] {
        assert_eq!(lock(&program, fd, F_SETLK, W, 0, 10), OK);
        let mut waits = pin!(record(command));
        assert_eq!(once(waits.as_mut()), Poll::Pending);
        assert_eq!(lock(&program, fd, F_SETLK, U, 5, 1), OK);
        assert_eq!(once(waits.as_mut()), Poll::Pending);
        child.thread.demand(Attention::END);
        assert_eq!(once(waits.as_mut()), Poll::Ready(Err(RESTART)));
        child.thread.settled(Attention::END);
        let mut waits = pin!(record(command));
        assert_eq!(once(waits.as_mut()), Poll::Pending);
        assert_eq!(lock(&program, fd, F_SETLK, U, 0, 0), OK);
        assert_eq!(once(waits.as_mut()), Poll::Ready(OK));
        assert_eq!(byte(&program, fd, W, 3), AGAIN);
        assert_eq!(lock(&child, other, command, U, 0, 0), OK);
    }
    assert_eq!(whole(&program, fd, LOCK_SH), OK);
    let mut waits = pin!(dispatch(&caller, 73, [other, LOCK_EX.into(), 0, 0, 0, 0]));
    assert_eq!(once(waits.as_mut()), Poll::Pending);
    child.thread.demand(Attention::END);
    assert_eq!(once(waits.as_mut()), Poll::Ready(Err(RESTART)));
    child.thread.settled(Attention::END);
    let mut waits = pin!(dispatch(&caller, 73, [other, LOCK_EX.into(), 0, 0, 0, 0]));
    assert_eq!(once(waits.as_mut()), Poll::Pending);
    assert_eq!(whole(&program, fd, LOCK_UN), OK);
    assert_eq!(once(waits.as_mut()), Poll::Ready(OK));
}

#[test]
fn a_number_that_was_closed_meanwhile_gets_no_lock() {
    let program = Program::new();
    let fd = open(&program, O_RDWR | O_CREAT);
    let child = program.child(101);
    assert_eq!(byte(&program, fd, W, 0), OK);
    let other = open(&child, O_RDWR);
    let at = flock(&child, W, SEEK_SET, 0, 1, 0);
    let caller = child.caller();
    let mut waits = pin!(dispatch(&caller, 72, [other, F_SETLKW.into(), at, 0, 0, 0]));
    assert_eq!(once(waits.as_mut()), Poll::Pending);
    close(&child, other);
    assert_eq!(byte(&program, fd, U, 0), OK);
    assert_eq!(once(waits.as_mut()).map(fails), Poll::Ready(Errno::EBADF));
    assert_eq!(byte(&program, fd, W, 0), OK);
}
