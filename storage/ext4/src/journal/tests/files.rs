//! Files whose blocks come and go, some through the journal, some beside it: what journals are about.

use super::{INODES, open};
use crate::dev::{Host, Seed, SimDisk};
use crate::engine::{BlockNr, Engine, Ino, Kind};
use crate::extents::Mapping;
use crate::halt::Halt;
use crate::layout::inode::Inode;
use crate::mount::Mounted;
use crate::shared::Shared;
use keelson_hal::BlockDevice;
use std::rc::Rc;

/// Files that are used.
pub const FILES: usize = 120;

/// What a block of a file holds: one byte all over; `None` where it was allocated only.
pub type Content = Vec<Option<u8>>;

/// What all files hold.
pub type State = Vec<Content>;

/// The number of one.
pub fn ino_of(file: usize) -> Ino {
    INODES.start + file as Ino
}

/// Does things to files and remembers all states that there were.
pub struct Files<'a> {
    shared: &'a Shared,
    random: Rc<Seed>,
    /// Every operation made one.
    pub states: Vec<State>,
}

impl<'a> Files<'a> {
    pub fn new(mounted: &'a Mounted, seed: u64) -> Files<'a> {
        let states = vec![vec![Vec::new(); FILES]];
        Files { shared: &mounted.shared, random: Seed::new(seed), states }
    }

    /// Number of the newest state.
    pub fn now(&self) -> usize {
        self.states.len() - 1
    }

    fn note(&mut self, file: usize, content: Content) {
        let mut state = self.states[self.now()].clone();
        state[file] = content;
        self.states.push(state);
    }

    /// Changes a file.
    pub async fn step(&mut self) {
        let file = self.random.below(FILES as u64) as usize;
        let ino = ino_of(file);
        let mut content = self.states[self.now()][file].clone();
        let (count, byte) = (1 + self.random.below(4) as u32, 1 + self.random.below(255) as u8);
        match (content.len(), self.random.below(4)) {
            (8.., _) | (1.., 0..2) => {
                self.shared.change(|engine| empty(engine, ino)).await.expect("empty a file");
                self.note(file, Vec::new());
            }
            // Through the journal.
            (_, 0..3) => {
                let grow = |engine: &mut Engine| {
                    for _ in 0..count {
                        let block = append(engine, ino, false)?;
                        let place = engine.fresh(block, Kind::Target);
                        place.fill(byte);
                        // As if it were one of the journal's.
                        place[..4].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98]);
                    }
                    Ok(())
                };
                self.shared.change(grow).await.expect("grow a file");
                content.extend((0..count).map(|_| Some(byte)));
                self.note(file, content);
            }
            // Beside it.
            _ => {
                let start = content.len() as u32;
                let grow = |engine: &mut Engine| {
                    (0..count).map(|_| append(engine, ino, true)).collect::<Result<Vec<_>, _>>()
                };
                let blocks = self.shared.change(grow).await.expect("grow a file");
                content.extend((0..count).map(|_| None));
                self.note(file, content.clone());
                let size = self.shared.engine.borrow().geometry.block_size;
                let mut data = vec![byte; size];
                data[..4].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98]);
                let writes = blocks.iter().map(|&block| (block, data.clone())).collect();
                self.shared.io.write(writes).await.expect("write");
                let mark = |engine: &mut Engine| {
                    let mut inode = engine.inode(ino)?;
                    engine.mark_written(&mut inode, start, count)?;
                    engine.put_inode(&inode)
                };
                self.shared.change(mark).await.expect("mark as written");
                content[start as usize..].fill(Some(byte));
                self.note(file, content);
            }
        }
    }

    /// Makes all of it safe.
    pub async fn commit(&self) {
        self.shared.commit_through(self.shared.last_change()).await.expect("commit");
    }
}

/// Operation's part: one more block for a file. Always from the same place, so that blocks change hands.
fn append(engine: &mut Engine, ino: Ino, unwritten: bool) -> Result<BlockNr, Halt> {
    let mut inode = engine.inode(ino)?;
    let block = engine.allocate_metadata(4000)?;
    let size = engine.geometry.block_size as u64;
    let logical = (inode.size / size) as u32;
    engine.insert_extent(&mut inode, logical, block, 1, unwritten)?;
    inode.size += size;
    engine.put_inode(&inode)?;
    Ok(block)
}

/// Operation: takes all blocks from a file.
fn empty(engine: &mut Engine, ino: Ino) -> Result<(), Halt> {
    let mut inode = engine.inode(ino)?;
    for (block, _) in blocks(engine, &inode)? {
        engine.forget(block);
    }
    assert!(engine.remove_from(&mut inode, 0, 40)?, "a small file");
    inode.size = 0;
    engine.put_inode(&inode)
}

/// A file's blocks, and whether they were written.
fn blocks(engine: &mut Engine, inode: &Inode) -> Result<Vec<(BlockNr, bool)>, Halt> {
    let count = (inode.size / engine.geometry.block_size as u64) as u32;
    let mut blocks = Vec::new();
    while (blocks.len() as u32) < count {
        let (block, len, written) = match engine.map(inode, blocks.len() as u32)? {
            Mapping::Written { block, len } => (block, len, true),
            Mapping::Unwritten { block, len } => (block, len, false),
            Mapping::Hole(_) => panic!("a hole in a file"),
        };
        blocks.extend((0..u64::from(len)).map(|more| (block + more, written)));
    }
    Ok(blocks)
}

/// Mounts an image and unmounts it: what its files hold then, and the image.
pub fn recover(image: Vec<u8>) -> (State, Vec<u8>) {
    let disk = SimDisk::new(image, false);
    let state = state_of(&disk, disk.clone());
    (state, disk.image())
}

/// The same for a device on a disk.
pub fn state_of(disk: &SimDisk, device: Rc<dyn BlockDevice>) -> State {
    let host = Host::new(9);
    let mounted = open(&host, device);
    let mut places = Vec::new();
    for file in 0..FILES {
        let of = |engine: &mut Engine| {
            let inode = engine.inode(ino_of(file))?;
            blocks(engine, &inode)
        };
        places.push(host.run(async { mounted.shared.look(of).await }).expect("find the blocks"));
    }
    let size = mounted.shared.engine.borrow().geometry.block_size;
    assert!(host.run(async { mounted.shared.close_and_wait().await }), "a clean unmount");
    assert_eq!(mounted.shared.engine.borrow().counters.damaged, 0);
    let image = disk.image();
    let content = |&(block, written): &(BlockNr, bool)| {
        let start = block as usize * size;
        written.then(|| byte_of(&image[start..start + size]))
    };
    places.iter().map(|blocks| blocks.iter().map(content).collect()).collect()
}

/// The byte that fills a block.
pub fn byte_of(block: &[u8]) -> u8 {
    assert_eq!(block[..4], [0xc0, 0x3b, 0x39, 0x98], "the beginning of a block");
    let byte = block[4];
    assert!(block[4..].iter().all(|&other| other == byte), "a block of one piece");
    byte
}
