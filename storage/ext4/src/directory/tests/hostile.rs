//! Directories that nobody made: whatever is in their blocks, nothing panics or goes on for ever.

use super::*;
use std::time::{Duration, Instant};

/// Everything that can be done with a directory; only that it ends is of interest.
fn exercise(fixture: &mut Fixture) {
    let dir = fixture.dir;
    let file = fixture.files[0];
    for number in 0..12 {
        let name = name(number * 31);
        let _ = fixture.bench.run(|engine| {
            let inode = engine.inode(dir)?;
            engine.dir_lookup(&inode, &name)
        });
        let _ = fixture.bench.run(|engine| insert(engine, dir, &[&name[..3], b"new"].concat(), file));
        let _ = fixture.bench.run(|engine| {
            let mut inode = engine.inode(dir)?;
            engine.dir_remove(&mut inode, &name)
        });
    }
    let _ = fixture.bench.run(|engine| {
        let inode = engine.inode(dir)?;
        engine.dir_is_empty(&inode)
    });
    let (mut cookie, mut pages) = (0, 0);
    while let Ok(page) = fixture.page(cookie, 3000) {
        pages += 1;
        assert!(pages < 10_000, "a listing without end");
        match page.entries.last() {
            Some(last) if !page.end => {
                assert!(last.cookie > cookie);
                cookie = last.cookie;
            }
            _ => break,
        }
    }
    for name in [&b".."[..], b"."] {
        let _ = fixture.bench.run(|engine| {
            let inode = engine.inode(dir)?;
            engine.dir_replace(&inode, name, ROOT, 2)
        });
    }
}

/// The image of a directory with `count` names, and the blocks that it consists of.
fn filled(count: usize, arguments: &[&str]) -> (Vec<u8>, Vec<u64>) {
    let mut fixture = Fixture::new(4, arguments);
    for number in 0..count {
        fixture.insert(&name(number));
    }
    let inode = fixture.inode();
    let blocks = inode.size as u32 / fixture.bench.engine.geometry.block_size as u32;
    let places =
        fixture.bench.run(|engine| (0..blocks).map(|logical| engine.dir_block(&inode, logical)).collect());
    fixture.bench.commit();
    (fixture.bench.image, places.expect("all blocks"))
}

#[test]
fn bytes_of_any_value_anywhere() {
    let without = ["-b", "1024", "-N", "64", "-O", "^metadata_csum,^has_journal"];
    let linear = ["-b", "1024", "-N", "64", "-O", "^metadata_csum,^has_journal,^dir_index"];
    log::set_max_level(log::LevelFilter::Off);
    for (count, arguments, rounds) in
        [(3, &without, 150), (60, &without, 200), (900, &without, 400), (60, &linear, 150)]
    {
        let (image, places) = filled(count, arguments);
        let mut random = Fixture::of(image.clone());
        log::set_max_level(log::LevelFilter::Off);
        for round in 0..rounds {
            let mut broken = image.clone();
            for _ in 0..1 + random.below(4) {
                // Most of it where it hurts: the root, index blocks, heads of entries.
                let block = if random.below(2) == 0 { places[0] } else { places[random.below(places.len())] };
                let at = match random.below(3) {
                    0 => random.below(1024),
                    1 => random.below(64),
                    _ => random.below(256) & !3,
                };
                let value = [0, 1, 4, 8, 12, 0xff, 0x7f, 0x80, random.below(256) as u8][random.below(9)];
                broken[block as usize * 1024 + at] = value;
                if random.below(3) == 0 {
                    broken[block as usize * 1024 + (at ^ 1)] = random.below(256) as u8;
                }
            }
            let start = Instant::now();
            exercise(&mut Fixture::of(broken));
            log::set_max_level(log::LevelFilter::Off);
            assert!(start.elapsed() < Duration::from_secs(10), "round {round} took long");
        }
    }
}

#[test]
fn indexes_that_lead_astray() {
    let arguments = ["-b", "1024", "-N", "64", "-O", "^metadata_csum,^has_journal"];
    let (image, places) = filled(900, &arguments);
    let root = places[0] as usize * 1024;
    let put =
        |image: &mut [u8], at: usize, value: u32| image[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let levels = image[root + 30];
    let count = usize::from(image[root + 34]);
    let mut broken = Vec::new();
    // All entries lead to the same block: the root, one of names, one that does not exist; all hashes are the same.
    for block in [0, 1, 2, 5, places.len() as u32, 0x0fff_ffff] {
        for hash in [None, Some(0), Some(1), Some(u32::MAX)] {
            let mut image = image.clone();
            for index in 0..count {
                put(&mut image, root + 32 + index * 8 + 4, block);
                if let (Some(hash), true) = (hash, index > 0) {
                    put(&mut image, root + 32 + index * 8, hash);
                }
            }
            // An index whose hashes are all 0 looks like one with its last entry only.
            broken.push((image, hash != Some(0)));
        }
    }
    for (at, value) in
        [(28, 3), (28, 255), (29, 0), (29, 255), (30, levels ^ 1), (30, 255), (34, 0), (34, 255), (32, 1)]
    {
        let mut image = image.clone();
        image[root + at] = value;
        broken.push((image, true));
    }
    for (case, (image, shows)) in broken.into_iter().enumerate() {
        let mut fixture = Fixture::of(image);
        log::set_max_level(log::LevelFilter::Off);
        exercise(&mut fixture);
        assert!(
            !shows || fixture.bench.engine.counters.damaged > 0,
            "case {case} of an index with {count} entries, {levels} levels"
        );
    }
}

#[test]
fn damage_is_reported_and_not_searched_around() {
    let (mut image, places) = filled(60, &["-b", "1024", "-N", "64", "-O", "^metadata_csum,^has_journal"]);
    image[places[0] as usize * 1024 + 28] = 9;
    let mut fixture = Fixture::of(image);
    let dir = fixture.dir;
    let found = fixture.bench.run(|engine| {
        let inode = engine.inode(dir)?;
        engine.dir_lookup(&inode, &name(1))
    });
    assert_eq!(found, Err(VolumeError::Io));
    assert_eq!(fixture.page(0, 1000), Err(VolumeError::Io));
}
