//! Limits of users and groups: exact, only for those whom they stop, and given back.

use super::{attributes, directory, expect, file, new, resize, write};
use crate::{
    ClearSetid, FileId, Limit, LimitTable, Limits, NewObject, ObjectKind, Owner, OwnerUsage, SetAttributes,
    Volume, VolumeError,
};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec;
use core::future::poll_fn;
use core::task::Poll;

/// The owner of what [`super::new`] makes.
const USER: Owner = Owner::User(10);
const GROUP: Owner = Owner::Group(20);

/// Lets others have a turn.
async fn pause() {
    let mut is_first = true;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        if core::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

/// What an owner has, as soon as that is known.
async fn usage<V: Volume>(volume: &V, owner: Owner) -> OwnerUsage {
    for _ in 0..100_000 {
        if let Some(usage) = volume.usage_of(owner) {
            return usage;
        }
        pause().await;
    }
    panic!("the volume does not come to know what {owner:?} has");
}

fn users(default: Limit, single: &[(u32, Limit)]) -> Limits {
    let users = LimitTable { default, single: BTreeMap::from_iter(single.iter().copied()) };
    Limits { users, groups: LimitTable::default() }
}

fn bytes(bytes: u64) -> Limit {
    Limit { bytes: Some(bytes), inodes: None }
}

fn inodes(inodes: u64) -> Limit {
    Limit { bytes: None, inodes: Some(inodes) }
}

/// What one more block costs an owner.
async fn block_size<V: Volume>(volume: &V) -> u64 {
    let probe = file(volume, volume.root(), b"probe").await.id;
    write(volume, probe, 0, b"x").await;
    let size = attributes(volume, probe).await.allocated;
    volume.remove(volume.root(), b"probe").await.expect("remove");
    size
}

async fn limited_write<V: Volume>(
    volume: &V,
    id: FileId,
    offset: u64,
    data: &[u8],
) -> Result<(), VolumeError> {
    volume.limited(volume.write(id, offset, data, ClearSetid::Yes)).await.map(|_| ())
}

/// What is counted is what objects have, before and after it reaches the disk.
pub(super) async fn counted<V: Volume>(volume: &V) {
    let root = volume.root();
    assert_eq!(usage(volume, USER).await, OwnerUsage::default(), "who has nothing");
    let a = file(volume, root, b"a").await.id;
    write(volume, a, 0, &vec![1; 100_000]).await;
    write(volume, a, 1_000_000, b"behind a hole").await;
    let dir = directory(volume, root, b"dir").await.id;
    let sum = attributes(volume, a).await.allocated + attributes(volume, dir).await.allocated;
    let expected = OwnerUsage { bytes: sum, inodes: 2 };
    assert_eq!((usage(volume, USER).await, usage(volume, GROUP).await), (expected, expected), "in memory");
    volume.commit(a).await.expect("commit");
    let sum = attributes(volume, a).await.allocated + attributes(volume, dir).await.allocated;
    let expected = OwnerUsage { bytes: sum, inodes: 2 };
    assert_eq!((usage(volume, USER).await, usage(volume, GROUP).await), (expected, expected), "on the disk");

    // Accepted, not on the disk, and then somebody else's.
    write(volume, a, 200_000, &vec![2; 50_000]).await;
    let whole = attributes(volume, a).await.allocated;
    let owner = SetAttributes { uid: Some(11), ..SetAttributes::default() };
    volume.set_attributes(a, owner, None).await.expect("chown");
    let other = usage(volume, Owner::User(11)).await;
    assert_eq!(other, OwnerUsage { bytes: whole, inodes: 1 }, "the new owner has all of it");
    let rest = attributes(volume, dir).await.allocated;
    assert_eq!(usage(volume, USER).await, OwnerUsage { bytes: rest, inodes: 1 }, "the old one nothing of it");
    assert_eq!(usage(volume, GROUP).await.inodes, 2, "the group kept it");
    volume.set_attributes(a, resize(0), None).await.expect("cut");
    assert_eq!(usage(volume, Owner::User(11)).await, OwnerUsage { bytes: 0, inodes: 1 }, "cut");
    write(volume, a, 0, &[3; 10]).await;
    volume.remove(root, b"a").await.expect("remove");
    assert_eq!(usage(volume, Owner::User(11)).await, OwnerUsage::default(), "removed before it was written");
    volume.remove_dir(root, b"dir").await.expect("remove the directory");
    assert_eq!(usage(volume, GROUP).await, OwnerUsage::default(), "nothing left");
}

/// Up to the limit, and not a block more; what is given back can be had again.
pub(super) async fn space<V: Volume>(volume: &V) {
    let root = volume.root();
    let size = block_size(volume).await;
    let whole = |blocks: u64| vec![7; (blocks * size) as usize];
    let id = file(volume, root, b"file").await.id;
    usage(volume, USER).await;
    volume.set_limits(users(bytes(5 * size), &[]));
    assert_eq!(*volume.limits(), users(bytes(5 * size), &[]), "what was set");
    let before = attributes(volume, id).await;
    expect(limited_write(volume, id, 0, &whole(6)).await, VolumeError::Quota, "a block too many at once");
    assert_eq!(attributes(volume, id).await, before, "nothing was changed");
    limited_write(volume, id, 0, &whole(3)).await.expect("below the limit");
    limited_write(volume, id, 10 * size, &whole(2)).await.expect("to the limit, behind a hole");
    expect(limited_write(volume, id, 5 * size, b"x").await, VolumeError::Quota, "into the hole");
    limited_write(volume, id, 0, &whole(3)).await.expect("over what is there");
    volume.commit(id).await.expect("commit");
    assert_eq!(usage(volume, USER).await.bytes, 5 * size, "exactly the limit, on the disk");
    expect(limited_write(volume, id, 5 * size, b"x").await, VolumeError::Quota, "into the hole again");
    limited_write(volume, id, 10 * size, &whole(2)).await.expect("over what is on the disk");
    let longer = volume.limited(volume.set_attributes(id, resize(1 << 20), None)).await;
    longer.expect("a longer file without content takes nothing");

    volume.limited(volume.set_attributes(id, resize(3 * size), None)).await.expect("cut");
    limited_write(volume, id, 3 * size, &whole(2)).await.expect("what was given back");
    expect(limited_write(volume, id, 5 * size, b"x").await, VolumeError::Quota, "no more than that");
    volume.write(id, 5 * size, &whole(2), ClearSetid::No).await.expect("whom no limit stops");
    assert_eq!(usage(volume, USER).await.bytes, 7 * size, "above the limit");
    expect(limited_write(volume, id, 7 * size, b"x").await, VolumeError::Quota, "who is above it already");
    let mode = SetAttributes { mode: Some(0o600), ..SetAttributes::default() };
    volume.limited(volume.set_attributes(id, mode, None)).await.expect("what takes nothing");
    volume.limited(volume.set_attributes(id, resize(6 * size), None)).await.expect("less, if too much");

    let own = users(bytes(5 * size), &[(10, bytes(8 * size))]);
    volume.set_limits(own);
    limited_write(volume, id, 6 * size, &whole(2)).await.expect("a limit of one's own");
    expect(limited_write(volume, id, 8 * size, b"x").await, VolumeError::Quota, "and not a block more");
    volume.limited(volume.remove(root, b"file")).await.expect("remove");
    assert_eq!(usage(volume, USER).await, OwnerUsage::default(), "all given back");
    volume.set_limits(Limits::default());
}

/// Objects, of every kind; the system's own number is free.
pub(super) async fn objects<V: Volume>(volume: &V) {
    let root = volume.root();
    usage(volume, USER).await;
    volume.set_limits(users(inodes(3), &[]));
    let make = async |name: &'static [u8], kind| volume.limited(volume.create(root, name, new(kind))).await;
    let a = make(b"a", ObjectKind::Regular).await.expect("first").object.id;
    make(b"b", ObjectKind::Symlink(b"a")).await.expect("second");
    make(b"c", ObjectKind::Fifo).await.expect("third");
    let before = attributes(volume, root).await;
    expect(make(b"d", ObjectKind::Regular).await, VolumeError::Quota, "fourth");
    expect(make(b"d", ObjectKind::Directory).await, VolumeError::Quota, "fourth, a directory");
    expect(make(b"a", ObjectKind::Regular).await, VolumeError::Exists, "a name that is taken");
    assert_eq!(attributes(volume, root).await, before, "nothing was changed");
    volume.limited(volume.link(a, root, b"d")).await.expect("another name is no object");
    volume.limited(volume.remove(root, b"d")).await.expect("remove a name");
    expect(make(b"d", ObjectKind::Regular).await, VolumeError::Quota, "the object is still there");
    volume.limited(volume.rename(root, b"a", root, b"b")).await.expect("over another");
    make(b"d", ObjectKind::Socket).await.expect("what was replaced is given back");
    volume.create(root, b"e", new(ObjectKind::Regular)).await.expect("whom no limit stops");
    assert_eq!(usage(volume, USER).await.inodes, 4, "above the limit");
    let system = NewObject { uid: 0, gid: 0, ..new(ObjectKind::Regular) };
    for name in [&b"f"[..], b"g", b"h", b"i"] {
        volume.limited(volume.create(root, name, system)).await.expect("of the system");
    }
    volume.set_limits(users(Limit::NONE, &[(0, inodes(1))]));
    expect(volume.limited(volume.create(root, b"j", system)).await, VolumeError::Quota, "if it is named");
    volume.set_limits(Limits::default());
    make(b"j", ObjectKind::Regular).await.expect("without limits");
}

/// Giving away counts for whom it is given to; groups count beside users.
pub(super) async fn gifts<V: Volume>(volume: &V) {
    let root = volume.root();
    let size = block_size(volume).await;
    let id = file(volume, root, b"file").await.id;
    write(volume, id, 0, &vec![1; 3 * size as usize]).await;
    usage(volume, USER).await;
    let groups = |default, single: &[(u32, Limit)]| Limits {
        users: LimitTable::default(),
        groups: users(default, single).users,
    };
    volume.set_limits(groups(bytes(3 * size), &[(21, bytes(2 * size)), (22, inodes(0))]));
    expect(limited_write(volume, id, 3 * size, b"x").await, VolumeError::Quota, "the group's limit");
    let to = |gid| SetAttributes { gid: Some(gid), ..SetAttributes::default() };
    let before = attributes(volume, id).await;
    let give = async |gid| volume.limited(volume.set_attributes(id, to(gid), None)).await;
    expect(give(21).await, VolumeError::Quota, "too much for the other group");
    expect(give(22).await, VolumeError::Quota, "an object too many for the other group");
    assert_eq!(attributes(volume, id).await, before, "nothing was changed");
    give(20).await.expect("to the same group");
    give(23).await.expect("as much as it may have");
    volume.limited(volume.set_attributes(id, resize(2 * size), None)).await.expect("cut");
    give(21).await.expect("as much as the other may have");
    assert_eq!(usage(volume, Owner::Group(21)).await, OwnerUsage { bytes: 2 * size, inodes: 1 });
    volume.set_attributes(id, to(22), None).await.expect("whom no limit stops");
    volume.commit(id).await.expect("commit");
    let found = usage(volume, Owner::Group(22)).await;
    assert_eq!(found, OwnerUsage { bytes: 2 * size, inodes: 1 }, "on the disk");
    volume.set_limits(Limits::default());
}

/// Names take space too, and that is the directory's owner's.
pub(super) async fn directories<V: Volume>(volume: &V) {
    let dir = directory(volume, volume.root(), b"dir").await.id;
    let empty = attributes(volume, dir).await.allocated;
    usage(volume, USER).await;
    volume.set_limits(users(bytes(2 * empty), &[]));
    let fifo = NewObject { uid: 30, gid: 30, ..new(ObjectKind::Fifo) };
    for number in 0..300 {
        let name = format!("{number:0>200}");
        match volume.limited(volume.create(dir, name.as_bytes(), fifo)).await {
            Ok(_) => {}
            Err(VolumeError::Quota) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    // Where names are not counted there is no end, which is as true.
    let found = usage(volume, USER).await;
    assert_eq!(found.bytes, attributes(volume, dir).await.allocated, "all of it is the directory");
    assert!(found.bytes <= 2 * empty, "the limit holds: {} of {}", found.bytes, 2 * empty);
    volume.set_limits(Limits::default());
}
