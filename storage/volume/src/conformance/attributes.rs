//! Attributes, times and the pairs around a change.

use super::{attributes, directory, expect, file, new, write};
use crate::{ClearSetid, NewObject, ObjectKind, SetAttributes, SetTime, Time, Volume, VolumeError};

/// Everything that can be set, alone and together, and the guard.
pub(super) async fn set<V: Volume>(volume: &V) {
    let id = file(volume, volume.root(), b"file").await.id;
    let old = Time { seconds: 1_000_000_000, nanos: 123_456_789 };
    let older = Time { seconds: 999_999_999, nanos: 1 };
    let changes = SetAttributes {
        mode: Some(0o4711),
        uid: Some(70_000),
        gid: Some(80_000),
        size: Some(3),
        atime: SetTime::To(old),
        mtime: SetTime::To(older),
    };
    let after = volume.set_attributes(id, changes, None).await.expect("set everything").after;
    assert_eq!((after.mode, after.uid, after.gid, after.size), (0o4711, 70_000, 80_000, 3), "what was set");
    assert_eq!((after.atime, after.mtime), (old, older), "times to the nanosecond");
    assert_eq!(attributes(volume, id).await, after, "attributes agree with the change");
    let only_uid = SetAttributes { uid: Some(5), ..SetAttributes::default() };
    let change = volume.set_attributes(id, only_uid, Some(after.ctime)).await.expect("with a true guard");
    assert_eq!((change.after.uid, change.after.gid), (5, 80_000), "only the owner");
    assert_eq!((change.after.atime, change.after.mtime), (old, older), "times kept");
    let result = volume.set_attributes(id, only_uid, Some(after.ctime)).await;
    expect(result, VolumeError::GuardMismatch, "a guard that is over");
    let now = SetAttributes { mtime: SetTime::Now, ..SetAttributes::default() };
    let change = volume.set_attributes(id, now, None).await.expect("mtime now");
    assert!(change.after.mtime > old, "the volume's clock");
    assert_eq!(change.after.atime, old, "atime kept");

    let marker = NewObject { atime: SetTime::To(old), mtime: SetTime::To(older), ..new(ObjectKind::Regular) };
    let created = volume.create(volume.root(), b"marked", marker).await.expect("create").object;
    assert_eq!((created.atime, created.mtime), (old, older), "times given at creation");
}

/// Every change of an object gives it a later ctime, even with a clock that stands still.
pub(super) async fn ctime_increases<V: Volume>(volume: &V) {
    let root = volume.root();
    let object = file(volume, root, b"file").await;
    let mut last = object.ctime;
    for round in 0..50_u64 {
        let change = match round % 3 {
            0 => volume.write(object.id, round, b"x", ClearSetid::No).await,
            1 => {
                let mode = SetAttributes { mode: Some(0o600), ..SetAttributes::default() };
                volume.set_attributes(object.id, mode, None).await
            }
            _ => volume.set_attributes(object.id, super::resize(round), None).await,
        };
        let change = change.expect("change");
        assert_eq!(change.before.ctime, last, "nothing happened in between");
        assert!(change.after.ctime > last, "ctime of change {round}: {:?}", change.after.ctime);
        last = change.after.ctime;
    }
    let mut last = attributes(volume, root).await;
    for name in [b"a", b"b", b"c"] {
        let created = volume.create(root, name, new(ObjectKind::Regular)).await.expect("create");
        assert!(created.dir.after.ctime > last.ctime, "ctime of the directory");
        assert!(created.dir.after.mtime > last.mtime, "mtime of the directory");
        last = created.dir.after;
    }
}

/// Before is what was seen last, after is what is seen next.
pub(super) async fn before_and_after<V: Volume>(volume: &V) {
    let root = volume.root();
    let mut seen = attributes(volume, root).await;
    let created = volume.create(root, b"f", new(ObjectKind::Regular)).await.expect("create");
    assert_eq!(created.dir.before, seen, "before create");
    seen = attributes(volume, root).await;
    assert_eq!(created.dir.after, seen, "after create");
    let sub = directory(volume, root, b"d").await;
    seen = attributes(volume, root).await;
    let linked = volume.link(created.object.id, root, b"g").await.expect("link");
    assert_eq!(linked.dir.before, seen, "before link");
    seen = attributes(volume, root).await;
    assert_eq!(linked.dir.after, seen, "after link");
    let renamed = volume.rename(root, b"g", sub.id, b"h").await.expect("rename");
    assert_eq!((renamed.from_dir.before, renamed.to_dir.before), (seen, sub), "before rename");
    seen = attributes(volume, root).await;
    assert_eq!(renamed.from_dir.after, seen, "after rename, where it left");
    assert_eq!(renamed.to_dir.after, attributes(volume, sub.id).await, "after rename, where it came");
    let removed = volume.remove(root, b"f").await.expect("remove");
    assert_eq!(removed.dir.before, seen, "before remove");
    assert_eq!(removed.dir.after, attributes(volume, root).await, "after remove");
    let file = attributes(volume, created.object.id).await;
    write(volume, file.id, 0, b"12345").await;
    let change = volume.write(file.id, 5, b"6", ClearSetid::No).await.expect("write");
    assert_eq!((change.before.size, change.after.size), (5, 6), "sizes around a write");
    assert_eq!(change.after, attributes(volume, file.id).await, "after a write");
}
