//! Many tasks at once.

use super::{check, image, open, stamp, stamps};
use crate::dev::{Host, Seed, SimDisk, SlowDisk};
use crate::engine::Engine;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Operations as large as they may be, in the smallest journal, by many tasks that want it all committed: they all get
/// there.
#[test]
fn large_operations_in_the_smallest_journal() {
    const TASKS: usize = 24;
    let host = Host::new(1);
    // 6000 inodes of 256 bytes are 1500 blocks of them.
    let disk = SimDisk::new(image(16, &["-b", "1024", "-J", "size=1", "-N", "6000"]), false);
    let slow = SlowDisk::new(disk.clone(), host.handle(), 1, Duration::from_millis(3));
    let mounted = Rc::new(open(&host, slow));
    let done = Rc::new(Cell::new(0));
    for task in 0..TASKS {
        let (mounted, done) = (mounted.clone(), done.clone());
        let random = Seed::new(task as u64);
        host.handle().spawn("client", async move {
            for round in 1..=20 {
                let first = 12 + 4 * random.below(1400) as u32;
                let stamp_many = |engine: &mut Engine| {
                    // Each in another block.
                    for index in 0..40 {
                        let ino = 12 + (first - 12 + index * 4) % 5900;
                        let mut inode = engine.inode(ino)?;
                        inode.mtime.seconds = i64::from(round);
                        engine.put_inode(&inode)?;
                    }
                    Ok(())
                };
                mounted.shared.change(stamp_many).await.expect("a large operation");
                if random.below(2) == 0 {
                    mounted.shared.commit_through(mounted.shared.last_change()).await.expect("commit");
                }
            }
            done.set(done.get() + 1);
        });
    }
    for _ in 0..20_000 {
        if done.get() == TASKS {
            break;
        }
        host.pass(Duration::from_millis(1));
    }
    assert_eq!(done.get(), TASKS, "some wait for ever");
    let blocks = mounted.shared.engine.borrow().counters.transaction_blocks;
    assert!(blocks > 5000, "{blocks} blocks went through a log of 1023");
    assert!(host.run(async { mounted.shared.close_and_wait().await }));
    let image = disk.image();
    // What was never an inode has a time now, and no checksum that e2fsck would look at.
    assert_eq!(image.len(), 16 << 20);
}

/// Clients that commit at the same time share a transaction and its flushes, also those that come while it is written.
#[test]
fn commits_are_shared() {
    for (write_through, flushes) in [(false, 2), (true, 1)] {
        let host = Host::new(1);
        let disk = SimDisk::new(image(8, &["-b", "1024"]), false);
        let disk = if write_through { disk.with_write_through() } else { disk };
        let slow = SlowDisk::new(disk.clone(), host.handle(), 1, Duration::from_millis(1));
        let mounted = Rc::new(open(&host, slow));
        let before = mounted.shared.io.counters().flushes;
        let done = Rc::new(Cell::new(0));
        for task in 0..50 {
            let (mounted, done) = (mounted.clone(), done.clone());
            host.handle().spawn("client", async move {
                for round in 1..=20 {
                    let shared = &mounted.shared;
                    shared.change(|engine| stamp(engine, 12 + task, round)).await.expect("stamp");
                    shared.commit_through(shared.last_change()).await.expect("commit");
                }
                done.set(done.get() + 1);
            });
        }
        while done.get() < 50 {
            host.pass(Duration::from_millis(1));
        }
        let transactions = mounted.shared.engine.borrow().counters.transactions;
        assert!(transactions <= 21, "{transactions} transactions for 20 rounds of 50 commits");
        let count = mounted.shared.io.counters().flushes - before;
        assert_eq!(count, flushes * transactions, "flushes of {transactions} transactions");
        assert!(stamps(&host, &mounted)[..50].iter().all(|&stamp| stamp == 20));
        assert!(host.run(async { mounted.shared.close_and_wait().await }));
        check(disk.image()).expect("e2fsck");
    }
}

/// Nothing waits longer than the interval, and nothing is written where nothing was changed.
#[test]
fn commits_come_by_themselves() {
    let host = Host::new(1);
    let disk = SimDisk::new(image(8, &["-b", "1024"]), true);
    let mounted = open(&host, disk.clone());
    let events = disk.events();
    host.pass(Duration::from_secs(60));
    assert_eq!(disk.events(), events, "something was written for nothing");
    for round in 1..4 {
        host.run(async { mounted.shared.change(|engine| stamp(engine, 20, round)).await }).expect("stamp");
        let last = mounted.shared.last_change();
        host.pass(Duration::from_millis(4900));
        assert!(!mounted.shared.engine.borrow().journal.is_committed(last));
        host.pass(Duration::from_millis(200));
        assert!(mounted.shared.engine.borrow().journal.is_committed(last));
    }
}

/// Without a journal a commit writes home and flushes once.
#[test]
fn without_a_journal() {
    let host = Host::new(1);
    let disk = SimDisk::new(image(8, &["-b", "1024", "-O", "^has_journal"]), true);
    let mounted = open(&host, disk.clone());
    let shared = &mounted.shared;
    let before = shared.io.counters().flushes;
    host.run(async { shared.change(|engine| stamp(engine, 20, 7)).await }).expect("stamp");
    host.run(async { shared.commit_through(shared.last_change()).await }).expect("commit");
    assert_eq!(shared.io.counters().flushes - before, 1);
    let (cut, _) = disk.after_cut(disk.events(), || crate::dev::Kept::Nothing);
    let host = Host::new(2);
    let mounted = open(&host, SimDisk::new(cut, false));
    assert_eq!(stamps(&host, &mounted)[8], 7);
}
