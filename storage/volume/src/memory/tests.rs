//! What other volumes are measured against must itself be right.

use super::*;
use crate::{ClearSetid, NewObject, ObjectKind, SetAttributes, SetTime, Volume};
use core::task::{Context, Poll, Waker};
use keelson_exec::sim::SimClock;

/// This volume never waits.
fn run<T>(future: impl Future<Output = T>) -> T {
    match core::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("an operation in memory waited"),
    }
}

fn volume() -> MemoryVolume {
    MemoryVolume::new(
        SimClock::new(),
        MemoryOptions { capacity: 40 * 4096, inodes: 20, ..Default::default() },
    )
}

fn new(kind: ObjectKind<'_>) -> NewObject<'_> {
    NewObject { kind, mode: 0o644, uid: 1, gid: 1, atime: SetTime::Now, mtime: SetTime::Now }
}

fn create(volume: &MemoryVolume, dir: FileId, name: &str, kind: ObjectKind<'_>) -> FileId {
    run(volume.create(dir, name.as_bytes(), new(kind))).expect("created").object.id
}

#[test]
fn a_reused_inode_number_is_another_object() {
    let volume = volume();
    let root = volume.root();
    let old = create(&volume, root, "a", ObjectKind::Regular);
    assert_eq!(run(volume.remove(root, b"a")).map(|removed| removed.object), Ok(old));
    let young = create(&volume, root, "b", ObjectKind::Regular);
    assert_eq!(old.inode, young.inode);
    assert_eq!(run(volume.attributes(old)), Err(VolumeError::Stale));
    assert!(run(volume.attributes(young)).is_ok());
}

#[test]
fn ctime_increases_while_the_clock_stands_still() {
    let volume = volume();
    let file = create(&volume, volume.root(), "a", ObjectKind::Regular);
    let mut last = run(volume.attributes(file)).expect("attributes").ctime;
    for _ in 0..3 {
        let change = run(volume.write(file, 0, b"x", ClearSetid::No)).expect("written");
        assert_eq!(change.before.ctime, last);
        assert!(change.after.ctime > last);
        last = change.after.ctime;
    }
    let guard = Time { seconds: 1, nanos: 1 };
    let changed = run(volume.set_attributes(file, SetAttributes::default(), Some(guard)));
    assert_eq!(changed, Err(VolumeError::GuardMismatch));
    assert!(run(volume.set_attributes(file, SetAttributes::default(), Some(last))).is_ok());
}

#[test]
fn content_is_sparse_and_truncation_zeroes() {
    let volume = volume();
    let file = create(&volume, volume.root(), "a", ObjectKind::Regular);
    run(volume.write(file, 4090, b"0123456789", ClearSetid::No)).expect("written");
    run(volume.write(file, 1 << 40, b"far", ClearSetid::No)).expect("written");
    assert_eq!(run(volume.attributes(file)).expect("attributes").allocated, 3 * 4096);
    let size = |size| SetAttributes { size: Some(size), ..Default::default() };
    run(volume.set_attributes(file, size(4094), None)).expect("cut");
    run(volume.set_attributes(file, size(5000), None)).expect("extended");
    let mut buffer = [9; 8];
    assert_eq!(run(volume.read(file, 4090, &mut buffer)), Ok(8));
    assert_eq!(&buffer, b"0123\0\0\0\0");
    assert_eq!(run(volume.read(file, 4999, &mut buffer)), Ok(1));
    assert_eq!(run(volume.read(file, 5000, &mut buffer)), Ok(0));
    assert_eq!(run(volume.write(file, u64::MAX, b"x", ClearSetid::No)).map(|_| ()), Err(VolumeError::TooBig));
}

#[test]
fn space_runs_out_and_comes_back() {
    let volume = volume();
    let root = volume.root();
    let file = create(&volume, root, "a", ObjectKind::Regular);
    let all = alloc::vec![1; 39 * 4096];
    run(volume.write(file, 0, &all, ClearSetid::No)).expect("just fits");
    let more = run(volume.write(file, all.len() as u64, b"x", ClearSetid::No));
    assert_eq!(more.map(|_| ()), Err(VolumeError::NoSpace));
    let dir = run(volume.create(root, b"d", new(ObjectKind::Directory)));
    assert_eq!(dir.map(|_| ()), Err(VolumeError::NoSpace));
    run(volume.remove(root, b"a")).expect("removed");
    let usage = run(volume.usage()).expect("usage");
    assert_eq!((usage.free_bytes, usage.free_inodes), (39 * 4096, 19));
    for at in 0..19 {
        create(&volume, root, &alloc::format!("{at}"), ObjectKind::Regular);
    }
    let last = run(volume.create(root, b"x", new(ObjectKind::Fifo)));
    assert_eq!(last.map(|_| ()), Err(VolumeError::NoSpace));
}

#[test]
fn cookies_stay_while_entries_come_and_go() {
    let volume = volume();
    let root = volume.root();
    for name in ["a", "b", "c"] {
        create(&volume, root, name, ObjectKind::Regular);
    }
    let page = run(volume.read_dir(root, 0, 75)).expect("page");
    let names: alloc::vec::Vec<_> = page.entries.iter().map(|entry| entry.name.clone()).collect();
    assert_eq!((names, page.end), (alloc::vec![b".".to_vec(), b"..".to_vec()], false));
    let cookie = run(volume.read_dir(root, 2, 1)).expect("page").entries[0].cookie;
    run(volume.remove(root, b"a")).expect("removed");
    create(&volume, root, "d", ObjectKind::Regular);
    let page = run(volume.read_dir(root, cookie, 1000)).expect("page");
    let names: alloc::vec::Vec<_> = page.entries.iter().map(|entry| &entry.name[..]).collect();
    assert_eq!((names, page.end), (alloc::vec![&b"b"[..], b"c", b"d"], true));
}

#[test]
fn rename_follows_posix() {
    let volume = volume();
    let root = volume.root();
    let (d, e) = (
        create(&volume, root, "d", ObjectKind::Directory),
        create(&volume, root, "e", ObjectKind::Directory),
    );
    let f = create(&volume, d, "f", ObjectKind::Regular);
    create(&volume, root, "g", ObjectKind::Regular);
    let rename = |a, b: &str, c, d: &str| run(volume.rename(a, b.as_bytes(), c, d.as_bytes())).map(|_| ());
    assert_eq!(rename(root, "d", d, "x"), Err(VolumeError::Invalid));
    assert_eq!(rename(root, "d", root, "g"), Err(VolumeError::NotDirectory));
    assert_eq!(rename(root, "g", root, "d"), Err(VolumeError::IsDirectory));
    assert_eq!(rename(root, "e", root, "d"), Err(VolumeError::NotEmpty));
    assert_eq!(rename(root, "x", root, "y"), Err(VolumeError::NotFound));
    assert_eq!(rename(root, ".", root, "y"), Err(VolumeError::Invalid));
    assert_eq!(rename(root, "d", e, "d"), Ok(()));
    let links = |id| run(volume.attributes(id)).expect("attributes").links;
    assert_eq!((links(root), links(e), links(d)), (3, 3, 2));
    assert_eq!(run(volume.lookup(d, b"..")).expect("parent").id, e);
    assert_eq!(rename(d, "f", root, "g"), Ok(()));
    assert_eq!(run(volume.lookup(root, b"g")).expect("moved").id, f);
    assert_eq!(rename(e, "d", root, "e"), Err(VolumeError::NotEmpty), "over its own parent");
    run(volume.link(f, root, b"h")).expect("linked");
    assert_eq!(rename(root, "h", root, "g"), Ok(()), "both name the same object");
    assert_eq!(links(f), 2);
}

#[test]
fn a_power_cut_leaves_what_was_committed() {
    let volume = volume();
    let root = volume.root();
    let (a, b) =
        (create(&volume, root, "a", ObjectKind::Regular), create(&volume, root, "b", ObjectKind::Regular));
    run(volume.write(a, 0, b"safe", ClearSetid::No)).expect("written");
    run(volume.write(b, 0, b"lost", ClearSetid::No)).expect("written");
    run(volume.commit(a)).expect("committed");
    create(&volume, root, "c", ObjectKind::Regular);
    let verifier = volume.write_verifier();
    volume.power_cut();
    assert_ne!(volume.write_verifier(), verifier);
    let size = |id| run(volume.attributes(id)).expect("attributes").size;
    assert_eq!((size(a), size(b)), (4, 0));
    assert_eq!(run(volume.lookup(root, b"c")), Err(VolumeError::NotFound));
}

#[test]
fn faults_come_when_asked_for() {
    let volume = volume();
    let file = create(&volume, volume.root(), "a", ObjectKind::Regular);
    volume.set_fault(|operation| (operation == Operation::Commit).then_some(VolumeError::Io));
    assert_eq!(run(volume.commit(file)), Err(VolumeError::Io));
    assert!(run(volume.attributes(file)).is_ok());
    volume.clear_fault();
    volume.fail_background_write(file);
    assert_eq!(run(volume.commit(file)), Err(VolumeError::Io));
    assert_eq!(run(volume.commit(file)), Ok(()), "told once");
    volume.set_read_only(true);
    assert_eq!(run(volume.remove(volume.root(), b"a")).map(|_| ()), Err(VolumeError::ReadOnly));
}

#[cfg(feature = "conformance")]
#[test]
fn the_suite_for_all_volumes_passes() {
    let options = MemoryOptions { capacity: 1 << 30, ..MemoryOptions::default() };
    crate::conformance::run(|| MemoryVolume::new(SimClock::new(), options));
}
