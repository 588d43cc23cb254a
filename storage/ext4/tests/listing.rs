//! What listing a directory with attributes costs, in counts that do not depend on the machine.
//!
//! What counts are searches for a block in memory. The block of the search before is at hand, and looking into it once
//! more is free.

mod common;

use common::{Mounted, check_listing, mount, run};
use keelson_ext4::dev::{FileDisk, Scratch, mke2fs};
use keelson_ext4::{CacheCounters, Ext4Volume, Options};
use keelson_volume::{FileId, NewObject, ObjectKind, SetTime, Volume};
use std::{fs, process};

/// Bytes that the NFS server asks for at a time.
const PAGE: usize = 13_000;

/// An image with `count` files in the directory `many`, put there by mke2fs.
fn filled_by_mke2fs(count: usize) -> Scratch {
    let tree = keelson_ext4::dev::workplace().join(format!("keelson-ext4-listing-{}", process::id()));
    fs::create_dir_all(tree.join("many")).expect("make a directory");
    for index in 0..count {
        fs::write(tree.join(format!("many/entry-{index:05}")), "").expect("make a file");
    }
    let scratch = mke2fs(64, &["-b", "4096", "-d", tree.to_str().expect("a name in UTF-8")]);
    fs::remove_dir_all(&tree).expect("remove the tree");
    scratch
}

fn open(scratch: &Scratch) -> Mounted {
    mount(FileDisk::open(scratch.path(), false).expect("open"), 1, Options::default()).expect("mount")
}

fn many(volume: &Ext4Volume) -> FileId {
    run(volume.lookup(volume.root(), b"many")).expect("lookup").id
}

/// Lists a directory; how many entries it has, and what that did to the cache.
fn list(volume: &Ext4Volume, dir: FileId) -> (usize, CacheCounters) {
    let before = volume.cache_counters();
    let (mut count, mut cookie) = (0, 0);
    loop {
        let page = run(volume.read_dir_plus(dir, cookie, PAGE)).expect("read_dir_plus");
        assert!(page.entries.iter().all(|entry| entry.is_dot() || entry.attributes.is_some()));
        count += page.entries.len();
        match page.entries.last() {
            Some(last) if !page.end => cookie = last.cookie,
            _ => break,
        }
    }
    let after = volume.cache_counters();
    let cost = CacheCounters {
        hits: after.hits - before.hits,
        misses: after.misses - before.misses,
        reads: after.reads - before.reads,
        ..CacheCounters::default()
    };
    (count, cost)
}

/// At most once for the inode's record and hardly more for the names, the first time too: neighbours in the inode table
/// are taken together, which is also read many blocks at a time, and what begins again for each piece of it is one page.
#[test]
fn each_entry_looks_into_one_block() {
    let scratch = filled_by_mke2fs(2000);
    let volume = open(&scratch);
    let dir = many(&volume);
    let (count, cold) = list(&volume, dir);
    assert_eq!(count, 2002);
    let (_, warm) = list(&volume, dir);
    eprintln!("cold {cold:?}\nwarm {warm:?}");
    assert_eq!((warm.misses, warm.reads), (0, 0), "everything is in memory");
    for cost in [cold, warm] {
        assert!(cost.hits < 2002 * 11 / 10, "{} looks into blocks", cost.hits);
    }
    assert!(cold.reads < 40, "{} reads from the device", cold.reads);
}

/// What changed is as near as what did not, and neighbours cost one look, not one each.
#[test]
fn changed_inodes_cost_hardly_a_look() {
    let scratch = mke2fs(64, &["-b", "4096"]);
    let volume = open(&scratch);
    let new =
        |kind| NewObject { kind, mode: 0o755, uid: 1, gid: 2, atime: SetTime::Now, mtime: SetTime::Now };
    let create = |dir, name: &str, kind| run(volume.create(dir, name.as_bytes(), new(kind))).expect("create");
    let dir = create(volume.root(), "many", ObjectKind::Directory).object.id;
    for index in 0..500 {
        create(dir, &format!("entry-{index:05}"), ObjectKind::Regular);
    }
    let (count, cost) = list(&volume, dir);
    eprintln!("{cost:?}");
    assert_eq!(count, 502);
    assert!(cost.hits + cost.misses < 502 / 5, "{cost:?}");
    assert_eq!(check_listing(&volume, dir), 500);
}
