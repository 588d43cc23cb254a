//! Requests: joined, divided, many at a time, none of them lost.

use super::*;
use crate::dev::{Host, SimDisk, SlowDisk};
use core::time::Duration;

const SIZE: usize = 1024;

fn content(block: u64) -> Vec<u8> {
    (0..SIZE).map(|index| (block as usize * 31 + index) as u8).collect()
}

/// Scattered, neighbouring and overlong runs arrive, on a slow disk whose queue they fill several times.
#[test]
fn all_arrives() {
    let host = Host::new(1);
    let disk = SimDisk::new(vec![0; 8 << 20], true);
    let slow = SlowDisk::new(disk.clone(), host.handle(), 1, Duration::from_millis(3));
    let io = Io::new(slow, SIZE);
    let scattered: Vec<u64> = (0..200).map(|index| index * 3).collect();
    let neighbours: Vec<u64> = (1000..1500).collect();
    let mut runs: Vec<(u64, Vec<u8>)> =
        scattered.iter().chain(&neighbours).map(|&block| (block, content(block))).collect();
    let long: Vec<u8> = (2000..5000).flat_map(content).collect();
    runs.push((2000, long));
    host.run(io.write(runs)).expect("write");
    for block in scattered.into_iter().chain(neighbours).chain(2000..5000) {
        let start = block as usize * SIZE;
        assert!(disk.image()[start..start + SIZE] == content(block), "block {block}");
    }
    // 200 alone, 500 together, 3000 in pieces of 1024 that the device takes.
    assert_eq!(io.counters().writes, 200 + 1 + 3);
    assert_eq!(io.counters().write_bytes, 3700 * SIZE as u64);
    let found = host.run(io.read(2000, 3000)).expect("read");
    assert!(found == (2000..5000).flat_map(content).collect::<Vec<u8>>());
    assert_eq!(io.counters().reads, 3);
}

/// All of it is tried after an error, and ends before the error is told.
#[test]
fn an_error_waits_for_the_others() {
    let host = Host::new(1);
    let disk = SimDisk::new(vec![0; 1 << 20], true);
    let slow = SlowDisk::new(disk.clone(), host.handle(), 1, Duration::from_millis(3));
    let io = Io::new(slow, SIZE);
    disk.fail_once(BlockOp::Write);
    let runs = (0..100).map(|index| (index * 2, content(index))).collect();
    let failed = host.run(io.write(runs)).unwrap_err();
    let (first, last) = failed.sectors.expect("the sectors of a write");
    assert_eq!((failed.error, last), (BlockError::Io, first + 1));
    assert_eq!(failed.to_string(), format!("I/O error in sectors {first} to {last}"));
    assert_eq!(disk.events(), 99, "those that did not fail are there, all of them");
    assert_eq!(io.counters().failed, 1);
    let read = host.run(io.read(5000, 1)).unwrap_err();
    assert_eq!((read.error, read.sectors), (BlockError::OutOfRange, Some((10_000, 10_001))));
    let written = host.run(io.write(vec![(u64::MAX, content(0))])).unwrap_err();
    assert_eq!(written.error, BlockError::OutOfRange);
}

/// Whoever asked may go away: the device is as good as before.
#[test]
fn what_is_dropped_takes_no_room() {
    let host = Host::new(1);
    let disk = SimDisk::new(vec![7; 1 << 20], false);
    let slow = SlowDisk::new(disk, host.handle(), 1, Duration::from_millis(3));
    let io = Rc::new(Io::new(slow, SIZE));
    for _ in 0..100 {
        let reader = io.clone();
        let task = host.handle().spawn("reader", async move { drop(reader.read(0, 1).await) });
        host.pass(Duration::from_micros(100));
        task.abort();
    }
    assert_eq!(host.run(io.read(9, 1)), Ok(vec![7; SIZE]));
}
