//! Listing, cookies and parents.

use super::{attributes, directory, expect, file, list, new};
use crate::{DirPage, FileId, ObjectKind, Volume, VolumeError};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

async fn fill<V: Volume>(volume: &V, dir: FileId, count: usize) {
    for index in 0..count {
        let name = format!("file-{index:05}-{}", index * 7919 % 1000);
        file(volume, dir, name.as_bytes()).await;
    }
}

/// Every entry once, with a cookie of its own, however small the pages are.
pub(super) async fn cookies<V: Volume>(volume: &V, count: usize) {
    let dir = directory(volume, volume.root(), b"dir").await.id;
    fill(volume, dir, count).await;
    let mut whole: Option<Vec<(Vec<u8>, u64)>> = None;
    for max_bytes in [usize::MAX, 10_000, 300] {
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        let mut cookie = 0;
        loop {
            let page = volume.read_dir(dir, cookie, max_bytes).await.expect("read_dir");
            with_attributes(volume, dir, cookie, max_bytes, &page).await;
            let bytes: usize = page.entries.iter().map(|entry| entry.name.len() + 24).sum();
            assert!(bytes <= max_bytes || page.entries.len() == 1, "a page of {bytes} bytes");
            assert!(page.end || !page.entries.is_empty(), "an empty page that is not the end");
            for entry in page.entries {
                assert!(entry.cookie != 0 && entry.cookie < 1 << 63, "cookie {}", entry.cookie);
                assert!(seen.insert(entry.cookie), "cookie {} came twice", entry.cookie);
                cookie = entry.cookie;
                let found = volume.lookup(dir, &entry.name).await.expect("lookup of a listed name");
                assert_eq!(found.id.inode, entry.inode, "inode of a listed name");
                entries.push((entry.name, entry.cookie));
            }
            if page.end {
                break;
            }
        }
        assert_eq!(entries.len(), count + 2, "entries with . and ..");
        assert_eq!((&entries[0].0[..], &entries[1].0[..]), (&b"."[..], &b".."[..]), "they come first");
        let names: BTreeSet<_> = entries.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names.len(), count + 2, "every name once");
        let whole = whole.get_or_insert_with(|| entries.clone());
        assert_eq!(*whole, entries, "the order does not depend on the page size");
    }
    let page = volume.read_dir(dir, cookie_behind(whole.as_deref()), 4096).await.expect("behind the end");
    assert!(page.entries.is_empty() && page.end, "nothing behind the end");
    let tiny = volume.read_dir(dir, 0, 1).await.expect("tiny page");
    assert_eq!(tiny.entries.len(), 1, "at least one entry");
}

/// The same page with attributes has the same entries, and the attributes that a lookup gives.
async fn with_attributes<V: Volume>(volume: &V, dir: FileId, cookie: u64, max_bytes: usize, plain: &DirPage) {
    let mut plus = volume.read_dir_plus(dir, cookie, max_bytes).await.expect("read_dir_plus");
    for entry in plus.entries.iter_mut().filter(|entry| !entry.is_dot()) {
        let found = volume.lookup(dir, &entry.name).await.expect("lookup of a listed name");
        assert_eq!(entry.attributes.take(), Some(found), "attributes of a listed name");
    }
    assert_eq!(plus, *plain, "the page with attributes");
}

fn cookie_behind(entries: Option<&[(Vec<u8>, u64)]>) -> u64 {
    entries.and_then(<[_]>::last).map_or(0, |(_, cookie)| *cookie)
}

/// Removing what was listed and adding more neither repeats nor loses what stays.
pub(super) async fn stable_while_changing<V: Volume>(volume: &V) {
    let dir = directory(volume, volume.root(), b"dir").await.id;
    fill(volume, dir, 2000).await;
    let steady: BTreeSet<Vec<u8>> =
        list(volume, dir).await.into_iter().filter(|name| name[9] % 2 == 0).collect();
    let mut seen = BTreeSet::new();
    let mut cookie = 0;
    let mut added = 0;
    loop {
        let page = volume.read_dir(dir, cookie, 2000).await.expect("read_dir");
        for entry in &page.entries {
            cookie = entry.cookie;
            assert!(seen.insert(entry.name.clone()), "{:?} came twice", entry.name);
        }
        for entry in &page.entries {
            if entry.name.len() > 9 && entry.name[9] % 2 == 1 {
                volume.remove(dir, &entry.name).await.expect("remove what was listed");
            }
        }
        // Names that sort out of the way of the odd ones that are still to be removed.
        file(volume, dir, format!("new-{added}").as_bytes()).await;
        added += 1;
        if page.end {
            break;
        }
    }
    assert!(steady.is_subset(&seen), "names that were there all the time were lost");
}

/// Link counts and `..`.
pub(super) async fn parents_and_links<V: Volume>(volume: &V) {
    let root = volume.root();
    let links = attributes(volume, root).await.links;
    let a = directory(volume, root, b"a").await;
    let b = directory(volume, a.id, b"b").await;
    assert_eq!(attributes(volume, root).await.links, links + 1, "a subdirectory is a link to its parent");
    assert_eq!(attributes(volume, a.id).await.links, 3, "., its name, and its child");
    assert_eq!(volume.lookup(b.id, b"..").await.map(|found| found.id), Ok(a.id), "parent");
    assert_eq!(volume.lookup(a.id, b".").await.map(|found| found.id), Ok(a.id), "itself");
    assert_eq!(volume.lookup(root, b"..").await.map(|found| found.id), Ok(root), "above the root");
    expect(volume.remove_dir(root, b"a").await, VolumeError::NotEmpty, "a directory with a child");
    let c = directory(volume, root, b"c").await;
    volume.rename(a.id, b"b", c.id, b"b").await.expect("move a directory");
    assert_eq!(volume.lookup(b.id, b"..").await.map(|found| found.id), Ok(c.id), "parent after the move");
    assert_eq!(attributes(volume, a.id).await.links, 2, "where it left");
    assert_eq!(attributes(volume, c.id).await.links, 3, "where it came");
    let create = volume.create(b.id, b"deep", new(ObjectKind::Regular)).await;
    assert!(create.is_ok(), "the moved directory works: {create:?}");
}
