//! Sections 4.1's rows, compared with what std sees and does.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use keelson_lwk_host::proxy::confine::{Root, Rules};
use keelson_lwk_wire::calls::{AT_FDCWD, PATH_OF};
use keelson_lwk_wire::frame::{FrameType, Header};
use keelson_lwk_wire::layout::{Dirents, DirentsOld, Stat, Statfs, Statx};
use keelson_lwk_wire::messages::{FdKind, Message, PageIn, PageInReply, PageOut, PageOutReply};

use crate::sim::*;

const CREATE: u64 = 0o100;
const RDWR: u64 = 2;
const TRUNC: u64 = 0o1000;

#[test]
fn open_read_write_seek() {
    let (bench, scratch) = (bench(), Scratch::new("rw"));
    let sim = &bench.sim;
    let name = scratch.path("file");
    let opened = sim.call(257, &[CWD, P(&name), N(CREATE | RDWR | TRUNC), N(0o640)]);
    let file = opened.ok();
    let hint = opened.hint.unwrap();
    let metadata = fs::metadata(&name).unwrap();
    assert_eq!(
        (hint.kind, hint.stat.ino, hint.stat.dev, hint.stat.mode),
        (FdKind::Regular, metadata.ino(), metadata.dev(), metadata.mode())
    );
    assert!(hint.seekable && !hint.tty);
    assert_eq!(sim.call(1, &[N(file), In(b"hello, world"), N(12)]).ok(), 12);
    assert_eq!(sim.call(18, &[N(file), In(b"W"), N(1), N(7)]).ok(), 1);
    assert_eq!(sim.call(20, &[N(file), Iov(&[b"!", b"", b"?x"]), N(3)]).ok(), 3);
    assert_eq!(sim.call(296, &[N(file), Iov(&[b"H"]), N(1), N(0), N(0)]).ok(), 1);
    assert_eq!(fs::read(&name).unwrap(), b"Hello, World!?x");
    assert_eq!(sim.call(8, &[N(file), N(2), N(0)]).ok(), 2);
    let read = sim.call(0, &[N(file), Out(5), N(5)]);
    assert_eq!((read.ok(), read.at(1)), (5, &b"llo, "[..]));
    let read = sim.call(17, &[N(file), Out(100), N(100), N(13)]);
    assert_eq!((read.ok(), &read.at(1)[..3]), (2, &b"?x\xee"[..]));
    let read = sim.call(19, &[N(file), Iov(&[&[0; 3], &[0; 4]]), N(2)]);
    assert_eq!((read.ok(), &read.at(1)[..3], &read.at(1)[19..23]), (7, &b"Wor"[..], &b"ld!?"[..]));
    // preadv2 at the file's own offset.
    let read = sim.call(327, &[N(file), Iov(&[&[0; 4]]), N(1), N(u64::MAX), N(0), N(0)]);
    assert_eq!((read.ok(), read.at(1)[0]), (1, b'x'));
    // RWF_APPEND | RWF_SYNC, wherever the offset is; flags that no Linux has.
    assert_eq!(sim.call(328, &[N(file), Iov(&[b"."]), N(1), N(0), N(0), N(0x14)]).ok(), 1);
    assert!(fs::read(&name).unwrap().ends_with(b"x."));
    assert_eq!(sim.call(328, &[N(file), Iov(&[b"."]), N(1), N(0), N(0), N(1 << 30)]).error(), "EOPNOTSUPP");
    let read = sim.call(327, &[N(file), Iov(&[&[0; 4]]), N(1), N(u64::MAX), N(0), N(1)]);
    assert_eq!(read.ok(), 1);
    assert_eq!(sim.call(0, &[N(file), Out(5), N(5)]).ok(), 0);
    assert_eq!(sim.call(8, &[N(file), N(-1i64 as u64), N(0)]).error(), "EINVAL");
    assert_eq!(sim.call(77, &[N(file), N(5)]).ok(), 0);
    assert_eq!(fs::read(&name).unwrap(), b"Hello");
    assert_eq!(sim.call(285, &[N(file), N(0), N(0), N(9000)]).ok(), 0);
    assert_eq!(sim.call(76, &[P(&name), N(8000)]).ok(), 0);
    assert_eq!(fs::metadata(&name).unwrap().len(), 8000);
    for sync in [74, 75, 306] {
        assert_eq!(sim.call(sync, &[N(file)]).ok(), 0);
    }
    assert_eq!(sim.call(3, &[N(file)]).ok(), 0);
    assert!(bench.proxy.handles.get(file).is_none());
    // openat2, and errors of opening.
    let how = [0u64, 0, 0].map(u64::to_le_bytes).concat();
    sim.call(437, &[CWD, P(&name), In(&how), N(24)]).ok();
    assert_eq!(sim.call(2, &[P(&scratch.path("none")), N(0), N(0)]).error(), "ENOENT");
    assert_eq!(sim.call(2, &[P(&name), N(CREATE | 0o200), N(0o600)]).error(), "EEXIST");
    let created = sim.call(85, &[P(&scratch.path("made")), N(0o600)]).ok();
    assert_eq!(sim.call(0, &[N(created), Out(1), N(1)]).error(), "EBADF");
}

#[test]
fn large_transfers_stream() {
    let (bench, scratch) = (bench(), Scratch::new("large"));
    let sim = &bench.sim;
    let name = scratch.path("file");
    // More than the window of a request, so that credits matter.
    let bytes: Vec<u8> = (0..11_000_003u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let file = sim.call(2, &[P(&name), N(CREATE | RDWR), N(0o600)]).ok();
    assert_eq!(sim.call(1, &[N(file), In(&bytes), N(bytes.len() as u64)]).ok(), bytes.len() as u64);
    assert!(fs::read(&name).unwrap() == bytes);
    let read = sim.call(17, &[N(file), Out(20_000_000), N(20_000_000), N(0)]);
    assert_eq!(read.ok(), bytes.len() as u64);
    assert!(read.at(1)[..bytes.len()] == bytes[..]);
    // A short answer to a large request needs no DATA.
    let read = sim.call(17, &[N(file), Out(20_000_000), N(20_000_000), N(11_000_000)]);
    assert_eq!((read.ok(), &read.at(1)[..4]), (3, &[&bytes[11_000_000..], &[0xee]].concat()[..]));
    // An error in the middle of a write: what fitted counts.
    let full = sim.call(2, &[P("/dev/full"), N(1), N(0)]).ok();
    assert_eq!(sim.call(1, &[N(full), In(&bytes[..300_000]), N(300_000)]).error(), "ENOSPC");
    assert_eq!(sim.call(1, &[N(file), In(b"still alive"), N(11)]).ok(), 11);
}

#[test]
fn attributes() {
    let (bench, scratch) = (bench(), Scratch::new("attributes"));
    let sim = &bench.sim;
    let (name, link) = (scratch.path("file"), scratch.path("link"));
    fs::write(&name, b"12345").unwrap();
    std::os::unix::fs::symlink("file", &link).unwrap();
    let check = |stat: &[u8], path: &str, follow: bool| {
        let stat = Stat::read(stat).unwrap();
        let m = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) }.unwrap();
        assert_eq!((stat.dev, stat.ino, stat.nlink, stat.mode), (m.dev(), m.ino(), m.nlink(), m.mode()));
        assert_eq!((stat.uid, stat.gid, stat.rdev, stat.size as u64), (m.uid(), m.gid(), m.rdev(), m.size()));
        assert_eq!((stat.blksize as u64, stat.blocks as u64), (m.blksize(), m.blocks()));
        assert_eq!(
            (stat.mtime, stat.mtime_nsec, stat.ctime, stat.ctime_nsec),
            (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())
        );
    };
    check(sim.call(4, &[P(&link), Out(144)]).at(1), &name, true);
    check(sim.call(6, &[P(&link), Out(144)]).at(1), &link, false);
    check(sim.call(262, &[CWD, P(&link), Out(144), N(0x100)]).at(2), &link, false);
    check(sim.call(4, &[P("/dev/null"), Out(144)]).at(1), "/dev/null", true);
    let file = sim.call(2, &[P(&name), N(RDWR), N(0)]).ok();
    check(sim.call(5, &[N(file), Out(144)]).at(1), &name, true);
    check(sim.call(262, &[N(file), P(""), Out(144), N(0x1000)]).at(2), &name, true);
    let statx = sim.call(332, &[CWD, P(&name), N(0), N(0xfff), Out(256)]);
    let statx = Statx::read(statx.at(4)).unwrap();
    let m = fs::metadata(&name).unwrap();
    assert_eq!(
        (statx.ino, statx.size, u32::from(statx.mode), statx.mtime),
        (m.ino(), m.size(), m.mode(), m.mtime())
    );

    assert_eq!(sim.call(90, &[P(&name), N(0o600)]).ok(), 0);
    assert_eq!(sim.call(91, &[N(file), N(0o4711)]).ok(), 0);
    assert_eq!(fs::metadata(&name).unwrap().permissions().mode(), 0o104_711);
    assert_eq!(sim.call(268, &[CWD, P(&name), N(0o644)]).ok(), 0);
    let same = N(u32::MAX.into());
    assert_eq!(sim.call(92, &[P(&name), same, N(u32::MAX.into())]).ok(), 0);
    assert_eq!(sim.call(93, &[N(file), N(m.uid().into()), N(m.gid().into())]).ok(), 0);
    assert_eq!(sim.call(94, &[P(&link), N(m.uid().into()), N(u32::MAX.into())]).ok(), 0);
    assert_eq!(sim.call(260, &[CWD, P(&link), N(m.uid().into()), N(m.gid().into()), N(0)]).ok(), 0);
    for (nr, times, wanted) in [
        (132, [100i64, 200].map(i64::to_le_bytes).concat(), (100, 200, 0)),
        (235, [1i64, 2, 3, 4].map(i64::to_le_bytes).concat(), (1, 3, 4000)),
        (280, [5i64, 6, 7, 8].map(i64::to_le_bytes).concat(), (5, 7, 8)),
    ] {
        let done = if nr == 280 {
            sim.call(nr, &[CWD, P(&name), In(&times), N(0)])
        } else {
            sim.call(nr, &[P(&name), In(&times)])
        };
        assert_eq!(done.ok(), 0);
        let m = fs::metadata(&name).unwrap();
        assert_eq!((m.atime(), m.mtime(), m.mtime_nsec()), wanted);
    }
    assert_eq!(sim.call(280, &[N(file), N(0), N(0), N(0)]).ok(), 0);
    assert!(fs::metadata(&name).unwrap().mtime() > 1_000_000_000);
    assert_eq!(
        sim.call(235, &[P(&name), In(&[1i64, 2_000_000, 0, 0].map(i64::to_le_bytes).concat())]).error(),
        "EINVAL"
    );

    assert_eq!(sim.call(21, &[P(&name), N(4)]).ok(), 0);
    assert_eq!(sim.call(269, &[CWD, P(&scratch.path("no")), N(0)]).error(), "ENOENT");
    assert_eq!(sim.call(439, &[CWD, P(&link), N(0), N(0x100)]).ok(), 0);
    let statfs = sim.call(137, &[P(&name), Out(120)]);
    let of_file = sim.call(138, &[N(file), Out(120)]);
    let (by_path, by_handle) = (Statfs::read(statfs.at(1)).unwrap(), Statfs::read(of_file.at(1)).unwrap());
    assert_eq!(
        (by_path.kind, by_path.bsize, by_path.fsid),
        (by_handle.kind, by_handle.bsize, by_handle.fsid)
    );
    let real = rustix::fs::statvfs(&*name).unwrap();
    assert_eq!(
        (by_path.blocks, by_path.namelen as u64, by_path.fsid),
        (real.f_blocks, real.f_namemax, real.f_fsid)
    );
}

#[test]
fn names() {
    let (bench, scratch) = (bench(), Scratch::new("names"));
    let sim = &bench.sim;
    let p = |name: &str| scratch.path(name);
    assert_eq!(sim.call(83, &[P(&p("dir")), N(0o755)]).ok(), 0);
    assert_eq!(sim.call(83, &[P(&p("slash/")), N(0o755)]).ok(), 0);
    let dir = sim.call(2, &[P(&p("dir")), N(0o200_000), N(0)]).ok();
    assert_eq!(sim.call(258, &[N(dir), P("sub"), N(0o700)]).ok(), 0);
    assert!(fs::metadata(p("dir/sub")).unwrap().is_dir());
    fs::write(p("a"), b"a").unwrap();
    assert_eq!(sim.call(82, &[P(&p("a")), P(&p("b"))]).ok(), 0);
    assert_eq!(sim.call(264, &[CWD, P(&p("b")), N(dir), P("c")]).ok(), 0);
    fs::write(p("d"), b"d").unwrap();
    assert_eq!(sim.call(316, &[N(dir), P("c"), CWD, P(&p("d")), N(1)]).error(), "EEXIST");
    assert_eq!(sim.call(316, &[N(dir), P("c"), CWD, P(&p("d")), N(2)]).ok(), 0);
    assert_eq!(fs::read(p("d")).unwrap(), b"a");
    assert_eq!(sim.call(86, &[P(&p("d")), P(&p("e"))]).ok(), 0);
    assert_eq!(sim.call(265, &[CWD, P(&p("d")), N(dir), P("f"), N(0)]).ok(), 0);
    assert_eq!(fs::metadata(p("d")).unwrap().nlink(), 3);
    assert_eq!(sim.call(88, &[P("target/of/link"), P(&p("l"))]).ok(), 0);
    assert_eq!(sim.call(266, &[P("x"), N(dir), P("m")]).ok(), 0);
    let link = sim.call(89, &[P(&p("l")), Out(6), N(6)]);
    assert_eq!((link.ok(), link.at(1)), (6, &b"target"[..]));
    let link = sim.call(267, &[N(dir), P("m"), Out(60), N(60)]);
    assert_eq!((link.ok(), &link.at(2)[..2]), (1, &b"x\xee"[..]));
    assert_eq!(sim.call(89, &[P(&p("d")), Out(6), N(6)]).error(), "EINVAL");
    assert_eq!(sim.call(133, &[P(&p("fifo")), N(0o010_600), N(0)]).ok(), 0);
    assert!(fs::metadata(p("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(sim.call(259, &[CWD, P(&p("dev")), N(0o020_600), N(0x103)]).error(), "EPERM");
    assert_eq!(sim.call(87, &[P(&p("l"))]).ok(), 0);
    assert_eq!(sim.call(263, &[N(dir), P("sub"), N(0x200)]).ok(), 0);
    assert_eq!(sim.call(84, &[P(&p("dir"))]).error(), "ENOTEMPTY");
    assert_eq!(sim.call(84, &[P(&p("slash"))]).ok(), 0);
    let cwd = sim.call(79, &[Out(4096), N(4096)]);
    let real = std::env::current_dir().unwrap();
    assert_eq!(&cwd.at(0)[..cwd.ok() as usize], [real.to_str().unwrap().as_bytes(), b"\0"].concat());
    assert_eq!(sim.call(79, &[Out(2), N(2)]).error(), "ERANGE");
}

/// Where an open file is, whatever it was opened as.
#[test]
fn paths_of_open_files() {
    let (bench, scratch) = (bench(), Scratch::new("path-of"));
    let (sim, p) = (&bench.sim, |name: &str| scratch.path(name));
    fs::write(p("file"), b"a").unwrap();
    std::os::unix::fs::symlink("file", p("link")).unwrap();
    let real = fs::canonicalize(p("file")).unwrap().into_os_string().into_encoded_bytes();
    let fd = sim.call(2, &[P(&p("link")), N(0), N(0)]).ok();
    let told = sim.call(PATH_OF, &[N(fd), Out(4096), N(4096)]);
    assert_eq!(&told.at(1)[..told.ok() as usize], real);
    assert_eq!(sim.call(PATH_OF, &[N(fd), Out(3), N(3)]).error(), "ERANGE");
    fs::remove_file(p("file")).unwrap();
    let told = sim.call(PATH_OF, &[N(fd), Out(4096), N(4096)]);
    assert_eq!(&told.at(1)[..told.ok() as usize], [&real[..], b" (deleted)"].concat());
    let socket = sim.call(41, &[N(1), N(2), N(0)]).ok();
    assert_eq!(sim.call(PATH_OF, &[N(socket), Out(4096), N(4096)]).error(), "ENOENT");
}

#[test]
fn directories() {
    let (bench, scratch) = (bench(), Scratch::new("directories"));
    let sim = &bench.sim;
    for index in 0..500 {
        fs::write(scratch.path(&format!("file-{index}-{}", "x".repeat(index % 40))), b"").unwrap();
    }
    let mut wanted: Vec<String> = fs::read_dir(&scratch.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    wanted.extend([".".into(), "..".into()]);
    wanted.sort();
    for nr in [217, 78] {
        let dir = sim.call(2, &[P(scratch.0.to_str().unwrap()), N(0o200_000), N(0)]).ok();
        let (mut names, mut third) = (Vec::new(), None);
        loop {
            let read = sim.call(nr, &[N(dir), Out(1024), N(1024)]);
            if read.ok() == 0 {
                break;
            }
            let bytes = &read.at(1)[..read.ok() as usize];
            let entries: Vec<(String, i64)> = if nr == 217 {
                Dirents(bytes)
                    .map(|entry| (String::from_utf8(entry.name.to_vec()).unwrap(), entry.off))
                    .collect()
            } else {
                DirentsOld(bytes)
                    .map(|entry| (String::from_utf8(entry.name.to_vec()).unwrap(), entry.off))
                    .collect()
            };
            assert!(!entries.is_empty());
            names.extend(entries);
            third = third.or(names.get(3).cloned());
        }
        // An offset leads back to the entry behind it.
        assert!(sim.call(8, &[N(dir), N(names[2].1 as u64), N(0)]).result >= 0);
        let read = sim.call(217, &[N(dir), Out(1024), N(1024)]);
        let first = Dirents(&read.at(1)[..read.ok() as usize]).next().unwrap().name.to_vec();
        assert_eq!(first, third.unwrap().0.as_bytes());
        let mut names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(names, wanted);
        assert_eq!(sim.call(nr, &[N(dir), Out(1), N(1)]).error(), "EINVAL");
    }
}

#[test]
fn extended_attributes() {
    let (bench, scratch) = (bench(), Scratch::new("xattr"));
    let sim = &bench.sim;
    let name = scratch.path("file");
    fs::write(&name, b"").unwrap();
    if sim.call(188, &[P(&name), P("user.one"), In(b"value"), N(5), N(0)]).error() == "EOPNOTSUPP" {
        // This file system has none: so says the kernel, not the proxy.
        assert_eq!(
            rustix::fs::setxattr(&*name, "user.one", b"v", rustix::fs::XattrFlags::empty()),
            Err(rustix::io::Errno::OPNOTSUPP)
        );
        return;
    }
    let get = sim.call(191, &[P(&name), P("user.one"), Out(10), N(10)]);
    assert_eq!((get.ok(), &get.at(2)[..5]), (5, &b"value"[..]));
    assert_eq!(sim.call(192, &[P(&name), P("user.one"), N(0), N(0)]).ok(), 5);
    assert_eq!(sim.call(191, &[P(&name), P("user.one"), Out(2), N(2)]).error(), "ERANGE");
    let file = sim.call(2, &[P(&name), N(RDWR), N(0)]).ok();
    assert_eq!(sim.call(190, &[N(file), P("user.two"), In(b"2"), N(1), N(0)]).ok(), 0);
    let list = sim.call(196, &[N(file), Out(100), N(100)]);
    assert!(list.at(1).windows(9).any(|part| part == b"user.two\0"));
    assert_eq!(sim.call(194, &[P(&name), N(0), N(0)]).ok(), list.ok());
    assert_eq!(sim.call(197, &[P(&name), P("user.one")]).ok(), 0);
    assert_eq!(sim.call(199, &[N(file), P("user.two")]).ok(), 0);
    assert_eq!(sim.call(193, &[N(file), P("user.two"), N(0), N(0)]).error(), "ENODATA");
}

#[test]
fn between_files() {
    let (bench, scratch) = (bench(), Scratch::new("between"));
    let sim = &bench.sim;
    fs::write(scratch.path("from"), b"0123456789").unwrap();
    let from = sim.call(2, &[P(&scratch.path("from")), N(0), N(0)]).ok();
    let to = sim.call(2, &[P(&scratch.path("to")), N(CREATE | RDWR), N(0o600)]).ok();
    let sent = sim.call(40, &[N(to), N(from), Io(&4u64.to_le_bytes()), N(3)]);
    assert_eq!((sent.ok(), sent.at(2)), (3, &7u64.to_le_bytes()[..]));
    assert_eq!(sim.call(40, &[N(to), N(from), N(0), N(100)]).ok(), 10);
    let copied = sim.call(326, &[N(from), Io(&1u64.to_le_bytes()), N(to), N(0), N(2), N(0)]);
    if copied.error() != "EXDEV" {
        assert_eq!((copied.ok(), copied.at(1)), (2, &3u64.to_le_bytes()[..]));
        assert_eq!(fs::read(scratch.path("to")).unwrap(), b"456012345678912");
    }
    // Pages do not move the offset.
    let ask = |header: Header, page: PageIn| {
        sim.hi.send(&header, &page);
        sim.expect(FrameType::PageInReply)
    };
    let reply = ask(Header::new(FrameType::PageIn).id(5), PageIn { handle: from, offset: 8, len: 4096 });
    assert_eq!(PageInReply::decode(&reply.payload).unwrap().result, Ok(&b"89"[..]));
    let out = PageOut { handle: to, offset: 1, sync: true, bytes: b"PAGE" };
    sim.hi.send(&Header::new(FrameType::PageOut).id(6), &out);
    assert_eq!(PageOutReply::decode(&sim.expect(FrameType::PageOutReply).payload).unwrap().result, Ok(()));
    assert_eq!(&fs::read(scratch.path("to")).unwrap()[..6], b"4PAGE2");
}

#[test]
fn locks_and_flags() {
    let (bench, scratch) = (bench(), Scratch::new("locks"));
    let sim = &bench.sim;
    let name = scratch.path("file");
    fs::write(&name, b"x").unwrap();
    let (one, two) =
        (sim.call(2, &[P(&name), N(RDWR), N(0)]).ok(), sim.call(2, &[P(&name), N(RDWR), N(0)]).ok());
    assert_eq!(sim.call(73, &[N(one), N(2)]).ok(), 0);
    assert_eq!(sim.call(73, &[N(two), N(2 | 4)]).error(), "EAGAIN");
    let waiting = sim.start(73, &[N(two), N(2)]);
    assert_eq!(sim.call(73, &[N(one), N(8)]).ok(), 0);
    assert_eq!(sim.wait(waiting).ok(), 0);
    let waiting = sim.start(73, &[N(one), N(1)]);
    sim.cancel(waiting.id);
    assert_eq!(sim.wait(waiting).error(), "EINTR");
    // Open file description locks: F_OFD_SETLK, F_OFD_GETLK, F_OFD_SETLKW.
    let lock = |kind: i16| keelson_lwk_wire::layout::Flock { kind, len: 10, ..Default::default() }.to_bytes();
    assert_eq!(sim.call(72, &[N(one), N(37), Io(&lock(1))]).ok(), 0);
    assert_eq!(sim.call(72, &[N(two), N(37), Io(&lock(1))]).error(), "EAGAIN");
    let held = sim.call(72, &[N(two), N(36), Io(&lock(0))]);
    assert_eq!(keelson_lwk_wire::layout::Flock::read(held.at(2)).unwrap().kind, 1);
    let waiting = sim.start(72, &[N(two), N(38), Io(&lock(1))]);
    assert_eq!(sim.call(72, &[N(one), N(37), Io(&lock(2))]).ok(), 0);
    assert_eq!(sim.wait(waiting).ok(), 0);
    assert_eq!(sim.call(72, &[N(one), N(3)]).ok() & 3, RDWR);
    assert_eq!(sim.call(72, &[N(one), N(4), N(RDWR | 0o2000)]).ok(), 0);
    assert_eq!(sim.call(72, &[N(one), N(3)]).ok() & 0o2000, 0o2000);
}

#[test]
fn programs_for_exec() {
    let (bench, scratch) = (bench(), Scratch::new("exec"));
    let sim = &bench.sim;
    let opened = sim.call(59, &[P("/proc/self/exe"), N(0), N(0)]);
    // /proc/self is this process, which is none of the program's business; the file behind it is.
    let mut head = sim.call(0, &[N(opened.ok()), Out(4), N(4)]);
    assert_eq!(head.memory.remove(1), b"\x7fELF");
    fs::write(scratch.path("plain"), b"x").unwrap();
    assert_eq!(sim.call(59, &[P(&scratch.path("plain")), N(0), N(0)]).error(), "EACCES");
    assert_eq!(sim.call(322, &[CWD, P(scratch.0.to_str().unwrap()), N(0), N(0), N(0)]).error(), "EACCES");
    assert_eq!(sim.call(59, &[P(&scratch.path("none")), N(0), N(0)]).error(), "ENOENT");
}

/// FS_IOC_SETFLAGS with FS_NODUMP_FL, where the file system of the folder has flags at all.
#[test]
fn flags_of_inodes() {
    let (bench, scratch) = (bench(), Scratch::new("inode-flags"));
    let sim = &bench.sim;
    let name = scratch.path("file");
    let file = sim.call(257, &[CWD, P(&name), N(CREATE | RDWR), N(0o640)]).ok();
    let flags = || sim.call(16, &[N(file), N(0x8008_6601), Out(8)]);
    let set = |flags: u32| sim.call(16, &[N(file), N(0x4008_6602), In(&flags.to_le_bytes())]);
    if flags().result < 0 {
        assert_eq!(set(0x40).error(), flags().error());
        return;
    }
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
    let before = word(flags().at(2));
    assert_eq!(set(before | 0x40).ok(), 0);
    assert_eq!(word(flags().at(2)), before | 0x40);
    assert_eq!(set(before).ok(), 0);
}

#[test]
fn confinement() {
    let scratch = Scratch::new("root");
    fs::create_dir(scratch.path("in")).unwrap();
    fs::write(scratch.path("in/file"), b"inside").unwrap();
    fs::write(scratch.path("outside"), b"outside").unwrap();
    std::os::unix::fs::symlink("/../outside", scratch.path("in/away")).unwrap();
    std::os::unix::fs::symlink("/file", scratch.path("in/abs")).unwrap();
    let root = Root::open(scratch.path("in").as_ref()).unwrap();
    let bench = bench_with(Rules { root: Some(root), ..Rules::default() });
    let sim = &bench.sim;
    let read = |path: &str| {
        let opened = sim.call(2, &[P(path), N(0), N(0)]);
        if opened.result < 0 {
            opened.error().to_owned()
        } else {
            let read = sim.call(0, &[N(opened.ok()), Out(20), N(20)]);
            String::from_utf8(read.at(1)[..read.ok() as usize].to_vec()).unwrap()
        }
    };
    assert_eq!(read("/file"), "inside");
    assert_eq!(read("/abs"), "inside");
    assert_eq!(read("/../../file"), "inside");
    assert_eq!(read("/away"), "ENOENT");
    let inside = sim.call(2, &[P("/abs"), N(0), N(0)]).ok();
    let told = sim.call(PATH_OF, &[N(inside), Out(4096), N(4096)]);
    assert_eq!(&told.at(1)[..told.ok() as usize], b"/file");
    assert_eq!(read(&scratch.path("outside")), "ENOENT");
    assert_eq!(sim.call(4, &[P("/abs"), Out(144)]).ok(), 0);
    assert_eq!(sim.call(4, &[P("/away"), Out(144)]).error(), "ENOENT");
    assert_eq!(sim.call(87, &[P("/away")]).ok(), 0);
    assert_eq!(sim.call(83, &[P("/../../dir"), N(0o755)]).ok(), 0);
    assert!(fs::metadata(scratch.path("in/dir")).unwrap().is_dir());

    let bench = bench_with(Rules { read_only: true, deny_net: true, ..Rules::default() });
    let sim = &bench.sim;
    let file = scratch.path("in/file");
    assert_eq!(sim.call(2, &[P(&file), N(RDWR), N(0)]).error(), "EROFS");
    assert_eq!(sim.call(87, &[P(&file)]).error(), "EROFS");
    assert_eq!(sim.call(90, &[P(&file), N(0)]).error(), "EROFS");
    assert_eq!(sim.call(257, &[N(AT_FDCWD), P(&file), N(0), N(0)]).error(), "success");
    assert_eq!(sim.call(41, &[N(2), N(1), N(0)]).error(), "EACCES");
    assert_eq!(sim.call(2, &[P("/proc/self/mem"), N(0), N(0)]).error(), "EACCES");
    for path in ["/proc/net/dev", "/proc/mounts"] {
        assert_eq!(sim.call(2, &[P(path), N(0), N(0)]).error(), "success", "{path}");
    }
}
