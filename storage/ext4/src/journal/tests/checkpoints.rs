//! What goes home: only what is committed, and never over the tail of the log.

use super::{image, open, stamp};
use crate::dev::{Host, Seed, SimDisk};
use crate::engine::{BlockNr, Engine, Kind, OPERATION_BLOCKS, OPERATION_FORGOTTEN};
use crate::halt::Halt;
use crate::journal::is_after;
use crate::mount::Mounted;
use keelson_exec::yield_now;
use std::rc::Rc;
use std::time::Duration;

/// Commits what was done, without letting the log be emptied afterwards.
fn commit(host: &Host, mounted: &Mounted) {
    let shared = &mounted.shared;
    host.run(async { shared.commit_through(shared.last_change()).await }).expect("commit");
}

fn change<T>(host: &Host, mounted: &Mounted, mut operation: impl FnMut(&mut Engine) -> Result<T, Halt>) -> T {
    host.run(async { mounted.shared.change(&mut operation).await }).expect("an operation")
}

/// Takes a block for metadata and fills it.
pub(super) fn take(engine: &mut Engine, goal: BlockNr, byte: u8) -> Result<BlockNr, Halt> {
    let block = engine.allocate_metadata(goal)?;
    engine.fresh(block, Kind::Target).fill(byte);
    Ok(block)
}

/// Gives it up.
pub(super) fn give_up(engine: &mut Engine, block: BlockNr) -> Result<(), Halt> {
    engine.forget(block);
    engine.free_blocks(block, 1)
}

/// A block that is changed and then given up in one transaction must not go home with the change before that transaction
/// is committed: until then it is what it was, and the log may have forgotten the copy that would say so.
#[test]
fn what_was_given_up_goes_home_with_nothing_uncommitted() {
    let host = Host::new(1);
    let disk = SimDisk::new(image(8, &["-b", "1024"]), false);
    let mounted = open(&host, disk.clone());
    let block = change(&host, &mounted, |engine| take(engine, 3000, 0xaa));
    commit(&host, &mounted);
    change(&host, &mounted, |engine| {
        engine.edit(block, Kind::Target, 0..100)?.fill(0xbb);
        Ok(())
    });
    change(&host, &mounted, |engine| give_up(engine, block));
    let mut engine = mounted.shared.engine.borrow_mut();
    for _ in 0..10 {
        let batch = engine.next_checkpoint();
        let bad = batch.writes.iter().find(|(of, content)| *of == block && content.contains(&0xbb));
        assert!(bad.is_none(), "uncommitted content would be written home");
        if batch.writes.is_empty() {
            assert!(batch.needs_commit, "the transaction is not forgotten before the next is committed");
            return;
        }
        let blocks: Vec<_> = batch.writes.iter().map(|(block, _)| *block).collect();
        engine.finish_checkpoint(&blocks);
    }
    panic!("checkpoints without end");
}

/// An operation that begins with as little room as is allowed, and takes as much as it may, still fits into the log.
#[test]
fn an_operation_always_fits() {
    let host = Host::new(1);
    let disk = SimDisk::new(image(8, &["-b", "1024", "-J", "size=1"]), false);
    let mounted = open(&host, disk);
    let mut engine = mounted.shared.engine.borrow_mut();
    let journal = &mut engine.journal;
    let mut tight = 0;
    for used in 1..1023 {
        for revoked in [0, 1, 100, 124, 125, 126, 250] {
            let log = journal.log.as_mut().expect("a journal");
            log.head = log.after(log.safe_tail.0, used);
            journal.running.revoked = (0..revoked).collect();
            for count in 0..300 {
                journal.running.count = count;
                if !journal.has_room() {
                    continue;
                }
                let log = journal.log.as_ref().expect("a journal");
                // The superblock joins when the transaction is frozen.
                let blocks = count + OPERATION_BLOCKS + 1;
                let needed = log.needed(blocks, revoked as usize + OPERATION_FORGOTTEN);
                assert!(needed <= log.room(), "{used} used, {count} and {revoked} running");
                tight += usize::from(needed == log.room());
            }
        }
    }
    assert!(tight > 0, "room is refused where there is plenty");
}

/// Under load the tail follows the home writes along with commits: nobody has to wait until the log is emptied.
#[test]
fn the_tail_follows_under_load() {
    let host = Host::new(1);
    let disk = SimDisk::new(image(8, &["-b", "1024", "-J", "size=1"]), false);
    let mounted = Rc::new(open(&host, disk));
    let flushes = mounted.shared.io.counters().flushes;
    host.run(async {
        for round in 0..400 {
            for step in 0..12 {
                let ino = 12 + (round * 7 + step * 13) % 188;
                mounted.shared.change(|engine| stamp(engine, ino, round)).await.expect("stamp");
            }
            mounted.shared.commit_through(mounted.shared.last_change()).await.expect("commit");
            yield_now().await;
        }
    });
    let engine = mounted.shared.engine.borrow();
    let log = engine.journal.log.as_ref().expect("a journal");
    let logged = engine.counters.transaction_blocks;
    assert!(logged > 3 * u64::from(log.length()), "the log goes around: {logged} blocks");
    let more = mounted.shared.io.counters().flushes - flushes - 2 * engine.counters.transactions;
    assert_eq!(more, 0, "flushes only for the tail, with {} transactions", engine.counters.transactions);
}

/// The ring by itself, with commits, checkpoints and flushes in any order: nothing is written over what the disk still
/// needs, and the disk is told that something is not needed only when it is safely home.
#[test]
fn the_ring_keeps_what_the_disk_needs() {
    let host = Host::new(1);
    let disk = SimDisk::new(image(8, &["-b", "1024", "-J", "size=1"]), false);
    let mounted = open(&host, disk);
    let blocks: Vec<BlockNr> = (0..10)
        .flat_map(|_| {
            change(&host, &mounted, |engine| {
                (0..40).map(|_| take(engine, 3000, 0)).collect::<Result<Vec<_>, _>>()
            })
        })
        .collect();
    commit(&host, &mounted);
    let mut engine = mounted.shared.engine.borrow_mut();
    let random = Seed::new(1);
    // Where the log begins for the disk; blocks whose home is safe, by transaction that logged them last.
    let mut needed_from = engine.journal.log.as_ref().map(|log| log.safe_tail.0);
    let mut unsafe_home = Vec::<(BlockNr, u32)>::new();
    let (mut moves, mut rounds) = (0, 0);
    while rounds < 2000 {
        if random.below(9) > 0 && engine.journal.has_room() {
            rounds += 1;
            for _ in 0..1 + random.below(6) {
                if !engine.journal.has_room() {
                    break;
                }
                engine.begin();
                for _ in 0..1 + random.below(OPERATION_BLOCKS as u64) {
                    let block = blocks[random.below(400) as usize];
                    engine.edit(block, Kind::Target, 0..1).expect("it is in memory")[0] ^= 1;
                }
                engine.end();
            }
            let head = engine.journal.log.as_ref().expect("a journal").head;
            let mut frozen = engine.freeze(Duration::ZERO).expect("seal").expect("a transaction");
            let log = engine.journal.log.as_ref().expect("a journal");
            let between = |from: u32, to: u32| (to + log.length() - from) % log.length();
            let (written, needed) = (between(head, log.head), between(needed_from.unwrap_or(head), head));
            assert!(written + needed < log.length(), "{written} blocks over {needed} of {}", log.length());
            // Only now everything that was written before is safe: home writes, and the superblock of the journal.
            let told = frozen.tail;
            if let Some((start, sequence)) = told {
                let lost = unsafe_home.iter().find(|&&(_, by)| is_after(sequence, by));
                assert_eq!(lost, None, "the disk forgets a transaction that is not safely home");
                moves += usize::from(needed_from.is_some_and(|from| from != start));
                needed_from = Some(start);
            }
            unsafe_home.clear();
            frozen.writes.clear();
            engine.note_flush(&frozen);
            engine.finish_commit(frozen);
        } else {
            let sequence = engine.journal.logged.front().map(|oldest| oldest.sequence);
            let batch = engine.next_checkpoint();
            let sequence = engine.journal.logged.front().map(|oldest| oldest.sequence).or(sequence);
            let blocks: Vec<BlockNr> = batch.writes.iter().map(|(block, _)| *block).collect();
            unsafe_home.extend(blocks.iter().filter_map(|&block| Some((block, sequence?))));
            engine.finish_checkpoint(&blocks);
            if blocks.is_empty() && !engine.journal.has_room() {
                // As the journal's task does when the log is full: a flush for the tail alone.
                let log = engine.journal.log.as_mut().expect("a journal");
                log.note_flush();
                unsafe_home.clear();
                log.safe_tail = log.flushed_tail;
                needed_from = Some(log.safe_tail.0);
            }
        }
    }
    assert!(moves > 100, "the tail was moved {moves} times");
}
