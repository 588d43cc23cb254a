//! Space by owner, and extended attributes, as the volume offers them.

mod common;

use common::{Mounted, mount, run};
use keelson_ext4::dev::{Scratch, SimDisk, e2fsck, log_to_stderr, mke2fs};
use keelson_ext4::{Amount, Options};
use keelson_volume::{ClearSetid, NewObject, ObjectKind, SetAttributes, SetTime, Volume, VolumeError};
use std::fs;
use std::rc::Rc;
use std::time::Duration;

fn new(uid: u32, kind: ObjectKind<'_>) -> NewObject<'_> {
    NewObject { kind, mode: 0o644, uid, gid: uid + 100, atime: SetTime::Now, mtime: SetTime::Now }
}

fn open(disk: &Rc<SimDisk>) -> Mounted {
    mount(disk.clone(), 1, Options::default()).expect("mount")
}

/// Everybody's sums, when they are known.
fn sums(volume: &Mounted) -> Vec<Amount> {
    volume.host().pass(Duration::from_millis(1));
    let users = [0, 1, 2, 9].map(|uid| volume.usage_of_user(uid).expect("known by now"));
    let groups = [0, 101, 102].map(|gid| volume.usage_of_group(gid).expect("known by now"));
    users.into_iter().chain(groups).collect()
}

/// What was stored and followed every change is what counting anew finds.
#[test]
fn stored_sums_are_those_that_counting_finds() {
    log_to_stderr();
    let image = fs::read(mke2fs(32, &["-b", "4096"]).path()).expect("read the image");
    let disk = SimDisk::new(image, false);
    for round in 0..3_u32 {
        let volume = open(&disk);
        if round > 0 {
            assert!(volume.usage_of_user(1).is_some(), "a clean unmounting stores them");
        }
        let root = volume.root();
        for number in 0..20 {
            let name = format!("{round} {number}");
            let kind = if number % 4 == 0 { ObjectKind::Directory } else { ObjectKind::Regular };
            let made = run(volume.create(root, name.as_bytes(), new(1 + number % 2, kind)));
            let id = made.expect("create").object.id;
            if number % 4 == 1 {
                run(volume.write(id, 0, &vec![1; 9000 * number as usize], ClearSetid::No)).expect("write");
            }
            if number % 5 == 0 {
                let owner = SetAttributes { uid: Some(9), ..SetAttributes::default() };
                run(volume.set_attributes(id, owner, None)).expect("chown");
            }
            if number == 13 {
                run(volume.remove(root, name.as_bytes())).expect("remove");
            }
        }
        run(volume.sync()).expect("sync");
        let followed = sums(&volume);
        // The same disk without what a clean unmounting stores: counted anew.
        let counted = sums(&open(&SimDisk::new(disk.image(), false)));
        assert_eq!(followed, counted, "round {round}");
        assert!(followed[1].inodes > 0 && followed[1].sectors > 0 && followed[3].inodes > 0);
        run(volume.unmount()).expect("unmount");
    }
    let scratch = Scratch::new();
    fs::write(scratch.path(), disk.image()).expect("write the image");
    e2fsck(scratch.path()).expect("e2fsck");
}

#[test]
fn attributes_are_set_read_and_removed() {
    let image = fs::read(mke2fs(16, &["-b", "4096"]).path()).expect("read the image");
    let disk = SimDisk::new(image, false);
    let volume = open(&disk);
    let made =
        run(volume.create(volume.root(), b"file", new(1, ObjectKind::Regular))).expect("create").object;
    let large = vec![7; 2000];
    let change = run(volume.set_attribute(made.id, b"user.small", b"value")).expect("set");
    assert!(change.before == made && change.after.ctime > made.ctime, "{change:?}");
    run(volume.set_attribute(made.id, b"user.large", &large)).expect("set");
    run(volume.unmount()).expect("unmount");
    drop(volume);
    let volume = open(&disk);
    assert_eq!(run(volume.attribute(made.id, b"user.small")), Ok(Some(b"value".to_vec())));
    assert_eq!(run(volume.attribute(made.id, b"user.large")), Ok(Some(large)));
    assert_eq!(run(volume.attribute_names(made.id)).map(|names| names.len()), Ok(2));
    run(volume.remove_attribute(made.id, b"user.large")).expect("remove");
    let again = run(volume.remove_attribute(made.id, b"user.large"));
    assert_eq!(again.err(), Some(VolumeError::NotFound));
    run(volume.remove(volume.root(), b"file")).expect("remove");
    assert_eq!(run(volume.attribute(made.id, b"user.small")).err(), Some(VolumeError::Stale));
    run(volume.unmount()).expect("unmount");
    let scratch = Scratch::new();
    fs::write(scratch.path(), disk.image()).expect("write the image");
    e2fsck(scratch.path()).expect("e2fsck");
}
