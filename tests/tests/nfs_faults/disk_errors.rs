//! A disk that fails: what cannot be read or written costs the files concerned, what the journal needs costs writing, and
//! nothing costs the machine.

use std::fs;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use keelson_qemu::{Drive, Exit, Ext4Image, Ext4Spec, Keep, Machine, VolatileDisk};
use keelson_tests::nfs3::{Handle, How, Nfs, Set, Stable, status};
use keelson_tests::world::{SOON, World, assert_sound, shell};

use super::{create, mounted};

const BLOCK: u64 = 4096;
const SIZE: usize = 256 << 10;
/// IO (RFC 1813 section 2.6).
const IO: u32 = 5;

struct Faulty {
    machine: Machine,
    disk: VolatileDisk,
    image: Ext4Image,
    nfs: Nfs,
    root: Handle,
    /// Files of the same size: one whose blocks will fail, and another.
    bad: Handle,
    good: Handle,
    bad_inode: u64,
    world: World,
}

fn start(name: &str) -> Faulty {
    let world = World::new(name);
    let tree = world.bench.dir().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("bad"), vec![1; SIZE]).unwrap();
    fs::write(tree.join("good"), vec![2; SIZE]).unwrap();
    let spec = Ext4Spec::new(64 << 20).options(["-b", "4096"]).populated_from(&tree);
    let image = world.bench.ext4("data", &spec).unwrap();
    let disk = world.bench.volatile_disk("data", image.path()).unwrap();
    let machine = world.appliance("").drive(Drive::nbd(disk.socket())).start().unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    let (mut nfs, root) = mounted(&world.host);
    let bad = nfs.lookup(&root, b"bad").unwrap().ok();
    let good = nfs.lookup(&root, b"good").unwrap().ok().handle;
    let bad_inode = bad.attributes.fileid;
    Faulty { machine, disk, image, nfs, root, bad: bad.handle, good, bad_inode, world }
}

impl Faulty {
    /// Where a file is on the disk, in bytes.
    fn places(&self, file: &str) -> Vec<Range<u64>> {
        let blocks = self.image.debugfs(&format!("blocks {file}")).unwrap();
        let blocks = blocks.split_whitespace().map(|word| word.parse::<u64>().unwrap());
        let places: Vec<_> = blocks.map(|block| block * BLOCK..(block + 1) * BLOCK).collect();
        assert!(!places.is_empty(), "{file} is nowhere");
        places
    }

    fn reads(&mut self, file: &Handle, byte: u8) {
        for at in (0..SIZE).step_by(64 << 10) {
            let piece = self.nfs.read(file, at as u64, 64 << 10).unwrap().ok();
            assert!(piece.data.len() == 64 << 10 && piece.data.iter().all(|found| *found == byte));
        }
    }

    /// Ends in order, and leaves a clean disk.
    fn finish(self) {
        assert_sound(&self.machine);
        self.machine.console().send_line("poweroff").unwrap();
        assert_eq!(self.machine.wait(SOON).unwrap(), Exit::PowerOff);
        self.disk.cut(Keep::All).unwrap();
        self.image.check().unwrap();
        drop(self.world);
    }
}

#[test]
fn a_sector_that_cannot_be_read_costs_its_file_only() {
    let mut world = start("read-error");
    let places = world.places("/bad");
    // The second 64 KiB of it.
    let broken = places[16].start;
    world.disk.faults(|faults| faults.read_errors.push(broken..broken + BLOCK));
    let (bad, good) = (world.bad.clone(), world.good.clone());
    assert_eq!(world.nfs.read(&bad, 64 << 10, 64 << 10).unwrap().status, IO);
    let line = format!("vda: reading inode {}: I/O error in sectors *ncheck {0}*", world.bad_inode);
    let line = world.machine.expect(&line, SOON).unwrap().text;
    // The sectors named are those of a request that covers what is broken.
    let numbers: Vec<u64> =
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    let covers = numbers.windows(2).any(|pair| (pair[0]..=pair[1]).contains(&(broken / 512)));
    assert!(covers, "sector {} in {line:?}", broken / 512);
    // Another part of it, its attributes, and all of another file.
    assert_eq!(world.nfs.getattr(&bad).unwrap().ok().size, SIZE as u64);
    let end = world.nfs.read(&bad, (SIZE - 4096) as u64, 4096).unwrap().ok();
    assert_eq!(end.data, [1; 4096]);
    world.reads(&good, 2);
    let fresh = create(&mut world.nfs, &world.root.clone(), "fresh");
    world.nfs.write(&fresh, 0, &[3; 5000], Stable::FileSync).unwrap().ok();
    // The disk has got over it: nothing was remembered.
    world.disk.faults(|faults| faults.read_errors.clear());
    world.reads(&bad, 1);
    world.finish();
}

#[test]
fn data_that_cannot_be_written_is_told_of_and_changes_the_verifier() {
    let mut world = start("write-error");
    let places = world.places("/bad");
    world.disk.faults(|faults| faults.write_errors = places);
    let (bad, good) = (world.bad.clone(), world.good.clone());
    let data = vec![7; 64 << 10];
    let before = world.nfs.write(&bad, 0, &data, Stable::Unstable).unwrap().ok().verifier;
    assert_eq!(world.nfs.commit(&bad, 0, 0).unwrap().status, IO, "what was accepted is lost");
    let line = format!("vda: writing inode {}: I/O error in sectors *ncheck {0}*", world.bad_inode);
    world.machine.expect(&line, SOON).unwrap();
    // All clients learn that what they have not seen committed may be gone; other files are written as ever.
    let written = world.nfs.write(&good, 0, &data, Stable::Unstable).unwrap().ok();
    assert_ne!(written.verifier, before);
    assert_eq!(world.nfs.commit(&good, 0, 0).unwrap().ok(), written.verifier);
    assert_eq!(
        world.nfs.write(&bad, 0, &data, Stable::FileSync).unwrap().status,
        IO,
        "told in the WRITE itself"
    );
    world.disk.faults(|faults| faults.write_errors.clear());
    let again = world.nfs.write(&bad, 0, &data, Stable::FileSync).unwrap().ok();
    assert_eq!(again.committed, 2);
    assert_eq!(world.nfs.read(&bad, 0, 64 << 10).unwrap().ok().data, data);
    world.finish();
}

/// What the journal cannot take was not acknowledged, and from then on nothing is written: the disk stays one that can be
/// replayed.
fn a_journal_that_fails(name: &str, fail: impl FnOnce(&Faulty)) {
    let mut world = start(name);
    let root = world.root.clone();
    let kept = create(&mut world.nfs, &root, "kept");
    world.nfs.write(&kept, 0, b"acknowledged", Stable::FileSync).unwrap().ok();
    fail(&world);
    let how = || How::Guarded(Set::mode(0o644));
    let lost = world.nfs.create(&root, b"lost", how()).unwrap().status;
    assert!([IO, status::ROFS].contains(&lost), "status {lost}");
    world
        .machine
        .expect("vda: *; the filesystem is read-only from now on (check the disk, then boot again", SOON)
        .unwrap();
    assert_eq!(world.nfs.create(&root, b"more", how()).unwrap().status, status::ROFS);
    assert_eq!(world.nfs.write(&kept, 0, b"more", Stable::Unstable).unwrap().status, status::ROFS);
    assert_eq!(world.nfs.remove(&root, b"kept").unwrap().status, status::ROFS);
    // Reading goes on, what is in memory and what is not.
    assert_eq!(world.nfs.read(&kept, 0, 100).unwrap().ok().data, b"acknowledged");
    let good = world.good.clone();
    world.reads(&good, 2);
    assert_sound(&world.machine);
    // A good disk again, the power cut: the journal is replayed, and all that was acknowledged is there.
    world.disk.faults(|faults| *faults = Default::default());
    world.machine.kill();
    world.disk.cut(Keep::None).unwrap();
    world.image.replay().unwrap();
    world.image.check().unwrap();
    assert_eq!(world.image.read("/kept").unwrap(), b"acknowledged");
}

#[test]
fn a_journal_that_cannot_be_written_ends_writing_only() {
    a_journal_that_fails("journal-error", |world| {
        let places = world.places("<8>");
        world.disk.faults(|faults| faults.write_errors = places);
    });
}

#[test]
fn a_disk_that_cannot_flush_ends_writing_only() {
    a_journal_that_fails("flush-error", |world| world.disk.faults(|faults| faults.flush_errors = true));
}

/// While a disk does not answer, everything that needs no disk is answered.
#[test]
fn a_slow_disk_stops_only_those_who_need_it() {
    let mut world = start("slow");
    let (bad, good, root) = (world.bad.clone(), world.good.clone(), world.root.clone());
    world.reads(&good, 2);
    world.disk.faults(|faults| faults.delay = Duration::from_secs(3));
    let host = &world.world.host;
    let (waited, answered) = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let (mut nfs, _) = mounted(host);
            let start = Instant::now();
            assert_eq!(nfs.read(&bad, 0, 4096).unwrap().ok().data, [1; 4096]);
            start.elapsed()
        });
        let mut answered = 0;
        while !waiting.is_finished() {
            world.nfs.getattr(&root).unwrap().ok();
            assert_eq!(world.nfs.read(&good, 0, 4096).unwrap().ok().data, [2; 4096]);
            answered += 1;
        }
        (waiting.join().unwrap(), answered)
    });
    eprintln!("{answered} answers while one call waited {waited:?} for the disk");
    assert!(answered > 20, "{answered} answers in {waited:?}");
    world.disk.faults(|faults| faults.delay = Duration::ZERO);
    assert!(!shell(&world.machine, "uptime").is_empty());
    world.finish();
}
