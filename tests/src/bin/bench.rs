//! `make bench`: prints what the appliance costs beside Linux knfsd. See [`keelson_tests::bench`].

use keelson_tests::bench::{Plan, run};
use std::process::ExitCode;

const USAGE: &str = "bench [--only PART-OF-A-ROW'S-NAME] [--rounds COUNT] [--profile]";

fn main() -> ExitCode {
    let Some(plan) = plan(std::env::args().skip(1)) else {
        eprintln!("usage: {USAGE}");
        return ExitCode::from(2);
    };
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(mut words: impl Iterator<Item = String>) -> Option<Plan> {
    let mut plan = Plan { only: String::new(), rounds: 3, profile: false };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--only" => plan.only = words.next()?,
            "--rounds" => plan.rounds = words.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
            "--profile" => plan.profile = true,
            _ => return None,
        }
    }
    Some(plan)
}
