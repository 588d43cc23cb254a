//! The suite that every volume must pass, on every kind of filesystem that mke2fs makes and we mount.

use keelson_ext4::dev::{FileDisk, Host, e2fsck, log_to_stderr, mke2fs};
use keelson_ext4::{Ext4Volume, Options};
use keelson_volume::{Volume, conformance};

fn check(arguments: &[&str], options: Options) {
    log_to_stderr();
    let host = Host::new(1);
    let mut made = Vec::new();
    host.run(conformance::suite(async || {
        let scratch = mke2fs(64, arguments);
        let disk = FileDisk::open(scratch.path(), false).expect("open the image");
        made.push(scratch);
        Ext4Volume::mount(disk, host.handle(), host.entropy(), options).await.expect("mount")
    }));
    // Nothing was unmounted: the journal must be replayed before e2fsck may look.
    host.power_off();
    for scratch in made {
        let host = Host::new(99);
        let disk = FileDisk::open(scratch.path(), false).expect("open the image");
        let volume = host.mount(disk, options).expect("mount again");
        host.run(volume.unmount()).expect("unmount");
        e2fsck(scratch.path()).expect("e2fsck");
    }
}

#[test]
fn default_filesystem() {
    check(&["-b", "4096"], Options::default());
}

#[test]
fn small_blocks() {
    check(&["-b", "1024"], Options::default());
}

#[test]
fn without_journal() {
    check(&["-b", "4096", "-O", "^has_journal"], Options::default());
}

#[test]
fn little_memory() {
    check(&["-b", "2048"], Options { cache_bytes: 0, ..Options::default() });
}

#[test]
fn without_checksums_and_wide_numbers() {
    check(&["-b", "4096", "-O", "^metadata_csum,^64bit,^dir_nlink,^huge_file"], Options::default());
}
