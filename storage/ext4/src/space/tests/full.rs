//! Full filesystems: what is promised can be kept, and what is kept back lets files be deleted.

use super::Model;
use crate::engine::{Engine, Ino};
use crate::halt::Halt;
use crate::testing::{Bench, with_file};
use keelson_volume::VolumeError;

/// Writes `want` promised blocks of the file at `at`, as unwritten extents and then content, as writing back does.
fn place(engine: &mut Engine, ino: Ino, at: u32, want: u32) -> Result<u32, Halt> {
    engine.allocator.use_reserve = true;
    let mut inode = engine.inode(ino)?;
    let goal = engine.goal(&inode, at)?;
    let (block, count) = engine.allocate_blocks(goal, want)?;
    engine.insert_extent(&mut inode, at, block, count, true)?;
    engine.mark_written(&mut inode, at, count)?;
    inode.size = inode.size.max(u64::from(at + count) * engine.geometry.block_size as u64);
    engine.put_inode(&inode)?;
    Ok(count)
}

fn promise(bench: &mut Bench, count: u64) -> Result<(), VolumeError> {
    bench.run(|engine| engine.allocator.reserve(count))
}

fn cut(bench: &mut Bench, ino: Ino) {
    let step = |engine: &mut Engine| {
        engine.allocator.use_reserve = true;
        let mut inode = engine.inode(ino)?;
        let done = engine.remove_from(&mut inode, 0, 12)?;
        inode.size = 0;
        engine.put_inode(&inode)?;
        Ok(done)
    };
    while !bench.run(step).expect("cut") {}
}

fn fill(arguments: &[&str]) {
    let (mut bench, ino) = with_file(16, arguments);
    let free = bench.engine.allocator.free_blocks;
    let kept_back = bench.engine.geometry.reserved_blocks + bench.engine.allocator.reserve;
    assert!(kept_back > 0 && bench.engine.geometry.reserved_blocks >= bench.engine.geometry.blocks / 21);
    let mut at = 0;
    for round in 0u32.. {
        let want = 1 + (round * 37) % 200;
        if promise(&mut bench, u64::from(want)).is_err() && promise(&mut bench, 1).is_err() {
            break;
        }
        let promised = bench.engine.allocator.promised();
        let mut left = promised as u32;
        while left > 0 {
            let count = bench.run(|engine| place(engine, ino, at, left)).expect("a promise is kept");
            // A hole after each, so that the tree grows.
            at += count + 1;
            left -= count;
        }
        bench.engine.allocator.unreserve(promised);
    }
    assert_eq!(bench.engine.allocator.available(), 0);
    let left = bench.engine.allocator.free_blocks;
    assert!(left <= kept_back && left + 40 >= kept_back, "{left} of {kept_back} kept back are left");
    // Nobody ordinary gets anything.
    let refused = [
        bench.run(|engine| engine.allocate_metadata(1000).map(|_| ())),
        bench.run(|engine| engine.allocate_blocks(1000, 10).map(|_| ())),
        promise(&mut bench, 1),
    ];
    assert!(refused.iter().all(|result| result.is_err()), "{refused:?}");
    assert!(bench.engine.counters.no_space >= 2);
    let may = bench.run(|engine| {
        engine.allocator.use_reserve = true;
        engine.allocate_metadata(1000)
    });
    let block = may.expect("what is kept back");
    bench.run(|engine| engine.free_blocks(block, 1)).expect("free");
    bench.check();
    cut(&mut bench, ino);
    bench.check();
    assert_eq!(bench.engine.allocator.free_blocks, free);
    promise(&mut bench, free - kept_back).expect("all of it");
    assert!(promise(&mut bench, 1).is_err());
}

#[test]
fn full_and_empty_again_with_small_blocks() {
    fill(&["-b", "1024"]);
}

#[test]
fn full_and_empty_again_with_large_blocks() {
    fill(&["-b", "4096"]);
}

/// The worst for an extent tree: everything that can be promised lies in single blocks, in a free space of single blocks.
#[test]
fn promises_are_kept_in_the_worst_of_free_space() {
    let (mut bench, ino) = with_file(16, &["-b", "1024", "-O", "^has_journal"]);
    // Every second block is taken away for good.
    let mut taken = Vec::new();
    loop {
        let run = bench.run(|engine| {
            engine.allocator.use_reserve = true;
            engine.allocate_blocks(0, 8192)
        });
        match run {
            Ok((start, count)) => taken.extend(start..start + u64::from(count)),
            Err(_) => break,
        }
    }
    let (back, gone): (Vec<u64>, Vec<u64>) = taken.iter().partition(|&&block| block % 2 == 0);
    for chunk in back.chunks(64) {
        bench.run(|engine| chunk.iter().try_for_each(|&block| engine.free_blocks(block, 1))).expect("free");
    }
    bench.commit();
    let available = bench.engine.allocator.available();
    promise(&mut bench, available).expect("all of it");
    assert!(available > 5000 && promise(&mut bench, 1).is_err());
    // From the end to the front, with holes: no extents merge, and all leaves split in the middle.
    for number in (0..available as u32).rev() {
        let count = bench.run(|engine| place(engine, ino, number * 2, 5)).expect("a promise is kept");
        assert_eq!(count, 1);
    }
    bench.engine.allocator.unreserve(available);
    cut(&mut bench, ino);
    bench.commit();
    for chunk in gone.chunks(64) {
        bench.run(|engine| chunk.iter().try_for_each(|&block| engine.free_blocks(block, 1))).expect("free");
    }
    bench.check();
}

/// Until the very last block, and what was freed comes back only with a commit.
#[test]
fn the_last_block() {
    let mut model = Model::new(8, &["-b", "1024"]);
    while model.take(4000, 1 << 13).is_some() {}
    assert_eq!(model.bench.engine.allocator.free_blocks, 0);
    let run = model.runs.pop().expect("a run");
    model.give(run);
    // Not before the commit; the driver makes one.
    let early = model.bench.run(|engine| {
        engine.allocator.use_reserve = true;
        engine.allocate_blocks(1, 1)
    });
    assert_eq!(early, Err(VolumeError::TryLater));
    model.commit();
    model.check();
    assert_eq!(model.take(1, run.1), Some(run));
    assert!(model.take(1, 1).is_none());
}

#[test]
fn the_last_inode() {
    let mut bench = Bench::new(8, &["-b", "1024", "-N", "64"]);
    let left = bench.engine.allocator.free_inodes;
    let root = bench.run(|engine| engine.inode(crate::engine::ROOT)).expect("the root directory");
    let mut made = Vec::new();
    for number in 0..left {
        let directory = number % 3 == 0;
        let inode = bench.run(|engine| {
            let inode = engine.allocate_inode(&root, directory)?;
            engine.put_new_inode(&inode)?;
            Ok(inode)
        });
        made.push((inode.expect("an inode").ino, directory));
    }
    let none = bench.run(|engine| engine.allocate_inode(&root, false));
    assert_eq!(none.map(|inode| inode.ino), Err(VolumeError::NoSpace));
    for (ino, directory) in made {
        bench.run(|engine| engine.free_inode(ino, directory)).expect("free");
        assert!(bench.run(|engine| engine.free_inode(ino, directory)).is_err(), "freed twice");
    }
    assert_eq!(bench.engine.allocator.free_inodes, left);
    bench.check();
}
