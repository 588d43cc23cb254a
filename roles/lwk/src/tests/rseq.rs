//! Restartable sequences.

use super::*;

/// The thread's structure, the description of a sequence, and where it is left: after its signature.
const RSEQ: u64 = DATA + 0x100;
const SEQUENCE: u64 = DATA + 0x140;
const ABORT: u64 = DATA + 0x204;
/// Some code that nobody runs.
const START: u64 = 0x45_0000;
const LEN: u64 = 0x20;
const SIGNATURE: u64 = 0x5305_3053;
/// `cpu_id` of a thread that registered nothing.
const NONE: u32 = u32::MAX;

fn register(cpu: &mut Cpu) {
    cpu.put(RSEQ, &[0, 0, 0, 0]);
    assert_eq!(cpu.call(334, &[RSEQ, 32, 0, SIGNATURE]), 0);
}

/// Enters a sequence of `LEN` bytes from `start`.
fn enter(cpu: &mut Cpu, start: u64) {
    cpu.put(SEQUENCE, &[0, start, LEN, ABORT]);
    cpu.put_half(ABORT - 4, SIGNATURE as u32);
    cpu.put(RSEQ + 8, &[SEQUENCE]);
}

#[test]
fn a_thread_registers_once_and_takes_it_back() {
    let status = World::new(1).run_program(|cpu| {
        assert_eq!(cpu.call(334, &[RSEQ + 8, 32, 0, SIGNATURE]), -22, "alignment");
        assert_eq!(cpu.call(334, &[RSEQ, 20, 0, SIGNATURE]), -22, "length");
        assert_eq!(cpu.call(334, &[RSEQ, 32, 2, SIGNATURE]), -22, "flags");
        assert_eq!(cpu.call(334, &[RSEQ, 32, 1, SIGNATURE]), -22, "nothing to take back");
        assert_eq!(cpu.call(334, &[0xdead_0000, 32, 0, SIGNATURE]), -14);
        cpu.put(RSEQ, &[u64::MAX, 0, 0, 0]);
        assert_eq!(cpu.call(334, &[RSEQ, 32, 0, SIGNATURE]), 0);
        assert_eq!(cpu.word(RSEQ), 0, "CPU 0");
        assert_eq!(cpu.call(334, &[RSEQ, 32, 0, SIGNATURE]), -16);
        assert_eq!(cpu.call(334, &[RSEQ, 32, 0, 1]), -1);
        assert_eq!(cpu.call(334, &[RSEQ + 32, 32, 0, SIGNATURE]), -22);
        assert_eq!(cpu.call(334, &[RSEQ, 32, 1, 1]), -1, "another signature");
        assert_eq!(cpu.call(334, &[RSEQ, 32, 1, SIGNATURE]), 0);
        assert_eq!((cpu.half(RSEQ), cpu.half(RSEQ + 4)), (0, NONE));
        assert_eq!(cpu.call(334, &[RSEQ, 32, 0, SIGNATURE]), 0);
    });
    assert_eq!(status, 0);
}

#[test]
fn an_interrupted_sequence_is_left_and_nothing_else_is() {
    let status = World::new(1).run_program(|cpu| {
        register(cpu);
        assert_eq!(cpu.interrupted(START), START, "in none");
        for rip in [START, START + LEN - 1] {
            enter(cpu, START);
            assert_eq!(cpu.interrupted(rip), ABORT);
            assert_eq!(cpu.word(RSEQ + 8), 0, "in none any more");
            assert_eq!(cpu.interrupted(rip), rip);
        }
        for rip in [START - 1, START + LEN] {
            enter(cpu, START);
            assert_eq!(cpu.interrupted(rip), rip);
        }
    });
    assert_eq!(status, 0);
}

#[test]
fn a_move_is_seen_and_leaves_the_sequence() {
    let status = World::new(2).run_program(|cpu| {
        register(cpu);
        cpu.put(DATA, &[1 << 1]);
        assert_eq!(cpu.call(203, &[0, 8, DATA]), 0);
        assert_eq!((cpu.half(RSEQ), cpu.half(RSEQ + 4)), (1, 1));
    });
    assert_eq!(status, 0);
}

#[test]
fn a_handler_finds_the_sequence_left() {
    let (seen, note) = notes();
    let status = World::new(1).run_program(move |cpu| {
        let note = note.clone();
        register(cpu);
        let here = cpu.registers.rip;
        cpu.on_signal(DATA + 0x300, 10, 4, 0, move |cpu, _, _, context| {
            let rip = context + 40 + 16 * 8;
            note(cpu.word(rip));
            // The processor of these tests knows no code at the abort address.
            cpu.put(rip, &[here]);
        });
        enter(cpu, here - 1);
        assert_eq!(cpu.call(234, &[1000, 1000, 10]), 0);
    });
    assert_eq!(status, 0);
    assert_eq!(*seen.lock().unwrap(), [ABORT]);
}

#[test]
fn a_forged_sequence_is_fatal() {
    let broken: [fn(&mut Cpu); 4] = [
        |cpu| cpu.put_half(ABORT - 4, 0),
        |cpu| cpu.put(RSEQ + 8, &[0xdead_0000]),
        |cpu| cpu.put(SEQUENCE, &[1]),
        |cpu| cpu.put(SEQUENCE + 24, &[START + 1]),
    ];
    for break_it in broken {
        let status = World::new(1).run_program(move |cpu| {
            register(cpu);
            enter(cpu, START);
            break_it(cpu);
            cpu.interrupted(START);
        });
        assert_eq!(status & 0x7f, 11);
    }
}

#[test]
fn a_child_process_has_it_and_a_thread_and_a_new_program_have_not() {
    let world = World::new(3);
    let (seen, note) = notes();
    let status = world.run_program(move |cpu| {
        register(cpu);
        let both = note.clone();
        cpu.spawn(57, &[], move |cpu| {
            both(cpu.call(334, &[RSEQ, 32, 0, SIGNATURE]) as u64);
            cpu.exit_group(0);
        });
        let note = note.clone();
        cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA + 8, 0], move |cpu| {
            note(cpu.call(334, &[RSEQ + 0x400, 32, 0, SIGNATURE]) as u64);
            cpu.call(34, &[]);
        });
        assert!(cpu.call(61, &[u64::MAX, 0, 0, 0]) > 0);
        cpu.put(DATA + 64, &[0, 1_000_000]);
        cpu.call(35, &[DATA + 64, 0]);
    });
    assert_eq!(status, 0);
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen, [0, -16i64 as u64]);
}
