//! Everything that can be run by name, with the seeds of its short and its full form.

use crate::checks::cuts::Cuts;
use crate::checks::runs::Run;
use crate::checks::simulation::Simulation;
use crate::checks::{Result, Setting, Subject, faults, journals, names, space, variants};
use crate::fuzz;
use std::ops::Range;
use std::time::Duration;

/// A check that a seed determines.
pub struct Check {
    /// The package whose program runs it.
    pub package: &'static str,
    /// Its name on the command line.
    pub name: &'static str,
    /// What it asks.
    pub about: &'static str,
    /// Seeds of the short form.
    pub short: Range<u64>,
    /// Seeds of the full form.
    pub full: Range<u64>,
    /// Longest time that one seed may take in its full form.
    pub limit: Duration,
    /// Does it.
    pub run: fn(&Case) -> Result<String>,
}

/// One seed of a check.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Where chances come from.
    pub seed: u64,
    /// The long form.
    pub full: bool,
    /// Only this part, if the check has parts.
    pub part: Option<Vec<usize>>,
    /// The seed's history is told, if the check can.
    pub verbose: bool,
}

impl Case {
    fn pick<T>(&self, short: T, full: T) -> T {
        if self.full { full } else { short }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

const PACKAGE: &str = env!("CARGO_PKG_NAME");

/// All checks.
pub const CHECKS: &[Check] = &[
    Check {
        package: PACKAGE,
        name: "harness",
        about: "the model against Linux's own ext4 and the volume in memory",
        short: 0..4,
        full: 0..20,
        limit: MINUTE.saturating_mul(5),
        run: |case| {
            let subject = [Subject::Memory, Subject::Linux][case.seed as usize % 2];
            if subject == Subject::Linux && !crate::tools::may_mount() {
                return Ok("skipped: only root can mount".into());
            }
            let steps = case.pick(1_500, 20_000);
            Run { subject, ..Run::own(case.seed, steps, 100, 256) }.carry_out()?;
            Ok(format!("{subject:?}, {steps} steps"))
        },
    },
    Check {
        package: PACKAGE,
        name: "runs",
        about: "random operations against the model, e2fsck and Linux; syncs after 1, 20 or 1000 of them",
        short: 0..12,
        full: 0..300,
        limit: MINUTE.saturating_mul(10),
        run: |case| {
            let every = [1, 20, 1_000][case.seed as usize % 3];
            let steps = case.pick(1_200, 30_000);
            // Seeds and settings shall not go in step.
            let run = Run::own(case.seed / 3, steps, every, case.pick(128, 1024));
            run.carry_out()?;
            Ok(format!("{steps} steps, synced every {every}, {:?}", run.subject))
        },
    },
    Check {
        package: PACKAGE,
        name: "cuts",
        about: "power cuts after acknowledged steps, and cuts while recovering",
        short: 0..5,
        full: 0..100,
        limit: MINUTE.saturating_mul(10),
        run: |case| {
            let only = case.part.as_ref().and_then(|parts| parts.first()).copied();
            let (steps, cuts) = case.pick((150, 10), (400, 25));
            Cuts { seed: case.seed, steps, cuts, only }.carry_out()
        },
    },
    Check {
        package: PACKAGE,
        name: "simulation",
        about: "several clients on a disk that delays, reorders and tears, until the power goes",
        short: 0..60,
        full: 0..5_000,
        limit: MINUTE,
        run: |case| Simulation { seed: case.seed, cuts: 3 }.carry_out(),
    },
    Check {
        package: PACKAGE,
        name: "space",
        about: "full disks and full inode tables",
        short: 0..3,
        full: 0..60,
        limit: MINUTE.saturating_mul(10),
        run: |case| match case.seed % 10 {
            9 => space::few_inodes(case.seed),
            _ => space::fill(Subject::Own(Setting::of(case.seed / 2)), case.seed),
        },
    },
    Check {
        package: PACKAGE,
        name: "names",
        about: "a directory of very many names",
        short: 0..2,
        full: 0..4,
        limit: MINUTE.saturating_mul(20),
        run: |case| names::many(case.seed, case.pick(10_000, 100_000)),
    },
    Check {
        package: PACKAGE,
        name: "faults",
        about: "the n-th read, write or flush fails",
        short: 0..60,
        full: 0..2_000,
        limit: MINUTE,
        run: |case| faults::fail(case.seed),
    },
    Check {
        package: PACKAGE,
        name: "variants",
        about: "what mke2fs can make and must work",
        short: 0..variants::GOOD.len() as u64,
        full: 0..variants::GOOD.len() as u64 * 5,
        limit: MINUTE.saturating_mul(3),
        run: |case| variants::good(case.seed, case.pick(250, 4_000)),
    },
    Check {
        package: PACKAGE,
        name: "refused",
        about: "what must be refused, with words that help",
        short: 0..1,
        full: 0..1,
        limit: MINUTE,
        run: |_| variants::refused(),
    },
    Check {
        package: PACKAGE,
        name: "journals",
        about: "journals of Linux's, replayed by us as Linux does",
        short: 0..15,
        full: 0..150,
        limit: MINUTE.saturating_mul(3),
        run: |case| journals::of_linux(case.seed, case.pick(2, 12)),
    },
    Check {
        package: PACKAGE,
        name: "orphans",
        about: "files without names that Linux left open",
        short: 0..2,
        full: 0..4,
        limit: MINUTE,
        run: |case| journals::orphans(case.seed),
    },
    Check {
        package: PACKAGE,
        name: "fuzz",
        about: "damaged images: no panic, no loop, no write where none belongs",
        short: 0..400,
        full: 0..40_000,
        limit: MINUTE,
        run: |case| fuzz::damage(case.seed, case.part.as_deref()),
    },
];

/// The check of this name.
pub fn find(name: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.name == name)
}
