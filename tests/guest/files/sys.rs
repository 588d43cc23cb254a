//! System calls that the standard library has no names for.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

// Linux: include/uapi/asm-generic/mman-common.h, include/uapi/linux/fadvise.h.
const READ: c_int = 1;
const WRITE: c_int = 2;
const SHARED: c_int = 1;
const SYNC: c_int = 4;
const DONT_NEED: c_int = 4;

unsafe extern "C" {
    fn mmap(at: *mut u8, len: usize, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut u8;
    fn msync(at: *mut u8, len: usize, flags: c_int) -> c_int;
    fn munmap(at: *mut u8, len: usize) -> c_int;
    fn posix_fadvise(fd: c_int, offset: i64, length: i64, advice: c_int) -> c_int;
    fn lseek(fd: c_int, offset: i64, whence: c_int) -> i64;
    fn statfs(path: *const c_char, into: *mut Space) -> c_int;
    fn opendir(path: *const c_char) -> *mut c_void;
    fn readdir(folder: *mut c_void) -> *const Entry;
    fn telldir(folder: *mut c_void) -> c_long;
    fn seekdir(folder: *mut c_void, position: c_long);
    fn rewinddir(folder: *mut c_void);
    fn closedir(folder: *mut c_void) -> c_int;
}

fn done(status: c_int) -> Result<()> {
    if status == -1 { Err(Error::last_os_error()) } else { Ok(()) }
}

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without NUL")
}

/// Lets `look` see `length` bytes of a file from `offset` (a multiple of the page size) through a mapping of it.
pub fn mapped<R>(file: &File, offset: u64, length: usize, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
    // SAFETY: a new mapping at an address that the kernel chooses, used only inside and removed afterwards. The caller has
    // looked that the file is as long.
    unsafe {
        let at = mmap(std::ptr::null_mut(), length, READ, SHARED, file.as_raw_fd(), offset as i64);
        if at as isize == -1 {
            return Err(Error::last_os_error());
        }
        let result = look(std::slice::from_raw_parts(at, length));
        done(munmap(at, length)).map(|()| result)
    }
}

/// The same for writing; written back when this returns.
pub fn map_and_change(file: &File, offset: u64, length: usize, change: impl FnOnce(&mut [u8])) -> Result<()> {
    // SAFETY: as in `mapped`.
    unsafe {
        let at = mmap(std::ptr::null_mut(), length, READ | WRITE, SHARED, file.as_raw_fd(), offset as i64);
        if at as isize == -1 {
            return Err(Error::last_os_error());
        }
        change(std::slice::from_raw_parts_mut(at, length));
        done(msync(at, length, SYNC)).and(done(munmap(at, length)))
    }
}

/// Has the kernel forget what it has cached of a file.
pub fn forget_cached(file: &File) {
    // SAFETY: the file is open; no memory is passed.
    unsafe { posix_fadvise(file.as_raw_fd(), 0, 0, DONT_NEED) };
}

/// `lseek` from the start, with an offset that may be negative.
pub fn seek(file: &File, offset: i64) -> Result<()> {
    // SAFETY: the file is open; no memory is passed.
    done(if unsafe { lseek(file.as_raw_fd(), offset, 0) } == -1 { -1 } else { 0 })
}

/// `struct statfs` of x86-64.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Space {
    pub kind: i64,
    pub block_size: i64,
    pub blocks: u64,
    pub free: u64,
    pub available: u64,
    pub files: u64,
    pub free_files: u64,
    pub rest: [u64; 8],
}

/// `statfs`.
pub fn space(path: &Path) -> Result<Space> {
    let mut space = Space::default();
    // SAFETY: the text ends with NUL and the structure has the layout and size of the C library's.
    done(unsafe { statfs(text(path).as_ptr(), &mut space) }).map(|()| space)
}

/// `struct dirent` of x86-64.
#[repr(C)]
struct Entry {
    inode: u64,
    offset: i64,
    length: u16,
    kind: u8,
    name: [u8; 256],
}

/// An open directory with positions.
pub struct Folder(*mut c_void);

impl Folder {
    pub fn open(path: &Path) -> Result<Folder> {
        // SAFETY: the text ends with NUL.
        let folder = unsafe { opendir(text(path).as_ptr()) };
        if folder.is_null() { Err(Error::last_os_error()) } else { Ok(Folder(folder)) }
    }

    /// The next name.
    pub fn next(&mut self) -> Option<String> {
        // SAFETY: the directory is open; what is returned lives until the next call, and its name ends with NUL.
        unsafe {
            let entry = readdir(self.0);
            if entry.is_null() {
                return None;
            }
            // A name may be shorter than the array, and the entry with it.
            let name = std::ffi::CStr::from_ptr((&raw const (*entry).name).cast());
            Some(name.to_string_lossy().into_owned())
        }
    }

    pub fn position(&self) -> i64 {
        // SAFETY: the directory is open.
        unsafe { telldir(self.0) }
    }

    pub fn go_to(&mut self, position: i64) {
        // SAFETY: the directory is open.
        unsafe { seekdir(self.0, position) }
    }

    pub fn rewind(&mut self) {
        // SAFETY: the directory is open.
        unsafe { rewinddir(self.0) }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // SAFETY: the directory is open, and nobody uses it any more.
        unsafe { closedir(self.0) };
    }
}
