//! Renaming, with and without something in the way.

use super::{attributes, directory, expect, file, list, read, write};
use crate::{Volume, VolumeError};

/// Files: within a directory, across, over another, onto itself.
pub(super) async fn files<V: Volume>(volume: &V) {
    let root = volume.root();
    let sub = directory(volume, root, b"sub").await.id;
    let a = file(volume, root, b"a").await;
    write(volume, a.id, 0, b"A").await;
    volume.rename(root, b"a", root, b"b").await.expect("within a directory");
    expect(volume.lookup(root, b"a").await, VolumeError::NotFound, "the old name");
    let moved = volume.lookup(root, b"b").await.expect("the new name");
    assert_eq!(moved.id, a.id, "the same object");
    assert!(moved.ctime > a.ctime, "renaming changes ctime");
    volume.rename(root, b"b", sub, b"b").await.expect("across directories");
    let c = file(volume, root, b"c").await.id;
    volume.rename(sub, b"b", root, b"c").await.expect("over another file");
    assert_eq!(volume.lookup(root, b"c").await.map(|found| found.id), Ok(a.id), "it took the name");
    expect(volume.attributes(c).await, VolumeError::Stale, "what was replaced is gone");
    assert_eq!(read(volume, a.id, 0, 10).await, b"A", "content moved along");

    volume.link(a.id, root, b"twin").await.expect("link");
    let before = attributes(volume, root).await;
    let renamed = volume.rename(root, b"c", root, b"twin").await.expect("onto the same object");
    assert_eq!(renamed.from_dir.before, renamed.from_dir.after, "nothing is done");
    assert_eq!(attributes(volume, root).await, before, "nothing was done");
    assert_eq!(attributes(volume, a.id).await.links, 2, "both names stay");
    let d = file(volume, root, b"d").await;
    volume.rename(root, b"d", root, b"twin").await.expect("over one of two names");
    assert_eq!(attributes(volume, a.id).await.links, 1, "one name left");
    assert_eq!(volume.lookup(root, b"twin").await.map(|found| found.id), Ok(d.id), "taken over");
}

/// Removing and replacing device nodes touches nobody's data, whatever their numbers look like.
pub(super) async fn device_nodes<V: Volume>(volume: &V) {
    let root = volume.root();
    let victim = file(volume, root, b"victim").await.id;
    let content = alloc::vec![0x5A; 300_000];
    write(volume, victim, 0, &content).await;
    for minor in 0..60 {
        let kind = crate::ObjectKind::BlockDevice(crate::DeviceNumber { major: 4 + minor % 3, minor });
        volume.create(root, b"node", super::new(kind)).await.expect("create a node");
        if minor % 2 == 0 {
            volume.remove(root, b"node").await.expect("remove a node");
        } else {
            file(volume, root, b"other").await;
            volume.rename(root, b"other", root, b"node").await.expect("rename over a node");
            volume.remove(root, b"node").await.expect("remove");
        }
        let fresh = file(volume, root, b"fresh").await.id;
        write(volume, fresh, 0, &[1; 9000]).await;
        volume.remove(root, b"fresh").await.expect("remove");
    }
    assert!(read(volume, victim, 0, 400_000).await == content, "another file's content changed");
}

/// Directories: across, over an empty one.
pub(super) async fn directories<V: Volume>(volume: &V) {
    let root = volume.root();
    let links = attributes(volume, root).await.links;
    let a = directory(volume, root, b"a").await.id;
    file(volume, a, b"inside").await;
    let b = directory(volume, root, b"b").await.id;
    volume.rename(root, b"a", b, b"a").await.expect("into another");
    assert_eq!(attributes(volume, root).await.links, links + 1, "one subdirectory left");
    let empty = directory(volume, root, b"empty").await.id;
    volume.rename(b, b"a", root, b"empty").await.expect("over an empty directory");
    expect(volume.attributes(empty).await, VolumeError::Stale, "the empty one is gone");
    assert_eq!(list(volume, a).await, [b"inside".to_vec()], "content moved along");
    assert_eq!(attributes(volume, root).await.links, links + 2, "two subdirectories");
    assert_eq!(attributes(volume, b).await.links, 2, "none left there");
}

/// What POSIX forbids changes nothing.
pub(super) async fn forbidden<V: Volume>(volume: &V) {
    let root = volume.root();
    let dir = directory(volume, root, b"dir").await.id;
    let inner = directory(volume, dir, b"inner").await.id;
    let full = directory(volume, root, b"full").await.id;
    file(volume, full, b"x").await;
    let f = file(volume, root, b"file").await.id;
    let before = attributes(volume, root).await;
    let rename =
        async |from, name: &'static [u8], to, new: &'static [u8]| volume.rename(from, name, to, new).await;
    expect(rename(root, b"none", root, b"x").await, VolumeError::NotFound, "no such name");
    expect(rename(root, b"dir", inner, b"dir").await, VolumeError::Invalid, "a directory into itself");
    expect(rename(root, b"dir", dir, b"dir").await, VolumeError::Invalid, "a directory right into itself");
    expect(rename(root, b"dir", root, b"full").await, VolumeError::NotEmpty, "over a full directory");
    expect(rename(root, b"dir", root, b"file").await, VolumeError::NotDirectory, "a directory over a file");
    expect(rename(root, b"file", root, b"full").await, VolumeError::IsDirectory, "a file over a directory");
    expect(rename(root, b"file", f, b"x").await, VolumeError::NotDirectory, "into a file");
    assert!(rename(root, b".", root, b"x").await.is_err(), "renaming .");
    assert!(rename(dir, b"..", root, b"x").await.is_err(), "renaming ..");
    assert!(rename(root, b"file", root, b"..").await.is_err(), "renaming to ..");
    assert_eq!(attributes(volume, root).await, before, "the root did not change");
}
