//! Trees of many levels, extents of the greatest length, and groups smaller than extents.

use super::*;
use crate::engine::{BlockNr, OPERATION_BLOCKS};
use crate::layout::bytes::u16_at;

fn depth(bench: &mut Bench, ino: Ino) -> u16 {
    u16_at(&bench.run(|engine| engine.inode(ino)).expect("read").map, 6)
}

fn put(engine: &mut Engine, ino: Ino, at: u32, block: BlockNr, unwritten: bool) -> Result<(), Halt> {
    let mut inode = engine.inode(ino)?;
    engine.insert_extent(&mut inode, at, block, 1, unwritten)?;
    inode.size = inode.size.max((u64::from(at) + 1) * engine.geometry.block_size as u64);
    engine.put_inode(&inode)
}

/// Cuts in steps; each changes few blocks, as the journal needs it. How many there were.
fn cut(bench: &mut Bench, ino: Ino, from: u32, most: usize) -> usize {
    bench.commit();
    for steps in 1.. {
        let changed = bench.engine.journal.running.count;
        let done = bench.run(|engine| {
            let mut inode = engine.inode(ino)?;
            let done = engine.remove_from(&mut inode, from, most)?;
            let end = u64::from(from) * engine.geometry.block_size as u64;
            inode.size = if done { inode.size.min(end) } else { inode.size };
            engine.put_inode(&inode)?;
            Ok(done)
        });
        let count = bench.engine.journal.running.count - changed;
        assert!(count <= OPERATION_BLOCKS, "{count} blocks in one operation");
        bench.commit();
        if done.expect("cut") {
            return steps;
        }
    }
    unreachable!()
}

/// 1, 4, 4 × 84 and 4 × 84 × 84 extents fit in one, two, three and four levels of blocks of 1 KiB.
#[test]
fn a_tree_of_four_levels() {
    let (mut bench, ino) = with_file(64, &["-b", "1024", "-O", "^has_journal"]);
    let free = bench.engine.allocator.free_blocks;
    let mut blocks = Vec::new();
    while blocks.len() < 30_000 {
        let run = bench.run(|engine| {
            engine.allocator.use_reserve = true;
            engine.allocate_blocks(0, 8192)
        });
        let (start, count) = run.expect("room");
        blocks.extend(start..start + u64::from(count));
    }
    // Every second block of the file, so that none merge; those written in order fill their nodes.
    for (number, &block) in blocks.iter().enumerate() {
        bench.run(|engine| put(engine, ino, number as u32 * 2, block, true)).expect("insert");
    }
    assert_eq!(depth(&mut bench, ino), 3);
    let inode = bench.run(|engine| engine.inode(ino)).expect("read");
    let nodes = inode.sectors / 2 - blocks.len() as u64;
    assert!(nodes < blocks.len() as u64 / 84 + 20, "{nodes} nodes are not full");
    bench.check();
    let random = Seed::new(3);
    for _ in 0..5000 {
        let at = random.below(30_000) as u32;
        bench
            .run(|engine| {
                let mut inode = engine.inode(ino)?;
                engine.mark_written(&mut inode, at * 2, 1)?;
                engine.put_inode(&inode)
            })
            .expect("mark");
        let mapping = bench.run(|engine| engine.map(&inode, at * 2)).expect("map");
        assert_eq!(mapping, Mapping::Written { block: blocks[at as usize], len: 1 });
    }
    bench.check();
    let steps = cut(&mut bench, ino, 50_001, 12) + cut(&mut bench, ino, 0, 12);
    assert!(steps >= 30_000 / 512, "{steps} steps");
    bench.check();
    assert_eq!((bench.engine.allocator.free_blocks, depth(&mut bench, ino)), (free, 0));
}

/// An extent says 32,768 blocks at most, an unwritten one 32,767.
#[test]
fn the_longest_extents() {
    let (mut bench, ino) = with_file(114, &["-b", "1024", "-O", "^has_journal"]);
    let free = bench.engine.allocator.free_blocks;
    // Groups 8 and on have nothing of their own, but 9; so from 10 on everything hangs together.
    let start = bench.engine.geometry.group_start(10);
    let count = (bench.engine.geometry.blocks - start).min(32_768 + 40) as u32;
    assert!(count >= 32_768, "{count}");
    let mut taken = 0;
    while taken < count {
        let (block, len) = bench
            .run(|engine| {
                engine.allocator.use_reserve = true;
                engine.allocate_blocks(start + u64::from(taken), count - taken)
            })
            .expect("room");
        assert_eq!(block, start + u64::from(taken));
        taken += len;
    }
    for unwritten in [true, false] {
        bench
            .run(|engine| {
                let mut inode = engine.inode(ino)?;
                engine.insert_extent(&mut inode, 7, start, count, unwritten)?;
                inode.size = u64::from(count + 7) * 1024;
                engine.put_inode(&inode)
            })
            .expect("insert");
        let model = (0..count).map(|n| (n + 7, (start + u64::from(n), unwritten))).collect();
        check(&mut bench, ino, &model, count + 20);
        if unwritten {
            // All of it, from the middle to both ends: extents grow together again.
            for (at, len) in [(20_000, 1), (20_001, 13_000), (7, 19_993), (7, count)] {
                bench
                    .run(|engine| {
                        let mut inode = engine.inode(ino)?;
                        engine.mark_written(&mut inode, at, len)?;
                        engine.put_inode(&inode)
                    })
                    .expect("mark");
            }
            bench.check();
            let model = (0..count).map(|n| (n + 7, (start + u64::from(n), false))).collect();
            check(&mut bench, ino, &model, count + 20);
            // Out of the file, but not out of use: for the second round.
            bench
                .run(|engine| {
                    let mut inode = engine.inode(ino)?;
                    engine.charge_blocks(&mut inode, -i64::from(count));
                    init(&mut inode);
                    engine.put_inode(&inode)
                })
                .expect("empty");
        }
    }
    cut(&mut bench, ino, 0, 12);
    bench.check();
    assert_eq!(bench.engine.allocator.free_blocks, free);
    let too_far = bench.run(|engine| {
        let mut inode = engine.inode(ino)?;
        engine.insert_extent(&mut inode, u32::MAX - 3, start, 5, false)
    });
    assert_eq!(too_far, Err(VolumeError::TooBig));
}

/// With groups of 256 blocks an extent lies in many, each of which has a bitmap.
#[test]
fn groups_smaller_than_extents() {
    let arguments = ["-b", "1024", "-g", "256", "-O", "^resize_inode,^has_journal", "-N", "512", "-G", "64"];
    let (mut bench, ino) = with_file(15, &arguments);
    let free = bench.engine.allocator.free_blocks;
    let mut at = 0;
    while at < 12_000 {
        let len = bench
            .run(|engine| {
                let mut inode = engine.inode(ino)?;
                let goal = engine.goal(&inode, at)?;
                let (block, len) = engine.allocate_blocks(goal, 12_000 - at)?;
                engine.insert_extent(&mut inode, at, block, len, false)?;
                inode.size = u64::from(at + len) * 1024;
                engine.put_inode(&inode)?;
                Ok(len)
            })
            .expect("add");
        at += len;
    }
    bench.check();
    let mapping = bench.run(|engine| {
        let inode = engine.inode(ino)?;
        engine.map(&inode, 6000)
    });
    assert!(matches!(mapping, Ok(Mapping::Written { len, .. }) if len > 1000), "{mapping:?}");
    assert!(cut(&mut bench, ino, 3000, 12) > 2);
    bench.check();
    cut(&mut bench, ino, 0, 12);
    bench.check();
    assert_eq!(bench.engine.allocator.free_blocks, free);
}
