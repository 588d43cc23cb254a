//! What is written is read again, and bytes of any kind do no harm.

use super::superblock::{CRC32C, SUPERBLOCK_CHECKSUM};
use super::*;
use crate::dev::{debugfs, mke2fs};
use proptest::prelude::*;
use std::fs;

fn formats() -> Vec<Format> {
    let mut formats = Vec::new();
    for block_size in [1024, 2048, 4096] {
        for wide in [false, true] {
            for checksums in [0, 2, 3] {
                formats.push(Format { wide, checksums, seed: 0x1234_5678, block_size });
            }
        }
    }
    formats
}

#[test]
fn descriptors() {
    for format in formats() {
        let most = format.tags_per_block();
        for count in [1, 2, most - 1, most] {
            let number = |index: u64| {
                let block = 0xffff_fff0 + index * 7;
                if format.wide { block } else { block & 0xffff_ffff }
            };
            let tag = |index: u64| Tag {
                block: number(index),
                flags: if index.is_multiple_of(3) { ESCAPED } else { 0 },
                checksum: match format.checksums {
                    0 => 0,
                    2 => 0xffff - index as u32,
                    _ => 0xffff_ffff - index as u32,
                },
            };
            let tags: Vec<Tag> = (0..count as u64).map(tag).collect();
            let mut block = vec![0; format.block_size];
            format.encode_descriptor(7, &tags, &mut block);
            assert_eq!(header(&block), Some((DESCRIPTOR, 7)));
            let found = format.decode_descriptor(&block).expect("as it was written");
            let is_same = |(a, b): (&Tag, &Tag)| {
                (a.block, a.flags & ESCAPED, a.checksum) == (b.block, b.flags, b.checksum)
            };
            assert!(found.len() == count && found.iter().zip(&tags).all(is_same), "{format:?}, {count} tags");
            if format.checksums != 0 {
                for at in (0..format.block_size).step_by(37) {
                    block[at] ^= 0x10;
                    assert_eq!(format.decode_descriptor(&block), None, "{format:?}, byte {at}");
                    block[at] ^= 0x10;
                }
            }
        }
    }
}

#[test]
fn revocations() {
    for format in formats() {
        let most = format.revokes_per_block();
        for count in [0, 1, most] {
            let blocks: Vec<BlockNr> =
                (0..count as u64).map(|index| index * 3 + if format.wide { 1 << 33 } else { 0 }).collect();
            let mut block = vec![0; format.block_size];
            format.encode_revoke(9, &blocks, &mut block);
            assert_eq!(header(&block), Some((REVOKE, 9)));
            assert_eq!(format.decode_revoke(&block), Some(blocks), "{format:?}");
        }
        // Counts that reach into the header, the checksum, or beyond the block.
        for bytes in [0, 1, 15, format.block_size as u32 + 1, u32::MAX] {
            let mut block = vec![0; format.block_size];
            format.encode_revoke(9, &[5], &mut block);
            put(&mut block, HEADER, bytes);
            format.close(&mut block);
            assert_eq!(format.decode_revoke(&block), None, "{format:?}, {bytes} bytes");
        }
    }
}

#[test]
fn commits() {
    for format in formats() {
        let mut block = format.encode_commit(3, core::time::Duration::new(1_800_000_000, 5));
        assert_eq!(header(&block), Some((COMMIT, 3)));
        assert!(format.is_commit(&block));
        assert_eq!(&block[0x30..0x38], &1_800_000_000_u64.to_be_bytes());
        block[0x37] ^= 1;
        assert_eq!(format.is_commit(&block), format.checksums == 0);
    }
}

/// The journal's superblock of a new filesystem.
fn superblock() -> Vec<u8> {
    thread_local!(static RAW: Vec<u8> = {
        let scratch = mke2fs(16, &["-b", "1024"]);
        let said = debugfs(scratch.path(), "bmap <8> 0");
        let block: usize = said.trim().parse().expect("a number");
        fs::read(scratch.path()).expect("read the image")[block * 1024..][..1024].to_vec()
    });
    RAW.with(Vec::clone)
}

fn parse(raw: &[u8]) -> Result<Superblock, FormatError> {
    let length = get(raw, 0x10);
    Superblock::parse(raw, 1024, length)
}

/// With these features and checksums that are right.
fn with_features(incompat: u32) -> Vec<u8> {
    let mut raw = superblock();
    put(&mut raw, 0x28, incompat);
    raw[0x50] = CRC32C;
    let sum = Superblock { raw: raw.clone() }.checksum();
    put(&mut raw, SUPERBLOCK_CHECKSUM, sum);
    raw
}

#[test]
fn features_of_journals() {
    assert!(parse(&superblock()).is_ok());
    for known in [0, 1, 3, 0x8, 0x9, 0xb, 0x10, 0x12, 0x13, 0x20, 0x33] {
        assert!(parse(&with_features(known)).is_ok(), "{known:#x}");
    }
    assert_eq!(parse(&with_features(0x4)).err(), Some(FormatError::Feature("journal_async_commit")));
    let unknown = FormatError::Unknown { incompat: 0x140, ro_compat: 0 };
    assert_eq!(parse(&with_features(0x141)).err(), Some(unknown));
    assert!(
        matches!(parse(&with_features(0x18)).err(), Some(FormatError::Corrupt(_))),
        "two kinds of checksums"
    );
    let mut raw = superblock();
    put(&mut raw, 0x2c, 1);
    assert_eq!(parse(&raw).err(), Some(FormatError::Unknown { incompat: 0, ro_compat: 1 }));
    let mut raw = with_features(0x12);
    raw[0x30] ^= 1;
    assert!(matches!(parse(&raw).err(), Some(FormatError::Corrupt(_))), "another UUID");
}

#[test]
fn superblocks_that_cannot_be() {
    for (place, value) in [(0, 5), (4, 3), (0xc, 4096), (0x10, 0xffff), (0x14, 0), (0x14, 1023), (0x1c, 5000)]
    {
        let mut raw = superblock();
        put(&mut raw, place, value);
        let length = get(&superblock(), 0x10);
        let error = Superblock::parse(&raw, 1024, length).err();
        assert!(matches!(error, Some(FormatError::Corrupt(_))), "{value} at {place:#x}: {error:?}");
    }
    assert!(Superblock::parse(&superblock()[..1000], 1024, 1024).is_err());
}

/// What we choose has no mark of fast commits, and takes their blocks for the log.
#[test]
fn fast_commit_areas() {
    let mut raw = with_features(0x33);
    put(&mut raw, 0x10, 2000);
    put(&mut raw, 0x54, 100);
    let mut superblock = Superblock { raw: raw.clone() };
    assert_eq!((superblock.end(), superblock.fast_commits()), (1900, Some(1901)));
    superblock.choose(true, true);
    assert_eq!((superblock.end(), superblock.fast_commits(), superblock.incompat()), (2000, None, 0x13));
    // Too little would be left: as for Linux, the whole is the log.
    put(&mut raw, 0x54, 1000);
    assert_eq!(Superblock { raw: raw.clone() }.end(), 2000);
    put(&mut raw, 0x54, u32::MAX);
    assert_eq!(Superblock { raw }.end(), 2000);
    let head = [9, 0, 8, 0, 0, 0, 0, 0, 7, 0, 0, 0];
    assert!(is_fast_commit(&head, 7) && !is_fast_commit(&head, 8) && !is_fast_commit(&head[..11], 7));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_of_any_kind(
        seed in any::<u64>(), kind in 0_usize..18, changes in proptest::collection::vec((0_usize..1024, any::<u8>()), 0..40)
    ) {
        let format = formats()[kind];
        let mut block = vec![0; format.block_size];
        let mut next = seed;
        for byte in &mut block[HEADER..] {
            next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (next >> 56) as u8;
        }
        // With the checksum right or as it comes.
        if seed % 2 == 0 {
            format.close(&mut block);
        }
        if let Some(tags) = format.decode_descriptor(&block) {
            prop_assert!(tags.len() <= format.block_size / 8);
        }
        let _ = format.decode_revoke(&block);
        let _ = format.is_commit(&block);
        let mut raw = superblock();
        changes.iter().for_each(|&(at, byte)| raw[at] = byte);
        if let Ok(mut superblock) = parse(&raw) {
            prop_assert!(superblock.first() < superblock.end());
            let _ = superblock.fast_commits();
            superblock.choose(seed % 3 == 0, seed % 5 == 0);
            prop_assert!(superblock.first() < superblock.end());
            superblock.encode(0, 1);
        }
    }
}
