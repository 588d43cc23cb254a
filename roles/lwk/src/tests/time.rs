//! Clocks, sleeps, timers, limits and the rest of section 4.4.

use super::*;

const NOW: u64 = DATA + 0x100;

fn now(cpu: &mut Cpu) -> Duration {
    assert_eq!(cpu.call(228, &[1, NOW]), 0);
    Duration::new(cpu.word(NOW), cpu.word(NOW + 8) as u32)
}

#[test]
fn clocks_agree_and_sleeps_last() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        assert_eq!(cpu.call(201, &[0]), 1_700_000_000);
        cpu.put(DATA, &[1, 500_000_000]);
        assert_eq!(cpu.call(35, &[DATA, 0]), 0);
        assert_eq!(now(cpu), Duration::from_millis(1500));
        assert_eq!(cpu.call(96, &[DATA, DATA + 16]), 0);
        assert_eq!((cpu.word(DATA), cpu.word(DATA + 8)), (1_700_000_001, 500_000));
        // To a moment, on either clock; what is over is over.
        cpu.put(DATA, &[3, 0]);
        assert_eq!(cpu.call(230, &[1, 1, DATA, 0]), 0);
        assert_eq!(now(cpu), Duration::from_secs(3));
        cpu.put(DATA, &[1_700_000_004, 0]);
        assert_eq!(cpu.call(230, &[0, 1, DATA, 0]), 0);
        assert_eq!(cpu.call(230, &[0, 1, DATA, 0]), 0);
        assert_eq!(now(cpu), Duration::from_secs(4));
        assert_eq!(cpu.call(229, &[1, DATA]), 0);
        assert_eq!((cpu.word(DATA), cpu.word(DATA + 8)), (0, 1));
        for (number, args) in [(228, [99, DATA]), (229, [99, DATA]), (230, [99, 0])] {
            assert_eq!(cpu.call(number, &args), -22, "{number}");
        }
        for clock in 3..=6 {
            assert_eq!(cpu.call(230, &[clock, 0, DATA, 0]), -95, "{clock}");
        }
        cpu.put(DATA, &[0, 1_000_000_000]);
        assert_eq!(cpu.call(35, &[DATA, 0]), -22);
        assert_eq!(cpu.call(228, &[0, 8]), -14);
        assert_eq!(cpu.call(227, &[0, DATA]), -1);
    });
    assert_eq!(status, 0);
}

#[test]
fn an_interrupted_sleep_tells_what_is_left() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.on_signal(DATA + 0x800, 14, 0x1000_0000, 0, |cpu, _, _, _| {
            let count = cpu.word(DATA + 64);
            cpu.put(DATA + 64, &[count + 1]);
        });
        assert_eq!(cpu.call(37, &[2]), 0);
        assert_eq!(cpu.call(37, &[3]), 2);
        cpu.put(DATA, &[10, 0]);
        // Even with SA_RESTART.
        assert_eq!(cpu.call(35, &[DATA, DATA + 16]), -4);
        assert_eq!((cpu.word(DATA + 16), cpu.word(DATA + 24), cpu.word(DATA + 64)), (7, 0, 1));
        assert_eq!(cpu.call(37, &[0]), 0);
    });
    assert_eq!(status, 0);
}

#[test]
fn interval_timers_repeat_and_count_cpu_time() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        for signal in [14, 26, 27] {
            cpu.on_signal(DATA + 0x800, signal, 0, 0, |cpu, signal, _, _| {
                let count = cpu.word(DATA + signal * 8);
                cpu.put(DATA + signal * 8, &[count + 1]);
            });
        }
        // Every 10 ms, first after 5 ms.
        cpu.put(DATA + 0x400, &[0, 10_000, 0, 5_000]);
        assert_eq!(cpu.call(38, &[0, DATA + 0x400, 0]), 0);
        for _ in 0..3 {
            cpu.put(DATA + 0x440, &[1, 0]);
            assert_eq!(cpu.call(35, &[DATA + 0x440, 0]), -4);
        }
        assert_eq!(now(cpu), Duration::from_millis(25));
        assert_eq!(cpu.call(36, &[0, DATA + 0x400]), 0);
        assert_eq!((cpu.word(DATA + 0x408), cpu.word(DATA + 0x418)), (10_000, 10_000));
        cpu.put(DATA + 0x400, &[0; 4]);
        assert_eq!(cpu.call(38, &[0, DATA + 0x400, 0]), 0);
        // 20 ms of CPU time: a sleep does not count.
        cpu.put(DATA + 0x400, &[0, 0, 0, 20_000]);
        assert_eq!(cpu.call(38, &[2, DATA + 0x400, 0]), 0);
        cpu.put(DATA + 0x440, &[1, 0]);
        assert_eq!(cpu.call(35, &[DATA + 0x440, 0]), 0);
        assert_eq!(cpu.word(DATA + 27 * 8), 0);
        for _ in 0..30 {
            cpu.compute(Duration::from_millis(1));
            // The service core gets its turn.
            cpu.put(DATA + 0x440, &[0, 1]);
            cpu.call(35, &[DATA + 0x440, 0]);
        }
        assert_eq!((cpu.word(DATA + 27 * 8), cpu.word(DATA + 26 * 8)), (1, 0));
        assert_eq!(cpu.call(38, &[3, DATA + 0x400, 0]), -22);
        cpu.put(DATA + 0x400, &[0, 1_000_000, 0, 0]);
        assert_eq!(cpu.call(38, &[0, DATA + 0x400, 0]), -22);
    });
    assert_eq!(status, 0);
}

#[test]
fn created_timers_send_their_value_and_count_what_was_missed() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.put(DATA, &[1 << 33]);
        assert_eq!(cpu.call(14, &[0, DATA, 0, 8]), 0);
        // SIGEV_SIGNAL with signal 34 and a value.
        cpu.put(DATA + 0x200, &[4711, 34, 0]);
        assert_eq!(cpu.call(222, &[1, DATA + 0x200, DATA + 0x240]), 0);
        let id = u64::from(cpu.half(DATA + 0x240));
        cpu.put(DATA + 0x280, &[0, 1_000_000, 0, 1_000_000]);
        assert_eq!(cpu.call(223, &[id, 0, DATA + 0x280, 0]), 0);
        cpu.put(DATA + 0x440, &[0, 5_500_000]);
        assert_eq!(cpu.call(35, &[DATA + 0x440, 0]), 0);
        assert_eq!(cpu.call(224, &[id, DATA + 0x2c0]), 0);
        assert_eq!((cpu.word(DATA + 0x2c8), cpu.word(DATA + 0x2d8)), (1_000_000, 500_000));
        cpu.put(DATA + 0x280, &[0; 4]);
        assert_eq!(cpu.call(223, &[id, 0, DATA + 0x280, DATA + 0x2c0]), 0);
        // One signal for five expirations.
        cpu.put(DATA, &[1 << 33]);
        assert_eq!(cpu.call(128, &[DATA, DATA + 0x300, 0, 8]), 34);
        assert_eq!(cpu.half(DATA + 0x308) as i32, -2);
        assert_eq!((cpu.half(DATA + 0x314), cpu.word(DATA + 0x318)), (4, 4711));
        assert_eq!(cpu.call(226, &[id]), 0);
        assert_eq!(cpu.call(226, &[id]), -22);
        // Absolute, without a signal.
        cpu.put(DATA + 0x200, &[0, 1 << 32, 0]);
        assert_eq!(cpu.call(222, &[0, DATA + 0x200, DATA + 0x240]), 0);
        let id = u64::from(cpu.half(DATA + 0x240));
        cpu.put(DATA + 0x280, &[0, 0, 1_700_000_001, 0]);
        assert_eq!(cpu.call(223, &[id, 1, DATA + 0x280, 0]), 0);
        cpu.put(DATA + 0x440, &[2, 0]);
        assert_eq!(cpu.call(35, &[DATA + 0x440, 0]), 0);
        assert_eq!(cpu.call(224, &[id, DATA + 0x2c0]), 0);
        assert_eq!(cpu.word(DATA + 0x2d0), 0);
        // A thread that is not there, a kind that does not exist.
        cpu.put(DATA + 0x200, &[0, 4 << 32 | 34, 9]);
        assert_eq!(cpu.call(222, &[0, DATA + 0x200, DATA + 0x240]), -22);
        cpu.put(DATA + 0x200, &[0, 3 << 32 | 34, 0]);
        assert_eq!(cpu.call(222, &[0, DATA + 0x200, DATA + 0x240]), -22);
    });
    assert_eq!(status, 0);
}

#[test]
fn cpu_clocks_stand_still_while_a_thread_waits() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        cpu.compute(Duration::from_millis(10));
        cpu.put(DATA, &[1, 0]);
        assert_eq!(cpu.call(35, &[DATA, 0]), 0);
        cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA + 32, DATA + 40, 0], |cpu| {
            cpu.compute(Duration::from_millis(7));
            assert_eq!(cpu.call(228, &[3, DATA + 48]), 0);
            assert_eq!(cpu.word(DATA + 56), 7_000_000);
            cpu.call(34, &[]);
        });
        cpu.put(DATA, &[1, 0]);
        assert_eq!(cpu.call(35, &[DATA, 0]), 0);
        assert_eq!(cpu.call(228, &[3, DATA]), 0);
        assert_eq!(cpu.word(DATA + 8), 10_000_000);
        assert_eq!(cpu.call(228, &[2, DATA]), 0);
        assert_eq!(cpu.word(DATA + 8), 17_000_000);
        // clock_getcpuclockid of the process, and of one that is not there.
        assert_eq!(cpu.call(228, &[u64::from((!1000u32) << 3 | 2), DATA]), 0);
        assert_eq!(cpu.word(DATA + 8), 17_000_000);
        assert_eq!(cpu.call(228, &[u64::from((!999u32) << 3 | 2), DATA]), -22);
        cpu.exit_group(0);
    });
    assert_eq!(status, 0);
}

#[test]
fn limits_are_kept() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        assert_eq!(cpu.call(97, &[3, DATA]), 0);
        assert_eq!((cpu.word(DATA), cpu.word(DATA + 8)), (8 << 20, u64::MAX));
        cpu.put(DATA, &[5, 4]);
        assert_eq!(cpu.call(160, &[7, DATA]), -22);
        cpu.put(DATA, &[5, 6]);
        assert_eq!(cpu.call(302, &[0, 7, DATA, DATA + 16]), 0);
        assert_eq!((cpu.word(DATA + 16), cpu.word(DATA + 24)), (1024, 1 << 20));
        cpu.put(DATA, &[5, 7]);
        assert_eq!(cpu.call(302, &[1000, 7, DATA, 0]), -1);
        assert_eq!(cpu.call(302, &[4242, 7, DATA, 0]), -3);
        assert_eq!(cpu.call(97, &[16, DATA]), -22);
    });
    assert_eq!(status, 0);
}

#[test]
fn the_limit_of_cpu_time_warns_and_kills() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.on_signal(DATA + 0x800, 24, 0, 0, |cpu, _, _, _| {
            let count = cpu.word(DATA + 64);
            cpu.put(DATA + 64, &[count + 1]);
        });
        cpu.put(DATA, &[2, 4]);
        assert_eq!(cpu.call(160, &[0, DATA]), 0);
        for round in 0..100u64 {
            cpu.compute(Duration::from_millis(100));
            cpu.put(DATA, &[0, 1]);
            cpu.call(35, &[DATA, 0]);
            // Two warnings at least before the end, none early.
            let warned = cpu.word(DATA + 64);
            assert!(round >= 19 || warned == 0);
            assert!(round < 32 || warned >= 2);
        }
        unreachable!("more CPU time than allowed");
    });
    assert_eq!(status, 9);
}

#[test]
fn the_node_describes_itself() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        assert_eq!(cpu.call(63, &[DATA]), 0);
        assert_eq!(cpu.read(DATA, 6), b"Linux\0");
        assert_eq!(cpu.read(DATA + 65, 4), b"lwk\0");
        assert_eq!(cpu.read(DATA + 130, 11), b"5.10.0-lwk\0");
        assert_eq!(cpu.read(DATA + 260, 7), b"x86_64\0");
        assert_eq!(cpu.call(99, &[DATA]), 0);
        assert!(cpu.word(DATA + 32) > cpu.word(DATA + 40));
        assert_eq!(cpu.half(DATA + 104), 1);
        assert_eq!(cpu.call(318, &[DATA, 600, 0]), 600);
        assert_ne!(cpu.word(DATA), cpu.word(DATA + 256));
        assert_eq!(cpu.call(318, &[DATA, 8, 8]), -22);
        assert_eq!(cpu.call(318, &[8, 8, 0]), -14);
        assert_eq!(cpu.call(135, &[0xffff_ffff]), 0);
        assert_eq!(cpu.call(135, &[0x40000]), 0);
        assert_eq!(cpu.call(135, &[0xffff_ffff]), 0x40000);
        assert_eq!(cpu.call(135, &[8]), -22);
        assert_eq!(cpu.call(158, &[0x1002, 0x7000]), 0);
        assert_eq!(cpu.call(158, &[0x1003, DATA]), 0);
        assert_eq!((cpu.word(DATA), cpu.registers.fs_base), (0x7000, 0x7000));
        assert_eq!(cpu.call(158, &[0x1002, 1 << 47]), -1);
        assert_eq!(cpu.call(158, &[0x3001, 0]), -22);
        assert_eq!((cpu.call(158, &[0x1011, 0]), cpu.call(158, &[0x1012, 0])), (1, -19));
        assert_eq!(cpu.call(115, &[0, 0]), 2);
        assert_eq!(cpu.call(115, &[1, DATA]), -22);
        assert_eq!(cpu.call(115, &[4, DATA]), 2);
        assert_eq!((cpu.half(DATA), cpu.half(DATA + 4)), (100, 4));
        assert_eq!(cpu.call(117, &[0xffff_ffff, 1001, 0xffff_ffff]), 0);
        assert_eq!((cpu.call(102, &[]), cpu.call(107, &[])), (1000, 1001));
        cpu.put(DATA, &[0x2008_0522, 0]);
        assert_eq!(cpu.call(125, &[DATA, DATA + 16]), 0);
        cpu.put(DATA + 16, &[1, 0, 0]);
        assert_eq!(cpu.call(126, &[DATA, DATA + 16]), -1);
        cpu.put(DATA + 16, &[0, 0, 0]);
        assert_eq!(cpu.call(126, &[DATA, DATA + 16]), 0);
        for (tid, get, set) in [(1000, 0, 0), (77, -3, -1), (0xffff_ffffu64, -22, -1)] {
            cpu.put(DATA, &[0x2008_0522 | tid << 32]);
            let results = (cpu.call(125, &[DATA, DATA + 16]), cpu.call(126, &[DATA, DATA + 16]));
            assert_eq!(results, (get, set), "{tid}");
        }
        assert_eq!(cpu.call(157, &[99, 0]), -22);
        assert_eq!(cpu.call(324, &[0, 0]), 25);
        assert_eq!((cpu.call(324, &[8, 0]), cpu.call(324, &[16, 0]), cpu.call(324, &[8, 0])), (-1, 0, 0));
        assert_eq!(cpu.call(324, &[64, 0]), -22);
        assert_eq!((cpu.call(732, &[]), cpu.call(700, &[])), (0, 0));
        assert_eq!(cpu.call(148, &[0, DATA]), 0);
        cpu.put_half(DATA, 5);
        // Nobody's limit lets a user have real-time priorities.
        assert_eq!(cpu.call(144, &[0, 1, DATA]), -1);
        assert_eq!(cpu.call(144, &[0, 0, DATA]), -22);
        cpu.put_half(DATA, 0);
        assert_eq!(cpu.call(144, &[0, 3, DATA]), 0);
        assert_eq!(cpu.call(145, &[0]), 3);
        assert_eq!((cpu.call(146, &[1]), cpu.call(147, &[2]), cpu.call(146, &[9])), (99, 1, -22));
        assert_eq!(cpu.call(141, &[0, 0, 7]), 0);
        assert_eq!(cpu.call(141, &[0, 0, 6]), -13);
        assert_eq!(cpu.call(315, &[0, DATA, 48, 0]), 0);
        assert_eq!((cpu.half(DATA + 4), cpu.half(DATA + 16), cpu.half(DATA + 20)), (3, 7, 0));
        assert_eq!(cpu.call(140, &[0, 0]), 13);
    });
    assert_eq!(status, 0);
}

#[test]
fn what_is_not_here_fails_as_programs_expect() {
    let world = World::new(1);
    world.run_program(|cpu| {
        for (number, errno) in [
            (101, 1),
            (165, 1),
            (169, 1),
            (272, 1),
            (103, 1),
            (164, 1),
            (317, 22),
            (275, 22),
            (298, 2),
            (330, 28),
            (303, 95),
            (206, 38),
            (425, 38),
            (434, 38),
            (449, 38),
            (212, 38),
            (428, 38),
            (451, 38),
            (1000, 38),
            (u64::MAX, 38),
        ] {
            assert_eq!(cpu.call(number, &[0; 6]), -errno, "{number}");
        }
        for number in [187, 221, 251, 252, 141] {
            assert_eq!(cpu.call(number, &[0; 6]), 0, "{number}");
        }
    });
}
