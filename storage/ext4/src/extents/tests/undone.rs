//! An operation that fails at any of its edits leaves every block in memory, every count and every sum as it was.

use super::*;
use crate::engine::BlockNr;
use std::collections::BTreeMap;

/// Everything that an operation may change. Clean blocks that it read, and bitmaps that were never made, may come.
#[derive(PartialEq, Debug)]
struct State {
    blocks: BTreeMap<BlockNr, (Vec<u8>, bool)>,
    counts: (u64, u64, u64, usize, usize, usize),
    groups: Vec<crate::space::Free>,
    amounts: Vec<crate::usage::Amount>,
}

fn state(bench: &Bench, blocks: impl Iterator<Item = BlockNr>) -> State {
    let engine = &bench.engine;
    let content =
        |block| Some((block, engine.cache.peek(block).map(|slot| (slot.data.to_vec(), slot.running))?));
    let (allocator, running) = (&engine.allocator, &engine.journal.running);
    State {
        blocks: blocks.filter_map(content).collect(),
        counts: (
            allocator.free_blocks,
            allocator.free_inodes,
            allocator.promised(),
            running.count,
            running.revoked.len(),
            running.freed.len(),
        ),
        groups: (0..engine.geometry.groups).map(|group| allocator.free_of(group)).collect(),
        amounts: (0..20).flat_map(|id| [engine.usage.of_user(id), engine.usage.of_group(id)]).collect(),
    }
}

/// Runs `operation` on the same state with a failure at the first, second, third ... edit until it succeeds.
fn fails_everywhere(bench: &mut Bench, operation: impl Fn(&mut Engine) -> Result<(), Halt>) -> usize {
    let blocks = bench.engine.geometry.blocks;
    // Everything that it needs comes into memory first.
    let dry = bench.run(|engine| operation(engine).and(Err::<(), _>(Halt::Fail(VolumeError::TooBig))));
    assert_eq!(dry, Err(VolumeError::TooBig));
    let before = state(bench, 0..blocks);
    for edits in 0.. {
        bench.engine.fail_after(Some(edits));
        let result = bench.run(&operation);
        if result.is_ok() {
            bench.engine.fail_after(None);
            assert!(state(bench, 0..blocks) != before, "the operation does something");
            return edits;
        }
        assert_eq!(result, Err(VolumeError::NoSpace));
        let after = state(bench, 0..blocks);
        assert!(after == before, "edit {edits} left a trace");
        // The same is true on the disk.
        assert_eq!(bench.engine.journal.running.is_empty(), before.counts.3 == 0);
    }
    unreachable!()
}

fn everything(arguments: &[&str]) {
    let (mut bench, ino) = with_file(8, arguments);
    let count = |engine: &mut Engine| -> Result<(), Halt> {
        while !engine.count_usage()? {}
        Ok(())
    };
    bench.run(count).expect("count");
    let mut edits = Vec::new();
    // Into an empty tree, until it has two levels of nodes; at the front, in the middle and at the end.
    for at in 0..400 {
        bench.run(|engine| add(engine, ino, 1000 + at * 3, 1)).expect("add");
    }
    bench.check();
    for at in [0, 1501, 5000, 1003 + 390 * 3 + 1] {
        edits.push(fails_everywhere(&mut bench, |engine| {
            for more in 0..12 {
                add(engine, ino, at + more * 2, 1)?;
            }
            Ok(())
        }));
        bench.check();
    }
    edits.push(fails_everywhere(&mut bench, |engine| {
        let mut inode = engine.inode(ino)?;
        engine.mark_written(&mut inode, 1400, 90)?;
        engine.put_inode(&inode)
    }));
    bench.check();
    // A name, an inode and a block at once, and back, in a transaction that has changes already.
    for _ in 0..2 {
        edits.push(fails_everywhere(&mut bench, |engine| {
            let root = engine.inode(crate::engine::ROOT)?;
            let mut inode = engine.allocate_inode(&root, true)?;
            (inode.mode, inode.links, inode.uid, inode.gid) = (0o40_755, 2, 3, 4);
            init(&mut inode);
            engine.put_new_inode(&inode)?;
            engine.charge(inode.ino, 3, 4, 0, 1);
            let block = engine.allocate_metadata(3000)?;
            engine.insert_extent(&mut inode, 0, block, 1, false)?;
            engine.put_inode(&inode)?;
            engine.remove_from(&mut inode, 0, 5)?;
            engine.free_inode(inode.ino, true)?;
            engine.charge(inode.ino, 3, 4, 0, -1);
            (inode.links, inode.dtime) = (0, 1_767_225_600);
            engine.put_inode(&inode)
        }));
    }
    for from in [1900, 1000, 0] {
        edits.push(fails_everywhere(&mut bench, |engine| {
            let mut inode = engine.inode(ino)?;
            engine.remove_from(&mut inode, from, 20)?;
            engine.put_inode(&inode)
        }));
    }
    assert!(edits.iter().all(|&edits| edits >= 3), "{edits:?}");
    let cut = |engine: &mut Engine| {
        let mut inode = engine.inode(ino)?;
        let done = engine.remove_from(&mut inode, 0, 20)?;
        inode.size = 0;
        engine.put_inode(&inode)?;
        Ok(done)
    };
    while !bench.run(cut).expect("cut") {}
    bench.check();
}

#[test]
fn failures_at_every_edit() {
    everything(&["-b", "1024"]);
}

#[test]
fn failures_at_every_edit_without_checksums() {
    everything(&["-b", "1024", "-g", "1024", "-O", "^metadata_csum,uninit_bg"]);
}

/// Blocks that are not in memory come one after the other, in any order, in the midst of operations.
#[test]
fn memory_for_next_to_nothing() {
    let (mut bench, ino) = with_file(8, &["-b", "1024"]);
    let random = Seed::new(9);
    let mut model = Model::new();
    for _ in 0..400 {
        let at = random.below(3000) as u32;
        let (block, len) = bench.run(|engine| add(engine, ino, at, 3)).expect("add");
        model.extend((0..len).map(|n| (at + n, (block + u64::from(n), true))));
        bench.commit();
        for block in 0..bench.engine.geometry.blocks {
            if random.below(3) > 0 {
                bench.engine.cache.remove(block);
            }
        }
    }
    check(&mut bench, ino, &model, 3100);
    bench.check();
    assert!(bench.misses > 1000);
}
