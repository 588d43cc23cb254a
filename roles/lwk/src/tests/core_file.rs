//! Core files: read back here, and by gdb where there is one.

use super::*;
use crate::limits::{self, Limit};

/// Runs a program that may leave a core file; the file.
fn crash(body: impl Fn(&mut Cpu) + Send + Sync + 'static) -> (World, Vec<u8>) {
    let world = World::new(3);
    world.program("/bin/crash", body);
    let mut request = world.request(1000, "/bin/crash");
    request.limits.0[limits::CORE] = Limit::both(limits::INFINITY);
    world.launch(request).unwrap();
    world.run();
    let core = world.host.core.lock().unwrap().clone();
    (world, core)
}

fn word(core: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(core[at..at + 8].try_into().unwrap())
}

fn half(core: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(core[at..at + 4].try_into().unwrap())
}

/// Notes: type and content.
fn notes(core: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let (mut at, len) = (word(core, 64 + 8) as usize, word(core, 64 + 32) as usize);
    let end = at + len;
    let mut notes = Vec::new();
    while at < end {
        let (owner, size, kind) = (half(core, at) as usize, half(core, at + 4) as usize, half(core, at + 8));
        at += 12 + owner.next_multiple_of(4);
        notes.push((kind, core[at..at + size].to_vec()));
        at += size.next_multiple_of(4);
    }
    notes
}

/// Memory at `at`, as a debugger finds it.
fn memory(core: &[u8], at: u64) -> Option<u64> {
    (1..u64::from(half(core, 56) & 0xffff)).map(|index| 64 + index as usize * 56).find_map(|header| {
        let (offset, start, size) =
            (word(core, header + 8), word(core, header + 16), word(core, header + 32));
        let inside = half(core, header) == 1 && (start..start + size).contains(&at);
        inside.then(|| word(core, (offset + at - start) as usize))
    })
}

#[test]
fn a_crash_leaves_all_threads_and_the_memory() {
    let (world, core) = crash(|cpu| {
        cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA + 8, 0], |cpu| {
            // Its end clears this word, but it is not to end before the core file is made.
            cpu.put(DATA + 0x200, &[77]);
            cpu.call(218, &[DATA + 0x200]);
            cpu.registers.rbx = 0xbbbb;
            cpu.call(34, &[]);
        });
        cpu.put(DATA + 0x100, &[0x1122_3344_5566_7788]);
        cpu.put(DATA + 64, &[0, 1_000_000]);
        cpu.call(35, &[DATA + 64, 0]);
        cpu.registers.rbx = 0xaaaa;
        cpu.word(0x123);
    });
    assert_eq!(world.status(1000), 11 | 0x80);
    let notes = notes(&core);
    let kinds: Vec<u32> = notes.iter().map(|(kind, _)| *kind).collect();
    let expected = [1, 3, 0x5349_4749, 6, 0x4649_4c45, 2, 0x202, 1, 2, 0x202];
    assert_eq!(kinds, expected);
    let (first, second) = (&notes[0].1, &notes[7].1);
    assert_eq!((first.len(), notes[1].1.len(), notes[5].1.len()), (336, 136, 512));
    // Signal, thread and rbx.
    assert_eq!((half(first, 0), half(first, 32), word(first, 112 + 5 * 8)), (11, 1000, 0xaaaa));
    assert_eq!((half(second, 32), word(second, 112 + 5 * 8)), (1 << 22, 0xbbbb));
    assert_eq!(&notes[1].1[40..46], b"crash\0");
    assert_eq!(word(&notes[2].1, 16), 0x123);
    assert_eq!(memory(&core, DATA + 0x100), Some(0x1122_3344_5566_7788));
    assert_eq!(memory(&core, 0x123), None);
    assert_eq!(memory(&core, DATA + 0x200), Some(77));
    // What was never touched is not sent.
    let parts = world.host.core_parts.lock().unwrap();
    let sent: usize = parts.iter().map(|(_, len, _)| len).sum();
    assert!(core.len() > 0x20_0000 && sent < 0x2_0000, "{sent} of {} bytes", core.len());
    assert!(parts.last().unwrap().2 && parts[..parts.len() - 1].iter().all(|(_, _, last)| !last));
}

#[test]
fn no_core_file_without_the_limit_or_for_other_signals() {
    let world = World::new(1);
    let status = world.run_program(|cpu| {
        cpu.word(0);
    });
    assert_eq!(status, 11);
    assert!(world.host.core.lock().unwrap().is_empty());
    let (world, core) = crash(|cpu| {
        cpu.call(62, &[1000, 15]);
    });
    assert_eq!((world.status(1000), core.len()), (15, 0));
    let (world, core) = crash(|cpu| {
        assert_eq!(cpu.call(157, &[4, 0]), 0);
        cpu.call(62, &[1000, 6]);
    });
    assert_eq!((world.status(1000), core.len()), (6, 0));
    // Cut off at the limit.
    let (_, core) = crash(|cpu| {
        cpu.put(DATA, &[8192, 8192]);
        assert_eq!(cpu.call(160, &[4, DATA]), 0);
        cpu.call(62, &[1000, 6]);
    });
    assert_eq!(core.len(), 8192);
}

#[test]
fn one_part_of_a_core_file_is_the_last() {
    // Cut off where a part is full.
    const LIMIT: u64 = 512 << 10;
    let (world, core) = crash(|cpu| {
        cpu.put(DATA, &[LIMIT, LIMIT]);
        assert_eq!(cpu.call(160, &[4, DATA]), 0);
        let at = cpu.call(9, &[0, 2 << 20, 3, 0x22, u64::MAX, 0]) as u64;
        for page in 0..512 {
            cpu.put(at + page * 4096, &[page + 1]);
        }
        cpu.call(62, &[1000, 6]);
    });
    assert_eq!((world.status(1000), core.len() as u64), (6 | 0x80, LIMIT));
    let parts = world.host.core_parts.lock().unwrap();
    assert!(parts.iter().all(|(offset, len, last)| *last == (offset + len == LIMIT as usize)));
    assert_eq!(parts.iter().filter(|(_, _, last)| *last).count(), 1);
}

#[test]
fn gdb_reads_it() {
    let gdb = std::process::Command::new("gdb").arg("--version").output();
    if gdb.is_err() {
        // The layout is what the tests above look at.
        return;
    }
    let (_, core) = crash(|cpu| {
        cpu.spawn(56, &[THREAD, STACK + 0x8000, DATA, DATA + 8, 0], |cpu| {
            cpu.registers.rbx = 0xbbbb;
            cpu.call(34, &[]);
        });
        cpu.put(DATA + 0x100, &[0x1122_3344_5566_7788]);
        cpu.put(DATA + 64, &[0, 1_000_000]);
        cpu.call(35, &[DATA + 64, 0]);
        cpu.registers.rbx = 0xaaaa;
        cpu.word(0x123);
    });
    let path = std::env::temp_dir().join(format!("keelson-lwk-core-{}", std::process::id()));
    std::fs::write(&path, &core).unwrap();
    let commands =
        ["info threads", "p $rbx", "p $_siginfo.si_signo", "thread 2", "p $rbx", "x/1gx 0x10000100"];
    let output = std::process::Command::new("gdb")
        .args(["-batch", "-nx", "-core"])
        .arg(&path)
        .args(commands.iter().flat_map(|command| ["-ex", command]))
        .output()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("Unexpected size"), "{errors}");
    for expected in ["SIGSEGV", "43690", "48059", "0x1122334455667788", "= 11"] {
        assert!(
            text.contains(expected),
            "{expected} is not in:\n{text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
