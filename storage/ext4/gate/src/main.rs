//! `gate`: runs checks by name, one seed or many. `gate help` lists them.

use keelson_ext4_gate::list::{CHECKS, Case, Check, find};
use keelson_ext4_gate::supervise::{self, Plan};
use keelson_ext4_gate::{fuzz, speed};
use std::ops::Range;
use std::process::ExitCode;

const USAGE: &str = "\
usage: gate CHECK [--seed N [--part N,N...] | --seeds A..B] [--full] [--jobs N] [--verbose]
       gate all [--full] [--jobs N]      every check
       gate shrink SEED                  the fewest damages of a fuzz seed that still fail
       gate speed [--alone] [--rounds N] [--files N]   own beside the stop-gap crate and Linux; exit code 1 when a figure is missed
       gate growth                       what an operation costs in large transactions, directories and volumes

checks:";

/// What the command line asks for besides the name of a check.
struct Words {
    seed: Option<u64>,
    seeds: Option<Range<u64>>,
    worker: Option<Range<u64>>,
    part: Option<Vec<usize>>,
    full: bool,
    verbose: bool,
    jobs: usize,
    rounds: usize,
    files: usize,
    alone: bool,
    most_failures: usize,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = words.split_first() else { return usage() };
    if name == "shrink" {
        return match rest.first().and_then(|seed| seed.parse().ok()) {
            Some(seed) => finish(fuzz::shrink(seed)),
            None => usage(),
        };
    }
    let Some(parsed) = parse(rest) else { return usage() };
    if matches!(name.as_str(), "speed" | "growth") && std::env::var_os(CALM[0].0).is_none() {
        return calmly(&words);
    }
    let words = parsed;
    match name.as_str() {
        "speed" => code(speed::compare(words.rounds, words.files, words.alone)),
        "growth" => code(speed::growth()),
        "all" => {
            // All of them, whatever the others found.
            let failed = CHECKS.iter().filter(|check| !many(check, None, &words)).count();
            code(failed == 0)
        }
        name => match find(name) {
            Some(check) => one(check, words),
            None => usage(),
        },
    }
}

/// Keeps the C library from giving memory back to the system and faulting it in again all the time: the appliance's
/// heap does not, and that would be most of what is measured.
const CALM: [(&str, &str); 3] = [
    ("MALLOC_TRIM_THRESHOLD_", "4000000000"),
    ("MALLOC_MMAP_THRESHOLD_", "1000000000"),
    ("MALLOC_TOP_PAD_", "100000000"),
];

/// Does the same in a process of its own with a calm heap.
fn calmly(words: &[String]) -> ExitCode {
    let program = std::env::current_exe().unwrap_or_else(|error| panic!("our own program: {error}"));
    let status = std::process::Command::new(program).args(words).envs(CALM).status();
    code(status.is_ok_and(|status| status.success()))
}

fn one(check: &'static Check, words: Words) -> ExitCode {
    if let Some(seeds) = words.worker {
        supervise::work(check, seeds, words.full);
        return ExitCode::SUCCESS;
    }
    let Some(seed) = words.seed else { return code(many(check, words.seeds.clone(), &words)) };
    keelson_ext4::dev::log_to_stderr();
    finish((check.run)(&Case { seed, full: words.full, part: words.part }))
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
    };
    let outcome = supervise::carry_out(&plan);
    println!(
        "{:<12} {:>6} seeds, {:>3} failed, {:>7.1} s   ({})",
        check.name,
        outcome.done,
        outcome.failures.len(),
        outcome.time.as_secs_f64(),
        outcome.example
    );
    outcome.failures.is_empty()
}

fn finish(result: Result<String, String>) -> ExitCode {
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

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    for check in CHECKS {
        let (short, full) = (check.short.end - check.short.start, check.full.end - check.full.start);
        eprintln!("  {:<12} {} ({short} seeds, in full {full})", check.name, check.about);
    }
    ExitCode::from(2)
}

fn parse(rest: &[String]) -> Option<Words> {
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
