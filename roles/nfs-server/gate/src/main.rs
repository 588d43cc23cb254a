//! `nfs-gate`: runs checks by name, one seed or many. `nfs-gate help` lists them.

use keelson_ext4_gate::command::{code, list, many, one, parse};
use keelson_nfs_gate::list::{CHECKS, find};
use std::process::ExitCode;

const USAGE: &str = "\
usage: nfs-gate CHECK [--seed N [--verbose] | --seeds A..B] [--full] [--jobs N]
       nfs-gate all [--full] [--jobs N]      every check

--verbose with one seed tells its history. checks:";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = words.split_first() else { return usage() };
    let Some(words) = parse(rest) else { return usage() };
    match name.as_str() {
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

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    list(CHECKS);
    ExitCode::from(2)
}
