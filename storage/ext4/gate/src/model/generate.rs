//! Random steps.

use super::{Body, Making, Step, Tree};
use crate::random::Random;
use keelson_volume::{DeviceNumber, Time};

/// How large a tree may become.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Directories.
    pub directories: usize,
    /// Objects: above, more is removed than made.
    pub objects: usize,
    /// Steps that must fail are made too.
    pub wrong: bool,
    /// Extended attributes are set.
    pub xattrs: bool,
    /// Owners and device nodes, which not every backend knows.
    pub everything: bool,
}

/// A step for this tree; `bytes` is what its files hold.
pub fn generate(tree: &Tree, bytes: u64, random: &mut Random, limits: &Limits) -> Step {
    loop {
        let step = attempt(tree, bytes, random, limits);
        if let Some(step) = step
            && (limits.wrong || super::predict(tree, &step).is_ok())
        {
            return step;
        }
    }
}

fn attempt(tree: &Tree, bytes: u64, random: &mut Random, limits: &Limits) -> Option<Step> {
    let full = tree.objects.len() >= limits.objects;
    let dir = any(tree.directories(), random)?;
    match random.below(100) {
        0..25 if !full => Some(create(tree, dir, Making::Regular, random, limits)),
        25..31 if !full && tree.directories().count() < limits.directories => {
            Some(create(tree, dir, Making::Directory, random, limits))
        }
        31..36 if !full => {
            let length = if random.once_in(3) { 60 + random.below(900) } else { 1 + random.below(59) };
            let fill = b'a' + random.below(26) as u8;
            let mut target = vec![fill; length as usize];
            if length > 100 && random.once_in(4) {
                // Where it has a block, that looks like one of the journal.
                target[..4].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98]);
            }
            Some(create(tree, dir, Making::Symlink(target), random, limits))
        }
        36..38 if !full && limits.everything => {
            let device =
                DeviceNumber { major: random.below(4095) as u32, minor: random.below(1 << 20) as u32 };
            let small = DeviceNumber { major: random.below(255) as u32, minor: random.below(255) as u32 };
            let what = match random.below(5) {
                0 => Making::BlockDevice(device),
                1 => Making::CharDevice(device),
                2 => Making::CharDevice(small),
                3 => Making::Fifo,
                _ => Making::Socket,
            };
            Some(create(tree, dir, what, random, limits))
        }
        38..42 => {
            let object = if limits.wrong && random.once_in(20) {
                dir
            } else {
                any(tree.objects.keys().copied().filter(|inode| !tree.is_dir(*inode)), random)?
            };
            Some(Step::Link { object, dir, name: fresh_or_taken(tree, dir, random, limits) })
        }
        42..54 => Some(Step::Remove { dir, name: taken(tree, dir, random)? }),
        54..57 => Some(Step::RemoveDir { dir, name: taken_directory(tree, dir, random, limits)? }),
        57..68 => rename(tree, dir, random, limits),
        68..74 => {
            let file = any(tree.files(), random)?;
            let size = match random.below(4) {
                0 => random.below(20_000),
                1 => size_of(tree, file) / 2,
                2 => random.below(limits.file / 4096) * 4096,
                _ => random.below(limits.file),
            };
            // Extending counts as writing.
            (size <= size_of(tree, file) || bytes < limits.bytes).then_some(Step::Truncate { file, size })
        }
        74..78 => {
            let object = any(tree.objects.keys().copied(), random)?;
            Some(attributes(tree, object, random, limits))
        }
        78..80 if limits.xattrs => {
            let object = any(tree.objects.keys().copied(), random)?;
            xattr(tree, object, random)
        }
        80.. if bytes < limits.bytes => {
            let file = any(tree.files(), random)?;
            let size = size_of(tree, file);
            let offset = match random.below(5) {
                0 => 0,
                1 => size,
                2 => random.below(5_000),
                3 => random.below(100_000),
                _ => random.below(limits.file),
            };
            let length = match random.below(4) {
                0 => 1 + random.below(100),
                1 => 4096,
                2 => 1 + random.below(20_000),
                _ => 65_536,
            };
            let end = (offset + length).min(limits.file);
            let offset = offset.min(end - 1);
            let fill = random.number() as u8;
            Some(Step::Write { file, offset, length: (end - offset) as usize, fill })
        }
        _ => None,
    }
}

fn any(mut from: impl Iterator<Item = u64>, random: &mut Random) -> Option<u64> {
    // One pass, without knowing how many there are: the n-th replaces the choice once in n times.
    let mut choice = from.next()?;
    let mut seen = 1;
    for inode in from {
        seen += 1;
        if random.once_in(seen) {
            choice = inode;
        }
    }
    Some(choice)
}

fn size_of(tree: &Tree, file: u64) -> u64 {
    tree.content(file).map_or(0, |content| content.len() as u64)
}

fn fresh_name(random: &mut Random) -> Vec<u8> {
    let length = match random.below(20) {
        0 => 200 + random.below(56),
        1..5 => 20 + random.below(40),
        _ => 3 + random.below(9),
    };
    let mut name = format!("n{:x}", random.number()).into_bytes();
    while (name.len() as u64) < length {
        // Names are bytes; not all of them are letters.
        let byte =
            if random.once_in(10) { 0x80 | random.number() as u8 } else { b'a' + random.below(26) as u8 };
        name.push(byte);
    }
    name.truncate(length as usize);
    name
}

fn taken(tree: &Tree, dir: u64, random: &mut Random) -> Option<Vec<u8>> {
    let names = tree.names(dir)?;
    names.keys().nth(random.index(names.len())).filter(|name| *name != b"lost+found").cloned()
}

fn fresh_or_taken(tree: &Tree, dir: u64, random: &mut Random, limits: &Limits) -> Vec<u8> {
    let old = if limits.wrong && random.once_in(15) { taken(tree, dir, random) } else { None };
    old.unwrap_or_else(|| fresh_name(random))
}

fn taken_directory(tree: &Tree, dir: u64, random: &mut Random, limits: &Limits) -> Option<Vec<u8>> {
    if limits.wrong && random.once_in(4) {
        return taken(tree, dir, random);
    }
    let names = tree.names(dir)?;
    let empty = names.iter().filter(|(name, inode)| {
        *name != b"lost+found" && tree.names(**inode).is_some_and(|below| below.is_empty())
    });
    let empty: Vec<_> = empty.map(|(name, _)| name).collect();
    (!empty.is_empty()).then(|| (*random.pick(&empty)).clone())
}

fn create(tree: &Tree, dir: u64, what: Making, random: &mut Random, limits: &Limits) -> Step {
    let name = fresh_or_taken(tree, dir, random, limits);
    let owner = if limits.everything && random.once_in(3) {
        // More than 16 bits now and then.
        (random.below(70_000) as u32, random.below(70_000) as u32)
    } else {
        (0, 0)
    };
    let mode = if matches!(what, Making::Symlink(_)) { 0o777 } else { 0o600 | random.below(0o200) as u32 };
    Step::Create { dir, name, what, mode, owner }
}

fn rename(tree: &Tree, from: u64, random: &mut Random, limits: &Limits) -> Option<Step> {
    let name =
        if limits.wrong && random.once_in(30) { fresh_name(random) } else { taken(tree, from, random)? };
    let to = if random.once_in(2) { from } else { any(tree.directories(), random)? };
    let new_name = match random.once_in(3) {
        true => taken(tree, to, random).unwrap_or_else(|| fresh_name(random)),
        false => fresh_name(random),
    };
    let names = tree.names(to)?;
    if let Some(moved) = tree.names(from)?.get(&name)
        && tree.is_inside(to, *moved)
        && names.contains_key(&new_name)
    {
        // Two reasons to refuse it: which one is told is open.
        return None;
    }
    Some(Step::Rename { from, name, to, new_name })
}

fn attributes(tree: &Tree, object: u64, random: &mut Random, limits: &Limits) -> Step {
    let mode = random.once_in(2).then(|| 0o600 | random.below(0o10000) as u32);
    // Linux has no call that changes the mode of a symbolic link, and root's writes there keep set-ID bits.
    let mode = mode.filter(|_| limits.everything || !matches!(tree.get(object).body, Body::Symlink(_)));
    let mode = mode.map(|mode| if limits.everything { mode } else { mode & !0o6000 });
    let owner = (limits.everything && random.once_in(2))
        .then(|| (random.below(1 << 32) as u32 % 4_000_000, random.below(70_000) as u32));
    let mtime = random.once_in(2).then(|| {
        // Before 1970, now, and after 2038.
        let seconds = match random.below(3) {
            0 => -(random.below(1 << 30) as i64),
            1 => 1_700_000_000 + random.below(1_000_000) as i64,
            _ => 4_000_000_000 + random.below(1 << 33) as i64,
        };
        Time { seconds, nanos: random.below(1_000_000_000) as u32 }
    });
    Step::SetAttributes { object, mode, owner, mtime }
}

fn xattr(tree: &Tree, object: u64, random: &mut Random) -> Option<Step> {
    let entry = tree.get(object);
    // Linux has user attributes on files and directories only.
    let special = matches!(entry.body, Body::Special | Body::Symlink(_));
    let space = if special { "trusted" } else { *random.pick(&["user", "trusted", "security"]) };
    let name = format!("{space}.x{}", random.below(6)).into_bytes();
    let value = if entry.xattrs.contains_key(&name) && random.once_in(2) {
        None
    } else {
        let length = match random.below(4) {
            0 => 0,
            1 => random.below(40),
            2 => random.below(200),
            _ => random.below(700),
        };
        Some(random.bytes(length as usize))
    };
    if value.is_none() && !entry.xattrs.contains_key(&name) {
        return None;
    }
    // All attributes of an object share one block; 1 KiB holds this much.
    let others = entry.xattrs.iter().filter(|(other, _)| **other != name);
    let used: usize = others.map(|(name, value)| name.len() + value.len() + 24).sum();
    (used + value.as_ref().map_or(0, Vec::len) < 850).then_some(Step::SetXattr { object, name, value })
}
