//! Journals written by Linux and replayed by us. (Those written by us and replayed by Linux and e2fsck: [`super::cuts`].)
//!
//! Linux works on a loop mount; after an fsync its commits are in the image, while the blocks they are about mostly are
//! not. A copy of the image at that moment is what a power cut leaves.

use super::recovery::recover;
use super::{Result, Setting};
use crate::backend::{Abilities, Backend, Linux, mount_and_walk};
use crate::disk::Pages;
use crate::model::{Course, Limits, Making, Rules, Step, Tree, difference, generate, new_object};
use crate::random::Random;
use crate::tools::{Image, Mounted, debugfs, e2fsck, may_mount};
use std::fs::{self, File};

/// Kinds of journals: arguments for mke2fs, and mount options.
const KINDS: &[(&[&str], &str)] = &[
    (&["-b", "4096"], "noatime"),
    (&["-b", "1024"], "noatime"),
    (&["-b", "4096", "-O", "^64bit"], "noatime"),
    (&["-b", "4096", "-O", "^metadata_csum"], "noatime"),
    (&["-b", "1024", "-O", "^metadata_csum,^64bit"], "noatime"),
    (&["-b", "4096"], "noatime,data=journal"),
    (&["-b", "1024"], "noatime,data=journal"),
    (&["-b", "4096", "-O", "^metadata_csum"], "noatime,data=journal"),
    (&["-b", "4096"], "noatime,data=writeback,journal_async_commit"),
    (&["-b", "4096", "-O", "^metadata_csum"], "noatime,journal_checksum"),
    (&["-b", "1024", "-J", "size=1"], "noatime"),
    (&["-b", "1024", "-J", "size=1"], "noatime,data=journal"),
    (&["-b", "2048"], "noatime,nodelalloc"),
    (&["-b", "4096", "-O", "metadata_csum_seed"], "noatime"),
    (&["-b", "4096", "-O", "fast_commit"], "noatime"),
];

/// A course of Linux's, copied at most so many times; a summary.
pub fn of_linux(seed: u64, most: usize) -> Result<String> {
    if !may_mount() {
        return Ok("skipped: only root can mount".into());
    }
    let (arguments, options) = KINDS[seed as usize % KINDS.len()];
    let what = format!("{} ({options})", arguments.join(" "));
    let Ok(image) = Image::try_make(64, arguments) else { return Ok(format!("skipped: no {what}")) };
    let mut random = Random::new(seed);
    let mut linux = Linux::mount(image.path(), options)?;
    let mut copies = Vec::new();
    let mut course = Course::begin(&mut linux)?;
    let limits = Limits {
        bytes: 8 << 20,
        file: 1 << 20,
        directories: 30,
        objects: 600,
        wrong: false,
        xattrs: true,
        everything: false,
    };
    for number in 0..400 {
        let step = match number % 40 {
            // What looks like a block of the journal must be escaped there.
            7 => None,
            _ => Some(generate(&course.tree, course.bytes, &mut random, &limits)),
        };
        match &step {
            Some(step) => {
                let done = course.step(&mut linux, step);
                done.map_err(|stop| format!("Linux: {}: {}", step.brief(), stop.said()))?;
            }
            None => looks_like_a_journal(&mut course, &mut linux, &mut random)?,
        }
        if number % 100 == 60 {
            blocks_change_hands(&mut course, &mut linux, &mut random)?;
        }
        if random.once_in(60) && copies.len() < most {
            let root = linux.root();
            linux.commit(root).map_err(|error| format!("Linux: fsync: {error}"))?;
            copies.push(Image::copy(image.path()));
        }
    }
    drop(linux);
    let mut replayed = 0;
    for (number, copy) in copies.iter().enumerate() {
        replayed += 1;
        compare(copy, seed + number as u64).map_err(|said| format!("{what}, copy {number}: {said}"))?;
    }
    Ok(format!("{what}: {replayed} journals"))
}

/// Lets blocks of directories become blocks of files: copies of them in the journal must not be replayed any more.
fn blocks_change_hands(course: &mut Course, linux: &mut Linux, random: &mut Random) -> Result {
    let said = |error: keelson_volume::VolumeError| format!("Linux: {error}");
    let root = linux.root();
    let dir = format!("short-lived {:x}", random.number()).into_bytes();
    let new = |what| new_object(what, 0o755, (0, 0));
    let id = linux.create(root, &dir, new(&Making::Directory)).map_err(said)?;
    let names: Vec<Vec<u8>> = (0..150).map(|number| format!("{number:-<120}").into_bytes()).collect();
    for name in &names {
        linux.create(id, name, new(&Making::Regular)).map_err(said)?;
    }
    linux.commit(root).map_err(said)?;
    for name in &names {
        linux.remove(id, name).map_err(said)?;
    }
    linux.remove_dir(root, &dir).map_err(said)?;
    linux.commit(root).map_err(said)?;
    for number in 0..4 {
        let name = format!("heir {number} {:x}", random.number()).into_bytes();
        let file = linux.create(root, &name, new(&Making::Regular)).map_err(said)?;
        linux.write(file, 0, &random.bytes(40_000)).map_err(said)?;
        linux.commit(file).map_err(said)?;
    }
    *course = Course::begin(linux)?;
    Ok(())
}

/// Writes blocks that begin as those of the journal do.
fn looks_like_a_journal(course: &mut Course, linux: &mut Linux, random: &mut Random) -> Result {
    let said = |error: keelson_volume::VolumeError| format!("Linux: {error}");
    let dir = course.tree.root;
    let name = format!("magic {:x}", random.number()).into_bytes();
    let step = Step::Create { dir, name: name.clone(), what: Making::Regular, mode: 0o644, owner: (0, 0) };
    course.step(linux, &step).map_err(|stop| stop.said())?;
    let file = course.tree.names(dir).and_then(|names| names.get(&name)).copied().ok_or("no name")?;
    let id = course.tree.get(file).attributes.id;
    let mut data = random.bytes(16 * 1024);
    for block in data.chunks_mut(1024) {
        block[..8].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 1 + random.below(5) as u8]);
    }
    linux.write(id, 0, &data).map_err(said)?;
    linux.commit(id).map_err(said)?;
    *course = Course::begin(linux)?;
    Ok(())
}

/// Our replay of a journal and Linux's must lead to the same.
fn compare(copy: &Image, seed: u64) -> Result {
    let theirs = Image::copy(copy.path());
    let by_linux = mount_and_walk(theirs.path(), "noatime")?;
    e2fsck(theirs.path()).map_err(|said| format!("after Linux: {said}"))?;
    let judge = |found: &Tree, abilities: Abilities| {
        // Our first mount makes a directory of its own in the root.
        let mut by_linux = by_linux.clone();
        by_linux.get_mut(found.root).attributes = found.get(found.root).attributes;
        let linux = Abilities { generations: false, exact_times: true, all_attributes: true, xattrs: true };
        match difference(&by_linux, found, &Rules::between(abilities, linux).with_allocated()) {
            Some(what) => Err(format!("unlike after Linux's replay, {what}")),
            None => Ok(()),
        }
    };
    match recover(&Pages::load(copy.path()), Setting::of(seed), seed, judge) {
        // Journals of these kinds are not understood, and refused by name.
        Err(said) if said.contains("unsupported ext4 feature fast_commit") => Ok(()),
        Err(said) if said.contains("unsupported ext4 feature journal_async_commit") => Ok(()),
        result => result,
    }
}

/// A journal that was left while a file had no name but was open: the orphan list; a summary.
pub fn orphans(seed: u64) -> Result<String> {
    if !may_mount() {
        return Ok("skipped: only root can mount".into());
    }
    let block_size = ["4096", "1024"][(seed % 2) as usize];
    let image = Image::make(64, &["-b", block_size]);
    let mounted = Mounted::new(image.path(), "noatime")?;
    let io = |error: std::io::Error| error.to_string();
    let mut open = Vec::new();
    for number in 0..5 {
        let path = mounted.path().join(format!("orphan {number}"));
        fs::write(&path, vec![7; 300_000 * (number + 1)]).map_err(io)?;
        open.push(File::open(&path).map_err(io)?);
        fs::remove_file(&path).map_err(io)?;
    }
    fs::write(mounted.path().join("kept"), "kept").map_err(io)?;
    for file in &open {
        file.sync_all().map_err(io)?;
    }
    File::open(mounted.path()).and_then(|root| root.sync_all()).map_err(io)?;
    let copy = Image::copy(image.path());
    drop(open);
    mounted.unmount()?;
    let said = debugfs(copy.path(), &["logdump"]);
    compare(&copy, seed)?;
    Ok(format!("{block_size}-byte blocks, 5 orphans ({} lines of journal)", said.lines().count()))
}
