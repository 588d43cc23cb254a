//! Trees that somebody made to hurt: no panic, no endless loop, no block of the filesystem's own, nothing twice.

use super::*;
use crate::engine::BlockNr;
use crate::layout::bytes::{put_u16, put_u32};
use crate::layout::inode::MAP_LENGTH;

/// A fragmented file in a filesystem without checksums, and the blocks of its tree.
fn victim() -> (Bench, Ino, Vec<BlockNr>) {
    let (mut bench, ino) = with_file(8, &["-b", "1024", "-O", "^metadata_csum"]);
    for at in 0..700 {
        bench.run(|engine| add(engine, ino, at * 3, 1)).expect("add");
    }
    bench.commit();
    let inode = bench.run(|engine| engine.inode(ino)).expect("read");
    let generation = inode.generation;
    let kind = crate::engine::Kind::Extents { owner: ino, generation };
    let is_node = |block: &BlockNr| bench.engine.cache.peek(*block).is_some_and(|slot| slot.kind == kind);
    let nodes: Vec<BlockNr> = (0..bench.engine.geometry.blocks).filter(is_node).collect();
    assert!(nodes.len() > 8);
    (bench, ino, nodes)
}

/// Does everything there is to a file, and undoes it. Each call must come back, and soon.
fn try_all(bench: &mut Bench, inode: &Inode, random: &Seed) {
    let at = match random.below(8) {
        0 => u32::MAX - random.below(3) as u32,
        _ => random.below(2300) as u32,
    };
    let undo = |result: Result<(), Halt>| result.and(Err::<(), _>(Halt::Fail(VolumeError::TooBig)));
    let mut steps = 0u64;
    let _ = bench.run(|engine| {
        let (mut next, end) = (at, at.saturating_add(500));
        while next < end {
            let len = match engine.map(inode, next)? {
                Mapping::Hole(len) => len,
                Mapping::Written { block, len } | Mapping::Unwritten { block, len } => {
                    assert!(
                        !engine.allocator.is_system(block, len) && engine.geometry.holds(block, len.into())
                    );
                    len
                }
            };
            assert!(len > 0, "no way on from {next}");
            next = next.saturating_add(len);
            steps += 1;
        }
        Ok(())
    });
    assert!(steps <= 500_000);
    let _ = bench.run(|engine| engine.goal(inode, at));
    let _ = bench.run(|engine| {
        let mut inode = *inode;
        undo(engine.mark_written(&mut inode, at, 300))
    });
    let _ = bench.run(|engine| {
        let mut inode = *inode;
        let result = (|| {
            for more in 0..8 {
                let (block, len) = engine.allocate_blocks(3000, 2)?;
                engine.insert_extent(&mut inode, at.saturating_add(more), block, len, more % 2 == 0)?;
            }
            Ok(())
        })();
        undo(result)
    });
    let _ = bench.run(|engine| {
        let mut inode = *inode;
        let mut calls = 0;
        while !engine.remove_from(&mut inode, at.min(1500), 12)? {
            calls += 1;
            assert!(calls < 10_000, "no end");
        }
        undo(Ok(()))
    });
}

#[test]
fn random_damage() {
    let (mut bench, ino, nodes) = victim();
    let inode = bench.run(|engine| engine.inode(ino)).expect("read");
    let random = Seed::new(11);
    for _ in 0..1500 {
        let mut bad = inode;
        let mut saved = Vec::new();
        for _ in 0..1 + random.below(3) {
            let value = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => 0x80,
                _ => random.below(256) as u8,
            };
            if random.below(3) == 0 {
                bad.map[random.below(MAP_LENGTH as u64) as usize] = value;
                continue;
            }
            let block = nodes[random.below(nodes.len() as u64) as usize];
            // Headers and the first entries most of all.
            let at = random.below([12, 60, 1024][random.below(3) as usize]) as usize;
            let slot = bench.engine.cache.get(block).expect("in memory");
            saved.push((block, at, slot.data[at]));
            slot.data[at] = value;
            slot.verified = 0;
        }
        try_all(&mut bench, &bad, &random);
        for (block, at, value) in saved.into_iter().rev() {
            let slot = bench.engine.cache.get(block).expect("in memory");
            slot.data[at] = value;
            slot.verified = 0;
        }
    }
    assert!(bench.engine.counters.damaged > 300);
    // Nothing of all that is left.
    bench.engine.counters.damaged = 0;
    for at in 0..700 {
        let mapping = bench.run(|engine| engine.map(&inode, at * 3)).expect("map");
        assert!(matches!(mapping, Mapping::Unwritten { len: 1, .. }));
    }
    bench.check();
}

/// A root with the entries given: (logical, length or 0 for an index entry, block).
fn root(inode: &Inode, depth: u16, entries: &[(u32, u16, BlockNr)]) -> Inode {
    let mut bad = *inode;
    init(&mut bad);
    put_u16(&mut bad.map, 2, entries.len() as u16);
    put_u16(&mut bad.map, 6, depth);
    for (index, &(logical, len, block)) in entries.iter().enumerate() {
        let entry = &mut bad.map[ENTRY * (1 + index)..];
        put_u32(entry, 0, logical);
        if depth > 0 {
            put_u32(entry, 4, block as u32);
        } else {
            put_u16(entry, 4, len);
            put_u16(entry, 6, (block >> 32) as u16);
            put_u32(entry, 8, block as u32);
        }
    }
    bad
}

#[test]
fn trees_made_to_hurt() {
    let (mut bench, ino, nodes) = victim();
    let inode = bench.run(|engine| engine.inode(ino)).expect("read");
    let random = Seed::new(12);
    let blocks = bench.engine.geometry.blocks;
    let table = bench.run(|engine| engine.descriptor(0)).expect("a descriptor").inode_table;
    let leaf = nodes[3];
    // In use, so that freeing them is not what fails.
    for goal in [5000, 6000] {
        let run = bench.run(|engine| engine.allocate_blocks(goal, 200)).expect("room");
        assert_eq!(run, (goal, 200));
    }
    bench.commit();
    let cases = [
        // Loops, and the same child twice; a leaf where an index should be.
        root(&inode, 1, &[(0, 0, nodes[0]), (500, 0, nodes[0]), (900, 0, nodes[0])]),
        root(&inode, 5, &[(0, 0, leaf)]),
        root(&inode, 2, &[(0, 0, leaf), (5, 0, leaf)]),
        root(&inode, 6, &[(0, 0, leaf)]),
        root(&inode, 1, &[(0, 0, table)]),
        root(&inode, 1, &[(0, 0, blocks)]),
        root(&inode, 1, &[(0, 0, 0)]),
        root(&inode, 1, &[]),
        // Overlapping, out of order, empty, too long, of the filesystem's own, and beyond the end.
        root(&inode, 0, &[(0, 10, 5000), (5, 10, 6000)]),
        root(&inode, 0, &[(10, 1, 5000), (0, 1, 6000)]),
        root(&inode, 0, &[(10, 1, 5000), (5, 1, 6000), (20, 1, 6001)]),
        root(&inode, 0, &[(0, 0, 5000)]),
        root(&inode, 0, &[(0, 0x8000, 5000)]),
        root(&inode, 0, &[(0, 0xffff, 5000)]),
        root(&inode, 0, &[(u32::MAX, 1, 5000)]),
        root(&inode, 0, &[(u32::MAX - 5, 100, 5000)]),
        root(&inode, 0, &[(0, 5, table - 2)]),
        root(&inode, 0, &[(0, 1, 1)]),
        root(&inode, 0, &[(0, 2, blocks - 1)]),
        root(&inode, 0, &[(0, 1, (1 << 48) - 1)]),
    ];
    for (number, bad) in cases.iter().enumerate() {
        bench.engine.counters.damaged = 0;
        for _ in 0..20 {
            try_all(&mut bench, bad, &random);
        }
        // Looking at what is before them may be right; cutting it all off never is.
        let all = bench.run(|engine| {
            let mut inode = *bad;
            engine.remove_from(&mut inode, 0, 1000)?;
            Err::<(), _>(Halt::Fail(VolumeError::TooBig))
        });
        assert!(all == Err(VolumeError::Io) && bench.engine.counters.damaged > 0, "case {number}: {all:?}");
    }
    // A leaf that goes on where its neighbour begins. Cutting from the end would not meet it, looking does.
    let inner = root(&inode, 1, &[(0, 0, leaf), (u32::MAX - 1, 0, leaf)]);
    let first = bench.run(|engine| engine.map(&inner, 0)).expect("a leaf of its own");
    assert!(matches!(first, Mapping::Hole(_) | Mapping::Unwritten { .. }), "{first:?}");
    let inner = root(&inode, 1, &[(0, 0, leaf), (2, 0, nodes[4])]);
    assert_eq!(bench.run(|engine| engine.map(&inner, 0)), Err(VolumeError::Io));
    let mut bad = inode;
    for (at, value) in [(0, 0), (2, 5), (2, 0xffff), (4, 0), (4, 5), (4, 0xffff), (6, 0xffff)] {
        bad.map = inode.map;
        put_u16(&mut bad.map, at, value);
        try_all(&mut bench, &bad, &random);
    }
    bad.flags = 0;
    assert_eq!(bench.run(|engine| engine.map(&bad, 0)), Err(VolumeError::NotPermitted));
    bench
        .run(|engine| {
            engine.free_blocks(5000, 200)?;
            engine.free_blocks(6000, 200)
        })
        .expect("free");
    bench.check();
}

/// The tree of another file, and one whose leaf frees what another file has.
#[test]
fn what_belongs_to_others() {
    let (mut bench, ino, nodes) = victim();
    let inode = bench.run(|engine| engine.inode(ino)).expect("read");
    let thief = Inode { ino: ino + 1, generation: 77, ..inode };
    assert_eq!(bench.run(|engine| engine.map(&thief, 0)), Err(VolumeError::Io));
    // A node that is also a data block: freed once as the one, not again as the other.
    let bad = root(&inode, 0, &[(0, 1, nodes[1]), (1, 1, nodes[1])]);
    let result = bench.run(|engine| {
        let mut bad = bad;
        engine.remove_from(&mut bad, 0, 100).map(|_| ())
    });
    assert_eq!(result, Err(VolumeError::Io));
    bench.check();
}
