use super::*;
use crate::syscalls::dispatch;
use crate::testing::programs::{MEMORY, MEMORY_BYTES, Program, now};
use std::time::Duration;

const PAGE: u64 = 4096;

fn call(program: &Program, number: u32, args: [u64; 3]) -> Result<u64, Errno> {
    let args = [args[0], args[1], args[2], 0, 0, 0];
    check(&program.caller(), number, &args)?;
    now(dispatch(&program.caller(), number, args))
}

fn short(program: &Program, short: bool) {
    program.machine.short.store(short, Ordering::Relaxed);
}

/// Two descriptors, as pipe(2) and socketpair(2) leave them.
fn pair(program: &Program, number: u32) -> [u64; 2] {
    let at = program.room(8);
    let args = if number == 53 { [1, 2, 0, at, 0, 0] } else { [at, 0, 0, 0, 0, 0] };
    now(dispatch(&program.caller(), number, args)).unwrap();
    let bytes = program.bytes(at, 8);
    [0, 4].map(|from| u64::from(u32::from_le_bytes(bytes[from..from + 4].try_into().unwrap())))
}

#[test]
fn what_stays_is_not_made() {
    let program = Program::new();
    let (at, path) = (program.room(8), program.text("/dev/shm/x"));
    let made = [
        (22, [at, 0, 0]),
        (284, [0, 0, 0]),
        (291, [0, 0, 0]),
        (64, [0, 1, 0o1600]),
        (68, [0, 0o1600, 0]),
        (83, [path, 0o700, 0]),
    ];
    short(&program, true);
    for (number, args) in made {
        assert_eq!(call(&program, number, args), Err(Errno::ENOMEM), "{number}");
    }
    assert_eq!(call(&program, 222, [0; 3]), Err(Errno::EAGAIN));
    assert_eq!(program.thread.process.node.refusals.calls(), made.len() as u64 + 1);
    short(&program, false);
    assert_eq!(call(&program, 22, [at, 0, 0]), Ok(0));
    assert_eq!(call(&program, 83, [path, 0o700, 0]), Ok(0));
    assert_eq!(program.thread.process.node.refusals.calls(), made.len() as u64 + 1);
}

#[test]
fn what_gives_back_or_passes_goes_on() {
    let program = Program::new();
    let [reader, writer] = pair(&program, 22);
    let [one, other] = pair(&program, 53);
    let text = program.put(b"abc");
    for to in [writer, one] {
        assert_eq!(call(&program, 1, [to, text, 3]), Ok(3));
    }
    let null = now(dispatch(&program.caller(), 2, [program.text("/dev/null"), 1, 0, 0, 0, 0])).unwrap();
    short(&program, true);
    let long = program.room(60_000);
    assert_eq!(call(&program, 1, [writer, long, 60_000]), Err(Errno::ENOMEM), "it would wait there");
    assert_eq!(call(&program, 1, [one, text, 3]), Err(Errno::ENOBUFS));
    assert_eq!(call(&program, 1, [null, text, 3]), Ok(3));
    for from in [reader, other] {
        assert_eq!(call(&program, 0, [from, text, 10]), Ok(3));
    }
    for fd in [reader, writer, one, other, null] {
        assert_eq!(call(&program, 3, [fd, 0, 0]), Ok(0));
    }
}

#[test]
fn memory_is_given_back_but_not_cut() {
    let program = Program::new();
    short(&program, true);
    let middle = MEMORY + MEMORY_BYTES / 2;
    assert_eq!(call(&program, 11, [middle, PAGE, 0]), Err(Errno::ENOMEM));
    assert_eq!(call(&program, 10, [middle, PAGE, 1]), Err(Errno::ENOMEM));
    // MADV_DONTNEED gives back, MADV_HUGEPAGE is remembered.
    assert_eq!(call(&program, 28, [middle, PAGE, 4]), Ok(0));
    assert_eq!(call(&program, 28, [middle, PAGE, 14]), Err(Errno::ENOMEM));
    assert_eq!(call(&program, 11, [MEMORY + MEMORY_BYTES - PAGE, PAGE, 0]), Ok(0));
    assert_eq!(call(&program, 11, [MEMORY, MEMORY_BYTES - PAGE, 0]), Ok(0));
}

#[test]
fn it_is_said_now_and_then() {
    let refusals = Refusals::default();
    let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
    assert!(refusals.count(at(0)));
    assert!(!refusals.count(at(9)));
    assert!(refusals.count(at(11)));
    assert!(!refusals.count(at(12)));
    assert_eq!(refusals.calls(), 4);
}
