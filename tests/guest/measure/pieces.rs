//! Pieces of a file by chance.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread;

const PIECE: usize = 4096;
/// Linux: arch/x86 takes it from include/uapi/asm-generic/fcntl.h.
const DIRECT: i32 = 0o40000;

/// Offsets that a thread visits: Xorshift (Marsaglia 2003).
fn offsets(file: &File, count: u64, seed: u64) -> impl Iterator<Item = u64> {
    let pieces = file.metadata().unwrap().len() / PIECE as u64;
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % pieces * PIECE as u64
    })
}

/// `count` pieces of all threads together.
fn shared(name: &str, count: u64, threads: u64, act: impl Fn(&File, u64) + Sync) {
    let file = OpenOptions::new().read(true).write(true).custom_flags(DIRECT).open(name).unwrap();
    thread::scope(|scope| {
        for thread in 0..threads {
            let (file, act) = (&file, &act);
            scope.spawn(move || offsets(file, count / threads, thread).for_each(|at| act(file, at)));
        }
    });
}

pub fn read(name: &str, count: u64, threads: u64) {
    shared(name, count, threads, |file, at| file.read_exact_at(&mut [0; PIECE], at).unwrap());
}

pub fn write(name: &str, count: u64, threads: u64) {
    shared(name, count, threads, |file, at| file.write_all_at(&[7; PIECE], at).unwrap());
}

pub fn overwrite(name: &str, count: u64) {
    let file = OpenOptions::new().write(true).open(name).unwrap();
    offsets(&file, count, 0).for_each(|at| file.write_all_at(&[9; PIECE], at).unwrap());
    file.sync_all().unwrap();
}
