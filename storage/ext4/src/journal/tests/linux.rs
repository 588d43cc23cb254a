//! Linux and e2fsck replay our journals, and we replay Linux's.

use super::everywhere::History;
use super::files::{State, byte_of, ino_of, recover};
use super::image;
use crate::dev::{Host, Kept, Mounted, Scratch, Seed, SimDisk, e2fsck, e2fsck_repair, mke2fs};
use crate::layout::bytes::u32_at;
use crate::{MountError, Options};
use keelson_volume::Volume;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

fn save(image: &[u8]) -> Scratch {
    let scratch = Scratch::new();
    fs::write(scratch.path(), image).expect("write the image");
    scratch
}

/// What the files hold for Linux, which shows blocks that were never written as zeros.
fn state_by_linux(image: &Path, block_size: usize) -> State {
    let mounted = Mounted::new(image, "loop,noatime");
    let mut state = vec![Vec::new(); super::files::FILES];
    for entry in fs::read_dir(mounted.path()).expect("list") {
        let entry = entry.expect("an entry");
        let ino = entry.metadata().expect("attributes").ino() as u32;
        let Some(file) = (0..state.len()).find(|&file| ino_of(file) == ino) else { continue };
        let content = fs::read(entry.path()).expect("read");
        assert!(content.len().is_multiple_of(block_size));
        let byte = |block: &[u8]| block.iter().any(|&byte| byte != 0).then(|| byte_of(block));
        state[file] = content.chunks(block_size).map(byte).collect();
    }
    state
}

#[test]
fn our_journals() {
    let settings: [(usize, &[&str]); 4] = [
        (1024, &["-b", "1024"]),
        (4096, &["-b", "4096"]),
        (1024, &["-b", "1024", "-O", "^metadata_csum,^64bit"]),
        (1024, &["-b", "1024", "-J", "size=1"]),
    ];
    for (seed, (block_size, arguments)) in settings.into_iter().enumerate() {
        let steps = if seed == 3 { 500 } else { 60 };
        let size = if block_size == 4096 { 16 } else { 8 };
        let history = History::new(SimDisk::new(image(size, arguments), true), seed as u64, steps);
        let random = Seed::new(seed as u64);
        for _ in 0..8 {
            let at = history.disk.events() * (1 + random.below(8) as usize) / 8;
            let (image, states) = history.cut(at, || [Kept::All, Kept::Nothing][random.below(2) as usize]);
            let (ours, _) = recover(image.clone());
            assert!(states.contains(&ours), "{arguments:?}, cut {at}");
            let (theirs, repaired) = (save(&image), save(&image));
            assert_eq!(state_by_linux(theirs.path(), block_size), ours, "Linux: {arguments:?}, cut {at}");
            e2fsck(theirs.path()).expect("after Linux");
            e2fsck_repair(repaired.path()).expect("e2fsck -p");
            e2fsck(repaired.path()).expect("after e2fsck -p");
            let (found, _) = recover(fs::read(repaired.path()).expect("read the image"));
            assert_eq!(found, ours, "e2fsck: {arguments:?}, cut {at}");
        }
    }
}

/// Makes, changes and removes files and directories, and makes all of it safe. Content of files and names that are there.
fn work(root: &Path) -> Vec<(String, Vec<u8>)> {
    let sync = || File::open(root).and_then(|root| root.sync_all()).expect("fsync");
    // Directories of several blocks, which are freed and become file data: those must be revoked.
    for round in 0..3 {
        let dir = root.join(format!("dir {round}"));
        fs::create_dir(&dir).expect("mkdir");
        for name in 0..60 {
            fs::write(dir.join(format!("{name:->200}")), "").expect("create");
        }
        sync();
        if round < 2 {
            fs::remove_dir_all(&dir).expect("remove a directory");
        }
        sync();
        let mut file = File::create(root.join(format!("file {round}"))).expect("create");
        let mut content = vec![round as u8 + 1; 600_000];
        for block in content.chunks_mut(1024) {
            block[..8].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 1 + round as u8]);
        }
        file.write_all(&content).expect("write");
        file.sync_all().expect("fsync");
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).expect("list") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("our name");
        if entry.metadata().expect("attributes").is_file() {
            found.push((name, fs::read(entry.path()).expect("read")));
        }
    }
    found.sort();
    found
}

/// An image as it is on the disk while Linux has it mounted.
fn left_by_linux(arguments: &[&str], options: &str) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let scratch = mke2fs(32, arguments);
    let mounted = Mounted::new(scratch.path(), options);
    let found = work(mounted.path());
    let image = fs::read(scratch.path()).expect("read the image");
    drop(mounted);
    assert!(u32_at(&image, 1024 + 0x60) & 4 != 0, "{arguments:?}, {options}: nothing to recover");
    (image, found)
}

#[test]
fn journals_of_linux() {
    let settings: [(&[&str], &str); 9] = [
        (&["-b", "1024"], "loop,noatime"),
        (&["-b", "4096"], "loop,noatime"),
        (&["-b", "1024"], "loop,noatime,data=journal"),
        (&["-b", "4096"], "loop,noatime,data=journal"),
        (&["-b", "1024", "-O", "^metadata_csum,^64bit"], "loop,noatime,data=journal"),
        (&["-b", "4096", "-O", "^metadata_csum"], "loop,noatime,journal_checksum"),
        (&["-b", "1024", "-O", "^64bit"], "loop,noatime"),
        (&["-b", "1024", "-J", "size=1"], "loop,noatime,data=journal"),
        (&["-b", "4096", "-O", "metadata_csum_seed,orphan_file"], "loop,noatime"),
    ];
    for (arguments, options) in settings {
        let (image, expected) = left_by_linux(arguments, options);
        let what = format!("{arguments:?}, {options}");
        let disk = SimDisk::new(image, false);
        let host = Host::new(1);
        let volume = match host.mount(disk.clone(), Options::default()) {
            Ok(volume) => volume,
            // Linux puts orphans there while it deletes, and takes the mark away when it unmounts.
            Err(MountError::Feature { name: "orphan_present", .. }) => continue,
            Err(error) => panic!("{what}: {error}"),
        };
        compare(&host, &volume, &expected, &what);
        let root = volume.root();
        let dir = host.run(volume.lookup(root, b"dir 2")).expect("a directory").id;
        let (mut names, mut cookie) = (0, 0);
        loop {
            let page = host.run(volume.read_dir(dir, cookie, 1 << 16)).expect("list");
            names += page.entries.len();
            cookie = page.entries.last().map_or(cookie, |entry| entry.cookie);
            if page.end {
                break;
            }
        }
        assert_eq!(names, 62, "{what}");
        assert!(host.run(volume.lookup(root, b"dir 1")).is_err(), "{what}: a removed directory is there");
        host.run(volume.unmount()).expect("unmount");
        let scratch = save(&disk.image());
        e2fsck(scratch.path()).unwrap_or_else(|said| panic!("{what}: {said}"));
    }
}

fn compare(host: &Host, volume: &crate::Ext4Volume, expected: &[(String, Vec<u8>)], what: &str) {
    assert_eq!(expected.len(), 3);
    for (name, content) in expected {
        let found = host.run(volume.lookup(volume.root(), name.as_bytes())).expect("a file");
        assert_eq!(found.size, content.len() as u64, "{what}: {name}");
        let mut buffer = vec![0; content.len()];
        assert_eq!(host.run(volume.read(found.id, 0, &mut buffer)), Ok(content.len()), "{what}: {name}");
        assert!(buffer == *content, "{what}: content of {name}");
    }
}

/// Where Linux left fast commits that only it understands, we say so; where there are none, or it has replayed them, we
/// use the filesystem, and after a power cut as well.
#[test]
fn fast_commits() {
    let arguments = &["-b", "4096", "-J", "size=8", "-O", "fast_commit"];
    let (image, _) = left_by_linux(arguments, "loop,noatime");
    let refused = Host::new(1).mount(SimDisk::new(image.clone(), false), Options::default()).err();
    assert_eq!(refused, Some(MountError::Feature { name: "fast_commit", removable: true }));
    assert!(refused.expect("refused").to_string().contains("with Linux once"));
    // What it advises helps.
    let scratch = save(&image);
    drop(Mounted::new(scratch.path(), "loop,noatime"));
    let mut image = fs::read(scratch.path()).expect("read the image");
    for round in 0..3 {
        let disk = SimDisk::new(image, false);
        let host = Host::new(1);
        let volume = host.mount(disk.clone(), Options::default()).expect("mount");
        host.run(volume.write_state("round", &[round])).expect("write");
        host.power_off();
        drop(volume);
        image = disk.image();
    }
    // And Linux has its fast commits again.
    let scratch = save(&image);
    let mounted = Mounted::new(scratch.path(), "loop,noatime");
    let mut file = File::create(mounted.path().join("more")).expect("create");
    file.write_all(&[1; 10_000]).and_then(|()| file.sync_all()).expect("write");
    drop((file, mounted));
    e2fsck(scratch.path()).expect("e2fsck");
}

/// A full commit after the fast ones makes those void.
#[test]
fn fast_commits_of_the_past() {
    let arguments = &["-b", "4096", "-J", "size=8", "-O", "fast_commit"];
    let scratch = mke2fs(32, arguments);
    let mounted = Mounted::new(scratch.path(), "loop,noatime");
    let expected = work(mounted.path());
    let synced = Command::new("sync").arg("-f").arg(mounted.path()).status().expect("run sync");
    assert!(synced.success());
    let image = fs::read(scratch.path()).expect("read the image");
    drop(mounted);
    let host = Host::new(1);
    let volume = host.mount(SimDisk::new(image, false), Options::default()).expect("mount");
    compare(&host, &volume, &expected, "after a full commit");
}

/// A commit block that was written without waiting for what it ends: refused, with what helps.
#[test]
fn asynchronous_commits() {
    let (image, expected) =
        left_by_linux(&["-b", "4096"], "loop,noatime,data=writeback,journal_async_commit");
    let refused = Host::new(1).mount(SimDisk::new(image.clone(), false), Options::default()).err();
    assert_eq!(refused, Some(MountError::Feature { name: "journal_async_commit", removable: false }));
    let scratch = save(&image);
    drop(Mounted::new(scratch.path(), "loop,noatime"));
    let host = Host::new(1);
    let disk = SimDisk::new(fs::read(scratch.path()).expect("read the image"), false);
    let volume = host.mount(disk, Options::default()).expect("mount");
    compare(&host, &volume, &expected, "after Linux");
}
