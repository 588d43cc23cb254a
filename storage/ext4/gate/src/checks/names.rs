//! Directories of many names: made, listed in pages, looked up, removed while they are listed.

use super::{Result, Setting, judge_disk, sim_disk};
use crate::backend::{Backend, own};
use crate::disk::Pages;
use crate::model::{Making, new_object};
use crate::random::Random;
use crate::tools::{Image, Mounted, e2fsck, may_mount};
use crate::world::World;
use keelson_volume::{FileId, Volume};
use std::collections::BTreeSet;
use std::time::Instant;

/// Names between two commits.
const COMMIT_EVERY: usize = 1_000;

/// A directory of `count` names; a summary.
pub fn many(seed: u64, count: usize) -> Result<String> {
    let start = Instant::now();
    let mut random = Random::new(seed);
    let block_size = ["4096", "1024"][(seed % 2) as usize];
    let inodes = (count + 1_000).to_string();
    let image = Image::make(64 + count as u64 / 500, &["-b", block_size, "-N", &inodes]);
    let world = World::new(seed);
    let setting = Setting { lagging: false, ..Setting::of(seed) };
    let disk = sim_disk(Pages::load(image.path()), &world, setting, seed);
    let mut own = own::mount(&world, disk.clone(), setting.memory)?.quick();
    let root = own.root();
    let dir = own.create(root, b"many", new_object(&Making::Directory, 0o755, (0, 0)));
    let dir = dir.map_err(|error| format!("mkdir: {error}"))?;
    let mut names = BTreeSet::new();
    for number in 0..count {
        let name = name_of(number, &mut random);
        let what = if number % 1000 == 0 { Making::Directory } else { Making::Regular };
        let made = own.create(dir, &name, new_object(&what, 0o644, (0, 0)));
        made.map_err(|error| format!("create {number}: {error}"))?;
        names.insert(name);
        commit_now_and_then(&mut own, dir, number)?;
    }
    for page in [300, 4_096, 1 << 16] {
        let listed = list(&own, dir, page, |_, _| Ok(()))?;
        judge_listing(&names, &listed, &format!("in pages of {page} bytes"))?;
    }
    for name in &names {
        own.lookup(dir, name).map_err(|error| format!("lookup {}: {error}", name.escape_ascii()))?;
    }
    own.sync().map_err(|error| format!("sync: {error}"))?;
    let middle = disk.content();
    judge_middle(&middle, names.len())?;
    remove_while_listing(&own, dir, &mut names, &mut random)?;
    for (number, name) in names.iter().enumerate() {
        let what = own.attributes(dir).map_err(|error| error.to_string())?;
        let removed = own.remove(dir, name).or_else(|_| own.remove_dir(dir, name));
        removed.map_err(|error| format!("remove: {error} ({what:?})"))?;
        commit_now_and_then(&mut own, dir, number)?;
    }
    let left = list(&own, dir, 4_096, |_, _| Ok(()))?;
    judge_listing(&BTreeSet::new(), &left, "when all is removed")?;
    own.remove_dir(root, b"many").map_err(|error| format!("rmdir: {error}"))?;
    Box::new(own).finish().map_err(|error| format!("unmount: {error}"))?;
    judge_disk(&disk)?;
    e2fsck(disk.content().save().path())?;
    Ok(format!("{count} names, {block_size}-byte blocks, {:.1} s", start.elapsed().as_secs_f64()))
}

fn name_of(number: usize, random: &mut Random) -> Vec<u8> {
    let mut name = format!("{number:06}-").into_bytes();
    name.extend((0..random.below(30)).map(|_| b'a' + random.below(26) as u8));
    name
}

fn commit_now_and_then(own: &mut own::Own, dir: FileId, number: usize) -> Result {
    if number % COMMIT_EVERY == COMMIT_EVERY - 1 {
        own.commit(dir).map_err(|error| format!("commit: {error}"))?;
    }
    Ok(())
}

/// All names in pages; `between` is called after each page with what was listed so far and where the next begins.
fn list(
    own: &own::Own,
    dir: FileId,
    page: usize,
    mut between: impl FnMut(&[Vec<u8>], u64) -> Result,
) -> Result<Vec<Vec<u8>>> {
    let (volume, world) = (own.volume(), own.world());
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        let found = world.run(volume.read_dir(dir, cookie, page));
        let found = found.map_err(|error| format!("read_dir: {error}"))?;
        for entry in found.entries {
            if entry.cookie <= cookie {
                return Err(format!("cookie {} after {cookie}", entry.cookie));
            }
            cookie = entry.cookie;
            if entry.name != b"." && entry.name != b".." {
                names.push(entry.name);
            }
        }
        if found.end {
            return Ok(names);
        }
        between(&names, cookie)?;
    }
}

fn judge_listing(names: &BTreeSet<Vec<u8>>, listed: &[Vec<u8>], what: &str) -> Result {
    let unique: BTreeSet<_> = listed.iter().cloned().collect();
    if unique.len() != listed.len() {
        return Err(format!(
            "{what}: {} of {} names are listed twice",
            listed.len() - unique.len(),
            listed.len()
        ));
    }
    match names.symmetric_difference(&unique).next() {
        Some(name) => Err(format!(
            "{what}: {} names, not {}; for example {}",
            unique.len(),
            names.len(),
            name.escape_ascii()
        )),
        None => Ok(()),
    }
}

/// Names that stay must be listed once each while others come and go.
fn remove_while_listing(
    own: &own::Own,
    dir: FileId,
    names: &mut BTreeSet<Vec<u8>>,
    random: &mut Random,
) -> Result {
    let going: Vec<Vec<u8>> = names.iter().filter(|_| random.once_in(2)).cloned().collect();
    let staying: BTreeSet<_> = names.iter().filter(|name| !going.contains_sorted(name)).cloned().collect();
    let (volume, world) = (own.volume(), own.world());
    let (mut going, mut made) = (going.into_iter(), Vec::new());
    let listed = list(own, dir, 2_000, |_, _| {
        for name in going.by_ref().take(60) {
            let removed = world.run(volume.remove(dir, &name)).map(|_| ());
            if removed.is_err() {
                let removed = world.run(volume.remove_dir(dir, &name)).map(|_| ());
                removed.map_err(|error| format!("remove {}: {error}", name.escape_ascii()))?;
            }
        }
        let name = format!("new {}", made.len()).into_bytes();
        let created = world.run(volume.create(dir, &name, new_object(&Making::Regular, 0o600, (0, 0))));
        created.map_err(|error| format!("create: {error}"))?;
        made.push(name);
        Ok(())
    })?;
    let seen: Vec<_> = listed.into_iter().filter(|name| staying.contains(name)).collect();
    judge_listing(&staying, &seen, "names that stayed while others were removed")?;
    *names = staying.into_iter().chain(going).chain(made).collect();
    Ok(())
}

trait Sorted {
    fn contains_sorted(&self, name: &[u8]) -> bool;
}

impl Sorted for Vec<Vec<u8>> {
    fn contains_sorted(&self, name: &[u8]) -> bool {
        self.binary_search_by(|other| other.as_slice().cmp(name)).is_ok()
    }
}

/// Linux and e2fsck see the same directory, after a replay of what is in the journal.
fn judge_middle(pages: &Pages, count: usize) -> Result {
    let image = pages.save();
    if may_mount() {
        let mounted = Mounted::new(image.path(), "noatime")?;
        let listed =
            std::fs::read_dir(mounted.path().join("many")).map_err(|error| error.to_string())?.count();
        // Each is looked up: Linux searches its own way.
        let found = std::fs::read_dir(mounted.path().join("many")).map_err(|error| error.to_string())?;
        let good = found.flatten().filter(|entry| std::fs::symlink_metadata(entry.path()).is_ok()).count();
        mounted.unmount()?;
        if (listed, good) != (count, count) {
            return Err(format!("Linux lists {listed} names and finds {good}, not {count}"));
        }
    } else {
        crate::tools::e2fsck_preen(image.path())?;
    }
    e2fsck(image.path())
}
