//! Reading, writing and cutting.

use super::{attributes, directory, expect, file, new, read, resize, write};
use crate::{ClearSetid, ObjectKind, SetAttributes, Volume, VolumeError};
use alloc::vec;

/// Holes read as zeros and take no space; writes meet in the middle of blocks.
pub(super) async fn sparse<V: Volume>(volume: &V) {
    let root = volume.root();
    let id = file(volume, root, b"sparse").await.id;
    assert_eq!(read(volume, id, 0, 10).await, b"", "an empty file");
    write(volume, id, 100_000, b"far").await;
    let found = attributes(volume, id).await;
    assert_eq!(found.size, 100_003, "size after a write behind the end");
    assert!(found.allocated < 100_000, "a hole takes no space: {}", found.allocated);
    assert_eq!(read(volume, id, 0, 200_000).await.len(), 100_003, "a read stops at the end");
    assert!(read(volume, id, 0, 100_000).await.iter().all(|&byte| byte == 0), "a hole is zero");
    assert_eq!(read(volume, id, 99_999, 10).await, b"\0far", "across hole and data");
    assert_eq!(read(volume, id, 200_000, 10).await, b"", "behind the end");

    let mut expected = vec![0; 40_000];
    let id = file(volume, root, b"pieces").await.id;
    for (index, (offset, length)) in
        [(0, 5000), (4000, 5000), (20_001, 9_999), (8_999, 3), (0, 40_000), (1, 1)].into_iter().enumerate()
    {
        let data = vec![index as u8 + 1; length];
        write(volume, id, offset as u64, &data).await;
        expected[offset..offset + length].copy_from_slice(&data);
        let size = attributes(volume, id).await.size as usize;
        assert_eq!(read(volume, id, 0, 50_000).await, expected[..size], "content after write {index}");
    }
    let far = volume.max_file_size();
    expect(volume.write(id, far, b"x", ClearSetid::No).await, VolumeError::TooBig, "beyond the largest file");
    expect(
        volume.write(id, u64::MAX, b"x", ClearSetid::No).await,
        VolumeError::TooBig,
        "at the end of numbers",
    );
    volume.commit(id).await.expect("commit");
}

/// Shorter loses, longer gains zeros, and what was lost never comes back.
pub(super) async fn truncate<V: Volume>(volume: &V) {
    let root = volume.root();
    let id = file(volume, root, b"cut").await.id;
    write(volume, id, 0, &[9; 20_000]).await;
    let before = attributes(volume, id).await;
    let change = volume.set_attributes(id, resize(5_001), None).await.expect("cut");
    assert_eq!((change.before.size, change.after.size), (20_000, 5_001), "sizes around the cut");
    assert!(change.after.mtime > before.mtime, "cutting changes mtime");
    volume.set_attributes(id, resize(30_000), None).await.expect("extend");
    let content = read(volume, id, 0, 40_000).await;
    assert_eq!(content.len(), 30_000, "extended size");
    assert!(content[..5_001].iter().all(|&byte| byte == 9), "what was kept");
    assert!(content[5_001..].iter().all(|&byte| byte == 0), "what was cut must not come back");
    volume.set_attributes(id, resize(0), None).await.expect("empty");
    assert_eq!(attributes(volume, id).await.size, 0, "empty again");
    let dir = directory(volume, root, b"dir").await.id;
    expect(
        volume.set_attributes(dir, resize(0), None).await,
        VolumeError::IsDirectory,
        "cutting a directory",
    );
}

/// Data only in regular files.
pub(super) async fn types<V: Volume>(volume: &V) {
    let root = volume.root();
    let dir = directory(volume, root, b"dir").await.id;
    let fifo = volume.create(root, b"fifo", new(ObjectKind::Fifo)).await.expect("fifo").object.id;
    let regular = file(volume, root, b"regular").await.id;
    let mut buffer = [0; 4];
    expect(volume.read(dir, 0, &mut buffer).await, VolumeError::IsDirectory, "read of a directory");
    expect(
        volume.write(dir, 0, b"x", ClearSetid::No).await,
        VolumeError::IsDirectory,
        "write to a directory",
    );
    expect(volume.read(fifo, 0, &mut buffer).await, VolumeError::Invalid, "read of a fifo");
    expect(volume.write(fifo, 0, b"x", ClearSetid::No).await, VolumeError::Invalid, "write to a fifo");
    expect(volume.read_link(regular).await, VolumeError::Invalid, "read_link of a file");
    expect(volume.read_dir(regular, 0, 4096).await, VolumeError::NotDirectory, "read_dir of a file");
}

/// The set-ID bits go when told, and only then.
pub(super) async fn set_id<V: Volume>(volume: &V) {
    let id = file(volume, volume.root(), b"setid").await.id;
    let mode = SetAttributes { mode: Some(0o6755), ..SetAttributes::default() };
    volume.set_attributes(id, mode, None).await.expect("chmod");
    write(volume, id, 0, b"privileged").await;
    assert_eq!(attributes(volume, id).await.mode, 0o6755, "a privileged write keeps them");
    let owner = SetAttributes { uid: Some(7), gid: Some(8), ..SetAttributes::default() };
    volume.set_attributes(id, owner, None).await.expect("chown");
    assert_eq!(attributes(volume, id).await.mode, 0o6755, "the volume does not clear them on its own");
    let change = volume.write(id, 0, b"x", ClearSetid::Yes).await.expect("write");
    assert_eq!((change.before.mode, change.after.mode), (0o6755, 0o755), "an unprivileged write clears them");
    let cases = [
        (0o6745, ClearSetid::Yes, 0o2745),
        (0o6745, ClearSetid::Stranger, 0o745),
        (0o2755, ClearSetid::Stranger, 0o755),
        (0o4711, ClearSetid::Yes, 0o711),
        (0o1745, ClearSetid::Stranger, 0o1745),
        (0o6777, ClearSetid::No, 0o6777),
    ];
    for (mode, clear, left) in cases {
        let set = SetAttributes { mode: Some(mode), ..SetAttributes::default() };
        volume.set_attributes(id, set, None).await.expect("chmod");
        let change = volume.write(id, 0, b"x", clear).await.expect("write");
        assert_eq!(change.after.mode, left, "a write to {mode:o} with {clear:?}");
    }
}
