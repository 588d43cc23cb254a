//! What is refused, with which words, and what survives a remount.

mod common;

use common::{check_listing, mount, new, run};
use keelson_ext4::dev::{FileDisk, Scratch, SimDisk};
use keelson_ext4::dev::{debugfs, e2fsck, mke2fs};
use keelson_ext4::{MountError, Options};
use keelson_volume::{ClearSetid, NewObject, ObjectKind, SetTime, Volume, VolumeError};
use proptest::prelude::*;
use std::fs;

fn refusal(image: Vec<u8>) -> String {
    match mount(SimDisk::new(image, false), 1, Options::default()) {
        Ok(_) => panic!("mounted"),
        Err(error) => error.to_string(),
    }
}

fn content(scratch: &Scratch) -> Vec<u8> {
    fs::read(scratch.path()).expect("read the image")
}

#[test]
fn refusals_name_the_trouble_and_the_remedy() {
    assert!(refusal(vec![]).contains("empty"));
    assert!(refusal(vec![0; 1 << 20]).contains("mke2fs -t ext4"));
    let mut image = content(&mke2fs(16, &[]));
    let half = image[..8 << 20].to_vec();
    assert!(refusal(half).contains("the device only 8388608"));
    image[1024 + 0x28] ^= 1;
    assert!(refusal(image).contains("bad checksum"));
    for (arguments, words) in [
        (&["-O", "inline_data"][..], "-O ^inline_data"),
        (&["-O", "bigalloc"], "-O ^bigalloc"),
        (&["-O", "quota"], "tune2fs -O ^quota"),
        (&["-O", "encrypt"], "encrypt"),
        (&["-O", "mmp"], "tune2fs -O ^mmp"),
        (&["-I", "128"], "-I 256"),
    ] {
        let said = refusal(content(&mke2fs(16, arguments)));
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

/// The journal's inode is looked up before the group descriptors are checked.
#[test]
fn an_inode_table_beyond_everything_is_refused() {
    let mut image = content(&mke2fs(16, &["-b", "1024", "-O", "64bit,^metadata_csum,^uninit_bg"]));
    for half in [0x8, 0x28] {
        image[2048 + half..][..4].fill(0xff);
    }
    let said = refusal(image);
    assert!(!said.is_empty(), "{said}");
}

#[test]
fn a_dirty_journal_is_not_read_around() {
    let scratch = mke2fs(16, &[]);
    let disk = FileDisk::open(scratch.path(), false).expect("open");
    let volume = mount(disk, 1, Options::default()).expect("mount");
    run(volume.write_state("x", b"y")).expect("write");
    drop(volume);
    let disk = FileDisk::open(scratch.path(), true).expect("open");
    let error = mount(disk, 1, Options::default()).err();
    assert_eq!(error, Some(MountError::RecoveryNeedsWriting));
}

#[test]
fn a_read_only_device_is_served_read_only() {
    let scratch = mke2fs(16, &[]);
    let before = content(&scratch);
    let disk = FileDisk::open(scratch.path(), true).expect("open");
    let volume = mount(disk, 1, Options::default()).expect("mount");
    assert!(volume.is_read_only());
    let new = NewObject {
        kind: ObjectKind::Regular,
        mode: 0o644,
        uid: 0,
        gid: 0,
        atime: SetTime::Now,
        mtime: SetTime::Now,
    };
    let root = volume.root();
    assert_eq!(run(volume.create(root, b"x", new)).err(), Some(VolumeError::ReadOnly));
    assert!(run(volume.lookup(root, b"lost+found")).is_ok());
    run(volume.unmount()).expect("unmount");
    assert!(before == content(&scratch), "the image changed");
}

/// A large object that was removed is freed piece by piece, in its own time: unmounting waits for that.
#[test]
fn unmounting_frees_what_was_removed() {
    let scratch = mke2fs(64, &["-b", "1024"]);
    let disk = FileDisk::open(scratch.path(), false).expect("open");
    let volume = mount(disk, 1, Options::default()).expect("mount");
    let root = volume.root();
    run(async {
        let made = volume.create(root, b"large", new(ObjectKind::Regular)).await.expect("create");
        // Blocks with holes between them: hundreds of extents.
        for block in 0..3000 {
            let written = volume.write(made.object.id, block * 4096, &[7; 1024], ClearSetid::No).await;
            written.expect("write");
        }
        volume.sync().await.expect("sync");
        volume.remove(root, b"large").await.expect("remove");
    });
    assert_eq!(volume.counters().orphans, 1, "it takes a while");
    run(volume.unmount()).expect("unmount");
    assert_eq!(volume.counters().orphans, 0);
    e2fsck(scratch.path()).expect("e2fsck");
}

/// Mounts, does a little of everything if that works, and drops the volume.
fn exercise(image: Vec<u8>) {
    let Ok(volume) = mount(SimDisk::new(image, false), 1, Options::default()) else { return };
    let root = volume.root();
    run(async {
        let new = NewObject {
            kind: ObjectKind::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            atime: SetTime::Now,
            mtime: SetTime::Now,
        };
        if let Ok(created) = volume.create(root, b"f", new).await {
            let _ = volume.write(created.object.id, 0, &[1; 9000], ClearSetid::No).await;
            let _ = volume.commit(created.object.id).await;
        }
        let _ = volume.read_dir(root, 0, 4096).await;
        let _ = volume.usage().await;
    });
}

/// CRC-32C as ext4 stores it in the superblock.
fn fix_checksum(image: &mut [u8]) {
    let checksum = image[1024..1024 + 0x3FC].iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    });
    image[1024 + 0x3FC..2048].copy_from_slice(&checksum.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// No superblock, however wrong, may panic; the checksum is made right so that all checks are reached.
    #[test]
    fn superblock_garbage_does_not_panic(
        offset in 0_usize..0x3FC, bytes in proptest::collection::vec(any::<u8>(), 1..8), seed in any::<u8>()
    ) {
        thread_local!(static IMAGE: Vec<u8> = content(&mke2fs(8, &["-b", "1024"])));
        let mut image = IMAGE.with(Vec::clone);
        let end = (offset + bytes.len()).min(0x3FC);
        image[1024 + offset..1024 + end].copy_from_slice(&bytes[..end - offset]);
        if seed % 8 != 0 {
            fix_checksum(&mut image);
        }
        exercise(image);
    }

    /// Nor may garbage in any of the first blocks, where descriptors, bitmaps and inodes are.
    #[test]
    fn metadata_garbage_does_not_panic(
        position in 2048_usize..600_000, bytes in proptest::collection::vec(any::<u8>(), 1..64)
    ) {
        thread_local!(static IMAGE: Vec<u8> = content(&mke2fs(8, &["-b", "1024", "-O", "^metadata_csum"])));
        let mut image = IMAGE.with(Vec::clone);
        image[position..position + bytes.len()].copy_from_slice(&bytes);
        exercise(image);
    }
}

#[test]
fn handles_times_and_state_survive_a_remount() {
    for clean in [true, false] {
        let scratch = mke2fs(64, &["-b", "4096"]);
        let open = |seed| {
            let disk = FileDisk::open(scratch.path(), false).expect("open");
            mount(disk, seed, Options::default()).expect("mount")
        };
        let volume = open(1);
        let root = volume.root();
        let mut kept = Vec::new();
        for number in 0..300 {
            let new = NewObject {
                kind: if number % 5 == 0 { ObjectKind::Directory } else { ObjectKind::Regular },
                mode: 0o755,
                uid: 1,
                gid: 2,
                atime: SetTime::Now,
                mtime: SetTime::Now,
            };
            let name = format!("object {number}").into_bytes();
            let object = run(volume.create(root, &name, new)).expect("create").object;
            match number % 5 {
                0 => {
                    let name = format!("in {number}").into_bytes();
                    run(volume.rename(root, format!("object {}", number).as_bytes(), root, &name))
                        .expect("rename");
                }
                1 => drop(run(volume.write(object.id, 7, b"content", ClearSetid::No)).expect("write")),
                2 => drop(
                    run(volume.link(object.id, root, format!("link {number}").as_bytes())).expect("link"),
                ),
                3 => {
                    let mut buffer = [0; 10];
                    run(volume.write(object.id, 0, b"0123456789", ClearSetid::Yes)).expect("write");
                    assert_eq!(run(volume.read(object.id, 0, &mut buffer)), Ok(10));
                }
                _ => {
                    let size = keelson_volume::SetAttributes { size: Some(5000), ..Default::default() };
                    run(volume.set_attributes(object.id, size, None)).expect("truncate");
                }
            }
            kept.push(object.id);
        }
        kept.push(root);
        let before: Vec<_> = kept.iter().map(|&id| run(volume.attributes(id)).expect("attributes")).collect();
        let verifier = volume.write_verifier();
        run(volume.write_state("keys", b"secret")).expect("state");
        if !clean {
            // Space is allocated when data goes to the disk, and without this it need not.
            kept.iter().for_each(|&id| run(volume.commit(id)).expect("commit"));
        }
        // The state file changed its directory, not the root.
        if clean {
            run(volume.unmount()).expect("unmount");
            e2fsck(scratch.path()).expect("e2fsck");
        }
        drop(volume);
        let volume = open(2);
        assert_ne!(volume.write_verifier(), verifier);
        assert_eq!(run(volume.read_state("keys")), Ok(Some(b"secret".to_vec())));
        for before in &before {
            assert_eq!(run(volume.attributes(before.id)).as_ref(), Ok(before), "clean: {clean}");
        }
        assert_eq!(run(volume.lookup(root, b".keelson")).err(), Some(VolumeError::NotFound));
        let new = NewObject {
            kind: ObjectKind::Regular,
            mode: 0,
            uid: 0,
            gid: 0,
            atime: SetTime::Now,
            mtime: SetTime::Now,
        };
        assert_eq!(run(volume.create(root, b".keelson", new)).err(), Some(VolumeError::Exists));
        assert_eq!(run(volume.remove(root, b".keelson")).err(), Some(VolumeError::NotPermitted));
        assert_eq!(run(volume.remove_dir(root, b".keelson")).err(), Some(VolumeError::NotPermitted));
        assert_eq!(run(volume.rename(root, b".keelson", root, b"x")).err(), Some(VolumeError::NotPermitted));
    }
}

/// A power cut in the middle of a truncation leaves an inode with too many blocks on the orphan list. Mounting
/// finishes the work, and attributes must not come from before that: they are read from the disk.
#[test]
fn a_truncation_finished_by_mounting_is_seen() {
    let scratch = mke2fs(32, &["-b", "4096"]);
    let open = |seed| {
        mount(FileDisk::open(scratch.path(), false).expect("open"), seed, Options::default()).expect("mount")
    };
    let volume = open(1);
    let new = NewObject {
        kind: ObjectKind::Regular,
        mode: 0o644,
        uid: 0,
        gid: 0,
        atime: SetTime::Now,
        mtime: SetTime::Now,
    };
    let id = run(volume.create(volume.root(), b"cut", new)).expect("create").object.id;
    run(volume.write(id, 0, &[7; 100_000], ClearSetid::Yes)).expect("write");
    run(volume.unmount()).expect("unmount");
    debugfs(scratch.path(), "set_inode_field cut size 5000");
    debugfs(scratch.path(), &format!("set_super_value last_orphan {}", id.inode));
    let volume = open(2);
    let found = run(volume.attributes(id)).expect("attributes");
    assert_eq!((found.size, found.allocated), (5000, 8192));
    check_listing(&volume, volume.root());
    run(volume.unmount()).expect("unmount");
    e2fsck(scratch.path()).expect("e2fsck");
}
