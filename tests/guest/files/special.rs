//! What is hard for a server without state: files that are open while their names, modes or lengths change, calls that can not
//! be repeated, positions in directories, large offsets.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use super::Test;
use super::sys::{self, Folder};

pub const TESTS: [Test; 14] = [
    ("open and unlinked", open_and_unlinked),
    ("open and renamed over", open_and_renamed_over),
    ("open and mode 0", open_and_mode_0),
    ("calls that can not be repeated", calls_that_can_not_be_repeated),
    ("exclusive creation", exclusive_creation),
    ("negative offset", negative_offset),
    ("renames and links counted", renames_and_links),
    ("holes", holes),
    ("truncate open files", truncate_open),
    ("append", append),
    ("directory positions", directory_positions),
    ("rewind", rewind),
    ("a big file", big_file),
    ("beyond 4 GiB", beyond_4_gib),
];

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn open_and_unlinked(root: &Path) {
    let path = root.join("file");
    let mut file = open(&path);
    file.write_all(b"before").unwrap();
    fs::remove_file(&path).unwrap();
    // Another of the same name is another file.
    fs::write(&path, "new").unwrap();
    file.write_all(b" and after").unwrap();
    file.sync_all().unwrap();
    sys::forget_cached(&file);
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "before and after");
    file.set_permissions(PermissionsExt::from_mode(0o600)).unwrap();
    file.set_len(3).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 3);
    drop(file);
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(names(root), BTreeSet::from(["file".to_string()]));
}

fn open_and_renamed_over(root: &Path) {
    let [path, other] = ["file", "other"].map(|name| root.join(name));
    let mut file = open(&path);
    file.write_all(b"old").unwrap();
    fs::write(&other, "new").unwrap();
    fs::rename(&other, &path).unwrap();
    file.write_all(b" still").unwrap();
    file.sync_all().unwrap();
    let mut text = [0; 9];
    file.read_exact_at(&mut text, 0).unwrap();
    assert_eq!(&text, b"old still");
    drop(file);
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(names(root), BTreeSet::from(["file".to_string()]));
}

fn open_and_mode_0(root: &Path) {
    let path = root.join("file");
    let mut file = open(&path);
    file.set_permissions(PermissionsExt::from_mode(0)).unwrap();
    file.write_all(b"written").unwrap();
    file.sync_all().unwrap();
    sys::forget_cached(&file);
    let mut text = [0; 7];
    file.read_exact_at(&mut text, 0).unwrap();
    assert_eq!((&text, file.metadata().unwrap().mode() & 0o7777), (b"written", 0));
}

/// Each of these succeeds once: an answer to a second copy of the call would be an error.
fn calls_that_can_not_be_repeated(root: &Path) {
    let [a, b, folder, link] = ["a", "b", "folder", "link"].map(|name| root.join(name));
    for _ in 0..50 {
        OpenOptions::new().write(true).create_new(true).open(&a).unwrap();
        fs::hard_link(&a, &b).unwrap();
        fs::remove_file(&a).unwrap();
        fs::rename(&b, &a).unwrap();
        fs::create_dir(&folder).unwrap();
        symlink("x", &link).unwrap();
        fs::remove_dir(&folder).unwrap();
        fs::remove_file(&link).unwrap();
        fs::remove_file(&a).unwrap();
        assert!(names(root).is_empty());
    }
}

fn exclusive_creation(root: &Path) {
    let path = root.join("file");
    for mode in [0o600, 0o444, 0o000] {
        let create = || OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let mut file = create().unwrap();
        file.write_all(b"x").unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, mode);
        assert_eq!(create().unwrap_err().kind(), ErrorKind::AlreadyExists);
        drop(file);
        fs::remove_file(&path).unwrap();
    }
}

fn negative_offset(root: &Path) {
    let file = open(&root.join("file"));
    for offset in [-1, -4096, i64::MIN] {
        assert_eq!(sys::seek(&file, offset).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    sys::seek(&file, 1 << 40).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0);
}

fn renames_and_links(root: &Path) {
    let [file, link, folder] = ["file", "link", "folder"].map(|name| root.join(name));
    fs::write(&file, "x").unwrap();
    fs::create_dir(&folder).unwrap();
    let inside = folder.join("inside");
    for _ in 0..50 {
        fs::hard_link(&file, &link).unwrap();
        // Two names of one file: nothing is to be done, and both stay.
        fs::rename(&link, &file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().nlink(), 2);
        fs::rename(&link, &inside).unwrap();
        assert_eq!(fs::metadata(&inside).unwrap().nlink(), 2);
        fs::remove_file(&inside).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().nlink(), 1);
    }
}

fn holes(root: &Path) {
    let path = root.join("file");
    let file = open(&path);
    let (data, gap) = (b"data".repeat(300), 20_000);
    for i in 0..60 {
        file.write_all_at(&data, i * gap).unwrap();
    }
    file.set_len(60 * gap).unwrap();
    file.sync_all().unwrap();
    sys::forget_cached(&file);
    drop(file);
    let read = fs::read(&path).unwrap();
    assert_eq!(read.len() as u64, 60 * gap);
    for piece in read.chunks(gap as usize) {
        let (written, hole) = piece.split_at(data.len());
        assert!(written == data && hole.iter().all(|&byte| byte == 0));
    }
}

fn truncate_open(root: &Path) {
    let path = root.join("file");
    let file = open(&path);
    let reader = File::open(&path).unwrap();
    for length in [100_000, 5000, 4096, 4095, 1, 0, 8191, 60_000] {
        file.set_len(0).unwrap();
        file.write_all_at(&vec![7; 100_000], 0).unwrap();
        file.set_len(length).unwrap();
        file.set_len(100_000).unwrap();
        let mut bytes = vec![1; 100_000];
        reader.read_exact_at(&mut bytes, 0).unwrap();
        let kept = bytes.iter().take_while(|&&byte| byte == 7).count() as u64;
        assert_eq!(kept, length);
        assert!(bytes[length as usize..].iter().all(|&byte| byte == 0), "zeros after {length}");
    }
    let again = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    assert_eq!((again.metadata().unwrap().len(), reader.metadata().unwrap().len()), (0, 0));
}

fn append(root: &Path) {
    let path = root.join("file");
    let [mut one, mut other] =
        [(); 2].map(|()| OpenOptions::new().append(true).create(true).open(&path).unwrap());
    let mut expected = String::new();
    for i in 0..100 {
        for (file, name) in [(&mut one, "one"), (&mut other, "other")] {
            let line = format!("{name} {i}\n");
            file.write_all(line.as_bytes()).unwrap();
            expected += &line;
        }
    }
    drop((one, other));
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}

/// A position leads back to the entry after it, also when entries before and behind it are gone.
fn directory_positions(root: &Path) {
    const COUNT: usize = 600;
    for i in 0..COUNT {
        File::create_new(root.join(format!("entry-with-a-longer-name-{i}"))).unwrap();
    }
    let mut folder = Folder::open(root).unwrap();
    let mut seen = vec![];
    loop {
        let position = folder.position();
        let Some(name) = folder.next() else { break };
        seen.push((position, name));
    }
    assert_eq!(seen.len(), COUNT + 2);
    for (position, name) in seen.iter().rev().step_by(7).chain(seen.iter().step_by(13)) {
        folder.go_to(*position);
        assert_eq!(folder.next().as_ref(), Some(name));
    }
    // The entry there is gone: then it is the next that is not.
    let kept: Vec<_> = seen.iter().filter(|(_, name)| !name.ends_with('5')).collect();
    for (_, name) in seen.iter().filter(|(_, name)| name.ends_with('5')) {
        fs::remove_file(root.join(name)).unwrap();
    }
    let mut fresh = Folder::open(root).unwrap();
    for (position, name) in kept.iter().step_by(11) {
        fresh.go_to(*position);
        assert_eq!(fresh.next().as_ref(), Some(name));
    }
}

fn rewind(root: &Path) {
    let mut folder = Folder::open(root).unwrap();
    let list = |folder: &mut Folder| {
        folder.rewind();
        std::iter::from_fn(|| folder.next()).filter(|name| !name.starts_with('.')).collect::<BTreeSet<_>>()
    };
    let mut expected = BTreeSet::new();
    for i in 0..40 {
        assert_eq!(list(&mut folder), expected);
        File::create_new(root.join(format!("{i}"))).unwrap();
        expected.insert(format!("{i}"));
        if i % 3 == 2 {
            fs::remove_file(root.join(format!("{}", i - 1))).unwrap();
            expected.remove(&format!("{}", i - 1));
        }
    }
}

fn big_file(root: &Path) {
    let path = root.join("file");
    let mut file = open(&path);
    let piece = |i: u32| (i..i + 16_384).flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
    for i in 0..256 {
        file.write_all(&piece(i * 99)).unwrap();
    }
    file.sync_all().unwrap();
    sys::forget_cached(&file);
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut bytes = vec![0; 65_536];
    for i in 0..256 {
        file.read_exact(&mut bytes).unwrap();
        assert!(bytes == piece(i * 99), "piece {i}");
    }
    assert_eq!(file.read(&mut bytes).unwrap(), 0);
}

fn beyond_4_gib(root: &Path) {
    let path = root.join("file");
    let file = open(&path);
    for shift in [31, 32, 33, 36, 40] {
        for offset in [(1_u64 << shift) - 3, 1 << shift, (1 << shift) + 4096] {
            let text = format!("{offset:>20}");
            file.write_all_at(text.as_bytes(), offset).unwrap();
        }
    }
    file.sync_all().unwrap();
    sys::forget_cached(&file);
    drop(file);
    let file = File::open(&path).unwrap();
    assert_eq!(file.metadata().unwrap().len(), (1 << 40) + 4096 + 20);
    for shift in [31, 32, 33, 36, 40] {
        let mut text = [0; 20];
        file.read_exact_at(&mut text, (1 << shift) + 4096).unwrap();
        assert_eq!(std::str::from_utf8(&text).unwrap().trim(), ((1_u64 << shift) + 4096).to_string());
        file.read_exact_at(&mut text, (1 << shift) + 8192).map_or_else(
            |error| assert!(shift == 40 && error.kind() == ErrorKind::UnexpectedEof),
            |()| assert_eq!(text, [0; 20]),
        );
    }
}
