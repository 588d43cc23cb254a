//! Making threads: places on cores, helpers, what clone refuses (sections 3.6, 3.7).

use super::*;
use crate::sched::CpuSet;
use std::sync::atomic::Ordering;

fn idle_thread(cpu: &mut Cpu, index: u64) -> i64 {
    cpu.spawn(56, &[THREAD, STACK + 0x8000 + index * 0x1000, DATA, DATA + 8, 0], |cpu| {
        cpu.call(34, &[]);
    })
}

#[test]
fn one_thread_for_each_core_and_no_more() {
    let world = World::new(4);
    let status = world.run_program(|cpu| {
        for index in 0..3 {
            assert!(idle_thread(cpu, index) >= 1 << 22);
        }
        assert_eq!(idle_thread(cpu, 3), -22);
        assert_eq!(cpu.call(57, &[]), -22);
        cpu.exit_group(0);
    });
    assert_eq!(status, 0);
}

#[test]
fn oversubscription_allows_as_many_as_it_says() {
    let world =
        World::with(NodeSettings { compute: vec![1, 2], oversubscribe: 2, ..NodeSettings::default() });
    let status = world.run_program(|cpu| {
        for index in 0..3 {
            assert!(idle_thread(cpu, index) > 0);
        }
        assert_eq!(idle_thread(cpu, 3), -22);
        cpu.exit_group(0);
    });
    assert_eq!(status, 0);
}

#[test]
fn threads_go_to_the_emptiest_core_and_share_it_fairly() {
    let world =
        World::with(NodeSettings { compute: vec![1, 2], oversubscribe: 2, ..NodeSettings::default() });
    let (seen, note) = notes();
    let status = world.run_program(move |cpu| {
        for index in 0..3u64 {
            let note = note.clone();
            cpu.spawn(56, &[THREAD, STACK + 0x8000 + index * 0x1000, DATA, DATA + 8, 0], move |cpu| {
                assert_eq!(cpu.call(309, &[DATA + 256 + index * 8, 0, 0]), 0);
                note((index, cpu.half(DATA + 256 + index * 8)));
                // The others get their turns.
                for _ in 0..5 {
                    assert_eq!(cpu.call(24, &[]), 0);
                }
                cpu.call(34, &[]);
            });
        }
        cpu.put(DATA + 64, &[0, 1_000_000]);
        cpu.call(35, &[DATA + 64, 0]);
        cpu.exit_group(0);
    });
    assert_eq!(status, 0);
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen, [(0, 1), (1, 0), (2, 1)]);
}

#[test]
fn programs_do_not_share_cores_unasked() {
    let world = World::with(NodeSettings { compute: vec![1, 2], ..NodeSettings::default() });
    world.program("/bin/one", |cpu| {
        cpu.put(DATA + 64, &[0, 1_000_000]);
        cpu.call(35, &[DATA + 64, 0]);
        cpu.exit_group(0);
    });
    world.program("/bin/two", |cpu| {
        // Its own core it may share, when it says so and another is free; that of another program not.
        cpu.put(DATA, &[1 << 1]);
        assert_eq!(cpu.call(203, &[0, 8, DATA]), 0);
        assert_eq!(idle_thread(cpu, 0), -22);
        cpu.exit_group(0);
    });
    world.launch(world.request(1000, "/bin/one")).expect("there are two cores");
    world.launch(world.request(1001, "/bin/two")).expect("there is another core");
    assert_eq!(world.launch(world.request(1002, "/bin/one")).err(), Some(Errno::EINVAL));
    world.run();
    assert_eq!((world.status(1000), world.status(1001)), (0, 0));
    world.launch(world.request(1003, "/bin/one")).expect("both cores are free again");
    world.run();
}

#[test]
fn a_pinned_thread_makes_others_on_its_core() {
    let world = World::with(NodeSettings { compute: vec![1, 2], ..NodeSettings::default() });
    let status = world.run_program(|cpu| {
        cpu.put(DATA, &[1 << 0]);
        assert_eq!(cpu.call(203, &[0, 8, DATA]), 0);
        assert!(idle_thread(cpu, 0) > 0);
        assert_eq!(idle_thread(cpu, 1), -22);
        cpu.exit_group(0);
    });
    assert_eq!(status, 0);
}

#[test]
fn helpers_take_the_emptiest_service_core_or_the_last() {
    for (last, expected) in [(false, [0, 1, 0]), (true, [1, 1, 1])] {
        let settings = NodeSettings { compute: vec![2], service: vec![0, 1], ..NodeSettings::default() };
        let world = World::with(settings);
        let rules = HelperRules { allowance: 3, last, ..HelperRules::default() };
        let helpers = Arc::default();
        let seats: Vec<_> = std::iter::from_fn(|| world.node.helper_seat(&helpers, &rules)).collect();
        assert_eq!(seats.iter().map(|seat| seat.core().number).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn helpers_run_on_service_cores_within_their_allowance() {
    let world = World::new(1);
    world.program("/bin/test", |cpu| {
        // The second clone is one by rule; the first finds no core.
        assert_eq!(idle_thread(cpu, 0), -22);
        assert!(idle_thread(cpu, 1) > 0);
        assert_eq!(idle_thread(cpu, 2), -22);
        // McKernel's hint.
        assert_eq!(cpu.call(731, &[]), 0);
        assert!(idle_thread(cpu, 3) > 0);
        assert_eq!(cpu.call(731, &[]), 0);
        assert_eq!(idle_thread(cpu, 4), -22);
        cpu.put_half(DATA + 0x100, 1);
        cpu.call(34, &[]);
    });
    let mut request = world.request(1000, "/bin/test");
    request.helpers = HelperRules { allowance: 2, rank: Some(2), ..HelperRules::default() };
    let process = world.launch(request).unwrap();
    world.settle();
    assert_eq!(world.node.core(0).unwrap().threads(), 2);
    assert!(process.threads()[1..].iter().all(|thread| thread.core.load(Ordering::Relaxed) == 0));
    process.begin_end(9);
    world.settle();
    assert_eq!(world.node.core(0).unwrap().threads(), 0);
}

#[test]
fn overflow_and_names_make_helpers() {
    let world = World::new(2);
    world.program("/bin/test", |cpu| {
        let name = cpu.text(DATA + 0x200, "progress");
        cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA + 8, 0], move |cpu| {
            assert_eq!(cpu.call(157, &[15, name]), 0);
            assert_eq!(cpu.call(157, &[16, DATA + 0x240]), 0);
            assert_eq!(cpu.read(DATA + 0x240, 9), b"progress\0");
            cpu.call(34, &[]);
        });
        cpu.put(DATA + 64, &[0, 1_000_000]);
        cpu.call(35, &[DATA + 64, 0]);
        // Its core is free again; the one after that overflows.
        assert!(idle_thread(cpu, 1) > 0);
        assert!(idle_thread(cpu, 2) > 0);
        cpu.call(34, &[]);
    });
    let mut request = world.request(1000, "/bin/test");
    let name = Some(b"progress".to_vec());
    request.helpers = HelperRules { allowance: 4, name, overflow: true, ..HelperRules::default() };
    let process = world.launch(request).unwrap();
    world.run();
    assert_eq!(process.thread_count(), 4);
    let threads = |core: usize| world.node.core(core).unwrap().threads();
    assert_eq!((threads(0), threads(1), threads(2)), (2, 1, 1));
    process.begin_end(9);
    world.settle();
}

#[test]
fn slices_are_equal_and_apart() {
    let world = World::new(4);
    world.program("/bin/test", |cpu| {
        assert_eq!(cpu.call(204, &[0, 128, DATA]), 8);
        let mask = cpu.word(DATA);
        assert_eq!(cpu.call(204, &[0, 4, DATA]), -22);
        // Threads stay within.
        assert!(idle_thread(cpu, 0) > 0);
        assert_eq!(idle_thread(cpu, 1), -22);
        cpu.exit_group(mask);
    });
    for index in 0..2 {
        let request = LaunchRequest {
            slices: 2,
            slice: Some(index),
            ..world.request(1000 + index as u32, "/bin/test")
        };
        world.launch(request).unwrap();
    }
    world.run();
    assert_eq!((world.status(1000), world.status(1001)), (0b0011 << 8, 0b1100 << 8));
    // As they come, where nobody numbers them.
    for pid in [1004, 1005] {
        let request = LaunchRequest { slices: 2, slice: None, ..world.request(pid, "/bin/test") };
        world.launch(request).unwrap();
    }
    world.run();
    assert_eq!((world.status(1004), world.status(1005)), (0b0011 << 8, 0b1100 << 8));
    for (slices, slice) in [(5, 0), (2, 2)] {
        let request = LaunchRequest { slices, slice: Some(slice), ..world.request(1003, "/bin/test") };
        assert_eq!(world.launch(request).err(), Some(Errno::EINVAL));
    }
    assert_eq!(world.node.cores().map(|core| core.threads()).sum::<usize>(), 0);
}

/// `mcexec -c`: the first thread runs where it was told to, or not at all.
#[test]
fn a_launcher_names_the_processor() {
    let world = World::new(4);
    world.program("/bin/test", |cpu| {
        assert_eq!(cpu.call(309, &[DATA, 0, 0]), 0);
        let at = cpu.word(DATA) as u32;
        // Its next thread has another one.
        assert!(idle_thread(cpu, 0) > 0);
        cpu.exit_group(at.into());
    });
    let request = |pid, cpu, slices| LaunchRequest {
        cpu: Some(cpu),
        slices,
        slice: (slices == 0).then_some(0),
        ..world.request(pid, "/bin/test")
    };
    world.launch(request(1000, 2, 0)).unwrap();
    assert_eq!(world.launch(request(1001, 2, 0)).err(), Some(Errno::EBUSY));
    world.launch(request(1002, 1, 0)).unwrap();
    world.run();
    assert_eq!((world.status(1000), world.status(1002)), (2 << 8, 1 << 8));
    // Without a number for the rank it is the slice that has the processor; with one it has to be in it.
    world.launch(request(1003, 3, 2)).unwrap();
    let elsewhere = LaunchRequest { slice: Some(0), ..request(1004, 3, 2) };
    assert_eq!(world.launch(elsewhere).err(), Some(Errno::ENXIO));
    world.run();
    assert_eq!(world.status(1003), 3 << 8);
    assert_eq!(world.node.cores().map(|core| core.threads()).sum::<usize>(), 0);
}

/// `mcexec --disable-sched-yield`: who says that others may go first goes on all the same.
#[test]
fn yielding_is_left_out_on_demand() {
    for (keeps, order) in [(false, [0, 1, 0, 1]), (true, [0, 0, 1, 1])] {
        let settings = NodeSettings { compute: vec![1], oversubscribe: 3, ..NodeSettings::default() };
        let world = World::with(settings);
        let (seen, note) = notes();
        world.program("/bin/test", move |cpu| {
            for index in 0..2u64 {
                let note = note.clone();
                cpu.spawn(56, &[THREAD, STACK + 0x8000 + index * 0x1000, DATA, DATA + 8, 0], move |cpu| {
                    note(index);
                    assert_eq!(cpu.call(24, &[]), 0);
                    note(index);
                    cpu.call(34, &[]);
                });
            }
            cpu.put(DATA + 64, &[0, 1_000_000]);
            cpu.call(35, &[DATA + 64, 0]);
            cpu.exit_group(0);
        });
        world.launch(LaunchRequest { keeps, ..world.request(1000, "/bin/test") }).expect("launched");
        world.run();
        assert_eq!((world.status(1000), &seen.lock().unwrap()[..]), (0, &order[..]));
    }
}

/// A launcher with PR_SET_THP_DISABLE passes it on, and the program to its children.
#[test]
fn small_pages_are_inherited_from_the_launcher() {
    let world = World::new(2);
    world.program("/bin/test", |cpu| {
        let disabled = cpu.call(157, &[42, 0, 0, 0, 0]);
        cpu.exit_group(disabled as u64);
    });
    for (pid, small_pages) in [(1000, true), (1001, false)] {
        let request = LaunchRequest { small_pages, ..world.request(pid, "/bin/test") };
        assert_eq!(world.launch(request).unwrap().mm().small_pages(), small_pages);
    }
    world.run();
    assert_eq!((world.status(1000), world.status(1001)), (1 << 8, 0));
}

#[test]
fn affinity_moves_a_thread_with_its_registers() {
    let world = World::new(3);
    let status = world.run_program(|cpu| {
        let cpu_now = |cpu: &mut Cpu| {
            assert_eq!(cpu.call(309, &[DATA, DATA + 8, 0]), 0);
            cpu.half(DATA)
        };
        assert_eq!(cpu_now(cpu), 0);
        cpu.registers.rbx = 77;
        cpu.put(DATA + 16, &[1 << 2]);
        assert_eq!(cpu.call(203, &[0, 8, DATA + 16]), 0);
        assert_eq!((cpu_now(cpu), cpu.registers.rbx), (2, 77));
        // Core 3 is on the second NUMA node.
        assert_eq!(cpu.half(DATA + 8), 1);
        assert_eq!(cpu.call(204, &[0, 8, DATA + 24]), 8);
        assert_eq!(cpu.word(DATA + 24), 1 << 2);
        cpu.put(DATA + 16, &[1 << 5]);
        assert_eq!(cpu.call(203, &[0, 8, DATA + 16]), -22);
        assert_eq!(cpu.call(203, &[4321, 8, DATA + 24]), -3);
    });
    assert_eq!(status, 0);
}

#[test]
fn combinations_that_make_no_sense_are_refused() {
    let world = World::new(4);
    let status = world.run_program(|cpu| {
        for flags in [0x10000, 0x800, 0x100, 0x1_0900, 0x2_0000 | 17, 0x4000_0000 | 17, 0x1000 | 17, 0x1_4f00]
        {
            assert_eq!(cpu.call(56, &[flags, 0, 0, 0, 0]), -22, "{flags:#x}");
        }
        let args = |cpu: &mut Cpu, words: &[u64], size: u64| {
            cpu.put(DATA + 0x100, &[0; 12]);
            cpu.put(DATA + 0x100, words);
            cpu.call(435, &[DATA + 0x100, size])
        };
        assert_eq!(args(cpu, &[THREAD], 56), -22);
        assert_eq!(args(cpu, &[THREAD], 5000), -7);
        assert_eq!(args(cpu, &[THREAD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 96), -7);
        assert_eq!(args(cpu, &[THREAD, 0, 0, 0, 17], 88), -22);
        assert_eq!(args(cpu, &[THREAD, 0, 0, 0, 0, STACK, 0], 88), -22);
        assert_eq!(args(cpu, &[0, 0, 0, 0, 65], 88), -22);
        assert_eq!(cpu.call(435, &[16, 88]), -14);
        cpu.put(
            DATA + 0x100,
            &[THREAD & !0x40_0000, 0, DATA + 8, DATA, 0, STACK + 0x8000, 0x1000, 0x99, 0, 0, 0],
        );
        let tid = cpu.spawn(435, &[DATA + 0x100, 88], |cpu| {
            assert_eq!((cpu.registers.rsp, cpu.registers.fs_base), (STACK + 0x9000, 0x99));
            cpu.exit(0);
        });
        assert!(tid > 0);
        assert_eq!(cpu.half(DATA) as i64, tid);
    });
    assert_eq!(status, 0);
}

#[test]
fn the_limit_of_a_users_threads_holds() {
    let world = World::new(4);
    let status = world.run_program(|cpu| {
        cpu.put(DATA + 0x100, &[2, 2]);
        assert_eq!(cpu.call(160, &[6, DATA + 0x100]), 0);
        assert!(idle_thread(cpu, 0) > 0);
        assert_eq!(idle_thread(cpu, 1), -11);
        cpu.exit_group(0);
    });
    assert_eq!(status, 0);
}

#[test]
fn sets_of_cpus_are_masks() {
    let set: CpuSet = [0, 3, 64, 255, 300].into_iter().collect();
    assert!([0, 3, 64, 255].iter().all(|cpu| set.has(*cpu)));
    assert!(!set.has(300) && !set.has(1));
    assert_eq!(CpuSet::from_bytes(&set.to_bytes()), set);
    assert_eq!(CpuSet::from_bytes(&[0b1001]), [0, 3].into_iter().collect());
    assert!(set.and([1].into_iter().collect()).is_empty());
}
