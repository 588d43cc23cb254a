//! What the shell of a Linux guest can not do: a few system calls, each with its check. Compiled statically by the
//! tests (`rustc`, no crates) and put into the guest; prints nothing and ends with status 0 if all is well.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

unsafe extern "C" {
    fn mmap(at: *mut u8, len: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
    fn msync(at: *mut u8, len: usize, flags: i32) -> i32;
    fn munmap(at: *mut u8, len: usize) -> i32;
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let folder = Path::new(&arguments[2]);
    match arguments[1].as_str() {
        "mmap" => mapped_writes_reach_the_file(&folder.join("mapped")),
        "exclusive" => exclusive_creation_has_one_winner(&folder.join("lock")),
        "unlinked" => an_unlinked_open_file_lives_on(folder),
        "times" => times_keep_nanoseconds(&folder.join("times")),
        "sparse" => holes_read_as_zeros(&folder.join("sparse")),
        "name" => odd_names().for_each(|name| fs::write(folder.join(&name), name.as_bytes()).unwrap()),
        "named" => every_byte_may_be_in_a_name(folder),
        "tree" => make_a_tree(folder),
        "as" => {
            // Std drops all supplementary groups when root becomes somebody else.
            let id: u32 = arguments[2].parse().unwrap();
            let error = Command::new(&arguments[3]).args(&arguments[4..]).uid(id).gid(id).exec();
            panic!("{}: {error}", arguments[3]);
        }
        other => panic!("no probe named {other}"),
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap()
}

/// Byte `i` of the test pattern.
fn pattern(i: usize) -> u8 {
    (i ^ (i >> 8) ^ (i >> 16)) as u8
}

/// Names with every byte that may be in one.
fn odd_names() -> impl Iterator<Item = OsString> {
    (1..=255).filter(|&byte| byte != b'/').map(|byte| OsString::from_vec(vec![b'x', byte, b'y']))
}

fn every_byte_may_be_in_a_name(folder: &Path) {
    let names: BTreeSet<OsString> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, odd_names().collect());
    for name in names {
        assert_eq!(fs::read(folder.join(&name)).unwrap(), name.as_bytes());
    }
}

/// 2,000 files of 34 KiB on average and together over 64 MiB, all different, in 40 folders with a symbolic link each.
fn make_a_tree(root: &Path) {
    let mut state = 1_u64;
    for i in 0..40 {
        let folder = root.join(format!("dir{i}/sub"));
        fs::create_dir_all(&folder).unwrap();
        symlink("../sub/f0", root.join(format!("dir{i}/link"))).unwrap();
        for j in 0..50 {
            let len = 10_000 + (i * 50 + j) * 24;
            let mut data = Vec::with_capacity(len + 8);
            while data.len() < len {
                // Xorshift (Marsaglia 2003): quick, and no two files alike.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                data.extend_from_slice(&state.to_le_bytes());
            }
            data.truncate(len);
            fs::write(folder.join(format!("f{j}")), data).unwrap();
        }
    }
}

fn mapped_writes_reach_the_file(path: &Path) {
    const LEN: usize = 1 << 20;
    const READ_WRITE: i32 = 3;
    const SHARED: i32 = 1;
    const SYNC: i32 = 4;
    let file = open(path);
    file.set_len(LEN as u64).unwrap();
    // SAFETY: a new mapping of LEN bytes at an address that the kernel chooses; used only inside, then removed.
    unsafe {
        let at = mmap(std::ptr::null_mut(), LEN, READ_WRITE, SHARED, file.as_raw_fd(), 0);
        assert_ne!(at as isize, -1, "mmap: {}", std::io::Error::last_os_error());
        let bytes = std::slice::from_raw_parts_mut(at, LEN);
        assert!(bytes.iter().all(|&byte| byte == 0), "a hole is zeros");
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = pattern(i);
        }
        assert_eq!(msync(at, LEN, SYNC), 0, "msync: {}", std::io::Error::last_os_error());
        assert_eq!(munmap(at, LEN), 0);
    }
    drop(file);
    let read = fs::read(path).unwrap();
    assert!(read.len() == LEN && read.iter().enumerate().all(|(i, &byte)| byte == pattern(i)));
}

fn exclusive_creation_has_one_winner(path: &Path) {
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
    let winners: Vec<_> = (0..8).map(|_| create()).filter_map(Result::ok).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(create().unwrap_err().kind(), ErrorKind::AlreadyExists);
    let mode = fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o640, "the mode is set after the exclusive creation");
    let age = fs::metadata(path).unwrap().modified().unwrap().elapsed();
    assert!(age.is_err() || age.unwrap() < Duration::from_secs(3600), "times are not the verifier");
    fs::remove_file(path).unwrap();
    create().unwrap();
}

fn an_unlinked_open_file_lives_on(folder: &Path) {
    let path = folder.join("unlinked");
    let mut file = open(&path);
    file.write_all(b"before").unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!path.exists());
    file.write_all(b" after").unwrap();
    file.sync_all().unwrap();
    let mut text = [0; 12];
    file.read_exact_at(&mut text, 0).unwrap();
    assert_eq!(&text, b"before after");
    let hidden = |name: &str| name.starts_with(".nfs");
    let names =
        || fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names().filter(|name| hidden(name)).count(), 1, "the client renamed it");
    drop(file);
    assert_eq!(names().filter(|name| hidden(name)).count(), 0, "and removed it when it was closed");
}

fn times_keep_nanoseconds(path: &Path) {
    let file = open(path);
    let (accessed, modified) =
        (Duration::new(1_000_000_007, 123_456_789), Duration::new(2_000_000_011, 987_654_321));
    let times = FileTimes::new().set_accessed(UNIX_EPOCH + accessed).set_modified(UNIX_EPOCH + modified);
    file.set_times(times).unwrap();
    let meta = fs::metadata(path).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (2_000_000_011, 987_654_321));
    assert_eq!((meta.atime(), meta.atime_nsec()), (1_000_000_007, 123_456_789));
}

fn holes_read_as_zeros(path: &Path) {
    const FAR: u64 = 3 << 30;
    let mut file = open(path);
    file.write_all_at(b"end", FAR).unwrap();
    file.sync_all().unwrap();
    let meta = file.metadata().unwrap();
    assert_eq!(meta.len(), FAR + 3);
    assert!(meta.blocks() <= 256, "{} sectors for three bytes", meta.blocks());
    let mut hole = vec![1; 1 << 20];
    file.read_exact(&mut hole).unwrap();
    assert!(hole.iter().all(|&byte| byte == 0));
    file.set_len(FAR / 2).unwrap();
    file.write_all_at(b"middle", 5000).unwrap();
    let mut around = [9; 16];
    file.read_exact_at(&mut around, 4995).unwrap();
    assert_eq!(&around, b"\0\0\0\0\0middle\0\0\0\0\0");
}
