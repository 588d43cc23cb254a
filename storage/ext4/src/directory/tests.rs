//! Directories on images in memory; e2fsck, debugfs and Linux are the judges.

mod collisions;
mod growth;
mod hashes;
mod hostile;
mod listing;
mod oracles;
mod speed;

use super::listing::Listing;
use crate::dev::{Scratch, mke2fs};
use crate::engine::{Engine, Ino, ROOT};
use crate::halt::Halt;
use crate::layout::inode::Inode;
use crate::testing::Bench;
use keelson_volume::VolumeError;
use std::collections::BTreeMap;
use std::fs;

/// Type code of a regular file.
const FILE: u8 = 1;
/// Files that names can be of: each may have up to 65,000.
const FILES: usize = 4;

/// A directory, and what should be in it.
struct Fixture {
    bench: Bench,
    dir: Ino,
    files: Vec<Ino>,
    model: BTreeMap<Vec<u8>, Ino>,
    random: u64,
}

impl Fixture {
    /// An empty directory and some files, made by mke2fs with further arguments.
    fn new(mebibytes: u64, arguments: &[&str]) -> Fixture {
        Fixture::of(made(mebibytes, arguments))
    }

    /// Those in an image that was made so.
    fn of(image: Vec<u8>) -> Fixture {
        crate::dev::log_to_stderr();
        let mut bench = Bench::open(image);
        let mut find = |name: &str| {
            let found = bench.run(|engine| {
                let root = engine.inode(ROOT)?;
                engine.dir_lookup(&root, name.as_bytes())
            });
            found.expect("look up").expect("made by mke2fs").0
        };
        let dir = find("d");
        let files = (0..FILES).map(|number| find(&format!("f{number}"))).collect();
        Fixture { bench, dir, files, model: BTreeMap::new(), random: 1 }
    }

    fn inode(&mut self) -> Inode {
        let dir = self.dir;
        self.bench.run(|engine| engine.inode(dir)).expect("read the directory's inode")
    }

    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % limit
    }

    fn try_insert(&mut self, name: &[u8]) -> Result<(), VolumeError> {
        let (dir, ino) = (self.dir, self.files[self.model.len() % FILES]);
        self.bench.run(|engine| insert(engine, dir, name, ino))?;
        assert_eq!(self.model.insert(name.to_vec(), ino), None, "names are only inserted when absent");
        Ok(())
    }

    fn insert(&mut self, name: &[u8]) {
        self.try_insert(name).unwrap_or_else(|error| panic!("insert {name:?}: {error}"));
    }

    fn remove(&mut self, name: &[u8]) {
        let dir = self.dir;
        let removed = self.bench.run(|engine| {
            let mut inode = engine.inode(dir)?;
            engine.dir_remove(&mut inode, name)
        });
        let ino = self.model.remove(name).expect("in the model");
        assert_eq!(removed.expect("remove"), (ino, FILE));
    }

    fn replace(&mut self, name: &[u8]) {
        let (dir, ino) = (self.dir, self.files[self.model.len() % FILES]);
        let replaced = self.bench.run(|engine| {
            let inode = engine.inode(dir)?;
            engine.dir_replace(&inode, name, ino, FILE)
        });
        replaced.expect("replace");
        self.model.insert(name.to_vec(), ino);
    }

    fn lookup(&mut self, name: &[u8]) -> Option<Ino> {
        let dir = self.dir;
        let found = self.bench.run(|engine| {
            let inode = engine.inode(dir)?;
            engine.dir_lookup(&inode, name)
        });
        found.expect("look up").map(|(ino, _)| ino)
    }

    fn is_empty(&mut self) -> bool {
        let dir = self.dir;
        let empty = self.bench.run(|engine| {
            let inode = engine.inode(dir)?;
            engine.dir_is_empty(&inode)
        });
        empty.expect("look for names")
    }

    fn page(&mut self, cookie: u64, max_bytes: usize) -> Result<Listing, VolumeError> {
        let dir = self.dir;
        self.bench.run(|engine| {
            let inode = engine.inode(dir)?;
            engine.dir_list(&inode, cookie, max_bytes)
        })
    }

    /// All names by their cookies, in pages.
    fn list(&mut self, max_bytes: usize) -> BTreeMap<u64, (Vec<u8>, Ino)> {
        let mut all = BTreeMap::new();
        let mut cookie = 0;
        loop {
            let page = self.page(cookie, max_bytes).expect("list");
            for entry in page.entries {
                assert!(entry.cookie > cookie && entry.cookie < 1 << 63, "cookies rise");
                cookie = entry.cookie;
                all.insert(cookie, (entry.name, entry.ino));
            }
            if page.end {
                return all;
            }
        }
    }

    /// Lookups and listings agree with the model.
    fn compare(&mut self) {
        let listed = self.list(4096);
        let mut names: BTreeMap<Vec<u8>, Ino> = listed.values().cloned().collect();
        assert_eq!(names.len(), listed.len(), "every name once");
        assert_eq!(names.remove(&b"."[..]), Some(self.dir));
        assert_eq!(names.remove(&b".."[..]), Some(ROOT));
        assert!(names == self.model, "listed {} of {}", names.len(), self.model.len());
        assert_eq!(self.is_empty(), self.model.is_empty());
        for (name, ino) in self.model.clone() {
            assert_eq!(self.lookup(&name), Some(ino), "{name:?}");
        }
        assert_eq!(self.lookup(b"never there"), None);
    }

    /// Gives the files as many links as there are names, and lets e2fsck judge.
    fn check(&mut self) {
        for file in self.files.clone() {
            let links = 1 + self.model.values().filter(|&&ino| ino == file).count();
            let links = u16::try_from(links).expect("few links");
            let put = self.bench.run(|engine| {
                let inode = engine.inode(file)?;
                engine.put_inode(&Inode { links, ..inode })
            });
            put.expect("put the links");
        }
        self.bench.check();
    }

    /// The image of now in a file.
    fn written(&mut self) -> Scratch {
        self.bench.commit();
        let scratch = Scratch::new();
        fs::write(scratch.path(), &self.bench.image).expect("write the image");
        scratch
    }

    /// Nothing in memory any more.
    fn reopen(&mut self) {
        self.bench.commit();
        self.bench = Bench::open(std::mem::take(&mut self.bench.image));
    }
}

fn insert(engine: &mut Engine, dir: Ino, name: &[u8], ino: Ino) -> Result<(), Halt> {
    let mut inode = engine.inode(dir)?;
    engine.dir_insert(&mut inode, name, ino, FILE)?;
    engine.put_inode(&inode)
}

/// An image with an empty directory and some files.
fn made(mebibytes: u64, arguments: &[&str]) -> Vec<u8> {
    let tree = Scratch::new();
    fs::create_dir_all(tree.path().join("d")).expect("make a directory");
    for number in 0..FILES {
        fs::write(tree.path().join(format!("f{number}")), "").expect("make a file");
    }
    let source = tree.path().to_str().expect("a name in UTF-8").to_owned();
    let scratch = mke2fs(mebibytes, &[arguments, &["-d", &source]].concat());
    fs::remove_dir_all(tree.path()).expect("remove the tree");
    fs::read(scratch.path()).expect("read the image")
}

/// Name number `number`, short and long ones mixed.
fn name(number: usize) -> Vec<u8> {
    let mut name = format!("{number}-").into_bytes();
    let length = match number % 7 {
        0 => 255,
        1 => 100 + number % 100,
        _ => 4 + number % 20,
    };
    while name.len() < length {
        name.push(b'a' + (name.len() * 7 + number) as u8 % 26);
    }
    // Characters that are negative for half of the world.
    name.push(if number.is_multiple_of(3) { 0xe4 } else { b'z' });
    name.truncate(255);
    name
}
