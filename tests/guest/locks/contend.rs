//! A crowd that counts in one file: each process, again and again, locks some of the file's counters, reads them,
//! raises each by one and writes them back. What is there in the end is what all say together, unless a lock did not
//! exclude somebody or a client's cache was older than its lock.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use super::sys::{self, Lock};

/// Counters in the file, 8 bytes each.
const COUNTERS: u64 = 40;
/// Most that one lock covers.
const WIDEST: u64 = 8;

/// Runs several at once and prints the sum of what they say.
pub fn crowd(file: &str, seed: u64, processes: u64, rounds: u64) {
    let program = std::env::current_exe().expect("this program");
    let start = |number: u64| {
        let mut contender = Command::new(&program);
        contender.args(["contender", file, &(seed * 1000 + number).to_string(), &rounds.to_string()]);
        contender.stdout(Stdio::piped()).spawn().expect("another process")
    };
    let contenders: Vec<_> = (0..processes).map(start).collect();
    // All of them end before anybody complains.
    let outputs: Vec<_> =
        contenders.into_iter().map(|one| one.wait_with_output().expect("its output")).collect();
    let counted = outputs.iter().map(|output| {
        assert!(output.status.success(), "a contender failed: {}", output.status);
        String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().expect("a number")
    });
    println!("{}", counted.sum::<u64>());
}

/// Counts, and prints how often.
pub fn contend(path: &str, seed: u64, rounds: u64) {
    let file = open(path);
    // Xorshift (Marsaglia 2003) needs a start other than zero.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut counted = 0;
    for _ in 0..rounds {
        let first = random(COUNTERS);
        let count = 1 + random(WIDEST.min(COUNTERS - first));
        match random(4) {
            // Readers see the same as long as they hold the lock.
            0 => {
                lock(&file, sys::SHARED, first, count);
                let before = read(&file, first, count);
                assert_eq!(before, read(&file, first, count), "changed under a shared lock");
            }
            // An upgrade by somebody who has the range already, and a downgrade before the end.
            1 if first % 5 == 0 => {
                lock(&file, sys::EXCLUSIVE, first, count);
                count_up(&file, first, count);
                counted += count;
                lock(&file, sys::SHARED, first, count);
                let before = read(&file, first, count);
                assert_eq!(before, read(&file, first, count), "changed after a downgrade");
            }
            _ => {
                lock(&file, sys::EXCLUSIVE, first, count);
                count_up(&file, first, count);
                counted += count;
            }
        }
        lock(&file, sys::UNLOCK, first, count);
    }
    println!("{counted}");
}

/// The sum of all counters.
pub fn sum(path: &str) -> u64 {
    read(&open(path), 0, COUNTERS).iter().sum()
}

fn open(path: &str) -> File {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    file.unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn lock(file: &File, kind: i16, first: u64, count: u64) {
    let mut lock = Lock { kind, whence: 0, start: 8 * first as i64, length: 8 * count as i64, pid: 0 };
    sys::range_lock(file, sys::SET_WAIT, &mut lock).unwrap_or_else(|e| panic!("{kind} {first} {count}: {e}"));
}

/// Counters that were never written are zero.
fn read(file: &File, first: u64, count: u64) -> Vec<u64> {
    let mut bytes = vec![0; 8 * count as usize];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], 8 * first + done as u64).expect("read counters") {
            0 => break,
            length => done += length,
        }
    }
    bytes.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes"))).collect()
}

fn count_up(file: &File, first: u64, count: u64) {
    let bytes: Vec<u8> =
        read(file, first, count).into_iter().flat_map(|counter| (counter + 1).to_le_bytes()).collect();
    file.write_all_at(&bytes, 8 * first).expect("write counters");
}
