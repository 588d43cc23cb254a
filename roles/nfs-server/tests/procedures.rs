//! Every procedure of NFS version 3, and how it fails.

mod common;

use common::*;
use keelson_nfs_server::ServerConfig;
use keelson_volume::memory::MemoryOptions;

const RW: &str = "/ *(rw,no_root_squash)";

/// A world whose root directory everybody may write.
fn world() -> (World, Vec<u8>) {
    let world = World::new(RW);
    let root = world.client(0).mount("/").expect("mounted");
    assert_eq!(world.client(0).setattr(&root, Args::default().sattr(Some(0o777), None), None).0, OK);
    (world, root)
}

fn names(client: &Client<'_>, dir: &[u8], count: u32) -> Vec<String> {
    let (mut cookie, mut names) = (0, Vec::new());
    loop {
        let args = Args::default().opaque(dir).u64(cookie).u64(0).u32(count);
        let mut results = client.nfs(16, args);
        assert_eq!(results.u32(), OK);
        assert!(results.post_op().is_some());
        assert_eq!(results.u64(), 0);
        while results.bool() {
            results.u64();
            names.push(results.text());
            cookie = results.u64();
        }
        let eof = results.bool();
        assert!(results.0.len() <= count as usize + 4, "{} of {count}", results.0.len());
        results.end();
        if eof {
            return names;
        }
    }
}

#[test]
fn getattr_tells_what_stat_tells() {
    let (world, root) = world();
    let client = world.client(7);
    let attributes = client.getattr(&root).expect("attributes");
    assert_eq!((attributes.file_type, attributes.mode, attributes.nlink), (2, 0o777, 2));
    assert_eq!(attributes.fsid, u64::from_be_bytes(*b"keelson-"));
    let file = client.create(&root, "f").expect("made");
    client.write(&file, 0, 0, &[1; 5000]).expect("written");
    let attributes = client.getattr(&file).expect("attributes");
    assert_eq!((attributes.file_type, attributes.mode, attributes.uid, attributes.gid), (1, 0o644, 7, 7));
    assert_eq!((attributes.size, attributes.used), (5000, 8192));
    assert_eq!(client.getattr(&file[..31]), Err(BADHANDLE));
    assert_eq!(client.getattr(&[]), Err(BADHANDLE));
    let mut forged = file.clone();
    forged[15] ^= 1;
    assert_eq!(client.getattr(&forged), Err(BADHANDLE));
    assert_eq!(client.remove(12, &root, "f"), OK);
    assert_eq!(client.getattr(&file), Err(STALE));
}

#[test]
fn setattr_checks_guard_owner_and_groups() {
    let (world, root) = world();
    let owner = Client { groups: vec![50], ..world.client(7) };
    let file = owner.create(&root, "f").expect("made");
    let before = owner.getattr(&file).expect("attributes");
    let mode = |mode| Args::default().sattr(Some(mode), None);
    let (status, wcc) = owner.setattr(&file, mode(0o600), Some((1, 1)));
    assert_eq!((status, wcc.before.is_none()), (NOT_SYNC, true));
    assert!(wcc.after.is_some(), "attributes come with the error");
    let (status, wcc) = owner.setattr(&file, mode(0o600), Some(before.ctime));
    assert_eq!(status, OK);
    assert_eq!(wcc.before, Some((before.size, before.mtime, before.ctime)));
    assert!(wcc.after.expect("after").ctime > before.ctime);
    assert_eq!(world.client(8).setattr(&file, mode(0o777), None).0, PERM);

    let ids = |uid: Option<u32>, gid: Option<u32>| {
        let id = |args: Args, id: Option<u32>| match id {
            Some(id) => args.u32(1).u32(id),
            None => args.u32(0),
        };
        id(id(Args::default().u32(0), uid), gid).u32(0).u32(0).u32(0)
    };
    assert_eq!(owner.setattr(&file, ids(Some(8), None), None).0, PERM, "giving away");
    assert_eq!(owner.setattr(&file, ids(None, Some(51)), None).0, PERM, "a foreign group");
    assert_eq!(owner.setattr(&file, mode(0o6755), None).0, OK);
    assert_eq!(owner.setattr(&file, ids(None, Some(50)), None).0, OK, "a group of one's own");
    assert_eq!(owner.getattr(&file).expect("attributes").mode, 0o755, "set-ID bits are gone");
    assert_eq!(world.client(0).setattr(&file, ids(Some(8), Some(8)), None).0, OK);
    let attributes = owner.getattr(&file).expect("attributes");
    assert_eq!((attributes.uid, attributes.gid), (8, 8));
}

/// As Linux's server does it (the answers of the system test `nfs_posix`).
#[test]
fn set_id_bits_go_as_on_linux() {
    let (world, root) = world();
    let (superuser, owner, stranger) = (world.client(0), world.client(7), world.client(9));
    let file = owner.create(&root, "f").expect("made");
    let mode = |mode| Args::default().sattr(Some(mode), None);
    let size = |size| Args::default().sattr(None, Some(size));
    // Of a mode: what a write by each of them leaves.
    for (before, of_superuser, of_owner, of_stranger) in [
        (0o6777, 0o6777, 0o777, 0o777),
        (0o4777, 0o4777, 0o777, 0o777),
        (0o2777, 0o2777, 0o777, 0o777),
        (0o2767, 0o2767, 0o2767, 0o767),
        (0o6666, 0o6666, 0o2666, 0o666),
    ] {
        for (who, left) in [(&superuser, of_superuser), (&owner, of_owner), (&stranger, of_stranger)] {
            assert_eq!(superuser.setattr(&file, mode(before), None).0, OK);
            assert_eq!(who.setattr(&file, size(3), None).0, OK);
            assert_eq!(who.getattr(&file).expect("attributes").mode, before, "another length");
            who.write(&file, 0, 2, b"x").expect("written");
            assert_eq!(who.getattr(&file).expect("attributes").mode, left, "{before:o} by {}", who.uid);
        }
    }
}

#[test]
fn setattr_sets_sizes_and_times() {
    let (world, root) = world();
    let client = world.client(7);
    let file = client.create(&root, "f").expect("made");
    client.write(&file, 0, 2, b"0123456789").expect("written");
    let size = |size| Args::default().sattr(None, Some(size));
    assert_eq!(client.setattr(&file, size(4), None).0, OK);
    assert_eq!(client.setattr(&file, size(6), None).0, OK);
    assert_eq!(client.read(&file, 0, 100), Ok((b"0123\0\0".to_vec(), true)));
    assert_eq!(client.setattr(&root, size(4), None).0, ISDIR);
    assert_eq!(world.client(9).setattr(&file, size(0), None).0, ACCES);
    assert_eq!(client.setattr(&file, size(u64::MAX), None).0, FBIG);
    let times = |how: u32| {
        let args = Args::default().u32(0).u32(0).u32(0).u32(0);
        if how == 2 { args.u32(2).u32(5).u32(6).u32(2).u32(7).u32(8) } else { args.u32(how).u32(how) }
    };
    assert_eq!(client.setattr(&file, times(2), None).0, OK);
    let attributes = client.getattr(&file).expect("attributes");
    assert_eq!((attributes.atime, attributes.mtime), ((5, 6), (7, 8)));
    assert_eq!(client.setattr(&file, times(1), None).0, OK);
    assert_eq!(client.getattr(&file).expect("attributes").mtime.0, 1_767_225_600);
    assert_eq!(world.client(9).setattr(&file, times(2), None).0, PERM);
    assert_eq!(world.client(9).setattr(&file, times(1), None).0, ACCES);
}

#[test]
fn lookup_stays_in_the_export() {
    let world = World::new("/a *(rw,no_root_squash);/ *(rw,no_root_squash)");
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    let made = client.mkdir(&root, "a").expect("made");
    let exported = client.mount("/a").expect("mounted");
    assert_ne!(made, exported, "the export is part of the handle");
    let sub = client.mkdir(&exported, "sub").expect("made");
    assert_eq!(client.lookup(&exported, "sub").expect("found").0, sub);
    assert_eq!(client.lookup(&sub, ".").expect("found").0, sub);
    assert_eq!(client.lookup(&sub, "..").expect("found").0, exported, "the root's handle is always the same");
    assert_eq!(client.lookup(&exported, "..").expect("found").0, exported);
    assert_eq!(client.lookup(&sub, "none").unwrap_err(), NOENT);
    assert_eq!(client.lookup(&sub, "").unwrap_err(), INVAL);
    assert_eq!(client.lookup(&sub, "a/b").unwrap_err(), INVAL);
    assert_eq!(client.lookup(&sub, "x".repeat(256)).unwrap_err(), NAMETOOLONG);
    assert_eq!(client.rename(&exported, "sub", &root, "sub"), XDEV);
    let file = client.create(&exported, "f").expect("made");
    assert_eq!(client.lookup(&file, "x").unwrap_err(), NOTDIR);
    assert_eq!(client.link(&file, &root, "f"), XDEV);
}

#[test]
fn access_says_what_the_mode_gives() {
    let (world, root) = world();
    let owner = world.client(7);
    let file = owner.create(&root, "f").expect("made");
    assert_eq!(owner.setattr(&file, Args::default().sattr(Some(0o741), None), None).0, OK);
    assert_eq!(owner.access(&file, 0x3f), Ok(0x01 | 0x04 | 0x08 | 0x20));
    assert_eq!(owner.access(&file, 0x01), Ok(0x01), "only what was asked");
    assert_eq!(Client { gid: 7, ..world.client(9) }.access(&file, 0x3f), Ok(0x01));
    assert_eq!(world.client(9).access(&file, 0x3f), Ok(0x20));
    assert_eq!(owner.access(&root, 0x3f), Ok(0x1f));
    world.volume.set_read_only(true);
    assert_eq!(owner.access(&root, 0x3f), Ok(0x03));
}

#[test]
fn symbolic_links_are_opaque() {
    let (world, root) = world();
    let client = world.client(7);
    let target = "x/../\u{e9}".repeat(500);
    let (link, attributes, wcc) =
        client.make(10, &root, "l", Args::default().sattr(Some(0), None).opaque(&target)).expect("made");
    assert_eq!((attributes.file_type, attributes.mode, attributes.size), (5, 0o777, target.len() as u64));
    assert!(wcc.before.is_some());
    let readlink = |handle: &[u8]| {
        let mut results = client.nfs(5, Args::default().opaque(handle));
        let status = results.u32();
        results.post_op();
        if status == OK { Ok(results.text()) } else { Err(status) }
    };
    assert_eq!(readlink(&link), Ok(target));
    assert_eq!(readlink(&root), Err(INVAL));
    let too_long = "x".repeat(4097);
    let make = |target: &str| client.make(10, &root, "m", Args::default().sattr(None, None).opaque(target));
    assert_eq!(make(&too_long).unwrap_err(), NAMETOOLONG);
    assert_eq!(make("").unwrap_err(), INVAL);
}

#[test]
fn read_reaches_the_end_and_no_further() {
    let (world, root) = world();
    let client = world.client(7);
    let file = client.create(&root, "f").expect("made");
    let data: Vec<u8> = (0..100_003u32).map(|at| (at * 7) as u8).collect();
    client.write(&file, 0, 0, &data).expect("written");
    assert_eq!(client.read(&file, 3, 100_000), Ok((data[3..].to_vec(), true)));
    assert_eq!(client.read(&file, 0, 100_001), Ok((data[..100_001].to_vec(), false)));
    assert_eq!(client.read(&file, 100_003, 10), Ok((Vec::new(), true)));
    assert_eq!(client.read(&file, u64::MAX, u32::MAX), Ok((Vec::new(), true)));
    assert_eq!(client.read(&file, 0, 0), Ok((Vec::new(), false)));
    assert_eq!(client.read(&root, 0, 10), Err(ISDIR));
    let stranger = world.client(9);
    assert!(stranger.read(&file, 0, 10).is_ok());
    client.setattr(&file, Args::default().sattr(Some(0), None), None);
    assert_eq!(stranger.read(&file, 0, 10), Err(ACCES));
    assert!(client.read(&file, 0, 10).is_ok(), "the owner may, whatever the mode says");
    client.setattr(&file, Args::default().sattr(Some(0o001), None), None);
    assert!(stranger.read(&file, 0, 10).is_ok(), "who may execute may read");
    let mut results =
        call_datagram(&world, 2049, [100_003, 3, 6], Args::default().opaque(&file).u64(0).u32(1 << 20))
            .expect("results");
    assert_eq!(results.u32(), OK);
    results.post_op();
    assert_eq!((results.u32(), results.bool()), (32 * 1024, false), "a datagram's worth");
}

#[test]
fn write_checks_its_arguments() {
    let (world, root) = world();
    let client = world.client(7);
    let file = client.create(&root, "f").expect("made");
    let megabyte = vec![3; 1 << 20];
    assert_eq!(client.write(&file, 5, 0, &megabyte).map(|written| (written.0, written.1)), Ok((1 << 20, 0)));
    assert_eq!(client.write(&file, 0, 1, b"x").map(|written| written.1), Ok(2), "never less than asked");
    assert_eq!(client.write(&file, u64::MAX, 0, b"x"), Err(FBIG));
    assert_eq!(client.write(&root, 0, 0, b"x"), Err(ISDIR));
    assert_eq!(world.client(9).write(&file, 0, 0, b"x"), Err(ACCES));
    let args = Args::default().opaque(&file).u64(0).u32(9).u32(0).opaque("four");
    let mut results = client.nfs(7, args);
    assert_eq!(results.u32(), INVAL, "count and length differ");
    client.setattr(&file, Args::default().sattr(Some(0o6777), None), None);
    world.client(9).write(&file, 0, 0, b"x").expect("written");
    assert_eq!(client.getattr(&file).expect("attributes").mode, 0o777, "set-ID bits are gone");
}

#[test]
fn create_knows_three_ways() {
    let (world, root) = world();
    let client = world.client(7);
    let unchecked = |size| Args::default().u32(0).sattr(Some(0o600), size);
    let (file, attributes, wcc) = client.make(8, &root, "f", unchecked(None)).expect("made");
    assert_eq!((attributes.mode, attributes.size), (0o600, 0));
    assert_ne!(wcc.before.expect("before").2, wcc.after.expect("after").ctime);
    client.write(&file, 0, 0, b"0123").expect("written");
    let again = client.make(8, &root, "f", Args::default().u32(0).sattr(Some(0), None)).expect("opened");
    assert_eq!((again.0, again.1.mode, again.1.size), (file.clone(), 0o600, 4), "only a size is applied");
    assert_eq!(client.make(8, &root, "f", unchecked(Some(0))).expect("cut").1.size, 0);
    assert_eq!(client.make(8, &root, "g", unchecked(Some(9))).expect("made").1.size, 9);
    assert_eq!(world.client(9).make(8, &root, "f", unchecked(Some(0))).unwrap_err(), ACCES);
    let guarded = Args::default().u32(1).sattr(Some(0o600), None);
    assert_eq!(client.make(8, &root, "f", guarded).unwrap_err(), EXIST);
    client.mkdir(&root, "d").expect("made");
    assert_eq!(client.make(8, &root, "d", unchecked(None)).unwrap_err(), ISDIR);
    for name in [".", ".."] {
        assert_eq!(client.make(8, &root, name, unchecked(None)).unwrap_err(), EXIST);
    }
    assert_eq!(client.make(8, &file, "x", unchecked(None)).unwrap_err(), NOTDIR);

    let closed = client.mkdir(&root, "closed").expect("made");
    let shared = client.create(&closed, "f").expect("made");
    client.setattr(&shared, Args::default().sattr(Some(0o666), None), None);
    let stranger = world.client(9);
    assert_eq!(stranger.make(8, &closed, "f", unchecked(Some(0))).expect("opened").0, shared);
    assert_eq!(stranger.make(8, &closed, "g", unchecked(None)).unwrap_err(), ACCES);
    assert_eq!(stranger.mkdir(&closed, "f").unwrap_err(), EXIST);

    let exclusive = |verifier: u64| Args::default().u32(2).u64(verifier);
    let (first, attributes, _) = client.make(8, &root, "e", exclusive(0xffff_fff1_8000_0002)).expect("made");
    assert_eq!(attributes.mode, 0);
    let repeated = client.make(8, &root, "e", exclusive(0xffff_fff1_8000_0002)).expect("a retransmission");
    assert_eq!(repeated.0, first);
    assert_eq!(client.make(8, &root, "e", exclusive(1)).unwrap_err(), EXIST);
    let mode_and_times = Args::default().u32(1).u32(0o644).u32(0).u32(0).u32(0).u32(1).u32(1);
    assert_eq!(client.setattr(&first, mode_and_times, None).0, OK);
    assert_eq!(client.make(8, &root, "e", exclusive(0xffff_fff1_8000_0002)).unwrap_err(), EXIST);
}

#[test]
fn new_objects_belong_to_the_caller_or_the_directory() {
    let (world, root) = world();
    let client = world.client(7);
    let dir = client.mkdir(&root, "d").expect("made");
    let root_user = world.client(0);
    let set_gid = Args::default().u32(1).u32(0o2777).u32(0).u32(1).u32(50).u32(0).u32(0).u32(0);
    assert_eq!(root_user.setattr(&dir, set_gid, None).0, OK);
    let file = client.create(&dir, "f").expect("made");
    assert_eq!(client.getattr(&file).expect("attributes").gid, 50);
    let sub = client.mkdir(&dir, "s").expect("made");
    let attributes = client.getattr(&sub).expect("attributes");
    assert_eq!((attributes.gid, attributes.mode), (50, 0o2755));
    let given_away = Args::default().u32(0).u32(0).u32(1).u32(9).u32(0).u32(0).u32(0).u32(0);
    assert_eq!(client.make(8, &root, "x", given_away).unwrap_err(), PERM);
}

#[test]
fn mknod_makes_special_files() {
    let (world, root) = world();
    let device = |kind: u32| Args::default().u32(kind).sattr(Some(0o600), None).u32(8).u32(1);
    let made = world.client(0).make(11, &root, "b", device(3)).expect("made").1;
    assert_eq!((made.file_type, made.rdev), (3, (8, 1)));
    assert_eq!(world.client(0).make(11, &root, "c", device(4)).expect("made").1.file_type, 4);
    assert_eq!(world.client(7).make(11, &root, "d", device(4)).unwrap_err(), PERM);
    let plain = |kind: u32| Args::default().u32(kind).sattr(Some(0o600), None);
    assert_eq!(world.client(7).make(11, &root, "s", plain(6)).expect("made").1.file_type, 6);
    let (fifo, made, _) = world.client(7).make(11, &root, "p", plain(7)).expect("made");
    assert_eq!(made.file_type, 7);
    assert_eq!(world.client(7).read(&fifo, 0, 1), Err(INVAL));
    assert_eq!(world.client(7).make(11, &root, "x", Args::default().u32(1)).unwrap_err(), BADTYPE);
}

#[test]
fn names_go_away() {
    let (world, root) = world();
    let client = world.client(7);
    let dir = client.mkdir(&root, "d").expect("made");
    client.create(&dir, "f").expect("made");
    assert_eq!(client.remove(12, &root, "d"), ISDIR);
    assert_eq!(client.remove(13, &root, "d"), NOTEMPTY);
    assert_eq!(client.remove(13, &dir, "f"), NOTDIR);
    assert_eq!(client.remove(13, &dir, "."), INVAL);
    assert_eq!(client.remove(13, &dir, ".."), EXIST);
    assert_eq!(client.remove(12, &dir, "none"), NOENT);
    assert_eq!(world.client(9).remove(12, &dir, "f"), ACCES);
    assert_eq!(client.remove(12, &dir, "f"), OK);
    assert_eq!(client.remove(13, &root, "d"), OK);
    assert_eq!(client.getattr(&dir), Err(STALE));

    world.client(0).setattr(&root, Args::default().sattr(Some(0o1777), None), None);
    client.create(&root, "mine").expect("made");
    assert_eq!(world.client(9).remove(12, &root, "mine"), PERM, "sticky");
    assert_eq!(world.client(9).rename(&root, "mine", &root, "yours"), PERM);
    assert_eq!(client.remove(12, &root, "mine"), OK);
}

#[test]
fn rename_and_link() {
    let (world, root) = world();
    let client = world.client(7);
    let dir = client.mkdir(&root, "d").expect("made");
    let file = client.create(&root, "f").expect("made");
    assert_eq!(client.link(&file, &dir, "g"), OK);
    assert_eq!(client.link(&file, &dir, "g"), EXIST);
    assert_eq!(client.link(&dir, &root, "h"), PERM);
    assert_eq!(client.getattr(&file).expect("attributes").nlink, 2);
    assert_eq!(client.rename(&root, "f", &dir, "g"), OK, "one object under two names");
    assert_eq!(client.getattr(&file).expect("attributes").nlink, 2);
    assert_eq!(client.rename(&root, "f", &dir, "f"), OK);
    assert_eq!(client.lookup(&dir, "f").expect("found").0, file, "the handle is the same");
    assert_eq!(client.rename(&root, "d", &dir, "x"), INVAL);
    assert_eq!(client.rename(&root, "none", &root, "x"), NOENT);
    assert_eq!(client.rename(&root, ".", &root, "x"), INVAL);
    client.create(&root, "plain").expect("made");
    assert_eq!(client.rename(&root, "d", &root, "plain"), NOTDIR);
    assert_eq!(client.rename(&root, "plain", &root, "d"), ISDIR);
    client.mkdir(&root, "e").expect("made");
    assert_eq!(client.rename(&root, "e", &root, "d"), NOTEMPTY);
}

#[test]
fn directories_are_listed_in_pages() {
    let (world, root) = world();
    let client = world.client(7);
    let mut expected = vec![".".to_string(), "..".into()];
    for at in 0..300 {
        let name = format!("name-{at}{}", "x".repeat(at % 7));
        client.create(&root, &name).expect("made");
        expected.push(name);
    }
    for count in [200, 513, 4096, 65_536, u32::MAX] {
        assert_eq!(names(&client, &root, count), expected, "{count}");
    }
    let mut results = client.nfs(16, Args::default().opaque(&root).u64(0).u64(0).u32(100));
    assert_eq!(results.u32(), TOOSMALL);
    let mut results = client.nfs(16, Args::default().opaque(&root).u64(0).u64(0).u32(0));
    assert_eq!(results.u32(), TOOSMALL);
    let file = client.create(&root, "f").expect("made");
    let mut results = client.nfs(16, Args::default().opaque(&file).u64(0).u64(0).u32(4096));
    assert_eq!(results.u32(), NOTDIR);
}

#[test]
fn readdirplus_gives_attributes_and_handles() {
    let (world, root) = world();
    let client = world.client(7);
    for at in 0..100 {
        client.create(&root, format!("f{at}")).expect("made");
    }
    let (mut cookie, mut seen) = (0, 0);
    loop {
        let args = Args::default().opaque(&root).u64(cookie).u64(0).u32(512).u32(4096);
        let mut results = client.nfs(17, args);
        assert_eq!(results.u32(), OK);
        results.post_op();
        results.u64();
        while results.bool() {
            let (fileid, name) = (results.u64(), results.text());
            cookie = results.u64();
            let attributes = results.post_op();
            let handle = results.bool().then(|| results.opaque());
            if name == ".." {
                assert_eq!((attributes, handle, fileid), (None, None, 2), "nothing above the export");
                continue;
            }
            assert_eq!(attributes.expect("attributes").fileid, fileid);
            let found = client.lookup(&root, &name).expect("found");
            assert_eq!(handle, Some(found.0));
            seen += 1;
        }
        let eof = results.bool();
        assert!(results.0.len() <= 4100);
        results.end();
        if eof {
            break;
        }
    }
    assert_eq!(seen, 101);
    let plain = World::new("/ *(rw,nordirplus)");
    let root = plain.client(0).mount("/").expect("mounted");
    let args = Args::default().opaque(&root).u64(0).u64(0).u32(512).u32(4096);
    assert_eq!(plain.client(0).nfs(17, args).u32(), NOTSUPP);
}

#[test]
fn the_filesystem_is_described() {
    let config = ServerConfig { exports: RW.into(), max_transfer: 256 * 1024, ..ServerConfig::default() };
    let world = World::with(config, MemoryOptions { capacity: 1 << 20, inodes: 100, ..Default::default() });
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    let fsinfo = |mut results: Results| {
        assert_eq!(results.u32(), OK);
        results.post_op();
        let words: Vec<u32> = (0..7).map(|_| results.u32()).collect();
        assert_eq!(results.u64(), (1 << 44) - 4096);
        assert_eq!(results.time(), (0, 1));
        assert_eq!(results.u32(), 0x1b);
        results.end();
        words
    };
    let tcp = fsinfo(client.nfs(19, Args::default().opaque(&root)));
    assert_eq!(tcp, [262_144, 262_144, 4096, 262_144, 262_144, 4096, 65_536]);
    let args = Args::default().opaque(&root);
    let udp = fsinfo(call_datagram(&world, 2049, [100_003, 3, 19], args).expect("results"));
    assert_eq!(udp, [32_768, 32_768, 4096, 32_768, 32_768, 4096, 32_768]);

    let mut results = client.nfs(18, Args::default().opaque(&root));
    assert_eq!(results.u32(), OK);
    results.post_op();
    let sizes: Vec<u64> = (0..6).map(|_| results.u64()).collect();
    assert_eq!(sizes, [1 << 20, (1 << 20) - 4096, (1 << 20) - 4096, 100, 99, 99]);
    assert_eq!(results.u32(), 0);
    let mut results = client.nfs(20, Args::default().opaque(&root));
    assert_eq!(results.u32(), OK);
    results.post_op();
    let words: Vec<u32> = (0..6).map(|_| results.u32()).collect();
    assert_eq!(words, [65_000, 255, 1, 1, 0, 1]);

    let file = client.create(&root, "f").expect("made");
    assert_eq!(client.write(&file, 0, 0, &vec![1; 1 << 18]).map(|w| w.0), Ok(1 << 18));
    for at in 1..3 {
        client.write(&file, at << 18, 0, &vec![1; 1 << 18]).expect("written");
    }
    assert_eq!(client.write(&file, 3 << 18, 0, &vec![1; 1 << 18]), Err(NOSPC));
    assert_eq!(client.remove(12, &root, "f"), OK, "removing works on a full disk");
}

#[test]
fn a_read_only_export_refuses_every_change() {
    let world = World::new("/ 10.0.0.3(rw,no_root_squash) *(ro,no_root_squash)");
    let writer = world.client_at("10.0.0.3:900", 0);
    let root = writer.mount("/").expect("mounted");
    let file = writer.create(&root, "f").expect("made");
    let reader = world.client(0);
    assert_eq!(reader.mount("/").as_ref(), Ok(&root), "a mount is granted");
    assert!(reader.read(&file, 0, 1).is_ok());
    assert_eq!(reader.write(&file, 0, 0, b"x"), Err(ROFS));
    assert_eq!(reader.create(&root, "g").unwrap_err(), ROFS);
    assert_eq!(reader.mkdir(&root, "g").unwrap_err(), ROFS);
    assert_eq!(reader.remove(12, &root, "f"), ROFS);
    assert_eq!(reader.rename(&root, "f", &root, "g"), ROFS);
    assert_eq!(reader.link(&file, &root, "g"), ROFS);
    assert_eq!(reader.setattr(&file, Args::default().sattr(Some(0), None), None).0, ROFS);
    assert_eq!(reader.access(&root, 0x3f), Ok(0x03));
}

#[test]
fn squashing_and_ports_hold_at_every_call() {
    let world = World::new(
        "/ 10.0.0.3(rw,no_root_squash) 10.0.0.4(rw,all_squash,anonuid=40,anongid=41) \
                            10.0.0.0/24(rw)",
    );
    let root_user = world.client_at("10.0.0.3:900", 0);
    let root = root_user.mount("/").expect("mounted");
    root_user.setattr(&root, Args::default().sattr(Some(0o777), None), None);
    let owner_of = |client: Client<'_>, name: &str| {
        let file = client.create(&root, name).expect("made");
        let attributes = client.getattr(&file).expect("attributes");
        (attributes.uid, attributes.gid)
    };
    assert_eq!(owner_of(root_user.clone(), "a"), (0, 0));
    assert_eq!(owner_of(world.client(0), "b"), (65_534, 65_534));
    assert_eq!(owner_of(world.client(7), "c"), (7, 7));
    assert_eq!(owner_of(world.client_at("10.0.0.4:900", 7), "d"), (40, 41));
    assert_eq!(world.client_at("10.0.0.2:4000", 7).getattr(&root), Err(PERM), "illegal port");
    let stranger = world.client_at("10.1.0.2:900", 7);
    assert_eq!(stranger.getattr(&root), Err(ACCES));
    let mut results = stranger.nfs(3, Args::default().opaque(&root).opaque("a"));
    assert_eq!((results.u32(), results.post_op()), (ACCES, None), "and nothing is told");
}
