//! Processes: fork, vfork, wait, groups, orphans (section 3.8).

use super::*;
use crate::cores::CoreState;
use std::sync::atomic::Ordering;

const WNOHANG: u64 = 1;
const WUNTRACED: u64 = 2;
const WEXITED: u64 = 4;
const WCONTINUED: u64 = 8;
const WNOWAIT: u64 = 0x0100_0000;

fn fork(cpu: &mut Cpu, child: impl FnOnce(&mut Cpu) + Send + 'static) -> i64 {
    cpu.spawn(57, &[], child)
}

fn wait(cpu: &mut Cpu, pid: i64, options: u64) -> (i64, u32) {
    cpu.put_half(DATA + 0x700, 0xdead);
    let result = cpu.call(61, &[pid as u64, DATA + 0x700, options, 0]);
    (result, cpu.half(DATA + 0x700))
}

fn nap(cpu: &mut Cpu, millis: u64) {
    cpu.put(DATA + 0x780, &[0, millis * 1_000_000]);
    assert_eq!(cpu.call(35, &[DATA + 0x780, 0]), 0);
}

#[test]
fn fork_copies_and_wait_collects() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        cpu.put(DATA, &[1]);
        cpu.registers.rbx = 5;
        let pid = fork(cpu, |cpu| {
            assert_eq!((cpu.registers.rbx, cpu.registers.rax), (5, 0));
            assert_eq!((cpu.call(39, &[]), cpu.call(186, &[]), cpu.call(110, &[])), (2001, 2001, 1000));
            assert_eq!(cpu.word(DATA), 1);
            cpu.put(DATA, &[2]);
            cpu.exit_group(3);
        });
        assert_eq!(pid, 2001);
        assert_eq!(wait(cpu, -1, 0), (2001, 3 << 8));
        assert_eq!(cpu.word(DATA), 1);
        assert_eq!(wait(cpu, -1, 0), (-10, 0xdead));
    });
    assert_eq!(status, 0);
    assert_eq!(world.status(2001), 3 << 8);
    assert!(world.node.table.lock().members().next().is_none());
}

/// A proxy that was made for a child is told when there is none.
#[test]
fn a_number_that_is_in_use_is_no_child() {
    let world = World::new(3);
    let host = world.host.clone();
    let status = world.run_program(move |cpu| {
        let pid = fork(cpu, |cpu| {
            nap(cpu, 500);
            cpu.exit_group(4);
        });
        assert_eq!(pid, 2001);
        *host.forks.lock().unwrap() = 0;
        assert_eq!(cpu.call(57, &[]), -11);
        let exits = host.exits.lock().unwrap().iter().map(|exit| (exit.pid, exit.status)).collect::<Vec<_>>();
        assert_eq!(exits, [(2001, 0)]);
        assert_eq!(wait(cpu, -1, 0), (2001, 4 << 8));
    });
    assert_eq!(status, 0);
}

/// What Linux tells of a process that was not waited for yet.
#[test]
fn the_dead_keep_limits_and_scheduling_until_they_are_waited_for() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        let pid = fork(cpu, |cpu| {
            cpu.put(DATA, &[1]);
            assert_eq!(cpu.call(203, &[0, 8, DATA]), 0);
            assert_eq!(cpu.call(141, &[0, 0, 5]), 0);
            cpu.put(DATA, &[100, 200]);
            assert_eq!(cpu.call(160, &[7, DATA]), 0);
            cpu.exit_group(0);
        }) as u64;
        // Waits without taking it away.
        assert_eq!(cpu.call(247, &[1, pid, DATA + 0x600, WEXITED | WNOWAIT, 0]), 0);
        cpu.put(DATA, &[0; 4]);
        assert_eq!((cpu.call(204, &[pid, 8, DATA]), cpu.word(DATA)), (8, 1));
        assert_eq!((cpu.call(145, &[pid]), cpu.call(140, &[0, pid])), (0, 15));
        cpu.put(DATA, &[u64::MAX]);
        assert_eq!((cpu.call(143, &[pid, DATA]), cpu.half(DATA)), (0, 0));
        assert_eq!(cpu.call(302, &[pid, 7, 0, DATA]), 0);
        assert_eq!((cpu.word(DATA), cpu.word(DATA + 8)), (100, 200));
        assert_eq!(cpu.call(302, &[pid, 99, 0, DATA]), -22);
        cpu.put(DATA, &[2]);
        assert_eq!(cpu.call(203, &[pid, 8, DATA]), 0);
        assert_eq!(wait(cpu, -1, 0).0 as u64, pid);
        for number in [143, 145, 204, 302] {
            assert_eq!(cpu.call(number, &[pid, 8, DATA, DATA]), -3, "{number}");
        }
        assert_eq!(cpu.call(140, &[0, pid]), -3);
    });
    assert_eq!(status, 0);
}

#[test]
fn a_failed_fork_leaves_nothing() {
    let world = World::new(2);
    *world.host.fork_fails.lock().unwrap() = Some(Errno::EAGAIN);
    let status = world.run_program(|cpu| {
        assert_eq!(cpu.call(57, &[]), -11);
        // Its core is still free.
        assert!(cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA + 8, 0], |cpu| cpu.exit(0)) > 0);
    });
    assert_eq!(status, 0);
    assert_eq!(world.node.cores().map(|core| core.threads()).sum::<usize>(), 0);
}

#[test]
fn waiting_can_be_selective_and_need_not_wait() {
    let world =
        World::with(NodeSettings { compute: vec![1, 2], oversubscribe: 4, ..NodeSettings::default() });
    let status = world.run_program(|cpu| {
        let first = fork(cpu, |cpu| {
            nap(cpu, 5);
            cpu.exit_group(1);
        });
        let second = fork(cpu, |cpu| {
            assert_eq!(cpu.call(109, &[0, 0]), 0);
            nap(cpu, 1);
            cpu.exit_group(2);
        });
        assert_eq!(wait(cpu, -1, WNOHANG), (0, 0xdead));
        assert_eq!(wait(cpu, 4000, 0).0, -10);
        assert_eq!(wait(cpu, first, 0), (first, 1 << 8));
        // A zombie is in its own group, and stays one when it is only looked at.
        assert_eq!(wait(cpu, -1000, 0).0, -10);
        assert_eq!(cpu.call(247, &[2, second as u64, DATA + 0x600, WEXITED | WNOWAIT, 0]), 0);
        assert_eq!((cpu.half(DATA + 0x600), cpu.half(DATA + 0x608)), (17, 1));
        assert_eq!((cpu.half(DATA + 0x610) as i64, cpu.half(DATA + 0x618)), (second, 2));
        assert_eq!(wait(cpu, -second, 0), (second, 2 << 8));
        assert_eq!(cpu.call(247, &[0, 0, DATA + 0x600, 0, 0]), -22);
        assert_eq!(cpu.call(61, &[0, 0, 1 << 20, 0]), -22);
    });
    assert_eq!(status, 0);
}

#[test]
fn the_end_of_a_child_is_a_signal_with_its_cause() {
    let world = World::new(2);
    let (seen, note) = notes();
    let status = world.run_program(move |cpu| {
        let note = note.clone();
        cpu.on_signal(DATA + 0x800, 17, 4, 0, move |cpu, _, info, _| {
            note((cpu.half(info + 8), cpu.half(info + 16), cpu.half(info + 20), cpu.half(info + 24)));
        });
        let pid = fork(cpu, |cpu| {
            nap(cpu, 1);
            cpu.call(62, &[2001, 15]);
        });
        // The handler runs; the wait goes on without SA_RESTART only if it is made again.
        let mut result = wait(cpu, pid, 0);
        if result.0 == -4 {
            result = wait(cpu, pid, 0);
        }
        assert_eq!(result, (pid, 15));
    });
    assert_eq!(status, 0);
    assert_eq!(*seen.lock().unwrap(), [(2, 2001, 1000, 15)]);
}

#[test]
fn ignored_children_leave_no_zombies() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        cpu.put(DATA + 0x800, &[1, 0, 0, 0]);
        assert_eq!(cpu.call(13, &[17, DATA + 0x800, 0, 8]), 0);
        let pid = fork(cpu, |cpu| cpu.exit_group(1));
        // Waits until there is no child any more.
        assert_eq!(wait(cpu, pid, 0).0, -10);
    });
    assert_eq!(status, 0);
    assert!(world.node.table.lock().members().next().is_none());
}

#[test]
fn stopped_and_continued_children_are_reported() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        let pid = fork(cpu, |cpu| {
            loop {
                nap(cpu, 1);
            }
        });
        assert_eq!(cpu.call(62, &[pid as u64, 19]), 0);
        assert_eq!(wait(cpu, pid, WUNTRACED), (pid, 19 << 8 | 0x7f));
        assert_eq!(wait(cpu, pid, WUNTRACED | WNOHANG), (0, 0xdead));
        assert_eq!(cpu.call(62, &[pid as u64, 18]), 0);
        assert_eq!(wait(cpu, pid, WCONTINUED), (pid, 0xffff));
        assert_eq!(cpu.call(62, &[pid as u64, 19]), 0);
        assert_eq!(cpu.call(247, &[1, pid as u64, DATA + 0x600, WUNTRACED, 0]), 0);
        assert_eq!((cpu.half(DATA + 0x608), cpu.half(DATA + 0x618)), (5, 19));
        // SIGKILL needs no SIGCONT.
        assert_eq!(cpu.call(62, &[pid as u64, 9]), 0);
        assert_eq!(wait(cpu, pid, 0), (pid, 9));
    });
    assert_eq!(status, 0);
}

#[test]
fn orphans_have_a_parent_and_are_forgotten_at_their_end() {
    let world =
        World::with(NodeSettings { compute: vec![1, 2], oversubscribe: 4, ..NodeSettings::default() });
    let (seen, note) = notes();
    let status = world.run_program(move |cpu| {
        let note = note.clone();
        fork(cpu, move |cpu| {
            // PR_SET_PDEATHSIG.
            cpu.on_signal(DATA + 0x800, 10, 0, 0, |_, _, _, _| {});
            assert_eq!(cpu.call(157, &[1, 10]), 0);
            note(cpu.call(110, &[]));
            cpu.put(DATA, &[60, 0]);
            assert_eq!(cpu.call(35, &[DATA, DATA + 16]), -4);
            assert_eq!(cpu.word(DATA + 16), 59);
            note(cpu.call(110, &[]));
            cpu.exit_group(0);
        });
        nap(cpu, 1);
        cpu.exit_group(1);
    });
    assert_eq!(status, 1 << 8);
    assert_eq!(*seen.lock().unwrap(), [1000, 1]);
    assert!(world.node.table.lock().members().next().is_none());
}

#[test]
fn a_subreaper_gets_the_orphans() {
    let world = World::with(NodeSettings { compute: vec![1], oversubscribe: 4, ..NodeSettings::default() });
    let status = world.run_program(|cpu| {
        assert_eq!(cpu.call(157, &[36, 1]), 0);
        let child = fork(cpu, |cpu| {
            fork(cpu, |cpu| {
                nap(cpu, 5);
                cpu.exit_group(7);
            });
            cpu.exit_group(0);
        });
        assert_eq!(wait(cpu, child, 0), (child, 0));
        assert_eq!(wait(cpu, -1, 0), (2002, 7 << 8));
    });
    assert_eq!(status, 0);
}

#[test]
fn vfork_suspends_the_parent_and_borrows_memory_and_core() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        for (number, args) in [(58, vec![]), (56, vec![0x4100 | 17, 0, 0, 0, 0])] {
            cpu.put(DATA, &[1]);
            let pid = cpu.spawn(number, &args, |cpu| {
                nap(cpu, 5);
                cpu.put(DATA, &[2]);
                cpu.exit_group(4);
            });
            assert!(pid > 2000);
            assert_eq!(cpu.word(DATA), 2);
            assert_eq!(wait(cpu, pid, 0), (pid, 4 << 8));
        }
    });
    assert_eq!(status, 0);
    assert_eq!(world.node.core(1).unwrap().threads(), 0);
}

#[test]
fn a_suspended_parent_can_be_killed() {
    let world = World::new(2);
    world.program("/bin/test", |cpu| {
        cpu.spawn(58, &[], |cpu| {
            cpu.call(34, &[]);
        });
    });
    let process = world.launch(world.request(1000, "/bin/test")).unwrap();
    world.settle();
    process.signal(crate::signals::SigInfo::kernel(9)).unwrap();
    world.settle();
    assert_eq!(world.status(1000), 9);
    world.node.process(2001).unwrap().begin_end(9);
    world.settle();
}

#[test]
fn groups_and_sessions_are_the_hosts_and_remembered() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        assert_eq!((cpu.call(111, &[]), cpu.call(121, &[0]), cpu.call(124, &[0])), (1000, 1000, 1000));
        let pid = fork(cpu, |cpu| {
            nap(cpu, 2);
            assert_eq!(cpu.call(111, &[]), 2001);
            assert_eq!(cpu.call(112, &[]), 2001);
            assert_eq!(cpu.call(124, &[0]), 2001);
            // A group signal reaches the whole group only.
            assert_eq!(cpu.call(62, &[0, 0]), 0);
            cpu.exit_group(0);
        });
        assert_eq!(cpu.call(109, &[pid as u64, 0]), 0);
        assert_eq!(cpu.call(121, &[pid as u64]), pid);
        assert_eq!(cpu.call(109, &[999, 0]), -3);
        assert_eq!(cpu.call(109, &[(-1i64) as u64, 0]), -22);
        assert_eq!(wait(cpu, pid, 0), (pid, 0));
    });
    assert_eq!(status, 0);
    let numbers: Vec<u32> = world.host.calls.lock().unwrap().iter().map(|call| call.number).collect();
    assert_eq!(numbers, [109, 112]);
}

#[test]
fn use_is_summed_up_over_threads_and_children() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        cpu.word(DATA + 0x8000);
        cpu.compute(Duration::from_millis(30));
        let pid = fork(cpu, |cpu| {
            cpu.compute(Duration::from_millis(50));
            cpu.exit_group(0);
        });
        assert_eq!(cpu.call(61, &[pid as u64, 0, 0, DATA + 0x900]), pid);
        assert_eq!(cpu.word(DATA + 0x908), 50_000);
        assert_eq!(cpu.call(98, &[0, DATA + 0x900]), 0);
        assert_eq!(cpu.word(DATA + 0x908), 30_000);
        assert!(cpu.word(DATA + 0x900 + 32) > 0, "resident memory");
        assert!(cpu.word(DATA + 0x900 + 64) > 0, "faults");
        assert_eq!(cpu.call(98, &[(-1i64) as u64, DATA + 0x900]), 0);
        assert_eq!(cpu.word(DATA + 0x908), 50_000);
        assert_eq!(cpu.call(98, &[5, DATA + 0x900]), -22);
        assert!(cpu.call(100, &[DATA + 0x900]) >= 8);
        assert_eq!((cpu.word(DATA + 0x900), cpu.word(DATA + 0x910)), (3, 5));
    });
    assert_eq!(status, 0);
    let exit = world.host.exits.lock().unwrap()[1].clone();
    assert_eq!((exit.usage.user, exit.children.user), (Duration::from_millis(30), Duration::from_millis(50)));
}

#[test]
fn a_taken_process_id_is_refused() {
    let world = World::new(2);
    world.program("/bin/test", |cpu| {
        cpu.call(34, &[]);
    });
    let process = world.launch(world.request(1000, "/bin/test")).unwrap();
    assert_eq!(world.launch(world.request(1000, "/bin/test")).err(), Some(Errno::EAGAIN));
    assert_eq!(world.launch(world.request(1, "/bin/test")).err(), Some(Errno::EAGAIN));
    assert_eq!(world.launch(world.request(1001, "/bin/other")).err(), Some(Errno::ENOENT));
    assert_eq!(world.node.core(2).unwrap().threads(), 0);
    process.begin_end(9);
    world.settle();
    assert_eq!(world.node.core(1).unwrap().threads(), 0);
    assert_eq!(process.helpers.load(Ordering::Relaxed), 0);
}

#[test]
fn who_keeps_a_shared_core_is_interrupted() {
    let world =
        World::with(NodeSettings { compute: vec![1, 2], oversubscribe: 2, ..NodeSettings::default() });
    let kicks = || [1, 2].map(|core: usize| world.machine.kicks[core].load(Ordering::Relaxed));
    let core = |number| world.node.core(number).unwrap();
    for number in [1, 2] {
        core(number).seat();
        core(number).set_state(CoreState::User);
    }
    world.node.end_slices();
    assert_eq!(kicks(), [0, 0], "whoever is alone is left alone");
    core(1).seat();
    world.node.end_slices();
    assert_eq!(kicks(), [1, 0]);
    core(1).set_state(CoreState::Idle);
    world.node.end_slices();
    assert_eq!(kicks(), [1, 0], "nobody computes");
}
