//! Threads and their ends.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn a_program_runs_and_its_status_reaches_the_host() {
    let world = World::new(4);
    let (seen, note) = notes();
    let status = world.run_program(move |cpu| {
        note(cpu.call(39, &[]));
        note(cpu.call(186, &[]));
        note(cpu.call(110, &[]));
        note(cpu.call(102, &[]));
        note(cpu.call(9999, &[]));
        cpu.exit_group(42);
    });
    assert_eq!(status, 42 << 8);
    assert_eq!(*seen.lock().unwrap(), [1000, 1000, 77, 1000, -38]);
    assert!(world.node.processes().is_empty());
    assert_eq!(world.node.cores().map(|core| core.threads()).sum::<usize>(), 0);
}

#[test]
fn memory_comes_by_faults_and_a_bad_address_kills() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.put(DATA, &[1, 2, 3]);
        assert_eq!(cpu.word(DATA + 8), 2);
        cpu.word(8);
        unreachable!("read a null pointer");
    });
    assert_eq!(status, 11);
}

#[test]
fn an_exception_kills_with_its_signal() {
    for (vector, signal) in [(0, 8), (6, 4), (13, 11), (3, 5), (17, 7)] {
        let world = World::new(1);
        assert_eq!(world.run_program(move |cpu| cpu.exception(vector, 0)), signal, "vector {vector}");
    }
}

#[test]
fn exit_of_one_thread_leaves_the_others() {
    let world = World::new(2);
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let status = world.run_program(move |cpu| {
        let counted = counted.clone();
        let tid = cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA, 0x1234], move |cpu| {
            assert_eq!(cpu.registers.rsp, STACK + 0x8000);
            assert_eq!(cpu.registers.fs_base, 0x1234);
            assert!(cpu.call(186, &[]) >= 1 << 22);
            for _ in 0..10 {
                cpu.compute(Duration::from_millis(1));
            }
            counted.fetch_add(1, Ordering::Relaxed);
            cpu.exit(3);
        });
        assert_eq!(cpu.half(DATA) as i64, tid);
        cpu.exit(7);
    });
    // The first thread's code counts, whoever is last.
    assert_eq!(status, 7 << 8);
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[test]
fn exit_group_ends_threads_that_compute_and_that_wait() {
    let world = World::new(3);
    let status = world.run_program(|cpu| {
        cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA, 0], |cpu| {
            loop {
                cpu.compute(Duration::from_millis(1));
            }
        });
        cpu.spawn(56, &[THREAD, STACK + 0x9000, DATA + 8, DATA + 8, 0], |cpu| {
            cpu.call(34, &[]);
            unreachable!("pause returned");
        });
        cpu.put(DATA + 64, &[0, 1_000_000]);
        assert_eq!(cpu.call(35, &[DATA + 64, 0]), 0);
        cpu.exit_group(5);
    });
    assert_eq!(status, 5 << 8);
    assert_eq!(world.node.cores().map(|core| core.threads()).sum::<usize>(), 0);
    assert!(world.node.thread(1 << 22).is_none());
}

#[test]
fn the_word_of_a_thread_is_cleared_and_its_waiter_woken() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA, 0], |cpu| {
            cpu.compute(Duration::from_millis(1));
            cpu.exit(0);
        });
        let tid = cpu.half(DATA);
        assert_ne!(tid, 0);
        // As pthread_join does it.
        while cpu.half(DATA) != 0 {
            let result = cpu.call(202, &[DATA, 0, u64::from(tid), 0]);
            assert!(result == 0 || result == -11, "{result}");
        }
        cpu.exit_group(0);
    });
    assert_eq!(status, 0);
}

#[test]
fn a_core_shows_what_it_does() {
    use crate::cores::CoreState;
    let world = World::new(2);
    world.program("/bin/wait", |cpu| {
        cpu.call(34, &[]);
    });
    world.launch(world.request(1000, "/bin/wait")).unwrap();
    world.settle();
    let core = world.node.core(1).unwrap();
    assert_eq!(core.state(), CoreState::Heavy);
    assert!(core.progress() > 0);
    assert_eq!(world.node.core(2).unwrap().state(), CoreState::Idle);
    world.node.process(1000).unwrap().begin_end(9);
    world.settle();
    assert_eq!(core.state(), CoreState::Idle);
    assert_eq!(world.status(1000), 9);
}
