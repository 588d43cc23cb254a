//! Groups that mke2fs left as they were: bitmaps and inode tables nobody wrote, full of what was on the disk before.

use crate::engine::{Engine, Ino, ROOT};
use crate::extents;
use crate::halt::Halt;
use crate::layout::descriptor::{BLOCK_UNINIT, INODE_UNINIT};
use crate::layout::inode::Inode;
use crate::testing::{Bench, with_file};

/// Makes a file in the group of `near`, and a name for it in the root directory.
fn create(engine: &mut Engine, near: Ino, name: &str) -> Result<Ino, Halt> {
    let mut inode = engine.allocate_inode(&Inode::blank(near), false)?;
    (inode.mode, inode.links) = (0o100_644, 1);
    extents::init(&mut inode);
    engine.put_new_inode(&inode)?;
    let mut root = engine.inode(ROOT)?;
    engine.dir_insert(&mut root, name.as_bytes(), inode.ino, 1)?;
    engine.put_inode(&root)?;
    Ok(inode.ino)
}

fn remove(engine: &mut Engine, ino: Ino, name: &str) -> Result<(), Halt> {
    let mut root = engine.inode(ROOT)?;
    engine.dir_remove(&mut root, name.as_bytes())?;
    engine.put_inode(&root)?;
    let mut inode = engine.inode(ino)?;
    (inode.links, inode.dtime) = (0, 1_767_225_600);
    engine.put_inode(&inode)?;
    engine.free_inode(ino, false)
}

/// Writes garbage where nothing was ever written: bitmaps and tables that descriptors call unused.
fn litter(bench: &mut Bench) -> u32 {
    let geometry = bench.engine.geometry;
    let mut begun = 0;
    for group in 0..geometry.groups {
        let descriptor = bench.run(|engine| engine.descriptor(group)).expect("a descriptor");
        let mut fill = |block: u64, skip: usize, bytes: usize| {
            let start = block as usize * geometry.block_size;
            for (index, byte) in bench.image[start + skip..start + bytes].iter_mut().enumerate() {
                *byte = (index * 7 + 0x5a) as u8 | 1;
            }
        };
        let whole = geometry.inodes_per_group as usize * geometry.inode_size;
        let unused = descriptor.unused_inodes as usize * geometry.inode_size;
        fill(descriptor.inode_table, whole - unused, whole);
        if descriptor.flags & BLOCK_UNINIT != 0 {
            fill(descriptor.block_bitmap, 0, geometry.block_size);
            begun += 1;
        }
        if descriptor.flags & INODE_UNINIT != 0 {
            fill(descriptor.inode_bitmap, 0, geometry.block_size);
            begun += 1;
        }
    }
    begun
}

fn all_groups(mebibytes: u64, arguments: &[&str], is_lazy: bool) {
    let (mut bench, file) = with_file(mebibytes, arguments);
    let geometry = bench.engine.geometry;
    assert_eq!(litter(&mut bench) > 0, is_lazy, "groups that were never used");
    bench.check();
    // A handle of a file that never was leads to garbage: that is no file, and nothing is damaged.
    if is_lazy {
        let ino = geometry.inodes;
        assert_eq!(bench.run(|engine| engine.inode(ino)).expect("no error").mode, 0);
        assert_eq!(bench.engine.counters.damaged, 0);
    }
    let mut made = Vec::new();
    for group in 0..geometry.groups {
        let near = group * geometry.inodes_per_group + 1;
        for number in 0..3 {
            let name = format!("g{group}-{number}");
            let ino = bench.run(|engine| create(engine, near, &name)).expect("create");
            assert_eq!(geometry.locate_inode(ino).map(|(at, _)| at), Some(group));
            assert!(bench.run(|engine| engine.inode(ino)).expect("read").generation > 0);
            made.push((ino, name));
        }
        // The journal may have all of it.
        let has_room = bench.engine.allocator.free_of(group).blocks > 100;
        let block = bench.run(|engine| {
            let mut inode = engine.inode(file)?;
            let goal = geometry.group_start(group) + u64::from(geometry.group_blocks(group) / 2);
            let (block, count) = engine.allocate_blocks(goal, 2)?;
            engine.insert_extent(&mut inode, group * 4, block, count, false)?;
            inode.size = u64::from(group * 4 + count) * geometry.block_size as u64;
            engine.put_inode(&inode)?;
            Ok(block)
        });
        let block = block.expect("allocate");
        assert!(!has_room || geometry.locate_block(block).map(|(at, _)| at) == Some(group));
        if group % 5 == 0 {
            bench.check();
        }
    }
    bench.check();
    for (ino, name) in made {
        let before = bench.run(|engine| engine.inode(ino)).expect("read").generation;
        bench.run(|engine| remove(engine, ino, &name)).expect("remove");
        let near = ino;
        let again = bench.run(|engine| {
            let ino = create(engine, near, "again")?;
            engine.inode(ino)
        });
        let again = again.expect("create");
        assert!(
            again.ino != ino || again.generation.wrapping_sub(before) - 1 < 256,
            "a generation came back"
        );
        bench.run(|engine| remove(engine, again.ino, "again")).expect("remove");
    }
    bench.check();
    let cut = |engine: &mut Engine| {
        let mut inode = engine.inode(file)?;
        let done = engine.remove_from(&mut inode, 0, 12)?;
        inode.size = 0;
        engine.put_inode(&inode)?;
        Ok(done)
    };
    while !bench.run(cut).expect("cut") {}
    bench.check();
    assert_eq!(bench.engine.counters.damaged, 0);
}

#[test]
fn with_checksums() {
    all_groups(40, &["-b", "1024", "-E", "lazy_itable_init=1"], true);
}

#[test]
fn with_descriptor_checksums_only() {
    all_groups(40, &["-b", "1024", "-O", "^metadata_csum,uninit_bg", "-E", "lazy_itable_init=1"], true);
}

#[test]
fn without_any() {
    all_groups(40, &["-b", "1024", "-O", "^metadata_csum,^uninit_bg"], false);
}

#[test]
fn without_flexible_groups() {
    all_groups(40, &["-b", "1024", "-O", "^flex_bg", "-E", "lazy_itable_init=1"], true);
}

#[test]
fn with_narrow_descriptors() {
    all_groups(40, &["-b", "1024", "-O", "^64bit", "-E", "lazy_itable_init=1"], true);
}

#[test]
fn with_two_copies_of_the_superblock() {
    all_groups(64, &["-b", "1024", "-O", "sparse_super2", "-E", "lazy_itable_init=1"], true);
}

#[test]
fn with_a_copy_of_the_superblock_in_every_group() {
    all_groups(24, &["-b", "1024", "-O", "^sparse_super,^resize_inode", "-E", "lazy_itable_init=1"], true);
}

#[test]
fn with_small_groups_of_large_blocks() {
    all_groups(40, &["-b", "4096", "-g", "1024", "-E", "lazy_itable_init=1", "-O", "^has_journal"], true);
}
