//! The journal with operations that stamp inode records of a file: what was committed is there, whatever is cut.

mod aborts;
mod checkpoints;
mod crowd;
mod ends;
mod everywhere;
mod files;
mod linux;
mod replay;

use crate::dev::{Host, Kept, Scratch, Seed, SimDisk, SlowDisk, e2fsck, mke2fs};
use crate::engine::Engine;
use crate::halt::Halt;
use crate::mount::{Mounted, Options, mount};
use keelson_hal::BlockDevice;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

/// Inodes whose times are stamped: all of the tables' first blocks.
const INODES: std::ops::Range<u32> = 12..200;

fn image(mebibytes: u64, arguments: &[&str]) -> Vec<u8> {
    let tree = Scratch::new().path().with_extension("tree");
    fs::create_dir_all(&tree).expect("make a directory");
    for index in INODES {
        fs::write(tree.join(format!("{index}")), "").expect("make a file");
    }
    let tree_name = tree.to_str().expect("a name in UTF-8").to_string();
    let mut all = vec!["-d", &tree_name];
    all.extend(arguments);
    let scratch = mke2fs(mebibytes, &all);
    fs::remove_dir_all(&tree).expect("remove the tree");
    fs::read(scratch.path()).expect("read the image")
}

fn open(host: &Host, disk: Rc<dyn BlockDevice>) -> Mounted {
    let entropy = host.entropy();
    host.run(async { mount(disk, host.handle(), &*entropy, &Options::default()).await }).expect("mount")
}

/// Writes `value` into an inode.
fn stamp(engine: &mut Engine, ino: u32, value: u32) -> Result<(), Halt> {
    let mut inode = engine.inode(ino)?;
    inode.mtime.seconds = i64::from(value);
    engine.put_inode(&inode)
}

fn stamps(host: &Host, mounted: &Mounted) -> Vec<u32> {
    let read = |engine: &mut Engine| {
        INODES
            .map(|ino| engine.inode(ino).map(|inode| inode.mtime.seconds as u32))
            .collect::<Result<Vec<_>, _>>()
    };
    host.run(async { mounted.shared.look(read).await }).expect("read the stamps")
}

fn check(image: Vec<u8>) -> Result<(), String> {
    let scratch = Scratch::new();
    fs::write(scratch.path(), image).expect("write the image");
    e2fsck(scratch.path())
}

/// Recovers an image, returns its stamps, unmounts and checks it.
fn recover(image: Vec<u8>) -> Vec<u32> {
    let disk = SimDisk::new(image, false);
    let host = Host::new(9);
    let mounted = open(&host, disk.clone());
    let found = stamps(&host, &mounted);
    assert!(host.run(async { mounted.shared.close_and_wait().await }), "a clean unmount");
    check(disk.image()).expect("e2fsck");
    found
}

fn cuts(mebibytes: u64, arguments: &[&str], rounds: u32) {
    cuts_of(SimDisk::new(image(mebibytes, arguments), true), rounds);
}

fn cuts_of(disk: Rc<SimDisk>, rounds: u32) {
    let host = Host::new(1);
    let slow = SlowDisk::new(disk.clone(), host.handle(), 5, Duration::from_millis(3));
    let mounted = open(&host, slow);
    let random = Seed::new(3);
    let mut history = vec![stamps(&host, &mounted)];
    for round in 1..=rounds {
        let mut now = history[history.len() - 1].clone();
        for _ in 0..1 + random.below(40) {
            let index = random.below(now.len() as u64) as usize;
            now[index] = round;
            let ino = INODES.start + index as u32;
            let shared = &mounted.shared;
            host.run(async { shared.change(|engine| stamp(engine, ino, round)).await }).expect("stamp");
        }
        let shared = &mounted.shared;
        host.run(async { shared.commit_through(shared.last_change()).await }).expect("commit");
        history.push(now);
        disk.mark(history.len() - 1);
    }
    for _ in 0..40 {
        let cut = 1 + random.below(disk.events() as u64 - 1) as usize;
        let (image, note) =
            disk.after_cut(cut, || [Kept::All, Kept::Nothing, Kept::Torn][random.below(3) as usize]);
        let found = recover(image);
        let committed = note.unwrap_or(0);
        // Of what was under way each operation may be there too: the journal commits for room when it has to.
        let next = history.get(committed + 1).unwrap_or(&history[committed]);
        let good =
            |index: &usize| found[*index] == history[committed][*index] || found[*index] == next[*index];
        let bad = (0..found.len()).find(|index| !good(index));
        assert_eq!(bad, None, "cut {cut} after commit {committed}");
    }
    assert!(host.run(async { mounted.shared.close_and_wait().await }), "a clean unmount");
    check(disk.image()).expect("e2fsck of what was unmounted");
}

#[test]
fn cuts_with_checksums() {
    cuts(16, &["-b", "4096"], 60);
}

/// One flush for each transaction is left.
#[test]
fn cuts_with_write_through() {
    cuts_of(SimDisk::new(image(16, &["-b", "4096"]), true).with_write_through(), 60);
}

/// The log goes around several times.
#[test]
fn cuts_of_a_small_journal() {
    cuts(16, &["-b", "1024", "-J", "size=1"], 150);
}

#[test]
fn cuts_without_checksums() {
    cuts(16, &["-b", "2048", "-O", "^metadata_csum,^64bit"], 40);
}
