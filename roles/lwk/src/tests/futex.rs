//! Futexes of programs, and against a simple model.

use super::*;
use crate::futex::{ANY, Futexes, Waiting, Word};
use crate::mm::FutexKey;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Starts `count` threads that wait for the word at DATA + 128 * i and then count themselves.
fn waiters(cpu: &mut Cpu, count: u64, word: impl Fn(u64) -> u64, woken: &Arc<AtomicU64>) {
    for index in 0..count {
        let (woken, word) = (woken.clone(), word(index));
        cpu.spawn(56, &[THREAD, STACK + 0x8000 + index * 0x1000, DATA, DATA + 8, 0], move |cpu| {
            assert_eq!(cpu.call(202, &[word, 9, 0, 0, 0, 1 << index]), 0);
            woken.fetch_add(1, Ordering::Relaxed);
            cpu.exit(0);
        });
    }
    // Long enough for all of them to wait.
    cpu.put(DATA + 64, &[0, 1_000_000]);
    assert_eq!(cpu.call(35, &[DATA + 64, 0]), 0);
}

fn pause(cpu: &mut Cpu) {
    assert_eq!(cpu.call(35, &[DATA + 64, 0]), 0);
}

#[test]
fn wake_wakes_as_many_as_asked_and_bits_choose() {
    let world = World::new(4);
    let woken = Arc::new(AtomicU64::new(0));
    let status = world.run_program(move |cpu| {
        waiters(cpu, 3, |_| DATA + 128, &woken);
        assert_eq!(cpu.call(202, &[DATA + 128, 10, 5, 0, 0, 0]), -22);
        assert_eq!(cpu.call(202, &[DATA + 128, 10, 5, 0, 0, 1 << 7]), 0);
        assert_eq!(cpu.call(202, &[DATA + 128, 10, 5, 0, 0, 1 << 1]), 1);
        pause(cpu);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!(cpu.call(202, &[DATA + 132, 1, 5]), 0);
        assert_eq!(cpu.call(202, &[DATA + 128, 1, 1]), 1);
        assert_eq!(cpu.call(202, &[DATA + 128, 129, 5]), 1);
        pause(cpu);
        assert_eq!(woken.load(Ordering::Relaxed), 3);
    });
    assert_eq!(status, 0);
}

#[test]
fn a_word_that_names_its_owner_goes_from_one_to_the_next() {
    const WORD: u64 = DATA + 128;
    const LOCK: u64 = 6;
    let world = World::new(4);
    let order = Arc::new(AtomicU64::new(0));
    let status = world.run_program(move |cpu| {
        cpu.put(WORD, &[0]);
        assert_eq!(cpu.call(202, &[WORD, 7, 0, 0, 0, 0]), -1, "unlocked by somebody else");
        assert_eq!(cpu.call(202, &[WORD, LOCK, 0, 0, 0, 0]), 0);
        assert_eq!(cpu.word(WORD), 1000);
        assert_eq!(cpu.call(202, &[WORD, LOCK, 0, 0, 0, 0]), -35);
        for index in 0..2 {
            let order = order.clone();
            cpu.spawn(56, &[THREAD, STACK + 0x8000 + index * 0x1000, DATA, DATA + 8, 0], move |cpu| {
                assert_eq!(cpu.call(202, &[WORD, 8, 0, 0, 0, 0]), -11, "try");
                assert_eq!(cpu.call(202, &[WORD, LOCK, 0, 0, 0, 0]), 0);
                order.fetch_add(1, Ordering::Relaxed);
                assert_eq!(cpu.call(202, &[WORD, 7, 0, 0, 0, 0]), 0);
                cpu.exit(0);
            });
        }
        cpu.put(DATA + 64, &[0, 1_000_000]);
        pause(cpu);
        assert_eq!(cpu.word(WORD), 1000 | 0x8000_0000);
        assert_eq!(order.load(Ordering::Relaxed), 0);
        assert_eq!(cpu.call(202, &[WORD, 7, 0, 0, 0, 0]), 0);
        pause(cpu);
        assert_eq!(order.load(Ordering::Relaxed), 2);
        assert_eq!(cpu.word(WORD), 0);
        // Nobody of that number.
        cpu.put(WORD, &[99_999]);
        assert_eq!(cpu.call(202, &[WORD, LOCK, 0, 0, 0, 0]), -3);
    });
    assert_eq!(status, 0);
}

#[test]
fn requeue_moves_waiters_to_another_word() {
    let world = World::new(4);
    let woken = Arc::new(AtomicU64::new(0));
    let status = world.run_program(move |cpu| {
        waiters(cpu, 3, |_| DATA + 128, &woken);
        // CMP_REQUEUE looks at the word first.
        assert_eq!(cpu.call(202, &[DATA + 128, 4, 1, 9, DATA + 192, 7]), -11);
        assert_eq!(cpu.call(202, &[DATA + 128, 4, 1, 9, DATA + 192, 0]), 3);
        pause(cpu);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!(cpu.call(202, &[DATA + 128, 1, 9]), 0);
        // REQUEUE within the same word wakes only.
        assert_eq!(cpu.call(202, &[DATA + 192, 3, 1, 9, DATA + 192]), 1);
        assert_eq!(cpu.call(202, &[DATA + 192, 1, 9]), 1);
        pause(cpu);
        assert_eq!(woken.load(Ordering::Relaxed), 3);
    });
    assert_eq!(status, 0);
}

#[test]
fn wake_op_changes_the_second_word_and_may_wake_its_waiters() {
    let world = World::new(4);
    let woken = Arc::new(AtomicU64::new(0));
    let status = world.run_program(move |cpu| {
        waiters(cpu, 2, |index| DATA + 128 + index * 64, &woken);
        // ADD 3, compare EQ 1: not so.
        cpu.put_half(DATA + 192, 5);
        let add = 1 << 28 | 3 << 12 | 1;
        assert_eq!(cpu.call(202, &[DATA + 256, 5, 1, 1, DATA + 192, add]), 0);
        assert_eq!(cpu.half(DATA + 192), 8);
        // SET 1 << 4, compare GT -1: wakes both words' waiters.
        let set = 8 << 28 | 4 << 24 | 4 << 12 | 0xfff;
        assert_eq!(cpu.call(202, &[DATA + 128, 5, 1, 1, DATA + 192, set]), 2);
        assert_eq!(cpu.half(DATA + 192), 16);
        pause(cpu);
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    });
    assert_eq!(status, 0);
}

#[test]
fn waits_end_in_time_and_bad_words_are_refused() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.put(DATA + 64, &[3, 0]);
        assert_eq!(cpu.call(202, &[DATA, 0, 1, 0]), -11);
        assert_eq!(cpu.call(202, &[DATA + 2, 0, 0, 0]), -22);
        assert_eq!(cpu.call(202, &[0x3000_0000, 0, 0, 0]), -14);
        assert_eq!(cpu.call(202, &[DATA, 0, 0, DATA + 64]), -110);
        assert_eq!(cpu.call(228, &[1, DATA + 80]), 0);
        assert_eq!(cpu.word(DATA + 80), 3);
        // Absolute, monotonic: 5 s after boot. Wall clock: two seconds later.
        cpu.put(DATA + 64, &[5, 0]);
        assert_eq!(cpu.call(202, &[DATA, 9 | 128, 0, DATA + 64, 0, 1]), -110);
        cpu.put(DATA + 64, &[1_700_000_007, 0]);
        assert_eq!(cpu.call(202, &[DATA, 9 | 128 | 256, 0, DATA + 64, 0, 1]), -110);
        assert_eq!(cpu.call(228, &[1, DATA + 80]), 0);
        assert_eq!(cpu.word(DATA + 80), 7);
        assert_eq!(cpu.call(202, &[DATA, 11, 0, 0]), -38);
        cpu.put(DATA + 64, &[0, 1_000_000_000]);
        assert_eq!(cpu.call(202, &[DATA, 0, 0, DATA + 64]), -22);
    });
    assert_eq!(status, 0);
}

#[test]
fn the_death_of_an_owner_is_told_to_the_next() {
    let world = World::new(2);
    let status = world.run_program(|cpu| {
        let (head, entry) = (DATA + 0x400, DATA + 0x500);
        cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA + 8, 0], move |cpu| {
            let tid = cpu.call(186, &[]) as u32;
            // One entry, its word 16 bytes behind it; another word is pending and free already.
            cpu.put(head, &[entry, 16, entry + 64]);
            cpu.put(entry, &[head, 0]);
            cpu.put_half(entry + 16, tid | 1 << 31);
            assert_eq!(cpu.call(273, &[head, 8]), -22);
            assert_eq!(cpu.call(273, &[head, 24]), 0);
            assert_eq!(cpu.call(274, &[0, DATA + 0x300, DATA + 0x308]), 0);
            assert_eq!((cpu.word(DATA + 0x300), cpu.word(DATA + 0x308)), (head, 24));
            cpu.put(DATA + 64, &[0, 1_000_000]);
            cpu.call(35, &[DATA + 64, 0]);
            cpu.exit(0);
        });
        while cpu.half(entry + 16) & 1 << 30 == 0 {
            let value = cpu.half(entry + 16);
            if value != 0 {
                assert_eq!(cpu.call(202, &[entry + 16, 0, u64::from(value), 0]), 0);
            } else {
                cpu.compute(Duration::from_micros(1));
            }
        }
        assert_eq!(cpu.half(entry + 16), 1 << 30 | 1 << 31);
    });
    assert_eq!(status, 0);
}

/// A step of the model: waits and wake-ups on a few words.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64, u32),
    Drop(usize),
    Wake(u64, usize, u32),
    Requeue(u64, u64, usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let word = 0..4u64;
    let bits = prop_oneof![Just(ANY), Just(1), Just(2)];
    let step = prop_oneof![
        3 => (word.clone(), bits.clone()).prop_map(|(word, bits)| Step::Wait(word, bits)),
        1 => (0..20usize).prop_map(Step::Drop),
        2 => (word.clone(), 0..4usize, bits).prop_map(|(word, most, bits)| Step::Wake(word, most, bits)),
        2 => (word.clone(), word, 0..3usize, 0..4usize).prop_map(|(a, b, wake, moved)| Step::Requeue(a, b, wake, moved)),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn waking_and_requeueing_follow_the_model(steps in steps()) {
        let (system, ..) = testing::system();
        let mm = Mm::new(&system, MmSettings::default()).unwrap();
        testing::map_anonymous(&mm, DATA, DATA_SIZE);
        let futexes = Futexes::default();
        let key = |word: u64| FutexKey { owner: 1, offset: word * 4 };
        let word = |word: u64| Word { mm: &mm, at: DATA + word * 4, key: key(word) };
        // Waiters by number; who waits for which word with which bits, in order of arrival.
        let mut waits: Vec<Option<Waiting<'_>>> = Vec::new();
        let mut model: Vec<(usize, u64, u32)> = Vec::new();
        let mut woken: Vec<usize> = Vec::new();
        let take = |model: &mut Vec<(usize, u64, u32)>, word: u64, most: usize, bits: u32| {
            let mut out = Vec::new();
            model.retain(|&(id, at, its)| {
                let hit = out.len() < most && at == word && its & bits != 0;
                if hit { out.push(id) }
                !hit
            });
            out
        };
        for step in steps {
            match step {
                Step::Wait(at, bits) => {
                    model.push((waits.len(), at, bits));
                    waits.push(Some(futexes.wait(word(at), 0, bits).unwrap()));
                }
                Step::Drop(id) if id < waits.len() => {
                    waits[id] = None;
                    model.retain(|(other, ..)| *other != id);
                }
                Step::Drop(_) => {}
                Step::Wake(at, most, bits) => {
                    let out = take(&mut model, at, most, bits);
                    prop_assert_eq!(futexes.wake(key(at), most, bits), out.len());
                    woken.extend(out);
                }
                Step::Requeue(from, to, wake, moved) => {
                    let out = take(&mut model, from, wake, ANY);
                    let mut rest = Vec::new();
                    model.retain(|&(id, at, bits)| {
                        let hit = rest.len() < moved && at == from;
                        if hit { rest.push((id, to, bits)) }
                        !hit
                    });
                    let counts = (out.len(), rest.len());
                    model.extend(rest);
                    woken.extend(out);
                    prop_assert_eq!(futexes.requeue(word(from), key(to), wake, moved, Some(0)).unwrap(), counts);
                }
            }
            for (id, wait) in waits.iter().enumerate() {
                if let Some(wait) = wait {
                    prop_assert_eq!(wait.is_woken(), woken.contains(&id), "waiter {}", id);
                }
            }
        }
    }
}
