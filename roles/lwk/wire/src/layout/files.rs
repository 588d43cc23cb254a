//! Files: stat, statx, statfs, record locks.

use super::layout;

layout! {
    /// `struct stat`: stat(2), fstat(2), lstat(2), newfstatat.
    Stat, 144 {
        dev: u64 @ 0, ino: u64 @ 8, nlink: u64 @ 16, mode: u32 @ 24, uid: u32 @ 28, gid: u32 @ 32, rdev: u64 @ 40,
        size: i64 @ 48, blksize: i64 @ 56,
        /// Units of 512 bytes.
        blocks: i64 @ 64,
        atime: i64 @ 72, atime_nsec: i64 @ 80, mtime: i64 @ 88, mtime_nsec: i64 @ 96, ctime: i64 @ 104, ctime_nsec: i64 @ 112,
    }
}

layout! {
    /// `struct statx`.
    Statx, 256 {
        mask: u32 @ 0, blksize: u32 @ 4, attributes: u64 @ 8, nlink: u32 @ 16, uid: u32 @ 20, gid: u32 @ 24, mode: u16 @ 28,
        ino: u64 @ 32, size: u64 @ 40, blocks: u64 @ 48, attributes_mask: u64 @ 56,
        atime: i64 @ 64, atime_nsec: u32 @ 72, btime: i64 @ 80, btime_nsec: u32 @ 88,
        ctime: i64 @ 96, ctime_nsec: u32 @ 104, mtime: i64 @ 112, mtime_nsec: u32 @ 120,
        rdev_major: u32 @ 128, rdev_minor: u32 @ 132, dev_major: u32 @ 136, dev_minor: u32 @ 140,
        mnt_id: u64 @ 144, dio_mem_align: u32 @ 152, dio_offset_align: u32 @ 156,
    }
}

layout! {
    /// `struct statfs`.
    Statfs, 120 {
        kind: i64 @ 0, bsize: i64 @ 8, blocks: u64 @ 16, bfree: u64 @ 24, bavail: u64 @ 32, files: u64 @ 40, ffree: u64 @ 48,
        fsid: u64 @ 56, namelen: i64 @ 64, frsize: i64 @ 72, flags: i64 @ 80,
    }
}

layout! {
    /// `struct ustat`.
    Ustat, 32 { tfree: i32 @ 0, tinode: u64 @ 8, }
}

layout! {
    /// `struct flock`, of F_SETLK and the OFD commands.
    Flock, 32 { kind: i16 @ 0, whence: i16 @ 2, start: i64 @ 8, len: i64 @ 16, pid: i32 @ 24, }
}

layout! {
    /// `struct utimbuf`, seconds.
    Utimbuf, 16 { actime: i64 @ 0, modtime: i64 @ 8, }
}

/// The device number of makedev(3), as `st_dev` has it.
pub const fn makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | minor & 0xff
}

/// The major number in `dev`.
pub const fn major(dev: u64) -> u32 {
    ((dev >> 32 & 0xffff_f000) | (dev >> 8 & 0xfff)) as u32
}

/// The minor number in `dev`.
pub const fn minor(dev: u64) -> u32 {
    ((dev >> 12 & 0xffff_ff00) | (dev & 0xff)) as u32
}

/// The 32-bit device number that mknod(2) and ustat(2) take.
pub const fn new_encode_dev(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | major << 8 | (minor & !0xff) << 12
}

/// The inverse of [`new_encode_dev`].
pub const fn new_decode_dev(dev: u32) -> (u32, u32) {
    ((dev & 0xf_ff00) >> 8, (dev & 0xff) | (dev >> 12 & 0xf_ff00))
}
