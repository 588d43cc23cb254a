//! Opening, reading, writing, listing, links: of this node and of another one.

use crate::node::Lab;
use crate::world::{delayed, root};
use keelson_qnet::api::KernelConfig;
use keelson_qnet::client::{Files, OpenFlags, copy};
use keelson_qnet::io::IoConfig;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::io::{Dcmd, ioflag, whence};

async fn names(files: &Files, path: &str) -> Vec<String> {
    files.read_dir(path).await.unwrap().into_iter().map(|item| item.name).collect()
}

/// The same on both nodes.
fn everywhere(test: impl AsyncFn(Files, &str)) {
    for prefix in ["", "/net/beta"] {
        let lab = Lab::new();
        let files = lab.files(0, &root());
        finish(&lab, test(files, prefix));
        lab.world.settle();
        lab.assert_baseline();
    }
}

/// Runs a future that borrows: polls it between turns of the executor.
fn finish(lab: &Lab, future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..1_000_000 {
        if future.as_mut().poll(&mut context).is_ready() {
            return;
        }
        lab.world.executor.turn();
    }
    panic!("the test does not end");
}

#[test]
fn write_and_read_back() {
    everywhere(async |files, node| {
        let path = &format!("{node}/hello");
        let file = files.create(path, 0o644).await.unwrap();
        assert_eq!(file.write(b"hello, ").await, Ok(7));
        assert_eq!(file.write(b"world").await, Ok(5));
        assert_eq!(file.lseek(-5, whence::END).await, Ok(7));
        let mut room = [0; 64];
        assert_eq!(file.read(&mut room).await, Ok(5));
        assert_eq!(&room[..5], b"world");
        assert_eq!(file.read(&mut room).await, Ok(0));
        assert_eq!(file.read_at(1, &mut room[..4]).await, Ok(4));
        assert_eq!(&room[..4], b"ello");
        assert_eq!(file.lseek(0, whence::CUR).await, Ok(12), "a read with a position moves nothing");
        assert_eq!(file.lseek(-13, whence::CUR).await, Err(Errno::EINVAL));
        file.truncate(5).await.unwrap();
        assert_eq!(file.stat().await.unwrap().size, 5);
        file.close().await.unwrap();
        let stat = files.stat(path).await.unwrap();
        assert_eq!((stat.size, stat.mode, stat.nlink), (5, 0x8000 | 0o644, 1));
        assert_eq!(files.read_to_end(path, 100).await.unwrap(), b"hello");
        assert_eq!(files.read_to_end(path, 4).await, Err(Errno::EFBIG));
    });
}

#[test]
fn open_flags() {
    everywhere(async |files, node| {
        let path = &format!("{node}/file");
        let exclusive = OpenFlags::REPLACE.with(ioflag::EXCL);
        files.open_mode(path, exclusive, 0o600).await.unwrap().write_all(b"abc").await.unwrap();
        assert_eq!(files.open_mode(path, exclusive, 0o600).await.err(), Some(Errno::EEXIST));
        let append = files.open(path, OpenFlags::READ_WRITE.with(ioflag::APPEND)).await.unwrap();
        append.write_all(b"de").await.unwrap();
        let mut flags = [0; 4];
        let getflags = Dcmd(0x4004_0000 | u32::from(Dcmd::ALL_GETFLAGS));
        append.devctl(getflags, &[], &mut flags).await.unwrap();
        assert_eq!(u32::from_le_bytes(flags), 2 | ioflag::APPEND | ioflag::LARGEFILE);
        let setflags = Dcmd(0x8004_0000 | u32::from(Dcmd::ALL_SETFLAGS));
        append.devctl(setflags, &0_u32.to_le_bytes(), &mut []).await.unwrap();
        append.rewind().await.unwrap();
        append.write_all(b"X").await.unwrap();
        assert_eq!(files.read_to_end(path, 100).await.unwrap(), b"Xbcde");
        let reader = files.open(path, OpenFlags::READ).await.unwrap();
        assert_eq!(reader.write(b"x").await, Err(Errno::EBADF));
        assert_eq!(append.devctl(Dcmd(0x4004_0318), &[], &mut flags).await, Err(Errno::ENOTTY));
        assert_eq!(append.devctl(Dcmd(0x4004_1234), &[], &mut flags).await, Err(Errno::ENOSYS));
        files.open(path, OpenFlags::REPLACE).await.unwrap();
        assert_eq!(files.stat(path).await.unwrap().size, 0);
        let below = format!("{path}/x");
        assert_eq!(files.stat(&below).await, Err(Errno::ENOTDIR));
        assert_eq!(files.stat(&format!("{path}/")).await, Err(Errno::ENOTDIR));
        assert_eq!(files.open(&format!("{node}/none"), OpenFlags::READ).await.err(), Some(Errno::ENOENT));
        assert_eq!(files.open(&format!("{node}/"), OpenFlags::WRITE).await.err(), Some(Errno::EISDIR));
    });
}

#[test]
fn archive_and_volume_are_one_tree() {
    everywhere(async |files, node| {
        let zone = &format!("{node}/etc/TIMEZONE");
        assert_eq!(files.read_to_end(zone, 100).await.unwrap(), b"UTC0\n");
        assert_eq!(files.open(zone, OpenFlags::WRITE).await.err(), Some(Errno::EROFS));
        assert_eq!(files.unlink(zone).await, Err(Errno::EROFS));
        assert_eq!(files.mkdir(&format!("{node}/bin/x"), 0o755).await, Err(Errno::EROFS));
        let boot = format!("{node}/proc/boot/etc/TIMEZONE");
        assert_eq!(files.read_to_end(&boot, 100).await.unwrap(), b"UTC0\n");
        files.mkdir(&format!("{node}/tmp"), 0o777).await.unwrap();
        let listed = names(&files, &format!("{node}/")).await;
        assert_eq!(listed, [".", "..", "tmp", "bin", "etc", "dev", "net", "proc"], "each once");
        let offsets = files.read_dir(&format!("{node}/")).await.unwrap();
        assert!(offsets.iter().enumerate().all(|(index, item)| item.offset == index as u64));
        assert_eq!(names(&files, &format!("{node}/proc")).await, ["boot", "mount", "qnetstats"]);
        assert_eq!(names(&files, &format!("{node}/proc/boot")).await, ["bin", "etc"]);
    });
}

#[test]
fn a_volume_hides_the_archive() {
    let lab = Lab::new();
    lab.run(|files| async move {
        // The volume is asked first, and has no such directory.
        files.mkdir("/etc", 0o755).await.unwrap();
        files.create("/etc/own", 0o644).await.unwrap();
        assert_eq!(files.mkdir("/etc", 0o755).await, Err(Errno::EEXIST));
    });
    lab.run(|files| async move {
        assert_eq!(names(&files, "/etc").await, [".", "..", "own", "TIMEZONE"]);
        assert_eq!(files.read_to_end("/etc/TIMEZONE", 100).await.unwrap(), b"UTC0\n", "the archive's");
        files.create("/etc/TIMEZONE", 0o644).await.unwrap().write_all(b"CET-1\n").await.unwrap();
        assert_eq!(files.read_to_end("/etc/TIMEZONE", 100).await.unwrap(), b"CET-1\n", "the volume's");
        assert_eq!(names(&files, "/etc").await, [".", "..", "own", "TIMEZONE"]);
        files.unlink("/etc/TIMEZONE").await.unwrap();
        assert_eq!(files.read_to_end("/etc/TIMEZONE", 100).await.unwrap(), b"UTC0\n");
    });
}

#[test]
fn names_change() {
    everywhere(async |files, node| {
        let at = |name: &str| format!("{node}{name}");
        files.mkdir(&at("/d"), 0o755).await.unwrap();
        assert_eq!(files.mkdir(&at("/d"), 0o755).await, Err(Errno::EEXIST));
        files.create(&at("/d/a"), 0o600).await.unwrap().write_all(b"a").await.unwrap();
        files.rename(&at("/d/a"), &at("/d/b")).await.unwrap();
        assert_eq!(files.stat(&at("/d/a")).await, Err(Errno::ENOENT));
        assert_eq!(files.rmdir(&at("/d")).await, Err(Errno::ENOTEMPTY));
        assert_eq!(files.unlink(&at("/d")).await, Err(Errno::EISDIR));
        assert_eq!(files.rmdir(&at("/d/b")).await, Err(Errno::ENOTDIR));
        assert_eq!(files.rename(&at("/d/b"), "/net/gamma/b").await, Err(Errno::EXDEV));
        assert_eq!(files.unlink(&at("/dev/null")).await, Err(Errno::EBUSY));
        files.unlink(&at("/d/b")).await.unwrap();
        files.rmdir(&at("/d")).await.unwrap();
        assert_eq!(files.rmdir(&at("/d")).await, Err(Errno::ENOENT));
    });
}

#[test]
fn symbolic_links() {
    everywhere(async |files, node| {
        let at = |name: &str| format!("{node}{name}");
        files.mkdir(&at("/d"), 0o755).await.unwrap();
        files.create(&at("/d/file"), 0o644).await.unwrap().write_all(b"text").await.unwrap();
        files.symlink("file", &at("/d/link")).await.unwrap();
        files.symlink("/d", &at("/dir")).await.unwrap();
        files.symlink("../../../../d/./link", &at("/d/up")).await.unwrap();
        files.symlink("loop", &at("/loop")).await.unwrap();
        files.symlink("nowhere", &at("/dangling")).await.unwrap();
        for name in ["/d/link", "/dir/file", "/dir/link", "/d/up"] {
            assert_eq!(files.read_to_end(&at(name), 100).await.unwrap(), b"text", "{name}");
        }
        assert_eq!(files.lstat(&at("/d/link")).await.unwrap().mode & 0xf000, 0xa000);
        assert_eq!(files.stat(&at("/d/link")).await.unwrap().mode & 0xf000, 0x8000);
        assert_eq!(files.readlink(&at("/d/up")).await.unwrap(), "../../../../d/./link");
        assert_eq!(files.readlink(&at("/d/file")).await, Err(Errno::EINVAL));
        assert_eq!(files.stat(&at("/loop")).await, Err(Errno::ELOOP));
        assert_eq!(files.stat(&at("/dangling")).await, Err(Errno::ENOENT));
        let exclusive = OpenFlags::REPLACE.with(ioflag::EXCL);
        assert_eq!(files.open(&at("/dangling"), exclusive).await.err(), Some(Errno::EEXIST));
        files.unlink(&at("/d/link")).await.unwrap();
        assert_eq!(files.read_to_end(&at("/d/file"), 100).await.unwrap(), b"text", "only the link is gone");
    });
}

#[test]
fn attributes_change() {
    everywhere(async |files, node| {
        let path = &format!("{node}/f");
        files.create(path, 0o644).await.unwrap();
        files.chmod(path, 0o4711).await.unwrap();
        files.chown(path, Some(7), None).await.unwrap();
        files.utime(path, Some((11, 12))).await.unwrap();
        let stat = files.stat(path).await.unwrap();
        assert_eq!((stat.mode, stat.uid, stat.gid), (0x8000 | 0o4711, 7, 0));
        assert_eq!((stat.atime, stat.mtime), (11, 12));
        let text = &format!("{node}/proc/qnetstats");
        assert_eq!(files.chmod(text, 0).await, Err(Errno::EROFS));
    });
}

#[test]
fn large_transfers() {
    let lab = Lab::with(delayed(3), KernelConfig::default(), IoConfig::default());
    lab.run(|files| async move {
        let bytes: Vec<u8> =
            (0..700_001_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let there = files.create("/net/beta/big", 0o644).await.unwrap();
        assert_eq!(there.write(&bytes).await, Ok(bytes.len()), "pulled by the server");
        there.rewind().await.unwrap();
        let mut back = vec![0; 800_000];
        assert_eq!(there.read(&mut back).await, Ok(bytes.len()), "written ahead of the reply");
        assert!(back[..bytes.len()] == bytes[..]);
        let here = files.create("/small", 0o644).await.unwrap();
        let mut told = Vec::new();
        assert_eq!(copy(&there, &here, |bytes| told.push(bytes)).await, Ok(700_001));
        assert_eq!((told.len(), told.last()), (11, Some(&700_001)));
        assert!(files.read_to_end("/small", 1 << 20).await.unwrap() == bytes);
    });
    lab.world.settle();
    lab.assert_baseline();
}

#[test]
fn long_directories() {
    let lab = Lab::new();
    lab.run(|files| async move {
        files.mkdir("/net/beta/d", 0o755).await.unwrap();
        for number in 0..1500 {
            files.create(&format!("/net/beta/d/file-with-a-long-name-{number:04}"), 0o644).await.unwrap();
        }
        let items = files.read_dir("/net/beta/d").await.unwrap();
        assert_eq!(items.len(), 1502);
        assert!(items.iter().enumerate().all(|(index, item)| item.offset == index as u64));
        let directory = files.open("/net/beta/d", OpenFlags::READ).await.unwrap();
        let mut tiny = [0; 8];
        assert_eq!(directory.read(&mut tiny).await, Err(Errno::EINVAL), "not the end");
        // Anywhere, forward and back.
        for position in [1400, 3, 1501] {
            directory.lseek(position, whence::SET).await.unwrap();
            assert_eq!(directory.read_dir().await.unwrap()[0], items[position as usize]);
        }
        directory.lseek(i64::MAX, whence::SET).await.unwrap();
        assert_eq!(directory.read_dir().await.unwrap(), []);
    });
}
