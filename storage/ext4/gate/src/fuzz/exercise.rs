//! Uses a filesystem that may be damaged in any way: errors are fine, what it must not do is watched elsewhere.

use super::FILL;
use crate::backend::{Store, own};
use crate::model::{Making, new_object};
use crate::random::Random;
use keelson_volume::{Attributes, ClearSetid, FileId, FileType, SetAttributes, Volume};
use std::collections::HashSet;

/// Objects that are looked at.
const MOST_OBJECTS: usize = 1_500;
/// Pages of one directory.
const MOST_PAGES: usize = 200;
/// Changes.
const CHANGES: usize = 60;

/// Walks everything and changes some.
pub fn exercise(own: &own::Own, seed: u64) {
    let (volume, world) = (own.volume(), own.world());
    let mut seen = Vec::new();
    let mut known = HashSet::new();
    let mut waiting = vec![volume.root()];
    while let Some(dir) = waiting.pop() {
        let names = world.run(list(&volume, dir));
        for name in names {
            let Ok(found) = world.run(volume.lookup(dir, &name)) else { continue };
            if seen.len() >= MOST_OBJECTS || !known.insert(found.id) {
                continue;
            }
            if found.file_type == FileType::Directory {
                waiting.push(found.id);
            }
            world.run(look(&volume, found));
            seen.push((dir, name, found));
        }
    }
    let _ = world.run(volume.usage());
    let mut random = Random::new(seed ^ 0x7573_6500);
    for number in 0..CHANGES {
        let change = change(&volume, &seen, &mut random, number);
        world.run(change);
        if random.once_in(20) {
            world.pass(std::time::Duration::from_secs(random.below(8)));
        }
    }
    let _ = world.run(volume.sync_all());
    let _ = world.run(volume.write_state("fuzz", b"state"));
}

async fn list(volume: &own::Volume, dir: FileId) -> Vec<Vec<u8>> {
    let (mut names, mut cookie) = (Vec::new(), 0);
    for _ in 0..MOST_PAGES {
        let Ok(page) = volume.read_dir(dir, cookie, 4096).await else { break };
        let Some(last) = page.entries.last() else { break };
        assert!(last.cookie > cookie, "a page that leads back: from {cookie} to {}", last.cookie);
        cookie = last.cookie;
        names.extend(page.entries.into_iter().filter(|entry| !entry.is_dot()).map(|entry| entry.name));
        if page.end {
            break;
        }
    }
    let _ = volume.lookup(dir, b"..").await;
    let _ = volume.lookup(dir, b"no such name").await;
    names
}

async fn look(volume: &own::Volume, found: Attributes) {
    let _ = volume.attributes(found.id).await;
    for name in volume.xattr_names(found.id).await.unwrap_or_default() {
        let _ = volume.xattr(found.id, &name).await;
    }
    match found.file_type {
        FileType::Symlink => drop(volume.read_link(found.id).await),
        FileType::Regular => {
            let mut buffer = vec![0; 64 << 10];
            for offset in [0, found.size / 2, found.size.saturating_sub(buffer.len() as u64), found.size] {
                let length = volume.read(found.id, offset, &mut buffer).await.unwrap_or(0);
                assert!(length <= buffer.len(), "more than was asked for");
            }
        }
        _ => {}
    }
}

/// One change to something that was seen.
async fn change(
    volume: &own::Volume,
    seen: &[(FileId, Vec<u8>, Attributes)],
    random: &mut Random,
    number: usize,
) {
    let root = volume.root();
    let fresh = format!("fuzz {number}").into_bytes();
    let Some((dir, name, object)) = (!seen.is_empty()).then(|| random.pick(seen)) else {
        let _ = volume.create(root, &fresh, new_object(&Making::Regular, 0o644, (0, 0))).await;
        return;
    };
    let target = [root, *dir, object.id][random.index(3)];
    match random.below(14) {
        0..3 => {
            let what = match random.below(3) {
                0 => Making::Directory,
                1 => Making::Symlink(vec![b'x'; 1 + random.index(200)]),
                _ => Making::Regular,
            };
            let made = volume.create(target, &fresh, new_object(&what, 0o644, (1, 2))).await;
            if let Ok(made) = made {
                let _ = volume.write(made.object.id, 0, &[FILL; 20_000], ClearSetid::No).await;
            }
        }
        3..6 => {
            let offset = [0, object.size / 2, object.size, random.below(1 << 22)][random.index(4)];
            let _ = volume.write(object.id, offset, &[FILL; 9_000], ClearSetid::Yes).await;
        }
        6 => {
            let size = [0, object.size / 2, 1, object.size + 10_000, 1 << 33][random.index(5)];
            let changes = SetAttributes { size: Some(size), ..SetAttributes::default() };
            let _ = volume.set_attributes(object.id, changes, None).await;
        }
        7 => drop(volume.remove(*dir, name).await),
        8 => drop(volume.remove_dir(*dir, name).await),
        9 => drop(volume.rename(*dir, name, target, &fresh).await),
        10 => {
            let (to, to_name, _) = random.pick(seen);
            let _ = volume.rename(*dir, name, *to, to_name).await;
        }
        11 => drop(volume.link(object.id, target, &fresh).await),
        12 => {
            let value = vec![1; random.index(300)];
            let _ = volume.put_xattr(object.id, b"user.fuzz", Some(&value)).await;
            let changes = SetAttributes { mode: Some(0o600), uid: Some(77), ..SetAttributes::default() };
            let _ = volume.set_attributes(object.id, changes, None).await;
        }
        _ => drop(volume.commit(object.id).await),
    }
}
