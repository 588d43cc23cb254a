//! Sums against a count of all inodes, while they change.

use super::{Amount, Usage};
use crate::dev::Seed;
use crate::engine::{Engine, Ino, ROOT};
use crate::extents;
use crate::halt::Halt;
use crate::testing::Bench;
use keelson_volume::VolumeError;
use std::collections::BTreeMap;

fn count(bench: &mut Bench) {
    while !bench.run(Engine::count_usage).expect("count") {}
}

#[test]
fn counted_stored_and_read_back() {
    let mut bench = Bench::new(16, &["-E", "root_owner=7:8"]);
    assert_eq!(bench.run(|engine| engine.encode_usage(1000)), Ok(None), "not yet counted");
    bench.run(Engine::note_stamp).expect("read the superblock");
    count(&mut bench);
    let usage = &bench.engine.usage;
    // The root directory, of which mke2fs makes one block, and lost+found, which root owns.
    assert_eq!((usage.of_user(7).inodes, usage.of_group(8).inodes), (1, 1));
    assert!(usage.of_user(7).sectors >= 2 && usage.of_user(0).inodes == 1);
    assert_eq!(usage.of_user(99), Amount::default());
    let raw =
        bench.run(|engine| engine.encode_usage(1000)).expect("no error").expect("everything is counted");
    assert_eq!(bench.run(|engine| engine.encode_usage(raw.len() - 1)), Ok(None), "too long");
    let read = bench.engine.decode_usage(&raw).expect("what was written");
    assert_eq!(read.of_user(7), bench.engine.usage.of_user(7));
    for at in 0..raw.len() {
        let mut bad = raw.clone();
        bad[at] ^= 1;
        assert!(bench.engine.decode_usage(&bad).is_none() && bench.engine.decode_usage(&raw[..at]).is_none());
    }
    // Somebody mounted it meanwhile, or repaired it.
    for field in [0x2c, 0x34, 0x40] {
        let mut image = bench.image.clone();
        image[1024 + field] ^= 1;
        let seed = bench.engine.geometry.checksum_seed.is_some();
        assert!(seed);
        let sum = crate::layout::checksum::crc32c(!0, &image[1024..1024 + 0x3fc]);
        image[1024 + 0x3fc..2048].copy_from_slice(&sum.to_le_bytes());
        let mut other = Bench::open(image);
        other.run(Engine::note_stamp).expect("read the superblock");
        assert!(other.engine.decode_usage(&raw).is_none(), "field {field:#x}");
    }
}

/// Owners that have nothing any more take no memory.
#[test]
fn owners_come_and_go() {
    let mut usage = Usage { counted: 100, ..Usage::default() };
    for id in 0..1000 {
        usage.charge(5, id, id, 8, 1);
        usage.charge(5, id, id, -8, -1);
    }
    assert_eq!((usage.users.len(), usage.groups.len()), (0, 0));
}

/// What a count of everything says, by user.
fn truth(bench: &mut Bench) -> BTreeMap<u32, Amount> {
    let mut sums = BTreeMap::<u32, Amount>::new();
    let geometry = bench.engine.geometry;
    for ino in (1..=geometry.inodes).filter(|&ino| ino == ROOT || ino >= geometry.first_inode) {
        let inode = bench.run(|engine| {
            let is_used = engine.is_inode_used(ino)?;
            Ok(if is_used { Some(engine.inode(ino)?) } else { None })
        });
        let Some(inode) = inode.expect("read") else { continue };
        let sum = sums.entry(inode.uid).or_default();
        (sum.sectors, sum.inodes) = (sum.sectors + inode.sectors, sum.inodes + 1);
    }
    sums
}

/// One change: a new file, more of one, less of one, another owner, or the end of one. It may fail at the end.
fn change(engine: &mut Engine, files: &mut Vec<Ino>, random: &Seed, fails: bool) -> Result<(), Halt> {
    let file = files.get(random.below(files.len().max(1) as u64) as usize).copied();
    let (mut made, mut gone) = (None, None);
    match (random.below(8), file) {
        (0..3, _) | (_, None) => {
            let near = crate::layout::inode::Inode::blank(1 + random.below(2000) as u32);
            let mut inode = engine.allocate_inode(&near, false)?;
            (inode.mode, inode.uid, inode.gid) = (0o100_644, random.below(5) as u32, random.below(3) as u32);
            extents::init(&mut inode);
            engine.put_new_inode(&inode)?;
            engine.charge(inode.ino, inode.uid, inode.gid, 0, 1);
            made = Some(inode.ino);
        }
        (3..5, Some(ino)) => {
            let mut inode = engine.inode(ino)?;
            let at = random.below(5000) as u32;
            if matches!(engine.map(&inode, at)?, extents::Mapping::Hole(_)) {
                let (block, _) = engine.allocate_blocks(random.below(16_000), 1)?;
                engine.insert_extent(&mut inode, at, block, 1, false)?;
                engine.put_inode(&inode)?;
            }
        }
        (5, Some(ino)) => {
            let mut inode = engine.inode(ino)?;
            engine.remove_from(&mut inode, random.below(5000) as u32, 10)?;
            engine.put_inode(&inode)?;
        }
        (6, Some(ino)) => {
            let mut inode = engine.inode(ino)?;
            engine.charge(ino, inode.uid, inode.gid, -(inode.sectors as i64), -1);
            inode.uid = random.below(5) as u32;
            engine.charge(ino, inode.uid, inode.gid, inode.sectors as i64, 1);
            engine.put_inode(&inode)?;
        }
        (_, Some(ino)) => {
            let mut inode = engine.inode(ino)?;
            if engine.remove_from(&mut inode, 0, 20)? {
                engine.put_inode(&inode)?;
                engine.charge(ino, inode.uid, inode.gid, 0, -1);
                engine.free_inode(ino, false)?;
                gone = Some(ino);
            } else {
                engine.put_inode(&inode)?;
            }
        }
    }
    if fails {
        return Err(Halt::Fail(VolumeError::TooBig));
    }
    files.extend(made);
    files.retain(|&ino| Some(ino) != gone);
    Ok(())
}

#[test]
fn counting_while_everything_changes() {
    for seed in 0..4 {
        let mut bench = Bench::new(16, &["-b", "1024", "-N", "2048"]);
        let random = Seed::new(seed);
        let mut files = Vec::new();
        let mut is_known = false;
        for round in 0..2000 {
            let fails = random.below(4) == 0;
            let state = random.0.get();
            let result = bench.run(|engine| {
                // The same change each time that it starts anew.
                random.0.set(state);
                change(engine, &mut files, &random, fails)
            });
            assert_eq!(result.is_err(), fails);
            if random.below(3) == 0 && round > 300 {
                is_known = bench.run(Engine::count_usage).expect("count");
            }
            if round % 20 == 0 {
                bench.commit();
            }
        }
        if !is_known {
            count(&mut bench);
        }
        assert!(bench.engine.is_usage_known());
        let sums = truth(&mut bench);
        for (&uid, sum) in &sums {
            assert_eq!(bench.engine.usage.of_user(uid), *sum, "user {uid}, seed {seed}");
        }
        assert_eq!(bench.engine.usage.users.len(), sums.len());
        let total: u64 = bench.engine.usage.groups.values().map(|amount| amount.inodes).sum();
        assert_eq!(total, sums.values().map(|amount| amount.inodes).sum());
    }
}
