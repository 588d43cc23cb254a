//! Every procedure of NFS version 3, and NFS over UDP, with the checks that a real client does not make.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use keelson_qemu::{
    Bench, Cache, Drive, Endpoint, Exit, Ext4Image, Ext4Spec, Impairment, Lan, Machine, Port, Rng,
};
use keelson_tests::Appliance;
use keelson_tests::nfs3::{
    Attributes, Handle, How, MOUNT_PORT, Nfs, Set, SetTime, Stable, Transport, Wcc, kind, mount, status,
};

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const START: Duration = Duration::from_secs(60);

struct World {
    server: Machine,
    client: Endpoint,
    port: Port,
    disk: Ext4Image,
    _lan: Lan,
    _bench: Bench,
}

impl World {
    /// Flushes of the disk are not carried out (`power_cut` is about them), so that tests do not wait for the host's.
    fn new(name: &str) -> World {
        let bench = Bench::new(name);
        let lan = bench.lan("lan").unwrap();
        let disk = bench.ext4("data", &Ext4Spec::new(64 << 20)).unwrap();
        let line = "ip=10.0.0.1/24:eth0 nfs.exports=\"/ *(rw,no_root_squash)\"";
        let spec = Appliance::nfs(&bench, "nfs", line)
            .virtio_nic(&lan)
            .drive(Drive::file(disk.path()).cache(Cache::Unsafe));
        let server = spec.start().unwrap();
        let client = bench.endpoint(&lan, "client", &["10.0.0.2/24"]).unwrap();
        server.expect("serving NFS", START).unwrap();
        World { server, port: client.port().clone(), client, disk, _lan: lan, _bench: bench }
    }

    fn finish(self) {
        self.server.console().send_line("poweroff").unwrap();
        assert_eq!(self.server.wait(START).unwrap(), Exit::PowerOff);
        self.disk.check().unwrap();
    }
}

/// Bytes that differ from place to place and from seed to seed.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut data = Vec::with_capacity(len + 8);
    while data.len() < len {
        data.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    data.truncate(len);
    data
}

/// A file without anything in it.
fn file(nfs: &mut Nfs, folder: &[u8], name: &str) -> Handle {
    nfs.create(folder, name.as_bytes(), How::Guarded(Set::mode(0o644))).unwrap().ok().handle
}

#[test]
fn nfs_works_over_udp() {
    let world = World::new("nfs-udp");
    let (mut udp, root) = Transport::Udp.mount(&world.client, SERVER, "/");
    let (mut tcp, same) = Transport::Tcp.mount(&world.client, SERVER, "/");
    assert_eq!(root, same, "one handle for one object, whatever the transport");

    let info = udp.fsinfo(&root).unwrap().ok();
    assert_eq!(info.read[0], 32 << 10, "a datagram can not carry more");
    assert!(tcp.fsinfo(&root).unwrap().ok().read[0] >= 64 << 10);
    large_datagrams(&mut udp, &root);
    both_transports(&mut udp, &mut tcp, &root);
    directories(&mut udp, &mut tcp, &root);

    // A third of the datagrams of 22 fragments does not get through at this rate, and must be sent again.
    let before = world.port.stats().impaired;
    world.port.impair(Impairment { duplicate: 0.02, reorder: 0.02, ..Impairment::loss(0.02) }, 7);
    let start = Instant::now();
    for _ in 0..2 {
        large_datagrams(&mut udp, &root);
    }
    world.port.impair(Impairment::default(), 0);
    let lost = world.port.stats().impaired - before;
    eprintln!("{lost} frames lost in {:.1?}", start.elapsed());
    assert!(lost > 10, "the link was not bad enough to prove anything: {lost} frames lost");
    udp.null().unwrap();
    world.finish();
}

/// 32 KiB each way: 22 fragments.
fn large_datagrams(nfs: &mut Nfs, root: &[u8]) {
    const PIECE: usize = 32 << 10;
    let name = "large";
    let file = nfs.create(root, name.as_bytes(), How::Unchecked(Set::mode(0o600))).unwrap().ok().handle;
    for piece in 0..8 {
        let data = pattern(piece, PIECE);
        let stable = if piece % 2 == 0 { Stable::Unstable } else { Stable::FileSync };
        let written = nfs.write(&file, piece * PIECE as u64, &data, stable).unwrap().ok();
        assert_eq!(written.count as usize, PIECE);
        assert!(written.committed >= stable as u32);
    }
    nfs.commit(&file, 0, 0).unwrap().ok();
    for piece in (0..8).rev() {
        let read = nfs.read(&file, piece * PIECE as u64, PIECE as u32).unwrap().ok();
        assert!(read.data == pattern(piece, PIECE), "piece {piece} came back changed");
        assert_eq!(read.eof, piece == 7);
    }
    // Every length around the limits of fragments (1480 bytes of IP payload).
    for len in [1, 1300, 1479, 1480, 1481, 2959, 2960, 2961, 32767] {
        let data = pattern(len as u64, len);
        nfs.write(&file, 5, &data, Stable::Unstable).unwrap().ok();
        assert!(nfs.read(&file, 5, len as u32).unwrap().ok().data == data, "{len} bytes");
    }
    let gone = nfs.remove(root, name.as_bytes()).unwrap().status;
    // A repeated REMOVE of which only the first reply was lost says NOENT: there is no reply cache yet.
    assert!(gone == status::OK || gone == status::NOENT, "{gone}");
    assert_eq!(nfs.getattr(&file).unwrap().status, status::STALE);
}

/// What one transport writes the other reads at once.
fn both_transports(udp: &mut Nfs, tcp: &mut Nfs, root: &[u8]) {
    let shared = file(tcp, root, "shared");
    for round in 0..20 {
        let data = pattern(round, 4000);
        let (writer, reader) = if round % 2 == 0 { (&mut *udp, &mut *tcp) } else { (&mut *tcp, &mut *udp) };
        let after = writer.write(&shared, 100 * round, &data, Stable::Unstable).unwrap().with.after.unwrap();
        assert_eq!(reader.getattr(&shared).unwrap().ok(), after);
        assert!(reader.read(&shared, 100 * round, 4000).unwrap().ok().data == data, "round {round}");
    }
    let (a, b) = (udp.commit(&shared, 0, 0).unwrap().ok(), tcp.commit(&shared, 0, 0).unwrap().ok());
    assert_eq!(a, b, "one write verifier for all");
}

fn directories(udp: &mut Nfs, tcp: &mut Nfs, root: &[u8]) {
    let folder = tcp.mkdir(root, b"folder", 0o755).unwrap().ok().handle;
    let mut wanted: Vec<Vec<u8>> = (0..700).map(|i| format!("entry number {i}").into_bytes()).collect();
    for name in &wanted {
        tcp.create(&folder, name, How::Guarded(Set::mode(0o644))).unwrap().ok();
    }
    wanted.sort();
    for (page, plus) in [(512, false), (8192, false), (32768, true), (1024, true)] {
        for nfs in [&mut *udp, &mut *tcp] {
            let mut names: Vec<_> =
                nfs.list(&folder, page, plus).unwrap().into_iter().map(|entry| entry.name).collect();
            names.sort();
            assert!(names == wanted, "{} of {} names with pages of {page}", names.len(), wanted.len());
        }
    }
}

/// The attributes before the call are those another call saw, and those after it those the next one sees.
#[track_caller]
fn exact(nfs: &mut Nfs, object: &[u8], call: impl FnOnce(&mut Nfs) -> Wcc) {
    let before = nfs.getattr(object).unwrap().ok();
    let wcc = call(nfs);
    let after = nfs.getattr(object).unwrap().ok();
    assert_eq!(wcc.before, Some(before.weak()), "attributes before the call");
    assert_eq!(wcc.after, Some(after), "attributes after the call");
    assert!(
        after.ctime > before.ctime,
        "a change leaves a new ctime: {:?}, then {:?}",
        before.ctime,
        after.ctime
    );
}

#[test]
fn every_procedure_keeps_its_promises() {
    let world = World::new("nfs-procedures");
    let (mut nfs, root) = Transport::Tcp.mount(&world.client, SERVER, "/");
    nfs.null().unwrap();
    let folder = nfs.mkdir(&root, b"d", 0o755).unwrap().ok().handle;
    creation(&mut nfs, &folder);
    contents(&mut nfs, &folder);
    attributes(&mut nfs, &folder);
    names(&mut nfs, &folder);
    listing(&mut nfs, &folder);
    the_file_system(&mut nfs, &root);
    handles(&mut nfs, &root);
    let world = handles_and_verifiers_over_a_restart(world, nfs);
    world.finish();
}

fn creation(nfs: &mut Nfs, folder: &[u8]) {
    let guarded = How::Guarded(Set { size: Some(0), ..Set::mode(0o640) });
    exact(nfs, folder, |nfs| nfs.create(folder, b"f", guarded).unwrap().with);
    let again = nfs.create(folder, b"f", guarded).unwrap();
    assert_eq!(again.status, status::EXIST);
    assert!(again.with.after.is_some(), "a failed CREATE tells of the directory too");

    let found = nfs.lookup(folder, b"f").unwrap().ok();
    assert_eq!((found.attributes.mode, found.attributes.kind), (0o640, kind::REGULAR));
    nfs.write(&found.handle, 0, b"contents", Stable::FileSync).unwrap().ok();
    let keep = nfs.create(folder, b"f", How::Unchecked(Set::mode(0o777))).unwrap().ok();
    assert_eq!((keep.handle, keep.attributes.size, keep.attributes.mode), (found.handle.clone(), 8, 0o640));
    let cut = nfs.create(folder, b"f", How::Unchecked(Set::size(0))).unwrap().ok();
    assert_eq!((cut.handle, cut.attributes.size), (found.handle, 0));

    // An exclusive creation that is sent again is the same; another's is not.
    let mine = nfs.create(folder, b"lock", How::Exclusive(*b"verifier")).unwrap().ok();
    let again = nfs.create(folder, b"lock", How::Exclusive(*b"verifier")).unwrap().ok();
    assert_eq!(mine.handle, again.handle);
    assert_eq!(nfs.create(folder, b"lock", How::Exclusive(*b"verifies")).unwrap().status, status::EXIST);
    let times = Set { atime: Some(SetTime::Server), mtime: Some(SetTime::Server), ..Set::mode(0o600) };
    nfs.setattr(&mine.handle, times, None).unwrap().ok();
    assert_eq!(nfs.create(folder, b"lock", How::Exclusive(*b"verifier")).unwrap().status, status::EXIST);

    exact(nfs, folder, |nfs| nfs.mkdir(folder, b"sub", 0o2750).unwrap().with);
    exact(nfs, folder, |nfs| nfs.symlink(folder, b"link", b"no/where \xff").unwrap().with);
    exact(nfs, folder, |nfs| nfs.mknod(folder, b"fifo", kind::FIFO, (0, 0)).unwrap().with);
    let device = nfs.mknod(folder, b"device", kind::BLOCK, (259, 1_048_575)).unwrap().ok();
    assert_eq!((device.attributes.kind, device.attributes.device), (kind::BLOCK, (259, 1_048_575)));
    assert_eq!(
        nfs.mknod(folder, b"socket", kind::SOCKET, (0, 0)).unwrap().ok().attributes.kind,
        kind::SOCKET
    );
    assert_eq!(nfs.mknod(folder, b"no", kind::REGULAR, (0, 0)).unwrap().status, status::BADTYPE);
    let link = nfs.lookup(folder, b"link").unwrap().ok();
    assert_eq!(nfs.readlink(&link.handle).unwrap().ok(), b"no/where \xff");
    assert_eq!(link.attributes.size, 10);
    assert_eq!(nfs.readlink(folder).unwrap().status, status::INVAL);
    for (name, wanted) in
        [(&b""[..], status::INVAL), (&[b'x'; 256], status::NAMETOOLONG), (b"..", status::EXIST)]
    {
        assert_eq!(nfs.mkdir(folder, name, 0o755).unwrap().status, wanted, "{name:?}");
    }
    let slash = nfs.mkdir(folder, b"a/b", 0o755).unwrap().status;
    assert!([status::INVAL, status::ACCES].contains(&slash), "{slash}");
}

fn contents(nfs: &mut Nfs, folder: &[u8]) {
    let file = file(nfs, folder, "contents");
    exact(nfs, &file, |nfs| nfs.write(&file, 0, b"0123456789", Stable::FileSync).unwrap().with);
    exact(nfs, &file, |nfs| nfs.write(&file, 5, b"abc", Stable::Unstable).unwrap().with);
    for (offset, count, data, eof) in [
        (0, 4, &b"0123"[..], false),
        (0, 10, b"01234abc89", true),
        (8, 100, b"89", true),
        (10, 5, b"", true),
        (99, 5, b"", true),
        (0, 0, b"", false),
        (10, 0, b"", true),
    ] {
        let piece = nfs.read(&file, offset, count).unwrap().ok();
        assert_eq!((&piece.data[..], piece.eof), (data, eof), "{count} bytes at {offset}");
    }
    let first = nfs.write(&file, 0, b"x", Stable::Unstable).unwrap().ok().verifier;
    assert_eq!(nfs.write(&file, 0, b"x", Stable::DataSync).unwrap().ok().verifier, first);
    assert_eq!(nfs.commit(&file, 0, 0).unwrap().ok(), first);
    let commit = nfs.commit(&file, 3, 2).unwrap();
    let now = nfs.getattr(&file).unwrap().ok();
    assert_eq!(commit.with, Wcc { before: Some(now.weak()), after: Some(now) }, "COMMIT changes nothing");

    assert_eq!(nfs.read(folder, 0, 1).unwrap().status, status::ISDIR);
    let wrong = nfs.write(folder, 0, b"x", Stable::FileSync).unwrap().status;
    assert!([status::ISDIR, status::INVAL].contains(&wrong), "{wrong}");
    assert_eq!(nfs.write(&file, u64::MAX - 3, b"far", Stable::FileSync).unwrap().status, status::FBIG);
    // A hole, then truncated to its middle and out again: what was behind stays gone.
    nfs.write(&file, 100_000, &[7; 5000], Stable::Unstable).unwrap().ok();
    assert_eq!(nfs.read(&file, 50_000, 1000).unwrap().ok().data, [0; 1000]);
    exact(nfs, &file, |nfs| nfs.setattr(&file, Set::size(101_000), None).unwrap().with);
    exact(nfs, &file, |nfs| nfs.setattr(&file, Set::size(110_000), None).unwrap().with);
    let tail = nfs.read(&file, 100_000, 10_000).unwrap().ok();
    assert!(tail.eof && tail.data[..1000] == [7; 1000] && tail.data[1000..] == [0; 9000]);
}

fn attributes(nfs: &mut Nfs, folder: &[u8]) {
    let file = file(nfs, folder, "attributes");
    let set = Set {
        mode: Some(0o4711),
        uid: Some(u32::MAX - 1),
        gid: Some(70_000),
        size: Some(3),
        atime: Some(SetTime::Client((1_000_000_000, 1))),
        mtime: Some(SetTime::Client((2_000_000_000, 999_999_999))),
    };
    exact(nfs, &file, |nfs| nfs.setattr(&file, set, None).unwrap().with);
    let now = nfs.getattr(&file).unwrap().ok();
    // A new owner does not get the set-user-id bit of the old one, even if it is set in the same call (as knfsd).
    assert_eq!((now.mode, now.uid, now.gid, now.size), (0o711, u32::MAX - 1, 70_000, 3));
    assert_eq!((now.atime, now.mtime), ((1_000_000_000, 1), (2_000_000_000, 999_999_999)));

    let wrong = nfs.setattr(&file, Set::mode(0o600), Some((now.ctime.0, now.ctime.1 ^ 1))).unwrap();
    assert_eq!(wrong.status, status::NOT_SYNC);
    assert_eq!(nfs.getattr(&file).unwrap().ok(), now, "a refused SETATTR changes nothing");
    nfs.setattr(&file, Set::mode(0o600), Some(now.ctime)).unwrap().ok();

    assert_eq!(
        nfs.access(&file, 0x3f).unwrap().ok(),
        0x0d,
        "root: read, modify, extend; not execute or search"
    );
    nfs.rpc.identity(5, 5, &[6]);
    assert_eq!(nfs.access(&file, 0x3f).unwrap().ok(), 0);
    assert_eq!(nfs.access(folder, 0x3f).unwrap().ok(), 0x03, "read and look up");
    assert_eq!(nfs.read(&file, 0, 1).unwrap().status, status::ACCES);
    assert_eq!(nfs.setattr(&file, Set::mode(0o777), None).unwrap().status, status::PERM);
    assert_eq!(nfs.create(folder, b"x", How::Guarded(Set::mode(0o644))).unwrap().status, status::ACCES);
    nfs.rpc.identity(0, 0, &[]);
}

fn names(nfs: &mut Nfs, folder: &[u8]) {
    let (one, two) = (file(nfs, folder, "one"), file(nfs, folder, "two"));
    exact(nfs, folder, |nfs| nfs.link(&one, folder, b"three").unwrap().with.1);
    exact(nfs, &one, |nfs| {
        let before = nfs.getattr(&one).unwrap().ok();
        let after = nfs.link(&one, folder, b"four").unwrap().with.0;
        assert_eq!(after.unwrap().nlink, 3);
        Wcc { before: Some(before.weak()), after }
    });
    assert_eq!(nfs.link(&one, folder, b"two").unwrap().status, status::EXIST);
    exact(nfs, folder, |nfs| nfs.rename((folder, b"one"), (folder, b"two")).unwrap().with.0);
    assert_eq!(nfs.getattr(&two).unwrap().status, status::STALE, "replaced by the rename");
    assert_eq!(nfs.lookup(folder, b"two").unwrap().ok().handle, one, "a rename keeps the handle");
    let same = nfs.rename((folder, b"two"), (folder, b"three")).unwrap();
    assert_eq!(same.status, status::OK);
    assert_eq!(
        nfs.lookup(folder, b"two").unwrap().ok().handle,
        one,
        "two names of one file: nothing is done"
    );

    let sub = nfs.lookup(folder, b"sub").unwrap().ok().handle;
    let before = nfs.getattr(&sub).unwrap().ok();
    let moved = nfs.rename((folder, b"four"), (&sub, b"four")).unwrap();
    assert_eq!(moved.with.1.before, Some(before.weak()));
    assert_eq!(moved.with.1.after, Some(nfs.getattr(&sub).unwrap().ok()));
    for (from, to, wanted) in [
        ((folder, &b"sub"[..]), (&sub[..], &b"in"[..]), status::INVAL),
        ((folder, b"two"), (folder, b"sub"), status::ISDIR),
        ((folder, b"none"), (folder, b"x"), status::NOENT),
    ] {
        assert_eq!(nfs.rename(from, to).unwrap().status, wanted, "{:?} to {:?}", from.1, to.1);
    }
    let onto = nfs.rename((folder, b"sub"), (folder, b"two")).unwrap().status;
    assert_eq!(onto, status::NOTDIR);
    assert_eq!(nfs.remove(folder, b"sub").unwrap().status, status::ISDIR);
    assert_eq!(nfs.rmdir(folder, b"two").unwrap().status, status::NOTDIR);
    assert_eq!(nfs.rmdir(folder, b"sub").unwrap().status, status::NOTEMPTY);
    exact(nfs, &sub, |nfs| nfs.remove(&sub, b"four").unwrap().with);
    assert_eq!(nfs.remove(&sub, b"four").unwrap().status, status::NOENT);
    exact(nfs, folder, |nfs| nfs.rmdir(folder, b"sub").unwrap().with);
    assert_eq!(nfs.getattr(&sub).unwrap().status, status::STALE);
    assert_eq!(nfs.lookup(folder, b".").unwrap().ok().handle, folder);
    assert_eq!(nfs.lookup(&one, b"x").unwrap().status, status::NOTDIR);
}

fn listing(nfs: &mut Nfs, folder: &[u8]) {
    let many = nfs.mkdir(folder, b"many", 0o755).unwrap().ok().handle;
    let name = |i: u32| format!("{i}-{}", "x".repeat(i as usize % 60)).into_bytes();
    for i in 0..500 {
        nfs.create(&many, &name(i), How::Guarded(Set::mode(0o600))).unwrap().ok();
    }
    let plain = nfs.list(&many, 4096, false).unwrap();
    let plus = nfs.list(&many, 4096, true).unwrap();
    assert_eq!(plain.len(), 500);
    for (plain, plus) in plain.iter().zip(&plus) {
        assert_eq!((&plain.name, plain.cookie, plain.fileid), (&plus.name, plus.cookie, plus.fileid));
        let found = nfs.lookup(&many, &plain.name).unwrap().ok();
        assert_eq!(plus.handle.as_ref(), Some(&found.handle));
        assert_eq!(plus.attributes, Some(found.attributes));
        assert_eq!(plain.fileid, found.attributes.fileid);
        assert!(plain.cookie < 1 << 63);
    }

    // Half of it removed while a reader stands in the middle: what stays is seen exactly once.
    let first = nfs.readdir(&many, 0, [0; 8], 8192).unwrap().ok();
    assert!(!first.eof);
    for i in (0..500).step_by(2) {
        nfs.remove(&many, &name(i)).unwrap().ok();
    }
    let (mut cookie, mut seen) = (first.entries.last().unwrap().cookie, first.entries);
    loop {
        let page = nfs.readdir(&many, cookie, first.verifier, 1024).unwrap().ok();
        cookie = page.entries.last().map_or(cookie, |entry| entry.cookie);
        seen.extend(page.entries);
        if page.eof {
            break;
        }
    }
    let mut odd: Vec<_> = (1..500).step_by(2).map(name).collect();
    let mut seen: Vec<_> =
        seen.into_iter().map(|entry| entry.name).filter(|name| odd.contains(name)).collect();
    odd.sort();
    seen.sort();
    assert!(seen == odd, "{} of {} entries", seen.len(), odd.len());
    assert_eq!(nfs.readdir(&many, 0, [0; 8], 40).unwrap().status, status::TOOSMALL);
    let file = nfs.lookup(&many, &name(1)).unwrap().ok().handle;
    assert_eq!(nfs.readdir(&file, 0, [0; 8], 4096).unwrap().status, status::NOTDIR);
}

fn the_file_system(nfs: &mut Nfs, root: &[u8]) {
    let space = nfs.fsstat(root).unwrap().ok();
    assert!(space.bytes[0] > 40 << 20 && space.bytes[0] <= 64 << 20, "{space:?}");
    assert!(space.bytes[1] <= space.bytes[0] && space.bytes[2] <= space.bytes[1], "{space:?}");
    assert!(space.files[1] < space.files[0] && space.files[2] <= space.files[1], "{space:?}");
    let used = file(nfs, root, "used");
    nfs.write(&used, 0, &pattern(1, 1 << 20), Stable::FileSync).unwrap().ok();
    let after = nfs.fsstat(root).unwrap().ok();
    let (bytes, files) = (space.bytes[1] - after.bytes[1], space.files[1] - after.files[1]);
    assert!((1 << 20..(1 << 20) + (64 << 10)).contains(&bytes) && files == 1, "{bytes} bytes, {files} files");
    let attributes = nfs.getattr(&used).unwrap().ok();
    assert!(attributes.used >= 1 << 20, "{attributes:?}");
    assert_eq!(attributes.fsid, nfs.getattr(root).unwrap().ok().fsid);
    let info = nfs.fsinfo(root).unwrap().ok();
    assert_eq!((info.properties, info.time_delta, info.read[2], info.write[2]), (0x1b, (0, 1), 4096, 4096));
    let (links, name, flags) = nfs.pathconf(root).unwrap().ok();
    assert_eq!((name, flags), (255, [true, true, false, true]));
    assert!(links >= 32_000, "{links}");
}

fn handles(nfs: &mut Nfs, root: &[u8]) {
    // A new file in the old inode is not the old file.
    let old = nfs.create(root, b"reused", How::Guarded(Set::mode(0o600))).unwrap().ok();
    nfs.remove(root, b"reused").unwrap().ok();
    let new =
        (0..50).map(|i| nfs.create(root, format!("reused{i}").as_bytes(), How::Guarded(Set::mode(0o600))));
    let new: Vec<_> = new.map(|created| created.unwrap().ok()).collect();
    assert!(
        new.iter().any(|new| new.attributes.fileid == old.attributes.fileid),
        "no inode was used again: the test shows nothing"
    );
    assert!(new.iter().all(|new| new.handle != old.handle));
    assert_eq!(nfs.getattr(&old.handle).unwrap().status, status::STALE);
    assert_eq!(nfs.write(&old.handle, 0, b"x", Stable::FileSync).unwrap().status, status::STALE);

    for at in 0..root.len() {
        let mut forged = root.to_vec();
        forged[at] ^= 1;
        assert_eq!(nfs.getattr(&forged).unwrap().status, status::BADHANDLE, "byte {at} changed");
    }
    for forged in [&root[..31], &[][..], &[0; 64], &[root, &[0]].concat()] {
        assert_eq!(nfs.getattr(forged).unwrap().status, status::BADHANDLE, "{forged:02x?}");
    }
}

fn handles_and_verifiers_over_a_restart(world: World, mut nfs: Nfs) -> World {
    let mut rpc = Transport::Udp.connect(&world.client, SERVER, MOUNT_PORT).unwrap();
    let root = mount(&mut rpc, "/").unwrap().unwrap();
    let used = nfs.lookup(&root, b"used").unwrap().ok();
    // The first reading since it was written is noted; from then on nothing may change, whatever is read.
    nfs.read(&used.handle, 0, 1 << 20).unwrap().ok();
    let file = nfs.lookup(&root, b"used").unwrap().ok();
    assert!(file.attributes.atime > used.attributes.atime, "that it was read is not noted");
    assert_eq!(file.attributes, Attributes { atime: file.attributes.atime, ..used.attributes });
    let folder = nfs.lookup(&root, b"d").unwrap().ok().handle;
    let mine = nfs.create(&root, b"exclusive", How::Exclusive(*b"before!!")).unwrap().ok().handle;
    let verifier = nfs.commit(&file.handle, 0, 0).unwrap().ok();
    let many = nfs.lookup(&folder, b"many").unwrap().ok().handle;
    let page = nfs.readdir(&many, 0, [0; 8], 2048).unwrap().ok();
    let next = nfs.readdir(&many, page.entries[20].cookie, page.verifier, 2048).unwrap().ok();
    drop(nfs);
    let mut seen = vec![verifier];
    let World { mut server, client, port, disk, _lan, _bench } = world;
    for orderly in [true, false] {
        if orderly {
            server.console().send_line("reboot").unwrap();
            server.expect("filesystem unmounted", START).unwrap();
        } else {
            server = server.restart().unwrap();
        }
        server.expect("serving NFS", START).unwrap();
        let mut nfs = Nfs::new(Transport::Tcp.connect(&client, SERVER, 2049).unwrap());
        assert_eq!(nfs.getattr(&file.handle).unwrap().ok(), file.attributes, "the old handle, the same file");
        assert!(nfs.read(&file.handle, 0, 1 << 20).unwrap().ok().data == pattern(1, 1 << 20));
        assert_eq!(nfs.lookup(&root, b"used").unwrap().ok().handle, file.handle);
        let again = nfs.create(&root, b"exclusive", How::Exclusive(*b"before!!")).unwrap().ok();
        assert_eq!(again.handle, mine, "an exclusive creation can be repeated after a restart");
        let page = nfs.readdir(&many, page.entries[20].cookie, page.verifier, 2048).unwrap().ok();
        assert_eq!(page.entries, next.entries, "cookies outlive the server");
        let verifier = nfs.commit(&file.handle, 0, 0).unwrap().ok();
        assert!(!seen.contains(&verifier), "every life of the server has a verifier of its own");
        seen.push(verifier);
    }
    World { server, client, port, disk, _lan, _bench }
}
