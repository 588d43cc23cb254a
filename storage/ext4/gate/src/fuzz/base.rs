//! Sound images with everything in them that can be damaged.

use super::surveyed;
use crate::backend::{Backend, own};
use crate::checks::Result;
use crate::disk::{Manner, Pages, SimDisk};
use crate::model::{Course, Limits, Making, generate, new_object};
use crate::random::Random;
use crate::survey::Survey;
use crate::tools::Image;
use crate::world::World;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// An image.
pub struct Base {
    /// What kind.
    pub name: &'static str,
    /// What it holds.
    pub pages: Pages,
    /// What lies where.
    pub survey: Survey,
}

/// How one is left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Unmounted.
    Clean,
    /// With a journal to be replayed.
    Dirty,
}

const KINDS: &[(&str, &[&str], Left)] = &[
    ("4 KiB blocks", &["-b", "4096"], Left::Clean),
    ("1 KiB blocks", &["-b", "1024"], Left::Clean),
    ("4 KiB blocks with a dirty journal", &["-b", "4096"], Left::Dirty),
    ("1 KiB blocks with a dirty journal", &["-b", "1024"], Left::Dirty),
    ("no checksums", &["-b", "1024", "-O", "^metadata_csum,^64bit"], Left::Clean),
    ("no checksums, with a dirty journal", &["-b", "4096", "-O", "^metadata_csum"], Left::Dirty),
    ("no journal", &["-b", "2048", "-O", "^has_journal"], Left::Clean),
    ("small groups", &["-b", "1024", "-g", "1024", "-O", "^flex_bg"], Left::Clean),
];

thread_local! {
    static MADE: RefCell<HashMap<usize, Rc<Base>>> = RefCell::default();
}

impl Base {
    /// The one that belongs to a seed.
    pub fn of(seed: u64) -> Result<Rc<Base>> {
        let kind = seed as usize % KINDS.len();
        if let Some(base) = MADE.with_borrow(|made| made.get(&kind).cloned()) {
            return Ok(base);
        }
        let base =
            Rc::new(make(kind).map_err(|said| format!("the sound image ({}): {said}", KINDS[kind].0))?);
        MADE.with_borrow_mut(|made| made.insert(kind, base.clone()));
        Ok(base)
    }
}

fn make(kind: usize) -> Result<Base> {
    let (name, arguments, left) = KINDS[kind];
    let mut arguments = arguments.to_vec();
    arguments.extend(["-N", "1536"]);
    let image = Image::make(10, &arguments);
    let world = World::new(kind as u64);
    let disk = SimDisk::new(Pages::load(image.path()));
    disk.start_record();
    let mut own = own::mount(&world, disk.clone(), own::Memory::Ample)?;
    fill(&mut own, kind as u64)?;
    let pages = match left {
        Left::Clean => {
            Box::new(own).finish().map_err(|error| format!("unmount: {error}"))?;
            disk.content()
        }
        Left::Dirty => {
            own.sync().map_err(|error| format!("sync: {error}"))?;
            drop(own);
            world.cut_power();
            let record = disk.take_record().ok_or("no record")?;
            record.after_cut(record.len(), Manner::All, &mut Random::new(kind as u64))
        }
    };
    surveyed(name, pages)
}

/// Trees of extents, hash trees, attributes, links, devices.
fn fill(own: &mut own::Own, seed: u64) -> Result {
    let said = |error: keelson_volume::VolumeError| error.to_string();
    let root = own.root();
    let new = |what| new_object(what, 0o755, (0, 0));
    // A hash tree, with 1 KiB blocks one of two levels.
    let dir = own.create(root, b"many", new(&Making::Directory)).map_err(said)?;
    for number in 0..500 {
        let name = format!("{number:-<150}");
        own.link_or_create(dir, name.as_bytes(), number)?;
    }
    // More extents than fit into the inode, and into one block.
    let file = own.create(root, b"holes", new(&Making::Regular)).map_err(said)?;
    for number in 0..400 {
        own.write(file, number * 8192, &[number as u8; 700]).map_err(said)?;
    }
    own.commit(file).map_err(said)?;
    let mut course = Course::begin(own)?;
    let mut random = Random::new(seed);
    let limits = Limits {
        bytes: 3 << 20,
        file: 400 << 10,
        directories: 30,
        objects: 900,
        wrong: false,
        xattrs: own.abilities().xattrs,
        everything: true,
    };
    for _ in 0..300 {
        let step = generate(&course.tree, course.bytes, &mut random, &limits);
        course.step(own, &step).map_err(|stop| stop.said())?;
    }
    Ok(())
}

trait Many {
    fn link_or_create(&mut self, dir: keelson_volume::FileId, name: &[u8], number: u32) -> Result;
}

impl Many for own::Own {
    /// One inode for ten names: the image is small.
    fn link_or_create(&mut self, dir: keelson_volume::FileId, name: &[u8], number: u32) -> Result {
        let said = |error: keelson_volume::VolumeError| error.to_string();
        if number.is_multiple_of(10) {
            let made = self.create(dir, name, new_object(&Making::Regular, 0o644, (0, 0)));
            return made.map(|_| ()).map_err(said);
        }
        let first = format!("{:-<150}", number / 10 * 10);
        let id = self.lookup(dir, first.as_bytes()).map_err(said)?.id;
        self.link(id, dir, name).map_err(said)
    }
}
