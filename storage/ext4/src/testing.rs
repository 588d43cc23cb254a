//! For the unit tests of this crate: operations on an image in memory, without journal, tasks or waiting.

use crate::dev::{Scratch, e2fsck, mke2fs};
use crate::engine::{BlockNr, Engine, Ino, Kind, seal};
use crate::halt::Halt;
use crate::journal::Journal;
use crate::layout::superblock::{self, Superblock};
use keelson_volume::{Time, VolumeError};
use std::fs;

/// Blocks that an operation may lack before something must be wrong.
const MISSES: usize = 100_000;

/// A filesystem with one empty file in it, and the file's inode.
pub fn with_file(mebibytes: u64, arguments: &[&str]) -> (Bench, Ino) {
    let tree = Scratch::new().path().with_extension("tree");
    fs::create_dir_all(&tree).expect("make a directory");
    fs::write(tree.join("file"), "").expect("make a file");
    let name = tree.to_str().expect("a name in UTF-8").to_string();
    let mut all = vec!["-d", &name];
    all.extend(arguments);
    let image = fs::read(mke2fs(mebibytes, &all).path()).expect("read the image");
    fs::remove_dir_all(&tree).expect("remove the tree");
    (Bench::open(image), 12)
}

/// An engine and the disk below it.
pub struct Bench {
    /// The filesystem in memory.
    pub engine: Engine,
    /// The disk.
    pub image: Vec<u8>,
    /// Blocks that operations lacked.
    pub misses: usize,
}

impl Bench {
    /// A new filesystem of `mebibytes`, made with further arguments for mke2fs.
    pub fn new(mebibytes: u64, arguments: &[&str]) -> Bench {
        let scratch = mke2fs(mebibytes, arguments);
        Bench::open(fs::read(scratch.path()).expect("read the image"))
    }

    /// The filesystem in an image.
    pub fn open(image: Vec<u8>) -> Bench {
        Bench::try_open(image).expect("read the group descriptors")
    }

    /// The filesystem in an image whose descriptors may be damaged.
    pub fn try_open(image: Vec<u8>) -> Option<Bench> {
        let start = superblock::POSITION as usize;
        let raw = image[start..start + superblock::LENGTH].try_into().expect("a superblock's length");
        let superblock = Superblock::parse(raw, image.len() as u64).expect("a good superblock");
        let mut engine = Engine::new(superblock.geometry, 64 << 20, Journal::for_tests(), 1000);
        engine.now = Time { seconds: 1_767_225_600, nanos: 0 };
        let mut bench = Bench { engine, image, misses: 0 };
        bench.run(Engine::count_descriptors).ok()?;
        Some(bench)
    }

    /// Runs an operation as its driver does: what it lacks is read, and it starts again.
    pub fn run<T>(
        &mut self,
        mut operation: impl FnMut(&mut Engine) -> Result<T, Halt>,
    ) -> Result<T, VolumeError> {
        self.engine.now.nanos += 1;
        for _ in 0..MISSES {
            self.engine.begin();
            let halt = match operation(&mut self.engine) {
                Ok(value) => {
                    self.engine.end();
                    return Ok(value);
                }
                Err(halt) => halt,
            };
            self.engine.roll_back();
            match halt {
                Halt::Need(block, kind) => self.load(block, kind)?,
                Halt::Fail(error) => return Err(error),
                Halt::Busy(_) | Halt::Crowded => return Err(VolumeError::TryLater),
            }
        }
        panic!("an operation that always lacks one more block");
    }

    fn load(&mut self, block: BlockNr, kind: Kind) -> Result<(), VolumeError> {
        self.misses += 1;
        let size = self.engine.geometry.block_size;
        let start = block as usize * size;
        let data = self.image.get(start..start + size).ok_or(VolumeError::Io)?;
        if !seal::is_sound(data, block, kind, &self.engine.geometry) {
            return Err(VolumeError::Io);
        }
        self.engine.cache.insert(block, kind, data.into());
        Ok(())
    }

    /// Commits: everything changed is sealed and written to its place.
    pub fn commit(&mut self) {
        let (superblock, _) = self.engine.geometry.superblock_place();
        self.run(|engine| engine.read(superblock, Kind::Superblock).map(drop)).expect("read the superblock");
        let size = self.engine.geometry.block_size;
        if let Some((block, data)) = self.engine.finish_superblock() {
            // As when it is unmounted.
            self.image[block as usize * size..][..size].copy_from_slice(data);
        }
        let mut blocks = self.engine.journal.running.blocks.clone();
        let is_bitmap = |engine: &Engine, block: BlockNr| {
            let slot = engine.cache.peek(block);
            slot.is_some_and(|slot| matches!(slot.kind, Kind::BlockBitmap(_) | Kind::InodeBitmap(_)))
        };
        blocks.sort_by_key(|&block| !is_bitmap(&self.engine, block));
        for &block in &blocks {
            if self.engine.cache.peek(block).is_some_and(|slot| slot.running) {
                self.engine.begin();
                self.engine.seal(block).expect("seal");
                self.engine.end();
            }
        }
        let running = core::mem::take(&mut self.engine.journal.running);
        for block in running.blocks {
            let Some(slot) = self.engine.cache.get(block) else { continue };
            if core::mem::take(&mut slot.running) {
                let start = block as usize * size;
                self.image[start..start + size].copy_from_slice(&slot.data);
            }
        }
        for block in running.revoked {
            self.engine.cache.remove(block);
        }
        for (start, count) in running.freed {
            self.engine.allocator.release(start, count);
        }
    }

    /// Commits, and lets e2fsck judge.
    pub fn check(&mut self) {
        self.commit();
        let scratch = Scratch::new();
        fs::write(scratch.path(), &self.image).expect("write the image");
        if let Err(said) = e2fsck(scratch.path()) {
            panic!("e2fsck: {said}");
        }
    }
}
