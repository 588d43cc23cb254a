//! Directories of others, and what others make of ours: mke2fs, e2fsck -D, and Linux (as root).

use super::*;
use crate::dev::Mounted;
use crate::directory::TYPE_DIRECTORY;
use crate::layout::inode::INDEXED;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use std::process::Command;

/// Makes indexes of long directories.
fn index_with_e2fsck(scratch: &Scratch) {
    let output =
        Command::new("/usr/sbin/e2fsck").arg("-fyD").arg(scratch.path()).output().expect("run e2fsck");
    assert!(
        output.status.code().is_some_and(|code| code <= 1),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// An image whose directory `d` mke2fs filled with `count` files.
fn filled_by_mke2fs(count: usize, arguments: &[&str]) -> Scratch {
    let tree = Scratch::new();
    fs::create_dir_all(tree.path().join("d")).expect("make a directory");
    for number in 0..FILES {
        fs::write(tree.path().join(format!("f{number}")), "").expect("make a file");
    }
    for number in 0..count {
        fs::write(tree.path().join("d").join(OsString::from_vec(name(number))), "").expect("make a file");
    }
    let source = tree.path().to_str().expect("a name in UTF-8").to_owned();
    let scratch = mke2fs(32, &[arguments, &["-d", &source]].concat());
    fs::remove_dir_all(tree.path()).expect("remove the tree");
    scratch
}

/// Looks up and lists `count` names, changes some, and lets e2fsck judge.
fn work_with(scratch: &Scratch, count: usize, expect_index: bool) {
    let mut fixture = Fixture::of(fs::read(scratch.path()).expect("read the image"));
    assert_eq!(fixture.inode().flags & INDEXED != 0, expect_index);
    for number in 0..count {
        let ino = fixture.lookup(&name(number)).unwrap_or_else(|| panic!("no {number}"));
        fixture.model.insert(name(number), ino);
    }
    fixture.compare();
    for number in count..count + 500 {
        fixture.insert(&name(number));
    }
    for number in count..count + 500 {
        if number % 3 == 0 {
            fixture.remove(&name(number));
        }
    }
    fixture.compare();
    fixture.check();
}

#[test]
fn directories_of_mke2fs_and_e2fsck() {
    for arguments in [&["-b", "1024"][..], &["-b", "4096"]] {
        let scratch = filled_by_mke2fs(400, arguments);
        work_with(&scratch, 400, false);
        index_with_e2fsck(&scratch);
        work_with(&scratch, 400, true);
    }
}

#[test]
#[ignore = "long: mke2fs puts names in one by one"]
fn long_directories_of_mke2fs_and_e2fsck() {
    let scratch = filled_by_mke2fs(5000, &["-b", "1024"]);
    work_with(&scratch, 5000, false);
    index_with_e2fsck(&scratch);
    work_with(&scratch, 5000, true);
}

#[test]
fn e2fsck_indexes_with_other_hashes() {
    let scratch = filled_by_mke2fs(400, &["-b", "1024", "-O", "^metadata_csum"]);
    let made = fs::read(scratch.path()).expect("read the image");
    for (version, unsigned) in [(0, false), (2, false), (0, true), (1, true), (2, true)] {
        let mut image = made.clone();
        image[1024 + 0xfc] = version;
        image[1024 + 0x160] = if unsigned { 2 } else { 1 };
        fs::write(scratch.path(), image).expect("write the image");
        index_with_e2fsck(&scratch);
        work_with(&scratch, 400, true);
    }
}

/// Linux lists exactly what is in the model, and finds it; not asked where mounting is not allowed.
fn judge_by_linux(fixture: &mut Fixture) {
    fixture.check();
    let scratch = fixture.written();
    let mounted = Mounted::new(scratch.path(), "loop,ro,noload");
    let dir = mounted.path().join("d");
    let mut names: Vec<Vec<u8>> = fs::read_dir(&dir)
        .expect("list")
        .map(|entry| entry.expect("an entry").file_name().into_vec())
        .collect();
    names.sort();
    assert!(names.iter().eq(fixture.model.keys()), "Linux lists {} names", names.len());
    for name in names {
        let path = dir.join(OsStr::from_bytes(&name));
        assert!(fs::symlink_metadata(&path).is_ok(), "{path:?}");
    }
}

#[test]
fn linux_finds_every_name() {
    for arguments in [&["-b", "1024"][..], &["-b", "4096"], &["-b", "1024", "-O", "^metadata_csum"]] {
        let mut fixture = Fixture::new(32, arguments);
        for number in 0..4000 {
            fixture.insert(&name(number));
        }
        for number in (0..4000).step_by(3) {
            fixture.remove(&name(number));
        }
        judge_by_linux(&mut fixture);
    }
}

#[test]
fn linux_finds_names_of_one_hash() {
    let mut fixture = collisions::with_tea(16);
    for number in 0..200 {
        fixture.insert(&collisions::twin(number, 200));
        fixture.insert(format!("other {number}").as_bytes());
    }
    judge_by_linux(&mut fixture);
}

/// A file becomes a directory, with all that belongs to it.
#[test]
fn new_directories() {
    for arguments in [&["-b", "1024"][..], &["-b", "4096"], &["-b", "2048", "-O", "^metadata_csum"]] {
        let mut fixture = Fixture::new(16, arguments);
        let ino = fixture.files.pop().expect("a file");
        let made = fixture.bench.run(|engine| {
            let mut inode = Inode { mode: 0o40755, links: 2, ..engine.inode(ino)? };
            engine.dir_init(&mut inode, ROOT)?;
            engine.put_inode(&inode)?;
            let root = engine.inode(ROOT)?;
            engine.dir_replace(&root, b"f3", ino, TYPE_DIRECTORY)?;
            engine.put_inode(&Inode { links: root.links + 1, ..root })?;
            let mut descriptor = engine.descriptor(0)?;
            descriptor.directories += 1;
            engine.put_descriptor(0, &descriptor)
        });
        made.expect("make a directory");
        fixture.bench.check();
        fixture.dir = ino;
        fixture.compare();
        // Names of the files that are left.
        for number in 0..200 {
            let (name, file) = (name(number), fixture.files[0]);
            fixture.bench.run(|engine| insert(engine, ino, &name, file)).expect("insert");
            fixture.model.insert(name, file);
        }
        fixture.compare();
        fixture.check();
    }
}

#[test]
fn linux_goes_on_where_we_stopped_and_we_where_it_did() {
    let mut fixture = Fixture::new(32, &["-b", "1024"]);
    for number in 0..1000 {
        fixture.insert(&name(number));
    }
    fixture.check();
    let scratch = fixture.written();
    let mounted = Mounted::new(scratch.path(), "loop");
    let dir = mounted.path().join("d");
    for number in 1000..4000 {
        fs::hard_link(mounted.path().join("f1"), dir.join(OsString::from_vec(name(number)))).expect("link");
    }
    for number in (0..4000).step_by(5) {
        fs::remove_file(dir.join(OsString::from_vec(name(number)))).expect("remove");
    }
    drop(mounted);
    let mut after = Fixture::of(fs::read(scratch.path()).expect("read the image"));
    let kept: Vec<usize> = (0..4000).filter(|number| number % 5 != 0).collect();
    for &number in &kept {
        let ino = if number < 1000 { fixture.model[&name(number)] } else { fixture.files[1] };
        after.model.insert(name(number), ino);
    }
    after.compare();
    for number in 5000..6000 {
        after.insert(&name(number));
    }
    after.compare();
    after.check();
}
