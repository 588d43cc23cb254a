//! What every [`Volume`] must do, as tests that can be run against any of them.
//!
//! [`run`] takes a function that makes a fresh, empty volume and runs every test on its own volume. A rule
//! that is broken ends in a panic that names it. Volumes must make progress without a machine: their futures
//! are polled until they finish.
//!
//! Not here: power cuts, full disks and I/O errors, which need a device to inject them.

mod attributes;
mod data;
mod directories;
mod names;
mod quotas;
mod rename;

use crate::{
    Attributes, FileId, FileType, NewObject, ObjectKind, SetAttributes, SetTime, Volume, VolumeError,
};
use alloc::vec::Vec;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

/// Polls a future until it is done.
///
/// # Panics
///
/// When it is not done after a million polls.
pub fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("the volume makes no progress")
}

/// Runs the whole suite; `fresh` makes an empty volume.
pub fn run<V: Volume>(mut fresh: impl FnMut() -> V) {
    finish(suite(async || fresh()));
}

/// The same for volumes that need an executor to make progress.
pub async fn suite<V: Volume>(mut fresh: impl AsyncFnMut() -> V) {
    names::run(&fresh().await).await;
    names::limits(&fresh().await).await;
    names::links(&fresh().await).await;
    names::stale_handles(&fresh().await).await;
    data::sparse(&fresh().await).await;
    data::truncate(&fresh().await).await;
    data::types(&fresh().await).await;
    data::set_id(&fresh().await).await;
    attributes::set(&fresh().await).await;
    attributes::ctime_increases(&fresh().await).await;
    attributes::before_and_after(&fresh().await).await;
    directories::cookies(&fresh().await, 10).await;
    directories::cookies(&fresh().await, 3000).await;
    directories::stable_while_changing(&fresh().await).await;
    directories::parents_and_links(&fresh().await).await;
    rename::files(&fresh().await).await;
    rename::device_nodes(&fresh().await).await;
    rename::directories(&fresh().await).await;
    rename::forbidden(&fresh().await).await;
    quotas::counted(&fresh().await).await;
    quotas::space(&fresh().await).await;
    quotas::objects(&fresh().await).await;
    quotas::gifts(&fresh().await).await;
    quotas::directories(&fresh().await).await;
    state_files(&fresh().await).await;
    identity(&fresh().await).await;
}

/// State files: absent, written, replaced, out of clients' reach.
async fn state_files<V: Volume>(volume: &V) {
    let root = volume.root();
    assert_eq!(volume.read_state("keys").await, Ok(None), "a state file that was never written");
    let before = list(volume, root).await;
    assert_eq!(volume.write_state("keys", b"one").await, Ok(()), "writing a state file");
    assert_eq!(volume.read_state("keys").await, Ok(Some(b"one".to_vec())), "reading it back");
    let large = alloc::vec![7; 64 * 1024];
    assert_eq!(volume.write_state("keys", &large).await, Ok(()), "replacing it by 64 KiB");
    assert_eq!(volume.read_state("keys").await, Ok(Some(large)), "reading the new content");
    assert_eq!(volume.write_state("keys", b"").await, Ok(()), "replacing it by nothing");
    assert_eq!(volume.read_state("keys").await, Ok(Some(Vec::new())), "an empty state file exists");
    assert_eq!(list(volume, root).await, before, "state files must not be listed");
}

/// Constants of a volume.
async fn identity<V: Volume>(volume: &V) {
    let root = volume.attributes(volume.root()).await.expect("attributes of the root");
    assert_eq!(root.id, volume.root(), "the root's attributes carry its id");
    assert_eq!(root.file_type, FileType::Directory, "the root is a directory");
    assert!(volume.max_links() >= 2 && volume.max_file_size() > 1 << 32, "limits");
    assert!(!volume.is_read_only(), "a fresh volume is writable");
    assert_eq!(volume.write_verifier(), volume.write_verifier(), "the verifier keeps still");
    let usage = volume.usage().await.expect("usage");
    assert!(usage.free_bytes <= usage.total_bytes && usage.available_bytes <= usage.free_bytes, "{usage:?}");
    assert!(usage.free_inodes <= usage.total_inodes, "{usage:?}");
}

/// An object to create with default mode and owner.
pub(crate) fn new(kind: ObjectKind<'_>) -> NewObject<'_> {
    NewObject { kind, mode: 0o644, uid: 10, gid: 20, atime: SetTime::Now, mtime: SetTime::Now }
}

async fn file<V: Volume>(volume: &V, dir: FileId, name: &[u8]) -> Attributes {
    volume.create(dir, name, new(ObjectKind::Regular)).await.expect("create a file").object
}

async fn directory<V: Volume>(volume: &V, dir: FileId, name: &[u8]) -> Attributes {
    volume.create(dir, name, new(ObjectKind::Directory)).await.expect("create a directory").object
}

async fn attributes<V: Volume>(volume: &V, id: FileId) -> Attributes {
    volume.attributes(id).await.expect("attributes")
}

async fn write<V: Volume>(volume: &V, id: FileId, offset: u64, data: &[u8]) {
    volume.write(id, offset, data, crate::ClearSetid::No).await.expect("write");
}

async fn read<V: Volume>(volume: &V, id: FileId, offset: u64, length: usize) -> Vec<u8> {
    let mut buffer = alloc::vec![0xEE; length];
    let length = volume.read(id, offset, &mut buffer).await.expect("read");
    buffer.truncate(length);
    buffer
}

/// All names of a directory without `.` and `..`, in a few pages.
async fn list<V: Volume>(volume: &V, dir: FileId) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let mut cookie = 0;
    loop {
        let page = volume.read_dir(dir, cookie, 4096).await.expect("read_dir");
        assert!(page.end || !page.entries.is_empty(), "an empty page that is not the end");
        for entry in page.entries {
            cookie = entry.cookie;
            if entry.name != b"." && entry.name != b".." {
                names.push(entry.name);
            }
        }
        if page.end {
            return names;
        }
    }
}

fn resize(size: u64) -> SetAttributes {
    SetAttributes { size: Some(size), ..SetAttributes::default() }
}

fn expect<T: core::fmt::Debug>(result: Result<T, VolumeError>, error: VolumeError, what: &str) {
    match result {
        Err(found) if found == error => {}
        other => panic!("{what}: expected {error:?}, got {other:?}"),
    }
}
