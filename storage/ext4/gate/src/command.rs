//! The command line that programs with checks have in common.

use crate::list::{Case, Check};
use crate::supervise::{self, Plan};
use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

/// What the command line asks for besides the name of a check.
pub struct Words {
    /// One seed.
    pub seed: Option<u64>,
    /// Seeds other than the check's own.
    pub seeds: Option<Range<u64>>,
    /// Seeds for a child of [`supervise`].
    pub worker: Option<Range<u64>>,
    /// Parts of a seed.
    pub part: Option<Vec<usize>>,
    /// The long form.
    pub full: bool,
    /// More is said.
    pub verbose: bool,
    /// Children at a time.
    pub jobs: usize,
    /// Rounds of a measurement.
    pub rounds: usize,
    /// Files of a measurement.
    pub files: usize,
    /// Only our own is measured.
    pub alone: bool,
    /// Failures after which no more seeds are begun.
    pub most_failures: usize,
    /// Time after which no more are, nor ended.
    pub time: Option<Duration>,
}

/// Runs the check of this name, or with `all` every check, whatever the others found. `None` when there is no such check.
pub fn run(checks: &'static [Check], name: &str, words: Words) -> Option<ExitCode> {
    if name == "all" {
        let failed = checks.iter().filter(|check| !many(check, None, &words)).count();
        return Some(code(failed == 0));
    }
    checks.iter().find(|check| check.name == name).map(|check| one(check, words))
}

/// Runs one seed here, a child's seeds, or many in children.
fn one(check: &'static Check, words: Words) -> ExitCode {
    if let Some(seeds) = words.worker {
        supervise::work(check, seeds, words.full);
        return ExitCode::SUCCESS;
    }
    let Some(seed) = words.seed else { return code(many(check, words.seeds.clone(), &words)) };
    keelson_ext4::dev::log_to_stderr();
    finish((check.run)(&Case { seed, full: words.full, part: words.part, verbose: words.verbose }))
}

/// Runs seeds of a check and prints one line; whether all went well.
fn many(check: &'static Check, seeds: Option<Range<u64>>, words: &Words) -> bool {
    let default = if words.full { check.full.clone() } else { check.short.clone() };
    let plan = Plan {
        check,
        seeds: seeds.unwrap_or(default),
        full: words.full,
        jobs: words.jobs,
        most_failures: words.most_failures,
        verbose: words.verbose,
        time: words.time,
    };
    let outcome = supervise::carry_out(&plan);
    println!(
        "{:<12} {:>6} of {} seeds, {:>3} failed, {:>7.1} s   ({})",
        check.name,
        outcome.done,
        plan.seeds.end - plan.seeds.start,
        outcome.failures.len(),
        outcome.time.as_secs_f64(),
        outcome.example
    );
    outcome.failures.is_empty()
}

/// The words of a long form, as `KEELSON_SOAK` asks for it: 1 for all of it, more for so many seconds of each check. `None`
/// without it.
pub fn long_form() -> Option<Vec<String>> {
    let soak = std::env::var("KEELSON_SOAK").ok()?;
    let mut words: Vec<String> = ["--full", "--jobs", "2"].map(String::from).into();
    if soak.parse::<u64>().is_ok_and(|seconds| seconds > 1) {
        words.extend([String::from("--seconds"), soak]);
    }
    Some(words)
}

/// Says how it ended.
pub fn finish(result: Result<String, String>) -> ExitCode {
    match result {
        Ok(said) => {
            println!("good: {said}");
            ExitCode::SUCCESS
        }
        Err(said) => {
            println!("FAILED: {said}");
            ExitCode::FAILURE
        }
    }
}

/// Whether it was good, for the shell.
pub fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line for each check, below the usage.
pub fn list(checks: &[Check]) {
    for check in checks {
        let (short, full) = (check.short.end - check.short.start, check.full.end - check.full.start);
        eprintln!("  {:<12} {} ({short} seeds, in full {full})", check.name, check.about);
    }
}

/// The words behind the name of a check; `None` when one of them is not known.
pub fn parse(rest: &[String]) -> Option<Words> {
    let mut words = Words {
        seed: None,
        seeds: None,
        worker: None,
        part: None,
        full: false,
        verbose: false,
        jobs: 1,
        rounds: 5,
        files: 10_000,
        alone: false,
        most_failures: 20,
        time: None,
    };
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--full" => words.full = true,
            "--alone" => words.alone = true,
            "--verbose" => words.verbose = true,
            "--seed" => words.seed = Some(rest.next()?.parse().ok()?),
            "--seeds" => words.seeds = Some(range(rest.next()?)?),
            "--worker" => words.worker = Some(range(rest.next()?)?),
            "--part" => {
                let parts: Result<_, _> = rest.next()?.split(',').map(str::parse).collect();
                words.part = Some(parts.ok()?);
            }
            "--jobs" => words.jobs = rest.next()?.parse().ok().filter(|jobs| *jobs > 0)?,
            "--rounds" => words.rounds = rest.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
            "--files" => words.files = rest.next()?.parse().ok().filter(|files| *files > 0)?,
            "--seconds" => words.time = Some(Duration::from_secs(rest.next()?.parse().ok()?)),
            "--failures" => words.most_failures = rest.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(words)
}

fn range(text: &str) -> Option<Range<u64>> {
    let (first, end) = text.split_once("..")?;
    Some(first.parse().ok()?..end.parse().ok()?)
}
