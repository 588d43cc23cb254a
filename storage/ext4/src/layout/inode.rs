//! Inode records (Linux `Documentation/filesystems/ext4/inodes.rst`).

use super::Geometry;
use super::bytes::{put_u16, put_u32, u16_at, u32_at};
use super::checksum::crc32c;
use crate::engine::{BlockNr, Ino};
use keelson_volume::{FileType, Time};

/// Bytes of `i_block`: extents, a short symbolic link, or device numbers.
pub const MAP_LENGTH: usize = 60;
/// `i_flags`: the directory has a hash tree.
pub const INDEXED: u32 = 0x1000;
/// `i_flags`: the block count is in blocks, not in 512 bytes.
const HUGE_FILE: u32 = 0x4_0000;
/// `i_flags`: blocks are mapped by extents.
pub const EXTENTS: u32 = 0x8_0000;
/// Fields behind the first 128 bytes that we know: up to `i_projid`.
const EXTRA: u16 = 32;
/// The checksum's halves.
const CHECKSUM_LOW: usize = 0x7c;
const CHECKSUM_HIGH: usize = 0x82;

/// An inode. What it does not name stays as it is in the record (`i_file_acl` excepted: attributes in the record
/// behind the known fields, other systems' fields).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number.
    pub ino: Ino,
    /// Type and permissions (`S_IFMT` and 0o7777).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Names.
    pub links: u16,
    /// Space taken, in units of 512 bytes.
    pub sectors: u64,
    /// [`EXTENTS`] and its like.
    pub flags: u32,
    /// Tells successive owners of the number apart.
    pub generation: u32,
    /// Last read.
    pub atime: Time,
    /// Last change of anything.
    pub ctime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Creation.
    pub crtime: Time,
    /// When it was deleted; on the orphan list, the next inode of it.
    pub dtime: u32,
    /// Counts changes (`i_version`).
    pub version: u64,
    /// Block of extended attributes, 0 without.
    pub attributes: BlockNr,
    /// `i_block`.
    pub map: [u8; MAP_LENGTH],
}

impl Inode {
    /// A record that was never used, or is to be used anew.
    pub fn blank(ino: Ino) -> Inode {
        let never = Time::default();
        Inode {
            ino,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            links: 0,
            sectors: 0,
            flags: 0,
            generation: 0,
            atime: never,
            ctime: never,
            mtime: never,
            crtime: never,
            dtime: 0,
            version: 0,
            attributes: 0,
            map: [0; MAP_LENGTH],
        }
    }

    /// Reads the record of inode `ino`, which has the geometry's inode size.
    pub fn decode(raw: &[u8], ino: Ino, geometry: &Geometry) -> Inode {
        let both = |low, high| u32::from(u16_at(raw, low)) | u32::from(u16_at(raw, high)) << 16;
        let flags = u32_at(raw, 0x20);
        let mut map = [0; MAP_LENGTH];
        map.copy_from_slice(&raw[0x28..0x28 + MAP_LENGTH]);
        let mut count = u64::from(u32_at(raw, 0x1c));
        if geometry.huge_files {
            count |= u64::from(u16_at(raw, 0x74)) << 32;
            if flags & HUGE_FILE != 0 {
                count *= geometry.block_size as u64 / 512;
            }
        }
        let extra = if raw.len() > 128 { 128 + usize::from(u16_at(raw, 0x80)) } else { 128 };
        let extra_at =
            |offset: usize| if offset + 4 <= extra.min(raw.len()) { u32_at(raw, offset) } else { 0 };
        Inode {
            ino,
            mode: u16_at(raw, 0x0),
            uid: both(0x2, 0x78),
            gid: both(0x18, 0x7a),
            size: u64::from(u32_at(raw, 0x4)) | u64::from(u32_at(raw, 0x6c)) << 32,
            links: u16_at(raw, 0x1a),
            sectors: count,
            flags,
            generation: u32_at(raw, 0x64),
            atime: time(u32_at(raw, 0x8), extra_at(0x8c)),
            ctime: time(u32_at(raw, 0xc), extra_at(0x84)),
            mtime: time(u32_at(raw, 0x10), extra_at(0x88)),
            crtime: time(extra_at(0x90), extra_at(0x94)),
            dtime: u32_at(raw, 0x14),
            version: u64::from(u32_at(raw, 0x24)) | u64::from(extra_at(0x98)) << 32,
            attributes: u64::from(u32_at(raw, 0x68)) | u64::from(u16_at(raw, 0x76)) << 32,
            map,
        }
    }

    /// Writes it into its record, with the checksum.
    pub fn encode(&self, raw: &mut [u8], geometry: &Geometry) {
        put_u16(raw, 0x0, self.mode);
        put_u16(raw, 0x2, self.uid as u16);
        put_u32(raw, 0x4, self.size as u32);
        put_u32(raw, 0x14, self.dtime);
        put_u16(raw, 0x18, self.gid as u16);
        put_u16(raw, 0x1a, self.links);
        let (mut count, mut flags) = (self.sectors, self.flags & !HUGE_FILE);
        if geometry.huge_files && count >= 1 << 48 {
            count /= geometry.block_size as u64 / 512;
            flags |= HUGE_FILE;
        }
        put_u32(raw, 0x1c, count as u32);
        put_u16(raw, 0x74, (count >> 32) as u16);
        put_u32(raw, 0x20, flags);
        put_u32(raw, 0x24, self.version as u32);
        raw[0x28..0x28 + MAP_LENGTH].copy_from_slice(&self.map);
        put_u32(raw, 0x64, self.generation);
        put_u32(raw, 0x68, self.attributes as u32);
        put_u16(raw, 0x76, (self.attributes >> 32) as u16);
        put_u32(raw, 0x6c, (self.size >> 32) as u32);
        put_u16(raw, 0x78, (self.uid >> 16) as u16);
        put_u16(raw, 0x7a, (self.gid >> 16) as u16);
        let mut extra = 128;
        if raw.len() > 128 {
            if u16_at(raw, 0x80) == 0 {
                put_u16(raw, 0x80, EXTRA.min(raw.len() as u16 - 128));
            }
            extra += usize::from(u16_at(raw, 0x80));
        }
        for (offset, extra_offset, value) in [
            (0x8, 0x8c, self.atime),
            (0xc, 0x84, self.ctime),
            (0x10, 0x88, self.mtime),
            (0x90, 0x94, self.crtime),
        ] {
            let (low, high) = encode_time(value);
            // Only the creation time is itself behind the first 128 bytes.
            if offset < 128 || offset + 4 <= extra {
                put_u32(raw, offset, low);
            }
            if extra_offset + 4 <= extra {
                put_u32(raw, extra_offset, high);
            }
        }
        if 0x98 + 4 <= extra {
            put_u32(raw, 0x98, (self.version >> 32) as u32);
        }
        if let Some(sum) = checksum(raw, self.ino, geometry) {
            put_u16(raw, CHECKSUM_LOW, sum as u16);
            if has_high_checksum(raw) {
                put_u16(raw, CHECKSUM_HIGH, (sum >> 16) as u16);
            }
        }
    }

    /// True when the record's checksum is right, or it has none.
    pub fn is_sound(raw: &[u8], ino: Ino, geometry: &Geometry) -> bool {
        let Some(sum) = checksum(raw, ino, geometry) else { return true };
        let high = !has_high_checksum(raw) || u16_at(raw, CHECKSUM_HIGH) == (sum >> 16) as u16;
        // A record that mke2fs zeroed and nobody used has no checksum either.
        high && u16_at(raw, CHECKSUM_LOW) == sum as u16 || raw.iter().all(|&byte| byte == 0)
    }

    /// Its type; `None` when the mode makes no sense.
    pub fn file_type(&self) -> Option<FileType> {
        Some(match self.mode & 0xf000 {
            0x1000 => FileType::Fifo,
            0x2000 => FileType::CharDevice,
            0x4000 => FileType::Directory,
            0x6000 => FileType::BlockDevice,
            0x8000 => FileType::Regular,
            0xa000 => FileType::Symlink,
            0xc000 => FileType::Socket,
            _ => return None,
        })
    }

    /// True for a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & 0xf000 == 0x4000
    }
}

fn has_high_checksum(raw: &[u8]) -> bool {
    raw.len() > 128 && u16_at(raw, 0x80) >= 4
}

/// What the checksum ought to be; `None` without metadata_csum.
fn checksum(raw: &[u8], ino: Ino, geometry: &Geometry) -> Option<u32> {
    let seed = geometry.inode_seed(ino, u32_at(raw, 0x64))?;
    let sum = crc32c(crc32c(seed, &raw[..CHECKSUM_LOW]), &[0, 0]);
    let sum = crc32c(sum, &raw[CHECKSUM_LOW + 2..128]);
    if raw.len() == 128 {
        return Some(sum & 0xffff);
    }
    let sum = crc32c(sum, &raw[128..CHECKSUM_HIGH]);
    if has_high_checksum(raw) {
        return Some(crc32c(crc32c(sum, &[0, 0]), &raw[CHECKSUM_HIGH + 2..]));
    }
    Some(crc32c(sum, &raw[CHECKSUM_HIGH..]) & 0xffff)
}

/// Seconds in 32 bits; two more bits and the nanoseconds in the extra field.
fn time(seconds: u32, extra: u32) -> Time {
    Time {
        seconds: i64::from(seconds as i32) + (i64::from(extra & 3) << 32),
        nanos: (extra >> 2).min(999_999_999),
    }
}

fn encode_time(time: Time) -> (u32, u32) {
    // Seconds from 1901 to 2446 can be written.
    let seconds = time.seconds.clamp(-(1 << 31), (1 << 34) - (1 << 31) - 1);
    let epoch = ((seconds - i64::from(seconds as i32)) >> 32) as u32 & 3;
    (seconds as u32, time.nanos << 2 | epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_five_centuries() {
        for seconds in [
            -(1i64 << 31),
            -1,
            0,
            1,
            i64::from(i32::MAX),
            1 << 31,
            1 << 32,
            1 << 33,
            (1 << 34) - (1 << 31) - 1,
        ] {
            let there = Time { seconds, nanos: 999_999_999 };
            let (low, high) = encode_time(there);
            assert_eq!(time(low, high), there);
        }
    }
}
