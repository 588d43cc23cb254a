//! Space on images in memory, against a model; e2fsck is the judge.

mod damage;
mod full;
mod lazy;
mod speed;

use super::{bitmap, groups::Free};
use crate::dev::Seed;
use crate::engine::{BlockNr, Engine, Kind};
use crate::halt::Halt;
use crate::testing::Bench;
use keelson_volume::VolumeError;
use std::collections::BTreeSet;

/// A filesystem and who has which of its blocks.
struct Model {
    bench: Bench,
    free: BTreeSet<BlockNr>,
    /// Freed since the last commit.
    held: BTreeSet<BlockNr>,
    /// Allocated here, run by run.
    runs: Vec<(BlockNr, u32)>,
}

impl Model {
    fn new(mebibytes: u64, arguments: &[&str]) -> Model {
        let mut bench = Bench::new(mebibytes, arguments);
        let mut free = BTreeSet::new();
        for group in 0..bench.engine.geometry.groups {
            let bits = bits(&mut bench, group);
            let (start, size) =
                (bench.engine.geometry.group_start(group), bench.engine.geometry.group_blocks(group));
            free.extend((0..size).filter(|&at| !bitmap::get(&bits, at)).map(|at| start + u64::from(at)));
        }
        Model { bench, free, held: BTreeSet::new(), runs: Vec::new() }
    }

    /// Nothing is given twice, nothing is lost, and no bound is too low.
    fn check(&mut self) {
        assert_eq!(self.bench.engine.allocator.free_blocks, (self.free.len() + self.held.len()) as u64);
        for group in 0..self.bench.engine.geometry.groups {
            let (start, size) = (
                self.bench.engine.geometry.group_start(group),
                self.bench.engine.geometry.group_blocks(group),
            );
            let (mut longest, mut run) = (0, 0);
            for block in start..start + u64::from(size) {
                run = if self.free.contains(&block) { run + 1 } else { 0 };
                longest = longest.max(run);
            }
            let bound = self.bench.engine.allocator.group_runs.get(group);
            assert!(longest <= bound, "group {group} has a run of {longest}, over {bound}");
        }
    }

    /// Allocates; what was got must have been free.
    fn take(&mut self, goal: BlockNr, want: u32) -> Option<(BlockNr, u32)> {
        let taken = self.bench.run(|engine| {
            engine.allocator.use_reserve = true;
            engine.allocate_blocks(goal, want)
        });
        let (start, count) = match taken {
            Ok(run) => run,
            Err(VolumeError::NoSpace | VolumeError::TryLater) => {
                assert!(self.free.is_empty(), "{} blocks are free", self.free.len());
                return None;
            }
            Err(error) => panic!("allocate: {error}"),
        };
        assert!(count >= 1 && count <= want);
        for block in start..start + u64::from(count) {
            assert!(self.free.remove(&block), "block {block} was not free");
        }
        self.runs.push((start, count));
        Some((start, count))
    }

    fn give(&mut self, (start, count): (BlockNr, u32)) {
        self.bench.run(|engine| engine.free_blocks(start, count)).expect("free");
        self.held.extend(start..start + u64::from(count));
    }

    fn commit(&mut self) {
        self.bench.commit();
        self.free.append(&mut self.held);
    }
}

fn bits(bench: &mut Bench, group: u32) -> Vec<u8> {
    let read = |engine: &mut Engine| {
        let block = engine.block_bitmap(group)?;
        Ok(engine.read(block, Kind::BlockBitmap(group))?.to_vec())
    };
    bench.run(read).expect("read the bitmap")
}

fn random_space(mebibytes: u64, arguments: &[&str], seed: u64, rounds: usize) {
    let mut model = Model::new(mebibytes, arguments);
    let random = Seed::new(seed);
    let blocks = model.bench.engine.geometry.blocks;
    for round in 0..rounds {
        match random.below(100) {
            0..45 => {
                let most = [1, 4, 40, 3000][random.below(4) as usize];
                model.take(random.below(blocks + 10), 1 + random.below(most) as u32);
            }
            45..80 if !model.runs.is_empty() => {
                let (start, count) = model.runs.swap_remove(random.below(model.runs.len() as u64) as usize);
                let first = random.below(u64::from(count)) as u32;
                let middle = 1 + random.below(u64::from(count - first)) as u32;
                model.give((start + u64::from(first), middle));
                let rest = count - first - middle;
                let parts = [(start, first), (start + u64::from(first + middle), rest)];
                model.runs.extend(parts.iter().filter(|(_, count)| *count > 0));
            }
            // An operation that frees, allocates and then fails: nothing of it remains.
            80..94 => {
                let given = model.runs.last().copied();
                let (goal, want) = (random.below(blocks), 1 + random.below(500) as u32);
                let (free, held) = (&model.free, &model.held);
                let failed = model.bench.run(|engine| -> Result<(), Halt> {
                    engine.allocator.use_reserve = true;
                    if let Some((start, count)) = given {
                        engine.free_blocks(start, count)?;
                    }
                    for _ in 0..4 {
                        let (start, count) = engine.allocate_blocks(goal, want)?;
                        for block in start..start + u64::from(count) {
                            assert!(free.contains(&block) && !held.contains(&block), "block {block}");
                        }
                    }
                    Err(Halt::Fail(VolumeError::TooBig))
                });
                assert!(failed.is_err());
            }
            _ => model.commit(),
        }
        if round % 50 == 49 {
            model.check();
        }
    }
    // Everything back: the disk must be as mke2fs made it, but for groups that were begun.
    for run in std::mem::take(&mut model.runs) {
        model.give(run);
    }
    model.commit();
    model.check();
    model.bench.check();
}

#[test]
fn random_space_in_small_groups() {
    random_space(8, &["-b", "1024", "-g", "256", "-O", "^resize_inode"], 1, 1500);
}

#[test]
fn random_space_in_large_groups() {
    random_space(40, &["-b", "4096"], 2, 1000);
}

#[test]
fn random_space_without_checksums() {
    random_space(24, &["-b", "2048", "-g", "2048", "-O", "^metadata_csum,uninit_bg"], 3, 1000);
}

#[test]
fn random_space_in_plain_groups() {
    random_space(24, &["-b", "1024", "-g", "2048", "-O", "^flex_bg,^64bit,^metadata_csum"], 4, 1000);
}

/// At the goal first; else long runs, which begin at round places.
#[test]
fn goals_and_alignment() {
    let mut model = Model::new(64, &["-b", "1024"]);
    let start = model.bench.engine.geometry.group_start(4);
    let (first, _) = model.take(start + 1000, 3).expect("there is room");
    assert_eq!(first, start + 1000);
    assert_eq!(model.take(start + 1003, 7), Some((start + 1003, 7)));
    let (block, count) = model.take(start + 1000, 512).expect("there is room");
    assert!(count == 512 && block.is_multiple_of(256) && block < start + 2000, "{block}+{count}");
    // A group of single free blocks is left for one with long runs.
    let group = 5;
    let (start, size) =
        (model.bench.engine.geometry.group_start(group), model.bench.engine.geometry.group_blocks(group));
    let mut odd = Vec::new();
    while model.bench.engine.allocator.free_of(group).blocks > 0 {
        let (block, count) = model.take(start, size).expect("there is room");
        odd.extend((block..block + u64::from(count)).step_by(2));
    }
    odd.retain(|&block| model.bench.engine.geometry.locate_block(block).is_some_and(|(at, _)| at == group));
    for &block in &odd {
        model.give((block, 1));
    }
    // What is not committed is not for use.
    let (block, _) = model.take(odd[0], 1).expect("there is room");
    assert_ne!(model.bench.engine.geometry.locate_block(block).map(|(at, _)| at), Some(group));
    model.commit();
    let (block, count) = model.take(odd[5] + 1, 200).expect("there is room");
    assert_eq!(count, 200);
    assert_ne!(model.bench.engine.geometry.locate_block(block).map(|(at, _)| at), Some(group));
    assert_eq!(model.take(odd[5], 200), Some((odd[5], 1)));
    model.check();
}

#[test]
fn counts_are_whole_again_after_a_group_is_avoided() {
    let mut bench = Bench::new(16, &["-b", "1024"]);
    let allocator = &mut bench.engine.allocator;
    let (blocks, inodes, free) = (allocator.free_blocks, allocator.free_inodes, allocator.free_of(1));
    assert_eq!((free.no_blocks, free.no_inodes), (false, false));
    allocator.count(1, -5, -1);
    allocator.avoid_blocks(1);
    allocator.avoid_blocks(1);
    allocator.count(1, 5, 1);
    assert_eq!(allocator.free_blocks, blocks - u64::from(free.blocks));
    assert_eq!(allocator.free_inodes, inodes);
    assert_eq!(allocator.free_of(1), Free { no_blocks: true, ..free });
}
