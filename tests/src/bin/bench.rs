//! `make bench`: prints what an appliance costs beside Linux in the same role. See [`keelson_tests::bench`].

use keelson_tests::bench::{self, Plan};
use std::process::ExitCode;

const USAGE: &str = "bench [--role nfs-server|lnet-router|qnet-node|lwk-compute | --boot] [--only PART-OF-A-ROW'S-NAME]... [--rounds COUNT] \
     [--against OTHER.img | --alone] [--profile]";

fn main() -> ExitCode {
    let Some((run, plan)) = plan(std::env::args().skip(1)) else {
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

/// The benchmark of a role.
type Run = fn(&Plan) -> keelson_qemu::Result<()>;

fn plan(mut words: impl Iterator<Item = String>) -> Option<(Run, Plan)> {
    let mut run: Run = bench::run;
    let mut plan = Plan { only: vec![], rounds: 3, against: None, alone: false, profile: false };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--role" => {
                run = match words.next()?.as_str() {
                    "nfs-server" => bench::run,
                    "lnet-router" => bench::lnet::run,
                    "qnet-node" => bench::qnet::run,
                    "lwk-compute" => bench::lwk::run,
                    _ => return None,
                }
            }
            "--boot" => run = bench::paths::run,
            "--alone" => plan.alone = true,
            "--only" => plan.only.push(words.next()?),
            "--rounds" => plan.rounds = words.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
            "--against" => plan.against = Some(words.next()?.into()),
            "--profile" => plan.profile = true,
            _ => return None,
        }
    }
    Some((run, plan))
}
