//! Signals in programs.

use super::*;
use crate::signals::*;
use std::sync::atomic::{AtomicU64, Ordering};

const SCRATCH: u64 = DATA + 0x8000;
const RESTART: u64 = SA_RESTART;
const SIGINFO: u64 = 4;

#[test]
fn a_handler_runs_with_its_arguments_and_everything_comes_back() {
    let world = World::new(1);
    let (seen, note) = notes();
    let status = world.run_program(move |cpu| {
        let note = note.clone();
        cpu.on_signal(SCRATCH, 10, SIGINFO, 1 << 11, move |cpu, signal, info, context| {
            note(signal);
            note(u64::from(cpu.half(info)));
            // si_code and si_pid of tgkill.
            note(u64::from(cpu.half(info + 8)));
            note(u64::from(cpu.half(info + 16)));
            // uc_flags, then the saved rbx and the saved mask.
            note(cpu.word(context));
            note(cpu.word(context + 40 + 11 * 8));
            note(cpu.word(context + 296));
            // While it runs SIGUSR1 and SIGUSR2 are blocked.
            assert_eq!(cpu.call(14, &[0, 0, SCRATCH + 64, 8]), 0);
            note(cpu.word(SCRATCH + 64));
            cpu.registers.rbx = 1;
        });
        cpu.registers.rbx = 0x1234;
        assert_eq!(cpu.call(234, &[1000, 1000, 10]), 0);
        assert_eq!(cpu.registers.rbx, 0x1234);
        assert_eq!(cpu.call(14, &[0, 0, SCRATCH + 64, 8]), 0);
        assert_eq!(cpu.word(SCRATCH + 64), 0);
    });
    assert_eq!(status, 0);
    let expected = [10, 10, u64::from(-6i32 as u32), 1000, 7, 0x1234, 0, 1 << 9 | 1 << 11];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn the_extended_state_is_in_the_frame_with_its_magic_words() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.on_signal(SCRATCH, 12, 0, 0, |cpu, _, _, context| {
            let area = cpu.word(context + 40 + 184);
            assert_eq!(area % 64, 0);
            assert_eq!(cpu.half(area + 464), 0x4650_5853);
            assert_eq!(cpu.half(area + 468), 832 + 4);
            assert_eq!(cpu.half(area + 480), 832);
            assert_eq!(cpu.half(area + 832), 0x4650_5845);
            // A change comes back with the return.
            cpu.put_half(area + 24, 0x1f80);
        });
        for _ in 0..2 {
            assert_eq!(cpu.call(200, &[1000, 12]), 0);
        }
        cpu.on_signal(SCRATCH, 12, 0, 0, |cpu, _, _, context| {
            let area = cpu.word(context + 40 + 184);
            assert_eq!(cpu.half(area + 24), 0x1f80);
        });
        assert_eq!(cpu.call(200, &[1000, 12]), 0);
    });
    assert_eq!(status, 0);
}

#[test]
fn defaults_end_stop_and_ignore() {
    for (signal, status) in [(1, 1), (15, 15), (6, 6), (9, 9), (17, 0), (28, 0), (18, 0), (64, 64)] {
        let world = World::new(1);
        let ended = world.run_program(move |cpu| {
            assert_eq!(cpu.call(62, &[1000, signal]), 0);
        });
        assert_eq!(ended, status, "signal {signal}");
    }
}

#[test]
fn blocked_signals_wait_and_real_time_signals_queue_in_order() {
    let world = World::new(1);
    let (seen, note) = notes();
    let status = world.run_program(move |cpu| {
        for signal in [10u64, 34, 35] {
            let note = note.clone();
            cpu.on_signal(SCRATCH, signal, SIGINFO, !0, move |cpu, signal, info, _| {
                note((signal, cpu.word(info + 24)));
            });
        }
        cpu.put(SCRATCH, &[!0]);
        assert_eq!(cpu.call(14, &[2, SCRATCH, 0, 8]), 0);
        for (signal, value) in [(35u64, 1u64), (34, 2), (10, 3), (34, 4), (10, 5)] {
            // siginfo with SI_QUEUE.
            let mut info = [0u8; 128];
            info[8..12].copy_from_slice(&(-1i32).to_le_bytes());
            info[24..32].copy_from_slice(&value.to_le_bytes());
            cpu.write(SCRATCH + 128, &info);
            assert_eq!(cpu.call(129, &[1000, signal, SCRATCH + 128]), 0);
        }
        assert_eq!(cpu.call(127, &[SCRATCH, 8]), 0);
        assert_eq!(cpu.word(SCRATCH), 1 << 9 | 1 << 33 | 1 << 34);
        cpu.put(SCRATCH, &[0]);
        assert_eq!(cpu.call(14, &[2, SCRATCH, 0, 8]), 0);
    });
    assert_eq!(status, 0);
    // The frames are built in the order of delivery; the last one runs first, its mask keeps the others away.
    assert_eq!(*seen.lock().unwrap(), [(10, 3), (34, 2), (34, 4), (35, 1)]);
}

#[test]
fn an_interrupted_call_is_made_again_or_fails_as_the_action_says() {
    for (flags, expected) in [(0, -4), (RESTART, 0)] {
        let world = World::new(2);
        let status = world.run_program(move |cpu| {
            cpu.on_signal(SCRATCH, 10, flags, 0, |cpu, _, _, _| {
                let count = cpu.word(DATA + 256);
                cpu.put(DATA + 256, &[count + 1]);
            });
            cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA + 8, 0], |cpu| {
                cpu.compute(Duration::from_millis(1));
                assert_eq!(cpu.call(234, &[1000, 1000, 10]), 0);
                // Long enough for the handler.
                cpu.put(DATA + 64, &[0, 1_000_000]);
                assert_eq!(cpu.call(35, &[DATA + 64, 0]), 0);
                cpu.call(202, &[DATA + 128, 1, 1]);
                cpu.exit(0);
            });
            assert_eq!(cpu.call(202, &[DATA + 128, 0, 0, 0]), expected);
            assert_eq!(cpu.word(DATA + 256), 1);
        });
        assert_eq!(status, 0, "flags {flags:#x}");
    }
}

#[test]
fn suspend_waits_with_another_mask_and_the_old_one_returns() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        cpu.on_signal(SCRATCH, 10, 0, 0, |cpu, _, _, context| {
            assert_eq!(cpu.word(context + 296), 1 << 9);
        });
        cpu.put(SCRATCH, &[1 << 9]);
        assert_eq!(cpu.call(14, &[0, SCRATCH, 0, 8]), 0);
        assert_eq!(cpu.call(62, &[1000, 10]), 0);
        cpu.put(SCRATCH, &[0]);
        assert_eq!(cpu.call(130, &[SCRATCH, 8]), -4);
        assert_eq!(cpu.call(14, &[0, 0, SCRATCH, 8]), 0);
        assert_eq!(cpu.word(SCRATCH), 1 << 9);
    });
    assert_eq!(status, 0);
}

#[test]
fn timed_wait_takes_blocked_signals_and_gives_up_in_time() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        cpu.put(SCRATCH, &[1 << 9 | 1 << 16]);
        assert_eq!(cpu.call(14, &[0, SCRATCH, 0, 8]), 0);
        cpu.put(SCRATCH + 16, &[2, 0]);
        assert_eq!(cpu.call(128, &[SCRATCH, 0, SCRATCH + 16, 8]), -11);
        cpu.call(201, &[SCRATCH + 32]);
        assert_eq!(cpu.word(SCRATCH + 32), 1_700_000_002);
        cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA + 8, 0], |cpu| {
            cpu.compute(Duration::from_millis(1));
            // SIGCHLD is ignored by default, but somebody waits for it.
            assert_eq!(cpu.call(62, &[1000, 17]), 0);
            cpu.exit(0);
        });
        assert_eq!(cpu.call(128, &[SCRATCH, SCRATCH + 256, 0, 8]), 17);
        assert_eq!(cpu.half(SCRATCH + 256), 17);
        assert_eq!(cpu.half(SCRATCH + 256 + 16), 1000);
    });
    assert_eq!(status, 0);
}

#[test]
fn signals_are_read_by_those_they_are_for() {
    const SIGNALFD4: u64 = 289;
    const NONBLOCK: u64 = 0o4000;
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        cpu.put(SCRATCH, &[1 << 9 | 1 << 11 | 1 << 33]);
        assert_eq!(cpu.call(14, &[0, SCRATCH, 0, 8]), 0);
        for (args, errno) in [
            ([u64::MAX, SCRATCH, 4, 0], 22),
            ([u64::MAX, 8, 8, 0], 14),
            ([u64::MAX, SCRATCH, 8, 1], 22),
            ([77, SCRATCH, 8, 0], 9),
        ] {
            assert_eq!(cpu.call(SIGNALFD4, &args), -errno, "{args:x?}");
        }
        let fd = cpu.call(SIGNALFD4, &[u64::MAX, SCRATCH, 8, NONBLOCK]) as u64;
        let read = |cpu: &mut Cpu, len: u64| cpu.call(0, &[fd, SCRATCH + 256, len]);
        assert_eq!((read(cpu, 127), read(cpu, 128)), (-22, -11));
        // One for this thread, one for the process, one with a value; the lowest number first.
        let mut info = [0u8; 128];
        info[8..12].copy_from_slice(&(-1i32).to_le_bytes());
        info[24..32].copy_from_slice(&(7u64 << 32 | 9).to_le_bytes());
        cpu.write(SCRATCH + 128, &info);
        assert_eq!(cpu.call(129, &[1000, 34, SCRATCH + 128]), 0);
        assert_eq!(cpu.call(62, &[1000, 12]), 0);
        assert_eq!(cpu.call(234, &[1000, 1000, 10]), 0);
        assert_eq!(read(cpu, 300), 256);
        let at = SCRATCH + 256;
        assert_eq!((cpu.half(at), cpu.half(at + 8) as i32, cpu.half(at + 12)), (10, -6, 1000));
        assert_eq!((cpu.half(at + 128), cpu.half(at + 136), cpu.half(at + 140)), (12, 0, 1000));
        assert_eq!(read(cpu, 4096), 128);
        assert_eq!((cpu.half(at), cpu.half(at + 44), cpu.word(at + 48)), (34, 9, 7 << 32 | 9));
        // What is for another thread is not for this one, nor the other way round.
        let other = cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA + 8, 0], move |cpu| {
            let set = cpu.call(291, &[0]) as u64;
            cpu.put(DATA + 64, &[1]);
            assert_eq!(cpu.call(233, &[set, 1, fd, DATA + 64]), 0);
            assert_eq!(cpu.call(232, &[set, DATA + 96, 1, u64::MAX]), 1);
            assert_eq!(cpu.call(0, &[fd, DATA + 256, 128]), 128);
            assert_eq!(cpu.half(DATA + 256), 12);
            cpu.exit(0);
        });
        cpu.compute(Duration::from_millis(5));
        let tid = u64::try_from(other).unwrap();
        assert_eq!(cpu.call(234, &[1000, tid, 12]), 0);
        assert_eq!(read(cpu, 128), -11);
        // The set is another one now.
        cpu.put(SCRATCH, &[1 << 11]);
        assert_eq!(cpu.call(234, &[1000, 1000, 10]), 0);
        assert_eq!(cpu.call(SIGNALFD4, &[fd, SCRATCH, 8, 0]) as u64, fd);
        assert_eq!(read(cpu, 128), -11);
        cpu.put(SCRATCH, &[1 << 9]);
        assert_eq!(cpu.call(SIGNALFD4, &[fd, SCRATCH, 8, 0]) as u64, fd);
        assert_eq!(read(cpu, 128), 128);
    });
    assert_eq!(status, 0);
}

#[test]
fn a_fault_has_a_handler_and_a_second_chance() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.on_signal(SCRATCH, 11, SIGINFO, 0, |cpu, signal, info, context| {
            assert_eq!((signal, cpu.half(info + 8)), (11, 1));
            assert_eq!(cpu.word(info + 16), 0x3000_0000);
            // err, trapno and cr2 of the context.
            assert_eq!(cpu.word(context + 40 + 152), 6);
            assert_eq!(cpu.word(context + 40 + 160), 14);
            assert_eq!(cpu.word(context + 40 + 176), 0x3000_0000);
            cpu.exit_group(9);
        });
        cpu.put(0x3000_0000, &[1]);
    });
    assert_eq!(status, 9 << 8);
}

#[test]
fn a_fault_in_a_handler_that_blocks_it_kills() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.on_signal(SCRATCH, 11, 0, 0, |cpu, _, _, _| {
            cpu.word(0);
        });
        cpu.word(0);
    });
    assert_eq!(status, 11);
}

#[test]
fn no_room_for_the_frame_is_the_end() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.on_signal(SCRATCH, 11, 0, 0, |_, _, _, _| unreachable!("no stack"));
        cpu.on_signal(SCRATCH, 10, 0, 0, |_, _, _, _| unreachable!("no stack"));
        cpu.registers.rsp = 0x100;
        cpu.call(62, &[1000, 10]);
    });
    assert_eq!(status, 11);
}

#[test]
fn the_alternate_stack_is_used_and_cannot_be_changed_meanwhile() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        let base = DATA + 0x1_0000;
        cpu.put(SCRATCH, &[base, 0, 1024]);
        assert_eq!(cpu.call(131, &[SCRATCH, 0]), -12);
        cpu.put(SCRATCH, &[base, 0, 0x4000]);
        assert_eq!(cpu.call(131, &[SCRATCH, 0]), 0);
        cpu.on_signal(SCRATCH, 11, SA_ONSTACK, 0, move |cpu, _, _, _| {
            assert!((base..base + 0x4000).contains(&cpu.registers.rsp));
            assert_eq!(cpu.call(131, &[0, SCRATCH]), 0);
            assert_eq!((cpu.word(SCRATCH), cpu.half(SCRATCH + 8)), (base, 1));
            cpu.put(SCRATCH, &[0, 2, 0]);
            assert_eq!(cpu.call(131, &[SCRATCH, 0]), -1);
            cpu.exit_group(4);
        });
        // Even without a stack.
        cpu.registers.rsp = 0x100;
        cpu.word(0);
    });
    assert_eq!(status, 4 << 8);
}

#[test]
fn a_signal_reaches_a_thread_that_computes() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        cpu.on_signal(SCRATCH, 10, 0, 0, |cpu, _, _, _| cpu.put_half(DATA + 256, 1));
        cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA + 8, 0], |cpu| {
            assert_eq!(cpu.call(234, &[1000, 1000, 10]), 0);
            cpu.exit(0);
        });
        while cpu.half(DATA + 256) == 0 {
            cpu.compute(Duration::from_millis(1));
        }
    });
    assert_eq!(status, 0);
    assert!(world.machine.kicks[1].load(Ordering::Relaxed) > 0);
}

#[test]
fn stop_and_continue_are_told_to_the_threads() {
    let world = World::new(2);
    let ticks = Arc::new(AtomicU64::new(0));
    let count = ticks.clone();
    world.program("/bin/loop", move |cpu| {
        loop {
            cpu.compute(Duration::from_millis(1));
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let process = world.launch(world.request(1000, "/bin/loop")).unwrap();
    (0..10).for_each(|_| {
        world.round();
    });
    let before = ticks.load(Ordering::Relaxed);
    assert!(before > 5);
    process.signal(SigInfo::kernel(SIGSTOP)).unwrap();
    world.settle();
    let stopped = ticks.load(Ordering::Relaxed);
    assert!(stopped <= before + 2);
    assert_eq!(process.stopped(), Some(SIGSTOP));
    process.signal(SigInfo::kernel(SIGCONT)).unwrap();
    (0..10).for_each(|_| {
        world.round();
    });
    assert!(ticks.load(Ordering::Relaxed) > stopped + 5);
    process.signal(SigInfo::kernel(SIGKILL)).unwrap();
    world.settle();
    assert_eq!(world.status(1000), 9);
}

#[test]
fn rights_and_numbers_are_checked() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        assert_eq!(cpu.call(62, &[1000, 65]), -22);
        assert_eq!(cpu.call(234, &[1000, 5, 1]), -3);
        assert_eq!(cpu.call(234, &[999, 1000, 1]), -3);
        assert_eq!(cpu.call(200, &[0, 1]), -22);
        assert_eq!(cpu.call(62, &[1000, 0]), 0);
        assert_eq!(cpu.call(13, &[9, SCRATCH, 0, 8]), -22);
        assert_eq!(cpu.call(13, &[10, 0, 0, 4]), -22);
        assert_eq!(cpu.call(14, &[7, SCRATCH, 0, 8]), -22);
        assert_eq!(cpu.call(13, &[10, 16, 0, 8]), -14);
        // SI_USER to oneself is allowed, nothing is delivered with signal 0.
        cpu.put(SCRATCH, &[0; 16]);
        assert_eq!(cpu.call(129, &[1000, 0, SCRATCH]), 0);
    });
    assert_eq!(status, 0);
    let world = World::new(1);
    // A process that is not here is the host's to find.
    world.run_program(|cpu| assert_eq!(cpu.call(62, &[4242, 15]), 0));
    let calls = world.host.calls.lock().unwrap();
    assert!(calls.iter().any(|call| call.number == 62 && call.arguments[..2] == [4242, 15]));
}

#[test]
fn what_a_handler_did_to_its_frame_is_checked() {
    // Without its magic word an area counts as a legacy one; without an area the state is as at the start.
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.on_signal(SCRATCH, 10, 0, 0, |cpu, _, _, context| {
            let area = cpu.word(context + 40 + 184);
            cpu.put_half(area + 832, 0);
            cpu.put_half(area + 24, 0x1fa0);
            // The upper halves of AVX, which a legacy area does not have.
            cpu.put(area + 576, &[5]);
        });
        assert_eq!(cpu.call(200, &[1000, 10]), 0);
        cpu.on_signal(SCRATCH, 10, 0, 0, |cpu, _, _, context| {
            let area = cpu.word(context + 40 + 184);
            assert_eq!((cpu.half(area + 24), cpu.word(area + 576)), (0x1fa0, 0));
            cpu.put(context + 40 + 184, &[0]);
        });
        assert_eq!(cpu.call(200, &[1000, 10]), 0);
        cpu.on_signal(SCRATCH, 10, 0, 0, |cpu, _, _, context| {
            let area = cpu.word(context + 40 + 184);
            assert_eq!(cpu.half(area + 24), 0);
            // SIGKILL cannot be blocked by a mask in a frame either, nor flags that are not the program's.
            cpu.put(context + 296, &[!0]);
            cpu.put(context + 40 + 17 * 8, &[!0]);
        });
        assert_eq!(cpu.call(200, &[1000, 10]), 0);
        assert_eq!(cpu.registers.rflags & 1 << 9, 0);
        assert_eq!(cpu.call(14, &[0, 0, SCRATCH, 8]), 0);
        assert_eq!(cpu.word(SCRATCH), !(1 << 8 | 1 << 18));
    });
    assert_eq!(status, 0);
    // An address that no program has: the return is a fault.
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.on_signal(SCRATCH, 10, 0, 0, |cpu, _, _, context| cpu.put(context + 40 + 16 * 8, &[1 << 63]));
        cpu.call(200, &[1000, 10]);
    });
    assert_eq!(status, 11);
    // No restorer: no handler.
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.put(SCRATCH, &[0x50_0000, 0, 0, 0]);
        assert_eq!(cpu.call(13, &[10, SCRATCH, 0, 8]), 0);
        cpu.call(200, &[1000, 10]);
    });
    assert_eq!(status, 11);
}

#[test]
fn the_number_of_a_thread_names_its_process() {
    let world = World::new(2);
    let (seen, note) = notes();
    let status = world.run_program(move |cpu| {
        let note = note.clone();
        cpu.on_signal(SCRATCH, 10, SIGINFO, 0, move |_, signal, _, _| note(signal));
        let tid = cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA + 8, 0], |cpu| {
            cpu.call(34, &[]);
            cpu.exit(0);
        });
        assert_eq!(cpu.call(62, &[tid as u64, 10]), 0);
        cpu.put(DATA + 64, &[0, 1_000_000]);
        assert_eq!(cpu.call(35, &[DATA + 64, 0]), 0);
        cpu.exit_group(0);
    });
    assert_eq!(status, 0);
    assert_eq!(*seen.lock().unwrap(), [10], "the host has nothing to do with it");
}

#[test]
fn real_time_signals_are_refused_while_memory_is_short() {
    let world = World::new(1);
    let machine = world.machine.clone();
    let status = world.run_program(move |cpu| {
        const EAGAIN: i64 = -11;
        cpu.put(SCRATCH, &[u64::MAX]);
        assert_eq!(cpu.call(14, &[2, SCRATCH, 0, 8]), 0);
        let queue = |cpu: &mut Cpu, signal| {
            // si_code SI_QUEUE.
            cpu.put(SCRATCH + 64, &[signal, u64::from(SI_QUEUE as u32)]);
            cpu.call(129, &[1000, signal, SCRATCH + 64])
        };
        assert_eq!(queue(cpu, 40), 0);
        machine.short.store(true, Ordering::Relaxed);
        assert_eq!(queue(cpu, 40), EAGAIN);
        assert_eq!(queue(cpu, 10), 0, "a standard one is never refused");
        assert_eq!(cpu.call(62, &[1000, 41]), 0, "nor is what kill sends");
        assert_eq!(cpu.call(127, &[SCRATCH, 8]), 0);
        assert_eq!(cpu.word(SCRATCH), 1 << 9 | 1 << 39 | 1 << 40);
        machine.short.store(false, Ordering::Relaxed);
    });
    assert_eq!(status, 0);
}
