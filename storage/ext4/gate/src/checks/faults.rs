//! Devices that fail: the n-th read, write or flush, of data, metadata or journal, once or for ever.
//!
//! Whatever fails, the engine says so, does not pretend, goes on reading what it can, and what it acknowledged is there
//! when the power comes back.

use super::cuts::changed_by;
use super::recovery::{Expectation, recover};
use super::{Result, Setting, judge_disk, sim_disk};
use crate::backend::{Abilities, Backend, own};
use crate::disk::{Fault, Pages, SimDisk, Zone};
use crate::model::{Course, Limits, Step, Stop, Tree, generate};
use crate::random::Random;
use crate::survey::Survey;
use crate::tools::Image;
use crate::world::World;
use keelson_hal::BlockOp;
use keelson_volume::{Volume, VolumeError};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Steps of a course.
const STEPS: usize = 150;
/// Steps after the first failure.
const STEPS_AFTER: usize = 30;

/// What fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// The journal's blocks.
    Journal,
    /// Superblocks, descriptors, bitmaps, inode tables.
    Fixed,
    /// All else: file content, directories, extent trees.
    Files,
    /// Everything.
    Anywhere,
}

/// Lets the request fail that the seed chooses; a summary.
pub fn fail(seed: u64) -> Result<String> {
    let mut random = Random::new(seed);
    let setting = Setting::of(random.number());
    let op = *random.pick(&[BlockOp::Write, BlockOp::Write, BlockOp::Read, BlockOp::Flush]);
    let place = *random.pick(&[Place::Journal, Place::Fixed, Place::Files, Place::Files, Place::Anywhere]);
    let count = *random.pick(&[1, 1, 3, u32::MAX]);
    // Early failures are as likely as late ones.
    let magnitude = 1 + random.below(9);
    let after = random.below(1 << magnitude) as u32;
    let what = format!("{op:?} {after} of {place:?} fails {count} times, {setting:?}");
    attempt(seed, setting, Fault { op, after, count }, place, &mut random)
        .map(|said| format!("{what}: {said}"))
        .map_err(|said| format!("{what}: {said}"))
}

struct Story {
    moments: Vec<Tree>,
    acknowledged: usize,
    uncertain: BTreeSet<u64>,
    errors: usize,
}

fn attempt(seed: u64, setting: Setting, fault: Fault, place: Place, random: &mut Random) -> Result<String> {
    let image = Image::make(24, &["-b", *random.pick(&["4096", "1024"])]);
    let world = World::new(seed);
    let pages = Pages::load(image.path());
    let zone = zone(&Survey::of(&pages)?, place);
    let disk = sim_disk(pages, &world, setting, seed);
    disk.start_record();
    let mut own = own::mount(&world, disk.clone(), setting.memory)?;
    let volume = own.volume();
    let mut course = Course::begin(&mut own)?;
    let verifier = volume.write_verifier();
    disk.fail(fault, zone);
    let mut story =
        Story { moments: vec![course.tree.clone()], acknowledged: 0, uncertain: BTreeSet::new(), errors: 0 };
    let mut left = STEPS_AFTER;
    let mut lost = false;
    for _ in 0..STEPS {
        let good = work(&mut own, &mut course, &mut story, random)?;
        lost |= good == Outcome::CommitFailed;
        if story.errors > 0 {
            left -= 1;
        }
        if left == 0 || volume.is_read_only() {
            break;
        }
    }
    if lost && volume.write_verifier() == verifier {
        return Err("a commit failed, but the write verifier is the old one".into());
    }
    let failed = disk.heal();
    if volume.is_read_only() {
        refuses(&mut own)?;
    }
    if failed > 0 && story.errors == 0 && fault.op == BlockOp::Flush {
        return Err("a flush failed and nobody was told".into());
    }
    judge_disk(&disk)?;
    let abilities = own.abilities();
    drop((own, volume));
    world.cut_power();
    judge_disk_after(&disk, &story, setting, abilities, seed)?;
    let end = story.moments.len() - 1;
    Ok(format!(
        "{failed} failed, {} errors told, {} of {end} steps acknowledged",
        story.errors, story.acknowledged
    ))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    StepFailed,
    CommitFailed,
}

/// Takes a step and commits it. After an error the model no longer knows which objects the step concerned.
fn work(
    backend: &mut dyn Backend,
    course: &mut Course,
    story: &mut Story,
    random: &mut Random,
) -> Result<Outcome> {
    let limits = Limits {
        bytes: 6 << 20,
        file: 1 << 20,
        directories: 20,
        objects: 300,
        wrong: false,
        xattrs: backend.abilities().xattrs,
        everything: true,
    };
    let step = generate(&course.tree, course.bytes, random, &limits);
    match course.step(backend, &step) {
        Ok(_) => story.moments.push(course.tree.clone()),
        Err(Stop::Refused(VolumeError::Io | VolumeError::ReadOnly)) => {
            story.errors += 1;
            return Ok(Outcome::StepFailed);
        }
        // The step itself was done, but what it did could not be asked for.
        Err(Stop::Wrong(said)) if said.contains("attributes: input/output error") => {
            story.errors += 1;
            return Ok(Outcome::StepFailed);
        }
        Err(stop) => return Err(format!("{}: {}", step.brief(), stop.said())),
    }
    // As a file server does: each object by itself.
    let changed = course.tree.get(changed_by(&step)).attributes.id;
    match backend.commit(changed) {
        Ok(()) => {
            story.acknowledged = story.moments.len() - 1;
            Ok(Outcome::Done)
        }
        Err(VolumeError::Io | VolumeError::ReadOnly) => {
            story.errors += 1;
            // Content that could not be written is lost, and that was told.
            if let Step::Write { file, .. } | Step::Truncate { file, .. } = step {
                story.uncertain.insert(file);
            }
            Ok(Outcome::CommitFailed)
        }
        Err(error) => Err(format!("commit: {error}")),
    }
}

/// A volume that is read-only says so, and can be read.
fn refuses(own: &mut own::Own) -> Result {
    use crate::model::{Making, new_object};
    let root = own.root();
    let made = own.create(root, b"too late", new_object(&Making::Regular, 0o600, (0, 0)));
    if made != Err(VolumeError::ReadOnly) {
        return Err(format!("a read-only volume answers a create with {made:?}"));
    }
    let read = own.read_dir(root).map(|names| names.len());
    read.map(|_| ()).map_err(|error| format!("a read-only volume answers a listing with {error}"))
}

fn judge_disk_after(
    disk: &Rc<SimDisk>,
    story: &Story,
    setting: Setting,
    abilities: Abilities,
    seed: u64,
) -> Result {
    let mut expectation = Expectation::since(&story.moments);
    expectation.acknowledged = story.acknowledged;
    // A file that lost a write once is known to be lost; nothing else is.
    for file in &story.uncertain {
        expectation.contents.insert(*file, 0);
    }
    let judge = |found: &Tree, _: Abilities| {
        let lenient = Expectation { uncertain: story.uncertain.clone(), ..expectation_of(&expectation) };
        expectation.judge(found, abilities).or_else(|_| lenient.judge(found, abilities)).map(|_| ())
    };
    recover(&disk.content(), setting, seed, judge)
}

fn expectation_of<'a>(of: &Expectation<'a>) -> Expectation<'a> {
    Expectation { contents: of.contents.clone(), uncertain: BTreeSet::new(), ..*of }
}

fn zone(survey: &Survey, place: Place) -> Zone {
    let in_journal = survey.in_journal();
    let in_files = survey.in_files();
    match place {
        Place::Journal => Box::new(in_journal),
        Place::Files => Box::new(in_files),
        Place::Fixed => Box::new(move |position| !in_journal(position) && !in_files(position)),
        Place::Anywhere => Box::new(|_| true),
    }
}
