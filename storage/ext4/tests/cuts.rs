//! Power cuts while many tasks work, and while large files are freed in steps.

mod common;

use common::{Mounted, check_listing, mount, mount_on, new, run};
use keelson_ext4::Options;
use keelson_ext4::dev::{Host, Kept, Scratch, Seed, SimDisk, SlowDisk, e2fsck, log_to_stderr, mke2fs};
use keelson_volume::{ClearSetid, FileId, ObjectKind, SetAttributes, Volume, VolumeError};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

const TASKS: usize = 8;

fn image(mebibytes: u64, arguments: &[&str]) -> Vec<u8> {
    fs::read(mke2fs(mebibytes, arguments).path()).expect("read the image")
}

/// Mounts what is in `image`, lets `check` look, unmounts and runs e2fsck.
fn recover(image: Vec<u8>, check: impl FnOnce(&Mounted)) -> Result<(), String> {
    let disk = SimDisk::new(image, false);
    let volume = mount(disk.clone(), 77, Options::default()).map_err(|error| error.to_string())?;
    check_listing(&volume, volume.root());
    check(&volume);
    run(volume.unmount()).map_err(|error| error.to_string())?;
    let scratch = Scratch::new();
    fs::write(scratch.path(), disk.image()).map_err(|error| error.to_string())?;
    e2fsck(scratch.path())
}

fn fate(random: &Seed) -> Kept {
    [Kept::All, Kept::Nothing, Kept::Torn][random.below(3) as usize]
}

/// A state of a file that was committed: from this event on it must be found, until the next change began.
struct Promise {
    task: usize,
    name: String,
    /// `None`: no such name.
    state: Option<(FileId, Vec<u8>)>,
    from: usize,
    until: Cell<usize>,
}

#[test]
fn what_each_task_committed_is_there() {
    log_to_stderr();
    for (seed, arguments) in [(1, &["-b", "4096"][..]), (2, &["-b", "1024", "-J", "size=4"])] {
        let host = Rc::new(Host::new(seed));
        let disk = SimDisk::new(image(32, arguments), true);
        let slow = SlowDisk::new(disk.clone(), host.handle(), seed, Duration::from_millis(3));
        let volume = Rc::new(mount_on(host.clone(), slow, Options::default()).expect("mount"));
        let root = volume.root();
        let promises = Rc::new(RefCell::new(Vec::<Promise>::new()));
        let done = Rc::new(Cell::new(0));
        let mut dirs = Vec::new();
        for task in 0..TASKS {
            let made = run(volume.create(root, format!("{task}").as_bytes(), new(ObjectKind::Directory)));
            dirs.push(made.expect("mkdir").object.id);
        }
        run(volume.commit(root)).expect("commit");
        let start = disk.events();
        for (task, &dir) in dirs.iter().enumerate() {
            let (volume, done, disk) = (volume.clone(), done.clone(), disk.clone());
            let promises = promises.clone();
            let random = Seed::new(seed * 100 + task as u64);
            host.handle().spawn("client", async move {
                let mut files: BTreeMap<String, (FileId, Vec<u8>)> = BTreeMap::new();
                for _ in 0..60 {
                    let name = format!("file {}", random.below(6));
                    for promise in promises.borrow().iter() {
                        if promise.task == task && promise.name == name && promise.until.get() == usize::MAX {
                            promise.until.set(disk.events());
                        }
                    }
                    let byte = task as u8 + 1;
                    let id = match files.get(&name).cloned() {
                        None => {
                            let created = volume.create(dir, name.as_bytes(), new(ObjectKind::Regular));
                            let id = created.await.expect("create").object.id;
                            let data = vec![byte; random.below(60_000) as usize];
                            volume.write(id, 0, &data, ClearSetid::No).await.expect("write");
                            files.insert(name.clone(), (id, data));
                            id
                        }
                        Some(_) if random.below(4) == 0 => {
                            volume.remove(dir, name.as_bytes()).await.expect("remove");
                            files.remove(&name);
                            dir
                        }
                        Some((id, mut content)) if random.below(3) == 0 => {
                            let size = random.below(80_000);
                            let changes = SetAttributes { size: Some(size), ..SetAttributes::default() };
                            volume.set_attributes(id, changes, None).await.expect("truncate");
                            content.resize(size as usize, 0);
                            files.insert(name.clone(), (id, content));
                            id
                        }
                        Some((id, mut content)) => {
                            let offset = random.below(content.len() as u64 + 5000) as usize;
                            let data = vec![byte; 1 + random.below(30_000) as usize];
                            volume.write(id, offset as u64, &data, ClearSetid::No).await.expect("write");
                            content.resize(content.len().max(offset + data.len()), 0);
                            content[offset..offset + data.len()].fill(byte);
                            files.insert(name.clone(), (id, content));
                            id
                        }
                    };
                    if random.below(3) > 0 {
                        volume.commit(id).await.expect("commit");
                        let state = files.get(&name).cloned();
                        let (from, until) = (disk.events(), Cell::new(usize::MAX));
                        promises.borrow_mut().push(Promise { task, name, state, from, until });
                    }
                }
                done.set(done.get() + 1);
            });
        }
        while done.get() < TASKS {
            host.pass(Duration::from_millis(5));
        }
        let random = Seed::new(seed);
        let (mut kept_promises, events) = (0, disk.events());
        for _ in 0..12 {
            let cut = start + random.below((events - start) as u64) as usize;
            let fashion = random.below(4);
            let (image, _) = disk.after_cut(cut, || match fashion {
                0 => Kept::Nothing,
                1 => Kept::All,
                _ => fate(&random),
            });
            let outcome = recover(image, |volume| {
                for promise in promises.borrow().iter() {
                    if promise.from > cut || promise.until.get() < cut {
                        continue;
                    }
                    kept_promises += 1;
                    let found = run(volume.lookup(dirs[promise.task], promise.name.as_bytes()));
                    let what = format!("task {}, {}", promise.task, promise.name);
                    let Some((id, content)) = &promise.state else {
                        assert_eq!(found.err(), Some(VolumeError::NotFound), "{what} came back");
                        continue;
                    };
                    let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!((found.id, found.size), (*id, content.len() as u64), "{what}");
                    let mut buffer = vec![0; content.len()];
                    assert_eq!(run(volume.read(*id, 0, &mut buffer)), Ok(content.len()));
                    assert!(buffer == *content, "content of {what}");
                }
                // Whatever became of the others, they have nothing that is not their own.
                for (task, &dir) in dirs.iter().enumerate() {
                    check_listing(volume, dir);
                    for entry in run(volume.read_dir_plus(dir, 0, 100_000)).expect("list").entries {
                        let Some(found) = entry.attributes else { continue };
                        let mut buffer = vec![0; found.size as usize];
                        assert_eq!(run(volume.read(found.id, 0, &mut buffer)), Ok(buffer.len()));
                        let own = buffer.iter().all(|&byte| byte == 0 || byte == task as u8 + 1);
                        assert!(own, "a file of task {task} has content of others");
                    }
                }
            });
            outcome.unwrap_or_else(|said| panic!("seed {seed}, cut before event {cut}: {said}"));
        }
        assert!(kept_promises > 150, "only {kept_promises} promises were looked at");
    }
}

/// Files with thousands of pieces, removed and cut: wherever the power fails, a mount ends what was begun.
#[test]
fn large_files_are_freed_in_steps() {
    log_to_stderr();
    let disk = SimDisk::new(image(32, &["-b", "1024"]), true);
    let volume = mount(disk.clone(), 1, Options::default()).expect("mount");
    let root = volume.root();
    let create = |name: &str| {
        run(volume.create(root, name.as_bytes(), new(ObjectKind::Regular))).expect("create").object.id
    };
    let (gone, cut, other) = (create("gone"), create("cut"), create("other"));
    // Every other block, so that nothing lies together.
    for index in 0..1500_u64 {
        for (id, byte) in [(gone, 1), (cut, 2)] {
            run(volume.write(id, index * 2048, &[byte; 1024], ClearSetid::No)).expect("write");
        }
    }
    run(volume.sync()).expect("sync");
    let before = run(volume.usage()).expect("usage").free_bytes;
    let start = disk.events();
    run(volume.remove(root, b"gone")).expect("remove");
    assert!(volume.counters().orphans > 0, "it was freed at once");
    let changes = SetAttributes { size: Some(5000), ..SetAttributes::default() };
    run(volume.set_attributes(cut, changes, None)).expect("truncate");
    assert!(volume.counters().orphans > 1, "it was cut at once");
    // This waits until it is cut, and does not find what was there.
    run(volume.write(cut, 9000, &[3; 100], ClearSetid::No)).expect("write");
    assert_eq!(run(volume.write(other, 0, &[4; 500_000], ClearSetid::No)).map(drop), Ok(()));
    run(volume.sync()).expect("sync");
    volume.host().pass(Duration::from_secs(1));
    assert_eq!(volume.counters().orphans, 0);
    run(volume.sync()).expect("sync");
    let freed = run(volume.usage()).expect("usage").free_bytes - before;
    assert!(freed > 2_000_000, "{freed} bytes were freed");
    let random = Seed::new(3);
    for cut_at in (start..=disk.events()).step_by(17) {
        let (image, _) = disk.after_cut(cut_at, || fate(&random));
        let outcome = recover(image, |volume| {
            assert_eq!(volume.counters().orphans, 0, "the mount ends what was begun");
            let found = run(volume.attributes(cut)).expect("attributes");
            let mut buffer = vec![9; found.size as usize];
            assert_eq!(run(volume.read(cut, 0, &mut buffer)), Ok(buffer.len()));
            if found.size <= 9100 {
                assert!(buffer[5000..].iter().all(|&byte| byte == 0 || byte == 3), "old content came back");
                assert!(found.allocated < 20_000, "{} bytes", found.allocated);
            }
        });
        outcome.unwrap_or_else(|said| panic!("cut before event {cut_at}: {said}"));
    }
}

/// Reads a whole file.
fn content(volume: &Mounted, id: FileId) -> Vec<u8> {
    let size = run(volume.attributes(id)).expect("attributes").size as usize;
    let mut content = vec![0; size];
    let mut at = 0;
    while at < size {
        at += run(volume.read(id, at as u64, &mut content[at..])).expect("read");
    }
    content
}

/// What a write left behind the end of a file whose size was not committed any more, or what was cut off, is not in the
/// file that grows over it: its new size may be committed long before its data.
#[test]
fn a_file_that_grows_shows_nothing_that_was_behind_its_end() {
    const OLD: u8 = 7;
    const BEHIND: u8 = 0x55;
    const NEW: u8 = 9;
    /// What is done: the size to cut it to before, if any, and what is written where.
    const CHANGES: [(Option<u64>, usize, usize); 5] =
        [(None, 5000, 10), (None, 1000, 3000), (None, 0, 3000), (None, 500, 2000), (Some(300), 5000, 10)];
    for (arguments, (size, offset, length)) in
        [&["-b", "1024"][..], &["-b", "4096"]].iter().flat_map(|args| CHANGES.map(|change| (args, change)))
    {
        let disk = SimDisk::new(image(16, arguments), false);
        let volume = mount(disk.clone(), 1, Options::default()).expect("mount");
        let made = run(volume.create(volume.root(), b"file", new(ObjectKind::Regular))).expect("create");
        let id = made.object.id;
        run(volume.write(id, 0, &[OLD; 1000], ClearSetid::No)).expect("write");
        run(volume.commit(id)).expect("commit");
        run(volume.unmount()).expect("unmount");
        // As it is when the power was cut between a write and its commit.
        let mut image = disk.image();
        let at = image.windows(1000).position(|part| part == [OLD; 1000]).expect("the file on the disk");
        if size.is_none() {
            image[at + 1000..at + 1024].fill(BEHIND);
        }
        let disk = SimDisk::new(image, true);
        let volume = mount(disk.clone(), 2, Options::default()).expect("mount again");
        let start = disk.events();
        if size.is_some() {
            let changes = SetAttributes { size, ..SetAttributes::default() };
            run(volume.set_attributes(id, changes, None)).expect("cut");
        }
        run(volume.write(id, offset as u64, &vec![NEW; length], ClearSetid::No)).expect("write");
        // The size is committed, and with it what others committed: no data has to be.
        run(volume.commit(volume.root())).expect("commit the directory");
        let grown = (offset + length).max(1000);
        let mut seen = 0;
        for cut in start..=disk.events() {
            let (image, _) = disk.after_cut(cut, || Kept::Nothing);
            let outcome = recover(image, |volume| {
                let found = content(volume, id);
                seen += usize::from(found.len() == grown);
                let kept = if found.len() == 1000 { 1000 } else { size.unwrap_or(1000) as usize };
                let wrong = found
                    .iter()
                    .enumerate()
                    .find(|&(at, &byte)| byte != NEW && byte != 0 && !(byte == OLD && at < kept));
                assert_eq!(
                    wrong, None,
                    "{arguments:?}, cut to {size:?}, {length} bytes at {offset}, event {cut}"
                );
            });
            outcome.unwrap_or_else(|error| panic!("event {cut}: {error}"));
        }
        assert!(seen > 0, "no cut came between size and data");
    }
}
