//! Names, attributes, contents, links: the basic tests.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::Test;
use super::random::Random;
use super::sys;

pub const TESTS: [Test; 8] = [
    ("create and remove a tree", tree),
    ("look up and list", look_up),
    ("set and get attributes", attributes),
    ("write and read", contents),
    ("list while names go", shrinking_list),
    ("links and renames", links_and_renames),
    ("symbolic links", symbolic_links),
    ("one name in turn for many things", reused_name),
];

/// For when nobody else uses the file system.
pub const SPACE: [Test; 1] = [("space", space)];

/// Files and folders of a tree: so many of each on every level.
const FILES: usize = 5;
const FOLDERS: usize = 2;
const LEVELS: usize = 4;

fn plant(root: &Path, level: usize, made: &mut (usize, usize)) {
    for i in 0..FILES {
        File::create_new(root.join(format!("file.{i}"))).unwrap();
        made.0 += 1;
    }
    for i in 0..if level == 0 { 0 } else { FOLDERS } {
        let folder = root.join(format!("dir.{i}"));
        fs::create_dir(&folder).unwrap();
        made.1 += 1;
        plant(&folder, level - 1, made);
    }
}

fn count(root: &Path, found: &mut (usize, usize)) {
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => {
                found.1 += 1;
                count(&entry.path(), found);
            }
            false => found.0 += 1,
        }
    }
}

fn tree(root: &Path) {
    let (mut made, mut found) = ((0, 0), (0, 0));
    plant(root, LEVELS, &mut made);
    count(root, &mut found);
    assert_eq!(made, found);
    assert_eq!(
        fs::metadata(root).unwrap().nlink(),
        2 + FOLDERS as u64,
        "each folder has the name `..` for this"
    );
    for i in 0..FOLDERS {
        let refused = fs::remove_dir(root.join(format!("dir.{i}"))).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::DirectoryNotEmpty);
        fs::remove_dir_all(root.join(format!("dir.{i}"))).unwrap();
    }
    assert_eq!(fs::metadata(root).unwrap().nlink(), 2);
}

fn look_up(root: &Path) {
    let mut path = root.to_path_buf();
    for level in 0..20 {
        path.push(format!("level{level}"));
        fs::create_dir(&path).unwrap();
    }
    std::env::set_current_dir(&path).unwrap();
    for _ in 0..50 {
        assert_eq!(std::env::current_dir().unwrap(), path);
        assert_eq!(
            fs::metadata("../..").unwrap().ino(),
            fs::metadata(path.ancestors().nth(2).unwrap()).unwrap().ino()
        );
    }
    std::env::set_current_dir("/").unwrap();
}

fn attributes(root: &Path) {
    let files: Vec<PathBuf> = (0..10).map(|i| root.join(format!("file{i}"))).collect();
    for file in &files {
        File::create(file).unwrap();
    }
    for _ in 0..10 {
        for file in &files {
            for mode in [0o000, 0o666, 0o4711, 0o640] {
                fs::set_permissions(file, PermissionsExt::from_mode(mode)).unwrap();
                let meta = fs::metadata(file).unwrap();
                assert_eq!((meta.mode() & 0o7777, meta.len(), meta.nlink()), (mode, 0, 1));
            }
        }
    }
}

fn contents(root: &Path) {
    let path = root.join("big");
    let mut random = Random::new(5);
    let mut data = vec![0; 1 << 20];
    for _ in 0..4 {
        random.fill(&mut data);
        let mut file = File::create(&path).unwrap();
        for piece in data.chunks(8192) {
            file.write_all(piece).unwrap();
        }
        file.sync_all().unwrap();
        sys::forget_cached(&file);
        drop(file);
        assert_eq!(fs::metadata(&path).unwrap().len(), data.len() as u64);
        let mut read = vec![];
        File::open(&path).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == data, "what is read differs from what was written");
    }
}

fn shrinking_list(root: &Path) {
    const COUNT: usize = 200;
    for i in 0..COUNT {
        File::create_new(root.join(format!("entry{i}"))).unwrap();
    }
    for round in 0..COUNT / 10 {
        let names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!((names.len(), distinct.len()), (COUNT - 10 * round, COUNT - 10 * round));
        for i in 0..10 {
            fs::remove_file(root.join(format!("entry{}", 10 * round + i))).unwrap();
        }
    }
    assert_eq!(fs::read_dir(root).unwrap().count(), 0);
}

fn links_and_renames(root: &Path) {
    for i in 0..10 {
        let [old, new, link] = ["old", "new", "link"].map(|name| root.join(format!("{name}{i}")));
        fs::write(&old, format!("file {i}")).unwrap();
        let inode = fs::metadata(&old).unwrap().ino();
        for _ in 0..10 {
            fs::rename(&old, &new).unwrap();
            assert_eq!(fs::metadata(&old).unwrap_err().kind(), ErrorKind::NotFound);
            fs::hard_link(&new, &link).unwrap();
            let (one, other) = (fs::metadata(&new).unwrap(), fs::metadata(&link).unwrap());
            assert_eq!((one.nlink(), one.ino(), other.nlink(), other.ino()), (2, inode, 2, inode));
            assert_eq!(fs::hard_link(&new, &link).unwrap_err().kind(), ErrorKind::AlreadyExists);
            fs::remove_file(&new).unwrap();
            assert_eq!(fs::metadata(&link).unwrap().nlink(), 1);
            fs::rename(&link, &old).unwrap();
        }
        assert_eq!(fs::read_to_string(&old).unwrap(), format!("file {i}"));
    }
}

fn symbolic_links(root: &Path) {
    for i in 0..20 {
        let link = root.join(format!("link{i}"));
        for length in [1, 59, 60, 61, 1000, 4095] {
            let target = "t".repeat(length);
            symlink(&target, &link).unwrap();
            let meta = fs::symlink_metadata(&link).unwrap();
            assert!(meta.is_symlink());
            assert_eq!(meta.len(), length as u64);
            assert_eq!(fs::read_link(&link).unwrap().to_str(), Some(target.as_str()));
            fs::remove_file(&link).unwrap();
        }
    }
}

fn space(root: &Path) {
    let before = sys::space(root).unwrap();
    assert!(
        before.blocks > 0 && before.free <= before.blocks && before.available <= before.free,
        "{before:?}"
    );
    let path = root.join("file");
    let file = File::create(&path).unwrap();
    (&file).write_all(&vec![1; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let during = sys::space(root).unwrap();
    let used = (before.free - during.free) * before.block_size as u64;
    assert!((1 << 20..=(1 << 20) + (1 << 16)).contains(&used), "a MiB takes {used} bytes");
    assert_eq!(before.free_files - during.free_files, 1);
    fs::remove_file(&path).unwrap();
}

fn reused_name(root: &Path) {
    let name = root.join("name");
    for round in 0..30 {
        match round % 3 {
            0 => fs::write(&name, "file").unwrap(),
            1 => fs::create_dir(&name).unwrap(),
            _ => symlink("target", &name).unwrap(),
        }
        let kind = fs::symlink_metadata(&name).unwrap().file_type();
        assert_eq!(
            (kind.is_file(), kind.is_dir(), kind.is_symlink()),
            (round % 3 == 0, round % 3 == 1, round % 3 == 2)
        );
        match round % 3 {
            1 => fs::remove_dir(&name).unwrap(),
            _ => fs::remove_file(&name).unwrap(),
        }
    }
}
