//! Machines that cannot serve: the console names what is wrong and what to do, and everything else goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use keelson_qemu::{Drive, Exit, Ext4Spec, Machine};
use keelson_tests::Appliance;
use keelson_tests::nfs3::{Transport, status};
use keelson_tests::world::{SERVER, SOON, World, assert_sound, at, shell};

/// Where the superblock begins.
const SUPERBLOCK: u64 = 1024;

/// The machine says why it does not serve, and is otherwise well.
fn assert_alive_without_serving(world: &World, machine: &Machine, reason: &str) {
    machine.expect(&format!("not serving: {reason}"), SOON).unwrap();
    world.host.ping(SERVER.parse().unwrap(), 56, SOON).unwrap();
    let error = world.host.tcp_connect(at(SERVER, 2049), SOON).map(drop).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(shell(machine, "nfsstat"), ["not serving"]);
    assert_sound(machine);
    machine.console().send_line("poweroff").unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
}

/// Boots with a disk of these contents and expects the reason.
fn refuses(world: &World, disk: &Path, reason: &str) {
    let before = fs::read(disk).unwrap();
    let machine = world.appliance("").drive(Drive::file(disk)).start().unwrap();
    assert_alive_without_serving(world, &machine, reason);
    assert!(fs::read(disk).unwrap() == before, "a disk that is not understood must not be written to");
}

fn write_at(disk: &Path, offset: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(disk).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn no_disk() {
    let world = World::new("no-disk");
    let machine = world.appliance("").start().unwrap();
    assert_alive_without_serving(&world, &machine, "no disk: attach a virtio-blk, SATA or NVMe disk");
}

#[test]
fn a_disk_that_does_not_exist() {
    let world = World::new("no-such-disk");
    let disk = world.disk();
    let machine = world.appliance("fs=/dev/vdc").drive(Drive::file(disk.path())).start().unwrap();
    assert_alive_without_serving(&world, &machine, "fs=/dev/vdc: no such disk; there is vda");
}

#[test]
fn no_nic() {
    let world = World::new("no-nic");
    let disk = world.disk();
    let machine = Appliance::nfs(&world.bench, "lonely", "nfs.exports=\"/ *(ro)\"")
        .drive(Drive::file(disk.path()))
        .start()
        .unwrap();
    machine.expect("no network device that a driver here knows", SOON).unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    assert!(shell(&machine, "uptime").concat().ends_with('s'));
    machine.console().send_line("poweroff").unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
}

#[test]
fn no_filesystem() {
    let world = World::new("no-filesystem");
    let reason = "vda: no ext4 superblock (no filesystem? make one with: mke2fs";
    let zeros = world.bench.dir().join("zeros");
    File::create(&zeros).unwrap().set_len(16 << 20).unwrap();
    refuses(&world, &zeros, reason);
    let text = world.bench.dir().join("text");
    fs::write(&text, "This is not a filesystem.\n".repeat(100_000)).unwrap();
    refuses(&world, &text, reason);
    let tiny = world.bench.dir().join("tiny");
    File::create(&tiny).unwrap().set_len(1024).unwrap();
    refuses(&world, &tiny, "vda: the device is empty or smaller than a superblock");
}

#[test]
fn a_corrupt_superblock() {
    let world = World::new("superblock");
    // Blocks in the filesystem, its block size, inodes in a group, its checksum.
    for (offset, bytes) in [(0x04, &[0xff; 4]), (0x18, &[0x77; 4]), (0x28, &[0; 4]), (0x3fc, &[0x55; 4])] {
        let disk = world.disk();
        write_at(disk.path(), SUPERBLOCK + offset, bytes);
        refuses(&world, disk.path(), "vda: corrupt superblock: bad *(repair with: e2fsck");
    }
    let disk = world.disk();
    write_at(disk.path(), SUPERBLOCK + 0x38, b"ab");
    refuses(&world, disk.path(), "vda: no ext4 superblock");
}

#[test]
fn an_unsupported_feature() {
    let world = World::new("feature");
    for (feature, remedy) in [
        ("bigalloc", "(make the filesystem anew with: mke2fs -t ext4 -O ^bigalloc)"),
        (
            "mmp",
            "(remove it with: tune2fs -O ^mmp DEVICE, or make the filesystem with: mke2fs -t ext4 -O ^mmp)",
        ),
    ] {
        let disk = world.bench.ext4(feature, &Ext4Spec::new(64 << 20).options(["-O", feature])).unwrap();
        refuses(&world, disk.path(), &format!("vda: unsupported ext4 feature {feature} {remedy}"));
    }
}

#[test]
fn a_disk_shorter_than_its_filesystem() {
    let world = World::new("truncated");
    let disk = world.disk();
    OpenOptions::new().write(true).open(disk.path()).unwrap().set_len(9 << 20).unwrap();
    refuses(&world, disk.path(), "vda: the filesystem has 16777216 bytes, the device only 9437184 (enlarge");
}

#[test]
fn a_read_only_disk_is_served_read_only() {
    let world = World::new("read-only");
    let disk = world.disk();
    let machine = world.appliance("").drive(Drive::file(disk.path()).read_only()).start().unwrap();
    machine.expect("vda: mounted read-only", SOON).unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    world.assert_serves(SERVER);
    let (mut nfs, root) = Transport::Tcp.mount(&world.host, SERVER.parse().unwrap(), "/");
    assert_eq!(nfs.mkdir(&root, b"new", 0o755).unwrap().status, status::ROFS);
    machine.console().send_line("poweroff").unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
    disk.check().unwrap();
}

#[test]
fn a_journal_that_needs_replay_on_a_read_only_disk() {
    let world = World::new("replay");
    let disk = world.disk();
    let machine = world.appliance("").drive(Drive::file(disk.path())).start().unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    machine.kill();
    let spec = world.appliance("").drive(Drive::file(disk.path()).read_only());
    let machine = spec.start().unwrap();
    assert_alive_without_serving(
        &world,
        &machine,
        "vda: the journal must be replayed, but the device is read-only",
    );
}
