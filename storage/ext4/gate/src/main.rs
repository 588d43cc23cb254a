//! `gate`: runs checks by name, one seed or many. `gate help` lists them.

use keelson_ext4_gate::command::{code, finish, list, parse, run};
use keelson_ext4_gate::list::CHECKS;
use keelson_ext4_gate::{fuzz, speed};
use std::process::ExitCode;

const USAGE: &str = "\
usage: gate CHECK [--seed N [--part N,N...] | --seeds A..B] [--full] [--jobs N] [--verbose]
       gate all [--full] [--jobs N] [--seconds N]      every check, so long each
       gate shrink SEED                  the fewest damages of a fuzz seed that still fail
       gate speed [--alone] [--rounds N] [--files N]   own beside the stop-gap crate and Linux; exit code 1 when a figure is missed
       gate growth                       what an operation costs in large transactions, directories and volumes

checks:";

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
        name => run(CHECKS, name, words).unwrap_or_else(usage),
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

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    list(CHECKS);
    ExitCode::from(2)
}
