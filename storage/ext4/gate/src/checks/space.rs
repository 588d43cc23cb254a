//! Full disks: no space is told in time, nothing is half done, what was accepted is written, what is freed is free.

use super::{Result, Setting, Subject, judge_image, open};
use crate::backend::Backend;
use crate::model::{Course, Limits, Making, Step, Stop, generate, walk};
use crate::random::Random;
use crate::tools::{Image, e2fsck};
use std::time::Duration;

/// Answers of "no space" in a row after which a disk is full.
const FULL: usize = 30;

/// Fills a disk, empties it, and fills it again, over and over; a summary.
pub fn fill(subject: Subject, seed: u64) -> Result<String> {
    let mut random = Random::new(seed);
    let block_size = ["1024", "4096"][(seed % 2) as usize];
    let reserve = ["0", "5", "20"][(seed / 2 % 3) as usize];
    let mut image = Image::make(24, &["-b", block_size, "-m", reserve]);
    let mut opened = open(subject, &image, seed)?;
    let abilities = opened.backend.abilities();
    let mut course = Course::begin(&mut *opened.backend)?;
    let mut said = Vec::new();
    for round in 0..3 {
        let backend = &mut *opened.backend;
        let what = |said: String| format!("round {round}: {said}");
        pour(&mut course, backend, &mut random).map_err(what)?;
        said.push(format!("{:.1} MB", course.bytes as f64 / 1e6));
        crowd(&mut course, backend, &mut random).map_err(what)?;
        backend.sync().map_err(|error| format!("round {round}: sync of a full disk: {error}"))?;
        course.compare(backend).map_err(|said| format!("round {round}, full: {said}"))?;
        empty(&mut course, backend, &mut random).map_err(what)?;
        backend.sync().map_err(|error| format!("round {round}: sync: {error}"))?;
        backend.pause(Duration::from_secs(10));
        course.compare(backend).map_err(|said| format!("round {round}, emptied: {said}"))?;
    }
    opened.close(&mut image)?;
    e2fsck(image.path())?;
    let mut again = open(subject, &image, seed + 1)?;
    course.compare(&mut *again.backend).map_err(|said| format!("after a remount: {said}"))?;
    let held = walk(&mut *again.backend)?;
    again.close(&mut image)?;
    judge_image(&image, &held, abilities)?;
    Ok(format!("{block_size}-byte blocks, {reserve} % reserved: {}", said.join(", ")))
}

/// Takes a step; false when there was no space.
fn attempt(course: &mut Course, backend: &mut dyn Backend, step: &Step) -> Result<bool> {
    match course.step(backend, step) {
        Ok(_) => Ok(true),
        Err(Stop::NoSpace) => Ok(false),
        Err(stop) => Err(format!("{}: {}", step.brief(), stop.said())),
    }
}

/// Files until there is no space for the smallest.
fn pour(course: &mut Course, backend: &mut dyn Backend, random: &mut Random) -> Result {
    let root = course.tree.root;
    let mut largest = 1 << 20;
    while largest > 0 {
        let name = format!("fill {:x}", random.number()).into_bytes();
        let step =
            Step::Create { dir: root, name: name.clone(), what: Making::Regular, mode: 0o644, owner: (0, 0) };
        if !attempt(course, backend, &step)? {
            // No inodes, or no room for names: that too is full.
            return Ok(());
        }
        let file = course.tree.names(root).and_then(|names| names.get(&name)).copied().ok_or("no name")?;
        let (mut offset, size) = (0, random.below(4 << 20));
        while offset < size {
            let length = (1 + random.below(largest)) as usize;
            let step = Step::Write { file, offset, length, fill: random.number() as u8 };
            if !attempt(course, backend, &step)? {
                largest /= 4;
                break;
            }
            offset += length as u64;
            // Holes take no space, until they are written into.
            offset += if random.once_in(4) { random.below(100_000) } else { 0 };
        }
    }
    Ok(())
}

/// Everything else on a full disk, until it all fails.
fn crowd(course: &mut Course, backend: &mut dyn Backend, random: &mut Random) -> Result {
    let limits = Limits {
        bytes: 1 << 40,
        file: 6 << 20,
        directories: 200,
        objects: 3_000,
        wrong: true,
        xattrs: backend.abilities().xattrs,
        everything: backend.abilities().exact_times,
    };
    let mut refused = 0;
    for number in 0..1_500 {
        let step = generate(&course.tree, course.bytes, random, &limits);
        // What frees would make it easy.
        let frees = matches!(step, Step::Remove { .. } | Step::RemoveDir { .. } | Step::Truncate { .. });
        if frees && !random.once_in(10) {
            continue;
        }
        refused = if attempt(course, backend, &step)? { 0 } else { refused + 1 };
        if refused > FULL {
            break;
        }
        if number % 300 == 0 {
            backend.sync().map_err(|error| format!("sync of a full disk: {error}"))?;
        }
    }
    Ok(())
}

/// Removes most of it: this must work however full the disk is.
fn empty(course: &mut Course, backend: &mut dyn Backend, random: &mut Random) -> Result {
    loop {
        let mut names = Vec::new();
        for dir in course.tree.directories() {
            let Some(all) = course.tree.names(dir) else { continue };
            names.extend(all.iter().filter(|(name, _)| *name != b"lost+found").map(|(name, inode)| {
                let step = match course.tree.names(*inode) {
                    Some(_) => Step::RemoveDir { dir, name: name.clone() },
                    None => Step::Remove { dir, name: name.clone() },
                };
                (step, course.tree.names(*inode).is_none_or(|names| names.is_empty()))
            }));
        }
        if names.len() < 5 {
            return Ok(());
        }
        for (step, possible) in names {
            if possible && !random.once_in(20) && !attempt(course, backend, &step)? {
                return Err(format!("{}: no space to remove something", step.brief()));
            }
        }
    }
}

/// What a disk of so many inodes does when they are used up.
pub fn few_inodes(seed: u64) -> Result<String> {
    let mut image = Image::make(24, &["-b", "4096", "-N", "256"]);
    let mut opened = open(Subject::Own(Setting::of(seed)), &image, seed)?;
    let mut course = Course::begin(&mut *opened.backend)?;
    let root = course.tree.root;
    let mut made = 0;
    for number in 0..1_000 {
        let name = format!("inode {number}").into_bytes();
        let what = if number % 7 == 0 { Making::Directory } else { Making::Regular };
        let step = Step::Create { dir: root, name, what, mode: 0o755, owner: (1, 1) };
        made += u32::from(attempt(&mut course, &mut *opened.backend, &step)?);
    }
    course.compare(&mut *opened.backend)?;
    if made < 200 {
        return Err(format!("only {made} of 256 inodes could be used"));
    }
    opened.close(&mut image)?;
    e2fsck(image.path())?;
    Ok(format!("{made} of 256 inodes"))
}
