//! Semaphores and messages as programs use them.

use crate::Errno;
use crate::syscalls::sysv::*;
use crate::testing::programs::{Program, fails, now, once};
use crate::thread::Attention;
use core::pin::pin;
use core::task::Poll;

const CREATE: u64 = 0o1600;
const NOWAIT: u16 = 0o4000;
const UNDO: u16 = 0x1000;

/// `struct sembuf`s in memory.
fn operations(program: &Program, list: &[(u16, i16, u16)]) -> u64 {
    let bytes: Vec<u8> = list
        .iter()
        .flat_map(|(number, by, flags)| [*number, *by as u16, *flags])
        .flat_map(u16::to_le_bytes)
        .collect();
    program.put(&bytes)
}

fn value(program: &Program, id: u64, number: u64) -> u64 {
    sys_semctl(&program.caller(), [id, number, 12, 0, 0, 0]).unwrap()
}

#[test]
fn operations_are_done_together_or_not_at_all() {
    let program = Program::new();
    let caller = program.caller();
    let id = sys_semget(&caller, [4711, 3, CREATE, 0, 0, 0]).unwrap();
    assert_eq!(sys_semget(&caller, [4711, 0, 0, 0, 0, 0]), Ok(id));
    assert_eq!(fails(sys_semget(&caller, [4711, 4, 0, 0, 0, 0])), Errno::EINVAL);
    assert_eq!(fails(sys_semget(&caller, [4711, 3, CREATE | 0o2000, 0, 0, 0])), Errno::EEXIST);
    assert_eq!(fails(sys_semget(&caller, [4712, 3, 0, 0, 0, 0])), Errno::ENOENT);
    assert_eq!(sys_semctl(&caller, [id, 1, 16, 5, 0, 0]), Ok(0));
    let both = operations(&program, &[(1, -2, 0), (0, -1, NOWAIT)]);
    assert_eq!(fails(now(sys_semop(&caller, [id, both, 2, 0, 0, 0]))), Errno::EAGAIN);
    assert_eq!(value(&program, id, 1), 5, "the first one was not done either");
    let fine = operations(&program, &[(0, 1, 0), (1, -2, 0), (0, -1, NOWAIT)]);
    assert_eq!(now(sys_semop(&caller, [id, fine, 3, 0, 0, 0])), Ok(0));
    assert_eq!((value(&program, id, 0), value(&program, id, 1)), (0, 3));
    let beyond = operations(&program, &[(3, 1, 0)]);
    assert_eq!(fails(now(sys_semop(&caller, [id, beyond, 1, 0, 0, 0]))), Errno::EFBIG);
    assert_eq!(fails(now(sys_semop(&caller, [id, fine, 501, 0, 0, 0]))), Errno::E2BIG);
    assert_eq!(fails(now(sys_semop(&caller, [id + 1, fine, 1, 0, 0, 0]))), Errno::EINVAL);
    assert_eq!(fails(sys_semctl(&caller, [id, 1, 16, 32_768, 0, 0])), Errno::ERANGE);
    let all = program.put(&[7u16, 8, 9].map(u16::to_le_bytes).concat());
    assert_eq!(sys_semctl(&caller, [id, 0, 17, all, 0, 0]), Ok(0));
    assert_eq!(value(&program, id, 2), 9);
    let stat = program.room(104);
    assert_eq!(sys_semctl(&caller, [id, 0, 2, stat, 0, 0]), Ok(0));
    assert_eq!(program.bytes(stat, 104)[..4], 4711u32.to_le_bytes());
    assert_eq!(program.bytes(stat, 104)[80..88], 3u64.to_le_bytes());
}

#[test]
fn a_waiter_goes_on_when_another_gives_and_leaves_at_a_signal() {
    let program = Program::new();
    let caller = program.caller();
    let id = sys_semget(&caller, [0, 1, CREATE, 0, 0, 0]).unwrap();
    let (take, give) = (operations(&program, &[(0, -2, 0)]), operations(&program, &[(0, 1, 0)]));
    {
        let mut waits = pin!(sys_semop(&caller, [id, take, 1, 0, 0, 0]));
        assert_eq!(once(waits.as_mut()), Poll::Pending);
        assert_eq!(sys_semctl(&caller, [id, 0, 14, 0, 0, 0]), Ok(1), "GETNCNT");
        assert_eq!(now(sys_semop(&caller, [id, give, 1, 0, 0, 0])), Ok(0));
        assert_eq!(once(waits.as_mut()), Poll::Pending, "one is not enough");
        assert_eq!(now(sys_semop(&caller, [id, give, 1, 0, 0, 0])), Ok(0));
        assert_eq!(once(waits.as_mut()), Poll::Ready(Ok(0)));
        assert_eq!(sys_semctl(&caller, [id, 0, 14, 0, 0, 0]), Ok(0));
    }
    {
        let mut waits = pin!(sys_semop(&caller, [id, take, 1, 0, 0, 0]));
        assert_eq!(once(waits.as_mut()), Poll::Pending);
        program.thread.demand(Attention::END);
        assert_eq!(once(waits.as_mut()), Poll::Ready(Err(Errno::EINTR)));
        program.thread.settled(Attention::END);
    }
    let mut waits = pin!(sys_semop(&caller, [id, take, 1, 0, 0, 0]));
    assert_eq!(once(waits.as_mut()), Poll::Pending);
    assert_eq!(sys_semctl(&caller, [id, 0, 0, 0, 0, 0]), Ok(0));
    assert_eq!(once(waits.as_mut()), Poll::Ready(Err(Errno::EIDRM)));
}

#[test]
fn the_end_of_a_process_gives_back_what_it_took() {
    let program = Program::new();
    let caller = program.caller();
    let id = sys_semget(&caller, [0, 2, CREATE, 0, 0, 0]).unwrap();
    assert_eq!(sys_semctl(&caller, [id, 0, 16, 3, 0, 0]), Ok(0));
    let take = operations(&program, &[(0, -2, UNDO), (1, 4, UNDO)]);
    assert_eq!(now(sys_semop(&caller, [id, take, 2, 0, 0, 0])), Ok(0));
    assert_eq!((value(&program, id, 0), value(&program, id, 1)), (1, 4));
    let sysv = &program.thread.process.node.sysv;
    sysv.process_ended(program.thread.process.pid + 1);
    assert_eq!(value(&program, id, 0), 1, "of another process");
    sysv.process_ended(program.thread.process.pid);
    assert_eq!((value(&program, id, 0), value(&program, id, 1)), (3, 0));
}

/// `struct msgbuf` in memory.
fn message(program: &Program, kind: i64, text: &[u8]) -> u64 {
    program.put(&[&kind.to_le_bytes(), text].concat())
}

#[test]
fn messages_come_by_type_and_order() {
    let program = Program::new();
    let caller = program.caller();
    let id = sys_msgget(&caller, [1, CREATE, 0, 0, 0, 0]).unwrap();
    for (kind, text) in [(3, b"three"), (1, b"first"), (2, b"other"), (1, b"again")] {
        let at = message(&program, kind, text);
        assert_eq!(now(sys_msgsnd(&caller, [id, at, 5, 0, 0, 0])), Ok(0));
    }
    let into = program.room(64);
    let receive = |most: u64, kind: i64, flags: u64| {
        now(sys_msgrcv(&caller, [id, into, most, kind as u64, flags, 0])).map(|len| {
            let bytes = program.bytes(into, 8 + len);
            (bytes[0], String::from_utf8_lossy(&bytes[8..]).into_owned())
        })
    };
    assert_eq!(receive(56, -2, 0), Ok((1, "first".into())));
    assert_eq!(receive(56, 2, 0), Ok((2, "other".into())));
    assert_eq!(receive(4, 0, 0), Err(Errno::E2BIG));
    assert_eq!(receive(4, 0, 0o10000), Ok((3, "thre".into())), "cut with MSG_NOERROR");
    assert_eq!(receive(56, 1, 0o20000 | 0o4000), Err(Errno::ENOMSG), "MSG_EXCEPT");
    assert_eq!(receive(56, 0, 0), Ok((1, "again".into())));
    let at = message(&program, 0, b"");
    assert_eq!(fails(now(sys_msgsnd(&caller, [id, at, 0, 0, 0, 0]))), Errno::EINVAL, "no type");
    assert_eq!(fails(now(sys_msgsnd(&caller, [id, into, 8193, 0, 0, 0]))), Errno::EINVAL);
    let stat = program.room(120);
    assert_eq!(sys_msgctl(&caller, [id, 2, stat, 0, 0, 0]), Ok(0));
    let stat = program.bytes(stat, 120);
    assert_eq!((&stat[72..88], &stat[88..96]), (&[0; 16][..], &16_384u64.to_le_bytes()[..]));
    assert_eq!(stat[96..100], program.thread.process.pid.to_le_bytes());
}

#[test]
fn a_full_queue_makes_senders_wait_and_its_end_wakes_receivers() {
    let program = Program::new();
    let caller = program.caller();
    let id = sys_msgget(&caller, [0, CREATE, 0, 0, 0, 0]).unwrap();
    let at = message(&program, 1, &[7; 8192]);
    assert_eq!(now(sys_msgsnd(&caller, [id, at, 8192, 0, 0, 0])), Ok(0));
    assert_eq!(now(sys_msgsnd(&caller, [id, at, 8192, 0, 0, 0])), Ok(0));
    assert_eq!(fails(now(sys_msgsnd(&caller, [id, at, 1, 0o4000, 0, 0]))), Errno::EAGAIN);
    let into = program.room(8200);
    {
        let mut waits = pin!(sys_msgsnd(&caller, [id, at, 1, 0, 0, 0]));
        assert_eq!(once(waits.as_mut()), Poll::Pending);
        assert_eq!(now(sys_msgrcv(&caller, [id, into, 8192, 0, 0, 0])), Ok(8192));
        assert_eq!(once(waits.as_mut()), Poll::Ready(Ok(0)));
    }
    let mut waits = pin!(sys_msgrcv(&caller, [id, into, 8192, 9, 0, 0]));
    assert_eq!(once(waits.as_mut()), Poll::Pending);
    assert_eq!(sys_msgctl(&caller, [id, 0, 0, 0, 0, 0]), Ok(0));
    assert_eq!(once(waits.as_mut()), Poll::Ready(Err(Errno::EIDRM)));
    assert_eq!(program.thread.process.node.sysv.messages_in_use(), 0);
    assert_eq!(fails(sys_msgctl(&caller, [id, 0, 0, 0, 0, 0])), Errno::EINVAL);
}

#[test]
fn sets_as_large_as_can_be() {
    let program = Program::new();
    let caller = program.caller();
    let id = sys_semget(&caller, [0, 32_000, CREATE, 0, 0, 0]).unwrap();
    let values: Vec<u8> = (0..32_000u16).flat_map(u16::to_le_bytes).collect();
    let at = program.put(&values);
    // SETALL and GETALL.
    assert_eq!(sys_semctl(&caller, [id, 0, 17, at, 0, 0]), Ok(0));
    let into = program.room(64_000);
    assert_eq!(sys_semctl(&caller, [id, 0, 13, into, 0, 0]), Ok(0));
    assert_eq!(program.bytes(into, 64_000), values);
    for _ in 0..31 {
        sys_semget(&caller, [0, 32_000, CREATE, 0, 0, 0]).unwrap();
    }
    assert_eq!(sys_semget(&caller, [0, 1, CREATE, 0, 0, 0]), Err(Errno::ENOSPC));
    let sysv = &program.thread.process.node.sysv;
    assert_eq!((sysv.semaphores.count(), sysv.semaphores.all().count()), (32, 32));
}
