//! Locks taken and given up.

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io::Error;
use std::os::fd::AsRawFd;
use std::process::Command;

/// A byte range lock as `fcntl` takes it (`struct flock` of x86-64).
#[repr(C)]
struct Lock {
    kind: i16,
    whence: i16,
    start: i64,
    length: i64,
    pid: i32,
}

// Linux: include/uapi/asm-generic/fcntl.h.
const SET_WAIT: c_int = 7;
const EXCLUSIVE: i16 = 1;
const UNLOCK: i16 = 2;

unsafe extern "C" {
    fn fcntl(fd: c_int, command: c_int, lock: *const Lock) -> c_int;
}

fn set(file: &File, kind: i16) {
    let lock = Lock { kind, whence: 0, start: 0, length: 0, pid: 0 };
    // SAFETY: the file is open and the structure has the layout that the command reads.
    let status = unsafe { fcntl(file.as_raw_fd(), SET_WAIT, &lock) };
    assert_eq!(status, 0, "fcntl: {}", Error::last_os_error());
}

/// So many by this process.
pub fn pairs(file: &str, count: u64) {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file).unwrap();
    for _ in 0..count {
        set(&file, EXCLUSIVE);
        set(&file, UNLOCK);
    }
}

/// So many by each of several processes, on the same file.
pub fn crowd(file: &str, count: &str, processes: u64) {
    let program = std::env::current_exe().unwrap();
    let start = |_| Command::new(&program).args(["locks", file, count, "1"]).spawn().unwrap();
    let contenders: Vec<_> = (0..processes).map(start).collect();
    // All of them end before anybody complains.
    let ended: Vec<_> = contenders.into_iter().map(|mut one| one.wait().unwrap()).collect();
    assert!(ended.iter().all(|status| status.success()), "{ended:?}");
}
