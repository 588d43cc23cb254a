//! Locks of files in memory between processes (fcntl(2), flock(2)).

use super::*;
use crate::signals::SA_RESTART;

const SETLK: u64 = 6;
const SETLKW: u64 = 7;
const OFD_SETLK: u64 = 37;
const READ: u64 = 0;
const WRITE: u64 = 1;
const UNLOCK: u64 = 2;
const EINTR: i64 = -4;
const EAGAIN: i64 = -11;
const EDEADLK: i64 = -35;

/// Opens the file that all of a test lock, to be read and written.
fn open(cpu: &mut Cpu, flags: u64) -> u64 {
    cpu.write(DATA + 0x100, b"/dev/shm/locks\0");
    cpu.call(2, &[DATA + 0x100, flags | 0o102, 0o600]) as u64
}

/// fcntl(2) for one byte.
fn lock(cpu: &mut Cpu, fd: u64, command: u64, kind: u64, byte: u64) -> i64 {
    cpu.put(DATA + 0x200, &[kind, byte, 1, 0]);
    cpu.call(72, &[fd, command, DATA + 0x200])
}

fn nap(cpu: &mut Cpu, millis: u64) {
    cpu.put(DATA + 0x300, &[0, millis * 1_000_000]);
    assert_eq!(cpu.call(35, &[DATA + 0x300, 0]), 0);
}

/// Waits for a child; its status.
fn wait(cpu: &mut Cpu, pid: i64) -> u32 {
    assert_eq!(cpu.call(61, &[pid as u64, DATA + 0x400, 0, 0]), pid);
    cpu.half(DATA + 0x400)
}

fn fork(cpu: &mut Cpu, child: impl FnOnce(&mut Cpu) + Send + 'static) -> i64 {
    let pid = cpu.spawn(57, &[], child);
    assert!(pid > 0);
    pid
}

#[test]
fn a_child_waits_until_its_parent_unlocks() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        let fd = open(cpu, 0);
        assert_eq!(lock(cpu, fd, SETLK, WRITE, 5), 0);
        let child = fork(cpu, move |cpu| {
            assert_eq!(lock(cpu, fd, SETLK, READ, 5), EAGAIN, "not inherited");
            assert_eq!(lock(cpu, fd, SETLKW, READ, 5), 0);
            cpu.exit_group(3);
        });
        nap(cpu, 100);
        assert_eq!(cpu.call(61, &[child as u64, 0, 1, 0]), 0, "it waits");
        assert_eq!(lock(cpu, fd, SETLK, UNLOCK, 5), 0);
        assert_eq!(wait(cpu, child), 3 << 8);
        assert_eq!(lock(cpu, fd, SETLK, WRITE, 5), 0, "its end gave the lock back");
    });
    assert_eq!(status, 0);
}

#[test]
fn the_killed_leave_no_locks() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        let (fd, other) = (open(cpu, 0), open(cpu, 0));
        let child = fork(cpu, move |cpu| {
            let own = open(cpu, 0);
            assert_eq!(lock(cpu, own, SETLK, WRITE, 5), 0);
            assert_eq!(lock(cpu, own, OFD_SETLK, WRITE, 6), 0);
            assert_eq!(lock(cpu, fd, OFD_SETLK, WRITE, 7), 0);
            assert_eq!(cpu.call(73, &[own, 2]), 0);
            cpu.call(34, &[]);
        });
        nap(cpu, 100);
        for byte in 5..8 {
            assert_eq!(lock(cpu, other, OFD_SETLK, READ, byte), EAGAIN);
        }
        assert_eq!(cpu.call(73, &[other, 1 | 4]), EAGAIN);
        assert_eq!(cpu.call(62, &[child as u64, 9]), 0);
        assert_eq!(wait(cpu, child), 9);
        assert_eq!(lock(cpu, other, OFD_SETLK, READ, 5), 0);
        assert_eq!(lock(cpu, other, OFD_SETLK, READ, 6), 0);
        assert_eq!(lock(cpu, other, OFD_SETLK, READ, 7), EAGAIN, "its description is open here");
        assert_eq!(cpu.call(3, &[fd]), 0);
        assert_eq!(lock(cpu, other, OFD_SETLK, READ, 7), 0);
        assert_eq!(cpu.call(73, &[other, 1 | 4]), 0);
    });
    assert_eq!(status, 0);
}

#[test]
fn exec_keeps_locks_but_for_what_it_closes() {
    let world = World::new(2);
    world.program("/bin/after", |cpu| {
        nap(cpu, 200);
        cpu.exit_group(4);
    });
    let status = world.run_program(|cpu| {
        for (flags, result) in [(0, EAGAIN), (0o2000000, 0)] {
            let child = fork(cpu, move |cpu| {
                let fd = open(cpu, flags);
                assert_eq!(lock(cpu, fd, SETLK, WRITE, 5), 0);
                cpu.write(DATA, b"/bin/after\0");
                cpu.call(59, &[DATA, 0, 0]);
            });
            nap(cpu, 100);
            let fd = open(cpu, 0);
            assert_eq!(lock(cpu, fd, SETLK, READ, 5), result);
            assert_eq!(cpu.call(3, &[fd]), 0);
            assert_eq!(wait(cpu, child), 4 << 8);
        }
    });
    assert_eq!(status, 0);
}

#[test]
fn the_last_of_a_circle_of_processes_is_told() {
    let world = World::new(4);
    let status = world.run_program(|cpu| {
        let fd = open(cpu, 0);
        let children = [0, 1, 2].map(|own| {
            fork(cpu, move |cpu| {
                assert_eq!(lock(cpu, fd, SETLKW, WRITE, own), 0);
                nap(cpu, 100 + own * 100);
                let result = lock(cpu, fd, SETLKW, WRITE, (own + 1) % 3);
                cpu.exit_group(-result as u64);
            })
        });
        let codes = children.map(|child| wait(cpu, child) >> 8);
        assert_eq!(codes, [0, 0, -EDEADLK as u32]);
    });
    assert_eq!(status, 0);
}

#[test]
fn a_signal_ends_a_wait_or_has_it_begin_anew() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        let fd = open(cpu, 0);
        for (flags, result) in [(0, EINTR), (SA_RESTART, 0)] {
            assert_eq!(lock(cpu, fd, SETLK, WRITE, 5), 0);
            let child = fork(cpu, move |cpu| {
                cpu.on_signal(DATA + 0x500, 10, flags, 0, |_, _, _, _| {});
                let result = lock(cpu, fd, SETLKW, WRITE, 5);
                cpu.exit_group(-result as u64);
            });
            nap(cpu, 100);
            assert_eq!(cpu.call(62, &[child as u64, 10]), 0);
            nap(cpu, 100);
            assert_eq!(lock(cpu, fd, SETLK, UNLOCK, 5), 0);
            assert_eq!(wait(cpu, child), (-result as u32) << 8);
        }
    });
    assert_eq!(status, 0);
}
