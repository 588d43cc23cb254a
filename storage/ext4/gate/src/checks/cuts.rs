//! Power cuts at any moment of a course whose every step was acknowledged, and at any moment of the recovery.

use super::recovery::{Expectation, cut_recovery, recover, repair, replay_by_linux};
use super::{Result, Setting, judge_disk, sim_disk};
use crate::backend::{Backend, own};
use crate::disk::{Manner, Pages, Record};
use crate::model::{Course, Limits, Step, Stop, Tree, generate};
use crate::random::Random;
use crate::survey::Survey;
use crate::tools::Image;
use crate::world::World;

/// A course and its cuts.
#[derive(Clone, Copy, Debug)]
pub struct Cuts {
    /// Where chances come from.
    pub seed: u64,
    /// Steps of the course.
    pub steps: usize,
    /// Cuts.
    pub cuts: usize,
    /// Only this one.
    pub only: Option<usize>,
}

/// A course that was recorded.
struct Recorded {
    record: Record,
    /// The tree before the first step and after each.
    moments: Vec<Tree>,
    /// Most steps between two acknowledgements.
    stride: usize,
    xattrs: bool,
    /// Writes there are what cuts come after most.
    hot: Vec<u64>,
}

impl Cuts {
    /// Carries them out; a summary.
    pub fn carry_out(&self) -> Result<String> {
        let setting = Setting::of(self.seed);
        let recorded = self.record(setting)?;
        let mut random = Random::new(self.seed ^ 0x6375_7473);
        for number in 0..self.cuts {
            let cut = recorded.record.choose_cut(number, &recorded.hot, &mut random);
            let manner = *random.pick(&Manner::EACH);
            let mut own = Random::new(random.number());
            if self.only.is_none_or(|only| only == number) {
                let judged = judge(&recorded, cut, manner, setting, &mut own, number);
                judged.map_err(|said| format!("cut {number} (before event {cut}, {manner:?}): {said}"))?;
            }
        }
        let (writes, flushes) = recorded.record.totals();
        let steps = recorded.moments.len() - 1;
        Ok(format!("{} cuts of {steps} steps, {writes} writes, {flushes} flushes", self.cuts))
    }

    fn record(&self, setting: Setting) -> Result<Recorded> {
        let block_size = ["4096", "1024", "4096", "1024", "2048"][(self.seed / 4 % 5) as usize];
        // The shortest journals there are, so that they are soon full.
        let journal = if block_size == "1024" { "size=1" } else { "size=4" };
        let image = Image::make(32, &["-b", block_size, "-J", journal]);
        let hot = Survey::of(&Pages::load(image.path()))?.hot_places();
        let world = World::new(self.seed);
        let disk = sim_disk(Pages::load(image.path()), &world, setting, self.seed);
        let mut own = own::mount(&world, disk.clone(), setting.memory)?;
        // What mounting does is cut in recoveries.
        own.sync().map_err(|error| format!("sync: {error}"))?;
        disk.start_record();
        let mut course = Course::begin(&mut own)?;
        let mut random = Random::new(self.seed);
        let limits = Limits {
            bytes: 6 << 20,
            file: 1 << 20,
            directories: 20,
            objects: 300,
            wrong: false,
            xattrs: own.abilities().xattrs,
            everything: true,
        };
        let stride = if self.seed % 3 == 2 { 8 } else { 1 };
        let mut moments = vec![course.tree.clone()];
        for number in 1..=self.steps {
            let step = generate(&course.tree, course.bytes, &mut random, &limits);
            let done = course.step(&mut own, &step);
            done.map_err(|stop| format!("step {number}, {}: {stop:?}", step.brief()))?;
            moments.push(course.tree.clone());
            if number % stride == 0 {
                acknowledge(&mut own, &course, &step, stride, &mut random)
                    .map_err(|error| format!("step {number}: {error}"))?;
                disk.note(number as u64);
            }
            if random.once_in(40) {
                own.pause(std::time::Duration::from_millis(random.below(7_000)));
            }
        }
        let xattrs = own.abilities().xattrs;
        Box::new(own).finish().map_err(|error| format!("unmount: {error}"))?;
        judge_disk(&disk)?;
        let record = disk.take_record().ok_or("no record")?;
        if std::env::var_os("GATE_DEBUG").is_some() {
            eprintln!("hot: {hot:?}\n{}", record.describe());
        }
        Ok(Recorded { record, moments, stride, xattrs, hot })
    }
}

/// Makes stable what the last steps did, in one of the ways there are.
fn acknowledge(
    backend: &mut dyn Backend,
    course: &Course,
    step: &Step,
    stride: usize,
    random: &mut Random,
) -> std::result::Result<(), keelson_volume::VolumeError> {
    // With more than one step, data of several files is to be made stable.
    if stride > 1 || random.once_in(3) {
        return backend.sync();
    }
    backend.commit(course.tree.get(changed_by(step)).attributes.id)
}

/// What a step changed that is still there.
pub fn changed_by(step: &Step) -> u64 {
    match step {
        Step::Write { file, .. } | Step::Truncate { file, .. } => *file,
        Step::Create { dir, .. } | Step::Link { dir, .. } | Step::Remove { dir, .. } => *dir,
        Step::RemoveDir { dir, .. } | Step::Rename { to: dir, .. } => *dir,
        Step::SetAttributes { object, .. } | Step::SetXattr { object, .. } => *object,
    }
}

fn judge(
    recorded: &Recorded,
    cut: usize,
    manner: Manner,
    setting: Setting,
    random: &mut Random,
    number: usize,
) -> Result {
    let acknowledged = recorded.record.note_before(cut).unwrap_or(0) as usize;
    let last = (acknowledged + recorded.stride).min(recorded.moments.len() - 1);
    let expectation = Expectation::since(&recorded.moments[acknowledged..=last]);
    let judge = |found: &Tree, abilities| expectation.judge(found, abilities).map(|_| ());
    let pages = recorded.record.after_cut(cut, manner, random);
    let seed = random.number();
    let what = |what: &'static str| move |said: String| format!("{what}: {said}");
    recover(&pages, setting, seed, judge).map_err(what("own recovery"))?;
    repair(&pages, setting, seed, judge).map_err(what("after e2fsck"))?;
    if number.is_multiple_of(3) {
        replay_by_linux(&pages, recorded.xattrs, judge).map_err(what("replayed by Linux"))?;
    }
    if number.is_multiple_of(2) {
        let mut again = pages;
        for _ in 0..1 + random.below(3) {
            again = cut_recovery(&again, setting, random).map_err(what("recovery that is cut"))?;
        }
        recover(&again, setting, seed, judge).map_err(what("recovery after a cut in recovery"))?;
        repair(&again, setting, seed, judge).map_err(what("e2fsck after a cut in recovery"))?;
    }
    Ok(())
}

impl Stop {
    /// In words.
    pub fn said(self) -> String {
        match self {
            Stop::NoSpace => "no space".into(),
            Stop::Refused(error) => format!("refused: {error:?}"),
            Stop::Wrong(said) => said,
        }
    }
}
