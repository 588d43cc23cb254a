//! Power cuts, failing devices, full disks, and directories of many names.

mod common;

use common::{check_listing, mount, run};
use keelson_ext4::dev::{FileDisk, Kept, Scratch, Seed, SimDisk, e2fsck, log_to_stderr, mke2fs};
use keelson_ext4::{Ext4Volume, Options};
use keelson_hal::BlockOp;
use keelson_volume::{
    ClearSetid, Created, FileId, NewObject, ObjectKind, SetAttributes, SetTime, Volume, VolumeError,
};
use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;

fn create(volume: &Ext4Volume, dir: FileId, name: &str) -> Result<Created, VolumeError> {
    let new = NewObject {
        kind: ObjectKind::Regular,
        mode: 0o644,
        uid: 0,
        gid: 0,
        atime: SetTime::Now,
        mtime: SetTime::Now,
    };
    run(volume.create(dir, name.as_bytes(), new))
}

fn write(volume: &Ext4Volume, id: FileId, offset: u64, data: &[u8]) -> Result<(), VolumeError> {
    run(volume.write(id, offset, data, ClearSetid::No)).map(|_| ())
}

fn image(mebibytes: u64, arguments: &[&str]) -> Vec<u8> {
    fs::read(mke2fs(mebibytes, arguments).path()).expect("read the image")
}

/// Mounts what is in `image` (which replays the journal), lets `check` look, unmounts and runs e2fsck.
fn recover(image: Vec<u8>, check: impl FnOnce(&Ext4Volume)) -> Result<(), String> {
    let disk = SimDisk::new(image, false);
    let volume = mount(disk.clone(), 77, Options::default()).map_err(|error| error.to_string())?;
    check_listing(&volume, volume.root());
    check(&volume);
    run(volume.unmount()).map_err(|error| error.to_string())?;
    let scratch = Scratch::new();
    fs::write(scratch.path(), disk.image()).map_err(|error| error.to_string())?;
    e2fsck(scratch.path())
}

/// Blocks of a file that was removed, replaced or cut short are nobody's before that is committed: wherever the
/// power fails in between, a name that is still there has its own content, not the data of whoever writes next.
#[test]
fn freed_blocks_are_not_reused_before_the_commit() {
    log_to_stderr();
    type Take = fn(&Ext4Volume, FileId, FileId);
    let takes_blocks: [(&str, Take); 3] = [
        ("remove", |volume, root, _| {
            run(volume.remove(root, b"old")).expect("remove");
        }),
        ("rename", |volume, root, _| {
            create(volume, root, "other").expect("create");
            run(volume.rename(root, b"other", root, b"old")).expect("rename");
        }),
        ("truncate", |volume, _, old| {
            let shorter = SetAttributes { size: Some(0), ..SetAttributes::default() };
            run(volume.set_attributes(old, shorter, None)).expect("truncate");
        }),
    ];
    for (what, take) in takes_blocks {
        let disk = SimDisk::new(image(8, &["-b", "1024"]), true);
        let volume = mount(disk.clone(), 1, Options::default()).expect("mount");
        let root = volume.root();
        let content = vec![0xaa; 100_000];
        let old = create(&volume, root, "old").expect("create").object.id;
        write(&volume, old, 0, &content).expect("write");
        run(volume.commit(old)).expect("commit");
        let before = disk.events();
        take(&volume, root, old);
        for index in 0..4 {
            let id = create(&volume, root, &format!("new {index}")).expect("create").object.id;
            write(&volume, id, 0, &[0x55; 100_000]).expect("write");
        }
        run(volume.sync()).expect("sync");
        for cut in before..=disk.events() {
            let (image, _) = disk.after_cut(cut, || Kept::All);
            let outcome = recover(image, |volume| {
                let Ok(found) = run(volume.lookup(volume.root(), b"old")) else { return };
                let mut data = vec![0; found.size as usize];
                assert_eq!(run(volume.read(found.id, 0, &mut data)), Ok(data.len()));
                let own = data.is_empty() || data == content;
                assert!(own, "{what}, cut {cut}: the old name has other content");
            });
            outcome.unwrap_or_else(|error| panic!("{what}, cut {cut}: {error}"));
        }
    }
}

/// What was committed must be there: files by name with their whole content, and no others' data.
#[test]
fn power_cuts() {
    log_to_stderr();
    for seed in 0..3 {
        // The smallest journal is full every few dozen commits.
        let arguments = if seed == 2 { &["-b", "4096", "-J", "size=4"][..] } else { &["-b", "4096"] };
        let disk = SimDisk::new(image(24, arguments), true);
        let volume = mount(disk.clone(), seed, Options::default()).expect("mount");
        let random = Seed::new(seed);
        let root = volume.root();
        let mut files: BTreeMap<String, (FileId, Vec<u8>)> = BTreeMap::new();
        let mut history = vec![files.clone()];
        for step in 0..250 {
            let name = format!("file {}", random.below(40));
            let mut committed = root;
            match (files.get(&name).cloned(), random.below(10)) {
                (None, _) => {
                    let id = create(&volume, root, &name).expect("create").object.id;
                    let data = vec![step as u8; random.below(20_000) as usize];
                    write(&volume, id, 0, &data).expect("write");
                    files.insert(name, (id, data));
                    committed = id;
                }
                (Some(_), 0..3) => {
                    run(volume.remove(root, name.as_bytes())).expect("remove");
                    files.remove(&name);
                }
                (Some(old), 3..6) => {
                    let new = format!("file {}", random.below(40));
                    run(volume.rename(root, name.as_bytes(), root, new.as_bytes())).expect("rename");
                    files.remove(&name);
                    files.insert(new, old);
                }
                (Some((id, mut data)), _) => {
                    // Appending: an overwrite that was not committed may be there or not.
                    let more = vec![step as u8; 1 + random.below(9000) as usize];
                    write(&volume, id, data.len() as u64, &more).expect("append");
                    data.extend(more);
                    files.insert(name, (id, data));
                    committed = id;
                }
            }
            run(volume.commit(committed)).expect("commit");
            history.push(files.clone());
            disk.mark(history.len() - 1);
        }
        for _ in 0..25 {
            let cut = 1 + random.below(disk.events() as u64 - 1) as usize;
            let fashion = random.below(4);
            let (image, note) = disk.after_cut(cut, || match fashion {
                0 => Kept::Nothing,
                1 => Kept::All,
                2 => [Kept::All, Kept::Nothing][random.below(2) as usize],
                _ => [Kept::All, Kept::Nothing, Kept::Torn][random.below(3) as usize],
            });
            let committed = note.unwrap_or(0);
            let outcome = recover(image, |volume| {
                // The operation after the last commit may have happened or not.
                let next = history.get(committed + 1).unwrap_or(&history[committed]);
                for (name, (id, data)) in &history[committed] {
                    if next.get(name).is_none_or(|(later, _)| later != id) {
                        continue;
                    }
                    let found = run(volume.lookup(root, name.as_bytes())).expect("a committed name");
                    assert_eq!(found.id, *id, "handle of {name}");
                    let mut buffer = vec![0; data.len()];
                    assert_eq!(run(volume.read(*id, 0, &mut buffer)), Ok(data.len()), "length of {name}");
                    assert!(buffer == *data, "content of {name}");
                }
            });
            outcome.unwrap_or_else(|said| panic!("seed {seed}, cut before event {cut}: {said}"));
        }
    }
}

#[test]
fn a_full_disk_stays_clean() {
    log_to_stderr();
    for arguments in [&["-b", "4096"][..], &["-b", "1024"]] {
        let scratch = mke2fs(16, arguments);
        let open = || {
            mount(FileDisk::open(scratch.path(), false).expect("open"), 1, Options::default()).expect("mount")
        };
        let volume = open();
        let root = volume.root();
        for round in 0..2 {
            let mut names = Vec::new();
            let error = (0..10_000).find_map(|number| {
                let name = format!("{round}-{number}");
                let outcome = create(&volume, root, &name).and_then(|created| {
                    names.push(name);
                    write(&volume, created.object.id, 0, &[5; 100_000])
                });
                outcome.err()
            });
            assert_eq!(error, Some(VolumeError::NoSpace), "{arguments:?}");
            assert!(
                volume.counters().no_space > 0,
                "the engine, not the reserve, said that the disk is full"
            );
            let usage = run(volume.usage()).expect("usage");
            assert!(usage.available_bytes < 200_000, "{usage:?}");
            // Small things go on until they do not, and an overwrite needs no space.
            let id = run(volume.lookup(root, names[0].as_bytes())).expect("lookup").id;
            assert_eq!(write(&volume, id, 0, &[6; 100_000]), Ok(()));
            let small = (0..100_000).find_map(|number| {
                let name = format!("small {round}-{number}");
                let outcome = create(&volume, root, &name);
                outcome.map(|_| names.push(name)).err()
            });
            assert_eq!(small, Some(VolumeError::NoSpace));
            run(volume.commit(root)).expect("commit");
            run(volume.write_state("full", b"state files still work")).expect("state");
            for name in names {
                run(volume.remove(root, name.as_bytes())).expect("remove from a full disk");
            }
        }
        run(volume.unmount()).expect("unmount");
        e2fsck(scratch.path()).unwrap_or_else(|said| panic!("{arguments:?}: {said}"));
    }
}

#[test]
fn ten_thousand_names() {
    log_to_stderr();
    let scratch = mke2fs(512, &["-b", "4096"]);
    let volume =
        mount(FileDisk::open(scratch.path(), false).expect("open"), 1, Options::default()).expect("mount");
    let root = volume.root();
    for number in 0..10_000 {
        create(&volume, root, &format!("file number {number}")).expect("create");
    }
    let (mut cookie, mut count) = (0, 0);
    loop {
        let page = run(volume.read_dir(root, cookie, 8192)).expect("read_dir");
        count += page.entries.len();
        cookie = page.entries.last().map_or(cookie, |entry| entry.cookie);
        if page.end {
            break;
        }
    }
    assert_eq!(count, 10_000 + 3, "with ., .. and lost+found");
    run(volume.commit(root)).expect("commit");
    for number in 0..10_000 {
        run(volume.remove(root, format!("file number {number}").as_bytes())).expect("remove");
    }
    run(volume.unmount()).expect("unmount");
    e2fsck(scratch.path()).expect("e2fsck");
}

/// A directory whose blocks lie scattered between file data.
#[test]
fn a_scattered_directory() {
    log_to_stderr();
    let scratch = mke2fs(64, &["-b", "4096"]);
    let volume =
        mount(FileDisk::open(scratch.path(), false).expect("open"), 1, Options::default()).expect("mount");
    let root = volume.root();
    for number in 0..2000 {
        let name = format!("{number:->100}");
        let id = create(&volume, root, &name).expect("create").object.id;
        write(&volume, id, 0, &[1; 5000]).expect("write");
    }
    run(volume.unmount()).expect("unmount");
    e2fsck(scratch.path()).expect("e2fsck");
}

#[test]
fn a_failed_data_write_costs_the_file_only() {
    // Whole blocks in one write: what is less stays in the engine until it syncs, and an error there costs
    // the journal.
    let disk = SimDisk::new(image(24, &["-b", "4096"]), false);
    let volume = mount(disk.clone(), 1, Options::default()).expect("mount");
    let root = volume.root();
    let bad = create(&volume, root, "bad").expect("create").object.id;
    let good = create(&volume, root, "good").expect("create").object.id;
    run(volume.commit(root)).expect("commit");
    let verifier = volume.write_verifier();
    write(&volume, bad, 0, &[1; 81_920]).expect("accepted");
    disk.fail_once(BlockOp::Write);
    assert_eq!(run(volume.commit(bad)), Err(VolumeError::Io), "the write is known to be lost");
    assert_ne!(volume.write_verifier(), verifier, "clients must send it again");
    assert!(!volume.is_read_only());
    assert_eq!(run(volume.commit(bad)), Ok(()), "an error is told once");
    for id in [bad, good] {
        write(&volume, id, 0, &[2; 81_920]).expect("write");
        assert_eq!(run(volume.commit(id)), Ok(()));
    }
    drop(volume);
    recover(disk.image(), |volume| {
        let mut buffer = [0; 81_920];
        for id in [bad, good] {
            assert_eq!(run(volume.read(id, 0, &mut buffer)), Ok(81_920));
            assert!(buffer.iter().all(|&byte| byte == 2));
        }
    })
    .expect("a clean filesystem");
}

#[test]
fn a_failed_journal_write_ends_writing() {
    for after in 0..12 {
        let disk = SimDisk::new(image(24, &["-b", "4096"]), false);
        let volume = mount(disk.clone(), 1, Options::default()).expect("mount");
        let root = volume.root();
        let kept = create(&volume, root, "kept").expect("create").object.id;
        write(&volume, kept, 0, b"committed").expect("write");
        run(volume.commit(kept)).expect("commit");
        let verifier = volume.write_verifier();
        disk.fail(Some((BlockOp::Write, after)));
        let mut failed = false;
        for number in 0..20 {
            let name = format!("after {number}");
            failed |= create(&volume, root, &name).is_err() || run(volume.commit(root)).is_err();
        }
        assert!(failed, "an error must be told");
        assert!(volume.is_read_only());
        assert_ne!(volume.write_verifier(), verifier);
        assert_eq!(create(&volume, root, "more").err(), Some(VolumeError::ReadOnly));
        let mut buffer = [0; 9];
        assert_eq!(run(volume.read(kept, 0, &mut buffer)), Ok(9), "reading goes on");
        disk.fail(None);
        drop(volume);
        recover(disk.image(), |volume| {
            let found = run(volume.lookup(root, b"kept")).expect("a committed name");
            assert_eq!((found.id, found.size), (kept, 9));
        })
        .unwrap_or_else(|said| panic!("after {after}: {said}"));
    }
}

#[test]
fn a_failed_read_costs_one_call() {
    let scratch = mke2fs(24, &["-b", "4096"]);
    let volume =
        mount(FileDisk::open(scratch.path(), false).expect("open"), 1, Options::default()).expect("mount");
    let root = volume.root();
    let id = create(&volume, root, "file").expect("create").object.id;
    write(&volume, id, 0, &[7; 100_000]).expect("write");
    run(volume.unmount()).expect("unmount");
    let disk = SimDisk::new(fs::read(scratch.path()).expect("read"), false);
    let volume = mount(disk.clone(), 2, Options::default()).expect("mount");
    let mut buffer = vec![0; 100_000];
    assert!(run(volume.attributes(id)).is_ok());
    disk.fail(Some((BlockOp::Read, 0)));
    assert_eq!(run(volume.read(id, 0, &mut buffer)), Err(VolumeError::Io));
    disk.fail(None);
    assert_eq!(run(volume.read(id, 0, &mut buffer)), Ok(100_000));
    assert!(buffer.iter().all(|&byte| byte == 7));
}

/// Tasks that commit at the same time share one transaction, and its two flushes.
#[test]
fn commits_are_shared() {
    use std::cell::Cell;
    let disk = SimDisk::new(image(24, &["-b", "4096"]), false);
    let volume = Rc::new(mount(disk, 1, Options::default()).expect("mount"));
    let done = Rc::new(Cell::new(0));
    let before = (volume.counters().transactions, volume.cache_counters().flushes);
    for task in 0..20 {
        let (volume, done) = (volume.clone(), done.clone());
        volume.clone().host().handle().spawn("client", async move {
            let root = volume.root();
            let new = common::new(ObjectKind::Regular);
            volume.create(root, format!("file {task}").as_bytes(), new).await.expect("create");
            volume.commit(root).await.expect("commit");
            done.set(done.get() + 1);
        });
    }
    while done.get() < 20 {
        volume.host().pass(std::time::Duration::from_millis(1));
    }
    assert_eq!(volume.counters().transactions - before.0, 1);
    assert_eq!(volume.cache_counters().flushes - before.1, 2);
    assert_eq!(volume.counters().commits, 20);
}
