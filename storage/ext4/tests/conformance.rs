//! The suite that every volume must pass, on every kind of filesystem that mke2fs makes and we mount.

use keelson_ext4::Options;
use keelson_ext4::dev::{FileDisk, e2fsck, mke2fs, mount};
use keelson_volume::conformance;

fn check(arguments: &[&str]) {
    keelson_ext4::dev::log_to_stderr();
    let mut made = Vec::new();
    conformance::run(|| {
        let scratch = mke2fs(64, arguments);
        let disk = FileDisk::open(scratch.path(), false).expect("open the image");
        made.push(scratch);
        mount(disk, made.len() as u64, Options::default()).expect("mount")
    });
    for scratch in made {
        // Nothing was unmounted: the journal must be replayed before e2fsck may look.
        let disk = FileDisk::open(scratch.path(), false).expect("open the image");
        let volume = mount(disk, 99, Options::default()).expect("mount again");
        keelson_ext4::dev::run(keelson_volume::Volume::unmount(&volume)).expect("unmount");
        e2fsck(scratch.path()).expect("e2fsck");
    }
}

#[test]
fn default_filesystem() {
    check(&["-b", "4096"]);
}

#[test]
fn small_blocks() {
    check(&["-b", "1024"]);
}

#[test]
fn without_journal() {
    check(&["-b", "4096", "-O", "^has_journal"]);
}
