//! The checks, and what they have in common: who is asked, on which disk, and who else is asked about the result.

pub mod cuts;
pub mod faults;
pub mod journals;
pub mod names;
pub mod recovery;
pub mod runs;
pub mod simulation;
pub mod space;
pub mod variants;

use crate::backend::own::{self, Memory};
use crate::backend::{Abilities, Backend, Linux, Rsext4, memory, mount_and_walk};
use crate::disk::{FileDisk, Flush, Pace, Pages, SimDisk, Through};
use crate::model::{Rules, Tree, difference};
use crate::random::Random;
use crate::tools::{Image, e2fsck, may_mount};
use crate::world::World;
use std::cell::RefCell;
use std::rc::Rc;

/// How a check ended; the error says what is wrong.
pub type Result<T = ()> = std::result::Result<T, String>;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Our engine on a disk in memory.
    Own(Setting),
    /// The volume in memory: it is never wrong, so a check that fails on it is.
    Memory,
    /// The stop-gap crate.
    Rsext4,
    /// Linux, on a loop mount.
    Linux,
}

/// Where our engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Requests to the disk take their time and are done in any order.
    pub lagging: bool,
    /// Memory for its caches.
    pub memory: Memory,
    /// Whether the disk can write through its cache.
    pub through: Through,
}

impl Setting {
    /// A fast disk and much memory.
    pub const EASY: Setting = Setting { lagging: false, memory: Memory::Ample, through: Through::No };

    /// One of all settings.
    pub fn of(seed: u64) -> Setting {
        Setting {
            lagging: seed & 1 != 0,
            memory: if seed & 2 != 0 { Memory::Scarce } else { Memory::Ample },
            through: if seed & 4 != 0 { Through::Yes } else { Through::No },
        }
    }
}

/// A filesystem that was opened.
pub struct Opened {
    /// To talk to.
    pub backend: Box<dyn Backend>,
    /// Below it, if it is in memory.
    pub disk: Option<Rc<SimDisk>>,
}

/// Opens the filesystem in an image.
pub fn open(subject: Subject, image: &Image, seed: u64) -> Result<Opened> {
    let none = |backend: Box<dyn Backend>| Ok(Opened { backend, disk: None });
    match subject {
        Subject::Own(setting) => {
            let world = World::new(seed);
            let disk = sim_disk(Pages::load(image.path()), &world, setting, seed);
            let own = own::mount(&world, disk.clone(), setting.memory)?;
            Ok(Opened { backend: Box::new(own), disk: Some(disk) })
        }
        Subject::Memory => none(Box::new(memory(seed))),
        Subject::Rsext4 => {
            let disk = FileDisk::open(image.path(), Flush::Counted).map_err(|error| error.to_string())?;
            let mounted = Rsext4::mount(disk).map_err(|error| format!("rsext4: mount: {error}"))?;
            none(Box::new(mounted))
        }
        Subject::Linux => none(Box::new(Linux::mount(image.path(), "noatime")?)),
    }
}

/// A disk in memory for our engine.
pub fn sim_disk(content: Pages, world: &World, setting: Setting, seed: u64) -> Rc<SimDisk> {
    let pace = if setting.lagging {
        Pace::Lagging(world.handle(), RefCell::new(Random::new(seed ^ 0x0064_6973_6b00)))
    } else {
        Pace::Immediate
    };
    SimDisk::with(content, pace, setting.through)
}

impl Opened {
    /// Unmounts it; the image then holds what the disk does.
    pub fn close(self, image: &mut Image) -> Result {
        self.backend.finish().map_err(|error| format!("unmount: {error}"))?;
        match self.disk {
            Some(disk) => keep(&disk, image),
            None => Ok(()),
        }
    }

    /// Leaves it without unmounting; the image then holds what the disk does.
    pub fn leave(self, image: &mut Image) -> Result {
        drop(self.backend);
        match self.disk {
            Some(disk) => keep(&disk, image),
            None => Ok(()),
        }
    }
}

fn keep(disk: &SimDisk, image: &mut Image) -> Result {
    *image = disk.content().save();
    judge_disk(disk)
}

/// Requests that should not have been are errors.
pub fn judge_disk(disk: &SimDisk) -> Result {
    match disk.violations().first() {
        Some(first) => Err(format!("{} requests should not have been: {first}", disk.violations().len())),
        None => Ok(()),
    }
}

/// Lets e2fsck and Linux (if we may mount) say whether an image that was unmounted holds this tree.
pub fn judge_image(image: &Image, expected: &Tree, abilities: Abilities) -> Result {
    e2fsck(image.path())?;
    if !may_mount() {
        return Ok(());
    }
    let found = mount_and_walk(image.path(), "ro,noatime")?;
    let linux = Abilities { generations: false, exact_times: true, all_attributes: true, xattrs: true };
    let mut rules = Rules::between(abilities, linux);
    rules.allocated = abilities.all_attributes;
    match difference(expected, &found, &rules) {
        Some(what) => Err(format!("for Linux, {what}")),
        None => Ok(()),
    }
}
