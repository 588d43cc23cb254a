//! Superblocks of hand, without mke2fs; images of real ones are in the integration tests.

use super::*;

/// A filesystem of 64 blocks of 4096 bytes in one group.
fn sample() -> [u8; LENGTH] {
    let mut raw = [0; LENGTH];
    let mut put = |offset: usize, bytes: &[u8]| raw[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0x0, &16_u32.to_le_bytes());
    put(0x4, &64_u32.to_le_bytes());
    put(0x18, &2_u32.to_le_bytes());
    put(0x20, &32_768_u32.to_le_bytes());
    put(0x28, &16_u32.to_le_bytes());
    put(0x38, &MAGIC.to_le_bytes());
    put(0x4C, &1_u32.to_le_bytes());
    put(0x54, &11_u32.to_le_bytes());
    put(0x58, &256_u16.to_le_bytes());
    put(0x60, &0x42_u32.to_le_bytes());
    put(0x68, &[7; 16]);
    raw
}

const DEVICE: u64 = 64 * 4096;

fn with(offset: usize, bytes: &[u8]) -> Result<Superblock, MountError> {
    let mut raw = sample();
    raw[offset..offset + bytes.len()].copy_from_slice(bytes);
    Superblock::parse(&raw, DEVICE)
}

#[test]
fn a_good_one_is_understood() {
    let superblock = with(0, &[]).expect("a good superblock");
    let geometry = superblock.geometry;
    assert_eq!((geometry.block_size, geometry.groups, geometry.inode_size), (4096, 1, 256));
    assert_eq!(geometry.uuid, [7; 16]);
    assert!(geometry.journal_inode == 0 && geometry.checksum_seed.is_none());
    assert!(!superblock.needs_recovery && superblock.last_orphan == 0);
}

#[test]
fn each_bad_field_is_named() {
    for (offset, value, what) in [
        (0x20, 0, "blocks per group"),
        (0x20, 40_000, "blocks per group"),
        (0x28, 0, "inodes per group"),
        (0x0, 17, "number of inodes"),
        (0x14, 1, "first data block"),
        (0x54, 3, "first inode"),
        (0x8, 65, "reserved blocks"),
        (0x58, 300, "inode size"),
    ] {
        let value: u32 = value;
        assert_eq!(with(offset, &value.to_le_bytes()).err(), Some(MountError::Corrupt(what)), "{what}");
    }
}

#[test]
fn refusals_carry_their_reason() {
    assert_eq!(with(0x38, &[0]).err(), Some(MountError::NoSuperblock));
    let feature = MountError::Feature { name: "casefold", removable: false };
    assert_eq!(with(0x60, &0x2_0042_u32.to_le_bytes()).err(), Some(feature));
    let unknown = MountError::UnknownFeature { word: "incompat", bits: 0x8000_0000 };
    assert_eq!(with(0x60, &0x8000_0042_u32.to_le_bytes()).err(), Some(unknown));
    assert_eq!(with(0x64, &0x400_u32.to_le_bytes()).err(), Some(MountError::Corrupt("checksum type")));
    let small = MountError::DeviceTooSmall { filesystem: DEVICE, device: DEVICE - 512 };
    assert_eq!(Superblock::parse(&sample(), DEVICE - 512).err(), Some(small));
    assert!(matches!(with(0x58, &[128, 0]).err(), Some(MountError::Unsupported { .. })));
}

#[test]
fn crc32c_is_the_known_one() {
    assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
}
