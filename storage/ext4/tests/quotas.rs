//! Limits over restarts, power cuts and failed writes, and under several writers at a time.

mod common;

use common::{Mounted, mount, run};
use keelson_ext4::Options;
use keelson_ext4::dev::{Scratch, Seed, SimDisk, debugfs, e2fsck, log_to_stderr, mke2fs};
use keelson_volume::{
    ClearSetid, FileId, Limit, LimitTable, Limits, NewObject, ObjectKind, Owner, OwnerUsage, SetAttributes,
    SetTime, Volume, VolumeError,
};
use std::fs;
use std::rc::Rc;
use std::time::Duration;

const BLOCK: u64 = 4096;

fn disk(mebibytes: u64) -> Rc<SimDisk> {
    SimDisk::new(fs::read(mke2fs(mebibytes, &["-b", "4096"]).path()).expect("read the image"), false)
}

fn open(disk: &Rc<SimDisk>) -> Mounted {
    mount(disk.clone(), 1, Options::default()).expect("mount")
}

fn file_of(uid: u32) -> NewObject<'static> {
    let (atime, mtime) = (SetTime::Now, SetTime::Now);
    NewObject { kind: ObjectKind::Regular, mode: 0o644, uid, gid: uid + 100, atime, mtime }
}

fn user_limits(bytes: Option<u64>, inodes: Option<u64>) -> Limits {
    Limits {
        users: LimitTable { default: Limit { bytes, inodes }, ..Default::default() },
        ..Default::default()
    }
}

fn write(volume: &Mounted, id: FileId, block: u64, blocks: u64) -> Result<(), VolumeError> {
    let data = vec![7; (blocks * BLOCK) as usize];
    run(volume.limited(volume.write(id, block * BLOCK, &data, ClearSetid::Yes))).map(|_| ())
}

fn known(volume: &Mounted, owner: Owner) -> OwnerUsage {
    volume.host().pass(Duration::from_millis(10));
    volume.usage_of(owner).expect("known by now")
}

fn check(disk: &SimDisk) {
    let scratch = Scratch::new();
    fs::write(scratch.path(), disk.image()).expect("write the image");
    e2fsck(scratch.path()).expect("e2fsck");
}

/// After a clean unmounting the limit holds from the first call on; after a power cut nobody is let in before the
/// sums are known.
#[test]
fn the_limit_is_met_exactly_after_a_restart() {
    log_to_stderr();
    let disk = disk(32);
    let volume = open(&disk);
    known(&volume, Owner::User(5));
    volume.set_limits(user_limits(Some(10 * BLOCK), Some(2)));
    let made = run(volume.limited(volume.create(volume.root(), b"file", file_of(5))));
    let id = made.expect("create").object.id;
    write(&volume, id, 0, 7).expect("below the limit");
    run(volume.unmount()).expect("unmount");
    drop(volume);

    let volume = open(&disk);
    volume.set_limits(user_limits(Some(10 * BLOCK), Some(2)));
    assert_eq!(volume.usage_of(Owner::User(5)), Some(OwnerUsage { bytes: 7 * BLOCK, inodes: 1 }), "stored");
    assert_eq!(write(&volume, id, 7, 4), Err(VolumeError::Quota));
    write(&volume, id, 7, 2).expect("below the limit");
    run(volume.commit(id)).expect("commit");
    // Without unmounting: as in a power cut.
    drop(volume);

    let volume = open(&disk);
    volume.set_limits(user_limits(Some(10 * BLOCK), Some(2)));
    assert_eq!(volume.usage_of(Owner::User(5)), None, "being counted");
    assert_eq!(write(&volume, id, 9, 1), Err(VolumeError::TryLater), "not known yet");
    write(&volume, id, 0, 9).expect("what takes nothing need not be known");
    assert_eq!(known(&volume, Owner::User(5)), OwnerUsage { bytes: 9 * BLOCK, inodes: 1 });
    assert_eq!(write(&volume, id, 9, 2), Err(VolumeError::Quota));
    write(&volume, id, 9, 1).expect("to the limit");
    assert_eq!(write(&volume, id, 10, 1), Err(VolumeError::Quota));
    run(volume.limited(volume.create(volume.root(), b"second", file_of(5)))).expect("to the limit");
    let third = run(volume.limited(volume.create(volume.root(), b"third", file_of(5))));
    assert_eq!(third.err(), Some(VolumeError::Quota));
    assert_eq!(volume.counters().over_limit, 3);
    run(volume.unmount()).expect("unmount");
    drop(volume);
    check(&disk);
}

/// Promises are taken back with the data, and charged once when they are kept.
#[test]
fn what_was_never_written_is_given_back() {
    log_to_stderr();
    let disk = disk(16);
    let volume = open(&disk);
    known(&volume, Owner::User(5));
    volume.set_limits(user_limits(Some(10 * BLOCK), None));
    let id = run(volume.create(volume.root(), b"file", file_of(5))).expect("create").object.id;
    write(&volume, id, 0, 10).expect("to the limit");
    assert_eq!(known(&volume, Owner::User(5)).bytes, 10 * BLOCK, "promised");
    run(volume.limited(volume.remove(volume.root(), b"file"))).expect("remove");
    assert_eq!(known(&volume, Owner::User(5)), OwnerUsage::default(), "never written");
    let id = run(volume.create(volume.root(), b"file", file_of(5))).expect("create").object.id;
    write(&volume, id, 0, 10).expect("to the limit again");
    run(volume.commit(id)).expect("commit");
    assert_eq!(known(&volume, Owner::User(5)).bytes, 10 * BLOCK, "charged once");
    run(volume.unmount()).expect("unmount");
    drop(volume);
    check(&disk);
}

/// Whatever happens in whatever order, sums are what objects have, and no limited call brings anybody above a limit.
#[test]
fn sums_stay_true_and_limits_hold_through_anything() {
    log_to_stderr();
    for seed in 0..6 {
        let random = Seed::new(seed);
        let disk = disk(32);
        let volume = open(&disk);
        known(&volume, Owner::User(1));
        let (limit, inodes) = (40 * BLOCK, 9);
        volume.set_limits(user_limits(Some(limit), Some(inodes)));
        let mut files: Vec<(Vec<u8>, FileId)> = Vec::new();
        let mut refused = 0;
        for step in 0..400 {
            let before = [1, 2, 3].map(|uid| volume.usage_of(Owner::User(uid)).expect("known"));
            let pick = random.below(files.len().max(1) as u64) as usize;
            let uid = 1 + random.below(3) as u32;
            let result = match (random.below(8), files.get(pick).cloned()) {
                (0 | 1, _) | (_, None) => {
                    let name = format!("{step}").into_bytes();
                    let made = run(volume.limited(volume.create(volume.root(), &name, file_of(uid))));
                    made.map(|made| files.push((name, made.object.id)))
                }
                (2..=4, Some((_, id))) => write(&volume, id, random.below(30), 1 + random.below(8)),
                (5, Some((_, id))) => {
                    let size = Some(random.below(40 * BLOCK));
                    let changes = SetAttributes { size, ..SetAttributes::default() };
                    run(volume.limited(volume.set_attributes(id, changes, None))).map(|_| ())
                }
                (6, Some((_, id))) => {
                    let changes = SetAttributes { uid: Some(uid), ..SetAttributes::default() };
                    run(volume.limited(volume.set_attributes(id, changes, None))).map(|_| ())
                }
                (_, Some((_, id))) if random.below(2) == 0 => run(volume.commit(id)),
                (_, Some((name, _))) => {
                    files.remove(pick);
                    run(volume.limited(volume.remove(volume.root(), &name))).map(|_| ())
                }
            };
            match result {
                Ok(()) => {}
                Err(VolumeError::Quota) => refused += 1,
                Err(error) => panic!("seed {seed}, step {step}: {error}"),
            }
            for (index, uid) in [1, 2, 3].into_iter().enumerate() {
                let owned = files.iter().map(|(_, id)| run(volume.attributes(*id)).expect("attributes"));
                let owned: Vec<_> = owned.filter(|object| object.uid == uid).collect();
                let sum = OwnerUsage {
                    bytes: owned.iter().map(|object| object.allocated).sum(),
                    inodes: owned.len() as u64,
                };
                let usage = volume.usage_of(Owner::User(uid)).expect("known");
                assert_eq!(usage, sum, "user {uid}, seed {seed}, step {step}");
                // A tree of extents is made when data goes to the disk, and stops nobody.
                let bytes = usage.bytes <= limit || usage.bytes <= before[index].bytes + BLOCK;
                assert!(
                    bytes && usage.inodes <= inodes,
                    "user {uid} has {usage:?}, seed {seed}, step {step}"
                );
            }
        }
        assert!(refused > 5, "seed {seed} met the limit {refused} times");
        run(volume.unmount()).expect("unmount");
        drop(volume);
        check(&disk);
    }
}

/// State files that somebody made on Linux: as they should be, and as they should not.
#[test]
fn state_files_that_were_made_elsewhere() {
    log_to_stderr();
    let scratch = mke2fs(16, &["-b", "4096"]);
    let source = Scratch::new();
    let request = |request: String| debugfs(scratch.path(), &request);
    request("mkdir .keelson".into());
    for (name, content) in
        [("exports", b"/ *(ro)\n".to_vec()), ("huge", vec![b'#'; 65_537]), ("full", vec![b'#'; 65_536])]
    {
        fs::write(source.path(), content).expect("write a file");
        request(format!("write {} .keelson/{name}", source.path().display()));
    }
    request("mkdir .keelson/directory".into());
    request("symlink .keelson/symlink /exports".into());
    let disk = SimDisk::new(fs::read(scratch.path()).expect("read the image"), false);
    let volume = open(&disk);
    assert_eq!(run(volume.read_state("exports")), Ok(Some(b"/ *(ro)\n".to_vec())));
    assert_eq!(
        run(volume.read_state("full")).map(|content| content.map(|content| content.len())),
        Ok(Some(65_536))
    );
    assert_eq!(run(volume.read_state("huge")), Err(VolumeError::TooBig));
    for name in ["directory", "symlink"] {
        assert_eq!(run(volume.read_state(name)), Err(VolumeError::Invalid), "{name}");
    }
    assert_eq!(run(volume.lookup(volume.root(), b".keelson")).err(), Some(VolumeError::NotFound));
    run(volume.write_state("exports", b"/ *(rw)\n")).expect("replaced");
    assert_eq!(run(volume.read_state("exports")), Ok(Some(b"/ *(rw)\n".to_vec())));
    run(volume.unmount()).expect("unmount");
    drop(volume);
    check(&disk);
}

/// Something else has the name of the directory: it stays, and there is no second one.
#[test]
fn a_file_in_the_place_of_the_state_directory() {
    log_to_stderr();
    let scratch = mke2fs(16, &["-b", "4096"]);
    debugfs(scratch.path(), "mknod .keelson p");
    let disk = SimDisk::new(fs::read(scratch.path()).expect("read the image"), false);
    let volume = open(&disk);
    assert_eq!(run(volume.read_state("exports")), Ok(None));
    assert_eq!(run(volume.write_state("exports", b"x")), Err(VolumeError::Exists));
    run(volume.unmount()).expect("unmount");
    drop(volume);
    check(&disk);
}
