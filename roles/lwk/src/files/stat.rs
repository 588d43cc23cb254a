//! What stat(2) and statx(2) tell.

use core::time::Duration;
use keelson_lwk_wire::layout;

/// Types of files: the bits S_IFMT of `st_mode` (inode(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum FileType {
    /// S_IFIFO.
    Fifo = 0o010000,
    /// S_IFCHR.
    Character = 0o020000,
    /// S_IFDIR.
    Directory = 0o040000,
    /// S_IFBLK.
    Block = 0o060000,
    /// S_IFREG.
    Regular = 0o100000,
    /// S_IFLNK.
    Link = 0o120000,
    /// S_IFSOCK.
    Socket = 0o140000,
}

impl FileType {
    /// The type in `st_mode`; `None` for anonymous inodes, which have none.
    pub const fn of(mode: u32) -> Option<FileType> {
        Some(match mode & 0o170000 {
            0o010000 => FileType::Fifo,
            0o020000 => FileType::Character,
            0o040000 => FileType::Directory,
            0o060000 => FileType::Block,
            0o100000 => FileType::Regular,
            0o120000 => FileType::Link,
            0o140000 => FileType::Socket,
            _ => return None,
        })
    }

    /// As `d_type` of getdents64(2).
    pub const fn entry_type(self) -> u8 {
        (self as u32 >> 12) as u8
    }
}

/// What is known of a file of the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Hard links.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `st_rdev`: major and minor number of a device node.
    pub special: (u32, u32),
    /// Bytes.
    pub size: u64,
    /// Bytes of a good read or write.
    pub block_size: u32,
    /// Units of 512 bytes in use.
    pub blocks: u64,
    /// Last read, since 1970.
    pub accessed: Duration,
    /// Last write.
    pub modified: Duration,
    /// Last change of what is in here.
    pub changed: Duration,
}

impl Stat {
    /// `struct stat` of x86-64: 144 bytes.
    pub const BYTES: usize = layout::Stat::LEN;
    /// `struct statx`: 256 bytes.
    pub const STATX_BYTES: usize = layout::Statx::LEN;

    /// The type in the mode.
    pub fn file_type(&self) -> Option<FileType> {
        FileType::of(self.mode)
    }

    /// What a host told of a file of its own.
    pub fn of_host(told: &layout::Stat) -> Stat {
        let time = |seconds: i64, nanos: i64| {
            Duration::new(
                u64::try_from(seconds).unwrap_or(0),
                u32::try_from(nanos).unwrap_or(0).min(999_999_999),
            )
        };
        Stat {
            device: told.dev,
            inode: told.ino,
            mode: told.mode,
            links: u32::try_from(told.nlink).unwrap_or(u32::MAX),
            uid: told.uid,
            gid: told.gid,
            special: (layout::major(told.rdev), layout::minor(told.rdev)),
            size: u64::try_from(told.size).unwrap_or(0),
            block_size: u32::try_from(told.blksize).unwrap_or(4096),
            blocks: u64::try_from(told.blocks).unwrap_or(0),
            accessed: time(told.atime, told.atime_nsec),
            modified: time(told.mtime, told.mtime_nsec),
            changed: time(told.ctime, told.ctime_nsec),
        }
    }

    /// As `struct stat` (stat(2)).
    pub fn to_bytes(&self) -> [u8; Stat::BYTES] {
        let seconds = |time: Duration| time.as_secs() as i64;
        let nanos = |time: Duration| time.subsec_nanos().into();
        layout::Stat {
            dev: self.device,
            ino: self.inode,
            nlink: self.links.into(),
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            rdev: layout::makedev(self.special.0, self.special.1),
            size: self.size as i64,
            blksize: self.block_size.into(),
            blocks: self.blocks as i64,
            atime: seconds(self.accessed),
            atime_nsec: nanos(self.accessed),
            mtime: seconds(self.modified),
            mtime_nsec: nanos(self.modified),
            ctime: seconds(self.changed),
            ctime_nsec: nanos(self.changed),
        }
        .to_bytes()
    }

    /// As `struct statx` (statx(2)); the mask says that the basic fields are there (STATX_BASIC_STATS).
    pub fn to_statx(&self) -> [u8; Stat::STATX_BYTES] {
        let seconds = |time: Duration| time.as_secs() as i64;
        layout::Statx {
            mask: 0x7ff,
            blksize: self.block_size,
            nlink: self.links,
            uid: self.uid,
            gid: self.gid,
            mode: self.mode as u16,
            ino: self.inode,
            size: self.size,
            blocks: self.blocks,
            atime: seconds(self.accessed),
            atime_nsec: self.accessed.subsec_nanos(),
            ctime: seconds(self.changed),
            ctime_nsec: self.changed.subsec_nanos(),
            mtime: seconds(self.modified),
            mtime_nsec: self.modified.subsec_nanos(),
            rdev_major: self.special.0,
            rdev_minor: self.special.1,
            dev_major: layout::major(self.device),
            dev_minor: layout::minor(self.device),
            ..layout::Statx::default()
        }
        .to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let stat = Stat {
            device: layout::makedev(8, 0x101),
            inode: 77,
            mode: 0o100644,
            links: 2,
            uid: 1000,
            gid: 100,
            special: (1, 3),
            size: 12345,
            block_size: 4096,
            blocks: 32,
            accessed: Duration::new(1, 2),
            modified: Duration::new(3, 4),
            changed: Duration::new(5, 6),
        };
        let bytes = stat.to_bytes();
        assert_eq!(bytes[..8], [1, 8, 0x10, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[24..28], 0o100644u32.to_le_bytes());
        assert_eq!(bytes[40..48], [3, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[48..56], 12345u64.to_le_bytes());
        assert_eq!(bytes[88], 3);
        assert_eq!(bytes[112], 6);
        let statx = stat.to_statx();
        assert_eq!(statx[136..144], [8, 0, 0, 0, 1, 1, 0, 0]);
        assert_eq!((statx[64], statx[96], statx[112], statx[120]), (1, 5, 3, 4));
        assert_eq!(Stat::of_host(&layout::Stat::from_bytes(&bytes)), stat);
        assert_eq!(FileType::Regular.entry_type(), 8);
    }
}
