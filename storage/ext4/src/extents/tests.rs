//! Trees against a model, with e2fsck as judge.

mod deep;
mod hostile;
mod undone;

use super::{ENTRY, Mapping, init};
use crate::dev::Seed;
use crate::engine::{Engine, Ino};
use crate::halt::Halt;
use crate::layout::inode::Inode;
use crate::testing::{Bench, with_file};
use keelson_volume::VolumeError;
use std::collections::BTreeMap;

/// Block of the file: (block, unwritten).
type Model = BTreeMap<u32, (u64, bool)>;

fn check(bench: &mut Bench, ino: Ino, model: &Model, last: u32) {
    let mut at = 0;
    while at < last {
        let mapping = bench.run(|engine| {
            let inode = engine.inode(ino)?;
            engine.map(&inode, at)
        });
        let (expected, len) = match mapping.expect("map") {
            Mapping::Hole(len) => (None, len),
            Mapping::Written { block, len } => (Some((block, false)), len),
            Mapping::Unwritten { block, len } => (Some((block, true)), len),
        };
        assert!(len > 0);
        for n in 0..len.min(last - at) {
            let there = model.get(&(at + n)).copied();
            let expected = expected.map(|(block, unwritten)| (block + u64::from(n), unwritten));
            assert_eq!(there, expected, "block {} of the file", at + n);
        }
        at = at.saturating_add(len);
    }
}

fn add(engine: &mut Engine, ino: Ino, at: u32, want: u32) -> Result<(u64, u32), Halt> {
    let mut inode = engine.inode(ino)?;
    let room = match engine.map(&inode, at)? {
        Mapping::Hole(len) => len.min(want),
        _ => return Ok((0, 0)),
    };
    let goal = engine.goal(&inode, at)?;
    let (block, len) = engine.allocate_blocks(goal, room)?;
    engine.insert_extent(&mut inode, at, block, len, true)?;
    let end = u64::from(at + len) * engine.geometry.block_size as u64;
    inode.size = inode.size.max(end);
    engine.put_inode(&inode)?;
    Ok((block, len))
}

fn random_trees(arguments: &[&str], seed: u64, rounds: usize, last: u32) {
    let (mut bench, ino) = with_file(48, arguments);
    let random = Seed::new(seed);
    let mut model = Model::new();
    for round in 0..rounds {
        let at = random.below(u64::from(last)) as u32;
        match random.below(100) {
            0..60 => {
                let want = 1 + random.below(if random.below(4) == 0 { 40 } else { 2 }) as u32;
                let (block, len) = bench.run(|engine| add(engine, ino, at, want)).expect("add");
                model.extend((0..len).map(|n| (at + n, (block + u64::from(n), true))));
            }
            60..95 => {
                let len = 1 + random.below(30) as u32;
                let mark = |engine: &mut Engine| {
                    let mut inode = engine.inode(ino)?;
                    engine.mark_written(&mut inode, at, len)?;
                    engine.put_inode(&inode)
                };
                bench.run(mark).expect("mark");
                model.range_mut(at..at + len).for_each(|(_, entry)| entry.1 = false);
            }
            _ => {
                let from = last - random.below(u64::from(last / 8)) as u32;
                let from = if random.below(60) == 0 { 0 } else { from };
                let cut = |engine: &mut Engine| {
                    let mut inode = engine.inode(ino)?;
                    let done = engine.remove_from(&mut inode, from, 12)?;
                    let end = u64::from(from) * engine.geometry.block_size as u64;
                    inode.size = if done { inode.size.min(end) } else { inode.size };
                    engine.put_inode(&inode)?;
                    Ok(done)
                };
                while !bench.run(cut).expect("cut") {}
                model.split_off(&from);
            }
        }
        if round % 500 == 499 {
            check(&mut bench, ino, &model, last + 100);
            bench.check();
        }
    }
    check(&mut bench, ino, &model, last + 100);
    bench.check();
}

#[test]
fn small_blocks_give_deep_trees() {
    random_trees(&["-b", "1024"], 1, 3000, 20_000);
}

#[test]
fn large_blocks() {
    random_trees(&["-b", "4096"], 2, 2000, 8_000);
}

#[test]
fn without_checksums() {
    random_trees(&["-b", "1024", "-O", "^metadata_csum,uninit_bg"], 3, 1500, 10_000);
}

#[test]
fn without_flexible_groups() {
    random_trees(&["-b", "2048", "-O", "^flex_bg,^64bit", "-g", "1024"], 4, 1500, 10_000);
}
