//! Attributes on images in memory; debugfs, e2fsck and Linux are the judges.

use super::format::{Attribute, entries, fit, put, put_block};
use crate::dev::Mounted;
use crate::dev::{Scratch, debugfs, mke2fs};
use crate::engine::{Engine, Ino, Kind, ROOT};
use crate::halt::Halt;
use crate::layout::inode::Inode;
use crate::testing::Bench;
use keelson_volume::VolumeError;
use std::collections::BTreeMap;
use std::fs;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// An image with files `f0`, `f1` and `f2`, in a file.
fn made(arguments: &[&str]) -> Scratch {
    let tree = Scratch::new();
    fs::create_dir_all(tree.path()).expect("make a directory");
    for number in 0..3 {
        fs::write(tree.path().join(format!("f{number}")), "").expect("make a file");
    }
    let source = tree.path().to_str().expect("a name in UTF-8").to_owned();
    let scratch = mke2fs(8, &[arguments, &["-d", &source]].concat());
    fs::remove_dir_all(tree.path()).expect("remove the tree");
    scratch
}

fn open(scratch: &Scratch) -> Bench {
    crate::dev::log_to_stderr();
    Bench::open(fs::read(scratch.path()).expect("read the image"))
}

fn save(bench: &mut Bench, scratch: &Scratch) {
    bench.check();
    fs::write(scratch.path(), &bench.image).expect("write the image");
}

fn find(bench: &mut Bench, name: &str) -> Ino {
    let found = bench.run(|engine| {
        let root = engine.inode(ROOT)?;
        engine.dir_lookup(&root, name.as_bytes())
    });
    found.expect("look up").expect("made by mke2fs").0
}

fn inode(bench: &mut Bench, ino: Ino) -> Inode {
    bench.run(|engine| engine.inode(ino)).expect("read the inode")
}

fn set(bench: &mut Bench, ino: Ino, name: &[u8], value: &[u8]) -> Result<(), VolumeError> {
    bench.run(|engine| {
        let mut inode = engine.inode(ino)?;
        engine.xattr_set(&mut inode, name, value)
    })
}

fn remove(bench: &mut Bench, ino: Ino, name: &[u8]) -> Result<bool, VolumeError> {
    bench.run(|engine| {
        let mut inode = engine.inode(ino)?;
        engine.xattr_remove(&mut inode, name)
    })
}

fn free(engine: &mut Engine, ino: Ino) -> Result<(), Halt> {
    let mut inode = engine.inode(ino)?;
    engine.xattr_free(&mut inode)?;
    engine.put_inode(&inode)
}

fn get(bench: &mut Bench, ino: Ino, name: &[u8]) -> Result<Option<Vec<u8>>, VolumeError> {
    bench.run(|engine| {
        let inode = engine.inode(ino)?;
        engine.xattr_get(&inode, name)
    })
}

fn compare(bench: &mut Bench, ino: Ino, model: &Model) {
    let mut names = bench
        .run(|engine| {
            let inode = engine.inode(ino)?;
            engine.xattr_list(&inode)
        })
        .expect("list");
    names.sort();
    assert!(names.iter().eq(model.keys()), "{names:?}");
    for (name, value) in model {
        assert_eq!(get(bench, ino, name).expect("get").as_ref(), Some(value));
    }
    assert_eq!(get(bench, ino, b"user.missing"), Ok(None));
    assert_eq!(get(bench, ino, b"nonsense"), Ok(None));
}

fn usual_acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 7, 1000), (4, 4, u32::MAX), (0x10, 7, u32::MAX), (0x20, 0, u32::MAX)];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    acl
}

#[test]
fn random_changes_agree_with_a_model() {
    let variants: [&[&str]; 5] = [
        &["-b", "1024"],
        &["-b", "4096"],
        &["-b", "1024", "-O", "^metadata_csum"],
        &["-b", "4096", "-I", "512"],
        &["-b", "1024", "-O", "^ext_attr"],
    ];
    for arguments in variants {
        let scratch = made(arguments);
        let mut bench = open(&scratch);
        let ino = find(&mut bench, "f0");
        let mut model = Model::new();
        let mut random = 1u64;
        let mut below = |limit: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % limit
        };
        let (mut full, mut in_block) = (0, false);
        for step in 0..600 {
            let prefix = ["user.", "trusted.", "security."][below(3)];
            let mut name = format!("{prefix}{}", below(20)).into_bytes();
            name.resize(name.len() + below(20), b'\xe4');
            if below(3) == 0 {
                let there = model.remove(&name).is_some();
                assert_eq!(remove(&mut bench, ino, &name), Ok(there));
            } else {
                let lengths = [0, 1, 7, 40, below(200), below(bench.engine.geometry.block_size)];
                let value = vec![step as u8; lengths[below(6)]];
                match set(&mut bench, ino, &name, &value) {
                    Ok(()) => {
                        model.insert(name, value);
                    }
                    Err(VolumeError::NoSpace) => full += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            in_block |= inode(&mut bench, ino).attributes != 0;
            if step % 50 == 49 {
                compare(&mut bench, ino, &model);
                bench.check();
            }
        }
        assert!(full > 0 && in_block, "{arguments:?}: {full} {in_block}");
        save(&mut bench, &scratch);
        let mut bench = open(&scratch);
        compare(&mut bench, ino, &model);
        for name in model.into_keys() {
            assert_eq!(remove(&mut bench, ino, &name), Ok(true));
        }
        compare(&mut bench, ino, &Model::new());
        assert_eq!(inode(&mut bench, ino).attributes, 0, "an empty block is freed");
        bench.check();
    }
}

#[test]
fn debugfs_reads_ours_and_we_read_its() {
    let scratch = made(&["-b", "1024"]);
    let mut bench = open(&scratch);
    let ino = find(&mut bench, "f0");
    let long = "v".repeat(300);
    set(&mut bench, ino, b"user.short", b"one").expect("set");
    set(&mut bench, ino, b"trusted.long", long.as_bytes()).expect("set");
    set(&mut bench, ino, b"security.selinux", b"label").expect("set");
    set(&mut bench, ino, b"system.posix_acl_access", &usual_acl()).expect("set");
    save(&mut bench, &scratch);
    let listed = debugfs(scratch.path(), "ea_list f0");
    for (name, length) in [("user.short", 3), ("trusted.long", 300), ("security.selinux", 5)] {
        assert!(listed.contains(&format!("{name} ({length})")), "{listed}");
    }
    assert!(listed.contains("system.posix_acl_access"), "{listed}");
    assert!(debugfs(scratch.path(), "ea_get f0 user.short").contains("one"));
    assert!(debugfs(scratch.path(), "ea_get f0 trusted.long").contains(&long));

    debugfs(scratch.path(), "ea_set f0 user.theirs two");
    debugfs(scratch.path(), "ea_set f0 user.short three");
    debugfs(scratch.path(), "ea_rm f0 security.selinux");
    debugfs(scratch.path(), &format!("ea_set f1 user.big {}", "w".repeat(500)));
    let mut bench = open(&scratch);
    let mut model = Model::from([
        (b"user.short".to_vec(), b"three".to_vec()),
        (b"user.theirs".to_vec(), b"two".to_vec()),
        (b"trusted.long".to_vec(), long.into_bytes()),
        (b"system.posix_acl_access".to_vec(), usual_acl()),
    ]);
    compare(&mut bench, ino, &model);
    let other = find(&mut bench, "f1");
    compare(&mut bench, other, &Model::from([(b"user.big".to_vec(), vec![b'w'; 500])]));
    set(&mut bench, ino, b"user.theirs", b"ours now").expect("set");
    model.insert(b"user.theirs".to_vec(), b"ours now".to_vec());
    compare(&mut bench, ino, &model);
    bench.check();
}

/// Linux lets two inodes share a block when their attributes are the same; so does this.
#[test]
fn a_shared_block_is_copied_before_it_changes() {
    let scratch = made(&["-b", "1024"]);
    let mut bench = open(&scratch);
    let (one, two) = (find(&mut bench, "f0"), find(&mut bench, "f1"));
    let value = vec![7; 500];
    set(&mut bench, one, b"user.big", &value).expect("set");
    let shared = inode(&mut bench, one).attributes;
    let share = |engine: &mut Engine| {
        let mut inode = engine.inode(two)?;
        inode.attributes = shared;
        inode.sectors += 2;
        engine.put_inode(&inode)?;
        engine.edit(shared, Kind::Attributes, 4..5)?[0] = 2;
        Ok(())
    };
    bench.run(share).expect("share");
    bench.check();
    let model = Model::from([(b"user.big".to_vec(), value.clone())]);
    compare(&mut bench, two, &model);

    set(&mut bench, two, b"user.other", &[9; 100]).expect("set");
    compare(&mut bench, one, &model);
    let (first, second) = (inode(&mut bench, one), inode(&mut bench, two));
    assert_eq!((first.attributes, first.sectors, second.sectors), (shared, 2, 2));
    assert_ne!(second.attributes, shared);
    bench.check();

    // Shared once more, and given up by both.
    bench.run(|engine| free(engine, two)).expect("free");
    bench.check();
    bench.run(share).expect("share");
    for ino in [one, two] {
        bench.run(|engine| free(engine, ino)).expect("free");
        let freed = inode(&mut bench, ino);
        assert_eq!((freed.attributes, freed.sectors), (0, 0));
        bench.check();
    }
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_no_trace() {
    let scratch = made(&["-b", "1024"]);
    let mut bench = open(&scratch);
    let ino = find(&mut bench, "f0");
    let mut model = Model::from([(b"user.a".to_vec(), vec![1; 30]), (b"user.b".to_vec(), vec![2; 700])]);
    for (name, value) in &model {
        set(&mut bench, ino, name, value).expect("set");
    }
    let before = inode(&mut bench, ino);
    for length in [1000, 1024, 5000, 100_000] {
        assert_eq!(set(&mut bench, ino, b"user.c", &vec![3; length]), Err(VolumeError::NoSpace));
        assert_eq!(set(&mut bench, ino, b"user.a", &vec![3; length]), Err(VolumeError::NoSpace));
    }
    assert_eq!(inode(&mut bench, ino), before);
    compare(&mut bench, ino, &model);
    // From the record to the block and back.
    assert_eq!(set(&mut bench, ino, b"user.a", &[4; 150]), Ok(()));
    model.insert(b"user.a".to_vec(), vec![4; 150]);
    compare(&mut bench, ino, &model);
    set(&mut bench, ino, b"user.a", &[5; 3]).expect("set");
    model.insert(b"user.a".to_vec(), vec![5; 3]);
    compare(&mut bench, ino, &model);
    let huge = [b"user.".as_slice(), &[b'n'; 256]].concat();
    for name in [&b"user."[..], b"colour", b"system.data", b"", &huge] {
        assert_eq!(set(&mut bench, ino, name, b"x"), Err(VolumeError::Invalid), "{name:?}");
        assert_eq!(remove(&mut bench, ino, name), Ok(false));
    }
    assert_eq!(set(&mut bench, ino, b"system.posix_acl_access", b"nonsense"), Err(VolumeError::Invalid));
    bench.check();
}

#[test]
fn linux_reads_and_changes_ours() {
    let scratch = made(&["-b", "1024"]);
    let mut bench = open(&scratch);
    let ino = find(&mut bench, "f0");
    set(&mut bench, ino, b"user.short", b"one").expect("set");
    set(&mut bench, ino, b"user.long", &[b'v'; 300]).expect("set");
    set(&mut bench, ino, b"system.posix_acl_access", &usual_acl()).expect("set");
    save(&mut bench, &scratch);
    let mounted = Mounted::new(scratch.path(), "loop");
    let path = |name: &str| mounted.path().join(name);
    let names = ["system.posix_acl_access", "user.long", "user.short"];
    assert_eq!(linux::names(&path("f0")), names);
    assert_eq!(linux::get(&path("f0"), "user.short"), b"one");
    assert_eq!(linux::get(&path("f0"), "user.long"), [b'v'; 300]);
    assert_eq!(linux::get(&path("f0"), "system.posix_acl_access"), usual_acl());
    linux::set(&path("f0"), "user.linux", &[b'L'; 100]);
    linux::set(&path("f0"), "user.short", b"changed");
    linux::set(&path("f1"), "user.same", &[b'S'; 400]);
    linux::set(&path("f2"), "user.same", &[b'S'; 400]);
    drop(mounted);
    let mut bench = open(&scratch);
    let mut model = Model::from([
        (b"user.short".to_vec(), b"changed".to_vec()),
        (b"user.linux".to_vec(), vec![b'L'; 100]),
        (b"user.long".to_vec(), vec![b'v'; 300]),
        (b"system.posix_acl_access".to_vec(), usual_acl()),
    ]);
    compare(&mut bench, ino, &model);
    set(&mut bench, ino, b"user.linux", b"").expect("set");
    model.insert(b"user.linux".to_vec(), Vec::new());
    compare(&mut bench, ino, &model);
    let (one, two) = (find(&mut bench, "f1"), find(&mut bench, "f2"));
    let shared = inode(&mut bench, one).attributes;
    assert_eq!(inode(&mut bench, two).attributes, shared, "Linux shares blocks");
    set(&mut bench, two, b"user.own", &[1; 50]).expect("set");
    set(&mut bench, two, b"user.same", &[2; 400]).expect("set");
    compare(&mut bench, one, &Model::from([(b"user.same".to_vec(), vec![b'S'; 400])]));
    bench.check();
}

/// What lies in a record or a block may be anything.
#[test]
fn bytes_of_any_value_anywhere() {
    let attributes: Vec<Attribute> = (0..6)
        .map(|number| Attribute {
            index: 1,
            suffix: vec![b'a' + number; 3],
            value: vec![number; usize::from(number) * 9],
        })
        .collect();
    let mut random = 1u64;
    let mut below = |limit: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % limit
    };
    for _ in 0..20_000 {
        let mut area = vec![0; 512];
        assert!(fit(&attributes, area.len(), 0));
        put(&attributes, &mut area, 0);
        for _ in 0..1 + below(4) {
            let at = below(160);
            area[at] = [0, 0xff, 0x80, below(256) as u8][below(4)];
        }
        let read: Vec<_> = entries(&area, 0).collect();
        assert!(read.len() <= 512 / 4);
    }
    for length in [0, 3, 4, 15, 16, 20] {
        assert!(entries(&vec![0xff; length], 0).all(|one| one.is_err()));
    }
    log::set_max_level(log::LevelFilter::Off);
    let scratch = made(&["-b", "1024", "-O", "^metadata_csum"]);
    let mut bench = open(&scratch);
    let ino = find(&mut bench, "f0");
    set(&mut bench, ino, b"user.a", &[1; 30]).expect("set");
    set(&mut bench, ino, b"user.b", &[2; 400]).expect("set");
    let inode = inode(&mut bench, ino);
    let (block, record) = bench.run(|engine| engine.inode_place(ino)).expect("a place");
    bench.commit();
    let image = bench.image;
    for round in 0..500 {
        let mut broken = image.clone();
        let (start, length) = if round % 2 == 0 {
            (inode.attributes as usize * 1024, 100)
        } else {
            (block as usize * 1024 + record.start + 128, 100)
        };
        for _ in 0..1 + below(3) {
            broken[start + below(length)] = [0, 0xff, 0x80, below(256) as u8][below(4)];
        }
        let mut bench = Bench::open(broken);
        log::set_max_level(log::LevelFilter::Off);
        let _ = get(&mut bench, ino, b"user.b");
        let _ = bench.run(|engine| {
            let inode = engine.inode(ino)?;
            engine.xattr_list(&inode)
        });
        let _ = set(&mut bench, ino, b"user.c", &[3; 60]);
        let _ = remove(&mut bench, ino, b"user.a");
        let _ = bench.run(|engine| {
            let mut inode = engine.inode(ino)?;
            engine.xattr_free(&mut inode)
        });
    }
    let mut block = vec![0; 1024];
    put_block(&attributes, &mut block);
    assert_eq!(super::format::references(&block), Some(1));
    block[4..8].fill(0);
    assert_eq!(super::format::references(&block), None);
}

/// The calls of the host.
mod linux {
    use rustix::fs::{XattrFlags, getxattr, listxattr, setxattr};
    use std::path::Path;

    pub fn names(path: &Path) -> Vec<String> {
        let mut list = vec![0; 4096];
        let length = listxattr(path, &mut list).expect("listxattr");
        let names = list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
        let mut names: Vec<String> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        names.sort();
        names
    }

    pub fn get(path: &Path, name: &str) -> Vec<u8> {
        let mut value = vec![0; 4096];
        let length = getxattr(path, name, &mut value).expect("getxattr");
        value.truncate(length);
        value
    }

    pub fn set(path: &Path, name: &str, value: &[u8]) {
        setxattr(path, name, value, XattrFlags::empty()).expect("setxattr");
    }
}
