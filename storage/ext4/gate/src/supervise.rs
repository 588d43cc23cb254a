//! Runs seeds in child processes: one that panics, loops or eats all memory costs that seed only, and is named.

use crate::list::{Case, Check};
use crate::tools::workplace;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Seeds that a child takes before another is started.
const BATCH: u64 = 64;

/// What to run.
pub struct Plan {
    /// The check.
    pub check: &'static Check,
    /// Its seeds.
    pub seeds: Range<u64>,
    /// The long form of each.
    pub full: bool,
    /// Children at a time.
    pub jobs: usize,
    /// Failures after which no more seeds are begun.
    pub most_failures: usize,
    /// Every seed is reported.
    pub verbose: bool,
    /// Time after which it ends, whatever is left, once a seed is done.
    pub time: Option<Duration>,
}

/// A seed that failed.
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// What was said.
    pub said: String,
}

/// How a plan went.
pub struct Outcome {
    /// Seeds that were run.
    pub done: u64,
    /// What failed.
    pub failures: Vec<Failure>,
    /// What the last seed said that did not fail.
    pub example: String,
    /// How long it took.
    pub time: Duration,
}

/// One child at work on a range of seeds.
struct Worker {
    child: Child,
    lines: Receiver<String>,
    seeds: Range<u64>,
    /// The seed it is at, and since when.
    at: Option<(u64, Instant)>,
    /// What it said besides results: its last words if it dies.
    words: VecDeque<String>,
}

/// The command that does one seed again.
pub fn again(check: &Check, case: &Case) -> String {
    let full = if case.full { " --full" } else { "" };
    let part = case.part.as_ref().map(|parts| {
        let parts: Vec<String> = parts.iter().map(usize::to_string).collect();
        format!(" --part {}", parts.join(","))
    });
    let (package, name, seed) = (check.package, check.name, case.seed);
    format!("cargo run --release -p {package} -- {name} --seed {seed}{full}{}", part.unwrap_or_default())
}

/// Carries out a plan.
pub fn carry_out(plan: &Plan) -> Outcome {
    let start = Instant::now();
    let mut outcome = Outcome { done: 0, failures: Vec::new(), example: String::new(), time: Duration::ZERO };
    let share = (plan.seeds.end - plan.seeds.start).div_ceil(plan.jobs as u64).clamp(1, BATCH);
    let mut waiting: VecDeque<Range<u64>> = (plan.seeds.clone().step_by(share as usize))
        .map(|first| first..(first + share).min(plan.seeds.end))
        .collect();
    let mut workers: Vec<Worker> = Vec::new();
    loop {
        if outcome.done > 0 && plan.time.is_some_and(|time| start.elapsed() >= time) {
            workers.drain(..).for_each(Worker::give_up);
            break;
        }
        while workers.len() < plan.jobs
            && outcome.failures.len() < plan.most_failures
            && let Some(seeds) = waiting.pop_front()
        {
            workers.push(Worker::start(plan, seeds));
        }
        if workers.is_empty() {
            break;
        }
        workers.retain_mut(|worker| match worker.attend(plan, &mut outcome) {
            None => true,
            Some(rest) => {
                if !rest.is_empty() {
                    waiting.push_front(rest);
                }
                false
            }
        });
    }
    outcome.time = start.elapsed();
    outcome
}

impl Worker {
    fn start(plan: &Plan, seeds: Range<u64>) -> Worker {
        let program = std::env::current_exe().unwrap_or_else(|error| panic!("our own program: {error}"));
        let program = std::env::var_os("KEELSON_GATE").map_or(program, Into::into);
        let mut command = Command::new(program);
        command.args([plan.check.name, "--worker", &format!("{}..{}", seeds.start, seeds.end)]);
        if plan.full {
            command.arg("--full");
        }
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let outputs: [Option<Box<dyn std::io::Read + Send>>; 2] = [
            child.stdout.take().map(|output| Box::new(output) as _),
            child.stderr.take().map(|output| Box::new(output) as _),
        ];
        for output in outputs.into_iter().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Worker { child, lines, seeds, at: None, words: VecDeque::new() }
    }

    /// Listens for a moment. `Some` when the child is gone: with the seeds that it did not come to.
    fn attend(&mut self, plan: &Plan, outcome: &mut Outcome) -> Option<Range<u64>> {
        match self.lines.recv_timeout(Duration::from_millis(20)) {
            Ok(line) => {
                self.hear(plan, outcome, &line);
                while let Ok(line) = self.lines.try_recv() {
                    self.hear(plan, outcome, &line);
                }
                None
            }
            Err(RecvTimeoutError::Timeout) => {
                let (seed, since) = self.at?;
                if since.elapsed() < plan.check.limit {
                    return None;
                }
                let _ = self.child.kill();
                Some(self.bury(plan, outcome, seed, format!("no end after {:?}", plan.check.limit)))
            }
            Err(RecvTimeoutError::Disconnected) => match self.at {
                Some((seed, _)) => {
                    let said = self.words.make_contiguous().join(" | ");
                    Some(self.bury(plan, outcome, seed, said))
                }
                None => {
                    let end = self.seeds.end;
                    Some(self.clean_up(end))
                }
            },
        }
    }

    fn hear(&mut self, plan: &Plan, outcome: &mut Outcome, line: &str) {
        let mut words = line.splitn(3, '\t');
        let (kind, seed) = (words.next(), words.next().and_then(|seed| seed.parse().ok()));
        let said = words.next().unwrap_or_default();
        match (kind, seed) {
            (Some("BEGIN"), Some(seed)) => {
                self.at = Some((seed, Instant::now()));
                self.words.clear();
            }
            (Some("GOOD"), Some(seed)) => {
                self.at = None;
                outcome.done += 1;
                outcome.example = said.into();
                if plan.verbose {
                    println!("  {} {seed}: {said}", plan.check.name);
                }
            }
            (Some("BAD"), Some(seed)) => {
                self.at = None;
                outcome.done += 1;
                report(plan, outcome, Failure { seed, said: said.into() });
            }
            _ => {
                if self.words.len() > 20 {
                    self.words.pop_front();
                }
                self.words.push_back(line.into());
            }
        }
    }

    /// The child died or was ended at this seed.
    fn bury(&mut self, plan: &Plan, outcome: &mut Outcome, seed: u64, said: String) -> Range<u64> {
        outcome.done += 1;
        report(plan, outcome, Failure { seed, said });
        self.clean_up(seed + 1)
    }

    /// Ends the child, whatever it is at.
    fn give_up(mut self) {
        let _ = self.child.kill();
        self.clean_up(self.seeds.end);
    }

    fn clean_up(&mut self, next: u64) -> Range<u64> {
        let process = self.child.id();
        let _ = self.child.wait();
        // What it had on the disk, mounts included.
        if let Ok(left) = std::fs::read_dir(workplace(process)) {
            for entry in
                left.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "mnt"))
            {
                let _ = Command::new("umount").arg(entry.path()).stderr(Stdio::null()).status();
            }
        }
        let _ = std::fs::remove_dir_all(workplace(process));
        next..self.seeds.end.max(next)
    }
}

fn report(plan: &Plan, outcome: &mut Outcome, failure: Failure) {
    let case = Case { seed: failure.seed, full: plan.full, ..Case::default() };
    println!("  FAILED {} {}: {}", plan.check.name, failure.seed, failure.said);
    println!("         again: {}", again(plan.check, &case));
    let _ = std::io::stdout().flush();
    outcome.failures.push(failure);
}

/// What a child does: all seeds, with a line before and after each.
pub fn work(check: &Check, seeds: Range<u64>, full: bool) {
    for seed in seeds {
        say(&format!("BEGIN\t{seed}"));
        let case = Case { seed, full, ..Case::default() };
        match (check.run)(&case) {
            Ok(said) => say(&format!("GOOD\t{seed}\t{}", said.replace('\n', " "))),
            Err(said) => say(&format!("BAD\t{seed}\t{}", said.replace('\n', " "))),
        }
    }
}

fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}");
    let _ = output.flush();
}
