//! Many tasks at once.

use super::{check, image, open, stamp, stamps};
use crate::dev::{Host, Kept, Seed, SimDisk, SlowDisk};
use crate::engine::{BlockNr, Engine, Kind};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

const TASKS: usize = 24;
/// Blocks that each operation changes.
const BLOCKS: usize = 40;

/// The round that each task's blocks are from, all of them.
fn rounds(image: &[u8], blocks: &[Vec<BlockNr>]) -> Vec<u8> {
    let round = |blocks: &Vec<BlockNr>| {
        let bytes: Vec<u8> = blocks.iter().map(|&block| image[block as usize * 1024 + 100]).collect();
        assert!(bytes.iter().all(|&byte| byte == bytes[0]), "half of an operation: {bytes:?}");
        bytes[0]
    };
    blocks.iter().map(round).collect()
}

/// Operations about as large as they may be, in the smallest journal, by many tasks that want it all committed: they all
/// get there, and where the power fails each operation is there or not, those that were acknowledged are.
#[test]
fn large_operations_in_the_smallest_journal() {
    let host = Host::new(1);
    let disk = SimDisk::new(image(8, &["-b", "1024", "-J", "size=1"]), true);
    let slow = SlowDisk::new(disk.clone(), host.handle(), 1, Duration::from_millis(3));
    let mounted = Rc::new(open(&host, slow));
    let mut blocks = Vec::new();
    for _ in 0..TASKS {
        let take = |engine: &mut Engine| {
            (0..BLOCKS).map(|_| super::checkpoints::take(engine, 3000, 0)).collect::<Result<Vec<_>, _>>()
        };
        blocks.push(host.run(async { mounted.shared.change(take).await }).expect("take blocks"));
    }
    host.run(async { mounted.shared.commit_through(mounted.shared.last_change()).await }).expect("commit");
    disk.mark(0);
    let start = disk.events();
    let acknowledged = Rc::new(RefCell::new(vec![vec![0; TASKS]]));
    let done = Rc::new(Cell::new(0));
    for (task, blocks) in blocks.iter().cloned().enumerate() {
        let (mounted, done, disk) = (mounted.clone(), done.clone(), disk.clone());
        let (acknowledged, random) = (acknowledged.clone(), Seed::new(task as u64));
        host.handle().spawn("client", async move {
            for round in 1..=30 {
                let edit = |engine: &mut Engine| {
                    blocks.iter().try_for_each(|&block| {
                        engine.edit(block, Kind::Target, 100..101)?[0] = round;
                        Ok(())
                    })
                };
                mounted.shared.change(edit).await.expect("a large operation");
                if random.below(2) == 0 {
                    mounted.shared.commit_through(mounted.shared.last_change()).await.expect("commit");
                    let mut acknowledged = acknowledged.borrow_mut();
                    let mut newest = acknowledged[acknowledged.len() - 1].clone();
                    newest[task] = round;
                    disk.mark(acknowledged.len());
                    acknowledged.push(newest);
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
    let logged = mounted.shared.engine.borrow().counters.transaction_blocks;
    assert!(logged > 5000, "{logged} blocks went through a log of 1023");
    let random = Seed::new(1);
    let all = [Kept::All, Kept::Nothing, Kept::Torn];
    for number in 0..80 {
        let at = start + random.below((disk.events() - start) as u64) as usize;
        let (cut, note) =
            disk.after_cut(at, || all[if number % 4 < 2 { number % 4 } else { random.below(3) as usize }]);
        let found = rounds(&recover_only(cut), &blocks);
        let least = &acknowledged.borrow()[note.unwrap_or(0)];
        let is_there = found.iter().zip(least).all(|(found, least)| found >= least);
        assert!(is_there, "cut before event {at}: {found:?}, acknowledged {least:?}");
    }
    assert!(host.run(async { mounted.shared.close_and_wait().await }));
    assert_eq!(rounds(&disk.image(), &blocks), vec![30; TASKS]);
}

/// Mounts and unmounts.
fn recover_only(image: Vec<u8>) -> Vec<u8> {
    let disk = SimDisk::new(image, false);
    let host = Host::new(2);
    let mounted = open(&host, disk.clone());
    assert!(host.run(async { mounted.shared.close_and_wait().await }));
    disk.image()
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
    let (cut, _) = disk.after_cut(disk.events(), || Kept::Nothing);
    let host = Host::new(2);
    let mounted = open(&host, SimDisk::new(cut, false));
    assert_eq!(stamps(&host, &mounted)[8], 7);
}
