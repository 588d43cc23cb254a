//! Bitmaps and descriptors that cannot be true: an error for who meets them, room elsewhere for everybody else.

use super::Bench;
use crate::dev::Seed;
use crate::engine::Engine;
use crate::halt::Halt;
use crate::layout::descriptor::BLOCK_UNINIT;
use crate::layout::inode::Inode;
use keelson_volume::VolumeError;

/// Where a group's block bitmap lies in the image, if it is on the disk; and its inode bitmap.
fn bitmaps(bench: &mut Bench, group: u32) -> Option<(usize, usize)> {
    let size = bench.engine.geometry.block_size;
    let descriptor = bench.run(|engine| engine.descriptor(group)).expect("a descriptor");
    (descriptor.flags & BLOCK_UNINIT == 0)
        .then_some((descriptor.block_bitmap as usize * size, descriptor.inode_bitmap as usize * size))
}

/// Blocks in use that are not the filesystem's own; blocks of 1 KiB begin at 1, so their bits are those of byte 700.
const IN_USE: u64 = 5601;

fn damaged_group(arguments: &[&str], damage: impl Fn(&mut [u8])) {
    let mut bench = Bench::new(24, arguments);
    let run = bench.run(|engine| engine.allocate_blocks(IN_USE, 8)).expect("room");
    assert_eq!(run, (IN_USE, 8));
    bench.commit();
    let mut bench = Bench::open(bench.image);
    let (blocks, inodes) = bitmaps(&mut bench, 0).expect("group 0 is in use");
    damage(&mut bench.image[blocks..]);
    bench.image[inodes + 20] ^= 1;
    let geometry = bench.engine.geometry;
    let (free, group) = (bench.engine.allocator.free_blocks, bench.engine.allocator.free_of(0));
    for _ in 0..20 {
        let (block, _) = bench.run(|engine| engine.allocate_blocks(100, 50)).expect("room elsewhere");
        assert_ne!(geometry.locate_block(block).map(|(at, _)| at), Some(0));
        let inode = bench.run(|engine| engine.allocate_inode(&Inode::blank(2), false)).expect("elsewhere");
        assert_ne!(geometry.locate_inode(inode.ino).map(|(at, _)| at), Some(0));
    }
    assert_eq!(bench.engine.counters.damaged, 2, "said once for each");
    // What cannot be had is promised to nobody.
    assert_eq!(bench.engine.allocator.free_blocks, free - u64::from(group.blocks) - 20 * 50);
    assert_eq!(bench.run(|engine| engine.free_blocks(4000, 1)), Err(VolumeError::Io));
    assert_eq!(bench.run(|engine| engine.free_inode(12, false)), Err(VolumeError::Io));
}

#[test]
fn a_bitmap_with_a_wrong_checksum() {
    // One bit set, one cleared: the count is right.
    damaged_group(&["-b", "1024"], |bits| {
        assert_eq!((bits[700], bits[701]), (0xff, 0));
        (bits[700], bits[701]) = (0xfe, 1);
    });
}

#[test]
fn a_bitmap_with_a_wrong_count() {
    damaged_group(&["-b", "1024", "-O", "^metadata_csum"], |bits| bits[700] ^= 0x10);
}

#[test]
fn a_bitmap_without_the_groups_own_tables() {
    damaged_group(&["-b", "1024", "-O", "^metadata_csum"], |bits| {
        bits[0] &= !2;
        bits[1000] |= 0x80;
    });
}

/// The system's blocks cannot be freed, nor what is outside.
#[test]
fn frees_that_cannot_be() {
    let mut bench = Bench::new(24, &["-b", "1024"]);
    let descriptor = bench.run(|engine| engine.descriptor(1)).expect("a descriptor");
    let blocks = bench.engine.geometry.blocks;
    for (start, count) in [
        (0, 1),
        (1, 1),
        (2, 1),
        (descriptor.block_bitmap, 1),
        (descriptor.inode_bitmap - 1, 3),
        (descriptor.inode_table + 3, 1),
        (blocks - 1, 2),
        (blocks, 1),
        (u64::MAX, 1),
        (u64::MAX - 5, 100),
        (20_000, 1),
    ] {
        assert_eq!(
            bench.run(|engine| engine.free_blocks(start, count)),
            Err(VolumeError::Io),
            "{start}+{count}"
        );
    }
    for ino in [0, 1, 2, 10, 500, u32::MAX] {
        assert_eq!(bench.run(|engine| engine.free_inode(ino, false)), Err(VolumeError::Io), "inode {ino}");
    }
    bench.check();
}

/// Garbage in descriptors and bitmaps: errors, and no panic or endless search. Without checksums, so that it gets in.
#[test]
fn garbage() {
    let pristine = Bench::new(8, &["-b", "1024", "-g", "512", "-O", "^metadata_csum,^uninit_bg"]).image;
    let random = Seed::new(5);
    let (mut mounted, mut allocated) = (0, 0);
    for _ in 0..300 {
        let mut image = pristine.clone();
        // Descriptors are in block 2, bitmaps and tables behind.
        for _ in 0..1 + random.below(8) {
            let at =
                if random.below(3) == 0 { 2048 + random.below(512) } else { 2048 + random.below(40_960) };
            image[at as usize] = random.below(256) as u8;
        }
        let Some(mut bench) = Bench::try_open(image) else { continue };
        mounted += 1;
        for _ in 0..30 {
            let goal = random.below(8200);
            let run = bench.run(|engine| engine.allocate_blocks(goal, 1 + (goal % 90) as u32));
            if let Ok((start, count)) = run {
                allocated += 1;
                assert!(!bench.engine.allocator.is_system(start, count));
                let _ = bench.run(|engine| engine.free_blocks(start, count));
            }
            let ino = 1 + random.below(2000) as u32;
            let _ = bench.run(|engine| engine.allocate_inode(&Inode::blank(ino), goal.is_multiple_of(2)));
            let _ = bench.run(|engine| engine.free_inode(ino, false));
            let _ = bench.run(|engine| engine.inode(ino));
            let all = |engine: &mut Engine| -> Result<(), Halt> {
                while !engine.count_usage()? {}
                Ok(())
            };
            let _ = bench.run(all);
        }
    }
    assert!(mounted > 50 && allocated > 1000, "{mounted} mounted, {allocated} allocated");
}
