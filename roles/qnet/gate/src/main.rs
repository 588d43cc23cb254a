//! `qnet-gate`: runs checks by name, one seed or many. `qnet-gate help` lists them.

use keelson_ext4_gate::command::{list, parse, run};
use keelson_qnet_gate::list::CHECKS;
use std::process::ExitCode;

const USAGE: &str = "\
usage: qnet-gate CHECK [--seed N [--verbose] | --seeds A..B] [--full] [--jobs N]
       qnet-gate all [--full] [--jobs N] [--seconds N]      every check, so long each

--verbose with one seed tells its history. checks:";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = words.split_first() else { return usage() };
    let Some(words) = parse(rest) else { return usage() };
    run(CHECKS, name, words).unwrap_or_else(usage)
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    list(CHECKS);
    ExitCode::from(2)
}
