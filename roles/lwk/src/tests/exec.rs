//! exec (section 3.8).

use super::*;

/// Stores an argument vector of these strings at `at`; its address.
fn vector(cpu: &mut Cpu, at: u64, strings: &[&str]) -> u64 {
    let mut text = at + 0x100;
    let mut pointers = Vec::new();
    for string in strings {
        pointers.push(cpu.text(text, string));
        text += string.len() as u64 + 1;
    }
    pointers.push(0);
    cpu.put(at, &pointers);
    at
}

#[test]
fn another_program_takes_the_place() {
    let world = World::new(1);
    world.program("/bin/next", |cpu| {
        // Registers are new, memory too; ignored signals stay ignored, handlers are gone, the mask stays.
        assert_eq!((cpu.registers.rbx, cpu.registers.fs_base), (0, 0));
        assert_eq!(cpu.word(DATA), 0);
        for (signal, handler) in [(10, 0), (12, 1)] {
            assert_eq!(cpu.call(13, &[signal, 0, DATA, 8]), 0);
            assert_eq!(cpu.word(DATA), handler);
        }
        assert_eq!(cpu.call(14, &[0, 0, DATA, 8]), 0);
        assert_eq!(cpu.word(DATA), 1 << 14);
        assert_eq!(cpu.call(131, &[0, DATA]), 0);
        assert_eq!(cpu.half(DATA + 8), 2);
        assert_eq!(cpu.call(157, &[16, DATA]), 0);
        assert_eq!(cpu.read(DATA, 5), b"next\0");
        assert_eq!(cpu.call(39, &[]), 1000);
        cpu.exit_group(6);
    });
    let status = world.run_program(|cpu| {
        cpu.put(DATA, &[7]);
        cpu.on_signal(DATA + 0x800, 10, 0, 0, |_, _, _, _| {});
        cpu.put(DATA + 0x800, &[1, 0, 0, 0]);
        assert_eq!(cpu.call(13, &[12, DATA + 0x800, 0, 8]), 0);
        cpu.put(DATA + 0x800, &[1 << 14]);
        assert_eq!(cpu.call(14, &[0, DATA + 0x800, 0, 8]), 0);
        cpu.put(DATA + 0x800, &[DATA + 0x1_0000, 0, 0x4000]);
        assert_eq!(cpu.call(131, &[DATA + 0x800, 0]), 0);
        cpu.registers.rbx = 9;
        let path = cpu.text(DATA + 0x900, "/bin/next");
        let argv = vector(cpu, DATA + 0x1000, &["next", "a b"]);
        let envp = vector(cpu, DATA + 0x2000, &["X=1"]);
        cpu.call(59, &[path, argv, envp]);
        unreachable!("exec returned");
    });
    assert_eq!(status, 6 << 8);
}

#[test]
fn a_failed_exec_changes_nothing() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        let missing = cpu.text(DATA + 0x900, "/bin/missing");
        let argv = vector(cpu, DATA + 0x1000, &["x"]);
        assert_eq!(cpu.call(59, &[missing, argv, 0]), -2);
        assert_eq!(cpu.call(59, &[0, argv, 0]), -14);
        assert_eq!(cpu.call(59, &[missing, 16, 0]), -14);
        let empty = cpu.text(DATA + 0x980, "");
        assert_eq!(cpu.call(59, &[empty, argv, 0]), -2);
        assert_eq!(cpu.call(322, &[0, missing, argv, 0, 0x8000]), -22);
        // One string is too long, then all of them together.
        cpu.write(DATA + 0x1_0000, &vec![b'x'; 140 << 10]);
        cpu.put(DATA + 0x1000, &[DATA + 0x1_0000, 0]);
        assert_eq!(cpu.call(59, &[missing, DATA + 0x1000, 0]), -7);
        cpu.write(DATA + 0x1_0000 + (120 << 10), &[0]);
        cpu.put(DATA + 0x1000, &[DATA + 0x1_0000; 60]);
        assert_eq!(cpu.call(59, &[missing, DATA + 0x1000, 0]), -7);
        assert_eq!(cpu.word(DATA + 0x1000), DATA + 0x1_0000);
    });
    assert_eq!(status, 0);
}

#[test]
fn exec_by_another_thread_ends_the_rest_and_takes_the_process_id() {
    let world = World::new(3);
    world.program("/bin/next", |cpu| {
        assert_eq!((cpu.call(39, &[]), cpu.call(186, &[])), (1000, 1000));
        // The others' places are free.
        for index in 0..2 {
            let tid = cpu.spawn(56, &[THREAD, STACK + 0x8000 + index * 0x1000, DATA, DATA + 8, 0], |cpu| {
                cpu.exit(0);
            });
            assert!(tid > 0);
        }
        cpu.exit_group(8);
    });
    let status = world.run_program(|cpu| {
        let path = cpu.text(DATA + 0x900, "/bin/next");
        cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA + 8, 0], |cpu| {
            loop {
                cpu.compute(Duration::from_micros(1));
            }
        });
        cpu.spawn(56, &[THREAD, STACK + 0x9000, DATA, DATA + 8, 0], move |cpu| {
            let argv = vector(cpu, DATA + 0x1000, &["next"]);
            cpu.call(59, &[path, argv, 0]);
            unreachable!("exec returned");
        });
        cpu.call(34, &[]);
    });
    assert_eq!(status, 8 << 8);
    assert_eq!(world.node.cores().map(|core| core.threads()).sum::<usize>(), 0);
}

#[test]
fn the_child_of_a_vfork_needs_a_place_when_it_executes() {
    for (cores, expected) in [(1, -22), (2, 0)] {
        let world = World::new(cores);
        world.program("/bin/next", |cpu| cpu.exit_group(2));
        let status = world.run_program(move |cpu| {
            let path = cpu.text(DATA + 0x900, "/bin/next");
            let argv = vector(cpu, DATA + 0x1000, &["next"]);
            cpu.put(DATA, &[0]);
            let pid = cpu.spawn(58, &[], move |cpu| {
                let result = cpu.call(59, &[path, argv, 0]);
                cpu.put(DATA, &[result as u64]);
                cpu.exit_group(127);
            });
            // The parent goes on as soon as the child has a program of its own.
            assert_eq!(cpu.word(DATA) as i64, expected);
            assert_eq!(cpu.call(61, &[pid as u64, DATA + 8, 0, 0]), pid);
            assert_eq!(cpu.half(DATA + 8), if expected == 0 { 2 << 8 } else { 127 << 8 });
        });
        assert_eq!(status, 0);
        assert_eq!(world.node.cores().map(|core| core.threads()).sum::<usize>(), 0);
    }
}

/// Whether a call is refused before it begins, or finds no memory by itself.
#[test]
fn calls_that_there_is_no_memory_for_are_counted() {
    let world = World::new(1);
    let machine = world.machine.clone();
    let status = world.run_program(move |cpu| {
        let no_memory = -i64::from(Errno::ENOMEM.raw());
        machine.short.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(cpu.call(22, &[DATA]), no_memory);
        assert_eq!(cpu.call(9, &[0, 4096, 3, 0x22, u64::MAX, 0]), no_memory);
        assert_eq!(cpu.call(3, &[99]), -i64::from(Errno::EBADF.raw()), "for another reason");
        machine.short.store(false, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(status, 0);
    assert_eq!(world.node.refusals.calls(), 2);
}

#[test]
fn arguments_need_memory_of_the_kernel() {
    let world = World::new(1);
    world.program("/bin/next", |cpu| cpu.exit_group(6));
    let machine = world.machine.clone();
    let status = world.run_program(move |cpu| {
        let path = cpu.text(DATA + 0x900, "/bin/next");
        let argv = vector(cpu, DATA + 0x1000, &["next", "a"]);
        machine.short.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(cpu.call(59, &[path, argv, 0]), -i64::from(Errno::ENOMEM.raw()));
        machine.short.store(false, std::sync::atomic::Ordering::Relaxed);
        cpu.call(59, &[path, argv, 0]);
        unreachable!("exec returned");
    });
    assert_eq!(status, 6 << 8);
}
