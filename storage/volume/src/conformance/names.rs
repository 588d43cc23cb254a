//! Creating, finding, linking and removing names.

use super::{attributes, directory, expect, file, list, new, read, write};
use crate::{DeviceNumber, FileType, ObjectKind, Volume, VolumeError};
use alloc::vec;

/// Create, lookup and remove every kind of object.
pub(super) async fn run<V: Volume>(volume: &V) {
    let root = volume.root();
    let device = DeviceNumber { major: 8, minor: 1 };
    let kinds: [(&[u8], ObjectKind<'_>, FileType); 7] = [
        (b"regular", ObjectKind::Regular, FileType::Regular),
        (b"directory", ObjectKind::Directory, FileType::Directory),
        (b"symlink", ObjectKind::Symlink(b"../target"), FileType::Symlink),
        (b"block", ObjectKind::BlockDevice(device), FileType::BlockDevice),
        (b"char", ObjectKind::CharDevice(device), FileType::CharDevice),
        (b"fifo", ObjectKind::Fifo, FileType::Fifo),
        (b"\xFF\x01 socket", ObjectKind::Socket, FileType::Socket),
    ];
    let empty = list(volume, root).await;
    for (name, kind, file_type) in kinds {
        expect(volume.lookup(root, name).await, VolumeError::NotFound, "a name before it is created");
        let created = volume.create(root, name, new(kind)).await.expect("create");
        let object = created.object;
        assert_eq!(object.file_type, file_type, "type of the created object");
        assert_eq!((object.uid, object.gid), (10, 20), "owner of the created object");
        if file_type != FileType::Symlink {
            assert_eq!(object.mode, 0o644, "mode of the created object");
        }
        if matches!(file_type, FileType::BlockDevice | FileType::CharDevice) {
            assert_eq!(object.device, device, "device numbers");
        }
        assert_eq!(volume.lookup(root, name).await, Ok(object), "lookup gives what create gave");
        assert_eq!(volume.attributes(object.id).await, Ok(object), "attributes give the same");
        expect(volume.create(root, name, new(kind)).await, VolumeError::Exists, "a name that is taken");
    }
    let link = volume.lookup(root, b"symlink").await.expect("lookup").id;
    assert_eq!(volume.read_link(link).await, Ok(b"../target".to_vec()), "target of a symbolic link");
    let long = vec![b'x'; 1000];
    let link = volume.create(root, b"long", new(ObjectKind::Symlink(&long))).await.expect("long link");
    assert_eq!(link.object.size, 1000, "size of a symbolic link");
    assert_eq!(volume.read_link(link.object.id).await, Ok(long), "long target");
    volume.remove(root, b"long").await.expect("remove the long link");

    expect(volume.remove(root, b"directory").await, VolumeError::IsDirectory, "remove of a directory");
    expect(volume.remove_dir(root, b"regular").await, VolumeError::NotDirectory, "remove_dir of a file");
    for (name, kind, _) in kinds {
        let id = volume.lookup(root, name).await.expect("lookup").id;
        let removed = match kind {
            ObjectKind::Directory => volume.remove_dir(root, name).await,
            _ => volume.remove(root, name).await,
        };
        assert_eq!(removed.expect("remove").object, id, "remove tells what lost its name");
        expect(volume.lookup(root, name).await, VolumeError::NotFound, "a removed name");
        expect(volume.remove(root, name).await, VolumeError::NotFound, "removing it again");
        expect(volume.attributes(id).await, VolumeError::Stale, "a removed object");
    }
    assert_eq!(list(volume, root).await, empty, "the root is as it was");
}

/// Names that are too long, reserved or impossible.
pub(super) async fn limits<V: Volume>(volume: &V) {
    let root = volume.root();
    let longest = [b'n'; 255];
    let object = file(volume, root, &longest).await;
    assert_eq!(volume.lookup(root, &longest).await, Ok(object), "a name of 255 bytes");
    let name = [b'n'; 256];
    expect(volume.lookup(root, &name).await, VolumeError::NameTooLong, "lookup of 256 bytes");
    let create = volume.create(root, &name, new(ObjectKind::Regular)).await;
    expect(create, VolumeError::NameTooLong, "create of 256 bytes");
    let target = [b't'; 4096];
    let create = volume.create(root, b"l", new(ObjectKind::Symlink(&target))).await;
    expect(create, VolumeError::NameTooLong, "a target of 4096 bytes");
    for name in [&b"."[..], b".."] {
        let create = volume.create(root, name, new(ObjectKind::Regular)).await;
        expect(create, VolumeError::Exists, "create of . or ..");
        assert!(volume.remove(root, name).await.is_err(), "remove of . or ..");
        assert!(volume.remove_dir(root, name).await.is_err(), "remove_dir of . or ..");
    }
    for name in [&b""[..], b"a/b", b"a\0b"] {
        let create = volume.create(root, name, new(ObjectKind::Regular)).await;
        expect(create, VolumeError::Invalid, "an impossible name");
    }
    let create = volume.create(object.id, b"x", new(ObjectKind::Regular)).await;
    expect(create, VolumeError::NotDirectory, "create in a file");
    expect(volume.lookup(object.id, b"x").await, VolumeError::NotDirectory, "lookup in a file");
}

/// Several names of one object.
pub(super) async fn links<V: Volume>(volume: &V) {
    let root = volume.root();
    let sub = directory(volume, root, b"sub").await;
    let object = file(volume, root, b"one").await;
    write(volume, object.id, 0, b"content").await;
    let linked = volume.link(object.id, sub.id, b"two").await.expect("link");
    assert_eq!((linked.object.id, linked.object.links), (object.id, 2), "a second name");
    assert!(linked.object.ctime > object.ctime, "linking changes ctime");
    expect(volume.link(object.id, root, b"one").await, VolumeError::Exists, "link to a taken name");
    expect(volume.link(sub.id, root, b"three").await, VolumeError::NotPermitted, "link to a directory");
    volume.remove(root, b"one").await.expect("remove the first name");
    assert_eq!(attributes(volume, object.id).await.links, 1, "one name left");
    assert_eq!(read(volume, object.id, 0, 100).await, b"content", "content under the second name");
    expect(volume.remove_dir(root, b"sub").await, VolumeError::NotEmpty, "remove of a full directory");
    volume.remove(sub.id, b"two").await.expect("remove the second name");
    expect(volume.attributes(object.id).await, VolumeError::Stale, "no names left");
    volume.remove_dir(root, b"sub").await.expect("remove of an empty directory");
}

/// A handle never names a later object, however fast inode numbers are reused.
pub(super) async fn stale_handles<V: Volume>(volume: &V) {
    let root = volume.root();
    let mut gone = vec![];
    let mut reused = false;
    for _ in 0..20 {
        let object = file(volume, root, b"again").await;
        reused |= gone.iter().any(|old: &crate::FileId| old.inode == object.id.inode);
        assert!(!gone.contains(&object.id), "an id came back: {:?}", object.id);
        for old in &gone {
            expect(volume.attributes(*old).await, VolumeError::Stale, "attributes of a removed file");
            expect(
                volume.write(*old, 0, b"x", crate::ClearSetid::No).await,
                VolumeError::Stale,
                "write to it",
            );
            expect(volume.link(*old, root, b"ghost").await, VolumeError::Stale, "link to it");
        }
        volume.remove(root, b"again").await.expect("remove");
        gone.push(object.id);
    }
    // Not every volume reuses numbers; where it does, the loop above was the test.
    let _ = reused;
    let sub = directory(volume, root, b"sub").await;
    volume.remove_dir(root, b"sub").await.expect("remove_dir");
    expect(volume.lookup(sub.id, b"x").await, VolumeError::Stale, "lookup in a removed directory");
    let create = volume.create(sub.id, b"x", new(ObjectKind::Regular)).await;
    expect(create, VolumeError::Stale, "create in a removed directory");
    expect(volume.read_dir(sub.id, 0, 4096).await, VolumeError::Stale, "listing a removed directory");
}
