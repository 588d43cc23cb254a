//! The end: unmounting, going away without, and errors.

use super::{INODES, image, open, recover, stamp, stamps};
use crate::dev::{Host, Kept, Scratch, SimDisk, mke2fs};
use crate::layout::bytes::{u16_at, u32_at};
use crate::{MountError, Options};
use keelson_hal::BlockOp;
use std::fs;
use std::time::Duration;

fn superblock_of(image: &[u8]) -> (bool, bool) {
    let raw = &image[1024..];
    (u32_at(raw, 0x60) & 4 != 0, u16_at(raw, 0x3a) & 1 != 0)
}

/// The superblock's block is no longer in memory when the filesystem is unmounted.
#[test]
fn an_unmounted_filesystem_is_clean_whatever_was_in_memory() {
    let host = Host::new(1);
    let disk = SimDisk::new(image(8, &["-b", "1024"]), false);
    let mounted = open(&host, disk.clone());
    assert_eq!(superblock_of(&disk.image()), (true, true));
    let block = {
        let engine = mounted.shared.engine.borrow();
        engine.geometry.superblock_place().0
    };
    mounted.shared.engine.borrow_mut().cache.remove(block);
    assert!(host.run(async { mounted.shared.close_and_wait().await }));
    assert_eq!(superblock_of(&disk.image()), (false, true), "needs recovery, valid");
}

/// Without a journal nobody knows what a power cut left: only e2fsck says that it is good.
#[test]
fn what_was_not_clean_stays_so_without_a_journal() {
    let disk = SimDisk::new(image(8, &["-b", "1024", "-O", "^has_journal"]), false);
    let host = Host::new(1);
    let mounted = open(&host, disk.clone());
    assert_eq!(superblock_of(&disk.image()), (false, false));
    assert!(host.run(async { mounted.shared.close_and_wait().await }));
    assert_eq!(superblock_of(&disk.image()), (false, true));
    let host = Host::new(2);
    let mounted = open(&host, disk.clone());
    host.run(async { mounted.shared.change(|engine| stamp(engine, 20, 7)).await }).expect("stamp");
    host.power_off();
    drop(mounted);
    let host = Host::new(3);
    let mounted = open(&host, disk.clone());
    assert!(host.run(async { mounted.shared.close_and_wait().await }));
    assert_eq!(superblock_of(&disk.image()), (false, false), "e2fsck was not run");
}

/// Whoever drops a volume without unmounting it leaves no tasks behind, and what was committed is there.
#[test]
fn a_dropped_volume_leaves_no_tasks() {
    let disk = SimDisk::new(image(8, &["-b", "1024"]), false);
    let host = Host::new(1);
    let volume = host.mount(disk.clone(), Options::default()).expect("mount");
    host.pass(Duration::from_secs(1));
    assert!(host.handle().live_tasks() > 0);
    drop(volume);
    host.pass(Duration::from_secs(60));
    assert_eq!(host.handle().live_tasks(), 0);
    let host = Host::new(2);
    let mounted = open(&host, disk);
    assert!(mounted.superblock.needs_recovery);
    assert_eq!(stamps(&host, &mounted).len(), 188);
}

/// Nor does a mount that fails late.
#[test]
fn a_failed_mount_leaves_no_tasks() {
    let scratch = mke2fs(8, &["-b", "1024"]);
    crate::dev::debugfs(scratch.path(), "set_inode_field <2> mode 0100644");
    let host = Host::new(1);
    let disk = SimDisk::new(fs::read(scratch.path()).expect("read the image"), false);
    let error = host.mount(disk, Options::default()).err();
    assert_eq!(error, Some(MountError::Damaged("root directory")));
    host.pass(Duration::from_secs(60));
    assert_eq!(host.handle().live_tasks(), 0);
}

/// A request that fails while unmounting: the next mount finds what was committed, by replaying if need be.
#[test]
fn an_error_while_unmounting_costs_nothing_that_was_committed() {
    for op in [BlockOp::Write, BlockOp::Flush] {
        for good in 0..8 {
            let disk = SimDisk::new(image(8, &["-b", "1024"]), true);
            let host = Host::new(1);
            let mounted = open(&host, disk.clone());
            let shared = &mounted.shared;
            for ino in INODES {
                host.run(async { shared.change(|engine| stamp(engine, ino, 5)).await }).expect("stamp");
            }
            host.run(async { shared.commit_through(shared.last_change()).await }).expect("commit");
            disk.fail(Some((op, good)));
            let clean = host.run(async { shared.close_and_wait().await });
            disk.fail(None);
            // What failed to be flushed may be nowhere.
            let (cut, _) = disk.after_cut(disk.events(), || Kept::Nothing);
            for image in [cut, disk.image()] {
                // The last flush is the superblock's own: all else was safe before it was written.
                let may_be_clean = clean || (op == BlockOp::Flush && good == 2);
                assert!(
                    may_be_clean || superblock_of(&image).0,
                    "{op:?} {good}: marked as clean after an error"
                );
                assert!(recover(image).iter().all(|&stamp| stamp == 5), "{op:?} {good}");
            }
        }
    }
}

/// A journal with transactions although the superblock says that there is nothing to recover: as for Linux, they are
/// void, also when the power fails before the first commit.
#[test]
fn transactions_that_need_not_be_recovered_are_void() {
    let disk = SimDisk::new(image(8, &["-b", "1024"]), false);
    let host = Host::new(1);
    let mounted = open(&host, disk.clone());
    let shared = &mounted.shared;
    host.run(async { shared.change(|engine| stamp(engine, 20, 5)).await }).expect("stamp");
    host.run(async { shared.commit_through(shared.last_change()).await }).expect("commit");
    host.power_off();
    let scratch = Scratch::new();
    fs::write(scratch.path(), disk.image()).expect("write the image");
    crate::dev::debugfs(scratch.path(), "feature -needs_recovery");
    let disk = SimDisk::new(fs::read(scratch.path()).expect("read the image"), false);
    assert!(!superblock_of(&disk.image()).0);
    for _ in 0..2 {
        let host = Host::new(1);
        let mounted = open(&host, disk.clone());
        assert_ne!(stamps(&host, &mounted)[20 - INODES.start as usize], 5, "a void transaction was replayed");
        host.power_off();
        assert!(superblock_of(&disk.image()).0);
    }
}
