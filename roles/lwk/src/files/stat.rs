//! What stat(2) and statx(2) tell.

use core::time::Duration;

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
    pub const BYTES: usize = 144;
    /// `struct statx`: 256 bytes.
    pub const STATX_BYTES: usize = 256;

    /// The type in the mode.
    pub fn file_type(&self) -> Option<FileType> {
        FileType::of(self.mode)
    }

    /// As `struct stat` (stat(2); layout of the x86-64 system call interface).
    pub fn to_bytes(&self) -> [u8; Stat::BYTES] {
        let mut out = [0; Stat::BYTES];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.device.to_le_bytes());
        put(8, &self.inode.to_le_bytes());
        put(16, &u64::from(self.links).to_le_bytes());
        put(24, &self.mode.to_le_bytes());
        put(28, &self.uid.to_le_bytes());
        put(32, &self.gid.to_le_bytes());
        put(40, &device_number(self.special.0, self.special.1).to_le_bytes());
        put(48, &self.size.to_le_bytes());
        put(56, &u64::from(self.block_size).to_le_bytes());
        put(64, &self.blocks.to_le_bytes());
        for (at, time) in [(72, self.accessed), (88, self.modified), (104, self.changed)] {
            put(at, &time.as_secs().to_le_bytes());
            put(at + 8, &u64::from(time.subsec_nanos()).to_le_bytes());
        }
        out
    }

    /// As `struct statx` (statx(2)); the mask says that the basic fields are there.
    pub fn to_statx(&self) -> [u8; Stat::STATX_BYTES] {
        const BASIC: u32 = 0x7ff;
        let mut out = [0; Stat::STATX_BYTES];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &BASIC.to_le_bytes());
        put(4, &self.block_size.to_le_bytes());
        put(16, &self.links.to_le_bytes());
        put(20, &self.uid.to_le_bytes());
        put(24, &self.gid.to_le_bytes());
        put(28, &(self.mode as u16).to_le_bytes());
        put(32, &self.inode.to_le_bytes());
        put(40, &self.size.to_le_bytes());
        put(48, &self.blocks.to_le_bytes());
        for (at, time) in [(64, self.accessed), (96, self.changed), (112, self.modified)] {
            put(at, &time.as_secs().to_le_bytes());
            put(at + 8, &time.subsec_nanos().to_le_bytes());
        }
        put(128, &self.special.0.to_le_bytes());
        put(132, &self.special.1.to_le_bytes());
        let (major, minor) = device_parts(self.device);
        put(136, &major.to_le_bytes());
        put(140, &minor.to_le_bytes());
        out
    }
}

/// A device number as `st_dev` has it (makedev(3)).
pub const fn device_number(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

/// Major and minor number.
pub const fn device_parts(device: u64) -> (u32, u32) {
    let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let minor = (device & 0xff) | (device >> 12 & 0xffff_ff00);
    (major as u32, minor as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let stat = Stat {
            device: device_number(8, 0x101),
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
        assert_eq!(device_parts(device_number(0x12345, 0x6789a)), (0x12345, 0x6789a));
        assert_eq!(FileType::Regular.entry_type(), 8);
    }
}
