//! Random operations, compared with a model: live, after a remount, by e2fsck, and by Linux.

use super::{Opened, Result, Setting, Subject, judge_image, open};
use crate::backend::{Abilities, Backend};
use crate::model::{Course, Limits, Stop, generate, walk};
use crate::random::Random;
use crate::tools::Image;
use std::time::Duration;

/// Steps between comparisons of everything.
const COMPARE_EVERY: usize = 2_000;
/// Without these, e2fsck could not tell what is damaged from what is full.
const MOST_OBJECTS: usize = 4_000;

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Who is asked.
    pub subject: Subject,
    /// Where chances come from.
    pub seed: u64,
    /// How many steps.
    pub steps: usize,
    /// Steps between syncs; 0 for none.
    pub sync_every: usize,
    /// Size of the disk.
    pub mebibytes: u64,
    /// Bytes that files may hold together.
    pub most_bytes: u64,
    /// Further arguments for mke2fs.
    pub mke2fs: Vec<String>,
}

impl Run {
    /// A run of our engine: on all kinds of disks, with all block sizes, by seed.
    pub fn own(seed: u64, steps: usize, sync_every: usize, mebibytes: u64) -> Run {
        let block_size = ["4096", "4096", "1024", "2048"][(seed / 4 % 4) as usize];
        Run {
            subject: Subject::Own(Setting::of(seed)),
            seed,
            steps,
            sync_every,
            mebibytes,
            most_bytes: (mebibytes << 20) / 6,
            mke2fs: ["-b", block_size].map(String::from).to_vec(),
        }
    }

    /// Carries it out.
    pub fn carry_out(&self) -> Result {
        let arguments: Vec<&str> = self.mke2fs.iter().map(String::as_str).collect();
        self.carry_out_on(Image::make(self.mebibytes, &arguments))
    }

    /// Carries it out on a filesystem that was made already.
    pub fn carry_out_on(&self, mut image: Image) -> Result {
        let mut opened = open(self.subject, &image, self.seed)?;
        let abilities = opened.backend.abilities();
        let mut course = Course::begin(&mut *opened.backend)?;
        self.walk_along(&mut course, &mut *opened.backend, abilities)?;
        course.compare(&mut *opened.backend).map_err(|said| format!("at the end: {said}"))?;
        if self.subject == Subject::Memory {
            return opened.close(&mut image);
        }
        // Half of the runs leave a journal to be replayed.
        if self.seed % 2 == 1 && matches!(self.subject, Subject::Own(_)) {
            opened.backend.sync().map_err(|error| format!("sync: {error}"))?;
            opened.leave(&mut image)?;
        } else {
            opened.close(&mut image)?;
            crate::tools::e2fsck(image.path())?;
        }
        let mut again = open(self.subject, &image, self.seed + 1)?;
        course.compare(&mut *again.backend).map_err(|said| format!("after a remount: {said}"))?;
        let held = held(&mut again)?;
        again.close(&mut image)?;
        judge_image(&image, &held, abilities)
    }

    fn walk_along(&self, course: &mut Course, backend: &mut dyn Backend, abilities: Abilities) -> Result {
        let mut random = Random::new(self.seed);
        let limits = Limits {
            bytes: self.most_bytes,
            file: 3 << 20,
            directories: 60,
            objects: MOST_OBJECTS,
            wrong: true,
            xattrs: abilities.xattrs,
            everything: abilities.exact_times,
        };
        for number in 0..self.steps {
            let step = generate(&course.tree, course.bytes, &mut random, &limits);
            course.step(backend, &step).map_err(|stop| match stop {
                Stop::Wrong(said) => format!("step {number}, {said}"),
                Stop::NoSpace => format!("step {number}: no space, though there is plenty"),
                Stop::Refused(error) => format!("step {number}, {}: {error:?}", step.brief()),
            })?;
            if self.sync_every > 0 && number % self.sync_every == 0 {
                backend.sync().map_err(|error| format!("step {number}: sync: {error}"))?;
            }
            if random.once_in(100) {
                backend.pause(Duration::from_millis(1 + random.below(8_000)));
            }
            if number % COMPARE_EVERY == COMPARE_EVERY - 1 {
                course.compare(backend).map_err(|said| format!("after step {number}: {said}"))?;
            }
        }
        Ok(())
    }
}

/// Everything the backend holds when all is written, bytes allocated included.
fn held(opened: &mut Opened) -> Result<crate::model::Tree> {
    opened.backend.sync().map_err(|error| format!("sync: {error}"))?;
    walk(&mut *opened.backend)
}
