//! What it costs: `cargo test --release -p keelson-ext4 --lib speed -- --ignored --nocapture`.

use crate::dev::{Scratch, Seed};
use crate::engine::{Engine, Ino, seal};
use crate::extents;
use crate::halt::Halt;
use crate::journal::Journal;
use crate::layout::inode::Inode;
use crate::layout::superblock::{self, Superblock};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Instant;

/// An engine on a sparse file, of which only what is asked for is read. Nothing is written.
struct Large {
    engine: Engine,
    disk: File,
    _scratch: Scratch,
}

impl Large {
    fn new(groups: u64) -> Large {
        let scratch = Scratch::new();
        let disk =
            File::options().read(true).write(true).create_new(true).open(scratch.path()).expect("create");
        let bytes = groups * (128 << 20);
        disk.set_len(bytes).expect("size");
        let inodes = (groups * 64).max(8192).to_string();
        let features = ["-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=1,nodiscard"];
        let made = Command::new("/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-N", &inodes])
            .args(features)
            .arg(scratch.path())
            .status()
            .expect("mke2fs");
        assert!(made.success());
        let mut raw = [0; superblock::LENGTH];
        disk.read_exact_at(&mut raw, superblock::POSITION).expect("read");
        let superblock = Superblock::parse(&raw, bytes).expect("a good superblock");
        let engine = Engine::new(superblock.geometry, 256 << 20, Journal::for_tests(), 1);
        let mut large = Large { engine, disk, _scratch: scratch };
        large.run(Engine::count_descriptors).expect("read the group descriptors");
        large
    }

    fn run<T>(&mut self, mut operation: impl FnMut(&mut Engine) -> Result<T, Halt>) -> Result<T, Halt> {
        loop {
            self.engine.begin();
            match operation(&mut self.engine) {
                Ok(value) => {
                    self.engine.end();
                    return Ok(value);
                }
                Err(Halt::Need(block, kind)) => {
                    self.engine.roll_back();
                    let size = self.engine.geometry.block_size;
                    let mut data = vec![0; size];
                    self.disk.read_exact_at(&mut data, block * size as u64).expect("read");
                    assert!(seal::is_sound(&data, block, kind, &self.engine.geometry));
                    self.engine.cache.insert(block, kind, data.into());
                }
                Err(halt) => {
                    self.engine.roll_back();
                    return Err(halt);
                }
            }
        }
    }

    /// What was freed is for use again, as after a commit.
    fn release(&mut self) {
        for (start, count) in std::mem::take(&mut self.engine.journal.running.freed) {
            self.engine.allocator.release(start, count);
        }
        self.engine.journal.running.revoked.clear();
    }
}

/// Median of the calls, and the slowest.
fn measure(what: &str, count: usize, mut work: impl FnMut(usize)) {
    let mut times: Vec<u64> = (0..count)
        .map(|number| {
            let start = Instant::now();
            work(number);
            start.elapsed().as_nanos() as u64
        })
        .collect();
    let all: u64 = times.iter().sum();
    times.sort_unstable();
    let at = |part: usize| times[(count - 1) * part / 100];
    eprintln!(
        "  {what}: mean {} ns, median {}, 99 % {}, most {}",
        all / count as u64,
        at(50),
        at(99),
        at(100)
    );
}

fn with_groups(groups: u64) {
    let start = Instant::now();
    let mut large = Large::new(groups);
    eprintln!("{groups} groups of 32768 blocks (made and counted in {:?})", start.elapsed());
    let random = Seed::new(1);
    let all = large.engine.geometry.blocks;
    let mut taken = Vec::new();
    // Bitmaps come into memory first.
    let touched = groups.min(256);
    for group in 0..touched {
        let goal = all / touched * group + 5000;
        taken.push(large.run(|engine| engine.allocate_blocks(goal, 1)).expect("room"));
    }
    let mut runs = Vec::new();
    for (what, want) in
        [("one block near a goal", 1), ("16 blocks near a goal", 16), ("256 blocks near a goal", 256)]
    {
        measure(what, (8000 / want as usize).min(1000), |number| {
            let goal = all / touched * (number as u64 % touched) + 5000;
            runs.push(large.run(|engine| engine.allocate_blocks(goal, want)).expect("room"));
        });
    }
    measure("free a run", runs.len(), |_| {
        let index = random.below(runs.len() as u64) as usize;
        let (start, count) = runs.swap_remove(index);
        large.run(|engine| engine.free_blocks(start, count)).expect("free");
    });
    large.release();
    let mut made = Vec::new();
    measure("an inode", 4000, |number| {
        let near = 1 + (number as u32 % touched as u32) * large.engine.geometry.inodes_per_group;
        made.push(large.run(|engine| engine.allocate_inode(&Inode::blank(near), false)).expect("room").ino);
    });
    measure("free an inode", made.len(), |number| {
        large.run(|engine| engine.free_inode(made[number], false)).expect("free");
    });
    measure("a directory below the root", 300, |_| {
        large.run(|engine| engine.allocate_inode(&Inode::blank(2), true)).expect("room");
    });
    // All of the disk but single blocks of the last group.
    let last = large.engine.geometry.groups - 1;
    let start = Instant::now();
    let mut end = Vec::new();
    loop {
        let run = large.run(|engine| {
            engine.allocator.use_reserve = true;
            engine.allocate_blocks(0, 32_768)
        });
        let Ok((block, count)) = run else { break };
        if large.engine.geometry.locate_block(block).is_some_and(|(group, _)| group == last) {
            end.extend(block..block + u64::from(count));
        }
    }
    let filled = start.elapsed();
    eprintln!("  fill the disk: {:?}, {} ns per group", filled, filled.as_nanos() as u64 / groups);
    for &block in end.iter().step_by(3) {
        large.run(|engine| engine.free_blocks(block, 1)).expect("free");
    }
    large.release();
    for (what, want) in
        [("one block, only the last group has any", 1), ("64 blocks, only single ones are left", 64)]
    {
        measure(what, 1000, |_| {
            let run = large.run(|engine| {
                engine.allocator.use_reserve = true;
                engine.allocate_blocks(0, want)
            });
            assert!(run.is_ok());
        });
    }
    while large
        .run(|engine| {
            engine.allocator.use_reserve = true;
            engine.allocate_blocks(0, 1)
        })
        .is_ok()
    {}
    measure("none is left", 1000, |_| {
        let run = large.run(|engine| {
            engine.allocator.use_reserve = true;
            engine.allocate_blocks(0, 8)
        });
        assert!(run.is_err());
    });
}

#[test]
#[ignore = "measures"]
fn speed_of_space() {
    with_groups(1);
    with_groups(8192);
}

/// Every second block of all groups is free.
#[test]
#[ignore = "measures"]
fn speed_in_fragments() {
    let mut large = Large::new(64);
    let mut runs = Vec::new();
    while let Ok(run) = large.run(|engine| {
        engine.allocator.use_reserve = true;
        engine.allocate_blocks(0, 32_768)
    }) {
        runs.push(run);
    }
    for (start, count) in runs {
        for block in (start..start + u64::from(count)).step_by(2) {
            large.run(|engine| engine.free_blocks(block, 1)).expect("free");
        }
        large.release();
    }
    eprintln!("64 groups, every second block free");
    let random = Seed::new(2);
    let blocks = large.engine.geometry.blocks;
    for (what, want) in [("the first 100, 256 blocks", 256), ("256 blocks", 256), ("one block", 1)] {
        measure(what, 100, |_| {
            let goal = random.below(blocks);
            large
                .run(|engine| {
                    engine.allocator.use_reserve = true;
                    engine.allocate_blocks(goal, want)
                })
                .expect("room");
        });
    }
}

fn file(engine: &mut Engine) -> Result<Ino, Halt> {
    let mut inode = engine.allocate_inode(&Inode::blank(2), false)?;
    (inode.mode, inode.links) = (0o100_644, 1);
    extents::init(&mut inode);
    engine.put_new_inode(&inode)?;
    Ok(inode.ino)
}

#[test]
#[ignore = "measures"]
fn speed_of_extents() {
    for count in [4u32, 1000, 300_000] {
        let mut large = Large::new(64);
        let ino = large.run(file).expect("a file");
        eprintln!("a file of {count} extents");
        // Blocks are only numbers here: nothing is written.
        let place = |number: u32| 1_049_576 + u64::from(number);
        measure("insert in order", count as usize, |number| {
            let number = number as u32;
            large
                .run(|engine| {
                    let mut inode = engine.inode(ino)?;
                    engine.insert_extent(&mut inode, number * 4, place(number), 1, true)?;
                    engine.put_inode(&inode)
                })
                .expect("insert");
        });
        let random = Seed::new(3);
        let inode = large.run(|engine| engine.inode(ino)).expect("read");
        measure("map", 100_000, |_| {
            let at = random.below(u64::from(count) * 4) as u32;
            large.run(|engine| engine.map(&inode, at)).expect("map");
        });
        measure("insert anywhere", (count as usize).min(50_000), |_| {
            let number = random.below(u64::from(count)) as u32;
            let at = number * 4 + 2;
            large
                .run(|engine| {
                    let mut inode = engine.inode(ino)?;
                    if engine.map(&inode, at)? == extents::Mapping::Hole(2) {
                        engine.insert_extent(&mut inode, at, place(number) + 1, 1, true)?;
                    }
                    engine.put_inode(&inode)
                })
                .expect("insert");
        });
        measure("mark as written", (count as usize).min(50_000), |_| {
            let at = random.below(u64::from(count)) as u32 * 4;
            large
                .run(|engine| {
                    let mut inode = engine.inode(ino)?;
                    engine.mark_written(&mut inode, at, 1)?;
                    engine.put_inode(&inode)
                })
                .expect("mark");
        });
    }
    let mut large = Large::new(64);
    let ino = large.run(file).expect("a file");
    eprintln!("appending, one run behind the other");
    measure("allocate 16 blocks and insert them, mark them as written", 20_000, |number| {
        let at = number as u32 * 16;
        let len = large
            .run(|engine| {
                let mut inode = engine.inode(ino)?;
                let goal = engine.goal(&inode, at)?;
                let (block, len) = engine.allocate_blocks(goal, 16)?;
                engine.insert_extent(&mut inode, at, block, len, true)?;
                engine.put_inode(&inode)?;
                Ok(len)
            })
            .expect("insert");
        large
            .run(|engine| {
                let mut inode = engine.inode(ino)?;
                engine.mark_written(&mut inode, at, len)?;
                engine.put_inode(&inode)
            })
            .expect("mark");
    });
    measure("cut, a step", 10, |_| {
        large
            .run(|engine| {
                let mut inode = engine.inode(ino)?;
                engine.remove_from(&mut inode, 0, 12)?;
                engine.put_inode(&inode)
            })
            .expect("cut");
    });
}
